"""Membership of the store's groups, and the copy of each user's groups beside the user.

A check reads the copy in ``users.authz_groups``, so that it needs no further table. Each change of
a membership, and of a group's name or rules, writes it in its own transaction.
"""

import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

from authz.core.rules import NO_RULES, TokenRules
from authz.database.interface import Dialect, Queries, Transaction
from authz.identity import audit
from authz.identity.accounts import User
from authz.identity.audit import Action, Change, Resource
from authz.identity.groups import LOCAL, GroupRecord, GroupRefused, clean_names, folded
from authz.identity.store_base import StoreBase

# One statement for any number of users. Both lists have the same order for every user, so that
# users of the same groups have the same text.
_REFRESH = {
    Dialect.SQLITE: """\
UPDATE users SET authz_groups = (
    SELECT nullif(json_group_array(json_object('name', name, 'rules', json(authz_rules))), '[]')
    FROM (SELECT g.name, g.authz_rules
          FROM group_members m JOIN groups g ON g.id = m.group_id
          WHERE m.user_id = users.id ORDER BY lower(g.name), g.source))
WHERE id IN (SELECT value FROM json_each($1))""",
    Dialect.POSTGRESQL: """\
UPDATE users SET authz_groups = (
    SELECT json_agg(json_build_object('name', g.name, 'rules', g.authz_rules::json)
                    ORDER BY lower(g.name), g.source)::text
    FROM group_members m JOIN groups g ON g.id = m.group_id WHERE m.user_id = users.id)
WHERE id IN (SELECT value::uuid FROM json_array_elements_text($1::text::json))""",
}
_REMOVE = {
    Dialect.SQLITE: """\
DELETE FROM group_members WHERE group_id = $1 AND user_id IN (SELECT value FROM json_each($2))""",
    Dialect.POSTGRESQL: """\
DELETE FROM group_members WHERE group_id = $1
AND user_id IN (SELECT value::uuid FROM json_array_elements_text($2::text::json))""",
}
_MEMBERS = {"user_id": "uuid", "group_id": "uuid"}


