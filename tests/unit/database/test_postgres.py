"""authz.database.postgres, and the identity tables in it."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from authz.database import postgres as module
from authz.database.interface import Conflict, Dialect
from authz.database.postgres import PostgresDatabase
from authz.errors import StoreError
from authz.identity.open import make_store, open_store
from authz.identity.schema import IDENTITY
from authz.identity.store import Store
from tests.support.postgres import PostgresServer
from tests.support.postgres_tables import parsed

_TOKEN = (
    "INSERT INTO api_keys (id, hashed_secret, user_id, expires_at, created_at, updated_at,"
    " login_type) VALUES ($1, $2, $3, $4, now(), now(), 'token')"
)


@pytest.fixture
async def database(postgres: PostgresServer, own: str) -> AsyncIterator[PostgresDatabase]:
    """A database with our tables and a table to play with."""
    opened = PostgresDatabase(parsed(postgres.url(own)))
    await opened.execute("DROP TABLE IF EXISTS t")
    await opened.execute("CREATE TABLE t (x integer PRIMARY KEY, at timestamptz, b boolean)")
    yield opened
    await opened.close()


async def test_values_keep_their_types(database: PostgresDatabase) -> None:
    """Times come back aware and in UTC, truth values as bool, whatever went in."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678900, timezone(timedelta(hours=2)))
    assert await database.execute("INSERT INTO t VALUES ($1, $2, $3)", 1, moment, True) == 1
    assert await database.execute("UPDATE t SET b = true") == 1
    assert await database.execute("DELETE FROM t WHERE x = 7") == 0
    [row] = await database.fetch("SELECT * FROM t WHERE x = $1 AND at = $2", 1, moment)
    assert (row["at"], row["at"].tzinfo, row[2]) == (moment, UTC, True)
    with pytest.raises(ValueError, match="timezone-aware"):
        await database.execute("UPDATE t SET at = $1", datetime(2026, 1, 1))


async def test_a_transaction_is_all_or_nothing(database: PostgresDatabase) -> None:
    """An exception rolls back and keeps the connection, and a cancellation rolls back as well."""

    async def fail() -> None:
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO t (x) VALUES (1)")
            raise RuntimeError

    [before] = await database.fetch("SELECT pg_backend_pid()")
    with pytest.raises(RuntimeError):
        await fail()
    assert await database.fetch("SELECT pg_backend_pid()") == [before]

    async def hang(sql: str) -> None:
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO t (x) VALUES (2)")
            await transaction.execute(sql)
            await asyncio.sleep(60)

    for sql in ("SELECT 1", "SELECT pg_sleep(2)"):
        task = asyncio.create_task(hang(sql))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await database.fetch("SELECT * FROM t") == []


async def test_tasks_do_not_enter_each_others_transactions(database: PostgresDatabase) -> None:
    """A statement of another task waits for the transaction's end."""

    async def add(number: int) -> None:
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO t (x) VALUES ($1)", number)
            await asyncio.sleep(0)
            if number % 2:
                raise RuntimeError

    await asyncio.gather(*(add(number) for number in range(10)), return_exceptions=True)
    rows = await database.fetch("SELECT x FROM t ORDER BY x")
    assert [row["x"] for row in rows] == [0, 2, 4, 6, 8]


async def test_transactions_of_processes_are_in_turn(
    postgres: PostgresServer, own: str, database: PostgresDatabase
) -> None:
    """A transaction's reads stay true, since a transaction of another process waits for its end."""
    other = PostgresDatabase(parsed(postgres.url(own)))
    read, seen = asyncio.Event(), []

    async def first() -> None:
        async with database.transaction() as transaction:
            seen.append(len(await transaction.fetch("SELECT * FROM t")))
            read.set()
            await asyncio.sleep(0.1)
            seen.append(len(await transaction.fetch("SELECT * FROM t")))

    async def second() -> None:
        await read.wait()
        async with other.transaction() as transaction:
            await transaction.execute("INSERT INTO t (x) VALUES (1)")

    await asyncio.gather(first(), second())
    assert seen == [0, 0]
    assert len(await database.fetch("SELECT * FROM t")) == 1
    await other.close()


async def test_refusals_are_of_two_kinds(postgres: PostgresServer, own: str) -> None:
    """A duplicate of a unique value is a Conflict; any other error is one line, quoting no row."""
    database = PostgresDatabase(parsed(postgres.url(own)))
    store = await open_store(postgres.url(own), create=False)
    user = await store.create_user("alice")
    soon = datetime.now(UTC)
    await database.execute(_TOKEN, "0123456789", b"x" * 32, user.id, soon)
    async with database.transaction() as transaction:
        with pytest.raises(Conflict):
            await transaction.execute(_TOKEN, "0123456789", b"x" * 32, user.id, soon)
    assert await database.fetch("SELECT 1 AS one")
    with pytest.raises(StoreError, match='relation "nowhere" does not exist'):
        await database.fetch("SELECT * FROM nowhere")
    with pytest.raises(StoreError, match="check constraint") as caught:
        await database.execute(_TOKEN, "a", b"hash of a secret", user.id, soon)
    assert postgres.url(own).partition("?")[0] in str(caught.value)
    assert b"hash".hex() not in str(caught.value)
    await store.close()
    await database.close()


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "10000-01-01 00:00Z"])
async def test_times_that_python_does_not_know(database: PostgresDatabase, moment: str) -> None:
    """A row with a time that Python can't read is refused, as it would fail its whole batch."""
    await database.execute(
        "INSERT INTO users (id, username, created_at, updated_at)"
        " VALUES (gen_random_uuid(), 'a', now(), now())"
    )
    with pytest.raises(StoreError, match="check constraint"):
        await database.execute(
            "INSERT INTO api_keys (id, hashed_secret, user_id, expires_at, created_at, updated_at,"  # noqa: S608
            f" login_type) SELECT '0123456789', sha256(''), id, '{moment}', now(), now(), 'token'"
            " FROM users"
        )


