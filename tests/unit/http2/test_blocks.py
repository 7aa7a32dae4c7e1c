"""authz.http2.blocks: remembered blocks are never wrong."""

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from authz.http2.blocks import Blocks
from authz.http2.frames import ConnectionFailed, ErrorCode

_paths = st.sampled_from(["/a", "/b", "/c.D/E", ""])
_more = st.dictionaries(
    st.sampled_from(["x-a", "x-b", "te"]), st.text("abc", max_size=30), max_size=3
)
_step = st.tuples(_paths, _more, st.sampled_from([None, None, None, 0, 64, 4096]), st.booleans())


@given(st.lists(_step, max_size=30))
def test_as_a_decoder_without_a_memory(
    steps: list[tuple[str, dict[str, str], int | None, bool]],
) -> None:
    """For any conversation the path is what a plain decoder reads, block by block.

    Table sizes change meanwhile, and the same few headers come again and again, so that the same
    bytes recur with the same and with another meaning.
    """
    encoder, plain, blocks = Encoder(), Decoder(), Blocks()
    for path, more, size, huffman in steps:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode([(":path", path), *more.items()], huffman=huffman)
        expected = dict(plain.decode(block, raw=True))[b":path"].decode()
        assert blocks.path_of(block) == expected


@given(st.binary(max_size=100))
def test_random_blocks(block: bytes) -> None:
    """What is no header block is a compression error and nothing else."""
    code = ErrorCode.COMPRESSION_ERROR
    try:
        Blocks().path_of(block)
    except ConnectionFailed as error:
        code = error.code
    assert code is ErrorCode.COMPRESSION_ERROR


def test_a_bomb_is_refused() -> None:
    """A small block that means a lot of headers is not written out."""
    encoder = Encoder()
    blocks = Blocks()
    blocks.path_of(encoder.encode([("x-bomb", "b" * 4000)]))
    bomb = encoder.encode([("x-bomb", "b" * 4000)] * 100)
    assert len(bomb) < 1000
    with pytest.raises(ConnectionFailed):
        blocks.path_of(bomb)
