"""Serves an ASGI application from a thread of the test's own process."""

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol


@contextlib.contextmanager
def served(
    app: ASGIApp, *, port: int = 0, certificate: tuple[Path, Path] | None = None
) -> Iterator[int]:
    """Serve on 127.0.0.1 until the block ends, and give the port.

    Args:
        port: 0 lets the system choose one.
        certificate: PEM files of the chain and its key; with it the server speaks TLS.
    """
    cert_file, key_file = certificate or (None, None)
    config = uvicorn.Config(
        app,
        http=_Protocol,
        h11_max_incomplete_event_size=96 * 1024,
        ws="none",
        lifespan="off",
        log_config=None,
        server_header=False,
        timeout_keep_alive=600,
        timeout_graceful_shutdown=0,
        ssl_certfile=cert_file,
        ssl_keyfile=key_file,
    )
    server = _Uvicorn(config)
    # Listening at once: clients that come before the thread runs wait instead of being refused.
    with socket.create_server(("127.0.0.1", port), backlog=2048) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they belong to the test run


class _Protocol(H11Protocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A connection that is cut on purpose is no error.
        self.logger = self.access_logger = logging.Logger("tests.silent", logging.CRITICAL + 1)
        self.access_log = False
