"""What the parts of the store share: the database, who acts, and how a user is read."""

import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from authz.errors import StoreError
from authz.identity import audit
from authz.identity.accounts import KEY_COLUMNS, USER_COLUMNS, User
from authz.identity.audit import Action, Actor, Change, Resource
from authz.identity.database import Database, Queries

SELECT_USER = f"SELECT {USER_COLUMNS} FROM users u WHERE u.deleted = false"  # noqa: S608 - our own words
SELECT_KEY = f"SELECT {KEY_COLUMNS} FROM api_keys k JOIN users u ON u.id = k.user_id"  # noqa: S608


_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Memory:
    """What a store remembers, whoever acts.

    Attributes:
        purged_at: when the records of keys that expired long ago were last removed.
    """

    purged_at: datetime = _NEVER


class StoreBase:
    """A database that has our own tables, and who acts on it.

    Args:
        database: the store closes it.
        actor: whom the audit log names; the operating system's user when None.
    """

    def __init__(self, database: Database, actor: Actor | None = None) -> None:
        self._database = database
        self._actor = actor or Actor.of_os()
        self._memory = _Memory()

    def acting(self, actor: Actor) -> Self:
        """Return the same store, whose audit log names somebody else."""
        other = copy.copy(self)
        other._actor = actor
        return other

    async def close(self) -> None:
        """Give back what the database holds."""
        await self._database.close()

    async def _user(self, condition: str, *args: object) -> User:
        rows = await self._database.fetch(f"{SELECT_USER} AND {condition}", *args)
        if not rows:
            raise StoreError("the user was deleted meanwhile")
        return User.of(rows[0])

    async def _note(
        self, transaction: Queries, action: Action, user: User, **fields: object
    ) -> None:
        """Write what is done to a user into the audit log."""
        change = Change(action, Resource.USER, user.id, user.username, user.username, fields)
        await audit.record(transaction, self._actor, change)
