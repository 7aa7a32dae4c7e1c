"""Metrics of usage, named by OpenTelemetry's semantic conventions for generative AI."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from authz.budgets.money import NANO
from authz.tallies import Tallies, Tally
from authz.usage.charges import is_unpriced
from authz.usage.entry import UsageEntry

_MODELS_MAX = 200
"""The number of models with series of their own. Providers choose the names of models."""
_OTHER = "other"


class UsageMetrics:
    """The counters of requests and tokens in one authz process.

    Args:
        registry: where they are registered.
        by_user: add series of tokens for each user.
        tallies: of the registry; None if it has none yet.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        by_user: bool = False,
        tallies: Tallies | None = None,
    ) -> None:
        tallies = tallies or Tallies(registry)
        self._tokens = tallies.counter(
            "gen_ai_client_token_usage",
            "Number of tokens that providers counted. Type input includes cached.",
            ["gen_ai_provider_name", "gen_ai_response_model", "gen_ai_token_type", "mode"],
        )
        self._requests = tallies.counter(
            "authz_usage_requests",
            "Number of requests, by provider, mode and what is known of their tokens.",
            ["provider", "mode", "usage"],
        )
        self._cost = Counter(
            "authz_usage_cost_dollars",
            "Dollars that requests cost; in mode byok the users pay them. Only with prices.",
            ["provider", "model", "mode"],
            registry=registry,
        )
        self._unpriced = Counter(
            "authz_usage_unpriced_requests",
            "Number of requests for models without a price: set prices.overrides.",
            ["provider", "model"],
            registry=registry,
        )
        self._written = Counter(
            "authz_usage_written",
            "Number of requests written to the database.",
            registry=registry,
        )
        self._dropped = Counter(
            "authz_usage_dropped",
            "Number of requests dropped because the queue was full; see the JSON access log.",
            registry=registry,
        )
        self._waiting = Gauge(
            "authz_usage_waiting",
            "Number of requests that wait to be written to the usage database.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._writable = Gauge(
            "authz_usage_database_up",
            "1 if the last write to the usage database succeeded, else 0.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._writable.set(1)
        self._models: set[str] = set()
        self._of_users: Tally | None = None
        if by_user:
            self._of_users = tallies.counter(
                "authz_usage_user_tokens",
                "Number of tokens by user, type and mode; only with usage.metrics_by_user.",
                ["user", "gen_ai_token_type", "mode"],
            )

    def count(self, entry: UsageEntry) -> None:
        """Count a request and its tokens."""
        provider, mode = entry.provider or "", entry.mode or ""
        self._requests.add((provider, mode, entry.usage))
        self.count_tokens(entry)

    def count_tokens(self, entry: UsageEntry) -> None:
        """Count the tokens of a request that has been counted before."""
        provider, mode = entry.provider or "", entry.mode or ""
        tokens = entry.tokens
        if tokens.input is None and tokens.output is None:
            return
        model = self._known(entry.model or "")
        counts = (("input", tokens.input), ("cached", tokens.cached), ("output", tokens.output))
        for kind, count in counts:
            if count:
                self._tokens.add((provider, model, kind, mode), count)
                if self._of_users is not None:
                    self._of_users.add((entry.username or "", kind, mode), count)

    def count_cost(self, entry: UsageEntry) -> None:
        """Count the cost of a request whose cost was computed, or that it has no price."""
        if is_unpriced(entry):
            provider, model = entry.provider or "", self._known(entry.model or "")
            self._unpriced.labels(provider, model).inc()
        elif entry.cost:
            labels = (entry.provider or "", self._known(entry.model or ""), entry.mode or "")
            self._cost.labels(*labels).inc(entry.cost / NANO)

    def wrote(self, count: int) -> None:
        """Count requests that were written."""
        self._written.inc(count)

    def dropped(self) -> None:
        """Count a request that was dropped."""
        self._dropped.inc()

    def waiting(self, count: int) -> None:
        """Set the number of requests that wait."""
        self._waiting.set(count)

    def writable(self, is_writable: bool) -> None:
        """Set whether the last write succeeded."""
        self._writable.set(is_writable)

    def _known(self, model: str) -> str:
        if model not in self._models:
            if len(self._models) >= _MODELS_MAX:
                return _OTHER
            self._models.add(model)
        return model
