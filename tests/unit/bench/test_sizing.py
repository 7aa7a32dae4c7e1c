"""bench.sizing: the tables of the page are those of the measured figures."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.docs import PLOTS
from bench.growth import FILE
from bench.sizing import PAGE, Assumed, main, renew
from bench.world import BenchError

_DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A copy of the page and the figures."""
    (tmp_path / PLOTS).mkdir()
    for name in (PAGE, f"{PLOTS}/figures.json", f"{PLOTS}/{FILE}"):
        shutil.copy(_DOCS / name, tmp_path / name)
    return tmp_path


def test_the_page_is_up_to_date(docs: Path) -> None:
    """``python -m bench.sizing --docs docs`` after a run of the benchmark changes nothing."""
    renew(docs)
    assert (docs / PAGE).read_text() == (_DOCS / PAGE).read_text(), (
        "run python -m bench.sizing --docs docs"
    )


def test_the_assumptions_change_the_tables(docs: Path) -> None:
    """Ten thousand users with a request a second each need twenty processes of 500."""
    renew(docs, Assumed(load=1, requests_per_minute=60, burst=1, active_share=1, per_process=500))
    text = (docs / PAGE).read_text()
    by_users = text.partition("sizing.users:begin")[2].partition("sizing.users:end")[0]
    [line] = [line for line in by_users.splitlines() if line.startswith("| 10,000 ")]
    _, _, rate, _, processes, *_ = (cell.strip() for cell in line.split("|"))
    assert (rate, processes) == ("10,000", "20")


def test_the_realistic_request_is_used_where_there_is_one(docs: Path) -> None:
    """The realistic request's CPU is divided among its events, and preferred to open streams."""
    file = docs / PLOTS / "figures.json"
    figures = json.loads(file.read_text())
    costs = {"envoy": 20.0, "authz": 30.0, "nginx": 10.0}
    figures["realistic"] = {name: {"cpu_ms_total": cost} for name, cost in costs.items()}
    figures["realistic_request"] = {"events": 200}
    file.write_text(json.dumps(figures))
    renew(docs)
    table = (docs / PAGE).read_text().partition("CPU µs of a streamed event")[2]
    rows = [line.split("|")[2].strip() for line in table.splitlines()[2:5]]
    assert rows == ["150", "100", "50"]


def test_a_missing_figure_is_named(docs: Path) -> None:
    """The error names the missing figure and the command that measures it; the page stays."""
    before = (docs / PAGE).read_text()
    file = docs / PLOTS / "figures.json"
    figures = json.loads(file.read_text())
    del figures["throughput"]["postgresql"]
    file.write_text(json.dumps(figures))
    with pytest.raises(BenchError, match="a figure is missing: 'postgresql': run make bench"):
        renew(docs)
    (docs / PLOTS / FILE).unlink()
    with pytest.raises(BenchError, match=r"growth\.json: No such file .*: run python -m bench\."):
        renew(docs)
    assert (docs / PAGE).read_text() == before


def test_other_assumptions_are_printed_and_change_no_page() -> None:
    """Without ``--docs`` the tables go to standard output, and the project's page stays."""
    before = (_DOCS / PAGE).read_bytes()
    result = CliRunner().invoke(main, ["--events", "100", "--load", "0.6"])
    assert result.exit_code == 0
    assert "busy to 60%, and responses of 100 events" in result.stdout
    assert "So 10,000 users need" in result.stdout
    assert (_DOCS / PAGE).read_bytes() == before


@pytest.mark.parametrize("option", ["--load", "--events", "--per-process", "--burst"])
def test_an_assumption_of_nothing_is_refused(option: str) -> None:
    """Zero is refused with the option's name, because the tables divide by some of them."""
    result = CliRunner().invoke(main, [option, "0"])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output


def test_the_tables_are_written_where_docs_says(docs: Path) -> None:
    """With ``--docs`` the page in that folder has the tables of the options."""
    assert CliRunner().invoke(main, ["--docs", str(docs), "--events", "100"]).exit_code == 0
    assert "responses of 100 events" in (docs / PAGE).read_text()
