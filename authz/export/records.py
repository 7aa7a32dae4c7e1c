"""Encoding of requests and audit entries as OTLP log records."""

import json
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from authz import __version__
from authz.identity.audit import Entry
from authz.pb import otlp_export_pb2 as pb
from authz.printable import printable
from authz.usage.entry import Report, UsageEntry
from authz.usage.record import as_record

REQUEST = "authz.request"
REPORT = "authz.request.report"
AUDIT = "authz.audit"
_PREFIX = "authz."
_INFO = 9
"""The severity number of OTLP for information."""
_LONGEST_CACHED = 200


def request_record(entry: UsageEntry) -> bytes:
    """Return the record of a request; a field that is not known has no attribute."""
    values = as_record(entry)
    del values["time"]
    return _record(REQUEST, entry.time_ms * 1_000_000, values)


def report_record(report: Report) -> bytes:
    """Return the record of the end of a request through an external gateway."""
    tokens = report.tokens
    values = {
        "id": report.id,
        "status": report.status,
        "usage": str(report.usage),
        "duration_ms": report.duration_ms,
        "model": report.model,
        "input_tokens": tokens.input,
        "cached_tokens": tokens.cached,
        "cache_write_tokens": tokens.cache_write,
        "output_tokens": tokens.output,
        "reasoning_tokens": tokens.reasoning,
    }
    return _record(REPORT, time.time_ns(), values)


def audit_record(entry: Entry) -> bytes:
    """Return the record of an audit entry; the additional fields are JSON in one text."""
    values = entry.as_json()
    del values["time"]
    fields = values.pop("additional_fields")
    if fields:
        values["additional_fields"] = json.dumps(fields)
    return _record(AUDIT, int(entry.time.timestamp() * 1_000_000) * 1_000, values)


def export_request(service: str, records: Iterable[bytes]) -> bytes:
    """Return an ``ExportLogsServiceRequest`` with records.

    Args:
        service: names the process that sends them.
        records: from the other functions of this module.
    """
    attributes = [
        _attribute("service.name", "authz"),
        _attribute("service.version", __version__),
        _attribute("service.instance.id", service),
    ]
    scope = pb.ScopeLogs(
        scope=pb.InstrumentationScope(name="authz", version=__version__), log_records=records
    )
    resource = pb.ResourceLogs(resource=pb.Resource(attributes=attributes), scope_logs=[scope])
    return bytes(pb.ExportLogsServiceRequest(resource_logs=[resource]).SerializeToString())


def _record(name: str, time_ns: int, values: Mapping[str, Any]) -> bytes:
    attributes = [
        _known(_PREFIX + key, value)
        if isinstance(value, str) and len(value) <= _LONGEST_CACHED
        else _attribute(_PREFIX + key, value)
        for key, value in values.items()
        if value is not None and value != "" and value != []
    ]
    record = pb.LogRecord(
        time_unix_nano=max(time_ns, 0),
        observed_time_unix_nano=time.time_ns(),
        severity_number=_INFO,
        body=pb.AnyValue(string_value=name),
        attributes=attributes,
        event_name=name,
    )
    return bytes(record.SerializeToString())


@lru_cache(maxsize=4096)
def _known(key: str, value: str) -> bytes:
    return _attribute(key, value)


def _attribute(key: str, value: Any) -> bytes:
    return bytes(pb.KeyValue(key=key, value=_any(value)).SerializeToString())


def _any(value: Any) -> pb.AnyValue:
    if isinstance(value, int):
        return pb.AnyValue(int_value=value)
    if isinstance(value, list):
        return pb.AnyValue(array_value=pb.ArrayValue(values=map(_any, value)))
    return pb.AnyValue(string_value=printable(str(value), 16_384))
