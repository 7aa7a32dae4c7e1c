"""Memory that the workers of one machine share, so that a command runs once for all of them."""

import contextlib
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from authz.keys.command import CommandError, Origin

_POLL_SECONDS = 0.05
_TABLE = 1 << 40
"""The byte whose lock protects the content. The bytes before it are locks of commands."""


@dataclass(frozen=True, slots=True)
class Output:
    """The result of a run.

    Attributes:
        started: when the run began, in seconds of the machine's monotonic clock.
        key: the checked key; empty after a failure.
        problem: why the run failed; empty after a success.
    """

    started: float
    key: str = field(repr=False)
    problem: str = ""


class SharedOutputs:
    """The results of commands, in memory that child processes inherit.

    It has no name and is on no disk. Locks belong to processes, and the kernel releases those of a
    process that dies.

    Args:
        descriptor: an inherited one; None creates the memory, where the system can.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.is_inherited = descriptor is not None
        if descriptor is None and hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("authz-keys")
        self.descriptor = descriptor
        self._lock = threading.Lock()
        self._without_memory: dict[str, list[Any]] = {}

    @contextlib.contextmanager
    def turn(self, command: Origin, is_stopped: Callable[[], bool]) -> Iterator[None]:
        """Hold the turn of a command. Only one process has it.

        Raises:
            CommandError: authz stops while it waits.
        """
        if self.descriptor is None:
            yield
            return
        start = int(_digest(command)[:8], 16)
        while True:
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, start)
                break
            except BlockingIOError:
                if is_stopped():
                    raise CommandError("authz stops") from None
                time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, start)

    def get(self, command: Origin) -> Output | None:
        """Return the last result of a command, or None."""
        with self._table() as table:
            entry = table.get(_digest(command))
        return None if entry is None else Output(*entry)

    def put(self, command: Origin, output: Output) -> None:
        """Store the result of a command."""
        with self._table() as table:
            table[_digest(command)] = [output.started, output.key, output.problem]

    def forget(self, command: Origin) -> None:
        """Remove the result of a command that is not in use any more."""
        with self._table() as table:
            table.pop(_digest(command), None)

    @contextlib.contextmanager
    def _table(self) -> Iterator[dict[str, list[Any]]]:
        """Hold the content, and write it back if it has changed."""
        if self.descriptor is None:
            with self._lock:
                yield self._without_memory
            return
        with self._lock:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, _TABLE)
            try:
                before = os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)
                table = _parsed(before)
                yield table
                after = json.dumps(table).encode()
                if after != before:
                    os.ftruncate(self.descriptor, 0)
                    os.pwrite(self.descriptor, after, 0)
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, _TABLE)


def _parsed(content: bytes) -> dict[str, list[Any]]:
    """Return the content; a process that was killed while writing leaves none that is whole."""
    try:
        table = json.loads(content)
    except ValueError:
        return {}
    return table if isinstance(table, dict) else {}


def _digest(command: Origin) -> str:
    return hashlib.sha256(command.fingerprint.encode()).hexdigest()
