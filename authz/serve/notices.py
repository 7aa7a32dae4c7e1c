"""Notices in the running service: their senders, and what the other parts tell them."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from authz.config.settings import Config
from authz.identity.store import Store
from authz.metrics import Metrics

if TYPE_CHECKING:
    from authz.notices.key_pools import KeyPoolNotices
    from authz.notices.sending import NoticeSender


class Notices:
    """The notices of a process.

    Args:
        config: names the receivers.
        store: returns the identity store.
        metrics: count the notices.
        sends: whether this process sends them; it stores its own in any case.

    Raises:
        ConfigError: the secret of a receiver or a file can't be used.
    """

    def __init__(
        self,
        config: Config,
        store: Callable[[], Awaitable[Store]],
        metrics: Metrics,
        *,
        sends: bool,
    ) -> None:
        self._senders: list[NoticeSender] = []
        self._sender: NoticeSender | None = None
        self._pools: KeyPoolNotices | None = None
        self._config, self._store, self._metrics = config, store, metrics
        if config.tokens.notices is not None or config.notices is not None:
            self._open(sends=sends)

    def _open(self, *, sends: bool) -> None:
        # Imported late: most gateways send no notices.
        from authz.budgets.announcements import BUDGET_REACHED
        from authz.identity.store_token_ends import ENDS_SOON
        from authz.notices import key_pools, sending

        tokens, notices = self._config.tokens.notices, self._config.notices
        count = self._metrics.count_notice
        if tokens is not None and sends:
            self._metrics.expect_notices([ENDS_SOON])
            self._senders.append(sending.TokenNoticeSender(tokens, self._store, os.environ, count))
        if notices is None:
            return
        if sends:
            kinds = (BUDGET_REACHED, key_pools.KEYS_EXHAUSTED)
            self._metrics.expect_notices(kinds)
            self._sender = sending.NoticeSender(
                notices.webhook, kinds, self._store, os.environ, count
            )
            self._senders.append(self._sender)
        self._pools = key_pools.KeyPoolNotices(self._store, self.wake)

    def start(self, parts: AsyncExitStack) -> None:
        """Start sending.

        Args:
            parts: gets the functions that stop it.
        """
        for sender in self._senders:
            parts.push_async_callback(sender.close)
            parts.callback(asyncio.create_task(sender.run()).cancel)
        if self._pools is not None:
            parts.callback(self._pools.stop)

    def wake(self) -> None:
        """Send a notice that was stored now, if this process sends any."""
        if self._sender is not None:
            self._sender.wake()

    def keys_exhausted(self, provider: str, keys: int, seconds: float) -> None:
        """Tell that all central keys of a provider rest; see ``KeyPool.on_exhausted``."""
        if self._pools is not None:
            self._pools.exhausted(provider, keys, seconds)
