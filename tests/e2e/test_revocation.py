"""Revocation is immediate on every source and every replica, under load."""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from authz.identity.open import make_store, open_store
from authz.identity.store import Store
from tests.support.coder import Coder
from tests.support.postgres import PostgresServer, running_server
from tests.support.replicas import Asker, askers, replicas

DELETES = int(os.environ.get("AUTHZ_DELETES", "200"))
"""The number of deletes for each source; ``make soak`` has 10,000."""
CODER_DELETES = min(DELETES, 1_000)
"""The number of deletes on Coder's API. authz asks it about only a few unknown tokens a second, so
most of 10,000 tokens would be refused before they were ever allowed."""
WORKERS_PER_REPLICA = 6
ASKING = 400
"""The number of deleted tokens that are asked about at a time. Refusals above some a second are
delayed, so waiting for each before the next delete would take long."""


class Tokens(Protocol):
    """Creates tokens, each with its own user, and deletes them."""

    async def make(self, number: int) -> str:
        """Make a user and a token; return the token."""
        ...

    async def delete_token(self, number: int, token: str) -> None:
        """Delete the token."""
        ...

    async def delete_user(self, number: int) -> None:
        """Delete the user."""
        ...


@dataclass
class StoreTokens:
    """Tokens in one of authz's own stores, changed from this process."""

    store: Store

    async def make(self, number: int) -> str:
        user = await self.store.create_user(f"user-{number}")
        return (await self.store.create_token(user, None, timedelta(hours=1)))[0]

    async def delete_token(self, number: int, token: str) -> None:
        key = await self.store.find_token(token)
        assert key is not None
        await self.store.delete_token(key)

    async def delete_user(self, number: int) -> None:
        await self.store.delete_user(await self.store.get_user(f"user-{number}"))


@dataclass
class CoderTokens:
    """Tokens of a Coder deployment."""

    coder: Coder

    async def make(self, number: int) -> str:
        self.coder.state.create_user(f"user-{number}")
        return self.coder.state.create_key(f"user-{number}")

    async def delete_token(self, number: int, token: str) -> None:
        self.coder.state.delete_key(token)

    async def delete_user(self, number: int) -> None:
        self.coder.state.delete_user(f"user-{number}")


Source = Callable[[], AbstractAsyncContextManager[tuple[str, Tokens]]]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for this module."""
    with running_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql", "coder"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """Each identity source: its URL for ``gateway.yaml``, and an object that changes its tokens."""

    @contextlib.asynccontextmanager
    async def sqlite() -> AsyncIterator[tuple[str, Tokens]]:
        async with _opened(f"sqlite:///{tmp_path}/identity.db") as opened:
            yield opened

    @contextlib.asynccontextmanager
    async def postgresql() -> AsyncIterator[tuple[str, Tokens]]:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.url(server.database())
        await make_store(url)
        async with _opened(url) as opened:
            yield opened

    @contextlib.asynccontextmanager
    async def coder() -> AsyncIterator[tuple[str, Tokens]]:
        with Coder().running() as server:
            yield server.url, CoderTokens(server)

    return {"sqlite": sqlite, "postgresql": postgresql, "coder": coder}[request.param]


@contextlib.asynccontextmanager
async def _opened(url: str) -> AsyncIterator[tuple[str, Tokens]]:
    store = await open_store(url, create=True)
    try:
        yield url, StoreTokens(store)
    finally:
        await store.close()


@dataclass
class Record:
    """The statuses of the tokens under load.

    Attributes:
        gone_at: when the delete of a token had returned.
        refused_after: seconds from then to the first refusal.
        violations: allows of requests that were sent after that.
    """

    live: list[str] = field(default_factory=list)
    gone_at: dict[str, float] = field(default_factory=dict)
    refused_after: dict[str, float] = field(default_factory=dict)
    allowed: int = 0
    refused: int = 0
    violations: list[tuple[str, float]] = field(default_factory=list)

    async def ask(self, asker: Asker, token: str) -> None:
        """Ask about one token and record the status."""
        sent = time.monotonic()
        status = await asker.status(token)
        gone = self.gone_at.get(token)
        was_gone = gone is not None and gone < sent
        if status == 200:
            self.allowed += 1
            if was_gone:
                self.violations.append((token[:10], sent - (gone or 0)))
            return
        # On a busy machine a source may not answer in time: no pass, but no verification either.
        assert status in (401, 503), f"status {status}"
        self.refused += 1
        if gone is not None:
            self.refused_after.setdefault(token, time.monotonic() - gone)


async def _load(record: Record, asker: Asker, stop: asyncio.Event, seed: int) -> None:
    chooser = random.Random(seed)
    while not stop.is_set():
        # Some requests are about what has just been taken away. They take long: see ASKING.
        recent = list(record.gone_at)[-8:]
        pool = recent if recent and chooser.random() < 0.1 else record.live
        if pool:
            await record.ask(asker, chooser.choice(pool))
        else:
            await asyncio.sleep(0.001)


async def test_nothing_is_allowed_that_was_sent_after_the_delete(source: Source) -> None:
    """No request that is sent after the return of a delete is allowed, on any replica."""
    record = Record()
    async with source() as (url, tokens):
        deletes = CODER_DELETES if isinstance(tokens, CoderTokens) else DELETES
        made = [(number, await tokens.make(number)) for number in range(deletes)]
        with replicas(2, url) as running:
            async with askers(running) as replica_askers:
                record.live = [token for _, token in made]
                stop = asyncio.Event()
                load = [
                    asyncio.create_task(_load(record, asker, stop, seed))
                    for seed in range(WORKERS_PER_REPLICA)
                    for asker in replica_askers
                ]
                free = asyncio.Semaphore(ASKING)

                async def ask_all(token: str) -> None:
                    async with free:
                        await asyncio.gather(
                            *(record.ask(asker, token) for asker in replica_askers)
                        )

                asked = []
                for number, token in made:
                    record.live.remove(token)
                    if number % 2:
                        await tokens.delete_user(number)
                    else:
                        await tokens.delete_token(number, token)
                    record.gone_at[token] = time.monotonic()
                    # Each replica is asked at once, beside the steady load.
                    asked.append(asyncio.create_task(ask_all(token)))
                    await asyncio.sleep(0.01)  # the load comes in between
                await asyncio.gather(*asked)
                stop.set()
                await asyncio.gather(*load)
    longest = max(record.refused_after.values()) * 1000
    print(
        f"\n{deletes} deletes: {len(record.violations)} allowed afterwards, "
        f"longest time to the first 401 {longest:.1f} ms, "
        f"{record.allowed} allowed and {record.refused} refused in all"
    )
    assert record.violations == []
    assert len(record.refused_after) == deletes
    assert record.allowed > deletes / 4, "the load has to hit tokens that are good"
