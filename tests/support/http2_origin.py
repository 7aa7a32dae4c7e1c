"""A provider that speaks HTTP/2 over TLS and keeps every header and trailer that reaches it."""

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Self

import h2.config
import h2.connection
import h2.events

Fields = list[tuple[str, str]]


class Http2Origin:
    """Answers every request with an empty JSON object.

    Args:
        files: its certificate and key.

    Attributes:
        headers: of each request.
        trailers: of each request that had some.
        bodies: of each request, complete.
    """

    def __init__(self, files: tuple[Path, Path]) -> None:
        self.headers: list[Fields] = []
        self.trailers: list[Fields] = []
        self.bodies: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*files)
        self._context.set_alpn_protocols(["h2"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, name="http2 origin", daemon=True)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

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

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(20)
        config = h2.config.H2Configuration(
            client_side=False, header_encoding="latin-1", validate_inbound_headers=False
        )
        connection = h2.connection.H2Connection(config)
        bodies: dict[int, bytes] = {}
        with (
            contextlib.suppress(OSError),
            plain,
            self._context.wrap_socket(plain, server_side=True) as wire,
        ):
            connection.initiate_connection()
            wire.sendall(connection.data_to_send())
            while data := wire.recv(65_536):
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        self.headers.append(_text(event.headers))
                        bodies[event.stream_id] = b""
                    elif isinstance(event, h2.events.TrailersReceived):
                        self.trailers.append(_text(event.headers))
                    elif isinstance(event, h2.events.DataReceived):
                        bodies[event.stream_id] += event.data
                        connection.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id
                        )
                    elif isinstance(event, h2.events.StreamEnded):
                        self.bodies.append(bodies.pop(event.stream_id))
                        head = [(":status", "200"), ("content-type", "application/json")]
                        connection.send_headers(event.stream_id, head)
                        connection.send_data(event.stream_id, b"{}", end_stream=True)
                wire.sendall(connection.data_to_send())


def _text(fields: object) -> Fields:
    assert isinstance(fields, list)
    return [(str(name), str(value)) for name, value in fields]
