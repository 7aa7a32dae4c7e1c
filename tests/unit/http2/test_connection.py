"""authz.http2.connection: RFC 9113's rules, driven by the h2 library and by hand-made frames."""

import asyncio
import time
import tracemalloc

import pytest

from authz.http2 import connection as module
from authz.http2 import frames
from authz.http2.blocks import MAX_HEADER_BLOCK_BYTES
from authz.http2.calls import MAX_STREAMS
from authz.http2.frames import ErrorCode
from tests.unit.http2.wire import (
    BIG,
    BIG_ANSWER,
    BLOCK,
    OPENING,
    SLOW,
    Client,
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

CANCEL = frames.reset(1, ErrorCode.CANCEL)
SLOW_BLOCK = plain_block(request_fields(SLOW))
ENDED = frames.END_HEADERS | frames.END_STREAM


async def test_calls_of_another_library() -> None:
    """Calls by h2 are answered, side by side, with h2's own checks of what comes back."""
    client = Client()
    streams = {client.open(body=message(b"%d" % n)): b"%d" % n for n in range(50)}
    for stream, text in streams.items():
        answer = client.answers[stream]
        assert (answer.body, answer.status, answer.ended) == (message(text), "0", True)
        assert answer.fields[":status"] == "200"
        assert answer.fields["content-type"] == "application/grpc"
    assert client.ended_by is None


async def test_flow_control_of_another_library() -> None:
    """An answer larger than any window arrives whole, and so does a megabyte from the peer."""
    client = Client()
    assert client.answers[client.open(BIG)].body == message(BIG_ANSWER)
    text = bytes(500_000) * 2
    sent = [client.open(body=message(text)) for _ in range(2)]
    # h2 takes back its window only as it is told to, so a part may be held for now.
    for stream in sent:
        assert client.answers[stream].body == message(text)


async def test_the_greeting() -> None:
    """The first frame is SETTINGS with our limits; the peer's is acknowledged."""
    wire = Wire()
    first, window = split(wire.greeting)
    assert frames.read_settings(first.payload) == {
        frames.SETTINGS_MAX_CONCURRENT_STREAMS: MAX_STREAMS,
        frames.SETTINGS_INITIAL_WINDOW_SIZE: module.STREAM_WINDOW,
        frames.SETTINGS_MAX_HEADER_LIST_SIZE: MAX_HEADER_BLOCK_BYTES,
    }
    assert int.from_bytes(window.payload, "big") + 65_535 == module.CONNECTION_WINDOW
    wire.send(frames.settings({}))
    assert [(frame.kind, frame.flags) for frame in wire.take()] == [(frames.SETTINGS, frames.ACK)]


def _cut(kind: int, size: int, stream: int = 0, flags: int = 0) -> bytes:
    return frames.frame(kind, flags, stream, bytes(size))


CONNECTION_ERRORS = {
    # 3.4: the preface is followed by SETTINGS.
    "no preface": (b"", b"GET / HTTP/1.1\r\n\r\n", ErrorCode.PROTOCOL_ERROR),
    "wrong preface": (b"", frames.PREFACE[:-1] + b"x", ErrorCode.PROTOCOL_ERROR),
    "no SETTINGS first": (frames.PREFACE, call(1), ErrorCode.PROTOCOL_ERROR),
    "an ACK is no SETTINGS": (
        frames.PREFACE,
        _cut(frames.SETTINGS, 0, flags=frames.ACK) + call(1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    # 4.2
    "a large frame": (OPENING, _cut(frames.DATA, 16_385, 1), ErrorCode.FRAME_SIZE_ERROR),
    "a large unknown frame": (OPENING, _cut(200, 16_385), ErrorCode.FRAME_SIZE_ERROR),
    # 4.3
    "no HPACK": (OPENING, headers(1, b"\x80"), ErrorCode.COMPRESSION_ERROR),
    "no HPACK in trailers": (
        OPENING,
        headers(1) + headers(1, b"\x80", ENDED),
        ErrorCode.COMPRESSION_ERROR,
    ),
    # 5.1, 5.1.1
    "DATA on an idle stream": (OPENING, data(1, b"x"), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM on an idle stream": (OPENING, CANCEL, ErrorCode.PROTOCOL_ERROR),
    "WINDOW_UPDATE on an idle stream": (
        OPENING,
        frames.window_update(1, 1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "HEADERS on an even stream": (OPENING, headers(2), ErrorCode.PROTOCOL_ERROR),
    "HEADERS on stream 0": (OPENING, headers(0), ErrorCode.PROTOCOL_ERROR),
    # 6.1
    "DATA on stream 0": (OPENING, data(0, b"x"), ErrorCode.PROTOCOL_ERROR),
    "padding over all of DATA": (
        OPENING,
        headers(1) + data(1, b"\x02a", frames.PADDED),
        ErrorCode.PROTOCOL_ERROR,
    ),
    # 6.2
    "padding over all of HEADERS": (
        OPENING,
        headers(1, b"\xff" + BLOCK, frames.END_HEADERS | frames.PADDED),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "HEADERS without their priority": (
        OPENING,
        headers(1, b"1234", frames.END_HEADERS | frames.PRIORITY_FLAG),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    # 6.3
    "PRIORITY on stream 0": (OPENING, _cut(frames.PRIORITY, 5), ErrorCode.PROTOCOL_ERROR),
    # 6.4
    "RST_STREAM on stream 0": (OPENING, _cut(frames.RST_STREAM, 4), ErrorCode.PROTOCOL_ERROR),
    "a short RST_STREAM": (
        OPENING,
        headers(1) + _cut(frames.RST_STREAM, 3, 1),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    # 6.5
    "SETTINGS on a stream": (OPENING, _cut(frames.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    "SETTINGS cut": (OPENING, _cut(frames.SETTINGS, 5), ErrorCode.FRAME_SIZE_ERROR),
    "an ACK with settings": (
        OPENING,
        _cut(frames.SETTINGS, 6, flags=frames.ACK),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "push neither on nor off": (OPENING, frames.settings({2: 2}), ErrorCode.PROTOCOL_ERROR),
    "a large initial window": (
        OPENING,
        frames.settings({4: 1 << 31}),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "a small frame size": (OPENING, frames.settings({5: 16_383}), ErrorCode.PROTOCOL_ERROR),
    "a large frame size": (OPENING, frames.settings({5: 1 << 24}), ErrorCode.PROTOCOL_ERROR),
    # 6.6
    "PUSH_PROMISE": (
        OPENING,
        headers(1) + _cut(frames.PUSH_PROMISE, 4, 1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    # 6.7
    "PING on a stream": (OPENING, _cut(frames.PING, 8, 1), ErrorCode.PROTOCOL_ERROR),
    "a short PING": (OPENING, _cut(frames.PING, 7), ErrorCode.FRAME_SIZE_ERROR),
    # 6.8
    "GOAWAY on a stream": (OPENING, _cut(frames.GOAWAY, 8, 1), ErrorCode.PROTOCOL_ERROR),
    "a short GOAWAY": (OPENING, _cut(frames.GOAWAY, 7), ErrorCode.FRAME_SIZE_ERROR),
    # 6.9
    "a short WINDOW_UPDATE": (OPENING, _cut(frames.WINDOW_UPDATE, 3), ErrorCode.FRAME_SIZE_ERROR),
    "a WINDOW_UPDATE of 0": (OPENING, frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
    "the reserved bit alone is 0": (
        OPENING,
        frames.frame(frames.WINDOW_UPDATE, 0, 0, b"\x80\0\0\0"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a window too large": (
        OPENING,
        frames.window_update(0, frames.MAX_WINDOW),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "settings make a window too large": (
        OPENING,
        headers(1) + frames.window_update(1, 9) + frames.settings({4: frames.MAX_WINDOW}),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    # 6.10, 4.3
    "CONTINUATION of nothing": (
        OPENING,
        headers(1, kind=frames.CONTINUATION),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "CONTINUATION behind the end": (
        OPENING,
        headers(1) + headers(1, b"", kind=frames.CONTINUATION),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "CONTINUATION of another stream": (
        OPENING,
        headers(1, BLOCK, 0) + headers(3, b"", kind=frames.CONTINUATION),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a block interrupted by DATA": (
        OPENING,
        headers(1, BLOCK, 0) + data(1, b"x"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a block interrupted by an unknown frame": (
        OPENING,
        headers(1, BLOCK, 0) + _cut(200, 1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    # 10.5
    "empty CONTINUATION": (
        OPENING,
        headers(1, BLOCK, 0) + headers(1, b"", 0, frames.CONTINUATION),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a large block": (
        OPENING,
        headers(1, bytes(16_000), 0) + headers(1, bytes(1_000), 0, frames.CONTINUATION),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a large list": (
        OPENING,
        headers(1, plain_block([("x", "y" * 100)] * 130)),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a flood of SETTINGS": (OPENING, frames.settings({4: 1}) * 101, ErrorCode.ENHANCE_YOUR_CALM),
}


@pytest.mark.parametrize(
    ("opening", "sent", "code"), CONNECTION_ERRORS.values(), ids=CONNECTION_ERRORS.keys()
)
async def test_connection_errors(opening: bytes, sent: bytes, code: ErrorCode) -> None:
    """The connection ends with one GOAWAY of the code that RFC 9113 demands, and calls nothing."""
    wire = Wire(opening=opening).send(sent)
    assert wire.transport.is_closing()
    written = wire.take()
    assert [frame.kind for frame in written].count(frames.GOAWAY) == 1
    assert int.from_bytes(written[-1].payload[4:8], "big") == code
    assert wire.handlers.asked == []
    wire.send(call(1), OPENING)
    assert wire.take() == []
    assert wire.handlers.asked == []


STREAM_ERRORS = {
    # 5.1: half-closed (remote), while the answer is being made
    "DATA behind the end": (data(1, message(b"x")), ErrorCode.STREAM_CLOSED),
    "HEADERS behind the end": (headers(1), ErrorCode.STREAM_CLOSED),
    "trailers behind the end": (headers(1, b"", ENDED), ErrorCode.STREAM_CLOSED),
    # 6.3
    "a short PRIORITY": (_cut(frames.PRIORITY, 4, 1), ErrorCode.FRAME_SIZE_ERROR),
    # 6.9
    "a WINDOW_UPDATE of 0": (frames.window_update(1, 0), ErrorCode.PROTOCOL_ERROR),
    "a window too large": (
        frames.window_update(1, frames.MAX_WINDOW),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
}


@pytest.mark.parametrize(("sent", "code"), STREAM_ERRORS.values(), ids=STREAM_ERRORS.keys())
async def test_stream_errors(sent: bytes, code: ErrorCode) -> None:
    """One stream ends with the code that RFC 9113 demands, its work too; others go on."""
    wire = Wire().send(call(1, path=SLOW))
    await settle()
    wire.send(sent)
    assert wire.resets() == {1: code}
    await settle()
    assert wire.handlers.cancelled == 1
    wire.send(call(3))
    assert responses(bytes(wire.transport.written))[3].body == message(b"hello")


MALFORMED = {
    "no path": headers(1, plain_block(request_fields(__path=None))),
    "GET": headers(1, plain_block(request_fields(__method="GET"))),
    "no headers": headers(1, b"", ENDED),
    "headers of a connection": headers(1, plain_block(request_fields(connection="close"))),
    "trailers without an end": headers(1) + headers(1, b""),
    "a second request": headers(1) + headers(1, BLOCK, ENDED),
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_requests(sent: bytes) -> None:
    """A malformed request is a stream error of PROTOCOL_ERROR (8.1.1) and calls nothing."""
    wire = Wire().send(sent)
    assert wire.resets() == {1: ErrorCode.PROTOCOL_ERROR}
    assert wire.handlers.asked == []
    assert wire.send(data(1, message(b"x")), call(3)).handlers.asked == [b"hello"]


async def test_a_closed_stream() -> None:
    """What comes late for a call that is over is dropped; a closed stream can't be used again."""
    wire = Wire().send(call(5))
    wire.take()
    late = (CANCEL, frames.window_update(1, 1), data(1, b"x"), frames.window_update(5, 7))
    wire.send(*late, frames.reset(5, ErrorCode.CANCEL), data(5, b"x"))
    assert wire.take() == []
    wire.send(call(5), call(3))
    assert wire.resets() == dict.fromkeys((3, 5), ErrorCode.STREAM_CLOSED)
    assert wire.handlers.asked == [b"hello"]


async def test_what_is_ignored() -> None:
    """Unknown frames, PRIORITY, GOAWAY and unknown flags change nothing (5.3.2, 5.5)."""
    wire = Wire().send(
        _cut(200, 100, 7, 255),
        _cut(frames.PRIORITY, 5, 9),
        _cut(frames.GOAWAY, 30),
        frames.frame(frames.PING, frames.ACK, 0, bytes(8)),
        frames.frame(frames.SETTINGS, frames.ACK, 0),
        headers(1, BLOCK, 0xC0 | frames.END_HEADERS),
        data(1, message(b"x"), 0xF6 | frames.END_STREAM),
    )
    assert responses(bytes(wire.transport.written))[1].body == message(b"x")


async def test_padding_priority_and_continuation() -> None:
    """A request is read through all that may stand around its parts."""
    block = b"\x03" + b"\x80\0\0\0\x10" + BLOCK[:40] + bytes(3)
    wire = Wire().send(
        headers(1, block, frames.PADDED | frames.PRIORITY_FLAG),
        headers(1, BLOCK[40:80], 0, frames.CONTINUATION),
        headers(1, BLOCK[80:], frames.END_HEADERS, frames.CONTINUATION),
        data(1, b"\x04" + message(b"ab")[:3] + bytes(4), frames.PADDED),
        data(1, b"", 0),
        data(1, b"\0" + message(b"ab")[3:], frames.PADDED),
        headers(1, plain_block([("x-trailer", "1")]), ENDED),
    )
    assert responses(bytes(wire.transport.written))[1].body == message(b"ab")


async def test_padding_is_given_back() -> None:
    """Padding takes of the stream's window, so it is given back: a whole message has to fit."""
    padded = data(1, b"\xff" + bytes(255), frames.PADDED)
    wire = Wire().send(headers(1, SLOW_BLOCK), *([padded] * 10))
    given = [int.from_bytes(frame.payload, "big") for frame in wire.take()]
    assert given == [256] * 10


async def test_the_connections_window_is_given_back() -> None:
    """Every byte counts, also padding, data of calls that are over and of those refused."""
    wire = Wire()
    sent = given = 0
    for stream in range(1, 20_001, 2):
        payload = b"\x10" + bytes(16_000)
        wire.send(headers(stream), data(stream, payload, frames.PADDED), data(stream, payload, 0))
        wire.send(frames.reset(stream, ErrorCode.CANCEL), data(stream, payload, 0))
        sent += 3 * len(payload)
        for frame in wire.take():
            if frame.kind == frames.WINDOW_UPDATE and frame.stream == 0:
                given += int.from_bytes(frame.payload, "big")
        assert 0 <= sent - given < module.CONNECTION_WINDOW
        if sent > module.CONNECTION_WINDOW * 2:
            return
    pytest.fail("not enough sent")


async def test_ping() -> None:
    """A PING comes back with its payload, an ACK of one does not."""
    wire = Wire().send(frames.frame(frames.PING, 0, 0, b"12345678"))
    assert [(f.kind, f.flags, f.payload) for f in wire.take()] == [
        (frames.PING, frames.ACK, b"12345678")
    ]
    wire.send(frames.frame(frames.PING, frames.ACK, 0, b"12345678"))
    assert wire.take() == []


async def test_too_many_calls() -> None:
    """Calls above the limit are refused one by one; an answered call makes room."""
    wire = Wire()
    last = MAX_STREAMS * 2 + 1
    wire.send(*(headers(stream, SLOW_BLOCK) for stream in range(1, last + 2, 2)))
    assert wire.resets() == {last: ErrorCode.REFUSED_STREAM}
    wire.send(CANCEL, headers(last + 2))
    assert wire.resets() == {}


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
    """It is cut before the answers that it does not take are many."""
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
        _cut(frames.PRIORITY, 5, 1),
        _cut(200, 0),
        frames.frame(frames.PING, frames.ACK, 0, bytes(8)),
        frames.frame(frames.SETTINGS, frames.ACK, 0),
        frames.reset(1, ErrorCode.CANCEL),
    ],
    ids=["window", "stream window", "empty DATA", "PRIORITY", "unknown", "PING", "ACK", "reset"],
)
async def test_floods_cost_the_peer_as_much(one: bytes) -> None:
    """With 4,000 answers held, frames that do nothing are read at 20 µs or less each."""
    wire = Wire().send(frames.settings({frames.SETTINGS_INITIAL_WINDOW_SIZE: 0}))
    wire.send(*(call(stream) for stream in range(3, 8001, 2)), headers(8003), one)
    wire.take()
    chunk = one * 1000
    started = time.process_time()
    for _ in range(10):
        wire.send(chunk)
    assert time.process_time() - started < 0.2
    assert wire.take() == []


async def test_one_byte_at_a_time() -> None:
    """A whole conversation cut into bytes is answered as if it had come in one piece."""
    sent = frames.settings({4: 5}) + call(1) + headers(3, BLOCK, 0)
    sent += headers(3, b"", frames.END_HEADERS, frames.CONTINUATION) + data(3, message(b"x"))
    sent += frames.window_update(1, 100) + frames.window_update(3, 1)
    whole, cut = Wire().send(sent), Wire()
    cut.send(*(bytes([byte]) for byte in sent))
    assert cut.transport.written == whole.transport.written
    assert responses(bytes(cut.transport.written))[1].status == "0"


async def test_a_lost_connection_cancels() -> None:
    """Calls of a connection that is gone are cancelled, and write nothing more."""
    wire = Wire().send(*(call(stream, path=SLOW) for stream in range(1, 21, 2)))
    await settle()
    assert wire.handlers.running == 10
    wire.transport.close()
    wire.connection.connection_lost(None)
    await settle()
    assert (wire.handlers.running, wire.handlers.cancelled) == (0, 10)
    assert wire.take() == []
    assert wire.connections == set()


async def test_an_error_cancels() -> None:
    """A connection that breaks the protocol has its calls cancelled at once."""
    wire = Wire().send(call(1, path=SLOW))
    await settle()
    wire.send(_cut(frames.PING, 7))
    await settle()
    assert wire.handlers.cancelled == 1
    assert wire.goaway() == ErrorCode.FRAME_SIZE_ERROR


async def test_a_peer_that_does_not_read_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed connection whose last bytes nobody takes is cut after a while."""
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.01)
    wire = Wire(reads=False)
    wire.connection.close()
    assert not wire.transport.is_aborted
    for _ in range(100):
        if wire.transport.is_aborted:
            return
        await asyncio.sleep(0.01)
    pytest.fail("not cut")


async def test_the_end_of_a_stop() -> None:
    """Calls sent before the peer has seen the GOAWAY are answered; its PING's ACK is the end."""
    wire = Wire()
    wire.connection.announce_stop()
    wire.connection.announce_stop()
    goaway, ping = wire.take()
    assert goaway.payload == frames.MAX_WINDOW.to_bytes(4, "big") + bytes(4)
    assert (ping.kind, ping.flags) == (frames.PING, 0)
    assert not wire.connection.is_finished
    wire.send(call(1), call(3, path=SLOW))
    assert responses(bytes(wire.transport.written))[1].body == message(b"hello")
    wire.send(frames.frame(frames.PING, frames.ACK, 0, b"other---"))
    wire.send(frames.frame(frames.PING, frames.ACK, 0, ping.payload))
    assert not wire.connection.is_finished, "a call is under way"
    await settle()
    wire.handlers.release.set()
    await settle()
    assert wire.connection.is_finished
    wire.take()
    wire.connection.close()
    (last,) = wire.take()
    assert last.payload == (3).to_bytes(4, "big") + bytes(4)
    assert wire.transport.is_closing()


async def test_an_answer_that_is_held_is_under_way() -> None:
    """A stop waits for an answer that waits for a window."""
    wire = Wire().send(frames.settings({4: 0}), call(1))
    wire.connection.announce_stop()
    wire.send(frames.frame(frames.PING, frames.ACK, 0, b"draining"))
    assert not wire.connection.is_finished
    wire.send(frames.window_update(1, 100))
    assert wire.connection.is_finished
    assert responses(bytes(wire.transport.written))[1].status == "0"
