"""Open the usage store when a page or the API first needs it, and again after a failure."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from authz.config.settings import Config
from authz.errors import StoreError
from authz.identity.accounts import ApiKey
from authz.usage.last_uses import with_last_uses
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

    async def with_last_uses(self, keys: Sequence[ApiKey]) -> list[ApiKey]:
        """Return the same keys with their last uses, as far as these are known."""
        try:
            rows = await self.get() if keys else None
            return list(keys) if rows is None else await with_last_uses(rows, keys)
        except StoreError as error:
            _log.info("last uses unknown", why=str(error))
            return list(keys)

    async def close(self) -> None:
        """Close the store."""
        store, self._store = self._store, None
        if store is not None:
            await store.close()
