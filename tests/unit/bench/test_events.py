"""bench.events: the steps between two configurations, the streams, and the counts."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import callgrind, events, message
from bench.event_steps import NAKED, RENDERED
from bench.lockstep import EVENTS, Stream
from bench.processes import Process
from bench.world import BenchError, Streams, World, world


@pytest.fixture(scope="module")
def surroundings() -> Iterator[World]:
    """The surroundings of the benchmark."""
    with world(Streams(1, 1, 1)) as made:
        yield made


@pytest.fixture(scope="module")
def gateway(surroundings: World) -> events.Gateway:
    """The Envoy with all steps, not started; its provider speaks HTTP/2 over TLS."""
    return events.Gateway(surroundings, http2=True)


def test_each_step_adds_a_thing(gateway: events.Gateway) -> None:
    """The first step is the plain Envoy, and the last one has all the rendered filters."""
    managers = {
        listener["name"]: listener["filter_chains"][0]["filters"][0]["typed_config"]
        for listener in gateway.values["static_resources"]["listeners"]
    }
    rendered = managers.pop("gateway")
    steps = list(managers.values())
    assert len(steps) == len(gateway.titles)
    counts = [len(manager["http_filters"]) for manager in steps]
    assert counts == sorted(counts)
    assert counts[0] == 1
    assert "access_log" not in steps[0]
    assert "stream_idle_timeout" not in steps[0]
    assert steps[-1] == rendered


def test_every_kind_of_event_passes(gateway: events.Gateway) -> None:
    """Events of each API pass the naked Envoy and the rendered one, and both use CPU time."""
    times = events.clock(gateway, rounds=1, pause=0)
    assert times.keys() == EVENTS.keys()
    for one in times.values():
        assert one.keys() == {NAKED, RENDERED}
        assert all(micros > 0 for rounds in one.values() for micros in rounds)


def test_an_answer_of_the_gateway_is_an_error(gateway: events.Gateway) -> None:
    """A request that the gateway answers by itself is an error with the answer in it."""
    with (
        gateway.started(gateway.wrapper(counted=False)),
        pytest.raises(BenchError, match=r"the provider got no request; .*HTTP/1.1 404"),
    ):
        Stream(gateway.provider, gateway.ports[RENDERED], message.request("x", path="/none"), b"")


def test_the_worker_is_counted(tmp_path: Path) -> None:
    """The count of a dump is that of the busiest thread other than the main one."""
    for thread, count in (("01", 900), ("02", 7), ("03", 500)):
        (tmp_path / f"out.2-{thread}").write_text(f"version: 1\nsummary: {count}\n")
    assert callgrind.most(tmp_path, 2) == 500
    with pytest.raises(BenchError, match="no count of a worker"):
        callgrind.most(tmp_path, 1)


def test_no_count_of_an_ended_process(tmp_path: Path) -> None:
    """A process that has ended is an error: its id may be another's."""
    process = Process("envoy", [sys.executable, "-c", ""], tmp_path / "log")
    try:
        process.wait(20)
        with pytest.raises(BenchError, match="envoy ended"):
            callgrind.Counter(process, tmp_path).take()
    finally:
        process.end()


def test_valgrind_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without valgrind the error says how to install it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="apt install valgrind"):
        callgrind.prefix(tmp_path)


def test_the_tables() -> None:
    """The first table has the change of each step, the second one ratios within rounds."""
    counts = {kind: {NAKED: 10_000, RENDERED: 12_500} for kind in EVENTS}
    times = {kind: {NAKED: [20.0, 40.0, 20.0], RENDERED: [22.0, 44.0, 60.0]} for kind in EVENTS}
    assert "12,500 |   +2,500 |" in events.steps_table(counts["anthropic"])
    row = events.apis_table(counts, times, times).splitlines()[2]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:8] == ["10,000", "12,500", "1.25", "20.0", "44.0", "1.10"]
