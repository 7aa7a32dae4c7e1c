"""authz.export.records, decoded with OpenTelemetry's own messages."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from authz.export.records import (
    AUDIT,
    REPORT,
    REQUEST,
    audit_record,
    export_request,
    report_record,
    request_record,
)
from authz.identity.audit import Action, Actor, Change, Entry, Resource
from authz.printable import printable
from authz.usage.entry import Report, Tokens, Usage, UsageEntry
from authz.usage.record import FIELDS
from tests.support.collector import Collector, Record

_FULL = UsageEntry(
    id="0123456789ab-000000000001",
    time_ms=1_790_000_000_123,
    decision="allow",
    status=200,
    usage=Usage.COMPLETE,
    duration_ms=5,
    request_id="request",
    user_id="user",
    username="alice",
    token_id="token",
    token_name="laptop",
    provider="anthropic",
    mode="byok",
    reason="none",
    model="claude",
    proxy_session="proxy",
    tokens=Tokens(1, 2, 3, 4, 5),
    groups=("labs", "ops"),
    cost=7,
    project="project",
    session="session",
)


def _decoded(*records: bytes) -> list[Record]:
    found = Collector(0)
    found.log_requests.append(ExportLogsServiceRequest.FromString(export_request("p", records)))
    return found.records


def test_every_field_of_a_request() -> None:
    """Every field has an attribute, and the time is that of the request."""
    (record,) = _decoded(request_record(_FULL))
    assert (record.service, record.name) == ("authz", REQUEST)
    assert record.time_ns == 1_790_000_000_123_000_000
    assert set(record.attributes) == set(FIELDS) - {"time"}
    assert record.attributes["groups"] == ["labs", "ops"]
    assert record.attributes["cost_nano_dollars"] == 7
    assert [record.attributes[name] for name in FIELDS if name.endswith("_tokens")] == [
        1,
        2,
        3,
        4,
        5,
    ]


def test_what_is_not_known_has_no_attribute() -> None:
    """A count of zero is a number; a count that is not known is absent."""
    entry = UsageEntry("a-1", 1, "deny", 0, Usage.REFUSED, 0, tokens=Tokens(input=0))
    (record,) = _decoded(request_record(entry))
    assert record.attributes == {
        "id": "a-1",
        "decision": "deny",
        "status": 0,
        "usage": "refused",
        "duration_ms": 0,
        "input_tokens": 0,
    }


def test_a_report() -> None:
    """The end of a request through an external gateway has its id and its tokens."""
    report = Report("a-1", 200, Usage.COMPLETE, 5, "gpt", Tokens(input=5, output=7))
    (record,) = _decoded(report_record(report))
    assert record.name == REPORT
    assert (record.attributes["id"], record.attributes["output_tokens"]) == ("a-1", 7)


def test_an_audit_entry() -> None:
    """An entry has the fields of ``authz audit -o json``; further ones are JSON."""
    at = datetime(2026, 11, 28, 10, 0, 0, 123456, tzinfo=UTC)
    change = Change(Action.CREATE, Resource.USER, "id", "alice", "alice", {"role": "owner\x1b"})
    entry = Entry("audit-1", at, Actor("os", "root@host"), change)
    (record,) = _decoded(audit_record(entry))
    assert record.name == AUDIT
    assert record.time_ns == 1_795_860_000_123_456_000
    assert record.attributes == {
        "id": "audit-1",
        "actor_kind": "os",
        "actor": "root@host",
        "action": "create",
        "resource_type": "user",
        "resource_id": "id",
        "resource_target": "alice",
        "username": "alice",
        "additional_fields": '{"role": "owner\\u001b"}',
    }


@settings(max_examples=50)
@given(st.text() | st.text(min_size=600), st.lists(st.text(), max_size=3), st.integers(0, 10**12))
def test_any_text_is_printable(text: str, groups: list[str], count: int) -> None:
    """Texts from outside are cleaned, whatever they are, and the record stays valid."""
    entry = UsageEntry(
        "a-1",
        1,
        "allow",
        200,
        Usage.COMPLETE,
        0,
        model=text,
        username=text,
        groups=tuple(groups),
        tokens=Tokens(output=count),
    )
    (record,) = _decoded(request_record(entry))
    values: dict[str, Any] = record.attributes
    assert values.get("model", "") == values.get("username", "") == printable(text)
    assert values.get("groups", []) == [printable(name) for name in groups]
    assert values["output_tokens"] == count
