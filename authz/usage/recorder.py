"""A background task that writes recorded requests in batches."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice

import structlog

from authz.check.entry_ids import EntryIds
from authz.errors import AuthzError
from authz.usage.charges import Cost
from authz.usage.entry import Report, UsageEntry
from authz.usage.metrics import UsageMetrics
from authz.usage.store import UsageStore

_log = structlog.get_logger(__name__)

FLUSH_SECONDS = 0.5
"""The time for which requests are collected into a batch."""
BATCH_MAX = 2_000
FULL_SECONDS = 0.02
"""The pause while a whole batch waits, in which others can write to the database."""
WAITING_MAX = 100_000
"""The maximum number of requests that wait for the database, about 100 MB.

Further requests are dropped. ``authz usage import`` reads them from the JSON access log."""
RETRY_SECONDS = 5.0
CLEAN_SECONDS = 3600.0
SUM_UP_SECONDS = 0.2
"""The time in which older requests are added to the sums after each batch."""
REPORTS_MAX = 10_000
"""The maximum number of reports of external gateways that wait for the database."""
REPORT_SECONDS = 10.0
"""The time for which a report waits for its row, which another process may be writing."""
_DAY_MS = 86_400_000
NAME_MS = _DAY_MS
"""The time for which a process keeps its name.

The counts of a name are deleted with its requests. A lost request is therefore reported until the
retention ends, even by a process that runs for years.
"""


class Recorder:
    """Writes requests.

    Args:
        open_store: opens the store. It is called until it succeeds, because the database may be
            down.
        ids: the ids that this process gives out.
        metrics: counts the requests that wait, were written and were dropped.
        keep_days: days after which a request is deleted.
        prices: returns the prices now, for requests whose end is reported later; None without any.

    Attributes:
        is_failing: whether the last write failed.
    """

    def __init__(
        self,
        open_store: Callable[[], Awaitable[UsageStore]],
        ids: EntryIds,
        metrics: UsageMetrics,
        keep_days: int,
        prices: Callable[[], Cost | None] = lambda: None,
    ) -> None:
        self._open_store = open_store
        self._ids = ids
        self._metrics = metrics
        self.keep(keep_days)
        self._prices = prices
        self._waiting: deque[UsageEntry] = deque()
        self._reports: deque[tuple[float, Report]] = deque()
        self._store: UsageStore | None = None
        self._since_ms = int(time.time() * 1000)
        self._reported_issued = 0
        self._cleaned = 0.0
        self._has_older = True
        self.is_failing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start writing."""
        self._task = asyncio.create_task(self._run())

    async def stop(self, seconds: float) -> None:
        """Write the waiting requests within a time limit, and close the store."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(seconds):
                while await self._write() and self._waiting:
                    pass
        except TimeoutError:
            pass
        if self._waiting:
            _log.error("usage not written", requests=len(self._waiting))
        if self._store is not None:
            await self._store.close()

    def keep(self, days: int) -> None:
        """Set the days after which a request is deleted."""
        self._keep_ms = days * _DAY_MS

    def record(self, entry: UsageEntry) -> None:
        """Add a request to the queue."""
        if len(self._waiting) >= WAITING_MAX:
            self._metrics.dropped()
            return
        self._waiting.append(entry)

    def report(self, report: Report) -> None:
        """Add the end of a request to the queue."""
        if len(self._reports) >= REPORTS_MAX:
            self._metrics.dropped()
            return
        self._reports.append((time.monotonic() + REPORT_SECONDS, report))

    async def _run(self) -> None:
        while True:
            # Otherwise a process could write 4,000 requests a second at most.
            is_behind = len(self._waiting) >= BATCH_MAX
            await asyncio.sleep(FULL_SECONDS if is_behind else FLUSH_SECONDS)
            if await self._write():
                await self._maintain()
            else:
                await asyncio.sleep(RETRY_SECONDS)

    async def _write(self) -> bool:
        """Write a batch and return whether that succeeded."""
        batch = list(islice(self._waiting, BATCH_MAX))
        self._metrics.waiting(len(self._waiting))
        try:
            if self._store is None:
                self._store = await self._open_store()
            if self._ids.issued > self._reported_issued:
                issued = self._ids.issued
                await self._store.set_issued(self._ids.process, self._since_ms, issued)
                self._reported_issued = issued
            self._renew()
            if batch:
                self._metrics.wrote(await self._store.add(batch))
            # After the rows that they complete.
            await self._complete(self._store)
        except Exception as error:
            # Any error may be temporary, and must be logged.
            self._fail(error)
            return False
        for _ in batch:
            self._waiting.popleft()
        self._metrics.waiting(len(self._waiting))
        self._metrics.writable(True)
        if self.is_failing:
            self.is_failing = False
            _log.info("usage is written again")
        return True

    async def _complete(self, store: UsageStore) -> None:
        now, cost = time.monotonic(), self._prices()
        for _ in range(len(self._reports)):
            until, report = self._reports[0]
            completed = await store.complete(report, cost)
            self._reports.popleft()
            if completed is not None:
                self._metrics.count_tokens(completed)
                if cost is not None:
                    self._metrics.count_cost(completed)
            elif now < until:
                self._reports.append((until, report))

    def _renew(self) -> None:
        """Take a new name after ``NAME_MS``, if all ids of the old one are stored."""
        now_ms = int(time.time() * 1000)
        if now_ms - self._since_ms >= NAME_MS and self._ids.issued == self._reported_issued:
            self._ids.renew()
            self._since_ms, self._reported_issued = now_ms, 0

    async def _maintain(self) -> None:
        """Delete old requests and add those to the sums that are not in them yet.

        No request waits if that fails. It is tried again an hour later.
        """
        if self._store is None:
            return
        try:
            await self._clean(self._store)
            await self._sum_up(self._store)
        except Exception as error:
            self._has_older = False
            why = str(error) if isinstance(error, AuthzError) else type(error).__name__
            _log.warning("old usage is not cleaned up, it waits for an hour", why=why)

    async def _clean(self, store: UsageStore) -> None:
        now = time.time()
        if now - self._cleaned > CLEAN_SECONDS:
            self._cleaned = now
            # An import may have added requests that are older than the sums.
            self._has_older = True
            before_ms = int(now * 1000) - self._keep_ms
            await store.create_partitions(int(now * 1000))
            # A process gives out ids for up to NAME_MS after the start of its row.
            await store.delete_before(before_ms, processes_ms=before_ms - NAME_MS)

    async def _sum_up(self, store: UsageStore) -> None:
        until = time.monotonic() + SUM_UP_SECONDS
        while self._has_older and time.monotonic() < until:
            self._has_older = await store.sum_up_older()

    def _fail(self, error: Exception) -> None:
        # Log only the first failure.
        self._metrics.writable(False)
        if not self.is_failing:
            self.is_failing = True
            why = str(error) if isinstance(error, AuthzError) else type(error).__name__
            _log.error("usage can't be written, it waits", why=why)
