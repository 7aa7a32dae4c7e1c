"""authz and Envoy started apart, so that one can fail while the other keeps running."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from authz.envoy import binary
from tests.support.command import run_in_process
from tests.support.pair import Pair, Provider, _environment, stand_in, wait_until

_PATCHED = """
import asyncio, sys
from authz.check.authorizer import Authorizer
from authz.cli.main import main
from authz.identity.sqlite_source import SQLiteSource
{patch}
main(sys.argv[1:])
"""


class Parts(Pair):
    """An ``authz serve``, and an Envoy with the output of ``authz envoy render``."""

    def __init__(self, folder: Path, provider: Provider, settings: dict[str, Any]) -> None:
        super().__init__(folder, provider, settings)
        # A signal or a patch has to reach the process that answers checks, not one above it.
        self.settings["authz"].setdefault("workers", 1)
        self.authz: subprocess.Popen[bytes] | None = None
        self.envoy: subprocess.Popen[bytes] | None = None

    @property
    def socket_path(self) -> Path:
        """The socket on which Envoy asks authz."""
        return self.folder / "authz.sock"

    def start(self, *arguments: str, wait: bool = True) -> None:
        """Start both and wait until a request would pass."""
        (self.folder / "gateway.yaml").write_text(yaml.safe_dump(self.settings))
        self.start_authz(*arguments, wait=False)
        self._render("-o", "envoy.yaml")
        if "proxy" in self.settings:
            # Envoy does not start without them.
            leaves = self.folder / "leaves"
            wait_until(lambda: any(leaves.rglob("sds.yaml")), 20, "the certificates")
        self._launch_envoy()
        if wait:
            wait_until(lambda: self._asks(401), 20, "the gateway being up")

    def start_watching(self) -> None:
        """Start both, with an Envoy that watches files in the folder ``envoy``."""
        self.start_authz(wait=False)
        self._render("--folder", "envoy")
        self._launch_envoy("envoy/bootstrap.json")
        wait_until(lambda: self._asks(401), 20, "the gateway being up")

    def start_authz(self, *arguments: str, patch: str = "", wait: bool = True) -> None:
        """Start ``authz serve``.

        Args:
            arguments: further ones.
            patch: Python that runs before it, to make it slow or faulty.
            wait: until the gateway answers 401 again.
        """
        program = ["-m", "authz"]
        if patch:
            program = ["-c", _PATCHED.format(patch=textwrap.dedent(patch))]
        if self.authz is None or self.authz.poll() is not None:
            # A killed process can have its port for a moment longer than it is there.
            wait_until(self._is_port_free, 5, "authz's port being free")
        self.authz = self._launch([sys.executable, *program, "serve", *arguments])
        if wait:
            wait_until(lambda: self._asks(401), 20, "authz being asked")

    def end_authz(self, number: int = signal.SIGTERM) -> int:
        """Stop authz and return its exit status."""
        return _end(self.authz, number)

    def end(self) -> None:
        """Stop both."""
        _end(self.envoy, signal.SIGKILL)
        _end(self.authz, signal.SIGKILL)

    def _launch_envoy(self, config: str = "envoy.yaml") -> None:
        command = [str(binary.find()), "-c", config, "--log-level", "warning"]
        command += ["--disable-hot-restart", "--file-flush-interval-msec", "100"]
        self.envoy = self._launch([*command, "--concurrency", "1"])

    def _launch(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (
            (self.folder / "stdout").open("ab") as stdout,
            (self.folder / "stderr").open("ab") as stderr,
        ):
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    def _render(self, *arguments: str) -> None:
        done = run_in_process(self.folder, "envoy", "render", *arguments, environ=_environment())
        assert done.returncode == 0, done.stderr

    def _is_port_free(self) -> bool:
        host, _, port = self.settings["authz"]["http"].rpartition(":")
        with contextlib.suppress(OSError), socket.create_server((host, int(port))):
            return True
        return False

    def _asks(self, status: int) -> bool:
        assert self.authz is not None
        assert self.authz.poll() is None, self.stderr
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/", timeout=30).status_code == status
        return False


def _end(process: subprocess.Popen[bytes] | None, number: int) -> int:
    if process is None:
        return 0
    if process.poll() is None:
        process.send_signal(number)
        # A stopped process acts on a signal only when it goes on.
        os.kill(process.pid, signal.SIGCONT)
    return process.wait(120)


@contextlib.contextmanager
def parts(
    provider: Provider | None = None, *, start: bool = True, **settings: Any
) -> Iterator[Parts]:
    """Run authz and Envoy apart, with the users alice and bob.

    Args:
        provider: the stand-in to use; None runs one for this pair.
        start: whether to start both at once.
        settings: top-level keys of ``gateway.yaml`` to add or replace.
    """
    folder = Path(tempfile.mkdtemp(prefix="parts-", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        running = Parts(folder, provider or stack.enter_context(stand_in()), settings)
        running.create_user("alice")
        running.create_user("bob")
        stack.callback(running.end)
        if start:
            running.start()
        yield running


def unix_listener(path: Path) -> socket.socket:
    """Listen on a Unix socket in place of a dead authz."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(16)
    listener.settimeout(5)
    return listener
