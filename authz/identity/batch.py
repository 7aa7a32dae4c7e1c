"""Group commit for look-ups: many requests, few questions, no answer older than its request.

A request may only join a look-up that *starts after the request arrived*. One that is already
under way may have read its snapshot before a token was deleted, so joining it could allow a
request that was sent after the deletion.
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
"""How long a look-up may take in all, waiting included: less than Envoy's timeout of a check."""

_CLOSED = "the identity source is closed"


@dataclass(slots=True)
class _Asked(Generic[V]):
    """A key that waits for its look-up, and how many callers wait for the answer."""

    answer: asyncio.Future[V | None]
    callers: int = 0


class Batcher(Generic[K, V]):
    """Looks keys up in batches: those that wait while look-ups are under way go in the next one.

    Args:
        look_up: gets distinct keys and returns what it found; it raises ``IdentityUnavailable``
            when it can't say.
        concurrency: look-ups under way at once.
        max_batch: keys in one look-up.
        exclusive: a key is in one look-up at a time; who asks for it meanwhile goes in the next.
        max_waiting: keys that may wait; one more is refused at once.
        seconds: how long ``get`` and one ``look_up`` may take.
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
            What was found, or None.

        Raises:
            IdentityUnavailable: too many wait, it took too long, the look-up could not say, or
                this is closed.
            IdentityUnreachable: it took too long, and no other look-up was answered meanwhile.
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
                # Others may wait for the same answer: a caller who leaves must not cancel it.
                return await asyncio.shield(asked.answer)
        except TimeoutError:
            # A queue that is too long is no outage: a crowd of clients can cause one.
            is_up = self._answered >= began
            error = IdentityUnavailable if is_up else IdentityUnreachable
            raise error("the look-up took too long") from None
        finally:
            asked.callers -= 1
            # A slow source would else be asked for callers who are gone, before those who wait.
            if not asked.callers and self._waiting.get(key) is asked:
                del self._waiting[key]

    async def close(self) -> None:
        """Cancel what is under way and fail what waits; what is asked from now on fails at once."""
        self._closed = True
        running = dict(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for batch in running.values():
            # A task that is cancelled before its first step has told its callers nothing.
            _fail(batch.values(), IdentityUnavailable(_CLOSED))
        waiting, self._waiting = self._waiting, {}
        _fail([asked.answer for asked in waiting.values()], IdentityUnavailable(_CLOSED))

    def _schedule(self) -> None:
        # Not at once: what else arrives in this turn of the event loop goes along.
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
            # A message of the driver could quote what it was asked.
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
            # All who waited may have left; asyncio would log an exception that nobody fetched.
            answer.exception()
