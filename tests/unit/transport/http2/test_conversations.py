"""Bidirectional calls, as Envoy's about requests in progress, on our server and the reference."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from authz.addresses import UnixAddress
from authz.core.header_names import ROUTE_HEADER
from authz.transport.common import BidiStream
from authz.transport.grpcio_server import GrpcServer
from authz.transport.http2.server import Http2Server
from tests.unit.transport.http2.client import Client
from tests.unit.transport.http2.served import Checks, Server
from tests.unit.transport.http2.wire import message

PATH = "/test.Talk/Talk"


class Talk:
    """Answers each message backwards, keeps what it is told, and can speak by itself."""

    def __init__(self) -> None:
        self.routes: list[str] = []
        self.sends: list[Callable[[bytes], None]] = []
        self.over = 0

    def open(self, route: str, send: Callable[[bytes], None]) -> "Talk":
        self.routes.append(route)
        self.sends.append(send)
        return self

    def receive(self, text: bytes) -> bytes | None:
        if text == b"bad":
            raise ValueError("secret")
        return None if text == b"quiet" else text[::-1]

    def ended(self) -> None:
        self.over += 1


@asynccontextmanager
async def _serving(
    kind: type[Server], path: Path, talk: Talk
) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
    methods = {**Checks().methods(), PATH: BidiStream(talk.open)}
    server = kind(methods, UnixAddress(str(path / "s")))
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{path / 's'}") as channel:
        yield server, channel
    await server.stop(0)


def _talk(channel: grpc.aio.Channel) -> grpc.aio.StreamStreamMultiCallable[bytes, bytes]:
    method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(PATH)
    return method


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it takes too long")


@pytest.mark.parametrize("kind", [Http2Server, GrpcServer])
async def test_a_conversation(kind: type[Server], tmp_path: Path) -> None:
    """Messages are answered as they come, the server may speak at any time, and both may end it."""
    talk = Talk()
    async with _serving(kind, tmp_path, talk) as (server, channel):
        method = _talk(channel)
        first = method(metadata=((ROUTE_HEADER, "facts"),))
        await first.write(b"one")
        assert await first.read() == b"eno"
        await first.write(b"quiet")
        talk.sends[0](b"by itself")
        assert await first.read() == b"by itself"
        await first.done_writing()
        assert await first.read() is grpc.aio.EOF
        assert await first.code() is grpc.StatusCode.OK
        await _until(lambda: talk.over == 1)

        second = method()
        await second.write(b"two")
        assert await second.read() == b"owt"
        second.cancel()
        await _until(lambda: talk.over == 2)
        assert talk.routes == ["facts", ""]

        # Envoy's setting decides what an error of this call does to the request.
        third = method()
        await third.write(b"three")
        assert await third.read() == b"eerht"
        stopping = asyncio.create_task(server.stop(1))
        assert await third.code() is grpc.StatusCode.UNAVAILABLE
        await stopping
        await _until(lambda: talk.over == 3)


async def test_an_error_ends_one_conversation(tmp_path: Path) -> None:
    """The peer learns that there was an error, not which, and its other call goes on."""
    talk = Talk()
    async with _serving(Http2Server, tmp_path, talk) as (_, channel):
        method = _talk(channel)
        first, second = method(), method()
        await second.write(b"two")
        assert await second.read() == b"owt"
        await first.write(b"bad")
        assert await first.code() is grpc.StatusCode.INTERNAL
        assert await first.details() == "internal error"
        await second.write(b"more")
        assert await second.read() == b"erom"


async def test_a_message_without_room() -> None:
    """A message that does not fit in a frame ends the call, so that nothing waits unsent."""
    talk = Talk()
    client = Client({PATH: BidiStream(talk.open)})
    stream = client.open(PATH, message(b"x" * 100), ended=False)
    assert client.answers[stream].body == message(b"x" * 100)
    talk.sends[0](b"x" * 20_000)
    client.exchange()
    answer = client.answers[stream]
    assert answer.body == message(b"x" * 100)
    assert answer.fields["grpc-status"] == "8"
    assert answer.ended
    assert talk.over == 1
