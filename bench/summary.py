"""From measurements to figures: medians over the rounds, and ratios within each round."""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from bench import streams
from bench.realistic import Realistic, realistic
from bench.samples import BUSY, Measured, Sample, StreamSample
from bench.variants import BASELINE


@dataclass(frozen=True)
class Throughput:
    """A variant with every connection busy.

    Attributes:
        cpu_us: CPU per request by process.
        cpu_us_total: of all of them.
        cpu_us_range: the least and the most of all processes together, over the rounds.
        rate_ratio: requests per second over the baseline's.
        cpu_ratio: the baseline's CPU per request over this one's.
    """

    cpu_us: dict[str, float]
    cpu_us_total: float
    cpu_us_range: tuple[float, float]
    requests_per_second: float
    rate_ratio: float
    cpu_ratio: float


@dataclass(frozen=True)
class Latency:
    """A variant at a fixed rate; ``added`` and ``times`` compare with the baseline, by round."""

    p50_ms: float
    p99_ms: float
    added_p50_ms: float
    added_p99_ms: float
    times_p50: float
    cpu_us: dict[str, float]


@dataclass(frozen=True)
class Streaming:
    """A variant with all streams open; ``times`` are over the baseline in the same round.

    Attributes:
        first_ms: from a request to its first event, by percentile.
        gap_ms: between two events of a stream.
        delay_ms: of an event, from the provider to the client.
        cpu_us: CPU per event.
        seconds: from the first request to the last event.
    """

    first_ms: dict[str, float]
    gap_ms: dict[str, float]
    delay_ms: dict[str, float]
    times_first: float
    times_gap: float
    times_delay: float
    cpu_us: float
    times_cpu: float
    seconds: float


@dataclass(frozen=True)
class Memory:
    """Resident memory of all of a variant's processes together, in MB.

    Attributes:
        authz: of the authz process alone, at the start and after the requests; else None.
        streaming: the most while all streams were open; None if there were none.
        times: of the baseline's, the most of both.
    """

    start: float
    end: float
    streaming: float | None
    times: float
    authz: tuple[float, float] | None


@dataclass(frozen=True)
class Target:
    """A row of the targets in ``performance.md`` that applies to what there is now."""

    row: int
    text: str
    limit: str
    figure: str
    reached: bool


@dataclass(frozen=True)
class Summary:
    """The whole report.

    Attributes:
        titles: by variant.
        realistic: by variant.
        latency: by rate, then by variant.
        direct_ms: straight from the provider, medians: first event, between events, delay.
        ceiling: requests per second of the load generator and the provider alone.
        late_p99_ms: how late the generator sent, the worst variant and rate.
        others: CPU spent by other programs meanwhile, in cores.
        left_out: by title, why a peer has no figures.
    """

    titles: dict[str, str]
    realistic: dict[str, Realistic]
    throughput: dict[str, Throughput]
    latency: dict[str, dict[str, Latency]]
    streaming: dict[str, Streaming]
    memory: dict[str, Memory]
    direct_ms: dict[str, float]
    ceiling: float
    generator_us: float
    late_p99_ms: float
    others: float
    left_out: dict[str, str]
    targets: list[Target] = field(default_factory=list)


def summarize(found: Measured) -> Summary:
    """Reduce the samples to figures; the targets come from ``targets.py``."""
    names = list(found.samples)
    latency = {
        rate: {name: _latency(found, name, rate) for name in names if found.of(name, rate)}
        for rate in found.phases()
    }
    samples = [sample for name in names for sample in found.samples[name]]
    return Summary(
        titles={name: found.titles.get(name, name) for name in names},
        realistic=realistic(found),
        throughput={name: _throughput(found, name) for name in names},
        latency=latency,
        streaming={name: _streaming(found, name) for name in names if found.streams.get(name)},
        memory={name: _memory(found, name) for name in names if name in found.memory_mb},
        direct_ms=_direct(found.direct_streams),
        ceiling=median(found.ceiling),
        generator_us=median(one.generator_us for one in samples if one.phase == BUSY),
        late_p99_ms=max(
            median(one.late_ms["p99"] for one in found.of(name, rate))
            for rate, variants in latency.items()
            for name in variants
        ),
        others=median(sample.others for sample in samples),
        left_out=found.left_out,
    )


