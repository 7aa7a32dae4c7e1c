"""``authz db``: the tables of our own store."""

from pathlib import Path

import click

from authz.cli.common import AliasedGroup, config_option, example, identity_of, run_async
from authz.identity.open import make_store


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
        where, made = await make_store(identity_of(config_path))
        click.echo(f"The tables have been made in {where}." if made else f"{where} has its tables.")

    run_async(work())
