"""Taking the measurements: variants in turn, so that a noisy minute is everybody's."""

import time
from collections.abc import Callable, Mapping, Sequence

from bench import load, streams
from bench.generator import generate, open_streams
from bench.message import upstream_request, with_body_of
from bench.processes import Watched, machine_busy_seconds
from bench.samples import (
    BUSY,
    FIXED,
    RATES,
    REALISTIC,
    SLOW_RATE,
    STREAMS,
    Measured,
    Options,
    Sample,
    StreamSample,
)
from bench.variants import BASELINE, PRODUCT, Running, Variant
from bench.world import BenchError, Streams, World

_SCHEDULE_CONNECTIONS = 16
_HEADROOM = 1.5
"""A peer is asked for a rate only if it reaches this multiple with all connections busy."""
_RAMP_SECONDS = 1.0
_STREAMS_SECONDS = 120.0


class Run:
    """One run of the benchmark.

    Args:
        variants: what to measure; the baseline has to be there.
        tell: gets a line about what is done now.
    """

    def __init__(
        self,
        world: World,
        variants: Sequence[Variant],
        options: Options,
        tell: Callable[[str], None],
    ) -> None:
        self._world = world
        self._options = options
        self._tell = tell
        self._variants = {variant.name: variant for variant in variants}
        self._running: dict[str, Running] = {}
        self._rates: dict[str, set[int]] = {}
        self._failed: set[tuple[str, str]] = set()
        self.found = Measured({variant.name: [] for variant in variants})

    def measure(self) -> Measured:
        """Start the variants, measure them in turn, round by round.

        A peer that can't be installed, can't be started or fails on the way is left out, with the
        reason; so a report never has half a peer.

        Raises:
            BenchError: another variant can't be started or answers with anything but 200.
        """
        for name in list(self._variants):
            self._tell(f"starting: {self._variants[name].title}")
            self._try(name, self._start)
        before = {name: _memory(one.processes) for name, one in self._running.items()}
        for number in range(self._options.rounds):
            self._round(number)
        for name, one in self._running.items():
            after = _memory(one.processes)
            self.found.memory_mb[name] = {key: (before[name][key], after[key]) for key in after}
        for number in range(self._options.stream_rounds):
            what = f"{self._world.streams.streams} streams"
            self._tell(f"round {number + 1} of {self._options.stream_rounds}: {what}")
            self.found.direct_streams.append(open_streams(self._direct_streams(), lambda: None))
            for name in self._rotated(number, STREAMS):
                self._try(name, self._open_streams, part=STREAMS)
        for number in range(self._options.realistic_rounds):
            self._tell(f"round {number + 1} of {self._options.realistic_rounds}: {REALISTIC}")
            for name in self._rotated(number, REALISTIC):
                self._try(name, self._send_realistic, part=REALISTIC)
        return self.found

    def _try(self, name: str, work: Callable[[str], None], part: str = "") -> None:
        """Do a piece of work; a peer that fails loses its figures, those of ``part`` or all."""
        try:
            if (name, part) not in self._failed:
                work(name)
        except BenchError as error:
            variant = self._variants[name]
            if not variant.peer:
                raise BenchError(f"{variant.title}: {error}") from None
            title = f"{variant.title}, {part}" if part else variant.title
            self._tell(f"left out: {title}: {error}")
            self.found.left_out[title] = str(error)
            self._failed.add((name, part))
            for key, samples in ((STREAMS, self.found.streams), (REALISTIC, self.found.realistic)):
                if part in ("", key):
                    samples.pop(name, None)
            if not part:
                self._running.pop(name, None)
                self.found.samples.pop(name, None)

    def _start(self, name: str) -> None:
        variant = self._variants[name]
        running = variant.start(self._world)
        self._running[name] = running
        detail = f" ({running.detail})" if running.detail else ""
        self.found.titles[name] = variant.title + detail
        self._rates[name] = set() if variant.peer or FIXED not in variant.parts else set(RATES)
        generate(self._job(running, BUSY, seconds=0.2))

    def _round(self, number: int) -> None:
        tell = f"round {number + 1} of {self._options.rounds}"
        direct = load.Job(
            self._world.upstream_port,
            upstream_request().decode(),
            self._options.connections,
            min(self._options.seconds, 2.0),
        )
        outcome = generate(direct)
        self.found.ceiling.append(outcome.requests / outcome.seconds)
        self._tell(f"{tell}: {BUSY}")
        for name in self._rotated(number):
            self._try(name, lambda name: self._sample(name, BUSY))
        if number == 0:
            self._choose_rates()
        for rate in (SLOW_RATE, *RATES):
            names = [name for name in self._rotated(number) if rate in self._rates[name]]
            if names:
                self._tell(f"{tell}: {rate}")
            for name in names:
                self._try(name, lambda name, rate=rate: self._sample(name, str(rate)))  # type: ignore[misc]

    def _choose_rates(self) -> None:
        """Ask a peer only for rates that it can do; the slow one is for those that can't do all."""
        for name in self._running:
            if not self._variants[name].peer or FIXED not in self._variants[name].parts:
                continue
            capacity = self.found.of(name, BUSY)[0].requests_per_second
            self._rates[name] = {rate for rate in RATES if rate * _HEADROOM <= capacity}
            if self._rates[name] != set(RATES):
                for compared in {name, BASELINE, PRODUCT} & set(self._running):
                    self._rates[compared].add(SLOW_RATE)

    def _rotated(self, by: int, part: str = BUSY) -> list[str]:
        """Let no variant always come right after the same other one."""
        names = [name for name in self._running if part in self._variants[name].parts]
        start = by % len(names)
        return names[start:] + names[:start]

    def _job(self, running: Running, phase: str, *, seconds: float | None = None) -> load.Job:
        options = self._options
        rate = 0.0 if phase == BUSY else float(phase)
        most = _SCHEDULE_CONNECTIONS if rate else options.connections
        return load.Job(
            port=running.port,
            request=running.ask(self._world.token, False).decode(),
            connections=min(options.connections, most),
            seconds=options.seconds if seconds is None else seconds,
            rate=rate,
        )

    def _sample(self, name: str, phase: str) -> None:
        running, upstream = self._running[name], self._world.upstream
        assert upstream is not None
        begin, machine = time.monotonic(), machine_busy_seconds()
        before, provider = _cpu(running.processes), upstream.cpu_seconds()
        outcome = generate(self._job(running, phase))
        used = {key: now - before[key] for key, now in _cpu(running.processes).items()}
        ours = sum(used.values()) + outcome.cpu_seconds + upstream.cpu_seconds() - provider
        elapsed = time.monotonic() - begin
        self.found.samples[name].append(
            Sample(
                phase=phase,
                requests_per_second=outcome.requests / outcome.seconds,
                cpu_us={key: seconds / outcome.requests * 1e6 for key, seconds in used.items()},
                generator_us=outcome.cpu_seconds / outcome.requests * 1e6,
                others=max(0.0, machine_busy_seconds() - machine - ours) / elapsed,
                latencies_ms=outcome.latencies_ms,
                late_ms=outcome.late_ms,
            )
        )

    def _open_streams(self, name: str) -> None:
        self.found.streams.setdefault(name, []).append(self._streamed(name, self._world.streams))

    def _send_realistic(self, name: str) -> None:
        sample = self._streamed(name, self._world.realistic)
        self.found.realistic.setdefault(name, []).append(sample)

    def _streamed(self, name: str, what: Streams) -> StreamSample:
        running = self._running[name]
        memory = _memory(running.processes)

        def watch() -> None:
            for key, now in _memory(running.processes).items():
                memory[key] = max(memory[key], now)

        request = with_body_of(what.body, running.ask(self._world.token, True))
        job = self._streams_job(running.port, request, what)
        before = _cpu(running.processes)
        outcome = open_streams(job, watch)
        used = {key: now - before[key] for key, now in _cpu(running.processes).items()}
        return StreamSample(
            outcome,
            sum(used.values()) / outcome.events * 1e6,
            memory,
            {key: seconds / outcome.streams * 1e6 for key, seconds in used.items()},
        )

    def _direct_streams(self) -> streams.Job:
        """Return the job for the provider itself, which shows what it and the generator add."""
        request = upstream_request(streaming=True)
        return self._streams_job(self._world.streaming_port, request, self._world.streams)

    def _streams_job(self, port: int, request: bytes, what: Streams) -> streams.Job:
        return streams.Job(
            port=port,
            request=request.decode(),
            streams=what.streams,
            events=what.events,
            ramp=min(_RAMP_SECONDS, what.streams / 500),
            seconds=_STREAMS_SECONDS,
        )


def _cpu(processes: Mapping[str, Watched]) -> dict[str, float]:
    return {name: process.cpu_seconds() for name, process in processes.items()}


def _memory(processes: Mapping[str, Watched]) -> dict[str, float]:
    return {name: process.memory_mb() for name, process in processes.items()}
