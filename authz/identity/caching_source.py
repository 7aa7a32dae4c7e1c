"""What an operator may trade for speed or availability: remembered answers, bounded in time.

Without ``identity_max_staleness`` and ``identity_stale_if_error`` nothing here is used, and every
request is looked up.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

from cachetools import LRUCache

from authz.core.identity import Identity, IdentitySource, Rejection
from authz.core.tokens import CoderToken
from authz.errors import IdentityUnavailable, IdentityUnreachable

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Seen(Generic[V]):
    """An answer and its moment.

    Attributes:
        at: of an allow, when its look-up was asked for: from then on it may be outdated. Of a
            rejection, when it was learned: every look-up that was asked for until then may be
            older than it, because a look-up may wait, and so start later than one asked for later.
    """

    answer: V
    at: float


class CachingSource:
    """A source that may answer again what it was told before.

    A rejection is remembered at once and wins over an older allow that is still in flight.

    Args:
        source: who knows.
        max_staleness: seconds for which an allow is answered again without asking.
        stale_if_error: seconds for which an allow is answered again while ``source`` gives no
            answer at all.
        on_stale: called for each answer that ``stale_if_error`` made possible.
        max_tokens: how many are remembered; the least recently used go first.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        source: IdentitySource,
        *,
        max_staleness: float,
        stale_if_error: float,
        on_stale: Callable[[], None] = lambda: None,
        max_tokens: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self.is_immediate: bool = getattr(source, "is_immediate", False)
        self._max_staleness = max_staleness
        self._stale_if_error = stale_if_error
        self._on_stale = on_stale
        self._clock = clock
        # Apart, so that a flood of bad tokens can't push the good ones out.
        self._good: LRUCache[CoderToken, _Seen[Identity]] = LRUCache(max_tokens)
        self._bad: LRUCache[CoderToken, _Seen[Rejection]] = LRUCache(max_tokens)

    async def verify(self, token: CoderToken) -> Identity | Rejection:
        """Answer from memory where the settings allow it, else ask."""
        began = self._clock()
        remembered = self._remembered(token, began, self._max_staleness)
        if remembered is not None:
            return remembered
        try:
            verification = await self._source.verify(token)
        except IdentityUnreachable:
            remembered = self._remembered(token, self._clock(), self._stale_if_error)
            if remembered is None:
                raise
            self._on_stale()
            return replace(remembered, stale=True)
        except IdentityUnavailable:
            # The source is up and does not vouch for the token. Coder limits deleted tokens by
            # address, so a flood of others would else let them live until the end of the grace.
            self._good.pop(token, None)
            raise
        return self._remember(token, verification, began)

    async def check_ready(self) -> None:
        """As the source says: with remembered answers alone no new token would pass."""
        await self._source.check_ready()

    async def close(self) -> None:
        """Close the source."""
        await self._source.close()

    def _remembered(self, token: CoderToken, now: float, seconds: float) -> Identity | None:
        seen = self._good.get(token)
        if seen is None or seconds <= 0 or now - seen.at > seconds:
            return None
        if seen.answer.expires_at is not None and seen.answer.expires_at < datetime.now(UTC):
            return None
        return seen.answer

    def _remember(
        self, token: CoderToken, verification: Identity | Rejection, began: float
    ) -> Identity | Rejection:
        # What is remembered for hours is not the secret itself.
        key = replace(token, text=None)
        if isinstance(verification, Rejection):
            self._good.pop(token, None)
            self._bad[key] = _Seen(verification, self._clock())
            return verification
        refused = self._bad.get(token)
        if refused is not None and refused.at >= began:
            return refused.answer
        seen = self._good.get(token)
        if seen is None or seen.at < began:
            self._good[key] = _Seen(verification, began)
        return verification
