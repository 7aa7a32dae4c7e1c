"""A real pair for tests: ``authz up`` with a strict stand-in provider behind it."""

import asyncio
import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from authz.identity.accounts import ApiKey
from authz.identity.open import open_store
from tests.support.ports import free_port as free_port
from tests.support.provider import Accounts, RecordedRequest, Server

CENTRAL_KEYS = {
    "anthropic": "sk-ant-central-0f3a9b7c5d1e",
    "openai": "sk-central-7c5d1e0f3a9b",
}
OWN_KEYS = {
    "anthropic": "sk-ant-own-5d1e0f3a9b7c",
    "openai": "sk-own-1e0f3a9b7c5d",
    "chatgpt": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJvd24ifQ.c2ln",
    "copilot": "gho_own9b7c5d1e0f3a",
}
SUBSCRIPTION = "sk-ant-oat01-own-3a9b7c5d1e0f"
"""An OAuth token of a Claude subscription, which is sent as a Bearer."""
OWN_CREDENTIALS = frozenset({*OWN_KEYS.values(), SUBSCRIPTION})
BASE_PATHS = {"anthropic": "", "openai": "/v1", "chatgpt": "/backend-api/codex", "copilot": ""}
TYPES = {"anthropic": "anthropic", "openai": "openai", "chatgpt": "openai", "copilot": "copilot"}


BUSY = 10
"""The factor by which a busy machine may be slower than a quiet one."""


def wait_until(condition: Any, seconds: float = 10.0, what: str = "condition") -> None:
    """Poll until the condition holds; AssertionError when it does not in time.

    Args:
        condition: the function to poll.
        seconds: how long it may take on a quiet machine. A busy one gets ``BUSY`` times as much.
        what: what the error says was waited for.
    """
    deadline = time.monotonic() + seconds * BUSY
    while not condition():
        assert time.monotonic() < deadline, f"{what} not true after {seconds * BUSY} s"
        time.sleep(0.02)


@dataclass
class Provider:
    """The stand-in provider and the requests that reached it."""

    server: Server
    seen: list[RecordedRequest] = field(default_factory=list)

    def take(self) -> list[RecordedRequest]:
        """Return the requests that reached the provider since the last call."""
        taken = list(self.seen)
        # One that arrives meanwhile stays for the next call.
        del self.seen[: len(taken)]
        return taken


@contextlib.contextmanager
def stand_in(own: Collection[str] = OWN_CREDENTIALS, **options: Any) -> Iterator[Provider]:
    """Run a stand-in that accepts the central keys above and own credentials, nothing else."""
    seen: list[RecordedRequest] = []
    accounts = Accounts(
        central=CENTRAL_KEYS,
        own=frozenset(own),
        types={name: name for name in TYPES},
    )
    options.setdefault("chunk_delay", 0.001)
    with Server(accounts, port=free_port(), observer=seen.append, **options) as server:
        yield Provider(server, seen)


