"""authz.transport.http2.frames and authz.transport.http2.grpc: bytes of frames and of messages."""

import hyperframe.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.transport.http2 import frames, grpc
from authz.transport.http2.frames import ConnectionFailed, ErrorCode
from authz.transport.http2.grpc import CallFailed, Status


@given(
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, frames.MAX_WINDOW),
    st.binary(max_size=70_000),
    st.binary(max_size=9),
)
def test_a_frame_is_read_as_it_was_written(
    kind: int, flags: int, stream: int, payload: bytes, before: bytes
) -> None:
    """Length, type, flags and stream come back, wherever in a buffer the frame stands."""
    written = before + frames.frame(kind, flags, stream, payload)
    assert frames.unpack_header(written, len(before)) == (len(payload), kind, flags, stream)
    assert written.endswith(payload)


def test_the_reserved_bit_is_ignored() -> None:
    """A stream number is 31 bits; the bit before them means nothing."""
    written = bytearray(frames.frame(frames.DATA, 0, 5))
    written[5] |= 0x80
    assert frames.unpack_header(bytes(written), 0)[3] == 5


@pytest.mark.parametrize(
    "written",
    [
        frames.goaway(7, ErrorCode.PROTOCOL_ERROR),
        frames.reset(7, ErrorCode.CANCEL),
        frames.window_update(7, 1),
        frames.settings({frames.SETTINGS_MAX_FRAME_SIZE: 20_000, 99: 1}),
    ],
    ids=["GOAWAY", "RST_STREAM", "WINDOW_UPDATE", "SETTINGS"],
)
def test_another_library_reads_our_frames(written: bytes) -> None:
    """Hyperframe takes what we write and writes it the same."""
    frame, length = hyperframe.frame.Frame.parse_frame_header(memoryview(written[:9]))
    frame.parse_body(memoryview(written[9 : 9 + length]))
    assert frame.serialize() == written


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\0" * 5, ErrorCode.FRAME_SIZE_ERROR),
        (b"\0\x04\x80\0\0\0", ErrorCode.FLOW_CONTROL_ERROR),
        (b"\0\x05\0\0\x3f\xff", ErrorCode.PROTOCOL_ERROR),
        (b"\0\x05\x01\0\0\0", ErrorCode.PROTOCOL_ERROR),
        (b"\0\x02\0\0\0\x02", ErrorCode.PROTOCOL_ERROR),
        (b"\0\x05\0\0\0\0" + b"\0\x05\0\0\x40\0", ErrorCode.PROTOCOL_ERROR),
    ],
    ids=["length", "window", "small frames", "large frames", "push", "a bad one before a good"],
)
def test_bad_settings(payload: bytes, code: ErrorCode) -> None:
    """A value out of range has the code of RFC 9113 6.5.2, also when a good one follows."""
    with pytest.raises(ConnectionFailed) as caught:
        frames.read_settings(payload)
    assert caught.value.code == code


@given(st.dictionaries(st.integers(7, 0xFFFF), st.integers(0, 0xFFFFFFFF), max_size=20))
def test_settings_are_read_as_they_were_written(values: dict[int, int]) -> None:
    """Settings that we don't know are read too, and do no harm."""
    assert frames.read_settings(frames.settings(values)[frames.HEADER_LENGTH :]) == values


@given(st.binary(max_size=300), st.integers(0, 255))
def test_padding_comes_off(payload: bytes, padding: int) -> None:
    """Padding is removed if its flag is set, and without the flag nothing is removed."""
    padded = bytes([padding]) + payload + b"\0" * padding
    assert frames.without_padding(frames.PADDED, padded) == payload
    assert frames.without_padding(0, padded) == padded


@given(st.binary(max_size=254))
def test_padding_longer_than_the_frame(rest: bytes) -> None:
    """A padding length that the frame can't hold ends the connection (RFC 9113 6.1)."""
    for payload in (b"", bytes([len(rest) + 1]) + rest, b"\xff" + rest):
        with pytest.raises(ConnectionFailed) as caught:
            frames.without_padding(frames.PADDED, payload)
        assert caught.value.code == ErrorCode.PROTOCOL_ERROR


@given(st.binary(max_size=3) | st.binary(min_size=5, max_size=9))
def test_numbers_have_four_bytes(payload: bytes) -> None:
    """RST_STREAM and WINDOW_UPDATE of another length are a FRAME_SIZE_ERROR."""
    with pytest.raises(ConnectionFailed) as caught:
        frames.uint32(payload)
    assert caught.value.code == ErrorCode.FRAME_SIZE_ERROR


@given(st.binary(max_size=100))
def test_a_message_comes_back(text: bytes) -> None:
    """A framed message is unpacked unchanged."""
    assert grpc.message_of(grpc.framed(text)) == text


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", Status.INTERNAL),
        (b"\0\0\0\0", Status.INTERNAL),
        (b"\0\0\0\0\x02a", Status.INTERNAL),
        (b"\0\0\0\0\x01ab", Status.INTERNAL),
        (b"\0\0\0\0\x01a\0\0\0\0\x01a", Status.INTERNAL),
        (b"\0\xff\xff\xff\xffa", Status.INTERNAL),
        (b"\x01\0\0\0\x01a", Status.UNIMPLEMENTED),
        (b"\xff\0\0\0\x01a", Status.UNIMPLEMENTED),
    ],
    ids=["none", "cut prefix", "cut", "too long", "two", "huge", "compressed", "odd flag"],
)
def test_not_exactly_one_message(data: bytes, status: Status) -> None:
    """Anything but one whole message without compression fails the call."""
    with pytest.raises(CallFailed) as caught:
        grpc.message_of(data)
    assert caught.value.status == status


def test_no_failure_has_the_status_ok() -> None:
    """No failure has the status 0."""
    assert 0 not in list(Status)
