"""The store of users, groups and tokens, for the commands and the token API.

A method that refuses raises StoreError with a line that says what to do. No error quotes a token,
not even one that was given in the wrong place.
"""

from datetime import UTC, datetime, timedelta

from authz import lifetimes
from authz.core import tokens
from authz.core.identity import Identity
from authz.core.rules import NO_RULES, TokenRules
from authz.core.tokens import CoderToken
from authz.database.interface import Conflict, Queries
from authz.errors import StoreError
from authz.identity import audit
from authz.identity.accounts import ApiKey, User, rfc3339
from authz.identity.audit import Action, Change, Resource
from authz.identity.names import check_token_name, invent_token_name, rotated_name
from authz.identity.record import SELECT_RECORD, TokenRecord, check
from authz.identity.roles import longest_lifetime
from authz.identity.store_base import SELECT_KEY
from authz.identity.store_groups import GroupStore
from authz.identity.store_links import LinkStore
from authz.identity.store_machines import MachineTokenStore
from authz.identity.store_purge import PurgeStore
from authz.identity.store_reveal import RevealStore
from authz.identity.store_sessions import SessionStore
from authz.identity.store_tokens import TokenReader
from authz.identity.store_users import UserStore

_INVENTIONS = 20


class NameTaken(StoreError):  # noqa: N818 - the API answers it with a status of its own
    """The user has a token with this name."""


class OwnerChanged(StoreError):  # noqa: N818
    """The owner of a new key was deleted or suspended meanwhile, or has another password."""


