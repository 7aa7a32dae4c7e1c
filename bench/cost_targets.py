"""The targets for the cost of the pair, rows 11 to 18, and whether a run reached them."""

from bench import realistic
from bench.samples import BUSY, RATES, Measured, Sample
from bench.summary import Summary, Target, over
from bench.variants import (
    BASELINE,
    BASELINE_WITHOUT_USAGE,
    COUNTS,
    FLOOR,
    PLAIN,
    PRODUCT,
    WITHOUT_USAGE,
)

_NOISE = 0.05
_MOST_MB, _GROWTH_MB = 60.0, 5.0
_OVER_FLOOR_MS = 0.15


def cost_targets(found: Measured, summary: Summary) -> list[Target]:
    """Judge the rows that this run has figures for."""
    return [
        *_busy(found),
        *_realistic(found),
        *_providers(found),
        *_latency(summary),
        *_memory(summary),
    ]


def _at_most(row: int, text: str, figure: float, limit: float) -> Target:
    """Return a target for a ratio; what misses it says by how much."""
    missed = "" if figure <= limit else f", {figure / limit - 1:.0%} too much"
    return Target(row, text, f"at most {limit:.2f}", f"{figure:.2f}{missed}", figure <= limit)


def _busy(found: Measured) -> list[Target]:
    rows = []
    shares = ((WITHOUT_USAGE, "without metering", 0.24), (PRODUCT, "with metering", 0.40))
    for name, how, limit in shares:
        if name in found.samples:
            figure = over(found, name, BASELINE, BUSY, _authz_over)
            text = f"CPU of authz per request over Envoy alone, {how}"
            rows.append(_at_most(11, text, figure, limit))
    pairs = (
        (PRODUCT, BASELINE, "with metering", 2.0),
        (WITHOUT_USAGE, BASELINE_WITHOUT_USAGE, "without metering", 1.6),
    )
    for name, base, how, limit in pairs:
        if name in found.samples and base in found.samples:
            figure = over(found, name, base, BUSY, _total_over)
            text = f"CPU of the pair over Envoy alone with the same log, {how}"
            rows.append(_at_most(13, text, figure, limit))
    return rows


def _realistic(found: Measured) -> list[Target]:
    bases = (
        (14, BASELINE, "Envoy alone", 1.03),
        (14, "aiohttp", "aiohttp", 0.75),
        (14, "litellm", "LiteLLM", 0.30),
        (15, PLAIN, "a plain Envoy: 300 events", 1.1),
    )
    rows = []
    for row, base, title, limit in bases:
        figure = realistic.times(found, PRODUCT, base)
        if figure is not None:
            text = f"CPU of a realistic request with the pair over {title}"
            rows.append(_at_most(row, text, figure, limit))
    return rows


def _providers(found: Measured) -> list[Target]:
    one, *_, most = (f"providers-{count}" for count in COUNTS)
    if one not in found.samples or most not in found.samples:
        return []
    figure = over(found, most, one, BUSY, _total_over)
    text = f"CPU of the pair with {COUNTS[-1]} providers over 1"
    is_near = abs(figure - 1) <= _NOISE
    return [Target(16, text, f"1.00 within {_NOISE}", f"{figure:.2f}", is_near)]


def _latency(summary: Summary) -> list[Target]:
    rows = []
    for rate in map(str, RATES):
        variants = summary.latency.get(rate, {})
        if PRODUCT not in variants or FLOOR not in variants:
            continue
        added = variants[PRODUCT].added_p50_ms
        limit = variants[FLOOR].added_p50_ms + _OVER_FLOOR_MS
        missed = "" if added <= limit else f", {added - limit:.2f} too much"
        text = f"latency added at the median, {rate}/s, over the canned answer's and 0.15 ms"
        figure = f"{added:.2f} ms{missed}"
        rows.append(Target(17, text, f"at most {limit:.2f} ms", figure, added <= limit))
    return rows


def _memory(summary: Summary) -> list[Target]:
    rows = []
    for name, how in ((PRODUCT, "with metering"), (WITHOUT_USAGE, "without metering")):
        memory = summary.memory[name].authz if name in summary.memory else None
        if memory is None:
            continue
        start, end = memory
        is_reached = end <= _MOST_MB and end - start <= _GROWTH_MB
        missed = f", {end - _MOST_MB:.0f} MB too much" if end > _MOST_MB else ""
        figure = f"{end:.0f} MB, {end - start:+.0f} in the run{missed}"
        limit = f"{_MOST_MB:.0f} MB, flat"
        rows.append(Target(18, f"memory of authz, {how}", limit, figure, is_reached))
    return rows


def _authz_over(one: Sample, base: Sample) -> float:
    return one.cpu_us["authz"] / base.total_us


def _total_over(one: Sample, base: Sample) -> float:
    return one.total_us / base.total_us
