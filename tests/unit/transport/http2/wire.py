"""A connection without a network: bytes in, frames out."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import hpack

from authz.delayed import DelayedResponse
from authz.transport.common import ClientStream, Methods, UnaryMethod
from authz.transport.http2 import frames
from authz.transport.http2.connection import Connection

ECHO, SLOW, BROKEN, BIG, LOG, DELAYED = (
    "/test.Test/Echo",
    "/test.Test/Slow",
    "/test.Test/Broken",
    "/test.Test/Big",
    "/test.Test/Log",
    "/test.Test/Delayed",
)
BIG_ANSWER = bytes(range(256)) * 400
"""More than the window that HTTP/2 begins with."""
OPENING = frames.PREFACE + frames.settings({})


def request_fields(path: str = ECHO, **changed: str | None) -> list[tuple[str, str]]:
    """Return the headers of a call; ``changed`` replaces some by name, or leaves them out."""
    fields: dict[str, str | None] = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "authz",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    fields |= {name.replace("__", ":").replace("_", "-"): changed[name] for name in changed}
    return [(name, value) for name, value in fields.items() if value is not None]


def plain_block(fields: Iterable[tuple[str | bytes, str | bytes]]) -> bytes:
    """Write a header block that touches no table, so that it is good in any state."""
    block = b""
    for pair in fields:
        block += b"\x00"
        for text in pair:
            raw = text.encode() if isinstance(text, str) else text
            assert len(raw) < 127
            block += bytes([len(raw)]) + raw
    return block


BLOCK = plain_block(request_fields())


def headers(
    stream: int, block: bytes = BLOCK, flags: int = frames.END_HEADERS, kind: int = frames.HEADERS
) -> bytes:
    """Write a HEADERS frame, or another one with a block."""
    return frames.frame(kind, flags, stream, block)


def message(text: bytes) -> bytes:
    """Put gRPC's prefix before a message."""
    return b"\0" + len(text).to_bytes(4, "big") + text


def data(stream: int, payload: bytes, flags: int = frames.END_STREAM) -> bytes:
    """Write a DATA frame."""
    return frames.frame(frames.DATA, flags, stream, payload)


def call(stream: int, text: bytes = b"hello", path: str = ECHO) -> bytes:
    """Write a whole call."""
    return headers(stream, plain_block(request_fields(path))) + data(stream, message(text))


def zeros(kind: int, size: int, stream: int = 0, flags: int = 0) -> bytes:
    """Write a frame of any type whose payload is zeros."""
    return frames.frame(kind, flags, stream, bytes(size))


@dataclass(frozen=True)
class Frame:
    """A frame that came out."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def split(stream: bytes) -> list[Frame]:
    """Cut bytes into frames; AssertionError when something is left over."""
    found = []
    while stream:
        length, kind, flags, number = frames.unpack_header(stream, 0)
        end = frames.HEADER_LENGTH + length
        assert len(stream) >= end
        found.append(Frame(kind, flags, number, stream[frames.HEADER_LENGTH : end]))
        stream = stream[end:]
    return found


class Memory(asyncio.Transport):
    """A transport whose peer reads nothing unless ``reads``."""

    def __init__(self, *, reads: bool = True) -> None:
        super().__init__()
        self.reads = reads
        self.written = bytearray()
        self.unread = 0
        self.is_aborted = False
        self._is_closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes."""
        assert not self._is_closing, "written after the end"
        self.written += data
        if not self.reads:
            self.unread += len(data)

    def get_write_buffer_size(self) -> int:
        """Return what the peer has not read."""
        return self.unread

    def is_closing(self) -> bool:
        """Return True if the transport is closed."""
        return self._is_closing

    def close(self) -> None:
        """Close, after what is unread has been read."""
        self._is_closing = True

    def abort(self) -> None:
        """Close at once."""
        self._is_closing = self.is_aborted = True


