"""Run the HTTP application in the service's event loop, on the public and on Envoy's listener."""

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
    """Return a listening socket. Only the current user can connect to a Unix socket.

    Args:
        address: the address to bind.
        key: the name of the setting, for errors.

    Raises:
        StartError: the address can't be bound.
    """
    try:
        return bind(address)
    except OSError as error:
        raise StartError(f"{key}: {address}: {what_failed(error)}") from None


def listen_http(config: Config) -> list[socket.socket]:
    """Return the public listener and, if one is configured, Envoy's listener after it.

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
    """Return whether Envoy sent a request, so that the headers it sets can be trusted."""
    return connection.scope.get(_FROM_ENVOY) is True


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves signals to the service and takes new TLS files.

    Args:
        app: the application to serve.
        listener: a listening socket, which the server closes.
        tls: the certificates of both sides; None serves without TLS.
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
                # As many headers as Envoy lets through; h11 takes 16 KiB of those in parts.
                h11_max_incomplete_event_size=64 * 1024,
                # Otherwise a local client could forge its address with X-Forwarded-For.
                proxy_headers=False,
            )
        )

    async def run_until_stopped(self) -> None:
        """Serve until ``stop`` is called and open requests have their responses."""
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
        """Accept connections. uvicorn's own method supports neither new TLS files nor uvloop."""
        self.servers = []
        await self._accept()
        self.started = True

    async def _accept(self) -> None:
        """Accept new connections with the current TLS files. Open connections continue."""
        loop, before = asyncio.get_running_loop(), list(self.servers)
        # Duplicated, because a closing server closes its socket and the next one needs it.
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
