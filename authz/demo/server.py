"""Run the stand-in in a thread."""

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

# Longer than any proxy keeps an idle connection. If the stand-in closed first, a proxy could send a
# request into a connection that has just been closed.
_KEEP_ALIVE = 600

_silent = logging.Logger("authz.demo.silent")
_silent.addHandler(logging.NullHandler())


_STOP_SECONDS = 20.0
"""The longest time for a stop, of which streams get one second."""


class Server:
    """The stand-in in a background thread, as a context manager.

    `with Server(app, port=9000) as server:` serves at `server.url` until the block ends.

    Args:
        app: the application to serve.
        host: the address to listen on.
        port: the port to listen on; the system chooses one for 0.
        options: further options of uvicorn.
    """

    def __init__(
        self, app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0, **options: Any
    ) -> None:
        self._host = host
        self._port = port
        self._config = _config(app, options)
        self._on_exit = contextlib.ExitStack()

    @property
    def port(self) -> int:
        """The port. It is known once the server listens."""
        return self._port

    @property
    def url(self) -> str:
        """The base URL without a final slash; a provider is at `<url>/<name>`."""
        scheme = "https" if self._config.is_ssl else "http"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}://{host}:{self._port}"

    def __enter__(self) -> Self:
        """Listen, and return once connections are accepted."""
        listener = _listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        server = _Uvicorn(self._config)
        thread = threading.Thread(
            target=server.run, args=([listener],), name="stand-in", daemon=True
        )
        thread.start()
        # A loop may not end while a TLS connection is closing; the thread ends with the process.
        self._on_exit.callback(thread.join, _STOP_SECONDS)
        self._on_exit.callback(setattr, server, "should_exit", True)
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop, and give open streams a second to finish."""
        self._on_exit.close()


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The program that runs the server handles signals.
        yield


class _Config(uvicorn.Config):
    def configure_logging(self) -> None:
        # uvicorn's loggers are global, and the process may run another uvicorn.
        pass


class _Protocol(H11Protocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Not logged, because a traceback could contain a header.
        self.logger = self.access_logger = _silent
        self.access_log = False


def _config(app: ASGIApp, options: dict[str, Any]) -> _Config:
    defaults: dict[str, Any] = {
        "http": _Protocol,
        # A head that comes in several reads: h11 would take 16 KiB, Envoy passes on 60 KiB and what
        # it adds.
        "h11_max_incomplete_event_size": 96 * 1024,
        "ws": "none",
        "lifespan": "off",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": _KEEP_ALIVE,
        "timeout_graceful_shutdown": 1,
    }
    config = _Config(app, **{**defaults, **options})
    # Loaded here and not in the thread, so that the caller gets errors.
    config.load()
    return config


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Listens at once, so that early clients wait instead of getting an error.
    return socket.create_server((host, port), family=family, backlog=2048)
