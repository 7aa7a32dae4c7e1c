"""Metrics of the authz service for Prometheus.

No label has a value that an anonymous caller can choose.
"""

import os
import time
from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from authz.tallies import Tallies

KEY_REFUSALS = (401, 403, 429)
"""HTTP statuses of a provider that refuses a key: unknown, not allowed, too many requests."""

_COOLDOWNS = (401, 429)
"""Those of them that put a key of a pool on cooldown."""
RETRIED_STATUSES = (401, 429, 529)
"""The answers of a provider after which a request is tried again with another key. None of them
is an answer of a model, so nothing is paid twice."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0)
"""Seconds; Envoy waits for 2."""
_SHARED_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder where prometheus-client keeps the values of several processes."""


class Cooldown(NamedTuple):
    """A cooldown of a central key.

    Attributes:
        end: Unix time.
        status: the HTTP status of the provider's refusal.
    """

    end: float
    status: int


class Metrics:
    """The counters of one authz process.

    Attributes:
        tallies: the counts that each check changes.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.tallies = Tallies(self.registry)
        self._checks = self.tallies.counter(
            "authz_checks",
            "Number of checks, by decision (allow, deny, unavailable), reason, provider and mode.",
            ["decision", "reason", "provider", "mode"],
        )
        self._stale = Counter(
            "authz_identity_stale_allows",
            "Number of requests allowed from the cache while the identity source was unreachable.",
            registry=self.registry,
        )
        self._uncounted = Counter(
            "authz_limits_uncounted",
            "Number of requests allowed while the store of shared limits was unreachable.",
            registry=self.registry,
        )

        self._check_seconds = self.tallies.histogram(
            "authz_check_duration_seconds",
            "Time in seconds to answer a check.",
            _BUCKETS,
        )
        self._look_up_seconds = self.tallies.histogram(
            "authz_identity_lookup_duration_seconds",
            "Time in seconds spent waiting for the identity source, successful look-ups only.",
            _BUCKETS,
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
        self._batches = self.tallies.histogram(
            "authz_identity_batch_size",
            "Number of tokens in each query to the identity source.",
            (1, 2, 4, 8, 16, 32, 64, 128, 256),
        )
        self._key_refusals = Counter(
            "authz_central_key_refusals",
            "Number of central keys that a provider refused, by provider and HTTP status.",
            ["provider", "status"],
            registry=self.registry,
        )
        self._key_retries = Counter(
            "authz_central_key_retries",
            "Number of refused requests that were tried again with the next central key, by "
            "provider and HTTP status of the refusal.",
            ["provider", "status"],
            registry=self.registry,
        )
        self._key_commands = Counter(
            "authz_key_command_failures",
            "Number of failed runs of commands that print a central key, by provider.",
            ["provider"],
            registry=self.registry,
        )
        self._cooldowns = Gauge(
            "authz_central_key_cooldown_end_seconds",
            "Unix time at which the last cooldown of a central key ends, by provider, place of the "
            "key in gateway.yaml and HTTP status of the refusal.",
            ["provider", "key", "status"],
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self._notices = Counter(
            "authz_notices",
            "Number of attempts to send a notice, by kind and result: sent, failed or given_up.",
            ["kind", "result"],
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
        self._check_seconds.add(seconds)

    def look_up_took(self, seconds: float) -> None:
        """Record the duration of a look-up that the identity source answered."""
        self._look_up_seconds.add(seconds)
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
        self._batches.add(count)

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

    def key_retried(self, provider: str, status: int) -> None:
        """Count a refused request that was tried again with the next key.

        Args:
            provider: its name in the configuration.
            status: of the refusal.
        """
        self._key_retries.labels(provider, str(status)).inc()
        if status in KEY_REFUSALS:
            self.key_refused(provider, status)

    def expect_cooldowns(self, provider: str, keys: int) -> None:
        """Create the series of a provider's central keys at 0."""
        for status in RETRIED_STATUSES if keys > 1 else ():
            self._key_retries.labels(provider, str(status))
        for key in range(keys):
            for status in _COOLDOWNS:
                self._cooldowns.labels(provider, str(key), str(status))

    def cooldown_began(self, provider: str, key: int, status: int, seconds: float) -> None:
        """Record that a central key is on cooldown from now on, or no longer.

        Args:
            provider: its name in the configuration.
            key: the place of the key, from 0.
            status: the provider's response, one of ``_COOLDOWNS``.
            seconds: the length of the cooldown; 0 if it is over.
        """
        for one in _COOLDOWNS:
            end = time.time() + seconds if one == status and seconds else 0
            self._cooldowns.labels(provider, str(key), str(one)).set(end)

    def cooldowns(self) -> dict[tuple[str, int], Cooldown]:
        """Return the last cooldown of each key that had one, in any worker of this authz."""
        found: dict[tuple[str, int], Cooldown] = {}
        for metric in self._registry_of_all().collect():
            if metric.name != "authz_central_key_cooldown_end_seconds":
                continue
            for sample in metric.samples:
                place = sample.labels["provider"], int(sample.labels["key"])
                one = Cooldown(sample.value, int(sample.labels["status"]))
                found[place] = max(found.get(place, one), one)
        return found

    def open_streams(self) -> int | None:
        """Return the number of requests in progress at all workers; None if nothing counts them."""
        value = self._registry_of_all().get_sample_value("authz_open_streams")
        return None if value is None else int(value)

    def expect_key_commands(self, providers: Iterable[str]) -> None:
        """Create the series of providers whose keys come from commands at 0."""
        for provider in providers:
            self._key_commands.labels(provider)

    def key_command_failed(self, provider: str) -> None:
        """Count a failed run of a command that prints a central key."""
        self._key_commands.labels(provider).inc()

    def expect_notices(self, kinds: Iterable[str]) -> None:
        """Create the series of notices at 0."""
        for kind in kinds:
            for result in ("sent", "failed", "given_up"):
                self._notices.labels(kind, result)

    def count_notice(self, kind: str, result: str) -> None:
        """Count an attempt to send a notice."""
        self._notices.labels(kind, result).inc()

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
        self._checks.add((decision, reason, provider or "", mode))

    def count_stale(self) -> None:
        """Count an identity from the cache that ``identity_stale_if_error`` allowed."""
        self._stale.inc()

    def count_uncounted(self) -> None:
        """Count a request that ``limits.shared.unavailable: pass`` let pass."""
        self._uncounted.inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry_of_all())

    def _registry_of_all(self) -> CollectorRegistry:
        if _SHARED_VARIABLE not in os.environ:
            return self.registry
        # Each worker keeps its values in files; the sum of all workers is returned.
        self.tallies.flush()
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return together
