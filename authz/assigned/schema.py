"""The table of assigned rules, in the database of the identity store.

It has a version of its own, so that a gateway without such rules has no such table.
"""

from authz.database.interface import Database, Dialect
from authz.database.migration import Schema, Statements
from authz.database.own_version import (
    create_version,
    grant_as_on_users,
    prepare_tables,
    store_version,
    stored_version,
)
from authz.errors import StoreError
from authz.identity.owners import ONE_OWNER, column_definitions

_VERSION_TABLE = "assigned_schema"


def _tables(uuid: str, exact: str) -> Statements:
    return (
        f"""CREATE TABLE assigned_rules (
    {column_definitions(uuid, exact)},
    kind text NOT NULL CHECK (kind IN ('requests_per_minute', 'tokens_per_minute',
        'concurrent_requests', 'allow_models', 'deny_models')),
    value text NOT NULL,
    {ONE_OWNER}
)""",
        "CREATE UNIQUE INDEX assigned_rules_user ON assigned_rules (user_id, kind)",
        "CREATE UNIQUE INDEX assigned_rules_group ON assigned_rules (group_id, kind)",
        "CREATE UNIQUE INDEX assigned_rules_api_key ON assigned_rules (api_key_id, kind)",
    )


_VERSIONS = create_version(_VERSION_TABLE)
_GRANTS = grant_as_on_users("assigned_rules", _VERSION_TABLE)


ASSIGNED = Schema(
    name="assigned rules",
    steps={
        1: {
            Dialect.SQLITE: (_VERSIONS, *_tables("text", "")),
            Dialect.POSTGRESQL: (_VERSIONS, *_tables("uuid", 'COLLATE "C"'), _GRANTS),
        }
    },
    store_version=lambda _, version: store_version(_VERSION_TABLE, version),
)


async def has_table(database: Database) -> bool:
    """Return whether the table exists. Without it there are no rules.

    Raises:
        StoreError: the table is of another version than this program.
    """
    version = await stored_version(database, _VERSION_TABLE)
    ASSIGNED.check(version, database.where)
    if 0 < version < ASSIGNED.version:
        raise StoreError(f"the assigned rules in {database.where} are old: run 'authz db init'")
    return version > 0


async def prepare(database: Database) -> bool:
    """Create the table, or bring it up to date; see ``prepare_tables``."""
    return await prepare_tables(database, ASSIGNED, _VERSION_TABLE)
