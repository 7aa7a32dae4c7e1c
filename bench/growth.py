"""Measure costs that grow with users and requests: ``python -m bench.growth --docs docs``.

It takes two minutes, and measures on a PostgreSQL of its own the figures that no run of
``python -m bench`` gives: the requests that one PostgreSQL records and counts, bytes on disk, the
cost of a look-up among many tokens and of the copies that each process reads again and again, and
the memory for many tokens. CPU time is the least of several repeats, so that other work on the
machine matters little. ``bench.sizing`` makes tables of the figures.
"""

import asyncio
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import click

from bench import growth_database, growth_process, machine
from bench.docs import PLOTS
from tests.support.postgres import PostgresServer, running_server

FILE = "growth.json"


async def measure(server: PostgresServer, folder: Path, tokens: int) -> dict[str, Any]:
    """Return all figures.

    Args:
        server: a running PostgreSQL.
        folder: for files of SQLite.
        tokens: the larger number of tokens of the look-ups.
    """
    found: dict[str, Any] = {"machine": machine.facts(), "load_before": os.getloadavg()[0]}
    found["usage"] = await growth_database.usage(server)
    found["usage_sqlite"] = await growth_database.usage_sqlite(folder)
    found["tokens"] = [await growth_database.tokens(server, rows) for rows in (1_000, tokens)]
    found["limits"] = await growth_database.limits(server)
    found["budgets"] = await growth_database.budgets(server)
    found["notify"] = [await growth_database.notify(server, count) for count in (0, 10, 30)]
    found["copies"] = await growth_process.copies(server, (0, 1_000, 10_000))
    found["memory"] = await growth_process.memory(folder, (1_000, 20_000, 100_000))
    found["load_after"] = os.getloadavg()[0]
    return found


@click.command()
@click.option("--tokens", default=1_000_000, show_default=True, help="For the look-ups.")
@click.option(
    "--docs",
    "docs_folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Write the figures into this folder, and the tables of sizing.md.",
)
def main(*, tokens: int, docs_folder: Path | None) -> None:
    """Measure and print the figures as JSON."""
    with tempfile.TemporaryDirectory() as folder, running_server() as server:
        # The tests' server has 32 MB, less than a million tokens need.
        server.sql("postgres", "ALTER SYSTEM SET shared_buffers = '512MB'")
        server.stop()
        server.start()
        found = asyncio.run(measure(server, Path(folder), tokens))
    text = json.dumps(found, indent=2)
    click.echo(text)
    if docs_folder is not None:
        (docs_folder / PLOTS / FILE).write_text(text + "\n")
        from bench.sizing import renew

        renew(docs_folder)


if __name__ == "__main__":
    main(prog_name="python -m bench.growth")
