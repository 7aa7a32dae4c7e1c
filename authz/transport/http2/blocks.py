"""Header blocks: HPACK by the ``hpack`` library, and a memory of blocks that repeat."""

import re
from collections.abc import Iterable

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError

from authz.transport.http2.frames import ConnectionFailed, ErrorCode

MAX_HEADER_BLOCK_BYTES = 16_384
"""Those of a check are some hundred bytes."""
TRACEPARENT = b"traceparent"
"""W3C Trace Context 3.2; Envoy sends it with a check when it traces the request."""
_KEPT = 64
_KEPT_BYTES = 512

_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_OF_CONNECTION = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_NOT_IN_VALUES = re.compile(rb"[\0\r\n]")


class Blocks:
    """The header blocks of one connection.

    Envoy's checks have the same headers, which after the first are the same few bytes of indices.
    The same bytes mean the same as long as HPACK's dynamic table is the same, and its size too:
    that decides what a block would add. So a block is remembered only when it changes neither,
    and all are forgotten when one does.

    Attributes:
        traceparent: of the last block, as it came; empty where it had none.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=MAX_HEADER_BLOCK_BYTES)
        self._known: dict[bytes, str] = {}
        self.traceparent = b""

    def path_of(self, block: bytes) -> str | None:
        """Return the ``:path`` of a request's block, empty for trailers, None for anything else.

        Every block of a connection has to come here, in order, since each may change the table
        that the next one refers to.

        Raises:
            ConnectionFailed: the block can't be decoded.
        """
        self.traceparent = b""
        known = self._known.get(block)
        if known is not None:
            return known
        table = self._decoder.header_table.dynamic_entries
        # An entry that is added is a new object, so the first one tells, with their number.
        length, first = len(table), table[0] if table else None
        try:
            fields = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError:
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "header list too large") from None
        except (HPACKError, ValueError, IndexError) as error:
            raise ConnectionFailed(ErrorCode.COMPRESSION_ERROR, type(error).__name__) from None
        path = _path(fields)
        self.traceparent = next((value for name, value in fields if name == TRACEPARENT), b"")
        is_update = block[:1] and block[0] & 0xE0 == 0x20  # of the table's size (RFC 7541 6.3)
        if is_update or len(table) != length or (table and table[0] is not first):
            self._known.clear()
        elif path is not None and not self.traceparent and len(block) + len(path) <= _KEPT_BYTES:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[block] = path
        return path


def _path(fields: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Say what a header list is, by the rules of RFC 9113 8.2 and 8.3 and of gRPC."""
    pseudo: dict[bytes, bytes] = {}
    content_type = b""
    only_regular = False
    for name, value in fields:
        if _NOT_IN_VALUES.search(value):
            return None
        if name.startswith(b":"):
            if only_regular or name in pseudo or name not in _PSEUDO:
                return None
            pseudo[name] = value
            continue
        only_regular = True
        if name in _OF_CONNECTION or not _NAME.fullmatch(name):
            return None
        if name == b"te" and value != b"trailers":
            return None
        if name == b"content-type":
            content_type = value
    if not pseudo:
        return ""
    if pseudo.get(b":method") != b"POST" or not pseudo.get(b":scheme"):
        return None
    if not content_type.startswith(b"application/grpc"):
        return None
    return pseudo.get(b":path", b"").decode("ascii", "replace") or None
