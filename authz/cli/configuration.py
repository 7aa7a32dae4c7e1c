"""``authz config check``."""

import asyncio
from pathlib import Path

import click

from authz.cli.common import config_option
from authz.cli.groups import example
from authz.config.loading import load
from authz.config.provider_status import provider_statuses
from authz.errors import ConfigError
from authz.usage.service import find_problem


@click.group(epilog=example("authz config check"))
def config() -> None:
    """The configuration, gateway.yaml."""


@config.command(epilog=example("authz config check --config gateway.yaml"))
@config_option
def check(*, config_path: Path | None) -> None:
    """Say everything that is wrong with the configuration, with file, line and cure.

    A valid one may still have warnings, which do not fail the command.
    """
    try:
        loaded = load(config_path, ca=True, warn=_tell_warning)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise click.exceptions.Exit(1) from None
    for status in provider_statuses(loaded):
        click.echo(status.line)
    if not_written := asyncio.run(find_problem(loaded)):
        click.echo(f"note: usage: {not_written}")
    click.echo("The configuration is valid.")


def _tell_warning(text: str) -> None:
    click.echo(f"warning: {text}", err=True)
