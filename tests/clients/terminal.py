"""A program on a terminal of its own, which a test reads and types into."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_SEQUENCE = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # operating system commands, as for the title
    r"|\x1b\[(?P<right>\d*)C"  # the cursor goes right, over what is blank
    r"|\x1b[\[PX^_][0-9;:<=>?]*[ -/]*[@-~]"
    r"|\x1b[()*+][A-Za-z0-9]"
    r"|\x1b[ -/]*[0-~]"
)
_ROWS, _COLUMNS = 50, 160


class Terminal:
    """The terminal of one running program."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        self._process = process
        self._written = bytearray()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def text(self) -> str:
        """Return all that was written so far, without control sequences and blanks."""
        with self._lock:
            whole = self._written.decode("utf-8", "replace")
        return "".join(_SEQUENCE.sub("", whole).split())

    def clear(self) -> None:
        """Forget what was written so far."""
        with self._lock:
            self._written.clear()

    def has(self, text: str) -> bool:
        """Return whether a text was written, ignoring blanks."""
        return "".join(text.split()) in self.text()

    def wait(self, *texts: str, seconds: float = 120) -> str:
        """Return the first of the texts that is there; AssertionError when none comes."""
        deadline = time.monotonic() + seconds
        while True:
            for text in texts:
                if self.has(text):
                    return text
            assert time.monotonic() < deadline, f"none of {texts}: {self.text()[-3000:]}"
            assert self._process.poll() is None, f"it has ended: {self.text()[-3000:]}"
            time.sleep(0.05)

    def type(self, keys: str) -> None:
        """Send key presses."""
        os.write(self._master, keys.encode())

    def _read(self) -> None:
        # The last one that has the terminal open closes it, which reads as an error.
        with contextlib.suppress(OSError):
            while piece := os.read(self._master, 65_536):
                with self._lock:
                    self._written += piece


@contextlib.contextmanager
def terminal(
    command: Sequence[str], *, cwd: Path, environ: Mapping[str, str]
) -> Iterator[Terminal]:
    """Run a program on a new terminal, and kill it with all its children at the end."""
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**environ, "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        try:
            yield Terminal(master, process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finally:
        os.close(master)
