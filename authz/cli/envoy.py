"""``authz envoy render`` and ``authz envoy validate``."""

from pathlib import Path

import click

from authz.cli.common import config_option, tell_warning
from authz.cli.groups import AliasedGroup, example
from authz.cli.waiting import told_if_slow
from authz.config.loading import load
from authz.config.settings import Config
from authz.config.uses import Uses, broken_files
from authz.envoy import binary
from authz.files import write_whole
from authz.sds.secret_files import write_secrets


@click.group(
    cls=AliasedGroup, epilog=example("authz envoy render -o envoy.yaml", "authz envoy validate")
)
def envoy() -> None:
    """Render and validate Envoy's configuration."""


@envoy.command(epilog=example("authz envoy render -o envoy/envoy.yaml"))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write files that Envoy watches; start Envoy with FOLDER/bootstrap.json.",
)
@config_option
def render(*, output: Path | None, folder: Path | None, config_path: Path | None) -> None:
    """Print Envoy's configuration for gateway.yaml, as one document.

    With --folder, providers can change while Envoy runs: the command replaces the watched files in
    an order in which no route points to a missing cluster, and waits three seconds after each file.

    With -o or --folder it also writes the TLS files that the configuration names, to the state
    folder.
    """
    if folder is not None:
        if output is not None:
            raise click.UsageError("--output and --folder are mutually exclusive")
        _render_folder(folder, load(config_path, uses=Uses.ENVOY_FILES, warn=tell_warning))
        return
    # The result names files and has no key, so no secret has to be where it is rendered.
    config = load(config_path, uses=Uses.NOTHING, warn=tell_warning)
    for problem in broken_files(config, Uses.ENVOY_FILES):
        tell_warning(f"{problem} (Envoy needs the file)")
    with told_if_slow("rendering Envoy's configuration"):
        # Imported late: Envoy's typed objects take a second to import.
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
    """Write all parts to one file, for `authz up`."""
    from authz.envoy.dynamic import split

    write_whole(output, split(load(config_path, uses=Uses.NOTHING), folder).to_json())


@envoy.command(epilog=example("authz envoy validate envoy/envoy.yaml"))
@click.argument("file", type=click.Path(path_type=Path), required=False)
@config_option
def validate(*, file: Path | None, config_path: Path | None) -> None:
    """Run Envoy in validate mode on FILE, or on the output of render.

    Without FILE only the files that gateway.yaml names have to exist, and nothing is written.
    """
    with told_if_slow("Envoy is checking the configuration"):
        if file is not None:
            binary.validate(file)
        else:
            config = load(config_path, uses=Uses.ENVOY_FILES)
            from authz.envoy.trial import validate_rendered

            validate_rendered(config)
    click.echo("Envoy accepts the configuration.")


def _render_folder(folder: Path, config: Config) -> None:
    from authz.envoy.dynamic import split
    from authz.envoy.parts import bootstrap_file, read_parts, write_document, write_parts
    from authz.envoy.trial import validate_rendered
    from authz.up.handover import BlindWatcher, change

    with told_if_slow("Envoy is checking the configuration"):
        validate_rendered(config)
    write_secrets(config)
    new = split(config, folder)
    old = read_parts(folder)
    if old is None:
        write_parts(new, folder)
        return
    with told_if_slow("replacing the files that Envoy watches, three seconds each"):
        change(old, new, folder, BlindWatcher())
    if write_document(bootstrap_file(folder), new.bootstrap):
        click.echo("bootstrap.json has changed: restart Envoy.", err=True)
