"""Counts in the memory of one process."""

import time
from collections.abc import Callable, Mapping, Sequence

from authz.limits.counting import admit, counts_tokens, is_window
from authz.limits.limit import Outcome, Settled, Wanted
from authz.limits.window import Window

_PRUNE_MS = 61_000


class MemoryStore:
    """Counts for a service of one process. They are lost when it ends.

    Args:
        life_ms: the time after which a request ends by itself.
        now_ms: a clock that never goes back.

    Attributes:
        windows: the amounts of the last minute, by key.
        open: the number of requests in progress, by key.
    """

    def __init__(
        self, life_ms: int, now_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000
    ) -> None:
        self._life_ms = life_ms
        self._now_ms = now_ms
        self.windows: dict[str, Window] = {}
        self.open: dict[str, int] = {}
        # In the order of their ends, since all live equally long.
        self._requests: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._pruned_ms = 0

    def decide(self, wanted: Wanted) -> Outcome:
        """Decide on one request, without waiting."""
        now_ms = self._now_ms()
        self._expire(now_ms)

        def opened(passed: Wanted) -> None:
            self._requests[passed.request_id] = (now_ms + self._life_ms, passed.settled)

        return admit(self, (wanted,), now_ms, opened)[wanted]

    def end(self, request_id: str, tokens: int) -> None:
        """End a request, without waiting."""
        now_ms = self._now_ms()
        self._expire(now_ms)
        found = self._requests.pop(request_id, None)
        if found is None:
            return
        for key in found[1]:
            if not is_window(key):
                self._close(key)
            elif tokens:
                self.windows.setdefault(key, Window()).add(now_ms, tokens)

    async def admit(self, batch: Sequence[Wanted]) -> Mapping[Wanted, Outcome]:
        """Decide on requests; see ``LimitStore.admit``."""
        return {wanted: self.decide(wanted) for wanted in batch}

    async def settle(self, batch: Settled) -> None:
        """End requests; see ``LimitStore.settle``."""
        for request_id, tokens in batch.items():
            self.end(request_id, tokens)

    async def close(self) -> None:
        """Have nothing to close."""

    def _expire(self, now_ms: int) -> None:
        requests = self._requests
        while requests and requests[first := next(iter(requests))][0] <= now_ms:
            for key in requests.pop(first)[1]:
                if not counts_tokens(key):
                    self._close(key)
        if now_ms - self._pruned_ms > _PRUNE_MS:
            self._pruned_ms = now_ms
            for key in [one for one, window in self.windows.items() if not window.total(now_ms)]:
                del self.windows[key]

    def _close(self, key: str) -> None:
        left = self.open[key] - 1
        if left:
            self.open[key] = left
        else:
            del self.open[key]
