"""The users of the store."""

import asyncio
import uuid
from datetime import UTC, datetime

from authz.database.interface import Conflict, Queries
from authz.errors import StoreError
from authz.identity import roles as known_roles
from authz.identity.accounts import ApiKey, User
from authz.identity.audit import Action
from authz.identity.names import check_email, check_full_name, check_user_name
from authz.identity.passwords import check_password, hash_password
from authz.identity.store_base import SELECT_USER, StoreBase
from authz.secret import Secret

_STATUS_ACTIONS = {
    "active": Action.ACTIVATE,
    "suspended": Action.SUSPEND,
    "dormant": Action.SUSPEND,
}


class UserTaken(StoreError):  # noqa: N818 - the API answers it with a status of its own
    """Another user has the name or the e-mail address.

    Attributes:
        field: ``username`` or ``email``.
    """

    def __init__(self, text: str, field: str) -> None:
        super().__init__(text)
        self.field = field


class UserStore(StoreBase):
    """The part of the store that creates, finds and changes users."""

    async def create_user(
        self,
        name: str,
        email: str | None = None,
        *,
        service_account: bool = False,
        role: str = known_roles.MEMBER,
        full_name: str = "",
        password: Secret | None = None,
    ) -> User:
        """Create a user who is active at once.

        In Coder, new users are dormant and refused by the gateway until their first ordinary API
        call. authz has no such call.

        Args:
            name: unique among users who are not deleted, ignoring case.
            email: unique in the same way, if given.
            service_account: create the user of a machine, who can't sign in. Commands never choose
                such a user as "the only user".
            role: ``owner``, ``user-admin`` or ``member``.
            full_name: the name for people.
            password: the password for signing in.

        Raises:
            UserTaken: another user has the name or the e-mail address.
        """
        problem = (
            check_user_name(name)
            or (check_email(email) if email else None)
            or check_full_name(full_name)
            or (check_password(password, name) if password else None)
        )
        if password and service_account:
            problem = "a service account can't sign in, so it has no password"
        if problem:
            raise StoreError(problem)
        stored = known_roles.check_role(role)
        hashed = await asyncio.to_thread(hash_password, password) if password else b""
        user_id, now = str(uuid.uuid4()), datetime.now(UTC)
        try:
            async with self._database.transaction() as transaction:
                await self._check_actor(transaction)
                await transaction.execute(
                    "INSERT INTO users (id, email, username, status, login_type,"
                    " is_service_account, rbac_roles, created_at, updated_at, name,"
                    " hashed_password) VALUES ($1, $2, $3, 'active', $4, $5, $6, $7, $7, $8, $9)",
                    user_id,
                    email or "",
                    name,
                    "none" if service_account else "password",
                    service_account,
                    stored,
                    now,
                    full_name,
                    hashed,
                )
                user = await _read(transaction, user_id)
                kind = "service account" if service_account else "person"
                await self._note(transaction, Action.CREATE, user, kind=kind, role=role)
        except Conflict:
            taken = await self.find_user(name) is not None
            if taken:
                text = f"a user named {name} exists already: choose another name"
                raise UserTaken(text, "username") from None
            raise UserTaken("another user has this e-mail address", "email") from None
        return user

    async def list_users(self) -> list[User]:
        """Return all users who are not deleted, by name."""
        rows = await self._database.fetch(f"{SELECT_USER} ORDER BY lower(u.username)")
        return [User.of(row) for row in rows]

    async def some_users(self, first: int, count: int) -> list[User]:
        """Return at most ``count`` users who are not deleted, by name, from index ``first``."""
        rows = await self._database.fetch(
            f"{SELECT_USER} ORDER BY lower(u.username) LIMIT $1 OFFSET $2", count, first
        )
        return [User.of(row) for row in rows]

    async def count_users(self) -> int:
        """Return the number of users who are not deleted."""
        rows = await self._database.fetch("SELECT count(*) AS n FROM users WHERE deleted = false")
        return int(rows[0]["n"])

    async def has_users(self) -> bool:
        """Return whether there is a user who is not deleted, at a constant cost."""
        sql = "SELECT 1 FROM users WHERE deleted = false LIMIT 1"
        return bool(await self._database.fetch(sql))

    async def find_user(self, name: str) -> User | None:
        """Return the user with this name, ignoring case, or None."""
        return await self._one("lower(u.username) = lower($1)", name)

    async def find_user_by_id(self, user_id: str) -> User | None:
        """Return the user with this UUID, or None."""
        try:
            canonical = str(uuid.UUID(user_id))
        except ValueError:
            return None
        return await self._one("u.id = $1", canonical)

    async def find_user_by_email(self, email: str) -> User | None:
        """Return the user with this e-mail address, ignoring case, or None."""
        return await self._one("lower(u.email) = lower($1)", email) if email else None

    async def get_user(self, name: str) -> User:
        """Return the user with this name, ignoring case.

        Raises:
            StoreError: there is no such user.
        """
        user = await self.find_user(name)
        if user is None:
            shown = "of that name" if check_user_name(name) else f"named {name}"
            raise StoreError(f"no user {shown}: 'authz users list' shows them")
        return user

    async def set_status(self, user: User, status: str) -> User:
        """Make a user ``active`` or ``suspended``, effective with the next request."""
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction, user)
            await transaction.execute(
                "UPDATE users SET status = $1, updated_at = $2 WHERE id = $3 AND deleted = false",
                status,
                datetime.now(UTC),
                user.id,
            )
            changed = await _read(transaction, user.id)
            await self._note(transaction, _STATUS_ACTIONS[status], user)
        return changed

    async def wake(self, user: User) -> User:
        """Make a dormant user active. A user who was suspended meanwhile stays suspended."""
        async with self._database.transaction() as transaction:
            changed = await transaction.execute(
                "UPDATE users SET status = 'active', updated_at = $1"
                " WHERE id = $2 AND deleted = false AND status = 'dormant'",
                datetime.now(UTC),
                user.id,
            )
            if changed:
                await self._note(transaction, Action.ACTIVATE, user)
            return await _read(transaction, user.id)

    async def set_role(self, user: User, role: str) -> User:
        """Set the role of a user: ``owner``, ``user-admin`` or ``member``."""
        stored = known_roles.check_role(role)
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction, user)
            await transaction.execute(
                "UPDATE users SET rbac_roles = $1, updated_at = $2"
                " WHERE id = $3 AND deleted = false",
                stored,
                datetime.now(UTC),
                user.id,
            )
            changed = await _read(transaction, user.id)
            before = list(user.roles) or [known_roles.MEMBER]
            await self._note(transaction, Action.ROLES, user, before=before, after=[role])
        return changed

    async def set_password(
        self,
        user: User,
        password: Secret,
        *,
        proven_by: bytes | None = None,
        keep: ApiKey | None = None,
    ) -> int:
        """Set a user's password and delete their sessions, but not their tokens.

        Args:
            user: a person who signs in with a password.
            password: the new password.
            proven_by: the stored hash that the user's old password matched. StoreError if the user
                has another one now.
            keep: a session that stays, such as the one in which the user changes the password.

        Returns:
            The number of deleted sessions.
        """
        if user.is_service_account:
            raise StoreError(f"{user.username} is a service account, which can't sign in")
        # An administrator could otherwise sign in as the person, past the identity provider.
        if user.login_type == "oidc":
            raise StoreError(f"{user.username} signs in with an identity provider, not a password")
        if problem := check_password(password, user.username):
            raise StoreError(problem)
        # Slow on purpose, so it must not block the event loop.
        hashed = await asyncio.to_thread(hash_password, password)
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction, user)
            if proven_by is not None:
                await _check_hash(transaction, user, proven_by)
            await transaction.execute(
                "UPDATE users SET hashed_password = $1, updated_at = $2"
                " WHERE id = $3 AND deleted = false",
                hashed,
                datetime.now(UTC),
                user.id,
            )
            await _read(transaction, user.id)
            ended = await transaction.execute(
                "DELETE FROM api_keys WHERE user_id = $1 AND login_type <> 'token' AND id <> $2",
                user.id,
                keep.id if keep is not None else "",
            )
            await self._note(transaction, Action.PASSWORD, user, sessions_ended=ended)
        return ended

    async def delete_user(self, user: User) -> int:
        """Mark a user as deleted and delete all their tokens. The name is free again.

        Returns:
            The number of deleted tokens and sessions that had not expired.
        """
        now = datetime.now(UTC)
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction, user)
            valid = await transaction.execute(
                "DELETE FROM api_keys WHERE user_id = $1 AND expires_at >= $2", user.id, now
            )
            await transaction.execute("DELETE FROM api_keys WHERE user_id = $1", user.id)
            await transaction.execute("DELETE FROM group_members WHERE user_id = $1", user.id)
            await transaction.execute("DELETE FROM user_links WHERE user_id = $1", user.id)
            changed = await transaction.execute(
                "UPDATE users SET deleted = true, authz_groups = NULL, updated_at = $1"
                " WHERE id = $2 AND deleted = false",
                now,
                user.id,
            )
            if changed:
                await self._note(transaction, Action.DELETE, user, tokens_deleted=valid)
        return valid

    async def _one(self, condition: str, *args: object) -> User | None:
        rows = await self._database.fetch(f"{SELECT_USER} AND {condition}", *args)
        return User.of(rows[0]) if rows else None


async def _check_hash(transaction: Queries, user: User, expected: bytes) -> None:
    rows = await transaction.fetch("SELECT hashed_password FROM users WHERE id = $1", user.id)
    if not rows or bytes(rows[0]["hashed_password"]) != expected:
        raise StoreError("the password was changed meanwhile: try again")


async def _read(transaction: Queries, user_id: str) -> User:
    rows = await transaction.fetch(f"{SELECT_USER} AND u.id = $1", user_id)
    if not rows:
        raise StoreError("the user was deleted meanwhile")
    return User.of(rows[0])
