"""A company's proxy: it accepts CONNECT, records requests, and connects where the test says."""

import contextlib
import socket
import threading
from collections.abc import Mapping
from typing import Self


class UpstreamProxy:
    """A CONNECT proxy on loopback.

    Args:
        routes: ``host:port`` of a CONNECT to the address that is dialled in its place.

    Attributes:
        heads: the head of every request, as it came.
    """

    def __init__(self, routes: Mapping[str, tuple[str, int]]) -> None:
        self.heads: list[bytes] = []
        self._routes = dict(routes)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, name="upstream proxy", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def targets(self) -> list[str]:
        """The targets of the CONNECTs, in order."""
        return [head.split()[1].decode() for head in self.heads]

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
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            data = b""
            while b"\r\n\r\n" not in data:
                received = client.recv(65_536)
                if not received:
                    return
                data += received
            head, _, early = data.partition(b"\r\n\r\n")
            self.heads.append(head)
            method, target, _ = head.split(b"\r\n")[0].split()
            address = self._routes.get(target.decode())
            if method != b"CONNECT" or address is None:
                client.sendall(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
                return
            with socket.create_connection(address, 10) as server:
                # The timeout is for connecting: a tunnel may be silent for longer.
                server.settimeout(None)
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                server.sendall(early)
                back = threading.Thread(target=_copy, args=(server, client), daemon=True)
                back.start()
                _copy(client, server)
                back.join(10)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
