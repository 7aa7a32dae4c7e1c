"""The table of stored keys, in the database of the identity store.

It has a version of its own, so that a gateway without stored keys has no such table.
"""

from authz.database.interface import Database, Dialect, Queries
from authz.database.migration import Schema, Statements, upgrade

_VERSION_TABLE = "own_keys_schema"
_TIME = "GLOB '????-??-??T??:??:??.??????+00:00'"
_RANGE = "BETWEEN '1970-01-01Z' AND '9999-01-01Z'"

# Deleting a user marks their row. The trigger removes their keys also if another program does it.
_SQLITE = (
    f"""CREATE TABLE own_keys (
    user_id text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider text NOT NULL CHECK (length(provider) BETWEEN 1 AND 64),
    envelope text NOT NULL,
    key_id text NOT NULL,
    hint text NOT NULL,
    created_at timestamptz text NOT NULL CHECK (created_at {_TIME}),
    updated_at timestamptz text NOT NULL CHECK (updated_at {_TIME}),
    PRIMARY KEY (user_id, provider)
) WITHOUT ROWID""",
    """CREATE TRIGGER own_keys_user_deleted AFTER UPDATE OF deleted ON users WHEN NEW.deleted <> 0
BEGIN
    DELETE FROM own_keys WHERE user_id = NEW.id;
END""",
)

_POSTGRESQL = (
    f"""CREATE TABLE own_keys (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider text COLLATE "C" NOT NULL CHECK (length(provider) BETWEEN 1 AND 64),
    envelope text NOT NULL,
    key_id text NOT NULL,
    hint text NOT NULL,
    created_at timestamptz NOT NULL CHECK (created_at {_RANGE}),
    updated_at timestamptz NOT NULL CHECK (updated_at {_RANGE}),
    PRIMARY KEY (user_id, provider)
)""",
    """CREATE FUNCTION own_keys_user_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM own_keys WHERE user_id = NEW.id;
    RETURN NULL;
END
$$""",
    """CREATE TRIGGER own_keys_user_deleted AFTER UPDATE OF deleted ON users
    FOR EACH ROW WHEN (NEW.deleted) EXECUTE FUNCTION own_keys_user_deleted()""",
    f"""CREATE TABLE {_VERSION_TABLE} (
    only_row boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (only_row),
    version integer NOT NULL
)""",
    # A role that may read the rules of tokens checks tokens, so it needs the stored keys. A role
    # with rights on the users manages them, so it needs the same rights here.
    """DO $$
DECLARE
    granted record;
    grantee text;
BEGIN
    FOR granted IN
        SELECT DISTINCT acl.grantee AS oid,
            'SELECT (user_id, provider, envelope) ON own_keys' AS rights
        FROM pg_catalog.pg_attribute a, aclexplode(a.attacl) acl
        WHERE a.attrelid = 'api_keys'::regclass AND a.attname = 'authz_rules'
            AND acl.privilege_type = 'SELECT'
        UNION
        SELECT DISTINCT acl.grantee, 'SELECT ON own_keys_schema'
        FROM pg_catalog.pg_class c, aclexplode(c.relacl) acl
        WHERE c.oid = 'users'::regclass AND acl.grantee <> c.relowner
        UNION
        SELECT acl.grantee, acl.privilege_type || ' ON own_keys'
        FROM pg_catalog.pg_class c, aclexplode(c.relacl) acl
        WHERE c.oid = 'users'::regclass AND acl.grantee <> c.relowner
            AND acl.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    LOOP
        grantee := CASE granted.oid WHEN 0 THEN 'PUBLIC' ELSE granted.oid::regrole::text END;
        EXECUTE format('GRANT %s TO %s', granted.rights, grantee);
    END LOOP;
END
$$""",
)

_FIND = {
    Dialect.SQLITE: "SELECT name FROM sqlite_master WHERE type = 'table' AND name = $1",
    Dialect.POSTGRESQL: """\
SELECT relname::text AS name FROM pg_catalog.pg_class WHERE oid = to_regclass($1)""",
}


def _store_version(_: Dialect, version: int) -> Statements:
    return (
        f"""CREATE TABLE IF NOT EXISTS {_VERSION_TABLE} (
    only_row boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (only_row),
    version integer NOT NULL
)""",
        f"INSERT INTO {_VERSION_TABLE} (version) VALUES ({version:d})"  # noqa: S608 - a number
        " ON CONFLICT (only_row) DO UPDATE SET version = excluded.version",
    )


OWN_KEYS = Schema(
    name="own-keys",
    steps={1: {Dialect.SQLITE: _SQLITE, Dialect.POSTGRESQL: _POSTGRESQL}},
    store_version=_store_version,
)


async def prepare(database: Database) -> bool:
    """Create the table, or bring it up to date; return whether anything changed.

    A role that may not create tables can use a table that is up to date.

    Raises:
        StoreError: the table is newer than this program, or can't be created.
    """
    version = await stored_version(database)
    OWN_KEYS.check(version, database.where)
    if version == OWN_KEYS.version:
        return False
    async with database.transaction() as transaction:
        # Read again: another process may have created the table meanwhile.
        found = await stored_version(transaction)
        return await upgrade(transaction, OWN_KEYS, found, database.where)


async def stored_version(queries: Queries) -> int:
    """Return the version of the table; 0 when there is none."""
    if not await queries.fetch(_FIND[queries.dialect], _VERSION_TABLE):
        return 0
    rows = await queries.fetch(f"SELECT version FROM {_VERSION_TABLE}")  # noqa: S608 - a constant
    return int(rows[0]["version"]) if rows else 0
