"""Metrics for Prometheus. No label has a value that an anonymous caller can choose."""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SHARED_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder where prometheus-client keeps the values of several processes."""


class Metrics:
    """The counters of one authz process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._checks = Counter(
            "authz_checks",
            "Checks answered, by decision (allow, deny, unavailable), reason, provider and mode.",
            ["decision", "reason", "provider", "mode"],
            registry=self.registry,
        )
        # Finding a counter by its labels costs more than counting.
        self._counters: dict[tuple[str, ...], Counter] = {}
        self._stale = Counter(
            "authz_identity_stale_allows",
            "Requests allowed on an earlier answer, since the identity source could not be asked.",
            registry=self.registry,
        )

        self._config_hash = Gauge(
            "authz_config_hash",
            "48 bits of a hash of what a reload can change, to see which replica serves what.",
            registry=self.registry,
            multiprocess_mode="liveall",
        )
        self._reloaded = Gauge(
            "authz_config_last_reload_successful",
            "Whether the last attempt to load the configuration was successful.",
            registry=self.registry,
            multiprocess_mode="livemin",
        )

    def loaded(self, fingerprint: int) -> None:
        """Note that the configuration of this fingerprint is served from now on."""
        self._config_hash.set(fingerprint)
        self._reloaded.set(1)

    def not_reloaded(self) -> None:
        """Note that a new configuration was refused, and the one before is served on."""
        self._reloaded.set(0)

    def count_check(
        self, decision: str, reason: str = "", provider: str | None = None, mode: str = ""
    ) -> None:
        """Count an answer; every value comes from our own enumerations or configuration."""
        labels = (decision, reason, provider or "", mode)
        counter = self._counters.get(labels)
        if counter is None:
            counter = self._counters[labels] = self._checks.labels(*labels)
        counter.inc()

    def count_stale(self) -> None:
        """Count an identity that ``identity_stale_if_error`` supplied."""
        self._stale.inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        if _SHARED_VARIABLE not in os.environ:
            return generate_latest(self.registry)
        # Those of all workers together.
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
