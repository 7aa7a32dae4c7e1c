"""``authz config check`` and ``authz config schema``."""

import asyncio
from pathlib import Path

import click

from authz.cli.common import config_option
from authz.cli.groups import AliasedGroup, example
from authz.cli.machines import account_problems
from authz.config.loading import load
from authz.config.provider_status import provider_statuses
from authz.config.uses import Uses
from authz.errors import ConfigError
from authz.own_keys.keyring import Keyring
from authz.prices.current import open_book
from authz.serve.connections import connections
from authz.usage.service import find_problem


@click.group(
    cls=AliasedGroup,
    epilog=example("authz config check", "authz config schema > gateway.schema.json"),
)
def config() -> None:
    """Check and describe gateway.yaml."""


@config.command(epilog=example("authz config check --config gateway.yaml"))
@config_option
def check(*, config_path: Path | None) -> None:
    """Print every problem of the configuration, with file, line and cure.

    A valid configuration may have warnings, which do not change the exit status.
    """
    try:
        loaded = load(config_path, uses=Uses.EVERYTHING, warn=_tell_warning)
        open_book(loaded)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise click.exceptions.Exit(1) from None
    for status in provider_statuses(loaded):
        click.echo(status.line)
    if not_written := asyncio.run(find_problem(loaded)):
        click.echo(f"note: usage: {not_written}")
    for where, count in connections(loaded).items():
        click.echo(f"note: each authz process has up to {count} connections to {where}")
    for problem in asyncio.run(account_problems(loaded)):
        _tell_warning(problem)
    if loaded.own_keys is not None and (problems := Keyring(loaded.own_keys.keys).problems()):
        for problem in problems:
            click.echo(problem, err=True)
        raise click.exceptions.Exit(1)
    click.echo("The configuration is valid.")


@config.command(epilog=example("authz config schema > gateway.schema.json"))
def schema() -> None:
    """Print the JSON Schema of gateway.yaml, for editors and checks in CI."""
    from authz.config.schema import schema_text

    click.echo(schema_text(), nl=False)


@config.command(hidden=True, epilog=example("authz config reference > reference.md"))
def reference() -> None:
    """Print the configuration reference in Markdown."""
    from authz.config.reference import reference_text

    click.echo(reference_text(), nl=False)


def _tell_warning(text: str) -> None:
    click.echo(f"warning: {text}", err=True)
