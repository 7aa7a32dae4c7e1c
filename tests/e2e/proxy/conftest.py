"""The pairs with the proxy on, each started when the first test asks for it."""

import pytest

from tests.e2e.proxy import pairs


@pytest.fixture(scope="session")
def proxied(request: pytest.FixtureRequest) -> pairs.Proxied:
    """A proxy in clear, providers over TLS, BYOK on."""
    ready: pairs.Proxied = pairs.shared(request, pairs.proxied)
    return ready


@pytest.fixture(scope="session")
def proxied_tls(request: pytest.FixtureRequest) -> pairs.Proxied:
    """A proxy with a TLS listener, BYOK and tunnels off, the company's intermediate as its CA."""
    ready: pairs.Proxied = pairs.shared(request, pairs.proxied_tls)
    return ready


@pytest.fixture(scope="session")
def tunnelled(request: pytest.FixtureRequest) -> pairs.Tunnelled:
    """A proxy whose tunnels lead to a test origin."""
    ready: pairs.Tunnelled = pairs.shared(request, pairs.tunnelled)
    return ready


@pytest.fixture(scope="session")
def behind(request: pytest.FixtureRequest) -> pairs.Tunnelled:
    """A proxy behind a company's proxy."""
    ready: pairs.Tunnelled = pairs.shared(request, pairs.behind)
    return ready
