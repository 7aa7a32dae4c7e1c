"""The store of recorded requests, which writes them in batches and sums them up.

Each request is one row. ``usage_processes`` has the number of ids that each authz process gave to
requests, and the number of its rows. The difference is the number of requests that are running or
were lost; ``authz usage import`` finds lost ones in the JSON access log.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from authz.database.interface import Database, Dialect, Row
from authz.printable import printable
from authz.usage.entry import UsageEntry
from authz.usage.schema import COLUMNS, ENTRIES, prepare


@dataclass(frozen=True, slots=True)
class Line:
    """A sum over requests.

    Attributes:
        key: the value that the requests have in common.
        requests: the number of requests, including refused ones.
        unknown: the number of answered requests whose tokens are not known.
    """

    key: str
    requests: int
    refusals: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    unknown: int


GROUPS = {
    "user": "coalesce(username, '')",
    "model": "coalesce(model, '')",
    "provider": "coalesce(provider, '')",
    "token": "coalesce(token_name, token_id, '')",
    "mode": "coalesce(mode, '')",
    "group": "of_group.value",
}
_NAMES = {
    Dialect.SQLITE: "json_each(coalesce(groups, {}))",
    Dialect.POSTGRESQL: "json_array_elements_text(coalesce(groups, {})::json)",
}
"""A table of the groups of a row, with the column ``value``; the field is the list for none."""
_EMPTY, _NO_NAME = "'[]'", "'[\"\"]'"
_DAY_MS = 86_400_000
_SUMS = """count(*) AS requests,
 sum(CASE WHEN usage = 'refused' THEN 1 ELSE 0 END) AS refusals,
 coalesce(sum(input_tokens), 0) AS input_tokens,
 coalesce(sum(cached_tokens), 0) AS cached_tokens,
 coalesce(sum(output_tokens), 0) AS output_tokens,
 sum(CASE WHEN usage IN ('failed', 'compressed', 'cancelled') THEN 1 ELSE 0 END) AS unknown
"""


class UsageStore:
    """Reads and writes recorded requests.

    All methods raise StoreError if the database fails.

    Args:
        database: the store closes it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

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
        async with self._database.transaction() as transaction:
            for process, group in groupby(ordered, lambda entry: entry.process):
                of_process = list(group)
                count = await transaction.insert(
                    ENTRIES, COLUMNS, [_values(entry) for entry in of_process]
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

    async def set_issued(self, process: str, since_ms: int, issued: int) -> None:
        """Store the number of ids that a process gave to requests."""
        await self._database.execute(
            "INSERT INTO usage_processes (process, since_ms, issued, received)"
            " VALUES ($1, $2, $3, 0) ON CONFLICT (process) DO UPDATE SET issued = excluded.issued",
            process,
            since_ms,
            issued,
        )

    async def delete_before(self, time_ms: int, *, processes_ms: int) -> int:
        """Delete old requests, and the counts of the processes that answered them.

        Args:
            time_ms: Unix time in milliseconds; requests that began earlier are deleted.
            processes_ms: the same for the names of processes. All ids of an earlier name have to
                be older than ``time_ms``.

        Returns:
            The number of requests.
        """
        async with self._database.transaction() as transaction:
            deleted = await transaction.execute(
                "DELETE FROM usage_entries WHERE time_ms < $1", time_ms
            )
            await transaction.execute(
                "DELETE FROM usage_processes WHERE since_ms < $1", processes_ms
            )
        return deleted

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
        names = _NAMES[self._database.dialect]
        tables = "usage_entries"
        if by == "group":
            # A request of a user without groups has one empty name.
            tables += f" CROSS JOIN {names.format(_NO_NAME)} of_group"
        condition, args = _of_user(user_id)
        if group is not None:
            args.append(group)
            condition += (
                f" AND EXISTS (SELECT 1 FROM {names.format(_EMPTY)} one"  # noqa: S608 - constants
                f" WHERE lower(one.value) = lower(${len(args) + 1}))"
            )
        rows = await self._database.fetch(
            f"SELECT {GROUPS[by]} AS key, {_SUMS} FROM {tables}"  # noqa: S608 - constants
            f" WHERE time_ms >= $1{condition}"
            " GROUP BY 1 ORDER BY"
            " coalesce(sum(input_tokens), 0) + coalesce(sum(output_tokens), 0) DESC,"
            " count(*) DESC, 1",
            since_ms,
            *args,
        )
        return [_line(row) for row in rows]

    async def by_day(self, since_ms: int, user_id: str | None = None) -> list[Line]:
        """Sum up the requests of each UTC day that has any, in order; arguments as ``add_up``.

        Returns:
            Lines whose key is the number of days since 1970.
        """
        whose, args = _of_user(user_id)
        rows = await self._database.fetch(
            f"SELECT time_ms / {_DAY_MS} AS key, {_SUMS} FROM usage_entries"  # noqa: S608
            f" WHERE time_ms >= $1{whose} GROUP BY 1 ORDER BY 1",
            since_ms,
            *args,
        )
        return [_line(row) for row in rows]

    async def last_uses(self, user_id: str) -> dict[str, int]:
        """Return the time of the last recorded request of each of a user's tokens.

        Returns:
            Token ids with Unix times in milliseconds.
        """
        rows = await self._database.fetch(
            "SELECT token_id, max(time_ms) AS last FROM usage_entries"
            " WHERE user_id = $1 AND token_id IS NOT NULL GROUP BY 1",
            user_id,
        )
        return {row["token_id"]: int(row["last"]) for row in rows}


def _of_user(user_id: str | None) -> tuple[str, list[object]]:
    return ("", []) if user_id is None else (" AND user_id = $2", [user_id])


def _values(entry: UsageEntry) -> tuple[str | int | None, ...]:
    tokens = entry.tokens
    return (
        entry.id,
        entry.time_ms,
        entry.decision,
        entry.status,
        str(entry.usage),
        entry.duration_ms,
        entry.request_id,
        entry.user_id,
        entry.username,
        entry.token_id,
        entry.token_name,
        entry.provider,
        entry.mode,
        entry.reason,
        entry.model,
        entry.proxy_session,
        tokens.input,
        tokens.cached,
        tokens.cache_write,
        tokens.output,
        tokens.reasoning,
        json.dumps(entry.groups) if entry.groups else None,
    )


def _line(row: Row) -> Line:
    return Line(
        # Rows may be older than the code that cleans texts before writing them.
        key=printable(str(row["key"])),
        requests=int(row["requests"]),
        refusals=int(row["refusals"]),
        input_tokens=int(row["input_tokens"]),
        cached_tokens=int(row["cached_tokens"]),
        output_tokens=int(row["output_tokens"]),
        unknown=int(row["unknown"]),
    )
