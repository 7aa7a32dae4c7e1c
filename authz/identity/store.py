"""The store's users and tokens: what the commands and the token API may do with them.

Every method raises StoreError, one line that says what to do, when it refuses. No error quotes a
token, also not one that was given in the wrong place.
"""

import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from authz import lifetimes, tokens
from authz.errors import StoreError
from authz.identity import Identity
from authz.identity.accounts import KEY_COLUMNS, USER_COLUMNS, Key, User
from authz.identity.database import Conflict, Database
from authz.identity.names import check_email, check_token_name, check_user_name, invent_token_name
from authz.identity.record import SELECT_RECORD, TokenRecord, check
from authz.tokens import CoderToken

_INVENTIONS = 20
_PURGE_EVERY = timedelta(hours=1)
_SELECT_USER = f"SELECT {USER_COLUMNS} FROM users u WHERE u.deleted = false"  # noqa: S608 - our own words
_SELECT_KEY = f"SELECT {KEY_COLUMNS} FROM api_keys k JOIN users u ON u.id = k.user_id"  # noqa: S608


class Store:
    """Users and tokens in a database that has our own tables.

    Args:
        database: the store closes it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._purged_at: datetime | None = None

    async def close(self) -> None:
        """Give back what the database holds."""
        await self._database.close()

    # Users

    async def create_user(
        self, name: str, email: str | None = None, *, service_account: bool = False
    ) -> User:
        """Make a user who is active at once.

        Coder's new users are dormant until their first ordinary API call, and its gateway refuses
        them until then (``coder-contract.md`` 1.7); here no such call exists.

        Args:
            name: unique among users who are not deleted, whatever its case.
            email: unique likewise, if given.
            service_account: a machine's user; it is never taken for "the only user".
        """
        problem = check_user_name(name) or (check_email(email) if email else None)
        if problem:
            raise StoreError(problem)
        user_id, now = str(uuid.uuid4()), datetime.now(UTC)
        try:
            await self._database.execute(
                "INSERT INTO users (id, email, username, status, login_type, is_service_account,"
                " created_at, updated_at) VALUES ($1, $2, $3, 'active', $4, $5, $6, $6)",
                user_id,
                email or "",
                name,
                "none" if service_account else "password",
                service_account,
                now,
            )
        except Conflict:
            taken = await self.find_user(name) is not None
            raise StoreError(
                f"a user named {name} exists already: choose another name"
                if taken
                else "another user has this e-mail address"
            ) from None
        return await self._user("u.id = $1", user_id)

    async def list_users(self) -> list[User]:
        """Return all users who are not deleted, by name."""
        rows = await self._database.fetch(f"{_SELECT_USER} ORDER BY lower(u.username)")
        return [User.of(row) for row in rows]

    async def find_user(self, name: str) -> User | None:
        """Return the user of that name, whatever its case, or None."""
        rows = await self._database.fetch(f"{_SELECT_USER} AND lower(u.username) = lower($1)", name)
        return User.of(rows[0]) if rows else None

    async def get_user(self, name: str) -> User:
        """Return the user of that name, whatever its case; StoreError when there is none."""
        user = await self.find_user(name)
        if user is None:
            shown = "of that name" if check_user_name(name) else f"named {name}"
            raise StoreError(f"no user {shown}: 'authz users list' shows them")
        return user

    async def set_status(self, user: User, status: str) -> User:
        """Make a user ``active`` or ``suspended``, which counts from the next request on."""
        await self._database.execute(
            "UPDATE users SET status = $1, updated_at = $2 WHERE id = $3 AND deleted = false",
            status,
            datetime.now(UTC),
            user.id,
        )
        return await self._user("u.id = $1", user.id)

    async def delete_user(self, user: User) -> int:
        """Mark a user deleted and remove all their tokens; the name is free again.

        Returns:
            How many tokens and sessions went that were not expired.
        """
        now = datetime.now(UTC)
        async with self._database.transaction() as transaction:
            valid = await transaction.execute(
                "DELETE FROM api_keys WHERE user_id = $1 AND expires_at >= $2", user.id, now
            )
            await transaction.execute("DELETE FROM api_keys WHERE user_id = $1", user.id)
            await transaction.execute(
                "UPDATE users SET deleted = true, updated_at = $1 WHERE id = $2", now, user.id
            )
        return valid

    async def _user(self, condition: str, *args: object) -> User:
        rows = await self._database.fetch(f"{_SELECT_USER} AND {condition}", *args)
        if not rows:
            raise StoreError("the user was deleted meanwhile")
        return User.of(rows[0])

    # Tokens

    async def create_token(
        self, user: User, name: str | None = None, lifetime: timedelta = lifetimes.DEFAULT
    ) -> tuple[str, Key]:
        """Make a long-lived token.

        Args:
            user: its owner, who has to be active.
            name: unique among the user's tokens, expired ones too; None takes two random words.
            lifetime: above zero and at most ``lifetimes.MAXIMUM``.

        Returns:
            The token's text, which nobody can get again, and its record.
        """
        if name is not None:
            if problem := check_token_name(name):
                raise StoreError(problem)
            try:
                return await self._insert(user, name, lifetime, "token")
            except Conflict:
                raise StoreError(
                    f'A token with name "{name}" already exists: choose another name, or remove it'
                    f" with 'authz tokens remove --delete'"
                ) from None
        for _ in range(_INVENTIONS):
            try:
                return await self._insert(user, invent_token_name(), lifetime, "token")
            except Conflict:
                continue
        raise StoreError("found no free name for the token: give one with --name")

    async def create_session(self, user: User) -> tuple[str, Key]:
        """Make a session key, as ``coder login`` does; returns as ``create_token``."""
        return await self._insert(user, "", lifetimes.SESSION, "password")

    async def _insert(
        self, user: User, name: str, lifetime: timedelta, login_type: str
    ) -> tuple[str, Key]:
        if not timedelta(0) < lifetime <= lifetimes.MAXIMUM:
            raise StoreError("a lifetime is greater than 0 and at most 876600h")
        await self._purge()
        text, token = tokens.generate()
        now = datetime.now(UTC)
        async with self._database.transaction() as transaction:
            owner = await transaction.fetch(f"{_SELECT_USER} AND u.id = $1", user.id)
            if not owner:
                raise StoreError(f"the user {user.username} was deleted")
            if (status := owner[0]["user_status"]) != "active":
                raise StoreError(
                    f"the user {user.username} is {status}: 'authz users activate {user.username}'"
                )
            await transaction.execute(
                "INSERT INTO api_keys (id, hashed_secret, user_id, expires_at, created_at,"
                " updated_at, login_type, lifetime_seconds, token_name)"
                " VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8)",
                token.id,
                token.digest,
                user.id,
                now + lifetime,
                now,
                login_type,
                int(lifetime.total_seconds()),
                name,
            )
            rows = await transaction.fetch(f"{_SELECT_KEY} WHERE k.id = $1", token.id)
        return text, Key.of(rows[0])

    async def _purge(self) -> None:
        """Remove the records of keys that expired long ago, as Coder does (``dbpurge``).

        It goes with the making of a key, since without that their number does not grow; but once
        for this store and an hour, since it looks at every record.
        """
        now = datetime.now(UTC)
        if self._purged_at is not None and now - self._purged_at < _PURGE_EVERY:
            return
        self._purged_at = now
        # Whoever may make keys need not be allowed to remove any.
        with suppress(StoreError):
            await self._database.execute(
                "DELETE FROM api_keys WHERE expires_at < $1", now - lifetimes.RETENTION
            )

    async def list_tokens(
        self, user: User | None = None, *, include_expired: bool = False
    ) -> list[Key]:
        """Return tokens, oldest first; sessions are not listed (``coder-contract.md`` section 6).

        Args:
            user: whose, or None for everybody's.
            include_expired: expired tokens too.
        """
        since = datetime.min.replace(tzinfo=UTC) if include_expired else datetime.now(UTC)
        sql = f"{_SELECT_KEY} WHERE k.login_type = 'token' AND k.expires_at >= $1"
        args: list[object] = [since]
        if user is not None:
            sql += " AND k.user_id = $2"
            args.append(user.id)
        rows = await self._database.fetch(f"{sql} ORDER BY k.created_at, k.id", *args)
        return [Key.of(row) for row in rows]

    async def find_token(self, reference: str, user: User | None = None) -> Key | None:
        """Find a token by its name, its id, or the whole token, of which the id is used.

        Args:
            reference: names come first, then ids, as in Coder; sessions are found by id only.
            user: whose, or None for anybody's.

        Returns:
            The token, expired or not, or None. StoreError when several users have that name.
        """
        condition, args = "", [reference]
        if user is not None:
            condition = " AND k.user_id = $2"
            args.append(user.id)
        by_name = f"{_SELECT_KEY} WHERE k.login_type = 'token' AND k.token_name = $1{condition}"
        rows = await self._database.fetch(by_name, *args)
        if len(rows) > 1:
            raise StoreError("several users have a token of that name: give --user, or its id")
        if not rows:
            if tokens.has_token_shape(reference):
                args[0] = reference[: tokens.ID_LENGTH]
            rows = await self._database.fetch(f"{_SELECT_KEY} WHERE k.id = $1{condition}", *args)
        return Key.of(rows[0]) if rows else None

    async def expire_token(self, key: Key) -> None:
        """End a token now and keep its record, as ``coder tokens remove`` does."""
        now = datetime.now(UTC)
        await self._database.execute(
            "UPDATE api_keys SET expires_at = $1, updated_at = $1"
            " WHERE id = $2 AND expires_at > $1",
            now,
            key.id,
        )

    async def delete_token(self, key: Key) -> None:
        """End a token now and remove its record."""
        await self._database.execute("DELETE FROM api_keys WHERE id = $1", key.id)

    async def owner_of(self, token: CoderToken) -> User | None:
        """Return the active user whom the token proves now, or None."""
        rows = await self._database.fetch(SELECT_RECORD, token.id)
        record = TokenRecord(*(rows[0][column] for column in range(10))) if rows else None
        identity = check(record, token, datetime.now(UTC))
        if not isinstance(identity, Identity):
            return None
        return await self._user("u.id = $1", identity.user_id)
