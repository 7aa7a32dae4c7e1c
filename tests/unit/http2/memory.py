"""A connection without a network: what the server writes is kept."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

import h2.connection
import h2.events

from authz.http2 import frames
from authz.http2.calls import Method
from authz.http2.connection import Connection

ECHO = "/test.Service/Echo"


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False
        self.unread = 0

    def write(self, data: object) -> None:
        assert not self.closed
        self.written += cast(bytes, data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return self.unread

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken, self.written = bytes(self.written), bytearray()
        return taken


async def echo(message: bytes) -> bytes:
    """Answer with the message itself, backwards."""
    return message[::-1]


def connected(
    answer: Callable[[bytes], Awaitable[bytes]] = echo, *, immediate: bool = True
) -> tuple[Connection, Transport]:
    """Return a greeted server side."""
    methods: Mapping[str, Method] = {ECHO: Method(answer, immediate)}
    connection, transport = Connection(methods, set()), Transport()
    connection.connection_made(transport)
    return connection, transport


def greeted() -> tuple[Connection, Transport]:
    """Return a server side that has had preface and settings."""
    connection, transport = connected()
    connection.data_received(frames.PREFACE + frames.settings({}))
    transport.take()
    return connection, transport


def parsed(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Split bytes into frames: type, flags, stream, payload."""
    found, offset = [], 0
    while offset < len(data):
        length, kind, flags, stream = frames.unpack_header(data, offset)
        start = offset + frames.HEADER_LENGTH
        found.append((kind, flags, stream, data[start : start + length]))
        offset = start + length
    return found


class Client:
    """The h2 library as a gRPC client; its bytes go wherever the test sends them."""

    def __init__(self) -> None:
        self._connection = h2.connection.H2Connection()
        self._connection.initiate_connection()
        self.data: dict[int, bytes] = {}
        self.headers: dict[int, dict[bytes, bytes]] = {}
        self.ended: set[int] = set()

    def call(self, message: bytes, path: str = ECHO, **headers: str) -> int:
        """Begin a call and return its stream."""
        stream = self._connection.get_next_available_stream_id()
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a")]
        fields += [("te", "trailers"), ("content-type", "application/grpc"), *headers.items()]
        self._connection.send_headers(stream, fields)
        framed = b"\0" + len(message).to_bytes(4, "big") + message
        for start in range(0, len(framed), 16_384):
            self._connection.send_data(stream, framed[start : start + 16_384])
        self._connection.end_stream(stream)
        return stream

    def reset(self, stream: int) -> None:
        """Give a call up."""
        self._connection.reset_stream(stream, 8)

    def take(self) -> bytes:
        """Return the bytes to send."""
        data: bytes = self._connection.data_to_send()
        return data

    def receive(self, data: bytes) -> None:
        """Read what the server wrote; h2 raises where that breaks the protocol."""
        for event in self._connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                fields = {bytes(k): bytes(v) for k, v in event.headers}
                self.headers.setdefault(event.stream_id, {}).update(fields)
            elif isinstance(event, h2.events.DataReceived):
                self.data[event.stream_id] = self.data.get(event.stream_id, b"") + event.data
                self._connection.acknowledge_received_data(len(event.data), event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
