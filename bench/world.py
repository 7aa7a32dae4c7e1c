"""The parts that all variants share: a folder, a store with one token, and the providers."""

import asyncio
import contextlib
import os
import resource
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from authz.config.loading import load
from authz.config.settings import Config
from authz.config.uses import Uses
from authz.envoy import binary
from authz.identity.open import open_store
from bench import message, upstream
from bench.processes import Process
from tests.support.ports import free_port

_START_SECONDS = 20.0
_PROVIDERS = {
    "anthropic": "anthropic",
    "openai": "openai",
    "chatgpt": "openai",
    "streaming": "anthropic",
}
_WITH_KEY = ("anthropic", "streaming")


class BenchError(Exception):
    """The benchmark can't be run, or a variant does not do its job."""


@dataclass(frozen=True)
class Streams:
    """Streams: how many at once, how many events each, and how far apart in seconds.

    Attributes:
        body: the bytes of the request's body; 0 is the small one of all other requests.
    """

    streams: int = 500
    events: int = 16
    interval: float = 0.25
    body: int = 0


REALISTIC = Streams(50, 300, 5 / 300, 100_000)
"""A request as an agent sends it: the body is the conversation, the answer a stream of 5 s."""


@dataclass
class World:
    """The surroundings of the variants.

    Attributes:
        folder: in which every variant has one of its own.
        envoy: the Envoy program.
        upstream_port: of the canned provider.
        streaming_port: of the provider of streams.
        streams: what it sends.
        realistic: what it sends for a realistic request.
        upstream: the canned provider itself.
        streaming: the provider of streams itself.
        under: the command that runs the Envoys of variants, such as valgrind; usually none.
        token: a Coder token that is in the store.
    """

    folder: Path
    stack: contextlib.ExitStack
    envoy: Path
    upstream_port: int
    streaming_port: int
    streams: Streams
    realistic: Streams = REALISTIC
    token: str = ""
    upstream: Process | None = None
    streaming: Process | None = None
    under: Sequence[str] = ()

    def start(
        self,
        variant: str,
        name: str,
        command: Sequence[str | Path],
        variables: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a process of a variant; it ends with this world."""
        log = self.folder / variant / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        process = Process(name, command, log, variables)
        self.stack.callback(process.end)
        return process

    def start_envoy(self, variant: str, values: Mapping[str, Any]) -> Process:
        """Start an Envoy with one worker thread."""
        file = self.folder / variant / "envoy.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump(dict(values)))
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        return self.start(variant, "envoy", [*self.under, self.envoy, "-c", file, *options])

    def config(self, variant: str, **settings: Any) -> tuple[Config, Path]:
        """Write a variant's ``gateway.yaml``.

        Args:
            settings: a fragment of it, merged in.
        """
        folder = self.folder / variant
        folder.mkdir(exist_ok=True)
        values: dict[str, Any] = {
            "listen": f"127.0.0.1:{free_port()}",
            "identity": self.identity,
            "providers": [
                {"name": name, "type": kind, "base_url": self.provider_url(name)}
                for name, kind in _PROVIDERS.items()
            ],
            "authz": {
                "grpc": f"unix:{folder}/authz.sock",
                "http": f"127.0.0.1:{free_port()}",
                "workers": 1,
            },
        }
        for provider in values["providers"]:
            if provider["name"] in _WITH_KEY:
                provider["key"] = {"file": str(self.folder / "central.key")}
        values = merged(values, settings)
        file = folder / "gateway.yaml"
        file.write_text(yaml.safe_dump(values))
        return load(file, uses=Uses.KEYS, environ={}), file

    def provider_url(self, name: str) -> str:
        """Return the base URL of a provider."""
        if name == message.STREAMING:
            return f"http://127.0.0.1:{self.streaming_port}"
        return f"http://127.0.0.1:{self.upstream_port}/{name}"

    @property
    def identity(self) -> str:
        """The store that every variant reads."""
        return f"sqlite:///{self.folder}/identity.db"


def merged(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` with ``more`` in it; a mapping in both is merged, all else replaced."""
    result = dict(values)
    for name, value in more.items():
        old = result.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[name] = merged(old, value)
        else:
            result[name] = value
    return result


def status(port: int, request: bytes) -> int:
    """Send a request over a connection of its own and return the answer's status."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        first = connection.makefile("rb").readline().split()
    return int(first[1]) if len(first) > 1 else 0


def wait_for_status(
    port: int,
    request: bytes,
    expected: int,
    processes: list[Process],
    seconds: float = _START_SECONDS,
) -> None:
    """Wait until the request gets the expected answer.

    Raises:
        BenchError: it does not in time, or a process has ended.
    """
    deadline = time.monotonic() + seconds
    got = 0
    while got != expected:
        with contextlib.suppress(OSError):
            got = status(port, request)
        ended = [process for process in processes if process.exit_status is not None]
        if ended or time.monotonic() > deadline:
            texts = [f"{process.name}: {_last_line(process.log)}" for process in ended or processes]
            raise BenchError(f"got {got}, not {expected}; {'; '.join(texts)}")
        time.sleep(0.02)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][:200] if lines else "no message"


@contextlib.contextmanager
def world(streams: Streams = Streams(), realistic: Streams = REALISTIC) -> Iterator[World]:
    """Make the surroundings; everything is stopped and removed at the end."""
    # 500 streams are a thousand sockets; every process that we start inherits the limit.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.ExitStack() as stack:
        # In /tmp itself: a Unix socket's path has at most 107 bytes.
        folder = Path(tempfile.mkdtemp(prefix=f"authz-bench-{os.getpid()}-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        (folder / "central.key").write_text(upstream.CENTRAL_KEY)
        made = World(folder, stack, binary.find(), free_port(), free_port(), streams, realistic)
        made.token = asyncio.run(_make_token(made.identity))
        made.upstream = made.start_envoy("upstream", upstream.bootstrap(made.upstream_port))
        pace = [str(value) for one in (streams, realistic) for value in (one.events, one.interval)]
        made.streaming = made.start(
            "upstream",
            "streaming",
            [sys.executable, "-m", "bench.sse", str(made.streaming_port), *pace],
        )
        # The providers get no central key here, and say so.
        wait_for_status(made.upstream_port, message.request("none"), 403, [made.upstream])
        streaming = message.request("none", streaming=True)
        wait_for_status(made.streaming_port, streaming, 403, [made.streaming])
        yield made


async def _make_token(identity: str) -> str:
    store = await open_store(identity, create=True)
    try:
        await store.create_user("bench")
        user = await store.get_user("bench")
        token, _ = await store.create_token(user, "bench", timedelta(days=1))
        return str(token)
    finally:
        await store.close()
