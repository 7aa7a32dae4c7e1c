"""Measure what a streamed event costs Envoy: ``python -m bench.events`` (needs valgrind).

The first table has the instructions of Envoy's worker for each event, in user space, of a naked
Envoy and with one thing more of the rendered configuration in each row. The second compares the
first row and the last, for events of each API, also by CPU time, which includes the kernel.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import click
import yaml
from tabulate import tabulate

from authz.envoy.render import render
from bench import callgrind, http2_provider, message, naked, responder
from bench.event_steps import NAKED, RENDERED, Steps
from bench.lockstep import EVENTS, Provider, Stream
from bench.processes import Process
from bench.world import BenchError, Streams, World, wait_for_status, world

_NAME = "events"
_WARM = 20
_TRIES = 5
_STREAMS, _TURNS = 20, 5
_PAUSE = 0.002
_START_SECONDS = 300.0
"""Envoy takes minutes to start under callgrind on a busy machine."""
_STREAM = Streams(1, 1, 1)


Times = dict[str, dict[str, list[float]]]
"""By API and step the CPU microseconds for an event, round by round."""


class Gateway:
    """One Envoy with all steps, and what it needs.

    Args:
        surroundings: of the benchmark.
        http2: whether the provider speaks HTTP/2 over TLS.
    """

    def __init__(self, surroundings: World, *, http2: bool = False) -> None:
        self.provider = Provider()
        self._world = surroundings
        only: dict[str, Any] = {
            "name": message.STREAMING,
            "type": "anthropic",
            "key": {"file": str(surroundings.folder / "central.key")},
        }
        port = self.provider.port
        if http2:
            edge = http2_provider.start(surroundings, port)
            port = edge.port
            only |= {"base_url": f"https://127.0.0.1:{port}", "ca_file": str(edge.ca_file)}
        else:
            only["base_url"] = f"http://127.0.0.1:{port}"
        config, _ = self._world.config(_NAME, providers=[only])
        folder = self._world.folder / _NAME
        self._world.start(_NAME, "authz", responder.command(folder / "authz.sock", folder)[0])
        # No part is shared, as YAML's aliases would have it.
        rendered = json.loads(json.dumps(yaml.safe_load(render(config))))
        plain = naked.configuration(1, self._world.upstream_port, port)
        self._steps = Steps(plain, rendered)
        # Statistics are flushed by time, which belongs to no event.
        self._steps.values["stats_flush_interval"] = "299s"

    @property
    def values(self) -> dict[str, Any]:
        """Envoy's configuration."""
        return self._steps.values

    @property
    def ports(self) -> dict[str, int]:
        """The port of each step, by title."""
        return self._steps.ports

    @property
    def titles(self) -> tuple[str, ...]:
        """The titles of the steps, in their order."""
        return tuple(self._steps.ports)

    def stream(self, title: str, event: bytes) -> Stream:
        """Begin a stream through the listener of a step.

        Raises:
            BenchError: the gateway answers by itself, several times.
        """
        request = message.request(self._world.token, streaming=True)
        # Under callgrind on a busy machine, the first check of a listener may take too long: 503.
        for left in reversed(range(_TRIES)):
            try:
                stream = Stream(self.provider, self._steps.ports[title], request, event)
                break
            except BenchError:
                if not left:
                    raise
        stream.send(_WARM)
        return stream

    @contextmanager
    def started(self, wrapper: list[str | Path]) -> Iterator[Process]:
        """Start Envoy behind a wrapper's command, and stop it at the end."""
        file = self._world.folder / _NAME / "envoy.yaml"
        file.write_text(yaml.safe_dump(self._steps.values))
        options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
        envoy = self._world.start(_NAME, "envoy", [*wrapper, "-c", file, *options])
        last = self._steps.ports[RENDERED]
        # authz's canned answer lets anything pass; a path that no provider has gets 404.
        unknown = message.request("x", path="/none")
        wait_for_status(last, unknown, 404, [envoy], _START_SECONDS)
        try:
            yield envoy
        finally:
            envoy.end()

    def wrapper(self, *, counted: bool) -> list[str | Path]:
        """Return the command of Envoy, under callgrind or not."""
        if counted:
            return [*callgrind.prefix(self._world.folder / _NAME), self._world.envoy]
        return [self._world.envoy]

    def counter(self, envoy: Process) -> callgrind.Counter:
        """Return the counter of this Envoy, which counts from now on."""
        counter = callgrind.Counter(envoy, self._world.folder / _NAME)
        counter.start()
        return counter


