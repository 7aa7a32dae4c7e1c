"""The audit log: the time, the actor and the kind of each change, without secrets.

An entry is written in the transaction of its change, so neither exists without the other.
"""

import json
import os
import pwd
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from authz.database.interface import Queries, Row
from authz.identity.accounts import rfc3339
from authz.printable import printable

LIMIT = 10_000
"""The number of entries that are read at a time."""


class Action(StrEnum):
    """The kind of a change, with Coder's names where they exist."""

    CREATE = "create"
    DELETE = "delete"
    EXPIRE = "expire"
    ROTATE = "rotate"
    SUSPEND = "suspend"
    ACTIVATE = "activate"
    ROLES = "roles"
    PASSWORD = "password"  # noqa: S105 - an action, no secret
    LOGIN = "login"
    LOGIN_FAILED = "login_failed"
    LOGOUT = "logout"
    WRITE = "write"
    ADD_MEMBER = "add_member"
    REMOVE_MEMBER = "remove_member"
    GROUPS = "groups"
    """A sign-in changed the groups of a user."""
    LINK = "link"
    """A person at an identity provider can sign in as a user."""
    UNLINK = "unlink"


class Resource(StrEnum):
    """The kind of the object that was changed."""

    USER = "user"
    API_KEY = "api_key"
    GROUP = "group"
    OWN_KEY = "own_key"
    BUDGET = "budget"
    RULE = "rule"


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or program that makes a change.

    Attributes:
        kind: ``os`` for a user of the command line, ``user`` for a user of the API or page,
            ``nobody`` (the stored value) for an unauthenticated caller.
        name: ``user@host`` of the operating system, or a user name.
        user_id: the id of a user.
        api_key_id: the id of the token or session that authenticated the user.
        ip: the client address of a request; empty for the command line.
    """

    kind: str
    name: str = ""
    user_id: str | None = None
    api_key_id: str | None = None
    ip: str = ""

    @classmethod
    def of_os(cls) -> "Actor":
        """Return the operating system's user of this process."""
        number = os.getuid()
        try:
            name = pwd.getpwuid(number).pw_name
        except KeyError:
            # In a container, the user may have no name.
            name = str(number)
        if number == 0 and (real := os.environ.get("SUDO_USER")):
            name = f"{real}+sudo"
        return cls(kind="os", name=f"{name}@{socket.gethostname()}")


@dataclass(frozen=True, slots=True)
class Change:
    """A change.

    Attributes:
        resource_id: the UUID of a user, a group or a budget, the token's 10 characters, or for a
            stored key the UUID of its owner.
        target: the name of the user, token or group, also for its budget, or the provider of a
            stored key.
        username: the owner of the object, or the user who joins or leaves a group.
        fields: further details, as JSON values.
    """

    action: Action
    resource: Resource
    resource_id: str = ""
    target: str = ""
    username: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the audit log."""

    id: str
    time: datetime
    actor: Actor
    change: Change

    def as_json(self) -> dict[str, Any]:
        """Return the entry for ``authz audit -o json``."""
        actor, change = self.actor, self.change
        return {
            "id": self.id,
            "time": rfc3339(self.time),
            "actor_kind": actor.kind,
            "actor": actor.name,
            "user_id": actor.user_id,
            "api_key_id": actor.api_key_id,
            "ip": actor.ip,
            "action": change.action,
            "resource_type": change.resource,
            "resource_id": change.resource_id,
            "resource_target": change.target,
            "username": change.username,
            "additional_fields": dict(change.fields),
        }


COLUMNS = (
    "id, time, actor_kind, actor, user_id, api_key_id, ip, action, resource_type, resource_id,"
    " resource_target, username, additional_fields"
)


async def record(transaction: Queries, actor: Actor, change: Change) -> None:
    """Write an entry with the current time.

    Args:
        transaction: the transaction of the change.
        actor: made the change.
        change: the change.
    """
    await transaction.execute(
        f"INSERT INTO audit_logs ({COLUMNS})"  # noqa: S608 - constants
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        str(uuid.uuid4()),
        datetime.now(UTC),
        actor.kind,
        printable(actor.name),
        actor.user_id,
        actor.api_key_id,
        printable(actor.ip),
        str(change.action),
        str(change.resource),
        change.resource_id,
        # After a failed sign-in, the caller has chosen the name.
        printable(change.target),
        printable(change.username),
        json.dumps(dict(change.fields)),
    )


async def entries(
    queries: Queries, *, since: datetime, username: str | None = None, limit: int = LIMIT
) -> list[Entry]:
    """Return the entries since a time, oldest first.

    Args:
        queries: the database.
        since: a timezone-aware time.
        username: return only entries that this user made, or that concern them or their tokens.
        limit: the maximum number of entries; the newest are returned.
    """
    sql = f"SELECT {COLUMNS} FROM audit_logs WHERE time >= $1"  # noqa: S608
    values: list[object] = [since, limit]
    if username is not None:
        sql += (
            " AND (lower(username) = lower($3) OR (actor_kind = 'user' AND lower(actor) ="
            " lower($3)))"
        )
        values.append(username)
    rows = await queries.fetch(f"{sql} ORDER BY time DESC, id LIMIT $2", *values)
    return [entry_of(row) for row in reversed(rows)]


async def entries_after(
    queries: Queries, time: datetime, entry_id: str, limit: int = LIMIT
) -> list[Entry]:
    """Return the entries after an entry, oldest first.

    Args:
        queries: the database.
        time: of that entry.
        entry_id: of that entry; the lowest UUID for all entries since ``time``.
        limit: the maximum number of entries.
    """
    rows = await queries.fetch(
        f"SELECT {COLUMNS} FROM audit_logs WHERE time >= $1"  # noqa: S608 - constants
        " AND (time > $1 OR id > $2) ORDER BY time, id LIMIT $3",
        time,
        entry_id,
        limit,
    )
    return [entry_of(row) for row in rows]


async def prune(queries: Queries, before: datetime) -> int:
    """Delete the entries before a time, and return their number."""
    return await queries.execute("DELETE FROM audit_logs WHERE time < $1", before)


def entry_of(row: Row) -> Entry:
    """Return the entry of a row with ``COLUMNS``."""
    return Entry(
        id=row["id"],
        time=row["time"],
        actor=Actor(
            kind=row["actor_kind"],
            name=row["actor"],
            user_id=row["user_id"],
            api_key_id=row["api_key_id"],
            ip=row["ip"],
        ),
        change=Change(
            action=Action(row["action"]),
            resource=Resource(row["resource_type"]),
            resource_id=row["resource_id"],
            target=row["resource_target"],
            username=row["username"],
            fields=json.loads(row["additional_fields"]),
        ),
    )
