"""gRPC's framing over HTTP/2 (gRPC's ``PROTOCOL-HTTP2.md``)."""

import struct
from enum import IntEnum
from urllib.parse import quote

from authz.transport.http2 import frames

PREFIX_LENGTH = 5
_PREFIX = struct.Struct(">BL")


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
    return _PREFIX.pack(0, len(message)) + message


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


def whole_response(stream: int, data: bytes) -> bytes:
    """Write a response with a message that fits in one frame."""
    stream_id = stream.to_bytes(4, "big")
    size = len(data).to_bytes(3, "big")
    head = (_HEADERS_BEGIN, stream_id, _RESPONSE, size, b"\0\0", stream_id)
    return b"".join((*head, data, _TRAILERS_BEGIN, stream_id, _OK_TRAILERS))


def ok_trailers(stream: int, update: bytes) -> bytes:
    """Write the trailers of a response with a message."""
    return _last_headers(stream, update + _OK_TRAILERS)


def http_error(stream: int, error: HttpError, update: bytes) -> bytes:
    """Write the whole response to a request that is not gRPC (gRPC's "Responses")."""
    # A literal whose name has index 8 in the static table (RFC 7541 6.2.2).
    return _last_headers(stream, update + b"\x08\x03%d" % error)


def failure(stream: int, error: CallFailed, update: bytes) -> bytes:
    """Write the whole response of a failed call."""
    message = quote(str(error))[:100].encode("ascii")
    block = (
        update
        + _RESPONSE
        + _ACCEPTED
        + _literal(b"grpc-status", str(int(error.status)).encode("ascii"))
        + _literal(b"grpc-message", message)
    )
    return _last_headers(stream, block)


def _last_headers(stream: int, block: bytes) -> bytes:
    return frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, block)
