"""Overload: a fast 503 with Retry-After, and streams continue."""

import asyncio
import os
import signal
import time
from collections import Counter

import httpx

from tests.support.pair import Pair, Provider, pair

BODY = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


async def _ask(client: httpx.AsyncClient, gateway: Pair, token: str) -> tuple[int, float, str]:
    began = time.monotonic()
    answer = await client.post(
        f"{gateway.url}/anthropic/v1/messages", headers={"x-api-key": token}, json=BODY
    )
    return answer.status_code, time.monotonic() - began, answer.headers.get("retry-after", "")


async def test_more_checks_than_fit(provider: Provider) -> None:
    """Checks that don't fit into the queue of a stopped authz are refused at once, not late."""
    with pair(provider, envoy={"drain_timeout": 1, "max_checks": 4}) as running:
        await asyncio.to_thread(running.create_user, "alice")
        token = await asyncio.to_thread(running.create_token, "alice")
        authz = running.children()["authz"]
        async with httpx.AsyncClient(timeout=30) as client:
            assert (await _ask(client, running, token))[0] == 200
            os.kill(authz, signal.SIGSTOP)
            try:
                answers = await asyncio.gather(*(_ask(client, running, token) for _ in range(60)))
            finally:
                os.kill(authz, signal.SIGCONT)
            statuses = Counter(status for status, _, _ in answers)
            assert set(statuses) == {503}
            fast = [taken for _, taken, _ in answers if taken < 1.2]
            assert len(fast) >= 40
            assert {retry_after for _, _, retry_after in answers} == {"2"}
            assert (await _ask(client, running, token))[0] == 200
