"""Deletion of the records of keys that expired long ago."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from authz import lifetimes
from authz.errors import StoreError
from authz.identity.store_base import StoreBase

_PURGE_EVERY = timedelta(hours=1)


class PurgeStore(StoreBase):
    """The part of the store that deletes records of keys."""

    async def _purge(self) -> None:
        """Delete the records of keys that expired long ago, as Coder does (``dbpurge``).

        Called when a key is created, since only then their number grows. It reads every record, so
        it runs at most once an hour.
        """
        if (now := datetime.now(UTC)) - self._memory.purged_at < _PURGE_EVERY:
            return
        self._memory.purged_at = now
        # The role of the database may not be allowed to delete keys.
        with suppress(StoreError):
            await self._database.execute(
                "DELETE FROM api_keys WHERE expires_at < $1", now - lifetimes.RETENTION
            )
