"""Metrics of usage, named by OpenTelemetry's semantic conventions for generative AI."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from authz.usage.entry import UsageEntry

_MODELS_MAX = 200
"""The number of models with series of their own. Providers choose the names of models."""
_OTHER = "other"


class UsageMetrics:
    """The counters of requests and tokens in one authz process.

    Args:
        registry: where they are registered.
        by_user: add series of tokens for each user.
    """

    def __init__(self, registry: CollectorRegistry, *, by_user: bool = False) -> None:
        self._tokens = Counter(
            "gen_ai_client_token_usage",
            "Number of tokens that providers counted. Type input includes cached.",
            ["gen_ai_provider_name", "gen_ai_response_model", "gen_ai_token_type", "mode"],
            registry=registry,
        )
        self._requests = Counter(
            "authz_usage_requests",
            "Number of requests, by provider, mode and what is known of their tokens.",
            ["provider", "mode", "usage"],
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
        self._found: dict[tuple[Counter, tuple[str, ...]], Counter] = {}
        self._of_users: Counter | None = None
        if by_user:
            self._of_users = Counter(
                "authz_usage_user_tokens",
                "Number of tokens by user, type and mode; only with usage.metrics_by_user.",
                ["user", "gen_ai_token_type", "mode"],
                registry=registry,
            )

    def count(self, entry: UsageEntry) -> None:
        """Count a request and its tokens."""
        provider, mode = entry.provider or "", entry.mode or ""
        self._counter(self._requests, provider, mode, entry.usage).inc()
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
                self._counter(self._tokens, provider, model, kind, mode).inc(count)
                if self._of_users is not None:
                    self._of_users.labels(entry.username or "", kind, mode).inc(count)

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

    def _counter(self, counter: Counter, *labels: str) -> Counter:
        # prometheus-client finds a counter by its labels slower than it counts.
        found = self._found.get((counter, labels))
        if found is None:
            found = self._found[counter, labels] = counter.labels(*labels)
        return found

    def _known(self, model: str) -> str:
        if model not in self._models:
            if len(self._models) >= _MODELS_MAX:
                return _OTHER
            self._models.add(model)
        return model
