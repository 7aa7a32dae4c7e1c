"""``make bench`` works: it measures every variant, prints every row, and leaves nothing behind."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench import load, report, summary
from bench.measure import BUSY, RATES, Measured, Options, Sample
from bench.variants import BASELINE, CORE, FLOOR, PRODUCT

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
    assert quick["memory_mb"][PRODUCT][1] > 10
    assert quick["ceiling"] > 0


def test_quick_says_for_each_target_whether_it_is_reached(quick: dict[str, Any]) -> None:
    """Whether they are reached is the machine's business."""
    assert [target["row"] for target in quick["targets"]] == [1, 3, 5, 5, 5, 5]
    assert all(isinstance(target["reached"], bool) for target in quick["targets"])


def test_a_stopped_run_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM in the middle stops the processes and removes the folder."""
    before = leftovers()
    log = tmp_path / "stderr"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command("--variants", BASELINE), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr
        )
    try:
        deadline = time.monotonic() + 30
        while "round 1" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert leftovers() > before
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    assert leftovers() <= before


def test_unknown_variant_is_wrong_usage() -> None:
    """A typing error is told before anything is started."""
    result = subprocess.run(
        command("--variants", "nginx"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "no such variant: nginx" in result.stderr


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
    found.memory_mb = {PRODUCT: {"envoy": (40.0, 40.0), "authz": (60.0, 61.0)}}
    return found


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that slows down between rounds changes no ratio."""
    made = summary.summarize(measured(authz_us=200, added_ms=0.3, floor_ms=0.3))
    assert made.throughput[PRODUCT].cpu_ratio == pytest.approx(0.25)
    assert made.throughput[PRODUCT].rate_ratio == pytest.approx(0.25)
    assert made.throughput[PRODUCT].cpu_us_range == (400, 800)
    assert made.latency["200"][PRODUCT].added_p50_ms == pytest.approx(0.3)
    assert made.memory_mb == {PRODUCT: (60.0, 61.0)}
    assert all(target.reached for target in made.targets)


def test_a_missed_target_is_said() -> None:
    """A figure just above its limit is not reached."""
    made = summary.summarize(measured(authz_us=301, added_ms=0.41, floor_ms=0.5))
    assert [target.reached for target in made.targets] == [False, False, False, True, False, True]
    text = report.as_text(made, Options())
    assert "NOT reached" in text
    for title in ("Envoy alone, no authentication", "Envoy and authz, SQLite", "Memory", "Targets"):
        assert title in text


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
