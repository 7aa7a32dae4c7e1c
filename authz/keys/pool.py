"""The central keys of one provider: which serves the next request, and which rest."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import structlog

from authz.core.outcome import ChosenKey, Exhausted
from authz.keys.sources import CentralKey
from authz.secret import Secret

_log = structlog.get_logger(__name__)

MAX_KEYS = 5
"""As Coder has it (``coder-contract.md`` 2.6)."""
REST_SECONDS = 60.0
"""How long a key rests where the provider does not say."""
MAX_REST_SECONDS = 86_400.0
"""What a provider may ask for at most; a day of a mistaken ``Retry-After`` is enough."""


@dataclass(frozen=True, slots=True)
class Requester:
    """Whose request a provider refused, for the log and to tell people apart.

    Attributes:
        user_id: empty where the token has no user that is known; one person may have many of these
            tokens, so they tell nobody apart.
        user: the name, for the log.
    """

    user_id: str = ""
    token_id: str = ""
    user: str = ""


@dataclass(slots=True)
class _Rest:
    """Why and until when a key rests; another key in the same place does not."""

    key: Secret
    until: float
    is_rate_limit: bool


class KeyPool:
    """The ordered central keys of one provider.

    Every request gets the first key that does not rest: primary with fallback, not round robin
    (``coder-contract.md`` 2.6). A key rests after the provider answered a request with 429 or 401.
    The last key that serves rests only when the requests of two people were refused: one person
    could have caused it alone, and everybody would be without a key.

    Args:
        provider: its name, for the log.
        keys: in order.
        rests: whether keys rest; the only key of a provider does not, so that the provider's own
            answers reach the client.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        provider: str,
        keys: Sequence[CentralKey],
        *,
        rests: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._keys = tuple(keys)
        self._rests = rests
        self._clock = clock
        self._resting: dict[int, _Rest] = {}
        # Of the last key that serves: whose request was refused, and until when that counts.
        self._suspected: dict[int, tuple[Secret, str, float]] = {}
        self._last: ChosenKey | None = None

    def choose(self) -> ChosenKey | Exhausted | None:
        """Return the key for a request, or None where the provider has no central key."""
        if not self._rests:
            for only in self._keys:
                key = only.current()
                return None if key is None else self._chosen(key, None)
            return None
        rests = []
        for index, one in enumerate(self._keys):
            key = one.current()
            if key is None:
                continue
            rest = self._rest_of(index, key)
            if rest is None:
                return self._chosen(key, index)
            rests.append(rest)
        if not rests:
            return None
        limited = [rest.until for rest in rests if rest.is_rate_limit]
        return Exhausted(math.ceil(min(limited) - self._clock()) if limited else None)

    def refused(self, index: int, hint: str, status: int, retry_after: str, who: Requester) -> None:
        """Let a key rest, since the provider has refused it.

        A rest that is under way is never shortened.

        Args:
            index: as ``ChosenKey`` had it; one that is not in the pool is ignored.
            hint: the key, masked; where another key has its place now, nothing happens.
            status: 429 or 401; of any other nothing follows.
            retry_after: the header's value with a 429, or empty.
            who: whose request it was.
        """
        if not self._rests or status not in (401, 429) or not 0 <= index < len(self._keys):
            return
        key = self._keys[index].current()
        if key is None or key.hint != hint:
            return
        is_rate_limit = status == 429
        seconds = read_retry_after(retry_after) if is_rate_limit else None
        until = self._clock() + (REST_SECONDS if seconds is None else seconds)
        before = self._rest_of(index, key)
        if before is not None and before.until >= until:
            return
        if before is None and self._is_last(index) and not self._confirmed(index, key, status, who):
            return
        self._resting[index] = _Rest(key, until, is_rate_limit)
        if before is None:
            _log.warning(
                "central key rests",
                provider=self._provider,
                key=index,
                credential_hint=hint,
                status=status,
                seconds=round(until - self._clock()),
                user=who.user or None,
                token_id=who.token_id or None,
            )

    def _is_last(self, index: int) -> bool:
        """Say whether no other key would serve if this one rested."""
        for other, one in enumerate(self._keys):
            key = one.current() if other != index else None
            if key is not None and self._rest_of(other, key) is None:
                return False
        return True

    def _confirmed(self, index: int, key: Secret, status: int, who: Requester) -> bool:
        """Say whether somebody else's request was refused with the same key a while ago."""
        now = self._clock()
        before = self._suspected.get(index)
        is_fresh = before is not None and before[0] == key and now < before[2]
        if before is not None and is_fresh:
            if not who.user_id:
                return False
            if before[1] not in ("", who.user_id):
                del self._suspected[index]
                return True
        self._suspected[index] = (key, who.user_id, now + REST_SECONDS)
        if not is_fresh:
            _log.warning(
                "last central key goes on: the requests of one person alone were refused",
                provider=self._provider,
                key=index,
                credential_hint=key.hint,
                status=status,
                user=who.user or None,
                token_id=who.token_id or None,
            )
        return False

    def _chosen(self, key: Secret, index: int | None) -> ChosenKey:
        """Return the same object for the same key, which tells at once that it is."""
        last = self._last
        if last is None or last.key is not key or last.index != index:
            last = self._last = ChosenKey(key, index)
        return last

    def _rest_of(self, index: int, key: Secret) -> _Rest | None:
        rest = self._resting.get(index)
        if rest is None:
            return None
        if rest.until <= self._clock() or rest.key != key:
            del self._resting[index]
            return None
        return rest


def read_retry_after(
    value: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> float | None:
    """Read a ``Retry-After`` header (RFC 9110 10.2.3): seconds or a date.

    Returns:
        Seconds from now, from 0 to ``MAX_REST_SECONDS``; None for what is neither.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_REST_SECONDS)
    try:
        at = parsedate_to_datetime(text)
        # "-0000" says that the zone is unknown; HTTP dates are always UTC.
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return min(max(seconds.total_seconds(), 0.0), MAX_REST_SECONDS)
