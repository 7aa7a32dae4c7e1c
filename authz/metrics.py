"""Metrics of the authz service for Prometheus.

No label has a value that an anonymous caller can choose.
"""

import os
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

KEY_REFUSALS = (401, 403, 429)
"""HTTP statuses of a provider that refuses a key: unknown, not allowed, too many requests."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0)
"""Seconds; Envoy waits for 2."""
_SHARED_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder where prometheus-client keeps the values of several processes."""


class Metrics:
    """The counters of one authz process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._checks = Counter(
            "authz_checks",
            "Number of checks, by decision (allow, deny, unavailable), reason, provider and mode.",
            ["decision", "reason", "provider", "mode"],
            registry=self.registry,
        )
        # Finding a counter by its labels costs more than counting.
        self._counters: dict[tuple[str, ...], Counter] = {}
        self._stale = Counter(
            "authz_identity_stale_allows",
            "Number of requests allowed from the cache while the identity source was unreachable.",
            registry=self.registry,
        )

        self._check_seconds = Histogram(
            "authz_check_duration_seconds",
            "Time in seconds to answer a check.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._look_up_seconds = Histogram(
            "authz_identity_lookup_duration_seconds",
            "Time in seconds spent waiting for the identity source, successful look-ups only.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._look_up_failures = Counter(
            "authz_identity_lookup_failures",
            "Number of look-ups that the identity source did not answer; authz denied with 503.",
            registry=self.registry,
        )
        self._source_up = Gauge(
            "authz_identity_up",
            "1 if the identity source answered the last look-up, else 0.",
            registry=self.registry,
            multiprocess_mode="livemin",
        )
        self._source_up.set(1)
        self._is_source_up = True
        self._batches = Histogram(
            "authz_identity_batch_size",
            "Number of tokens in each query to the identity source.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self.registry,
        )
        self._key_refusals = Counter(
            "authz_central_key_refusals",
            "Number of central keys that a provider refused, by provider and HTTP status.",
            ["provider", "status"],
            registry=self.registry,
        )
        self._key_commands = Counter(
            "authz_key_command_failures",
            "Number of failed runs of commands that print a central key, by provider.",
            ["provider"],
            registry=self.registry,
        )
        self._config_hash = Gauge(
            "authz_config_hash",
            "First 48 bits of a hash of the settings that a reload can change.",
            registry=self.registry,
            multiprocess_mode="liveall",
        )
        self._reloaded = Gauge(
            "authz_config_last_reload_successful",
            "1 if the last attempt to load the configuration succeeded, else 0.",
            registry=self.registry,
            multiprocess_mode="livemin",
        )

    def check_took(self, seconds: float) -> None:
        """Record the duration of a check."""
        self._check_seconds.observe(seconds)

    def look_up_took(self, seconds: float) -> None:
        """Record the duration of a look-up that the identity source answered."""
        self._look_up_seconds.observe(seconds)
        if not self._is_source_up:
            self._is_source_up = True
            self._source_up.set(1)

    def look_up_failed(self) -> None:
        """Count a look-up that the identity source did not answer."""
        self._look_up_failures.inc()
        self._is_source_up = False
        self._source_up.set(0)

    def looked_up_together(self, count: int) -> None:
        """Record the number of tokens in one query to the identity source."""
        self._batches.observe(count)

    def expect_keys(self, providers: Iterable[str]) -> None:
        """Create the series of providers with central keys at 0.

        Prometheus then sees the first refusal as an increase.
        """
        for provider in providers:
            for status in KEY_REFUSALS:
                self._key_refusals.labels(provider, str(status))

    def key_refused(self, provider: str, status: int) -> None:
        """Count a refused central key.

        Args:
            provider: its name in the configuration.
            status: one of ``KEY_REFUSALS``.
        """
        self._key_refusals.labels(provider, str(status)).inc()

    def expect_key_commands(self, providers: Iterable[str]) -> None:
        """Create the series of providers whose keys come from commands at 0."""
        for provider in providers:
            self._key_commands.labels(provider)

    def key_command_failed(self, provider: str) -> None:
        """Count a failed run of a command that prints a central key."""
        self._key_commands.labels(provider).inc()

    def loaded(self, fingerprint: int) -> None:
        """Record that the configuration with this fingerprint is in use now."""
        self._config_hash.set(fingerprint)
        self._reloaded.set(1)

    def not_reloaded(self) -> None:
        """Record that a new configuration was refused and the earlier one stays in use."""
        self._reloaded.set(0)

    def count_check(
        self, decision: str, reason: str = "", provider: str | None = None, mode: str = ""
    ) -> None:
        """Count a check. Every value comes from the program's enumerations or the configuration."""
        labels = (decision, reason, provider or "", mode)
        counter = self._counters.get(labels)
        if counter is None:
            counter = self._counters[labels] = self._checks.labels(*labels)
        counter.inc()

    def count_stale(self) -> None:
        """Count an identity from the cache that ``identity_stale_if_error`` allowed."""
        self._stale.inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        if _SHARED_VARIABLE not in os.environ:
            return generate_latest(self.registry)
        # Each worker keeps its values in files; the sum of all workers is returned.
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
