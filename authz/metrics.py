"""Metrics for Prometheus. No label has a value that an anonymous caller can choose."""

import os
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

KEY_REFUSALS = (401, 403, 429)
"""Statuses with which a provider refuses a key: unknown, not allowed, too many requests."""

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

        self._check_seconds = Histogram(
            "authz_check_duration_seconds",
            "From a check's bytes to those of its answer.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._look_up_seconds = Histogram(
            "authz_identity_lookup_duration_seconds",
            "What of it was asking the identity source, answers only.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._look_up_failures = Counter(
            "authz_identity_lookup_failures",
            "Look-ups that had no answer; their requests got 503.",
            registry=self.registry,
        )
        self._source_up = Gauge(
            "authz_identity_up",
            "Whether the last look-up had an answer.",
            registry=self.registry,
            multiprocess_mode="livemin",
        )
        self._source_up.set(1)
        self._is_source_up = True
        self._batches = Histogram(
            "authz_identity_batch_size",
            "Tokens that were looked up together.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self.registry,
        )
        self._key_refusals = Counter(
            "authz_central_key_refusals",
            "Requests with a central key that its provider answered with this status.",
            ["provider", "status"],
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

    def check_took(self, seconds: float) -> None:
        """Note how long a check took."""
        self._check_seconds.observe(seconds)

    def look_up_took(self, seconds: float) -> None:
        """Note how long the identity source took for an answer."""
        self._look_up_seconds.observe(seconds)
        if not self._is_source_up:
            self._is_source_up = True
            self._source_up.set(1)

    def look_up_failed(self) -> None:
        """Note that the identity source had no answer."""
        self._look_up_failures.inc()
        self._is_source_up = False
        self._source_up.set(0)

    def looked_up_together(self, count: int) -> None:
        """Note how many tokens one question to the identity source had."""
        self._batches.observe(count)

    def expect_keys(self, providers: Iterable[str]) -> None:
        """Begin at 0 for providers with central keys: the first refusal has to be an increase."""
        for provider in providers:
            for status in KEY_REFUSALS:
                self._key_refusals.labels(provider, str(status))

    def key_refused(self, provider: str, status: int) -> None:
        """Count a refused central key.

        Args:
            provider: of our configuration.
            status: one of ``KEY_REFUSALS``.
        """
        self._key_refusals.labels(provider, str(status)).inc()

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
