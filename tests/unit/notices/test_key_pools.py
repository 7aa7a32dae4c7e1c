"""authz.notices.key_pools: one notice each time that a provider has no key left."""

import asyncio
import json
from datetime import timedelta

import pytest

from authz.errors import StoreError
from authz.identity.store import Store
from authz.notices import key_pools
from authz.notices.key_pools import AGAIN, KeyPoolNotices


class _Replica:
    """A replica with its access to the store.

    Attributes:
        failures: the number of times that the store can't be used.
        stored: the number of notices that it has stored.
    """

    def __init__(self, store: Store, failures: int = 0) -> None:
        self.store, self.failures, self.stored = store, failures, 0
        self.notices = KeyPoolNotices(self.open, self.count)

    async def open(self) -> Store:
        """Return the store."""
        if self.failures:
            self.failures -= 1
            raise StoreError("the database is away")
        return self.store

    def count(self) -> None:
        """Count a notice."""
        self.stored += 1

    async def done(self) -> None:
        """Wait until all notices are stored."""
        while self.notices._tasks:
            await asyncio.gather(*self.notices._tasks.values())
            await asyncio.sleep(0)


async def test_replicas_tell_of_a_pool_once(any_store: Store) -> None:
    """Two replicas that run out of keys store one notice, and a later event another one."""
    await any_store._database.execute("DELETE FROM notices")
    replicas = [_Replica(any_store) for _ in range(2)]
    for one in (*replicas, replicas[0]):
        one.notices.exhausted("anthropic", 2, 60)
    replicas[0].notices.exhausted("openai", 1, 60)
    for one in replicas:
        await one.done()
    assert sum(one.stored for one in replicas) == 2
    rows = await any_store._database.fetch("SELECT body, created_at FROM notices ORDER BY subject")
    body = json.loads(rows[0]["body"])
    assert (body["type"], body["data"]["provider"], body["data"]["keys"]) == (
        "keys.exhausted", "anthropic", 2
    )  # fmt: skip

    earlier = rows[0]["created_at"] - AGAIN - timedelta(seconds=1)
    await any_store._database.execute("UPDATE notices SET created_at = $1", earlier)
    replicas[1].notices.exhausted("anthropic", 2, 60)
    await replicas[1].done()
    assert len(await any_store._database.fetch("SELECT 1 FROM notices")) == 3


async def test_a_notice_waits_for_the_store(
    any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notice is stored as soon as the database can be used again."""
    await any_store._database.execute("DELETE FROM notices")
    replica = _Replica(any_store, failures=2)
    monkeypatch.setattr(key_pools, "_RETRY_SECONDS", 0.0)
    replica.notices.exhausted("anthropic", 2, 60)
    await replica.done()
    assert replica.stored == 1
