"""An optional cache in front of an identity source, limited in time.

It is used only with ``identity_max_staleness`` or ``identity_stale_if_error``. Without them every
request is looked up.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

from cachetools import LRUCache

from authz.core.identity import Identity, IdentitySource, Rejection, VerifyNow
from authz.core.tokens import CoderToken
from authz.errors import IdentityUnavailable, IdentityUnreachable

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Seen(Generic[V]):
    """A cached answer.

    Attributes:
        answer: the identity or the rejection.
        at: of an identity, the time at which its look-up was requested, since it may be outdated
            from then on. Of a rejection, the time of the answer: any look-up that was requested
            before may be older, because look-ups may wait and overtake each other.
    """

    answer: V
    at: float


class CachingSource:
    """A source that caches the answers of another source.

    A rejection is cached at once, and replaces an older identity whose look-up is still running.

    Args:
        source: the source that is cached.
        max_staleness: seconds for which an identity is returned without a look-up.
        stale_if_error: seconds for which an identity is returned while ``source`` is unreachable.
        on_stale: called for each answer that ``stale_if_error`` allowed.
        max_tokens: the maximum number of cached identities, and of rejections. The least recently
            used ones are removed first.
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
        self._verify_now: VerifyNow | None = getattr(source, "verify_now", None)
        self._max_staleness = max_staleness
        self._stale_if_error = stale_if_error
        self._on_stale = on_stale
        self._clock = clock
        # Separate caches, so that a flood of invalid tokens can't evict the valid ones.
        self._good: LRUCache[CoderToken, _Seen[Identity]] = LRUCache(max_tokens)
        self._bad: LRUCache[CoderToken, _Seen[Rejection]] = LRUCache(max_tokens)

    async def verify(self, token: CoderToken) -> Identity | Rejection:
        """Return the cached answer if the settings allow it, else look the token up."""
        began = self._clock()
        remembered = self._remembered(token, began, self._max_staleness)
        if remembered is not None:
            return remembered
        try:
            verification = await self._source.verify(token)
        except IdentityUnavailable as error:
            return self._failed(token, error)
        return self._remember(token, verification, began)

    def verify_now(self, token: CoderToken) -> Identity | Rejection | None:
        """Return what ``verify`` would, or None if that has to wait."""
        began = self._clock()
        remembered = self._remembered(token, began, self._max_staleness)
        if remembered is not None:
            return remembered
        if self._verify_now is None:
            return None
        try:
            verification = self._verify_now(token)
        except IdentityUnavailable as error:
            return self._failed(token, error)
        return None if verification is None else self._remember(token, verification, began)

    def _failed(self, token: CoderToken, error: IdentityUnavailable) -> Identity:
        """Return the identity of before if the settings allow it, else raise the error."""
        if not isinstance(error, IdentityUnreachable):
            # The source is up, and the token may be deleted. Coder limits deleted tokens by
            # address, so a flood could otherwise keep them valid for ``stale_if_error``.
            self._good.pop(token, None)
            raise error
        remembered = self._remembered(token, self._clock(), self._stale_if_error)
        if remembered is None:
            raise error
        self._on_stale()
        return replace(remembered, stale=True)

    async def check_ready(self) -> None:
        """Return when the source is ready; cached answers alone would not serve new tokens."""
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
        # The cache lasts for hours, so it must not hold the secret itself.
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
