"""authz.envoy.retries, as it is in routes and clusters."""

import json
import re
from typing import Any

import pytest

from authz.check.ext_authz import CONTEXT_RETRIES
from authz.envoy.retry_scripts import _text
from tests.unit.envoy.rendered import cluster, rendered

POOL = [{"env": "KEY_1"}, {"env": "KEY_2"}]


def _provider(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "type": "anthropic", "base_url": "https://example.com/", **settings}


def _routes(value: object, prefix: str) -> list[dict[str, Any]]:
    """Return all routes of a provider, wherever they are in a document."""
    if isinstance(value, list):
        return [route for one in value for route in _routes(one, prefix)]
    if not isinstance(value, dict):
        return []
    is_one = str(value.get("name", "")).startswith(f"{prefix} ") and "match" in value
    found = [route for one in value.values() for route in _routes(one, prefix)]
    return [value, *found] if is_one else found


@pytest.mark.parametrize(
    "settings",
    [
        {"key": {"env": "KEY_1"}},
        {"keys": POOL[:1]},
        {"keys": POOL, "retry_keys": False},
        {},
    ],
)
def test_nothing_changes_without_another_key(settings: dict[str, Any]) -> None:
    """A provider with one key, or with retries off, has routes and a cluster without any of it."""
    document = rendered(providers=[_provider("one", **settings)])
    text = json.dumps([cluster(document, "provider_one"), _routes(document, "one")])
    for word in ("retriable-status-codes", "x-envoy-max-retries", "lua", "max_retries"):
        assert word not in text
    assert f'"{CONTEXT_RETRIES}"' not in text


@pytest.mark.parametrize("has_proxy", [False, True])
def test_a_pool_is_retried(has_proxy: bool) -> None:
    """Every route with the central key lets authz allow retries, on both listeners."""
    proxy = {"proxy": {"listen": "127.0.0.1:18888"}} if has_proxy else {}
    document = rendered(providers=[_provider("two", keys=POOL)], **proxy)
    routes = [one for one in _routes(document, "two") if "route" in one]
    retried = [one for one in routes if "request_headers_to_add" in one]
    assert len(retried) >= (6 if has_proxy else 3)
    for route in routes:
        (told,) = (
            one["check_settings"]["context_extensions"]
            for name, one in route["typed_per_filter_config"].items()
            if name.endswith("ext_authz")
        )
        is_retried = told.get(CONTEXT_RETRIES) == "true"
        assert is_retried is (told.get("central_key") != "false")
        assert is_retried is (route in retried)
        policy = route["route"].get("retry_policy", {})
        assert is_retried is ("retriable-status-codes" in policy.get("retry_on", ""))
        assert "retriable_status_codes" not in policy
    (limits,) = cluster(document, "provider_two")["circuit_breakers"]["thresholds"]
    assert limits["max_retries"] == limits["max_requests"]


def test_every_process_is_told() -> None:
    """The script calls each cluster that the log of refused keys goes to."""
    document = rendered(
        providers=[_provider("two", keys=POOL)],
        authz={"grpc": "127.0.0.1:9001"},
        envoy={"authz_grpc": ["127.0.0.1:9001", "127.0.0.1:9002"]},
    )
    text = json.dumps(cluster(document, "provider_two"))
    assert '\\"authz_0\\", \\"authz_1\\"' in text


def test_a_fallback_provider_gets_the_paths_of_models_alone() -> None:
    """Only routes to models use a fallback's cluster; both clusters and listener have filters."""
    document = rendered(
        providers=[
            _provider("one", key={"env": "KEY_1"}, fallback=["two"]),
            _provider("two", key={"env": "KEY_2"}),
        ]
    )
    routes = [one for one in _routes(document, "one") if "route" in one]
    elsewhere = [one for one in routes if "inline_cluster_specifier_plugin" in one["route"]]
    patterns = {one["match"]["safe_regex"]["regex"] for one in elsewhere}
    assert [one.endswith("/one/v1/messages") for one in patterns] == [True]
    assert elsewhere[0]["route"]["retry_policy"]["refresh_cluster_on_retry"] is True
    for name in ("provider_one", "provider_two"):
        assert "lua" in json.dumps(cluster(document, name))
    assert "authz.begin_elsewhere" in json.dumps(document["static_resources"]["listeners"])
    assert not any("request_headers_to_add" in one for one in _routes(document, "two"))
    alone = rendered(providers=[_provider("one", key={"env": "KEY_1"})])
    assert "authz.begin_elsewhere" not in json.dumps(alone)


@pytest.mark.parametrize("value", ['a"b', "a\\b", "]]", "é", "%d{x}"])
def test_account_headers_are_lua_strings(value: str) -> None:
    """No character of a setting can end the string of the script that it is in."""
    text = _text(value)
    assert text[0] == text[-1] == '"'
    assert '"' not in text[1:-1]
    decoded = re.sub(rb"\\([0-9]{3})", lambda found: bytes([int(found[1])]), text[1:-1].encode())
    assert decoded.decode() == value
