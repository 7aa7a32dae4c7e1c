"""Parts that several commands share: ``--config``, output, the store, and the choice of a user."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from authz.cli import session
from authz.config.loading import load
from authz.config.settings import Config
from authz.config.uses import Uses
from authz.core.tokens import MAX_PER_USER, parse
from authz.errors import StoreError
from authz.identity.accounts import User
from authz.identity.open import open_store
from authz.identity.store import Store
from authz.printable import printable
from authz.up.demo_state import of_running_demo

_T = TypeVar("_T")
_Command = TypeVar("_Command", bound=Callable[..., Any])


def config_option(command: _Command) -> _Command:
    """Add ``--config FILE`` to a command, which receives it as ``config_path: Path | None``."""
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
    """Add ``-o table|json`` to a command, which receives it as ``output``."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="Output format.",
    )(command)


def run_async(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run the work of a command to its end and return its result."""
    return asyncio.run(coroutine)


@asynccontextmanager
async def opened_store(
    identity: str, *, create: bool = False, max_tokens: int = MAX_PER_USER
) -> AsyncIterator[Store]:
    """Open the store for the length of a block.

    Args:
        identity: the configuration's ``identity``.
        create: create the store if it does not exist.
        max_tokens: the number of tokens that a user may have.

    Raises:
        ConfigError: Coder manages the users and tokens.
        StoreError: the store can't be opened.
    """
    store = await open_store(identity, create=create, max_tokens=max_tokens)
    try:
        yield store
    finally:
        await store.close()


def config_of_store(config_path: Path | None) -> Config:
    """Return the configuration that names the store of a command.

    While a demo runs and the configured store does not exist, it is the demo's configuration.

    Raises:
        ConfigError: the configuration is wrong.
    """
    config, is_demo = find_config(config_path)
    if is_demo:
        click.echo(f"authz: using the store of the running demo, {config.identity}", err=True)
    return config


def find_config(config_path: Path | None) -> tuple[Config, bool]:
    """Return the configuration of ``config_of_store``, and whether it is the running demo's."""
    # A person who manages users or tables need not be able to read the providers' keys.
    config = load(config_path, uses=Uses.NOTHING)
    demo = of_running_demo(config)
    return (config, False) if demo is None else (demo, True)


def identity_of(config_path: Path | None) -> str:
    """Return the identity URL of ``config_of_store``."""
    return config_of_store(config_path).identity


async def choose_user(store: Store, identity: str, name: str | None) -> User:
    """Return the user of a command that works on one user's tokens.

    Args:
        store: opened from ``identity``.
        identity: the configuration's ``identity``, which decides where the session file is.
        name: the value of ``--user``. Without it: the user of the session, if there is one; else
            the only active person, not counting service accounts.

    Raises:
        StoreError: the user does not exist, there are several, or the session has ended. A session
            that has ended never falls back to another user.
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
            f"the session in {where} is not valid: run 'authz login --user NAME', or give --user"
        )
    return user


async def only_person(store: Store) -> User:
    """Return the only active person; service accounts do not count.

    Raises:
        StoreError: there is no such user, or there are several.
    """
    users = await store.list_users()
    people = [user for user in users if user.status == "active" and not user.is_service_account]
    if len(people) == 1:
        return people[0]
    if not people:
        raise StoreError("there is no active user: create one with 'authz users create NAME'")
    raise StoreError("there are several users: choose one with --user, or run 'authz login'")


def print_rows(
    rows: Sequence[Mapping[str, str]], objects: Sequence[object], output: str, empty: str
) -> None:
    """Print a list.

    Args:
        rows: for the table, by column heading.
        objects: for JSON.
        output: ``table`` or ``json``.
        empty: printed on standard error instead of an empty table.
    """
    if output == "json":
        click.echo(json.dumps(objects, indent=2))
    elif rows:
        # Another program may have written the names in the database.
        cleaned = [{name: printable(cell) for name, cell in row.items()} for row in rows]
        # Without disable_numparse an id such as 123e456789 would be printed as a number.
        # Imported late: the service loads this module too, and prints no table.
        from tabulate import tabulate

        click.echo(tabulate(cleaned, headers="keys", tablefmt="plain", disable_numparse=True))
    else:
        click.echo(empty, err=True)
