"""Providers behind a company's proxy, as they are rendered."""

from typing import Any

from tests.unit.certificates import rendering

PROXY = {"upstream_proxy": "http://proxy.test:3128"}


def _listeners(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    listeners = document["static_resources"]["listeners"]
    return {one["name"]: one for one in listeners if one["name"].startswith("provider_")}


def test_no_company_proxy() -> None:
    """Without a company's proxy providers are reached directly."""
    assert _listeners(rendering.document(proxy={})) == {}


def test_each_provider() -> None:
    """Each provider has a tunnel to its own host and port."""
    document = rendering.document(
        proxy=PROXY,
        providers=[
            {"name": "a", "type": "openai", "base_url": "https://a.test/v1"},
            {"name": "b", "type": "openai", "base_url": "http://b.test:8000/v1"},
            {"name": "c", "type": "openai", "base_url": "https://[2001:db8::1]/v1"},
        ],
    )
    targets = {}
    for name, listener in _listeners(document).items():
        assert listener["internal_listener"] == {}
        (chain,) = listener["filter_chains"]
        (only,) = chain["filters"]
        assert only["typed_config"]["cluster"] == "upstream_proxy"
        targets[name] = only["typed_config"]["tunneling_config"]["hostname"]
    assert targets == {
        "provider_a": "a.test:443",
        "provider_b": "b.test:8000",
        "provider_c": "[2001:db8::1]:443",
    }


def test_provider_clusters() -> None:
    """A provider's clusters, that of WebSockets too, lead to its tunnel and still speak TLS."""
    document = rendering.document(proxy=PROXY)
    clusters = [
        one
        for one in document["static_resources"]["clusters"]
        if one["name"].startswith("provider_")
    ]
    assert len(clusters) >= 4
    listeners = _listeners(document)
    for cluster in clusters:
        (group,) = cluster["load_assignment"]["endpoints"]
        address = group["lb_endpoints"][0]["endpoint"]["address"]["envoy_internal_address"]
        assert address["server_listener_name"] in listeners
        assert cluster["name"].startswith(address["server_listener_name"])
        tls = cluster["transport_socket"]["typed_config"]
        assert tls["common_tls_context"]["validation_context"]["trusted_ca"]
