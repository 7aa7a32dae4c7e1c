"""Runs the stand-in: in the caller's event loop, or in a thread of its own."""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from authz.demo.accounts import Accounts
from authz.demo.app import Observer, create_app

# Longer than any proxy keeps an idle connection: the side that sends a request must be the one
# that closes, or it will now and then send one into a connection that has just gone.
_KEEP_ALIVE = 600

_silent = logging.Logger("authz.demo.silent")
_silent.addHandler(logging.NullHandler())


async def serve(
    accounts: Accounts,
    host: str,
    port: int,
    *,
    drain: int = 10,
    observer: Observer | None = None,
    chunk_delay: float = 0.02,
    certfile: str | None = None,
    keyfile: str | None = None,
) -> None:
    """Serve the stand-in until the task is cancelled.

    Signals are left to the caller.

    Args:
        accounts: the providers to imitate and the credentials they accept.
        host: the address to listen on.
        port: the port to listen on.
        drain: seconds that open streams get to finish, once cancelled.
        observer: see `create_app`.
        chunk_delay: see `create_app`.
        certfile: PEM certificate chain; with `keyfile` it makes the stand-in speak TLS.
        keyfile: PEM private key.

    Raises:
        OSError: the address can't be listened on, or the certificate can't be read.
    """
    app = create_app(accounts, observer=observer, chunk_delay=chunk_delay)
    server = _Uvicorn(_config(app, drain, certfile, keyfile))
    with _listen(host, port) as listener:
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            server.should_exit = True
            await running
            raise


class Server:
    """The stand-in in a background thread, as a context manager.

    `with Server(accounts, port=9000) as server:` serves at `server.url` until the block ends.
    """

    def __init__(
        self,
        accounts: Accounts,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        observer: Observer | None = None,
        chunk_delay: float = 0.02,
        certfile: str | None = None,
        keyfile: str | None = None,
    ) -> None:
        """Take what `serve` takes; port 0 lets the system choose one.

        The observer is called in the background thread.
        """
        self._host = host
        self._port = port
        self._scheme = "https" if certfile else "http"
        app = create_app(accounts, observer=observer, chunk_delay=chunk_delay)
        self._config = _config(app, 1, certfile, keyfile)
        self._on_exit = contextlib.ExitStack()

    @property
    def port(self) -> int:
        """The port it listens on, once entered."""
        return self._port

    @property
    def url(self) -> str:
        """The base URL without a final slash; a provider is at `<url>/<name>`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._scheme}://{host}:{self._port}"

    def __enter__(self) -> Self:
        """Listen, and return once connections are accepted."""
        listener = _listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        server = _Uvicorn(self._config)
        thread = threading.Thread(
            target=server.run, args=([listener],), name="stand-in", daemon=True
        )
        thread.start()
        self._on_exit.callback(thread.join)
        self._on_exit.callback(setattr, server, "should_exit", True)
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop, giving open streams a second to finish."""
        self._on_exit.close()


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The program around it decides what Ctrl-C means.
        yield


class _Config(uvicorn.Config):
    def configure_logging(self) -> None:
        # uvicorn's loggers belong to the whole process, which may run another uvicorn.
        pass


class _Protocol(H11Protocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A connection broken on purpose is no error, and a traceback could show a header.
        self.logger = self.access_logger = _silent
        self.access_log = False


def _config(app: Any, drain: int, certfile: str | None, keyfile: str | None) -> _Config:
    config = _Config(
        app,
        http=_Protocol,
        ws="auto",
        lifespan="off",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=drain,
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
    )
    # Here, where the caller sees what is wrong with the certificate, and not in the thread.
    config.load()
    return config


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Listening at once: clients that come before the loop runs wait instead of being refused.
    return socket.create_server((host, port), family=family, backlog=2048)
