"""``make bench`` works: it measures every variant, prints every row, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import load, report, summary
from bench.docs import replace_section
from bench.machine import State
from bench.measure import Run
from bench.processes import Process, family
from bench.samples import BUSY, RATES, Measured, Options, Sample, StreamSample
from bench.streams import Outcome
from bench.targets import targets
from bench.variants import BASELINE, CORE, FLOOR, PRODUCT, Running, Variant, fragments
from bench.world import BenchError, Streams, World, merged, world

ROOT = Path(__file__).parents[3]
NAMES = {variant.name for variant in CORE}


def leftovers() -> set[Path]:
    """The folders of benchmarks that are under way, or were left behind."""
    return set(Path("/tmp").glob("authz-bench-*"))


def command(*arguments: str) -> list[str]:
    """Run the benchmark as ``make bench`` does."""
    return [sys.executable, "-m", "bench", *arguments]


@pytest.fixture(scope="module")
def quick() -> dict[str, Any]:
    """The report of one quick run of everything."""
    before = leftovers()
    result = subprocess.run(
        command("--quick", "-o", "json"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert leftovers() <= before
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def test_quick_measures_every_variant(quick: dict[str, Any]) -> None:
    """No row is missing, and none is empty."""
    assert set(quick["throughput"]) == NAMES
    assert set(quick["latency"]) == {str(rate) for rate in RATES}
    for variants in quick["latency"].values():
        assert set(variants) == NAMES
        assert all(one["p99_ms"] >= one["p50_ms"] > 0 for one in variants.values())
    for one in quick["throughput"].values():
        assert one["requests_per_second"] > 0
        assert one["cpu_us"]["envoy"] > 0
    assert quick["throughput"][PRODUCT]["cpu_us"]["authz"] > 0
    assert quick["memory"][PRODUCT]["authz"][1] > 10
    for one in quick["streaming"].values():
        assert one["first_ms"]["p50"] > 0
        assert one["gap_ms"]["p99"] >= one["gap_ms"]["p50"] > 10
    assert set(quick["streaming"]) == NAMES
    assert quick["ceiling"] > 0


def test_quick_says_for_each_target_whether_it_is_reached(quick: dict[str, Any]) -> None:
    """Whether they are reached is the machine's business."""
    assert [target["row"] for target in quick["targets"]] == [*(1, 2, 3, 3, 4, 5, 5, 5, 5, 7, 10)]
    assert all(isinstance(target["reached"], bool) for target in quick["targets"])


