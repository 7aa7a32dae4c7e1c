"""Usage in the authz service: from Envoy's records to metrics and rows."""

from authz.errors import ConfigError
from authz.identity.open import open_database
from authz.identity.url import CoderURL, parse_identity_url
from authz.settings import Config
from authz.usage.entry import UsageEntry
from authz.usage.ids import EntryIds
from authz.usage.metrics import UsageMetrics
from authz.usage.recorder import Recorder
from authz.usage.store import UsageStore


def database_url(config: Config) -> str | None:
    """Return the URL of the database that requests are written to, or None without one."""
    if config.usage.database is not None:
        return config.usage.database
    is_coder = isinstance(parse_identity_url(config.identity), CoderURL)
    return None if is_coder else config.identity


async def open_usage_store(config: Config) -> UsageStore:
    """Open the rows of requests.

    Raises:
        ConfigError: there is no database for them.
        StoreError: it can't be used.
    """
    url = database_url(config)
    if url is None:
        raise ConfigError(["usage.database: is needed where identity is Coder's API"])
    store = UsageStore(await open_database(url))
    try:
        await store.prepare()
    except BaseException:
        await store.close()
        raise
    return store


class UsageRecording:
    """Counts and records requests while the service runs.

    Args:
        config: says whether, and where.
        ids: what is given to requests.
        metrics: where they are counted.
    """

    def __init__(self, config: Config, ids: EntryIds, metrics: UsageMetrics) -> None:
        self._metrics = metrics
        self._recorder: Recorder | None = None
        if config.usage.enabled and database_url(config) is not None:

            async def open_store() -> UsageStore:
                return await open_usage_store(config)

            self._recorder = Recorder(open_store, ids, metrics, config.usage.keep_days)

    def start(self) -> None:
        """Begin to write."""
        if self._recorder is not None:
            self._recorder.start()

    def record(self, entry: UsageEntry) -> None:
        """Take a request from Envoy's records."""
        self._metrics.count(entry)
        if self._recorder is not None:
            self._recorder.record(entry)

    async def stop(self, seconds: float) -> None:
        """Write what waits, at most for this long."""
        if self._recorder is not None:
            await self._recorder.stop(seconds)
