"""What Envoy's access log stream tells authz at once: a provider has refused a central key.

The stream is beside the data path: a request never waits for it, and an entry that is lost costs
one more refused request.
"""

from collections.abc import Callable, Mapping

import structlog
from google.protobuf.message import DecodeError

from authz.check.ext_authz import METADATA_KEY_INDEX, METADATA_NAMESPACE
from authz.keys.pool import KeyPool, Requester
from authz.metrics import KEY_REFUSALS
from authz.pb import access_log_pb2 as pb

METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
ANSWER = b""
"""An empty ``StreamAccessLogsResponse``, sent when a stream ends."""
RETRY_AFTER = "retry-after"
"""The response header that entries carry; ``authz envoy render`` names it to the logger."""

FROM_PROVIDER = "via_upstream"
"""Envoy's response code details of an answer that it did not make itself."""

_log = structlog.get_logger(__name__)


class RefusedKeys:
    """Takes entries and lets refused keys rest.

    Args:
        pools: by provider name.
        key_refused: told of each: the provider and the status, one of ``KEY_REFUSALS``; None where
            the records of all requests tell it.
    """

    def __init__(
        self,
        pools: Mapping[str, KeyPool],
        key_refused: Callable[[str, int], None] | None = None,
    ) -> None:
        self._pools = pools
        self._key_refused = key_refused

    def receive(self, message: bytes) -> None:
        """Take one ``StreamAccessLogsMessage``; whatever is wrong with it is logged, not raised."""
        try:
            entries = pb.StreamAccessLogsMessage.FromString(message).http_logs.log_entry
            for entry in entries:
                self._take(entry)
        except DecodeError:
            _log.error("access log entry dropped", why="not a StreamAccessLogsMessage")
        except Exception as error:
            # The type alone: a message could quote what the request brought.
            _log.error("access log entry dropped", error=type(error).__name__)

    def _take(self, entry: pb.HTTPAccessLogEntry) -> None:
        if entry.common_properties.filter_state_objects:
            # An Envoy with the configuration of an earlier version tells of every request here.
            return
        metadata = entry.common_properties.metadata.filter_metadata
        # A map of messages makes what is asked for and is not there.
        if METADATA_NAMESPACE not in metadata:
            return
        facts = metadata[METADATA_NAMESPACE].fields
        if METADATA_KEY_INDEX not in facts:
            return
        provider = facts["provider"].string_value
        pool = self._pools.get(provider)
        if pool is None or entry.response.response_code_details != FROM_PROVIDER:
            return
        status = entry.response.response_code.value
        if self._key_refused is not None and status in KEY_REFUSALS:
            self._key_refused(provider, status)
        pool.refused(
            int(facts[METADATA_KEY_INDEX].string_value),
            facts["credential_hint"].string_value,
            status,
            entry.response.response_headers.get(RETRY_AFTER, ""),
            Requester(
                user_id=facts["user_id"].string_value,
                token_id=facts["token_id"].string_value,
                user=facts["user"].string_value,
            ),
        )
