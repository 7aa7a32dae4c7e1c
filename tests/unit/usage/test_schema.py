"""authz.usage.schema, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from authz.database.interface import Database, Dialect
from authz.database.migration import Schema
from authz.errors import StoreError
from authz.identity.open import make_store, open_database
from authz.usage.schema import USAGE, prepare
from authz.usage.store import UsageStore
from authz.usage.sums_schema import TABLES
from tests.support.postgres import PostgresServer
from tests.unit.usage.test_store import entry

_STEP = "ALTER TABLE usage_entries ADD COLUMN color text NOT NULL DEFAULT 'blue'"


def _next_version(*statements: str) -> Schema:
    """Return the usage tables with one more step."""
    step = dict.fromkeys(Dialect, statements)
    return replace(USAGE, steps={**USAGE.steps, USAGE.version + 1: step})


@pytest.fixture
async def database(store_url: str) -> AsyncIterator[Database]:
    """A database with the identity tables, and without usage tables."""
    await (await _open(store_url)).close()
    opened = await open_database(store_url)
    for table in ("usage_entries", "usage_processes", "usage_schema", *TABLES):
        await opened.execute(f"DROP TABLE IF EXISTS {table}")
    if opened.dialect is Dialect.POSTGRESQL:
        await opened.execute("DROP FUNCTION IF EXISTS usage_sum")
    yield opened
    await opened.close()


async def _open(url: str) -> Database:
    await make_store(url)
    return await open_database(url)


async def _version(database: Database) -> int:
    (row,) = await database.fetch("SELECT version FROM usage_schema")
    return int(row["version"])


async def test_tables_are_made_with_their_version(database: Database) -> None:
    """New tables have a version; preparing them again changes nothing."""
    for _ in range(2):
        await prepare(database)
        assert await _version(database) == USAGE.version
    assert await UsageStore(database).add([entry(1)]) == 1


@pytest.mark.parametrize("is_versioned", [True, False])
async def test_a_step_adds_a_column_and_keeps_rows(database: Database, is_versioned: bool) -> None:
    """Tables of the first version get the column, whether or not they have a version yet."""
    first = replace(USAGE, steps={1: USAGE.steps[1]})
    await prepare(database, USAGE if is_versioned else first)
    if not is_versioned:
        await database.execute("DROP TABLE usage_schema")
        await prepare(database)
    await UsageStore(database).add([entry(1), entry(2)])
    newer = _next_version(_STEP)
    await prepare(database, newer)
    assert await _version(database) == newer.version
    rows = await database.fetch("SELECT color FROM usage_entries")
    assert {row["color"] for row in rows} == {"blue"}
    assert len(rows) == 2
    assert await UsageStore(database).add([entry(4)]) == 1


async def test_newer_tables_are_refused(database: Database) -> None:
    """Tables of a later version are left alone, with the advice to upgrade."""
    later = USAGE.version + 1
    await prepare(database, _next_version(_STEP))
    with pytest.raises(
        StoreError, match=rf"newer authz \(usage tables of version {later}, .*: upgrade"
    ):
        await prepare(database)
    assert await _version(database) == later


async def test_many_make_the_tables_once(store_url: str, database: Database) -> None:
    """Concurrent upgrades of the tables all succeed, and only one changes them."""
    newer = _next_version(_STEP)
    opened = [await open_database(store_url) for _ in range(6)]
    await asyncio.gather(*(prepare(one, newer) for one in opened))
    assert await _version(database) == newer.version
    await asyncio.gather(*(one.close() for one in opened))


async def test_a_failing_step_changes_nothing(database: Database) -> None:
    """Tables and version stay as they were, and the next try succeeds."""
    await prepare(database)
    await UsageStore(database).add([entry(1)])
    with pytest.raises(StoreError, match="nowhere"):
        await prepare(database, _next_version(_STEP, "SELECT * FROM nowhere"))
    assert await _version(database) == USAGE.version
    with pytest.raises(StoreError, match="color"):
        await database.fetch("SELECT color FROM usage_entries")
    await prepare(database, _next_version(_STEP))
    assert len(await database.fetch("SELECT color FROM usage_entries")) == 1


async def test_prepared_tables_need_no_right_to_make_any(postgres: PostgresServer) -> None:
    """A role that can only read and write rows uses current tables; an upgrade needs the owner."""
    name = postgres.database()
    await (await _open(postgres.url(name))).close()
    owner = await open_database(postgres.url(name))
    await prepare(owner, replace(USAGE, steps={n: USAGE.steps[n] for n in USAGE.steps if n < 4}))
    role = f"writer_{name}"
    # A name that SQL has to quote.
    quoted = f'"{role} of rows"'
    postgres.sql(
        name,
        f"CREATE ROLE {quoted} LOGIN",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON usage_entries, usage_processes TO {quoted}",
        f"GRANT SELECT ON usage_schema, authz_schema TO {quoted}",
    )
    # The role keeps its rights on the requests, and gets them on the sums.
    await prepare(owner)
    writer = await open_database(postgres.url(name, user=f"{role} of rows"))
    await prepare(writer)
    assert await UsageStore(writer).add([entry(1)]) == 1
    assert [line.requests for line in await UsageStore(writer).add_up("user", 0)] == [1]
    newer = _next_version(_STEP)
    with pytest.raises(StoreError, match="must be owner of table usage_entries"):
        await prepare(writer, newer)
    await prepare(owner, newer)
    assert await UsageStore(writer).add([entry(2)]) == 1
    await writer.close()
    await owner.close()


async def test_requests_from_before_groups_have_none(database: Database) -> None:
    """Rows of the first version are kept, and count for no group."""
    first = replace(USAGE, steps={1: USAGE.steps[1]})
    await prepare(database, first)
    await database.execute(
        "INSERT INTO usage_entries (id, time_ms, decision, status, usage, duration_ms)"
        " VALUES ('0123456789ab-000000000001', 1, 'allow', 200, 'none', 1)"
    )
    store = UsageStore(database)
    await store.prepare()
    await store.add([entry(2, groups=("labs",))])
    assert {line.key: line.requests for line in await store.add_up("group", 0)} == {
        "": 1,
        "labs": 1,
    }
