"""Tables with a version of their own, beside the identity tables in the same database.

A gateway that does not use such tables has none of them.
"""

from authz.database.interface import Database, Dialect, Queries
from authz.database.migration import Schema, Statements, upgrade

_FIND = {
    Dialect.SQLITE: "SELECT name FROM sqlite_master WHERE type = 'table' AND name = $1",
    Dialect.POSTGRESQL: """\
SELECT relname::text AS name FROM pg_catalog.pg_class WHERE oid = to_regclass($1)""",
}


def create_version(table: str) -> str:
    """Return the statement that creates the table of the version, if it is missing."""
    return f"""CREATE TABLE IF NOT EXISTS {table} (
    only_row boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (only_row),
    version integer NOT NULL
)"""


def store_version(table: str, version: int) -> Statements:
    """Return the statements that store a version."""
    return (
        create_version(table),
        f"INSERT INTO {table} (version) VALUES ({version:d})"  # noqa: S608 - a number
        " ON CONFLICT (only_row) DO UPDATE SET version = excluded.version",
    )


def grant_as_on_users(*tables: str) -> str:
    """Return the PostgreSQL statement that grants the rights on users for further tables.

    A role that manages users manages what belongs to them, too.
    """
    return f"""DO $$
DECLARE
    granted record;
    grantee text;
BEGIN
    FOR granted IN
        SELECT acl.grantee AS oid, acl.privilege_type AS rights
        FROM pg_catalog.pg_class c, aclexplode(c.relacl) acl
        WHERE c.oid = 'users'::regclass AND acl.grantee <> c.relowner
            AND acl.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    LOOP
        grantee := CASE granted.oid WHEN 0 THEN 'PUBLIC' ELSE granted.oid::regrole::text END;
        EXECUTE format('GRANT %s ON {", ".join(tables)} TO %s', granted.rights, grantee);
    END LOOP;
END
$$"""  # noqa: S608 - names of tables, which are constants


async def stored_version(queries: Queries, table: str) -> int:
    """Return the version of the tables; 0 when there are none.

    Args:
        queries: of the database.
        table: has the version.
    """
    if not await queries.fetch(_FIND[queries.dialect], table):
        return 0
    rows = await queries.fetch(f"SELECT version FROM {table}")  # noqa: S608 - a constant
    return int(rows[0]["version"]) if rows else 0


async def prepare_tables(database: Database, schema: Schema, table: str) -> bool:
    """Create the tables, or bring them up to date; return whether anything changed.

    A role that may not create tables can use tables that are up to date.

    Args:
        database: gets the tables.
        schema: of the tables.
        table: has the version.

    Raises:
        StoreError: the tables are newer than this program, or can't be created.
    """
    version = await stored_version(database, table)
    schema.check(version, database.where)
    if version == schema.version:
        return False
    async with database.transaction() as transaction:
        # Read again: another process may have created the tables meanwhile.
        found = await stored_version(transaction, table)
        return await upgrade(transaction, schema, found, database.where)
