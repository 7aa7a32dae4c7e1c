"""authz.transport.http2.server with grpcio as its client, beside grpcio's own server."""

import asyncio
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz.addresses import UnixAddress
from authz.check.ext_authz import METHOD
from authz.transport.http2.server import Http2Server
from tests.unit.transport.http2.served import Checks, Server, method_of


async def _until_cancelled(checks: Checks, count: int = 1) -> None:
    for _ in range(6000):
        if checks.cancelled == count:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{checks.cancelled} of {count} calls cancelled")


async def test_many_calls(channel: grpc.aio.Channel) -> None:
    """Five hundred calls at once each get their own answer."""
    call = method_of(channel)
    answers = await asyncio.gather(*(call(b"message %d" % n) for n in range(500)))
    assert answers == [(b"message %d" % n)[::-1] for n in range(500)]


async def test_large_messages(channel: grpc.aio.Channel) -> None:
    """A message of just the limit is answered whole, through every flow-control window."""
    message = bytes(range(256)) * 4096
    answers = await asyncio.gather(*(method_of(channel)(message) for _ in range(5)))
    assert answers == [message[::-1]] * 5


@pytest.mark.parametrize("size", [(1 << 20) + 1, 3 << 20])
async def test_a_message_too_large(channel: grpc.aio.Channel, size: int) -> None:
    """Above the limit the call fails, and the next one works."""
    call = method_of(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(bytes(size))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await call(b"ab") == b"ba"


async def test_an_unknownmethod_of(channel: grpc.aio.Channel) -> None:
    """A call of an unknown method is UNIMPLEMENTED."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await method_of(channel, "/x.Y/Z")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_exception_is_no_answer(channel: grpc.aio.Channel) -> None:
    """A call whose handler raises fails, without the exception's text, never with an answer."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await method_of(channel)(b"bad")
    assert caught.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


async def test_a_deadline_cancels(channel: grpc.aio.Channel, checks: Checks) -> None:
    """A caller who gives up gets DEADLINE_EXCEEDED, and the handler is cancelled."""
    # On a busy machine a short time may be over before the handler is called.
    for seconds in (0.1, 1, 10):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method_of(channel)(b"slow", timeout=seconds)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        if checks.slow:
            break
    await _until_cancelled(checks, checks.slow or 1)


async def test_a_cancelled_call(channel: grpc.aio.Channel, checks: Checks) -> None:
    """A caller who cancels has the handler cancelled; another call on the connection goes on."""
    call, other = (asyncio.ensure_future(method_of(channel)(b"slow")) for _ in range(2))
    await checks.until_slow(2)
    call.cancel()
    await _until_cancelled(checks)
    checks.release.set()
    assert await other == b"wols"
    assert checks.cancelled == 1


async def test_a_client_that_is_gone(server: Server, checks: Checks, tmp_path: Path) -> None:
    """A connection that is closed has its calls cancelled."""
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        calls = [asyncio.ensure_future(method_of(channel)(b"slow")) for _ in range(20)]
        await checks.until_slow(20)
    await asyncio.gather(*calls, return_exceptions=True)
    await _until_cancelled(checks, 20)


async def test_compression(checks: Checks, tmp_path: Path) -> None:
    """A compressed request is UNIMPLEMENTED, and the next one on the connection is answered."""
    server = Http2Server(checks.methods(), UnixAddress(str(tmp_path / "s")))
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method_of(channel)(b"a" * 1000, compression=grpc.Compression.Gzip)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await method_of(channel)(b"ab") == b"ba"
    await server.stop(0)


async def test_the_synchronous_client(server: Server, tmp_path: Path) -> None:
    """The threads of grpcio's client, several connections, each call with its own answer."""

    def ask(number: int) -> list[bytes]:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"unix:{tmp_path / 's'}", options) as channel:
            method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            return [method(b"%d-%d" % (number, n), timeout=60) for n in range(50)]

    loop = asyncio.get_running_loop()
    with futures.ThreadPoolExecutor(4) as pool:
        asked = [loop.run_in_executor(pool, ask, number) for number in range(4)]
        answers = await asyncio.gather(*asked)
    assert answers == [[(b"%d-%d" % (a, b))[::-1] for b in range(50)] for a in range(4)]


async def test_health(channel: grpc.aio.Channel) -> None:
    """The standard health service says SERVING."""
    stub = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="no.Such"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
