"""Count and delete the tokens that a rule gave to machines."""

from datetime import UTC, datetime

from authz.identity.accounts import User
from authz.identity.store_base import StoreBase


class MachineTokenStore(StoreBase):
    """The part of the store that keeps the number of machines' tokens low."""

    async def count_live_tokens(self, user: User, prefix: str) -> int:
        """Return the number of a user's valid tokens whose names begin with a prefix."""
        rows = await self._database.fetch(
            "SELECT count(*) AS live FROM api_keys WHERE user_id = $1 AND login_type = 'token'"
            " AND substr(token_name, 1, $2) = $3 AND expires_at >= $4",
            user.id,
            len(prefix),
            prefix,
            datetime.now(UTC),
        )
        return int(rows[0]["live"])

    async def forget_tokens(self, user: User, prefix: str, longest: int, before: datetime) -> int:
        """Delete the records of a user's short tokens that ended before a time.

        Args:
            user: the owner.
            prefix: the beginning of the tokens' names.
            longest: the lifetime in seconds up to which a token is a short one.
            before: the time.

        Returns:
            The number of deleted records.
        """
        return await self._database.execute(
            "DELETE FROM api_keys WHERE user_id = $1 AND login_type = 'token'"
            " AND substr(token_name, 1, $2) = $3 AND lifetime_seconds <= $4 AND expires_at < $5",
            user.id,
            len(prefix),
            prefix,
            longest,
            before,
        )
