"""The store's users and tokens: what the commands and the token API may do with them.

Every method raises StoreError, one line that says what to do, when it refuses. No error quotes a
token, also not one that was given in the wrong place.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from authz import lifetimes
from authz.core import tokens
from authz.core.identity import Identity
from authz.core.rules import NO_RULES, TokenRules
from authz.core.tokens import CoderToken
from authz.database.interface import Conflict, Queries
from authz.errors import StoreError
from authz.identity import audit
from authz.identity.accounts import ApiKey, User
from authz.identity.audit import Action, Change, Resource
from authz.identity.names import check_token_name, invent_token_name
from authz.identity.record import SELECT_RECORD, TokenRecord, check
from authz.identity.roles import longest_lifetime
from authz.identity.store_base import SELECT_KEY
from authz.identity.store_reveal import RevealStore
from authz.identity.store_sessions import SessionStore
from authz.identity.store_users import UserStore

_INVENTIONS = 20
_PURGE_EVERY = timedelta(hours=1)


class NameTaken(StoreError):  # noqa: N818 - the API answers it with a status of its own
    """The user has a token of that name."""


class OwnerChanged(StoreError):  # noqa: N818
    """Whoever was to get a key was deleted or suspended meanwhile, or has another password."""


class Store(UserStore, SessionStore, RevealStore):
    """Users, sessions and tokens in a database that has our own tables."""

    async def create_token(
        self,
        user: User,
        name: str | None = None,
        lifetime: timedelta = lifetimes.DEFAULT,
        rules: TokenRules = NO_RULES,
        *,
        digest: bytes | None = None,
    ) -> tuple[str, ApiKey]:
        """Make a long-lived token.

        Args:
            user: its owner, who has to be active.
            name: unique among the user's tokens, expired ones too; None takes two random words.
            lifetime: above zero and at most ``longest_lifetime`` of the owner.
            rules: what it is limited to.
            digest: stored instead of the secret's; the token works after ``reveal_token`` only.

        Returns:
            The token's text, which nobody can get again, and its record.
        """
        if name is not None:
            if problem := check_token_name(name):
                raise StoreError(problem)
            try:
                return await self._insert(user, name, lifetime, "token", rules, digest=digest)
            except Conflict:
                raise NameTaken(
                    f'A token with name "{name}" already exists: choose another name, or remove it'
                    f" with 'authz tokens remove --delete'"
                ) from None
        for _ in range(_INVENTIONS):
            try:
                name = invent_token_name()
                return await self._insert(user, name, lifetime, "token", rules, digest=digest)
            except Conflict:
                continue
        raise StoreError("found no free name for the token: give one with --name")

    async def create_session(
        self,
        user: User,
        lifetime: timedelta = lifetimes.SESSION,
        *,
        proven_by: bytes | None = None,
        instead_of: str | None = None,
    ) -> tuple[str, ApiKey]:
        """Make a session key, as ``coder login`` does; returns as ``create_token``.

        Args:
            user: its owner, who has to be active.
            lifetime: as for a token; each use moves the end on.
            proven_by: the stored hash that the user's password was compared with; StoreError when
                it is no longer theirs.
            instead_of: the id of a session of theirs that this one replaces.
        """
        return await self._insert(
            user, "", lifetime, "password", NO_RULES, proven_by=proven_by, instead_of=instead_of
        )

    async def _insert(
        self,
        user: User,
        name: str,
        lifetime: timedelta,
        login_type: str,
        rules: TokenRules,
        *,
        proven_by: bytes | None = None,
        instead_of: str | None = None,
        digest: bytes | None = None,
    ) -> tuple[str, ApiKey]:
        if not timedelta(0) < lifetime <= lifetimes.MAXIMUM:
            raise StoreError("a lifetime is greater than 0 and at most 876600h")
        if lifetime > (longest := longest_lifetime(user)):
            hours = longest // timedelta(hours=1)
            raise StoreError(f"{user.username} is an owner, whose tokens live at most {hours}h")
        await self._purge()
        text, token = tokens.generate()
        now = datetime.now(UTC)
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction, user)
            await self._check_owner(transaction, user, proven_by)
            await transaction.execute(
                "INSERT INTO api_keys (id, hashed_secret, user_id, expires_at, created_at,"
                " updated_at, login_type, lifetime_seconds, token_name, authz_rules)"
                " VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9)",
                token.id,
                digest or token.digest,
                user.id,
                now + lifetime,
                now,
                login_type,
                int(lifetime.total_seconds()),
                name,
                rules.as_text(),
            )
            if instead_of is not None:
                await transaction.execute(
                    "DELETE FROM api_keys WHERE id = $1 AND user_id = $2 AND login_type <> 'token'",
                    instead_of,
                    user.id,
                )
            rows = await transaction.fetch(f"{SELECT_KEY} WHERE k.id = $1", token.id)
            key = ApiKey.of(rows[0])
            action = Action.CREATE if login_type == "token" else Action.LOGIN
            facts = {"lifetime_seconds": key.lifetime_seconds, "rules": rules.as_json()}
            await self._note_key(transaction, action, key, **facts)
        return text, key

    async def _check_owner(self, transaction: Queries, user: User, proven_by: bytes | None) -> None:
        rows = await transaction.fetch(
            "SELECT status, hashed_password FROM users WHERE id = $1 AND deleted = false", user.id
        )
        if not rows:
            raise OwnerChanged(f"the user {user.username} was deleted")
        if (status := rows[0]["status"]) != "active":
            raise OwnerChanged(
                f"the user {user.username} is {status}: 'authz users activate {user.username}'"
            )
        if proven_by is not None and bytes(rows[0]["hashed_password"]) != proven_by:
            raise OwnerChanged("the password was changed meanwhile")

    async def _purge(self) -> None:
        """Remove the records of keys that expired long ago, as Coder does (``dbpurge``).

        It goes with the making of a key, since without that their number does not grow; but once
        for this store and an hour, since it looks at every record.
        """
        if (now := datetime.now(UTC)) - self._memory.purged_at < _PURGE_EVERY:
            return
        self._memory.purged_at = now
        # Whoever may make keys need not be allowed to remove any.
        with suppress(StoreError):
            await self._database.execute(
                "DELETE FROM api_keys WHERE expires_at < $1", now - lifetimes.RETENTION
            )

    async def list_tokens(
        self, user: User | None = None, *, include_expired: bool = False
    ) -> list[ApiKey]:
        """Return tokens, oldest first; sessions are not listed (``coder-contract.md`` section 6).

        Args:
            user: whose, or None for everybody's.
            include_expired: expired tokens too.
        """
        since = datetime.min.replace(tzinfo=UTC) if include_expired else datetime.now(UTC)
        sql = f"{SELECT_KEY} WHERE k.login_type = 'token' AND k.expires_at >= $1"
        args: list[object] = [since]
        if user is not None:
            sql += " AND k.user_id = $2"
            args.append(user.id)
        rows = await self._database.fetch(f"{sql} ORDER BY k.created_at, k.id", *args)
        return [ApiKey.of(row) for row in rows]

    async def newest_tokens(self, user: User, first: int, count: int) -> list[ApiKey]:
        """Return some of a user's tokens, expired ones too, the newest first.

        Args:
            user: whose.
            first: how many newer ones to leave out.
            count: at most so many.
        """
        rows = await self._database.fetch(
            f"{SELECT_KEY} WHERE k.login_type = 'token' AND k.user_id = $1"
            " ORDER BY k.created_at DESC, k.id DESC LIMIT $2 OFFSET $3",
            user.id,
            count,
            first,
        )
        return [ApiKey.of(row) for row in rows]

    async def find_token(self, reference: str, user: User | None = None) -> ApiKey | None:
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
        by_name = f"{SELECT_KEY} WHERE k.login_type = 'token' AND k.token_name = $1{condition}"
        rows = await self._database.fetch(by_name, *args)
        if len(rows) > 1:
            raise StoreError("several users have a token of that name: give --user, or its id")
        if not rows:
            if tokens.has_token_shape(reference):
                args[0] = reference[: tokens.ID_LENGTH]
            rows = await self._database.fetch(f"{SELECT_KEY} WHERE k.id = $1{condition}", *args)
        return ApiKey.of(rows[0]) if rows else None

    async def find_named(self, user: User, name: str) -> ApiKey | None:
        """Return the user's long-lived token of that name, expired or not, or None."""
        condition = "k.login_type = 'token' AND k.token_name = $1 AND k.user_id = $2"
        rows = await self._database.fetch(f"{SELECT_KEY} WHERE {condition}", name, user.id)
        return ApiKey.of(rows[0]) if rows else None

    async def find_key(self, user: User, key_id: str) -> ApiKey | None:
        """Return the user's token or session of that id, expired or not, or None."""
        sql = f"{SELECT_KEY} WHERE k.id = $1 AND k.user_id = $2"
        rows = await self._database.fetch(sql, key_id, user.id)
        return ApiKey.of(rows[0]) if rows else None

    async def expire_token(self, key: ApiKey) -> bool:
        """End a token now and keep its record, as ``coder tokens remove`` does.

        Returns:
            Whether the record is still there.
        """
        now = datetime.now(UTC)
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction)
            expired = await transaction.execute(
                "UPDATE api_keys SET expires_at = $1, updated_at = $1"
                " WHERE id = $2 AND expires_at > $1",
                now,
                key.id,
            )
            if expired:
                await self._note_key(transaction, Action.EXPIRE, key)
            there = await transaction.fetch("SELECT 1 FROM api_keys WHERE id = $1", key.id)
        return bool(there)

    async def delete_token(self, key: ApiKey) -> bool:
        """End a token now and remove its record.

        Returns:
            Whether there was one still.
        """
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction)
            gone = await transaction.execute("DELETE FROM api_keys WHERE id = $1", key.id)
            if gone:
                await self._note_key(transaction, Action.DELETE, key)
        return bool(gone)

    async def _note_key(
        self, transaction: Queries, action: Action, key: ApiKey, **fields: object
    ) -> None:
        change = Change(
            action,
            Resource.API_KEY,
            key.id,
            key.token_name,
            key.username,
            {"login_type": key.login_type, **fields},
        )
        await audit.record(transaction, self._actor, change)

    async def owner_of(self, token: CoderToken) -> User | None:
        """Return the active user whom the token proves now, or None."""
        rows = await self._database.fetch(SELECT_RECORD, token.id)
        record = TokenRecord(*(rows[0][column] for column in range(11))) if rows else None
        identity = check(record, token, datetime.now(UTC))
        if not isinstance(identity, Identity):
            return None
        return await self._user("u.id = $1", identity.user_id)
