"""Database.transact: a transaction as a whole, on both databases."""

import asyncio

import pytest

from authz.database.interface import Transaction
from authz.errors import StoreError
from authz.identity.store import Store

_COUNT = "SELECT count(*) AS users FROM users"


async def _users(store: Store) -> int:
    return int((await store._database.fetch(_COUNT))[0]["users"])


async def test_all_of_it_or_nothing(any_store: Store) -> None:
    """A transaction returns the result of the work, and an error undoes its statements."""
    await any_store.create_user("alice")

    async def remove(transaction: Transaction) -> int:
        await transaction.execute("DELETE FROM users")
        return len(await transaction.fetch("SELECT 1 FROM users"))

    async def fail(transaction: Transaction) -> None:
        await remove(transaction)
        await transaction.execute("DELETE FROM no_such_table")

    async def interrupt(transaction: Transaction) -> None:
        await remove(transaction)
        raise KeyError("of the work")

    with pytest.raises(StoreError):
        await any_store._database.transact(fail)
    with pytest.raises(KeyError):
        await any_store._database.transact(interrupt)
    assert await _users(any_store) == 1
    assert await any_store._database.transact(remove) == 0
    assert await _users(any_store) == 0


async def test_sqlite_refuses_work_that_waits(store: Store) -> None:
    """Work that waits for something else would block every other user of the file."""
    await store.create_user("alice")

    async def wait(transaction: Transaction) -> None:
        await transaction.execute("DELETE FROM users")
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="has waited"):
        await store._database.transact(wait)
    assert await _users(store) == 1
