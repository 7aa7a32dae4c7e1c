"""What Envoy's access log stream tells authz: refused central keys, and who used what.

The stream is beside the data path: a request never waits for it, and an entry that is lost costs
one more refused request.
"""

from collections.abc import Callable, Mapping

import structlog
from google.protobuf.message import DecodeError

from authz.ext_authz import METADATA_KEY_INDEX, METADATA_NAMESPACE
from authz.key_pool import KeyPool
from authz.pb import access_log_pb2 as pb
from authz.usage.entry import UsageEntry
from authz.usage.from_stream import read_entry
from authz.usage.names import REQUEST_ID_KEY

METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
ANSWER = b""
"""An empty ``StreamAccessLogsResponse``, sent when a stream ends."""
RETRY_AFTER = "retry-after"
"""The response header that entries carry; ``authz envoy render`` names it to the logger."""

_FROM_PROVIDER = "via_upstream"
"""Envoy's response code details of an answer that it did not make itself."""

_log = structlog.get_logger(__name__)


class AccessLogReader:
    """Takes entries: lets refused keys rest, and hands requests on.

    Args:
        pools: by provider name.
        record: takes each request.
    """

    def __init__(
        self, pools: Mapping[str, KeyPool], record: Callable[[UsageEntry], None] | None = None
    ) -> None:
        self._pools = pools
        self._record = record

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
        metadata = entry.common_properties.metadata.filter_metadata
        if (
            self._record is not None
            and REQUEST_ID_KEY in entry.common_properties.filter_state_objects
        ):
            # Only the stream of all requests has this; the one of refused keys would repeat some.
            request = read_entry(entry)
            if request is not None:
                self._record(request)
            return
        # A map of messages makes what is asked for and is not there.
        if METADATA_NAMESPACE not in metadata:
            return
        facts = metadata[METADATA_NAMESPACE].fields
        if METADATA_KEY_INDEX not in facts:
            return
        pool = self._pools.get(facts["provider"].string_value)
        if pool is None or entry.response.response_code_details != _FROM_PROVIDER:
            return
        pool.refused(
            int(facts[METADATA_KEY_INDEX].string_value),
            facts["credential_hint"].string_value,
            entry.response.response_code.value,
            entry.response.response_headers.get(RETRY_AFTER, ""),
        )
