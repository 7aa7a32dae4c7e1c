"""authz.envoy.metrics: what Prometheus and probes reach of Envoy."""

import http.client
import re
from collections.abc import Iterator

import pytest

from tests.support.pair import Pair, Provider, free_port, pair


@pytest.fixture(scope="module")
def watched(provider: Provider) -> Iterator[tuple[Pair, int]]:
    """A pair with a metrics listener, and its port."""
    port = free_port()
    with pair(provider, envoy={"metrics": f"127.0.0.1:{port}", "drain_timeout": 0}) as running:
        yield running, port


def _ask(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_prometheus_text(watched: tuple[Pair, int]) -> None:
    """Envoy's metrics come in Prometheus' format, with those of the gateway and of authz."""
    status, text = _ask(watched[1], "/stats/prometheus")
    assert status == 200
    assert re.search(
        r'^envoy_http_downstream_rq_xx\{.*envoy_http_conn_manager_prefix="gateway"', text, re.M
    )
    assert 'envoy_cluster_membership_total{envoy_cluster_name="authz"}' in text


def test_readiness(watched: tuple[Pair, int]) -> None:
    """A running Envoy is ready."""
    assert _ask(watched[1], "/ready") == (200, "LIVE\n")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/quitquitquit"),
        ("POST", "/healthcheck/fail"),
        ("GET", "/config_dump"),
        ("GET", "/"),
        ("GET", "/stats"),
        ("GET", "/stats/prometheus/../../config_dump"),
        ("GET", "//ready"),
        ("POST", "/ready"),
        ("POST", "/stats/prometheus"),
    ],
)
def test_the_rest_of_the_admin_interface_is_not_there(
    watched: tuple[Pair, int], method: str, path: str
) -> None:
    """Paths that stop Envoy or show its configuration are a 404 in any spelling."""
    status, text = _ask(watched[1], path, method)
    assert (status, text) == (404, "")


def test_no_listener_by_default(gateway: Pair) -> None:
    """Without ``envoy.metrics`` the gateway listener has no metrics either."""
    assert _ask(gateway.port, "/stats/prometheus")[0] == 401
