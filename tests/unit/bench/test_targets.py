"""The figures of a run: ratios within a round, and the targets."""

from dataclasses import replace

import pytest

from bench import envoy_instructions, report, summary
from bench.machine import State
from bench.samples import BUSY, RATES, Measured, Options, Sample, StreamSample
from bench.streams import Outcome
from bench.targets import targets
from bench.variants import (
    BASELINE,
    BASELINE_WITHOUT_USAGE,
    FLOOR,
    PLAIN,
    PRODUCT,
    WITHOUT_USAGE,
)
from bench.world import REALISTIC, Streams


def sample(phase: str, *, envoy: float, authz: float | None = None, ms: float = 1.0) -> Sample:
    """Make a sample whose percentiles follow from ``ms``."""
    cpu = {"envoy": envoy} if authz is None else {"envoy": envoy, "authz": authz}
    latencies = {} if phase == BUSY else {"p50": ms, "p90": ms, "p99": 2 * ms, "max": 3 * ms}
    return Sample(
        phase=phase,
        requests_per_second=1e6 / sum(cpu.values()),
        cpu_us=cpu,
        generator_us=10.0,
        others=0.0,
        latencies_ms=latencies,
        late_ms=latencies,
    )


def measured(authz_us: float, added_ms: float, floor_ms: float) -> Measured:
    """Make two rounds, the second on a machine that has become half as fast."""
    found = Measured({BASELINE: [], FLOOR: [], PRODUCT: []}, ceiling=[20_000.0, 10_000.0])
    for slower in (1, 2):
        for phase in (BUSY, *(str(rate) for rate in RATES)):
            base = slower * 1.0
            found.samples[BASELINE].append(sample(phase, envoy=100 * slower, ms=base))
            found.samples[FLOOR].append(
                sample(phase, envoy=200 * slower, authz=10 * slower, ms=base + floor_ms)
            )
            found.samples[PRODUCT].append(
                sample(phase, envoy=200 * slower, authz=authz_us * slower, ms=base + added_ms)
            )
    envoy = {"envoy": (40.0, 40.0)}
    found.memory_mb = {BASELINE: envoy, FLOOR: envoy, PRODUCT: envoy | {"authz": (60.0, 61.0)}}
    times = {"p50": 250.0, "p99": 260.0, "max": 270.0}
    outcome = Outcome(500, 0, 8000, 5.0, 0.1, times, times, times)
    for name in (BASELINE, FLOOR, PRODUCT):
        found.streams[name] = [StreamSample(outcome, 20.0, {"envoy": 50.0})] * 2
        request = {"envoy": 20_000.0} | ({"authz": 400.0} if name == PRODUCT else {})
        found.realistic[name] = [StreamSample(outcome, 66.0, {"envoy": 50.0}, request)] * 2
    found.direct_streams = [outcome]
    return found


def made(found: Measured) -> summary.Summary:
    """Summarize with the targets, as the command does."""
    short = summary.summarize(found)
    return replace(short, targets=targets(found, short))


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that slows down between rounds changes no ratio."""
    short = made(measured(authz_us=200, added_ms=0.3, floor_ms=0.3))
    assert short.throughput[PRODUCT].cpu_ratio == pytest.approx(0.25)
    assert short.throughput[PRODUCT].rate_ratio == pytest.approx(0.25)
    assert short.throughput[PRODUCT].cpu_us_range == (400, 800)
    assert short.latency["200"][PRODUCT].added_p50_ms == pytest.approx(0.3)
    assert short.streaming[PRODUCT].times_gap == pytest.approx(1.0)
    assert short.memory[PRODUCT].authz == (60.0, 61.0)
    reached = {(target.row, target.limit): target.reached for target in short.targets}
    assert reached == {
        (1, "at most 3.0"): True,
        (2, "at most 0.40"): False,
        (3, "at least 0.20"): True,
        (3, "at least 0.50"): False,
        (5, "at most 0.40 ms"): True,
        (5, "at most 0.30 ms"): True,
        (7, "1.00 within 0.05"): True,
        (10, "under 80 MB"): True,
        (11, "at most 0.40"): False,
        (13, "at most 2.00"): False,
        (14, "at most 1.03"): True,
        (17, "at most 0.45 ms"): True,
        (18, "60 MB, flat"): False,
    }
    assert short.realistic[PRODUCT].cpu_ms_total == pytest.approx(20.4)
    assert short.realistic[PRODUCT].times == pytest.approx(1.02)


def test_the_readme_says_if_the_machine_was_busy() -> None:
    """The short table has a row for each variant, and a warning only if the machine was busy."""
    short = made(measured(authz_us=30, added_ms=0.3, floor_ms=0.3))
    assert "20.4 ms" in report.as_short_text(short)
    assert "trust the order" not in report.as_short_text(short)
    assert report.as_short_text(replace(short, others=1.0)).endswith("not the digits.")


def test_a_missed_target_is_said() -> None:
    """A figure just above its limit is not reached."""
    short = made(measured(authz_us=301, added_ms=0.41, floor_ms=0.5))
    reached = {(target.row, target.limit): target.reached for target in short.targets}
    assert not reached[1, "at most 3.0"]
    assert not reached[3, "at least 0.20"]
    assert not reached[5, "at most 0.40 ms"]
    assert reached[5, "at most 0.50 ms"]
    text = report.as_text(short, Options(), Streams(), REALISTIC, State(load=0.1, busy=0.0))
    assert "NOT reached" in text
    assert text.index("A realistic request") < text.index("32 connections")
    for title in ("32 connections", "500 open streams", "Memory", "Targets"):
        assert title in text


def test_the_cost_of_the_pair_is_compared_with_what_has_the_same_log() -> None:
    """Each row has its own base, and says by how much it is missed."""
    found = measured(authz_us=30, added_ms=0.3, floor_ms=0.3)
    costs = {
        WITHOUT_USAGE: (70, 20),
        BASELINE_WITHOUT_USAGE: (60, None),
        "providers-1": (100, 20),
        "providers-20": (130, 20),
    }
    for name, (envoy, authz) in costs.items():
        found.samples[name] = [sample(BUSY, envoy=envoy, authz=authz) for _ in range(2)]
    for name, spent in (("naked", 17_000.0), ("aiohttp", 30_000.0)):
        one = replace(found.realistic[BASELINE][0], request_us={"proxy": spent})
        found.samples[name], found.realistic[name] = found.samples[BASELINE], [one] * 2
    rows = cost_rows(found)
    assert rows[11] == [("0.15", True), ("0.30", True)]
    assert rows[13] == [("2.30, 15% too much", False), ("1.50", True)]
    assert rows[14] == [("1.02", True), ("0.68", True)]
    assert rows[15] == [("1.20, 9% too much", False)]
    assert rows[16] == [("1.25", False)]


def cost_rows(found: Measured) -> dict[int, list[tuple[str, bool]]]:
    """Return figures and judgements by row."""
    rows: dict[int, list[tuple[str, bool]]] = {}
    for target in made(found).targets:
        rows.setdefault(target.row, []).append((target.figure, target.reached))
    return rows


def test_envoy_instructions_are_judged() -> None:
    """The count of the pair with metering is compared with its target."""
    counts = {PLAIN: 200_000.0, PRODUCT: 600_000.0}
    assert envoy_instructions.table(counts).endswith("600,000 instructions: reached.")
    counts[PRODUCT] = 750_000.0
    assert envoy_instructions.table(counts).endswith("NOT reached, 25% too much.")
