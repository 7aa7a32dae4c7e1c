"""Metrics of the export."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge


class ExportMetrics:
    """The counters of exported records; ``kind`` is ``usage`` or ``audit``.

    Args:
        registry: where they are registered.
        kinds: the kinds that are exported.
    """

    def __init__(self, registry: CollectorRegistry, kinds: Iterable[str]) -> None:
        self._sent = Counter(
            "authz_export_sent",
            "Number of records that the collector accepted.",
            ["kind"],
            registry=registry,
        )
        self._dropped = Counter(
            "authz_export_dropped",
            "Number of records that were dropped: the queue was full, or the collector rejected "
            "them.",
            ["kind"],
            registry=registry,
        )
        self._waiting = Gauge(
            "authz_export_waiting",
            "Number of records of requests that wait for the collector.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._up = Gauge(
            "authz_export_up",
            "1 if the collector accepted the last batch, else 0.",
            ["kind"],
            registry=registry,
            multiprocess_mode="livemin",
        )

        for kind in kinds:
            self.sent(kind, 0)
            self.dropped(kind, 0)
            self.reachable(kind, True)

    def sent(self, kind: str, count: int) -> None:
        """Count records that the collector accepted."""
        self._sent.labels(kind).inc(count)

    def dropped(self, kind: str, count: int = 1) -> None:
        """Count records that were dropped."""
        self._dropped.labels(kind).inc(count)

    def waiting(self, count: int) -> None:
        """Set the number of records that wait."""
        self._waiting.set(count)

    def reachable(self, kind: str, is_reachable: bool) -> None:
        """Set whether the collector accepted the last batch."""
        self._up.labels(kind).set(is_reachable)
