"""authz.database.kept on PostgreSQL and SQLite."""

from pathlib import Path

import pytest

from authz.database.interface import Queries
from authz.database.kept import Kept
from authz.errors import StoreError
from authz.identity.open import open_database, open_store
from tests.support.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database with our own tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/identity.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    name: str = request.getfixturevalue("own")
    return server.url(name)


async def test_rows_are_read_again_after_each_change(url: str) -> None:
    """Added, changed and removed rows are seen; PostgreSQL reads nothing without a change."""
    reads = 0

    async def read(queries: Queries) -> list[str]:
        nonlocal reads
        reads += 1
        return [row["username"] for row in await queries.fetch(f"{select} ORDER BY 1")]

    select = "SELECT username FROM users WHERE deleted = false"
    store = await open_store(url, create=True)
    database = await open_database(url)
    kept = Kept(select, read)
    try:
        assert await kept.read(database) == []
        alice = await store.create_user("alice")
        bob = await store.create_user("bob")
        assert await kept.read(database) == ["alice", "bob"]
        before = reads
        assert await kept.read(database) == ["alice", "bob"]
        assert reads - before == (0 if url.startswith("postgresql") else 1)
        await database.execute("UPDATE users SET username = 'al' WHERE username = 'alice'")
        assert await kept.read(database) == ["al", "bob"]
        # The same names of other rows.
        await store.delete_user(bob)
        await store.delete_user(alice)
        assert await kept.read(database) == []
    finally:
        await store.close()
        await database.close()


async def test_a_failed_read_is_tried_again(url: str) -> None:
    """The rows count as unread until a read of them has succeeded."""
    fails = True

    async def read(queries: Queries) -> int:
        if fails:
            raise StoreError("a row can't be read")
        return len(await queries.fetch("SELECT 1"))

    await (await open_store(url, create=True)).close()
    database = await open_database(url)
    kept = Kept("SELECT username FROM users", read)
    try:
        with pytest.raises(StoreError):
            await kept.read(database)
        fails = False
        assert await kept.read(database) == 1
    finally:
        await database.close()
