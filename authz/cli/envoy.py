"""``authz envoy render`` and ``authz envoy validate``."""

from pathlib import Path

import click

from authz.cli.common import config_option, example, tell_warning
from authz.config.loading import load
from authz.config.settings import Config
from authz.envoy import binary
from authz.files import write_whole
from authz.sds.secret_files import write_secrets


@click.group(epilog=example("authz envoy render -o envoy.yaml", "authz envoy validate"))
def envoy() -> None:
    """Envoy's configuration."""


@envoy.command(epilog=example("authz envoy render -o envoy/envoy.yaml"))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write files that Envoy watches; start it with FOLDER/bootstrap.json.",
)
@config_option
def render(*, output: Path | None, folder: Path | None, config_path: Path | None) -> None:
    """Print the Envoy configuration for gateway.yaml, in one piece.

    With --folder, providers can be changed while Envoy runs: what it watches is replaced in an
    order in which no route leads nowhere, with three seconds for each file.

    With -o or --folder the files that it refers to for TLS are written too, in the state folder.
    """
    if folder is not None:
        if output is not None:
            raise click.UsageError("give one of --output and --folder")
        _render_folder(folder, load(config_path, keys=False, warn=tell_warning))
        return
    # No key is in it, so none has to be on Envoy's machine to make it.
    config = load(config_path, keys=False, warn=tell_warning)
    # The typed objects take a second to import, which the other commands shall not wait for.
    from authz.envoy.render import render as render_yaml

    text = render_yaml(config)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_secrets(config)
        write_whole(output, text)


@envoy.command(hidden=True, epilog=example("authz envoy parts -o parts.json envoy"))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.argument("folder", type=click.Path(path_type=Path))
@config_option
def parts(*, output: Path, folder: Path, config_path: Path | None) -> None:
    """Write all parts as one file; for `authz up`."""
    from authz.envoy.dynamic import split

    write_whole(output, split(load(config_path, keys=False), folder).to_json())


@envoy.command(epilog=example("authz envoy validate envoy/envoy.yaml"))
@click.argument("file", type=click.Path(path_type=Path), required=False)
@config_option
def validate(*, file: Path | None, config_path: Path | None) -> None:
    """Run the real Envoy in validate mode on FILE as it is, or on what render prints.

    Without FILE nothing need be there yet but what gateway.yaml names, and nothing is written.
    """
    if file is not None:
        binary.validate(file)
    else:
        config = load(config_path, keys=False)
        from authz.envoy.trial import validate_rendered

        validate_rendered(config)
    click.echo("Envoy accepts the configuration.")


def _render_folder(folder: Path, config: Config) -> None:
    from authz.envoy.dynamic import split
    from authz.envoy.parts import bootstrap_file, read_parts, write_document, write_parts
    from authz.envoy.trial import validate_rendered
    from authz.up.handover import BlindWatcher, change

    validate_rendered(config)
    write_secrets(config)
    new = split(config, folder)
    old = read_parts(folder)
    if old is None:
        write_parts(new, folder)
        return
    change(old, new, folder, BlindWatcher())
    if write_document(bootstrap_file(folder), new.bootstrap):
        click.echo("Envoy needs a restart: bootstrap.json has changed.", err=True)
