"""authz.check.refused_keys."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.check.refused_keys import RefusedKeys
from authz.keys.pool import KeyPool
from authz.pb import access_log_pb2 as pb
from authz.secret import Secret

KEYS = [Secret("sk-first-0123456789abcd"), Secret("sk-second-0123456789wxyz")]


class Key:
    """A key."""

    def __init__(self, key: Secret) -> None:
        self.key = key

    def current(self) -> Secret:
        """Return the key."""
        return self.key


def _pool() -> KeyPool:
    return KeyPool("anthropic", [Key(key) for key in KEYS], has_cooldown=True)


def _message(
    status: int = 429, details: str = "via_upstream", namespace: str = "", **metadata: str
) -> bytes:
    metadata = {
        "provider": "anthropic",
        "key_index": "0",
        "credential_hint": KEYS[0].hint,
        **metadata,
    }
    message = pb.StreamAccessLogsMessage()
    entry = message.http_logs.log_entry.add()
    fields = entry.common_properties.metadata.filter_metadata[
        namespace or "envoy.filters.http.ext_authz"
    ].fields
    for key, value in metadata.items():
        if value:
            fields[key].string_value = value
    entry.response.response_code.value = status
    entry.response.response_code_details = details
    entry.response.response_headers["retry-after"] = "5"
    return message.SerializeToString()


def test_requests_as_an_earlier_version_had_them_sent() -> None:
    """Entries of an earlier version, whose Envoy reports every request, put no key to rest."""
    message = pb.StreamAccessLogsMessage.FromString(_message())
    message.http_logs.log_entry[0].common_properties.filter_state_objects.append(b"x")
    pool = _pool()
    RefusedKeys({"anthropic": pool}).receive(message.SerializeToString())
    assert _chosen(pool) == 0


def _chosen(pool: KeyPool) -> object:
    return getattr(pool.choose(), "index", None)


def test_a_refused_key_rests() -> None:
    """An entry with a provider's 429 puts the key that it names to rest."""
    pool = _pool()
    RefusedKeys({"anthropic": pool}).receive(_message())
    assert _chosen(pool) == 1


@pytest.mark.parametrize(
    "message",
    [
        _message(200),
        # Envoy's own 429, as from the limits in gateway.yaml.
        _message(details="request_rate_limited"),
        _message(namespace="somebody.else"),
        _message(key_index=""),
        _message(key_index="first"),
        _message(provider="openai"),
        _message(credential_hint="sk-o...wxyz"),
        pb.StreamAccessLogsMessage().SerializeToString(),
        b"\xff",
    ],
)
def test_other_entries_change_nothing(message: bytes) -> None:
    """An entry that is not a refusal of one of authz's keys is ignored, and never raises."""
    pool = _pool()
    RefusedKeys({"anthropic": pool}).receive(message)
    assert _chosen(pool) == 0


@given(st.binary())
def test_bytes_never_raise(message: bytes) -> None:
    """Any bytes are taken without an exception, which would end Envoy's stream."""
    RefusedKeys({"anthropic": _pool()}).receive(message)


@pytest.mark.parametrize(
    ("changes", "counted"),
    [
        ({}, [("anthropic", 429)]),
        ({"status": 403}, [("anthropic", 403)]),
        ({"status": 500}, []),
        ({"details": "ext_authz_denied"}, []),
    ],
)
def test_refusals_are_counted(changes: Any, counted: list[tuple[str, int]]) -> None:
    """A provider's own answer to a central key is counted if it refuses the key."""
    seen: list[tuple[str, int]] = []
    reader = RefusedKeys({"anthropic": _pool()}, lambda *one: seen.append(one))
    reader.receive(_message(**changes))
    assert seen == counted


def test_a_retried_refusal_is_counted_by_one() -> None:
    """A retried refusal puts the key to rest; of several processes only the first counts it."""
    seen: list[tuple[str, int]] = []
    final: list[tuple[str, int]] = []
    pool = _pool()
    reader = RefusedKeys(
        {"anthropic": pool},
        lambda *one: final.append(one),
        lambda *one: seen.append(one),
    )
    reader.receive(_message(429, retried="true"))
    assert (_chosen(pool), seen) == (1, [])
    reader.receive(_message(401, retried="counted"))
    reader.receive(_message(529, retried="counted"))
    reader.receive(_message(418, retried="counted"))
    assert (seen, final) == ([("anthropic", 401), ("anthropic", 529)], [])


def _refusals(*ago: int) -> list[str]:
    """Return the field with refusals of the first key, and of the second one now."""
    keys = [(0, f"{10_000 - one}") for one in ago] + [(1, "10000")]
    return [
        text
        for index, at in keys
        for text in ("anthropic", str(index), KEYS[index].hint, "429", "5", at)
    ]


def _last_message(refusals: list[str]) -> bytes:
    """Return the entry of the last try, which had the second key."""
    message = pb.StreamAccessLogsMessage.FromString(
        _message(key_index="1", credential_hint=KEYS[1].hint)
    )
    metadata = message.http_logs.log_entry[0].common_properties.metadata
    fields = metadata.filter_metadata["envoy.filters.http.ext_authz"].fields
    for text in refusals:
        fields["refusals"].list_value.values.add().string_value = text
    return message.SerializeToString()


@pytest.mark.parametrize("messages", [["last"], ["last", "first"], ["first", "last"]])
def test_the_order_of_entries_makes_no_difference(messages: list[str]) -> None:
    """The last entry also reports the earlier refusal, whose own entry may arrive late."""
    pool = _pool()
    reader = RefusedKeys({"anthropic": pool})
    for one in messages:
        reader.receive(_last_message(_refusals(0)) if one == "last" else _message(retried="true"))
    (cooldown,) = pool.cooldowns()
    assert (cooldown.index, cooldown.status) == (0, 429)
    assert 4 < cooldown.seconds <= 5


@pytest.mark.parametrize(("ago", "rests"), [(2000, 0), (6000, 1), (-3000, 0)])
def test_an_earlier_refusal_counts_from_its_own_time(ago: int, rests: int) -> None:
    """A cooldown starts at its refusal, so a refusal that is older than it has no effect."""
    pool = _pool()
    RefusedKeys({"anthropic": pool}).receive(_last_message(_refusals(ago)))
    (cooldown,) = pool.cooldowns()
    assert cooldown.index == rests
    left = 5 if rests else 5 - max(ago, 0) / 1000
    assert left - 1 < cooldown.seconds <= left


@pytest.mark.parametrize(
    "refusals",
    [
        ["other", *_refusals(0)[1:]],
        ["anthropic", "", *_refusals(0)[2:]],
        ["anthropic", "7", *_refusals(0)[2:]],
        [*_refusals(0)[:2], "sk-o...wxyz", *_refusals(0)[3:]],
        [*_refusals(0)[:3], "529", *_refusals(0)[4:]],
    ],
)
def test_earlier_refusals_of_no_key_of_the_pool(refusals: list[str]) -> None:
    """Refusals of other keys are ignored; the entry's own refusal counts."""
    pool = _pool()
    RefusedKeys({"anthropic": pool}).receive(_last_message(refusals))
    assert [one.index for one in pool.cooldowns()] == [1]


def test_an_overloaded_provider_puts_no_key_to_rest() -> None:
    """A 529 says nothing about the key, so the key does not rest."""
    pool = _pool()
    RefusedKeys({"anthropic": pool}).receive(_message(529, retried="counted"))
    assert _chosen(pool) == 0
