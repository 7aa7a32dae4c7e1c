"""authz.transport.http2.blocks: the cache never changes the meaning of a header block."""

from collections.abc import Iterable

import hpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.transport.http2 import blocks
from authz.transport.http2.blocks import Blocks
from authz.transport.http2.frames import ConnectionFailed, ErrorCode
from authz.transport.http2.grpc import HttpError
from tests.unit.transport.http2.wire import plain_block, request_fields

PATHS = ("/a/A", "/b/B", "/c/C")


class Reference:
    """Decodes each block anew."""

    def __init__(self) -> None:
        self.decoder = hpack.Decoder(max_header_list_size=blocks.MAX_HEADER_BLOCK_BYTES)

    def path_of(self, block: bytes) -> str | HttpError | None:
        """Return what ``Blocks.path_of`` has to return."""
        return blocks._path(self.decoder.decode(block, raw=True))


def _agree(sequence: Iterable[bytes]) -> None:
    """Assert that both say the same of each block, up to the first that can't be decoded."""
    ours, reference = Blocks(), Reference()
    for block in sequence:
        try:
            expected = reference.path_of(block)
        except (hpack.HPACKError, ValueError, IndexError):
            with pytest.raises(ConnectionFailed):
                ours.path_of(block)
            return
        assert ours.path_of(block) == expected
        assert (
            ours._decoder.header_table.dynamic_entries
            == reference.decoder.header_table.dynamic_entries
        )
        assert ours._decoder.header_table_size == reference.decoder.header_table_size
        assert len(ours._cached) <= 64


_lists = st.lists(
    st.tuples(st.sampled_from(PATHS), st.sampled_from(["", "x", "y" * 60, "z" * 900])),
    min_size=1,
    max_size=4,
)
_encoded = st.one_of(
    st.tuples(st.just("request"), _lists),
    st.tuples(st.just("size"), st.sampled_from([0, 40, 100, 300, 4096])),
    st.tuples(st.just("again"), st.integers(0, 20)),
)


@given(st.lists(_encoded, max_size=40), st.booleans())
def test_as_without_a_memory(steps: list[tuple[str, object]], huffman: bool) -> None:
    """The cache agrees with a fresh decoder on encoded blocks, resizes and repeated blocks."""
    encoder = hpack.Encoder()
    sequence: list[bytes] = []
    for what, value in steps:
        if what == "size":
            assert isinstance(value, int)
            encoder.header_table_size = value
        elif what == "again" and sequence:
            # No encoder does this: the same bytes again, with another meaning by now.
            assert isinstance(value, int)
            sequence.append(sequence[-1 - value % len(sequence)])
        elif what == "request":
            assert isinstance(value, list)
            for path, extra in value:
                fields = [*request_fields(path), *([("x-extra", extra)] if extra else [])]
                sequence.append(encoder.encode(fields, huffman=huffman))
    _agree(sequence)


def _update(size: int) -> bytes:
    return b"\x20" if size == 0 else b"\x3f" + _varint(size - 31)


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def _added(name: bytes, value: bytes) -> bytes:
    return b"\x40" + bytes([len(name)]) + name + bytes([len(value)]) + value


_REST = b"\x83\x86" + plain_block([("content-type", "application/grpc")])
"""``:method: POST``, ``:scheme: http`` and what gRPC wants, without a table."""
_pieces = st.sampled_from(
    [
        *(_added(b":path", path.encode()) for path in PATHS),
        *(bytes([0x80 | index]) for index in range(62, 66)),
        _added(b"x", b"y" * 100),
        b"\x00\x05:path\x04/d/D",
    ]
)
_raw = st.tuples(
    st.lists(st.sampled_from([0, 32, 64, 150, 4096]).map(_update), max_size=2).map(b"".join),
    st.lists(_pieces, max_size=3).map(b"".join),
).map(lambda pair: b"".join(pair) + _REST)


@given(st.lists(_raw, max_size=3).flatmap(lambda few: st.lists(st.sampled_from(few or [b""]))))
@example([_update(0) + _added(b":path", b"/a/A") + _REST] * 3)
def test_as_without_a_memory_for_any_block(sequence: list[bytes]) -> None:
    """The cache agrees with a fresh decoder on a few updates, entries and indices in any order."""
    _agree(sequence)


def test_an_update_of_the_tables_size_is_never_skipped() -> None:
    """A block that changes only the table's size leaves its entries alone, and still counts."""
    shrink, grow = (_update(size) + b"\x00\x05:path\x02/a" + _REST for size in (0, 4096))
    adds = _added(b":path", b"/b") + _REST
    # With a table of size 0 the entry is dropped, so index 62 has no meaning.
    _agree([shrink, grow, shrink, adds, b"\xbe" + _REST])
    # A block that adds nothing at size 0 adds its entry once the table has grown.
    _agree([shrink, adds, grow, adds, b"\xbe" + _REST])


