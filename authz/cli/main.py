"""The root command, and how errors reach a person."""

import io
import os
import sys
from collections.abc import Sequence

import click

from authz import __version__
from authz.cli.audit import audit
from authz.cli.client import client
from authz.cli.common import AliasedGroup, example
from authz.cli.configuration import config
from authz.cli.db import db
from authz.cli.envoy import envoy
from authz.cli.login import login
from authz.cli.providers import providers
from authz.cli.proxy import proxy
from authz.cli.run import reload, serve, up
from authz.cli.tokens import tokens
from authz.cli.usage import usage
from authz.cli.users import users
from authz.core.tokens import without_tokens
from authz.errors import AuthzError, ConfigError
from authz.printable import printable

_ERROR_MAX = 10_000


@click.group(
    cls=AliasedGroup,
    aliases={"token": "tokens", "user": "users"},
    epilog=example("authz up --demo", "authz users create alice", "authz tokens create -u alice"),
)
@click.version_option(__version__, prog_name="authz")
def cli() -> None:
    """The open authentication layer for AI gateways on Envoy."""


for command in (
    up,
    serve,
    reload,
    envoy,
    config,
    db,
    client,
    providers,
    proxy,
    users,
    tokens,
    usage,
    audit,
    login,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 1 on failure, 2 on wrong usage.

    Args:
        arguments: without the program's name; None takes the process's own.
    """
    _open_standard_streams()
    try:
        # Without its standalone mode click returns the status of an Exit, and does not raise it.
        status = cli.main(args=arguments, prog_name="authz", standalone_mode=False)
    except click.ClickException as error:
        # click quotes what it does not understand, and that may be a token in the wrong place.
        text = io.StringIO()
        error.show(text)
        click.echo(without_tokens(text.getvalue()), err=True, nl=False)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted")
    except ConfigError as error:
        # The lines of `authz config check`, each with this program's name.
        _fail(*error.problems)
    except AuthzError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'system'}: {error.strerror}")
    except Exception as error:
        # A traceback could show what a variable holds; whoever develops asks for it.
        if os.environ.get("AUTHZ_TRACEBACK"):
            raise
        _fail(f"internal error: {type(error).__name__} (AUTHZ_TRACEBACK=1 shows where)")
    else:
        sys.exit(status if isinstance(status, int) else 0)


def _open_standard_streams() -> None:
    """Open those of the three that are closed, so that no socket or file gets their number.

    The event loop ends the process when it has to close one that did.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest free number is the stream's own. Children get it, too.
            stream = open(os.devnull, mode)  # noqa: SIM115 - for as long as the process lives
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _fail(*texts: str) -> None:
    for text in texts:
        line = printable(" ".join(text.split()), _ERROR_MAX)
        click.echo(f"authz: {line}", err=True)
    sys.exit(1)
