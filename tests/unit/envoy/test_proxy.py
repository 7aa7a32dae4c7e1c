"""The proxy listener as it is rendered."""

import re
from typing import Any

import pytest
import yaml

from authz.config.settings import Config
from authz.envoy.render import render
from tests.unit.certificates import rendering

GOOD = ["example.com:443", "EXAMPLE.com:80", "a-b.c_d.xn--p1ai:443", "93.184.216.34:443", "x:80"]
BAD = [
    "example.com:8443",
    "example.com",
    "example.com:443:443",
    "[2001:db8::1]:443",
    "2130706433:443",
    "127.1:443",
    "0x7f.1:443",
    "0x7f000001:80",
    "0177.0.0.1:443",
    "1.2.3.04:443",
    "1.2.3.4.5:443",
    "example.com.:443",
    "example.com.1:443",
    r"\101pi.test:443",
    "x@example.com:443",
    "ex ample.com:443",
    "example.c\u043em:443",
    ".example.com:443",
    "example..com:443",
    ":443",
]


def _listener(document: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [one for one in document["static_resources"]["listeners"] if one["name"] == name]
    result: dict[str, Any] = found
    return result


def _manager(document: dict[str, Any]) -> dict[str, Any]:
    (chain,) = _listener(document, "proxy")["filter_chains"]
    result: dict[str, Any] = chain["filters"][0]["typed_config"]
    return result


def _hosts(document: dict[str, Any]) -> dict[str, Any]:
    return {host["name"]: host for host in _manager(document)["route_config"]["virtual_hosts"]}


def _pattern(route: dict[str, Any]) -> str:
    (header,) = route["match"]["headers"]
    assert header["name"] == ":authority"
    pattern: str = header["string_match"]["safe_regex"]["regex"]
    return pattern


def test_off() -> None:
    """Without a proxy section there is one listener, and no cluster or extension of the proxy."""
    document = rendering.document()
    assert [one["name"] for one in document["static_resources"]["listeners"]] == ["gateway"]
    names = [one["name"] for one in document["static_resources"]["clusters"]]
    assert not [name for name in names if name.startswith(("intercept", "tunnel", "upstream"))]
    assert "bootstrap_extensions" not in document


def test_every_request_is_checked() -> None:
    """No route of the proxy listener switches authz off, and all say that it is a CONNECT."""
    config = _manager(rendering.document(proxy={}))["route_config"]
    (context,) = config["typed_per_filter_config"].values()
    assert context["check_settings"]["context_extensions"] == {"kind": "connect"}
    for host in config["virtual_hosts"]:
        assert "typed_per_filter_config" not in host
        for route in host["routes"]:
            assert "typed_per_filter_config" not in route
    names = [one["name"] for one in _manager(rendering.document(proxy={}))["http_filters"]]
    assert names.index("envoy.filters.http.ext_authz") < names.index("authz.share_with_tunnel")
    assert names.index("authz.share_with_tunnel") < names.index("authz.forget_headers")
    assert names[-1] == "envoy.filters.http.router"


def test_token_is_part_of_the_pool_key() -> None:
    """A tunnel's token is part of the pool's key, else users would share tunnels."""
    (share,) = [
        one["typed_config"]
        for one in _manager(rendering.document(proxy={}))["http_filters"]
        if one["name"] == "authz.share_with_tunnel"
    ]
    assert len(share["on_request_headers"]) == 2
    for value in share["on_request_headers"]:
        assert value["factory_key"] == "envoy.hashable_string"
        assert value["shared_with_upstream"] == "ONCE"


def test_provider_hosts() -> None:
    """Each provider's host has its own virtual host, for both ports, that leads to its listener."""
    hosts = _hosts(rendering.document(proxy={}))
    assert set(hosts) == {
        "api.anthropic.com",
        "api.openai.com",
        "chatgpt.com",
        "api.individual.githubcopilot.com",
        "other",
    }
    for name, host in hosts.items():
        if name == "other":
            continue
        assert host["domains"] == [f"{name}:80", f"{name}:443"]
        connect, rest = host["routes"]
        assert connect["route"]["cluster"] == f"intercept_{name}"
        assert connect["match"] == {"connect_matcher": {}}
        assert rest["direct_response"]["status"] == 403


@pytest.mark.parametrize("authority", GOOD)
def test_tunnelled(authority: str) -> None:
    """A name or dotted address with port 80 or 443 is tunnelled."""
    assert _route_of(authority, {})["name"] == "tunnel"


@pytest.mark.parametrize("authority", BAD)
@pytest.mark.parametrize("proxy", [{}, {"upstream_proxy": "http://proxy.test:3128"}])
def test_not_tunnelled(authority: str, proxy: dict[str, Any]) -> None:
    """Other ports, numbers in other spellings, brackets and odd characters are refused."""
    assert _route_of(authority, proxy)["direct_response"]["status"] == 403


@pytest.mark.parametrize(
    "authority",
    [
        "api.openai.com:443",
        "API.openai.COM:80",
        "api.openai.com.:443",
        "api.openai.com..:443",
        "api.openai.com",
        "api.openai.com:1",
        "chatgpt.com.:443",
    ],
)
def test_provider_in_any_spelling(authority: str) -> None:
    """A provider's host in another spelling is refused before the tunnel's route."""
    assert _route_of(authority, {})["name"] == "forbidden: provider in another spelling"


def test_host_is_escaped() -> None:
    """A dot in a provider's host matches only a dot."""
    assert _route_of("apixopenai.com:443", {})["name"] == "tunnel"


@pytest.mark.parametrize(
    "authority", ["127.0.0.1:443", "8.8.8.8:80", "localhost:443", "A.Localhost:8"]
)
def test_company_proxy_gets_names(authority: str) -> None:
    """A company's proxy gets names only, and no name of this machine."""
    route = _route_of(authority, {"upstream_proxy": "http://proxy.test:3128"})
    assert route["direct_response"]["status"] == 403


def test_company_proxy() -> None:
    """A CONNECT goes on to the company's proxy as a CONNECT."""
    route = _route_of("example.com:443", {"upstream_proxy": "http://proxy.test:3128"})
    assert route["route"]["cluster"] == "upstream_proxy"
    assert route["route"]["upgrade_configs"] == [{"upgrade_type": "CONNECT"}]


def test_no_tunnel() -> None:
    """Without tunnels every other CONNECT is refused."""
    for authority in (*GOOD, *BAD):
        assert _route_of(authority, {"tunnel": False})["direct_response"]["status"] == 403


def _route_of(authority: str, proxy: dict[str, Any]) -> dict[str, Any]:
    """Return the first route of the last virtual host that a CONNECT to ``authority`` meets."""
    for route in _hosts(rendering.document(proxy=proxy))["other"]["routes"]:
        match: dict[str, Any] = route["match"]
        if "headers" in match and re.fullmatch(_pattern(route), authority) is None:
            continue
        if "connect_matcher" in match:
            found: dict[str, Any] = route
            return found
    raise AssertionError(authority)


def test_no_header_is_kept() -> None:
    """Every header except the pseudo-headers is removed."""
    (forget,) = [
        one["typed_config"]
        for one in _manager(rendering.document(proxy={}))["http_filters"]
        if one["name"] == "authz.forget_headers"
    ]
    (mutation,) = forget["mutations"]["request_mutations"]
    pattern = mutation["remove_on_match"]["key_matcher"]["safe_regex"]["regex"]
    for name in ("x-coder-ai-governance-token", "proxy-authorization", "cookie", "a"):
        assert re.fullmatch(pattern, name)
    assert not re.fullmatch(pattern, ":authority")


def test_no_secret_is_rendered() -> None:
    """The rendered text names the leaves' files and holds no certificate or key."""
    text = render(Config.model_validate({"proxy": {}}))
    assert "PRIVATE KEY" not in text
    assert "BEGIN CERTIFICATE" not in text
    assert yaml.safe_load(text)