def count(gateway: Gateway, events: int) -> dict[str, dict[str, int]]:
    """Return the instructions for an event, by API and step: all steps for the first API."""
    found: dict[str, dict[str, int]] = {}
    with gateway.started(gateway.wrapper(counted=True)) as envoy:
        counter = gateway.counter(envoy)
        for kind, (_, event) in EVENTS.items():
            titles = gateway.titles if not found else (NAKED, RENDERED)
            found[kind] = {}
            for title in titles:
                with gateway.stream(title, event) as stream:
                    counter.take()
                    stream.send(events)
                    found[kind][title] = round(counter.take() / events)
    return found


def clock(gateway: Gateway, rounds: int, pause: float) -> Times:
    """Return the CPU microseconds for an event, of each round by API and step.

    Args:
        pause: seconds between two events. With 0, all that an event needs is in the caches.
    """
    found: Times = {}
    # On one processor, or the kernel's wake-ups between processors are most of the time.
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    titles = (NAKED, RENDERED)
    try:
        with gateway.started(gateway.wrapper(counted=False)) as envoy, ExitStack() as stack:
            for kind, (_, event) in EVENTS.items():
                streams = {
                    title: [
                        stack.enter_context(gateway.stream(title, event)) for _ in range(_STREAMS)
                    ]
                    for title in titles
                }
                taken = found[kind] = {title: [] for title in titles}
                for number in range(rounds):
                    for title in titles if number % 2 else reversed(titles):
                        before = _worker_ns(envoy)
                        for stream in streams[title] * _TURNS:
                            stream.send(1)
                            time.sleep(pause)
                        used = _worker_ns(envoy) - before
                        taken[title].append(used / (_STREAMS * _TURNS) / 1000)
    finally:
        os.sched_setaffinity(0, allowed)
    return found


def _worker_ns(envoy: Process) -> int:
    for task in Path(f"/proc/{envoy.pid}/task").iterdir():
        if (task / "comm").read_text().startswith("wrk:"):
            return int((task / "schedstat").read_text().split()[0])
    raise BenchError("Envoy has no worker")


def steps_table(counts: dict[str, int]) -> str:
    """Return the instructions of each step as a Markdown table."""
    rows, before = [], counts[NAKED]
    for title, instructions in counts.items():
        rows.append((title, f"{instructions:,}", f"{instructions - before:+,}"))
        before = instructions
    head = ("configuration", "instructions per event", "change")
    return tabulate(rows, head, tablefmt="github", colalign=("left", "right", "right"))


def apis_table(counts: dict[str, dict[str, int]], *times: Times) -> str:
    """Return the first step beside the last for each API as a Markdown table.

    Args:
        times: CPU microseconds without a pause between events, and with one.
    """
    rows = []
    for kind, (title, event) in EVENTS.items():
        plain, full = counts[kind][NAKED], counts[kind][RENDERED]
        cells = [f"{plain:,}", f"{full:,}", f"{full / plain:.2f}"]
        for one in times:
            plain_us, full_us = one[kind][NAKED], one[kind][RENDERED]
            # Both steps of a round ran one after the other, so they met the same other work.
            ratio = median(full / plain for plain, full in zip(plain_us, full_us, strict=True))
            cells += [f"{median(plain_us):.1f}", f"{median(full_us):.1f}", f"{ratio:.2f}"]
        rows.append((title, len(event), *cells))
    head = ["events of", "bytes", "instructions: naked", "rendered", "ratio"]
    for what in ("CPU µs at once", "CPU µs with pauses"):
        head += [f"{what}: naked", "rendered", "ratio"]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


@click.command()
@click.option("--events", default=150, show_default=True, help="Events to count in each stream.")
@click.option("--rounds", default=30, show_default=True, help="Rounds of the CPU time.")
@click.option("--http2", is_flag=True, help="Let the provider speak HTTP/2 over TLS.")
def main(*, events: int, rounds: int, http2: bool) -> None:
    """Measure what a streamed event costs Envoy, and print two tables."""
    try:
        with world(_STREAM) as surroundings:
            gateway = Gateway(surroundings, http2=http2)
            counts = count(gateway, events)
            times = [clock(gateway, rounds, pause) for pause in (0.0, _PAUSE)]
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    click.echo(steps_table(counts[next(iter(EVENTS))]))
    click.echo()
    click.echo(apis_table(counts, *times))


if __name__ == "__main__":
    main(prog_name="python -m bench.events")
