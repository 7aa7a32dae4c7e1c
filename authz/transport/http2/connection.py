"""One HTTP/2 connection that serves gRPC calls: its frames (RFC 9113 sections 4 to 6)."""

import asyncio
from typing import cast

from authz.arrivals import ARRIVAL
from authz.transport.common import Methods
from authz.transport.http2 import frames, grpc
from authz.transport.http2.blocks import MAX_HEADER_BLOCK_BYTES, Blocks
from authz.transport.http2.calls import MAX_MESSAGE_BYTES, MAX_STREAMS, Calls
from authz.transport.http2.frames import ConnectionFailed, ErrorCode, StreamFailed
from authz.transport.http2.problems import ProblemLog
from authz.transport.http2.sending import Sender

_problems = ProblemLog()

STREAM_WINDOW = MAX_MESSAGE_BYTES + 1024
"""A whole message fits in the window, so that a stream never needs an update."""
CONNECTION_WINDOW = 1 << 26
MAX_UNSENT_BYTES = 1 << 23
"""Ends the connection of a peer that sends calls and reads no responses."""
MAX_SETTINGS_PER_SECOND = 100
"""Limits SETTINGS, since each may change the window of every stream; peers send only a few."""
CLOSE_SECONDS = 2.0
"""Time for the peer to read the last data before the connection is aborted."""
_DRAIN_PING = b"draining"


