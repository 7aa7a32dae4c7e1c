"""``authz init``: a gateway.yaml to start from."""

from pathlib import Path

import click

from authz.cli.groups import example
from authz.errors import ConfigError

_STARTER = Path(__file__).with_name("starter.yaml")


@click.command(epilog=example("authz init", "authz init /etc/authz/gateway.yaml"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default="gateway.yaml")
def init(*, file: Path) -> None:
    """Write a commented gateway.yaml to start from.

    Its values are the defaults. FILE is gateway.yaml unless given; a file that exists stays as it
    is, and the command fails.
    """
    text = _STARTER.read_text(encoding="utf-8")
    try:
        with file.open("x", encoding="utf-8") as written:
            try:
                written.write(text)
                written.flush()
            except OSError:
                file.unlink()
                raise
    except FileExistsError:
        raise ConfigError([f"{file} exists already: remove it, or name another file"]) from None
    except OSError as error:
        raise ConfigError([f"can't write {file}: {error.strerror}"]) from None
    click.echo(f"Created {file}. Next: `authz config check`, then `authz up`.")
