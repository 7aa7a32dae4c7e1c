"""authz.export.requests and the delivery, against a real gRPC server."""

import asyncio
from collections.abc import Callable

import grpc
import pytest
from prometheus_client import CollectorRegistry

from authz.export import requests as module
from authz.export.delivery import Delivery
from authz.export.metrics import ExportMetrics
from authz.export.requests import KIND, RequestExport
from tests.support.collector import Collector
from tests.unit.usage.test_store import entry

DeliverAs = Callable[[str], Delivery]


@pytest.fixture
def export(deliver_as: DeliverAs, monkeypatch: pytest.MonkeyPatch) -> RequestExport:
    """An export with a queue of 1,000."""
    monkeypatch.setattr(module, "COLLECT_SECONDS", 0.01)
    delivery = deliver_as(KIND)
    return RequestExport(delivery, delivery._metrics, 1_000)


def _value(registry: CollectorRegistry, name: str) -> float | None:
    labels = {} if name == "waiting" else {"kind": KIND}
    return registry.get_sample_value(f"authz_export_{name}", labels)


def _numbers(receiver: Collector) -> list[int]:
    return [int(record.attributes["id"].partition("-")[2]) for record in receiver.records]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the export works in its own time
            await asyncio.sleep(0.01)


async def test_each_request_once(
    export: RequestExport, receiver: Collector, registry: CollectorRegistry
) -> None:
    """All requests arrive once and in order, the last ones when the service stops."""
    export.start()
    for number in range(700):
        export.add(entry(number))
    await _until(lambda: len(receiver.records) == 700)
    export.add(entry(700))
    await export.stop(30)
    assert _numbers(receiver) == list(range(701))
    assert _value(registry, "sent_total") == 701
    assert _value(registry, "up") == 1


async def test_requests_wait_for_a_collector(
    export: RequestExport,
    receiver: Collector,
    registry: CollectorRegistry,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While the collector is away requests wait up to a bound, which is logged once."""
    tries = 0

    def refuse(_: object) -> grpc.StatusCode:
        nonlocal tries
        tries += 1
        return grpc.StatusCode.UNAVAILABLE

    receiver.refuse = refuse
    export.start()
    for number in range(1_003):
        export.add(entry(number))
    await _until(lambda: tries >= 3)
    assert _value(registry, "up") == 0
    assert _value(registry, "waiting") == 1_000
    receiver.refuse = lambda _: None
    await _until(lambda: len(receiver.records) == 1_000)
    await export.stop(30)
    assert _numbers(receiver) == list(range(1_000))
    assert _value(registry, "dropped_total") == 3
    log = capsys.readouterr().out
    assert log.count("they wait") == log.count("exported again") == 1
    assert "UNAVAILABLE" in log


async def test_a_record_that_is_rejected_stops_no_other(
    export: RequestExport, receiver: Collector, registry: CollectorRegistry
) -> None:
    """Of a batch that the collector rejects, all records but the bad one arrive."""
    receiver.refuse = lambda request: (
        grpc.StatusCode.INVALID_ARGUMENT
        if b"-000000000005" in request.SerializeToString()
        else None
    )
    for number in range(10):
        export.add(entry(number))
    export.start()
    await export.stop(30)
    assert _numbers(receiver) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert _value(registry, "sent_total") == 9
    assert _value(registry, "dropped_total") == 1


async def test_a_partial_success_is_counted(
    export: RequestExport, receiver: Collector, registry: CollectorRegistry
) -> None:
    """Records that the collector says it rejected are not sent again."""
    receiver.rejected = 2
    for number in range(5):
        export.add(entry(number))
    export.start()
    await export.stop(30)
    assert _value(registry, "sent_total") == 3
    assert _value(registry, "dropped_total") == 2
    assert len(receiver.log_requests) == 1


async def test_the_stop_has_a_limit(
    export: RequestExport, receiver: Collector, registry: CollectorRegistry
) -> None:
    """Requests that the collector does not take in time are counted as dropped."""
    receiver.refuse = lambda _: grpc.StatusCode.UNAVAILABLE
    export.add(entry(1))
    export.start()
    await export.stop(0.1)
    assert _value(registry, "dropped_total") == 1
    assert isinstance(export._metrics, ExportMetrics)
