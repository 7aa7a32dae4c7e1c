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
        """Return it."""
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
    """Its Envoy tells of every request on the same stream, which puts no key to rest."""
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
    """What is no refusal of a key of ours is passed over, and never raises."""
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
    """What a provider itself answers to a central key counts, if it refuses the key."""
    seen: list[tuple[str, int]] = []
    reader = RefusedKeys({"anthropic": _pool()}, lambda *one: seen.append(one))
    reader.receive(_message(**changes))
    assert seen == counted
