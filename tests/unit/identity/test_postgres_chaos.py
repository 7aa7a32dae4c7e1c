"""A PostgreSQL that stops, dies, hangs and cuts: no wrong allow, nothing hangs, nothing leaks."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from authz.core.identity import Identity, Rejection
from authz.core.tokens import CoderToken, generate
from authz.database import postgres_pool
from authz.database.postgres_pool import CONNECT_SECONDS
from authz.database.url import PostgresURL
from authz.errors import IdentityUnavailable
from authz.identity.batch import LOOK_UP_SECONDS
from authz.identity.postgres_source import CONNECTIONS, PostgresSource
from tests.support.pair import wait_until
from tests.support.postgres import PostgresServer
from tests.support.postgres_proxy import proxy
from tests.support.postgres_tables import Tables

_SLACK = 30
"""Seconds that a busy machine may add to a time limit."""
_OUTAGE_SECONDS = 1.2
"""Longer than a look-up, so that some look-ups begin and end within the outage."""


Opened = Callable[[PostgresURL], PostgresSource]


@pytest.fixture
def tables(postgres: PostgresServer) -> Tables:
    """A database with Coder's tables."""
    return Tables.of_coder(postgres)


@pytest.fixture(autouse=True)
async def nothing_leaks() -> AsyncIterator[None]:
    """Check that a test leaves no further task or open file behind."""
    # What the event loop opens for its first connection stays open as long as the loop.
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.close()
    server.close()
    await asyncio.sleep(0.01)
    files, tasks = _held()
    yield
    for _ in range(3000):
        files_now, tasks_now = _held()
        if files_now <= files and tasks_now <= tasks:
            return
        await asyncio.sleep(0.01)
    assert (files_now, tasks_now) == (files, tasks)


def _held() -> tuple[int, int]:
    return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """Make a source, which is closed after the test."""
    sources: list[PostgresSource] = []

    def open_(url: PostgresURL) -> PostgresSource:
        sources.append(PostgresSource(url))
        return sources[-1]

    yield open_
    for source in sources:
        await source.close()


class Load:
    """Workers that verify a good and a deleted token again and again.

    Attributes:
        allowed: how often the good one passed.
        unavailable: how often the source was unavailable.
        slowest: seconds of the slowest answer.
    """

    def __init__(self, source: PostgresSource, good: CoderToken, deleted: CoderToken) -> None:
        self._source = source
        self._good, self._deleted = good, deleted
        self.allowed = self.unavailable = 0
        self.slowest = 0.0
        self.recovered = asyncio.Event()

    async def work(self) -> None:
        """Ask forever, and fail at the first wrong answer."""
        loop = asyncio.get_running_loop()
        while True:
            for token in (self._good, self._deleted):
                began = loop.time()
                try:
                    answer = await self._source.verify(token)
                except IdentityUnavailable:
                    self.unavailable += 1
                else:
                    assert isinstance(answer, Identity) == (token is self._good), answer
                    self.allowed += token is self._good
                    self.recovered.set()
                self.slowest = max(self.slowest, loop.time() - began)
                await asyncio.sleep(0.005)


