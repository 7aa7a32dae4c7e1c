"""Several ``authz serve`` with one identity source, asked over gRPC as Envoy does."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import yaml

from authz.check.ext_authz import METHOD
from tests.support.checks import ANTHROPIC, answer, question
from tests.support.pair import free_port, wait_until


@dataclass(frozen=True)
class Replicas:
    """Running processes and the sockets that they answer on."""

    folder: Path
    sockets: list[Path]
    processes: list[subprocess.Popen[bytes]]
    http_ports: list[int]

    @property
    def log(self) -> str:
        """The standard error of the processes."""
        return (self.folder / "stderr").read_text()


@contextlib.contextmanager
def replicas(count: int, identity: str, **settings: Any) -> Iterator[Replicas]:
    """Run ``count`` processes with a central key for Anthropic.

    Args:
        identity: the source's URL; absolute, since each process has the same working directory.
        settings: further top-level keys of ``gateway.yaml``.
    """
    folder = Path(tempfile.mkdtemp(prefix="replicas-", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        running = Replicas(folder, [], [], [])
        stack.callback(_end, running)
        for number in range(count):
            _start(running, number, identity, settings)
        for path in running.sockets:
            wait_until(lambda path=path: _accepts(path), 20, f"{path} being served")
        yield running


class Asker:
    """Asks one replica about tokens, over one connection."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)

    async def metadata(self, token: str) -> dict[str, str]:
        """Return the metadata that the access log gets for a request with the token."""
        response = answer(await self._check(question([("x-api-key", token)], ANTHROPIC)))
        fields = response.dynamic_metadata.fields
        return {key: value.string_value for key, value in fields.items()}

    async def status(self, token: str) -> int:
        """Return the HTTP status of a request with the token: 200 for an allow."""
        response = answer(await self._check(question([("x-api-key", token)], ANTHROPIC)))
        if response.WhichOneof("http_response") == "ok_response":
            return 200
        refused = response.denied_response.status.code or response.error_response.status.code
        assert response.status.code != 0
        return refused


@contextlib.asynccontextmanager
async def askers(running: Replicas) -> AsyncIterator[list[Asker]]:
    """Connect to each replica."""
    async with contextlib.AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(f"unix:{path}"))
            for path in running.sockets
        ]
        yield [Asker(channel) for channel in channels]


def _start(running: Replicas, number: int, identity: str, settings: dict[str, Any]) -> None:
    path = running.folder / f"authz-{number}.sock"
    http_port = free_port()
    config = running.folder / f"gateway-{number}.yaml"
    values = {
        "identity": identity,
        "providers": [
            {
                "name": "anthropic",
                "type": "anthropic",
                "base_url": ANTHROPIC["base_url"],
                "key": {"env": "CENTRAL_KEY"},
            }
        ],
        "authz": {"grpc": f"unix:{path}", "http": f"127.0.0.1:{http_port}"},
        **settings,
    }
    config.write_text(yaml.safe_dump(values))
    with (running.folder / "stderr").open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "authz", "serve", "--config", str(config)],
            cwd=running.folder,
            env={**os.environ, "CENTRAL_KEY": "sk-ant-central-0f3a9b7c5d1e"},
            stdin=subprocess.DEVNULL,
            stderr=stderr,
        )
    running.processes.append(process)
    running.sockets.append(path)
    running.http_ports.append(http_port)


def _accepts(path: Path) -> bool:
    """Return whether somebody listens; for a moment there is a socket without a listener."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
        return True
    return False


def _end(running: Replicas) -> None:
    for process in running.processes:
        process.terminate()
    for process in running.processes:
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
