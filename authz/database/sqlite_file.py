"""The file of a SQLite database: creating it, opening it, and noticing a replacement."""

import fcntl
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from authz.database.migration import Schema
from authz.database.sqlite_tables import check_version, create_tables, is_outdated
from authz.errors import StoreError

_Fingerprint = tuple[int, int, int, int, int]

WRITE_WAIT = 5.0
"""The seconds that a writer waits for another process's transaction."""
READ_WAIT = 0.01
"""The seconds that a reader on the event loop waits, where it holds up every request.

Readers of a WAL file wait only for a process that opens or recovers it."""


READ_CACHE_KIB = 16384
"""The size of a reader's page cache, which lasts until another process writes to the file."""


def make(path: Path, schema: Schema) -> None:
    """Create the file with its tables, unless it exists.

    The file is created under another name and then renamed, so that no process opens an incomplete
    one. A lock on the folder lets one process create it if several try. The file gets mode 0600,
    missing folders get 0700.

    Args:
        path: of the file.
        schema: of the tables in it.

    Raises:
        StoreError: the file can't be created.
    """
    try:
        _make_folders(path.parent)
        with _locked(path.parent):
            if not path.exists():
                # SQLite would replay the log of a deleted file into the new one.
                for suffix in ("-wal", "-shm"):
                    Path(f"{path}{suffix}").unlink(missing_ok=True)
                _make_file(path, schema)
            elif path.is_file() and path.stat().st_size == 0:
                _create_tables(path, schema)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"can't create {path}: {_text(error)}") from error


def _make_folders(folder: Path) -> None:
    if not folder.exists():
        _make_folders(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _make_file(path: Path, schema: Schema) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    os.close(handle)
    try:
        _create_tables(Path(name), schema)
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _create_tables(path: Path, schema: Schema) -> None:
    with closing(_connect(path, "rw", WRITE_WAIT, 0)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        create_tables(connection, schema, str(path))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _connect(path: Path, mode: str, wait: float, detect_types: int) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=wait,
        isolation_level=None,
        detect_types=detect_types,
    )


def _text(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class SQLiteFile:
    """A connection to the file that is at a path now.

    SQLite continues to read a file that was unlinked, and pages that another program overwrote. It
    would miss a deletion in the file that replaced it. Every use therefore compares ``stat`` of the
    file and of its shared-memory index with the values at opening, and opens the file again if they
    differ. The inode number of an open file is never reused.

    All methods except the constructor have to run on the same thread.

    Args:
        path: of the file, which need not exist yet.
        schema: of the tables in it. A writer brings older tables up to date when it opens the
            file. A reader reads them as they are.
        read_only: never write to the file, not even when closing it.
        detect_types: as in ``sqlite3.connect``.
    """

    def __init__(
        self, path: Path, schema: Schema, *, read_only: bool, detect_types: int = 0
    ) -> None:
        self._schema = schema
        self._path = str(path.absolute())
        self._shm = f"{os.path.realpath(self._path)}-shm"
        self._read_only = read_only
        self._detect_types = detect_types
        self._opened: sqlite3.Connection | None = None
        self._fingerprint: _Fingerprint | None = None

    @property
    def path(self) -> str:
        """The file's absolute path."""
        return self._path

    def connection(self) -> sqlite3.Connection:
        """Return a connection to the file that is there now.

        Raises:
            StoreError: the file is missing or not a file of authz.
        """
        if self._opened is not None:
            if self._look() == self._fingerprint:
                return self._opened
            self.close()
        return self._open()

    def unfinished(self) -> sqlite3.Connection:
        """Return the connection of the open transaction, even if its file was replaced.

        Raises:
            StoreError: the file is not open.
        """
        if self._opened is None:
            raise StoreError(f"the store {self._path} was closed")
        return self._opened

    def roll_back(self) -> None:
        """Roll back the open transaction, if there is one."""
        if self._opened is not None and self._opened.in_transaction:
            self._opened.rollback()

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _look(self) -> _Fingerprint | None:
        try:
            file = os.stat(self._path)
        except OSError:
            return None
        try:
            shm = os.stat(self._shm).st_ino
        except OSError:
            shm = 0
        return shm, file.st_ino, file.st_dev, file.st_size, file.st_mtime_ns

    def _open(self) -> sqlite3.Connection:
        path = Path(self._path)
        self._shm = f"{os.path.realpath(path)}-shm"
        before = self._look()
        if path.is_dir():
            raise StoreError(f"{path} is a folder: set 'identity' to a file")
        if before is None:
            raise StoreError(f"no store at {path}: create one with 'authz users create NAME'")
        mode, wait = ("ro", READ_WAIT) if self._read_only else ("rw", WRITE_WAIT)
        connection = None
        try:
            connection = _connect(path, mode, wait, self._detect_types)
            if self._read_only:
                # Of a million tokens, this keeps the pages of those in use in memory.
                connection.execute(f"PRAGMA cache_size = -{READ_CACHE_KIB}")
            else:
                # Keep full synchronization, SQLite's default: a deleted token must not come back
                # after a power failure.
                connection.execute("PRAGMA foreign_keys = ON")
            check_version(connection, self._schema, str(path))
            if not self._read_only and is_outdated(connection, self._schema):
                create_tables(connection, self._schema, str(path))
        except (sqlite3.Error, StoreError) as error:
            if connection is not None:
                connection.close()
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"can't open the store {path}: {error}") from error
        self._opened = connection
        # The index appears with the first read, so its value is taken after it.
        after = self._look()
        self._fingerprint = (after[0] if after else 0, *before[1:])
        return connection
