"""The server: listening, health, graceful stop. It has the same face as ``GrpcServer``."""

import asyncio
import os
import socket
from pathlib import Path

from grpc_health.v1 import health_pb2

from authz.addresses import Address, UnixAddress
from authz.errors import StartError
from authz.ext_authz import METHOD
from authz.grpc_server import CheckHandler, remove_stale_socket
from authz.http2.calls import Method
from authz.http2.connection import Connection

_HEALTH = "/grpc.health.v1.Health/Check"
_ANNOUNCE_SECONDS = 0.1
"""How long calls may still arrive that were sent before the peer saw our GOAWAY."""
_BACKLOG = 1024


class Http2Server:
    """Serves checks and health on one address.

    Args:
        check: answers a check; it must not raise.
        address: a Unix socket, made with mode 0600, or a TCP address.
        immediate: whether ``check`` never waits.
    """

    def __init__(self, check: CheckHandler, address: Address, *, immediate: bool = False) -> None:
        self._address = address
        self._methods = {METHOD: Method(check, immediate), _HEALTH: Method(self._health, True)}
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._serving = False

    async def start(self) -> None:
        """Bind and serve.

        Raises:
            StartError: the address is in use or can't be bound.
        """
        try:
            listener = _listen(self._address)
        except OSError as error:
            raise StartError(f"authz.grpc: {self._address}: {error.strerror}") from None
        loop = asyncio.get_running_loop()
        create = (
            loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
        )
        self._server = await create(
            lambda: Connection(self._methods, self._connections), sock=listener
        )
        self._serving = True

    async def stop(self, grace_seconds: float) -> None:
        """Take no new checks, let those in flight finish, at most ``grace_seconds``."""
        self._serving = False
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.announce_stop()
        loop = asyncio.get_running_loop()
        end = loop.time() + grace_seconds
        await asyncio.sleep(min(_ANNOUNCE_SECONDS, grace_seconds))
        while loop.time() < end and not all(c.is_idle for c in self._connections):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        for connection in tuple(self._connections):
            connection.close()
        if isinstance(self._address, UnixAddress):
            Path(self._address.path).unlink(missing_ok=True)  # noqa: ASYNC240 - one call, at the end

    async def _health(self, message: bytes) -> bytes:
        request = health_pb2.HealthCheckRequest.FromString(message)
        status = health_pb2.HealthCheckResponse
        known = request.service in ("", METHOD.split("/")[1])
        serving = status.SERVING if self._serving else status.NOT_SERVING
        answer = status(status=serving if known else status.SERVICE_UNKNOWN)
        data: bytes = answer.SerializeToString()
        return data


def _listen(address: Address) -> socket.socket:
    if not isinstance(address, UnixAddress):
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
    path = Path(address.path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_stale_socket(path)
    listener = socket.socket(socket.AF_UNIX)
    # Whoever can connect can ask for provider keys.
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(mask)
    listener.listen(_BACKLOG)
    return listener