async def test_a_writer_waits_for_another_process(
    postgres: PostgresServer, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer waits a while for a transaction, then gives up, and the next one succeeds."""
    first = PostgresDatabase(parsed(postgres.url(own)))
    # The limit of the second one only, for each of its statements on a busy machine.
    monkeypatch.setattr(module, "STATEMENT_SECONDS", 0.5)
    second = PostgresDatabase(parsed(postgres.url(own)))
    async with first.transaction():
        with pytest.raises(StoreError, match="took too long"):
            async with second.transaction():
                pass
    async with second.transaction():
        pass
    await first.close()
    await second.close()


async def test_a_server_that_hangs_or_restarts(
    postgres: PostgresServer, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hung server is given up and a restarted one is used, without opening the store again."""
    store = await open_store(postgres.url(own), create=False)
    await store.create_user("alice")
    postgres.pause()
    try:
        with monkeypatch.context() as hung:
            hung.setattr(module, "_ANSWER_SECONDS", 0.2)
            with pytest.raises(StoreError, match="does not answer in time"):
                await store.create_user("bob")
    finally:
        postgres.resume()
    await store.create_user("carol")
    postgres.stop()
    with pytest.raises(StoreError):
        await store.list_users()
    postgres.start()
    assert [user.username for user in await store.list_users()][-1] == "carol"
    await store.close()


async def test_the_same_tables_as_in_sqlite() -> None:
    """Tables, columns and indexes have the same names in both databases."""

    def names(dialect: Dialect) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for text in (text for step in IDENTITY.steps.values() for text in step[dialect]):
            # A later step of SQLite may make a table again, with other checks.
            if made := re.match(r"CREATE (?:UNIQUE )?(?:TABLE|INDEX) ([a-z_]+)", text):
                found[made[1]] = re.findall(r"^ {4}([a-z_]+) ", text, re.M)
            if added := re.match(r"ALTER TABLE ([a-z_]+) ADD COLUMN ([a-z_]+)", text):
                found[added[1]].append(added[2])
        found.pop("authz_schema", None)
        return found

    assert names(Dialect.POSTGRESQL) == names(Dialect.SQLITE)


async def test_the_tables_are_made_once(postgres: PostgresServer) -> None:
    """Of many concurrent calls one creates the tables, and none fails or loses anything."""
    url = postgres.url(postgres.database())
    made = await asyncio.gather(*(make_store(url) for _ in range(8)))
    assert sorted(done for _, done in made) == [False] * 7 + [True]
    store = await open_store(url, create=False)
    await store.create_user("alice")
    assert await make_store(url) == (url.partition("?")[0], False)
    assert len(await store.list_users()) == 1
    await store.close()


async def test_coders_own_database_is_refused(postgres: PostgresServer) -> None:
    """No command writes to a database in which Coder manages the users."""
    for variant in ("newer", "older"):
        name = postgres.coder_database(variant)
        for attempt in (make_store(postgres.url(name)), _opened(postgres.url(name))):
            with pytest.raises(StoreError, match="managed by Coder: use 'coder tokens create'"):
                await attempt
        assert postgres.sql(name, "SELECT count(*) FROM pg_tables WHERE schemaname='public'") == "2"


async def _opened(url: str) -> Store:
    return await open_store(url, create=True)


async def test_other_tables_are_refused(postgres: PostgresServer) -> None:
    """A database of another program, of another authz or without tables gives one clear line."""
    name = postgres.database()
    with pytest.raises(StoreError, match="no tables yet: create them with 'authz db init'"):
        await _opened(postgres.url(name))
    postgres.sql(name, "CREATE TABLE users (id int)")
    for attempt in (make_store(postgres.url(name)), _opened(postgres.url(name))):
        with pytest.raises(StoreError, match="tables that are not authz's \\(users\\)"):
            await attempt
    postgres.sql(name, "DROP TABLE users")
    await make_store(postgres.url(name))
    postgres.sql(name, "UPDATE authz_schema SET version = 99")
    with pytest.raises(
        StoreError, match=rf"99, this one knows {IDENTITY.version}\): upgrade authz"
    ):
        await _opened(postgres.url(name))
    postgres.sql(name, "UPDATE authz_schema SET version = 1")
    for attempt in (make_store(postgres.url(name)), _opened(postgres.url(name))):
        with pytest.raises(StoreError, match="version 1, which no released authz made"):
            await attempt


async def test_a_marker_in_another_schema_is_not_enough(postgres: PostgresServer) -> None:
    """A mark of authz in one schema does not make Coder's tables in another schema authz's."""
    name = postgres.coder_database()
    postgres.sql(name, "CREATE TABLE authz_schema (version int)", "CREATE SCHEMA other")
    postgres.sql(name, "ALTER TABLE authz_schema SET SCHEMA other")
    with pytest.raises(StoreError, match="not authz's"):
        await _opened(postgres.url(name, search_path="other, public"))


async def test_a_role_that_may_not_make_tables(postgres: PostgresServer) -> None:
    """Missing rights are reported, and no partial set of tables is left behind."""
    name = postgres.database()
    postgres.sql(name, f"CREATE ROLE maker_{name} LOGIN")
    with pytest.raises(StoreError, match="permission denied for schema public"):
        await make_store(postgres.url(name, user=f"maker_{name}"))
    postgres.sql(name, f"GRANT CREATE ON SCHEMA public TO maker_{name}")
    assert (await make_store(postgres.url(name, user=f"maker_{name}")))[1]
