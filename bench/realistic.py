"""The realistic request: what it costs as a whole, with each variant."""

from dataclasses import dataclass
from statistics import median

from bench.samples import Measured
from bench.variants import BASELINE


@dataclass(frozen=True)
class Realistic:
    """The whole request: a long body up, and a stream of events down.

    Attributes:
        cpu_ms: CPU per request by process.
        cpu_ms_total: of all of them.
        cpu_ms_range: the least and the most, over the rounds.
        times: of the baseline's, in the same round.
        delay_ms: of an event, from the provider to the client, by percentile.
    """

    cpu_ms: dict[str, float]
    cpu_ms_total: float
    cpu_ms_range: tuple[float, float]
    times: float
    delay_ms: dict[str, float]


def realistic(found: Measured) -> dict[str, Realistic]:
    """Return the figures of each variant that took part."""
    return {name: _one(found, name) for name in found.samples if name in found.realistic}


def times(found: Measured, name: str, base: str) -> float | None:
    """Return the CPU of a request over that with another variant; None if one has no figures."""
    if name not in found.realistic or base not in found.realistic:
        return None
    pairs = zip(found.realistic[name], found.realistic[base], strict=True)
    # At a few requests the kernel's CPU ticks may say that there was no work at all.
    return median(
        _total(one.request_us) / max(_total(other.request_us), 1.0) for one, other in pairs
    )


def _one(found: Measured, name: str) -> Realistic:
    samples = found.realistic[name]
    totals = [_total(sample.request_us) / 1000 for sample in samples]
    delays = [sample.outcome.delay_ms for sample in samples]
    return Realistic(
        {
            key: median(sample.request_us[key] for sample in samples) / 1000
            for key in samples[0].request_us
        },
        median(totals),
        (min(totals), max(totals)),
        times(found, name, BASELINE) or 0.0,
        {key: median(delay[key] for delay in delays) for key in delays[0]},
    )


def _total(by_process: dict[str, float]) -> float:
    return sum(by_process.values())
