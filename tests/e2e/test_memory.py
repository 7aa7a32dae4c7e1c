"""Memory stays bounded: with many open streams, and under a flood of bad tokens."""

import asyncio
import os
import secrets
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest

from authz.core import tokens
from tests.support.many_streams import (
    BODY,
    PER_CONNECTION,
    Streams,
    endless_provider,
    resident,
    say,
    until_all_saw,
)
from tests.support.pair import BUSY, pair

SOAK = bool(os.environ.get("AUTHZ_SOAK"))
STREAMS = 10_000 if SOAK else 300
BAD_TOKENS = 50_000 if SOAK else 1_500
AT_A_TIME = 100
FLAT_SECONDS = 60 if SOAK else 2


@pytest.fixture
def endless() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A provider's process, whose streams end when its input ends, and its port."""
    with endless_provider() as running:
        yield running


async def test_open_streams(endless: tuple[subprocess.Popen[str], int]) -> None:
    """Thousands of open streams cost authz nothing and Envoy only its buffers, and all continue."""
    process, port = endless
    provider = {"name": "anthropic", "type": "anthropic", "base_url": f"http://127.0.0.1:{port}"}
    with pair(providers=[provider | {"key": {"env": "SOME_KEY"}}], start=False) as running:
        running.environ["SOME_KEY"] = "sk-ant-central-0f3a9b7c5d1e"
        await asyncio.to_thread(running.start)
        await asyncio.to_thread(running.create_user, "alice")
        token = await asyncio.to_thread(running.create_token, "alice")
        head = [
            *((":method", "POST"), (":scheme", "http"), (":path", "/anthropic/v1/messages")),
            *((":authority", "127.0.0.1"), ("x-api-key", token)),
            *(("content-type", "application/json"), ("content-length", str(len(BODY)))),
        ]
        connections: list[Streams] = []
        Streams.text = b"begins"

        async def connect() -> None:
            loop = asyncio.get_running_loop()
            _, one = await loop.create_connection(lambda: Streams(head), "127.0.0.1", running.port)
            connections.append(one)
            await until_all_saw(connections, b"begins")

        await connect()
        before = resident(running)
        while len(connections) * PER_CONNECTION < STREAMS:
            await connect()
        opened = resident(running)
        for number in range(FLAT_SECONDS // 2):
            Streams.text = b"event %d\n" % number
            for one in connections:
                one.seen = 0
            say(process, f"event {number}")
            await until_all_saw(connections, Streams.text)
            await asyncio.sleep(1)
        later = resident(running)
        assert process.stdin is not None
        process.stdin.close()
        wait = time.monotonic() + 30 * BUSY
        while sum(one.ended for one in connections) < STREAMS and time.monotonic() < wait:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        print(f"\n{STREAMS} streams, MiB: {before} before, {opened} open, {later} later")
        assert sum(one.ended for one in connections) == STREAMS
        assert opened["authz"] - before["authz"] < 10
        assert later["authz"] - opened["authz"] < 5
        assert opened["envoy"] - before["envoy"] < 10 + STREAMS * 0.06
        assert later["envoy"] - opened["envoy"] < 10 + STREAMS * 0.005


async def test_a_flood_of_bad_tokens() -> None:
    """Unknown tokens leave nothing behind in the memory of either process."""

    async def ask(client: httpx.AsyncClient, url: str, count: int) -> None:
        for _ in range(count):
            answer = await client.get(url, headers={"authorization": f"Bearer {_bad()}"})
            assert answer.status_code == 401

    def _bad() -> str:
        return f"{secrets.token_hex(5)}-{secrets.token_hex(11)}"

    assert tokens.parse(_bad()) is not None
    with pair(log={"level": "error"}) as run:
        url = f"{run.url}/anthropic/v1/models/{secrets.token_hex(4)}"
        async with httpx.AsyncClient(timeout=60) as client, asyncio.TaskGroup() as tasks:
            # Many at a time, because refusals of a flood are delayed.
            await asyncio.gather(*(ask(client, url, 5) for _ in range(AT_A_TIME)))
            before = await asyncio.to_thread(resident, run)
            for _ in range(AT_A_TIME):
                tasks.create_task(ask(client, url, BAD_TOKENS // AT_A_TIME))
        after = resident(run)
        print(f"\n{BAD_TOKENS} bad tokens, MiB: {before} before, {after} after")
        assert after["authz"] - before["authz"] < 10
        assert after["envoy"] - before["envoy"] < 20
