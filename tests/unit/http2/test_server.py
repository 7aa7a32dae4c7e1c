"""authz.http2.server with grpcio as its client, beside grpcio's own server."""

import asyncio
import socket
import stat
import time
from collections.abc import AsyncIterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz.addresses import TcpAddress, UnixAddress
from authz.errors import StartError
from authz.ext_authz import METHOD
from authz.grpc_server import GrpcServer
from authz.http2.server import Http2Server
from tests.support.pair import free_port
from tests.unit.http2.wire import OPENING, call, headers

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


async def _until_cancelled(checks: Checks, count: int = 1) -> None:
    for _ in range(200):
        if checks.cancelled == count:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{checks.cancelled} of {count} calls cancelled")


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
    """A message of just the limit is answered whole, through every flow-control window."""
    message = bytes(range(256)) * 4096
    answers = await asyncio.gather(*(_method(channel)(message) for _ in range(5)))
    assert answers == [message[::-1]] * 5


@pytest.mark.parametrize("size", [(1 << 20) + 1, 3 << 20])
async def test_a_message_too_large(channel: grpc.aio.Channel, size: int) -> None:
    """Above the limit the call fails, and the next one works."""
    call = _method(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(bytes(size))
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
    await _until_cancelled(checks)


async def test_a_cancelled_call(channel: grpc.aio.Channel, checks: Checks) -> None:
    """A caller who cancels has the handler cancelled; another call on the connection goes on."""
    call, other = (asyncio.ensure_future(_method(channel)(b"slow")) for _ in range(2))
    await asyncio.sleep(0.1)
    call.cancel()
    await _until_cancelled(checks)
    checks.release.set()
    assert await other == b"wols"
    assert checks.cancelled == 1


async def test_a_client_that_is_gone(server: Server, checks: Checks, tmp_path: Path) -> None:
    """A connection that is closed has its calls cancelled."""
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        calls = [asyncio.ensure_future(_method(channel)(b"slow")) for _ in range(20)]
        await asyncio.sleep(0.1)
    await asyncio.gather(*calls, return_exceptions=True)
    await _until_cancelled(checks, 20)


async def test_compression(checks: Checks, tmp_path: Path) -> None:
    """A compressed request is UNIMPLEMENTED, and the next one on the connection is answered."""
    server = Http2Server(checks.check, UnixAddress(str(tmp_path / "s")))
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _method(channel)(b"a" * 1000, compression=grpc.Compression.Gzip)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await _method(channel)(b"ab") == b"ba"
    await server.stop(0)


async def test_the_synchronous_client(server: Server, tmp_path: Path) -> None:
    """The threads of grpcio's client, several connections, each call with its own answer."""

    def ask(number: int) -> list[bytes]:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"unix:{tmp_path / 's'}", options) as channel:
            method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            return [method(b"%d-%d" % (number, n), timeout=10) for n in range(50)]

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


@pytest.mark.parametrize("immediate", [True, False])
def test_a_stop_under_load(tmp_path: Path, immediate: bool) -> None:
    """On uvloop, as we run: while calls come in all the time, a stop fails none that was sent."""

    async def run() -> None:
        server = Http2Server(Checks().check, UnixAddress(str(tmp_path / "s")), immediate=immediate)
        await server.start()
        # A client that goes on after a GOAWAY connects again; this one is to fail then.
        async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
            method, stopped = _method(channel), False
            sent = 0
            failures: list[str] = []

            async def ask() -> None:
                nonlocal sent
                while not stopped:
                    sent += 1
                    try:
                        assert await method(b"ab") == b"ba"
                    except grpc.aio.AioRpcError as error:
                        failures.append(f"{error.code()} {error.details()}")
                        return

            asking = [asyncio.create_task(ask()) for _ in range(20)]
            await asyncio.sleep(0.2)
            started = time.monotonic()
            await server.stop(5)
            assert time.monotonic() - started < 2
            stopped = True
            await asyncio.gather(*asking)
            assert sent > 100
            # Only calls that were not sent, since nobody listens any more.
            assert all("UNAVAILABLE failed to connect" in failure for failure in failures)

    uvloop.run(run())


def test_peers_that_hold_a_stop_up(tmp_path: Path) -> None:
    """Peers that never read, never end a request or say nothing at all cost the grace at most."""

    async def run() -> None:
        checks = Checks()
        path = str(tmp_path / "s")
        server = Http2Server(checks.check, UnixAddress(path))
        await server.start()
        silent, half, full = (socket.socket(socket.AF_UNIX) for _ in range(3))
        for peer in (silent, half, full):
            peer.connect(path)
        half.sendall(OPENING + headers(1))
        full.sendall(OPENING + call(1, b"slow", METHOD))
        await asyncio.sleep(0.1)
        started = time.monotonic()
        await server.stop(0.5)
        assert 0.4 < time.monotonic() - started < 1
        assert checks.cancelled == 1
        assert not server._connections
        for peer in (silent, half, full):
            peer.settimeout(2)
            while peer.recv(65_536):
                pass
            peer.close()

    uvloop.run(run())


async def test_a_stop_with_nothing_to_do_is_quick(checks: Checks, tmp_path: Path) -> None:
    """Connections that are idle, of clients that read, don't cost the grace."""
    server = Http2Server(checks.check, UnixAddress(str(tmp_path / "s")))
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        await _method(channel)(b"ab")
        started = time.monotonic()
        await server.stop(5)
        assert time.monotonic() - started < 1


async def test_a_successor_keeps_its_socket(checks: Checks, tmp_path: Path) -> None:
    """A new server may start while the old one waits for its last calls."""
    address = UnixAddress(str(tmp_path / "s"))
    old, new = (Http2Server(checks.check, address) for _ in range(2))
    await old.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        call = asyncio.ensure_future(_method(channel)(b"slow"))
        await asyncio.sleep(0.1)
        stopping = asyncio.create_task(old.stop(5))
        await asyncio.sleep(0.05)
        await new.start()
        checks.release.set()
        assert await call == b"wols"
        await stopping
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}", options) as channel:
        assert await _method(channel)(b"ab") == b"ba"
    await new.stop(0)


async def test_a_server_that_could_not_start(server: Server, tmp_path: Path) -> None:
    """It leaves the socket of the one that lives."""
    second = Http2Server(Checks().check, UnixAddress(str(tmp_path / "s")))
    with pytest.raises(StartError):
        await second.start()
    await second.stop(0)
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        assert await _method(channel)(b"ab") == b"ba"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_tcp(checks: Checks, host: str) -> None:
    """Over TCP calls are answered too, and a port that is taken is not shared."""
    address = TcpAddress(host, free_port())
    server = Http2Server(checks.check, address)
    try:
        await server.start()
    except StartError:
        if host == "::1":
            pytest.skip("no IPv6 here")
        raise
    async with grpc.aio.insecure_channel(str(address)) as channel:
        assert await _method(channel)(b"ab") == b"ba"
    with pytest.raises(StartError, match="in use"):
        await Http2Server(checks.check, address).start()
    await server.stop(0)


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
