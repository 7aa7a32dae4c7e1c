"""Taking the measurements: variants in turn, so that a noisy minute is everybody's."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench import load
from bench.processes import machine_busy_seconds
from bench.variants import Running, Variant
from bench.world import BenchError, World, request, upstream_request

BUSY = "busy"
"""The phase in which every connection is kept busy; the others are called by their rate."""
RATES = (200, 1000)
_SCHEDULE_CONNECTIONS = 16


@dataclass(frozen=True)
class Options:
    """How long, how often, how many."""

    seconds: float = 4.0
    rounds: int = 5
    connections: int = 32


@dataclass(frozen=True)
class Sample:
    """One measurement of one variant.

    Attributes:
        cpu_us: CPU per request of each of the variant's processes.
        others: CPU of the machine that was spent on nothing of ours, of one core.
    """

    phase: str
    requests_per_second: float
    cpu_us: dict[str, float]
    generator_us: float
    others: float
    latencies_ms: dict[str, float] = field(default_factory=dict)
    late_ms: dict[str, float] = field(default_factory=dict)

    @property
    def total_us(self) -> float:
        """CPU per request of the variant as a whole."""
        return sum(self.cpu_us.values())


@dataclass
class Measured:
    """All that a run has found.

    Attributes:
        samples: by variant, the rounds in order; the same index is the same round and phase.
        ceiling: requests per second of the generator and the provider alone, by round.
        memory_mb: by variant and process, before any load and after all of it.
    """

    samples: dict[str, list[Sample]]
    ceiling: list[float] = field(default_factory=list)
    memory_mb: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)

    def of(self, variant: str, phase: str) -> list[Sample]:
        """Return a variant's samples of one phase, by round."""
        return [sample for sample in self.samples[variant] if sample.phase == phase]


def measure(
    world: World,
    variants: Sequence[Variant],
    options: Options,
    tell: Callable[[str], None],
) -> Measured:
    """Start the variants, measure them in turn, round by round.

    Args:
        tell: gets a line about what is done now.

    Raises:
        BenchError: a variant can't be started or answers with anything but 200.
    """
    running = {}
    for variant in variants:
        tell(f"starting: {variant.title}")
        running[variant.name] = variant.start(world)
        _generate(_job(world, running[variant.name].port, options, BUSY, seconds=0.2))
    found = Measured({name: [] for name in running})
    before = {name: _memory(one) for name, one in running.items()}
    phases = (BUSY, *(str(rate) for rate in RATES))
    for round_number in range(options.rounds):
        ceiling = load.Job(
            world.upstream_port,
            upstream_request().decode(),
            options.connections,
            min(options.seconds, 2.0),
        )
        outcome = _generate(ceiling)
        found.ceiling.append(outcome.requests / outcome.seconds)
        for phase in phases:
            tell(f"round {round_number + 1} of {options.rounds}: {phase}")
            for name in _rotated(list(running), round_number):
                job = _job(world, running[name].port, options, phase)
                found.samples[name].append(_sample(world, running[name], job))
    for name, one in running.items():
        after = _memory(one)
        found.memory_mb[name] = {key: (before[name][key], after[key]) for key in after}
    return found


def _rotated(names: list[str], by: int) -> list[str]:
    """Let no variant always come right after the same other one."""
    start = by % len(names)
    return names[start:] + names[:start]


def _job(
    world: World, port: int, options: Options, phase: str, *, seconds: float | None = None
) -> load.Job:
    rate = 0.0 if phase == BUSY else float(phase)
    most = _SCHEDULE_CONNECTIONS if rate else options.connections
    return load.Job(
        port=port,
        request=request(world.token).decode(),
        connections=min(options.connections, most),
        seconds=options.seconds if seconds is None else seconds,
        rate=rate,
    )


def _sample(world: World, running: Running, job: load.Job) -> Sample:
    processes = running.processes
    upstream = world.upstream
    assert upstream is not None
    begin, machine = time.monotonic(), machine_busy_seconds()
    before = {name: process.cpu_seconds() for name, process in processes.items()}
    provider = upstream.cpu_seconds()
    outcome = _generate(job)
    used = {name: process.cpu_seconds() - before[name] for name, process in processes.items()}
    ours = sum(used.values()) + outcome.cpu_seconds + upstream.cpu_seconds() - provider
    elapsed = time.monotonic() - begin
    return Sample(
        phase=str(round(job.rate)) if job.rate else BUSY,
        requests_per_second=outcome.requests / outcome.seconds,
        cpu_us={name: seconds / outcome.requests * 1e6 for name, seconds in used.items()},
        generator_us=outcome.cpu_seconds / outcome.requests * 1e6,
        others=max(0.0, machine_busy_seconds() - machine - ours) / elapsed,
        latencies_ms=outcome.latencies_ms,
        late_ms=outcome.late_ms,
    )


def _generate(job: load.Job) -> load.Outcome:
    # Alone with the standard library (-I -S): it starts in some milliseconds.
    result = subprocess.run(
        [sys.executable, "-I", "-S", Path(load.__file__)],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        check=False,
        timeout=job.seconds + 60,
    )
    if result.returncode != 0:
        raise BenchError(result.stderr.strip().splitlines()[-1])
    outcome = load.Outcome(**json.loads(result.stdout))
    if outcome.failures:
        raise BenchError(f"{outcome.failures} of {outcome.requests} requests got no 200")
    return outcome


def _memory(running: Running) -> dict[str, float]:
    return {name: process.memory_mb() for name, process in running.processes.items()}
