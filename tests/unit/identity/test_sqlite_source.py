"""authz.identity.sqlite_source."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from authz.core.identity import Identity, Rejection
from authz.core.tokens import CoderToken, generate, parse
from authz.database.interface import Conflict
from authz.database.sqlite import SQLiteDatabase
from authz.database.sqlite_file import make
from authz.errors import IdentityUnavailable, StoreError
from authz.identity.open import open_store
from authz.identity.schema import IDENTITY
from authz.identity.sqlite_source import SQLiteSource
from authz.identity.store import Store


async def _token(store: Store, name: str = "alice") -> CoderToken:
    user = await store.find_user(name) or await store.create_user(name, f"{name}@example.com")
    token = parse((await store.create_token(user))[0])
    assert token is not None
    return token


@contextmanager
def _deleter(path: Path) -> Iterator[Callable[[CoderToken], None]]:
    """Run another process that deletes a token and says when it has."""
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for line in sys.stdin:\n"
        "    c.execute('DELETE FROM api_keys WHERE id = ?', (line.strip(),))\n"
        "    print('gone', flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        requests, answers = other.stdin, other.stdout
        assert requests is not None
        assert answers is not None

        def delete(token: CoderToken) -> None:
            print(token.id, file=requests, flush=True)
            assert answers.readline() == "gone\n"

        yield delete
        requests.close()
    assert other.returncode == 0


def _write_over(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def _remove_log(path: Path) -> None:
    """Remove log and index, as a restore does."""
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


async def test_a_good_token_names_its_owner(store: Store, source: SQLiteSource) -> None:
    """The owner comes with everything that the access log and the headers need."""
    user = await store.create_user("alice", "alice@example.com")
    text, key = await store.create_token(user, "laptop", timedelta(days=1))
    token = parse(text)
    assert token is not None
    assert await source.verify(token) == Identity(
        user.id, "alice", "alice@example.com", key.id, "laptop", key.expires_at
    )


async def test_bad_tokens_are_told_apart(store: Store, source: SQLiteSource) -> None:
    """Unknown, wrong and expired tokens are different reasons."""
    token = await _token(store)
    user = await store.get_user("alice")
    expired = parse((await store.create_token(user, "old", timedelta(microseconds=1)))[0])
    assert expired is not None
    assert await source.verify(generate()[1]) is Rejection.UNKNOWN
    wrong = CoderToken(token.id, generate()[1].digest)
    assert await source.verify(wrong) is Rejection.WRONG_SECRET
    assert await source.verify(expired) is Rejection.EXPIRED


async def test_the_users_state_counts_at_once(store: Store, source: SQLiteSource) -> None:
    """Suspending, activating and deleting a user count for the next request."""
    token = await _token(store)
    user = await store.get_user("alice")
    await store.set_status(user, "suspended")
    assert await source.verify(token) is Rejection.USER_INACTIVE
    await store.set_status(user, "active")
    assert isinstance(await source.verify(token), Identity)
    await store.delete_user(user)
    assert await source.verify(token) is Rejection.UNKNOWN


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("deleted = true", Rejection.USER_DELETED),
        ("is_system = true", Rejection.USER_SYSTEM),
        ("status = 'dormant'", Rejection.USER_INACTIVE),
    ],
)
async def test_states_set_by_hand(
    store: Store, source: SQLiteSource, path: Path, change: str, reason: Rejection
) -> None:
    """States that no command sets are refused too."""
    token = await _token(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE users SET {change}")  # noqa: S608 - the test's own words
    assert await source.verify(token) is reason


async def test_a_delete_in_another_process_counts(
    store: Store, source: SQLiteSource, path: Path
) -> None:
    """After another process has committed a delete, the next look-up refuses the token."""
    tokens = [await _token(store) for _ in range(50)]
    assert all([isinstance(await source.verify(token), Identity) for token in tokens])
    with _deleter(path) as delete:
        for token in tokens:
            assert isinstance(await source.verify(token), Identity)
            delete(token)
            assert await source.verify(token) is Rejection.UNKNOWN


async def test_a_store_that_appears_later(path: Path, source: SQLiteSource) -> None:
    """Without a store nothing is known; once it is there the same source answers from it."""
    with pytest.raises(IdentityUnavailable, match="no store at"):
        await source.verify(generate()[1])
    with pytest.raises(IdentityUnavailable, match="no store at"):
        await source.check_ready()
    store = await open_store(f"sqlite:///{path}", create=True)
    assert isinstance(await source.verify(await _token(store)), Identity)
    await source.check_ready()
    await store.close()


async def test_a_deleted_store_answers_nothing(
    store: Store, source: SQLiteSource, path: Path
) -> None:
    """A deleted file is no longer read, and a store created in its place is."""
    token = await _token(store)
    assert isinstance(await source.verify(token), Identity)
    await store.close()
    for file in path.parent.iterdir():
        file.unlink()
    with pytest.raises(IdentityUnavailable, match="no store at"):
        await source.verify(token)
    again = await open_store(f"sqlite:///{path}", create=True)
    assert await source.verify(token) is Rejection.UNKNOWN
    assert isinstance(await source.verify(await _token(again)), Identity)
    await again.close()


@pytest.mark.parametrize("how", ["moved", "copied"])
async def test_a_restored_backup_is_read(
    store: Store, source: SQLiteSource, path: Path, tmp_path: Path, how: str
) -> None:
    """A backup moved or copied over the file counts at once, in the source and in the store."""
    user = await store.create_user("alice")
    await store.close()
    backup = tmp_path / "backup.db"
    with closing(sqlite3.connect(path)) as connection, closing(sqlite3.connect(backup)) as copy:
        connection.backup(copy)
    store = await open_store(f"sqlite:///{path}", create=False)
    token = parse((await store.create_token(user))[0])
    assert token is not None
    assert isinstance(await source.verify(token), Identity)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert isinstance(await source.verify(token), Identity)
    if how == "moved":
        backup.replace(path)
    else:
        shutil.copyfile(backup, path)
    _remove_log(path)
    assert await source.verify(token) is Rejection.UNKNOWN
    assert await store.list_tokens() == []
    await store.close()


async def test_a_file_written_over_in_place_is_read_again(
    store: Store, source: SQLiteSource, path: Path
) -> None:
    """Pages cached by the source don't outlive a change that bypassed SQLite."""
    token = await _token(store)
    await store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert isinstance(await source.verify(token), Identity)
    _write_over(path, token.id.encode(), b"0123456789")
    assert await source.verify(token) is Rejection.UNKNOWN


