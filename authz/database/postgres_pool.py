"""A pool of connections to PostgreSQL.

asyncpg's own pool waits when it takes back a connection whose statement was cancelled, so a server
that hangs would make every request wait. This pool discards a doubtful connection instead.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import asyncpg

from authz.database.postgres_errors import FAILURES
from authz.database.url import PostgresURL

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

CONNECT_SECONDS = 2.0
"""The time limit for connecting.

It is longer than that of a look-up, because TLS and log-in to a distant server take a dozen round
trips. It is short, because an attempt during an outage may hang, and the next one waits for it."""
IDLE_SECONDS = 60.0
"""The time after which an idle connection is not used again.

Firewalls drop silent connections without notice, and a statement on one would get no answer."""

FULL_SECONDS = 1.0
"""The time for which no connection is tried after the server had none left.

A refused attempt costs the server a process."""

_ATTEMPTS = 3
"""The number of attempts of a statement: on an idle connection that was cut, on a new one that was
cut at once, and one more."""


async def _as_it_is(connection: Connection) -> None:
    """Do nothing to a new connection."""


class Pool:
    """A pool of connections to one database.

    Args:
        url: of the database. libpq's ``PG*`` variables complete it.
        size: the number of idle connections to keep. The caller must not use more at once.
        statement_seconds: the time after which the server ends a statement, so that a statement
            does not wait for a lock after its caller has left.
        settings: further settings of the server for each connection.
        prepare: called with each new connection.
    """

    def __init__(
        self,
        url: PostgresURL,
        *,
        size: int,
        statement_seconds: float,
        settings: Mapping[str, str] = MappingProxyType({}),
        prepare: Callable[[Connection], Awaitable[None]] = _as_it_is,
    ) -> None:
        self._dsn = url.dsn
        self._size = size
        self._prepare = prepare
        self._settings = {"statement_timeout": f"{statement_seconds * 1000:.0f}", **settings}
        options = parse_qs(urlsplit(url.dsn.reveal()).query)
        if "application_name" not in options:
            self._settings["application_name"] = "authz"
        # A replica shows a deletion late, so it is used only if the URL allows it.
        self._target = None if "target_session_attrs" in options else "primary"
        self._idle: list[tuple[Connection, float]] = []
        self._connects: set[asyncio.Task[Connection]] = set()
        self._abandoned: list[asyncio.Task[Connection]] = []
        self._used: set[Connection] = set()
        self._pending = self._attempts = 0
        self._returned = asyncio.Event()
        self._full_until = -math.inf
        self._closed = False

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """Run a statement that only reads, and return its rows.

        If the connection is lost, the statement runs again on another one. If the call is
        cancelled, its connection is terminated.

        Raises:
            One of ``postgres_errors.FAILURES``: the statement failed, or the server can't be
                reached.
        """
        for _ in range(_ATTEMPTS - 1):
            connection = await self.take()
            try:
                return await self._fetch(connection, sql, args)
            except FAILURES:
                # A message that the server sent before it closed an idle connection may look like
                # the answer. The type of the error says nothing, but the closed connection does.
                if not connection.is_closed():
                    raise
        return await self._fetch(await self.take(), sql, args)

    async def take(self) -> Connection:
        """Return a connection; call ``give_back`` or ``discard`` with it. Raises as ``fetch``.

        If the server has no connection left, it waits for one that is in use, if there is any.
        """
        while (connection := self._take_idle()) is None:
            if self._is_full() and self._has_others():
                self._returned.clear()
                await self._returned.wait()
                continue
            had_others, before = self._has_others(), self._attempts
            try:
                connection = await self._count_new()
                break
            except asyncpg.TooManyConnectionsError:
                self._full_until = asyncio.get_running_loop().time() + FULL_SECONDS
                # The server may have counted two attempts, and refused both.
                was_alone = not had_others and self._attempts == before + 1
                if was_alone and not self._has_others():
                    raise
        self._used.add(connection)
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next use, unless it is closed or in a transaction."""
        self._forget(connection)
        if connection.is_closed():
            self.discard(connection)
        elif self._closed or len(self._idle) >= self._size or connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append((connection, asyncio.get_running_loop().time()))

    def discard(self, connection: Connection) -> None:
        """Terminate a failed connection and all idle ones, which may have failed too."""
        self._forget(connection)
        connection.terminate()
        idle, self._idle = self._idle, []
        for other, _ in idle:
            other.terminate()

    async def close(self) -> None:
        """Terminate all connections, without waiting for the server."""
        self._closed = True
        connects = tuple(self._connects)
        for connect in connects:
            connect.cancel()
        await asyncio.gather(*connects, return_exceptions=True)
        while self._idle:
            self._idle.pop()[0].terminate()
        # The event loop closes an aborted socket in its next iteration.
        await asyncio.sleep(0)

    async def _fetch(
        self, connection: Connection, sql: str, args: tuple[object, ...]
    ) -> list[asyncpg.Record]:
        try:
            rows = await connection.fetch(sql, *args)
        except asyncpg.PostgresError as error:
            # After FATAL the server closes the connection.
            if error.severity_en in ("FATAL", "PANIC"):
                self.discard(connection)
            else:
                self.give_back(connection)
            raise
        except BaseException:
            self.discard(connection)
            raise
        self.give_back(connection)
        return rows

    def _has_others(self) -> bool:
        """Return whether a connection is in use, or about to be."""
        return bool(self._used) or self._pending > 0

    async def _count_new(self) -> Connection:
        self._attempts += 1
        self._pending += 1
        try:
            return await self._new()
        finally:
            self._pending -= 1
            # If it failed, those who wait for it have to try themselves.
            self._returned.set()

    def _forget(self, connection: Connection) -> None:
        self._used.discard(connection)
        self._returned.set()

    def _is_full(self) -> bool:
        return asyncio.get_running_loop().time() < self._full_until

    def _take_idle(self) -> Connection | None:
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while self._idle:
            connection, since = self._idle.pop()
            if since >= oldest and not connection.is_closed():
                return connection
            connection.terminate()
        return None

    async def _new(self) -> Connection:
        """Return a new connection, or one whose caller was cancelled while it connected.

        Connecting continues without its caller, because it may take longer than a caller waits.
        """
        pending = [connect for connect in self._abandoned if not connect.done()]
        if pending:
            connect = pending[0]
            self._abandoned.remove(connect)
        else:
            connect = asyncio.create_task(self._connect())
            self._connects.add(connect)
            connect.add_done_callback(self._connects.discard)
        try:
            return await asyncio.shield(connect)
        except asyncio.CancelledError:
            if connect.cancelled():
                raise asyncpg.InterfaceError("the pool is closed") from None
            self._abandoned.append(connect)
            connect.add_done_callback(self._keep_late)
            raise

    def _keep_late(self, connect: asyncio.Task[Connection]) -> None:
        if connect in self._abandoned:
            self._abandoned.remove(connect)
            # asyncio logs exceptions that are never retrieved.
            if not connect.cancelled() and connect.exception() is None:
                self.give_back(connect.result())

    async def _connect(self) -> Connection:
        if self._closed:
            raise asyncpg.InterfaceError("the pool is closed")
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await self._open()
            try:
                await self._prepare(connection)
            except BaseException:
                connection.terminate()
                raise
        return connection

    async def _open(self) -> Connection:
        target: Any = self._target
        return await asyncpg.connect(
            self._dsn.reveal(), server_settings=self._settings, target_session_attrs=target
        )
