"""Records of external gateways' access logs, from the answer to the row."""

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from authz.core.decision_types import Allow, refuse
from authz.core.identity import Identity
from authz.core.refusals import Reason
from authz.core.rules import Mode
from authz.manifests.log_format import LOG_FIELDS
from authz.pb import otlp_logs_pb2 as pb
from authz.usage.answered import AnsweredRequests
from authz.usage.entry import NO_TOKENS, Report, Tokens, Usage, UsageEntry
from authz.usage.from_gateway import EXTERNAL_ID, read_report
from authz.usage.from_stream import BadRecord
from authz.usage.names import LOG_ENTRY, REQUEST, REQUEST_LINES, marked_request
from authz.usage.receiver import ANSWER, RequestRecords
from tests.support.records import any_value, export, export_texts, request_record, text_record

ID = "0123456789ab-0123456789abcdef0123456789abcdef"
OWN_ID = "0123456789ab-000000000001"
ALICE = Identity("u1", "alice", "alice@example.com", "t1", "laptop", None)


def _attributes(**values: str) -> list[pb.KeyValue]:
    named = {(LOG_ENTRY if name == "entry" else name): value for name, value in values.items()}
    return [pb.KeyValue(key=key, value=any_value(value)) for key, value in named.items()]


def _export(*records: list[pb.KeyValue]) -> bytes:
    request = pb.ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for attributes in records:
        scope.log_records.add(attributes=attributes)
    return request.SerializeToString()


class Received:
    """A receiver for external gateways, and the entries and reports that it passed on."""

    def __init__(self, *kinds: str) -> None:
        self.entries: list[UsageEntry] = []
        self.reports: list[Report] = []
        self._records = RequestRecords(
            self.entries.append, report=self.reports.append, kinds=lambda: kinds
        )

    def receive(self, message: bytes) -> list[str]:
        """Hand over a message and return the reasons in the log."""
        with capture_logs() as logs:
            assert asyncio.run(self._records.receive(message)) == ANSWER
        return [line["why"] for line in logs]


def test_a_report() -> None:
    """The attributes of the printed manifests are read, and further ones are ignored."""
    values = dict.fromkeys(LOG_FIELDS, "-") | {"status": "200", "duration_ms": "1234", "x": "y"}
    attributes = _attributes(**{**values, LOG_ENTRY: ID})
    assert read_report(attributes) == Report(ID, 200, Usage.UNREPORTED, 1234, None, NO_TOKENS)


@pytest.mark.parametrize(
    ("changed", "usage"),
    [
        ({"status": "500"}, Usage.ERROR),
        ({"flags": "DC"}, Usage.CANCELLED),
        ({"content_encoding": "br"}, Usage.COMPRESSED),
        ({"usage": "3"}, Usage.FAILED),
        ({"status": "-"}, Usage.UNREPORTED),
    ],
)
def test_what_is_known(changed: dict[str, str], usage: Usage) -> None:
    """Without tokens the row says why they are unknown."""
    report = read_report(_attributes(entry=ID, **{"status": "200", **changed}))
    assert report is not None
    assert (report.usage, report.tokens) == (usage, NO_TOKENS)


def test_tokens() -> None:
    """A gateway whose Envoy reads tokens reports them by the names of authz's own log."""
    report = read_report(
        _attributes(
            entry=ID, status="200", usage="1", model="claude", input_tokens="5", output_tokens="7"
        )
    )
    assert report is not None
    assert (report.usage, report.model) == (Usage.COMPLETE, "claude")
    assert report.tokens == Tokens(input=5, output=7)


def test_requests_without_a_check() -> None:
    """A request that authz did not allow or never saw is not an error."""
    for nothing in ("-", ""):
        assert read_report(_attributes(entry=nothing, status="404")) is None


