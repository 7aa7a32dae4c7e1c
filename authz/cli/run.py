"""``authz up`` and ``authz serve``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from authz import config, logs
from authz.cli.common import config_option, example

_Command = TypeVar("_Command", bound=Callable[..., Any])


class GoBool(click.ParamType[bool]):
    """A boolean as ``coder server`` takes it: ``--flag``, ``--flag=false``."""

    name = "boolean"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        """Return the value of the text; wrong usage when it is none."""
        if isinstance(value, bool):
            return value
        try:
            return config.parse_bool(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _allow_byok_option(command: _Command) -> _Command:
    return click.option(
        "--aibridge-allow-byok",
        "--ai-gateway-allow-byok",
        "allow_byok",
        type=GoBool(),
        is_flag=False,
        flag_value="true",
        default=None,
        metavar="true|false",
        help="Let people use their own provider credentials (BYOK).",
    )(command)


@click.command(epilog=example("authz up --demo"))
@click.option("--demo", is_flag=True, help="Play every provider with a stand-in on loopback.")
@_allow_byok_option
@config_option
def up(*, demo: bool, allow_byok: bool | None, config_path: Path | None) -> None:
    """Run authz and Envoy together, in the foreground.

    Waits until both are ready, then prints the base URLs and lines to paste. Ctrl-C drains: open
    streams finish.
    """
    from authz.up.supervisor import up as run_up

    # The demo reads no real key.
    loaded = config.load(config_path, allow_byok=allow_byok, keys=not demo)
    run_up(loaded, config_path, demo=demo)


@click.command(epilog=example("authz serve --config /etc/authz/gateway.yaml"))
@_allow_byok_option
@config_option
def serve(*, allow_byok: bool | None, config_path: Path | None) -> None:
    """Run the authz service alone: gRPC for Envoy, HTTP for health."""
    from authz.service import run

    logs.configure()
    run(config.load(config_path, allow_byok=allow_byok))
