"""``authz envoy render`` and ``authz envoy validate``."""

from pathlib import Path

import click

from authz.cli.common import config_option, example
from authz.config import load
from authz.envoy import binary
from authz.files import write_whole
from authz.sds import write_secrets


@click.group(epilog=example("authz envoy render -o envoy.yaml", "authz envoy validate"))
def envoy() -> None:
    """Envoy's configuration."""


@envoy.command(epilog=example("authz envoy render -o envoy/envoy.yaml"))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE."
)
@config_option
def render(*, output: Path | None, config_path: Path | None) -> None:
    """Print the Envoy configuration for gateway.yaml.

    With -o the files that it refers to for TLS are written too, in the state folder.
    """
    # No key is in it, so none has to be on Envoy's machine to make it.
    config = load(config_path, keys=False)
    # The typed objects take a second to import, which the other commands shall not wait for.
    from authz.envoy.render import render as render_yaml

    text = render_yaml(config)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_secrets(config)
        write_whole(output, text)


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
