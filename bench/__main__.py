"""``python -m bench``: measure, print the report."""

import signal
import sys
from types import FrameType

import click

from authz.errors import AuthzError
from bench import report
from bench.catalogue import VARIANTS
from bench.measure import Options, measure
from bench.summary import summarize
from bench.variants import BASELINE, CORE
from bench.world import BenchError, world


@click.command()
@click.option("--seconds", type=click.FloatRange(0.1), default=4.0, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--connections", type=click.IntRange(1, 500), default=32, show_default=True)
@click.option("--quick", is_flag=True, help="One short round: does it work, not how fast.")
@click.option(
    "--variants",
    metavar="NAMES",
    help="Comma-separated; default: all.",
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def main(
    *,
    seconds: float,
    rounds: int,
    connections: int,
    quick: bool,
    variants: str | None,
    output: str,
) -> None:
    """Measure what authz costs, beside Envoy alone and Envoy's own filter, on this machine."""
    options = Options(0.3, 1, connections) if quick else Options(seconds, rounds, connections)
    known = {variant.name: variant for variant in VARIANTS}
    default = [variant.name for variant in (CORE if quick else VARIANTS)]
    names = [BASELINE, *variants.split(",")] if variants else default
    if unknown := set(names) - set(known):
        raise click.UsageError(f"no such variant: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, _exit)  # so that everything is stopped and removed
    try:
        with world() as surroundings:
            # The baseline first, each once.
            chosen = [known[name] for name in dict.fromkeys(names)]
            found = measure(surroundings, chosen, options, _tell)
    except (AuthzError, BenchError) as error:
        sys.exit(f"bench: {error}")
    summary = summarize(found)
    write = report.as_json if output == "json" else report.as_text
    click.echo(write(summary, options))


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _tell(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main(prog_name="python -m bench")
