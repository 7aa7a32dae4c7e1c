"""From measurements to figures: medians over the rounds, and ratios within each round."""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from bench.measure import BUSY, RATES, Measured, Sample
from bench.variants import BASELINE, FLOOR, PRODUCT


@dataclass(frozen=True)
class Throughput:
    """A variant with every connection busy.

    Attributes:
        cpu_us: CPU per request by process.
        cpu_us_range: the least and the most of all processes together, over the rounds.
        rate_ratio: requests per second over the baseline's.
        cpu_ratio: the baseline's CPU per request over this one's.
    """

    cpu_us: dict[str, float]
    cpu_us_range: tuple[float, float]
    requests_per_second: float
    rate_ratio: float
    cpu_ratio: float


@dataclass(frozen=True)
class Latency:
    """A variant at a fixed rate; ``added`` is over the baseline in the same round."""

    p50_ms: float
    p99_ms: float
    added_p50_ms: float
    added_p99_ms: float
    cpu_us: dict[str, float]


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
        latency: by rate, then by variant.
        memory_mb: of authz, by variant: before any load and after all of it.
        ceiling: requests per second of the load generator and the provider alone.
        late_p99_ms: how late the generator sent, the worst variant and rate.
        others: CPU spent by other programs meanwhile, in cores.
    """

    throughput: dict[str, Throughput]
    latency: dict[str, dict[str, Latency]]
    memory_mb: dict[str, tuple[float, float]]
    ceiling: float
    generator_us: float
    late_p99_ms: float
    others: float
    targets: list[Target] = field(default_factory=list)


def summarize(found: Measured) -> Summary:
    """Reduce the samples to figures."""
    names = list(found.samples)
    throughput = {name: _throughput(found, name) for name in names}
    latency = {
        str(rate): {name: _latency(found, name, str(rate)) for name in names} for rate in RATES
    }
    samples = [sample for name in names for sample in found.samples[name]]
    return Summary(
        throughput=throughput,
        latency=latency,
        memory_mb={
            name: memory["authz"] for name, memory in found.memory_mb.items() if "authz" in memory
        },
        ceiling=median(found.ceiling),
        generator_us=median(one.generator_us for one in samples if one.phase == BUSY),
        late_p99_ms=max(
            median(one.late_ms["p99"] for one in found.of(name, str(rate)))
            for name in names
            for rate in RATES
        ),
        others=median(sample.others for sample in samples),
        targets=_targets(found, throughput, latency) if PRODUCT in names else [],
    )


def _over_baseline(
    found: Measured, name: str, phase: str, compare: Callable[[Sample, Sample], float]
) -> float:
    """Compare a variant with the baseline round by round; the median keeps out a bad round."""
    pairs = zip(found.of(name, phase), found.of(BASELINE, phase), strict=True)
    return median(compare(one, base) for one, base in pairs)


def _throughput(found: Measured, name: str) -> Throughput:
    samples = found.of(name, BUSY)
    totals = [sample.total_us for sample in samples]
    return Throughput(
        cpu_us=_cpu(samples),
        cpu_us_range=(min(totals), max(totals)),
        requests_per_second=median(sample.requests_per_second for sample in samples),
        rate_ratio=_over_baseline(
            found,
            name,
            BUSY,
            lambda one, base: one.requests_per_second / base.requests_per_second,
        ),
        cpu_ratio=_over_baseline(found, name, BUSY, lambda one, base: base.total_us / one.total_us),
    )


def _latency(found: Measured, name: str, phase: str) -> Latency:
    samples = found.of(name, phase)

    def of(percentile: str) -> float:
        return median(sample.latencies_ms[percentile] for sample in samples)

    def added(percentile: str) -> float:
        return _over_baseline(
            found,
            name,
            phase,
            lambda one, base: one.latencies_ms[percentile] - base.latencies_ms[percentile],
        )

    return Latency(of("p50"), of("p99"), added("p50"), added("p99"), _cpu(samples))


def _cpu(samples: list[Sample]) -> dict[str, float]:
    return {
        process: median(sample.cpu_us[process] for sample in samples)
        for process in samples[0].cpu_us
    }


def _targets(
    found: Measured,
    throughput: dict[str, Throughput],
    latency: dict[str, dict[str, Latency]],
) -> list[Target]:
    times = _over_baseline(
        found, PRODUCT, BUSY, lambda one, base: one.cpu_us["authz"] / base.total_us
    )
    ratio = throughput[PRODUCT].cpu_ratio
    targets = [
        Target(
            1,
            "CPU of authz per check over Envoy's own per request",
            "at most 3.0",
            f"{times:.2f} ({throughput[PRODUCT].cpu_us['authz']:.0f} µs)",
            times <= 3.0,
        ),
        Target(
            3,
            "CPU of Envoy alone over the pair's",
            "at least 0.20",
            f"{ratio:.2f}",
            ratio >= 0.20,
        ),
    ]
    for rate, variants in latency.items():
        added = variants[PRODUCT].added_p50_ms
        text = f"latency added at the median, {rate}/s"
        targets.append(Target(5, text, "at most 0.40 ms", f"{added:.2f} ms", added <= 0.40))
        if FLOOR in variants:
            floor = variants[FLOOR].added_p50_ms
            targets.append(
                Target(
                    5,
                    f"{text}, over the canned answer's",
                    f"at most {floor:.2f} ms",
                    f"{added:.2f} ms",
                    added <= floor,
                )
            )
    return targets
