"""Reads Envoy's access log stream, which reports every central key that a provider refuses.

The stream is beside the data path: a request never waits for it, and a lost entry costs one more
refused request.
"""

from collections.abc import Callable, Mapping

import structlog
from google.protobuf.message import DecodeError

from authz.check.ext_authz import METADATA_KEY_INDEX, METADATA_NAMESPACE
from authz.keys.pool import KeyPool, Requester
from authz.metrics import KEY_REFUSALS
from authz.pb import access_log_pb2 as pb

METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
RESPONSE = b""
"""An empty ``StreamAccessLogsResponse``, sent when a stream ends."""
RETRY_AFTER = "retry-after"
"""The response header in each entry; ``authz envoy render`` configures the logger with it."""

FROM_PROVIDER = "via_upstream"
"""Envoy's response code details of a response from the provider."""

_log = structlog.get_logger(__name__)


class RefusedKeys:
    """Reads entries and puts refused keys on cooldown.

    Args:
        pools: by provider name.
        key_refused: called with the provider and the status, one of ``KEY_REFUSALS``, of each
            refusal; None where the usage records count them.
    """

    def __init__(
        self,
        pools: Mapping[str, KeyPool],
        key_refused: Callable[[str, int], None] | None = None,
    ) -> None:
        self._pools = pools
        self._key_refused = key_refused

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
        if self._key_refused is not None and status in KEY_REFUSALS:
            self._key_refused(provider, status)
        pool.refused(
            int(fields[METADATA_KEY_INDEX].string_value),
            fields["credential_hint"].string_value,
            status,
            entry.response.response_headers.get(RETRY_AFTER, ""),
            Requester(
                user_id=fields["user_id"].string_value,
                token_id=fields["token_id"].string_value,
                user=fields["user"].string_value,
            ),
        )
