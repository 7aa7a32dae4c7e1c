"""authz.usage.sums, compared with the rows, on SQLite and on PostgreSQL."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from authz.database.interface import Database, Dialect
from authz.identity.open import make_store, open_database
from authz.usage import sums
from authz.usage.entry import Report, Tokens, Usage, UsageEntry
from authz.usage.rows import values_of
from authz.usage.schema import COLUMNS, ENTRIES, USAGE, prepare
from authz.usage.store import UsageStore
from authz.usage.sums import GROUPS
from authz.usage.sums_schema import DAY_MS, HOUR_MS, QUARTER_MS, TABLES
from tests.unit.usage.test_store import NOW, entry

_FIRST = NOW // DAY_MS * DAY_MS - 5 * DAY_MS
_BEFORE = replace(USAGE, steps={n: USAGE.steps[n] for n in USAGE.steps if n < 4})


@pytest.fixture
async def database(store_url: str) -> AsyncIterator[Database]:
    """A database without usage tables."""
    await make_store(store_url)
    opened = await open_database(store_url)
    yield opened
    await opened.close()


@pytest.fixture
async def store(database: Database) -> UsageStore:
    """An empty store of requests."""
    await prepare(database)
    made = UsageStore(database)
    await made.delete_before(NOW + 10 * DAY_MS, processes_ms=0)
    await database.execute("UPDATE usage_sums SET since_ms = 0")
    return made


def requests() -> list[UsageEntry]:
    """Return requests of five days, of users in groups, around the beginnings of periods."""
    moments = sorted(
        _FIRST + day * DAY_MS + around + step
        for day in range(5)
        for around in (0, HOUR_MS // 2, HOUR_MS, 13 * HOUR_MS + QUARTER_MS, 18 * HOUR_MS)
        for step in (-1, 0, 1, 61_007)
    )
    kinds: list[dict[str, Any]] = [
        {"usage": Usage.REFUSED, "decision": "deny", "tokens": Tokens(), "model": None},
        {"usage": Usage.CANCELLED, "tokens": Tokens()},
        {},
        {"model": "gpt-m", "provider": "openai", "mode": "byok"},
        {"tokens": Tokens(input=100, output=50, cached=None), "project": "x", "session": "s1"},
    ]
    return [
        entry(
            number,
            time_ms=at,
            user_id=f"id-{number % 3}",
            username=(None, "alice", "bob")[number % 3],
            token_id=f"token-{number % 4}",
            groups=((), ("labs",), ("Labs", "ops"))[number % 3],
            **kinds[number % len(kinds)],
        )
        for number, at in enumerate(moments)
    ]


def expected(
    rows: list[UsageEntry], since_ms: int, user_id: str | None, zone: tzinfo
) -> list[tuple[str, int, int, int]]:
    """Return days, requests, unknown ones and input tokens, added up here."""
    sums: dict[int, list[int]] = {}
    for row in rows:
        if row.time_ms >= since_ms and user_id in (None, row.user_id):
            at = datetime.fromtimestamp(row.time_ms / 1000, zone)
            line = sums.setdefault(at.date().toordinal() - 719163, [0, 0, 0])
            line[0] += 1
            line[1] += row.usage is Usage.CANCELLED
            line[2] += row.tokens.input or 0
    return [(str(day), *sums[day]) for day in sorted(sums)]  # type: ignore[misc]


async def check(store: UsageStore, rows: list[UsageEntry]) -> None:
    """Compare sums of every kind with the rows."""
    begins = (0, _FIRST + DAY_MS, _FIRST + DAY_MS + HOUR_MS // 2, _FIRST + 3 * DAY_MS + 61_000)
    for since_ms in begins:
        found = [row for row in rows if row.time_ms >= since_ms]
        for by in GROUPS:
            lines = await store.add_up(by, since_ms)
            wanted: Counter[str] = Counter()
            for row in found:
                keys = {
                    "user": row.username,
                    "model": row.model,
                    "provider": row.provider,
                    "token": row.token_id,
                    "mode": row.mode,
                    "project": row.project,
                    "session": row.session,
                }
                names = (row.groups or ("",)) if by == "group" else (keys[by] or "",)
                wanted.update(dict.fromkeys(names, 1))
            assert {line.key: line.requests for line in lines} == dict(wanted), by
        of_user = await store.add_up("model", since_ms, "id-1", group="LABS")
        mine = [row for row in found if row.user_id == "id-1"]
        assert sum(line.requests for line in of_user) == len(mine)
        assert sum(line.input_tokens for line in of_user) == sum(
            row.tokens.input or 0 for row in mine
        )
        assert sum(line.refusals for line in of_user) == sum(
            row.usage is Usage.REFUSED for row in mine
        )


async def test_sums_are_those_of_the_rows(store: UsageStore) -> None:
    """Sums since any moment are exact, also if batches are written twice and in parts."""
    rows = requests()
    for begin, end in pairwise(range(0, len(rows) + 17, 17)):
        await store.add(rows[begin:end])
        await store.add(rows[max(0, begin - 5) : end])
    await check(store, rows)


@pytest.mark.parametrize(
    "zone",
    [
        UTC,
        ZoneInfo("America/New_York"),
        ZoneInfo("Asia/Kolkata"),
        ZoneInfo("Asia/Kathmandu"),
        ZoneInfo("Australia/Lord_Howe"),
    ],
    ids=str,
)
async def test_days_of_a_time_zone(store: UsageStore, zone: tzinfo) -> None:
    """Days begin at midnight of the reader, in zones with half and quarter hours as well."""
    rows = requests()
    await store.add(rows)
    for user_id in (None, "id-1"):
        for since_ms in (_FIRST - DAY_MS, _FIRST + DAY_MS + 5):
            lines = await store.by_day(since_ms, user_id, zone=zone)
            assert [
                (line.key, line.requests, line.unknown, line.input_tokens) for line in lines
            ] == expected(rows, since_ms, user_id, zone)


async def test_a_day_with_a_change_of_the_clock(store: UsageStore) -> None:
    """The days around the end of summer time have 24 and 25 hours."""
    zone = ZoneInfo("Europe/Berlin")
    begin = datetime(2026, 10, 24, tzinfo=zone).timestamp() * 1000
    rows = [
        entry(number, time_ms=int(begin) + number * HOUR_MS, user_id="id-1")
        for number in range(3 * 24)
    ]
    await store.add(rows)
    for user_id in (None, "id-1"):
        lines = await store.by_day(int(begin) - 40 * DAY_MS, user_id, zone=zone)
        assert [line.requests for line in lines] == [24, 25, 23]


async def test_a_report_changes_the_sums(store: UsageStore) -> None:
    """The tokens of a report are added once, and the request is known from then on."""
    waiting = entry(1, status=0, usage=Usage.UNREPORTED, tokens=Tokens(), model=None)
    await store.add([waiting, entry(2)])
    report = Report(waiting.id, 200, Usage.COMPLETE, 9, "gpt-m", Tokens(input=5, output=7))
    for _ in range(2):
        await store.complete(report)
    lines = {line.key: line for line in await store.add_up("model", 0)}
    assert set(lines) == {"gpt-m", "claude-x"}
    assert (lines["gpt-m"].input_tokens, lines["gpt-m"].unknown) == (5, 0)


async def test_rows_from_before_the_sums(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums are right at each moment while older rows are added, and new ones are written."""
    monkeypatch.setattr(sums, "_BACKFILL_ROWS", 3)
    rows = requests()
    old, new = rows[:-20], rows[-20:]
    for table in ("usage_entries", "usage_processes", "usage_schema", *TABLES):
        await database.execute(f"DROP TABLE IF EXISTS {table}")
    if database.dialect is Dialect.POSTGRESQL:
        await database.execute("DROP FUNCTION IF EXISTS usage_sum")
    await prepare(database, _BEFORE)
    store = UsageStore(database)
    async with database.transaction() as transaction:
        await transaction.insert(ENTRIES, COLUMNS, [values_of(row) for row in old])
    await prepare(database)
    await check(store, old)
    await store.add(new)
    steps = 0
    while await store.sum_up_older():
        steps += 1
        if steps % 9 == 1:
            await check(store, rows)
            assert await store.last_uses("id-1") == _last_uses(rows, "id-1")
    assert steps > 20
    (row,) = await database.fetch("SELECT sum(requests) AS requests FROM usage_days")
    assert row["requests"] == len(rows)
    await check(store, rows)


