"""A pair as in a container: Envoy's admin interface and metrics on TCP."""

import http.client
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.kubernetes.tools import find_helm, find_kustomize
from tests.support.chart import Helm
from tests.support.collector import collector
from tests.support.pair import Pair, Provider, free_port, pair


@dataclass(frozen=True)
class Deployed:
    """A pair and the ports of its Envoy."""

    pair: Pair
    admin_port: int
    metrics_port: int

    def ready(self) -> int:
        """Return the status of Envoy's readiness."""
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=60)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def deployed(provider: Provider) -> Iterator[Deployed]:
    """A pair of this test alone, which may drain it."""
    admin, metrics = free_port(), free_port()
    settings = {"admin": f"127.0.0.1:{admin}", "metrics": f"127.0.0.1:{metrics}"}
    envoy = {**settings, "drain_timeout": 0}
    usage = {"metrics_by_user": True}
    with (
        collector() as receiver,
        pair(provider, start=False, envoy=envoy, usage=usage, prices={}) as running,
    ):
        running.settings["export"] = {"otlp": receiver.url}
        secret = running.folder / "webhook.key"
        secret.write_text("0123456789abcdef0123456789abcdef")
        # No notice is sent: nothing listens there.
        webhook = {"url": "http://127.0.0.1:9", "secret": {"file": str(secret)}}
        running.settings["notices"] = {"webhook": webhook}
        # Without a key of a command there is no metric of one.
        key = running.settings["providers"][0]["key"]
        running.settings["providers"][0]["key"] = {"exec": ["cat", key["file"]]}
        # Envoy has metrics of ejections only where it can eject.
        running.settings["providers"][0]["outlier_detection"] = {}
        running.create_user("alice")
        running.start()
        yield Deployed(running, admin, metrics)


@pytest.fixture(scope="module")
def helm() -> Helm:
    """The helm that HELM names or that is on this machine."""
    path = find_helm()
    if path is None:
        pytest.skip("no helm here; `make test-chart` builds one")
    return Helm(path)


@pytest.fixture(scope="module")
def kustomize() -> list[str]:
    """The command of a kustomize that is on this machine."""
    command = find_kustomize()
    if command is None:
        pytest.skip("no kubectl and no kustomize here; `make test-chart` builds one")
    return command
