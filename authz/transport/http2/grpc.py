"""gRPC's framing over HTTP/2 (gRPC's ``PROTOCOL-HTTP2.md``)."""

import struct
from enum import IntEnum
from urllib.parse import quote

from authz.transport.http2 import frames

PREFIX_LENGTH = 5
_PREFIX = struct.Struct(">BL")
_DATA_AND_PREFIX = struct.Struct(">BHBBLBL")
"""The header of a frame, and the prefix of the message that it begins with."""
_MESSAGE_OFFSET = frames.HEADER_LENGTH + PREFIX_LENGTH


class Status(IntEnum):
    """Status codes that the server sends."""

    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class HttpError(IntEnum):
    """HTTP statuses for requests that are valid HTTP but not gRPC."""

    METHOD_NOT_ALLOWED = 405
    UNSUPPORTED_MEDIA_TYPE = 415


class CallFailed(Exception):  # noqa: N818 - the state of the call
    """A call that ends with a status other than OK and without a message.

    Args:
        status: never OK, which ``Status`` does not have.
        why: text for the peer, at most 100 characters.
    """

    def __init__(self, status: Status, why: str) -> None:
        super().__init__(why)
        self.status = status


def message_of(data: bytes | bytearray) -> bytes:
    """Return the one message in a request's data.

    Raises:
        CallFailed: the message is compressed or cut, or there is not exactly one.
    """
    if len(data) < PREFIX_LENGTH:
        raise CallFailed(Status.INTERNAL, "no message")
    compressed, length = _PREFIX.unpack_from(data)
    if compressed:
        raise CallFailed(Status.UNIMPLEMENTED, "compressed messages are not supported")
    if length != len(data) - PREFIX_LENGTH:
        raise CallFailed(Status.INTERNAL, "not exactly one message")
    return bytes(data[PREFIX_LENGTH:])


def find_message(data: bytes, offset: int, stream: int) -> tuple[int, int]:
    """Find a message that is the whole request of a call, in one DATA frame that has arrived.

    Args:
        data: what was read.
        offset: of the frame.
        stream: of the call.

    Returns:
        The offsets of the message's begin and end; zeros if the frame has any other form.
    """
    begin = offset + _MESSAGE_OFFSET
    if len(data) < begin:
        return 0, 0
    header = _DATA_AND_PREFIX.unpack_from(data, offset)
    high, low, kind, flags, same, compressed, size = header
    length, end = size + PREFIX_LENGTH, begin + size
    if (
        kind != frames.DATA
        or flags != frames.END_STREAM
        or same != stream
        or compressed
        or length != high << 16 | low
        or length > frames.DEFAULT_FRAME_SIZE
        or end > len(data)
    ):
        return 0, 0
    return begin, end


def messages_of(data: bytes | bytearray) -> tuple[list[bytes], bytes]:
    """Take the messages that are whole out of a stream's data.

    Returns:
        The messages, and what is left for the next one.

    Raises:
        CallFailed: one is compressed.
    """
    messages, offset = [], 0
    while len(data) - offset >= PREFIX_LENGTH:
        compressed, length = _PREFIX.unpack_from(data, offset)
        if compressed:
            raise CallFailed(Status.UNIMPLEMENTED, "compressed messages are not supported")
        end = offset + PREFIX_LENGTH + length
        if end > len(data):
            break
        messages.append(bytes(data[offset + PREFIX_LENGTH : end]))
        offset = end
    return messages, bytes(data[offset:])


def framed(message: bytes) -> bytes:
    """Return a message with its length prefix."""
    return prefix(len(message)) + message


def _literal(name: bytes, value: bytes) -> bytes:
    """Write a short header field in HPACK, without indexing (RFC 7541 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


# `:status: 200` has index 8 in HPACK's static table.
_RESPONSE = b"\x88" + _literal(b"content-type", b"application/grpc")
_ACCEPTED = _literal(b"grpc-accept-encoding", b"identity")
_OK_TRAILERS = _literal(b"grpc-status", b"0")
# HPACK's table of size 0 (RFC 7541 6.3). The server never adds an entry, so it needs none.
TABLE_SIZE_UPDATE = b"\x20"
# The parts of the frame headers before the stream id.
_HEADERS_BEGIN = frames.frame(frames.HEADERS, frames.END_HEADERS, 0, _RESPONSE)[:5]
_TRAILERS_BEGIN = frames.frame(
    frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 0, _OK_TRAILERS
)[:5]


def response_headers(stream: int, update: bytes) -> bytes:
    """Write the headers of a response with a message.

    Args:
        stream: of the call.
        update: ``TABLE_SIZE_UPDATE`` or empty, as in the functions below.
    """
    return frames.frame(frames.HEADERS, frames.END_HEADERS, stream, update + _RESPONSE)


def prefix(length: int) -> bytes:
    """Return the prefix of a message."""
    return _PREFIX.pack(0, length)


def whole_response(stream: int, size: int, *data: bytes) -> bytes:
    """Write a response with a message that fits in one frame.

    Args:
        stream: of the call.
        size: of all data.
        data: the message and its prefix, in parts.
    """
    stream_id = stream.to_bytes(4, "big")
    head = (_HEADERS_BEGIN, stream_id, _RESPONSE, size.to_bytes(3, "big"), b"\0\0", stream_id)
    return b"".join((*head, *data, _TRAILERS_BEGIN, stream_id, _OK_TRAILERS))


def ok_trailers(stream: int, update: bytes) -> bytes:
    """Write the trailers of a response with a message."""
    return _last_headers(stream, update + _OK_TRAILERS)


def http_error(stream: int, error: HttpError, update: bytes) -> bytes:
    """Write the whole response to a request that is not gRPC (gRPC's "Responses")."""
    # A literal whose name has index 8 in the static table (RFC 7541 6.2.2).
    return _last_headers(stream, update + b"\x08\x03%d" % error)


def failure(stream: int, error: CallFailed, update: bytes) -> bytes:
    """Write the whole response of a failed call."""
    return _last_headers(stream, update + _RESPONSE + _ACCEPTED + _status_of(error))


def error_trailers(stream: int, error: CallFailed, update: bytes) -> bytes:
    """Write the trailers of a call that failed after its response had begun."""
    return _last_headers(stream, update + _status_of(error))


def _status_of(error: CallFailed) -> bytes:
    message = quote(str(error))[:100].encode("ascii")
    status = _literal(b"grpc-status", str(int(error.status)).encode("ascii"))
    return status + _literal(b"grpc-message", message)


def _last_headers(stream: int, block: bytes) -> bytes:
    return frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, block)
