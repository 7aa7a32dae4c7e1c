"""bench.instructions: the baseline, and when a count is worse than it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import instructions
from bench.counted import PARTS

ROOT = Path(__file__).parents[3]
COUNTS = dict.fromkeys(PARTS, 100_000)


@pytest.fixture
def baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A baseline of this build and another one, and a count that needs no callgrind."""
    path = tmp_path / "instructions.json"
    path.write_text(json.dumps({instructions.build(): COUNTS, "PyPy": {"check": 1}}))
    monkeypatch.setattr(instructions, "BASELINE", path)
    return path


def test_the_counted_program_runs() -> None:
    """The program that callgrind counts answers every message as it expects."""
    command = [sys.executable, "-m", "bench.counted"]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr


def test_five_percent_more_is_worse() -> None:
    """A part with 5 percent more instructions passes, and one with more is named."""
    counts = COUNTS | {"check": 105_000, "record": 105_100}
    assert instructions.worse(counts, COUNTS) == ["a usage record: 105,100 instructions, +5.1%"]


@pytest.mark.parametrize(("factor", "status"), [(1.04, 0), (1.06, 1), (0.5, 0)])
def test_check_compares(
    baseline: Path, monkeypatch: pytest.MonkeyPatch, factor: float, status: int
) -> None:
    """``--check`` exits 1 only if a count is worse, and does not change the baseline."""
    before = baseline.read_text()
    counts = {name: int(count * factor) for name, count in COUNTS.items()}
    monkeypatch.setattr(instructions, "count", lambda: counts)
    assert CliRunner().invoke(instructions.main, ["--check"]).exit_code == status
    assert baseline.read_text() == before


def test_check_needs_a_baseline_of_this_build(baseline: Path) -> None:
    """A build without a count gets an error with the cure, and no count."""
    baseline.write_text("{}")
    result = CliRunner().invoke(instructions.main, ["--check"])
    assert result.exit_code == 1
    assert "run make bench-instructions there" in result.output


def test_a_count_becomes_the_baseline(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``--check`` the count of this build is written, and that of others stays."""
    monkeypatch.setattr(instructions, "count", lambda: COUNTS | {"check": 7})
    assert CliRunner().invoke(instructions.main).exit_code == 0
    written = json.loads(baseline.read_text())
    assert written == {instructions.build(): COUNTS | {"check": 7}, "PyPy": {"check": 1}}


def test_the_stored_baseline_is_complete() -> None:
    """The project's baseline has every part for each build."""
    stored = json.loads(instructions.BASELINE.read_text())
    assert stored
    assert all(counts.keys() == PARTS.keys() for counts in stored.values())
