"""authz.config.shared_limits: stores, limits, and what contradicts other settings."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from authz.config.changes import fingerprint, need_restart
from authz.config.loading import load
from authz.config.settings import Config
from authz.config.shared_limits import ValkeyURL, parse_store, place_of
from authz.database.url import PostgresURL, SQLiteURL
from authz.errors import ConfigError

_EACH = {"each_user": {"requests_per_minute": 60}}


def _config(shared: dict[str, Any], **others: Any) -> Config:
    return Config.model_validate({"limits": {"shared": shared}, **others})


def _replicas(*addresses: str) -> dict[str, Any]:
    pair = {"cert_file": "cert.pem", "key_file": "key.pem"}
    tls = {**pair, "ca_file": "ca.pem"}
    authz = {"grpc": "127.0.0.1:9001", "http": "127.0.0.1:8081", "tls": tls, "client_tls": pair}
    return {"authz": authz, "envoy": {"authz_grpc": list(addresses)}}


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("valkey://v", ValkeyURL("v", 6379, 0, "", tls=False)),
        ("redis://authz@v:1/3", ValkeyURL("v", 1, 3, "authz", tls=False)),
        ("rediss://[::1]:7000/", ValkeyURL("::1", 7000, 0, "", tls=True)),
        ("VALKEYS://v.example.com", ValkeyURL("v.example.com", 6379, 0, "", tls=True)),
        ("memory", None),
    ],
)
def test_stores(text: str, url: ValkeyURL | None) -> None:
    """Valkey and Redis have the same URLs."""
    assert parse_store(text) == url


def test_stores_in_databases() -> None:
    """Database URLs are written as for identity; an unset store is PostgreSQL or memory."""
    assert isinstance(parse_store("sqlite:///./limits.db"), SQLiteURL)
    assert isinstance(parse_store("postgresql://host/name"), PostgresURL)
    shared = _config(_EACH).limits.shared
    assert shared is not None
    assert place_of(shared, "sqlite:///./x.db") is None
    assert isinstance(place_of(shared, "postgresql://host/name"), PostgresURL)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("valkey://:secret@v", "set limits.shared.password"),
        ("valkey://user:secret@v", "set limits.shared.password"),
        ("valkey://user:sec@ret@v", "set limits.shared.password"),
        ("valkey://v:99999/", "host or port is malformed"),
        ("valkey://v:secret/", "host or port is malformed"),
        ("valkey://v/secret", "the number of a database"),
        ("valkey://", "the URL is malformed"),
        ("valkey://v?secret=1", "the URL is malformed"),
        ("https://secret.example.com", "must be a store of counts"),
        ("", "must be a store of counts"),
    ],
)
def test_bad_stores_are_not_quoted(text: str, problem: str) -> None:
    """The error says what to write, and shows nothing of a URL that may hold a password."""
    with pytest.raises(ValueError, match=problem) as error:
        parse_store(text)
    assert "secret" not in str(error.value)


@given(st.text(max_size=30).map(lambda rest: f"valkey://{rest}"))
def test_any_text_is_a_url_or_a_clear_error(text: str) -> None:
    """Any text gives a URL with a host and a port, or a ``ValueError``."""
    with contextlib.suppress(ValueError):
        url = parse_store(text)
        assert isinstance(url, ValkeyURL)
        assert url.host
        assert 0 < url.port < 65536


@pytest.mark.parametrize(
    ("shared", "others", "problem"),
    [
        ({"store": "memory"}, {"authz": {"workers": 2}}, "counts in one process"),
        ({}, {"authz": {"workers": 2}}, "counts in one process"),
        ({}, _replicas("127.0.0.1:9001", "127.0.0.2:9001"), "counts in one process"),
        ({}, _replicas("authz:9001"), "may stand for several replicas"),
        (
            {"store": "sqlite:///./l.db"},
            _replicas("127.0.0.1:9001", "127.0.0.2:9001"),
            "SQLite is for one machine",
        ),
        (
            {"store": "sqlite:///./.authz/identity.db"},
            {},
            "store: must be another file than that of identity",
        ),
        ({"each_user": {"concurrent_requests": 1}}, {"usage": {"enabled": False}}, "usage.enabled"),
        ({"providers": {"nobody": {"requests_per_minute": 1}}}, {}, "no provider of this name"),
        ({"password": {"env": "X"}}, {}, "password: needs store to be valkey"),
        ({"store": "valkey://v", "ca_file": "ca.pem"}, {}, "ca_file: needs store to begin with"),
        ({"store": "valkey://user@v"}, {}, "a user needs password"),
        ({"store": "valkey://v", "password": {"exec": ["cat"]}}, {}, "must be {env: NAME} or"),
        ({"each_user": {"requests_per_minute": 0}}, {}, "greater than or equal to 1"),
        ({"each_user": {"request_per_minute": 1}}, {}, "request_per_minute"),
        ({"longest_request": "30s"}, {}, "greater than or equal to 60"),
        ({"unavailable": "allow"}, {}, "'refuse' or 'pass'"),
    ],
)
def test_contradictions(shared: dict[str, Any], others: dict[str, Any], problem: str) -> None:
    """Each error names the setting and the cure."""
    with pytest.raises(ValidationError, match=problem):
        _config(shared, **others)


def test_a_single_process_may_be_named_by_its_host() -> None:
    """The store ``memory`` declares that there is only one process."""
    assert _config({"store": "memory", **_EACH}, **_replicas("authz:9001"))


def test_several_workers_share_a_file() -> None:
    """A SQLite file is enough for the workers of one machine."""
    assert _config({"store": "sqlite:///./.authz/limits.db", **_EACH}, authz={"workers": 2})


def test_a_reload_changes_limits_but_no_store() -> None:
    """Limits take effect at once; the store, and the section as a whole, need a restart."""
    old = _config(_EACH)
    new = _config({**_EACH, "unavailable": "pass", "groups": {"x": {"concurrent_requests": 2}}})
    assert need_restart(old, new) == []
    assert fingerprint(old) != fingerprint(new)
    moved = _config({**_EACH, "store": "valkey://v"})
    assert need_restart(old, moved) == ["limits.shared.store"]
    assert "limits.shared" in need_restart(Config(), old)
    assert "limits.shared" in need_restart(old, Config())


def test_the_password_is_checked_before_the_start(tmp_path: Path) -> None:
    """``authz config check`` names a missing file or variable, and no password."""
    file = tmp_path / "gateway.yaml"
    for place, problem in (
        ("{file: nowhere}", "limits.shared.password.file: "),
        ("{env: NOT_SET}", "limits.shared.password.env: NOT_SET is not set"),
    ):
        shared = f"store: valkey://v, password: {place}"
        file.write_text(f"providers: []\nlimits: {{shared: {{{shared}}}}}\n")
        with pytest.raises(ConfigError) as error:
            load(file, environ={})
        assert any(problem in one for one in error.value.problems), error.value.problems
