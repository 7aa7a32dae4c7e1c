"""Batching of look-ups: many requests share few queries.

A request never shares a look-up that started before it arrived, so a request sent after a deletion
always sees it. A look-up that is running may have read the token before it was deleted.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from authz.errors import IdentityUnavailable, IdentityUnreachable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

LOOK_UP_SECONDS = 0.8
"""The time limit of a look-up including waiting, less than Envoy's timeout of a check."""

_CLOSED = "the identity source is closed"


@dataclass(slots=True)
class _Asked(Generic[V]):
    """The answer to a key that waits for its look-up, and the number of callers who wait."""

    answer: asyncio.Future[V | None]
    callers: int = 0


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
        self._running: dict[asyncio.Task[None], dict[K, asyncio.Future[V | None]]] = {}
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
            asked = self._waiting[key] = _Asked(loop.create_future())
            self._schedule()
        asked.callers += 1
        try:
            async with asyncio.timeout(self._seconds):
                # Other callers may wait for the same answer, so cancelling one must not cancel it.
                return await asyncio.shield(asked.answer)
        except TimeoutError:
            # A long queue is not an outage, as many clients can cause one.
            is_up = self._answered >= began
            error = IdentityUnavailable if is_up else IdentityUnreachable
            raise error("the look-up took too long") from None
        finally:
            asked.callers -= 1
            # Otherwise a slow source would look up keys whose callers have left.
            if not asked.callers and self._waiting.get(key) is asked:
                del self._waiting[key]

    async def close(self) -> None:
        """Cancel running look-ups and fail waiting and later callers."""
        self._closed = True
        running = dict(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for batch in running.values():
            # A task that is cancelled before its first step does not answer its callers.
            _fail(batch.values(), IdentityUnavailable(_CLOSED))
        waiting, self._waiting = self._waiting, {}
        _fail([asked.answer for asked in waiting.values()], IdentityUnavailable(_CLOSED))

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
            batch = {key: self._waiting.pop(key).answer for key in keys}
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

    async def _run(self, batch: dict[K, asyncio.Future[V | None]]) -> None:
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
            for key, answer in batch.items():
                if not answer.done():
                    answer.set_result(found.get(key))
        finally:
            self._busy.difference_update(batch)


def _fail(answers: Collection[asyncio.Future[V | None]], error: IdentityUnavailable) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(type(error)(*error.args))
            # If all callers have left, asyncio would log that the exception was never retrieved.
            answer.exception()
