"""Send notices as long as the service runs."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta

import structlog

from authz.config.tokens import TokenNotices
from authz.config.webhook import Webhook as WebhookSettings
from authz.errors import ManagedByCoder, StoreError
from authz.identity.store import Store
from authz.identity.store_notices import NoticeStore
from authz.identity.store_token_ends import ENDS_SOON, TokenEndStore
from authz.notices.delivery import Count, deliver
from authz.notices.token_ends import note_ending_tokens
from authz.notices.webhook import Webhook

_log = structlog.get_logger(__name__)

_SECONDS = 60.0
_FORGET_ROUNDS = 60


class NoticeSender:
    """Sends the notices of some kinds to the receiver of a webhook.

    Args:
        settings: of the receiver.
        kinds: of its notices.
        store: returns the identity store.
        environ: the environment, which may hold the secret.
        count: as for ``deliver``.

    Raises:
        ConfigError: the secret or a file can't be used.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        kinds: Collection[str],
        store: Callable[[], Awaitable[Store]],
        environ: Mapping[str, str],
        count: Count,
    ) -> None:
        self._kinds = kinds
        self._store = store
        self._count = count
        self._webhook = Webhook(settings, environ)
        self._rounds = 0
        self._due = asyncio.Event()

    def wake(self) -> None:
        """Send the notices that are due now, without waiting for the next minute."""
        self._due.set()

    async def run(self) -> None:
        """Send notices now, every minute and after each ``wake``, until cancelled."""
        problem = ""
        while True:
            self._due.clear()
            try:
                await self.send_due()
                problem = ""
            except ManagedByCoder as error:
                _log.error("no notices", kinds=list(self._kinds), why=str(error))
                return
            except StoreError as error:
                # Once, since the same problem would be logged every minute.
                if (text := str(error)) != problem:
                    _log.error("notices wait", kinds=list(self._kinds), why=text)
                problem = text
            # Replicas that start at once would always ask at once.
            seconds = _SECONDS * random.uniform(0.9, 1.1)  # noqa: S311 - no secret
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._due.wait()

    async def send_due(self) -> int:
        """Make and send the notices that are due now, and return how many arrived.

        Raises:
            StoreError: the store can't be used.
        """
        store = await self._store()
        notices = store.part(NoticeStore)
        now = datetime.now(UTC)
        if self._rounds % _FORGET_ROUNDS == 0:
            await notices.forget_notices(now)
        self._rounds += 1
        await self._note(store, notices, now)
        return await deliver(notices, self._webhook, self._kinds, count=self._count)

    async def close(self) -> None:
        """Close the connections to the receiver."""
        await self._webhook.close()

    async def _note(self, store: Store, notices: NoticeStore, now: datetime) -> None:
        """Store the notices that no other part of the program stores."""


class TokenNoticeSender(NoticeSender):
    """Tells the receiver of a webhook about tokens that end soon.

    Args:
        settings: of the notices.
        store: returns the identity store.
        environ: the environment, which may hold the secret.
        count: as for ``deliver``.

    Raises:
        ConfigError: the secret or a file can't be used.
    """

    def __init__(
        self,
        settings: TokenNotices,
        store: Callable[[], Awaitable[Store]],
        environ: Mapping[str, str],
        count: Count,
    ) -> None:
        super().__init__(settings.webhook, (ENDS_SOON,), store, environ, count)
        self._before = [timedelta(seconds=seconds) for seconds in settings.before]

    async def _note(self, store: Store, notices: NoticeStore, now: datetime) -> None:
        await note_ending_tokens(store.part(TokenEndStore), notices, self._before, now)
