"""authz.usage.from_stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.usage import from_stream
from authz.usage.entry import NO_TOKENS, Tokens, Usage, UsageEntry
from authz.usage.from_stream import BadRecord, read_entry, text_of
from authz.usage.names import REQUEST_FIELDS
from tests.support.records import any_value, request_record

ID = "0123456789ab-000000000001"
WHOLE = {
    "entry": ID,
    "decision": "allow",
    "user": "alice",
    "user_id": "a5",
    "token_id": "Abcdefghi1",
    "token_name": "laptop",
    "provider": "anthropic",
    "mode": "centralized",
    "status": "200",
    "duration_ms": "39",
    "details": "via_upstream",
    "request_id": "b0",
    "model": "claude-m",
    "input_tokens": "1234567890",
    "output_tokens": "3",
    "usage": "1",
}


def _read(**changes: str | bytes) -> UsageEntry:
    _, *values = request_record({**WHOLE, **changes})
    return read_entry([any_value(value) for value in values], 1_500_000_000_999)


def test_a_whole_record() -> None:
    """Every field is read, and a missing one is None, not zero."""
    assert _read() == UsageEntry(
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
        tokens=Tokens(input=1_234_567_890, output=3),
    )


@pytest.mark.parametrize(
    ("changes", "usage"),
    [
        ({"usage": "2"}, Usage.PARTIAL),
        ({"usage": "3"}, Usage.FAILED),
        ({"usage": "NULL", "content_encoding": "gzip"}, Usage.COMPRESSED),
        ({"usage": "NULL", "content_encoding": "identity"}, Usage.NONE),
        ({"usage": "NULL", "flags": "DC"}, Usage.CANCELLED),
        ({"usage": "NULL", "flags": "UC,DR"}, Usage.CANCELLED),
        ({"usage": "NULL", "flags": "DI"}, Usage.NONE),
        ({"usage": "NULL", "status": "500"}, Usage.ERROR),
        ({"usage": "NULL", "status": "401", "decision": "deny"}, Usage.REFUSED),
    ],
)
def test_what_is_known_of_tokens(changes: dict[str, str], usage: Usage) -> None:
    """Envoy's other fields tell why a record has no tokens."""
    nothing = {"input_tokens": "NULL", "output_tokens": "NULL", "model": "NULL"}
    entry = _read(**(nothing | changes))
    assert (entry.usage, entry.tokens, entry.model) == (usage, NO_TOKENS, None)


def test_names_that_look_like_nothing() -> None:
    """A dash can be a token's name, but without a user it means no token."""
    assert _read(token_name="-").token_name == "-"
    assert _read(token_name="-", user="-").token_name is None


def test_what_no_database_takes() -> None:
    """NUL and bytes that are not UTF-8 are replaced, and a value that is too long is cut."""
    entry = _read(model=b"a\0\xff" + b"x" * 1000, content_encoding=b"\xff", usage="NULL")
    assert entry.model == "a\ufffd\ufffd" + "x" * 497
    assert entry.usage is Usage.COMPRESSED


def test_names_are_cleaned() -> None:
    """A name has no escape sequence and no line end."""
    entry = _read(model="m\x1b[2J\nroot 9", token_name="\x9bx", request_id="\u202ex")
    assert entry.model == "m\ufffd[2J\ufffdroot 9"
    assert (entry.token_name, entry.request_id) == ("\ufffdx", "\ufffdx")


def test_a_user_named_like_no_value() -> None:
    """``NULL``, which CEL writes for a missing value, can also be the name of a user."""
    assert _read(user="NULL").username == "NULL"
    assert _read(user="NULL", token_name="NULL").token_name == "NULL"


@pytest.mark.parametrize("count", ["1000000000001", "9" * 15, "9" * 300, "-1", "1.0", "٣"])
def test_what_is_no_count(count: str) -> None:
    """A count that no answer can have is unknown, since sums of such counts would fail."""
    assert _read(input_tokens=count).tokens == Tokens(output=3)
    assert _read(input_tokens="1000000000000").tokens.input == 10**12


def test_long_texts_leave_nothing_behind() -> None:
    """A long value from a provider is cut, and is not remembered."""
    for number in range(5_000):
        entry = _read(content_encoding=f"{number}{'x' * 20_000}", model="y" * 20_000)
        assert len(entry.model or "") == 500
    before = from_stream._known.cache_info().currsize
    text_of(any_value("z" * 200))
    assert from_stream._known.cache_info().currsize == before


@pytest.mark.parametrize("changes", [{"entry": "x"}, {"entry": "-"}, {"entry": ""}])
def test_a_record_without_an_id(changes: dict[str, str]) -> None:
    """A record without an id is refused, since it could not be told from another."""
    with pytest.raises(BadRecord):
        _read(**changes)


@given(st.lists(st.binary(max_size=30), max_size=30), st.integers(0, 2**64 - 1))
def test_any_values_are_read_or_refused(values: list[bytes], time_ns: int) -> None:
    """Any values raise nothing but BadRecord, even with a valid id."""
    for tried in (values, [any_value(ID), *values[: len(REQUEST_FIELDS) - 1]]):
        try:
            entry = read_entry(tried, time_ns)
        except BadRecord:
            continue
        assert entry.id == ID


@given(st.lists(st.binary(max_size=30), min_size=22, max_size=23))
def test_any_fields_are_read(texts: list[bytes]) -> None:
    """Any texts in the other fields of a record with a valid id make a request."""
    assert read_entry([any_value(ID), *map(any_value, texts)], 0).id == ID


def test_the_groups_of_a_user() -> None:
    """Groups are read from a JSON list; any other text gives no groups."""
    assert _read(groups='["a,b","\\u00fc","a,b","x\\u001bz"]').groups == ("a,b", "ü", "x\ufffdz")
    for other in ("-", "", "[", "[1]", '{"a": 1}', "[" * 10_000, '["' + "x" * 20_000 + '"]'):
        assert _read(groups=other).groups == ()


def test_a_record_of_an_envoy_that_was_rendered_before_groups() -> None:
    """A record without the last value is read, with its other values as before."""
    _, *values = request_record(WHOLE)
    entry = read_entry([any_value(value) for value in values[:-1]], 1_500_000_000_999)
    assert entry == _read()
