"""Open the usage store when a page first needs it, and again after a failure."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from authz.config.settings import Config
from authz.errors import StoreError
from authz.usage.service import database_url, open_usage_store
from authz.usage.store import UsageStore

_log = structlog.get_logger(__name__)


class UsageRows:
    """The recorded requests.

    Args:
        config: returns the current configuration.
    """

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config
        self._store: UsageStore | None = None
        self._lock = asyncio.Lock()

    async def get(self) -> UsageStore | None:
        """Return the store of recorded requests; None if requests are not recorded.

        Raises:
            StoreError: the store can't be opened.
        """
        config = self._config()
        if not config.usage.enabled or database_url(config) is None:
            return None
        async with self._lock:
            if self._store is None:
                self._store = await open_usage_store(config)
            return self._store

    async def last_uses(self, user_id: str) -> dict[str, datetime]:
        """Return the last use of each of a user's tokens at a provider; empty if unknown.

        The identity store does not have it, because checks write nothing.
        """
        try:
            rows = await self.get()
            found = await rows.last_uses(user_id) if rows is not None else {}
        except StoreError as error:
            _log.info("last uses unknown", why=str(error))
            return {}
        return {
            token_id: datetime.fromtimestamp(milliseconds / 1000, UTC)
            for token_id, milliseconds in found.items()
        }

    async def close(self) -> None:
        """Close the store."""
        store, self._store = self._store, None
        if store is not None:
            await store.close()
