"""The SQLite store's file: making it, opening it, and noticing that it was replaced."""

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
"""Seconds that a writer waits for another process's transaction."""
READ_WAIT = 0.01
"""Seconds that a reader on the event loop waits. Readers of a WAL file wait for nobody but a
process that is just opening or recovering it, and a longer wait would hold up every request."""


READ_CACHE_KIB = 16384
"""Most that a reader keeps of the file, until another process writes to it."""


def make(path: Path, schema: Schema) -> None:
    """Make the store's file with its tables, unless it is there.

    The file is made beside its place and moved there complete, so that no process ever opens half a
    store; a lock on the folder lets one process make it when several try. File mode 0600, folders
    that were missing 0700.

    Raises:
        StoreError: it can't be made there.
    """
    try:
        _make_folders(path.parent)
        with _locked(path.parent):
            if not path.exists():
                # A deleted store's log would be replayed into the new one.
                for suffix in ("-wal", "-shm"):
                    Path(f"{path}{suffix}").unlink(missing_ok=True)
                _make_file(path, schema)
            elif path.is_file() and path.stat().st_size == 0:
                _create_tables(path, schema)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"can't make {path}: {_text(error)}") from error


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

    SQLite keeps reading an unlinked file, and keeps pages that another program wrote over. A
    deletion committed to the file that took its place would go unseen. So every use compares what
    ``stat`` says of the file and of its shared-memory index with what was opened, and opens anew
    when they differ. While a file is open its inode number can't be given to another.

    Args:
        path: of the file, which need not be there yet.
        read_only: a reader never writes to the file, also not when it closes it.
        detect_types: as in ``sqlite3.connect``.

    Everything but the constructor runs on one and the same thread.
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
            StoreError: there is none, or it is no store of ours.
        """
        if self._opened is not None:
            if self._look() == self._fingerprint:
                return self._opened
            self.close()
        return self._open()

    def unfinished(self) -> sqlite3.Connection:
        """Return the connection of the transaction that is under way, wherever its file is.

        Raises:
            StoreError: none is open.
        """
        if self._opened is None:
            raise StoreError(f"the store {self._path} was closed")
        return self._opened

    def roll_back(self) -> None:
        """Undo the transaction that is under way, if there is one."""
        if self._opened is not None and self._opened.in_transaction:
            self._opened.rollback()

    def close(self) -> None:
        """Close the connection; the next use opens one."""
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
            raise StoreError(f"{path} is a folder: 'identity' has to name a file")
        if before is None:
            raise StoreError(f"no store at {path}: make one with 'authz users create NAME'")
        mode, wait = ("ro", READ_WAIT) if self._read_only else ("rw", WRITE_WAIT)
        connection = None
        try:
            connection = _connect(path, mode, wait, self._detect_types)
            if self._read_only:
                # Of a million tokens, the pages of those in use stay in memory.
                connection.execute(f"PRAGMA cache_size = -{READ_CACHE_KIB}")
            else:
                # Full synchronization (SQLite's default) stays: a power failure after a token was
                # deleted must not bring it back.
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
        # The index appears with the first read, so only its part is taken from after it.
        after = self._look()
        self._fingerprint = (after[0] if after else 0, *before[1:])
        return connection
