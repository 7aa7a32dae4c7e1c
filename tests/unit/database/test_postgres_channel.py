"""authz.database.postgres_channel."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from authz.database import postgres_channel as module
from authz.database.postgres_channel import PostgresChannel
from authz.errors import StoreError
from tests.support.pair import free_port, wait_until
from tests.support.postgres import PostgresServer
from tests.support.postgres_tables import parsed


class End:
    """One end of the channel ``c``."""

    def __init__(self, url: str) -> None:
        self.got: asyncio.Queue[str] = asyncio.Queue()
        self.lost = asyncio.Event()
        self.channel = PostgresChannel(parsed(url), "c", self.got.put_nowait, self.lost.set)

    async def next(self) -> str:
        """Return the next message."""
        async with asyncio.timeout(60):
            return await self.got.get()


@pytest.fixture
async def ends(postgres: PostgresServer, own: str) -> AsyncIterator[tuple[End, End]]:
    """Two ends of a channel, the second with a role that may do nothing but connect."""
    postgres.sql("postgres", "DROP ROLE IF EXISTS nothing", "CREATE ROLE nothing LOGIN")
    found = End(postgres.url(own)), End(postgres.url(own, user="nothing"))
    for end in found:
        await end.channel.open()
    yield found
    for end in found:
        await end.channel.close()
    # The server notices a moment later.
    wait_until(lambda: postgres.connections(own) == 0, 10, "no connection being left")


async def test_messages_reach_all(ends: tuple[End, End]) -> None:
    """Each end gets the messages of both in order, and needs no rights for it."""
    one, two = ends
    await one.channel.send(["a", "b"])
    await two.channel.send(["quotes ' \" and é"])
    for end in ends:
        assert [await end.next() for _ in range(3)] == ["a", "b", "quotes ' \" and é"]


async def test_the_time_is_that_of_the_server(ends: tuple[End, End]) -> None:
    """Both ends use the server's clock, which in this test is that of this machine."""
    one, two = (end.channel.now() for end in ends)
    assert one == pytest.approx(two, abs=30)
    assert one == pytest.approx(time.time(), abs=30)


async def test_a_cut_connection(ends: tuple[End, End], postgres: PostgresServer, own: str) -> None:
    """A cut is reported at once, and the next statement fails with a line naming the database."""
    await asyncio.to_thread(postgres.terminate_connections, own)
    for end in ends:
        async with asyncio.timeout(60):
            await end.lost.wait()
        with pytest.raises(StoreError, match=own):
            await end.channel.send([])


async def test_a_silent_server(
    ends: tuple[End, End], postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not answer is an error after a bounded time."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    postgres.pause()
    try:
        with pytest.raises(StoreError, match="does not answer in time"):
            await ends[0].channel.send(["a"])
    finally:
        postgres.resume()
    async with asyncio.timeout(60):
        await ends[0].channel.close()


async def test_a_pooler_by_session(postgres: PostgresServer, own: str, tmp_path: Path) -> None:
    """Behind PgBouncer that pools by session, messages reach the other end."""
    with _bouncer(postgres, own, tmp_path, "session") as url:
        ends = End(url), End(url)
        for end in ends:
            await end.channel.open()
        await ends[0].channel.send(["a"])
        assert [await end.next() for end in ends] == ["a", "a"]
        for end in ends:
            await end.channel.close()


async def test_a_pooler_by_transaction(postgres: PostgresServer, own: str, tmp_path: Path) -> None:
    """Behind PgBouncer that pools by transaction, both ends fail instead of missing messages."""
    with _bouncer(postgres, own, tmp_path, "transaction") as url:
        first, second = End(url), End(url)
        await first.channel.open()
        # PgBouncer before 1.21 fails with an error about prepared statements.
        fault = "the session is shared: use the server itself|prepared statement"
        with pytest.raises(StoreError, match=fault):
            await second.channel.open()
        with pytest.raises(StoreError, match=fault):
            await first.channel.send([])
        for end in (first, second):
            await end.channel.close()


@contextlib.contextmanager
def _bouncer(postgres: PostgresServer, database: str, folder: Path, mode: str) -> Iterator[str]:
    """Run PgBouncer in front of a database, and yield the URL."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not here (Debian: apt install pgbouncer)")
    port = free_port()
    file = folder / "pgbouncer.ini"
    file.write_text(
        f"[databases]\n{database} = host=127.0.0.1 port={postgres.port} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
        f"unix_socket_dir =\npool_mode = {mode}\n"
        "ignore_startup_parameters = statement_timeout,plan_cache_mode\n"
    )
    command = [program, "-q", str(file)]
    if os.geteuid() == 0:
        # It refuses to run as root.
        command = [program, "-q", "-u", "nobody", "/dev/stdin"]
    with file.open() as settings:
        process = subprocess.Popen(command, stdin=settings, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(port), 10, "PgBouncer listening")
        yield f"postgresql://postgres@127.0.0.1:{port}/{database}"
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10):
        return True
    return False


async def test_no_server() -> None:
    """Without a server the error names it."""
    end = End("postgresql://127.0.0.1:1/nowhere")
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:1/nowhere"):
        await end.channel.open()
    await end.channel.close()
