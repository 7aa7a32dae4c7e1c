"""authz.identity.store: the number of tokens that a user may have, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from authz.identity.open import open_store
from authz.identity.store import Store
from authz.identity.store_keys import TooManyTokens

MOST = 3


@pytest.fixture
async def replicas(store_url: str) -> AsyncIterator[list[Store]]:
    """Two replicas with the same limit."""
    stores = [await open_store(store_url, create=True, max_tokens=MOST) for _ in range(2)]
    yield stores
    for store in stores:
        await store.close()


async def test_ended_tokens_and_sessions_do_not_count(replicas: list[Store]) -> None:
    """A user at the limit can always sign in, and gets a new token once one has ended."""
    store = replicas[0]
    user, other = await store.create_user("alice"), await store.create_user("bob")
    keys = [(await store.create_token(user))[1] for _ in range(MOST)]
    with pytest.raises(TooManyTokens, match="alice has 3 valid tokens, and at most 3"):
        await store.create_token(user, "more")
    await store.create_session(user)
    await store.create_token(other)
    await store.expire_token(keys[0])
    await store.create_token(user, "more")
    assert len(await store.list_tokens(user)) == MOST


async def test_replicas_that_race_stay_below_the_limit(replicas: list[Store]) -> None:
    """Concurrent requests on two replicas create only as many tokens as are allowed."""
    user = await replicas[0].create_user("alice")
    results = await asyncio.gather(
        *(store.create_token(user) for store in replicas for _ in range(MOST)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, TooManyTokens) for result in results) == MOST
    assert len(await replicas[1].list_tokens(user)) == MOST


async def test_a_user_at_the_limit_rotates_one_at_a_time(replicas: list[Store]) -> None:
    """A rotation ignores the replaced token, but counts other tokens that are still ending."""
    store = replicas[0]
    user = await store.create_user("alice")
    keys = [(await store.create_token(user))[1] for _ in range(MOST)]
    await store.rotate_token(user, keys[0])
    with pytest.raises(TooManyTokens):
        await store.rotate_token(user, keys[1])
    await store.expire_token(keys[2])
    await store.rotate_token(user, keys[1], timedelta(0))
