"""A web server that is not a provider, as the target of a tunnel."""

import contextlib
import socket
import ssl
import struct
import threading
from pathlib import Path
from typing import Self


class Origin:
    """Answers every request with its name, over TLS when it has a certificate.

    Attributes:
        connections: how many have been accepted.
        heads: the heads of requests, as they came.
    """

    def __init__(
        self,
        name: str,
        files: tuple[Path, Path] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.connections = 0
        self.heads: list[bytes] = []
        self._body = name.encode()
        self._context: ssl.SSLContext | None = None
        if files is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*files)
        self._listener = socket.create_server((host, port))
        self._thread = threading.Thread(target=self._accept, name="origin", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
                stack.callback(connection.close)
            data = b""
            while received := connection.recv(65_536):
                data += received
                data = self._answer(connection, data)

    def _answer(self, connection: socket.socket, data: bytes) -> bytes:
        """Answer the whole requests in ``data`` and return what remains."""
        while b"\r\n\r\n" in data:
            head, _, data = data.partition(b"\r\n\r\n")
            self.heads.append(head)
            start = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(self._body)
            connection.sendall(start + self._body)
        return data


class Upgrading(Origin):
    """Answers every request with 101, and echoes all later bytes.

    It stands for a provider with WebSockets, of which a proxy has only the upgrade to understand.
    """

    def _answer(self, connection: socket.socket, data: bytes) -> bytes:
        if b"\r\n\r\n" not in data:
            return data
        head, _, rest = data.partition(b"\r\n\r\n")
        self.heads.append(head)
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n"
            b"connection: upgrade\r\n\r\n" + rest
        )
        while received := connection.recv(65_536):
            connection.sendall(received)
        return b""


class Impatient(Origin):
    """Answers the first request of each connection and resets the connection at the second.

    It acts like a server that closes an idle connection while the next request is on its way.

    Attributes:
        ended: how many connections have ended.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ended = 0
        self._used: set[socket.socket] = set()

    def _serve(self, connection: socket.socket) -> None:
        try:
            super()._serve(connection)
        finally:
            self.ended += 1

    def _answer(self, connection: socket.socket, data: bytes) -> bytes:
        # Not by its number, which the next connection may have.
        if connection in self._used and data:
            self.heads.append(data)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            return b""
        before = len(self.heads)
        super()._answer(connection, data)
        if len(self.heads) > before:
            self._used.add(connection)
        return b""
