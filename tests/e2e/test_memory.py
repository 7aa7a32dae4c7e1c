"""Memory stays bounded: with many open streams, and under a flood of bad tokens."""

import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h2.connection
import h2.events
import httpx
import pytest

from authz.core import tokens
from tests.support.pair import Pair, pair

SOAK = bool(os.environ.get("AUTHZ_SOAK"))
STREAMS = 10_000 if SOAK else 300
BAD_TOKENS = 50_000 if SOAK else 1_500
AT_A_TIME = 100
FLAT_SECONDS = 60 if SOAK else 2
PER_CONNECTION = 100
"""Envoy's ``max_concurrent_streams``."""
BODY = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"Hi"}]}'


@pytest.fixture
def endless() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A provider's process, whose streams end when its input does, and its port."""
    command = [sys.executable, "-m", "tests.support.endless"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


def _say(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{text}\n")
    process.stdin.flush()


def _resident(running: Pair) -> dict[str, float]:
    """Return the memory of each process in MiB."""
    found = {}
    for name, pid in running.children().items():
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("VmRSS:"))
        found[name] = int(line.split()[1]) / 1024
    return found


class _Streams(asyncio.Protocol):
    """A connection with as many streams as Envoy lets it have, read as they come.

    Args:
        head: of the request that each stream begins with.
    """

    text = b""
    """The end of the event that is waited for, on every connection."""

    def __init__(self, head: list[tuple[str, str]]) -> None:
        self._head = head
        self._h2 = h2.connection.H2Connection()
        self.seen = 0
        self.ended = 0
        self.failed: list[object] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(1 << 24)
        for _ in range(PER_CONNECTION):
            stream = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream, self._head)
            self._h2.send_data(stream, BODY, end_stream=True)
        transport.write(self._h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                if (b":status", b"200") not in event.headers:
                    self.failed.append(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.seen += event.data.count(self.text)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended += 1
            elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                self.failed.append(event)
        self._transport.write(self._h2.data_to_send())


async def _until_all_saw(connections: list[_Streams], text: bytes) -> None:
    end = time.monotonic() + 60
    while any(one.seen < PER_CONNECTION for one in connections):
        failed = [one.failed for one in connections if one.failed]
        assert not failed, failed[:3]
        assert time.monotonic() < end, f"{text!r}: {[one.seen for one in connections]}"
        await asyncio.sleep(0.05)


async def test_open_streams(endless: tuple[subprocess.Popen[str], int]) -> None:
    """Thousands of open streams cost authz nothing, and Envoy what its buffers are; all go on."""
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
        connections: list[_Streams] = []
        _Streams.text = b"begins"

        async def connect() -> None:
            loop = asyncio.get_running_loop()
            _, one = await loop.create_connection(lambda: _Streams(head), "127.0.0.1", running.port)
            connections.append(one)
            await _until_all_saw(connections, b"begins")

        await connect()
        before = _resident(running)
        while len(connections) * PER_CONNECTION < STREAMS:
            await connect()
        opened = _resident(running)
        for number in range(FLAT_SECONDS // 2):
            _Streams.text = b"event %d\n" % number
            for one in connections:
                one.seen = 0
            _say(process, f"event {number}")
            await _until_all_saw(connections, _Streams.text)
            await asyncio.sleep(1)
        later = _resident(running)
        assert process.stdin is not None
        process.stdin.close()
        wait = time.monotonic() + 30
        while sum(one.ended for one in connections) < STREAMS and time.monotonic() < wait:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        print(f"\n{STREAMS} streams, MiB: {before} before, {opened} open, {later} later")
        assert sum(one.ended for one in connections) == STREAMS
        assert opened["authz"] - before["authz"] < 10
        assert later["authz"] - opened["authz"] < 5
        assert opened["envoy"] - before["envoy"] < 10 + STREAMS * 0.06
        assert later["envoy"] - opened["envoy"] < 10 + STREAMS * 0.005


async def test_a_flood_of_bad_tokens() -> None:
    """Tokens that nobody has leave nothing behind, in either process."""

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
            before = await asyncio.to_thread(_resident, run)
            for _ in range(AT_A_TIME):
                tasks.create_task(ask(client, url, BAD_TOKENS // AT_A_TIME))
        after = _resident(run)
        print(f"\n{BAD_TOKENS} bad tokens, MiB: {before} before, {after} after")
        assert after["authz"] - before["authz"] < 10
        assert after["envoy"] - before["envoy"] < 20
