"""The base of the parts of the store: the database, and the actor of changes."""

import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self, TypeVar

from authz.core.tokens import MAX_PER_USER
from authz.database.interface import Database, Queries
from authz.errors import StoreError
from authz.identity import audit
from authz.identity.accounts import KEY_COLUMNS, USER_COLUMNS, User
from authz.identity.audit import Action, Actor, Change, Resource

SELECT_USER = f"SELECT {USER_COLUMNS} FROM users u WHERE u.deleted = false"  # noqa: S608 - constants
SELECT_KEY = f"SELECT {KEY_COLUMNS} FROM api_keys k JOIN users u ON u.id = k.user_id"  # noqa: S608


_Part = TypeVar("_Part", bound="StoreBase")
_NEVER = datetime.min.replace(tzinfo=UTC)


class ActorGone(StoreError):  # noqa: N818 - the web answers it with a status of its own
    """The actor was suspended or deleted meanwhile, or their token or session has ended."""


@dataclass(slots=True)
class _Memory:
    """The state that a store shares between actors.

    Attributes:
        purged_at: the last time at which records of expired keys were deleted.
        max_tokens: the number of tokens that a user may have.
    """

    purged_at: datetime = _NEVER
    max_tokens: int = MAX_PER_USER


class StoreBase:
    """A database with the identity tables, and the actor of changes in it.

    Args:
        database: the store closes it.
        actor: the actor in the audit log; None means the operating system's user.
        max_tokens: the number of tokens that a user may have.
    """

    def __init__(
        self, database: Database, actor: Actor | None = None, max_tokens: int = MAX_PER_USER
    ) -> None:
        self._database = database
        self._actor = actor or Actor.of_os()
        self._roles: tuple[str, ...] | None = None
        self._memory = _Memory(max_tokens=max_tokens)

    def acting(self, actor: Actor, roles: tuple[str, ...] | None = None) -> Self:
        """Return the same store with another actor.

        Args:
            actor: the actor in the audit log.
            roles: the roles of the user for whom a change was allowed. The store refuses a change
                if the user has other roles now, or if the user or their key is gone.
        """
        other = copy.copy(self)
        other._actor, other._roles = actor, roles
        return other

    def limit_tokens(self, most: int) -> None:
        """Set the number of tokens that a user may have, for all actors."""
        self._memory.max_tokens = most

    def part(self, kind: type[_Part]) -> _Part:
        """Return a further part of the store, on the same database and with the same actor."""
        other = kind(self._database, self._actor)
        other._roles, other._memory = self._roles, self._memory
        return other

    async def close(self) -> None:
        """Close the database."""
        await self._database.close()

    async def _check_actor(self, transaction: Queries, target: User | None = None) -> None:
        """Refuse a change that the actor may not make any more.

        The rights were read earlier: a request's body may arrive long after its head, and so after
        an administrator has ended the user's session or changed their role.

        Args:
            transaction: of the change, in which rows that were read do not change.
            target: the user who is changed; their roles must be the same as when the change was
                allowed.
        """
        if self._roles is None:
            return
        rows = await transaction.fetch(
            "SELECT k.expires_at, u.status, u.rbac_roles FROM api_keys k"
            " JOIN users u ON u.id = k.user_id"
            " WHERE k.id = $1 AND u.id = $2 AND u.deleted = false",
            self._actor.api_key_id,
            self._actor.user_id,
        )
        if (
            not rows
            or rows[0]["status"] == "suspended"
            or rows[0]["expires_at"] < datetime.now(UTC)
        ):
            raise ActorGone(f"{self._actor.name} has no access any more: sign in again")
        if tuple(rows[0]["rbac_roles"]) != self._roles:
            raise StoreError(f"the role of {self._actor.name} was changed meanwhile: try again")
        if target is not None:
            rows = await transaction.fetch("SELECT rbac_roles FROM users WHERE id = $1", target.id)
            if not rows or tuple(rows[0]["rbac_roles"]) != target.roles:
                raise StoreError(f"the role of {target.username} was changed meanwhile: try again")

    async def _user(self, condition: str, *args: object) -> User:
        rows = await self._database.fetch(f"{SELECT_USER} AND {condition}", *args)
        if not rows:
            raise StoreError("the user was deleted meanwhile")
        return User.of(rows[0])

    async def _note(
        self, transaction: Queries, action: Action, user: User, **fields: object
    ) -> None:
        """Write a change of a user to the audit log."""
        change = Change(action, Resource.USER, user.id, user.username, user.username, fields)
        await audit.record(transaction, self._actor, change)
