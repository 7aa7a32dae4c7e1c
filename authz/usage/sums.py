"""Sums over recorded requests: by user, model and other properties, and by day.

A sum reads whole UTC days and hours from the tables of sums, and the rows of requests only for the
part of an hour at the beginning. Requests that are not in the sums yet are read from their rows.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise

from authz.database.interface import Dialect, Queries, Row
from authz.usage.rows import Line, line_of
from authz.usage.sums_schema import (
    COVERED,
    DAY_MS,
    HOUR_MS,
    MEASURES,
    QUARTER_MS,
    SERIES,
    add,
)

GROUPS = {
    "user": "coalesce(username, '')",
    "model": "coalesce(model, '')",
    "provider": "coalesce(provider, '')",
    "token": "coalesce(token_name, token_id, '')",
    "mode": "coalesce(mode, '')",
    "project": "coalesce(project, '')",
    "session": "coalesce(session, '')",
    "group": "of_group.value",
}
_NAMES = {
    Dialect.SQLITE: "json_each(coalesce(groups, {}))",
    Dialect.POSTGRESQL: "json_array_elements_text(coalesce(groups, {})::json)",
}
"""A table of the groups of a row, with the column ``value``; the field is the list for none."""
_EMPTY, _NO_NAME = "'[]'", "'[\"\"]'"
_EARLIER = {Dialect.SQLITE: "min", Dialect.POSTGRESQL: "least"}
_HOURS = {
    Dialect.SQLITE: "(SELECT value AS hour FROM json_each($5)) split",
    Dialect.POSTGRESQL: "(SELECT value::bigint AS hour FROM json_array_elements_text($5::json)"
    " AS value) split",
}
"""A table of the hours in a JSON list."""
_BACKFILL_ROWS = 2_000
"""About how many requests are added at once, so that other writers wait for less than a second."""
_MEASURES = ", ".join(MEASURES)
_SUMS = ", ".join(f"sum({name}) AS {name}" for name in MEASURES)
_OF_ROW = ", ".join(f"{value} AS {name}" for name, value in MEASURES.items())
_KEYS = ", ".join(SERIES)
_NEVER_MS = 1 << 62


async def add_up(
    queries: Queries, by: str, since_ms: int, user_id: str | None = None, *, group: str | None
) -> list[Line]:
    """Sum up the requests since a time; arguments as ``UsageStore.add_up``."""
    since_ms = max(since_ms, 0)
    start = _whole(max(since_ms, await _covered_since(queries)), HOUR_MS)
    if by == "session":
        # There are too many sessions for sums, so all rows are read.
        start = _NEVER_MS
    end = _whole(start, DAY_MS)
    args: list[object] = [since_ms, start, start // HOUR_MS, end // HOUR_MS, end // DAY_MS]
    names = _NAMES[queries.dialect]
    # A request of a user without groups has one empty name.
    groups = f" CROSS JOIN {names.format(_NO_NAME)} of_group" if by == "group" else ""
    whose, whose_entry = "", ""
    if user_id is not None:
        args.append(user_id)
        whose = f" WHERE user_id = ${len(args)}"
        whose_entry = f" AND r.user_id = ${len(args)}"
    condition = ""
    if group is not None:
        args.append(group)
        condition = (
            f" WHERE EXISTS (SELECT 1 FROM {names.format(_EMPTY)} one"  # noqa: S608 - constants
            f" WHERE lower(one.value) = lower(${len(args)}))"
        )
    rows = await queries.fetch(
        f"""\
