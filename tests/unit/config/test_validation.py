"""authz.config.validation: every problem at once, each with its place and its cure."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.config.file import written
from authz.config.validation import known, validated

A_KEY = "sk-ant-api03-0123456789abcdef"
PROVIDER = {"name": "a", "type": "openai", "base_url": "https://a.example/v1"}


def _found(values: Any) -> dict[str, str]:
    _, problems = validated(values)
    return {written(location): text for location, text in problems}


def test_rules_beside_wrong_values() -> None:
    """A wrong value does not hide the problems of rules that don't read it, in any section."""
    found = _found(
        {
            "listen": 8080,
            "identity": "sqlite:///./a.db",
            "identity_max_staleness": "5s",
            "providers": [
                {**PROVIDER, "websocket": "yes", "key": {"env": "A"}, "keys": [{"env": "A"}]},
                {**PROVIDER, "base_url": "x", "type": "gemini", "websocket": True},
                {"name": "b"},
                "c",
            ],
            "authz": {"http": "x", "grpc": "0.0.0.0:9001", "workers": 0},
            "proxy": {"tunnel": 1, "upstream_proxy": "https://proxy:3128"},
        }
    )
    assert found.keys() == {
        "listen",
        "identity_max_staleness",
        "providers",
        "providers[0].websocket",
        "providers[0]",
        "providers[1].base_url",
        "providers[1].websocket",
        "providers[2].type",
        "providers[2].base_url",
        "providers[3]",
        "authz.http",
        "authz.grpc",
        "authz.workers",
        "proxy.tunnel",
        "proxy.upstream_proxy",
    }
    assert found["providers"] == "these names are used twice: a"
    assert found["providers[0]"] == "key and keys are mutually exclusive: remove one"


def test_a_wrong_value_causes_no_second_problem() -> None:
    """A rule is not applied to a value that is wrong itself, nor to a default in its place."""
    tls = {"cert_file": 1, "key_file": 2, "ca_file": 3}
    found = _found({"authz": {"grpc": "0.0.0.0:9001", "tls": tls}, "identity": "x"})
    assert found.keys() == {"identity", *(f"authz.tls.{name}" for name in tls)}
    found = _found({"identity_max_staleness": 5, "identity": 7})
    assert found.keys() == {"identity"}
    found = _found({"providers": [{**PROVIDER, "extra_paths": [{"path": "/v1/x", "methods": 1}]}]})
    assert found.keys() == {"providers[0].extra_paths[0].methods"}
    found = _found({"providers": [{**PROVIDER, "key": {"file": 1}}]})
    assert found.keys() == {"providers[0].key.file"}


def test_a_valid_configuration() -> None:
    """A valid configuration is complete and has no problem."""
    config, problems = validated({"providers": [PROVIDER]})
    assert problems == []
    assert known(config, "listen", "providers")


def test_what_is_wrong_is_not_known() -> None:
    """A wrong value is left out, and reading it fails instead of giving a default."""
    config, problems = validated({"listen": 8080, "authz": {"http": 1, "workers": 2}})
    assert len(problems) == 2
    assert not known(config, "listen")
    assert not known(config.authz, "http")
    assert config.authz.workers == 2
    with pytest.raises(AttributeError):
        _ = config.listen


@pytest.mark.parametrize(
    ("values", "path", "said"),
    [
        ({"listn": 1}, "listn", "unknown key: did you mean listen?"),
        ({"allow-byok": True}, "allow-byok", "unknown key: did you mean allow_byok?"),
        ({"drain_timeout": 5}, "drain_timeout", "unknown key: did you mean envoy.drain_timeout?"),
        ({"authz": {"htp": 1}}, "authz.htp", "unknown key: did you mean http?"),
        ({"providers": [{**PROVIDER, "kye": 1}]}, "providers[0].kye", "did you mean key?"),
        ({"colour": 1}, "colour", "unknown key"),
        ({"listen": 8080}, "listen", "use HOST:PORT, for example 127.0.0.1:8080"),
        ({"listen": "8080"}, "listen", "must be host:port, for example 127.0.0.1:8080"),
        ({"listen": True}, "listen", "must be host:port, for example 127.0.0.1:8080"),
        ({"listen": None}, "listen", "must be host:port, for example 127.0.0.1:8080"),
        ({"authz": {"grpc": 9001}}, "authz.grpc", "use HOST:PORT, for example 127.0.0.1:9001"),
        ({"proxy": {"upstream_proxy": 1}}, "proxy.upstream_proxy", "must begin with https://"),
        ({"tls": "cert.pem"}, "tls", "use {cert_file: PATH, key_file: PATH}"),
        ({"proxy": {"ca": "x"}}, "proxy.ca", "keys to values: cert_file, key_file"),
        ({"providers": {}}, "providers", "must be a list"),
        ({"log": {"level": "loud"}}, "log.level", "must be one of 'debug', 'info', 'warning' or"),
        ({"audit_keep_days": "30d"}, "audit_keep_days", "must be a whole number of days"),
        ({"audit_keep_days": 0}, "audit_keep_days", "must be at least 1"),
        ({"tracing": {"otlp": "http://a", "sample": 2}}, "tracing.sample", "must be at most 1"),
        ({"tracing": {"otlp": "http://a", "sample": 0}}, "tracing.sample", "must be more than 0"),
        ({"envoy": {"max_heap_mib": "2G"}}, "envoy.max_heap_mib", "a whole number of MiB"),
        ({"envoy": {"drain_timeout": "5"}}, "envoy.drain_timeout", "such as 500ms, 30s, 5m or 1h"),
        ({"envoy": {"drain_timeout": 5.5}}, "envoy.drain_timeout", "must be whole seconds"),
        ({"envoy": {"drain_timeout": "1500ms"}}, "envoy.drain_timeout", "must be whole seconds"),
        ({"envoy": {"websocket_timeout": "0s"}}, "envoy.websocket_timeout", "must be at least 1"),
        ({"envoy": {"drain_timeout": "2d"}}, "envoy.drain_timeout", "must be at most 86400"),
        ({"identity_stale_if_error": "soon"}, "identity_stale_if_error", "such as 500ms, 30s"),
        (
            {"providers": [{**PROVIDER, "type": "antropic"}]},
            "providers[0].type",
            "did you mean anthropic?",
        ),
    ],
)
def test_cures(values: dict[str, Any], path: str, said: str) -> None:
    """A message says what to write instead."""
    assert said in _found(values)[path]


