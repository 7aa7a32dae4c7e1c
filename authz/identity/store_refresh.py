"""Refresh tokens in the store: they rotate, and a copy ends the sign-in."""

import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from authz.core import tokens
from authz.core.device import RefreshToken, read_refresh_token
from authz.core.tokens import hash_secret
from authz.database.interface import Queries
from authz.identity.accounts import ApiKey, User
from authz.identity.audit import Action
from authz.identity.roles import longest_lifetime
from authz.identity.store import Store
from authz.identity.store_base import SELECT_KEY, SELECT_USER


class RefreshRefused(Exception):  # noqa: N818
    """A refresh token is not valid; the text says why, for the log."""


@dataclass(frozen=True, slots=True)
class Issued:
    """The tokens of one answer.

    Attributes:
        access: text of the access token.
        refresh: text of the refresh token; empty for a session, which use extends.
        expires_in: seconds until the access token ends.
    """

    access: str
    refresh: str
    expires_in: int
    user: User


class RefreshStore(Store):
    """The part of the store for refresh tokens."""

    async def refresh(
        self, given: RefreshToken, lifetime: timedelta, grace: timedelta, longest: timedelta
    ) -> Issued:
        """Replace a refresh token and its access token.

        The token before the current one gets the current answer again for a while, since a client
        may lose an answer, and several processes of one client share a token. Every other earlier
        token was copied: the sign-in ends, with its access token.

        Args:
            given: the token that the client sent.
            lifetime: of the new access token.
            grace: the time for which the token before the current one is answered.
            longest: the time from the sign-in after which a person has to sign in again.

        Raises:
            RefreshRefused: the token is not valid.
        """
        refused = ""
        async with self._database.transaction() as transaction:
            now = datetime.now(UTC)
            # The first statement takes the row's lock, so that of two requests one waits.
            await transaction.execute(
                "UPDATE refresh_tokens SET api_key_id = api_key_id WHERE api_key_id = $1", given.id
            )
            rows = await transaction.fetch(
                "SELECT * FROM refresh_tokens WHERE api_key_id = $1", given.id
            )
            if not rows or not hmac.compare_digest(
                bytes(rows[0]["family_digest"]), given.family_digest
            ):
                raise RefreshRefused("unknown")
            row = rows[0]
            key = ApiKey.of((await transaction.fetch(f"{SELECT_KEY} WHERE k.id = $1", given.id))[0])
            users = await transaction.fetch(f"{SELECT_USER} AND u.id = $1", key.user_id)
            user = User.of(users[0]) if users else None
            is_current = hmac.compare_digest(bytes(row["digest"]), given.digest)
            is_previous = row["previous_digest"] is not None and hmac.compare_digest(
                bytes(row["previous_digest"]), given.digest
            )
            if user is None or user.status != "active":
                refused = "the user is deleted or suspended"
            elif key.expires_at != row["access_expires_at"]:
                refused = "the access token was ended"
            elif row["created_at"] + longest <= now:
                refused = "the sign-in is too old"
            elif is_previous and now < row["rotated_at"] + grace:
                following, access = given.next(bytes(row["seed"]))
                left = int((key.expires_at - now).total_seconds())
                return Issued(f"{key.id}-{access}", following.text, max(left, 0), user)
            elif not is_current:
                refused = "a refresh token was used again"
            else:
                return await self._rotate(transaction, given, key, user, lifetime)
            await transaction.execute("DELETE FROM api_keys WHERE id = $1", key.id)
            await self._note_key(transaction, Action.DELETE, key, why=refused)
        raise RefreshRefused(refused)

    async def _rotate(
        self,
        transaction: Queries,
        given: RefreshToken,
        key: ApiKey,
        user: User,
        lifetime: timedelta,
    ) -> Issued:
        now, seed = datetime.now(UTC), secrets.token_bytes(32)
        following, access = given.next(seed)
        expires_at = now + min(lifetime, longest_lifetime(user))
        await transaction.execute(
            "UPDATE refresh_tokens SET digest = $1, previous_digest = $2, seed = $3,"
            " access_expires_at = $4, rotated_at = $5 WHERE api_key_id = $6",
            following.digest,
            given.digest,
            seed,
            expires_at,
            now,
            key.id,
        )
        await transaction.execute(
            "UPDATE api_keys SET hashed_secret = $1, expires_at = $2, updated_at = $3"
            " WHERE id = $4",
            hash_secret(access),
            expires_at,
            now,
            key.id,
        )
        left = int((expires_at - now).total_seconds())
        return Issued(f"{key.id}-{access}", following.text, left, user)

    async def revoke(self, text: str) -> bool:
        """End the sign-in of an access token or a refresh token; return whether there was one."""
        if (refresh := read_refresh_token(text)) is not None:
            rows = await self._database.fetch(
                "SELECT family_digest AS digest FROM refresh_tokens WHERE api_key_id = $1",
                refresh.id,
            )
            token_id, digest = refresh.id, refresh.family_digest
        elif (token := tokens.parse(text)) is not None:
            rows = await self._database.fetch(
                "SELECT k.hashed_secret AS digest FROM api_keys k"
                " JOIN refresh_tokens r ON r.api_key_id = k.id WHERE k.id = $1",
                token.id,
            )
            token_id, digest = token.id, token.digest
        else:
            return False
        if not rows or not hmac.compare_digest(bytes(rows[0]["digest"]), digest):
            return False
        async with self._database.transaction() as transaction:
            keys = await transaction.fetch(f"{SELECT_KEY} WHERE k.id = $1", token_id)
            await transaction.execute("DELETE FROM api_keys WHERE id = $1", token_id)
            if keys:
                await self._note_key(transaction, Action.LOGOUT, ApiKey.of(keys[0]))
        return True
