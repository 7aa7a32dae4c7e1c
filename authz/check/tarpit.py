"""Delays refusals during a flood, so that the flood takes less of the processor.

A client that sends its next request after the answer comes only as fast as the answers do. An
allowed request is never delayed, and neither are refusals at the rate of people's mistakes.
"""

import random
from collections import deque
from collections.abc import Callable
from time import perf_counter

from authz.check.ext_authz import FinishedResponse
from authz.delayed import DelayedResponse

BURST, A_SECOND = 50, 25.0
"""The refusals of one process that are not delayed: at once, and in each further second."""
SHORTEST, LONGEST = 0.4, 0.6
"""A delayed refusal leaves this many seconds after its check began, at random in between, so that
the next requests do not arrive all at once. With a queue in front of authz it is still earlier than
Envoy's timeout of one try (``authz/envoy/filters.py``), after which Envoy would ask again."""
MAX_WAITING = 1024


class Tarpit:
    """Decides which refusals are delayed.

    Args:
        max_waiting: the maximum number of delayed refusals at a time; others are sent at once.
        clock: monotonic seconds.
    """

    def __init__(
        self, max_waiting: int = MAX_WAITING, clock: Callable[[], float] = perf_counter
    ) -> None:
        self._max_waiting = min(max_waiting, MAX_WAITING)
        self._clock = clock
        self._left, self._filled = float(BURST), clock()
        # The times at which the delayed refusals leave.
        self._leaving: deque[float] = deque()

    def slowed(self, refusal: FinishedResponse, began: float) -> FinishedResponse:
        """Return a refusal as it is or, if too many came before it, delayed.

        Args:
            refusal: the response, never an allow.
            began: the time when its check began.
        """
        now = self._clock()
        self._left = min(BURST, self._left + (now - self._filled) * A_SECOND)
        self._filled = now
        if self._left >= 1:
            self._left -= 1
            return refusal
        leaves = began + random.uniform(SHORTEST, LONGEST)  # noqa: S311 - no secret
        leaving = self._leaving
        while leaving and leaving[0] <= now:
            leaving.popleft()
        if leaves <= now or len(leaving) >= self._max_waiting:
            return refusal
        leaving.append(leaves)
        return FinishedResponse(DelayedResponse(refusal, leaves - now))
