"""The pool of one provider's central keys: chooses a key for each request, with cooldowns."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import structlog

from authz.core.decision_types import ChosenKey, Exhausted, FurtherKey
from authz.keys.refusal import OnRefused, Refusal, Requester
from authz.keys.sources import CentralKey
from authz.secret import Secret

_log = structlog.get_logger(__name__)

MAX_KEYS = 5
"""Coder's limit, too."""
COOLDOWN_SECONDS = 60.0
"""The cooldown of a key if the provider's response has no ``Retry-After``."""
MAX_COOLDOWN_SECONDS = 86_400.0
"""Limits the provider's ``Retry-After``, which may be a mistake."""
_SAME_SECONDS = 1.0
"""A refusal that comes a second time, by another way, may seem to end so much later."""


OnExhausted = Callable[[str, int, float], None]
"""Takes the provider, the number of its keys, and the seconds until one may be used again."""


OnCooldown = Callable[[str, int, int, float], None]
"""Takes the provider, the place of the key, the HTTP status, and the seconds of the cooldown."""


@dataclass(slots=True)
class _Cooldown:
    """The cooldown of a key; it does not hold for another key in the same place."""

    refusal: Refusal
    until: float

    @property
    def is_rate_limit(self) -> bool:
        return self.refusal.status == 429


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

    Attributes:
        on_cooldown: called when a key gets a cooldown, or a longer one, and with 0 seconds when a
            cooldown is over, or another key is in its place.
        on_exhausted: called when the last available key gets a cooldown.
        on_refused: called with a refusal that other processes should ``learn``: one that began or
            prolonged a cooldown, or one of the last available key.
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
        self._last_usable: list[tuple[int, int | None]] = []
        self.on_cooldown: OnCooldown | None = None
        self.on_exhausted: OnExhausted | None = None
        self.on_refused: OnRefused | None = None

    @property
    def has_cooldown(self) -> bool:
        """True if keys get cooldowns."""
        return self._has_cooldown

    @property
    def keys(self) -> tuple[CentralKey, ...]:
        """The keys, in order."""
        return self._keys

    def choose(self) -> ChosenKey | Exhausted | None:
        """Return the key for a request, or None if the provider has no central key."""
        if not self._has_cooldown:
            for only in self._keys:
                key = only.current()
                return None if key is None else self._chosen([(key, None)])
            return None
        cooldowns, usable = [], []
        for index, one in enumerate(self._keys):
            key = one.current()
            if key is None:
                continue
            cooldown = self._cooldown_of(index, key)
            if cooldown is None:
                usable.append((key, index))
            else:
                cooldowns.append(cooldown)
        if usable:
            return self._chosen(usable)
        if not cooldowns:
            return None
        limited = [cooldown.until for cooldown in cooldowns if cooldown.is_rate_limit]
        return Exhausted(math.ceil(min(limited) - self._clock()) if limited else None)

    def refused(
        self,
        index: int,
        hint: str,
        status: int,
        retry_after: str,
        requester: Requester,
        ago: float = 0.0,
    ) -> None:
        """Put a key on cooldown, since the provider has refused it.

        This never shortens a cooldown.

        Args:
            index: of ``ChosenKey``; an index that is not in the pool is ignored.
            hint: the masked key; if another key has its place now, nothing happens.
            status: 429 or 401; others are ignored.
            retry_after: the header's value with a 429, or empty.
            requester: the sender of the request.
            ago: the seconds since the refusal.
        """
        if not self._has_cooldown or status not in (401, 429) or not 0 <= index < len(self._keys):
            return
        key = self._keys[index].current()
        if key is None or key.hint != hint:
            return
        # A date counts from the refusal as well, as the seconds do.
        at = datetime.now(UTC) - timedelta(seconds=ago)
        seconds = read_retry_after(retry_after, lambda: at) if status == 429 else None
        seconds = COOLDOWN_SECONDS if seconds is None else seconds
        if ago > 0 and seconds <= ago:
            return
        told = self._take(Refusal(index, key, status, seconds - ago, requester), is_late=ago > 0)
        if told is not None and self.on_refused is not None:
            self.on_refused(self._provider, told)

    def learn(self, refusal: Refusal) -> bool:
        """Take a refusal that another process was told of, as if this one had been told.

        If another key has its place now, nothing happens.

        Returns:
            Whether it is news here.
        """
        if not self._has_cooldown or not 0 <= refusal.index < len(self._keys):
            return False
        if self._keys[refusal.index].current() != refusal.key:
            return False
        return self._take(refusal, is_late=True, is_learned=True) is not None

    def cooldowns(self) -> list[Refusal]:
        """Return the cooldowns of now for other processes, those of the last keys at the end."""
        found = []
        for index, one in enumerate(self._keys):
            key = one.current()
            cooldown = None if key is None else self._cooldown_of(index, key)
            if cooldown is not None:
                found.append(replace(cooldown.refusal, seconds=cooldown.until - self._clock()))
        return sorted(found, key=lambda refusal: refusal.is_confirmed)

    def _take(
        self, refusal: Refusal, *, is_late: bool = False, is_learned: bool = False
    ) -> Refusal | None:
        """Put a key on cooldown, and return the refusal for other processes if it is news."""
        index, key = refusal.index, refusal.key
        until = self._clock() + refusal.seconds
        current = self._cooldown_of(index, key)
        if current is not None and current.until + _SAME_SECONDS * is_late >= until:
            return None
        is_confirmed = refusal.is_confirmed or (
            current is not None and current.refusal.is_confirmed
        )
        if current is None and not is_confirmed and self._is_last(index):
            is_confirmed = self._confirmed(index, key, refusal.status, refusal.requester)
            if not is_confirmed:
                return refusal
        refusal = replace(refusal, is_confirmed=is_confirmed)
        self._cooldowns[index] = _Cooldown(refusal, until)
        if self.on_cooldown is not None:
            self.on_cooldown(self._provider, index, refusal.status, refusal.seconds)
        if current is None:
            _log.warning(
                "central key on cooldown",
                provider=self._provider,
                key=index,
                credential_hint=key.hint,
                status=refusal.status,
                seconds=round(refusal.seconds),
                user=refusal.requester.user or None,
                token_id=refusal.requester.token_id or None,
                told_by_another_process=is_learned or None,
            )
            self._tell_if_exhausted()
        return refusal

    def _tell_if_exhausted(self) -> None:
        if not isinstance(self.choose(), Exhausted):
            return
        seconds = min(one.until for one in self._cooldowns.values()) - self._clock()
        _log.error(
            "all central keys on cooldown",
            provider=self._provider,
            keys=len(self._keys),
            seconds=round(seconds),
        )
        if self.on_exhausted is not None:
            self.on_exhausted(self._provider, len(self._keys), seconds)

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

    def _chosen(self, usable: Sequence[tuple[Secret, int | None]]) -> ChosenKey:
        """Return the same object for the same keys, so that callers can compare by identity."""
        chosen = self._last
        # The keys are compared by identity as well: a comparison of secrets takes its time.
        same = [(id(key), index) for key, index in usable]
        if chosen is None or self._last_usable != same:
            (key, index), *rest = usable
            further = tuple(FurtherKey(one, place) for one, place in rest if place is not None)
            chosen = self._last = ChosenKey(key, index, further)
            self._last_usable = same
        return chosen

    def _cooldown_of(self, index: int, key: Secret) -> _Cooldown | None:
        cooldown = self._cooldowns.get(index)
        if cooldown is None:
            return None
        if cooldown.until <= self._clock() or cooldown.refusal.key != key:
            del self._cooldowns[index]
            if self.on_cooldown is not None:
                self.on_cooldown(self._provider, index, cooldown.refusal.status, 0)
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
