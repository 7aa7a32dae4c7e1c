"""authz.tallies: plain counts read like those of prometheus-client."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from authz import tallies
from authz.tallies import Tallies

BOUNDS = (0.125, 0.25, 0.5, 2.0)


def _lines(registry: CollectorRegistry) -> list[str]:
    text = generate_latest(registry).decode()
    return [line for line in text.splitlines() if "_created" not in line]


AMOUNTS = st.lists(st.sampled_from([*BOUNDS, 0.0, 0.0625, 0.375, 1.75, 3.0, 1024.0]), max_size=20)


@given(amounts=AMOUNTS, later=AMOUNTS)
def test_a_histogram_reads_like_prometheus_clients(
    amounts: list[float], later: list[float]
) -> None:
    """Every observation is in the same bucket, also after a scrape in between."""
    plain, theirs = CollectorRegistry(), CollectorRegistry()
    ours = Tallies(plain).histogram("a_seconds", "Text.", BOUNDS)
    expected = Histogram("a_seconds", "Text.", buckets=BOUNDS, registry=theirs)
    for batch in (amounts, later):
        for amount in batch:
            ours.add(amount)
            expected.observe(amount)
        assert _lines(plain) == _lines(theirs)


@given(counts=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 5)), max_size=20))
def test_a_counter_reads_like_prometheus_clients(counts: list[tuple[str, int]]) -> None:
    """Every series has its sum, and a series exists only if it was counted."""
    plain, theirs = CollectorRegistry(), CollectorRegistry()
    ours = Tallies(plain).counter("things", "Text.", ["kind", "place"])
    expected = Counter("things", "Text.", ["kind", "place"], registry=theirs)
    for kind, amount in counts:
        ours.add((kind, "x"), amount)
        expected.labels(kind, "x").inc(amount)
    assert sorted(_lines(plain)) == sorted(_lines(theirs))


async def test_workers_share_their_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task of a worker writes counts where others read them, without a scrape."""
    monkeypatch.setattr(tallies, "SHARE_SECONDS", 0)
    registry = CollectorRegistry()
    together = Tallies(registry)
    tally = together.counter("things", "Text.", ["kind"])
    tally.add(("a",))
    task = asyncio.create_task(together.keep_shared())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    monkeypatch.setattr(together, "flush", lambda: None)
    assert registry.get_sample_value("things_total", {"kind": "a"}) == 1
