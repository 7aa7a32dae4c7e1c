"""A call in one step: the same answers as when its frames come one by one."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.delayed import DelayedResponse
from authz.transport.common import Methods, UnaryMethod
from authz.transport.http2 import frames
from authz.transport.http2.calls import Calls
from authz.transport.http2.grpc import CallFailed, Status
from tests.unit.transport.http2.wire import (
    BIG_ANSWER,
    BLOCK,
    ECHO,
    OPENING,
    Frame,
    Wire,
    call,
    data,
    headers,
    message,
    plain_block,
    request_fields,
    settle,
)

NOW, LATER, FAILS, REFUSES, BIG, DELAYED = (
    f"/test.Test/{name}" for name in ("Now", "Later", "Fails", "Refuses", "Big", "Delayed")
)
PATHS = (NOW, LATER, FAILS, REFUSES, BIG, DELAYED, "/test.Test/Unknown")
BLOCKS = {path: plain_block(request_fields(path)) for path in PATHS}


async def _later(text: bytes) -> bytes:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return text


def _fails(_: bytes) -> bytes:
    raise ValueError("sk-secret")


def _refuses(_: bytes) -> bytes:
    raise CallFailed(Status.NOT_FOUND, "nothing here")


def _methods() -> Methods:
    handlers: dict[str, Callable[[bytes], object]] = {
        NOW: bytes,
        LATER: _later,
        FAILS: _fails,
        REFUSES: _refuses,
        BIG: lambda _: BIG_ANSWER,
        DELAYED: lambda text: DelayedResponse(text, 3000),
    }
    return {path: UnaryMethod(handler, True) for path, handler in handlers.items()}  # type: ignore[arg-type]


async def _answers(opening: bytes, parts: list[bytes], *, apart: bool) -> list[Frame]:
    """Return what comes out if the frames of a part come in one read, or each in its own."""
    wire = Wire(opening=opening, methods=_methods())
    # Now every header block is known.
    for number, path in enumerate(PATHS):
        wire.send(headers(2 * number + 1, BLOCKS[path]))
        wire.send(frames.reset(2 * number + 1, frames.ErrorCode.CANCEL))
    await settle()
    wire.take()
    found = []
    for part in parts:
        while part and apart and not wire.transport.is_closing():
            end = frames.HEADER_LENGTH + frames.unpack_header(part, 0)[0]
            wire.send(part[:end])
            part = part[end:]
        if not wire.transport.is_closing():
            wire.send(part)
        # A task answers after the calls of its read.
        await settle()
        found += sorted(wire.take(), key=lambda frame: frame.stream)
    wire.connection.connection_lost(None)
    return found


STREAMS = st.integers(8, 16).map(lambda number: 2 * number + 1)
CALLS = st.builds(
    lambda stream, path, payload, head_flags, flags, other: (
        headers(stream, BLOCKS[path], frames.END_HEADERS | head_flags)
        + data(stream + other, payload, flags)
    ),
    STREAMS,
    st.sampled_from(PATHS),
    st.sampled_from(
        [
            message(b"hello"),
            message(b""),
            message(b"x" * 16_000),
            message(b"cut")[:-1],
            message(b"more") + b"!",
            b"\x01" + message(b"compressed")[1:],
            b"\0\0",
            b"",
        ]
    ),
    st.sampled_from([0, 0, 0, frames.END_STREAM]),
    st.sampled_from([frames.END_STREAM] * 4 + [0, frames.END_STREAM | frames.PADDED]),
    st.sampled_from([0, 0, 0, 0, 2, 1]),
)
OPENINGS = (
    OPENING,
    frames.PREFACE + frames.settings({frames.SETTINGS_INITIAL_WINDOW_SIZE: 3}),
    frames.PREFACE + frames.settings({frames.SETTINGS_HEADER_TABLE_SIZE: 0}),
)


@given(st.sampled_from(OPENINGS), st.lists(st.lists(CALLS, min_size=1, max_size=3), max_size=3))
def test_the_same_answers_as_frame_by_frame(opening: bytes, reads: list[list[bytes]]) -> None:
    """Any calls get the same frames in one read as frame by frame."""
    parts = [b"".join(read) for read in reads]

    async def both() -> tuple[list[Frame], list[Frame]]:
        together = await _answers(opening, parts, apart=False)
        return together, await _answers(opening, parts, apart=True)

    together, apart = asyncio.run(both())
    assert together == apart


def _call(stream: int, payload: bytes = message(b"hello"), **changes: int) -> bytes:
    head = headers(stream, BLOCKS[NOW], changes.get("head", frames.END_HEADERS))
    return head + data(changes.get("other", stream), payload, changes.get("flags", 1))


@pytest.mark.parametrize(
    "unusual",
    [
        _call(19, b"\x01" + message(b"compressed")[1:]),
        _call(19, message(b"short")[:-1]),
        _call(19, message(b"long") + b"!"),
        _call(19, other=17),
        _call(19, other=21),
        _call(17),
        _call(15),
        _call(20),
        _call(19, flags=0) + data(19, b""),
        _call(19, flags=frames.END_STREAM | frames.PADDED),
        _call(19, head=frames.END_HEADERS | frames.END_STREAM),
        _call(19, head=0),
        headers(19, BLOCKS[NOW]) + frames.frame(frames.PING, 0, 0, bytes(8)) + data(19, b""),
        headers(19, BLOCKS[NOW]) + headers(19, plain_block([("x", "y")]), 5),
        headers(19, BLOCKS[NOW]) + frames.frame(frames.PING, 1, 19, message(b"hello")),
    ],
    ids=map(str, range(15)),
)
async def test_an_unusual_call_takes_the_long_way(unusual: bytes) -> None:
    """A call that is unusual in any way gets the same answer as frame by frame."""
    parts = [_call(17) + unusual + _call(23)]
    together = await _answers(OPENING, parts, apart=False)
    assert together == await _answers(OPENING, parts, apart=True)


async def test_the_short_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call with a known header block, in one read, needs no state of its own."""
    wire = Wire(methods={ECHO: UnaryMethod(bytes, immediate=True)})
    wire.send(call(1))
    wire.take()
    monkeypatch.setattr(Calls, "headers", lambda *_, **__: pytest.fail("the long way"))
    wire.send(call(3, b"one") + call(5, b"two"))
    bodies = [frame.payload for frame in wire.take() if frame.kind == frames.DATA]
    assert bodies == [message(b"one"), message(b"two")]


