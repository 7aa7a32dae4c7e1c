"""authz.envoy.slow_providers."""

from collections.abc import Iterator
from typing import Any

import pytest

from authz.envoy.provider_routes import RETRIES
from tests.unit.envoy.rendered import cluster, rendered

PROVIDER = {
    "name": "mine",
    "type": "openai",
    "base_url": "https://api.example.com/v1",
    "key": {"env": "KEY"},
}
TIMEOUTS = {"first_byte_timeout": "1m", "idle_timeout": "5m"}


def _routes(value: Any) -> Iterator[dict[str, Any]]:
    """Return the routes to the provider, at any depth."""
    if isinstance(value, list):
        for inner in value:
            yield from _routes(inner)
    elif isinstance(value, dict):
        route = value.get("route")
        if isinstance(route, dict) and str(route.get("cluster")).startswith("provider_mine"):
            yield value
        for inner in value.values():
            yield from _routes(inner)


def _with(**changes: Any) -> dict[str, Any]:
    return rendered(providers=[{**PROVIDER, **changes}], proxy={})


def test_nothing_without_settings() -> None:
    """Routes and clusters of a provider without these settings have none of it."""
    document = _with()
    for route in _routes(document):
        assert "metadata" not in route
        assert "idle_timeout" not in route["route"]
        assert "per_try_timeout" not in route["route"].get("retry_policy", {})
    found = cluster(document, "provider_mine")
    assert "outlier_detection" not in str(found)
    assert "common_lb_config" not in found
    assert "metadata" not in found


def test_time_outs_are_on_every_route() -> None:
    """Every route to the provider has them, in tunnels too; a WebSocket may be silent."""
    document = _with(**TIMEOUTS)
    listeners = document["static_resources"]["listeners"]
    per_listener = {one["name"]: len(list(_routes(one))) for one in listeners}
    assert min(per_listener["gateway"], per_listener["intercept_api.example.com"]) > 3
    for route in _routes(document):
        action = route["route"]
        is_websocket = route["name"].endswith("WebSocket")
        assert action["retry_policy"]["per_try_timeout"] == "60s"
        assert action.get("idle_timeout") == (None if is_websocket else "300s")
        facts = route["metadata"]["filter_metadata"]["authz"]
        assert facts["first_byte_timeout"] == "60"
        assert facts.get("idle_timeout") == (None if is_websocket else "300")


def test_retries_stay_as_they_are() -> None:
    """A time-out adds no reason to repeat a request, and takes none away."""
    of_the_host = {"retry_on": RETRIES.retry_on, "num_retries": RETRIES.num_retries}
    for before, after in zip(_routes(_with()), _routes(_with(**TIMEOUTS)), strict=True):
        policy = before["route"].get("retry_policy", of_the_host)
        assert after["route"]["retry_policy"] == {**policy, "per_try_timeout": "60s"}


@pytest.mark.parametrize("name", ["provider_mine", "provider_mine_websocket"])
def test_outlier_detection(name: str) -> None:
    """Only failures to answer count; the only host can be ejected, and then gets no request."""
    settings = {"request_volume": 7, "interval": "3s", "ejection_time": "8s"}
    found = cluster(_with(outlier_detection=settings), name)
    if name.endswith("websocket"):
        assert "outlier_detection" not in str(found)
        assert "metadata" not in found
        return
    facts = {"provider": "mine", "retry_after": "11"}
    assert found["metadata"] == {"filter_metadata": {"authz": facts}}
    assert found["outlier_detection"] == {
        "interval": "3s",
        "base_ejection_time": "8s",
        "max_ejection_time": "8s",
        "max_ejection_percent": 100,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "failure_percentage_threshold": 100,
        "failure_percentage_minimum_hosts": 1,
        "failure_percentage_request_volume": 7,
        "enforcing_failure_percentage": 100,
    }
    assert found["common_lb_config"] == {"healthy_panic_threshold": {}}
    (options,) = found["typed_extension_protocol_options"].values()
    assert options["outlier_detection"] == {"error_matcher": {"not_match": {"any_match": True}}}
