"""Stored keys that are deleted and replaced under load, on each database."""

import asyncio
import time

import pytest

from authz.check.authorizer import Authorizer
from authz.config.settings import Config
from authz.core.identity import IdentitySource
from authz.identity.open import open_source
from authz.identity.store import Store
from authz.keys.pool import KeyPool
from authz.own_keys.store import OwnKeyStore
from authz.secret import Secret
from tests.support.checks import allows, answer, question

from .test_store import FIRST, ring

CENTRAL = "sk-ant-central-0123456789"
CHANGES = 60


class _Central:
    # The same object each time, as a file's key is, so that decisions are cached.
    _key = Secret(CENTRAL)

    def current(self) -> Secret | None:
        return self._key


@pytest.mark.usefixtures("patient")
async def test_no_request_uses_a_key_after_its_end(any_store: Store, store_url: str) -> None:
    """No check that starts after a key was replaced or deleted gets it, on either replica."""
    alice = await any_store.create_user("alice")
    token, _ = await any_store.create_token(alice)
    keys, master = any_store.part(OwnKeyStore), ring(FIRST)
    await keys.prepare()
    sources = [await open_source(store_url, own_keys=True) for _ in range(2)]
    replicas = [_authorizer(source) for source in sources]
    message = question([("x-api-key", token)])
    ended: dict[str, float] = {}
    violations, seen = [], set()
    stop = asyncio.Event()

    async def load(authorizer: Authorizer) -> None:
        while not stop.is_set():
            sent = time.monotonic()
            response = await authorizer.check(message)
            assert allows(response)
            (option,) = answer(response).ok_response.headers
            used = option.header.value
            seen.add(used)
            if used in ended and ended[used] < sent:
                violations.append(used)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(load(authorizer)) for authorizer in replicas for _ in range(3)]
    for number in range(CHANGES):
        key = f"sk-ant-own-{number:010d}"
        await keys.set_key(alice, "anthropic", Secret(key), master.newest)
        await asyncio.sleep(0.002)
        if number % 2:
            await keys.remove_key(alice, "anthropic")
        else:
            await keys.set_key(alice, "anthropic", Secret("sk-ant-next"), master.newest)
        ended[key] = time.monotonic()
        await asyncio.sleep(0.002)
    stop.set()
    await asyncio.gather(*tasks)
    for source in sources:
        await source.close()
    assert violations == []
    assert {CENTRAL, "sk-ant-next"} < seen


def _authorizer(source: IdentitySource) -> Authorizer:
    pool = KeyPool("anthropic", [_Central()], has_cooldown=False)
    return Authorizer(Config(), source, {"anthropic": pool}, keyring=ring(FIRST))