@pytest.mark.parametrize("key", [A_KEY, 5, [A_KEY], {"value": A_KEY}, {A_KEY: None}])
def test_a_key_in_the_file(key: object) -> None:
    """A key that was written into the file gets the cure and is not repeated."""
    found = _found({"providers": [{**PROVIDER, "key": key}, {**PROVIDER, "keys": [key]}]})
    for path in ("providers[0].key", "providers[1].keys[0]"):
        assert "{env: NAME}, {file: PATH}, {exec: " in found[path]
    assert A_KEY not in repr(found)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(300, 300), ("300s", 300), ("5m", 300), ("1h30m", 5400), ("3000ms", 3), ("0s", 0), (0, 0)],
)
def test_durations(value: object, seconds: int) -> None:
    """Envoy's times are a number of seconds or have a unit."""
    config, problems = validated({"envoy": {"drain_timeout": value}})
    assert problems == []
    assert config.envoy.drain_timeout == seconds
    assert isinstance(config.envoy.drain_timeout, int)


_WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"bogus": 1}, "bogus"),
    "type": ({"allow_byok": "no"}, "allow_byok"),
    "listen": ({"listen": 1}, "listen"),
    "rule": ({"identity_max_staleness": 5}, "identity_max_staleness"),
    "twice": ({"providers": [PROVIDER, PROVIDER]}, "providers"),
    "service": ({"authz": {"grpc": "0.0.0.0:1"}}, "authz.grpc"),
    "envoy": ({"envoy": {"authz_http": ["a:1", "a:1"]}}, "envoy.authz_http"),
    "replicas": ({"envoy": {"authz_grpc": ["a:1"]}}, "envoy.authz_grpc"),
    "usage": ({"usage": {"enabled": 1}}, "usage.enabled"),
    "tracing": ({"tracing": {"otlp": "http://a/b"}}, "tracing.otlp"),
}


@given(st.sets(st.sampled_from(sorted(_WRONG)), min_size=1))
def test_any_combination_is_listed_whole(names: set[str]) -> None:
    """Problems of different sections never hide each other, whatever their kinds."""
    values: dict[str, Any] = {}
    for name in sorted(names):
        for key, value in _WRONG[name][0].items():
            both = isinstance(value, dict) and isinstance(values.get(key), dict)
            values[key] = {**values[key], **value} if both else value
    expected = {_WRONG[name][1] for name in names}
    if {"service", "replicas"} <= names:
        # With authz.grpc at a TCP address the replicas may be elsewhere, but not in clear.
        assert "credentials would cross the network to" in _found(values)["envoy.authz_grpc"]
    assert _found(values).keys() == expected


_SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=6)
_ANY = st.recursive(
    _SCALARS,
    lambda one: (
        st.lists(one, max_size=2)
        | st.dictionaries(
            st.sampled_from(["name", "type", "key", "env", "cert_file", "grpc", "tls", "x"]),
            one,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["listen", "tls", "providers", "proxy", "authz", "envoy", "usage", "y"]),
        _ANY,
    )
)
def test_any_values(values: dict[str, Any]) -> None:
    """Any file gives a configuration or a list of problems."""
    config, problems = validated(values)
    assert problems or known(config, *type(config).model_fields)
    for one, other in itertools.combinations(problems, 2):
        assert one != other
