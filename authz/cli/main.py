"""The root command, and how errors reach a person."""

import io
import os
import sys
from collections.abc import Sequence

import click

from authz import __version__
from authz.cli.groups import LateCommand, LateGroup, example
from authz.core.tokens import without_tokens
from authz.errors import AuthzError, ConfigError
from authz.printable import printable

_ERROR_MAX = 10_000

COMMANDS = {
    "audit": LateCommand(
        "authz.cli.audit:audit",
        "Show changes to users, groups and tokens, and sign-ins; oldest first.",
    ),
    "budgets": LateCommand(
        "authz.cli.budgets:budgets",
        "Set what users, groups and tokens may spend in a day, a week or a month.",
    ),
    "client": LateCommand(
        "authz.cli.client:client", "Print the lines that point a client at this gateway."
    ),
    "config": LateCommand("authz.cli.configuration:config", "Check and describe gateway.yaml."),
    "db": LateCommand("authz.cli.db:db", "Prepare the database for users and tokens."),
    "envoy": LateCommand("authz.cli.envoy:envoy", "Render and validate Envoy's configuration."),
    "explain": LateCommand(
        "authz.cli.explain:explain", "Say whether a user may use a provider, and why."
    ),
    "groups": LateCommand(
        "authz.cli.user_groups:groups", "Create, list and change groups of users, and their rules."
    ),
    "init": LateCommand("authz.cli.init:init", "Write a commented gateway.yaml to start from."),
    "limits": LateCommand(
        "authz.cli.assigned:limits", "Set limits over all replicas of a user, a group or a token."
    ),
    "login": LateCommand(
        "authz.cli.login:login", "Create a session token for a user and store it in a file."
    ),
    "machines": LateCommand(
        "authz.cli.machines:machines",
        "Test the rules that give tokens to CI jobs and other machines.",
    ),
    "manifests": LateCommand(
        "authz.cli.manifests:manifests", "Print and check manifests for Envoy Gateway and Istio."
    ),
    "models": LateCommand(
        "authz.cli.assigned:models", "Set which models a user, a group or a token may use."
    ),
    "notices": LateCommand("authz.cli.notices:notices", "Test the receivers of notices."),
    "own-keys": LateCommand(
        "authz.cli.own_keys:own_keys",
        "Store provider keys of users, for clients that send one credential only.",
    ),
    "providers": LateCommand(
        "authz.cli.providers:providers", "Test the providers of gateway.yaml."
    ),
    "proxy": LateCommand(
        "authz.cli.proxy:proxy",
        "Set up the AI Gateway Proxy, for tools that take no base URL.",
    ),
    "reload": LateCommand(
        "authz.cli.run:reload", "Make the running `authz up` read its configuration again."
    ),
    "serve": LateCommand(
        "authz.cli.run:serve", "Run the authz service alone: gRPC for Envoy, HTTP for health."
    ),
    "tokens": LateCommand("authz.cli.tokens:tokens", "Create, list, rotate and remove tokens."),
    "up": LateCommand("authz.cli.run:up", "Run authz and Envoy together, in the foreground."),
    "usage": LateCommand(
        "authz.cli.usage:usage",
        "Sum requests and tokens by user, group, model, provider and more.",
    ),
    "users": LateCommand("authz.cli.users:users", "Create, list, suspend and delete users."),
}
"""Every command of the root, with the first sentence of its help."""


@click.group(
    cls=LateGroup,
    late=COMMANDS,
    aliases={"budget": "budgets", "group": "groups", "token": "tokens", "user": "users"},
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("authz up --demo", "authz users create alice", "authz tokens create -u alice"),
)
@click.version_option(__version__, prog_name="authz")
def cli() -> None:
    """The open authentication layer for AI gateways on Envoy."""


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
        # A traceback could show the value of a variable, so it appears only on demand.
        if os.environ.get("AUTHZ_TRACEBACK"):
            raise
        _fail(f"internal error: {type(error).__name__} (AUTHZ_TRACEBACK=1 shows where)")
    else:
        sys.exit(status if isinstance(status, int) else 0)


def _open_standard_streams() -> None:
    """Open each standard stream that is closed, so that no socket or file gets its number.

    The event loop ends the process when it closes a socket that has such a number.
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
