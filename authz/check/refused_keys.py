"""Reads Envoy's access log stream, which reports every central key that a provider refuses.

The stream is beside the data path: a request never waits for it, and a lost entry costs one more
refused request.
"""

from collections.abc import Callable, Mapping, Sequence

import structlog
from google.protobuf.message import DecodeError

from authz.check.ext_authz import METADATA_KEY_INDEX, METADATA_NAMESPACE
from authz.keys.pool import KeyPool
from authz.keys.refusal import Requester
from authz.metrics import KEY_REFUSALS, RETRIED_STATUSES
from authz.pb import access_log_pb2 as pb

METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
RESPONSE = b""
"""An empty ``StreamAccessLogsResponse``, sent when a stream ends."""
RETRY_AFTER = "retry-after"
"""The response header in each entry; ``authz envoy render`` configures the logger with it."""

METADATA_RETRIED = "retried"
"""The field of an entry of a try after which Envoy tried again with the next key. Of the processes
that are told, the one that gets ``RETRY_COUNTED`` counts."""
RETRY_COUNTED = "counted"

METADATA_REFUSALS = "refusals"
"""The field with all refusals of a request so far, the entry's own at the end. Entries of one
request may go to different processes, so each has to tell of those before, and in their order. A
refusal takes ``_FIELDS`` texts: the provider, the place of the key, the masked key, the status, the
``Retry-After``, and the time in milliseconds."""
_FIELDS = 6

FROM_PROVIDER = "via_upstream"
"""Envoy's response code details of a response from the provider."""

_log = structlog.get_logger(__name__)


class RefusedKeys:
    """Reads entries and puts refused keys on cooldown.

    Args:
        pools: by provider name.
        key_refused: called with the provider and the status, one of ``KEY_REFUSALS``, of each
            refusal; None where the usage records count them.
        retried: called with the provider and the status of each try after which Envoy tried again.
            No usage record counts these.
    """

    def __init__(
        self,
        pools: Mapping[str, KeyPool],
        key_refused: Callable[[str, int], None] | None = None,
        retried: Callable[[str, int], None] | None = None,
    ) -> None:
        self._pools = pools
        self._key_refused = key_refused
        self._retried = retried

    def receive(self, message: bytes) -> None:
        """Take one ``StreamAccessLogsMessage``; log every error and raise none."""
        try:
            entries = pb.StreamAccessLogsMessage.FromString(message).http_logs.log_entry
            for entry in entries:
                self._take(entry)
        except DecodeError:
            _log.error("access log entry dropped", why="not a StreamAccessLogsMessage")
        except Exception as error:
            # We log the type alone, since a message could quote the request.
            _log.error("access log entry dropped", error=type(error).__name__)

    def _take(self, entry: pb.HTTPAccessLogEntry) -> None:
        if entry.common_properties.filter_state_objects:
            # An Envoy with the configuration of an earlier version logs every request here.
            return
        metadata = entry.common_properties.metadata.filter_metadata
        # Reading a missing key of a protobuf map creates it, so we look first.
        if METADATA_NAMESPACE not in metadata:
            return
        fields = metadata[METADATA_NAMESPACE].fields
        if METADATA_KEY_INDEX not in fields:
            return
        provider = fields["provider"].string_value
        pool = self._pools.get(provider)
        if pool is None or entry.response.response_code_details != FROM_PROVIDER:
            return
        status = entry.response.response_code.value
        if METADATA_RETRIED in fields:
            is_counted = fields[METADATA_RETRIED].string_value == RETRY_COUNTED
            if self._retried is not None and is_counted and status in RETRIED_STATUSES:
                self._retried(provider, status)
        elif self._key_refused is not None and status in KEY_REFUSALS:
            self._key_refused(provider, status)
        if not fields[METADATA_KEY_INDEX].string_value:
            # The only key of a provider, which has no cooldown.
            return
        requester = Requester(
            user_id=fields["user_id"].string_value,
            token_id=fields["token_id"].string_value,
            user=fields["user"].string_value,
        )
        if METADATA_REFUSALS in fields:
            values = fields[METADATA_REFUSALS].list_value.values
            self._take_earlier([value.string_value for value in values], requester)
        pool.refused(
            int(fields[METADATA_KEY_INDEX].string_value),
            fields["credential_hint"].string_value,
            status,
            entry.response.response_headers.get(RETRY_AFTER, ""),
            requester,
        )

    def _take_earlier(self, values: Sequence[str], requester: Requester) -> None:
        """Take the refusals of a request but the last, which the entry itself is about."""
        refusals = [values[at : at + _FIELDS] for at in range(0, len(values), _FIELDS)]
        for provider, index, hint, status, retry_after, time in refusals[:-1]:
            pool = self._pools.get(provider)
            if pool is not None and index:
                ago = max(int(values[-1]) - int(time), 0) / 1000
                pool.refused(int(index), hint, int(status), retry_after, requester, ago)
