"""The options that name a user, a group or a token as the owner of an amount."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click

from authz.cli.completion import complete_group, complete_token, complete_user
from authz.errors import StoreError
from authz.identity.owners import OwnerKind
from authz.identity.store import Store

_Command = TypeVar("_Command", bound=Callable[..., Any])


class NamedOwner(NamedTuple):
    """An owner in the store.

    Attributes:
        shown: names it for a person.
    """

    kind: OwnerKind
    id: str
    shown: str


def owner_options(command: _Command) -> _Command:
    """Add ``--user``, ``--group`` and ``--token``."""
    options = (
        click.option(
            "-u",
            "--user",
            metavar="NAME",
            shell_complete=complete_user,
            help="A user. With --token: the owner of the token.",
        ),
        click.option(
            "-g",
            "--group",
            metavar="NAME|ID",
            shell_complete=complete_group,
            help="A group, whose members count together.",
        ),
        click.option(
            "-t", "--token", metavar="NAME|ID", shell_complete=complete_token, help="A token."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


async def find_owner(
    store: Store, user: str | None, group: str | None, token: str | None
) -> NamedOwner:
    """Return the owner that the options of a command name.

    Raises:
        UsageError: the options name no owner, or two.
        StoreError: there is no such owner.
    """
    if group is not None and (user is not None or token is not None):
        raise click.UsageError("--group goes with neither --user nor --token")
    if group is not None:
        found = await store.get_group(group)
        return NamedOwner(OwnerKind.GROUP, found.id, f"Group {found.name}")
    person = None if user is None else await store.get_user(user)
    if token is not None:
        key = await store.find_token(token, person)
        if key is None:
            # The message does not quote the argument, which may be a token.
            raise StoreError("no such token: 'authz tokens list --all' shows names and ids")
        return NamedOwner(OwnerKind.TOKEN, key.id, f"Token {key.token_name} of {key.username}")
    if person is None:
        raise click.UsageError("name the owner: --user, --group or --token")
    return NamedOwner(OwnerKind.USER, person.id, f"User {person.username}")
