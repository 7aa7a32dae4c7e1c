"""Make the notices of tokens that end soon."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import structlog

from authz.identity.accounts import ApiKey, rfc3339
from authz.identity.store_notices import Notice, NoticeStore
from authz.identity.store_token_ends import ENDS_SOON, TokenEndStore, notice_id
from authz.printable import printable

_log = structlog.get_logger(__name__)

_COUNT = 500
_KEEP = timedelta(days=1)
"""Clocks of replicas may differ by less."""


async def note_ending_tokens(
    tokens: TokenEndStore, notices: NoticeStore, before: Sequence[timedelta], now: datetime
) -> int:
    """Store a notice for each token that ends soon and has none, and return their number.

    After a longer pause a token that two notices are due for gets the later one only.

    Args:
        tokens: finds the tokens.
        notices: takes the notices.
        before: how long before the end of a token there is a notice.
        now: the time.
    """
    made = 0
    await tokens.drop_untrue_notices(now)
    nearer = timedelta(0)
    for duration in sorted(before):
        last = ""
        while keys := await tokens.tokens_ending(
            now + nearer, now + duration, duration, last=last, limit=_COUNT
        ):
            added = await notices.add_notices(list(_notices(keys, duration)), now)
            for notice in added:
                _log.info("token ends soon", **notice.data)
            made += len(added)
            last = keys[-1][0].id
        nearer = duration
    return made


def _notices(keys: Sequence[tuple[ApiKey, str]], before: timedelta) -> Iterator[Notice]:
    for key, email in keys:
        if _was_shortened(key):
            continue
        yield Notice(
            notice_id(key.id, before),
            ENDS_SOON,
            {
                "token_id": key.id,
                "token_name": printable(key.token_name),
                "username": printable(key.username),
                "email": printable(email),
                "expires_at": rfc3339(key.expires_at),
            },
            key.id,
            key.expires_at + _KEEP,
        )


def _was_shortened(key: ApiKey) -> bool:
    """Return whether a token was rotated, so that its owner has another one."""
    return key.expires_at < key.created_at + timedelta(seconds=key.lifetime_seconds)
