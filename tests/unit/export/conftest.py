"""A collector, and what sends to it."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry

from authz.config.export import Export
from authz.export import delivery as module
from authz.export.collector import Collector
from authz.export.delivery import Delivery
from authz.export.metrics import ExportMetrics
from tests.support.collector import Collector as Receiver
from tests.support.collector import collector


@pytest.fixture(scope="session")
def collecting() -> Iterator[Receiver]:
    """A collector, one for the session."""
    with collector() as running:
        yield running


@pytest.fixture
def receiver(collecting: Receiver) -> Receiver:
    """The collector, which has got nothing and accepts everything."""
    collecting.log_requests.clear()
    collecting.refuse = lambda _: None
    collecting.rejected = 0
    return collecting


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of metrics."""
    return CollectorRegistry()


@pytest.fixture
async def deliver_as(
    receiver: Receiver, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[str], Delivery]]:
    """Make deliveries of a kind, with short pauses."""
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    sending = Collector(Export.model_validate({"otlp": receiver.url}))
    metrics = ExportMetrics(registry, ["usage", "audit"])
    yield lambda kind: Delivery(sending, kind, metrics, "process")
    await sending.close()
