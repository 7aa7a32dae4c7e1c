"""PostgreSQL as a database, for commands and the token API."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar

import asyncpg

from authz.database.interface import Conflict, Dialect, Row, Transaction
from authz.database.postgres_errors import FAILURES, explain
from authz.database.postgres_pool import Connection, Pool
from authz.database.url import PostgresURL
from authz.errors import StoreError

_T = TypeVar("_T")

STATEMENT_SECONDS = 5.0
"""The time that a statement waits for another process's transaction, equal to SQLite's."""
_ANSWER_SECONDS = STATEMENT_SECONDS + 1
"""The time after which a silent server counts as down."""
WRITERS = 0x61757A31
"""The advisory lock of transactions; the number is also the application id in SQLite's file."""


class PostgresDatabase:
    """A PostgreSQL database (``authz.database.interface.Database``).

    Statements run one after the other on one connection, which is opened at the first statement.

    Args:
        url: of the database.
        lock: the advisory lock of transactions. Those with another lock run at the same time.
    """

    dialect = Dialect.POSTGRESQL

    def __init__(self, url: PostgresURL, *, lock: int = WRITERS) -> None:
        self._lock = lock
        self.where = url.display
        self._pool = Pool(url, size=1, statement_seconds=STATEMENT_SECONDS, prepare=_ids_as_text)
        self._turn = asyncio.Lock()

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """Run a query; see ``Queries.fetch``."""
        async with self._acquire() as connection:
            return await self._fetch(connection, sql, args)

    async def execute(self, sql: str, *args: object) -> int:
        """Run a statement; see ``Queries.execute``."""
        async with self._acquire() as connection:
            return await self._execute(connection, sql, args)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a transaction; see ``Database.transaction``. Statements of other tasks wait.

        The transactions of all processes with one lock run one after the other, as in SQLite. A
        transaction therefore never sees rows change that only these transactions write.
        """
        async with self._acquire() as connection:
            await self._execute(connection, "BEGIN", ())
            try:
                await self._execute(connection, "SELECT pg_advisory_xact_lock($1)", (self._lock,))
                yield _Transaction(self, connection)
                await self._execute(connection, "COMMIT", ())
            except Exception:
                if not connection.is_closed():
                    await self._execute(connection, "ROLLBACK", ())
                raise

    async def transact(self, work: Callable[[Transaction], Coroutine[Any, Any, _T]]) -> _T:
        """Run a transaction as a whole; see ``Database.transact``."""
        async with self.transaction() as transaction:
            return await work(transaction)

    async def maintain(self, sql: str) -> None:
        """Run a statement; see ``Database.maintain``. Statements of other tasks wait."""
        async with self._acquire() as connection:
            # A connection that fails in a transaction is not used again.
            await self._execute(connection, "BEGIN", ())
            await self._execute(connection, "SET LOCAL statement_timeout = 0", ())
            await self._translate_errors(connection.execute(sql))
            await self._execute(connection, "COMMIT", ())

    async def close(self) -> None:
        """Close the connection."""
        await self._pool.close()

    @asynccontextmanager
    async def _acquire(self) -> AsyncIterator[Connection]:
        async with self._turn:
            connection = await self._translate_errors(self._pool.take())
            try:
                yield connection
            except Exception:
                self._pool.give_back(connection)
                raise
            except BaseException:
                # Cancelled: the statement may still run. The server rolls an open transaction back.
                self._pool.discard(connection)
                raise
            self._pool.give_back(connection)

    async def _fetch(self, connection: Connection, sql: str, args: tuple[object, ...]) -> list[Row]:
        rows = await self._answered(connection, connection.fetch(sql, *_checked(args)))
        return list(rows)

    async def _execute(self, connection: Connection, sql: str, args: tuple[object, ...]) -> int:
        status = await self._answered(connection, connection.execute(sql, *_checked(args)))
        # Such as "INSERT 0 1" or "UPDATE 3"; without a number if the statement changes no rows.
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def _answered(self, connection: Connection, statement: Awaitable[_T]) -> _T:
        async def in_time() -> _T:
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    return await statement
            except TimeoutError:
                connection.terminate()
                raise

        return await self._translate_errors(in_time())

    async def _translate_errors(self, work: Awaitable[_T]) -> _T:
        """Await work, and raise the store's errors instead of the driver's."""
        try:
            return await work
        except asyncpg.UniqueViolationError:
            raise Conflict from None
        except FAILURES as error:
            raise StoreError(explain(error, self.where)) from None


class _Transaction:
    """A transaction, for which the database's lock is held."""

    dialect = Dialect.POSTGRESQL

    def __init__(self, database: PostgresDatabase, connection: Connection) -> None:
        self._database = database
        self._connection = connection

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        return await self._database._fetch(self._connection, sql, args)

    async def execute(self, sql: str, *args: object) -> int:
        return await self._database._execute(self._connection, sql, args)

    async def insert(
        self, table: str, columns: Mapping[str, str], rows: Sequence[Sequence[str | int | None]]
    ) -> int:
        places = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(columns.values(), 1))
        sql = (
            f"INSERT INTO {table} ({', '.join(columns)})"  # noqa: S608 - constants
            f" SELECT * FROM unnest({places}) ON CONFLICT DO NOTHING"
        )
        # Each parameter is a column, so the statement is the same for any number of rows.
        by_column = zip(*rows, strict=True) if rows else ((),) * len(columns)
        return await self._database._execute(self._connection, sql, tuple(by_column))


async def _ids_as_text(connection: Connection) -> None:
    await connection.set_type_codec(
        "uuid", encoder=str, decoder=str, schema="pg_catalog", format="text"
    )


def _checked(args: tuple[object, ...]) -> tuple[object, ...]:
    for value in args:
        if isinstance(value, datetime) and value.tzinfo is None:
            # The driver would treat it as local time.
            raise ValueError("a stored time has to be timezone-aware")
    return args
