"""authz.transport.http2.calls: from requests to responses."""

import asyncio
import gc
import logging
import weakref

import pytest
import structlog

from authz.transport.common import UnaryMethod
from authz.transport.http2 import frames
from authz.transport.http2.calls import MAX_MESSAGE_BYTES
from authz.transport.http2.frames import ErrorCode
from authz.transport.http2.grpc import CallFailed, Status
from tests.unit.transport.http2.wire import (
    BROKEN,
    ECHO,
    SLOW,
    Response,
    Wire,
    call,
    data,
    headers,
    message,
    plain_block,
    request_fields,
    responses,
    settle,
)


def _send_body(wire: Wire, stream: int, body: bytes, size: int = 16_384) -> Response:
    for start in range(0, len(body), size):
        flags = frames.END_STREAM if start + size >= len(body) else 0
        wire.send(data(stream, body[start : start + size], flags))
    return responses(bytes(wire.transport.written)).get(stream, Response())


async def test_the_largest_message() -> None:
    """A message of exactly the limit is answered."""
    wire = Wire().send(frames.settings({4: 1 << 22}), frames.window_update(0, 1 << 22))
    wire.take()
    text = bytes(MAX_MESSAGE_BYTES)
    answer = _send_body(wire.send(headers(1)), 1, message(text))
    assert answer.body == message(text)
    assert answer.status == "0"


@pytest.mark.parametrize("extra", [1, 200_000])
async def test_a_message_too_large(extra: int) -> None:
    """A message above the limit is RESOURCE_EXHAUSTED, and its rest is dropped without harm."""
    wire = Wire()
    answer = _send_body(wire.send(headers(1)), 1, message(bytes(MAX_MESSAGE_BYTES + extra)))
    assert (answer.status, answer.body) == ("8", b"")
    # With more to come, the peer is told that it is not wanted (RFC 9113 8.1).
    assert answer.reset == (None if extra == 1 else ErrorCode.NO_ERROR)
    assert wire.handlers.asked == []
    assert responses(bytes(wire.send(call(3)).transport.written))[3].status == "0"


@pytest.mark.parametrize("path", [ECHO, SLOW], ids=["immediate", "task"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", "13"),
        (b"\0\0\0\0", "13"),
        (message(b"ab") + b"c", "13"),
        (message(b"ab")[:-1], "13"),
        (message(b"ab") * 2, "13"),
        (b"\x01" + message(b"ab")[1:], "12"),
    ],
    ids=["none", "cut prefix", "too long", "cut", "two", "compressed"],
)
async def test_not_exactly_one_message(path: str, body: bytes, status: str) -> None:
    """A call without exactly one message fails, and its method is not asked."""
    block = plain_block(request_fields(path))
    wire = Wire().send(headers(1, block), data(1, body))
    await settle()
    answer = responses(bytes(wire.transport.written))[1]
    assert (answer.status, answer.body, answer.ended) == (status, b"", True)
    assert answer.fields["grpc-accept-encoding"] == "identity"
    assert wire.handlers.asked == []


async def test_a_request_without_data() -> None:
    """Headers that end the stream are a call without a message."""
    wire = Wire().send(headers(1, flags=frames.END_HEADERS | frames.END_STREAM))
    assert responses(bytes(wire.transport.written))[1].status == "13"


@pytest.mark.parametrize("ended", [True, False])
async def test_an_unknown_method(ended: bool) -> None:
    """An unknown method is UNIMPLEMENTED at once, without waiting for the request's end."""
    block = plain_block(request_fields("/test.Test/Unknown"))
    flags = frames.END_HEADERS | (frames.END_STREAM if ended else 0)
    wire = Wire().send(headers(1, block, flags))
    answer = responses(bytes(wire.transport.written))[1]
    assert (answer.status, answer.ended) == ("12", True)
    assert answer.reset == (None if ended else ErrorCode.NO_ERROR)


