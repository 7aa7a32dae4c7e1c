"""What all variants share: a folder, a store with one token, a provider, a request."""

import asyncio
import contextlib
import http.client
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from authz.config import load
from authz.envoy import binary
from authz.identity.open import open_store
from authz.settings import Config
from bench import upstream
from bench.processes import Process, free_port

_START_SECONDS = 20.0
_BODY = (
    '{"model":"claude-sonnet-4-5","max_tokens":64,'
    '"messages":[{"role":"user","content":"Say hello to the benchmark, please."}]}'
)
_PROVIDERS = {"anthropic": "anthropic", "openai": "openai", "chatgpt": "openai"}


class BenchError(Exception):
    """The benchmark can't be run, or a variant does not do its job."""


@dataclass
class World:
    """The surroundings of the variants.

    Attributes:
        folder: in which every variant has one of its own.
        envoy: the Envoy program.
        upstream_port: of the canned provider.
        upstream: the canned provider itself.
        token: a Coder token that is in the store.
    """

    folder: Path
    stack: contextlib.ExitStack
    envoy: Path
    upstream_port: int
    token: str = ""
    upstream: Process | None = None

    def start(self, variant: str, name: str, command: Sequence[str | Path]) -> Process:
        """Start a process of a variant; it ends with this world."""
        process = Process(name, command, self.folder / variant / f"{name}.log")
        self.stack.callback(process.end)
        return process

    def start_envoy(self, variant: str, values: Mapping[str, Any]) -> Process:
        """Start an Envoy with one worker thread."""
        file = self.folder / variant / "envoy.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump(dict(values)))
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        return self.start(variant, "envoy", [self.envoy, "-c", file, *options])

    def config(self, variant: str, **settings: Any) -> tuple[Config, Path]:
        """Write a variant's ``gateway.yaml``.

        Args:
            settings: top-level keys to add or replace.
        """
        folder = self.folder / variant
        folder.mkdir(exist_ok=True)
        url = f"http://127.0.0.1:{self.upstream_port}"
        values: dict[str, Any] = {
            "listen": f"127.0.0.1:{free_port()}",
            "identity": self.identity,
            "providers": [
                {"name": name, "type": kind, "base_url": f"{url}/{name}"}
                for name, kind in _PROVIDERS.items()
            ],
            "authz": {"grpc": f"unix:{folder}/authz.sock", "http": f"127.0.0.1:{free_port()}"},
            **settings,
        }
        values["providers"][0]["key"] = {"file": str(self.folder / "central.key")}
        file = folder / "gateway.yaml"
        file.write_text(yaml.safe_dump(values))
        return load(file, environ={}), file

    @property
    def identity(self) -> str:
        """The store that every variant reads."""
        return f"sqlite:///{self.folder}/identity.db"


def request(token: str) -> bytes:
    """Return the request as bytes: a small POST as the Anthropic SDK sends it, less its texts."""
    head = (
        "POST /anthropic/v1/messages HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {token}",
        "Accept: application/json",
        "Accept-Encoding: identity",
        "Anthropic-Version: 2023-06-01",
        "Content-Type: application/json",
        "User-Agent: Anthropic/Python 2.12.0",
        "X-Stainless-Lang: python",
        "X-Stainless-Retry-Count: 0",
        f"Content-Length: {len(_BODY)}",
        "",
        _BODY,
    )
    return "\r\n".join(head).encode()


def upstream_request() -> bytes:
    """Return the same request as it has to reach the provider."""
    bearer = b"Authorization: Bearer x"
    return request("x").replace(bearer, f"X-Api-Key: {upstream.CENTRAL_KEY}".encode())


def status(port: int, token: str) -> int:
    """Send the request once and return the answer's status."""
    head, _, body = request(token).decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    method, path, _ = first.split()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def wait_for_status(port: int, token: str, expected: int, processes: list[Process]) -> None:
    """Wait until the request gets the expected answer.

    Raises:
        BenchError: it does not in time, or a process has ended.
    """
    deadline = time.monotonic() + _START_SECONDS
    got = 0
    while got != expected:
        with contextlib.suppress(OSError, http.client.HTTPException):
            got = status(port, token)
        ended = [process for process in processes if process.exit_status is not None]
        if ended or time.monotonic() > deadline:
            texts = [f"{process.name}: {_last_line(process.log)}" for process in ended or processes]
            raise BenchError(f"got {got}, not {expected}; {'; '.join(texts)}")
        time.sleep(0.02)


def _last_line(log: Path) -> str:
    lines = log.read_text().strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "no message"


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Make the surroundings; everything is stopped and removed at the end."""
    with contextlib.ExitStack() as stack:
        # In /tmp itself: a Unix socket's path has at most 107 bytes.
        folder = Path(tempfile.mkdtemp(prefix="authz-bench-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        (folder / "central.key").write_text(upstream.CENTRAL_KEY)
        made = World(folder, stack, binary.find(), free_port())
        made.token = asyncio.run(_make_token(made.identity))
        made.upstream = made.start_envoy("upstream", upstream.bootstrap(made.upstream_port))
        # The provider gets no central key here, and says so.
        wait_for_status(made.upstream_port, "none", 403, [made.upstream])
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
