"""The rows of requests that the page adds up: opened when needed, and again after a failure."""

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
    """The rows, if requests are recorded.

    Args:
        config: returns the configuration that is in force.
    """

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config
        self._store: UsageStore | None = None
        self._turn = asyncio.Lock()

    async def get(self) -> UsageStore | None:
        """Return the rows; None where requests are not recorded.

        Raises:
            StoreError: they can't be opened now.
        """
        config = self._config()
        if not config.usage.enabled or database_url(config) is None:
            return None
        async with self._turn:
            if self._store is None:
                self._store = await open_usage_store(config)
            return self._store

    async def last_uses(self, user_id: str) -> dict[str, datetime]:
        """Return when each of a user's tokens was last used at a provider; empty if unknown.

        The identity store does not say: a check writes nothing.
        """
        try:
            rows = await self.get()
            found = await rows.last_uses(user_id) if rows is not None else {}
        except StoreError as error:
            _log.info("last uses not known", why=str(error))
            return {}
        return {
            token_id: datetime.fromtimestamp(milliseconds / 1000, UTC)
            for token_id, milliseconds in found.items()
        }

    async def close(self) -> None:
        """Give back what they hold."""
        store, self._store = self._store, None
        if store is not None:
            await store.close()
