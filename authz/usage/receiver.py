"""The receiver of records from Envoy's OpenTelemetry access logger."""

from collections.abc import Callable, Container, Sequence

import structlog
from google.protobuf.message import DecodeError

from authz.check.refused_keys import FROM_PROVIDER
from authz.core.rules import Mode
from authz.metrics import KEY_REFUSALS
from authz.pb import otlp_logs_pb2 as pb
from authz.usage.entry import Report, UsageEntry
from authz.usage.from_gateway import read_report
from authz.usage.from_stream import BadRecord, read_entry, text_of
from authz.usage.from_text import read_text
from authz.usage.names import (
    REQUEST,
    REQUEST_BEFORE_GROUPS,
    REQUEST_FIELDS,
    REQUEST_LINES,
)

_KINDS = (REQUEST_LINES, REQUEST, REQUEST_BEFORE_GROUPS)

METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
ANSWER = b""
"""An empty ``ExportLogsServiceResponse``, which means success."""

_COUNTS = {
    REQUEST: len(REQUEST_FIELDS),
    REQUEST_BEFORE_GROUPS: len(REQUEST_FIELDS) - 1,
}
_DETAILS = REQUEST_FIELDS.index("details")

_log = structlog.get_logger(__name__)


class RequestRecords:
    """Parses records and passes the requests on.

    Args:
        record: called with each request.
        key_refused: called for each request whose central key the provider refused, with the
            provider and the status, one of ``KEY_REFUSALS``.
        report: called with the end of each request of an external gateway; None where there are
            none.
        kinds: returns the kinds of records that are the own Envoy's. Beside external gateways,
            which may not invent such records, the kind has that Envoy's mark.
    """

    def __init__(
        self,
        record: Callable[[UsageEntry], None],
        key_refused: Callable[[str, int], None] | None = None,
        report: Callable[[Report], None] | None = None,
        kinds: Callable[[], Container[str | None]] = lambda: _KINDS,
    ) -> None:
        self._record = record
        self._key_refused = key_refused
        self._report = report
        self._kinds = kinds

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
            text = record.body.string_value
            kind, *values = record.body.array_value.values or (b"",)
            if not text and not values and record.attributes and self._report is not None:
                report = read_report(record.attributes)
                if report is not None:
                    self._report(report)
                return
            request, details = (
                self._of_text(text, record.time_unix_nano)
                if text
                else self._of_values(text_of(kind) or "", values, record.time_unix_nano)
            )
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
                request.status in KEY_REFUSALS
                and self._key_refused is not None
                and request.provider
                and request.mode == Mode.CENTRALIZED
                and details == FROM_PROVIDER
            ):
                self._key_refused(request.provider, request.status)

    def _of_text(self, text: bytes, time_ns: int) -> tuple[UsageEntry, str]:
        kind, _, lines = text.decode("utf-8", "replace").partition("\n")
        if kind.partition(" ")[0] != REQUEST_LINES or kind not in self._kinds():
            raise BadRecord("the kind is unknown")
        return read_text(lines, time_ns)

    def _of_values(
        self, kind: str, values: Sequence[bytes], time_ns: int
    ) -> tuple[UsageEntry, str | None]:
        """Read a record of an Envoy that was rendered before there were ``REQUEST_LINES``."""
        count = _COUNTS.get(kind.partition(" ")[0])
        if count is None or kind not in self._kinds():
            raise BadRecord("the kind is unknown")
        if count != len(values):
            raise BadRecord("the number of fields is wrong")
        return read_entry(values, time_ns), text_of(values[_DETAILS])