class Pair:
    """A running ``authz up`` in a folder of its own.

    Attributes:
        environ: what it gets in its environment beside ours.
        on_terminal: whether its standard output is a terminal; else it is a file.
    """

    def __init__(self, folder: Path, provider: Provider, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.provider = provider
        self.port = free_port()
        self.http_port = free_port()
        self.settings = self._settings(settings)
        self.environ: dict[str, str] = {}
        self.on_terminal = False
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def identity(self) -> str:
        identity: str = self.settings["identity"]
        return identity

    @property
    def stdout(self) -> str:
        """The standard output: the banner and the access log, without a line that is half written.

        Envoy writes its log in pieces of some kilobytes, wherever these end.
        """
        text = (self.folder / "stdout").read_bytes()
        return text[: text.rfind(b"\n") + 1].decode().replace("\r\n", "\n")

    @property
    def stderr(self) -> str:
        """The standard error: the log of authz, Envoy's warnings and the supervisor's messages."""
        return (self.folder / "stderr").read_text()

    @property
    def first_token(self) -> str:
        """The token of the first start, from the file that standard output names."""
        return (self.folder / f"first-token-{self.port}").read_text().strip()

    def start(self, *arguments: str, wait: bool = True) -> None:
        """Start ``authz up`` and wait until it says that the gateway is up."""
        (self.folder / "gateway.yaml").write_text(yaml.safe_dump(self.settings))
        with (
            _terminal(self.folder / "stdout")
            if self.on_terminal
            else (self.folder / "stdout").open("wb") as stdout,
            (self.folder / "stderr").open("wb") as stderr,
        ):
            self.process = subprocess.Popen(
                [sys.executable, "-m", "authz", "up", *arguments],
                cwd=self.folder,
                env={**_environment(), **self.environ},
                stdout=stdout,
                stderr=stderr,
            )
        if wait:
            wait_until(self._is_up, 60, "the gateway being up")

    def stop(self, number: int = signal.SIGTERM, seconds: float = 120) -> int:
        """Send a signal and return the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def children(self) -> dict[str, int]:
        """Return the process ids of ``envoy`` and ``authz``."""
        assert self.process is not None
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                command = (entry / "cmdline").read_bytes()
                if int(parent) == self.process.pid:
                    found["envoy" if b"/envoy\0" in command else "authz"] = int(entry.name)
        return found

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run an ``authz`` command in the pair's folder."""
        return subprocess.run(
            [sys.executable, "-m", "authz", *arguments],
            cwd=self.folder,
            env=_environment(),
            capture_output=True,
            text=True,
            check=check,
        )

    def create_user(self, name: str) -> None:
        """Make an active user."""
        asyncio.run(self._create_user(name))

    def create_token(self, user: str, lifetime: timedelta = timedelta(days=2)) -> str:
        """Make a token and return its text."""
        return asyncio.run(self._create_token(user, lifetime))

    def delete_token(self, token: str) -> None:
        """Delete a token; it counts for the next request."""
        asyncio.run(self._delete_token(token))

    def set_status(self, user: str, status: str) -> None:
        """Suspend or activate a user."""
        asyncio.run(self._set_status(user, status))

    def delete_user(self, user: str) -> None:
        """Delete a user with all tokens."""
        asyncio.run(self._delete_user(user))

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.stderr
        return "The gateway is up" in self.stdout

    def _settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        providers = []
        for name, kind in TYPES.items():
            provider: dict[str, Any] = {
                "name": name,
                "type": kind,
                "base_url": f"{self.provider.server.url}/{name}{BASE_PATHS[name]}",
            }
            if name in CENTRAL_KEYS:
                key_file = self.folder / f"{name}.key"
                key_file.write_text(f"{CENTRAL_KEYS[name]}\n")
                provider["key"] = {"file": str(key_file)}
            providers.append(provider)
        return {
            "listen": f"127.0.0.1:{self.port}",
            "identity": "sqlite:///./identity.db",
            "providers": providers,
            "authz": {"grpc": "unix:./authz.sock", "http": f"127.0.0.1:{self.http_port}"},
            **settings,
            # Each thread of Envoy's takes an inotify instance, of which Linux gives a user 128.
            "envoy": {"drain_timeout": 10, "concurrency": 2, **settings.get("envoy", {})},
        }

    @contextlib.asynccontextmanager
    async def _store(self) -> Any:
        identity = self.identity.replace("sqlite:///./", f"sqlite:///{self.folder}/")
        store = await open_store(identity, create=True)
        try:
            yield store
        finally:
            await store.close()

    async def _create_user(self, name: str) -> None:
        async with self._store() as store:
            await store.create_user(name)

    async def _create_token(self, user: str, lifetime: timedelta) -> str:
        async with self._store() as store:
            token, _ = await store.create_token(await store.get_user(user), None, lifetime)
            return str(token)

    async def _delete_token(self, token: str) -> None:
        async with self._store() as store:
            key: ApiKey | None = await store.find_token(token)
            assert key is not None
            await store.delete_token(key)

    async def _set_status(self, user: str, status: str) -> None:
        async with self._store() as store:
            await store.set_status(await store.get_user(user), status)

    async def _delete_user(self, user: str) -> None:
        async with self._store() as store:
            await store.delete_user(await store.get_user(user))


def _environment() -> dict[str, str]:
    """Return our environment without what would configure authz."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AUTHZ_", "CODER_")) and not name.endswith("_API_KEY")
    }


@contextlib.contextmanager
def _terminal(copy: Path) -> Iterator[int]:
    """Open a terminal and copy its output to a file until the last writer closes it."""
    ours, theirs = pty.openpty()
    file = copy.open("wb")

    def follow() -> None:
        with file, contextlib.suppress(OSError):
            while data := os.read(ours, 65536):
                file.write(data.replace(b"\r\n", b"\n"))
                file.flush()
        os.close(ours)

    threading.Thread(target=follow, daemon=True).start()
    try:
        yield theirs
    finally:
        os.close(theirs)


@contextlib.contextmanager
def pair(
    provider: Provider | None = None,
    *,
    arguments: Sequence[str] = (),
    start: bool = True,
    **settings: Any,
) -> Iterator[Pair]:
    """Run a pair.

    Args:
        provider: the stand-in to use; None runs one for this pair.
        arguments: further arguments of ``authz up``.
        start: whether to start it at once.
        settings: top-level keys of ``gateway.yaml`` to add or replace.
    """
    # A short path: a Unix socket's has at most 107 bytes, and pytest's folders are long.
    folder = Path(tempfile.mkdtemp(prefix="pair-", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        running = Pair(folder, provider or stack.enter_context(stand_in()), settings)
        stack.callback(_end, running)
        if start:
            running.start(*arguments)
        yield running


def _end(running: Pair) -> None:
    if running.process is None or running.process.poll() is not None:
        return
    running.process.send_signal(signal.SIGTERM)
    try:
        running.process.wait(60)
    except subprocess.TimeoutExpired:
        running.process.kill()
        running.process.wait()
