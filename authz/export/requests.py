"""The queue of requests that are exported."""

import asyncio
import contextlib
from collections import deque
from itertools import islice

import structlog

from authz.export.delivery import BATCH_BYTES, Delivery
from authz.export.metrics import ExportMetrics
from authz.export.records import report_record, request_record
from authz.usage.entry import Report, UsageEntry

_log = structlog.get_logger(__name__)

KIND = "usage"
BATCH_MAX = 500
COLLECT_SECONDS = 1.0
"""The time for which requests are collected into a batch."""
_AT_ONCE = 50
"""The number of records that are encoded before checks get their turn."""


class RequestExport:
    """Exports requests in the background, each once.

    Args:
        delivery: sends them.
        metrics: counts the requests that wait and those that are dropped.
        queue: the number of requests that may wait.
    """

    def __init__(self, delivery: Delivery, metrics: ExportMetrics, queue: int) -> None:
        self._delivery = delivery
        self._metrics = metrics
        self._max = queue
        self._waiting: deque[UsageEntry | Report] = deque()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, found: UsageEntry | Report) -> None:
        """Add a request, or the end of one through an external gateway, without waiting."""
        if len(self._waiting) >= self._max:
            self._metrics.dropped(KIND)
            return
        self._waiting.append(found)

    def start(self) -> None:
        """Start sending."""
        self._task = asyncio.create_task(self._run())

    async def stop(self, seconds: float) -> None:
        """Send what waits within a time limit."""
        self._stopping.set()
        if self._task is not None:
            # A call that has begun may end, so that its records are not sent twice.
            await asyncio.wait({self._task}, timeout=seconds)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._waiting:
            _log.error("requests not exported", requests=len(self._waiting))
            self._metrics.dropped(KIND, len(self._waiting))

    async def _run(self) -> None:
        while self._waiting or not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(COLLECT_SECONDS):
                    await self._stopping.wait()
            while self._waiting:
                records = await self._batch()
                await self._delivery.deliver(records)
                for _ in records:
                    self._waiting.popleft()
            self._metrics.waiting(0)

    async def _batch(self) -> list[bytes]:
        """Return the records of the first requests, which stay in the queue."""
        self._metrics.waiting(len(self._waiting))
        records: list[bytes] = []
        size = 0
        for found in list(islice(self._waiting, BATCH_MAX)):
            record = (
                request_record(found) if isinstance(found, UsageEntry) else report_record(found)
            )
            size += len(record)
            if records and size > BATCH_BYTES:
                break
            records.append(record)
            if len(records) % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return records