def _direct(outcomes: list[streams.Outcome]) -> dict[str, float]:
    if not outcomes:
        return {}
    return {
        "first": median(outcome.first_ms["p50"] for outcome in outcomes),
        "gap": median(outcome.gap_ms["p50"] for outcome in outcomes),
        "delay": median(outcome.delay_ms["p50"] for outcome in outcomes),
    }


def over(
    found: Measured, name: str, base: str, phase: str, compare: Callable[[Sample, Sample], float]
) -> float:
    """Compare a variant with another round by round; the median keeps out a bad round."""
    pairs = zip(found.of(name, phase), found.of(base, phase), strict=True)
    return median(compare(one, other) for one, other in pairs)


def _throughput(found: Measured, name: str) -> Throughput:
    samples = found.of(name, BUSY)
    totals = [sample.total_us for sample in samples]
    return Throughput(
        cpu_us=_cpu(samples),
        cpu_us_total=median(totals),
        cpu_us_range=(min(totals), max(totals)),
        requests_per_second=median(sample.requests_per_second for sample in samples),
        rate_ratio=over(
            found,
            name,
            BASELINE,
            BUSY,
            lambda one, base: one.requests_per_second / base.requests_per_second,
        ),
        cpu_ratio=over(found, name, BASELINE, BUSY, lambda one, base: base.total_us / one.total_us),
    )


def _latency(found: Measured, name: str, phase: str) -> Latency:
    samples = found.of(name, phase)

    def of(percentile: str) -> float:
        return median(sample.latencies_ms[percentile] for sample in samples)

    def added(percentile: str) -> float:
        return over(
            found,
            name,
            BASELINE,
            phase,
            lambda one, base: one.latencies_ms[percentile] - base.latencies_ms[percentile],
        )

    times = over(
        found,
        name,
        BASELINE,
        phase,
        lambda one, base: one.latencies_ms["p50"] / base.latencies_ms["p50"],
    )
    return Latency(of("p50"), of("p99"), added("p50"), added("p99"), times, _cpu(samples))


def _cpu(samples: list[Sample]) -> dict[str, float]:
    return {
        process: median(sample.cpu_us[process] for sample in samples)
        for process in samples[0].cpu_us
    }


def _streaming(found: Measured, name: str) -> Streaming:
    samples, base = found.streams[name], found.streams[BASELINE]

    def times(value: Callable[[StreamSample], float]) -> float:
        # At a few streams the kernel's CPU ticks may say that the baseline took none.
        pairs = zip(samples, base, strict=True)
        return median(value(one) / max(value(other), 1e-9) for one, other in pairs)

    def percentiles(of: Callable[[streams.Outcome], dict[str, float]]) -> dict[str, float]:
        values = [of(sample.outcome) for sample in samples]
        return {key: median(value[key] for value in values) for key in values[0]}

    return Streaming(
        first_ms=percentiles(lambda outcome: outcome.first_ms),
        gap_ms=percentiles(lambda outcome: outcome.gap_ms),
        delay_ms=percentiles(lambda outcome: outcome.delay_ms),
        times_first=times(lambda sample: sample.outcome.first_ms["p50"]),
        times_gap=times(lambda sample: sample.outcome.gap_ms["p50"]),
        times_delay=times(lambda sample: sample.outcome.delay_ms["p50"]),
        cpu_us=median(sample.cpu_us for sample in samples),
        times_cpu=times(lambda sample: sample.cpu_us),
        seconds=median(sample.outcome.seconds for sample in samples),
    )


def _memory(found: Measured, name: str) -> Memory:
    def most(name: str) -> tuple[float, float, float | None]:
        values = found.memory_mb[name].values()
        samples = found.streams.get(name)
        open_ = max(sum(one.memory_mb.values()) for one in samples) if samples else None
        return sum(start for start, _ in values), sum(end for _, end in values), open_

    start, end, open_ = most(name)
    _, base_end, base_open = most(BASELINE)
    times = max(end, open_ or 0.0) / max(base_end, base_open or 0.0)
    return Memory(start, end, open_, times, found.memory_mb[name].get("authz"))
