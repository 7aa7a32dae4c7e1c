"""Running the HTTP application inside the service's event loop, for everybody and for Envoy."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from authz.addresses import Address, UnixAddress
from authz.config.settings import Config
from authz.errors import StartError, what_failed
from authz.transport.common import bind
from authz.transport.mutual_tls import TlsFiles, keep_fresh

_FROM_ENVOY = "authz.from_envoy"


def listen(address: Address, key: str = "authz.http") -> socket.socket:
    """Return a socket that listens; a Unix socket is for this user alone.

    Args:
        key: names the setting.

    Raises:
        StartError: the address can't be bound.
    """
    try:
        return bind(address)
    except OSError as error:
        raise StartError(f"{key}: {address}: {what_failed(error)}") from None


def listen_http(config: Config) -> list[socket.socket]:
    """Return the listener of the HTTP side, and Envoy's own behind it where there is one.

    Raises:
        StartError: an address can't be bound.
    """
    listeners = [listen(config.authz.http)]
    if config.authz.http_for_envoy is not None:
        listeners.append(listen(config.authz.http_for_envoy, "authz.envoy_http"))
    return listeners


def forget_http(config: Config) -> None:
    """Remove the Unix socket of Envoy's listener."""
    address = config.authz.http_for_envoy
    if isinstance(address, UnixAddress):
        Path(address.path).unlink(missing_ok=True)


def from_envoy(app: ASGIApp) -> ASGIApp:
    """Return the application for a listener that only Envoy can connect to."""

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        scope[_FROM_ENVOY] = True
        await app(scope, receive, send)

    return marked


def is_from_envoy(connection: HTTPConnection) -> bool:
    """Say whether Envoy sent a request, so that the headers that it sets are its own."""
    return connection.scope.get(_FROM_ENVOY) is True


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves signals to the service and takes new TLS files.

    Args:
        app: what to serve.
        listener: a socket that listens; the server closes it.
        tls: the certificates of both sides; None serves in clear.
    """

    def __init__(
        self, app: Starlette | ASGIApp, listener: socket.socket, tls: TlsFiles | None = None
    ) -> None:
        self._socket = listener
        self._tls = tls
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                # Else X-Forwarded-For from this machine would say where a sign-in comes from.
                proxy_headers=False,
            )
        )

    async def run_until_stopped(self) -> None:
        """Serve until ``stop`` is called and open requests are answered."""
        fresh = None
        if self._tls is not None:
            fresh = asyncio.create_task(keep_fresh(self._tls, self._accept))
        try:
            await self.serve(sockets=[self._socket])
        finally:
            if fresh is not None:
                fresh.cancel()

    def stop(self) -> None:
        """Ask the server to stop."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections; uvicorn's own way knows neither new TLS files nor uvloop's sockets."""
        self.servers = []
        await self._accept()
        self.started = True

    async def _accept(self) -> None:
        """Take connections from here on, with the TLS files of now; open ones go on."""
        loop, before = asyncio.get_running_loop(), list(self.servers)
        # A server closes its socket when it is closed, and the next one needs the same.
        listener = self._socket.dup()
        is_unix = listener.family == socket.AF_UNIX
        create = loop.create_unix_server if is_unix else loop.create_server
        server = await create(
            self._protocol,
            sock=listener,
            backlog=self.config.backlog,
            ssl=self._tls.context if self._tls is not None else None,
        )
        self.servers = [server]
        for one in before:
            one.close()

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        return made

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the service."""
        yield
