"""A TCP proxy for PostgreSQL that speaks TLS, or swallows all data like a dead route."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_SSL_REQUEST = 8


class Proxy:
    """A proxy that is listening.

    Attributes:
        port: where, on 127.0.0.1.
        swallowing: whether everything is taken and nothing is passed on. A connection that was
            made or that said something meanwhile stays dead for ever.
        taken: how many connections there were.
    """

    def __init__(self, upstream: int, tls: ssl.SSLContext | None) -> None:
        self.port = 0
        self.swallowing = False
        self.taken = 0
        self._upstream = upstream
        self._tls = tls
        self._serving: set[asyncio.Task[None]] = set()
        self._forgotten: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        self.taken += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if self.swallowing:
                await self._swallow(reader)
            if self._tls is not None:
                await reader.readexactly(_SSL_REQUEST)
                writer.write(b"S")
                await writer.start_tls(self._tls)
            server_reader, server = await asyncio.open_connection("127.0.0.1", self._upstream)
            try:
                await asyncio.gather(
                    self._forward(reader, server, task), self._forward(server_reader, writer, task)
                )
            finally:
                server.transport.abort()
        writer.transport.abort()
        self._serving.discard(task)

    def forget(self) -> None:
        """Make the open connections dead for ever, and continue to serve new ones."""
        self._forgotten |= self._serving

    async def close(self) -> None:
        """Cut all connections."""
        serving = tuple(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        task: "asyncio.Task[None]",
    ) -> None:
        while data := await reader.read(65536):
            if self.swallowing or task in self._forgotten:
                await self._swallow(reader)
            writer.write(data)
            await writer.drain()
        # One side is gone: so is the connection.
        raise ConnectionResetError

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(65536):
            pass
        raise ConnectionResetError


@asynccontextmanager
async def proxy(upstream: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """Run a proxy before a port of 127.0.0.1."""
    running = Proxy(upstream, tls)
    server = await asyncio.start_server(running.accept, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        await running.close()