@asynccontextmanager
async def _load(source: PostgresSource, tables: Tables) -> AsyncIterator[Load]:
    user = tables.add_user("alice")
    good, deleted = tables.add_token(user, "good"), tables.add_token(user, "deleted")
    assert isinstance(await source.verify(deleted), Identity)
    tables.delete(deleted)
    load = Load(source, good, deleted)
    workers = [asyncio.create_task(load.work()) for _ in range(6)]
    try:
        await asyncio.wait_for(load.recovered.wait(), 60)
        yield load
    finally:
        for worker in workers:
            worker.cancel()
        ended = await asyncio.gather(*workers, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended


async def _settle() -> None:
    """Let the workers take answers that were sent before a fault."""
    for _ in range(20):
        await asyncio.sleep(0.005)


async def _outage(load: Load) -> None:
    """Let an outage last, and check that nothing passes in it."""
    await _settle()
    load.unavailable, before = 0, load.allowed
    await asyncio.sleep(_OUTAGE_SECONDS)
    async with asyncio.timeout(_SLACK):
        while not load.unavailable:  # noqa: ASYNC110 - the workers count
            await asyncio.sleep(0.01)
    assert load.allowed == before


async def _recovery(load: Load, limit: float) -> float:
    """Return the seconds until an answer came."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    load.recovered.clear()
    await asyncio.wait_for(load.recovered.wait(), limit)
    return loop.time() - began


@pytest.mark.parametrize(
    ("fault", "repair", "where"),
    [
        (PostgresServer.stop, PostgresServer.start, "socket"),
        (PostgresServer.kill, PostgresServer.start, "tcp"),
        (PostgresServer.pause, PostgresServer.resume, "socket"),
        (PostgresServer.pause, PostgresServer.resume, "tcp"),
    ],
    ids=["stopped", "killed", "paused", "paused-tcp"],
)
async def test_the_server_is_gone(
    tables: Tables,
    opened: Opened,
    fault: Callable[[PostgresServer], None],
    repair: Callable[[PostgresServer], None],
    where: str,
) -> None:
    """While the server is away nothing passes; the first request after its return is answered."""
    server = tables.server
    async with _load(opened(tables.url(port=server.port if where == "tcp" else 0)), tables) as load:
        fault(server)
        try:
            await _outage(load)
        finally:
            repair(server)
        seconds = await _recovery(load, CONNECT_SECONDS + _SLACK)
        print(f"\n{fault.__name__} {where}: recovered after {seconds * 1000:.0f} ms")
        assert load.slowest < LOOK_UP_SECONDS + _SLACK
        # A server that was paused has yet to notice the ends of earlier ones.
        wait_until(lambda: server.connections(tables.name) <= CONNECTIONS, 5, "few connections")


@pytest.mark.usefixtures("patient")
async def test_cut_connections_are_not_noticed(tables: Tables, opened: Opened) -> None:
    """Each request gets its answer although every connection is cut repeatedly."""
    async with _load(opened(tables.url()), tables) as load:
        for _ in range(10):
            tables.server.terminate_connections(tables.name)
            load.recovered.clear()
            await asyncio.wait_for(load.recovered.wait(), 60)
        assert load.unavailable == 0


@pytest.mark.usefixtures("patient")
async def test_idle_connections_are_cut(tables: Tables, opened: Opened) -> None:
    """A request is answered at once although all connections were cut since the last one."""
    token = tables.add_token(tables.add_user("alice"))
    source = opened(tables.url())
    for _ in range(3):
        await asyncio.gather(source.verify(token), source.verify(generate()[1]))
        assert tables.server.terminate_connections(tables.name) >= 1
        # The loop did not run since: the pool can't have seen it.
        assert isinstance(await source.verify(token), Identity)


async def test_a_dead_route(tables: Tables, opened: Opened) -> None:
    """Hung connections are given up when packets vanish; requests pass once the route is back."""
    async with (
        proxy(tables.server.port) as route,
        _load(opened(tables.url(port=route.port, sslmode="disable")), tables) as load,
    ):
        route.swallowing = True
        await _outage(load)
        route.swallowing = False
        seconds = await _recovery(load, CONNECT_SECONDS + _SLACK)
        print(f"\ndead route: recovered after {seconds * 1000:.0f} ms")
        assert load.slowest < LOOK_UP_SECONDS + _SLACK


async def test_one_hung_connection_ends_all_idle_ones(tables: Tables, opened: Opened) -> None:
    """After a short loss of the route only one request fails, not one per connection."""
    token = tables.add_token(tables.add_user("alice"))
    async with proxy(tables.server.port) as route:
        source = opened(tables.url(port=route.port, sslmode="disable"))
        await _fill(source, token)
        route.forget()
        with pytest.raises(IdentityUnavailable, match="does not answer in time"):
            await source.verify(token)
        assert isinstance(await source.verify(token), Identity)


async def test_a_connection_that_rested_is_not_used(
    tables: Tables, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that forgot an idle connection makes no request fail."""
    token = tables.add_token(tables.add_user("alice"))
    async with proxy(tables.server.port) as route:
        source = opened(tables.url(port=route.port, sslmode="disable"))
        await _fill(source, token)
        route.forget()
        monkeypatch.setattr(postgres_pool, "IDLE_SECONDS", -1)
        assert isinstance(await source.verify(token), Identity)


async def _fill(source: PostgresSource, token: CoderToken) -> None:
    """Use all connections at the same time."""
    pool = source._pool
    connections = [await pool.take() for _ in range(CONNECTIONS)]
    for connection in connections:
        pool.give_back(connection)
    assert isinstance(await source.verify(token), Identity)


async def test_connecting_may_take_longer_than_a_look_up(
    tables: Tables, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow log-in fails the requests that wait for it and serves the next, with one attempt."""
    token = tables.add_token(tables.add_user("alice"))
    attempts, failed = 0, asyncio.Event()

    async def slow(self: postgres_pool.Pool) -> postgres_pool.Connection:
        nonlocal attempts
        attempts += 1
        await failed.wait()
        return await connect(self)

    connect = postgres_pool.Pool._open
    monkeypatch.setattr(postgres_pool.Pool, "_open", slow)
    source = opened(tables.url())
    with pytest.raises(IdentityUnavailable):
        await source.verify(token)
    failed.set()
    assert isinstance(await source.verify(token), Identity)
    assert attempts == 1


@pytest.mark.parametrize("state", ["idle", "asking", "connecting"])
async def test_closing_waits_for_nobody(tables: Tables, opened: Opened, state: str) -> None:
    """A source whose server hangs closes at once, and fails the callers that wait for it."""
    token = tables.add_token(tables.add_user("alice"))
    source = opened(tables.url())
    if state != "connecting":
        await source.verify(token)
    tables.server.pause()
    try:
        waiting = [] if state == "idle" else [asyncio.create_task(source.verify(token))]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(30):
            await source.close()
            ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(end, IdentityUnavailable) for end in ended)
        assert asyncio.all_tasks() == {asyncio.current_task()}
    finally:
        tables.server.resume()
    with pytest.raises(IdentityUnavailable, match="closed"):
        await source.verify(token)


@pytest.mark.usefixtures("patient")
async def test_a_flood_of_unknown_tokens(tables: Tables, opened: Opened) -> None:
    """Hundreds of random tokens are refused over two connections, and the good one passes."""
    token = tables.add_token(tables.add_user("alice"))
    source = opened(tables.url())
    bad = [source.verify(generate()[1]) for _ in range(200)]
    *answers, last = await asyncio.gather(*bad, source.verify(token))
    assert set(answers) == {Rejection.UNKNOWN}
    assert isinstance(last, Identity)
    assert tables.server.connections(tables.name) <= CONNECTIONS