def _last_uses(rows: list[UsageEntry], user_id: str) -> dict[str, int]:
    return {row.token_id: row.time_ms for row in rows if row.user_id == user_id and row.token_id}


async def test_old_days_are_forgotten(store: UsageStore, database: Database) -> None:
    """Rows and sums of the same days are deleted, and what an import adds again is counted."""
    rows = requests()
    await store.add(rows)
    before = _FIRST + 2 * DAY_MS
    kept = [row for row in rows if row.time_ms >= before]
    # The middle of a day deletes only the days before it.
    deleted = await store.delete_before(before + HOUR_MS, processes_ms=0)
    assert deleted == len(rows) - len(kept)
    await check(store, kept)
    for table, period, length in (
        ("usage_hours", "hour", HOUR_MS),
        ("usage_days", "day", DAY_MS),
        ("usage_quarters", "quarter", QUARTER_MS),
    ):
        found = await database.fetch(f"SELECT min({period}) AS first FROM {table}")  # noqa: S608
        assert found[0]["first"] * length >= before
    await store.add(rows)
    await check(store, rows)
    while await store.sum_up_older():
        pass
    await check(store, rows)


async def test_rows_of_an_older_version_are_summed(store: UsageStore, database: Database) -> None:
    """A version without sums, which serves until the upgrade ends, writes rows into them too."""
    rows = requests()
    await store.add(rows[:20])
    async with database.transaction() as transaction:
        values = [values_of(row) for row in rows]
        assert await transaction.insert(ENTRIES, COLUMNS, values) == len(rows) - 20
    await check(store, rows)
    (row,) = await database.fetch("SELECT sum(requests) AS requests FROM usage_hours")
    assert row["requests"] == len(rows)


async def test_deleted_rows_leave_the_sums(store: UsageStore, database: Database) -> None:
    """A row that is deleted by hand is subtracted from the sums, and added again by an import."""
    rows = requests()
    await store.add(rows)
    await database.execute("DELETE FROM usage_entries WHERE username = 'bob'")
    await check(store, [row for row in rows if row.username != "bob"])
    await store.add(rows)
    await check(store, rows)


async def test_a_zone_of_the_future(store: UsageStore) -> None:
    """A request that is dated tomorrow counts for its own day."""
    at = NOW + DAY_MS
    await store.add([entry(1, time_ms=at)])
    (line,) = await store.by_day(NOW, zone=ZoneInfo("Asia/Tokyo"))
    day = datetime.fromtimestamp(at / 1000, UTC) + timedelta(hours=9)
    assert int(line.key) == day.date().toordinal() - 719163
