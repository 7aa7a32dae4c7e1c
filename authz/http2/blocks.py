"""Header blocks: HPACK by the ``hpack`` library, and a memory of blocks that repeat."""

from hpack import Decoder
from hpack.exceptions import HPACKError

from authz.http2.frames import ConnectionFailed, ErrorCode

MAX_HEADER_BLOCK_BYTES = 65_536
_KEPT = 64


class Blocks:
    """The header blocks of one connection.

    Envoy's checks have the same headers, which after the first are the same few bytes of indices.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=MAX_HEADER_BLOCK_BYTES)
        self._known: dict[bytes, str] = {}

    def path_of(self, block: bytes) -> str:
        """Return the ``:path`` of a block, empty without one.

        Every block of a connection has to come here, in order, since each may change the table
        that the next one refers to.

        Raises:
            ConnectionFailed: the block can't be decoded.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        table = self._decoder.header_table.dynamic_entries
        before = (len(table), table[0] if table else None)
        try:
            fields = dict(self._decoder.decode(block, raw=True))
        except (HPACKError, ValueError, IndexError) as error:
            raise ConnectionFailed(ErrorCode.COMPRESSION_ERROR, type(error).__name__) from None
        path = fields.get(b":path", b"").decode("ascii", "replace")
        after = (len(table), table[0] if table else None)
        if before[0] != after[0] or before[1] is not after[1]:
            # Indices have moved: the same bytes mean something else now.
            self._known.clear()
        elif len(self._known) < _KEPT:
            self._known[block] = path
        return path
