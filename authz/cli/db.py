"""``authz db``: the tables for users and tokens."""

from pathlib import Path

import click

from authz.assigned import schema as assigned_schema
from authz.budgets import schema as budgets_schema
from authz.cli.common import config_option, run_async
from authz.cli.groups import AliasedGroup, example
from authz.cli.waiting import told_if_slow
from authz.config.loading import load
from authz.config.uses import Uses
from authz.identity.open import make_store, open_database
from authz.own_keys import schema as own_keys_schema
from authz.usage.service import open_usage_store


@click.group(cls=AliasedGroup, epilog=example("authz db init"))
def db() -> None:
    """Prepare the database for users and tokens."""


@db.command(epilog=example("authz db init", "authz db init --config gateway.yaml"))
@config_option
def init(config_path: Path | None) -> None:
    """Create the tables in the configured database, if they are missing.

    A database that Coder manages is refused: authz only reads it.
    """

    async def work() -> None:
        config = load(config_path, uses=Uses.NOTHING)
        with told_if_slow("creating the tables"):
            where, made = await make_store(config.identity)
            further = [own_keys_schema.prepare] if config.own_keys is not None else []
            further += [budgets_schema.prepare] if config.budgets is not None else []
            if config.uses_assigned_rules:
                further.append(assigned_schema.prepare)
            if further:
                database = await open_database(config.identity)
                try:
                    for prepare in further:
                        made |= await prepare(database)
                finally:
                    await database.close()
            if config.usage.enabled:
                # The role that authz serves with need not have the right to create tables.
                await (await open_usage_store(config)).close()
        click.echo(
            f"Created the tables in {where}." if made else f"The tables in {where} already exist."
        )

    run_async(work())
