"""The tables of recorded requests, the same in SQLite and PostgreSQL."""

from authz.database.interface import Database, Dialect, Queries
from authz.database.migration import Schema, Statements, upgrade
from authz.usage.sums_schema import SUMS

ENTRIES = "usage_entries"
COLUMNS = {
    "id": "text",
    "time_ms": "bigint",
    "decision": "text",
    "status": "integer",
    "usage": "text",
    "duration_ms": "bigint",
    "request_id": "text",
    "user_id": "text",
    "username": "text",
    "token_id": "text",
    "token_name": "text",
    "provider": "text",
    "mode": "text",
    "reason": "text",
    "model": "text",
    "proxy_session": "text",
    "input_tokens": "bigint",
    "cached_tokens": "bigint",
    "cache_write_tokens": "bigint",
    "output_tokens": "bigint",
    "reasoning_tokens": "bigint",
    "groups": "text",
    "cost": "bigint",
    "project": "text",
    "session": "text",
}
"""The columns that are written, with PostgreSQL's types."""

_TABLES = (
    """CREATE TABLE usage_entries (
    id text NOT NULL PRIMARY KEY,
    time_ms bigint NOT NULL,
    decision text NOT NULL,
    status integer NOT NULL,
    usage text NOT NULL,
    duration_ms bigint NOT NULL,
    request_id text,
    user_id text,
    username text,
    token_id text,
    token_name text,
    provider text,
    mode text,
    reason text,
    model text,
    proxy_session text,
    input_tokens bigint,
    cached_tokens bigint,
    cache_write_tokens bigint,
    output_tokens bigint,
    reasoning_tokens bigint
)""",
    "CREATE INDEX usage_entries_time ON usage_entries (time_ms)",
    """CREATE TABLE usage_processes (
    process text NOT NULL PRIMARY KEY,
    since_ms bigint NOT NULL,
    issued bigint NOT NULL,
    received bigint NOT NULL
)""",
)
# A JSON list of names; NULL without groups.
_GROUPS = ("ALTER TABLE usage_entries ADD COLUMN groups text",)
# The cost is in nano-dollars; NULL where it is not known.
_COSTS_AND_TAGS = (
    "ALTER TABLE usage_entries ADD COLUMN cost bigint",
    "ALTER TABLE usage_entries ADD COLUMN project text",
    "ALTER TABLE usage_entries ADD COLUMN session text",
)
_FIND = {
    Dialect.SQLITE: """\
SELECT name FROM sqlite_master
WHERE type = 'table' AND name IN ('usage_processes', 'usage_schema')""",
    Dialect.POSTGRESQL: """\
SELECT relname::text AS name FROM pg_catalog.pg_class
WHERE oid IN (to_regclass('usage_processes'), to_regclass('usage_schema'))""",
}


def _store_version(_: Dialect, version: int) -> Statements:
    return (
        # Tables of version 1 may be older than usage_schema.
        """CREATE TABLE IF NOT EXISTS usage_schema (
    only_row boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (only_row),
    version integer NOT NULL
)""",
        f"INSERT INTO usage_schema (version) VALUES ({version:d})"  # noqa: S608 - a number
        " ON CONFLICT (only_row) DO UPDATE SET version = excluded.version",
    )


USAGE = Schema(
    name="usage",
    steps={
        1: dict.fromkeys(Dialect, _TABLES),
        2: dict.fromkeys(Dialect, _GROUPS),
        3: dict.fromkeys(Dialect, _COSTS_AND_TAGS),
        4: SUMS,
    },
    store_version=_store_version,
)


async def prepare(database: Database, schema: Schema = USAGE) -> None:
    """Create the tables, or bring them up to date.

    A role that may not create tables can use tables that are up to date.

    Args:
        database: SQLite or PostgreSQL.
        schema: of the tables.

    Raises:
        StoreError: the tables are newer than this program, or can't be created.
    """
    version = await _version(database)
    schema.check(version, database.where)
    if version == schema.version:
        return
    async with database.transaction() as transaction:
        # Read again: another process may have created the tables meanwhile.
        await upgrade(transaction, schema, await _version(transaction), database.where)


async def _version(queries: Queries) -> int:
    """Return the version of the usage tables; 0 when there are none."""
    names = {row["name"] for row in await queries.fetch(_FIND[queries.dialect])}
    if "usage_schema" in names:
        rows = await queries.fetch("SELECT version FROM usage_schema")
        return int(rows[0]["version"])
    # Before there was usage_schema, all usage tables were those of version 1.
    return 1 if "usage_processes" in names else 0
