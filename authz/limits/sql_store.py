"""Counts in SQLite or PostgreSQL: each batch is one transaction."""

import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from authz.database.interface import Database, Dialect, Row, Transaction
from authz.database.sqlite import SQLiteDatabase
from authz.database.sqlite_file import make
from authz.database.url import PostgresURL, SQLiteURL
from authz.limits.counting import admit, counts_tokens, is_window
from authz.limits.limit import Outcome, Settled, Wanted
from authz.limits.schema import LIMITS, prepare
from authz.limits.window import SLOTS, Window

LOCK = 0x61757A6C
"""The advisory lock of counting, so that it does not wait for other transactions of authz."""
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_EACH = {Dialect.SQLITE: "json_each($1)", Dialect.POSTGRESQL: "jsonb_each_text($1::jsonb)"}
_PRUNE_SECONDS = 61.0


def _among(dialect: Dialect, column: str, place: int = 1) -> str:
    if dialect is Dialect.SQLITE:
        return f"{column} IN (SELECT value FROM json_each(${place}))"  # noqa: S608 - constants
    return f"{column} = ANY (${place}::text[])"


def now_of(dialect: Dialect) -> str:
    """Return the time in milliseconds in SQL, which is PostgreSQL's where replicas share it."""
    return str(int(time.time() * 1000)) if dialect is Dialect.SQLITE else _NOW


class _Counts:
    """The counts that a batch needs, read in its transaction."""

    def __init__(self, rows: Sequence[Row]) -> None:
        parts = [(row["part"], row["key"], row["value"]) for row in rows]
        self.now_ms = next(int(value) for part, _, value in parts if part == "now")
        self.windows = {key: Window(value) for part, key, value in parts if part == "window"}
        self.open = {key: int(value) for part, key, value in parts if part == "open"}
        self._before = {key: value for part, key, value in parts if part == "window"}

    def changed(self) -> str:
        """Return the windows that differ from those that were read, as JSON."""
        slots = ((key, window.dump()) for key, window in sorted(self.windows.items()))
        return json.dumps({key: text for key, text in slots if text != self._before.get(key)})


