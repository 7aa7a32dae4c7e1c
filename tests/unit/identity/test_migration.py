"""Tables of version 1, as an earlier authz made them, under this one."""

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from authz.core.identity import Identity, IdentitySource, Rejection
from authz.core.rules import make_rules
from authz.core.tokens import CoderToken, parse
from authz.database import schema_sqlite
from authz.database.sqlite_file import make
from authz.errors import StoreError
from authz.identity.open import make_store, open_source, open_store
from tests.support.postgres import PostgresServer

_OLD = Path(__file__).parents[2] / "support" / "old_stores"
_TOKENS = re.findall(r"(\w+): (\S{10}-\S{22})", (_OLD / "sqlite_v1.sql").read_text())


def _token(name: str) -> CoderToken:
    token = parse(dict(_TOKENS)[name])
    assert token is not None
    return token


@pytest.fixture
def old(path: Path) -> Path:
    """A file with alice and the service account bot, the suspended bob and the deleted carol."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((_OLD / "sqlite_v1.sql").read_text())
        connection.execute("PRAGMA journal_mode = WAL")
    return path


async def _verdicts(source: IdentitySource) -> dict[str, str]:
    verifications = {name: await source.verify(_token(name)) for name, _ in _TOKENS}
    return {
        name: one.username if isinstance(one, Identity) else one
        for name, one in verifications.items()
    }


_EXPECTED = {"laptop": "alice", "ci": "bot", "old": Rejection.EXPIRED}


def _rows(path: Path) -> list[object]:
    with closing(sqlite3.connect(path)) as connection:
        return [
            connection.execute(f"SELECT {columns} FROM {table} ORDER BY id").fetchall()  # noqa: S608
            for table, columns in (
                ("users", "id, email, username, status, login_type, deleted, created_at"),
                ("api_keys", "id, hashed_secret, user_id, expires_at, token_name, scopes"),
            )
        ]


async def test_an_old_file_is_read_as_it_is(old: Path) -> None:
    """The service checks tokens on it, changes nothing, and reads rules from the change on."""
    before = _rows(old)
    source = await open_source(f"sqlite:///{old}")
    assert await _verdicts(source) == _EXPECTED
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    store = await open_store(f"sqlite:///{old}", create=False)
    text, _ = await store.create_token(
        await store.get_user("alice"), "limited", rules=make_rules(["openai"])
    )
    await store.close()
    # The same reader, on the connection that it had.
    limited = parse(text)
    assert limited is not None
    identity = await source.verify(limited)
    assert isinstance(identity, Identity)
    assert identity.rules == make_rules(["openai"])
    assert await _verdicts(source) == _EXPECTED
    await source.close()
    after = _rows(old)
    assert after[0] == before[0]
    assert set(before[1]) < set(after[1])  # type: ignore[call-overload]


async def test_the_first_command_brings_an_old_file_up_to_date(old: Path) -> None:
    """Nothing is lost, everybody is a member without a password, the tables are the new ones."""
    store = await open_store(f"sqlite:///{old}", create=False)
    users = {user.username: user for user in await store.list_users()}
    assert {name: user.status for name, user in users.items()} == {
        "alice": "active",
        "bob": "suspended",
        "bot": "active",
    }
    assert all(not user.roles and not user.has_password for user in users.values())
    assert len(await store.list_tokens(include_expired=True)) == 3
    await store.set_role(users["alice"], "owner")
    await store.close()
    fresh = old.with_name("fresh.db")
    make(fresh)
    with closing(sqlite3.connect(old)) as mine, closing(sqlite3.connect(fresh)) as other:
        for table in ("users", "api_keys", "audit_logs"):
            pragma = f"PRAGMA table_info({table})"
            assert mine.execute(pragma).fetchall() == other.execute(pragma).fetchall()


@pytest.mark.parametrize("broken_at", range(1, len(schema_sqlite._VERSION_2)))
def test_a_step_is_made_whole_or_not_at_all(
    old: Path, broken_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever statement fails, the file stays as it was, and the next try succeeds."""
    broken = (*schema_sqlite._VERSION_2[:broken_at], "SELECT * FROM nowhere")
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        before = list(connection.iterdump())
        with monkeypatch.context() as patch:
            patch.setattr(schema_sqlite, "_STEPS", {**schema_sqlite._STEPS, 2: broken})
            with pytest.raises(sqlite3.Error, match="nowhere"):
                schema_sqlite.create_tables(connection)
        assert list(connection.iterdump()) == before
        assert schema_sqlite.is_outdated(connection)
        schema_sqlite.create_tables(connection)
        assert not schema_sqlite.is_outdated(connection)


def test_a_file_of_another_program_stays_as_it_is(path: Path) -> None:
    """A file that is not ours is not brought up to anything."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE users (id)")
        schema_sqlite.create_tables(connection)
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("users",)]


async def test_a_backup_of_an_old_file_can_be_put_back(old: Path) -> None:
    """A reader that knew the rules goes on when an old file takes the place of the new one."""
    backup = old.with_name("backup.db")
    with closing(sqlite3.connect(old)) as a, closing(sqlite3.connect(backup)) as b:
        a.backup(b)
    await (await open_store(f"sqlite:///{old}", create=False)).close()
    source = await open_source(f"sqlite:///{old}")
    assert await _verdicts(source) == _EXPECTED
    shutil.move(backup, old)
    assert await _verdicts(source) == _EXPECTED
    await source.close()


async def test_old_tables_in_postgresql(postgres: PostgresServer) -> None:
    """They are read as they are; commands ask for db init, which keeps rows and widens grants."""
    name = postgres.database()
    postgres.sql(name, (_OLD / "postgresql_v1.sql").read_text())
    reader, writer = f"reader_{name}", f"writer_{name}"
    postgres.sql(
        name,
        f"CREATE ROLE {reader} LOGIN",
        f"CREATE ROLE {writer} LOGIN",
        "GRANT SELECT (id, hashed_secret, user_id, expires_at, token_name)"
        f" ON api_keys TO {reader}",
        f"GRANT SELECT (id, username, email, status, deleted, is_system) ON users TO {reader}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON users, api_keys TO {writer}",
        f"GRANT SELECT ON authz_schema TO {writer}",
    )
    source = await open_source(postgres.url(name, user=reader))
    assert await _verdicts(source) == _EXPECTED
    with pytest.raises(StoreError, match="earlier version's tables: run 'authz db init'"):
        await open_store(postgres.url(name), create=False)
    assert (await make_store(postgres.url(name)))[1]
    assert not (await make_store(postgres.url(name)))[1]
    store = await open_store(postgres.url(name, user=writer), create=False)
    assert len(await store.list_users()) == 3
    text, _ = await store.create_token(
        await store.get_user("alice"), "limited", rules=make_rules(None, ["byok"])
    )
    limited = parse(text)
    assert limited is not None
    identity = await source.verify(limited)
    assert isinstance(identity, Identity)
    assert identity.rules == make_rules(None, ["byok"])
    assert await _verdicts(source) == _EXPECTED
    await store.close()
    await source.close()