class Store(
    UserStore,
    GroupStore,
    SessionStore,
    RevealStore,
    PurgeStore,
    TokenReader,
    MachineTokenStore,
    LinkStore,
):
    """Users, groups, sessions and tokens in a database with the identity tables."""

    async def create_token(
        self,
        user: User,
        name: str | None = None,
        lifetime: timedelta = lifetimes.DEFAULT,
        rules: TokenRules = NO_RULES,
        *,
        digest: bytes | None = None,
    ) -> tuple[str, ApiKey]:
        """Create a long-lived token.

        Args:
            user: the owner, who has to be active.
            name: unique among the user's tokens, including expired ones. None means two random
                words.
            lifetime: more than zero and at most ``longest_lifetime`` of the owner.
            rules: the limits of the token.
            digest: stored instead of the secret's digest. The token then works only after
                ``reveal_token``.

        Returns:
            The token's text, which the store can't return again, and its record.
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
        raise StoreError("found no free name for the token: choose one with --name")

    async def create_session(
        self,
        user: User,
        lifetime: timedelta = lifetimes.SESSION,
        *,
        login_type: str = "password",
        proven_by: bytes | None = None,
        instead_of: str | None = None,
        digest: bytes | None = None,
    ) -> tuple[str, ApiKey]:
        """Create a session key, as ``coder login`` does; returns as ``create_token``.

        Args:
            user: the owner, who has to be active.
            lifetime: as for a token. Each use extends the session.
            login_type: ``oidc`` if an identity provider proved who the user is.
            proven_by: the stored hash that the user's password matched. StoreError if the user has
                another one now.
            instead_of: the id of a session of the user that this one replaces.
            digest: as for a token.
        """
        return await self._insert(
            user,
            "",
            lifetime,
            login_type,
            NO_RULES,
            proven_by=proven_by,
            instead_of=instead_of,
            digest=digest,
        )

    async def rotate_token(
        self, user: User, key: ApiKey, overlap: timedelta = lifetimes.OVERLAP
    ) -> tuple[str, ApiKey]:
        """Replace a token by a new one with its name, limits and lifetime.

        Both changes are one transaction. The old token gets the name of ``rotated_name`` and works
        until the end of the overlap, or until its own end if that is earlier.

        Args:
            user: the owner of the token, who has to be active.
            key: the token, which must not have ended.
            overlap: how long both tokens work; zero ends the old one at once.

        Returns:
            The new token's text, which the store can't return again, and its record.
        """
        if key.login_type != "token":
            raise StoreError("a session can't be rotated: sign in again")
        if overlap < timedelta(0):
            raise StoreError("an overlap must not be negative")
        lifetime = min(
            timedelta(seconds=max(1, key.lifetime_seconds)),
            longest_lifetime(user),
        )
        return await self._insert(
            user, key.token_name, lifetime, "token", key.rules, rotated=(key, overlap)
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
        rotated: tuple[ApiKey, timedelta] | None = None,
    ) -> tuple[str, ApiKey]:
        if not timedelta(0) < lifetime <= lifetimes.MAXIMUM:
            raise StoreError("a lifetime must be greater than 0 and at most 876600h")
        if lifetime > (longest := longest_lifetime(user)):
            hours = longest // timedelta(hours=1)
            raise StoreError(
                f"{user.username} is an owner: the lifetime of owners' tokens is at most {hours}h"
            )
        await self._purge()
        async with self._database.transaction() as transaction:
            return await self._write_key(
                transaction,
                user,
                name,
                lifetime,
                login_type,
                rules,
                proven_by=proven_by,
                instead_of=instead_of,
                digest=digest,
                rotated=rotated,
            )

    async def _write_key(
        self,
        transaction: Queries,
        user: User,
        name: str,
        lifetime: timedelta,
        login_type: str,
        rules: TokenRules,
        *,
        proven_by: bytes | None = None,
        instead_of: str | None = None,
        digest: bytes | None = None,
        rotated: tuple[ApiKey, timedelta] | None = None,
    ) -> tuple[str, ApiKey]:
        text, token = tokens.generate()
        now = datetime.now(UTC)
        await self._check_actor(transaction, user)
        await self._check_owner(transaction, user, proven_by)
        if rotated is not None:
            await self._retire(transaction, *rotated, now=now, successor=token.id)
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
        if rotated is not None:
            # The new token must not be wider than the old one.
            await transaction.execute(
                "UPDATE api_keys SET scopes = (SELECT scopes FROM api_keys WHERE id = $2),"
                " allow_list = (SELECT allow_list FROM api_keys WHERE id = $2) WHERE id = $1",
                token.id,
                rotated[0].id,
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
        details = {"lifetime_seconds": key.lifetime_seconds, "rules": rules.as_json()}
        await self._note_key(transaction, action, key, **details)
        return text, key

    async def _retire(
        self,
        transaction: Queries,
        old: ApiKey,
        overlap: timedelta,
        *,
        now: datetime,
        successor: str,
    ) -> None:
        end = min(old.expires_at, now + overlap)
        # The condition fails if another call has ended or rotated the token meanwhile.
        retired = await transaction.execute(
            "UPDATE api_keys SET token_name = $1, expires_at = $2, updated_at = $3"
            " WHERE id = $4 AND token_name = $5 AND expires_at = $6 AND expires_at > $3",
            rotated_name(old.token_name, old.id),
            end,
            now,
            old.id,
            old.token_name,
            old.expires_at,
        )
        if not retired:
            raise StoreError(
                "the token has ended or was changed meanwhile: 'authz tokens list' shows the"
                " tokens that work, 'authz tokens create' creates a new one"
            )
        details = {"successor": successor, "expires_at": rfc3339(end)}
        await self._note_key(transaction, Action.ROTATE, old, **details)

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

    async def expire_token(self, key: ApiKey) -> bool:
        """Expire a token now and keep its record, as ``coder tokens remove`` does.

        Returns:
            True if the record still exists.
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
        """Delete a token.

        Returns:
            True if the record still existed.
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
        """Return the active user whom the token proves, or None."""
        rows = await self._database.fetch(SELECT_RECORD, token.id)
        record = TokenRecord(*(rows[0][column] for column in range(12))) if rows else None
        identity = check(record, token, datetime.now(UTC))
        if not isinstance(identity, Identity):
            return None
        return await self._user("u.id = $1", identity.user_id)
