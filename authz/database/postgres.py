"""Our own tables in PostgreSQL, for commands and the token API."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeVar

import asyncpg

from authz.database.interface import Conflict, Dialect, Row, Transaction
from authz.database.postgres_errors import FAILURES, explain
from authz.database.postgres_pool import Connection, Pool
from authz.database.url import PostgresURL
from authz.errors import StoreError

_T = TypeVar("_T")

STATEMENT_SECONDS = 5.0
"""How long a statement may wait for another process's transaction: as long as SQLite's."""
_ANSWER_SECONDS = STATEMENT_SECONDS + 1
"""After which a server that says nothing is given up."""
_WRITERS = 0x61757A31
"""The advisory lock of those who change the store: SQLite's file has the same mark."""


class PostgresDatabase:
    """A database with our own tables (``authz.database.interface.Database``).

    Statements run one after the other on one connection, opened when it is needed.

    Args:
        url: of the database.
    """

    dialect = Dialect.POSTGRESQL

    def __init__(self, url: PostgresURL) -> None:
        self.where = url.display
        self._pool = Pool(url, size=1, statement_seconds=STATEMENT_SECONDS, prepare=_ids_as_text)
        self._turn = asyncio.Lock()

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """See ``Queries.fetch``."""
        async with self._acquire() as connection:
            return await self._fetch(connection, sql, args)

    async def execute(self, sql: str, *args: object) -> int:
        """See ``Queries.execute``."""
        async with self._acquire() as connection:
            return await self._execute(connection, sql, args)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """See ``Database.transaction``. Other tasks' statements wait until it is over.

        Transactions of all processes run one after the other, as in SQLite: what is read in the
        block stays true in it, as far as others change it in a transaction.
        """
        async with self._acquire() as connection:
            await self._execute(connection, "BEGIN", ())
            try:
                await self._execute(connection, "SELECT pg_advisory_xact_lock($1)", (_WRITERS,))
                yield _Transaction(self, connection)
                await self._execute(connection, "COMMIT", ())
            except Exception:
                if not connection.is_closed():
                    await self._execute(connection, "ROLLBACK", ())
                raise

    async def close(self) -> None:
        """End the connection."""
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
                # Cancelled: the statement may still run. The server rolls back what is open.
                self._pool.discard(connection)
                raise
            self._pool.give_back(connection)

    async def _fetch(self, connection: Connection, sql: str, args: tuple[object, ...]) -> list[Row]:
        rows = await self._answered(connection, connection.fetch(sql, *_checked(args)))
        return list(rows)

    async def _execute(self, connection: Connection, sql: str, args: tuple[object, ...]) -> int:
        status = await self._answered(connection, connection.execute(sql, *_checked(args)))
        # Such as "INSERT 0 1" or "UPDATE 3"; of what changes no rows only words.
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
        """Wait for work, with the store's errors for the driver's."""
        try:
            return await work
        except asyncpg.UniqueViolationError:
            raise Conflict from None
        except FAILURES as error:
            raise StoreError(explain(error, self.where)) from None


class _Transaction:
    """A transaction's statements; the database's turn is already taken."""

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
            f"INSERT INTO {table} ({', '.join(columns)})"  # noqa: S608 - our own words
            f" SELECT * FROM unnest({places}) ON CONFLICT DO NOTHING"
        )
        # A column in each parameter: the statement is the same for any number of rows.
        by_column = zip(*rows, strict=True) if rows else ((),) * len(columns)
        return await self._database._execute(self._connection, sql, tuple(by_column))


async def _ids_as_text(connection: Connection) -> None:
    await connection.set_type_codec(
        "uuid", encoder=str, decoder=str, schema="pg_catalog", format="text"
    )


def _checked(args: tuple[object, ...]) -> tuple[object, ...]:
    for value in args:
        if isinstance(value, datetime) and value.tzinfo is None:
            # The driver would take it for local time.
            raise ValueError("a stored time has to be timezone-aware")
    return args
