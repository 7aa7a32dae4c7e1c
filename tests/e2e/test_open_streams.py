"""Open streams end when their token is revoked, and those of other tokens go on."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.held import Held, HeldStream
from tests.support.many_streams import BODY, Streams, endless_provider, say, until_all_saw
from tests.support.pair import CENTRAL_KEYS, Provider, free_port, wait_until
from tests.support.parts import Parts, parts
from tests.support.tls import Connect, credentials
from tests.support.websocket_provider import WebSocketProvider

WITHIN = 20
"""Seconds; 2 are documented, and a busy machine may take longer."""
HOST = "api.anthropic.com:443"


@dataclass
class Opened:
    """Every kind of open stream of one token."""

    streams: list[HeldStream]
    socket: ClientConnection
    tunnel: Connect

    def assert_cut(self) -> None:
        """Wait until all of them are cut."""
        for stream in self.streams:
            stream.join()
            assert stream.error
        with pytest.raises(ConnectionClosed):
            self.socket.recv(timeout=WITHIN)
        self.tunnel._socket.settimeout(WITHIN)
        with contextlib.suppress(ConnectionResetError):
            assert self.tunnel._socket.recv(1) == b""

    def assert_open(self) -> None:
        """Assert that each of them still carries data."""
        before = [len(stream.events) for stream in self.streams]
        wait_until(
            lambda: all(
                len(stream.events) > count
                for stream, count in zip(self.streams, before, strict=True)
            ),
            WITHIN,
            "further events",
        )
        assert [stream.error for stream in self.streams] == ["", ""]
        self.socket.send('{"type":"response.create"}')
        assert self.socket.recv(timeout=WITHIN)
        self.tunnel._socket.settimeout(0.01)
        with pytest.raises(TimeoutError):
            self.tunnel._socket.recv(1)


@dataclass
class Gateway:
    """A pair that ends open streams, and its providers."""

    pair: Parts
    held: Held
    clients: tuple[httpx.Client, httpx.Client]
    stack: contextlib.ExitStack

    def open(self, token: str) -> Opened:
        """Open a stream of each kind."""
        url = f"{self.pair.url}/anthropic/v1/messages"
        streams = [HeldStream(client, url, token) for client in self.clients]
        opened = self.stack.enter_context(
            connect(
                f"ws://127.0.0.1:{self.pair.port}/openai/v1/responses",
                additional_headers={"authorization": f"Bearer {token}"},
                proxy=None,
                ping_interval=None,
                close_timeout=0.1,
            )
        )
        port = int(self.pair.settings["proxy"]["listen"].rpartition(":")[2])
        tunnel = self.stack.enter_context(Connect(port, HOST, credentials(token)))
        assert tunnel.status == 200
        wait_until(lambda: all(stream.events for stream in streams), WITHIN, "first events")
        return Opened(streams, opened, tunnel)

    def metric(self, name: str) -> float:
        """Return a metric of authz."""
        text = httpx.get(f"http://{self.pair.settings['authz']['http']}/metrics").text
        lines = [line for line in text.splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


@contextlib.contextmanager
def gateway(provider: Provider, folder: Path, **revocation: Any) -> Iterator[Gateway]:
    """Run a pair with ``revocation.end_streams``."""
    held = Held("held", CENTRAL_KEYS["anthropic"])
    with contextlib.ExitStack() as stack:
        stack.enter_context(held.running())
        upstream = stack.enter_context(WebSocketProvider())
        for name in ("anthropic", "openai"):
            (folder / name).write_text(CENTRAL_KEYS[name])
        providers = [
            {
                "name": "anthropic",
                "base_url": held.url,
                "public_url": "https://api.anthropic.com/",
                "key": {"file": str(folder / "anthropic")},
            },
            {
                "name": "openai",
                "base_url": f"http://127.0.0.1:{upstream.port}/v1",
                "key": {"file": str(folder / "openai")},
            },
        ]
        running = stack.enter_context(
            parts(
                provider,
                start=False,
                providers=[{"type": one["name"], **one} for one in providers],
                proxy={"listen": f"127.0.0.1:{free_port()}"},
                revocation={"end_streams": True, **revocation},
                envoy={"drain_timeout": 0},
            )
        )
        running.command("proxy", "ca")
        running.start()
        first = stack.enter_context(httpx.Client(timeout=WITHIN))
        second = stack.enter_context(httpx.Client(http1=False, http2=True, timeout=WITHIN))
        inner = stack.enter_context(contextlib.ExitStack())
        yield Gateway(running, held, (first, second), inner)


@pytest.fixture(scope="module")
def ending(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway of most tests here."""
    with gateway(provider, tmp_path_factory.mktemp("ending")) as running:
        yield running


def test_every_kind_of_stream_ends(ending: Gateway) -> None:
    """A deleted token's streams of every kind end, and no others."""
    running = ending.pair
    token = running.create_token("alice")
    deleted, kept = ending.open(token), ending.open(running.create_token("alice"))
    assert ending.metric("authz_open_streams ") == 8
    running.delete_token(token)
    deleted.assert_cut()
    kept.assert_open()
    assert ending.metric("authz_open_streams ") == 4
    assert ending.metric("authz_streams_ended_total{") == 4


