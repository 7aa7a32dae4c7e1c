"""authz.transport.http2.connection: legal traffic of RFC 9113, by h2 and hand-made frames."""

import asyncio

import pytest

from authz.transport.http2 import connection as module
from authz.transport.http2 import frames
from authz.transport.http2.blocks import MAX_HEADER_BLOCK_BYTES
from authz.transport.http2.calls import MAX_STREAMS
from authz.transport.http2.frames import ErrorCode
from tests.unit.transport.http2.client import Client
from tests.unit.transport.http2.wire import (
    BIG,
    BIG_ANSWER,
    BLOCK,
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
    zeros,
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


async def test_a_closed_stream() -> None:
    """Late frames of a call that is over are dropped; late trailers get STREAM_CLOSED."""
    wire = Wire().send(call(5))
    wire.take()
    late = (CANCEL, frames.window_update(1, 1), data(1, b"x"), frames.window_update(5, 7))
    wire.send(*late, frames.reset(5, ErrorCode.CANCEL), data(5, b"x"))
    assert wire.take() == []
    wire.send(headers(5, b"", ENDED), headers(3, b"", ENDED))
    assert wire.resets() == dict.fromkeys((3, 5), ErrorCode.STREAM_CLOSED)
    assert wire.handlers.asked == [b"hello"]


async def test_what_is_ignored() -> None:
    """Unknown frames, PRIORITY, GOAWAY and unknown flags change nothing (5.3.2, 5.5)."""
    wire = Wire().send(
        zeros(200, 100, 7, 255),
        zeros(frames.PRIORITY, 5, 9),
        zeros(frames.GOAWAY, 30),
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
    """Padding is given back to the stream's window, so that a whole message fits."""
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
    wire.send(zeros(frames.PING, 7))
    await settle()
    assert wire.handlers.cancelled == 1
    assert wire.goaway() == ErrorCode.FRAME_SIZE_ERROR


async def test_a_peer_that_does_not_read_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed connection is cut after a while if the peer does not read its last bytes."""
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.01)
    wire = Wire(reads=False)
    wire.connection.close()
    assert not wire.transport.is_aborted
    for _ in range(6000):
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
    wire.send(frames.frame(frames.PING, frames.ACK, 0, b"other---"))
    assert not wire.connection.is_finished
    wire.send(call(1), call(3, path=SLOW))
    assert responses(bytes(wire.transport.written))[1].body == message(b"hello")
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
