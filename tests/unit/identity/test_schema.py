"""authz.identity.schema: stores made before the first release, and steps to later versions."""

import asyncio
import re
import secrets
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from authz.core.groups import Group
from authz.core.identity import Identity, IdentitySource, Rejection
from authz.core.rules import make_rules
from authz.core.tokens import CoderToken, parse
from authz.database.interface import Dialect
from authz.database.migration import Schema
from authz.database.sqlite_file import SQLiteFile, make
from authz.errors import IdentityUnavailable, StoreError
from authz.identity import open as opening
from authz.identity import postgres_tables
from authz.identity.open import make_store, open_source, open_store
from authz.identity.schema import IDENTITY
from authz.usage.store import UsageStore
from tests.support.postgres import PostgresServer
from tests.support.postgres_tables import GRANTS

_STORES = Path(__file__).parents[2] / "support" / "first_stores"
_FIRST_VERSION = 2
_STEP = "ALTER TABLE users ADD COLUMN color text NOT NULL DEFAULT 'blue'"
_EXPECTED = {"laptop": "alice", "ci": "bot", "old": Rejection.EXPIRED, "limited": "alice"}


def _next_version(*statements: str) -> Schema:
    """Return the identity tables with one more step."""
    step = dict.fromkeys(Dialect, statements)
    return replace(IDENTITY, steps={**IDENTITY.steps, IDENTITY.version + 1: step})


def _tokens(kind: str) -> dict[str, CoderToken]:
    tokens = {}
    for name, text in re.findall(r"(\w+): (\S{10}-\S{22})", (_STORES / f"{kind}.sql").read_text()):
        token = parse(text)
        assert token is not None
        tokens[name] = token
    return tokens


