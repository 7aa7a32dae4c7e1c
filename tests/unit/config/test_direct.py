"""authz.config.direct."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from authz.config.direct import bypassed, direct_hosts
from authz.config.proxy import Proxy
from authz.config.settings import Config


def _config(*hosts: str, listen: str = "127.0.0.1:8080") -> Config:
    return Config.model_validate({"listen": listen, "proxy": {"no_proxy": hosts}})


@pytest.mark.parametrize("listen", ["127.0.0.1:8080", "0.0.0.0:8080", "[::]:8080"])
def test_this_machine(listen: str) -> None:
    """This machine's names are always there, each once."""
    assert direct_hosts(_config(listen=listen)) == ("localhost", "127.0.0.1", "::1")
    assert direct_hosts(Config()) == ("localhost", "127.0.0.1", "::1")


def test_more_hosts() -> None:
    """The gateway's own address and the hosts of the setting follow this machine's names."""
    config = _config("::1", "mcp.test", listen="gateway.test:443")
    assert direct_hosts(config)[3:] == ("gateway.test", "mcp.test")


@pytest.mark.parametrize(
    ("entry", "bypasses"),
    [
        ("api.anthropic.com", True),
        ("API.anthropic.com:443", True),
        (".anthropic.com", True),
        ("com", True),
        ("thropic.com", False),
        ("console.anthropic.com", False),
        ("10.0.0.0/8", False),
    ],
)
def test_entries_that_lead_around_the_gateway(entry: str, bypasses: bool) -> None:
    """An entry that matches a provider's host is found, one that only looks alike is not."""
    found = bypassed(("corp.example", entry), ["api.openai.com", "api.anthropic.com"])
    assert ((1, "api.anthropic.com") in found) == bypasses


@given(st.text(max_size=20) | st.from_regex(r"[a-z.*,/:$ 0-9-]{1,20}", fullmatch=True))
def test_entries_fit_into_a_shell_line(text: str) -> None:
    """An accepted entry needs no shell quotes and is one entry of a comma-separated list."""
    try:
        (entry,) = Proxy(no_proxy=(text,)).no_proxy
    except ValidationError:
        return
    assert shlex.split(entry) == [entry] == entry.split(",")
    assert shlex.quote(entry) == entry
