"""Runs a command that prints a key, with bounds on its time, its output and its environment."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

ALWAYS_PASSED = ("HOME", "LANG", "PATH", "TZ")
"""The environment variables that every command gets, if authz has them."""
MAX_OUTPUT = 16_384
"""Bytes. A provider key has less than 1 KiB."""
_POLL_SECONDS = 0.05


class CommandError(ValueError):
    """The command gave no key. The message has neither its output nor its arguments."""


class Origin(Protocol):
    """A hashable way to obtain a key again and again."""

    @property
    def what(self) -> str:
        """The word for it in the log."""
        ...

    @property
    def refresh(self) -> float:
        """Seconds from one key to the next."""
        ...

    @property
    def fingerprint(self) -> str:
        """The identity of the command in the memory that workers share; no secret."""
        ...

    def obtain(self, environ: Mapping[str, str], is_stopped: Callable[[], bool]) -> bytes:
        """Return a key; CommandError if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """A command that prints a secret.

    Attributes:
        arguments: the program and its arguments. No shell reads them.
        refresh: seconds from one run to the next.
        timeout: seconds until the command and its children are killed.
        pass_env: names of more environment variables that it gets.
    """

    arguments: tuple[str, ...]
    refresh: float
    timeout: float
    pass_env: tuple[str, ...] = ()

    what: ClassVar[str] = "command"

    @property
    def fingerprint(self) -> str:
        """The identity of this command in the memory that workers share."""
        return json.dumps((self.arguments, self.pass_env))

    def obtain(self, environ: Mapping[str, str], is_stopped: Callable[[], bool]) -> bytes:
        """Run the command and return what it prints; arguments and errors as ``run``."""
        return run(self, environ, is_stopped)

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the command."""
        names = (*ALWAYS_PASSED, *self.pass_env)
        return {name: environ[name] for name in names if name in environ}


def run(
    command: Command, environ: Mapping[str, str], is_stopped: Callable[[], bool] = lambda: False
) -> bytes:
    """Run a command and return its output, without one line end.

    The command has a process group of its own. No process of that group is left, however it ends.
    Standard error is discarded, because it may quote a secret.

    Args:
        command: the command.
        environ: the environment of authz.
        is_stopped: asked again and again; True ends the command.

    Raises:
        CommandError: it can't be started, fails, takes too long or prints too much.
    """
    try:
        process = subprocess.Popen(
            command.arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=command.environment(environ),
            process_group=0,
        )
    except OSError as error:
        raise CommandError(f"the command can't be started: {error.strerror}") from None
    with process:
        try:
            output = _read(process, command.timeout, is_stopped)
        finally:
            # The process is not reaped yet, so that no other group can have its number. A program
            # that changes its user can't be killed.
            with contextlib.suppress(PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    status = process.returncode
    if status:
        how = f"signal {-status}" if status < 0 else f"status {status}"
        raise CommandError(f"the command ended with {how}: run it as the user of authz to see why")
    return output.removesuffix(b"\n").removesuffix(b"\r")


def _read(
    process: subprocess.Popen[bytes], timeout: float, is_stopped: Callable[[], bool]
) -> bytes:
    """Return the output of a process when it has ended, even if a child of it has not."""
    assert process.stdout is not None  # noqa: S101 - opened with a pipe
    deadline = time.monotonic() + timeout
    source = process.stdout.fileno()
    os.set_blocking(source, False)
    output, is_open = b"", True
    with selectors.DefaultSelector() as ready:
        ready.register(source, selectors.EVENT_READ)
        while True:
            # First this and then the output, so that nothing it has printed is missed.
            has_ended = _has_ended(process)
            if is_open and ready.select(0 if has_ended else _POLL_SECONDS):
                data = os.read(source, MAX_OUTPUT)
                output += data
                if not data:
                    ready.unregister(source)
                    is_open = False
                elif len(output) > MAX_OUTPUT:
                    raise CommandError(f"the command prints more than {MAX_OUTPUT} bytes")
                continue
            if has_ended:
                return output
            if is_stopped():
                raise CommandError("authz stops")
            if time.monotonic() > deadline:
                raise CommandError(f"the command takes longer than {timeout:g} s (timeout)")
            if not is_open:
                time.sleep(_POLL_SECONDS)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a process has ended, without reaping it."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, options) is not None
