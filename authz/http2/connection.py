"""One HTTP/2 connection that serves unary gRPC calls: its frames (RFC 9113 sections 4 to 6)."""

import asyncio
from collections.abc import Mapping
from typing import cast

import structlog

from authz.http2 import frames
from authz.http2.blocks import MAX_HEADER_BLOCK_BYTES, Blocks
from authz.http2.calls import MAX_MESSAGE_BYTES, MAX_STREAMS, Calls, Method
from authz.http2.frames import ConnectionFailed, ErrorCode
from authz.http2.sending import Sender

_log = structlog.get_logger(__name__)

STREAM_WINDOW = MAX_MESSAGE_BYTES + 1024
"""A whole message fits in, so that a stream's window never needs an update."""
CONNECTION_WINDOW = 1 << 26
MAX_UNSENT_BYTES = 1 << 23
"""A peer that takes nothing while it asks on is cut."""


class Connection(asyncio.Protocol):
    """Reads frames and writes what the calls answer.

    Args:
        methods: by path, ``/package.Service/Method``.
        connections: the server's open connections; this one is in it while it is open.
    """

    def __init__(self, methods: Mapping[str, Method], connections: "set[Connection]") -> None:
        self._connections = connections
        self._buffer = b""
        self._has_preface = False
        self._blocks = Blocks()
        self._unfinished_block: tuple[int, int, bytearray] | None = None
        self._received = 0
        self._out = Sender()
        self._calls = Calls(methods, self._out, self._flush)
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet: settings, and a window that a connection full of checks does not exhaust."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        settings = {
            frames.SETTINGS_MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            frames.SETTINGS_INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            frames.SETTINGS_MAX_HEADER_LIST_SIZE: MAX_HEADER_BLOCK_BYTES,
        }
        self._out.write(frames.settings(settings))
        self._out.write(frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW))
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the calls that nobody waits for any more."""
        self._connections.discard(self)
        self._calls.give_all_up()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the peer."""
        try:
            self._read(self._buffer + data if self._buffer else data)
        except ConnectionFailed as error:
            self._fail(error)
        except Exception as error:
            _log.error("http2 connection failed", error=type(error).__name__)
            self._fail(ConnectionFailed(ErrorCode.INTERNAL_ERROR, "internal error"))
        self._flush()

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way."""
        return not self._calls

    def announce_stop(self) -> None:
        """Ask the peer for no new calls; those that are on their way are still answered."""
        self._out.write(frames.goaway(frames.MAX_WINDOW, ErrorCode.NO_ERROR))
        self._flush()

    def close(self) -> None:
        """Say goodbye and close."""
        self._out.write(frames.goaway(self._calls.last_stream, ErrorCode.NO_ERROR))
        self._flush()
        self._transport.close()

    def _read(self, data: bytes) -> None:
        offset = 0
        if not self._has_preface:
            if not frames.PREFACE.startswith(data[: len(frames.PREFACE)]):
                raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 preface")
            if len(data) < len(frames.PREFACE):
                self._buffer = data
                return
            self._has_preface = True
            offset = len(frames.PREFACE)
        size = len(data)
        while size - offset >= frames.HEADER_LENGTH:
            length, kind, flags, stream = frames.unpack_header(data, offset)
            if length > frames.DEFAULT_FRAME_SIZE:
                raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "frame too large")
            end = offset + frames.HEADER_LENGTH + length
            if end > size:
                break
            payload = data[offset + frames.HEADER_LENGTH : end]
            offset = end
            self._frame(kind, flags, stream, payload)
        self._buffer = data[offset:]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._unfinished_block is not None and kind != frames.CONTINUATION:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "header block interrupted")
        if kind == frames.HEADERS:
            self._on_headers(flags, stream, payload)
        elif kind == frames.DATA:
            self._on_data(flags, stream, payload)
        elif kind == frames.CONTINUATION:
            self._on_continuation(flags, stream, payload)
        elif kind == frames.RST_STREAM:
            frames.uint32(payload)
            self._calls.require_known(stream)
            self._calls.give_up(stream)
        elif kind == frames.WINDOW_UPDATE:
            self._on_window_update(stream, payload)
        elif kind == frames.SETTINGS:
            self._on_settings(flags, stream, payload)
        elif kind == frames.PING:
            self._on_ping(flags, stream, payload)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "clients push nothing")
        # PRIORITY, GOAWAY and unknown frames ask for nothing (RFC 9113 5.3.2, 5.5).

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if stream % 2 == 0:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a client's streams are odd")
        block = frames.without_padding(flags, payload)
        if flags & frames.PRIORITY_FLAG:
            if len(block) < 5:
                raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "priority cut")
            block = block[5:]
        if flags & frames.END_HEADERS:
            self._on_block(flags, stream, block)
        else:
            self._unfinished_block = (flags, stream, bytearray(block))

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._unfinished_block is None or self._unfinished_block[1] != stream:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "continues nothing")
        # An empty frame moves nothing forward, however many of them come.
        if not payload and not flags & frames.END_HEADERS:
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "empty CONTINUATION")
        first_flags, _, block = self._unfinished_block
        block += payload
        if len(block) > MAX_HEADER_BLOCK_BYTES:
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "header block too large")
        if flags & frames.END_HEADERS:
            self._unfinished_block = None
            self._on_block(first_flags, stream, bytes(block))

    def _on_block(self, flags: int, stream: int, block: bytes) -> None:
        path = self._blocks.path_of(block)
        self._calls.headers(stream, path, ended=bool(flags & frames.END_STREAM))

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._calls.require_known(stream)
        self._received += len(payload)
        if self._received > CONNECTION_WINDOW:
            raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, "connection window exceeded")
        if self._received >= CONNECTION_WINDOW // 2:
            self._out.write(frames.window_update(0, self._received))
            self._received = 0
        data = frames.without_padding(flags, payload)
        self._calls.data(stream, data, ended=bool(flags & frames.END_STREAM))

    def _on_window_update(self, stream: int, payload: bytes) -> None:
        increment = frames.uint32(payload) & frames.MAX_WINDOW
        if stream:
            self._calls.require_known(stream)
        if increment == 0:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "window update of 0")
        self._out.widen(stream, increment)

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "ACK with a payload")
            return
        self._out.apply(frames.read_settings(payload))
        self._out.write(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "PING is not 8 bytes")
        if not flags & frames.ACK:
            self._out.write(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _flush(self) -> None:
        data = self._out.take()
        if data and not self._transport.is_closing():
            self._transport.write(data)
        if self._out.held + self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._transport.abort()

    def _fail(self, error: ConnectionFailed) -> None:
        _log.warning("http2 connection ended", why=str(error), code=error.code.name)
        self._out.write(frames.goaway(self._calls.last_stream, error.code))
        self._flush()
        self._transport.close()
