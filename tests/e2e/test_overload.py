"""Overload: a fast 503 with Retry-After, and streams continue."""

import asyncio
import json
import os
import signal
from collections import Counter

import httpx

from tests.support.pair import Pair, Provider, pair, wait_until

BODY = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


async def _ask(client: httpx.AsyncClient, gateway: Pair, token: str) -> tuple[int, str]:
    answer = await client.post(
        f"{gateway.url}/anthropic/v1/messages", headers={"x-api-key": token}, json=BODY
    )
    return answer.status_code, answer.headers.get("retry-after", "")


def _milliseconds(running: Pair) -> list[int]:
    """Return the durations of the refused requests from the access log."""
    lines = [json.loads(one) for one in running.stdout.splitlines() if one.startswith("{")]
    return [line["duration_ms"] for line in lines if line["status"] == 503]


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
            statuses = Counter(status for status, _ in answers)
            assert set(statuses) == {503}
            assert {retry_after for _, retry_after in answers} == {"2"}
            assert (await _ask(client, running, token))[0] == 200
        await asyncio.to_thread(wait_until, lambda: len(_milliseconds(running)) == 60, 15, "lines")
        # As Envoy counts them: the client may be slow to send. The timeout of a check is 2 s.
        assert sum(taken < 1200 for taken in _milliseconds(running)) >= 40
