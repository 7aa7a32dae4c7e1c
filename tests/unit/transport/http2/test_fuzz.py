"""Random bytes, frames and bit flips: no exception comes out, nothing grows, no wrong answer."""

import asyncio
import random
from collections.abc import Callable, Iterable

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.transport.http2 import frames
from authz.transport.http2.connection import Connection
from authz.transport.http2.frames import ConnectionFailed
from tests.unit.transport.http2.wire import (
    BIG,
    BIG_ANSWER,
    BLOCK,
    BROKEN,
    ECHO,
    OPENING,
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
    split,
)

EXAMPLES = settings(max_examples=200, deadline=None)
UNKNOWN = "/no.Such/Method"
KNOWN = {text: message(text) for text in (b"hello", b"", b"x" * 300)}


@pytest.fixture(autouse=True)
def _internal_errors_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that only the last net would catch fails the test."""
    original = Connection._fail

    def fail(self: Connection, error: ConnectionFailed) -> None:
        assert error.code != frames.ErrorCode.INTERNAL_ERROR
        original(self, error)

    monkeypatch.setattr(Connection, "_fail", fail)


def _run(scenario: Callable[[Wire], None], opening: bytes = OPENING) -> Wire:
    """Run a scenario on a fresh wire, with the slow calls released and all tasks at their end."""

    async def run() -> Wire:
        wire = Wire(opening=opening)
        scenario(wire)
        wire.handlers.release.set()
        await settle()
        _check(wire)
        wire.connection.connection_lost(None)
        await settle()
        assert wire.handlers.running == 0
        return wire

    return asyncio.run(run())


def _check(wire: Wire) -> None:
    """Assert that the output is valid and that little is kept."""
    connection = wire.connection
    written = bytes(wire.transport.written)
    out = split(written)
    assert [frame.kind for frame in out].count(frames.GOAWAY) == wire.transport.is_closing()
    for answer in responses(written).values():
        if answer.status == "0":
            assert answer.fields[":status"] == "200"
            assert answer.body in {message(text) for text in wire.handlers.asked} | {
                message(BIG_ANSWER)
            }
        elif answer.ended:
            assert answer.body == b""
    assert len(connection._buffer) <= frames.DEFAULT_FRAME_SIZE + frames.HEADER_LENGTH
    assert connection._calls._held == sum(c.size for c in connection._calls._calls.values())
    assert set(connection._calls._calls) <= set(connection._out._windows)


def _send_whole(wire: Wire, sent: bytes) -> None:
    wire.send(sent)


def _send_in_chunks(wire: Wire, sent: bytes, seed: int) -> None:
    random_ = random.Random(seed)
    while sent:
        size = random_.choice((1, 2, 8, 9, 10, 50, 500, 20_000))
        wire.send(sent[:size])
        sent = sent[size:]


@EXAMPLES
@given(st.binary(max_size=300), st.booleans(), st.integers())
def test_random_bytes(sent: bytes, opened: bool, seed: int) -> None:
    """Any bytes, before and after a good beginning, cause no exception and no wrong answer."""
    _run(lambda wire: _send_in_chunks(wire, sent, seed), OPENING if opened else b"")


_streams = st.sampled_from([0, 1, 2, 3, 5, 7, 9, frames.MAX_WINDOW])
_good_blocks = st.sampled_from(
    [
        BLOCK,
        *(plain_block(request_fields(path)) for path in (SLOW, BROKEN, BIG, UNKNOWN)),
        plain_block(request_fields(te="gzip")),
        b"",
        hpack.Encoder().encode(request_fields(ECHO)),
    ]
)
_blocks = st.one_of(_good_blocks, st.just(b"\xbe\xbf"))
_bodies = st.one_of(
    st.sampled_from(list(KNOWN.values())), st.binary(max_size=20), st.just(b"\x02" + bytes(9))
)
_flags = st.sampled_from([0, 1, 4, 5, 8, 13, 36, 37, 45, 255])
_settings = st.dictionaries(
    st.sampled_from([1, 2, 3, 4, 5, 6, 99]),
    st.sampled_from([0, 1, 20, 16_384, 65_535, frames.MAX_WINDOW]),
    max_size=3,
).map(frames.settings)
_any_frame = st.one_of(
    st.builds(headers, _streams, _blocks, _flags),
    st.builds(data, _streams, _bodies, _flags),
    st.builds(headers, _streams, _blocks, _flags, st.just(frames.CONTINUATION)),
    st.builds(frames.window_update, _streams, st.sampled_from([0, 1, 100, frames.MAX_WINDOW])),
    st.builds(frames.reset, _streams, st.sampled_from(frames.ErrorCode)),
    _settings,
    st.builds(frames.frame, st.integers(0, 12), _flags, _streams, st.binary(max_size=20)),
)
# By how many streams a frame goes on: a new one, or one of the last, which may be over.
_new, _last = st.just(2), st.sampled_from([0, -2, -4])
_good_frame = st.one_of(
    st.tuples(_new, st.sampled_from(list(KNOWN)), st.sampled_from([ECHO, SLOW, BIG])).map(
        lambda parts: (parts[0], lambda stream: call(stream, *parts[1:]))
    ),
    st.tuples(_new, _good_blocks).map(
        lambda pair: (pair[0], lambda stream: headers(stream, pair[1]))
    ),
    st.tuples(_last, _bodies, st.sampled_from([0, 1])).map(
        lambda parts: (parts[0], lambda stream: data(stream, *parts[1:]))
    ),
    st.tuples(_last, st.sampled_from([5, 60_000])).map(
        lambda pair: (pair[0], lambda stream: frames.window_update(stream, pair[1]))
    ),
    st.tuples(_last, st.sampled_from(frames.ErrorCode)).map(
        lambda pair: (pair[0], lambda stream: frames.reset(stream, pair[1]))
    ),
    st.tuples(_last).map(lambda one: (one[0], lambda stream: headers(stream, b"", 5))),
    st.one_of(
        st.sampled_from([1, 100, 100_000]).map(lambda size: frames.window_update(0, size)),
        st.just(frames.frame(frames.PING, 0, 0, b"12345678")),
        st.sampled_from([0, 20, 65_535]).map(lambda size: frames.settings({4: size})),
    ).map(lambda sent: (0, lambda _stream: sent)),
)


@EXAMPLES
@given(st.lists(_any_frame, max_size=25), st.integers())
def test_random_frames(sent: list[bytes], seed: int) -> None:
    """Frames of any type, flags, streams and payloads cause no exception and no wrong answer."""
    _run(lambda wire: _send_in_chunks(wire, b"".join(sent), seed))


@EXAMPLES
@given(st.lists(_good_frame, max_size=25), st.integers())
def test_good_frames_in_any_order(
    chosen: list[tuple[int, Callable[[int], bytes]]], seed: int
) -> None:
    """A peer that follows the connection's rules never causes a connection error."""
    last, sent = 5, call(1) + call(3) + call(5)
    for step, write in chosen:
        last += max(step, 0)
        sent += write(last + min(step, 0))
    wire = _run(lambda wire: _send_in_chunks(wire, sent, seed))
    assert not wire.transport.is_closing()


