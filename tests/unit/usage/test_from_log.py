"""authz.usage.from_log: lines of any kind."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.usage.entry import NO_TOKENS, Tokens, Usage
from authz.usage.from_log import BadLine, read_line

ENTRY = "0123456789ab-000000000042"
LINE: dict[str, Any] = {
    "entry": ENTRY,
    "time": "2026-11-24T12:08:06.633Z",
    "decision": "allow",
    "status": 200,
    "user": "alice",
    "user_id": "u-1",
    "model": "claude-x",
    "provider": "anthropic",
    "mode": "byok",
    "input_tokens": 35,
    "cached_tokens": 7.0,
    "cache_write_tokens": 3,
    "output_tokens": 42,
    "reasoning_tokens": None,
    "usage": 1,
    "content_encoding": None,
    "flags": "-",
    "duration_ms": 250,
}


def _line(**changed: object) -> str:
    return json.dumps({**LINE, **changed})


def test_a_line() -> None:
    """Every field of a row is read from a line."""
    entry = read_line(_line())
    assert entry is not None
    assert (entry.id, entry.process) == (ENTRY, "0123456789ab")
    assert entry.time_ms == 1_795_522_086_633
    assert (entry.username, entry.model, entry.mode) == ("alice", "claude-x", "byok")
    assert entry.tokens == Tokens(35, 7, 3, 42, None)
    assert (entry.usage, entry.status, entry.duration_ms) == (Usage.COMPLETE, 200, 250)


@pytest.mark.parametrize("flags", ["DC", "UC,DC", "DR"])
def test_a_client_that_left(flags: str) -> None:
    """Envoy's response flags show that the client left."""
    nothing = {key: None for key in LINE if key.endswith("_tokens")}
    entry = read_line(_line(flags=flags, usage=None, **nothing))
    assert entry is not None
    assert (entry.usage, entry.tokens) == (Usage.CANCELLED, NO_TOKENS)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "The gateway is up.",
        "{broken",
        "[1]",
        "{}",
        "[" * 100_000,
        _line(entry=None),
        _line(entry="../../etc"),
        _line(entry=7),
    ],
)
def test_other_lines(line: str) -> None:
    """A line that is not a request of this gateway is skipped."""
    assert read_line(line) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"time": "yesterday"},
        {"time": None},
        {"input_tokens": "35"},
        {"output_tokens": -1},
        {"output_tokens": True},
        {"cached_tokens": 1e300},
        {"user": ["alice"]},
    ],
)
def test_a_line_that_was_changed(changed: dict[str, object]) -> None:
    """A wrong value is refused, and the error names its key."""
    with pytest.raises(BadLine, match=f"^{next(iter(changed))}: "):
        read_line(_line(**changed))


def test_names_are_cleaned() -> None:
    """A name from a provider or client is made printable and bounded."""
    entry = read_line(_line(model="a\0\x1b[2Jb\n" + "x" * 900, token_name="\u202ex"))
    assert entry is not None
    assert entry.model == "a\ufffd\ufffd[2Jb\ufffd" + "x" * 492
    assert entry.token_name == "\ufffdx"


@given(
    st.dictionaries(
        st.sampled_from(sorted(LINE)),
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text())
        ),
    )
)
def test_any_values(changed: dict[str, object]) -> None:
    """A line with any values is read, skipped or refused with a reason."""
    try:
        entry = read_line(_line(**changed))
    except BadLine:
        return
    assert entry is None or entry.id


@given(st.text())
def test_any_text(text: str) -> None:
    """No text raises anything but ``BadLine``."""
    for line in (text, f"{{{text}"):
        try:
            read_line(line)
        except BadLine:
            continue


def test_the_groups_of_a_line() -> None:
    """Groups are a list in the log; a line of an earlier Envoy has none."""
    for groups, expected in ((["a", "b\n"], ("a", "b\ufffd")), (None, ()), ("a", ()), ([1], ())):
        entry = read_line(_line(groups=groups))
        assert entry is not None
        assert entry.groups == expected
