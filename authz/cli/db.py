"""``authz db``: the tables of our own store."""

from pathlib import Path

import click

from authz.cli.common import AliasedGroup, config_option, example, run_async
from authz.config.loading import load
from authz.identity.open import make_store
from authz.usage.service import open_usage_store


@click.group(cls=AliasedGroup, epilog=example("authz db init"))
def db() -> None:
    """Prepare the database of our own users and tokens."""


@db.command(epilog=example("authz db init", "authz db init --config gateway.yaml"))
@config_option
def init(config_path: Path | None) -> None:
    """Make the tables in the configured database; does nothing when they are there.

    A database that Coder manages is refused: it is read as it is.
    """

    async def work() -> None:
        config = load(config_path)
        where, made = await make_store(config.identity)
        if config.usage.enabled:
            # The role that authz serves with need not have the right to make tables.
            await (await open_usage_store(config)).close()
        click.echo(f"The tables have been made in {where}." if made else f"{where} has its tables.")

    run_async(work())
