"""Decide which users, groups and tokens a caller may see, for the token API and the pages alike.

The rules for roles are in ``authz.identity.roles``. This module applies them to look-ups, so that a
user or token that the caller may not see looks the same as one that does not exist.
"""

from dataclasses import dataclass

from authz.core.tokens import ID_LENGTH
from authz.identity import roles
from authz.identity.accounts import ApiKey, User
from authz.identity.groups import GroupRecord, clean_name
from authz.identity.names import check_user_name
from authz.identity.store import Store


@dataclass(frozen=True, slots=True)
class Access:
    """The view of one caller on the store.

    Attributes:
        caller: the user who makes the request.
        is_limited: the request comes with a limited token, which gives access to its owner only.
    """

    store: Store
    caller: User
    is_limited: bool = False

    def may_see(self, user: User) -> bool:
        """Return whether the caller may know that a user exists."""
        if self.is_limited and user.id != self.caller.id:
            return False
        return roles.may_see(self.caller, user)

    def may_use_tokens_of(self, user: User) -> bool:
        """Return whether the caller may list, create and end the tokens of a user."""
        return self.may_see(user) and roles.may_use_tokens_of(self.caller, user)

    @property
    def sees_all_users(self) -> bool:
        """Return whether the caller may list every user."""
        return not self.is_limited and roles.may_manage_users(self.caller)

    async def find_user(self, reference: str, *, by_name: bool = False) -> User | None:
        """Return a user whom the caller may see, or None.

        Args:
            reference: the user's id.
            by_name: also accept a user name and ``me``.

        Raises:
            StoreError: the store can't be read.
        """
        if by_name and reference == "me":
            return self.caller
        user = await self.store.find_user_by_id(reference)
        if user is None and by_name and check_user_name(reference) is None:
            user = await self.store.find_user(reference)
        return user if user is not None and self.may_see(user) else None

    async def find_token_owner(self, reference: str, *, by_name: bool = False) -> User | None:
        """Return a user whose tokens the caller may use, or None; arguments as ``find_user``."""
        user = await self.find_user(reference, by_name=by_name)
        return user if user is not None and self.may_use_tokens_of(user) else None

    @property
    def sees_all_groups(self) -> bool:
        """Return whether the caller may see every group and its members."""
        return not self.is_limited and roles.may_see_groups(self.caller)

    async def list_groups(self, member: User | None = None) -> list[GroupRecord]:
        """Return the groups that the caller may see, by name: their own, or all.

        Args:
            member: return only the groups of this user, whom the caller may see.

        Raises:
            StoreError: the store can't be read.
        """
        if member is not None:
            return await self.store.groups_of(member)
        if self.sees_all_groups:
            return await self.store.list_groups()
        return await self.store.groups_of(self.caller)

    async def find_group(self, reference: str, *, by_name: bool = False) -> GroupRecord | None:
        """Return a group that the caller may see, or None.

        Args:
            reference: the group's id.
            by_name: also accept the name of a group.

        Raises:
            GroupRefused: several identity providers have a group of this name.
            StoreError: the store can't be read.
        """
        group = await self.store.find_group_by_id(reference)
        if group is None and by_name and reference == clean_name(reference):
            group = await self.store.find_group(reference)
        if group is None or self.sees_all_groups:
            return group
        own = await self.store.groups_of(self.caller)
        return group if any(group.id == one.id for one in own) else None

    def may_move(self, user: User) -> bool:
        """Return whether the caller may add a user to local groups, and remove them."""
        return not self.is_limited and roles.may_move(self.caller, user)

    async def find_key(self, owner: User, key_id: str) -> ApiKey | None:
        """Return a token or session of an owner by its id, or None.

        Args:
            owner: a user whom ``find_token_owner`` returned, or the caller.
            key_id: any text; the store is not asked for text that can't be an id.

        Raises:
            StoreError: the store can't be read.
        """
        if len(key_id) != ID_LENGTH or not (key_id.isascii() and key_id.isalnum()):
            return None
        return await self.store.find_key(owner, key_id)

    async def find_token_id(self, key_id: str) -> str | None:
        """Return the id of a token or session that exists and that an owner may use, or None.

        Args:
            key_id: any text, as for ``find_key``.

        Raises:
            StoreError: the store can't be read.
        """
        if len(key_id) != ID_LENGTH or not (key_id.isascii() and key_id.isalnum()):
            return None
        if self.is_limited or not roles.is_owner(self.caller):
            return None
        return key_id if await self.store.has_key(key_id) else None

    async def list_usable_tokens(self, *, include_expired: bool) -> list[ApiKey]:
        """Return the tokens of every user whose tokens the caller may use.

        Raises:
            StoreError: the store can't be read.
        """
        if self.is_limited:
            return await self.store.list_tokens(self.caller, include_expired=include_expired)
        keys = await self.store.list_tokens(None, include_expired=include_expired)
        if roles.is_owner(self.caller):
            return keys
        usable = {user.id for user in await self.store.list_users() if self.may_use_tokens_of(user)}
        return [key for key in keys if key.user_id in usable]
