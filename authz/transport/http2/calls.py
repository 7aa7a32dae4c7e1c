"""Handles the calls of one connection, from a complete request to a response."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import structlog

from authz.delayed import DelayedResponse
from authz.transport.common import (
    BidiStream,
    ClientStream,
    Conversation,
    Method,
    Methods,
    UnaryMethod,
)
from authz.transport.http2 import frames, grpc
from authz.transport.http2.frames import ConnectionFailed, ErrorCode, StreamFailed
from authz.transport.http2.grpc import CallFailed, HttpError, Status
from authz.transport.http2.running import run_now
from authz.transport.http2.sending import Sender

_log = structlog.get_logger(__name__)

MAX_STREAMS = 4096
MAX_MESSAGE_BYTES = 1 << 20
MAX_HELD_BYTES = 1 << 25
"""Limits the unfinished and unanswered requests of a connection, all together."""


@dataclass(slots=True)
class _Call:
    """A call without a response yet.

    Attributes:
        size: bytes of its request in memory.
        delayed: the response, already framed, which ``timer`` sends.
        conversation: of a ``BidiStream``.
    """

    method: Method
    ended: bool = False
    size: int = 0
    data: bytearray | None = None
    task: asyncio.Task[None] | None = None
    delayed: bytes = b""
    timer: asyncio.TimerHandle | None = None
    conversation: Conversation | None = None


class Calls:
    """Answers the calls and writes the responses to ``out``.

    Args:
        methods: the methods to serve.
        out: sends the responses.
        flush: called after a response that no incoming data caused.
    """

    def __init__(self, methods: Methods, out: Sender, flush: Callable[[], None]) -> None:
        self._methods = methods
        self._out = out
        self._flush = flush
        self._calls: dict[int, _Call] = {}
        self._held = 0
        self._is_ending = False
        self.last_stream = 0

    def require_known(self, stream: int) -> None:
        """Raise ``ConnectionFailed`` for a stream that was never opened."""
        if stream == 0 or stream % 2 == 0 or stream > self.last_stream:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "frame on an idle stream")

    def is_conversation(self, stream: int) -> bool:
        """Return whether a call is of a ``BidiStream``, which Envoy resets with its request."""
        call = self._calls.get(stream)
        return call is not None and call.conversation is not None

    def headers(
        self,
        stream: int,
        path: str | HttpError | None,
        *,
        ended: bool,
        traceparent: bytes = b"",
        route: bytes = b"",
    ) -> None:
        """Handle a header block: a new call, or the trailers of one.

        Args:
            stream: of the block.
            path: the result of ``Blocks.path_of``.
            ended: whether the request ends here.
            traceparent: the header of this name, or empty.
            route: the header ``ROUTE_HEADER``, or empty.

        Raises:
            StreamFailed: the block is malformed or out of order, or there are too many calls.
            ConnectionFailed: a request uses an old stream.
        """
        if stream <= self.last_stream:
            self._trailers(stream, path, ended=ended)
            return
        self.last_stream = stream
        if not path:
            raise StreamFailed(stream, ErrorCode.PROTOCOL_ERROR, "malformed request")
        if isinstance(path, HttpError):
            self._fail(stream, path, ended=ended)
            return
        if self._out.open_streams >= MAX_STREAMS:
            raise StreamFailed(stream, ErrorCode.REFUSED_STREAM, "too many calls at once")
        self._out.open(stream)
        method = self._methods.get(path)
        if method is None:
            self._fail(stream, CallFailed(Status.UNIMPLEMENTED, "unknown method"), ended=ended)
            return
        if traceparent and isinstance(method, UnaryMethod) and method.traced is not None:
            method = UnaryMethod(method.traced(traceparent), method.immediate)
        call = self._calls[stream] = _Call(method)
        if isinstance(method, BidiStream):
            self._out.begin(stream)
            send = partial(self._send_later, stream)
            call.conversation = method.open(route.decode("ascii", "replace"), send)
        if ended:
            self._complete(stream, call, b"")

    def data(self, stream: int, data: bytes, *, ended: bool) -> None:
        """Handle data of a request; drop it if the call is over.

        Raises:
            StreamFailed: the request had already ended.
        """
        call = self._calls.get(stream)
        if call is None or call.ended:
            if self._out.is_open(stream):
                raise StreamFailed(stream, ErrorCode.STREAM_CLOSED, "data after the end")
            return
        call.size += len(data)
        self._held += len(data)
        call.ended = ended
        if call.size > MAX_MESSAGE_BYTES + grpc.PREFIX_LENGTH:
            self._refuse(stream, CallFailed(Status.RESOURCE_EXHAUSTED, "message too large"))
        elif self._held > MAX_HELD_BYTES:
            self._refuse(stream, CallFailed(Status.RESOURCE_EXHAUSTED, "too much at once"))
        elif not isinstance(call.method, UnaryMethod):
            self._receive(stream, call, data)
        elif ended:
            self._complete(stream, call, data)
        elif call.data is None:
            call.data = bytearray(data)
        else:
            call.data += data

    def whole(self, stream: int, path: str, message: bytes) -> bool:
        """Answer a call whose whole request has arrived, in one step and without a ``_Call``.

        Args:
            stream: greater than ``last_stream``.
            path: as of ``headers``, of a block without a ``traceparent``.
            message: the one message of the request.

        Returns:
            False if the call is not of the usual kind. Nothing has happened then, and ``headers``
            and ``data`` are to be called.
        """
        method = self._methods.get(path)
        if (
            not isinstance(method, UnaryMethod)
            or not method.immediate
            or self._out.open_streams >= MAX_STREAMS
            or self._held + len(message) > MAX_HELD_BYTES
        ):
            return False
        self.last_stream = stream
        try:
            response = method.handler(message)
        except (Exception, asyncio.CancelledError) as error:
            self._out.fail(stream, _call_failure(error))
            return True
        # Not a DelayedResponse, which is a subclass.
        if type(response) is bytes and self._out.respond_at_once(stream, response):
            return True
        self._out.open(stream)
        call = self._calls[stream] = _Call(method, ended=True, size=len(message))
        self._held += len(message)
        self._finish(stream, call, response)
        return True

    def end_streams(self) -> None:
        """End the calls that never end on their own or are delayed, since the server stops."""
        self._is_ending = True
        for stream, call in tuple(self._calls.items()):
            if isinstance(call.method, BidiStream):
                self._refuse(stream, CallFailed(Status.UNAVAILABLE, "the server stops"))
            elif isinstance(call.method, ClientStream):
                self._respond(stream, grpc.framed(call.method.response))
                if not call.ended and not self._out.is_open(stream):
                    self._out.write(frames.reset(stream, ErrorCode.NO_ERROR))
            elif call.timer is not None:
                call.timer.cancel()
                self._respond(stream, call.delayed)

    def drop(self, stream: int) -> None:
        """Drop a call whose response the peer no longer wants."""
        self._out.close(stream)
        call = self._pop(stream)
        if call is None:
            return
        if call.task is not None:
            call.task.cancel()
        if call.timer is not None:
            call.timer.cancel()

    def drop_all(self) -> None:
        """Drop all calls, since the connection is closed."""
        for stream in tuple(self._calls):
            self.drop(stream)

    def _trailers(self, stream: int, path: str | HttpError | None, *, ended: bool) -> None:
        call = self._calls.get(stream)
        if path and not self._out.is_open(stream):
            # Late trailers are legal, but a second request on a stream is not (RFC 9113 5.1.1).
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "stream used again")
        if call is None or call.ended:
            raise StreamFailed(stream, ErrorCode.STREAM_CLOSED, "headers after the end")
        if path != "" or not ended:
            raise StreamFailed(stream, ErrorCode.PROTOCOL_ERROR, "malformed trailers")
        self._complete(stream, call, b"")

    def _receive(self, stream: int, call: _Call, data: bytes) -> None:
        """Pass on the complete messages, and open the window again by the size of the data."""
        received = call.data + data if call.data else data
        try:
            messages, rest = grpc.messages_of(received)
            for message in messages:
                if isinstance(call.method, ClientStream):
                    call.method.receive(message)
                elif (
                    call.conversation is not None
                    and (answer := call.conversation.receive(message)) is not None
                ):
                    self._send(stream, answer)
        except Exception as error:
            self._refuse(stream, _call_failure(error))
            return
        if stream not in self._calls:
            return
        call.data = bytearray(rest)
        self._held -= call.size - len(rest)
        call.size = len(rest)
        if call.ended:
            self._complete(stream, call, b"")
        elif data:
            self._out.write(frames.window_update(stream, len(data)))

    def _complete(self, stream: int, call: _Call, last: bytes) -> None:
        call.ended = True
        method = call.method
        if not isinstance(method, UnaryMethod):
            if call.data:
                self._refuse(stream, CallFailed(Status.INTERNAL, "message cut"))
            elif isinstance(method, ClientStream):
                self._respond(stream, grpc.framed(method.response))
            elif self._pop(stream) is not None:
                self._out.end(stream)
            return
        try:
            message = grpc.message_of(call.data + last if call.data else last)
        except CallFailed as error:
            self._refuse(stream, error)
            return
        if not method.immediate:
            call.data = None
            call.task = asyncio.create_task(self._run(stream, partial(method.handler, message)))
            return
        try:
            response = method.handler(message)
        except (Exception, asyncio.CancelledError) as error:
            self._refuse(stream, _call_failure(error))
            return
        self._finish(stream, call, response)

    def _finish(self, stream: int, call: _Call, response: bytes | Awaitable[bytes]) -> None:
        """Send the response of an immediate method, or go on in a task if it has to wait."""
        try:
            if not isinstance(response, bytes):
                response = run_now(response)
                if not isinstance(response, bytes):
                    rest, call.data = response, None
                    call.task = asyncio.create_task(self._run(stream, lambda: rest))
                    return
            framed = grpc.framed(response)
        except (Exception, asyncio.CancelledError) as error:
            self._refuse(stream, _call_failure(error))
            return
        if isinstance(response, DelayedResponse):
            self._respond_later(stream, framed, response.seconds)
        else:
            self._respond(stream, framed)

    async def _run(self, stream: int, handle: Callable[[], bytes | Awaitable[bytes]]) -> None:
        try:
            response = handle()
            if not isinstance(response, bytes):
                response = await response
            framed = grpc.framed(response)
        except (Exception, asyncio.CancelledError) as error:
            # A dropped call is cancelled, too, and gets no response.
            if stream in self._calls:
                self._refuse(stream, _call_failure(error))
        else:
            if isinstance(response, DelayedResponse):
                self._respond_later(stream, framed, response.seconds)
                return
            self._respond(stream, framed)
        self._flush()

    def _send(self, stream: int, message: bytes) -> None:
        if stream in self._calls and not self._out.send(stream, grpc.framed(message)):
            self._refuse(stream, CallFailed(Status.RESOURCE_EXHAUSTED, "the window is full"))

    def _send_later(self, stream: int, message: bytes) -> None:
        """Send a message that no incoming data caused."""
        self._send(stream, message)
        self._flush()

    def _respond(self, stream: int, response: bytes) -> None:
        if self._pop(stream) is not None:
            self._out.respond(stream, response)

    def _respond_later(self, stream: int, response: bytes, seconds: float) -> None:
        call = self._calls.get(stream)
        if call is None:
            return
        if self._is_ending:
            self._respond_delayed(stream, response)
            return
        # Its request is read, so it does not count as one that is held.
        self._held -= call.size
        call.size, call.data, call.task = 0, None, None
        call.delayed = response
        loop = asyncio.get_running_loop()
        call.timer = loop.call_later(seconds, self._respond_delayed, stream, response)

    def _respond_delayed(self, stream: int, response: bytes) -> None:
        self._respond(stream, response)
        self._flush()

    def _refuse(self, stream: int, error: CallFailed) -> None:
        call = self._pop(stream)
        if call is not None:
            if isinstance(call.method, BidiStream):
                self._out.end(stream, error)
            else:
                self._out.fail(stream, error)
            self._stop_request(stream, ended=call.ended)

    def _fail(self, stream: int, error: CallFailed | HttpError, *, ended: bool) -> None:
        self._out.fail(stream, error)
        self._stop_request(stream, ended=ended)

    def _stop_request(self, stream: int, *, ended: bool) -> None:
        if not ended:
            # This stops the rest of the request (RFC 9113 8.1).
            self._out.write(frames.reset(stream, ErrorCode.NO_ERROR))

    def _pop(self, stream: int) -> _Call | None:
        call = self._calls.pop(stream, None)
        if call is not None:
            self._held -= call.size
            if call.conversation is not None:
                call.conversation.ended()
        return call


def _call_failure(error: BaseException) -> CallFailed:
    """Return the failure that the peer gets for an error."""
    if isinstance(error, CallFailed):
        return error
    # We log the type alone, since a message could quote the request.
    _log.error("call failed", error=type(error).__name__)
    if isinstance(error, asyncio.CancelledError):
        return CallFailed(Status.UNAVAILABLE, "cancelled")
    return CallFailed(Status.INTERNAL, "internal error")
