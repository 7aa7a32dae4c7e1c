"""``authz usage export``: requests as JSON lines."""

import json
import time
from datetime import timedelta
from pathlib import Path

import click

from authz.cli.common import config_of_store, config_option, run_async
from authz.cli.groups import example
from authz.cli.token_parameters import Lifetime
from authz.usage.record import as_record
from authz.usage.service import open_usage_store

_BATCH = 2_000


@click.command("export", epilog=example("authz usage export --since 1d > requests.jsonl"))
@click.option(
    "--since",
    type=Lifetime(),
    default="30d",
    show_default=True,
    help="How far to look back, such as 12h, 7d or 1y.",
)
@config_option
def export(since: timedelta, config_path: Path | None) -> None:
    """Print the recorded requests as JSON lines, oldest first."""
    run_async(_export(int((time.time() - since.total_seconds()) * 1000), config_path))


async def _export(time_ms: int, config_path: Path | None) -> None:
    last = ""
    store = await open_usage_store(config_of_store(config_path))
    try:
        while entries := await store.entries_after(time_ms, last, _BATCH):
            for entry in entries:
                click.echo(json.dumps(as_record(entry)))
            time_ms, last = entries[-1].time_ms, entries[-1].id
    finally:
        await store.close()
