"""``authz client``: the lines that point a client at the gateway."""

from pathlib import Path

import click

from authz.cli.common import config_option
from authz.cli.completion import complete_client
from authz.cli.groups import example
from authz.config.loading import load
from authz.config.uses import Uses
from authz.errors import ConfigError


@click.command(epilog=example("authz client", "authz client claude-code"))
@click.argument("name", required=False, shell_complete=complete_client)
@click.option(
    "--docs",
    "docs_folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write the pages of docs/clients to this folder instead.",
)
@config_option
def client(*, name: str | None, docs_folder: Path | None, config_path: Path | None) -> None:
    """Print the lines that point a client at this gateway.

    Without NAME it lists the clients. The lines read the token from the shell variable CODER_TOKEN:
    no token is printed.
    """
    # Imported late, so that --help does not read the catalog.
    from authz.clients.catalog import clients
    from authz.clients.pages import write_pages
    from authz.clients.rendering import paste

    if docs_folder is not None:
        if name is not None:
            raise click.UsageError("--docs writes the pages of all clients: omit NAME")
        write_pages(docs_folder)
        return
    known = clients()
    if name is None:
        for one in known.values():
            click.echo(f"{one.name:<16} {one.title}")
        return
    if name not in known:
        raise ConfigError([f"unknown client {name}: `authz client` lists the names"])
    click.echo(paste(known[name], load(config_path, uses=Uses.NOTHING)))