class Connection(asyncio.Protocol):
    """Reads frames and writes the responses of the calls.

    Args:
        methods: the methods to serve.
        connections: the server's open connections, which include this one while it is open.
    """

    def __init__(self, methods: Methods, connections: "set[Connection]") -> None:
        self._connections = connections
        self._buffer = b""
        self._has_preface = False
        # The only type of frame that is legal now; None allows every type.
        self._expected: int | None = frames.SETTINGS
        self._blocks = Blocks()
        self._unfinished_block = (0, 0, bytearray())
        self._received = 0
        self._settings_count = 0
        self._settings_second = 0
        self._is_closed = False
        self._is_draining = False
        self._is_drained = False
        self._abort: asyncio.TimerHandle | None = None
        self._out = Sender()
        self._calls = Calls(methods, self._out, self._flush)
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the settings, and a window that is large enough for many checks at once."""
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
        """Drop all calls."""
        self._is_closed = True
        self._connections.discard(self)
        self._calls.drop_all()
        if self._abort is not None:
            self._abort.cancel()

    def data_received(self, data: bytes) -> None:
        """Handle bytes from the peer."""
        if self._is_closed:
            return
        ARRIVAL.begin()
        try:
            self._read(self._buffer + data if self._buffer else data)
        except ConnectionFailed as error:
            self._fail(error)
        except Exception as error:
            _problems.log("http2 connection failed", type(error).__name__)
            self._fail(ConnectionFailed(ErrorCode.INTERNAL_ERROR, "internal error"))
        else:
            self._flush()
        finally:
            ARRIVAL.end()

    @property
    def is_finished(self) -> bool:
        """True if, after ``announce_stop``, every call is answered and no other will come."""
        return not self._out.open_streams and (self._is_drained or not self._has_preface)

    def announce_stop(self) -> None:
        """Tell the peer to send no new calls; those on their way are still answered.

        The reply to the PING shows that the peer has seen the GOAWAY (RFC 9113 6.8).
        """
        if self._is_draining or self._is_closed:
            return
        self._is_draining = True
        self._out.write(frames.goaway(frames.MAX_WINDOW, ErrorCode.NO_ERROR))
        self._out.write(frames.frame(frames.PING, 0, 0, _DRAIN_PING))
        self._flush()

    def close(self, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        """Send GOAWAY and close; calls in progress are dropped."""
        if self._is_closed:
            return
        self._is_closed = True
        self._buffer = b""
        self._calls.drop_all()
        self._out.write(frames.goaway(self._calls.last_stream, code))
        self._flush()
        self._transport.close()
        # Closing waits until all data is sent, which takes forever if the peer does not read.
        self._abort = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def abort(self) -> None:
        """Close at once, without sending the remaining data."""
        self._transport.abort()

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
            if kind == frames.HEADERS and flags == frames.END_HEADERS:
                after = self._whole_call(data, end, stream, payload)
                if after:
                    offset = after
                    continue
            try:
                self._frame(kind, flags, stream, payload)
            except StreamFailed as error:
                _problems.log("http2 call ended", str(error), code=error.code.name)
                self._calls.drop(error.stream)
                self._out.write(frames.reset(error.stream, error.code))
        self._buffer = data[offset:]

    def _whole_call(self, data: bytes, offset: int, stream: int, block: bytes) -> int:
        """Answer a call of the usual form: a known header block, and one message in one DATA frame.

        This is a short way and no other rule: a call that differs in anything is left to
        ``_frame``.

        Args:
            data: what was read.
            offset: after the header block.
            stream: of the block.
            block: the header block.

        Returns:
            The offset after the call; 0 if nothing has happened.
        """
        path = self._blocks.known(block)
        if path is None or self._expected is not None:
            return 0
        begin, end = grpc.find_message(data, offset, stream)
        length = end - offset - frames.HEADER_LENGTH
        if (
            not end
            or stream % 2 == 0
            or stream <= self._calls.last_stream
            or self._received + length >= CONNECTION_WINDOW // 2
            or not self._calls.whole(stream, path, data[begin:end])
        ):
            return 0
        self._received += length
        return end

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._expected is not None and kind != self._expected:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "another frame must come first")
        if kind == frames.HEADERS:
            self._on_headers(flags, stream, payload)
        elif kind == frames.DATA:
            self._on_data(flags, stream, payload)
        elif kind == frames.CONTINUATION:
            self._on_continuation(flags, stream, payload)
        elif kind == frames.RST_STREAM:
            code = frames.uint32(payload)
            self._calls.require_known(stream)
            if not self._calls.is_conversation(stream):
                _problems.log_peer("http2 call ended by the peer", code)
            self._calls.drop(stream)
        elif kind == frames.WINDOW_UPDATE:
            self._on_window_update(stream, payload)
        elif kind == frames.SETTINGS:
            self._on_settings(flags, stream, payload)
        elif kind == frames.PING:
            self._on_ping(flags, stream, payload)
        elif kind == frames.PRIORITY:
            self._on_priority(stream, payload)
        elif kind == frames.GOAWAY:
            # The peer accepts no new streams, but a server opens none. Its calls are answered.
            if stream:
                raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
            if len(payload) < 8:
                raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY cut")
            _problems.log_peer("http2 connection ended by the peer", frames.uint32(payload[4:8]))
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "clients must not push")
        # Endpoints must ignore unknown frames (RFC 9113 5.5).

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if stream % 2 == 0:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a client's streams must be odd")
        block = frames.without_padding(flags, payload)
        if flags & frames.PRIORITY_FLAG:
            if len(block) < 5:
                raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "priority cut")
            block = block[5:]
        if flags & frames.END_HEADERS:
            self._on_block(flags, stream, block)
        else:
            self._unfinished_block = (flags, stream, bytearray(block))
            self._expected = frames.CONTINUATION

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        first_flags, first_stream, block = self._unfinished_block
        if self._expected is None or stream != first_stream:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "continues nothing")
        # A peer could send empty frames forever without finishing the block.
        if not payload and not flags & frames.END_HEADERS:
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "empty CONTINUATION")
        block += payload
        if len(block) > MAX_HEADER_BLOCK_BYTES:
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "header block too large")
        if flags & frames.END_HEADERS:
            self._expected = None
            self._on_block(first_flags, stream, bytes(block))

    def _on_block(self, flags: int, stream: int, block: bytes) -> None:
        path = self._blocks.path_of(block)
        ended = bool(flags & frames.END_STREAM)
        blocks = self._blocks
        self._calls.headers(
            stream, path, ended=ended, traceparent=blocks.traceparent, route=blocks.route
        )

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._calls.require_known(stream)
        self._received += len(payload)
        if self._received >= CONNECTION_WINDOW // 2:
            # This counts data in memory, too. Calls limits that, and a window full of incomplete
            # requests would never open again.
            self._out.write(frames.window_update(0, self._received))
            self._received = 0
        data = payload
        if flags & frames.PADDED:
            data = frames.without_padding(flags, payload)
            if not flags & frames.END_STREAM and self._out.is_open(stream):
                # A message fits in the stream's window, but a message with padding may not.
                self._out.write(frames.window_update(stream, len(payload) - len(data)))
        self._calls.data(stream, data, ended=bool(flags & frames.END_STREAM))

    def _on_window_update(self, stream: int, payload: bytes) -> None:
        increment = frames.uint32(payload) & frames.MAX_WINDOW
        if stream:
            self._calls.require_known(stream)
            if increment == 0:
                raise StreamFailed(stream, ErrorCode.PROTOCOL_ERROR, "window update of 0")
        elif increment == 0:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "window update of 0")
        self._out.widen(stream, increment)

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "ACK with a payload")
            return
        second = int(asyncio.get_running_loop().time())
        if second != self._settings_second:
            self._settings_second, self._settings_count = second, 0
        self._settings_count += 1
        if self._settings_count > MAX_SETTINGS_PER_SECOND:
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "too many SETTINGS")
        self._expected = None
        settings = frames.read_settings(payload)
        self._out.apply(settings)
        self._out.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._out.shrink_table(settings)

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "PING is not 8 bytes")
        if not flags & frames.ACK:
            self._out.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif self._is_draining and payload == _DRAIN_PING:
            # All data that the peer sent before it saw the GOAWAY has arrived.
            self._is_drained = True
            self._calls.end_streams()

    def _on_priority(self, stream: int, payload: bytes) -> None:
        if stream == 0:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "PRIORITY without a stream")
        if len(payload) != 5:
            # This is a stream error, but a stream that was never opened can't be reset.
            self._calls.require_known(stream)
            raise StreamFailed(stream, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes")

    def _flush(self) -> None:
        data = self._out.take()
        if self._transport.is_closing():
            return
        if data:
            self._transport.write(data)
        if self._out.held + self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            _problems.log("http2 connection cut", "the peer does not read")
            self._transport.abort()

    def _fail(self, error: ConnectionFailed) -> None:
        _problems.log("http2 connection ended", str(error), code=error.code.name)
        self.close(error.code)
