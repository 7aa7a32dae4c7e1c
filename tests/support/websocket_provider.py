"""A stand-in for OpenAI with WebSockets, which records each handshake and echoes."""

import contextlib
import http
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

PATHS = ("/v1/responses", "/v1/realtime")


@dataclass(frozen=True)
class Handshake:
    """A handshake as it reached the provider.

    Attributes:
        path: with the query.
        headers: lower-case names and values, in order, repeated ones included.
    """

    path: str
    headers: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        """Return every value of a header, in order."""
        return [value for key, value in self.headers if key == name]


class WebSocketProvider:
    """Serves on loopback until the block ends.

    Args:
        files: PEM files of a certificate chain and its key; with them it speaks TLS, and offers
            HTTP/2, which it lacks, to clients that ask for it.

    Attributes:
        handshakes: what has reached it, refused ones included.
        opened: how many sockets it has accepted.
        closed: how many of them have ended, closed by either side.
        refuse: the status of its answer to every handshake; None accepts them.
    """

    def __init__(self, files: tuple[Path, Path] | None = None) -> None:
        context = None
        if files is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*files)
            context.set_alpn_protocols(["h2", "http/1.1"])
        self.handshakes: list[Handshake] = []
        self._lock = threading.Lock()
        self.opened = 0
        self.closed = 0
        self.refuse: int | None = None
        self._server = serve(
            self._echo,
            "127.0.0.1",
            0,
            process_request=self._record,
            process_response=self._count,
            subprotocols=None,
            select_subprotocol=lambda _, offered: offered[0] if offered else None,
            ping_interval=None,
            ssl=context,
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._server.socket.getsockname()[1]
        return port

    def take(self) -> list[Handshake]:
        """Return the handshakes since the last call."""
        taken = list(self.handshakes)
        # One that arrives meanwhile stays for the next call.
        del self.handshakes[: len(taken)]
        return taken

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join(5)

    def _record(self, connection: ServerConnection, request: Request) -> Response | None:
        headers = [(name.lower(), value) for name, value in request.headers.raw_items()]
        self.handshakes.append(Handshake(request.path, headers))
        if self.refuse is not None:
            response = connection.respond(http.HTTPStatus(self.refuse), "the provider's own text\n")
            response.headers["retry-after"] = "7"
            return response
        if request.path.partition("?")[0] not in PATHS:
            return connection.respond(http.HTTPStatus.NOT_FOUND, "no such path\n")
        return None

    def _count(self, _connection: ServerConnection, _request: Request, response: Response) -> None:
        with self._lock:
            self.opened += response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS

    def _echo(self, connection: ServerConnection) -> None:
        try:
            with contextlib.suppress(ConnectionClosed):
                for message in connection:
                    connection.send(message)
        finally:
            with self._lock:
                self.closed += 1
