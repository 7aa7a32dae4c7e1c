"""authz.http2.server with grpcio as its client, beside grpcio's own server."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz.addresses import UnixAddress
from authz.errors import StartError
from authz.ext_authz import METHOD
from authz.grpc_server import GrpcServer
from authz.http2.server import Http2Server

Server = GrpcServer | Http2Server


class Checks:
    """Answers a message backwards; ``slow…`` waits, ``bad`` raises."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.release = asyncio.Event()

    async def check(self, message: bytes) -> bytes:
        """Answer one check."""
        if message == b"bad":
            raise ValueError("secret")
        if message.startswith(b"slow"):
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return message[::-1]


@pytest.fixture
async def checks() -> Checks:
    """What is served."""
    return Checks()


@pytest.fixture(params=[Http2Server, GrpcServer])
async def server(
    request: pytest.FixtureRequest, checks: Checks, tmp_path: Path
) -> AsyncIterator[Server]:
    """Our server, and the reference."""
    made: Server = request.param(checks.check, UnixAddress(str(tmp_path / "s")))
    await made.start()
    yield made
    await made.stop(0)


@pytest.fixture
async def channel(server: Server, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A client's connection."""
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as made:
        yield made


def _method(
    channel: grpc.aio.Channel, path: str = METHOD
) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """Return what calls a method, bytes in and bytes out."""
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    return method


async def test_many_calls(channel: grpc.aio.Channel) -> None:
    """Five hundred calls at once each get their own answer."""
    call = _method(channel)
    answers = await asyncio.gather(*(call(b"message %d" % n) for n in range(500)))
    assert answers == [(b"message %d" % n)[::-1] for n in range(500)]


async def test_large_messages(channel: grpc.aio.Channel) -> None:
    """A message up to the limit is answered whole, through every flow-control window."""
    message = bytes(range(256)) * 4000
    assert await _method(channel)(message) == message[::-1]


async def test_a_message_too_large(channel: grpc.aio.Channel) -> None:
    """Above the limit the call fails, and the next one works."""
    call = _method(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(bytes(2 << 20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await call(b"ab") == b"ba"


async def test_an_unknown_method(channel: grpc.aio.Channel) -> None:
    """It is UNIMPLEMENTED."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _method(channel, "/x.Y/Z")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_exception_is_no_answer(channel: grpc.aio.Channel) -> None:
    """A call whose handler raises fails, without the exception's text, never with an answer."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _method(channel)(b"bad")
    assert caught.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


async def test_a_deadline_cancels(channel: grpc.aio.Channel, checks: Checks) -> None:
    """A caller who gives up gets DEADLINE_EXCEEDED, and the handler is cancelled."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _method(channel)(b"slow", timeout=0.1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    for _ in range(100):
        if checks.cancelled:
            break
        await asyncio.sleep(0.01)
    assert checks.cancelled == 1


async def test_health(channel: grpc.aio.Channel) -> None:
    """The standard health service says SERVING."""
    stub = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_stop_lets_calls_finish(
    server: Server, channel: grpc.aio.Channel, checks: Checks, tmp_path: Path
) -> None:
    """A call in flight gets its answer; afterwards nobody listens and the socket is gone."""
    call = asyncio.ensure_future(_method(channel)(b"slow"))
    await asyncio.sleep(0.1)
    stopping = asyncio.create_task(server.stop(5))
    await asyncio.sleep(0.2)
    checks.release.set()
    assert await call == b"wols"
    await stopping
    assert not (tmp_path / "s").exists()


async def test_the_socket_is_private_and_not_shared(server: Server, tmp_path: Path) -> None:
    """Mode 0600, and a second server on it is refused while the first lives."""
    path = tmp_path / "s"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second = type(server)(Checks().check, UnixAddress(str(path)))
    with pytest.raises(StartError, match="in use"):
        await second.start()


async def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    """A dead process's socket does not keep ours from starting."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = Http2Server(Checks().check, UnixAddress(str(path)))
    await server.start()
    await server.stop(0)
