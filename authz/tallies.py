"""Plain counts, which become Prometheus's values when someone reads the metrics.

prometheus-client takes a lock for each change of a value, and with several workers it also writes
into a file that they share. A check changes five of them, and a plain count costs a tenth of that.

Only the thread of the event loop may count and flush.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric
from prometheus_client.registry import Collector

SHARE_SECONDS = 1.0
"""With several workers, each of them writes its counts this often to where the others read them.

A worker that is killed loses the counts since then.
"""


class Tally:
    """Plain counts of a counter, by its labels.

    Args:
        counter: gets the counts.
    """

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._counts: dict[tuple[str, ...], int] = {}
        # Finding a counter by its labels costs more than counting.
        self._found: dict[tuple[str, ...], Counter] = {}

    def add(self, labels: tuple[str, ...], amount: int = 1) -> None:
        """Count."""
        counts = self._counts
        counts[labels] = counts.get(labels, 0) + amount

    def flush(self) -> None:
        """Add the counts to the counter."""
        if not self._counts:
            return
        counts, self._counts = self._counts, {}
        for labels, amount in counts.items():
            counter = self._found.get(labels)
            if counter is None:
                counter = self._found[labels] = self._counter.labels(*labels)
            counter.inc(amount)


class TallyHistogram(Histogram):
    """A histogram without labels that counts plainly; see ``Tallies.histogram``."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._counts = [0] * len(self._upper_bounds)
        self._total = 0.0

    def add(self, amount: float) -> None:
        """Count an observation, as ``observe`` does."""
        # The first bound that is not smaller.
        self._counts[bisect_left(self._upper_bounds, amount)] += 1
        self._total += amount

    def flush(self) -> None:
        """Add the observations to the values that are read."""
        if not any(self._counts):
            return
        counts, self._counts = self._counts, [0] * len(self._upper_bounds)
        total, self._total = self._total, 0.0
        self._sum.inc(total)
        for value, count in zip(self._buckets, counts, strict=True):
            if count:
                value.inc(count)


class Tallies(Collector):
    """All plain counts of a registry.

    The registry asks its collectors in the order in which they were registered. Tallies is the
    first one, and flushes, so that the others have everything that was counted.

    Args:
        registry: of the metrics; no other metric may be registered before.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._tallies: list[Tally | TallyHistogram] = []
        registry.register(self)

    def counter(self, name: str, documentation: str, labels: Sequence[str]) -> Tally:
        """Return a new counter with labels."""
        tally = Tally(Counter(name, documentation, labels, registry=self._registry))
        self._tallies.append(tally)
        return tally

    def histogram(self, name: str, documentation: str, buckets: Sequence[float]) -> TallyHistogram:
        """Return a new histogram without labels."""
        tally = TallyHistogram(name, documentation, buckets=buckets, registry=self._registry)
        self._tallies.append(tally)
        return tally

    def flush(self) -> None:
        """Add all counts to the values that are read."""
        for tally in self._tallies:
            tally.flush()

    def collect(self) -> Iterable[Metric]:
        """Flush, and return no metrics of its own."""
        self.flush()
        return ()

    async def keep_shared(self) -> None:
        """Flush every ``SHARE_SECONDS``, for the workers that read the values of this one."""
        while True:
            await asyncio.sleep(SHARE_SECONDS)
            self.flush()