SELECT {GROUPS[by]} AS key, {_SUMS} FROM (
    SELECT {_KEYS}, CAST(NULL AS text) AS session, {_MEASURES} FROM (
        SELECT series, {_SUMS} FROM (
            SELECT series, {_MEASURES} FROM usage_days WHERE day >= $5
            UNION ALL
            SELECT series, {_MEASURES} FROM usage_hours WHERE hour >= $3 AND hour < $4
        ) periods GROUP BY series
    ) of_series JOIN usage_series ON usage_series.id = of_series.series{whose}
    UNION ALL
    SELECT {_KEYS}, session, {_OF_ROW} FROM usage_entries r
    WHERE r.time_ms >= $1 AND r.time_ms < $2{whose_entry}
) of_requests{groups}{condition} GROUP BY 1 HAVING sum(requests) > 0
ORDER BY sum(input_tokens) + sum(output_tokens) DESC, sum(requests) DESC, 1""",  # noqa: S608
        *args,
    )
    return [line_of(row) for row in rows]


async def by_day(
    queries: Queries, since_ms: int, user_id: str | None = None, *, zone: tzinfo = UTC
) -> list[Line]:
    """Sum up the requests of each day; arguments as ``UsageStore.by_day``."""
    since_ms = max(since_ms, 0)
    covered = max(since_ms, await _covered_since(queries))
    offsets = _offsets(since_ms, zone)
    rows_of = f"SELECT {_day('r.time_ms', offsets)} AS key, {_OF_ROW} FROM usage_entries r"  # noqa: S608
    if user_id is None:
        start = _whole(covered, QUARTER_MS)
        args: list[object] = [since_ms, start, start // QUARTER_MS]
        parts = [
            f"SELECT {_day(f'quarter * {QUARTER_MS}', offsets)} AS key, {_MEASURES}"  # noqa: S608
            " FROM usage_quarters WHERE quarter >= $3",
            f"{rows_of} WHERE r.time_ms >= $1 AND r.time_ms < $2",
        ]
    else:
        start = _whole(covered, HOUR_MS)
        args = [since_ms, start, start // HOUR_MS, user_id]
        first, last = f"h.hour * {HOUR_MS}", f"h.hour * {HOUR_MS} + {HOUR_MS - 1}"
        day, last_day = _day(first, offsets), _day(last, offsets)
        hours = "usage_series s JOIN usage_hours h ON h.series = s.id WHERE s.user_id = {} AND"
        hours += " h.hour >= {} AND "
        parts = [
            f"SELECT {day} AS key, {_MEASURES} FROM {hours.format('$4', '$3')}{day} = {last_day}",  # noqa: S608
            f"{rows_of} WHERE r.user_id = $4 AND r.time_ms >= $1 AND r.time_ms < $2",
        ]
        if any(offset % HOUR_MS for _, offset in offsets):
            # A day that begins within an hour needs the rows of that hour, if the user has any.
            split = await queries.fetch(
                f"SELECT DISTINCT h.hour FROM {hours.format('$1', '$2')}{day} <> {last_day}",  # noqa: S608
                user_id,
                start // HOUR_MS,
            )
            args.append(json.dumps([row["hour"] for row in split]))
            parts.append(
                f"{rows_of} JOIN {_HOURS[queries.dialect]} ON r.time_ms >= split.hour * {HOUR_MS}"
                f" AND r.time_ms < (split.hour + 1) * {HOUR_MS} WHERE r.user_id = $4"
            )
    rows = await queries.fetch(
        f"SELECT key, {_SUMS} FROM ({' UNION ALL '.join(parts)}) of_requests"  # noqa: S608
        " GROUP BY 1 HAVING sum(requests) > 0 ORDER BY 1",
        *args,
    )
    return [line_of(row) for row in rows]


async def unpriced(queries: Queries, since_ms: int, user_id: str | None = None) -> list[Row]:
    """Return the models with requests that have no cost; see ``StoredCosts.missing``.

    The time of the last request is exact if the series has no later one, else the end of its day.
    """
    since_ms = max(since_ms, 0)
    start = _whole(max(since_ms, await _covered_since(queries)), HOUR_MS)
    end = _whole(start, DAY_MS)
    args: list[object] = [since_ms, start, start // HOUR_MS, end // HOUR_MS, end // DAY_MS]
    whose, whose_entry = "", ""
    if user_id is not None:
        args.append(user_id)
        whose, whose_entry = " WHERE s.user_id = $6", " AND r.user_id = $6"
    return await queries.fetch(
        f"""\
