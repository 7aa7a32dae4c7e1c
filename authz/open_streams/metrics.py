"""Metrics of open streams."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class StreamMetrics:
    """The counters of one authz process.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = Gauge(
            "authz_open_streams",
            "Number of requests in progress that end when their token is revoked.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._ended = Counter(
            "authz_streams_ended",
            "Number of requests in progress that were ended, by reason.",
            ["reason"],
            registry=registry,
        )

    def opened(self) -> None:
        """Count a request that began."""
        self._open.inc()

    def closed(self) -> None:
        """Count a request that is over."""
        self._open.dec()

    def ended(self, reason: str, count: int) -> None:
        """Record requests that authz has ended."""
        self._ended.labels(reason).inc(count)
