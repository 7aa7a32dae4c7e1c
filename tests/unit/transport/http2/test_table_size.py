"""authz.transport.http2: HPACK's table size update towards the peer (RFC 7541 4.2)."""

import hpack
import pytest

from authz.transport.http2 import frames
from tests.unit.transport.http2.wire import (
    BIG,
    BIG_ANSWER,
    BROKEN,
    OPENING,
    Wire,
    call,
    headers,
    plain_block,
    request_fields,
    responses,
)

SIZE, INITIAL = frames.SETTINGS_HEADER_TABLE_SIZE, frames.SETTINGS_INITIAL_WINDOW_SIZE
GET = plain_block(request_fields(__method="GET"))


def _sizes(wire: Wire, limit: int) -> list[int]:
    """Decode the header blocks behind the ACK as a strict peer; return the table size after each.

    Such a decoder raises an exception if the first block doesn't begin with the update.
    """
    decoder = hpack.Decoder()
    found = []
    acknowledged = False
    for frame in wire.take():
        if frame.kind == frames.SETTINGS and frame.flags & frames.ACK:
            acknowledged = True
            decoder.max_allowed_table_size = limit
        elif frame.kind == frames.HEADERS:
            assert acknowledged or frame.payload[:1] != b"\x20"
            decoder.decode(frame.payload)
            found.append(decoder.header_table_size)
    return found


@pytest.mark.parametrize(
    "first",
    [call(1), call(1, path=BIG), call(1, path=BROKEN), call(1, path="/unknown"), headers(1, GET)],
    ids=["answer", "large answer", "failed call", "unknown method", "not gRPC"],
)
@pytest.mark.parametrize("limit", [0, 100])
async def test_a_smaller_table(first: bytes, limit: int) -> None:
    """The first response, of any kind, begins with the update, and later ones do not."""
    wire = Wire().send(frames.settings({SIZE: limit}), first, call(3), call(5))
    assert set(_sizes(wire, limit)) == {0}
    wire.send(call(7))
    (block, *_) = (frame.payload for frame in wire.take() if frame.kind == frames.HEADERS)
    assert not block.startswith(b"\x20")


async def test_a_smaller_table_while_an_answer_waits() -> None:
    """Trailers before the ACK have no update, and those behind it have one."""
    wire = Wire().send(call(1, path=BIG))
    decoder = hpack.Decoder()
    decoder.decode(next(frame.payload for frame in wire.take() if frame.kind == frames.HEADERS))
    wire.send(frames.settings({SIZE: 0}), frames.window_update(1, 1 << 20))
    wire.send(frames.window_update(0, 1 << 20))
    decoder.max_allowed_table_size = 0
    (block,) = (frame.payload for frame in wire.take() if frame.kind == frames.HEADERS)
    assert [tuple(it) for it in decoder.decode(block, raw=True)] == [(b"grpc-status", b"0")]
    assert decoder.header_table_size == 0


async def test_trailers_before_the_ack() -> None:
    """SETTINGS that free a held answer apply their table size only to the blocks behind the ACK."""
    wire = Wire().send(frames.settings({INITIAL: 0}), frames.window_update(0, 1 << 20))
    wire.send(call(1, path=BIG))
    wire.send(frames.settings({SIZE: 0, INITIAL: 1 << 20}), call(3))
    written = bytes(wire.transport.written)
    assert responses(written)[1].body.endswith(BIG_ANSWER)
    blocks = [frame.payload for frame in wire.take() if frame.kind == frames.HEADERS]
    assert [block[:1] == b"\x20" for block in blocks] == [False, False, True, False]


async def test_a_size_that_is_raised_again() -> None:
    """The smallest of several sizes counts, in one SETTINGS frame or in two."""
    one = frames.frame(frames.SETTINGS, 0, 0, b"\0\1\0\0\0\0" + b"\0\1\0\0\x10\0")
    two = frames.settings({SIZE: 0}) + frames.settings({SIZE: 4096})
    for sent in (one, two):
        wire = Wire().send(sent, call(1))
        assert set(_sizes(wire, 4096)) == {0}


@pytest.mark.parametrize("size", [4096, 65_536])
async def test_a_table_that_is_not_smaller(size: int) -> None:
    """A peer that allows as much as before or more gets no update."""
    wire = Wire(opening=OPENING).send(frames.settings({SIZE: size}), call(1))
    assert set(_sizes(wire, size)) == {4096}
