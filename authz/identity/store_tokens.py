"""Reading of the tokens in the store."""

from datetime import UTC, datetime

from authz.core import tokens
from authz.errors import StoreError
from authz.identity.accounts import ApiKey, User
from authz.identity.store_base import SELECT_KEY, StoreBase


class TokenReader(StoreBase):
    """The part of the store that lists and finds tokens and sessions."""

    async def list_tokens(
        self, user: User | None = None, *, include_expired: bool = False
    ) -> list[ApiKey]:
        """Return tokens, oldest first, without sessions.

        Args:
            user: the owner; None means all users.
            include_expired: return expired tokens too.
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
        """Return some of a user's tokens, including expired ones, newest first.

        Args:
            user: the owner.
            first: the number of newer tokens to skip.
            count: the maximum number of tokens.
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
        """Return the token with a name or id, or None.

        Args:
            reference: a name, an id, or a whole token, whose id is used. Names come first, as in
                Coder. Sessions are found by id only.
            user: the owner; None means any user.

        Returns:
            The token, even if it has expired.

        Raises:
            StoreError: several users have a token with this name.
        """
        condition, args = "", [reference]
        if user is not None:
            condition = " AND k.user_id = $2"
            args.append(user.id)
        by_name = f"{SELECT_KEY} WHERE k.login_type = 'token' AND k.token_name = $1{condition}"
        rows = await self._database.fetch(by_name, *args)
        if len(rows) > 1:
            raise StoreError(
                "several users have a token with this name: use --user or the token's id"
            )
        if not rows:
            if tokens.has_token_shape(reference):
                args[0] = reference[: tokens.ID_LENGTH]
            rows = await self._database.fetch(f"{SELECT_KEY} WHERE k.id = $1{condition}", *args)
        return ApiKey.of(rows[0]) if rows else None

    async def find_named(self, user: User, name: str) -> ApiKey | None:
        """Return the user's token with this name, even if it has expired, or None."""
        condition = "k.login_type = 'token' AND k.token_name = $1 AND k.user_id = $2"
        rows = await self._database.fetch(f"{SELECT_KEY} WHERE {condition}", name, user.id)
        return ApiKey.of(rows[0]) if rows else None

    async def has_key(self, key_id: str) -> bool:
        """Return whether there is a token or session with this id."""
        return bool(await self._database.fetch("SELECT 1 FROM api_keys WHERE id = $1", key_id))

    async def find_key(self, user: User, key_id: str) -> ApiKey | None:
        """Return the user's token or session with this id, even if it has expired, or None."""
        sql = f"{SELECT_KEY} WHERE k.id = $1 AND k.user_id = $2"
        rows = await self._database.fetch(sql, key_id, user.id)
        return ApiKey.of(rows[0]) if rows else None
