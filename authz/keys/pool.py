"""The pool of one provider's central keys: chooses a key for each request, with cooldowns."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import structlog

from authz.core.decision_types import ChosenKey, Exhausted
from authz.keys.sources import CentralKey
from authz.secret import Secret

_log = structlog.get_logger(__name__)

MAX_KEYS = 5
"""Coder's limit, too."""
COOLDOWN_SECONDS = 60.0
"""The cooldown of a key if the provider's response has no ``Retry-After``."""
MAX_COOLDOWN_SECONDS = 86_400.0
"""Limits the provider's ``Retry-After``, which may be a mistake."""


@dataclass(frozen=True, slots=True)
class Requester:
    """The sender of a request that a provider refused, for the log and to tell people apart.

    Attributes:
        user_id: empty for a token without a known user. One person may have many such tokens, so
            two of them may be one person.
        user: the name, for the log.
    """

    user_id: str = ""
    token_id: str = ""
    user: str = ""


@dataclass(slots=True)
class _Cooldown:
    """The cooldown of a key; it does not hold for another key in the same place."""

    key: Secret
    until: float
    is_rate_limit: bool


class KeyPool:
    """The ordered central keys of one provider.

    Every request gets the first key that is not on cooldown: primary with fallback, not round
    robin, as in Coder. A cooldown begins when the provider answers a request with 429 or 401.
    The last available key gets a cooldown only after the provider refused requests of two people:
    one person could cause a refusal alone, and everyone would be without a key.

    Args:
        provider: its name, for the log.
        keys: in order.
        has_cooldown: whether keys get cooldowns; the only key of a provider gets none, so that the
            provider's own responses reach the client.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        provider: str,
        keys: Sequence[CentralKey],
        *,
        has_cooldown: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._keys = tuple(keys)
        self._has_cooldown = has_cooldown
        self._clock = clock
        self._cooldowns: dict[int, _Cooldown] = {}
        # For the last available key: the person whose request was refused, and the end of the
        # time in which that counts.
        self._suspected: dict[int, tuple[Secret, str, float]] = {}
        self._last: ChosenKey | None = None

    @property
    def keys(self) -> tuple[CentralKey, ...]:
        """The keys, in order."""
        return self._keys

    def choose(self) -> ChosenKey | Exhausted | None:
        """Return the key for a request, or None if the provider has no central key."""
        if not self._has_cooldown:
            for only in self._keys:
                key = only.current()
                return None if key is None else self._chosen(key, None)
            return None
        cooldowns = []
        for index, one in enumerate(self._keys):
            key = one.current()
            if key is None:
                continue
            cooldown = self._cooldown_of(index, key)
            if cooldown is None:
                return self._chosen(key, index)
            cooldowns.append(cooldown)
        if not cooldowns:
            return None
        limited = [cooldown.until for cooldown in cooldowns if cooldown.is_rate_limit]
        return Exhausted(math.ceil(min(limited) - self._clock()) if limited else None)

    def refused(
        self, index: int, hint: str, status: int, retry_after: str, requester: Requester
    ) -> None:
        """Put a key on cooldown, since the provider has refused it.

        This never shortens a cooldown.

        Args:
            index: of ``ChosenKey``; an index that is not in the pool is ignored.
            hint: the masked key; if another key has its place now, nothing happens.
            status: 429 or 401; others are ignored.
            retry_after: the header's value with a 429, or empty.
            requester: the sender of the request.
        """
        if not self._has_cooldown or status not in (401, 429) or not 0 <= index < len(self._keys):
            return
        key = self._keys[index].current()
        if key is None or key.hint != hint:
            return
        is_rate_limit = status == 429
        seconds = read_retry_after(retry_after) if is_rate_limit else None
        until = self._clock() + (COOLDOWN_SECONDS if seconds is None else seconds)
        current = self._cooldown_of(index, key)
        if current is not None and current.until >= until:
            return
        is_suspect = current is None and self._is_last(index)
        if is_suspect and not self._confirmed(index, key, status, requester):
            return
        self._cooldowns[index] = _Cooldown(key, until, is_rate_limit)
        if current is None:
            _log.warning(
                "central key on cooldown",
                provider=self._provider,
                key=index,
                credential_hint=hint,
                status=status,
                seconds=round(until - self._clock()),
                user=requester.user or None,
                token_id=requester.token_id or None,
            )

    def _is_last(self, index: int) -> bool:
        """Return whether no other key is available."""
        for other, one in enumerate(self._keys):
            key = one.current() if other != index else None
            if key is not None and self._cooldown_of(other, key) is None:
                return False
        return True

    def _confirmed(self, index: int, key: Secret, status: int, requester: Requester) -> bool:
        """Return whether a request of another person was refused with this key a short time ago."""
        now = self._clock()
        last = self._suspected.get(index)
        is_fresh = last is not None and last[0] == key and now < last[2]
        if last is not None and is_fresh:
            if not requester.user_id:
                return False
            if last[1] not in ("", requester.user_id):
                del self._suspected[index]
                return True
        self._suspected[index] = (key, requester.user_id, now + COOLDOWN_SECONDS)
        if not is_fresh:
            _log.warning(
                "last central key stays in use: the provider refused requests of one person only",
                provider=self._provider,
                key=index,
                credential_hint=key.hint,
                status=status,
                user=requester.user or None,
                token_id=requester.token_id or None,
            )
        return False

    def _chosen(self, key: Secret, index: int | None) -> ChosenKey:
        """Return the same object for the same key, so that callers can compare by identity."""
        last = self._last
        if last is None or last.key is not key or last.index != index:
            last = self._last = ChosenKey(key, index)
        return last

    def _cooldown_of(self, index: int, key: Secret) -> _Cooldown | None:
        cooldown = self._cooldowns.get(index)
        if cooldown is None:
            return None
        if cooldown.until <= self._clock() or cooldown.key != key:
            del self._cooldowns[index]
            return None
        return cooldown


def read_retry_after(
    value: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> float | None:
    """Read a ``Retry-After`` header (RFC 9110 10.2.3): seconds or a date.

    Returns:
        Seconds from now, from 0 to ``MAX_COOLDOWN_SECONDS``; None for any other text.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_COOLDOWN_SECONDS)
    try:
        at = parsedate_to_datetime(text)
        # "-0000" means an unknown zone; HTTP dates are always UTC.
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return min(max(seconds.total_seconds(), 0.0), MAX_COOLDOWN_SECONDS)