SELECT provider, model, sum(requests) AS requests, max(last_ms) AS last_ms FROM (
    SELECT coalesce(s.provider, '') AS provider, coalesce(s.model, '') AS model,
        p.unpriced AS requests, {_EARLIER[queries.dialect]}(s.last_ms, p.end_ms) AS last_ms
    FROM (
        SELECT series, unpriced, (day + 1) * {DAY_MS} - 1 AS end_ms FROM usage_days
        WHERE day >= $5 AND unpriced > 0
        UNION ALL
        SELECT series, unpriced, (hour + 1) * {HOUR_MS} - 1 FROM usage_hours
        WHERE hour >= $3 AND hour < $4 AND unpriced > 0
    ) p JOIN usage_series s ON s.id = p.series{whose}
    UNION ALL
    SELECT coalesce(r.provider, ''), coalesce(r.model, ''), 1, r.time_ms FROM usage_entries r
    WHERE r.time_ms >= $1 AND r.time_ms < $2 AND {MEASURES["unpriced"]} = 1{whose_entry}
) of_requests GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2""",  # noqa: S608 - constants
        *args,
    )


async def last_uses(queries: Queries, user_id: str | None) -> dict[str, int]:
    """Return the time of the last request of each token; see ``UsageStore.last_uses``."""
    whose, args = ("", []) if user_id is None else (" AND user_id = $2", [user_id])
    rows = await queries.fetch(
        "SELECT token_id, max(last_ms) AS last FROM ("  # noqa: S608 - constants
        f"SELECT token_id, last_ms FROM usage_series WHERE token_id IS NOT NULL{whose}"
        " UNION ALL SELECT token_id, time_ms FROM usage_entries WHERE time_ms < $1"
        f" AND token_id IS NOT NULL{whose}) uses GROUP BY 1",
        await _covered_since(queries),
        *args,
    )
    return {row["token_id"]: int(row["last"]) for row in rows}


@asynccontextmanager
async def adding(transaction: Queries) -> AsyncIterator[None]:
    """Add the rows that the block inserts to the sums.

    In PostgreSQL a trigger adds the rows of a statement together. SQLite's are for one row each,
    and cost more than the row itself.
    """
    if transaction.dialect is Dialect.POSTGRESQL:
        yield
        return
    await transaction.execute("UPDATE usage_sums SET by_writer = true")
    (row,) = await transaction.fetch("SELECT coalesce(max(rowid), 0) AS last FROM usage_entries")
    yield
    source = f"(SELECT * FROM usage_entries WHERE rowid > {row['last']:d})"  # noqa: S608 - a number
    for statement in add(transaction.dialect, source, COVERED):
        await transaction.execute(statement)
    await transaction.execute("UPDATE usage_sums SET by_writer = false")


async def backfill(transaction: Queries) -> bool:
    """Add the latest requests that are not in the sums; return False if there are none.

    Args:
        transaction: one in which no row is written meanwhile.
    """
    covered = await _covered_since(transaction)
    found = await transaction.fetch(
        "SELECT min(time_ms) AS first FROM (SELECT time_ms FROM usage_entries"
        " WHERE time_ms < $1 ORDER BY time_ms DESC LIMIT $2) latest",
        covered,
        _BACKFILL_ROWS,
    )
    if found[0]["first"] is None:
        return False
    start = found[0]["first"] // QUARTER_MS * QUARTER_MS
    source = (
        "(SELECT * FROM usage_entries"  # noqa: S608 - numbers
        f" WHERE time_ms >= {start:d} AND time_ms < {covered:d})"
    )
    for statement in add(transaction.dialect, source, "true"):
        await transaction.execute(statement)
    await transaction.execute("UPDATE usage_sums SET since_ms = $1", start)
    return True


async def forget(transaction: Queries, before_ms: int) -> None:
    """Delete the sums before the beginning of a UTC day; its rows are deleted afterwards."""
    await transaction.execute("UPDATE usage_sums SET since_ms = $1 WHERE since_ms < $1", before_ms)
    for table, period, length in (
        ("hours", "hour", HOUR_MS),
        ("days", "day", DAY_MS),
        ("quarters", "quarter", QUARTER_MS),
    ):
        await transaction.execute(
            f"DELETE FROM usage_{table} WHERE {period} < $1",  # noqa: S608 - constants
            before_ms // length,
        )
    await transaction.execute("DELETE FROM usage_series WHERE last_ms < $1", before_ms)


async def _covered_since(queries: Queries) -> int:
    rows = await queries.fetch("SELECT since_ms FROM usage_sums")
    return int(rows[0]["since_ms"])


def _whole(time_ms: int, length: int) -> int:
    """Return the first beginning of a period at or after a time."""
    return -(-time_ms // length) * length


def _day(time_ms: str, offsets: list[tuple[int, int]]) -> str:
    """Return SQL for the number of a time's local day since 1970."""
    *earlier, (_, offset) = offsets
    cases = "".join(f" WHEN {time_ms} < {until:d} THEN {value:d}" for until, value in earlier)
    shift = f"CASE{cases} ELSE {offset:d} END" if earlier else f"{offset:d}"
    return f"(({time_ms} + {shift}) / {DAY_MS})"


def _offsets(since_ms: int, zone: tzinfo) -> list[tuple[int, int]]:
    """Return the offsets of a zone from a time until tomorrow, each with its end."""
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    first = since_ms // DAY_MS * DAY_MS
    days = range(first, max(first, now_ms) + 2 * DAY_MS, DAY_MS)
    found: list[tuple[int, int]] = []
    for day, following in pairwise(days):
        offset = _offset(day, zone)
        if offset != _offset(following, zone):
            changes = (
                quarter
                for quarter in range(day, following + 1, QUARTER_MS)
                if _offset(quarter, zone) != offset
            )
            found.append((next(changes), offset))
    return [*found, (days[-1], _offset(days[-1], zone))]


def _offset(time_ms: int, zone: tzinfo) -> int:
    at = datetime.fromtimestamp(time_ms / 1000, zone)
    return (at.utcoffset() or timedelta()) // timedelta(milliseconds=1)
