"""Deliver the notices in the store to a webhook, with growing pauses after failures."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from authz.identity.store_notices import ClaimedNotice, NoticeStore
from authz.notices.webhook import NotDelivered, Webhook

_log = structlog.get_logger(__name__)

PAUSES = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=6),
    timedelta(hours=12),
)
"""The pause after each failed attempt. After one more the notice is given up, a day later."""
_AT_ONCE = 4
_BATCH = 20
"""At ``webhook.SECONDS`` for each of ``_AT_ONCE``, a batch takes less than its lease."""


def _now() -> datetime:
    return datetime.now(UTC)


async def deliver(store: NoticeStore, webhook: Webhook, now: Callable[[], datetime] = _now) -> int:
    """Send the notices that are due, and return how many arrived."""
    arrived = 0
    while batch := await store.claim_notices(now(), _BATCH):
        slots = asyncio.Semaphore(_AT_ONCE)

        async def send(notice: ClaimedNotice, slots: asyncio.Semaphore = slots) -> bool:
            async with slots:
                return await _send(store, webhook, notice, now)

        results = await asyncio.gather(*map(send, batch))
        arrived += sum(results)
        if not any(results):
            # The receiver is down: the next round goes on.
            break
    return arrived


async def _send(
    store: NoticeStore, webhook: Webhook, notice: ClaimedNotice, now: Callable[[], datetime]
) -> bool:
    try:
        await webhook.send(notice.id, notice.body.encode())
    except NotDelivered as error:
        if notice.attempt > len(PAUSES):
            _log.error("notice given up", notice=notice.id, attempt=notice.attempt, why=str(error))
            await store.finish_notice(notice, now())
            return False
        pause = PAUSES[notice.attempt - 1]
        _log.warning(
            "notice not delivered",
            notice=notice.id,
            attempt=notice.attempt,
            why=str(error),
            again_in=str(pause),
        )
        await store.postpone_notice(notice, now() + pause)
        return False
    _log.info("notice delivered", notice=notice.id, attempt=notice.attempt)
    await store.finish_notice(notice, now())
    return True
