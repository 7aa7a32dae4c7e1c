"""Envoy's instructions for a small POST, under callgrind: ``python -m bench.envoy_instructions``.

A count of instructions hardly depends on what else the machine does. It leaves out the kernel,
which is an eighth of Envoy's CPU time. It belongs to the pinned Envoy on this kind of processor.
"""

import shutil
import time
from pathlib import Path

import click

from bench import callgrind, docs, load
from bench.catalogue import VARIANTS
from bench.generator import generate
from bench.processes import Process
from bench.variants import BASELINE, BASELINE_WITHOUT_USAGE, PLAIN, PRODUCT, WITHOUT_USAGE, Running
from bench.world import BenchError, World, wait_for_status, world

_NAMES = (PLAIN, BASELINE_WITHOUT_USAGE, BASELINE, WITHOUT_USAGE, PRODUCT)
_CONNECTIONS = 8
_SECONDS, _IDLE_SECONDS, _START_SECONDS = 4.0, 2.0, 120.0
_LAST_SECONDS = 1.0
"""The time in which the last records of requests leave Envoy."""
_LIMIT = 600_000


def count(surroundings: World, name: str) -> float:
    """Return the instructions of a variant's Envoy for each request.

    Raises:
        BenchError: it does not run under callgrind.
    """
    variant = next(one for one in VARIANTS if one.name == name)
    folder = surroundings.folder / f"callgrind.{name}"
    folder.mkdir()
    surroundings.under = callgrind.prefix(folder)
    running = variant.begin(surroundings, name)
    envoy = running.processes["envoy"]
    assert isinstance(envoy, Process)
    request = running.ask(surroundings.token, False)
    wait_for_status(running.port, request, 200, [envoy], _START_SECONDS)
    counter = callgrind.Counter(envoy, folder)
    counter.start()
    # callgrind translates each piece of code when it runs for the first time, which takes seconds.
    _send(running, request)
    counter.take()
    requests = _send(running, request)
    time.sleep(_LAST_SECONDS)
    busy = counter.take()
    time.sleep(_IDLE_SECONDS)
    idle = counter.take() / _IDLE_SECONDS
    return (busy - idle * (_SECONDS + _LAST_SECONDS)) / requests


def _send(running: Running, request: bytes) -> int:
    job = load.Job(running.port, request.decode(), _CONNECTIONS, _SECONDS)
    return generate(job).requests


def table(counts: dict[str, float]) -> str:
    """Return the counts as a Markdown table, and whether the target is reached."""
    titles = {variant.name: variant.title for variant in VARIANTS}
    lines = ["| variant | Envoy's instructions per request |", "| --- | ---: |"]
    lines += [f"| {titles[name]} | {number:,.0f} |" for name, number in counts.items()]
    over = counts[PRODUCT] / _LIMIT - 1
    verdict = "reached" if over <= 0 else f"NOT reached, {over:.0%} too much"
    text = f"Target 12, the pair with metering: at most {_LIMIT:,} instructions: {verdict}."
    return "\n".join([*lines, "", text])


@click.command()
@click.option(
    "--docs",
    "folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Write the table into performance.md in this folder.",
)
def main(folder: Path | None) -> None:
    """Count the instructions of Envoy for each small POST; it takes two minutes."""
    if shutil.which("valgrind") is None:
        problem = "valgrind is not installed (Debian: apt install valgrind)"
        if folder is None:
            raise click.ClickException(problem)
        # The documentation keeps the counts of an earlier run.
        click.echo(f"Envoy's instructions are not counted: {problem}", err=True)
        return
    try:
        with world() as surroundings:
            counts = {name: count(surroundings, name) for name in _NAMES}
        text = table(counts)
        click.echo(text)
        if folder is not None:
            docs.replace_section(folder / "performance.md", "bench.envoy", text)
    except BenchError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main(prog_name="python -m bench.envoy_instructions")
