"""Export of the audit log, by one process of all that share the identity store."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from authz.database.interface import Database
from authz.errors import ManagedByCoder, StoreError
from authz.export.audit_rows import AuditRows
from authz.export.collector import NotExported
from authz.export.delivery import Delivery
from authz.export.records import audit_record
from authz.export.schema import prepare

_log = structlog.get_logger(__name__)

KIND = "audit"
POLL_SECONDS = 5.0
_BATCH = 200


class AuditExport:
    """Exports the entries of the audit log, whichever process has written them.

    Args:
        open_database: opens the database of the identity store.
        delivery: sends the entries.
        process: names this process.
    """

    def __init__(
        self, open_database: Callable[[], Awaitable[Database]], delivery: Delivery, process: str
    ) -> None:
        self._open_database = open_database
        self._delivery = delivery
        self._process = process
        self._database: Database | None = None

    async def run(self) -> None:
        """Export entries as they are written, until cancelled."""
        problem = ""
        while True:
            try:
                while await self.export_some():
                    pass
                problem = ""
            except ManagedByCoder as error:
                _log.error("no audit log to export", why=str(error))
                return
            except NotExported:
                # The delivery has logged it. The entries stay in the store.
                pass
            except StoreError as error:
                # Once, since the same problem would be logged at every round.
                if (text := str(error)) != problem:
                    _log.error("the export of the audit log waits", why=text)
                problem = text
            # Replicas that start at once would always ask at once.
            await asyncio.sleep(POLL_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    async def export_some(self) -> bool:
        """Export the oldest entries that wait, and return whether there were any.

        Raises:
            NotExported: the collector did not accept them.
            StoreError: the store can't be used.
        """
        if self._database is None:
            database = await self._open_database()
            try:
                await prepare(database)
            except BaseException:
                await database.close()
                raise
            self._database = database
        rows = AuditRows(self._database, self._process)
        now = datetime.now(UTC)
        entries = await rows.claim(now, _BATCH)
        if not entries:
            return False
        await self._delivery.send([audit_record(entry) for entry in entries])
        await rows.exported(entries, now)
        return True

    async def close(self) -> None:
        """Let another process go on, and close the database."""
        database, self._database = self._database, None
        if database is None:
            return
        try:
            await AuditRows(database, self._process).release()
        except StoreError as error:
            _log.info("the lease of the audit export ends by itself", why=str(error))
        finally:
            await database.close()
