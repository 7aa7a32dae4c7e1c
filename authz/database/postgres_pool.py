"""Connections to PostgreSQL: opened when needed, thrown away when in doubt, never waited for.

asyncpg's own pool waits when it takes back a connection whose statement was cancelled, and a server
that hangs would make every request wait with it.
"""

import asyncio
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
"""How long connecting may take. More than a look-up, because TLS and log-in to a distant server
take a dozen round trips; few, because a connection that was begun during an outage may never come
to an end, and the next one is only begun after it."""
IDLE_SECONDS = 60.0
"""After which a connection is not used again: firewalls forget silent connections, and a statement
sent into one that was forgotten gets no answer."""

_ATTEMPTS = 3
"""How often a statement is begun: on an idle connection that was cut, on one that was cut just
after it was made, and once more."""


async def _as_it_is(connection: Connection) -> None:
    """Leave a new connection as it is."""


class Pool:
    """Some connections to one database.

    Args:
        url: of the database; what it leaves open is taken from libpq's ``PG*`` variables.
        size: how many connections are kept. The caller sees to it that no more are in use.
        statement_seconds: after which the server ends a statement, so that one that waits for a
            lock does not stay there when nobody waits for it any more.
        settings: further settings of the server for each connection.
        prepare: called for each new connection.
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
        # A replica tells of a deletion late. Whoever accepts that says so in the URL.
        self._target = None if "target_session_attrs" in options else "primary"
        self._idle: list[tuple[Connection, float]] = []
        self._connects: set[asyncio.Task[Connection]] = set()
        self._abandoned: list[asyncio.Task[Connection]] = []
        self._closed = False

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """Run one statement that only reads, and return its rows.

        If the connection turns out to be lost, the statement runs again on another. A cancelled
        statement's connection is terminated.

        Raises:
            One of ``postgres_errors.FAILURES``: it failed, or the server can't be reached.
        """
        for _ in range(_ATTEMPTS - 1):
            connection = await self.take()
            try:
                return await self._fetch(connection, sql, args)
            except FAILURES:
                # The server's last words on an idle connection may be read as a senseless answer
                # to the statement, so what the error is does not tell; that it is the last does.
                if not connection.is_closed():
                    raise
        return await self._fetch(await self.take(), sql, args)

    async def take(self) -> Connection:
        """Lend a connection; ``give_back`` or ``discard`` it in the end. Raises as ``fetch``."""
        return self._take_idle() or await self._new()

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next use, unless it is lost or a transaction is open in it."""
        if connection.is_closed():
            self.discard(connection)
        elif self._closed or len(self._idle) >= self._size or connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append((connection, asyncio.get_running_loop().time()))

    def discard(self, connection: Connection) -> None:
        """End a connection that failed, and the idle ones: they may be as lost as it is."""
        connection.terminate()
        idle, self._idle = self._idle, []
        for other, _ in idle:
            other.terminate()

    async def close(self) -> None:
        """End all connections, without waiting for the server."""
        self._closed = True
        connects = tuple(self._connects)
        for connect in connects:
            connect.cancel()
        await asyncio.gather(*connects, return_exceptions=True)
        while self._idle:
            self._idle.pop()[0].terminate()
        # The event loop closes an aborted socket in its next turn.
        await asyncio.sleep(0)

    async def _fetch(
        self, connection: Connection, sql: str, args: tuple[object, ...]
    ) -> list[asyncpg.Record]:
        try:
            rows = await connection.fetch(sql, *args)
        except asyncpg.PostgresError as error:
            # FATAL is the server's last word on a connection, which it closes a moment later.
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

    def _take_idle(self) -> Connection | None:
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while self._idle:
            connection, since = self._idle.pop()
            if since >= oldest and not connection.is_closed():
                return connection
            connection.terminate()
        return None

    async def _new(self) -> Connection:
        """Return a new connection, one that somebody began to open and left if there is one.

        Connecting goes on when the caller leaves, because it may take longer than a caller waits.
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
            # Asking for the exception keeps asyncio from logging it.
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
