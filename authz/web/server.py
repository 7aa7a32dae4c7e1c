"""Running the HTTP application inside the service's event loop."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from authz.addresses import TcpAddress
from authz.errors import StartError, what_failed


def listen(address: TcpAddress) -> socket.socket:
    """Return a socket that listens.

    Raises:
        StartError: the address can't be bound.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise StartError(f"authz.http: {address}: {what_failed(error)}") from None


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves signals to the service and names a failed bind.

    Args:
        app: what to serve.
        listener: a socket that listens; the server closes it.
    """

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        self._socket = listener
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
        await self.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Ask the server to stop."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the service."""
        yield
