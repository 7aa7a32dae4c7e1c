"""authz.envoy.clusters."""

from pathlib import Path
from typing import Any

import pytest

from authz.certificates.trust import system_roots
from tests.support.certificates import Authority
from tests.unit.envoy.rendered import cluster, rendered


def _one(base_url: str, **changes: Any) -> dict[str, Any]:
    provider = {"name": "mine", "type": "openai", "base_url": base_url, **changes}
    return cluster(rendered(providers=[provider]), "provider_mine")


def _address(found: dict[str, Any]) -> dict[str, Any]:
    (endpoints,) = found["load_assignment"]["endpoints"]
    (endpoint,) = endpoints["lb_endpoints"]
    address: dict[str, Any] = endpoint["endpoint"]["address"]
    return address


def _tls(found: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = found["transport_socket"]["typed_config"]
    return config


def test_a_provider_by_name_is_verified() -> None:
    """SNI and the certificate's name are the base URL's host, against the system's roots."""
    found = _one("https://api.example.com/v1")
    config = _tls(found)
    context = config["common_tls_context"]["validation_context"]
    assert config["sni"] == "api.example.com"
    assert context["trusted_ca"] == {"filename": str(system_roots())}
    assert context["match_typed_subject_alt_names"] == [
        {"san_type": "DNS", "matcher": {"exact": "api.example.com"}}
    ]
    assert found["cluster_type"]["name"] == "envoy.cluster.dns"
    assert _address(found)["socket_address"] == {
        "address": "api.example.com",
        "port_value": 443,
    }


def test_a_private_ca(tmp_path: Path) -> None:
    """The provider's own file is trusted instead of the system's roots."""
    ca_file = Authority(tmp_path, "ca").ca_file
    config = _tls(_one("https://models.intern:8443", ca_file=str(ca_file)))
    context = config["common_tls_context"]["validation_context"]
    assert context["trusted_ca"] == {"filename": str(ca_file)}


@pytest.mark.parametrize(
    ("url", "host"), [("https://10.0.0.1", "10.0.0.1"), ("https://[::1]", "::1")]
)
def test_a_provider_by_address(url: str, host: str) -> None:
    """An address takes no SNI and is looked for among the certificate's addresses."""
    found = _one(url)
    config = _tls(found)
    assert "sni" not in config
    names = config["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert names == [{"san_type": "IP_ADDRESS", "matcher": {"exact": host}}]
    assert found.get("type", "STATIC") == "STATIC"
    assert "cluster_type" not in found


def test_every_https_provider_is_verified() -> None:
    """TLS to a provider always has a trusted root and a name to match."""
    document = rendered()
    providers = [
        one
        for one in document["static_resources"]["clusters"]
        if one["name"].startswith("provider_")
    ]
    # OpenAI and ChatGPT have one more each, for WebSockets.
    assert len(providers) == 6
    for found in providers:
        context = _tls(found)["common_tls_context"]["validation_context"]
        assert context["trusted_ca"]["filename"]
        assert context["match_typed_subject_alt_names"]
        assert "trust_chain_verification" not in context


@pytest.mark.parametrize("url", ["http://localhost:11434/v1", "http://127.0.0.1:11434"])
def test_a_local_provider_in_clear(url: str) -> None:
    """A model on this machine is reached by HTTP/1.1 at a numeric address."""
    found = _one(url)
    assert "transport_socket" not in found
    assert _address(found)["socket_address"] == {"address": "127.0.0.1", "port_value": 11434}


def test_limits_follow_the_listener() -> None:
    """A cluster accepts all that the listener lets in, and every check may be retried."""
    document = rendered(envoy={"max_connections": 77, "max_checks": 55})
    for found in document["static_resources"]["clusters"]:
        limits = found["circuit_breakers"]["thresholds"][0]
        if found["name"] == "authz":
            assert limits["max_retries"] == limits["max_requests"] == 55
        elif found["name"].startswith("provider_"):
            assert limits == {"max_connections": 77, "max_pending_requests": 77, "max_requests": 77}