def test_an_entry_too_large_empties_the_table() -> None:
    """An entry that is too large is not kept and empties the table (RFC 7541 4.4)."""
    named, large = b"\xbe" + _REST, b"\x40\x01x\x7f" + _varint(5000 - 127) + b"y" * 5000
    _agree([_added(b":path", b"/a") + _REST, named, named, large, named])


def test_a_block_that_repeats_is_decoded_once() -> None:
    """The memory works: an encoder's third block and those after it are not decoded."""
    encoder, ours = hpack.Encoder(), Blocks()
    for number in range(10):
        assert ours.path_of(encoder.encode(request_fields("/a/A"))) == "/a/A"
        if number == 1:
            ours._decoder.decode = None  # type: ignore[method-assign,assignment]


def test_the_memory_is_small() -> None:
    """The cache stays small, with many blocks and with large ones."""
    ours = Blocks()
    for number in range(1000):
        long = f"/{number}" + "x" * 120
        ours.path_of(plain_block(request_fields(long, x_more="y" * 120)))
        extra = [(f"x-{index}", "y" * 120) for index in range(5)]
        ours.path_of(plain_block([*request_fields(long), *extra]))
        assert sum(len(block) + len(path) for block, path in ours._cached.items()) <= 64 * 512


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",
        b"\xbe",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x00\x05:pa",
        b"\x40",
        b"\x00\x85\xff\xff\xff\xff\xff\x01a",
        _update(4097),
        b"\x83" + _update(0),
        b"\x3f",
        b"\x00\x7f" + b"\xff" * 30,
    ],
    ids=[
        "index 0",
        "index of nothing",
        "endless number",
        "cut name",
        "cut",
        "bad Huffman code",
        "table too large",
        "update behind a field",
        "cut update",
        "endless length",
    ],
)
def test_a_block_that_is_no_hpack(block: bytes) -> None:
    """A block that is not HPACK ends the connection with COMPRESSION_ERROR (RFC 9113 4.3)."""
    with pytest.raises(ConnectionFailed) as caught:
        Blocks().path_of(block)
    assert caught.value.code == ErrorCode.COMPRESSION_ERROR


@given(st.binary(max_size=200))
def test_random_blocks(block: bytes) -> None:
    """Any bytes are a block or end the connection; no other exception comes out."""
    code = ErrorCode.COMPRESSION_ERROR
    try:
        Blocks().path_of(block)
    except ConnectionFailed as error:
        code = error.code
    assert code in (ErrorCode.COMPRESSION_ERROR, ErrorCode.ENHANCE_YOUR_CALM)


def test_a_bomb() -> None:
    """A large entry that is named again and again ends the connection before it takes memory."""
    ours = Blocks()
    entry = b"\x40\x01x" + b"\x7f" + _varint(3000 - 127) + b"y" * 3000
    assert ours.path_of(entry) == ""
    with pytest.raises(ConnectionFailed) as caught:
        ours.path_of(b"\xbe" * 16_000)
    assert caught.value.code == ErrorCode.ENHANCE_YOUR_CALM


def test_trailers() -> None:
    """A list without pseudo-headers is trailers, also an empty one."""
    assert Blocks().path_of(b"") == ""
    assert Blocks().path_of(plain_block([("x-checksum", "1")])) == ""


@pytest.mark.parametrize(
    "fields",
    [
        request_fields(__path=None),
        request_fields(__path=""),
        request_fields(__method=None),
        request_fields(__scheme=None),
        request_fields(__status="200"),
        [*request_fields(), (":path", "/other")],
        [*request_fields(), ("x-a", "b"), (":authority", "other")],
        request_fields(te="gzip"),
        request_fields(connection="close"),
        request_fields(transfer_encoding="chunked"),
        [*request_fields(), ("X-Upper", "a")],
        [*request_fields(), ("x y", "a")],
        [*request_fields(), ("", "a")],
        [*request_fields(), ("x-a", "b\r\nx-c: d")],
        [*request_fields(), ("x-a", "b\0")],
        [(":path", "/a/A")],
    ],
    ids=lambda fields: repr(fields)[-60:],
)
def test_malformed_lists(fields: list[tuple[str, str]]) -> None:
    """A list that RFC 9113 8.2 or 8.3 forbids is neither a request nor trailers."""
    ours = Blocks()
    for _ in range(3):
        assert ours.path_of(plain_block(fields)) is None


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto"])
def test_good_lists(content_type: str) -> None:
    """A gRPC client's header list is a request, also with optional headers."""
    fields = request_fields("/a/A", content_type=content_type, grpc_timeout="100m", user_agent="x")
    assert Blocks().path_of(plain_block(fields)) == "/a/A"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (request_fields(__method="GET", content_type=None), 405),
        (request_fields(content_type="text/plain"), 415),
        (request_fields(content_type=None), 415),
    ],
)
def test_http_without_grpc(fields: list[tuple[str, str]], status: int) -> None:
    """A valid HTTP request that is not gRPC gets the status that names the reason."""
    ours = Blocks()
    for _ in range(3):
        assert ours.path_of(plain_block(fields)) == HttpError(status)
