"""``authz client``."""

from pathlib import Path

import click

from authz.cli.common import config_option, example
from authz.config.loading import load
from authz.errors import ConfigError


@click.command(epilog=example("authz client", "authz client claude-code"))
@click.argument("name", required=False)
@click.option(
    "--docs",
    "docs_folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write the pages of docs/clients into a folder instead.",
)
@config_option
def client(*, name: str | None, docs_folder: Path | None, config_path: Path | None) -> None:
    """Print what to paste to point a client at this gateway; without NAME, list the clients.

    $CODER_TOKEN is left to the shell: no token is printed.
    """
    # The catalogue is only read where it is asked for.
    from authz.clients.catalog import clients
    from authz.clients.pages import write_pages
    from authz.clients.rendering import paste

    if docs_folder is not None:
        if name is not None:
            raise click.UsageError("--docs writes the pages of all clients: leave NAME out")
        write_pages(docs_folder)
        return
    known = clients()
    if name is None:
        for one in known.values():
            click.echo(f"{one.name:<16} {one.title}")
        return
    if name not in known:
        raise ConfigError([f"there is no client {name}: `authz client` lists them"])
    click.echo(paste(known[name], load(config_path)))
