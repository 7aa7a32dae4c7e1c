"""The listeners that open a provider's TLS, as they are rendered."""

from typing import Any

import pytest

from tests.unit.certificates import rendering

PROVIDERS = {
    "api.anthropic.com": "anthropic",
    "api.individual.githubcopilot.com": "copilot",
    "api.openai.com": "openai",
    "chatgpt.com": "chatgpt",
}
HOSTS = list(PROVIDERS)


def _named(document: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in document["static_resources"][kind] if one["name"] == name]
    result: dict[str, Any] = found
    return result


def _manager(listener: dict[str, Any]) -> dict[str, Any]:
    (chain,) = listener["filter_chains"]
    (only,) = chain["filters"]
    result: dict[str, Any] = only["typed_config"]
    return result


@pytest.mark.parametrize("host", HOSTS)
def test_listener_has_no_socket(host: str) -> None:
    """A provider's listener is reached from a tunnel alone."""
    listener = _named(rendering.document(proxy={}), "listeners", f"intercept_{host}")
    assert listener["internal_listener"] == {}
    assert "address" not in listener
    assert "listener_filters" not in listener


@pytest.mark.parametrize("host", HOSTS)
def test_tls(host: str) -> None:
    """TLS begins at 1.2, offers both HTTP versions, and has its certificate from a watched file."""
    listener = _named(rendering.document(proxy={}), "listeners", f"intercept_{host}")
    common = listener["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"]
    assert common["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_2"
    assert common["alpn_protocols"] == ["h2", "http/1.1"]
    (secret,) = common["tls_certificate_sds_secret_configs"]
    assert secret["name"] == host
    source = secret["sds_config"]["path_config_source"]
    assert source["path"].endswith(f"leaves/{host}/sds.yaml")
    assert source["watched_directory"]["path"].endswith(f"leaves/{host}")


@pytest.mark.parametrize("host", HOSTS)
def test_token_comes_from_the_tunnel(host: str) -> None:
    """The first filter overwrites the governance header, then authz is asked."""
    manager = _manager(_named(rendering.document(proxy={}), "listeners", f"intercept_{host}"))
    first, *others = manager["http_filters"]
    remove, append = first["typed_config"]["mutations"]["request_mutations"]
    assert remove == {"remove": "x-coder-ai-governance-token"}
    assert append["append"] == {
        "header": {
            "key": "x-coder-ai-governance-token",
            "value": "%FILTER_STATE(authz.proxy.token:PLAIN)%",
        },
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    gateway = _manager(_named(rendering.document(proxy={}), "listeners", "gateway"))
    _mark, _delay, *gateway_filters = gateway["http_filters"]
    assert others == gateway_filters


@pytest.mark.parametrize("host", HOSTS)
def test_hosts(host: str) -> None:
    """One virtual host is the provider's, and a request for another host gets a 421."""
    manager = _manager(_named(rendering.document(proxy={}), "listeners", f"intercept_{host}"))
    own, other = manager["route_config"]["virtual_hosts"]
    assert own["domains"] == [host, f"{host}:443", f"{host}:80"]
    assert other["domains"] == ["*"]
    (route,) = other["routes"]
    assert route["direct_response"] == {"status": 421}
    for route in own["routes"]:
        context = route["typed_per_filter_config"]["envoy.filters.http.ext_authz"]
        assert "disabled" not in context
        if "route" in route:
            assert route["route"]["cluster"].startswith(f"provider_{PROVIDERS[host]}")


def test_pool_of_each_client() -> None:
    """Tunnels of two clients never share a connection to a provider's listener."""
    for host in HOSTS:
        cluster = _named(rendering.document(proxy={}), "clusters", f"intercept_{host}")
        assert cluster["connection_pool_per_downstream_connection"] is True


def test_public_url() -> None:
    """Clients use a provider's public URL, and requests go to its base URL."""
    document = rendering.document(
        proxy={},
        providers=[
            {
                "name": "mirror",
                "type": "openai",
                "base_url": "http://127.0.0.1:9/mirror/v1",
                "public_url": "https://api.openai.com/v1/",
                "key": {"env": "OPENAI_API_KEY"},
            }
        ],
    )
    manager = _manager(_named(document, "listeners", "intercept_api.openai.com"))
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    rewrites = [route["route"]["regex_rewrite"] for route in routes if "route" in route]
    *listed, rest = [rewrite["substitution"] for rewrite in rewrites]
    assert listed
    assert set(listed) == {r"/mirror/v1\1"}
    assert rest == r"/mirror\1"
    hosts = {route["route"]["host_rewrite_literal"] for route in routes if "route" in route}
    assert hosts == {"127.0.0.1:9"}
