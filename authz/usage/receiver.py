"""The receiver of records from Envoy's OpenTelemetry access logger."""

from collections.abc import Callable

import structlog
from google.protobuf.message import DecodeError

from authz.check.refused_keys import FROM_PROVIDER
from authz.core.rules import Mode
from authz.metrics import KEY_REFUSALS
from authz.pb import otlp_logs_pb2 as pb
from authz.usage.entry import UsageEntry
from authz.usage.from_stream import BadRecord, read_entry, text_of
from authz.usage.names import REQUEST, REQUEST_BEFORE_GROUPS, REQUEST_FIELDS

METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
ANSWER = b""
"""An empty ``ExportLogsServiceResponse``, which means success."""

_COUNTS = {REQUEST: len(REQUEST_FIELDS), REQUEST_BEFORE_GROUPS: len(REQUEST_FIELDS) - 1}
_DETAILS = REQUEST_FIELDS.index("details")

_log = structlog.get_logger(__name__)


class RequestRecords:
    """Parses records and passes the requests on.

    Args:
        record: called with each request.
        key_refused: called for each request whose central key the provider refused, with the
            provider and the status, one of ``KEY_REFUSALS``.
    """

    def __init__(
        self,
        record: Callable[[UsageEntry], None],
        key_refused: Callable[[str, int], None] | None = None,
    ) -> None:
        self._record = record
        self._key_refused = key_refused

    async def receive(self, message: bytes) -> bytes:
        """Parse an ``ExportLogsServiceRequest``, without waiting.

        Returns:
            ``ANSWER`` in any case. Errors are logged, and sending the records again would not
                help.
        """
        try:
            found = pb.ExportLogsServiceRequest.FromString(message)
        except DecodeError:
            _log.error("access log dropped", why="not an ExportLogsServiceRequest")
            return ANSWER
        for resource in found.resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    self._take(record)
        return ANSWER

    def _take(self, record: pb.LogRecord) -> None:
        try:
            kind, *values = record.body.array_value.values or (b"",)
            count = _COUNTS.get(text_of(kind) or "")
            if count is None:
                raise BadRecord("the kind is unknown")
            if count != len(values):
                raise BadRecord("the number of fields is wrong")
            request = read_entry(values, record.time_unix_nano)
            self._record(request)
        except BadRecord as error:
            _log.error(
                "access log record dropped: render Envoy's configuration again", why=str(error)
            )
        except Exception as error:
            # Only the type, because a message could quote the request.
            _log.error("access log record dropped", error=type(error).__name__)
        else:
            if (
                self._key_refused is not None
                and request.provider
                and request.mode == Mode.CENTRALIZED
                and request.status in KEY_REFUSALS
                and text_of(values[_DETAILS]) == FROM_PROVIDER
            ):
                self._key_refused(request.provider, request.status)
