"""authz.http2.connection, driven by the h2 library, by hand-made frames and by random bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.http2 import frames
from authz.http2.calls import MAX_MESSAGE_BYTES, MAX_STREAMS
from authz.http2.frames import ErrorCode
from tests.unit.http2.memory import ECHO, Client, connected, greeted, parsed

_HEADERS = b"\x83\x86\x04" + bytes([len(ECHO)]) + ECHO.encode() + b"\x41\x01a"
_WHOLE = b"\0\0\0\0\x03abc"
_OPEN = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, _HEADERS)


def _code(data: bytes) -> ErrorCode | None:
    """Return the code of the GOAWAY in what was written."""
    for kind, _, _, payload in parsed(data):
        if kind == frames.GOAWAY:
            return ErrorCode(struct.unpack(">LL", payload[:8])[1])
    return None


def test_calls_are_answered() -> None:
    """Calls of the h2 library get their own message back, with status OK, also side by side."""
    connection, transport = connected()
    client = Client()
    streams = {client.call(b"message %d" % n): b"message %d" % n for n in range(20)}
    connection.data_received(client.take())
    client.receive(transport.take())
    for stream, message in streams.items():
        assert client.data[stream][5:] == message[::-1]
        assert client.headers[stream][b"grpc-status"] == b"0"
        assert client.headers[stream][b":status"] == b"200"
    assert client.ended == set(streams)
    assert connection.is_idle


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 4))
def test_chunks_do_not_matter(sizes: list[int], calls: int) -> None:
    """However a conversation is cut into pieces, the answers are the same."""
    connection, transport = connected()
    client = Client()
    streams = [client.call(b"x" * n, x_filler="f" * n) for n in range(calls)]
    data, offset = client.take(), 0
    for size in sizes:
        connection.data_received(data[offset : offset + size])
        offset += size
    connection.data_received(data[offset:])
    client.receive(transport.take())
    assert [client.data[stream][5:] for stream in streams] == [b"x" * n for n in range(calls)]


@given(st.binary(max_size=400), st.booleans())
def test_random_bytes(data: bytes, preface: bool) -> None:
    """Random bytes never raise, and never call anything."""
    connection, transport = connected()
    connection.data_received(frames.PREFACE + data if preface else data)
    assert all(kind != frames.DATA for kind, *_ in parsed(transport.take()))


_random_frame = st.builds(
    frames.frame,
    st.integers(0, 12),
    st.integers(0, 255),
    st.sampled_from([0, 1, 2, 3, 5, 7, 1_000_001]),
    st.one_of(st.binary(max_size=60), st.sampled_from([_HEADERS, _WHOLE, b"\0\0\0\1", bytes(8)])),
)


@given(st.lists(_random_frame, max_size=12))
def test_random_frames(sent: list[bytes]) -> None:
    """Whatever frames come in whatever order, nothing raises and what is written is HTTP/2."""
    connection, transport = greeted()
    for one in sent:
        if not transport.closed:
            connection.data_received(one)
    parsed(transport.take())


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frames.frame(frames.DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.DATA, 0, 5, b"x"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 4, 0, _HEADERS), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 4, 2, _HEADERS), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 4, 1, b"\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
        (frames.frame(frames.HEADERS, 12, 1, b"\xff"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 0, 1, _HEADERS) + _OPEN, ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.CONTINUATION, 4, 1, _HEADERS), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, b"12345"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, 1, 0, b"123456"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.settings({4: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
        (frames.settings({5: 1}), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.RST_STREAM, 0, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (_OPEN + frames.frame(frames.RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
        (frames.window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (frames.frame(frames.DATA, 0, 1, bytes(16_385)), ErrorCode.FRAME_SIZE_ERROR),
        (_OPEN + _OPEN, ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_violations(sent: bytes, code: ErrorCode) -> None:
    """A peer that breaks the protocol gets a GOAWAY with the code of RFC 9113, and is cut."""
    connection, transport = greeted()
    connection.data_received(sent)
    assert _code(transport.take()) is code
    assert transport.closed


def test_no_http2_at_all() -> None:
    """An HTTP/1.1 request is no preface."""
    connection, transport = connected()
    connection.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert _code(transport.take()) is ErrorCode.PROTOCOL_ERROR


def test_continuation_floods_are_cut() -> None:
    """Neither endless nor empty CONTINUATION frames are collected."""
    for payload in (bytes(16_000), b""):
        connection, transport = greeted()
        connection.data_received(frames.frame(frames.HEADERS, 0, 1, _HEADERS))
        for _ in range(10):
            if not transport.closed:
                connection.data_received(frames.frame(frames.CONTINUATION, 0, 1, payload))
        assert _code(transport.take()) is ErrorCode.ENHANCE_YOUR_CALM


def test_ping_is_answered() -> None:
    """A PING comes back with its payload."""
    connection, transport = greeted()
    connection.data_received(frames.frame(frames.PING, 0, 0, b"12345678"))
    assert parsed(transport.take()) == [(frames.PING, frames.ACK, 0, b"12345678")]


def test_too_many_calls_are_refused() -> None:
    """Half-open calls above the limit are refused one by one; the connection lives."""
    connection, transport = greeted()
    for number in range(MAX_STREAMS + 2):
        connection.data_received(
            frames.frame(frames.HEADERS, frames.END_HEADERS, 2 * number + 1, _HEADERS)
        )
    refused = [
        stream for kind, _, stream, _ in parsed(transport.take()) if kind == frames.RST_STREAM
    ]
    assert refused == [2 * MAX_STREAMS + 1, 2 * MAX_STREAMS + 3]
    assert not transport.closed


def test_a_message_too_large_ends_its_call() -> None:
    """Nothing above the limit is collected, and other calls go on."""
    connection, transport = greeted()
    connection.data_received(_OPEN)
    for _ in range(MAX_MESSAGE_BYTES // 16_384 + 1):
        connection.data_received(frames.frame(frames.DATA, 0, 1, bytes(16_384)))
    (answer,) = [one for one in parsed(transport.take()) if one[0] == frames.HEADERS]
    assert answer[1] & frames.END_STREAM
    assert b"grpc-status" in answer[3]
    assert b"\x018" in answer[3]
    assert connection.is_idle


def test_responses_wait_for_windows() -> None:
    """With a window of 10 bytes the answer comes piece by piece as the window widens."""
    connection, transport = connected()
    connection.data_received(frames.PREFACE + frames.settings({4: 10}))
    transport.take()
    message = frames.frame(frames.DATA, frames.END_STREAM, 1, b"\0\0\0\0\x14" + b"a" * 20)
    connection.data_received(_OPEN + message)
    first = parsed(transport.take())
    assert [kind for kind, *_ in first] == [frames.HEADERS, frames.DATA]
    assert len(first[1][3]) == 10
    connection.data_received(frames.window_update(1, 15))
    rest = parsed(transport.take())
    assert b"".join(p for k, _, _, p in [first[1], *rest] if k == frames.DATA)[5:] == b"a" * 20
    assert rest[-1][1] & frames.END_STREAM


def test_a_peer_that_never_reads_is_cut() -> None:
    """What can't be sent does not pile up without end."""
    connection, transport = greeted()
    transport.unread = 1 << 30
    connection.data_received(frames.frame(frames.PING, 0, 0, bytes(8)))
    assert transport.closed
