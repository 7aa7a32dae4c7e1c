"""Partitions of the table of requests in PostgreSQL: one for each UTC day.

A day is deleted by dropping its partition. Rows from before there were partitions are in
``usage_entries_rest``, which becomes the partition for every day before the first one that has a
partition of its own. No step reads or locks many rows while others write.
"""

import re
from datetime import UTC, datetime, timedelta

import structlog

from authz.database.interface import Database, Queries
from authz.errors import StoreError
from authz.usage.sums_schema import DAY_MS

AHEAD_DAYS = 3
"""The number of coming days that get a partition in advance."""

_REST = "usage_entries_rest"
_OTHER = "usage_entries_other"
_BOUND = "usage_entries_rest_before"
_CHILDREN = """\
SELECT c.relname::text AS name, c.oid::regclass::text AS relation,
 c.reltuples::bigint AS rows, pg_get_expr(c.relpartbound, c.oid) AS bounds
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass('usage_entries')"""
_CHECK = """\
SELECT pg_get_constraintdef(oid) AS definition FROM pg_constraint
WHERE conname = 'usage_entries_rest_before' AND conrelid = to_regclass('usage_entries_rest')"""

_log = structlog.get_logger(__name__)


class Partitions:
    """Creates and drops the partitions.

    Args:
        database: PostgreSQL, with the tables of ``USAGE``.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._failed = False

    async def create(self, now_ms: int) -> None:
        """Create the partitions of the coming days.

        Without them, rows go into the partition for the rest. That happens too if the role does
        not own the tables, which is logged once.
        """
        try:
            await self._create(now_ms)
        except StoreError as error:
            if not self._failed:
                self._failed = True
                _log.warning("no partitions for usage: rows are deleted one by one", why=str(error))

    async def drop_before(self, before_ms: int) -> int:
        """Drop the partitions that ended before a time.

        Returns:
            About how many rows they had.
        """
        dropped = 0
        for child in await self._database.fetch(_CHILDREN):
            end = _end_of(child["bounds"])
            if end is None or end * DAY_MS > before_ms:
                continue
            try:
                await self._database.execute(f"DROP TABLE {child['relation']}")
            except StoreError as error:
                # Its rows are deleted instead.
                _log.warning("a partition of usage is not dropped", why=str(error))
            else:
                dropped += max(child["rows"], 0)
        return dropped

    async def _create(self, now_ms: int) -> None:
        first = await self._split(now_ms)
        if first is None:
            return
        today = now_ms // DAY_MS
        for day in range(max(first, today), today + AHEAD_DAYS + 1):
            await self._create_day(day, may_have_rows=day <= today)

    async def _create_day(self, day: int, *, may_have_rows: bool) -> None:
        name = f"usage_entries_{_date(day):%Y%m%d}"
        async with self._database.transaction() as transaction:
            children = {row["name"] for row in await transaction.fetch(_CHILDREN)}
            if name in children:
                return
            begin, end = day * DAY_MS, (day + 1) * DAY_MS
            if may_have_rows and await _has_rows(transaction, begin, end):
                # They are in the partition for other rows, and stay there.
                return
            await transaction.execute(
                f"CREATE TABLE {name} PARTITION OF usage_entries (PRIMARY KEY (id))"
                f" FOR VALUES FROM ({begin:d}) TO ({end:d})"
            )

    async def _split(self, now_ms: int) -> int | None:
        """Give the partition for the rest an end; return the first day after it, or None.

        It had all rows until then, so no partition could be created without reading them.
        """
        today = now_ms // DAY_MS
        async with self._database.transaction() as transaction:
            children = {row["name"]: row["bounds"] for row in await transaction.fetch(_CHILDREN)}
            if _REST not in children:
                # It was dropped, because all its rows were too old.
                return 0 if _OTHER in children else None
            if (end := _end_of(children[_REST])) is not None:
                return end
            (row,) = await transaction.fetch("SELECT max(time_ms) AS last FROM usage_entries")
            if row["last"] is None:
                await _limit(transaction, today)
                return today
            # Rows of today are written meanwhile.
            day = await _constrain(transaction, today, max(today + 2, row["last"] // DAY_MS + 1))
        # Others read and write meanwhile.
        await self._database.maintain(f"ALTER TABLE {_REST} VALIDATE CONSTRAINT {_BOUND}")
        async with self._database.transaction() as transaction:
            children = {row["name"]: row["bounds"] for row in await transaction.fetch(_CHILDREN)}
            if _OTHER not in children:
                await _limit(transaction, day)
        return day


async def _constrain(transaction: Queries, today: int, day: int) -> int:
    """Constrain the rows of the rest to times before a day, without reading them.

    Returns:
        The day, or that of a constraint that an earlier try has left.
    """
    found = await transaction.fetch(_CHECK)
    if found:
        earlier = _end_of(found[0]["definition"])
        if earlier is not None and earlier > today + 1:
            return earlier
        await transaction.execute(f"ALTER TABLE {_REST} DROP CONSTRAINT {_BOUND}")
    await transaction.execute(
        f"ALTER TABLE {_REST} ADD CONSTRAINT {_BOUND}"
        f" CHECK (time_ms IS NOT NULL AND time_ms < {day * DAY_MS:d}) NOT VALID"
    )
    return day


async def _limit(transaction: Queries, day: int) -> None:
    """Make the rest the partition of the time before a day, and create another one for the rest.

    PostgreSQL reads no row if a valid constraint says the same.
    """
    for statement in (
        f"ALTER TABLE usage_entries DETACH PARTITION {_REST}",
        f"ALTER TABLE usage_entries ATTACH PARTITION {_REST}"
        f" FOR VALUES FROM (MINVALUE) TO ({day * DAY_MS:d})",
        f"CREATE TABLE {_OTHER} PARTITION OF usage_entries (PRIMARY KEY (id)) DEFAULT",
    ):
        await transaction.execute(statement)


async def _has_rows(queries: Queries, begin: int, end: int) -> bool:
    found = await queries.fetch(
        "SELECT 1 FROM usage_entries WHERE time_ms >= $1 AND time_ms < $2 LIMIT 1", begin, end
    )
    return bool(found)


def _date(day: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)


def _end_of(text: str) -> int | None:
    """Return the day that a constraint or the bounds of a partition end with; None without one."""
    numbers = re.findall(r"\d+", text)
    return int(numbers[-1]) // DAY_MS if numbers else None
