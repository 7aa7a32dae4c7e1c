"""Tokens and central keys are rotated under load without a failed request."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from tests.support.pair import (
    CENTRAL_KEYS,
    OWN_CREDENTIALS,
    TYPES,
    Pair,
    Provider,
    free_port,
    pair,
    wait_until,
)
from tests.support.provider import Accounts, RecordedRequest, Server

NEW_KEY = "sk-ant-central-new-9b7c5d1e0f3a"
WORKERS = 4
SENT_AT = "x-test-sent-at"
"""A header that passes to the provider."""


@dataclass
class Load:
    """A steady load of requests that all have to succeed.

    Attributes:
        token: what the next request brings.
        sent: for each request the time it was sent, the token it brought and the status.
        under_way: how many requests with a token have no answer yet.
    """

    url: str
    token: str
    sent: list[tuple[float, str, int]] = field(default_factory=list)
    under_way: Counter[str] = field(default_factory=Counter)
    stop: bool = False

    async def work(self) -> None:
        """Send one request after the other."""
        async with httpx.AsyncClient(timeout=60) as client:
            while not self.stop:
                began, token = time.monotonic(), self.token
                self.under_way[token] += 1
                response = await client.post(
                    f"{self.url}/anthropic/v1/messages/count_tokens",
                    headers={"x-api-key": token, SENT_AT: f"{began}"},
                    json={"model": "m", "messages": [{"role": "user", "content": f"{began}"}]},
                )
                self.sent.append((began, token, response.status_code))
                self.under_way[token] -= 1


@asynccontextmanager
async def _running(load: Load) -> AsyncIterator[None]:
    workers = [asyncio.create_task(load.work()) for _ in range(WORKERS)]
    await asyncio.sleep(0.3)
    try:
        yield
        await asyncio.sleep(0.3)
    finally:
        load.stop = True
        await asyncio.gather(*workers)


async def test_a_token_is_rotated_under_load(gateway: Pair) -> None:
    """A token is rotated under load without a failed request, and the old one is then refused."""
    old = await asyncio.to_thread(gateway.create_token, "alice")
    load = Load(gateway.url, old)
    async with _running(load):
        async with httpx.AsyncClient() as client:
            response = await client.post(
                f"{gateway.url}/api/v2/users/me/keys/{old[:10]}/rotate",
                headers={"coder-session-token": old},
                json={"overlap": 3_600_000_000_000},
            )
        assert response.status_code == 201, response.text
        new = response.json()["key"]
        load.token = new
        # What was sent with the old token before the switch may still be under way.
        while load.under_way[old]:  # noqa: ASYNC110 - the workers count it
            await asyncio.sleep(0.01)
        await asyncio.to_thread(gateway.delete_token, old)
    assert {status for _, _, status in load.sent} == {200}
    assert {token for _, token, _ in load.sent} == {old, new}
    async with httpx.AsyncClient() as client:
        response = await client.post(
            f"{gateway.url}/anthropic/v1/messages", headers={"x-api-key": old}
        )
    assert response.status_code == 401
    await asyncio.to_thread(gateway.delete_token, new)


async def test_a_central_key_is_rotated_under_load() -> None:
    """A replaced key file is used for every later request, and none fails."""
    arrived: list[tuple[float, str | None]] = []

    def observe(seen: RecordedRequest) -> None:
        (sent_at,) = seen.all(SENT_AT)
        arrived.append((float(sent_at), seen.credential))

    accounts = Accounts(
        central=CENTRAL_KEYS,
        own=OWN_CREDENTIALS | {NEW_KEY},
        types={name: name for name in TYPES},
    )
    with (
        Server(accounts, port=free_port(), observer=observe) as server,
        pair(Provider(server)) as running,
    ):
        await asyncio.to_thread(running.create_user, "alice")
        load = Load(running.url, await asyncio.to_thread(running.create_token, "alice"))
        async with _running(load):
            while not arrived:  # noqa: ASYNC110 - the provider notes it in a thread of its own
                await asyncio.sleep(0.01)
            draft = running.folder / "draft.key"
            draft.write_text(NEW_KEY)
            draft.replace(running.folder / "anthropic.key")
            replaced = time.monotonic()
            await asyncio.to_thread(
                wait_until, lambda: any(at > replaced for at, _ in arrived), 10, "later requests"
            )
    assert {status for _, _, status in load.sent} == {200}
    assert {credential for _, credential in arrived} == {CENTRAL_KEYS["anthropic"], NEW_KEY}
    later = {key for sent_at, key in arrived if sent_at > replaced}
    assert later == {NEW_KEY}