class SqlStore:
    """Counts in a database.

    Args:
        open_database: opens the database and creates its tables; the store closes it.
        life_ms: the time after which a request ends by itself.
        now: returns the time in milliseconds as an SQL expression.
    """

    def __init__(
        self,
        open_database: Callable[[], Awaitable[Database]],
        life_ms: int,
        now: Callable[[Dialect], str] = now_of,
    ) -> None:
        self._open_database = open_database
        self._life_ms = life_ms
        self._now = now
        self._database: Database | None = None
        self._pruned_at = -math.inf

    async def admit(self, batch: Sequence[Wanted]) -> Mapping[Wanted, Outcome]:
        """Decide on requests; see ``LimitStore.admit``."""
        keys = {limit.key for wanted in batch for limit in wanted.limits}
        passed: list[Wanted] = []
        async with (await self._opened()).transaction() as transaction:
            # All processes wait for the lock of the transaction, so it has few statements.
            counts = await self._read(transaction, keys)
            outcomes = admit(counts, batch, counts.now_ms, passed.append)
            opened = [(one.request_id, key) for one in passed for key in one.settled]
            await self._write(transaction, counts, opened)
        return outcomes

    async def settle(self, batch: Settled) -> None:
        """End requests; see ``LimitStore.settle``."""
        database = await self._opened()
        if batch:
            async with database.transaction() as transaction:
                await self._settle(transaction, batch)
        if time.monotonic() - self._pruned_at > _PRUNE_SECONDS:
            await self._prune(database)

    async def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            await self._database.close()

    async def _opened(self) -> Database:
        if self._database is None:
            self._database = await self._open_database()
        return self._database

    async def _settle(self, transaction: Transaction, batch: Settled) -> None:
        among = _among(transaction.dialect, "request_id")
        ended = await transaction.fetch(
            f"DELETE FROM limit_open WHERE {among} RETURNING request_id, key, expires_ms",  # noqa: S608
            list(batch),
        )
        used = [row for row in ended if counts_tokens(row["key"]) and batch[row["request_id"]]]
        if not used:
            return
        counts = await self._read(transaction, {row["key"] for row in used})
        for row in used:
            # A request that has ended by itself counts no more.
            if row["expires_ms"] > counts.now_ms:
                window = counts.windows.setdefault(row["key"], Window())
                window.add(counts.now_ms, batch[row["request_id"]])
        await self._write(transaction, counts, [])

    async def _prune(self, database: Database) -> None:
        now = self._now(database.dialect)
        await database.execute(f"DELETE FROM limit_open WHERE expires_ms <= {now}")  # noqa: S608
        await database.execute(
            f"DELETE FROM limit_windows WHERE written_ms < {now} - {SLOTS * 1000}"  # noqa: S608
        )
        self._pruned_at = time.monotonic()

    async def _read(self, transaction: Transaction, keys: set[str]) -> _Counts:
        dialect = transaction.dialect
        now = self._now(dialect)
        sql = (
            f"SELECT 'now' AS part, '' AS key, CAST({now} AS text) AS value"  # noqa: S608
            " UNION ALL SELECT 'window', key, slots FROM limit_windows"
            f" WHERE {_among(dialect, 'key', 1)}"
            " UNION ALL SELECT 'open', key, CAST(count(*) AS text) FROM limit_open"
            f" WHERE {_among(dialect, 'key', 2)} AND expires_ms > {now} GROUP BY key"
        )
        windows = sorted(filter(is_window, keys))
        concurrent = sorted(key for key in keys if not is_window(key))
        return _Counts(await transaction.fetch(sql, windows, concurrent))

    async def _write(
        self, transaction: Transaction, counts: _Counts, opened: Sequence[tuple[str, str]]
    ) -> None:
        """Write the windows that changed, and the requests that are in progress from now on."""
        each = _EACH[transaction.dialect]
        windows = (
            "INSERT INTO limit_windows (key, slots, written_ms)"  # noqa: S608 - constants
            f" SELECT j.key, j.value, $2 FROM {each} AS j WHERE true ON CONFLICT (key)"
            " DO UPDATE SET slots = excluded.slots, written_ms = excluded.written_ms"
        )
        changed, expires_ms = counts.changed(), counts.now_ms + self._life_ms
        if transaction.dialect is Dialect.SQLITE:
            if changed != "{}":
                await transaction.execute(windows, changed, counts.now_ms)
            if opened:
                columns = {"request_id": "text", "key": "text", "expires_ms": "bigint"}
                rows = [(request_id, key, expires_ms) for request_id, key in opened]
                await transaction.insert("limit_open", columns, rows)
        elif changed != "{}" or opened:
            await transaction.execute(
                f"WITH windows AS ({windows})"  # noqa: S608 - constants
                " INSERT INTO limit_open (request_id, key, expires_ms)"
                " SELECT r.id, r.key, $5 FROM unnest($3::text[], $4::text[]) AS r (id, key)"
                " ON CONFLICT DO NOTHING",
                changed,
                counts.now_ms,
                [request_id for request_id, _ in opened],
                [key for _, key in opened],
                expires_ms,
            )


async def open_sqlite(url: SQLiteURL) -> Database:
    """Open the file, which is created if it does not exist.

    Raises:
        StoreError: the file can't be used.
    """
    make(url.path, LIMITS)
    database = SQLiteDatabase(url.path, LIMITS)
    try:
        # Counts of a minute are not worth waiting for the disk.
        await database.execute("PRAGMA synchronous = OFF")
    except BaseException:
        await database.close()
        raise
    return database


async def open_postgresql(url: PostgresURL) -> Database:
    """Open the database, and create the tables in it if there are none.

    Raises:
        StoreError: the database can't be used, or the role may not create tables.
    """
    # Imported late: asyncpg takes a tenth of a second.
    from authz.database.postgres import PostgresDatabase

    database = PostgresDatabase(url, lock=LOCK)
    try:
        await prepare(database)
    except BaseException:
        await database.close()
        raise
    return database
