"""The calls of one connection: from a complete request to a response."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import structlog

from authz.transport.common import ClientStream, Methods, UnaryMethod
from authz.transport.http2 import frames, grpc
from authz.transport.http2.frames import ConnectionFailed, ErrorCode, StreamFailed
from authz.transport.http2.grpc import CallFailed, Status
from authz.transport.http2.sending import Sender

_log = structlog.get_logger(__name__)

MAX_STREAMS = 4096
MAX_MESSAGE_BYTES = 1 << 20
MAX_KEPT_BYTES = 1 << 25
"""Of the requests of a connection that are unfinished or unanswered, all together."""


@dataclass(slots=True)
class _Call:
    """A call whose request is not complete, or whose answer is being made.

    Attributes:
        size: bytes that are kept.
    """

    method: UnaryMethod | ClientStream
    ended: bool = False
    size: int = 0
    data: bytearray | None = None
    task: asyncio.Task[None] | None = None


class Calls:
    """Keeps the calls, answers them, and writes the responses to ``out``.

    Args:
        methods: what is served.
        out: where responses go.
        flush: called when a response was written outside of reading.
    """

    def __init__(self, methods: Methods, out: Sender, flush: Callable[[], None]) -> None:
        self._methods = methods
        self._out = out
        self._flush = flush
        self._calls: dict[int, _Call] = {}
        self._kept = 0
        self.last_stream = 0

    def require_known(self, stream: int) -> None:
        """Raise ``ConnectionFailed`` for a stream that was never opened."""
        if stream == 0 or stream % 2 == 0 or stream > self.last_stream:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "frame on an idle stream")

    def headers(
        self, stream: int, path: str | None, *, ended: bool, traceparent: bytes = b""
    ) -> None:
        """A header block has come: a new call, or the trailers of one.

        Args:
            stream: its stream.
            path: as ``Blocks.path_of`` returns it.
            ended: whether nothing follows.
            traceparent: the header of this name, or empty.

        Raises:
            StreamFailed: it is malformed, out of place, or one call too many.
            ConnectionFailed: it is a request on a stream of the past.
        """
        if stream <= self.last_stream:
            self._trailers(stream, path, ended=ended)
            return
        self.last_stream = stream
        if not path:
            raise StreamFailed(stream, ErrorCode.PROTOCOL_ERROR)
        if self._out.open_streams >= MAX_STREAMS:
            raise StreamFailed(stream, ErrorCode.REFUSED_STREAM)
        self._out.open(stream)
        method = self._methods.get(path)
        if method is None:
            self._fail(stream, CallFailed(Status.UNIMPLEMENTED, "unknown method"), ended=ended)
            return
        if traceparent and isinstance(method, UnaryMethod) and method.traced is not None:
            method = UnaryMethod(method.traced(traceparent), method.immediate)
        call = self._calls[stream] = _Call(method)
        if ended:
            self._complete(stream, call, b"")

    def data(self, stream: int, data: bytes, *, ended: bool) -> None:
        """Data of a request has come; that of a call that is over is dropped.

        Raises:
            StreamFailed: the request had ended.
        """
        call = self._calls.get(stream)
        if call is None or call.ended:
            if self._out.is_open(stream):
                raise StreamFailed(stream, ErrorCode.STREAM_CLOSED)
            return
        call.size += len(data)
        self._kept += len(data)
        call.ended = ended
        if call.size > MAX_MESSAGE_BYTES + grpc.PREFIX_LENGTH:
            self._refuse(stream, CallFailed(Status.RESOURCE_EXHAUSTED, "message too large"))
        elif self._kept > MAX_KEPT_BYTES:
            self._refuse(stream, CallFailed(Status.RESOURCE_EXHAUSTED, "too much at once"))
        elif isinstance(call.method, ClientStream):
            self._receive(stream, call, call.method, data)
        elif ended:
            self._complete(stream, call, data)
        elif call.data is None:
            call.data = bytearray(data)
        else:
            call.data += data

    def end_streams(self) -> None:
        """End the calls that would go on for ever, since the server stops."""
        for stream, call in tuple(self._calls.items()):
            if isinstance(call.method, ClientStream):
                self._respond(stream, grpc.framed(call.method.answer))
                if not call.ended and not self._out.is_open(stream):
                    self._out.write(frames.reset(stream, ErrorCode.NO_ERROR))

    def give_up(self, stream: int) -> None:
        """The peer waits no longer for this call."""
        self._out.close(stream)
        call = self._pop(stream)
        if call is not None and call.task is not None:
            call.task.cancel()

    def give_all_up(self) -> None:
        """The connection is gone."""
        for stream in tuple(self._calls):
            self.give_up(stream)

    def _trailers(self, stream: int, path: str | None, *, ended: bool) -> None:
        call = self._calls.get(stream)
        if path and not self._out.is_open(stream):
            # Trailers may be late; but who uses a stream twice has lost count (RFC 9113 5.1.1).
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "stream used again")
        if call is None or call.ended:
            raise StreamFailed(stream, ErrorCode.STREAM_CLOSED)
        if path != "" or not ended:
            raise StreamFailed(stream, ErrorCode.PROTOCOL_ERROR)
        self._complete(stream, call, b"")

    def _receive(self, stream: int, call: _Call, method: ClientStream, data: bytes) -> None:
        """Hand on the messages that are whole, and make room for as much as has come."""
        kept = call.data + data if call.data else data
        try:
            messages, rest = grpc.messages_of(kept)
            for message in messages:
                method.receive(message)
        except Exception as error:
            self._refuse(stream, _told(error))
            return
        call.data = bytearray(rest)
        self._kept -= call.size - len(rest)
        call.size = len(rest)
        if call.ended:
            self._complete(stream, call, b"")
        elif data:
            self._out.write(frames.window_update(stream, len(data)))

    def _complete(self, stream: int, call: _Call, last: bytes) -> None:
        call.ended = True
        method = call.method
        if isinstance(method, ClientStream):
            if call.data:
                self._refuse(stream, CallFailed(Status.INTERNAL, "message cut"))
            else:
                self._respond(stream, grpc.framed(method.answer))
            return
        try:
            message = grpc.message_of(call.data + last if call.data else last)
        except CallFailed as error:
            self._refuse(stream, error)
            return
        if not method.immediate:
            call.data = None
            call.task = asyncio.create_task(self._run(stream, method, message))
            return
        try:
            response = grpc.framed(_run_now(method.answer(message)))
        except (Exception, asyncio.CancelledError) as error:
            self._refuse(stream, _told(error))
        else:
            self._respond(stream, response)

    async def _run(self, stream: int, method: UnaryMethod, message: bytes) -> None:
        try:
            response = grpc.framed(await method.answer(message))
        except (Exception, asyncio.CancelledError) as error:
            # A call that was given up is cancelled too; but then nobody hears this.
            if stream in self._calls:
                self._refuse(stream, _told(error))
        else:
            self._respond(stream, response)
        self._flush()

    def _respond(self, stream: int, response: bytes) -> None:
        if self._pop(stream) is not None:
            self._out.respond(stream, response)

    def _refuse(self, stream: int, error: CallFailed) -> None:
        call = self._pop(stream)
        if call is not None:
            self._fail(stream, error, ended=call.ended)

    def _fail(self, stream: int, error: CallFailed, *, ended: bool) -> None:
        self._out.close(stream)
        self._out.write(grpc.failure(stream, error))
        if not ended:
            # The rest of the request is not wanted (RFC 9113 8.1).
            self._out.write(frames.reset(stream, ErrorCode.NO_ERROR))

    def _pop(self, stream: int) -> _Call | None:
        call = self._calls.pop(stream, None)
        if call is not None:
            self._kept -= call.size
        return call


def _told(error: BaseException) -> CallFailed:
    """Return what the peer is told of an error."""
    if isinstance(error, CallFailed):
        return error
    # The type alone: a message could quote what the request brought.
    _log.error("call failed", error=type(error).__name__)
    if isinstance(error, asyncio.CancelledError):
        return CallFailed(Status.UNAVAILABLE, "cancelled")
    return CallFailed(Status.INTERNAL, "internal error")


def _run_now(awaitable: Awaitable[bytes]) -> bytes:
    """Run a coroutine that never waits, without the cost of a task."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as done:
        return cast(bytes, done.value)
    steps.close()
    raise RuntimeError("an immediate method has waited")
