"""The header of a SQLite file of authz: whose file it is, and the version of its tables."""

import sqlite3

from authz.database.interface import Dialect
from authz.database.migration import Schema
from authz.errors import StoreError

APPLICATION_ID = 0x61757A31
"""Marks a file of authz in ``PRAGMA application_id``."""


def create_tables(connection: sqlite3.Connection, schema: Schema, where: str) -> None:
    """Create the tables in an empty database, or bring them up to date, in one transaction.

    Another program's database is left as it is.

    Args:
        connection: in autocommit mode.
        schema: of the tables.
        where: the file, for the error text.

    Raises:
        StoreError: the tables are newer than this program.
        sqlite3.Error: the file can't be written.
    """
    # IMMEDIATE takes the write lock before the version is read.
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _application(connection) == APPLICATION_ID or _is_empty(connection):
            for statement in schema.statements(Dialect.SQLITE, _version(connection), where):
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def check_version(connection: sqlite3.Connection, schema: Schema, where: str) -> None:
    """Return when the file holds tables that this program can read.

    Args:
        connection: to the file.
        schema: of the tables.
        where: the file, for the error text.

    Raises:
        StoreError: the tables are missing, another program's, or a newer version's.
        sqlite3.Error: the file can't be read.
    """
    if _application(connection) != APPLICATION_ID:
        if _is_empty(connection):
            raise StoreError(
                f"{where} has no tables yet: create them with 'authz users create NAME'"
            )
        raise StoreError(f"{where} is another program's SQLite file: set 'identity' to another one")
    schema.check(_version(connection), where)


def is_outdated(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Return whether the tables are of an earlier version, which ``create_tables`` changes."""
    return _version(connection) < schema.version


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _application(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA application_id").fetchone()[0])


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
