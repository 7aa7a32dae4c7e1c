"""The calls of one connection: from a complete request to a response."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import structlog

from authz.http2 import frames, grpc
from authz.http2.frames import ConnectionFailed, ErrorCode
from authz.http2.grpc import CallFailed, Status
from authz.http2.sending import Sender

_log = structlog.get_logger(__name__)

MAX_STREAMS = 4096
MAX_MESSAGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Method:
    """What answers the calls of one method.

    Attributes:
        answer: a request message in, a response message out.
        immediate: whether ``answer`` never waits; such a call needs no task.
    """

    answer: Callable[[bytes], Awaitable[bytes]]
    immediate: bool = False


@dataclass(slots=True)
class _Call:
    """A call whose request is not complete, or whose answer is being made."""

    path: str
    data: bytearray = field(default_factory=bytearray)
    task: asyncio.Task[None] | None = None


class Calls:
    """Keeps the calls, answers them, and writes the responses to ``out``.

    Args:
        methods: by path, ``/package.Service/Method``.
        out: where responses go.
        flush: called when a response was written outside of reading.
    """

    def __init__(
        self, methods: Mapping[str, Method], out: Sender, flush: Callable[[], None]
    ) -> None:
        self._methods = methods
        self._out = out
        self._flush = flush
        self._calls: dict[int, _Call] = {}
        self.last_stream = 0

    def __len__(self) -> int:
        return len(self._calls)

    def require_known(self, stream: int) -> None:
        """Raise ``ConnectionFailed`` for a stream that was never opened."""
        if stream == 0 or stream % 2 == 0 or stream > self.last_stream:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "frame on an idle stream")

    def headers(self, stream: int, path: str, *, ended: bool) -> None:
        """A header block has come: a new call, or the trailers of one."""
        call = self._calls.get(stream)
        if call is not None:
            if not ended or call.task is not None:
                raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a second header block")
            self._complete(stream, call)
            return
        if stream <= self.last_stream:
            self._out.write(frames.reset(stream, ErrorCode.STREAM_CLOSED))
            return
        self.last_stream = stream
        if len(self._calls) >= MAX_STREAMS:
            self._out.write(frames.reset(stream, ErrorCode.REFUSED_STREAM))
            return
        call = self._calls[stream] = _Call(path)
        self._out.open(stream)
        if ended:
            self._complete(stream, call)

    def data(self, stream: int, data: bytes, *, ended: bool) -> None:
        """Data of a request has come; that of a call given up is dropped."""
        call = self._calls.get(stream)
        if call is None:
            return
        if call.task is not None:
            raise ConnectionFailed(ErrorCode.STREAM_CLOSED, "data after the end")
        call.data += data
        if len(call.data) > MAX_MESSAGE_BYTES:
            self._refuse(stream, CallFailed(Status.RESOURCE_EXHAUSTED, "message too large"))
        elif ended:
            self._complete(stream, call)

    def give_up(self, stream: int) -> None:
        """The peer waits no longer for this call."""
        self._out.close(stream)
        call = self._calls.pop(stream, None)
        if call is not None and call.task is not None:
            call.task.cancel()

    def give_all_up(self) -> None:
        """The connection is gone."""
        for stream in tuple(self._calls):
            self.give_up(stream)

    def _complete(self, stream: int, call: _Call) -> None:
        try:
            message = grpc.message_of(call.data)
            method = self._methods.get(call.path)
            if method is None:
                raise CallFailed(Status.UNIMPLEMENTED, "unknown method")
        except CallFailed as error:
            self._refuse(stream, error)
            return
        if not method.immediate:
            call.task = asyncio.create_task(self._run(stream, method, message))
            return
        try:
            response = _run_now(method.answer(message))
        except Exception as error:
            self._failed(stream, error)
        else:
            self._respond(stream, response)

    async def _run(self, stream: int, method: Method, message: bytes) -> None:
        try:
            response = await method.answer(message)
        except Exception as error:
            self._failed(stream, error)
        else:
            self._respond(stream, response)
        self._flush()

    def _respond(self, stream: int, message: bytes) -> None:
        if self._calls.pop(stream, None) is not None:
            self._out.respond(stream, grpc.framed(message))

    def _failed(self, stream: int, error: Exception) -> None:
        # The type alone: a message could quote what the request brought.
        _log.error("call failed", error=type(error).__name__)
        self._refuse(stream, CallFailed(Status.INTERNAL, "internal error"))

    def _refuse(self, stream: int, error: CallFailed) -> None:
        if self._calls.pop(stream, None) is not None:
            self._out.close(stream)
            self._out.write(grpc.failure(stream, error))


def _run_now(awaitable: Awaitable[bytes]) -> bytes:
    """Run a coroutine that never waits, without the cost of a task."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as done:
        return cast(bytes, done.value)
    raise RuntimeError("an immediate method has waited")
