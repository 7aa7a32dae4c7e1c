"""authz.database.sqlite_file."""

import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from authz.database.sqlite_file import SQLiteFile, make
from authz.errors import StoreError
from authz.identity.schema import IDENTITY

_MAKER = """
import sys
from pathlib import Path
from authz.database.sqlite_file import SQLiteFile, make
from authz.identity.schema import IDENTITY

path, user = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
make(path, IDENTITY)
file = SQLiteFile(path, IDENTITY, read_only=False)
file.connection().execute(
    "INSERT INTO users (id, username, created_at, updated_at) VALUES ($id, $id, $now, $now)",
    {"id": user, "now": "2026-01-01T00:00:00.000000+00:00"},
)
file.close()
"""


def _modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


def test_a_new_store_is_its_owners_alone(path: Path) -> None:
    """File, log and index have mode 0600 and new folders 0700, whatever the umask."""
    path = path.parent / "deeper" / path.name
    make(path, IDENTITY)
    file = SQLiteFile(path, IDENTITY, read_only=False)
    file.connection().execute("UPDATE users SET name = ''")
    assert _modes(path.parent) == dict.fromkeys(
        ("identity.db", "identity.db-wal", "identity.db-shm"), 0o600
    )
    assert _modes(path.parent.parent.parent) == {"state": 0o700}
    assert _modes(path.parent.parent) == {"deeper": 0o700}
    file.close()


def test_making_keeps_what_is_there(path: Path) -> None:
    """An existing store is left unchanged, and no other file is left behind."""
    make(path, IDENTITY)
    before = path.stat().st_ino
    make(path, IDENTITY)
    assert path.stat().st_ino == before
    assert [file.name for file in path.parent.iterdir()] == ["identity.db"]


def test_a_deleted_stores_log_is_not_replayed(path: Path) -> None:
    """A log that outlived its file is not replayed into the next file."""
    make(path, IDENTITY)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("UPDATE users SET name = ''")
        writer.execute("CREATE TABLE leftover (x)")
        path.unlink()
        make(path, IDENTITY)
        file = SQLiteFile(path, IDENTITY, read_only=True)
        tables = file.connection().execute("SELECT name FROM sqlite_master").fetchall()
        file.close()
    assert ("leftover",) not in tables


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    """A file made beforehand, say for its owner and mode, gets the tables."""
    path.parent.mkdir()
    path.touch()
    make(path, IDENTITY)
    file = SQLiteFile(path, IDENTITY, read_only=True)
    file.connection()
    file.close()


def test_many_processes_make_one_store(path: Path) -> None:
    """Processes that make the store at the same moment all succeed and share one file."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _MAKER, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate()[0] for process in processes] == [""] * 4
    file = SQLiteFile(path, IDENTITY, read_only=True)
    assert file.connection().execute("SELECT count(*) FROM users").fetchone() == (4,)
    file.close()


def test_one_maker_waits_for_another(path: Path) -> None:
    """A process that finds another one creating the store waits and does not fail."""
    path.parent.mkdir()
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    maker = threading.Thread(target=make, args=(path, IDENTITY))
    maker.start()
    maker.join(0.1)
    assert maker.is_alive()
    assert list(path.parent.iterdir()) == []
    os.close(folder)
    maker.join(60)
    assert path.exists()


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("folder", "is a folder"),
        ("junk", "file is not a database"),
        ("other.db", "another program's SQLite file"),
        ("empty", "has no tables yet"),
        ("missing", "no store at .*users create"),
        ("junk/below", "no store at"),
    ],
)
def test_what_is_no_store_is_refused(tmp_path: Path, place: str, text: str) -> None:
    """Anything else at the path gives one clear line that names it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "junk").write_bytes(b"not a database, but long enough to have a header" * 20)
    (tmp_path / "empty").touch()
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE bookmarks (url)")
    file = SQLiteFile(tmp_path / place, IDENTITY, read_only=True)
    with pytest.raises(StoreError, match=text) as caught:
        file.connection()
    assert str(tmp_path / place) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["file/identity.db", "/proc/authz/identity.db"])
def test_a_store_that_cannot_be_made(tmp_path: Path, place: str) -> None:
    """A place where no file can be made gives one clear line."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"can't create .*identity\.db: \w+"):
        make(tmp_path / place, IDENTITY)


def test_special_characters_in_the_path(tmp_path: Path) -> None:
    """A path may contain characters that have a meaning in SQLite's URIs."""
    path = tmp_path / "a?b#c%20d" / "identity ü.db"
    make(path, IDENTITY)
    file = SQLiteFile(path, IDENTITY, read_only=True)
    file.connection()
    file.close()
    assert path.exists()


def test_a_reader_does_not_write(path: Path) -> None:
    """The reader's connection refuses a change."""
    make(path, IDENTITY)
    file = SQLiteFile(path, IDENTITY, read_only=True)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        file.connection().execute("DELETE FROM users")
    file.close()
