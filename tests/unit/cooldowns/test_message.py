"""authz.cooldowns.message."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.cooldowns.message import MAX_LENGTH, read, refusal_of, write
from authz.keys.refusal import Refusal, Requester
from authz.secret import Secret

KEY, URL, NOW = Secret("sk-first-0123456789abcd"), "https://a.test/", 1_700_000_000.0
REFUSAL = Refusal(1, KEY, 429, 42.5, Requester("uuid-of-alice", "Abcdefghi1", "alice"))


def _fields(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(write("a", URL, REFUSAL, NOW))
    return fields | changes


def test_a_process_with_the_same_key_understands_it() -> None:
    """The rest of the cooldown arrives, and of its requester the user's id alone."""
    text = write("a", URL, REFUSAL, NOW)
    message = read(text)
    assert message is not None
    assert (message.provider, message.index) == ("a", 1)
    found = refusal_of(message, URL, KEY, NOW + 2.5)
    assert found is not None
    assert found.seconds == pytest.approx(40, abs=0.01)
    expected = replace(REFUSAL, seconds=found.seconds, requester=Requester("uuid-of-alice"))
    assert found == expected


def test_it_has_no_key() -> None:
    """Neither the key nor its masked form is in the message."""
    text = write("a", URL, REFUSAL, NOW)
    for secret in (KEY.reveal(), KEY.reveal()[:4], KEY.reveal()[-4:], KEY.hint, "alice,", "Abcdef"):
        assert secret not in text


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "b"},
        {"index": 0},
        {"status": 401},
        {"until": round((NOW + 60) * 1000)},
        {"user_id": "uuid-of-bob"},
        {"is_confirmed": True},
        {"code": "0" * 64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_forged_message_counts_for_nothing(change: dict[str, Any]) -> None:
    """A message that was changed without the key has no effect."""
    message = read(json.dumps(_fields(**change)))
    assert message is not None
    assert refusal_of(message, URL, KEY, NOW) is None


def test_another_key_or_url_in_the_place() -> None:
    """A message counts for the same key at the same base URL, and until its end."""
    message = read(write("a", URL, REFUSAL, NOW))
    assert message is not None
    assert refusal_of(message, URL, Secret("sk-first-0123456789abce"), NOW) is None
    assert refusal_of(message, "https://b.test/", KEY, NOW) is None
    assert refusal_of(message, URL, KEY, NOW + 42.4) is not None
    assert refusal_of(message, URL, KEY, NOW + 42.6) is None


@pytest.mark.parametrize(
    "change",
    [
        {"index": -1},
        {"index": 5},
        {"index": True},
        {"index": 1.0},
        {"status": 403},
        {"status": 429.0},
        {"until": -1},
        {"until": 1e400},
        {"until": 1 << 53},
        {"user_id": None},
        {"is_confirmed": 1},
        {"code": "0" * 63},
        {"code": "é" * 64},
        {"provider": ["a"]},
        {"further": 1},
    ],
)
def test_other_values_are_no_message(change: dict[str, Any]) -> None:
    """A text with a field of the wrong type or range is not a message."""
    assert read(json.dumps(_fields(**change))) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@settings(max_examples=50)
@given(st.text() | _JSON.map(json.dumps) | st.dictionaries(
    st.sampled_from(sorted(_fields())), _JSON
).map(lambda some: json.dumps(_fields(**some))))  # fmt: skip
def test_any_text_is_read(text: str) -> None:
    """Reading any text raises nothing, and a message without a valid code has no effect."""
    message = read(text)
    if message is not None and message.code != _fields()["code"]:
        assert refusal_of(message, URL, KEY, NOW) is None


def test_deep_and_long_texts() -> None:
    """A text that is too long or too deep is not a message."""
    assert read("[" * 100_000) is None
    assert read("[" * (MAX_LENGTH - 1)) is None
    assert read(json.dumps(_fields(user_id="x" * MAX_LENGTH))) is None