class MemberStore(StoreBase):
    """The part of the store that changes who is a member of a group."""

    async def add_members(self, group: GroupRecord, users: Collection[User]) -> int:
        """Make users members of a local group, and return the number of new members.

        Raises:
            GroupRefused: the group or a user was deleted meanwhile, or an identity provider chooses
                the members.
        """
        return (await self._alter(group, users, ()))[0]

    async def remove_members(self, group: GroupRecord, users: Collection[User]) -> int:
        """End the membership of users in a local group, and return how many were members.

        Raises:
            GroupRefused: as ``add_members``.
        """
        return (await self._alter(group, (), users))[1]

    async def sync_groups(self, user: User, source: str, names: Iterable[str]) -> bool:
        """Set the groups of one identity provider that a user is in; for the sign-in.

        Groups that do not exist yet are created without rules. Local groups and those of other
        identity providers stay as they are. Nothing is written where nothing changes.

        Args:
            user: who has signed in.
            source: the issuer's URL.
            names: of the groups, as the identity provider writes them; see ``clean_names``.

        Returns:
            True if the memberships changed.

        Raises:
            GroupRefused: there are too many names, or the user was deleted meanwhile.
        """
        if source == LOCAL:
            raise ValueError("the source of a sign-in's groups is its issuer")
        wanted = clean_names(names)
        if {folded(name) for name in await self._joined(self._database, user, source)} == set(
            wanted
        ):
            return False
        async with self._database.transaction() as transaction:
            await _check_there(transaction, [user])
            joined = await self._joined(transaction, user, source)
            before = {folded(name): name for name in joined}
            leaving = [joined[name] for key, name in before.items() if key not in wanted]
            joining = [name for key, name in wanted.items() if key not in before]
            ids = [await self._made(transaction, name, source) for name in joining]
            for group_id in leaving:
                await transaction.execute(
                    "DELETE FROM group_members WHERE user_id = $1 AND group_id = $2",
                    user.id,
                    group_id,
                )
            await transaction.insert("group_members", _MEMBERS, [(user.id, one) for one in ids])
            await self._refresh(transaction, [user.id])
            await self._note(
                transaction,
                Action.GROUPS,
                user,
                source=source,
                added=sorted(joining),
                removed=sorted(name for key, name in before.items() if key not in wanted),
            )
        return bool(leaving or joining)

    async def _joined(self, queries: Queries, user: User, source: str) -> dict[str, str]:
        """Return the ids of the user's groups of one source by their names."""
        rows = await queries.fetch(
            "SELECT g.name, g.id FROM group_members m JOIN groups g ON g.id = m.group_id"
            " WHERE m.user_id = $1 AND g.source = $2",
            user.id,
            source,
        )
        return {row["name"]: row["id"] for row in rows}

    async def _made(self, transaction: Transaction, name: str, source: str) -> str:
        """Return the id of an identity provider's group, which is created if there is none."""
        rows = await transaction.fetch(
            "SELECT id FROM groups WHERE lower(name) = lower($1) AND source = $2", name, source
        )
        if rows:
            return str(rows[0]["id"])
        return await self._insert_group(transaction, name, "", source, NO_RULES)

    async def _insert_group(
        self,
        transaction: Transaction,
        name: str,
        display_name: str,
        source: str,
        rules: TokenRules,
    ) -> str:
        group_id = str(uuid.uuid4())
        await transaction.execute(
            "INSERT INTO groups (id, name, display_name, source, created_at, updated_at,"
            " authz_rules) VALUES ($1, $2, $3, $4, $5, $5, $6)",
            group_id,
            name,
            display_name,
            source,
            datetime.now(UTC),
            rules.as_text(),
        )
        return group_id

    async def _alter(
        self, group: GroupRecord, add: Collection[User], remove: Collection[User]
    ) -> tuple[int, int]:
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction)
            return await self._change_members(transaction, group, add, remove)

    async def _change_members(
        self,
        transaction: Transaction,
        group: GroupRecord,
        add: Collection[User],
        remove: Collection[User],
    ) -> tuple[int, int]:
        """Change the members of a local group, and return the numbers of new and of former ones."""
        if not add and not remove:
            return 0, 0
        if not group.is_local:
            raise GroupRefused(
                f"{group.source} chooses the members of the group {group.name}: change them there"
            )
        for user in (*add, *remove):
            await self._check_actor(transaction, user)
        await _check_there(transaction, add)
        if not await transaction.fetch("SELECT 1 FROM groups WHERE id = $1", group.id):
            raise GroupRefused("the group was deleted meanwhile")
        members = set(await self._member_ids(transaction, group.id))
        new = {user.id: user for user in add if user.id not in members}
        former = {user.id: user for user in remove if user.id in members and user.id not in new}
        await transaction.insert("group_members", _MEMBERS, [(one, group.id) for one in new])
        if former:
            sql = _REMOVE[transaction.dialect]
            await transaction.execute(sql, group.id, json.dumps(list(former)))
        await self._refresh(transaction, [*new, *former])
        for action, users in ((Action.ADD_MEMBER, new), (Action.REMOVE_MEMBER, former)):
            for user in users.values():
                await self._note_group(transaction, action, group, user.username)
        return len(new), len(former)

    async def _member_ids(self, transaction: Queries, group_id: str) -> list[str]:
        rows = await transaction.fetch(
            "SELECT user_id FROM group_members WHERE group_id = $1", group_id
        )
        return [row["user_id"] for row in rows]

    async def _refresh_members(self, transaction: Queries, group_id: str) -> None:
        await self._refresh(transaction, await self._member_ids(transaction, group_id))

    async def _refresh(self, transaction: Queries, user_ids: Sequence[str]) -> None:
        """Write the copy of the groups beside users."""
        if user_ids:
            await transaction.execute(_REFRESH[transaction.dialect], json.dumps(list(user_ids)))

    async def _note_group(
        self,
        transaction: Queries,
        action: Action,
        group: GroupRecord,
        username: str = "",
        fields: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Write a change of a group to the audit log.

        Args:
            username: the user whom a change of the members concerns.
            fields: further details, as JSON values.
        """
        change = Change(action, Resource.GROUP, group.id, group.name, username, fields)
        await audit.record(transaction, self._actor, change)


async def _check_there(transaction: Queries, users: Collection[User]) -> None:
    for user in users:
        rows = await transaction.fetch(
            "SELECT 1 FROM users WHERE id = $1 AND deleted = false", user.id
        )
        if not rows:
            raise GroupRefused(f"the user {user.username} was deleted meanwhile")
