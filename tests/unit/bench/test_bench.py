"""``make bench`` works: it measures every variant, prints every row, and leaves nothing behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import install, load, message, report, summary
from bench.catalogue import VARIANTS
from bench.docs import replace_section
from bench.machine import State
from bench.measure import Run
from bench.processes import Process, family
from bench.samples import BUSY, EVERYTHING, RATES, Options
from bench.variants import (
    BASELINE,
    CORE,
    PLAIN,
    PRODUCT,
    Running,
    Variant,
    fragments,
)
from bench.world import REALISTIC, BenchError, Streams, World, merged, world

ROOT = Path(__file__).parents[3]
NAMES = {variant.name for variant in CORE}


def leftovers(process: subprocess.Popen[Any]) -> set[Path]:
    """Return the folders of one benchmark; others may run on the same machine."""
    return set(Path("/tmp").glob(f"authz-bench-{process.pid}-*"))


def command(*arguments: str) -> list[str]:
    """Run the benchmark as ``make bench`` does."""
    return [sys.executable, "-m", "bench", *arguments]


@pytest.fixture(scope="module")
def quick() -> dict[str, Any]:
    """The report of one quick run of everything."""
    with subprocess.Popen(
        command("--quick", "-o", "json"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            printed, told = process.communicate(timeout=540)
        finally:
            process.terminate()
    assert process.returncode == 0, told
    assert not leftovers(process)
    values: dict[str, Any] = json.loads(printed)
    return values


def test_quick_measures_every_variant(quick: dict[str, Any]) -> None:
    """Every variant has a row, and every row has figures."""
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
    assert set(quick["realistic"]) == {BASELINE, PRODUCT}
    assert quick["ceiling"] > 0


def test_quick_says_for_each_target_whether_it_is_reached(quick: dict[str, Any]) -> None:
    """The report says for each target if it is reached, which depends on the machine."""
    assert [target["row"] for target in quick["targets"]] == [
        *(1, 2, 3, 3, 4, 5, 5, 5, 5, 7, 10, 11, 13, 14, 17, 17, 18)
    ]
    assert all(isinstance(target["reached"], bool) for target in quick["targets"])


def test_a_stopped_run_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM in the middle stops the processes and removes the folder."""
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
        assert leftovers(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    assert not leftovers(process)


def test_unknown_variant_is_wrong_usage() -> None:
    """A mistyped name is reported before anything is started."""
    result = subprocess.run(
        command("--only", "caddy"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "no such variant: caddy" in result.stderr


def peer(begin: Callable[[World, str], Running]) -> Variant:
    """Make a peer."""
    return Variant("peer", "A peer", begin, peer=True)


def test_a_peer_that_can_not_be_installed_is_named_and_the_run_goes_on() -> None:
    """A missing competitor costs its own row, with the reason in the report."""

    def begin(_world: World, _name: str) -> Running:
        raise BenchError("it can't be installed: no such package")

    options = Options(seconds=0.1, rounds=1, stream_rounds=0, realistic_rounds=0)
    baseline = next(variant for variant in CORE if variant.name == BASELINE)
    with world() as surroundings:
        found = Run(surroundings, [baseline, peer(begin)], options, lambda _: None).measure()
    short = summary.summarize(found)
    assert set(short.throughput) == {BASELINE}
    text = report.as_text(short, options, Streams(), REALISTIC, State(load=0.1, busy=0.0))
    assert "A peer: it can't be installed: no such package" in text


def test_a_fragment_is_merged_into_the_configuration() -> None:
    """A variant of the pair names only what differs."""
    values = merged({"authz": {"grpc": "unix:x", "http": "y"}}, {"authz": {"transport": "grpcio"}})
    assert values == {"authz": {"grpc": "unix:x", "http": "y", "transport": "grpcio"}}
    assert {variant.name for variant in fragments()} >= {"grpcio"}
    assert all(variant.title.startswith("Envoy and authz") for variant in fragments())


@pytest.mark.parametrize("size", [1_000, 100_000, 100_003])
def test_a_realistic_request_differs_in_its_body_alone(size: int) -> None:
    """The long text is valid JSON of the asked size, and the head says its length."""
    small = message.request("token", streaming=True)
    head, _, body = message.with_body_of(size, small).partition(b"\r\n\r\n")
    assert size - 5 < len(body) <= size
    assert json.loads(body)["messages"][0]["content"].startswith("Say hello to the benchmark")
    lines = {line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")}
    assert lines < set(small.partition(b"\r\n\r\n")[0].split(b"\r\n"))
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert message.with_body_of(0, small).count(b" word") == 0


def test_each_part_has_its_base_and_a_variant_names_parts_that_exist() -> None:
    """The baseline takes part in everything, so that every ratio has its base."""
    parts = {variant.name: variant.parts for variant in VARIANTS}
    assert parts[BASELINE] == parts[PRODUCT] == parts[PLAIN] == EVERYTHING
    assert all(BUSY in one and one <= EVERYTHING for one in parts.values())


def test_a_missing_program_of_a_peer_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Go, or with a program that does not build, the peer is left out with the reason."""
    (tmp_path / "go.mod").write_text("module authz.bench/broken\n")
    (tmp_path / "main.go").write_text("package main\nfunc main() { undefined() }\n")
    monkeypatch.setattr(install, "OUT", tmp_path / "out")
    if shutil.which("go") is not None:
        with pytest.raises(BenchError, match="can't be installed"):
            install.go("broken", tmp_path)
        assert not (tmp_path / "out" / "broken").exists()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BenchError, match="no Go"):
        install.go("broken", tmp_path)


def test_only_the_marked_section_of_the_docs_is_rewritten(tmp_path: Path) -> None:
    """Only the marked section is replaced; a file without the section is an error."""
    file = tmp_path / "performance.md"
    file.write_text("before\n<!-- bench:begin -->\nold \\1\n<!-- bench:end -->\nafter\n")
    replace_section(file, "bench", "new \\1")
    assert file.read_text() == (
        "before\n<!-- bench:begin -->\nnew \\1\n<!-- bench:end -->\nafter\n"
    )
    with pytest.raises(BenchError, match="0 sections"):
        replace_section(file, "bench.proxy", "new")


def test_cpu_and_memory_of_children_count(tmp_path: Path) -> None:
    """A server's figures include its child processes, also those that have ended."""
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
    """A socket that returns an answer in pieces."""

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
    """An answer is read correctly at whatever point TCP splits it."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
    made = connection(answer[:cut], answer[cut:] or b"")
    assert made.receive() is (cut >= len(answer))
    if cut < len(answer):
        assert made.receive()
    assert not made.failed


@pytest.mark.parametrize("cut", [20, 50, 58, 61])
def test_a_chunked_answer_ends_with_its_last_chunk(cut: int) -> None:
    """A chunked answer ends with its last chunk; some peers send no content-length."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    made = connection(answer[:cut], answer[cut:])
    assert not made.receive()
    assert made.receive()
    assert not made.failed


def test_another_status_is_a_failure() -> None:
    """A refusal counts as a failure, not as a fast answer."""
    made = connection(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
    assert made.receive()
    assert made.failed


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "closed a connection"), (b"HTTP/1.1 200 OK\r\n\r\n", "without content-length")],
)
def test_what_no_variant_answers_stops_the_run(data: bytes, message: str) -> None:
    """An unexpected answer stops the run: no figure is better than a wrong one."""
    with pytest.raises(load.LoadError, match=message):
        connection(data).receive()
