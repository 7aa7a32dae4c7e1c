"""The groups of the store: local ones, and those of identity providers."""

import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from authz.core.rules import NO_RULES, TokenRules
from authz.database.interface import Conflict, Queries, Transaction
from authz.identity.accounts import User
from authz.identity.audit import Action
from authz.identity.groups import (
    GROUP_COLUMNS,
    LOCAL,
    GroupRecord,
    GroupRefused,
    GroupTaken,
    check_display_name,
    check_group_name,
    clean_name,
)
from authz.identity.store_base import SELECT_USER
from authz.identity.store_members import MemberStore

_SELECT = f"SELECT {GROUP_COLUMNS} FROM groups g"  # noqa: S608 - constants
_ORDER = "ORDER BY lower(g.name), g.source"


class GroupStore(MemberStore):
    """The part of the store that creates, finds and changes groups."""

    async def list_groups(self) -> list[GroupRecord]:
        """Return all groups, by name."""
        rows = await self._database.fetch(f"{_SELECT} {_ORDER}")
        return [GroupRecord.of(row) for row in rows]

    async def groups_of(self, user: User) -> list[GroupRecord]:
        """Return the groups of a user, by name."""
        rows = await self._database.fetch(
            f"{_SELECT} JOIN group_members own ON own.group_id = g.id"
            f" WHERE own.user_id = $1 {_ORDER}",
            user.id,
        )
        return [GroupRecord.of(row) for row in rows]

    async def find_group_by_id(self, group_id: str) -> GroupRecord | None:
        """Return the group with this UUID, or None."""
        try:
            canonical = str(uuid.UUID(group_id))
        except ValueError:
            return None
        rows = await self._database.fetch(f"{_SELECT} WHERE g.id = $1", canonical)
        return GroupRecord.of(rows[0]) if rows else None

    async def find_group(self, name: str) -> GroupRecord | None:
        """Return the group with this name, ignoring case, or None.

        A local group comes before one of an identity provider.

        Raises:
            GroupRefused: several identity providers have a group of this name.
        """
        sql = f"{_SELECT} WHERE lower(g.name) = lower($1) ORDER BY g.source LIMIT 2"
        rows = await self._database.fetch(sql, name)
        found = [GroupRecord.of(row) for row in rows]
        if len(found) > 1 and not found[0].is_local:
            raise GroupRefused("several identity providers have a group of this name: use its id")
        return found[0] if found else None

    async def get_group(self, reference: str) -> GroupRecord:
        """Return the group with this name or UUID.

        Raises:
            GroupRefused: there is none, or several have the name.
        """
        group = await self.find_group_by_id(reference) or await self.find_group(reference)
        if group is None:
            raise GroupRefused("no such group: 'authz groups list' shows them")
        return group

    async def create_group(
        self,
        name: str,
        display_name: str = "",
        *,
        source: str = LOCAL,
        rules: TokenRules = NO_RULES,
    ) -> GroupRecord:
        """Create a group without members.

        Args:
            name: unique within the source, ignoring case.
            display_name: the name for people.
            source: ``LOCAL``, or an issuer's URL: such a group can have rules before the first of
                its members signs in.
            rules: the limits of the members.

        Raises:
            GroupTaken: a group of this source has the name.
        """
        if source == LOCAL:
            problem = check_group_name(name)
        else:
            problem = None if clean_name(name) == name else "a group's name must be printable"
        if problem := problem or check_display_name(display_name):
            raise GroupRefused(problem)
        async with self._changing(name) as transaction:
            await self._check_actor(transaction)
            group_id = await self._insert_group(transaction, name, display_name, source, rules)
            group = await _read(transaction, group_id)
            await self._note_group(
                transaction,
                Action.CREATE,
                group,
                fields={"rules": rules.as_json(), "source": source},
            )
        return group

    async def change_group(
        self,
        group: GroupRecord,
        *,
        name: str | None = None,
        display_name: str | None = None,
        rules: TokenRules | None = None,
        add: Collection[User] = (),
        remove: Collection[User] = (),
    ) -> GroupRecord:
        """Change a group in one transaction, effective with the next request of each member.

        Args:
            group: as it was read.
            name: the new name; None keeps it.
            display_name: the new display name; None keeps it.
            rules: the new rules; None keeps them, ``NO_RULES`` removes them.
            add: users who become members.
            remove: users who are members no longer.

        Raises:
            GroupTaken: another group has the name.
            GroupRefused: the group was deleted meanwhile, or is one of an identity provider, which
                chooses its name and members.
        """
        if not group.is_local and (name is not None or add or remove):
            raise GroupRefused(
                f"the group {group.name} belongs to {group.source}, which chooses its members: "
                "change them there"
            )
        problem = (
            None if name is None or name == group.name else check_group_name(name)
        ) or check_display_name(display_name or "")
        if problem:
            raise GroupRefused(problem)
        async with self._changing(name or group.name) as transaction:
            await self._check_actor(transaction)
            before = await _read(transaction, group.id)
            fields: dict[str, object] = {}
            if name is not None and name != before.name:
                fields["name"] = {"before": before.name, "after": name}
            if display_name is not None and display_name != before.display_name:
                fields["display_name"] = {"before": before.display_name, "after": display_name}
            if rules is not None and rules != before.rules:
                fields["rules"] = {"before": before.rules.as_json(), "after": rules.as_json()}
            if fields:
                await transaction.execute(
                    "UPDATE groups SET name = $1, display_name = $2, authz_rules = $3,"
                    " updated_at = $4 WHERE id = $5",
                    before.name if name is None else name,
                    before.display_name if display_name is None else display_name,
                    (before.rules if rules is None else rules).as_text(),
                    datetime.now(UTC),
                    group.id,
                )
                await self._note_group(transaction, Action.WRITE, before, fields=fields)
            await self._change_members(transaction, before, add, remove)
            if fields.keys() & {"name", "rules"}:
                await self._refresh_members(transaction, group.id)
            return await _read(transaction, group.id)

    async def delete_group(self, group: GroupRecord) -> int:
        """Delete a group. Its rules do not limit its members any more.

        Returns:
            The number of members it had.
        """
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction)
            members = await self._member_ids(transaction, group.id)
            gone = await transaction.execute("DELETE FROM groups WHERE id = $1", group.id)
            if gone:
                await self._refresh(transaction, members)
                await self._note_group(
                    transaction,
                    Action.DELETE,
                    group,
                    fields={"rules": group.rules.as_json(), "members": len(members)},
                )
        return len(members) if gone else 0

    @asynccontextmanager
    async def _changing(self, name: str) -> AsyncIterator[Transaction]:
        """Open a transaction that may give a group a name."""
        try:
            async with self._database.transaction() as transaction:
                yield transaction
        except Conflict:
            raise GroupTaken(f"a group named {name} exists already: choose another name") from None

    async def members_of(
        self, group: GroupRecord, first: int = 0, count: int | None = None
    ) -> list[User]:
        """Return the members of a group who are not deleted, by name.

        Args:
            group: the group.
            first: the number of members to skip.
            count: the maximum number of members; None means all.
        """
        limit = "" if count is None else " LIMIT $2 OFFSET $3"
        rows = await self._database.fetch(
            f"{SELECT_USER} AND u.id IN"  # noqa: S608 - constants
            " (SELECT user_id FROM group_members WHERE group_id = $1)"
            f" ORDER BY lower(u.username){limit}",
            group.id,
            *(() if count is None else (count, first)),
        )
        return [User.of(row) for row in rows]


async def _read(transaction: Queries, group_id: str) -> GroupRecord:
    rows = await transaction.fetch(f"{_SELECT} WHERE g.id = $1", group_id)
    if not rows:
        raise GroupRefused("the group was deleted meanwhile")
    return GroupRecord.of(rows[0])
