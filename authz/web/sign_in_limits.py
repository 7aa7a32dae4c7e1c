"""How often somebody may try to sign in: a token bucket for each key, in bounded memory."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable


class Limit:
    """Lets each key pass some times at once, and then at a steady rate.

    Args:
        times: how often at once, and in each period.
        seconds: of the period.
        max_keys: how many are remembered; the least recently seen go first.
        clock: monotonic seconds.
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
        """Count a try.

        Returns:
            None if it may be made, else the whole seconds until the next may.
        """
        now = self._clock()
        left, since = self._buckets.get(key, (float(self._times), now))
        left = min(self._times, left + (now - since) * self._rate)
        waits = None if left >= 1 else math.ceil((1 - left) / self._rate)
        self._keep(key, left - 1 if waits is None else left, now)
        return waits

    def give_back(self, key: str) -> None:
        """Uncount a try that turned out to be a good one."""
        if (bucket := self._buckets.get(key)) is not None:
            self._keep(key, min(self._times, bucket[0] + 1), bucket[1])

    def _keep(self, key: str, left: float, now: float) -> None:
        self._buckets[key] = (left, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
