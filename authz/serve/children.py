"""Child processes that never outlive their parent."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from authz.errors import StartError

_PR_SET_PDEATHSIG = 1


class Child:
    """A running child process.

    The child has its own process group, so that Ctrl-C on the terminal reaches only the parent,
    which can drain first. On Linux the kernel ends the child when the parent dies.

    Args:
        name: for messages.
        command: program and arguments, without secrets, since every user can list them.
        environ: the child's environment; None for the parent's.
        keep: file descriptors that stay open in the child.
        blocked: signals that the child starts with blocked. They wait until it has a handler and
            unblocks them, in place of ending it.

    Raises:
        StartError: the program can't be started.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        environ: Mapping[str, str] | None = None,
        keep: Sequence[int] = (),
        blocked: Collection[signal.Signals] = (),
    ) -> None:
        self.name = name
        # A child inherits the mask of the thread that starts it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                env=environ,
                process_group=0,
                preexec_fn=_die_with_parent(),
                pass_fds=keep,
            )
        except OSError as error:
            raise StartError(f"{name} can't be started: {error.strerror}") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        return self._process.poll()

    def raise_if_ended(self) -> None:
        """Raise ``StartError`` if the process has ended."""
        status = self.exit_status
        if status is not None:
            how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
            raise StartError(f"{self.name} ended ({how})")

    def send(self, signum: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.exit_status is None:
            self._process.send_signal(signum)

    def stop(self, grace_seconds: float) -> None:
        """Send SIGTERM, after ``grace_seconds`` SIGKILL, and return when the process has ended."""
        if self.exit_status is None:
            self._process.terminate()
            # A stopped process handles SIGTERM only after it continues.
            self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self, timeout_seconds: float) -> int:
        """Wait for the end and return the exit status.

        Raises:
            StartError: the process has not ended in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while (status := self.exit_status) is None:
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} takes longer than {timeout_seconds:.0f} s")
            time.sleep(0.02)
        return status


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    # Loaded before the fork, since only the call itself is safe between fork and exec.
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return in_child
