"""Tokens and sessions that are created in one request and handed out once, in the next."""

from datetime import UTC, datetime, timedelta

from authz.core import tokens
from authz.identity.accounts import ApiKey
from authz.identity.store_base import StoreBase


class RevealStore(StoreBase):
    """The part of the store that gives a token its secret."""

    async def reveal_token(self, key: ApiKey, digest: bytes) -> str | None:
        """Give a token its secret, once.

        Args:
            key: the record, created with ``digest``.
            digest: the value in the record instead of a secret's digest.

        Returns:
            The token's text, which the store can't return again. None if the token has its secret
            already, was created with another digest, or has ended.
        """
        text, secret_digest = tokens.generate_for(key.id)
        now = datetime.now(UTC)
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction)
            changed = await transaction.execute(
                "UPDATE api_keys SET hashed_secret = $1, updated_at = $2"
                " WHERE id = $3 AND hashed_secret = $4 AND expires_at > $2",
                secret_digest,
                now,
                key.id,
                digest,
            )
        return text if changed else None

    async def reveal_session(self, key_id: str, digest: bytes, lifetime: timedelta) -> str | None:
        """Give a session its secret and its lifetime, once.

        Args:
            key_id: the id of a session that was created with ``digest``.
            digest: the value in the record instead of a secret's digest.
            lifetime: the lifetime from now on.

        Returns:
            The session's token. None if it has its secret already, was created with another
            digest, or has ended.
        """
        text, secret_digest = tokens.generate_for(key_id)
        now = datetime.now(UTC)
        async with self._database.transaction() as transaction:
            changed = await transaction.execute(
                "UPDATE api_keys SET hashed_secret = $1, updated_at = $2, expires_at = $3,"
                " lifetime_seconds = $4 WHERE id = $5 AND hashed_secret = $6 AND expires_at > $2"
                " AND login_type <> 'token'",
                secret_digest,
                now,
                now + lifetime,
                int(lifetime.total_seconds()),
                key_id,
                digest,
            )
        return text if changed else None
