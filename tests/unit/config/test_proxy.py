"""The ``proxy`` section of gateway.yaml."""

from typing import Any

import pytest
from pydantic import ValidationError

from authz.config.proxy import Proxy
from authz.config.settings import Config


def test_defaults() -> None:
    """An empty section is a proxy on loopback that tunnels, with its CA in the state folder."""
    proxy = Config.model_validate({"proxy": {}}).proxy
    assert proxy is not None
    assert str(proxy.listen) == "127.0.0.1:8888"
    assert str(proxy.ca.cert_file) == ".authz/ca.pem"
    assert str(proxy.ca.key_file) == ".authz/ca-key.pem"
    assert proxy.tunnel
    assert proxy.tls is None
    assert proxy.upstream_proxy is None
    assert proxy.allowed_private_cidrs == ()
    assert Config().proxy is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"upstream_proxy": "https://proxy:3128"}, "must be http://host:port"),
        ({"upstream_proxy": "http://proxy:3128/path"}, "must be http://host:port"),
        ({"upstream_proxy": "http://user:pass@proxy:3128"}, "user name or password"),
        ({"upstream_proxy": "socks5://proxy:1080"}, "https:// or http://"),
        (
            {"upstream_proxy": "http://proxy:3128", "allowed_private_cidrs": ["10.0.0.0/8"]},
            "combined with upstream_proxy",
        ),
        ({"allowed_private_cidrs": ["10.0.0.1/8"]}, "not a valid IPv4 or IPv6 network"),
        ({"allowed_private_cidrs": ["private"]}, "not a valid"),
        ({"tunnel": "no"}, "valid boolean"),
        ({"tls": {"cert_file": "/nonexistent"}}, "Field required"),
        ({"ca": {"certificate": "x"}}, "Extra inputs"),
        ({"listen": "8888"}, "must be host:port"),
        ({"no_proxy": ["*"]}, "must be a host, a domain"),
        ({"no_proxy": ["a.example,b.example"]}, "must be a host, a domain"),
        ({"no_proxy": ["$(touch pwned)"]}, "must be a host, a domain"),
        ({"no_proxy": ["https://a.example"]}, "must be a host, a domain"),
        ({"no_proxy": [""]}, "must be a host, a domain"),
        ({"no_proxy": ["a" * 64]}, "must be a host, a domain"),
    ],
)
def test_refused(values: dict[str, Any], said: str) -> None:
    """A value that can't be meant is refused with an error that says what to write."""
    with pytest.raises(ValidationError, match=said):
        Proxy.model_validate(values)


def test_one_host_for_two_providers() -> None:
    """The proxy reaches the first provider by name if two are on one host."""
    config = Config.model_validate(
        {
            "providers": [
                {"name": "b", "type": "openai", "base_url": "https://x.test/v1"},
                {"name": "a", "type": "openai", "base_url": "https://x.test/other"},
                {
                    "name": "c",
                    "type": "openai",
                    "base_url": "http://127.0.0.1:1/v1",
                    "public_url": "https://y.test/v1",
                },
            ]
        }
    )
    hosts = {host: provider.name for host, provider in config.intercepted_hosts.items()}
    assert hosts == {"x.test": "a", "y.test": "c"}
