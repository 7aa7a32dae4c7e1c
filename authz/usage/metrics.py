"""Metrics of usage, named as OpenTelemetry's semantic conventions for generative AI have them."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from authz.usage.entry import UsageEntry

_MODELS_MAX = 200
"""Names of models come from answers of providers, of which a person may have many with BYOK."""
_OTHER = "other"


class UsageMetrics:
    """The counters of requests and tokens in one authz process.

    Args:
        registry: where they are registered.
        by_user: whether users have series of their own.
    """

    def __init__(self, registry: CollectorRegistry, *, by_user: bool = False) -> None:
        self._tokens = Counter(
            "gen_ai_client_token_usage",
            "Tokens that providers counted, by kind: input (cached ones included), cached, output.",
            ["gen_ai_provider_name", "gen_ai_response_model", "gen_ai_token_type", "mode"],
            registry=registry,
        )
        self._requests = Counter(
            "authz_usage_requests",
            "Requests that Envoy has told of, by what is known of their tokens.",
            ["provider", "mode", "usage"],
            registry=registry,
        )
        self._written = Counter(
            "authz_usage_written", "Requests that were given a row.", registry=registry
        )
        self._dropped = Counter(
            "authz_usage_dropped",
            "Requests without a row since too many waited; the JSON access log has them.",
            registry=registry,
        )
        self._waiting = Gauge(
            "authz_usage_waiting",
            "Requests that wait for the database.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._writable = Gauge(
            "authz_usage_database_up",
            "1 while the usage database takes requests, 0 since an attempt to write failed.",
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
                "Tokens by user, where the configuration asks for it.",
                ["user", "gen_ai_token_type", "mode"],
                registry=registry,
            )

    def count(self, entry: UsageEntry) -> None:
        """Count a request and its tokens."""
        provider, mode = entry.provider or "", entry.mode or ""
        self._counter(self._requests, provider, mode, entry.usage).inc()
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
        """Count rows."""
        self._written.inc(count)

    def dropped(self) -> None:
        """Count a request that is not recorded."""
        self._dropped.inc()

    def waiting(self, count: int) -> None:
        """Say how many requests wait."""
        self._waiting.set(count)

    def writable(self, is_writable: bool) -> None:
        """Say whether the database took the last batch."""
        self._writable.set(is_writable)

    def _counter(self, counter: Counter, *labels: str) -> Counter:
        # Finding it by its labels costs more than counting.
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