@pytest.mark.parametrize(("path", "text"), [(BROKEN, b"x"), (SLOW, b"fail")])
async def test_an_exception_is_no_answer(
    path: str, text: bytes, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A method that raises fails its call with INTERNAL, and nothing is told of the exception."""
    caplog.set_level(logging.DEBUG)
    wire = Wire().send(call(1, text, path))
    wire.handlers.release.set()
    await settle()
    answer = responses(bytes(wire.transport.written))[1]
    assert (answer.status, answer.body, answer.ended) == ("13", b"", True)
    everything = (
        bytes(wire.transport.written).decode("latin-1") + caplog.text + "".join(capsys.readouterr())
    )
    assert "ValueError" in everything, "the type is logged"
    assert "sk-secret" not in everything


async def _cancelled(_message: bytes) -> bytes:
    raise asyncio.CancelledError


async def _nothing(_message: bytes) -> bytes:
    return None  # type: ignore[return-value]


async def _waits(_message: bytes) -> bytes:
    await asyncio.get_running_loop().create_future()
    return b"late"


async def _moves_to_a_task(_message: bytes) -> bytes:
    await asyncio.sleep(0)
    # Only a task may use this.
    async with asyncio.timeout(60):
        await asyncio.sleep(0)
    return b"late"


async def _refuses(_message: bytes) -> bytes:
    raise CallFailed(Status.NOT_FOUND, "nothing like it")


@pytest.mark.parametrize(
    ("method", "status"),
    [
        (UnaryMethod(_cancelled), "14"),
        (UnaryMethod(_cancelled, immediate=True), "14"),
        (UnaryMethod(_nothing), "13"),
        (UnaryMethod(_nothing, immediate=True), "13"),
        (UnaryMethod(_waits, immediate=True), "13"),
        (UnaryMethod(_refuses), "5"),
        (UnaryMethod(_refuses, immediate=True), "5"),
    ],
    ids=[
        "cancelled",
        "cancelled now",
        "no bytes",
        "no bytes now",
        "waits",
        "refuses",
        "refuses now",
    ],
)
async def test_odd_methods(method: UnaryMethod, status: str) -> None:
    """A method that gives no proper answer ends its call with an error and leaves nothing."""
    wire = Wire(methods={ECHO: method}).send(call(1))
    await settle()
    answer = responses(bytes(wire.transport.written))[1]
    assert (answer.status, answer.body, answer.ended) == (status, b"", True)
    assert wire.connection._out.open_streams == 0
    assert wire.connection._calls._calls == {}
    assert wire.connection._calls._held == 0


async def test_a_reset_cancels() -> None:
    """A call that the peer gives up is cancelled and never answered; the others are."""
    wire = Wire().send(call(1, b"one", SLOW), call(3, b"three", SLOW))
    await settle()
    wire.send(frames.reset(1, ErrorCode.CANCEL))
    await settle()
    assert (wire.handlers.running, wire.handlers.cancelled) == (1, 1)
    wire.handlers.release.set()
    await settle()
    answers = responses(bytes(wire.transport.written))
    assert list(answers) == [3]
    assert answers[3].body == message(b"three")


async def test_a_reset_before_the_task_runs() -> None:
    """A call that is given up in the same read never reaches its method, and nothing is logged."""
    with structlog.testing.capture_logs() as logs:
        wire = Wire().send(call(1, path=SLOW) + frames.reset(1, ErrorCode.CANCEL))
        await settle()
    assert wire.handlers.asked == []
    assert wire.take() == []
    assert logs == []


async def test_a_method_that_does_not_stop() -> None:
    """The answer of a method that ignores its cancellation is dropped."""

    async def stubborn(text: bytes) -> bytes:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return text

    wire = Wire(methods={ECHO: UnaryMethod(stubborn)}).send(call(1))
    await settle()
    wire.send(frames.reset(1, ErrorCode.CANCEL))
    await settle()
    assert wire.take() == []


async def test_a_reset_drops_what_is_held() -> None:
    """An answer that waits for a window is forgotten with its call."""
    wire = Wire().send(frames.settings({4: 0}), call(1))
    assert wire.connection._out.held > 0
    wire.send(frames.reset(1, ErrorCode.CANCEL))
    assert wire.connection._out.held == 0
    wire.take()
    assert wire.send(frames.window_update(1, 100), frames.settings({4: 100})).take()[1:] == []


async def test_answers_out_of_order() -> None:
    """Calls are answered as their methods are done, each with its own message."""
    gates = {b"%d" % n: asyncio.Event() for n in range(20)}

    async def gated(text: bytes) -> bytes:
        await gates[text].wait()
        return text

    wire = Wire(methods={ECHO: UnaryMethod(gated)})
    wire.send(*(call(2 * n + 1, b"%d" % n) for n in range(20)))
    await settle()
    for text in reversed(gates):
        gates[text].set()
        await settle()
        stream = 2 * int(text) + 1
        answers = responses(bytes(wire.transport.written))
        assert list(answers)[-1] == stream
        assert answers[stream].body == message(text)


async def test_nothing_is_left_behind() -> None:
    """No connection stays in memory after its end, in whatever way it and its calls end."""
    kept = []
    for end in range(4):
        wire = Wire().send(call(1), call(3, path=SLOW), headers(5), call(7, path=BROKEN))
        await settle()
        if end == 1:
            wire.send(frames.reset(3, ErrorCode.CANCEL))
        elif end == 2:
            wire.connection.close()
        elif end == 3:
            wire.send(b"\xff" * 30)
        wire.connection.connection_lost(None)
        await settle()
        kept.append(weakref.ref(wire.connection))
        assert wire.handlers.running == 0
        del wire
    gc.collect()
    assert [one() for one in kept] == [None] * 4


async def test_kept_bytes_are_counted_back() -> None:
    """No bytes of a request are counted as held after its end, in whatever way it ends."""
    wire = Wire()
    wire.send(headers(1), data(1, b"abc", 0), frames.reset(1, ErrorCode.CANCEL))
    wire.send(headers(3), data(3, b"\0\0\0", 0), data(3, b"\0\x01a"))
    wire.send(headers(5), data(5, b"abc", 0), headers(5, b"", 5))
    wire.send(call(7, path=SLOW))
    assert wire.connection._calls._held == len(message(b"hello"))
    wire.handlers.release.set()
    await settle()
    assert wire.connection._calls._held == 0
    statuses = {n: answer.status for n, answer in responses(bytes(wire.transport.written)).items()}
    assert statuses == {3: "0", 5: "13", 7: "0"}


async def test_an_immediate_method_goes_on_in_a_task() -> None:
    """A method that yields once before it waits answers later, and others meanwhile."""
    methods = {ECHO: UnaryMethod(_moves_to_a_task, immediate=True)}
    wire = Wire(methods=methods).send(call(1))
    assert responses(bytes(wire.transport.written)) == {}
    await settle()
    answer = responses(bytes(wire.transport.written))[1]
    assert (answer.status, answer.body[-4:], answer.ended) == ("0", b"late", True)
