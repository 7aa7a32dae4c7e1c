"""The identity source on a SQLite file."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from authz.arrivals import ARRIVAL
from authz.core.identity import Identity, Rejection
from authz.core.tokens import CoderToken
from authz.database.sqlite_file import SQLiteFile
from authz.errors import IdentityUnreachable, StoreError
from authz.identity.record import (
    GROUPS_VERSION,
    HAS_OWN_KEYS,
    SELECT_RECORD,
    SELECT_RECORD_BEFORE_GROUPS,
    SELECT_RECORD_WITH_OWN_KEYS,
    TokenRecord,
    check,
)
from authz.identity.schema import IDENTITY

_MAX_RECORDS = 10_000


class SQLiteSource:
    """The identity source on a SQLite file (``authz.identity.IdentitySource``).

    Every call reads the database on the thread of the event loop, because a read takes microseconds
    and another thread would cost more. The first call opens the file, which may appear, vanish and
    be replaced at any time.

    Args:
        path: of the file.
        own_keys: also read the keys that users have stored.
    """

    is_immediate = True
    """``verify`` never waits."""

    def __init__(self, path: Path, *, own_keys: bool = False) -> None:
        self._file = SQLiteFile(path, IDENTITY, read_only=True)
        # Records, and the state of the file in which they were read. It drops everything at its
        # limit: a cache of cachetools would add half a microsecond to each check.
        self._records: dict[str, TokenRecord] = {}
        self._state: tuple[sqlite3.Connection, int] | None = None
        self._arrival = 0
        self._own_keys = own_keys
        self._select = SELECT_RECORD

    async def verify(self, token: CoderToken) -> Identity | Rejection:
        """Look the token up now; see ``IdentitySource.verify``.

        Raises:
            IdentityUnreachable: the file is missing, locked, damaged or not a file of authz.
        """
        return self.verify_now(token)

    def verify_now(self, token: CoderToken) -> Identity | Rejection:
        """Look the token up now, as ``verify`` does, by a plain call."""
        return check(self._read(token.id), token, datetime.now(UTC))

    def state(self) -> object | None:
        """Return an object that is equal as long as no commit has changed the file.

        None means that the file can't be read now.
        """
        try:
            self._read("")
        except IdentityUnreachable:
            return None
        return self._state

    async def check_ready(self) -> None:
        """Return when the store can be read; see ``IdentitySource.check_ready``."""
        self._read("")

    async def close(self) -> None:
        """Close the file."""
        self._forget()
        self._file.close()

    def _read(self, token_id: str) -> TokenRecord | None:
        arrival = ARRIVAL.number
        try:
            if arrival and arrival == self._arrival and self._state is not None:
                # Another check of the same read has looked, after this one had arrived. A record
                # that is not cached is read now, and is at least as new as that look.
                return self._record(self._state[0], token_id)
            connection = self._file.connection()
            # The version changes with each commit of other connections, and costs half as much as a
            # query. While it is the same, a cached record is what a query would return.
            # fetchall, because a statement that is not read to its end keeps an old snapshot.
            version = connection.execute("PRAGMA data_version").fetchall()[0][0]
            state = self._state
            if state is None or state[0] is not connection or state[1] != version:
                self._forget()
                self._select = self._select_of(connection)
                self._state = connection, version
            self._arrival = arrival
            return self._record(connection, token_id)
        except StoreError as error:
            self._forget()
            raise IdentityUnreachable(str(error)) from error
        except sqlite3.Error as error:
            self._forget()
            self._file.close()
            raise IdentityUnreachable(f"can't read the store {self._file.path}: {error}") from error

    def _record(self, connection: sqlite3.Connection, token_id: str) -> TokenRecord | None:
        record = self._records.get(token_id)
        if record is None:
            rows = connection.execute(self._select, {"1": token_id}).fetchall()
            if rows:
                record = _record_of(rows[0])
                if len(self._records) >= _MAX_RECORDS:
                    self._records.clear()
                self._records[token_id] = record
        return record

    def _forget(self) -> None:
        self._records.clear()
        self._state = None

    def _select_of(self, connection: sqlite3.Connection) -> str:
        """Return the query for the version of the tables, which a writer may bring up to date."""
        if connection.execute("PRAGMA user_version").fetchall()[0][0] < GROUPS_VERSION:
            return SELECT_RECORD_BEFORE_GROUPS
        # The first stored key creates the table.
        if self._own_keys and connection.execute(HAS_OWN_KEYS).fetchall():
            return SELECT_RECORD_WITH_OWN_KEYS
        return SELECT_RECORD


def _record_of(row: tuple[Any, ...]) -> TokenRecord:
    key, secret, expires, name, user, username, email, status, deleted, system, *rest = row
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
        *rest,
    )
