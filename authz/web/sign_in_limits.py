"""Limit attempts to sign in, with a token bucket for each key, in bounded memory."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable


class Limit:
    """Allows each key a burst of attempts, and then a steady rate.

    Args:
        times: attempts in a burst, and in each period.
        seconds: length of the period.
        max_keys: number of keys to keep; the least recently used is dropped first.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        times: int,
        seconds: float,
        *,
        max_keys: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._times = times
        self._rate = times / seconds
        self._max_keys = max_keys
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> int | None:
        """Count an attempt.

        Returns:
            None if the attempt is allowed, else the whole seconds until the next one is.
        """
        now = self._clock()
        left, since = self._buckets.get(key, (float(self._times), now))
        left = min(self._times, left + (now - since) * self._rate)
        waits = None if left >= 1 else math.ceil((1 - left) / self._rate)
        self._keep(key, left - 1 if waits is None else left, now)
        return waits

    def give_back(self, key: str) -> None:
        """Give back an attempt that succeeded."""
        if (bucket := self._buckets.get(key)) is not None:
            self._keep(key, min(self._times, bucket[0] + 1), bucket[1])

    def _keep(self, key: str, left: float, now: float) -> None:
        self._buckets[key] = (left, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
