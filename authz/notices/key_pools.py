"""Make the notices of providers whose central keys all rest."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import structlog

from authz.errors import StoreError
from authz.identity.accounts import rfc3339
from authz.identity.store import Store
from authz.identity.store_notices import Notice, NoticeStore

_log = structlog.get_logger(__name__)

KEYS_EXHAUSTED = "keys.exhausted"
AGAIN = timedelta(minutes=10)
"""A pool that runs dry again within this time is the same event, as it is on several replicas."""
_KEEP = timedelta(days=1)
_RETRY_SECONDS = 5.0


class KeyPoolNotices:
    """Stores a notice each time that a provider has no central key left.

    Args:
        store: returns the identity store.
        on_stored: called after a notice was stored.
    """

    def __init__(
        self, store: Callable[[], Awaitable[Store]], on_stored: Callable[[], None]
    ) -> None:
        self._store = store
        self._on_stored = on_stored
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def exhausted(self, provider: str, keys: int, seconds: float) -> None:
        """Store a notice, without waiting.

        Args:
            provider: its name.
            keys: the number of its keys.
            seconds: the time after which the first of them may be used again.
        """
        if provider in self._tasks:
            return
        now = datetime.now(UTC)
        notice = Notice(
            f"keys-{uuid.uuid4()}",
            KEYS_EXHAUSTED,
            {
                "provider": provider,
                "keys": keys,
                "again_at": rfc3339(now + timedelta(seconds=seconds)),
            },
            provider,
            now + _KEEP,
        )
        task = asyncio.create_task(self._add(notice, now))
        self._tasks[provider] = task
        task.add_done_callback(lambda _: self._tasks.pop(provider, None))

    def stop(self) -> None:
        """Stop storing notices."""
        for task in tuple(self._tasks.values()):
            task.cancel()

    async def _add(self, notice: Notice, now: datetime) -> None:
        while True:
            try:
                store = await self._store()
                if await store.part(NoticeStore).add_unless_recent(notice, now - AGAIN, now):
                    self._on_stored()
                return
            except StoreError as error:
                _log.error("notice of central keys waits", why=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
