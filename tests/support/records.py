"""Records of Envoy's access log as its OpenTelemetry logger writes them."""

from collections.abc import Mapping, Sequence

from authz.pb import otlp_logs_pb2 as pb
from authz.usage.names import REQUEST, REQUEST_FIELDS

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
    """Return the record of a request; what is not given is as Envoy writes nothing."""
    absent = dict.fromkeys(NUMBERS, "NULL") | {"model": "NULL", "usage": "NULL", "status": "200"}
    return [REQUEST, *(values.get(name, absent.get(name, "-")) for name in REQUEST_FIELDS)]
