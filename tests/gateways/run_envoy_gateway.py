"""The cases of ``tests/e2e/test_external_gateways.py`` on a live Envoy Gateway."""

from collections.abc import Iterator

import pytest

from tests.e2e.test_external_gateways import (
    Gateway,
    test_a_gateway_that_fails_open_in_front,
    test_a_revoked_token,
    test_an_identity_source_that_is_down,
    test_authz_down_slow_and_stopped,
    test_joined_and_odd_headers,
    test_methods,
    test_paths,
    test_stray_tokens_and_forged_headers,
    test_three_kinds_of_credential,
    test_tokens_in_the_url,
    test_unlisted_paths_tell_strangers_nothing,
    test_websockets,
)
from tests.gateways.envoy_gateway import VERSIONS, LiveEnvoyGateway, live_envoy_gateway
from tests.support.pair import Provider

__all__ = [
    "test_a_gateway_that_fails_open_in_front",
    "test_a_revoked_token",
    "test_an_identity_source_that_is_down",
    "test_authz_down_slow_and_stopped",
    "test_joined_and_odd_headers",
    "test_methods",
    "test_paths",
    "test_stray_tokens_and_forged_headers",
    "test_three_kinds_of_credential",
    "test_tokens_in_the_url",
    "test_unlisted_paths_tell_strangers_nothing",
    "test_websockets",
]
pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module", params=VERSIONS)
def running(request: pytest.FixtureRequest, provider: Provider) -> Iterator[LiveEnvoyGateway]:
    """One authz behind a Gateway, for each version of Envoy."""
    with live_envoy_gateway(provider, request.param) as started:
        yield started


@pytest.fixture(scope="module")
def token(running: LiveEnvoyGateway) -> str:
    """A valid token of alice's."""
    return running.create_token("alice")


@pytest.fixture
def gateway(running: LiveEnvoyGateway, token: str) -> Gateway:
    """The gateway."""
    running.provider.take()
    (port,) = running.ports.values()
    return Gateway(running, port, token)
