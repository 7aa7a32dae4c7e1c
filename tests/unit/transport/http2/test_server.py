"""authz.transport.http2.server: addresses, and a stop that fails no call."""

import asyncio
import socket
import stat
import time
from pathlib import Path

import grpc
import pytest
import uvloop

from authz.addresses import TcpAddress, UnixAddress
from authz.check.ext_authz import METHOD
from authz.errors import StartError
from authz.transport.grpcio_server import GrpcServer
from authz.transport.http2.frames import settings, window_update
from authz.transport.http2.server import Http2Server
from tests.support.pair import free_port
from tests.unit.transport.http2.served import Checks, Server, method_of
from tests.unit.transport.http2.wire import OPENING, call, headers, message, responses

BOTH = pytest.mark.parametrize("kind", [Http2Server, GrpcServer])


async def test_a_stop_lets_calls_finish(
    server: Server, channel: grpc.aio.Channel, checks: Checks, tmp_path: Path
) -> None:
    """A call in flight gets its answer before the server stops and removes its socket."""
    call = asyncio.ensure_future(method_of(channel)(b"slow"))
    await checks.until_slow()
    stopping = asyncio.create_task(server.stop(60))
    await asyncio.sleep(0.2)
    checks.release.set()
    assert await call == b"wols"
    await stopping
    assert not (tmp_path / "s").exists()


async def test_a_delayed_response(channel: grpc.aio.Channel) -> None:
    """A delayed response is sent after its time, and other calls are answered meanwhile."""
    method = method_of(channel)
    began = time.monotonic()
    done: list[bytes] = []
    delayed, other = (asyncio.ensure_future(method(one)) for one in (b"delay=0.3", b"ab"))
    for one in (delayed, other):
        one.add_done_callback(lambda call: done.append(call.result()))
    await asyncio.gather(delayed, other)
    assert done == [b"ba", b"3.0=yaled"]
    assert time.monotonic() - began >= 0.29


@pytest.mark.parametrize(
    ("kind", "immediate"), [(Http2Server, True), (Http2Server, False), (GrpcServer, False)]
)
async def test_a_stop_sends_delayed_responses(
    tmp_path: Path, kind: type[Server], immediate: bool
) -> None:
    """A stop does not wait for a response that is delayed: it is sent earlier."""
    server = kind(Checks().methods(immediate=immediate), UnixAddress(str(tmp_path / "s")))
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        delayed = asyncio.ensure_future(method_of(channel)(b"delay=3000"))
        await method_of(channel)(b"ab")
        began = time.monotonic()
        await server.stop(300)
        assert await delayed == b"0003=yaled"
        assert time.monotonic() - began < 100


@pytest.mark.parametrize("immediate", [True, False])
def test_a_stop_under_load(tmp_path: Path, immediate: bool) -> None:
    """On uvloop, as we run: while calls come in all the time, a stop fails none that was sent."""

    async def run() -> None:
        server = Http2Server(
            Checks().methods(immediate=immediate), UnixAddress(str(tmp_path / "s"))
        )
        await server.start()
        # A client that goes on after a GOAWAY connects again; this one is to fail then.
        async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
            method, stopped = method_of(channel), False
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
            async with asyncio.timeout(60):
                while sent <= 100:  # noqa: ASYNC110 - counted in many places
                    await asyncio.sleep(0.05)
            started = time.monotonic()
            await server.stop(300)
            assert time.monotonic() - started < 100
            stopped = True
            await asyncio.gather(*asking)
            # Only calls that were not sent, since nobody listens any more.
            assert all("UNAVAILABLE failed to connect" in failure for failure in failures)

    uvloop.run(run())


def test_peers_that_hold_a_stop_up(tmp_path: Path) -> None:
    """Peers that never read, never end a request or say nothing at all cost the grace at most."""

    async def run() -> None:
        checks = Checks()
        path = str(tmp_path / "s")
        server = Http2Server(checks.methods(), UnixAddress(path))
        await server.start()
        peers = _silent, half, full, deaf = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for peer in peers:
            peer.connect(path)
        half.sendall(OPENING + headers(1))
        full.sendall(OPENING + call(1, b"slow", METHOD))
        deaf.setblocking(False)
        sent = OPENING + settings({4: 1 << 22}) + window_update(0, 1 << 22)
        sent += b"".join(call(stream, bytes(16_000), METHOD) for stream in range(1, 201, 2))
        await asyncio.get_running_loop().sock_sendall(deaf, sent)
        await asyncio.sleep(0.1)
        started = time.monotonic()
        await server.stop(0.5)
        assert 0.4 < time.monotonic() - started < 30
        assert checks.cancelled == 1
        async with asyncio.timeout(30):
            while server._connections:  # noqa: ASYNC110 - they end by themselves
                await asyncio.sleep(0.01)
        for peer in peers:
            peer.settimeout(60)
            while peer.recv(65_536):
                pass
            peer.close()

    uvloop.run(run())


