"""The processes under test: started, watched, and asked what they have used."""

import contextlib
import os
import random
import socket
from collections.abc import Sequence
from pathlib import Path

from authz.up.children import Child

_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 5.0
_VARIABLES = ("HOME", "LANG", "PATH", "TZ", "LD_LIBRARY_PATH")


class Process(Child):
    """A child of ours, which the kernel ends when we die.

    Args:
        name: for messages and for the report.
        command: program and arguments.
        log: where its standard error goes; its standard output, such as Envoy's access log, is
            written and thrown away.
    """

    def __init__(self, name: str, command: Sequence[str | Path], log: Path) -> None:
        environ = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        redirect = 'exec "$@" >/dev/null 2>>"$0"'  # exec: the process keeps the shell's id
        super().__init__(name, ["/bin/sh", "-c", redirect, log, *command], environ)
        self.log = log

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its threads, also those that ended: user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mb(self) -> float:
        """Return its resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def end(self) -> None:
        """Stop it and wait for its end."""
        self.stop(_STOP_SECONDS)


def machine_busy_seconds() -> float:
    """Return the CPU time of the whole machine spent on anything."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(f) for f in fields[:8])
    return (user + nice + system + irq + softirq + steal) / _TICKS


def free_port() -> int:
    """Return a free port below the ephemeral range, so that no outgoing connection takes it."""
    for _ in range(200):
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")
