"""Lets requests pass that all their limits have room for, and counts their ends."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice

import structlog

from authz.assigned.current import AssignedRules
from authz.config.shared_limits import SharedLimits
from authz.core.admission import Admission, Answer
from authz.core.decision_types import Deny, refuse
from authz.core.identity import Identity
from authz.core.refusals import Reason
from authz.errors import AuthzError, IdentityUnavailable, StoreError
from authz.identity.batch import LOOK_UP_SECONDS, Batcher
from authz.limits.applying import NONE_ASSIGNED, Applying
from authz.limits.limit import LimitStore, Outcome, Passed, Wanted
from authz.limits.memory_store import MemoryStore
from authz.limits.wording import refusal_of

_log = structlog.get_logger(__name__)

ENDS_MAX = 1_000
"""The ends of requests in a batch."""
WAITING_MAX = 100_000
"""The maximum number of ends that wait for the store. Further ones are lost: their requests end by
themselves."""
RETRY_SECONDS = 1.0
PRUNE_SECONDS = 60.0
"""The time after which the store removes what is old, if no request ends meanwhile."""
UNAVAILABLE_SECONDS = 2
"""Clients wait this long after a 503."""


class LimitGate:
    """Counts requests in a store.

    Args:
        store: the place that counts; the gate closes it.
        shared: the limits.
        passed_uncounted: called for each request that passes while the store is away.
        assigned: the limits that administrators set; None where there are none.
    """

    def __init__(
        self,
        store: LimitStore,
        shared: SharedLimits,
        passed_uncounted: Callable[[], None] = lambda: None,
        assigned: AssignedRules | None = None,
    ) -> None:
        self._passed_uncounted = passed_uncounted
        self._store = store
        self._assigned = assigned
        self._memory = store if isinstance(store, MemoryStore) else None
        self.use(shared)
        # One at a time: the store runs batches one after the other in any case.
        self._batcher: Batcher[Wanted, Outcome] = Batcher(self._admit, concurrency=1)
        self._counting: asyncio.Task[Mapping[Wanted, Outcome]] | None = None
        self._asking: set[str] = set()
        self._ends: dict[str, int] = {}
        self._has_ends = asyncio.Event()
        self._is_failing = False
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None

    def use(self, shared: SharedLimits) -> None:
        """Use other limits from now on; counts stay."""
        self._applying = Applying(shared)
        self._passes_uncounted = shared.unavailable == "pass"

    def start(self) -> None:
        """Start counting the ends of requests."""
        self._task = asyncio.create_task(self._run())

    async def stop(self, seconds: float) -> None:
        """Count the waiting ends within a time limit, and close the store."""
        # The client of Valkey may take a cancellation for a time limit of its own.
        self._is_stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._batcher.close()
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)
        try:
            async with asyncio.timeout(seconds):
                if self._ends:
                    await self.flush()
        except (TimeoutError, AuthzError):
            _log.error("ends of requests not counted", requests=len(self._ends))
        await self._store.close()

    def admit(self, request: Admission) -> Answer | Awaitable[Answer]:
        """Count a request, or refuse it; see ``Gate.admit``."""
        assigned = NONE_ASSIGNED
        if self._assigned is not None:
            rules = self._assigned.value
            if rules is None and not self._passes_uncounted:
                return _unavailable(request.identity)
            # With `unavailable: pass`, the limits of gateway.yaml still count.
            assigned = NONE_ASSIGNED if rules is None else rules.limits
        limits = self._applying.limits_of(request, assigned)
        if not limits:
            return None
        wanted = Wanted(request.request_id, limits)
        if self._memory is not None:
            return _answer(self._memory.decide(wanted), request.identity)
        return self._wait(wanted, request.identity)

    def give_back(self, request: Admission) -> None:
        """End a request that does not pass after all; see ``Gate.give_back``."""
        if request.request_id in self._asking:
            self._asking.discard(request.request_id)
            self._end_late(request.request_id)
        else:
            self.end(request.request_id, 0)

    def end(self, request_id: str, tokens: int) -> None:
        """Take the end of a request, and the tokens that it used."""
        if self._memory is not None:
            self._memory.end(request_id, tokens)
        elif len(self._ends) < WAITING_MAX:
            self._ends.setdefault(request_id, tokens)
            self._has_ends.set()

    async def flush(self) -> None:
        """Count the waiting ends, and let the store remove what is old.

        Raises:
            AuthzError: the store can't be used; the ends wait for the next time.
        """
        while True:
            batch = dict(islice(self._ends.items(), ENDS_MAX))
            await self._store.settle(batch)
            for request_id in batch:
                self._ends.pop(request_id, None)
            if not self._ends:
                break
        self._has_ends.clear()

    async def _run(self) -> None:
        while not self._is_stopping:
            try:
                await self.flush()
            except Exception as error:
                # Any error may be temporary.
                self._failed(error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._works()
            if self._is_stopping:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(PRUNE_SECONDS):
                    await self._has_ends.wait()

    async def _wait(self, wanted: Wanted, identity: Identity) -> Answer:
        self._asking.add(wanted.request_id)
        try:
            outcome = await self._batcher.get(wanted)
        except IdentityUnavailable as error:
            self._failed(error)
            outcome = None
        self._asking.discard(wanted.request_id)
        if outcome is not None:
            return _answer(outcome, identity)
        if self._passes_uncounted:
            self._passed_uncounted()
            return None
        self._end_late(wanted.request_id)
        return _unavailable(identity)

    def _end_late(self, request_id: str) -> None:
        """End a request that the store may still count after its answer was too late."""
        asyncio.get_running_loop().call_later(2 * LOOK_UP_SECONDS, self.end, request_id, 0)

    async def _admit(self, batch: Sequence[Wanted]) -> Mapping[Wanted, Outcome]:
        if self._counting is not None and not self._counting.done():
            await asyncio.wait({self._counting})
        # A batch that takes too long goes on without its callers. A database that is slow would be
        # slower if each such batch cost it a connection.
        self._counting = asyncio.create_task(self._count(batch))
        return await asyncio.shield(self._counting)

    async def _count(self, batch: Sequence[Wanted]) -> Mapping[Wanted, Outcome]:
        try:
            outcomes = await self._store.admit(batch)
        except StoreError as error:
            raise IdentityUnavailable(str(error)) from None
        self._works()
        return outcomes

    def _works(self) -> None:
        if self._is_failing:
            self._is_failing = False
            _log.info("limits are counted again")

    def _failed(self, error: Exception) -> None:
        # Only the first of several errors is logged.
        if not self._is_failing:
            self._is_failing = True
            why = str(error) if isinstance(error, AuthzError) else type(error).__name__
            _log.error("limits can't be counted", why=why)


def _unavailable(identity: Identity) -> Deny:
    return refuse(
        Reason.LIMITS_UNAVAILABLE,
        identity=identity,
        token_id=identity.token_id,
        retry_after=UNAVAILABLE_SECONDS,
    )


def _answer(outcome: Outcome, identity: Identity) -> Answer:
    return None if isinstance(outcome, Passed) else refusal_of(outcome, identity)
