"""authz.transport.http2.connection: each violation gets the code that RFC 9113 demands."""

import pytest

from authz.transport.http2 import frames
from authz.transport.http2.frames import ErrorCode
from tests.unit.transport.http2.wire import (
    BLOCK,
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
    zeros,
)

CANCEL = frames.reset(1, ErrorCode.CANCEL)
ENDED = frames.END_HEADERS | frames.END_STREAM


CONNECTION_ERRORS = {
    # 3.4: the preface is followed by SETTINGS.
    "no preface": (b"", b"GET / HTTP/1.1\r\n\r\n", ErrorCode.PROTOCOL_ERROR),
    "wrong preface": (b"", frames.PREFACE[:-1] + b"x", ErrorCode.PROTOCOL_ERROR),
    "no SETTINGS first": (frames.PREFACE, call(1), ErrorCode.PROTOCOL_ERROR),
    "an ACK is no SETTINGS": (
        frames.PREFACE,
        zeros(frames.SETTINGS, 0, flags=frames.ACK) + call(1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    # 4.2
    "a large frame": (OPENING, zeros(frames.DATA, 16_385, 1), ErrorCode.FRAME_SIZE_ERROR),
    "a large unknown frame": (OPENING, zeros(200, 16_385), ErrorCode.FRAME_SIZE_ERROR),
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
    "PRIORITY on stream 0": (OPENING, zeros(frames.PRIORITY, 5), ErrorCode.PROTOCOL_ERROR),
    # 6.4
    "RST_STREAM on stream 0": (OPENING, zeros(frames.RST_STREAM, 4), ErrorCode.PROTOCOL_ERROR),
    "a short RST_STREAM": (
        OPENING,
        headers(1) + zeros(frames.RST_STREAM, 3, 1),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    # 6.5
    "SETTINGS on a stream": (OPENING, zeros(frames.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    "SETTINGS cut": (OPENING, zeros(frames.SETTINGS, 5), ErrorCode.FRAME_SIZE_ERROR),
    "an ACK with settings": (
        OPENING,
        zeros(frames.SETTINGS, 6, flags=frames.ACK),
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
        headers(1) + zeros(frames.PUSH_PROMISE, 4, 1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    # 6.7
    "PING on a stream": (OPENING, zeros(frames.PING, 8, 1), ErrorCode.PROTOCOL_ERROR),
    "a short PING": (OPENING, zeros(frames.PING, 7), ErrorCode.FRAME_SIZE_ERROR),
    # 6.8
    "GOAWAY on a stream": (OPENING, zeros(frames.GOAWAY, 8, 1), ErrorCode.PROTOCOL_ERROR),
    "a short GOAWAY": (OPENING, zeros(frames.GOAWAY, 7), ErrorCode.FRAME_SIZE_ERROR),
    # 6.9
    "a short WINDOW_UPDATE": (OPENING, zeros(frames.WINDOW_UPDATE, 3), ErrorCode.FRAME_SIZE_ERROR),
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
        headers(1, BLOCK, 0) + zeros(200, 1),
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
    "a short PRIORITY": (zeros(frames.PRIORITY, 4, 1), ErrorCode.FRAME_SIZE_ERROR),
    # 6.9
    "a WINDOW_UPDATE of 0": (frames.window_update(1, 0), ErrorCode.PROTOCOL_ERROR),
    "a window too large": (
        frames.window_update(1, frames.MAX_WINDOW),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
}


@pytest.mark.parametrize(("sent", "code"), STREAM_ERRORS.values(), ids=STREAM_ERRORS.keys())
async def test_stream_errors(sent: bytes, code: ErrorCode) -> None:
    """A stream error ends one stream and its work with RFC 9113's code; others go on."""
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
    "no method": headers(1, plain_block(request_fields(__method=None))),
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


@pytest.mark.parametrize("stream", [5, 3], ids=["answered", "passed over"])
async def test_a_stream_is_not_used_twice(stream: int) -> None:
    """A request on a stream of the past ends the connection with PROTOCOL_ERROR (5.1.1)."""
    wire = Wire().send(call(5), call(stream))
    assert wire.goaway() == ErrorCode.PROTOCOL_ERROR
    assert wire.handlers.asked == [b"hello"]


async def test_a_request_behind_a_reset() -> None:
    """A request on a stream that the peer has reset is a PROTOCOL_ERROR."""
    wire = Wire().send(call(1, path=SLOW), CANCEL, call(1))
    assert wire.goaway() == ErrorCode.PROTOCOL_ERROR
    assert wire.handlers.asked == []
