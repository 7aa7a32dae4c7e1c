"""``authz up``, ``authz serve`` and ``authz reload``."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import structlog

from authz import logs
from authz.cli.common import config_option, tell_warning
from authz.cli.groups import example
from authz.config import loading
from authz.config.settings import Config
from authz.config.uses import Uses
from authz.errors import ConfigError, ReloadError

_log = structlog.get_logger(__name__)
_Command = TypeVar("_Command", bound=Callable[..., Any])


class GoBool(click.ParamType[bool]):
    """A boolean option in the form of ``coder server``: ``--flag``, ``--flag=false``."""

    name = "boolean"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        """Return the value of the text; other text is wrong usage."""
        if isinstance(value, bool):
            return value
        try:
            return loading.parse_bool(value)
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
        help="Allow users to send their own provider credentials (BYOK).",
    )(command)


def _log_warning(text: str) -> None:
    _log.warning("configuration", warning=text)


@click.command(epilog=example("authz up --demo"))
@click.option("--demo", is_flag=True, help="Replace every provider with a fake one on loopback.")
@_allow_byok_option
@config_option
def up(*, demo: bool, allow_byok: bool | None, config_path: Path | None) -> None:
    """Run authz and Envoy together, in the foreground.

    When both are ready, it prints the base URLs and example commands. Ctrl-C lets open streams
    finish and then stops. SIGHUP reloads the configuration, as `authz reload` does.
    """
    from authz.up.signals import Signals

    signals = Signals()
    with signals.caught():
        from authz.serve.systemd import Notifier
        from authz.up.supervisor import up as run_up

        def load() -> Config:
            # The demo needs no provider key.
            uses = Uses.EVERYTHING & ~(Uses.KEYS | Uses.NOTICES) if demo else Uses.EVERYTHING
            return loading.load(config_path, allow_byok=allow_byok, uses=uses, warn=tell_warning)

        run_up(load, signals, config_path, Notifier(os.environ), demo=demo)


@click.command(
    epilog=example("authz serve --config /etc/authz/gateway.yaml", "authz serve --workers 4")
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Number of processes, each with its own address. Default: authz.workers, else one.",
)
@click.option("--checked", is_flag=True, hidden=True)
@click.option("--worker-index", type=int, hidden=True)
@click.option("--http-descriptor", "http_descriptors", type=int, multiple=True, hidden=True)
@click.option("--keys-descriptor", type=int, hidden=True)
@_allow_byok_option
@config_option
def serve(
    *,
    workers: int | None,
    checked: bool,
    worker_index: int | None,
    http_descriptors: tuple[int, ...],
    keys_descriptor: int | None,
    allow_byok: bool | None,
    config_path: Path | None,
) -> None:
    """Run the authz service alone: gRPC for Envoy, HTTP for health.

    SIGHUP reloads the configuration: providers, keys and allow_byok.
    """
    from authz.keys.exec_key import shared_outputs
    from authz.serve.systemd import Notifier
    from authz.serve.workers import Worker, Workers

    logs.configure()
    if keys_descriptor is not None:
        shared_outputs(keys_descriptor)

    def load(warn: Callable[[str], None] | None = None) -> Config:
        loaded = loading.load(config_path, allow_byok=allow_byok, uses=Uses.AUTHZ, warn=warn)
        logs.configure(loaded.log.level, loaded.log.format)
        return loaded

    if worker_index is not None and http_descriptors:
        from authz.serve.service import run

        listeners = [socket.socket(fileno=descriptor) for descriptor in http_descriptors]
        run(load, Worker(worker_index, listeners))
        return
    notifier = Notifier(os.environ)
    loaded = load(None if checked else _log_warning)
    # Envoy's configuration, which comes from the same file, has the addresses of this number.
    configured = loaded.authz.workers or 1
    count = workers or configured
    if count != configured and not checked:
        _log.warning(
            "the number of workers is not that of Envoy's configuration: set authz.workers",
            workers=count,
            in_envoy=configured,
        )
    if count == 1:
        from authz.serve.service import run

        run(load, notifier=notifier)
        return
    options: list[str | Path] = ["--config", config_path] if config_path else []
    if allow_byok is not None:
        options.append(f"--ai-gateway-allow-byok={str(allow_byok).lower()}")
    Workers(loaded, count, options, notifier).run()


@click.command(epilog=example("authz reload"))
@config_option
def reload(*, config_path: Path | None) -> None:
    """Make the running `authz up` read its configuration again.

    It prints what changed. Open streams continue. If the new configuration is not valid, the
    current one stays in use.
    """
    from authz.up.control import NOT_RELOADED, ask_reload

    try:
        # The pair reads the secrets; a person who reloads need not be able to.
        loaded = loading.load(config_path, uses=Uses.NOTHING)
    except ConfigError as error:
        raise ReloadError(f"{NOT_RELOADED}: {error}") from None
    outcome = ask_reload(loaded)
    if not outcome.succeeded:
        raise ReloadError(outcome.text)
    click.echo(outcome.text)