def _conversation(seed: int) -> tuple[bytes, dict[int, tuple[str, bytes]]]:
    """Write what a client sends in a valid conversation with every kind of call and frame.

    Returns:
        The bytes, and by stream the status and the body to expect.
    """
    expected = {}
    random_ = random.Random(seed)
    encoder = hpack.Encoder()
    sent = frames.window_update(0, 1 << 20) + frames.settings({4: random_.choice((0, 7, 1 << 20))})
    streams = range(1, random_.randrange(4, 24), 2)
    for stream in streams:
        path = random_.choice((ECHO, ECHO, SLOW, BIG, BROKEN, UNKNOWN))
        if random_.random() < 0.2:
            encoder.header_table_size = random_.choice((0, 100, 4096))
        block = encoder.encode(request_fields(path, x_odd=random_.choice(("1", "2", None))))
        cut = random_.randrange(len(block))
        body = random_.choice(list(KNOWN.values()))
        answers = {ECHO: body, SLOW: body, BIG: message(BIG_ANSWER)}
        status = {BROKEN: "13", UNKNOWN: "12"}.get(path, "0")
        expected[stream] = status, answers.get(path, b"")
        if random_.random() < 0.5:
            sent += headers(stream, block)
        else:
            sent += headers(stream, block[:cut], 0)
            sent += headers(stream, block[cut:], kind=frames.CONTINUATION)
        cut = random_.randrange(len(body))
        sent += data(stream, body[:cut], 0) + data(stream, body[cut:])
        sent += random_.choice((b"", frames.frame(frames.PING, 0, 0, b"12345678")))
    for stream in streams:
        sent += frames.window_update(stream, 1 << 20)
    return sent, expected


@EXAMPLES
@given(st.integers(0, 1 << 30), st.integers(0, 1 << 30))
def test_chunks_do_not_matter(seed: int, chunks: int) -> None:
    """A valid conversation gets the same answers however the network cuts it."""
    sent, expected = _conversation(seed)
    for wire in (
        _run(lambda wire: _send_whole(wire, sent)),
        _run(lambda wire: _send_in_chunks(wire, sent, chunks)),
    ):
        assert not wire.transport.is_closing()
        answers = responses(bytes(wire.transport.written))
        assert {n: (a.status, a.body) for n, a in answers.items()} == expected
        assert all(answer.ended for answer in answers.values())


@EXAMPLES
@given(st.integers(0, 1 << 30), st.lists(st.integers(0, 1 << 30), min_size=1, max_size=4))
def test_bit_flips(seed: int, flips: Iterable[int]) -> None:
    """A valid conversation with some bits changed is answered, or ended, never with an error."""
    sent = bytearray(_conversation(seed)[0])
    for flip in flips:
        sent[flip // 8 % len(sent)] ^= 1 << flip % 8
    _run(lambda wire: _send_in_chunks(wire, bytes(sent), seed))
