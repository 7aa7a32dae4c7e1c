"""``python -m bench``: measure, print the report, write it into the documentation."""

import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click

from authz.errors import AuthzError
from bench import docs, machine, report
from bench.catalogue import VARIANTS
from bench.measure import Run
from bench.samples import Options
from bench.summary import summarize
from bench.targets import targets
from bench.variants import BASELINE, CORE, Variant
from bench.world import REALISTIC, BenchError, Streams, world

_QUICK = Options(seconds=0.2, rounds=1, stream_rounds=1, realistic_rounds=1)
_QUICK_STREAMS = Streams(streams=20, events=3, interval=0.05)
_QUICK_REALISTIC = replace(REALISTIC, streams=10, events=10)


@click.command()
@click.option("--seconds", type=click.FloatRange(0.1), default=Options.seconds, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=Options.rounds, show_default=True)
@click.option(
    "--stream-rounds", type=click.IntRange(0), default=Options.stream_rounds, show_default=True
)
@click.option(
    "--realistic-rounds",
    type=click.IntRange(0),
    default=Options.realistic_rounds,
    show_default=True,
)
@click.option(
    "--connections", type=click.IntRange(1, 500), default=Options.connections, show_default=True
)
@click.option("--streams", type=click.IntRange(1, 5000), default=500, show_default=True)
@click.option("--quick", is_flag=True, help="One short round: does it work, not how fast.")
@click.option("--only", metavar="NAMES", help="Comma-separated, beside the baseline; default: all.")
@click.option(
    "--docs",
    "folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Write the report and its plots into performance.md in this folder.",
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def main(
    *,
    seconds: float,
    rounds: int,
    stream_rounds: int,
    realistic_rounds: int,
    connections: int,
    streams: int,
    quick: bool,
    only: str | None,
    folder: Path | None,
    output: str,
) -> None:
    """Measure what authz costs, beside Envoy alone and what a user would take instead."""
    options = Options(seconds, rounds, connections, stream_rounds, realistic_rounds)
    load, real = Streams(streams), REALISTIC
    if quick:
        options = replace(_QUICK, connections=connections)
        load, real = _QUICK_STREAMS, _QUICK_REALISTIC
    variants = _chosen(only, CORE if quick else VARIANTS)
    signal.signal(signal.SIGTERM, _exit)  # so that everything is stopped and removed
    state = machine.look(0.1 if quick else 1.0)
    _tell(f"the machine: {state}")
    try:
        with world(load, real) as surroundings:
            found = Run(surroundings, variants, options, _tell).measure()
    except (AuthzError, BenchError) as error:
        sys.exit(f"bench: {error}")
    summary = summarize(found)
    summary = replace(summary, targets=targets(found, summary))
    text = report.as_text(summary, options, load, real, state)
    figures = report.as_json(summary, options, load, real, state)
    click.echo(figures if output == "json" else text)
    if folder is not None:
        try:
            docs.write(folder, text, figures, report.as_short_text(summary))
        except BenchError as error:
            sys.exit(f"bench: {error}")


def _chosen(only: str | None, default: Sequence[Variant]) -> list[Variant]:
    """Return the variants in the order of the catalogue, so the baseline first."""
    if only is None:
        return list(default)
    names = {BASELINE, *only.split(",")}
    known = {variant.name for variant in VARIANTS}
    if unknown := names - known:
        there = ", ".join(variant.name for variant in VARIANTS)
        raise click.UsageError(f"no such variant: {', '.join(sorted(unknown))}; there are {there}")
    return [variant for variant in VARIANTS if variant.name in names]


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _tell(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main(prog_name="python -m bench")