def test_a_stopped_run_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM in the middle stops the processes and removes the folder."""
    before = leftovers()
    log = tmp_path / "stderr"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command("--only", BASELINE), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr
        )
    try:
        deadline = time.monotonic() + 300
        while "round 1" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert leftovers() > before
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    assert leftovers() <= before


def test_unknown_variant_is_wrong_usage() -> None:
    """A typing error is told before anything is started."""
    result = subprocess.run(
        command("--only", "caddy"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "no such variant: caddy" in result.stderr


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
    }


def test_a_missed_target_is_said() -> None:
    """A figure just above its limit is not reached."""
    short = made(measured(authz_us=301, added_ms=0.41, floor_ms=0.5))
    reached = {(target.row, target.limit): target.reached for target in short.targets}
    assert not reached[1, "at most 3.0"]
    assert not reached[3, "at least 0.20"]
    assert not reached[5, "at most 0.40 ms"]
    assert reached[5, "at most 0.50 ms"]
    text = report.as_text(short, Options(), Streams(), State(load=0.1, busy=0.0))
    assert "NOT reached" in text
    for title in ("32 connections", "500 open streams", "Memory", "Targets"):
        assert title in text


def peer(begin: Callable[[World, str], Running]) -> Variant:
    """Make a peer."""
    return Variant("peer", "A peer", begin, peer=True)


def test_a_peer_that_can_not_be_installed_is_named_and_the_run_goes_on() -> None:
    """A missing competitor costs its own row, with the reason in the report."""

    def begin(_world: World, _name: str) -> Running:
        raise BenchError("it can't be installed: no such package")

    options = Options(seconds=0.1, rounds=1, stream_rounds=0)
    baseline = next(variant for variant in CORE if variant.name == BASELINE)
    with world() as surroundings:
        found = Run(surroundings, [baseline, peer(begin)], options, lambda _: None).measure()
    short = summary.summarize(found)
    assert set(short.throughput) == {BASELINE}
    text = report.as_text(short, options, Streams(), State(load=0.1, busy=0.0))
    assert "A peer: it can't be installed: no such package" in text


def test_a_fragment_is_merged_into_the_configuration() -> None:
    """A variant of the pair names only what differs."""
    values = merged({"authz": {"grpc": "unix:x", "http": "y"}}, {"authz": {"transport": "grpcio"}})
    assert values == {"authz": {"grpc": "unix:x", "http": "y", "transport": "grpcio"}}
    assert {variant.name for variant in fragments()} >= {"grpcio"}
    assert all(variant.title.startswith("Envoy and authz") for variant in fragments())


def test_only_the_marked_section_of_the_docs_is_rewritten(tmp_path: Path) -> None:
    """What people wrote around it stays; a file without the section is an error."""
    file = tmp_path / "performance.md"
    file.write_text("before\n<!-- bench:begin -->\nold \\1\n<!-- bench:end -->\nafter\n")
    replace_section(file, "bench", "new \\1")
    assert file.read_text() == (
        "before\n<!-- bench:begin -->\nnew \\1\n<!-- bench:end -->\nafter\n"
    )
    with pytest.raises(BenchError, match="0 sections"):
        replace_section(file, "bench.proxy", "new")


def test_cpu_and_memory_of_children_count(tmp_path: Path) -> None:
    """A server that works in child processes pays for them, also for those that have ended."""
    loop = "n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done"
    script = f"({loop}) & wait; sleep 60 & echo done >&2; wait"
    log = tmp_path / "log"
    process = Process("parent", ["/bin/sh", "-c", script], log)
    try:
        deadline = time.monotonic() + 300
        while "done" not in (log.read_text() if log.exists() else ""):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert process.cpu_seconds() >= 0.05
        assert len(family(process.pid)) == 2
        alone = [len(family(pid)) for pid in family(process.pid)]
        assert alone == [2, 1]
    finally:
        for pid in reversed(family(process.pid)):
            os.kill(pid, signal.SIGKILL)
        process.end()


class Socket:
    """Gives an answer in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def recv(self, _limit: int) -> bytes:
        return self.pieces.pop(0)


def connection(*pieces: bytes) -> Any:
    """Make a connection that will read these pieces."""
    made = load.Connection.__new__(load.Connection)
    made.socket = Socket(*pieces)  # type: ignore[assignment]
    made.failed = False
    made._received = b""
    return made


@pytest.mark.parametrize("cut", [1, 12, 30, 40, 45])
def test_an_answer_may_come_in_pieces(cut: int) -> None:
    """Wherever TCP cuts it."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
    made = connection(answer[:cut], answer[cut:] or b"")
    assert made.receive() is (cut >= len(answer))
    if cut < len(answer):
        assert made.receive()
    assert not made.failed


@pytest.mark.parametrize("cut", [20, 50, 58, 61])
def test_a_chunked_answer_ends_with_its_last_chunk(cut: int) -> None:
    """Some peers send no content-length."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    made = connection(answer[:cut], answer[cut:])
    assert not made.receive()
    assert made.receive()
    assert not made.failed


def test_another_status_is_a_failure() -> None:
    """A refusal must not count as fast."""
    made = connection(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
    assert made.receive()
    assert made.failed


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "closed a connection"), (b"HTTP/1.1 200 OK\r\n\r\n", "without content-length")],
)
def test_what_no_variant_answers_stops_the_run(data: bytes, message: str) -> None:
    """Better no figure than a wrong one."""
    with pytest.raises(load.LoadError, match=message):
        connection(data).receive()
