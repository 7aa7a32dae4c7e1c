"""Messages between the processes that use one PostgreSQL database (LISTEN and NOTIFY).

The server stores nothing, and a role needs no right but to connect. A process gets the messages
that are sent while it is connected.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from authz.database.postgres_errors import FAILURES, explain
from authz.database.postgres_pool import Connection, Pool
from authz.database.url import PostgresURL
from authz.errors import StoreError

_T = TypeVar("_T")

ANSWER_SECONDS = 5.0
"""The time after which a silent server counts as down."""
POOL_BY_SESSION = "use the server itself or a pooler that pools by session"
"""The cure where notifications do not arrive."""
_SEND = """\
SELECT extract(epoch FROM clock_timestamp())::float8,
    ARRAY(SELECT pg_listening_channels()),
    (SELECT count(pg_notify($1, message)) FROM unnest($2::text[]) AS message)"""


class PostgresChannel:
    """A connection on which messages come and go.

    Args:
        url: of the database.
        name: of the channel.
        receive: called with each message, also with those of this process.
        lost: called when the connection is lost.
    """

    def __init__(
        self,
        url: PostgresURL,
        name: str,
        receive: Callable[[str], None],
        lost: Callable[[], None],
    ) -> None:
        self._where = url.display
        self._name = name
        # Behind a pooler by transaction others share the server's session. A process then gets its
        # own messages all the same, in the answer to its statement, but not those of others. It
        # sees the names to which they listen.
        self._own = f"{name}_{secrets.token_hex(8)}"
        self._receive = receive
        self._lost = lost
        self._pool = Pool(url, size=1, statement_seconds=ANSWER_SECONDS)
        self._connection: Connection | None = None
        self._offset = 0.0

    async def open(self) -> None:
        """Connect.

        Raises:
            StoreError: the database can't be used.
        """
        connection = await self._answered(self._pool.take())
        self._connection = connection
        connection.add_termination_listener(self._on_lost)
        await self._answered(connection.add_listener(self._name, self._on_message))
        await self._answered(connection.execute(f'LISTEN "{self._own}"'))
        await self.send([])

    async def send(self, messages: Sequence[str]) -> None:
        """Send messages; without any, find out whether the server still answers.

        Raises:
            StoreError: the messages could not be sent, or the server's session is not this
                connection's alone.
        """
        assert self._connection is not None  # noqa: S101 - it is open
        before = time.monotonic()
        row = await self._answered(self._connection.fetchrow(_SEND, self._name, list(messages)))
        assert row is not None  # noqa: S101 - by the statement
        if set(row[1]) != {self._name, self._own}:
            raise StoreError(f"{self._where}: the session is shared: {POOL_BY_SESSION}")
        self._offset = row[0] - (before + time.monotonic()) / 2

    def now(self) -> float:
        """Return the time of the server in seconds, which is the same for all processes."""
        return time.monotonic() + self._offset

    async def close(self) -> None:
        """Close the connection, without waiting for the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.remove_termination_listener(self._on_lost)
            self._pool.discard(connection)
        await self._pool.close()

    def _on_message(self, _connection: Any, _pid: int, _name: str, message: object) -> None:
        self._receive(str(message))

    def _on_lost(self, _connection: Any) -> None:
        self._lost()

    async def _answered(self, work: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await work
        except FAILURES as error:
            raise StoreError(explain(error, self._where)) from None