async def test_a_stop_with_nothing_to_do_is_quick(checks: Checks, tmp_path: Path) -> None:
    """Connections that are idle, of clients that read, don't cost the grace."""
    server = Http2Server(checks.methods(), UnixAddress(str(tmp_path / "s")))
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        await method_of(channel)(b"ab")
        started = time.monotonic()
        await server.stop(300)
        assert time.monotonic() - started < 100


def test_connections_of_the_last_moment(tmp_path: Path) -> None:
    """A connection that was made just before the stop, with a call on it, is answered."""

    async def run() -> None:
        path = str(tmp_path / "s")
        server = Http2Server(Checks().methods(), UnixAddress(path))
        await server.start()
        peers = [socket.socket(socket.AF_UNIX) for _ in range(20)]
        for peer in peers:
            peer.connect(path)
            peer.sendall(OPENING + call(1, b"ab", METHOD))
        await server.stop(0.5)
        for peer in peers:
            peer.settimeout(60)
            received = b""
            while part := peer.recv(65_536):
                received += part
            peer.close()
            assert responses(received)[1].body == message(b"ba")

    uvloop.run(run())


@BOTH
async def test_a_successor_keeps_its_socket(
    kind: type[Http2Server | GrpcServer], checks: Checks, tmp_path: Path
) -> None:
    """A new server may start while the old one waits for its last calls."""
    address = UnixAddress(str(tmp_path / "s"))
    old, new = (kind(checks.methods(), address) for _ in range(2))
    await old.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        call = asyncio.ensure_future(method_of(channel)(b"slow"))
        await checks.until_slow()
        stopping = asyncio.create_task(old.stop(60))
        await asyncio.sleep(0.05)
        await new.start()
        checks.release.set()
        assert await call == b"wols"
        await stopping
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}", options) as channel:
        assert await method_of(channel)(b"ab") == b"ba"
    await new.stop(0)


@BOTH
async def test_a_server_that_could_not_start(
    kind: type[Http2Server | GrpcServer], server: Server, tmp_path: Path
) -> None:
    """A server that can't start leaves the running server's socket in place."""
    second = kind(Checks().methods(), UnixAddress(str(tmp_path / "s")))
    with pytest.raises(StartError):
        await second.start()
    await second.stop(0)
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        assert await method_of(channel)(b"ab") == b"ba"


@pytest.mark.parametrize(
    ("host", "connect_to"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")]
)
async def test_tcp(checks: Checks, host: str, connect_to: str) -> None:
    """Over TCP calls are answered too, and a port that is taken is not shared."""
    address = TcpAddress(host, free_port())
    server = Http2Server(checks.methods(), address)
    try:
        await server.start()
    except StartError:
        if not socket.has_dualstack_ipv6():
            pytest.skip("no IPv6 here")
        raise
    async with grpc.aio.insecure_channel(str(TcpAddress(connect_to, address.port))) as channel:
        assert await method_of(channel)(b"ab") == b"ba"
    with pytest.raises(StartError, match="in use"):
        await Http2Server(checks.methods(), address).start()
    await server.stop(0)


async def test_the_socket_is_private_and_not_shared(server: Server, tmp_path: Path) -> None:
    """Mode 0600, and a second server on it is refused while the first lives."""
    path = tmp_path / "s"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second = type(server)(Checks().methods(), UnixAddress(str(path)))
    with pytest.raises(StartError, match="in use"):
        await second.start()


async def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    """A dead process's socket does not keep ours from starting."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = Http2Server(Checks().methods(), UnixAddress(str(path)))
    await server.start()
    await server.stop(0)


async def test_many_connections_at_once(tmp_path: Path) -> None:
    """As many as a restart of a large Envoy brings are queued while the loop is busy."""
    path = str(tmp_path / "s")
    server = Http2Server(Checks().methods(), UnixAddress(path))
    await server.start()
    peers = [socket.socket(socket.AF_UNIX) for _ in range(500)]
    for peer in peers:
        peer.setblocking(False)
        # BlockingIOError when the queue is full.
        peer.connect(path)
    for peer in peers:
        peer.close()
    await server.stop(0)
