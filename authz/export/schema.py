"""The tables of the audit export, in the database of the identity store.

They have a version of their own, so that a gateway without an export has no such tables.
"""

from authz.database.interface import Database, Dialect
from authz.database.migration import Schema
from authz.database.own_version import (
    create_version,
    grant_as_on_users,
    prepare_tables,
    store_version,
)

_VERSION_TABLE = "audit_export_schema"
# The process that exports, until its lease ends; entries up to the time are exported, but for
# those that were written late.
_TABLES = (
    """CREATE TABLE audit_export (
    only_row boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (only_row),
    process text NOT NULL,
    lease_ms bigint NOT NULL,
    until_ms bigint NOT NULL
)""",
    "INSERT INTO audit_export (process, lease_ms, until_ms) VALUES ('', 0, 0)",
    "CREATE TABLE audit_exported (id text NOT NULL PRIMARY KEY, time_ms bigint NOT NULL)",
    "CREATE INDEX audit_exported_time ON audit_exported (time_ms)",
)
# A role with rights on the users exports their changes.
_GRANTS = grant_as_on_users("audit_export", "audit_exported", _VERSION_TABLE)


AUDIT_EXPORT = Schema(
    name="audit export",
    steps={
        1: {
            Dialect.SQLITE: (create_version(_VERSION_TABLE), *_TABLES),
            Dialect.POSTGRESQL: (create_version(_VERSION_TABLE), *_TABLES, _GRANTS),
        }
    },
    store_version=lambda _, version: store_version(_VERSION_TABLE, version),
)


async def prepare(database: Database) -> bool:
    """Create the tables, or bring them up to date; see ``prepare_tables``."""
    return await prepare_tables(database, AUDIT_EXPORT, _VERSION_TABLE)