async def test_a_removed_index_is_noticed(store: Store, source: SQLiteSource, path: Path) -> None:
    """A deletion still counts after log and index were removed under a running source."""
    token = await _token(store)
    await store.close()
    assert isinstance(await source.verify(token), Identity)
    _remove_log(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM api_keys")
        assert await source.verify(token) is Rejection.UNKNOWN


async def test_a_damaged_store_answers_nothing(
    store: Store, source: SQLiteSource, path: Path
) -> None:
    """A damaged file gives no answer, and a repaired one does, without a restart."""
    token = await _token(store)
    await store.close()
    backup = shutil.copyfile(path, path.with_name("backup.db"))
    shutil.copyfile(sys.executable, path)
    with pytest.raises(IdentityUnavailable, match="not a database"):
        await source.verify(token)
    shutil.copyfile(backup, path)
    assert isinstance(await source.verify(token), Identity)


async def test_a_locked_store_answers_nothing(
    store: Store, source: SQLiteSource, path: Path
) -> None:
    """A process with an exclusive lock makes look-ups fail quickly, until the lock ends."""
    token = await _token(store)
    await store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as hog:
        hog.execute("PRAGMA locking_mode = EXCLUSIVE")
        hog.execute("UPDATE users SET name = ''")
        with pytest.raises(IdentityUnavailable, match="locked"):
            await source.verify(token)
    assert isinstance(await source.verify(token), Identity)


async def test_a_reader_sees_through_an_open_write(
    store: Store, source: SQLiteSource, path: Path
) -> None:
    """Look-ups are answered from committed data while a writer holds its transaction open."""
    token = await _token(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM api_keys")
        assert isinstance(await source.verify(token), Identity)
        writer.execute("COMMIT")
        assert await source.verify(token) is Rejection.UNKNOWN


async def _database(path: Path) -> SQLiteDatabase:
    make(path, IDENTITY)
    database = SQLiteDatabase(path, IDENTITY)
    await database.execute("CREATE TABLE t (x integer PRIMARY KEY, at timestamptz text, b boolean)")
    return database


async def test_values_keep_their_types(path: Path) -> None:
    """Times come back aware and in UTC, truth values as bool, whatever went in."""
    database = await _database(path)
    moment = datetime(2026, 1, 2, 3, 4, 5, 678900, timezone(timedelta(hours=2)))
    assert await database.execute("INSERT INTO t VALUES ($1, $2, $3)", 1, moment, True) == 1
    [row] = await database.fetch("SELECT * FROM t WHERE x = $1 AND at = $2", 1, moment)
    assert (row["at"], row["at"].tzinfo, row[2]) == (moment, UTC, True)
    with pytest.raises(ValueError, match="timezone-aware"):
        await database.execute("UPDATE t SET at = $1", datetime(2026, 1, 1))
    await database.close()


async def test_a_transaction_is_all_or_nothing(path: Path) -> None:
    """An exception or a cancellation rolls the transaction back."""
    database = await _database(path)

    async def fail() -> None:
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO t (x) VALUES (1)")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    started = asyncio.Event()

    async def hang() -> None:
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO t (x) VALUES (2)")
            started.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(hang())
    await started.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await database.fetch("SELECT * FROM t") == []
    await database.close()


async def test_an_impatient_cancellation_still_rolls_back(path: Path) -> None:
    """A task cancelled in a slow statement and again in the rollback leaves no transaction open."""
    database = await _database(path)
    slow = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1e6)"
        " SELECT count(*) FROM n"
    )

    async def hang() -> None:
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO t (x) VALUES (1)")
            await transaction.fetch(slow)

    task = asyncio.create_task(hang())
    await asyncio.sleep(0.02)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.01)
    async with asyncio.timeout(60):
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert await database.fetch("SELECT * FROM t") == []
    await database.close()


