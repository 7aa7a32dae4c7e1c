"""The store of recorded requests, which writes them in batches.

Each request is one row, which triggers add to the sums (``sums_schema``). ``usage_processes`` has
the number of ids that each authz process gave to requests, and the number of its rows. The
difference is the number of requests that are running or were lost; ``authz usage import`` finds
lost ones in the JSON access log.
"""

import time
from collections.abc import Iterable
from datetime import UTC, tzinfo
from itertools import groupby

from authz.database.interface import Database, Dialect
from authz.usage import sums
from authz.usage.charges import Cost, priced
from authz.usage.costs import StoredCosts
from authz.usage.entry import Report, UsageEntry
from authz.usage.partitions import Partitions
from authz.usage.record import entry_of
from authz.usage.refusals import Refusals, refusals_since
from authz.usage.rows import Line, completed, values_of
from authz.usage.schema import COLUMNS, ENTRIES, prepare
from authz.usage.sums_schema import DAY_MS, HOUR_MS

LONGEST_MS = 7 * DAY_MS
"""The longest time between the beginning of a request and the report of its end."""


class UsageStore:
    """Reads and writes recorded requests.

    All methods raise StoreError if the database fails.

    Args:
        database: the store closes it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        is_partitioned = database.dialect is Dialect.POSTGRESQL
        self._partitions = Partitions(database) if is_partitioned else None

    async def close(self) -> None:
        """Close the database."""
        await self._database.close()

    async def prepare(self) -> None:
        """Create the tables or bring them up to date; see ``schema.prepare``."""
        await prepare(self._database)

    async def add(self, entries: Iterable[UsageEntry]) -> int:
        """Write the requests that have no row yet, in one transaction.

        Returns:
            The number of new rows.
        """
        added = 0
        # PostgreSQL refuses a statement that inserts the same row twice.
        unique = {entry.id: entry for entry in entries}
        ordered = sorted(unique.values(), key=lambda entry: entry.id)
        async with self._database.transaction() as transaction, sums.adding(transaction):
            for process, group in groupby(ordered, lambda entry: entry.process):
                of_process = list(group)
                count = await transaction.insert(
                    ENTRIES, COLUMNS, [values_of(entry) for entry in of_process]
                )
                first = min(entry.time_ms for entry in of_process)
                await transaction.execute(
                    "INSERT INTO usage_processes (process, since_ms, issued, received)"
                    " VALUES ($1, $2, 0, $3) ON CONFLICT (process)"
                    " DO UPDATE SET received = usage_processes.received + excluded.received",
                    process,
                    first,
                    count,
                )
                added += count
        return added

    async def complete(self, report: Report, cost: Cost | None = None) -> UsageEntry | None:
        """Complete the row of a request that authz has allowed, once.

        Args:
            report: the end of the request.
            cost: computes its cost; None where there are no prices.

        Returns:
            What is known of the request now; None if it has no row that waits for a report.
        """
        tokens = report.tokens
        # PostgreSQL then looks into few partitions.
        since_ms = int(time.time() * 1000) - LONGEST_MS
        async with self._database.transaction() as transaction:
            changed = await transaction.execute(
                "UPDATE usage_entries SET status = $2, usage = $3, duration_ms = $4, model = $5,"
                " input_tokens = $6, cached_tokens = $7, cache_write_tokens = $8,"
                " output_tokens = $9, reasoning_tokens = $10"
                " WHERE id = $1 AND decision = 'allow' AND usage = 'unreported' AND status = 0"
                " AND time_ms >= $11",
                *(report.id, report.status, str(report.usage), report.duration_ms, report.model),
                *(tokens.input, tokens.cached, tokens.cache_write),
                *(tokens.output, tokens.reasoning, since_ms),
            )
            if not changed:
                return None
            (row,) = await transaction.fetch(
                "SELECT time_ms, provider, mode, username FROM usage_entries"
                " WHERE id = $1 AND time_ms >= $2",
                report.id,
                since_ms,
            )
            entry = completed(row, report)
            if cost is not None:
                entry = priced(entry, cost)
                await transaction.execute(
                    "UPDATE usage_entries SET cost = $2 WHERE id = $1 AND time_ms = $3",
                    *(entry.id, entry.cost, entry.time_ms),
                )
        return entry

    async def set_issued(self, process: str, since_ms: int, issued: int) -> None:
        """Store the number of ids that a process gave to requests."""
        await self._database.execute(
            "INSERT INTO usage_processes (process, since_ms, issued, received)"
            " VALUES ($1, $2, $3, 0) ON CONFLICT (process) DO UPDATE SET issued = excluded.issued",
            process,
            since_ms,
            issued,
        )

    async def sum_up_older(self) -> bool:
        """Add some of the requests from before the sums existed; return False if there are none."""
        async with self._database.transaction() as transaction:
            return await sums.backfill(transaction)

    async def create_partitions(self, now_ms: int) -> None:
        """Create the partitions of the coming days, in PostgreSQL; see ``Partitions.create``."""
        if self._partitions is not None:
            await self._partitions.create(now_ms)

    async def delete_before(self, time_ms: int, *, processes_ms: int) -> int:
        """Delete the requests of past UTC days, and the counts of the processes that answered them.

        Args:
            time_ms: Unix time in milliseconds; the days that ended before it are deleted.
            processes_ms: the names of processes that are older are deleted. All ids of such a name
                have to be older than ``time_ms``.

        Returns:
            The number of requests.
        """
        before = time_ms // DAY_MS * DAY_MS
        async with self._database.transaction() as transaction:
            await sums.forget(transaction, before)
            await transaction.execute(
                "DELETE FROM usage_processes WHERE since_ms < $1", processes_ms
            )
        deleted = await self._partitions.drop_before(before) if self._partitions else 0
        # In steps, so that other writers wait for none of them.
        while True:
            (row,) = await self._database.fetch(
                "SELECT min(time_ms) AS first FROM usage_entries WHERE time_ms < $1", before
            )
            if row["first"] is None:
                return deleted
            deleted += await self._database.execute(
                "DELETE FROM usage_entries WHERE time_ms < $1",
                min(before, row["first"] // HOUR_MS * HOUR_MS + HOUR_MS),
            )

    async def entries_after(self, time_ms: int, entry_id: str, limit: int) -> list[UsageEntry]:
        """Return the requests after one, in the order of time and id.

        Args:
            time_ms: of that request.
            entry_id: of that request; empty for all requests since ``time_ms``.
            limit: the maximum number of requests.
        """
        rows = await self._database.fetch(
            f"SELECT {', '.join(COLUMNS)} FROM usage_entries"  # noqa: S608 - constants
            " WHERE time_ms >= $1 AND (time_ms > $1 OR id > $2) ORDER BY time_ms, id LIMIT $3",
            time_ms,
            entry_id,
            limit,
        )
        return [entry_of(row) for row in rows]

    async def missing(self) -> int:
        """Return the number of requests without a row, which are running or were lost."""
        rows = await self._database.fetch(
            "SELECT coalesce(sum(issued - received), 0) AS missing FROM usage_processes"
            " WHERE issued > received"
        )
        return int(rows[0]["missing"])

    async def add_up(
        self,
        by: str,
        since_ms: int,
        user_id: str | None = None,
        *,
        group: str | None = None,
    ) -> list[Line]:
        """Sum up the requests since a time, those with the most tokens first.

        Args:
            by: one of ``GROUPS``. By ``group``, a request counts for each group of its user.
            since_ms: Unix time in milliseconds.
            user_id: sum up the requests of this user only; None means all users.
            group: sum up the requests of users who were in this group at the time; None means all.
        """
        return await sums.add_up(self._database, by, since_ms, user_id, group=group)

    async def by_day(
        self, since_ms: int, user_id: str | None = None, *, zone: tzinfo = UTC
    ) -> list[Line]:
        """Sum up the requests of each day that has any, in order; arguments as ``add_up``.

        Args:
            zone: the time zone of the days.

        Returns:
            Lines whose key is the number of days since 1970.
        """
        return await sums.by_day(self._database, since_ms, user_id, zone=zone)

    @property
    def costs(self) -> StoredCosts:
        """The costs of the recorded requests."""
        return StoredCosts(self._database)

    async def refusals(self, since_ms: int) -> list[Refusals]:
        """Return the refused requests since a time by reason, the most frequent first."""
        return await refusals_since(self._database, since_ms)

    async def last_uses(self, user_id: str | None) -> dict[str, int]:
        """Return the time of the last recorded request of each of a user's tokens.

        Args:
            user_id: None means the tokens of all users.

        Returns:
            Token ids with Unix times in milliseconds.
        """
        return await sums.last_uses(self._database, user_id)
