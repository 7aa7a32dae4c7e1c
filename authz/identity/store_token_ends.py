"""The tokens that end soon, in the store."""

from datetime import datetime, timedelta

from authz.identity.accounts import KEY_COLUMNS, ApiKey
from authz.identity.store_base import StoreBase

ENDS_SOON = "token.ends_soon"


def notice_id(key_id: str, before: timedelta) -> str:
    """Return the id of the notice that a token ends within a duration."""
    return f"token-{key_id}-{int(before.total_seconds())}"


class TokenEndStore(StoreBase):
    """The part of the store that finds the tokens whose owners have to be told."""

    async def tokens_ending(
        self, after: datetime, until: datetime, before: timedelta, *, last: str, limit: int
    ) -> list[tuple[ApiKey, str]]:
        """Return tokens that end within a time and have no notice for it, by id.

        Sessions are left out, and tokens that renew themselves, and those of users who may not
        use them.

        Args:
            after: the tokens end after this time.
            until: the tokens end at this time at the latest.
            before: the duration that the notice is about; tokens with a shorter lifetime get none.
            last: the id after which to go on; empty for the first call.
            limit: the maximum number of tokens.

        Returns:
            The tokens with the e-mail addresses of their owners.
        """
        rows = await self._database.fetch(
            f"SELECT {KEY_COLUMNS}, u.email FROM api_keys k JOIN users u ON u.id = k.user_id"  # noqa: S608 - constants
            " WHERE k.login_type = 'token' AND k.expires_at > $1"
            " AND k.expires_at <= $2 AND k.lifetime_seconds > $3 AND k.id > $4"
            " AND u.deleted = false AND u.status <> 'suspended'"
            " AND NOT EXISTS (SELECT 1 FROM refresh_tokens r WHERE r.api_key_id = k.id)"
            " AND NOT EXISTS (SELECT 1 FROM notices n"
            " WHERE n.id = 'token-' || k.id || CAST($5 AS text))"
            " ORDER BY k.id LIMIT $6",
            after,
            until,
            int(before.total_seconds()),
            last,
            f"-{int(before.total_seconds())}",
            limit,
        )
        return [(ApiKey.of(row), row["email"]) for row in rows]

    async def drop_untrue_notices(self, now: datetime) -> None:
        """Delete unsent notices of tokens that have ended or been removed meanwhile."""
        started = "SELECT 1 FROM notices WHERE done_at IS NULL AND attempts > 0 LIMIT 1"
        # Mostly there is none, and then no other writer has to wait.
        if not await self._database.fetch(started):
            return
        await self._database.execute(
            "DELETE FROM notices WHERE kind = $1 AND done_at IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM api_keys k"
            " WHERE k.id = notices.subject AND k.expires_at > $2)",
            ENDS_SOON,
            now,
        )
