"""Records of Envoy's access log as its OpenTelemetry logger writes them."""

from collections.abc import Mapping, Sequence

from authz.pb import otlp_logs_pb2 as pb
from authz.usage.names import RECORD_LINES, REQUEST, REQUEST_FIELDS, REQUEST_LINES

NUMBERS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens")


def export(*records: Sequence[str | bytes], time_ns: int = 1_790_000_000_123_456_789) -> bytes:
    """Return a serialized ``ExportLogsServiceRequest``."""
    request = pb.ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for values in records:
        record = scope.log_records.add(time_unix_nano=time_ns)
        record.body.array_value.values.extend(map(any_value, values))
    return request.SerializeToString()


def any_value(text: str | bytes) -> bytes:
    """Return a serialized ``AnyValue``."""
    data = text.encode() if isinstance(text, str) else text
    return pb.AnyValue(string_value=data).SerializeToString()


def request_record(values: Mapping[str, str | bytes]) -> list[str | bytes]:
    """Return the record of a request; fields that are not given are empty, as Envoy writes them."""
    absent = dict.fromkeys(NUMBERS, "NULL") | {"model": "NULL", "usage": "NULL", "status": "200"}
    return [REQUEST, *(values.get(name, absent.get(name, "-")) for name in REQUEST_FIELDS)]


FACTS = (
    r'["allow",null,"alice","a5","Abcdefghi1","laptop","anthropic","centralized",["\u00e9a","b"]]'
)
"""The facts of an allowed request, as authz writes them."""


def text_record(entry_id: str, **values: str) -> str:
    """Return the record of a request as one text; lines that are not given are ``-``."""
    known = {"entry": entry_id, "facts": FACTS, "status": "200"} | values
    return "\n".join((REQUEST_LINES, *(known.get(name, "-") for name in RECORD_LINES)))


def export_texts(*texts: str | bytes, time_ns: int = 1_790_000_000_123_456_789) -> bytes:
    """Return a serialized ``ExportLogsServiceRequest`` with records that are one text each."""
    request = pb.ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for text in texts:
        record = scope.log_records.add(time_unix_nano=time_ns)
        record.body.string_value = text.encode() if isinstance(text, str) else text
    return request.SerializeToString()
