"""The store of users, groups and tokens, for the commands and the token API.

A method that refuses raises StoreError with a line that says what to do. No error quotes a token,
not even one that was given in the wrong place.
"""

from datetime import UTC, datetime, timedelta

from authz import lifetimes
from authz.core.identity import Identity
from authz.core.rules import NO_RULES, TokenRules
from authz.core.tokens import CoderToken
from authz.database.interface import Conflict
from authz.errors import StoreError
from authz.identity.accounts import ApiKey, User
from authz.identity.audit import Action
from authz.identity.names import check_token_name, invent_token_name, rotated_name
from authz.identity.record import SELECT_RECORD, TokenRecord, check
from authz.identity.roles import longest_lifetime
from authz.identity.store_groups import GroupStore
from authz.identity.store_keys import KeyWriter, NameTaken, NotRotated
from authz.identity.store_links import LinkStore
from authz.identity.store_machines import MachineTokenStore
from authz.identity.store_reveal import RevealStore
from authz.identity.store_sessions import SessionStore
from authz.identity.store_tokens import TokenReader
from authz.identity.store_users import UserStore

_INVENTIONS = 20


class Store(
    KeyWriter,
    UserStore,
    GroupStore,
    SessionStore,
    RevealStore,
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
        for_machine: bool = False,
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
            for_machine: the token is one of a rule for machines, which have a limit of their own.

        Returns:
            The token's text, which the store can't return again, and its record.

        Raises:
            NameTaken: the user has a token with this name.
            TooManyTokens: the user has as many tokens as a user may have.
            OwnerChanged: the owner is not active.
        """
        if name is not None:
            if problem := check_token_name(name):
                raise StoreError(problem)
            try:
                return await self._insert(
                    user,
                    name,
                    lifetime,
                    "token",
                    rules,
                    digest=digest,
                    is_counted=not for_machine,
                )
            except Conflict:
                raise NameTaken(
                    f'A token with name "{name}" already exists: choose another name, or remove it'
                    f" with 'authz tokens remove --delete'"
                ) from None
        for _ in range(_INVENTIONS):
            try:
                name = invent_token_name()
                return await self._insert(
                    user, name, lifetime, "token", rules, digest=digest, is_counted=True
                )
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
        self,
        user: User,
        key: ApiKey,
        overlap: timedelta = lifetimes.OVERLAP,
        *,
        digest: bytes | None = None,
    ) -> tuple[str, ApiKey]:
        """Replace a token by a new one with its name, limits and lifetime.

        Both changes are one transaction. The old token gets the name of ``rotated_name`` and works
        until the end of the overlap, or until its own end if that is earlier.

        Args:
            user: the owner of the token, who has to be active.
            key: the token, which must not have ended.
            overlap: how long both tokens work; zero ends the old one at once.
            digest: as for ``create_token``.

        Returns:
            The new token's text, which the store can't return again, and its record.

        Raises:
            NotRotated: the token can't be rotated.
            TooManyTokens: the user has more tokens than a user may have, not counting this one.
            OwnerChanged: the owner is not active.
        """
        if key.login_type != "token":
            raise NotRotated("a session can't be rotated: sign in again")
        if overlap < timedelta(0):
            raise NotRotated("an overlap must not be negative")
        lifetime = min(
            timedelta(seconds=max(1, key.lifetime_seconds)),
            longest_lifetime(user),
        )
        try:
            return await self._insert(
                user,
                key.token_name,
                lifetime,
                "token",
                key.rules,
                digest=digest,
                rotated=(key, overlap),
                is_counted=True,
            )
        except Conflict:
            name = rotated_name(key.token_name, key.id)
            raise NotRotated(
                f'the old token would get the name "{name}", which another token has: remove that'
            ) from None

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

    async def owner_of(self, token: CoderToken) -> User | None:
        """Return the active user whom the token proves, or None."""
        rows = await self._database.fetch(SELECT_RECORD, token.id)
        record = TokenRecord(*(rows[0][column] for column in range(12))) if rows else None
        identity = check(record, token, datetime.now(UTC))
        if not isinstance(identity, Identity):
            return None
        return await self._user("u.id = $1", identity.user_id)
