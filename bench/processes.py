"""The processes under test: started, watched, and asked what they have used."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from authz.serve.children import Child

_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 5.0
_VARIABLES = ("HOME", "LANG", "PATH", "TZ", "LD_LIBRARY_PATH")


class Watched:
    """A process and its descendants, including those that others started.

    Args:
        pid: of the first one.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid

    @property
    def pid(self) -> int:
        """The process id."""
        return self._pid

    def cpu_seconds(self) -> float:
        """Return the CPU time of all threads and children, also ended ones: user and system."""
        return sum(map(_cpu_ticks, family(self.pid))) / _TICKS

    def memory_mb(self) -> float:
        """Return the resident memory of all; a page that two share counts twice."""
        return sum(map(_resident_kb, family(self.pid))) / 1024


class Process(Child, Watched):
    """A child process, which the kernel ends when this one dies.

    Args:
        name: for messages and for the report.
        command: program and arguments.
        log: where its standard error goes; its standard output, such as Envoy's access log, is
            written and thrown away.
        variables: environment variables beside the few that every process gets.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        environ = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        redirect = 'exec "$@" >/dev/null 2>>"$0"'  # exec: the process keeps the shell's id
        everything = environ | dict(variables or {})
        super().__init__(name, ["/bin/sh", "-c", redirect, log, *command], everything)
        self.log = log

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def end(self) -> None:
        """Stop it and wait for its end."""
        self.stop(_STOP_SECONDS)


def family(pid: int) -> list[int]:
    """Return the id of a process and of those that it and its children have started."""
    found = [pid]
    for parent in found:  # grows while we go through it
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, task.read_text().split())
    return found


def _cpu_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0  # ended since: its parent has its time
    # utime, stime, and the same of the children that ended
    return sum(map(int, fields[11:15]))


def _resident_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


def machine_busy_seconds() -> float:
    """Return the CPU time of the whole machine spent on anything."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(f) for f in fields[:8])
    return (user + nice + system + irq + softirq + steal) / _TICKS
