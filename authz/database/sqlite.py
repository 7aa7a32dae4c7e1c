"""SQLite as a database, for commands and the token API."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

from authz.database.interface import Conflict, Dialect, Row, Transaction
from authz.database.migration import Schema
from authz.database.sqlite_file import SQLiteFile
from authz.errors import StoreError

_T = TypeVar("_T")
_UNIQUE = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)

sqlite3.register_converter("timestamptz", lambda text: datetime.fromisoformat(text.decode()))
sqlite3.register_converter("boolean", lambda number: number != b"0")
sqlite3.register_converter("json", json.loads)


class SQLiteDatabase:
    """A SQLite file (``authz.database.interface.Database``).

    Statements run on one worker thread, because a writer may wait for another process.

    Args:
        path: of the file, which has to exist (``sqlite_file.make``).
        schema: of the tables in it.
        read_only: refuse every change to the file.
    """

    dialect = Dialect.SQLITE

    def __init__(self, path: Path, schema: Schema, *, read_only: bool = False) -> None:
        self.where = str(path)
        self._file = SQLiteFile(
            path, schema, read_only=read_only, detect_types=sqlite3.PARSE_DECLTYPES
        )
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="authz-sqlite")
        self._turn = asyncio.Lock()
        self._closed = False

    async def check(self) -> None:
        """Return when the file can be used.

        Raises:
            StoreError: the file is missing or not a file of authz.
        """
        await self.fetch("SELECT 1")

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """Run a query; see ``Queries.fetch``."""
        async with self._turn:
            return await self._on_worker(lambda: self._statement(sql, args)[0])

    async def execute(self, sql: str, *args: object) -> int:
        """Run a statement; see ``Queries.execute``."""
        async with self._turn:
            return await self._on_worker(lambda: self._statement(sql, args)[1])

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a transaction; see ``Database.transaction``. Statements of other tasks wait."""
        async with self._turn:
            try:
                # IMMEDIATE takes the write lock now, so rows that the block reads do not change.
                await self._on_worker(lambda: self._statement("BEGIN IMMEDIATE", ()))
                yield _Transaction(self)
                await self._on_worker(lambda: self._statement("COMMIT", (), started=True))
            except BaseException:
                await self._on_worker(self._file.roll_back)
                raise

    async def transact(self, work: Callable[[Transaction], Coroutine[Any, Any, _T]]) -> _T:
        """Run a transaction as a whole; see ``Database.transact``."""
        async with self._turn:
            return await self._on_worker(lambda: self._transact(work))

    def _transact(self, work: Callable[[Transaction], Coroutine[Any, Any, _T]]) -> _T:
        try:
            self._statement("BEGIN IMMEDIATE", ())
            result = _result_of(work(_DirectTransaction(self)))
            self._statement("COMMIT", (), started=True)
        except BaseException:
            self._file.roll_back()
            raise
        return result

    async def maintain(self, sql: str) -> None:
        """Run a statement; see ``Database.maintain``."""
        await self.execute(sql)

    async def close(self) -> None:
        """Close the file and end the thread; closing twice does nothing."""
        if not self._closed:
            self._closed = True
            await self._on_worker(self._file.close)
            self._worker.shutdown(wait=False)

    async def _on_worker(self, work: Callable[[], _T]) -> _T:
        # Shielded, so that a cancelled statement ends before the roll-back that follows.
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._worker, work))

    def _statement(
        self, sql: str, args: Sequence[object], *, started: bool = False
    ) -> tuple[list[Row], int]:
        connection = self._file.unfinished() if started else self._file.connection()
        parameters = {str(number): _stored(value) for number, value in enumerate(args, 1)}
        with self._explained():
            cursor = connection.execute(sql, parameters)
            cursor.row_factory = sqlite3.Row
            return cursor.fetchall(), cursor.rowcount

    def _insert(
        self, table: str, columns: Mapping[str, str], rows: Sequence[Sequence[str | int | None]]
    ) -> int:
        places = ", ".join("?" * len(columns))
        sql = (
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - constants
            " ON CONFLICT DO NOTHING"
        )
        with self._explained():
            # A single statement with many rows would be slow, because SQLite searches each
            # parameter's name in a list of all names.
            return self._file.unfinished().executemany(sql, rows).rowcount

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode in _UNIQUE:
                raise Conflict from error
            raise StoreError(f"the store {self._file.path} refuses: {error}") from error
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise StoreError(
                    f"another process is writing to the store {self._file.path}: try again"
                ) from error
            raise StoreError(f"can't use the store {self._file.path}: {error}") from error


class _DirectTransaction:
    """A transaction whose statements run in the thread of the caller, which is the worker."""

    dialect = Dialect.SQLITE

    def __init__(self, database: SQLiteDatabase) -> None:
        self._database = database

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        return self._database._statement(sql, args, started=True)[0]

    async def execute(self, sql: str, *args: object) -> int:
        return self._database._statement(sql, args, started=True)[1]

    async def insert(
        self, table: str, columns: Mapping[str, str], rows: Sequence[Sequence[str | int | None]]
    ) -> int:
        return self._database._insert(table, columns, rows)


def _result_of(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return cast(_T, done.value)
    work.close()
    raise RuntimeError("the work of a transaction has waited")


class _Transaction:
    """A transaction, for which the database's lock is held."""

    dialect = Dialect.SQLITE

    def __init__(self, database: SQLiteDatabase) -> None:
        self._database = database

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        return (await self._run(sql, args))[0]

    async def execute(self, sql: str, *args: object) -> int:
        return (await self._run(sql, args))[1]

    async def insert(
        self, table: str, columns: Mapping[str, str], rows: Sequence[Sequence[str | int | None]]
    ) -> int:
        database = self._database
        return await database._on_worker(lambda: database._insert(table, columns, rows))

    async def _run(self, sql: str, args: Sequence[object]) -> tuple[list[Row], int]:
        database = self._database
        return await database._on_worker(lambda: database._statement(sql, args, started=True))


def _stored(value: object) -> object:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a stored time has to be timezone-aware")
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, list | tuple):
        return json.dumps(value)
    return value