@dataclass
class Handlers:
    """Methods for tests, with the messages they got and the number of running calls.

    Attributes:
        release: set to let the slow ones answer.
    """

    asked: list[bytes] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    running: int = 0
    cancelled: int = 0

    def methods(self) -> Methods:
        """Return the methods by path."""
        return {
            ECHO: UnaryMethod(self._echo, immediate=True),
            SLOW: UnaryMethod(self._slow),
            BROKEN: UnaryMethod(self._broken, immediate=True),
            BIG: UnaryMethod(self._big, immediate=True),
            DELAYED: UnaryMethod(self._delayed, immediate=True),
            LOG: ClientStream(self.received.append, b""),
        }

    async def _echo(self, message: bytes) -> bytes:
        self.asked.append(message)
        return message

    async def _slow(self, message: bytes) -> bytes:
        self.asked.append(message)
        self.running += 1
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if message == b"fail":
            raise ValueError("sk-secret")
        return message

    async def _broken(self, message: bytes) -> bytes:
        raise ValueError("sk-secret")

    async def _delayed(self, message: bytes) -> bytes:
        return DelayedResponse(message, 3000)

    async def _big(self, message: bytes) -> bytes:
        return BIG_ANSWER


class Wire:
    """An open connection; its greeting is not in ``frames``.

    Args:
        reads: whether the peer reads.
        opening: what the peer has sent first.
        methods: instead of those of ``Handlers``.
    """

    def __init__(
        self,
        *,
        reads: bool = True,
        opening: bytes = OPENING,
        methods: Methods | None = None,
    ) -> None:
        self.handlers = Handlers()
        self.connections: set[Connection] = set()
        self.transport = Memory(reads=reads)
        self.connection = Connection(methods or self.handlers.methods(), self.connections)
        self.connection.connection_made(self.transport)
        self.greeting = bytes(self.transport.written)
        self.send(opening)
        if opening == OPENING:
            self.transport.written.clear()

    def send(self, *data: bytes) -> "Wire":
        """Hand over bytes as they would come from the network."""
        for part in data:
            self.connection.data_received(part)
        return self

    def take(self) -> list[Frame]:
        """Return the frames that came out since the last call."""
        written, self.transport.written = bytes(self.transport.written), bytearray()
        return split(written)

    def goaway(self) -> frames.ErrorCode | None:
        """Return the code of the GOAWAY that ended the connection; None when it goes on."""
        if not self.transport.is_closing():
            return None
        *_, last = self.take()
        assert last.kind == frames.GOAWAY
        assert last.stream == 0
        return frames.ErrorCode(int.from_bytes(last.payload[4:8], "big"))

    def resets(self) -> dict[int, frames.ErrorCode]:
        """Return the streams that were reset since the last call, while the connection goes on."""
        assert not self.transport.is_closing()
        return {
            frame.stream: frames.ErrorCode(int.from_bytes(frame.payload, "big"))
            for frame in self.take()
            if frame.kind == frames.RST_STREAM
        }


@dataclass
class Response:
    """The response on one stream."""

    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> str | None:
        """The gRPC status; None without one."""
        return self.fields.get("grpc-status")


def responses(written: bytes) -> dict[int, Response]:
    """Read what a connection wrote, by stream, with a fresh HPACK decoder."""
    decoder = hpack.Decoder()
    found: dict[int, Response] = {}
    for frame in split(written):
        if frame.stream == 0 or frame.kind == frames.WINDOW_UPDATE:
            continue
        response = found.setdefault(frame.stream, Response())
        if frame.kind == frames.RST_STREAM:
            response.reset = int.from_bytes(frame.payload, "big")
            continue
        assert not response.ended, "more after the end"
        if frame.kind == frames.HEADERS:
            assert frame.flags & frames.END_HEADERS
            for name, value in decoder.decode(frame.payload):
                response.fields[str(name)] = str(value)
        elif frame.kind == frames.DATA:
            response.body += frame.payload
        response.ended = bool(frame.flags & frames.END_STREAM)
    return found


async def settle() -> None:
    """Let tasks run that have something to do."""
    for _ in range(5):
        await asyncio.sleep(0)
