"""Batching of look-ups: many requests share few queries.

A request never shares a look-up that started before it arrived, so a request sent after a deletion
always sees it. A look-up that is running may have read the token before it was deleted.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

from authz.errors import IdentityUnavailable, IdentityUnreachable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

LOOK_UP_SECONDS = 0.8
"""The time limit of a look-up including waiting, less than Envoy's timeout of a check."""

_CLOSED = "the identity source is closed"


class _TooLate(Exception):  # noqa: N818 - the state of a caller
    """A caller has waited for the whole time limit."""


_Answer = asyncio.Future[V | None]
_Asked = dict[_Answer[V], None]
"""The answers of the callers who wait for a key, in order. Each has its own and can leave."""


class Batcher(Generic[K, V]):
    """Looks keys up in batches. Keys that arrive while look-ups run wait for the next one.

    Args:
        look_up: takes distinct keys and returns the values that it found. It raises
            ``IdentityUnavailable`` if it can't look them up.
        concurrency: the maximum number of concurrent look-ups.
        max_batch: the maximum number of keys in a look-up.
        exclusive: never look the same key up twice at the same time; later callers wait.
        max_waiting: the maximum number of waiting keys; further keys are refused at once.
        seconds: the time limit of ``get`` and of each ``look_up``.
        on_batch: called with the number of keys of each look-up.
    """

    def __init__(
        self,
        look_up: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]],
        *,
        concurrency: int = 2,
        max_batch: int = 256,
        exclusive: bool = False,
        max_waiting: int = 4096,
        seconds: float = LOOK_UP_SECONDS,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        self._look_up = look_up
        self._concurrency = concurrency
        self._max_batch = max_batch
        self._exclusive = exclusive
        self._max_waiting = max_waiting
        self._seconds = seconds
        self._on_batch = on_batch
        self._waiting: dict[K, _Asked[V]] = {}
        self._running: dict[asyncio.Task[None], dict[K, _Asked[V]]] = {}
        # All callers have the same time limit, so the first of them is the first to be late, and
        # one timer is enough. It costs a tenth of a timer for each.
        self._ends: deque[tuple[float, _Answer[V]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._busy: set[K] = set()
        self._scheduled = False
        self._closed = False
        self._answered = -math.inf

    async def get(self, key: K) -> V | None:
        """Look ``key`` up in a look-up that has not started yet.

        Returns:
            The value, or None if there is none.

        Raises:
            IdentityUnavailable: too many keys wait, the look-up took too long or failed, or the
                batcher is closed.
            IdentityUnreachable: the look-up took too long, and no other one was answered
                meanwhile.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        asked = self._waiting.get(key)
        if asked is None:
            if self._closed:
                raise IdentityUnavailable(_CLOSED)
            if len(self._waiting) >= self._max_waiting:
                raise IdentityUnavailable("too many look-ups are waiting")
            asked = self._waiting[key] = {}
            self._schedule()
        answer: _Answer[V] = loop.create_future()
        asked[answer] = None
        self._end_later(loop, began + self._seconds, answer)
        try:
            return await answer
        except _TooLate:
            # A long queue is not an outage, as many clients can cause one.
            is_up = self._answered >= began
            error = IdentityUnavailable if is_up else IdentityUnreachable
            raise error("the look-up took too long") from None
        finally:
            # Otherwise a slow source would look up keys whose callers have left.
            if self._waiting.get(key) is asked:
                del asked[answer]
                if not asked:
                    del self._waiting[key]

    async def close(self) -> None:
        """Cancel running look-ups and fail waiting and later callers."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        running = dict(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for batch in running.values():
            # A task that is cancelled before its first step does not answer its callers.
            _fail(batch.values(), IdentityUnavailable(_CLOSED))
        waiting, self._waiting = self._waiting, {}
        _fail(waiting.values(), IdentityUnavailable(_CLOSED))

    def _end_later(self, loop: asyncio.AbstractEventLoop, end: float, answer: _Answer[V]) -> None:
        self._ends.append((end, answer))
        if self._timer is None:
            self._timer = loop.call_at(end, self._end, loop)

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the callers who are late, and forget those who have their answer."""
        ends, now, self._timer = self._ends, loop.time(), None
        while ends and (ends[0][0] <= now or ends[0][1].done()):
            _, answer = ends.popleft()
            if not answer.done():
                answer.set_exception(_TooLate())
        if ends:
            self._timer = loop.call_at(ends[0][0], self._end, loop)

    def _schedule(self) -> None:
        # Not at once, so that keys of the same iteration of the event loop share the batch.
        if not self._scheduled and len(self._running) < self._concurrency:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        self._scheduled = False
        while (
            not self._closed
            and len(self._running) < self._concurrency
            and (keys := self._next_keys())
        ):
            batch = {key: self._waiting.pop(key) for key in keys}
            if self._exclusive:
                self._busy.update(batch)
            if self._on_batch is not None:
                self._on_batch(len(batch))
            task = asyncio.create_task(self._run(batch))
            self._running[task] = batch
            task.add_done_callback(self._finished)

    def _next_keys(self) -> list[K]:
        free = (key for key in self._waiting if key not in self._busy)
        return list(islice(free, self._max_batch))

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._start()

    async def _run(self, batch: dict[K, _Asked[V]]) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                found = await self._look_up(tuple(batch))
        except TimeoutError:
            _fail(batch.values(), IdentityUnreachable("the look-up took too long"))
        except IdentityUnavailable as error:
            _fail(batch.values(), error)
        except asyncio.CancelledError:
            _fail(batch.values(), IdentityUnavailable(_CLOSED))
            raise
        except Exception as error:
            # The driver's message could quote the keys.
            _fail(batch.values(), IdentityUnavailable(f"look-up failed: {type(error).__name__}"))
        else:
            self._answered = asyncio.get_running_loop().time()
            for key, asked in batch.items():
                value = found.get(key)
                for answer in asked:
                    if not answer.done():
                        answer.set_result(value)
        finally:
            self._busy.difference_update(batch)


def _fail(batch: Collection[_Asked[V]], error: IdentityUnavailable) -> None:
    for asked in batch:
        for answer in asked:
            if not answer.done():
                answer.set_exception(type(error)(*error.args))
                # If the caller has left, asyncio would log that it was never retrieved.
                answer.exception()
