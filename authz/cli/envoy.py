"""``authz envoy render`` and ``authz envoy validate``."""

import tempfile
from pathlib import Path

import click

from authz.cli.common import config_option, example
from authz.config import load
from authz.envoy import binary
from authz.files import write_whole


@click.group(epilog=example("authz envoy render -o envoy.yaml", "authz envoy validate"))
def envoy() -> None:
    """Envoy's configuration."""


@envoy.command(epilog=example("authz envoy render -o envoy/envoy.yaml"))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE."
)
@config_option
def render(*, output: Path | None, config_path: Path | None) -> None:
    """Print the Envoy configuration for gateway.yaml."""
    text = _rendered(config_path)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_whole(output, text)


@envoy.command(epilog=example("authz envoy validate envoy/envoy.yaml"))
@click.argument("file", type=click.Path(path_type=Path), required=False)
@config_option
def validate(*, file: Path | None, config_path: Path | None) -> None:
    """Run the real Envoy in validate mode on FILE, or on what render prints."""
    if file is not None:
        binary.validate(file)
    else:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "envoy.yaml"
            file.write_text(_rendered(config_path), encoding="utf-8")
            binary.validate(file)
    click.echo("Envoy accepts the configuration.")


def _rendered(config_path: Path | None) -> str:
    # The typed objects take a second to import, which the other commands shall not wait for.
    from authz.envoy.render import render as render_yaml

    return render_yaml(load(config_path))
