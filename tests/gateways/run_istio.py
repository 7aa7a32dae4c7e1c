"""The cases of ``tests/e2e/test_external_gateways.py`` on a live Istio."""

from collections.abc import Callable, Iterator
from pathlib import Path

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
from tests.gateways.istio import LiveIstio, live_istio
from tests.support.external_envoys import EARLIER, earlier_envoy
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
PROGRAMS: dict[str, Callable[[], Path | None]] = {"1.40.0": lambda: None, EARLIER: earlier_envoy}


@pytest.fixture(scope="module", params=list(PROGRAMS))
def running(request: pytest.FixtureRequest, provider: Provider) -> Iterator[LiveIstio]:
    """One authz behind a gateway of Istio, for each version of Envoy."""
    with live_istio(provider, PROGRAMS[request.param]()) as started:
        yield started


@pytest.fixture(scope="module")
def token(running: LiveIstio) -> str:
    """A valid token of alice's."""
    return running.create_token("alice")


@pytest.fixture
def gateway(running: LiveIstio, token: str) -> Gateway:
    """The gateway."""
    running.provider.take()
    (port,) = running.ports.values()
    return Gateway(running, port, token)
