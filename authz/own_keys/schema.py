"""The table of stored keys, in the database of the identity store.

It has a version of its own, so that a gateway without stored keys has no such table.
"""

from authz.database.interface import Database, Dialect, Queries
from authz.database.migration import Schema
from authz.database.own_version import prepare_tables, store_version, stored_version

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

OWN_KEYS = Schema(
    name="own-keys",
    steps={1: {Dialect.SQLITE: _SQLITE, Dialect.POSTGRESQL: _POSTGRESQL}},
    store_version=lambda _, version: store_version(_VERSION_TABLE, version),
)


async def prepare(database: Database) -> bool:
    """Create the table, or bring it up to date; see ``prepare_tables``."""
    return await prepare_tables(database, OWN_KEYS, _VERSION_TABLE)


async def has_table(queries: Queries) -> bool:
    """Return whether the table exists. Without it there are no keys."""
    return await stored_version(queries, _VERSION_TABLE) > 0
