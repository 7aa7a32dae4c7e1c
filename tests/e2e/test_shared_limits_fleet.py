"""Shared limits under load: three Envoys, four authz, one store."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from authz.envoy import binary
from tests.support.fleet import Fleet, fleet
from tests.support.pair import Provider, free_port, wait_until
from tests.support.postgres import running_server
from tests.support.valkey import running_valkey

pytestmark = [
    pytest.mark.skipif(not os.environ.get("AUTHZ_SOAK"), reason="takes minutes: make soak"),
    pytest.mark.timeout(1800),
]

REQUESTS = int(os.environ.get("AUTHZ_LIMITED_REQUESTS", "100000"))
CONNECTIONS = 4
"""Connections of each user to each Envoy."""
SLOTS, MINUTE, SMALL, TOKENS = 5, 3_000, 600, 20_000
_TOKENS_OF_ONE = 10
USERS = {
    "alice": {"requests_per_minute": MINUTE},
    "bob": {"requests_per_minute": SMALL},
    "carol": {"concurrent_requests": SLOTS},
    "dave": {"tokens_per_minute": TOKENS},
}
_ANSWER = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 4, "output_tokens": _TOKENS_OF_ONE - 4},
    }
).encode()
_BODY = json.dumps(
    {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
).encode()


class _Upstream:
    """A provider that counts each user's simultaneous requests."""

    def __init__(self) -> None:
        self.port = free_port()
        self.now: dict[bytes, int] = defaultdict(int)
        self.most: dict[bytes, int] = defaultdict(int)
        self._stop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop()
        self._thread.join(60)

    async def _run(self) -> None:
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()
        self._stop = partial(loop.call_soon_threadsafe, stopped.set)
        async with await asyncio.start_server(self._serve, "127.0.0.1", self.port):
            await stopped.wait()
            # Every Envoy has ended.
            await asyncio.sleep(1)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
        answer = head + str(len(_ANSWER)).encode() + b"\r\n\r\n" + _ANSWER
        while True:
            try:
                request = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                await _closed(writer)
                return
            await reader.readexactly(len(_BODY))
            user = request.partition(b"x-load-user: ")[2].partition(b"\r\n")[0]
            self.now[user] += 1
            self.most[user] = max(self.most[user], self.now[user])
            await asyncio.sleep(0.002)
            # Its place may be free as soon as Envoy has the answer.
            self.now[user] -= 1
            writer.write(answer)


class _Load:
    """Requests of every user through every Envoy, without pauses."""

    def __init__(self, ports: list[int], tokens: dict[str, str]) -> None:
        self._ports = ports
        self._tokens = tokens
        self.passed: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.refused: dict[str, int] = defaultdict(int)
        self.others: dict[int, int] = defaultdict(int)
        self.total = 0

    async def run(self) -> None:
        await asyncio.gather(
            *(
                self._send_on(port, user, token)
                for port in self._ports
                for user, token in self._tokens.items()
                for _ in range(CONNECTIONS)
            )
        )

    async def _send_on(self, port: int, user: str, token: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        message = (
            f"POST /anthropic/v1/messages HTTP/1.1\r\nhost: gateway\r\nx-load-user: {user}\r\n"
            f"x-api-key: {token}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(_BODY)}\r\n\r\n"
        ).encode() + _BODY
        while self.total < REQUESTS:
            sent = time.monotonic()
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            self.total += 1
            status = int(head[9:12])
            if status == 200:
                self.passed[user].append((sent, time.monotonic()))
            elif status == 429:
                self.refused[user] += 1
            else:
                self.others[status] += 1
        await _closed(writer)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def most_in_a_minute(passed: list[tuple[float, float]]) -> int:
    """Return the most requests that were certainly decided within some 60 seconds.

    A request was decided at some time between its sending and its answer.
    """
    most = 0
    sent = sorted(passed)
    for index, (begin, _) in enumerate(sent[:: max(1, len(sent) // 500)]):
        later = sent[index * max(1, len(sent) // 500) :]
        most = max(most, sum(end < begin + 60 for _, end in later))
    return most


@pytest.fixture(params=["valkey", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a store that replicas share."""
    if request.param == "valkey":
        with running_valkey() as server:
            yield server.url
    else:
        with running_server() as postgres:
            yield postgres.url(postgres.database())


def _further_envoy(running: Fleet, number: int) -> subprocess.Popen[bytes]:
    """Start an Envoy with the same configuration on another port."""
    document = (running.folder / "envoy.yaml").read_text()
    port, admin = free_port(), free_port()
    text = document.replace(f"port_value: {running.port}}}", f"port_value: {port}}}")
    text = text.replace(f"port_value: {running.admin_port}}}", f"port_value: {admin}}}")
    assert text.count(str(port)) == 1
    name = f"envoy-{number}.yaml"
    (running.folder / name).write_text(text)
    command = [str(binary.find()), "-c", name, "--log-level", "warning", "--disable-hot-restart"]
    process = running._launch([*command, "--concurrency", "1"])
    process.port = port  # type: ignore[attr-defined]
    return process


def _settings(url: str, upstream: int, key_file: Path) -> dict[str, Any]:
    key_file.write_text("sk-ant-central-0f3a9b7c5d1e")
    provider = {
        "name": "anthropic",
        "type": "anthropic",
        "base_url": f"http://127.0.0.1:{upstream}/",
        "key": {"file": str(key_file)},
    }
    return {"providers": [provider], "limits": {"shared": {"store": url, "users": USERS}}}


def test_no_limit_is_exceeded_under_load(provider: Provider, store: str, tmp_path: Path) -> None:
    """No request of a hundred thousand passes above its limit."""
    upstream = _Upstream()
    settings = _settings(store, upstream.port, tmp_path / "key")
    with fleet(provider, 4, **settings) as running:
        envoys = [_further_envoy(running, number) for number in (1, 2)]
        try:
            ports = [running.port, *(one.port for one in envoys)]  # type: ignore[attr-defined]
            for name in USERS:
                if name != "alice":
                    running.create_user(name)
            tokens = {name: running.create_token(name) for name in USERS}
            wait_until(lambda: all(_accepts(port) for port in ports), 20, "every Envoy")
            load, began = _Load(ports, tokens), time.monotonic()
            asyncio.run(load.run())
        finally:
            for one in envoys:
                one.kill()
                one.wait(60)
    upstream.stop()
    took = time.monotonic() - began
    minutes = {name: most_in_a_minute(load.passed[name]) for name in USERS}
    print(
        f"\n{store.partition(':')[0]}: {load.total} requests in {took:.0f} s;"
        f" passed { ({name: len(all_) for name, all_ in load.passed.items()}) },"
        f" refused {dict(load.refused)}, others {dict(load.others)};"
        f" most in a minute {minutes}; most of carol at a time {upstream.most[b'carol']}"
    )
    # On a busy machine a store may answer too late, and then nothing passes.
    assert set(load.others) <= {503}
    assert sum(load.others.values()) < REQUESTS / 100
    assert minutes["alice"] <= MINUTE
    assert minutes["bob"] <= SMALL
    assert upstream.most[b"carol"] <= SLOTS
    # A connection may send the next request before the record of the last one is counted.
    in_progress = 3 * CONNECTIONS * 10
    assert minutes["dave"] * _TOKENS_OF_ONE <= TOKENS + in_progress * _TOKENS_OF_ONE


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
