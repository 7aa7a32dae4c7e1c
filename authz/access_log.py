"""What Envoy's access log stream tells authz: refused central keys, and who used what.

The stream is beside the data path: a request never waits for it, and an entry that is lost costs
one more refused request.
"""

from collections.abc import Callable, Mapping

import structlog
from google.protobuf.message import DecodeError

from authz.ext_authz import METADATA_KEY_INDEX, METADATA_NAMESPACE
from authz.key_pool import KeyPool
from authz.metrics import KEY_REFUSALS
from authz.outcome import Mode
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
        key_refused: told of each request whose central key its provider refused: the provider
            and the status, one of ``KEY_REFUSALS``.
    """

    def __init__(
        self,
        pools: Mapping[str, KeyPool],
        record: Callable[[UsageEntry], None] | None = None,
        key_refused: Callable[[str, int], None] | None = None,
    ) -> None:
        self._pools = pools
        self._record = record
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
        metadata = entry.common_properties.metadata.filter_metadata
        if (
            self._record is not None
            and REQUEST_ID_KEY in entry.common_properties.filter_state_objects
        ):
            # Only the stream of all requests has this; the one of refused keys would repeat some.
            request = read_entry(entry)
            if request is not None:
                self._record(request)
                if request.mode == Mode.CENTRALIZED and request.provider:
                    self._count_refusal(request.provider, entry)
            return
        # A map of messages makes what is asked for and is not there.
        if METADATA_NAMESPACE not in metadata:
            return
        facts = metadata[METADATA_NAMESPACE].fields
        if METADATA_KEY_INDEX not in facts:
            return
        provider = facts["provider"].string_value
        pool = self._pools.get(provider)
        if pool is None or entry.response.response_code_details != _FROM_PROVIDER:
            return
        if self._record is None:
            # Without the stream of all requests this is all that there is to count.
            self._count_refusal(provider, entry)
        pool.refused(
            int(facts[METADATA_KEY_INDEX].string_value),
            facts["credential_hint"].string_value,
            entry.response.response_code.value,
            entry.response.response_headers.get(RETRY_AFTER, ""),
        )

    def _count_refusal(self, provider: str, entry: pb.HTTPAccessLogEntry) -> None:
        response = entry.response
        if (
            self._key_refused is not None
            and response.response_code.value in KEY_REFUSALS
            and response.response_code_details == _FROM_PROVIDER
        ):
            self._key_refused(provider, response.response_code.value)
