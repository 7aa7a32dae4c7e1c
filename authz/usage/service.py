"""Recorded usage in the authz service, and the choice of its database."""

import os
from collections.abc import Callable
from pathlib import Path

from authz.check.entry_ids import EntryIds
from authz.config.settings import Config
from authz.database.interface import Database
from authz.database.sqlite_file import make
from authz.database.url import CoderURL, SQLiteURL, parse_identity_url
from authz.errors import AuthzError, ConfigError, ManagedByCoder, StoreError
from authz.identity.open import make_store, open_database
from authz.identity.schema import IDENTITY
from authz.usage.charges import Cost, priced
from authz.usage.entry import Report, UsageEntry
from authz.usage.metrics import UsageMetrics
from authz.usage.recorder import Recorder
from authz.usage.store import UsageStore

_LOCK = 0x61757A75
"""The advisory lock of writing requests, so that no check waits for a batch of them.

A budget's transaction is part of a check, and has the lock of the identity tables."""


def database_url(config: Config) -> str | None:
    """Return the URL of the database for requests, or None if there is none."""
    if config.usage.database is not None:
        return config.usage.database
    is_coder = isinstance(parse_identity_url(config.identity), CoderURL)
    return None if is_coder else config.identity


async def open_usage_store(config: Config, *, create: bool = False) -> UsageStore:
    """Open the store of requests.

    Args:
        config: names the database.
        create: create the database if it is separate from the identity store and does not exist.
            In PostgreSQL the role needs the right to create tables.

    Raises:
        ConfigError: no database is configured.
        StoreError: the database can't be used.
    """
    url = database_url(config)
    if url is None:
        raise ConfigError(["usage.database: is required if identity is Coder's API"])
    database = await _open(url, create=create and has_own_database(config))
    store = UsageStore(database)
    try:
        await store.prepare()
    except BaseException:
        await store.close()
        raise
    return store


def has_own_database(config: Config) -> bool:
    """Return whether the database for requests is separate from the identity store."""
    url = config.usage.database
    return url is not None and parse_identity_url(url) != parse_identity_url(config.identity)


async def find_problem(config: Config) -> str | None:
    """Return a line that says why requests can't be recorded, or None.

    Nothing is created. A SQLite file may be missing if the start of authz can create it.
    """
    url = database_url(config)
    if not config.usage.enabled:
        return None
    if url is None:
        return "no request is recorded: set usage.database to a database of your own"
    parsed = parse_identity_url(url)
    if isinstance(parsed, SQLiteURL) and not parsed.path.exists():
        return _cannot_make(parsed.path)
    try:
        await (await open_usage_store(config)).close()
    except AuthzError as error:
        return f"no request can be recorded: {error}"
    if isinstance(parsed, SQLiteURL) and not os.access(parsed.path, os.W_OK):
        return f"no request can be recorded: {parsed.path} is not writable"
    return None


def _cannot_make(path: Path) -> str | None:
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return None
    why = "is not writable" if folder.is_dir() else "is not a folder"
    return f"no request can be recorded: {path} can't be created, because {folder} {why}"


async def _open(url: str, *, create: bool) -> Database:
    parsed = parse_identity_url(url)
    if isinstance(parsed, SQLiteURL) and not parsed.path.exists():
        if not create:
            raise StoreError(
                f"no usage database at {parsed.path}: the next start of authz creates it"
            )
        make(parsed.path, IDENTITY)
    try:
        return await open_database(url, lock=_LOCK)
    except ManagedByCoder:
        raise
    except StoreError:
        if not create or isinstance(parsed, SQLiteURL):
            raise
    # PostgreSQL has no tables yet. If it can't be reached, this fails with the same error.
    await make_store(url)
    return await open_database(url, lock=_LOCK)


class UsageRecording:
    """Counts and records requests while the service runs.

    Args:
        config: enables recording and names the database.
        ids: the ids that this process gives to requests.
        metrics: counts the requests.
        prices: returns the prices now; None where there are none.
        export: gets each request, and the end of each one through an external gateway; None where
            requests are not exported.
    """

    def __init__(
        self,
        config: Config,
        ids: EntryIds,
        metrics: UsageMetrics,
        prices: Callable[[], Cost | None] = lambda: None,
        export: Callable[[UsageEntry | Report], None] | None = None,
    ) -> None:
        self._metrics = metrics
        self._export = export
        self._prices = prices
        self._recorder: Recorder | None = None
        if config.usage.enabled and database_url(config) is not None:

            async def open_store() -> UsageStore:
                return await open_usage_store(config, create=True)

            self._recorder = Recorder(open_store, ids, metrics, config.usage.keep_days, prices)

    def start(self) -> None:
        """Start writing."""
        if self._recorder is not None:
            self._recorder.start()

    def keep(self, days: int) -> None:
        """Set the days after which a request is deleted."""
        if self._recorder is not None:
            self._recorder.keep(days)

    def record(self, entry: UsageEntry) -> None:
        """Count and record a request, with its cost."""
        cost = self._prices()
        if cost is not None:
            entry = priced(entry, cost)
        self._metrics.count(entry)
        if cost is not None:
            self._metrics.count_cost(entry)
        if self._recorder is not None:
            self._recorder.record(entry)
        if self._export is not None:
            self._export(entry)

    def report(self, report: Report) -> None:
        """Complete a request of an external gateway in the database, if there is one."""
        if self._recorder is not None:
            self._recorder.report(report)
        if self._export is not None:
            self._export(report)

    @property
    def problem(self) -> str | None:
        """The problem with writing to the database, for a person, or None.

        Requests are served all the same. They wait in memory, and are in the access log.
        """
        if self._recorder is None or not self._recorder.is_failing:
            return None
        return "usage can't be written to its database; authz's log says why"

    async def stop(self, seconds: float) -> None:
        """Write the waiting requests, within a time limit."""
        if self._recorder is not None:
            await self._recorder.stop(seconds)
