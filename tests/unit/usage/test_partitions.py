"""authz.usage.partitions, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from authz.database.interface import Database
from authz.identity.open import make_store, open_database
from authz.usage.partitions import AHEAD_DAYS
from authz.usage.schema import USAGE, prepare
from authz.usage.store import UsageStore
from authz.usage.sums_schema import DAY_MS
from tests.support.postgres import PostgresServer
from tests.unit.usage.test_store import NOW, entry

_TODAY = NOW // DAY_MS


@pytest.fixture
async def database(postgres: PostgresServer) -> AsyncIterator[Database]:
    """A database of its own, without usage tables."""
    url = postgres.url(postgres.database())
    await make_store(url)
    opened = await open_database(url)
    yield opened
    await opened.close()


async def _partitions(database: Database) -> dict[str, int]:
    """Return the names of the partitions, with their rows."""
    rows = await database.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = 'usage_entries'::regclass"
    )
    counts = {}
    for row in rows:
        found = await database.fetch(f"SELECT count(*) AS rows FROM {row['name']}")  # noqa: S608
        counts[row["name"].removeprefix("usage_entries_")] = found[0]["rows"]
    return counts


async def _days(database: Database) -> list[str]:
    return sorted(name for name in await _partitions(database) if name.isdecimal())


async def test_each_day_of_a_new_table_has_a_partition(database: Database) -> None:
    """Today and coming days have partitions, other days have a place, past days are dropped."""
    await prepare(database)
    store = UsageStore(database)
    for _ in range(2):
        await store.create_partitions(NOW)
        assert len(await _days(database)) == AHEAD_DAYS + 1
    moments = [NOW - 3 * DAY_MS, NOW, NOW, NOW + DAY_MS, NOW + 30 * DAY_MS]
    rows = [entry(number, time_ms=at) for number, at in enumerate(moments)]
    for _ in range(2):
        await store.add(rows)
    today, tomorrow, *_ = await _days(database)
    counts = await _partitions(database)
    assert counts["rest"] == counts["other"] == counts[tomorrow] == 1
    assert counts[today] == 2
    # Tomorrow, today is past.
    await store.create_partitions(NOW + DAY_MS)
    await store.delete_before(NOW + DAY_MS, processes_ms=0)
    assert await _days(database) == [tomorrow, *(await _days(database))[1:]]
    assert len(await _days(database)) == AHEAD_DAYS + 1
    assert [line.requests for line in await store.add_up("user", 0)] == [2]


async def test_an_old_table_becomes_the_first_partition(database: Database) -> None:
    """Its rows stay where they are, are completed, counted once, and pruned with their days."""
    before = replace(USAGE, steps={n: USAGE.steps[n] for n in USAGE.steps if n < 4})
    await prepare(database, before)
    store = UsageStore(database)
    rows = [entry(day, time_ms=NOW - day * DAY_MS) for day in range(5)]
    await store.add(rows)
    (file,) = await database.fetch("SELECT pg_relation_filenode('usage_entries') AS node")
    await prepare(database)
    await asyncio.gather(*(store.create_partitions(NOW) for _ in range(3)))
    (kept,) = await database.fetch("SELECT pg_relation_filenode('usage_entries_rest') AS node")
    assert kept["node"] == file["node"]
    # The days that rows may be written for while the table is checked stay in it.
    assert len(await _days(database)) == AHEAD_DAYS - 1
    assert (await _partitions(database))["rest"] == 5
    assert await store.add(rows) == 0
    assert await store.add([entry(9), entry(10, time_ms=NOW + 2 * DAY_MS)]) == 2
    assert (await _partitions(database))["rest"] == 6
    assert await store.delete_before(NOW - DAY_MS, processes_ms=0) == 3
    # Much later nothing of the old table is left.
    await store.create_partitions(NOW + 20 * DAY_MS)
    await store.delete_before(NOW + 20 * DAY_MS, processes_ms=0)
    assert len(await _days(database)) == AHEAD_DAYS + 1
    assert "rest" not in await _partitions(database)
    await store.create_partitions(NOW + 21 * DAY_MS)
    assert len(await _days(database)) == AHEAD_DAYS + 2
    assert sum((await _partitions(database)).values()) == 0
    assert await store.add_up("user", 0) == []


@pytest.mark.parametrize("later", [0, 1, 3])
async def test_an_interrupted_change_goes_on(database: Database, later: int) -> None:
    """A constraint that an earlier attempt left is used while there is time, and then replaced."""
    await prepare(database)
    store = UsageStore(database)
    await store.add([entry(1)])
    end = (_TODAY + 2) * DAY_MS
    await database.execute(
        "ALTER TABLE usage_entries_rest ADD CONSTRAINT usage_entries_rest_before"
        f" CHECK (time_ms IS NOT NULL AND time_ms < {end}) NOT VALID"
    )
    await store.create_partitions(NOW + later * DAY_MS)
    assert len(await _days(database)) == AHEAD_DAYS - 1
    assert await store.add([entry(2, time_ms=NOW + later * DAY_MS), entry(3, time_ms=end)]) == 2
    assert (await _partitions(database))["other"] == 0


async def test_a_role_without_the_tables_keeps_writing(
    postgres: PostgresServer, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows go into the partition for the rest, with one log line, and are deleted one by one."""
    await prepare(database)
    name = database.where.rpartition("/")[2]
    postgres.sql(
        name,
        f"CREATE ROLE w_{name} LOGIN",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO w_{name}",
    )
    writer = await open_database(postgres.url(name, user=f"w_{name}"))
    store = UsageStore(writer)
    await store.add([entry(1), entry(2, time_ms=NOW - 2 * DAY_MS)])
    for _ in range(2):
        await store.create_partitions(NOW)
    assert capsys.readouterr().out.count("must be owner") == 1
    assert await store.delete_before(NOW, processes_ms=0) == 1
    assert await _partitions(database) == {"rest": 1}
    await writer.close()
