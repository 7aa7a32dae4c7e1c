"""authz.transport.http2.connection: a peer can use only limited resources."""

import time
import tracemalloc

import pytest

from authz.transport.http2 import connection as module
from authz.transport.http2 import frames
from authz.transport.http2.calls import MAX_STREAMS
from authz.transport.http2.frames import ErrorCode
from tests.unit.transport.http2.wire import (
    BIG,
    BIG_ANSWER,
    DELAYED,
    SLOW,
    Wire,
    call,
    data,
    headers,
    message,
    plain_block,
    request_fields,
    responses,
    settle,
    zeros,
)

CANCEL = frames.reset(1, ErrorCode.CANCEL)
SLOW_BLOCK = plain_block(request_fields(SLOW))


async def test_too_many_calls() -> None:
    """Calls above the limit are refused one by one; an answered call makes room."""
    wire = Wire()
    last = MAX_STREAMS * 2 + 1
    wire.send(*(headers(stream, SLOW_BLOCK) for stream in range(1, last + 2, 2)))
    assert wire.resets() == {last: ErrorCode.REFUSED_STREAM}
    wire.send(CANCEL, headers(last + 2))
    assert wire.resets() == {}


async def test_delayed_answers_hold_no_request() -> None:
    """A delayed answer counts as a call, but its request no longer counts as held memory."""
    wire = Wire()
    streams = range(1, 41, 2)
    for stream in streams:
        wire.send(call(stream, bytes(9_000), DELAYED))
    await settle()
    assert (wire.take(), wire.connection._calls._held) == ([], 0)
    assert wire.connection._out.open_streams == len(streams)
    wire.send(*(frames.reset(stream, ErrorCode.CANCEL) for stream in streams))
    assert wire.connection._out.open_streams == 0


async def test_answers_that_wait_for_a_window_count_as_calls() -> None:
    """With a window of 0 a peer can't make us hold more answers than it may have calls."""
    wire = Wire().send(frames.settings({frames.SETTINGS_INITIAL_WINDOW_SIZE: 0}))
    wire.send(*(call(stream) for stream in range(1, MAX_STREAMS * 2 + 20, 2)))
    assert list(wire.resets().values()) == [ErrorCode.REFUSED_STREAM] * 10
    assert len(wire.handlers.asked) == MAX_STREAMS


@pytest.mark.parametrize(
    "flood",
    [
        frames.frame(frames.PING, 0, 0, bytes(8)) * 100,
        headers(1, plain_block(request_fields(__path=None))) * 100,
    ],
    ids=["PING", "malformed"],
)
async def test_a_peer_that_never_reads(monkeypatch: pytest.MonkeyPatch, flood: bytes) -> None:
    """A peer that never reads is cut before many unread answers pile up."""
    monkeypatch.setattr(module, "MAX_UNSENT_BYTES", 1 << 17)
    wire = Wire(reads=False)
    for _ in range(1000):
        wire.send(flood)
        if wire.transport.is_closing():
            break
    assert wire.transport.is_aborted
    assert wire.transport.unread < module.MAX_UNSENT_BYTES + 2000


async def test_large_answers_that_nobody_takes() -> None:
    """Answers held for want of a window count as unsent."""
    wire = Wire()
    for stream in range(1, 1001, 2):
        wire.send(call(stream, path=BIG))
        if wire.transport.is_closing():
            break
    assert wire.transport.is_aborted
    assert stream * len(BIG_ANSWER) / 2 < module.MAX_UNSENT_BYTES + 2 * len(BIG_ANSWER)


async def test_memory_of_requests_that_never_end() -> None:
    """As many calls as a peer may begin, each with as much as it may send: a bounded sum."""
    wire = Wire()
    part = b"\0" + (1 << 20).to_bytes(4, "big") + bytes(16_000)
    tracemalloc.start()
    try:
        for stream in range(1, MAX_STREAMS * 2, 2):
            wire.send(headers(stream, SLOW_BLOCK), data(stream, part, 0))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not wire.transport.is_closing()
    assert used < 48 << 20
    refused = responses(bytes(wire.transport.written))
    assert {answer.status for answer in refused.values()} == {"8"}
    assert len(refused) == MAX_STREAMS - (32 << 20) // len(part)


async def test_rapid_reset() -> None:
    """A call that is begun and reset at once leaves nothing behind and runs nothing."""
    wire = Wire()
    for stream in range(1, 40_001, 2):
        wire.send(headers(stream, SLOW_BLOCK), data(stream, message(b"x")))
        wire.send(frames.reset(stream, ErrorCode.CANCEL))
        if stream % 200 == 1:
            await settle()
    await settle()
    assert wire.handlers.asked == []
    assert wire.take() == []
    assert wire.connection._out.open_streams == 0
    assert wire.connection._calls._calls == {}


@pytest.mark.parametrize(
    "one",
    [
        frames.window_update(0, 1),
        frames.window_update(1, 1),
        data(1, b"", 0),
        zeros(frames.PRIORITY, 5, 1),
        zeros(200, 0),
        frames.frame(frames.PING, frames.ACK, 0, bytes(8)),
        frames.frame(frames.SETTINGS, frames.ACK, 0),
        frames.reset(1, ErrorCode.CANCEL),
    ],
    ids=["window", "stream window", "empty DATA", "PRIORITY", "unknown", "PING", "ACK", "reset"],
)
async def test_floods_cost_the_peer_as_much(one: bytes) -> None:
    """With 4,000 answers held, frames that do nothing are read as fast as with a few."""
    few, many = _cost(one, 4), _cost(one, 4000)
    # Looking at each of them would cost a thousand times as much.
    assert many < 20 * few


def _cost(one: bytes, held: int) -> float:
    """Return the CPU seconds of a thousand frames while answers are held, at best."""
    wire = Wire().send(frames.settings({frames.SETTINGS_INITIAL_WINDOW_SIZE: 0}))
    last = 2 * held + 1
    wire.send(*(call(stream) for stream in range(3, last, 2)), headers(last + 2), one)
    wire.take()
    chunk = one * 1000
    costs = []
    for _ in range(10):
        started = time.process_time()
        wire.send(chunk)
        costs.append(time.process_time() - started)
    assert wire.take() == []
    return min(costs)
