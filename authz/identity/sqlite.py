"""The embedded store's two ways in: the check of every request, and the commands that change it."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from authz.errors import IdentityUnreachable, StoreError
from authz.identity import Identity, Rejection
from authz.identity.database import Conflict, Row, Transaction
from authz.identity.record import SELECT_RECORD, SELECT_RECORD_V1, TokenRecord, check
from authz.identity.sqlite_file import SQLiteFile
from authz.tokens import CoderToken

_T = TypeVar("_T")
_MAX_RECORDS = 10_000
_UNIQUE = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)

sqlite3.register_converter("timestamptz", lambda text: datetime.fromisoformat(text.decode()))
sqlite3.register_converter("boolean", lambda number: number != b"0")
sqlite3.register_converter("json", json.loads)


class SQLiteSource:
    """The identity source of the embedded store (``authz.identity.IdentitySource``).

    It asks the database on every call, on the event loop's own thread: handing a read of some
    microseconds to another thread would cost more than the read. Nothing is opened until the first
    call, and the file may appear, vanish and be replaced at any time.

    Args:
        path: of the store's file.
    """

    is_immediate = True
    """``verify`` never waits."""

    def __init__(self, path: Path) -> None:
        self._file = SQLiteFile(path, read_only=True)
        # Records, and the state of the file that they are of.
        self._records: dict[str, TokenRecord] = {}
        self._state: tuple[sqlite3.Connection, int] | None = None

    async def verify(self, token: CoderToken) -> Identity | Rejection:
        """Look the token up now; see ``IdentitySource.verify``.

        Raises:
            IdentityUnreachable: the file is missing, locked, damaged or not a store of ours.
        """
        return check(self._read(token.id), token, datetime.now(UTC))

    async def check_ready(self) -> None:
        """Return when the store can be read; see ``IdentitySource.check_ready``."""
        self._read("")

    async def close(self) -> None:
        """Close the file."""
        self._forget()
        self._file.close()

    def _read(self, token_id: str) -> TokenRecord | None:
        try:
            connection = self._file.connection()
            # SQLite says with each commit of others that the file is another one, for half the
            # price of a query. Until then a record that was read is what a query would return.
            # fetchall, because a statement that is not read to its end keeps an old snapshot.
            version = connection.execute("PRAGMA data_version").fetchall()[0][0]
            state = self._state
            if state is None or state[0] is not connection or state[1] != version:
                self._forget()
                self._state = connection, version
            record = self._records.get(token_id)
            if record is None:
                rows = _select(connection, token_id)
                if rows:
                    record = _record_of(rows[0])
                    if len(self._records) >= _MAX_RECORDS:
                        self._records.clear()
                    self._records[token_id] = record
        except StoreError as error:
            self._forget()
            raise IdentityUnreachable(str(error)) from error
        except sqlite3.Error as error:
            self._forget()
            self._file.close()
            raise IdentityUnreachable(f"can't read the store {self._file.path}: {error}") from error
        return record

    def _forget(self) -> None:
        self._records.clear()
        self._state = None


def _select(connection: sqlite3.Connection, token_id: str) -> list[Any]:
    try:
        return connection.execute(SELECT_RECORD, {"1": token_id}).fetchall()
    except sqlite3.OperationalError as error:
        if "no such column" not in str(error):
            raise
        # Whoever writes to the file next brings its tables up to date; until then no token in it
        # can have rules.
        return connection.execute(SELECT_RECORD_V1, {"1": token_id}).fetchall()


def _record_of(row: tuple[Any, ...]) -> TokenRecord:
    key, secret, expires, name, user, username, email, status, deleted, system, rules = row
    return TokenRecord(
        key,
        secret,
        datetime.fromisoformat(expires),
        name,
        user,
        username,
        email,
        status,
        deleted != 0,
        system != 0,
        rules,
    )


class SQLiteDatabase:
    """The embedded store for commands and the token API (``authz.identity.database.Database``).

    Statements run on one worker thread, because a writer may have to wait for another process.

    Args:
        path: of the store's file, which has to be there (``sqlite_file.make``).
    """

    def __init__(self, path: Path) -> None:
        self._file = SQLiteFile(path, read_only=False, detect_types=sqlite3.PARSE_DECLTYPES)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="authz-sqlite")
        self._turn = asyncio.Lock()
        self._closed = False

    async def check(self) -> None:
        """Return when the file is a store of ours.

        Raises:
            StoreError: it is not, in one line.
        """
        await self.fetch("SELECT 1")

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """See ``Queries.fetch``."""
        async with self._turn:
            return await self._on_worker(lambda: self._statement(sql, args)[0])

    async def execute(self, sql: str, *args: object) -> int:
        """See ``Queries.execute``."""
        async with self._turn:
            return await self._on_worker(lambda: self._statement(sql, args)[1])

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """See ``Database.transaction``. Other tasks' statements wait until it is over."""
        async with self._turn:
            try:
                # IMMEDIATE takes the write lock now: what is read in the block stays true in it.
                await self._on_worker(lambda: self._statement("BEGIN IMMEDIATE", ()))
                yield _Transaction(self)
                await self._on_worker(lambda: self._statement("COMMIT", (), started=True))
            except BaseException:
                await self._on_worker(self._file.roll_back)
                raise

    async def close(self) -> None:
        """Close the file and end the thread; closing twice does nothing."""
        if not self._closed:
            self._closed = True
            await self._on_worker(self._file.close)
            self._worker.shutdown(wait=False)

    async def _on_worker(self, work: Callable[[], _T]) -> _T:
        # Shielded: a cancelled task's statement still ends before the roll-back that follows it.
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
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - our words
            " ON CONFLICT DO NOTHING"
        )
        with self._explained():
            # One statement of many rows would be slow: SQLite looks each parameter's name up in a
            # list of all.
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


class _Transaction:
    """A transaction's statements; the database's turn is already taken."""

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
