"""Delivery of records to the collector in batches, with growing pauses after failures."""

import asyncio
import random
from collections.abc import Sequence

import structlog

from authz.export.collector import Collector, NotExported, Rejected
from authz.export.metrics import ExportMetrics
from authz.export.records import export_request

_log = structlog.get_logger(__name__)

BATCH_BYTES = 1_000_000
"""The size of a batch. A collector accepts 4 MB by default."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


class Delivery:
    """Sends records until the collector has accepted them.

    Args:
        collector: receives the records.
        kind: of the records, for metrics and log.
        metrics: counts the records that were accepted and rejected.
        service: names this process.
    """

    def __init__(
        self, collector: Collector, kind: str, metrics: ExportMetrics, service: str
    ) -> None:
        self._collector = collector
        self._kind = kind
        self._metrics = metrics
        self._service = service
        self._is_failing = False

    async def deliver(self, records: Sequence[bytes]) -> None:
        """Send records, and return when the collector has accepted or rejected each."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self.send(records)
            except NotExported:
                # Replicas that fail together would always come back together.
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                return

    async def send(self, records: Sequence[bytes]) -> None:
        """Send records once; if the collector rejects a batch, send its parts.

        Raises:
            NotExported: the collector did not accept them.
        """
        try:
            rejected = await self._collector.send(export_request(self._service, records))
        except Rejected as error:
            if len(records) > 1:
                middle = len(records) // 2
                await self.send(records[:middle])
                await self.send(records[middle:])
                return
            _log.error("the collector rejected a record", kind=self._kind, why=str(error))
            rejected = 1
        except NotExported as error:
            self._metrics.reachable(self._kind, False)
            if not self._is_failing:
                self._is_failing = True
                _log.error("records are not exported, they wait", kind=self._kind, why=str(error))
            raise
        if self._is_failing:
            self._is_failing = False
            _log.info("records are exported again", kind=self._kind)
        self._metrics.reachable(self._kind, True)
        rejected = min(rejected, len(records))
        self._metrics.sent(self._kind, len(records) - rejected)
        self._metrics.dropped(self._kind, rejected)