def test_other_ends(ending: Gateway) -> None:
    """The streams of a suspended user end, and those of a token that expires."""
    running = ending.pair
    running.create_user("carol")
    suspended = ending.open(running.create_token("bob"))
    token = running.create_token("carol")
    ended = ending.open(token)
    # It gets its end only now, since opening takes any time on a busy machine.
    rotated = httpx.post(
        f"{running.url}/api/v2/users/me/keys/{token[:10]}/rotate",
        headers={"coder-session-token": token},
        json={"overlap": 3_000_000_000},
        timeout=60,
    )
    assert rotated.status_code == 201, rotated.text
    running.set_status("bob", "suspended")
    suspended.assert_cut()
    ended.assert_cut()


def test_authz_is_killed(ending: Gateway) -> None:
    """Streams go on while authz is down, and streams that begin once it is back are watched."""
    running = ending.pair
    early = ending.open(running.create_token("alice"))
    running.end_authz(signal.SIGKILL)
    early.assert_open()
    running.start_authz()
    early.assert_open()
    token = running.create_token("alice")
    late = ending.open(token)
    running.delete_token(token)
    late.assert_cut()
    early.assert_open()


def test_authz_stops_with_cut(provider: Provider, tmp_path: Path) -> None:
    """With ``unwatched: cut``, stopping authz cuts its streams, and new ones pass afterwards."""
    with gateway(provider, tmp_path, unwatched="cut") as running:
        opened = running.open(running.pair.create_token("alice"))
        running.pair.end_authz()
        opened.assert_cut()
        running.pair.start_authz()
        running.open(running.pair.create_token("alice")).assert_open()


@pytest.mark.skipif(not os.environ.get("AUTHZ_SOAK"), reason="takes a minute: make soak")
def test_ten_thousand_streams(tmp_path: Path) -> None:
    """Streams of deleted tokens are cut, and no others, with 10,000 streams of 100 tokens."""
    with (
        endless_provider() as (process, port),
        parts(
            start=False,
            providers=[
                {
                    "name": "anthropic",
                    "type": "anthropic",
                    "base_url": f"http://127.0.0.1:{port}",
                    "key": {"file": "key"},
                }
            ],
            revocation={"end_streams": True},
        ) as running,
    ):
        (running.folder / "key").write_text(CENTRAL_KEYS["anthropic"])
        running.start()
        asyncio.run(_cut_half(running, process))


async def _cut_half(running: Parts, process: subprocess.Popen[str]) -> None:
    tokens = [await asyncio.to_thread(running.create_token, "alice") for _ in range(100)]
    before = _cost(running)
    connections: list[Streams] = []
    Streams.text = b"begins"
    for token in tokens:
        head = [
            *((":method", "POST"), (":scheme", "http"), (":path", "/anthropic/v1/messages?n={}")),
            *((":authority", "127.0.0.1"), ("x-api-key", token)),
            *(("content-type", "application/json"), ("content-length", str(len(BODY)))),
        ]
        loop = asyncio.get_running_loop()
        _, one = await loop.create_connection(partial(Streams, head), "127.0.0.1", running.port)
        connections.append(one)
        await until_all_saw([one], b"begins")
    opened = _cost(running)
    await asyncio.sleep(10)
    idle = _cost(running)
    for _ in range(10):
        # Each commit lets authz ask about every stream.
        await asyncio.to_thread(running.create_token, "bob")
        await asyncio.sleep(1)
    busy = _cost(running)
    began = time.monotonic()
    for token in tokens[:50]:
        await asyncio.to_thread(running.delete_token, token)
    deleted = time.monotonic()
    while await asyncio.to_thread(_ended, running) < 5_000:
        assert time.monotonic() < deleted + WITHIN
    cut = time.monotonic()
    while sum(len(one.failed) for one in connections[:50]) < 5_000:
        assert time.monotonic() < deleted + WITHIN
        await asyncio.sleep(0.01)
    print(
        f"\n10,000 streams: deletes {deleted - began:.1f} s, all are told {cut - deleted:.2f} s"
        f" later, the last client knows {time.monotonic() - deleted:.2f} s later;"
        f" MiB and CPU s of authz and Envoy: before {before}, open {opened},"
        f" after 10 s idle {idle}, after 10 s with a commit each {busy},"
        f" at the end {_cost(running)}"
    )
    Streams.text = b"event\n"
    for one in connections:
        one.seen = 0
    say(process, "event")
    await until_all_saw(connections[50:], Streams.text)
    assert [len(one.failed) for one in connections] == [100] * 50 + [0] * 50


def _ended(running: Parts) -> float:
    text = httpx.get(f"http://{running.settings['authz']['http']}/metrics").text
    lines = [one for one in text.splitlines() if one.startswith("authz_streams_ended_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def _cost(running: Parts) -> dict[str, tuple[int, float]]:
    """Return the MiB in memory and the CPU seconds so far of each process."""
    found = {}
    for name, process in (("authz", running.authz), ("envoy", running.envoy)):
        assert process is not None
        folder = Path(f"/proc/{process.pid}")
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        pages = int((folder / "statm").read_text().split()[1])
        memory = pages * os.sysconf("SC_PAGE_SIZE") >> 20
        found[name] = (memory, ticks / os.sysconf("SC_CLK_TCK"))
    return found
