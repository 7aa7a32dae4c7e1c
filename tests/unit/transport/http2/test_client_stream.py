"""Client-streaming calls: Envoy's access log stream, on our server and on the reference."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from authz.addresses import UnixAddress
from authz.check.refused_keys import METHOD
from authz.transport.common import ClientStream
from authz.transport.grpcio_server import GrpcServer
from authz.transport.http2.server import Http2Server
from tests.unit.transport.http2.client import Client
from tests.unit.transport.http2.served import Checks, Server, method_of
from tests.unit.transport.http2.wire import LOG, message

Received = list[bytes]


@pytest.fixture(params=[Http2Server, GrpcServer])
def kind(request: pytest.FixtureRequest) -> type[Server]:
    """Our server, and the reference."""
    chosen: type[Server] = request.param
    return chosen


@asynccontextmanager
async def _serving(
    kind: type[Server], path: Path, received: Received
) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
    def receive(entry: bytes) -> None:
        if entry == b"bad":
            raise ValueError("secret")
        received.append(entry)

    server = kind(
        {**Checks().methods(), METHOD: ClientStream(receive, b"")}, UnixAddress(str(path / "s"))
    )
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{path / 's'}") as channel:
        yield server, channel
    await server.stop(0)


def _log(channel: grpc.aio.Channel, messages: AsyncIterator[bytes]) -> asyncio.Future[bytes]:
    method: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(METHOD)
    return asyncio.ensure_future(method(messages))


async def _until(received: Received, count: int) -> None:
    for _ in range(10_000):
        if len(received) >= count:
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"{len(received)} of {count} messages")


async def test_each_message_at_once(kind: type[Server], tmp_path: Path) -> None:
    """A message is taken while the stream is open; the stream's end is answered."""
    received: Received = []
    more = asyncio.Event()

    async def messages() -> AsyncIterator[bytes]:
        yield b"one"
        await more.wait()
        yield b"two"

    async with _serving(kind, tmp_path, received) as (_, channel):
        call = _log(channel, messages())
        await _until(received, 1)
        assert not call.done()
        more.set()
        assert await call == b""
        assert received == [b"one", b"two"]


async def test_more_than_every_window(kind: type[Server], tmp_path: Path) -> None:
    """A stream goes on for ever: 80 MB in large and small messages pass, whole and in order."""
    received: Received = []
    sent = [bytes([n % 256]) * (1_000_000 if n % 4 == 0 else n) for n in range(320)]

    async def messages() -> AsyncIterator[bytes]:
        for one in sent:
            yield one

    async with _serving(kind, tmp_path, received) as (_, channel):
        assert await _log(channel, messages()) == b""
        assert received == sent


async def test_checks_go_on_beside_it(kind: type[Server], tmp_path: Path) -> None:
    """On the same connection a check is answered while a stream is open."""
    received: Received = []

    async def messages() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.Event().wait()

    async with _serving(kind, tmp_path, received) as (_, channel):
        call = _log(channel, messages())
        await _until(received, 1)
        assert await method_of(channel)(b"ab") == b"ba"
        call.cancel()


async def test_a_stop_ends_the_stream(kind: type[Server], tmp_path: Path) -> None:
    """A stream that would go on for ever does not hold up the end, and is answered."""

    async def messages() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.Event().wait()

    received: Received = []
    async with _serving(kind, tmp_path, received) as (server, channel):
        call = _log(channel, messages())
        await _until(received, 1)
        began = time.monotonic()
        await server.stop(300)
        assert time.monotonic() - began < 100
        assert await call == b""


async def test_a_receiver_that_raises(tmp_path: Path) -> None:
    """The stream ends without the exception's text, and the next one works."""
    received: Received = []

    async def messages(one: bytes) -> AsyncIterator[bytes]:
        yield one

    async with _serving(Http2Server, tmp_path, received) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _log(channel, messages(b"bad"))
        assert "secret" not in str(caught.value)
        assert await _log(channel, messages(b"good")) == b""
        assert received == [b"good"]


def _chunks(data: bytes, size: int) -> Iterator[bytes]:
    for offset in range(0, len(data), size):
        yield data[offset : offset + size]


def _stream(client: Client, chunks: Iterator[bytes], *, ended: bool) -> int:
    stream = client.open(LOG, b"", ended=False)
    for chunk in chunks:
        client.h2.send_data(stream, chunk)
        client.exchange()
    if ended:
        client.h2.end_stream(stream)
        client.exchange()
    return stream


@pytest.mark.parametrize("size", [1, 2, 5, 7, 1000])
async def test_messages_in_any_pieces(size: int) -> None:
    """The messages are the same however the bytes are cut into frames."""
    client = Client()
    data = b"".join(message(bytes([n]) * n) for n in range(30))
    stream = _stream(client, _chunks(data, size), ended=True)
    assert client.wire.handlers.received == [bytes([n]) * n for n in range(30)]
    assert client.answers[stream].fields["grpc-status"] == "0"


async def test_a_message_that_is_cut() -> None:
    """A stream that ends inside a message fails; the whole ones before were taken."""
    client = Client()
    stream = _stream(client, iter([message(b"one") + message(b"two")[:-1]]), ended=True)
    assert client.wire.handlers.received == [b"one"]
    assert client.answers[stream].fields["grpc-status"] == "13"


async def test_a_message_too_large() -> None:
    """A message above the limit ends the stream before its bytes are kept."""
    client = Client()
    data = message(bytes((1 << 20) + 1))
    stream = _stream(client, _chunks(data[: (1 << 20) + 100], 16_000), ended=False)
    assert client.answers[stream].fields["grpc-status"] == "8"
