"""Send notices as long as the service runs."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog

from authz.config.tokens import TokenNotices
from authz.errors import ManagedByCoder, StoreError
from authz.identity.store import Store
from authz.identity.store_notices import NoticeStore
from authz.identity.store_token_ends import TokenEndStore
from authz.notices.delivery import deliver
from authz.notices.token_ends import note_ending_tokens
from authz.notices.webhook import Webhook

_log = structlog.get_logger(__name__)

_SECONDS = 60.0
_FORGET_ROUNDS = 60


class TokenNoticeSender:
    """Tells the receiver of a webhook about tokens that end soon.

    Args:
        settings: of the notices.
        store: returns the identity store.
        environ: the environment, which may hold the secret.

    Raises:
        ConfigError: the secret or a file can't be used.
    """

    def __init__(
        self,
        settings: TokenNotices,
        store: Callable[[], Awaitable[Store]],
        environ: Mapping[str, str],
    ) -> None:
        self._before = [timedelta(seconds=seconds) for seconds in settings.before]
        self._store = store
        self._webhook = Webhook(settings.webhook, environ)
        self._rounds = 0

    async def run(self) -> None:
        """Send notices now and every minute, until cancelled."""
        problem = ""
        while True:
            try:
                await self.send_due()
                problem = ""
            except ManagedByCoder as error:
                _log.error("no notices of tokens", why=str(error))
                return
            except StoreError as error:
                # Once, since the same problem would be logged every minute.
                if (text := str(error)) != problem:
                    _log.error("notices of tokens wait", why=text)
                problem = text
            # Replicas that start at once would always ask at once.
            await asyncio.sleep(_SECONDS * random.uniform(0.9, 1.1))  # noqa: S311 - no secret

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
        await note_ending_tokens(store.part(TokenEndStore), notices, self._before, now)
        return await deliver(notices, self._webhook)

    async def close(self) -> None:
        """Close the connections to the receiver."""
        await self._webhook.close()