async def test_tasks_do_not_enter_each_others_transactions(path: Path) -> None:
    """A statement of another task waits for the transaction's end."""
    database = await _database(path)

    async def add(number: int) -> None:
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO t (x) VALUES ($1)", number)
            await asyncio.sleep(0)
            if number % 2:
                raise RuntimeError

    await asyncio.gather(*(add(number) for number in range(10)), return_exceptions=True)
    rows = await database.fetch("SELECT x FROM t ORDER BY x")
    assert [row["x"] for row in rows] == [0, 2, 4, 6, 8]
    await database.close()


async def test_refusals_are_of_two_kinds(path: Path) -> None:
    """A duplicate of a unique value is a Conflict; any other error is one line naming the file."""
    database = await _database(path)
    await database.execute("INSERT INTO t (x) VALUES (1)")
    with pytest.raises(Conflict):
        await database.execute("INSERT INTO t (x) VALUES (1)")
    with pytest.raises(StoreError, match=f"can't use the store {path}: no such table"):
        await database.fetch("SELECT * FROM nowhere")
    with pytest.raises(StoreError, match="CHECK constraint failed"):
        await database.execute(
            "INSERT INTO users (id, username, created_at, updated_at) VALUES ('a', '', 'b', 'c')"
        )
    await database.close()


async def test_a_writer_waits_for_another_process(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer waits a while for a lock, and then reports that another process is writing."""
    monkeypatch.setattr("authz.database.sqlite_file.WRITE_WAIT", 0.05)
    database = await _database(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process is writing"):
            await database.execute("INSERT INTO t (x) VALUES (1)")
        other.execute("ROLLBACK")
    await database.execute("INSERT INTO t (x) VALUES (1)")
    await database.close()


async def test_a_deleted_store_takes_no_writes(path: Path) -> None:
    """A change is never written to an unlinked file, where it would be lost."""
    database = await _database(path)
    os.unlink(path)
    with pytest.raises(StoreError, match="no store at"):
        await database.execute("DELETE FROM t")
    await database.close()
