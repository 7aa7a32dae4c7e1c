"""authz.database.postgres_pool when the server has no connection left."""

import asyncio
import contextlib
import secrets
from collections.abc import Iterator

import asyncpg
import pytest

from authz.database.postgres import PostgresDatabase
from authz.database.postgres_pool import Connection, Pool
from authz.errors import StoreError
from tests.support.postgres import PostgresServer
from tests.support.postgres_tables import parsed


@contextlib.contextmanager
def _role(postgres: PostgresServer) -> Iterator[str]:
    """Make a role that may have one connection."""
    name = f"one_{secrets.token_hex(4)}"
    postgres.sql("postgres", f"CREATE ROLE {name} LOGIN CONNECTION LIMIT 1")
    yield name
    postgres.sql("postgres", f"DROP ROLE {name}")


@pytest.fixture
def role(postgres: PostgresServer) -> Iterator[str]:
    """A role that may have one connection."""
    with _role(postgres) as name:
        yield name


async def test_statements_share_the_connections_that_there_are(
    postgres: PostgresServer, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statements of a pool of two take turns on one connection, with few attempts to connect."""
    attempts = 0
    connect = Pool._open

    async def counted(self: Pool) -> Connection:
        nonlocal attempts
        attempts += 1
        return await connect(self)

    monkeypatch.setattr(Pool, "_open", counted)
    url = parsed(postgres.url("postgres", user=role))
    pool = Pool(url, size=2, statement_seconds=60)
    # Each connects anew, at the same time as the other.
    for _ in range(10):
        # The server may count a connection of a role for a moment after its end.
        with _role(postgres) as another:
            first = Pool(
                parsed(postgres.url("postgres", user=another)), size=2, statement_seconds=60
            )
            try:
                await asyncio.gather(*(first.fetch("SELECT 1") for _ in range(2)))
            finally:
                await first.close()
    attempts = 0

    async def work() -> None:
        for _ in range(20):
            [row] = await pool.fetch("SELECT 1 AS one")
            assert row["one"] == 1

    try:
        await asyncio.gather(work(), work())
        # Both, and the second one again for each second that the work took.
        assert attempts < 20
    finally:
        await pool.close()


async def test_a_pool_without_any_connection_fails(postgres: PostgresServer, role: str) -> None:
    """A pool without a connection fails instead of waiting, and the error names the cure."""
    url = parsed(postgres.url("postgres", user=role))
    first, second = (PostgresDatabase(url) for _ in range(2))
    pool = Pool(url, size=2, statement_seconds=60)
    cure = "raise the role's CONNECTION LIMIT or the server's max_connections"
    try:
        await first.fetch("SELECT 1")
        with pytest.raises(StoreError, match=cure):
            await second.fetch("SELECT 1")
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await pool.fetch("SELECT 1")
    finally:
        for one in (first, second, pool):
            await one.close()


async def test_a_lost_connection_ends_the_wait(postgres: PostgresServer, role: str) -> None:
    """A statement that waits for a connection that is lost opens its own."""
    pool = Pool(parsed(postgres.url("postgres", user=role)), size=2, statement_seconds=60)
    try:
        taken = await pool.take()
        waiting = asyncio.create_task(pool.fetch("SELECT 1 AS one"))
        while not pool._is_full():  # noqa: ASYNC110 - the attempt takes its own time
            await asyncio.sleep(0.01)
        assert not waiting.done()
        await taken.close()
        pool.give_back(taken)
        [row] = await waiting
        assert row["one"] == 1
    finally:
        await pool.close()