@given(
    st.dictionaries(
        st.sampled_from([*LOG_FIELDS, "model", "usage", "input_tokens", "x"]), st.text()
    )
)
def test_any_attributes(values: dict[str, str]) -> None:
    """Any attributes give a report with an id of authz, nothing, or a bad record."""
    try:
        report = read_report([pb.KeyValue(key=k, value=any_value(v)) for k, v in values.items()])
    except BadRecord:
        return
    assert report is None or (
        EXTERNAL_ID.fullmatch(report.id) is not None and 0 <= report.status <= 599
    )


def test_a_gateway_invents_nothing() -> None:
    """A record in the format of authz's Envoy needs its mark, and other ids are refused."""
    received = Received(marked_request("m" * 64))
    forged = request_record({"entry": OWN_ID, "user": "bob", "usage": "1", "input_tokens": "9"})
    assert received.receive(export(forged)) == ["the kind is unknown"]
    assert received.receive(export([marked_request("x" * 64), *forged[1:]])) == [
        "the kind is unknown"
    ]
    assert received.receive(_export(_attributes(entry=OWN_ID))) == ["the id is not one of authz"]
    assert (received.entries, received.reports) == ([], [])
    assert received.receive(export([marked_request("m" * 64), *forged[1:]])) == []
    assert [one.id for one in received.entries] == [OWN_ID]


def test_a_gateway_invents_no_text() -> None:
    """A record in text form also needs the mark of authz's own Envoy."""
    received = Received(marked_request("m" * 64, REQUEST_LINES))
    lines = text_record(OWN_ID).partition("\n")[2]
    for kind in (REQUEST_LINES, marked_request("x" * 64, REQUEST_LINES)):
        assert received.receive(export_texts(f"{kind}\n{lines}")) == ["the kind is unknown"]
    mine = marked_request("m" * 64, REQUEST_LINES)
    assert received.receive(export_texts(f"{mine}\n{lines}")) == []
    assert [one.id for one in received.entries] == [OWN_ID]


def test_without_external_gateways() -> None:
    """Records of authz's own Envoy are read as before, and those with attributes are refused."""
    seen: list[UsageEntry] = []
    records = RequestRecords(seen.append)
    assert asyncio.run(records.receive(export(request_record({"entry": OWN_ID})))) == ANSWER
    assert [one.id for one in seen] == [OWN_ID]
    assert request_record({})[0] == REQUEST
    with capture_logs() as logs:
        asyncio.run(records.receive(_export(_attributes(entry=ID))))
    assert [line["why"] for line in logs] == ["the kind is unknown"]
    assert len(seen) == 1


def _allow(**changed: Any) -> Allow:
    allowed = Allow(ALICE, "anthropic", Mode.CENTRALIZED, "x-api-key", None, "sk-…")
    return replace(allowed, **changed)


def test_answered_requests() -> None:
    """An allowed request waits for its report, and ids reveal nothing about each other."""
    seen: list[UsageEntry] = []
    answered = AnsweredRequests(seen.append)
    ids = [answered(_allow(), "anthropic", "r1") for _ in range(50)]
    assert len(set(ids)) == 50
    assert all(EXTERNAL_ID.fullmatch(one.decode()) for one in ids)
    numbers = sorted(int(one.decode().partition("-")[2], 16) for one in ids)
    assert min(b - a for a, b in itertools.pairwise(numbers)) > 1
    first = seen[0]
    assert (first.username, first.token_name, first.mode) == ("alice", "laptop", "centralized")
    assert (first.decision, first.status, first.usage) == ("allow", 0, Usage.UNREPORTED)


def test_refused_requests() -> None:
    """A refused request is complete at once."""
    seen: list[UsageEntry] = []
    denied = refuse(Reason.BYOK_DISABLED, {"advice": ""}, token_id="t9")
    AnsweredRequests(seen.append)(denied, "anthropic", "")
    (entry,) = seen
    assert (entry.decision, entry.status, entry.usage) == ("deny", denied.status, Usage.REFUSED)
    assert (entry.reason, entry.username, entry.token_id) == (denied.reason, None, "t9")
