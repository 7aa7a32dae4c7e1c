"""Instructions of a running Envoy's worker under callgrind, from one moment to another."""

import re
import shutil
import subprocess
from pathlib import Path

from authz.errors import StartError
from bench.processes import Process
from bench.world import BenchError

_SUMMARY = re.compile(r"^summary: (\d+)$", re.MULTILINE)
_MAIN_THREAD = "01"


def prefix(folder: Path) -> list[str]:
    """Return what to put before a command to run it under callgrind, which does not count yet.

    Args:
        folder: for the counts.

    Raises:
        BenchError: valgrind is not installed.
    """
    if shutil.which("valgrind") is None or shutil.which("callgrind_control") is None:
        raise BenchError("valgrind is not installed (Debian: apt install valgrind)")
    options = ("--separate-threads=yes", "--instr-atstart=no", f"--callgrind-out-file={folder}/out")
    return ["valgrind", "-q", "--tool=callgrind", *options]


class Counter:
    """Counts what a process under callgrind does.

    Args:
        process: started with ``prefix``.
        folder: the one that ``prefix`` got.
    """

    def __init__(self, process: Process, folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._dumps = 0

    def start(self) -> None:
        """Begin to count."""
        self._control("--instr=on")

    def take(self) -> int:
        """Return the instructions since the last call, of the thread that ran most.

        That is the worker's; the main thread's own work is left out.
        """
        self._control("--dump")
        self._dumps += 1
        return most(self._folder, self._dumps)

    def _control(self, option: str) -> None:
        try:
            # Without the id of a process it acts on every callgrind of this user.
            self._process.raise_if_ended()
        except StartError as error:
            raise BenchError(str(error)) from None
        done = subprocess.run(
            ["callgrind_control", option, str(self._process.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"callgrind_control {option} failed: {done.stderr.strip()[:200]}")


def most(folder: Path, number: int) -> int:
    """Return the instructions in a dump of the thread that ran most, without the main thread.

    Args:
        number: of the dump, from 1.

    Raises:
        BenchError: there is no such dump.
    """
    found = [
        int(match[1])
        for file in folder.glob(f"out.{number}-*")
        if not file.name.endswith(_MAIN_THREAD)
        and (match := _SUMMARY.search(file.read_text(encoding="utf-8")))
    ]
    if not found:
        raise BenchError(f"callgrind left no count of a worker in {folder}")
    return max(found)
