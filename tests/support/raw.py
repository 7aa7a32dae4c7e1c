"""Requests as bytes, including those that no HTTP client would send."""

import contextlib
import json
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import h2.config
import h2.connection
import h2.events

Headers = Sequence[tuple[str | bytes, str | bytes]]
"""Names and values; text is sent as Latin-1."""

PATIENCE = 60.0
"""Seconds that a single read or write may take, with room for a busy machine."""
_SIZE = re.compile(rb"[0-9A-Fa-f]+")


@dataclass(frozen=True)
class Answer:
    """An answer, with all of its bytes.

    Attributes:
        headers: names in lower case, in order, repeated ones included.
        body: without the transfer coding.
        whole: all that came, status line and coding included.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    whole: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """Return a header's value, or None; AssertionError when it comes twice."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} comes {len(values)} times"
        return values[0] if values else None

    @property
    def error(self) -> dict[str, Any]:
        """The error object of a JSON answer."""
        assert self.header("content-type") == "application/json", self
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


class Closed(Exception):  # noqa: N818 - what happened, not a failure of the test
    """The peer closed the connection before the answer was whole."""


def request(
    method: str = "GET",
    target: str | bytes = "/",
    headers: Headers = (),
    body: bytes = b"",
    *,
    version: str = "HTTP/1.1",
    host: str | None = "gateway.test",
) -> bytes:
    """Write a request; a length is added when there is a body, a Host unless ``host`` is None."""
    lines = [b" ".join([method.encode("latin-1"), _bytes(target), version.encode()])]
    if host is not None:
        lines.append(b"host: " + host.encode("latin-1"))
    lines += [_bytes(name) + b": " + _bytes(value) for name, value in headers]
    if body:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


class Connection:
    """One TCP connection that sends HTTP/1.1 byte by byte.

    Args:
        port: on loopback.
        timeout: seconds that any single read or write may take.
    """

    def __init__(self, port: int, timeout: float = PATIENCE) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._buffer = b""

    def __enter__(self) -> Self:
        """Return the open connection."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close it."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes; Closed when the peer is gone."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def read(self, *, head: bool = False) -> Answer:
        """Read one final answer, behind any ``100 Continue``.

        Args:
            head: the request was HEAD, so there is no body.

        Raises:
            Closed: the peer closed before the answer was whole.
        """
        before = b""
        while True:
            answer = self._one(head=head)
            if answer.status != 100:
                whole = before + answer.whole
                return Answer(answer.status, answer.headers, answer.body, whole)
            before += answer.whole

    def read_status(self) -> int:
        """Read one answer and return its status, an interim ``100`` too."""
        return self._one(head=False).status

    def wait_at_most(self, seconds: float) -> None:
        """Limit any further read or write, which then raises TimeoutError."""
        self._socket.settimeout(seconds)

    def is_closed(self, seconds: float = 1.0) -> bool:
        """Return whether the peer closes within ``seconds``, without another byte."""
        self._socket.settimeout(seconds)
        try:
            return not self._buffer and self._socket.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True

    def _one(self, *, head: bool) -> Answer:
        start = self._until(b"\r\n\r\n")
        first, *lines = start.decode("latin-1").split("\r\n")[:-2]
        status = int(first.split(" ")[1])
        headers = [
            (name.lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines)
        ]
        named = dict(headers)
        coded = b""
        body = b""
        if head or status in (204, 304) or status < 200:
            pass
        elif named.get("transfer-encoding") == "chunked":
            for coding, chunk in self._chunks():
                coded += coding
                body += chunk
        elif "content-length" in named:
            body = coded = self._exactly(int(named["content-length"]))
        else:
            body = coded = self._rest()
        return Answer(status, headers, body, start + coded)

    def _chunks(self) -> Iterator[tuple[bytes, bytes]]:
        while True:
            line = self._until(b"\r\n")
            match = _SIZE.match(line)
            assert match is not None, line
            data = self._exactly(int(match[0], 16) + 2)
            yield line + data, data[:-2]
            if data == b"\r\n":
                return

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._more()
        found, _, self._buffer = self._buffer.partition(end)
        return found + end

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _rest(self) -> bytes:
        try:
            while True:
                self._more()
        except Closed:
            data, self._buffer = self._buffer, b""
            return data

    def _more(self) -> None:
        try:
            data = self._socket.recv(65_536)
        except ConnectionResetError:
            raise Closed from None
        if not data:
            raise Closed
        self._buffer += data


def ask(port: int, data: bytes, *, head: bool = False, timeout: float = PATIENCE) -> Answer:
    """Send bytes on a connection of their own and read the answer.

    Raises:
        Closed: the peer closed instead.
    """
    with Connection(port, timeout) as connection:
        # An answer may come, and the peer close, before it has read all: then it is still there.
        with contextlib.suppress(Closed):
            connection.send(data)
        return connection.read(head=head)


def ask_h2(port: int, headers: Headers, body: bytes = b"", timeout: float = PATIENCE) -> Answer:
    """Send one HTTP/2 request without TLS, unchecked, and read the answer.

    Args:
        headers: pseudo-headers first.

    Raises:
        Closed: the peer reset the stream or closed the connection instead.
    """
    with socket.create_connection(("127.0.0.1", port), timeout) as wire:
        return exchange_h2(wire, headers, body)


def exchange_h2(
    wire: socket.socket, headers: Headers, body: bytes = b"", trailers: Headers = ()
) -> Answer:
    """Send the first HTTP/2 request of a connection, unchecked, and read the answer.

    Raises:
        Closed: the peer reset the stream or closed the connection instead.
    """
    config = h2.config.H2Configuration(
        header_encoding="latin-1",
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
        validate_inbound_headers=False,
    )
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    stream = connection.get_next_available_stream_id()
    connection.send_headers(stream, _pairs(headers), end_stream=not (body or trailers))
    if body:
        connection.send_data(stream, body, end_stream=not trailers)
    if trailers:
        connection.send_headers(stream, _pairs(trailers), end_stream=True)
    wire.sendall(connection.data_to_send())
    status, named, parts, whole = 0, list[tuple[str, str]](), b"", b""
    while data := _received(wire):
        whole += data
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                named = [(str(name), str(value)) for name, value in event.headers or ()]
                status = int(dict(named)[":status"])
            elif isinstance(event, h2.events.DataReceived):
                parts += event.data or b""
            elif isinstance(event, h2.events.StreamEnded):
                text = "".join(f"{name}: {value}\n" for name, value in named)
                return Answer(status, named, parts, whole + text.encode("latin-1"))
            elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                raise Closed
        wire.sendall(connection.data_to_send())
    raise Closed


def _pairs(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(_bytes(name), _bytes(value)) for name, value in headers]


def _received(wire: socket.socket) -> bytes:
    try:
        return wire.recv(65_536)
    except ConnectionResetError:
        return b""


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
