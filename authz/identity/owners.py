"""Users, groups and tokens as owners of an amount or a rule."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from authz.core.identity import Identity
from authz.database.interface import Queries
from authz.errors import StoreError
from authz.printable import printable


class OwnerKind(StrEnum):
    """The kind of an owner."""

    USER = "user"
    GROUP = "group"
    TOKEN = "token"  # noqa: S105 - a kind, no secret


class Owner(NamedTuple):
    """An owner as an identity names it.

    Attributes:
        key: the UUID of a user, the name of a group, or the token's 10 characters.
    """

    kind: OwnerKind
    key: str


COLUMNS: Mapping[OwnerKind, str] = {
    OwnerKind.USER: "user_id",
    OwnerKind.GROUP: "group_id",
    OwnerKind.TOKEN: "api_key_id",
}
"""The columns of a table whose rows have one of the three owners; the others are null."""


def column_definitions(uuid: str, exact: str) -> str:
    """Return the definitions of ``COLUMNS`` for ``CREATE TABLE``.

    Args:
        uuid: the type of the ids of users and groups.
        exact: the collation of the ids of tokens.
    """
    return f"""user_id {uuid} REFERENCES users (id) ON DELETE CASCADE,
    group_id {uuid} REFERENCES groups (id) ON DELETE CASCADE,
    api_key_id text {exact} REFERENCES api_keys (id) ON DELETE CASCADE"""


ONE_OWNER = """CHECK ((user_id IS NOT NULL AND group_id IS NULL AND api_key_id IS NULL)
        OR (user_id IS NULL AND group_id IS NOT NULL AND api_key_id IS NULL)
        OR (user_id IS NULL AND group_id IS NULL AND api_key_id IS NOT NULL))"""
"""The constraint of a table with ``COLUMNS``."""

NAMES = "u.username, g.name AS group_name, k.token_name"
"""The further columns that ``read_owner`` needs."""

_SELECT_NAME = {
    OwnerKind.USER: "SELECT username AS name FROM users WHERE id = $1 AND deleted = false",
    OwnerKind.GROUP: "SELECT name FROM groups WHERE id = $1",
    OwnerKind.TOKEN: "SELECT token_name AS name FROM api_keys WHERE id = $1",
}


def joins(table: str) -> str:
    """Return the joins of the tables of ``NAMES`` to a table with ``COLUMNS``."""
    return (
        f"LEFT JOIN users u ON u.id = {table}.user_id"
        f" LEFT JOIN groups g ON g.id = {table}.group_id"
        f" LEFT JOIN api_keys k ON k.id = {table}.api_key_id"
    )


def owners_of(identity: Identity) -> tuple[Owner, ...]:
    """Return the owners that a request of an identity counts for: user, token and groups."""
    return (
        Owner(OwnerKind.USER, identity.user_id),
        Owner(OwnerKind.TOKEN, identity.token_id),
        *(Owner(OwnerKind.GROUP, name) for name in identity.groups),
    )


def owner_key(kind: OwnerKind, owner_id: str, name: str) -> Owner:
    """Return an owner as identities name it: a group by its name as it is printed.

    Args:
        owner_id: the id in the database.
        name: the name in the database.
    """
    return Owner(kind, printable(name) if kind is OwnerKind.GROUP else owner_id)


def read_owner(row: Any) -> tuple[OwnerKind, str, str]:
    """Return the kind, the id and the name of the owner of a row.

    Args:
        row: with the columns of ``COLUMNS`` and ``NAMES``.
    """
    if row["user_id"] is not None:
        return OwnerKind.USER, row["user_id"], row["username"]
    if row["group_id"] is not None:
        return OwnerKind.GROUP, row["group_id"], row["group_name"]
    return OwnerKind.TOKEN, row["api_key_id"], row["token_name"]


async def name_of(queries: Queries, kind: OwnerKind, owner_id: str) -> str:
    """Return the name of an owner.

    Raises:
        StoreError: the owner does not exist.
    """
    rows = await queries.fetch(_SELECT_NAME[kind], owner_id)
    if not rows:
        raise StoreError(f"the {kind} was deleted meanwhile")
    name: str = rows[0]["name"]
    return name
