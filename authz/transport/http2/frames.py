"""Reads and writes HTTP/2 frames (RFC 9113 section 4), and defines their errors."""

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_LENGTH = 9
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_SIZE = 16_384
DEFAULT_TABLE_SIZE = 4_096
"""The dynamic table of HPACK, before any SETTINGS (RFC 9113 6.5.2)."""
MAX_WINDOW = 2**31 - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

SETTINGS_HEADER_TABLE_SIZE = 1
SETTINGS_ENABLE_PUSH = 2
SETTINGS_MAX_CONCURRENT_STREAMS = 3
SETTINGS_INITIAL_WINDOW_SIZE = 4
SETTINGS_MAX_FRAME_SIZE = 5
SETTINGS_MAX_HEADER_LIST_SIZE = 6

_HEADER = struct.Struct(">BHBBL")
_SETTING = struct.Struct(">HL")


class ErrorCode(IntEnum):
    """Error codes (RFC 9113 section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionFailed(Exception):  # noqa: N818 - the state of the connection
    """The peer broke the protocol; the connection ends with a GOAWAY."""

    def __init__(self, code: ErrorCode, why: str) -> None:
        super().__init__(why)
        self.code = code


class StreamFailed(Exception):  # noqa: N818 - the state of the stream
    """The peer broke the protocol on one stream, which ends with an RST_STREAM."""

    def __init__(self, stream: int, code: ErrorCode, why: str) -> None:
        super().__init__(why)
        self.stream = stream
        self.code = code


def unpack_header(buffer: bytes, offset: int) -> tuple[int, int, int, int]:
    """Read a frame's header at ``offset``.

    Returns:
        Payload length, type, flags, stream id without the reserved bit.
    """
    high, low, kind, flags, stream = _HEADER.unpack_from(buffer, offset)
    return high << 16 | low, kind, flags, stream & MAX_WINDOW


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Write a frame."""
    length = len(payload)
    return _HEADER.pack(length >> 16, length & 0xFFFF, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """Write a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*item) for item in values.items()))


def read_settings(payload: bytes) -> dict[int, int]:
    """Read the payload of a SETTINGS frame.

    The last value of a setting counts. The smallest one counts for HPACK's table, since an encoder
    must also follow a size that the peer raises again at once (RFC 7541 4.2).

    Raises:
        ConnectionFailed: the payload is cut, or a setting has a value out of range.
    """
    if len(payload) % _SETTING.size:
        raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of odd length")
    values: dict[int, int] = {}
    for name, value in _SETTING.iter_unpack(payload):
        if name == SETTINGS_INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, "initial window too large")
        if name == SETTINGS_MAX_FRAME_SIZE and not DEFAULT_FRAME_SIZE <= value < 1 << 24:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "maximum frame size out of range")
        if name == SETTINGS_ENABLE_PUSH and value > 1:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH must be 0 or 1")
        if name == SETTINGS_HEADER_TABLE_SIZE:
            value = min(value, values.get(name, value))
        values[name] = value
    return values


def uint32(payload: bytes) -> int:
    """Read a payload that is one 32-bit number.

    Raises:
        ConnectionFailed: the payload has another length.
    """
    if len(payload) != 4:
        raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "payload is not 4 bytes")
    return int.from_bytes(payload, "big")


def without_padding(flags: int, payload: bytes) -> bytes:
    """Return a DATA or HEADERS payload without its padding.

    Raises:
        ConnectionFailed: there is more padding than payload.
    """
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "padding is longer than the payload")
    return payload[1 : len(payload) - payload[0]]


def goaway(last_stream: int, code: ErrorCode) -> bytes:
    """Write a GOAWAY frame."""
    return frame(GOAWAY, 0, 0, struct.pack(">LL", last_stream, code))


def reset(stream: int, code: ErrorCode) -> bytes:
    """Write an RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, struct.pack(">L", code))


def window_update(stream: int, increment: int) -> bytes:
    """Write a WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">L", increment))