@pytest.fixture
def first(path: Path) -> Path:
    """A file with alice and the service account bot, the suspended bob and the deleted carol."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((_STORES / "sqlite.sql").read_text())
        connection.execute("PRAGMA journal_mode = WAL")
    return path


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> Schema:
    """Identity tables whose users have a color, for every store that is opened."""
    schema = _next_version(_STEP)
    monkeypatch.setattr(opening, "IDENTITY", schema)
    monkeypatch.setattr(postgres_tables, "IDENTITY", schema)
    return schema


async def _verdicts(source: IdentitySource, kind: str) -> dict[str, str]:
    verifications = {name: await source.verify(token) for name, token in _tokens(kind).items()}
    return {
        name: one.username if isinstance(one, Identity) else one
        for name, one in verifications.items()
    }


async def _check_first_store(url: str, kind: str) -> None:
    source = await open_source(url)
    # The service starts before a writer brings the tables up to date, and reads them as they are.
    assert await _verdicts(source, kind) == _EXPECTED
    identity = await source.verify(_tokens(kind)["limited"])
    assert isinstance(identity, Identity)
    assert identity.rules == make_rules(["openai"])
    made = (await make_store(url))[1]
    assert made == (kind == "postgresql")
    assert not (await make_store(url))[1]
    # The same source, which was open meanwhile.
    assert await _verdicts(source, kind) == _EXPECTED
    store = await open_store(url, create=False)
    users = {user.username: user for user in await store.list_users()}
    assert {name: user.status for name, user in users.items()} == {
        "alice": "active",
        "bob": "suspended",
        "bot": "active",
    }
    assert users["alice"].roles == ("owner",)
    assert len(await store.list_tokens(include_expired=True)) == 4
    entries = await store.audit_entries(datetime(2026, 1, 1, tzinfo=UTC))
    assert [entry.change.action for entry in entries] == ["roles", "create"]
    assert entries[1].change.fields["rules"] == {"providers": ["openai"]}
    group = await store.create_group("staff", rules=make_rules(["anthropic"]))
    await store.add_members(group, [users["alice"]])
    last = (await store.audit_entries(datetime(2026, 1, 1, tzinfo=UTC)))[-1].change
    assert (last.resource, last.target, last.username) == ("group", "staff", "alice")
    identity = await source.verify(_tokens(kind)["limited"])
    assert isinstance(identity, Identity)
    assert identity.memberships == (Group("staff", make_rules(["anthropic"])),)
    await store.close()
    await source.close()


async def test_a_first_file_is_read_and_then_brought_up_to_date(first: Path) -> None:
    """A source leaves an old file unchanged; the first command upgrades it and keeps its rows."""
    with closing(sqlite3.connect(first)) as connection:
        before = list(connection.iterdump())
    source = await open_source(f"sqlite:///{first}")
    assert await _verdicts(source, "sqlite") == _EXPECTED
    await source.close()
    with closing(sqlite3.connect(first)) as connection:
        assert list(connection.iterdump()) == before
    await _check_first_store(f"sqlite:///{first}", "sqlite")
    fresh = first.with_name("fresh.db")
    make(fresh, IDENTITY)
    indexes = """SELECT name FROM sqlite_master WHERE type = 'index' AND sql <> ''
        AND tbl_name NOT LIKE 'usage%' ORDER BY 1"""
    with closing(sqlite3.connect(first)) as mine, closing(sqlite3.connect(fresh)) as other:
        for table in ("users", "api_keys", "audit_logs", "groups", "group_members"):
            pragma = f"PRAGMA table_info({table})"
            assert mine.execute(pragma).fetchall() == other.execute(pragma).fetchall()
        assert mine.execute(indexes).fetchall() == other.execute(indexes).fetchall()


async def test_a_first_database_is_read_and_then_brought_up_to_date(
    postgres: PostgresServer,
) -> None:
    """An old PostgreSQL database is read and upgraded too, to the columns of new tables."""
    name, fresh = postgres.database(), postgres.database()
    postgres.sql(name, (_STORES / "postgresql.sql").read_text())
    await _check_first_store(postgres.url(name), "postgresql")
    await make_store(postgres.url(fresh))
    columns = (
        "SELECT table_name, column_name, data_type, is_nullable, collation_name"
        " FROM information_schema.columns WHERE table_schema = 'public'"
        " AND table_name NOT LIKE 'usage%' ORDER BY 1, ordinal_position"
    )
    assert postgres.sql(name, columns) == postgres.sql(fresh, columns)


async def test_the_next_writer_brings_a_file_up_to_date(first: Path, newer: Schema) -> None:
    """A reader uses the older file as it is; the first command adds the column, and keeps rows."""
    source = await open_source(f"sqlite:///{first}")
    assert await _verdicts(source, "sqlite") == _EXPECTED
    with closing(sqlite3.connect(first)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (_FIRST_VERSION,)
    await (await open_store(f"sqlite:///{first}", create=False)).close()
    with closing(sqlite3.connect(first)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (newer.version,)
        colors = connection.execute("SELECT username, color FROM users ORDER BY 1").fetchall()
    assert colors == [(name, "blue") for name in ("alice", "bob", "bot", "carol")]
    # A process of the earlier version that has the file open goes on; a new one is refused.
    assert await _verdicts(source, "sqlite") == _EXPECTED
    await source.close()
    later = await open_source(f"sqlite:///{first}")
    with pytest.raises(IdentityUnavailable, match="was made by a newer authz"):
        await later.verify(_tokens("sqlite")["laptop"])
    await later.close()


async def test_a_backup_of_an_older_file_can_be_put_back(first: Path, newer: Schema) -> None:
    """The next write brings the file that took the place of the newer one up to date as well."""
    backup = first.with_name("backup.db")
    with closing(sqlite3.connect(first)) as a, closing(sqlite3.connect(backup)) as b:
        a.backup(b)
    store = await open_store(f"sqlite:///{first}", create=False)
    await store.create_user("dave")
    await store.close()
    shutil.move(backup, first)
    store = await open_store(f"sqlite:///{first}", create=False)
    await store.create_user("erin")
    await store.close()
    with closing(sqlite3.connect(first)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (newer.version,)
        names = [name for (name,) in connection.execute("SELECT username FROM users ORDER BY 1")]
    assert names == ["alice", "bob", "bot", "carol", "erin"]


def test_a_failing_step_changes_nothing_in_a_file(first: Path) -> None:
    """Tables and version stay as they were, and the next try succeeds."""
    with closing(sqlite3.connect(first)) as connection:
        before = list(connection.iterdump())
        file = SQLiteFile(first, _next_version(_STEP, "SELECT * FROM nowhere"), read_only=False)
        with pytest.raises(StoreError, match="nowhere"):
            file.connection()
        assert list(connection.iterdump()) == before
        assert connection.execute("PRAGMA user_version").fetchone() == (_FIRST_VERSION,)
    file = SQLiteFile(first, _next_version(_STEP), read_only=False)
    assert file.connection().execute("SELECT color FROM users").fetchone() == ("blue",)
    file.close()


async def test_db_init_brings_a_database_up_to_date(
    postgres: PostgresServer, newer: Schema
) -> None:
    """Commands ask for db init, which keeps rows; only one of several at once does the upgrade."""
    name = postgres.database()
    url = postgres.url(name)
    postgres.sql(name, (_STORES / "postgresql.sql").read_text())
    with pytest.raises(StoreError, match="earlier version's tables: run 'authz db init'"):
        await open_store(url, create=False)
    made = await asyncio.gather(*(make_store(url) for _ in range(6)))
    assert sorted(done for _, done in made) == [False] * 5 + [True]
    assert postgres.sql(name, "SELECT version FROM authz_schema") == str(newer.version)
    assert postgres.sql(name, "SELECT count(*) FROM users WHERE color = 'blue'") == "4"
    source = await open_source(url)
    assert await _verdicts(source, "postgresql") == _EXPECTED
    await source.close()


async def test_an_upgrade_gives_roles_the_rights_on_groups(postgres: PostgresServer) -> None:
    """A role that checks tokens, and one that manages them, go on doing so after the upgrade."""
    name = postgres.database()
    postgres.sql(name, (_STORES / "postgresql.sql").read_text())
    checks, manages = (f"{word}_{secrets.token_hex(4)}" for word in ("checks", "manages"))
    postgres.sql(
        name,
        f'CREATE ROLE "{checks}" LOGIN',
        f'CREATE ROLE "{manages}" LOGIN',
        *GRANTS.format(role=checks).splitlines(),
        f"GRANT SELECT (authz_rules) ON api_keys TO {checks}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON users, api_keys TO {manages}",
        f"GRANT SELECT ON authz_schema TO {manages}",
        f"GRANT SELECT, INSERT ON audit_logs TO {manages}",
    )
    await make_store(postgres.url(name))
    store = await open_store(postgres.url(name, user=manages), create=False)
    group = await store.create_group("staff")
    await store.add_members(group, [await store.get_user("alice")])
    await store.delete_user(await store.create_user("zoe"))
    await store.close()
    source = await open_source(postgres.url(name, user=checks))
    identity = await source.verify(_tokens("postgresql")["laptop"])
    assert isinstance(identity, Identity)
    assert identity.groups == ("staff",)
    await source.close()
    with pytest.raises(RuntimeError, match="permission denied"):
        postgres.sql(name, f"SET ROLE {checks}", "SELECT * FROM group_members")


async def test_a_failing_step_changes_nothing_in_a_database(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables and version stay as they were, and the next try succeeds."""
    name = postgres.database()
    postgres.sql(name, (_STORES / "postgresql.sql").read_text())
    with monkeypatch.context() as patch:
        broken = _next_version(_STEP, "SELECT * FROM nowhere")
        patch.setattr(postgres_tables, "IDENTITY", broken)
        with pytest.raises(StoreError, match="nowhere"):
            await make_store(postgres.url(name))
    assert postgres.sql(name, "SELECT version FROM authz_schema") == str(_FIRST_VERSION)
    monkeypatch.setattr(postgres_tables, "IDENTITY", _next_version(_STEP))
    assert (await make_store(postgres.url(name)))[1]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_recorded_requests_of_a_first_store_are_kept(
    kind: str, first: Path, postgres: PostgresServer
) -> None:
    """Usage tables without a version are taken over: rows are added up and new ones written."""
    url = f"sqlite:///{first}"
    if kind == "postgresql":
        name = postgres.database()
        postgres.sql(name, (_STORES / "postgresql.sql").read_text())
        url = postgres.url(name)
        await make_store(url)
    store = UsageStore(await opening.open_database(url))
    await store.prepare()
    (line,) = await store.add_up("user", 0)
    assert (line.key, line.requests, line.input_tokens) == ("alice", 2, 20)
    assert await store.missing() == 1
    await store.set_issued("0123456789ab", 0, 4)
    assert await store.missing() == 2
    await store.close()
