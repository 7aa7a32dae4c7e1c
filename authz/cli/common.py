"""What the commands share: ``--config``, aliases, examples, the store, and who is meant."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from tabulate import tabulate

from authz.cli import session
from authz.config.loading import load
from authz.config.settings import Config
from authz.core.tokens import parse
from authz.errors import StoreError
from authz.identity.accounts import User
from authz.identity.open import open_store
from authz.identity.store import Store
from authz.printable import printable
from authz.up.demo_state import of_running_demo

_T = TypeVar("_T")
_Command = TypeVar("_Command", bound=Callable[..., Any])


def config_option(command: _Command) -> _Command:
    """Give a command ``--config FILE``, which it gets as ``config_path: Path | None``."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The configuration. Default: $AUTHZ_CONFIG, else ./gateway.yaml, else the defaults.",
    )(command)


def tell_warning(text: str) -> None:
    """Print a warning of the configuration."""
    click.echo(f"authz: warning: {text}", err=True)


def output_option(command: _Command) -> _Command:
    """Give a command ``-o table|json``, which it gets as ``output``."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="How to print.",
    )(command)


def example(*lines: str) -> str:
    """Return the epilog of a command's ``--help`` that shows how to call it.

    Args:
        lines: command lines, as a person types them.
    """
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])


class AliasedGroup(click.Group):
    """A group whose commands may have further names, which ``--help`` does not list as commands.

    Args:
        aliases: further name to name.
    """

    def __init__(
        self, *args: Any, aliases: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.aliases = dict(aliases or {})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name or alias."""
        return super().get_command(ctx, self.aliases.get(cmd_name, cmd_name))


def run_async(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a command's work to its end and return its result."""
    return asyncio.run(coroutine)


@asynccontextmanager
async def opened_store(identity: str, *, create: bool = False) -> AsyncIterator[Store]:
    """Open the store for the length of a block.

    Args:
        identity: the configuration's ``identity``.
        create: make the store when there is none.

    Raises:
        ConfigError: the identity source is not a store of ours.
        StoreError: the store can't be opened.
    """
    store = await open_store(identity, create=create)
    try:
        yield store
    finally:
        await store.close()


def config_of_store(config_path: Path | None) -> Config:
    """Return the configuration that names the store a command is about.

    While a demo runs and the configured store is not there, that is the demo's store.

    Raises:
        ConfigError: the configuration is wrong.
    """
    # Who manages users or tables need not be able to read the providers' keys.
    config = load(config_path, keys=False)
    demo = of_running_demo(config)
    if demo is None:
        return config
    click.echo(f"authz: this is about the running demo, {demo.identity}", err=True)
    return demo


def identity_of(config_path: Path | None) -> str:
    """Return the identity URL of ``config_of_store``."""
    return config_of_store(config_path).identity


async def choose_user(store: Store, identity: str, name: str | None) -> User:
    """Return the user whose tokens a command is about.

    Args:
        store: opened from ``identity``.
        identity: tells where the session is kept.
        name: what ``--user`` said. Without it: the user of the session, if there is one; else the
            only active user who is no service account.

    Raises:
        StoreError: there is no such user, it is not clear who is meant, or the session is over: it
            said who is meant, and nobody else takes that place.
    """
    if name is not None:
        return await store.get_user(name)
    text = session.current_token(identity)
    if text is None:
        return await only_person(store)
    token = parse(text)
    user = None if token is None else await store.owner_of(token)
    if user is None:
        where = session.where(identity)
        raise StoreError(
            f"{where} is no valid session: run 'authz login --user NAME', or say --user"
        )
    return user


async def only_person(store: Store) -> User:
    """Return the only active user who is no service account.

    Raises:
        StoreError: there is none, or there are several.
    """
    users = await store.list_users()
    people = [user for user in users if user.status == "active" and not user.is_service_account]
    if len(people) == 1:
        return people[0]
    if not people:
        raise StoreError("there is no active user: make one with 'authz users create NAME'")
    raise StoreError("there are several users: say which with --user, or run 'authz login'")


def print_rows(
    rows: Sequence[Mapping[str, str]], objects: Sequence[object], output: str, none: str
) -> None:
    """Print a list.

    Args:
        rows: for the table, by column heading.
        objects: for JSON.
        output: ``table`` or ``json``.
        none: what standard error says instead of an empty table.
    """
    if output == "json":
        click.echo(json.dumps(objects, indent=2))
    elif rows:
        # A name in the database may have been written by another program.
        cleaned = [{name: printable(cell) for name, cell in row.items()} for row in rows]
        # Without disable_numparse an id such as 123e456789 would be printed as a number.
        click.echo(tabulate(cleaned, headers="keys", tablefmt="plain", disable_numparse=True))
    else:
        click.echo(none, err=True)
