"""authz.serve.notices: which process sends which notices, and what reaches the receiver."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from authz.config.settings import Config
from authz.identity.store import Store
from authz.metrics import Metrics
from authz.serve.notices import Notices
from tests.support.threaded import served
from tests.unit.notices.conftest import SECRET


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_pool_without_a_key_reaches_the_receiver_from_any_process(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that sends nothing stores its notice, and the one that sends delivers it once."""
    monkeypatch.setenv("HOOK", SECRET)
    got: list[bytes] = []

    async def receive(request: Request) -> Response:
        got.append(await request.body())
        return Response(status_code=204)

    async def open_store() -> Store:
        return store

    metrics = Metrics()
    with served(Starlette(routes=[Route("/hook", receive, methods=["POST"])])) as port:
        hook = {"url": f"http://127.0.0.1:{port}/hook", "secret": {"env": "HOOK"}}
        config = Config.model_validate({"notices": {"webhook": hook}})
        async with AsyncExitStack() as parts:
            silent = Notices(config, open_store, metrics, sends=False)
            sending = Notices(config, open_store, metrics, sends=True)
            for one in (silent, sending):
                one.start(parts)
            silent.keys_exhausted("openai", 3, 60.0)
            await _until(lambda: not silent._pools or not silent._pools._tasks)
            assert await store._database.fetch("SELECT 1 FROM notices")
            sending.wake()
            labels = {"kind": "keys.exhausted", "result": "sent"}
            sample = metrics.registry.get_sample_value
            await _until(lambda: sample("authz_notices_total", labels) == 1)
            sending.keys_exhausted("openai", 3, 60.0)
    (body,) = got
    assert json.loads(body)["type"] == "keys.exhausted"
    assert {**json.loads(body)["data"], "again_at": ""} == {
        "provider": "openai", "keys": 3, "again_at": ""
    }  # fmt: skip


async def test_without_settings_there_are_no_notices() -> None:
    """A pool without a key is logged by the pool, and nothing else happens."""

    async def open_store() -> Store:
        raise AssertionError("no store is needed")

    notices = Notices(Config(), open_store, Metrics(), sends=True)
    async with AsyncExitStack() as parts:
        notices.start(parts)
        notices.keys_exhausted("openai", 3, 60.0)
        notices.wake()
