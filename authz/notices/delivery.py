"""Deliver the notices in the store to a webhook, with growing pauses after failures."""

import asyncio
from collections.abc import Callable, Collection
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
Count = Callable[[str, str], None]

_SENT = "sent"
_AT_ONCE = 4
_BATCH = 20
"""At ``webhook.SECONDS`` for each of ``_AT_ONCE``, a batch takes less than its lease."""


def _now() -> datetime:
    return datetime.now(UTC)


def _uncounted(kind: str, result: str) -> None:
    """Count nothing."""


async def deliver(
    store: NoticeStore,
    webhook: Webhook,
    kinds: Collection[str],
    now: Callable[[], datetime] = _now,
    count: Count = _uncounted,
) -> int:
    """Send the notices that are due, and return how many arrived.

    Args:
        store: has the notices.
        webhook: the receiver.
        kinds: of the notices that this receiver gets.
        now: returns the time.
        count: called with the kind and the result of each attempt: ``sent``, ``failed``, or
            ``given_up`` for the last one.
    """
    arrived = 0
    while batch := await store.claim_notices(now(), _BATCH, kinds):
        slots = asyncio.Semaphore(_AT_ONCE)

        async def send(notice: ClaimedNotice, slots: asyncio.Semaphore = slots) -> bool:
            async with slots:
                result = await _send(store, webhook, notice, now)
                count(notice.kind, result)
                return result == _SENT

        results = await asyncio.gather(*map(send, batch))
        arrived += sum(results)
        if not any(results):
            # The receiver is down: the next round goes on.
            break
    return arrived


async def _send(
    store: NoticeStore, webhook: Webhook, notice: ClaimedNotice, now: Callable[[], datetime]
) -> str:
    try:
        await webhook.send(notice.id, notice.body.encode())
    except NotDelivered as error:
        if notice.attempt > len(PAUSES):
            _log.error("notice given up", notice=notice.id, attempt=notice.attempt, why=str(error))
            await store.finish_notice(notice, now())
            return "given_up"
        pause = PAUSES[notice.attempt - 1]
        _log.warning(
            "notice not delivered",
            notice=notice.id,
            attempt=notice.attempt,
            why=str(error),
            again_in=str(pause),
        )
        await store.postpone_notice(notice, now() + pause)
        return "failed"
    _log.info("notice delivered", notice=notice.id, attempt=notice.attempt)
    await store.finish_notice(notice, now())
    return _SENT
