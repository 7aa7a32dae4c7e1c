"""The audit entries that are not exported yet, and the process that exports them.

A transaction may commit after one with a later time, and clocks of machines differ. So the ids of
exported entries are kept for ``OVERLAP``, and an entry counts as exported by its id.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from authz.database.interface import Database, Dialect, Queries
from authz.identity.audit import COLUMNS, Entry, entry_of

OVERLAP = timedelta(hours=1)
"""The longest time between the time of an entry and its commit."""
LEASE = timedelta(seconds=60)
"""The time after which another process goes on, if the one that exports has ended."""
_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
# The id is a uuid in PostgreSQL.
_ID = {Dialect.SQLITE: "a.id", Dialect.POSTGRESQL: "a.id::text"}


class AuditRows:
    """Entries of the audit log, for one process of several.

    All methods raise StoreError if the database fails.

    Args:
        database: of the identity store, with the tables of ``AUDIT_EXPORT``.
        process: names this process.
    """

    def __init__(self, database: Database, process: str) -> None:
        self._database = database
        self._process = process

    async def claim(self, now: datetime, limit: int) -> list[Entry]:
        """Return the oldest entries that are not exported; none if another process exports them.

        Args:
            now: the time. No other process exports until ``LEASE`` later.
            limit: the maximum number of entries.
        """
        if not await self._new(self._database, 1):
            # No transaction, so that replicas that ask do not wait for each other.
            return []
        async with self._database.transaction() as transaction:
            taken = await transaction.execute(
                "UPDATE audit_export SET process = $1, lease_ms = $2"
                " WHERE process = $1 OR lease_ms < $3",
                self._process,
                _ms(now + LEASE),
                _ms(now),
            )
            if not taken:
                return []
            return await self._new(transaction, limit)

    async def exported(self, entries: Sequence[Entry], now: datetime) -> None:
        """Note that the collector has accepted entries.

        Args:
            entries: from ``claim``.
            now: the time. Entries with a later time come from a clock that is wrong.
        """
        async with self._database.transaction() as transaction:
            await transaction.insert(
                "audit_exported",
                {"id": "text", "time_ms": "bigint"},
                [(entry.id, _ms(entry.time)) for entry in entries],
            )
            last = min(_ms(now), max(_ms(entry.time) for entry in entries))
            await transaction.execute(
                "UPDATE audit_export SET until_ms = $1 WHERE until_ms < $1", last
            )
            # Entries that old are not read again.
            await transaction.execute(
                "DELETE FROM audit_exported"  # noqa: S608 - a number
                " WHERE time_ms < (SELECT until_ms FROM audit_export)"
                f" - {2 * OVERLAP // timedelta(milliseconds=1):d}"
            )

    async def release(self) -> None:
        """Let another process export at once."""
        await self._database.execute(
            "UPDATE audit_export SET lease_ms = 0 WHERE process = $1", self._process
        )

    async def _new(self, queries: Queries, limit: int) -> list[Entry]:
        (row,) = await queries.fetch("SELECT until_ms FROM audit_export")
        begin = _BEGIN + timedelta(milliseconds=row["until_ms"])
        names = ", ".join(f"a.{name}" for name in COLUMNS.split(", "))
        rows = await queries.fetch(
            f"SELECT {names} FROM audit_logs a WHERE a.time >= $1"  # noqa: S608 - constants
            " AND NOT EXISTS (SELECT 1 FROM audit_exported e"
            f" WHERE e.id = {_ID[queries.dialect]}) ORDER BY a.time, a.id LIMIT $2",
            max(_BEGIN, begin - OVERLAP) if row["until_ms"] else _BEGIN,
            limit,
        )
        return [entry_of(row) for row in rows]


def _ms(at: datetime) -> int:
    return (at - _BEGIN) // timedelta(milliseconds=1)
