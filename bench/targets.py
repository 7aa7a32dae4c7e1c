"""The targets, and whether a run reached them."""

from bench.cost_targets import cost_targets
from bench.samples import BUSY, RATES, Measured
from bench.summary import Summary, Target, over
from bench.variants import BASELINE, FLOOR, LIMIT, PRODUCT

_NOISE = 0.05
_MOST_MB = 80.0


def targets(found: Measured, summary: Summary) -> list[Target]:
    """Judge the rows that this run has figures for."""
    if PRODUCT not in found.samples:
        return []
    rows = [*_cpu(found, summary), *_latency(summary), *_streams(summary)]
    memory = summary.memory[PRODUCT].authz
    if memory:
        start, end = memory
        text = f"{end:.0f} MB, {end - start:+.0f} in the run"
        rows.append(Target(10, "memory of authz", "under 80 MB", text, end < _MOST_MB))
    return [*rows, *cost_targets(found, summary)]


def _cpu(found: Measured, summary: Summary) -> list[Target]:
    def authz(name: str) -> float:
        return over(
            found, name, BASELINE, BUSY, lambda one, base: one.cpu_us["authz"] / base.total_us
        )

    def over_pair(name: str) -> float:
        return over(found, name, PRODUCT, BUSY, lambda one, pair: one.total_us / pair.total_us)

    times = authz(PRODUCT)
    micros = summary.throughput[PRODUCT].cpu_us["authz"]
    figure = f"{times:.2f} ({micros:.0f} µs)"
    text = "CPU of authz per check over Envoy's own per request"
    rows = [
        Target(1, f"{text}, first version", "at most 3.0", figure, times <= 3.0),
        Target(2, f"{text}, SQLite", "at most 0.40", figure, times <= 0.4),
    ]
    if "postgresql" in found.samples:
        times = authz("postgresql")
        rows.append(Target(2, f"{text}, PostgreSQL", "at most 0.60", f"{times:.2f}", times <= 0.6))
    ratio = over_pair(BASELINE)
    for least in (0.20, 0.50):
        text = "CPU of Envoy alone over the pair's"
        rows.append(Target(3, text, f"at least {least:.2f}", f"{ratio:.2f}", ratio >= least))
    if LIMIT in found.samples:
        ratio = over_pair(LIMIT)
        text = "CPU of Envoy's own filters over the pair's"
        rows.append(Target(4, text, "at least 0.52", f"{ratio:.2f}", ratio >= 0.52))
    if "litellm" in found.samples:
        ratio = over_pair("litellm")
        text = "CPU of LiteLLM over the pair's"
        rows.append(Target(6, text, "at least 50", f"{ratio:.0f}", ratio >= 50))
    return rows


def _latency(summary: Summary) -> list[Target]:
    rows = []
    for rate in map(str, RATES):
        variants = summary.latency[rate]
        added = variants[PRODUCT].added_p50_ms
        text = f"latency added at the median, {rate}/s"
        rows.append(Target(5, text, "at most 0.40 ms", f"{added:.2f} ms", added <= 0.40))
        if FLOOR in variants:
            floor = variants[FLOOR].added_p50_ms
            limit = f"at most {floor:.2f} ms"
            text = f"{text}, over the canned answer's"
            rows.append(Target(5, text, limit, f"{added:.2f} ms", added <= floor))
    return rows


def _streams(summary: Summary) -> list[Target]:
    if PRODUCT not in summary.streaming:
        return []
    times = summary.streaming[PRODUCT].times_gap
    text = "time between events of a stream, with authz over without, median"
    return [Target(7, text, "1.00 within 0.05", f"{times:.3f}", abs(times - 1) <= _NOISE)]