async def test_a_call_that_waits_is_dropped_with_its_stream() -> None:
    """A reset in the same read cancels the call, and nothing is answered."""
    wire = Wire(methods=_methods())
    wire.send(call(1, path=LATER))
    await settle()
    wire.take()
    wire.send(call(3, path=LATER) + frames.reset(3, frames.ErrorCode.CANCEL))
    await settle()
    assert wire.take() == []
    wire.send(headers(5, BLOCK))
    assert not wire.transport.is_closing()


async def test_windows_and_room_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection's window opens again, and calls that wait count as held."""
    wire = Wire(methods=_methods())
    wire.send(call(1, path=NOW))
    wire.take()
    text = b"x" * 16_000
    sent, stream = 0, 3
    updates: list[Frame] = []
    while not updates:
        wire.send(call(stream, text, path=NOW))
        sent += len(message(text))
        stream += 2
        wire.send(frames.window_update(0, len(message(text))))
        updates = [frame for frame in wire.take() if frame.kind == frames.WINDOW_UPDATE]
    (update,) = updates
    assert int.from_bytes(update.payload, "big") == sent + len(message(b"hello"))
    monkeypatch.setattr("authz.transport.http2.calls.MAX_HELD_BYTES", 40_000)
    wire.send(b"".join(call(stream + 2 * number, text, path=LATER) for number in range(3)))
    await settle()
    ended = [frame for frame in wire.take() if frame.flags & frames.END_STREAM]
    assert [b"grpc-status\x018" in frame.payload for frame in ended].count(True) == 1
