"""A real Valkey or Redis server for the tests, in a folder of its own."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.pair import wait_until
from tests.support.ports import free_port
from tests.support.postgres import _die_with_parent


def program() -> str:
    """Return the server's program, or skip the test."""
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        pytest.skip("no valkey-server or redis-server (Debian: apt install redis-server)")
    return found


class ValkeyServer:
    """A server that is not started yet.

    Args:
        arguments: all options, such as those of TLS; none means those of TCP.
        port: of these options.
    """

    def __init__(self, arguments: Sequence[str] = (), port: int = 0) -> None:
        self.port = port or free_port()
        self._arguments = [*arguments] or ["--port", str(self.port)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of its first database."""
        return f"valkey://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server without data."""
        self._process = subprocess.Popen(
            [program(), "--bind", "127.0.0.1", "--save", "", *self._arguments],
            cwd=tempfile.gettempdir(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=_die_with_parent(),
        )
        wait_until(self._answers, 20, "the server answering")

    def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False


@contextlib.contextmanager
def running_valkey(arguments: Sequence[str] = (), port: int = 0) -> Iterator[ValkeyServer]:
    """Start a server, and end it."""
    server = ValkeyServer(arguments, port)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def with_tls(port: int, cert_file: Path, key_file: Path) -> list[str]:
    """Return the options of a server that serves TLS only."""
    return [
        "--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no",
        "--tls-cert-file", str(cert_file), "--tls-key-file", str(key_file),
    ]  # fmt: skip
