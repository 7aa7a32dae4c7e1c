"""The server: listening, health, graceful stop. It has the same interface as ``GrpcServer``."""

import asyncio
import select
import socket
from pathlib import Path

from grpc_health.v1 import health_pb2

from authz.addresses import Address, UnixAddress
from authz.errors import StartError
from authz.transport.common import (
    BACKLOG,
    DRAIN_SECONDS,
    Method,
    Methods,
    UnaryMethod,
    bind,
    services_of,
)
from authz.transport.http2.connection import Connection
from authz.transport.http2.grpc import CallFailed, Status
from authz.transport.mutual_tls import TlsFiles, keep_fresh

_HEALTH = "/grpc.health.v1.Health/Check"
_POLL_SECONDS = 0.005
HANDSHAKE_SECONDS = 5.0
"""Time for a TLS handshake, during which a peer occupies a socket and some kilobytes."""
_ACCEPT_TURNS = 5
"""Turns of the event loop between accepting a connection and ``connection_made``."""
_ACCEPT_SECONDS = 0.1
"""Time in which a stopping server still accepts new connections on a TCP port."""


class Http2Server:
    """Serves methods and their health on one address.

    Args:
        methods: the methods to serve; their handlers must not raise.
        address: a Unix socket, created with mode 0600, or a TCP address.
        tls: the server's certificate and the CA of its clients; None serves in clear.
    """

    def __init__(self, methods: Methods, address: Address, *, tls: TlsFiles | None = None) -> None:
        self._address = address
        self._tls = tls
        self._tls_task: asyncio.Task[None] | None = None
        self._services = services_of(methods)
        self._methods: dict[str, Method] = {
            **methods,
            _HEALTH: UnaryMethod(self._health, True),
        }
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._listener: socket.socket | None = None
        self._serving = False

    async def start(self) -> None:
        """Bind and serve.

        Raises:
            StartError: the address is in use or can't be bound.
        """
        try:
            self._listener = bind(self._address)
        except OSError as error:
            raise StartError(f"authz.grpc: {self._address}: {error.strerror}") from None
        try:
            await self._accept()
        except BaseException:
            self._close_listener()
            raise
        if self._tls is not None:
            self._tls_task = asyncio.create_task(keep_fresh(self._tls, self._accept))
        self._serving = True

    async def _accept(self) -> None:
        """Accept connections with the current TLS files; open connections stay."""
        previous, loop = self._server, asyncio.get_running_loop()
        assert self._listener is not None  # noqa: S101 - start has bound it
        # A server closes its socket at its end, and the next server needs the same socket.
        listener = self._listener.dup()
        create = (
            loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
        )
        self._server = await create(
            lambda: Connection(self._methods, self._connections),
            sock=listener,
            # The loop calls listen() again, with this value.
            backlog=BACKLOG,
            ssl=self._tls.context if self._tls else None,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls else None,
        )
        if previous is not None:
            previous.close()

    async def stop(self, grace_seconds: float) -> None:
        """Accept no new calls, and let those in flight finish for at most ``grace_seconds``.

        Over TCP there may be other servers: Envoy first gets some time to see in its health check
        that this one stops, and to turn to the others.
        """
        self._serving = False
        if self._server is None or self._listener is None:
            return
        server, self._server = self._server, None
        if self._tls_task is not None:
            self._tls_task.cancel()
        if not isinstance(self._address, UnixAddress) and self._connections:
            await asyncio.sleep(min(DRAIN_SECONDS, grace_seconds))
        if isinstance(self._address, UnixAddress):
            # Now, since later the path may belong to a successor's socket.
            Path(self._address.path).unlink(missing_ok=True)  # noqa: ASYNC240 - one call, at the end
        # Connections in the backlog are still accepted; a Unix socket gets no new ones now.
        await _accept_waiting(self._listener)
        server.close()
        self._listener.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + grace_seconds
        while True:
            # A connection that was accepted just before the end appears only now.
            for connection in tuple(self._connections):
                connection.announce_stop()
            await asyncio.sleep(_POLL_SECONDS)
            if loop.time() >= end or all(c.is_finished for c in self._connections):
                break
        for connection in tuple(self._connections):
            connection.close()
        end = max(end, loop.time() + _POLL_SECONDS)
        while self._connections and loop.time() < end:  # noqa: ASYNC110 - as below
            await asyncio.sleep(_POLL_SECONDS)
        for connection in tuple(self._connections):
            connection.abort()
        # The loop closes their sockets in its next turn.
        await asyncio.sleep(0)

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
        if isinstance(self._address, UnixAddress):
            Path(self._address.path).unlink(missing_ok=True)

    async def _health(self, message: bytes) -> bytes:
        request = health_pb2.HealthCheckRequest.FromString(message)
        if request.service and request.service not in self._services:
            raise CallFailed(Status.NOT_FOUND, "unknown service")
        status = health_pb2.HealthCheckResponse
        response = status(status=status.SERVING if self._serving else status.NOT_SERVING)
        data: bytes = response.SerializeToString()
        return data


async def _accept_waiting(listener: socket.socket) -> None:
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    loop = asyncio.get_running_loop()
    end = loop.time() + _ACCEPT_SECONDS
    while waiting.poll(0) and loop.time() < end:  # noqa: ASYNC110 - the loop has to accept them
        await asyncio.sleep(0)
    for _ in range(_ACCEPT_TURNS):
        await asyncio.sleep(0)
