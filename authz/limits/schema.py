"""The tables of counts, in a SQLite file of their own or beside others in PostgreSQL.

They have a version of their own, so that a gateway without shared limits has no such tables. Times
are milliseconds of Unix time.
"""

from authz.database.interface import Database, Dialect
from authz.database.migration import Schema, Statements
from authz.database.own_version import create_version, prepare_tables, store_version
from authz.database.sqlite_tables import APPLICATION_ID

_VERSION_TABLE = "limits_schema"


def _tables(create: str, exact: str, options: str) -> Statements:
    return (
        f"""{create} limit_windows (
    key text {exact} NOT NULL PRIMARY KEY,
    slots text NOT NULL,
    written_ms bigint NOT NULL
){options}""",
        # One row for each limit that counts the end of a request in progress.
        f"""{create} limit_open (
    request_id text {exact} NOT NULL,
    key text {exact} NOT NULL,
    expires_ms bigint NOT NULL,
    PRIMARY KEY (request_id, key)
)""",
        "CREATE INDEX limit_open_key ON limit_open (key, expires_ms)",
        create_version(_VERSION_TABLE),
    )


def _store_version(dialect: Dialect, version: int) -> Statements:
    stored = store_version(_VERSION_TABLE, version)
    if dialect is Dialect.SQLITE:
        return (
            *stored,
            f"PRAGMA application_id = {APPLICATION_ID:d}",
            f"PRAGMA user_version = {version:d}",
        )
    return stored


LIMITS = Schema(
    name="limits",
    steps={
        1: {
            Dialect.SQLITE: _tables("CREATE TABLE", "", ""),
            # Counts of a minute are not worth a write-ahead log: after a crash they begin anew.
            # Room in each page lets PostgreSQL write a row's new version beside the old one.
            Dialect.POSTGRESQL: _tables(
                "CREATE UNLOGGED TABLE", 'COLLATE "C"', " WITH (fillfactor = 50)"
            ),
        }
    },
    store_version=_store_version,
)


async def prepare(database: Database) -> bool:
    """Create the tables in PostgreSQL, or bring them up to date; see ``prepare_tables``."""
    return await prepare_tables(database, LIMITS, _VERSION_TABLE)
