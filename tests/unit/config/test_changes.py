"""authz.config.changes: what a reload may change, and how changes are described."""

from typing import Any

import pytest

from authz.config.changes import changed_in_listeners, describe, fingerprint, need_restart
from authz.config.settings import Config

A = {"name": "a", "type": "anthropic", "base_url": "https://a.test/"}
B = {"name": "b", "type": "openai", "base_url": "https://b.test/v1", "key": {"env": "B_KEY"}}


def _config(*providers: dict[str, Any], **values: Any) -> Config:
    return Config.model_validate({"providers": list(providers), **values})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (_config(A), _config(A), "nothing has changed"),
        (_config(A), _config(A, B), "providers added b"),
        (_config(A, B), _config(B), "providers removed a"),
        (_config(A, B), _config(B, A), "providers reordered"),
        (_config(B), _config({**B, "key": {"env": "C"}}), "providers changed b"),
        (
            _config(A, B),
            _config({**A, "name": "c"}, {**B, "websocket": False}, allow_byok=False),
            "providers added c; changed b; removed a; allow_byok is now false",
        ),
        (
            _config(A),
            _config(A, send_actor_headers=True, envoy={"websocket_timeout": 60}),
            "send_actor_headers is now true; envoy.websocket_timeout is now 60",
        ),
        (
            _config(B),
            _config({**B, "key": None, "keys": [{"env": "B_KEY"}, {"env": "C_KEY"}]}),
            "providers changed b",
        ),
        (
            _config(A),
            _config(A, audit_keep_days=9, usage={"keep_days": 8}, tokens={"max_per_user": 7}),
            "audit_keep_days is now 9; usage.keep_days is now 8; tokens.max_per_user is now 7",
        ),
    ],
)
def test_what_changes(old: Config, new: Config, said: str) -> None:
    """One line names the providers and settings that differ, and all of it can be reloaded."""
    assert describe(old, new) == said
    assert need_restart(old, new) == []
    same = old.providers == new.providers and said == "nothing has changed"
    assert (fingerprint(old) == fingerprint(new)) is same


def test_settings_that_listeners_depend_on_are_named() -> None:
    """A provider's fallback and credential headers are named if they differ, and nothing else."""
    to_b, more = {**A, "fallback": ["b"]}, {**A, "credential_headers": ["x-other"]}
    assert changed_in_listeners(_config(A, B), _config(to_b, B)) == ["fallback"]
    assert changed_in_listeners(_config(to_b), _config(more)) == ["fallback", "credential_headers"]
    assert changed_in_listeners(_config(A), _config(B, A)) == []


def test_master_keys_can_be_rotated() -> None:
    """Other master keys need a reload only; switching stored keys on or off needs a restart."""
    one, two = ({"keys": [{"env": name}]} for name in ("ONE", "TWO"))
    off, old, new = _config(A), _config(A, own_keys=one), _config(A, own_keys=two)
    assert need_restart(old, new) == []
    assert describe(old, new).startswith("own_keys.keys is now")
    assert need_restart(off, new) == ["own_keys"]
    assert need_restart(old, off) == ["own_keys"]
    assert len({fingerprint(one) for one in (off, old, new)}) == 3


def test_a_replaced_file_is_a_change() -> None:
    """A provider whose CA file has other content is changed, though its settings are the same."""
    assert describe(_config(A, B), _config(A, B), ["b"]) == "providers changed b"


@pytest.mark.parametrize(
    ("values", "paths"),
    [
        ({"listen": "127.0.0.1:1"}, ["listen"]),
        ({"identity": "sqlite:///./other.db"}, ["identity"]),
        ({"authz": {"grpc": "unix:./a.sock", "http": "127.0.0.1:2"}}, ["authz.grpc", "authz.http"]),
        ({"envoy": {"max_connections": 5}, "allow_byok": False}, ["envoy.max_connections"]),
        ({"usage": {"tags": True, "keep_days": 8}}, ["usage.tags"]),
        ({"proxy": {"ca": {"cert_file": "a", "key_file": "b"}}}, ["proxy"]),
    ],
)
def test_what_needs_a_restart(values: dict[str, Any], paths: list[str]) -> None:
    """A setting that is not known to be reloadable is named by its path."""
    assert need_restart(_config(A), _config(A, **values)) == paths


def test_every_other_setting_needs_a_restart() -> None:
    """A setting that is added later needs a restart until it is declared reloadable.

    The list of reloadable settings is short, and this test has to be changed with it.
    """
    settings = set(Config.model_fields) - {"envoy", "authz"}
    assert settings >= {"providers", "allow_byok", "send_actor_headers"}
    assert need_restart(_config(A), _config(A, envoy={"max_connections": 5}), {"envoy"}) == []


def test_no_secret_is_in_the_fingerprint() -> None:
    """The identity URL, which may hold a password, does not affect the fingerprint in a metric."""
    one = _config(A, identity="postgresql://user:one@db/coder")
    two = _config(A, identity="postgresql://user:two@db/coder")
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(one) < 1 << 48
