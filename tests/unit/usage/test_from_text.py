"""authz.usage.from_text."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.check.metadata import refused_metadata
from authz.core.decision_types import Deny
from authz.core.groups import Group
from authz.core.identity import Identity
from authz.core.refusals import REFUSALS, Reason
from authz.usage.entry import NO_TOKENS, Tokens, Usage, UsageEntry
from authz.usage.from_stream import BadRecord
from authz.usage.from_text import read_text
from authz.usage.names import RECORD_LINES
from tests.support.records import text_record

ID = "0123456789ab-000000000001"
TOKENS = (
    'model: "claude-m" input_tokens { value: 1234567890 } output_tokens { value: 3 } '
    "extraction_status: COMPLETE"
)


def _read(**changes: str) -> UsageEntry:
    lines = text_record(ID, **changes).partition("\n")[2]
    return read_text(lines, 1_500_000_000_999)[0]


def test_a_whole_record() -> None:
    """Every field is read, and a missing one is None."""
    assert _read(tokens=TOKENS, duration_ms="39", request_id="b0") == UsageEntry(
        id=ID,
        time_ms=1_500_000,
        decision="allow",
        status=200,
        usage=Usage.COMPLETE,
        duration_ms=39,
        request_id="b0",
        user_id="a5",
        username="alice",
        token_id="Abcdefghi1",
        token_name="laptop",
        provider="anthropic",
        mode="centralized",
        model="claude-m",
        tokens=Tokens(1_234_567_890, 0, 0, 3, 0),
        groups=("éa", "b"),
    )


@pytest.mark.parametrize(
    ("changes", "usage"),
    [
        ({"tokens": "extraction_status: PARTIAL"}, Usage.PARTIAL),
        ({"tokens": "extraction_status: FAILED"}, Usage.FAILED),
        ({"tokens": "something else"}, Usage.FAILED),
        ({"content_encoding": "gzip"}, Usage.COMPRESSED),
        ({"content_encoding": "identity"}, Usage.NONE),
        ({"flags": "DC"}, Usage.CANCELLED),
        ({"flags": "UC,DR"}, Usage.CANCELLED),
        ({"status": "500"}, Usage.ERROR),
    ],
)
def test_knowledge_of_tokens(changes: dict[str, str], usage: Usage) -> None:
    """Envoy's other fields tell why a record has no tokens."""
    assert _read(**changes).usage is usage


def test_a_refusal_as_authz_writes_it() -> None:
    """The facts of a refusal arrive, with names that need escapes."""
    group = Group("x\ny")
    identity = Identity("a5", 'a"\n\\', "", "t1", "-", None, memberships=(group,))
    denied = Deny(REFUSALS[Reason.ROUTE_NOT_SUPPORTED], "no", identity)
    facts = refused_metadata(denied, "openai")["facts"]
    assert isinstance(facts, str)
    entry = _read(facts=facts, status="403")
    assert (entry.decision, entry.reason, entry.usage) == (
        "deny",
        Reason.ROUTE_NOT_SUPPORTED,
        Usage.REFUSED,
    )
    assert (entry.username, entry.token_name) == ('a"\ufffd\\', "-")
    assert (entry.provider, entry.groups, entry.tokens) == ("openai", ("x\ufffdy",), NO_TOKENS)


def test_tags() -> None:
    """The names that a client chose are the last two lines, where tags are on."""
    lines = text_record(ID).partition("\n")[2]
    entry, _ = read_text(f"{lines}\nsite\n-", 0)
    assert (entry.project, entry.session) == ("site", None)
    with pytest.raises(BadRecord):
        read_text(f"{lines}\nsite", 0)


@pytest.mark.parametrize("facts", ["-", "", "{}", "[]", '["allow"]', "[" * 3000, "x" * 40_000])
def test_facts_that_authz_did_not_write(facts: str) -> None:
    """A record without authz's own facts is dropped, not read as a request of no user."""
    with pytest.raises(BadRecord):
        _read(facts=facts)


def test_a_line_too_many() -> None:
    """A record with another number of lines is dropped, whichever value has the line end."""
    for name in RECORD_LINES:
        with pytest.raises(BadRecord):
            _read(**{name: "1\n2"})


def test_another_id() -> None:
    """An id that authz does not issue is refused."""
    with pytest.raises(BadRecord):
        _read(entry="x")


@given(st.lists(st.text(max_size=20), min_size=8, max_size=12))
def test_no_record_breaks_the_parser(lines: list[str]) -> None:
    """Any lines give a request or ``BadRecord``."""
    facts = json.dumps(["allow", *[None] * 8])
    for text in ("\n".join(lines), "\n".join((ID, facts, *lines[:8]))):
        with suppress(BadRecord):
            read_text(text, 0)
