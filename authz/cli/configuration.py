"""``authz config check``."""

import asyncio
from pathlib import Path

import click

from authz.cli.common import config_option, example
from authz.config import load, open_pools
from authz.errors import ConfigError
from authz.usage.service import find_problem


@click.group(epilog=example("authz config check"))
def config() -> None:
    """The configuration, gateway.yaml."""


@config.command(epilog=example("authz config check --config gateway.yaml"))
@config_option
def check(*, config_path: Path | None) -> None:
    """Say what is wrong with the configuration, one line each, with the key's path."""
    try:
        loaded = load(config_path)
        if loaded.proxy is not None:
            # Not a part of loading: `authz proxy ca` reads where the CA shall be made.
            from authz.proxy.ca import load_ca

            load_ca(loaded.proxy.ca.cert_file, loaded.proxy.ca.key_file)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise click.exceptions.Exit(1) from None
    pools = open_pools(loaded)
    for provider in loaded.providers:
        pool = pools.get(provider.name)
        if pool is not None and pool.choose() is None:
            variables = ", ".join(f"${key.env}" for _, key in provider.key_references)
            click.echo(f"note: {provider.name} has no central key: {variables} is not set")
    if not_written := asyncio.run(find_problem(loaded)):
        click.echo(f"note: usage: {not_written}")
    click.echo("The configuration is valid.")
