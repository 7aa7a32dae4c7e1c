"""Our own tables in PostgreSQL: those of ``schema.py``, with Coder's types.

States and kinds are checked text where Coder has enums: a new one is then a change of a check, not
of a type that other tables may use. Names compare byte by byte (``COLLATE "C"``), as in SQLite.
"""

from authz.database.interface import Queries
from authz.errors import ManagedByCoder, StoreError

VERSION = 2
"""Kept in ``authz_schema``. A change of the tables raises it and adds a step."""

_LOGIN_TYPES = "('password', 'github', 'oidc', 'token', 'none', 'oauth2_provider_app')"
# Python knows no later year, and neither infinity: one such row would fail its whole batch.
_RANGE = "BETWEEN '1970-01-01Z' AND '9999-01-01Z'"

_VERSION_1 = (
    f"""CREATE TABLE users (
    id uuid NOT NULL PRIMARY KEY,
    email text COLLATE "C" NOT NULL DEFAULT '',
    username text COLLATE "C" NOT NULL CHECK (length(username) BETWEEN 1 AND 32),
    name text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT 'dormant' CHECK (status IN ('active', 'dormant', 'suspended')),
    login_type text NOT NULL DEFAULT 'password' CHECK (login_type IN {_LOGIN_TYPES}),
    deleted boolean NOT NULL DEFAULT false,
    is_system boolean NOT NULL DEFAULT false,
    is_service_account boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL CHECK (created_at {_RANGE}),
    updated_at timestamptz NOT NULL CHECK (updated_at {_RANGE}),
    last_seen_at timestamptz CHECK (last_seen_at {_RANGE})
)""",
    "CREATE UNIQUE INDEX users_username ON users (lower(username)) WHERE deleted = false",
    """CREATE UNIQUE INDEX users_email ON users (lower(email))
    WHERE deleted = false AND email <> ''""",
    f"""CREATE TABLE api_keys (
    id text COLLATE "C" NOT NULL PRIMARY KEY CHECK (length(id) = 10),
    hashed_secret bytea NOT NULL CHECK (octet_length(hashed_secret) = 32),
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    last_used timestamptz CHECK (last_used {_RANGE}),
    expires_at timestamptz NOT NULL CHECK (expires_at {_RANGE}),
    created_at timestamptz NOT NULL CHECK (created_at {_RANGE}),
    updated_at timestamptz NOT NULL CHECK (updated_at {_RANGE}),
    login_type text NOT NULL CHECK (login_type IN {_LOGIN_TYPES}),
    lifetime_seconds bigint NOT NULL DEFAULT 86400 CHECK (lifetime_seconds >= 0),
    token_name text COLLATE "C" NOT NULL DEFAULT '',
    scopes text[] NOT NULL DEFAULT '{{coder:all}}',
    allow_list text[] NOT NULL DEFAULT '{{*:*}}'
)""",
    "CREATE INDEX api_keys_user ON api_keys (user_id)",
    """CREATE UNIQUE INDEX api_keys_name ON api_keys (user_id, token_name)
    WHERE login_type = 'token'""",
    # Its presence beside the two says that they are ours.
    """CREATE TABLE authz_schema (
    only_row boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (only_row),
    version integer NOT NULL
)""",
    "INSERT INTO authz_schema (version) VALUES (0)",
)


def _granted(of: str, privilege: str, granting: str) -> str:
    """Write a statement that grants something to whoever has a privilege already.

    Args:
        of: a query of access lists, in a column ``acl``.
        privilege: which.
        granting: what stands before ``TO``.
    """
    return f"""DO $$ DECLARE grantee text; BEGIN
    FOR grantee IN
        SELECT CASE grants.grantee WHEN 0 THEN 'PUBLIC'
            ELSE quote_ident(pg_get_userbyid(grants.grantee)) END
        FROM ({of}) lists CROSS JOIN LATERAL aclexplode(lists.acl) grants
        WHERE grants.privilege_type = '{privilege}'
            AND grants.grantee IS DISTINCT FROM lists.owner
    LOOP EXECUTE 'GRANT {granting} TO ' || grantee; END LOOP;
END $$"""  # noqa: S608 - our own words


_API_KEYS = """SELECT relacl AS acl, relowner AS owner FROM pg_class
            WHERE oid = to_regclass('api_keys')"""
_HASH_COLUMN = """SELECT attacl AS acl, NULL::oid AS owner FROM pg_attribute
            WHERE attrelid = to_regclass('api_keys') AND attname = 'hashed_secret'"""
_VERSION_2 = (
    # Empty for whoever has no password.
    """ALTER TABLE users ADD COLUMN
    hashed_password bytea NOT NULL DEFAULT ''""",
    """ALTER TABLE users ADD COLUMN
    rbac_roles text[] NOT NULL DEFAULT '{}'""",
    """ALTER TABLE api_keys ADD COLUMN
    authz_rules text CHECK (authz_rules IS NULL OR authz_rules::jsonb IS NOT NULL)""",
    f"""CREATE TABLE audit_logs (
    id uuid NOT NULL PRIMARY KEY,
    time timestamptz NOT NULL CHECK (time {_RANGE}),
    actor_kind text NOT NULL CHECK (actor_kind IN ('os', 'user', 'nobody')),
    actor text NOT NULL DEFAULT '',
    user_id uuid,
    api_key_id text,
    ip text NOT NULL DEFAULT '',
    action text NOT NULL,
    resource_type text NOT NULL CHECK (resource_type IN ('user', 'api_key')),
    resource_id text NOT NULL DEFAULT '',
    resource_target text NOT NULL DEFAULT '',
    username text NOT NULL DEFAULT '',
    additional_fields text NOT NULL DEFAULT '{{}}'
)""",
    "CREATE INDEX audit_logs_time ON audit_logs (time)",
    # Who could check tokens and manage them before can do so afterwards.
    _granted(_HASH_COLUMN, "SELECT", "SELECT (authz_rules) ON api_keys"),
    _granted(_API_KEYS, "INSERT", "SELECT, INSERT ON audit_logs"),
)
_STEPS = {1: _VERSION_1, 2: _VERSION_2}
"""What makes the tables of a version out of those of the one before it."""
_DDL = tuple(statement for step in _STEPS.values() for statement in step)

_TABLES = """\
SELECT relname::text AS name, relnamespace::bigint AS place FROM pg_catalog.pg_class
WHERE oid IN (to_regclass('users'), to_regclass('api_keys'), to_regclass('authz_schema'))"""
"""Which of the tables an unqualified name finds, and in which schema."""


async def create_tables(transaction: Queries, where: str) -> bool:
    """Make the tables, or bring those of an earlier version up to date.

    Args:
        transaction: no two of them run at the same time (``PostgresDatabase.transaction``).
        where: names the database in the error.

    Returns:
        Whether they were made or changed now.

    Raises:
        StoreError: the database is Coder's own, another program's or a newer version's, or the
            role may not make tables.
    """
    version = await _version(transaction, where)
    for step in range(version + 1, VERSION + 1):
        for statement in _STEPS[step]:
            await transaction.execute(statement)
    if version == VERSION:
        return False
    await transaction.execute("UPDATE authz_schema SET version = $1", VERSION)
    return True


async def check_tables(queries: Queries, where: str) -> None:
    """Return when the database holds the tables that this program knows.

    Raises:
        StoreError: they are missing, Coder's, another program's, or a newer version's.
    """
    version = await _version(queries, where)
    if not version:
        raise StoreError(f"{where} has no tables yet: make them with 'authz db init'")
    if version < VERSION:
        raise StoreError(f"{where} has an earlier version's tables: run 'authz db init'")


async def _version(queries: Queries, where: str) -> int:
    """Return the version of our tables; 0 when there are none."""
    places = {row["name"]: row["place"] for row in await queries.fetch(_TABLES)}
    if not places:
        return 0
    if "authz_schema" in places and len(places) == 3 and len(set(places.values())) == 1:
        rows = await queries.fetch("SELECT version FROM authz_schema")
        version: int = rows[0]["version"] if rows else 0
        if not 0 < version <= VERSION:
            raise StoreError(
                f"{where} was made by another version of authz (tables of version {version}, "
                f"this one knows {VERSION}): upgrade authz"
            )
        return version
    if {"users", "api_keys"} <= places.keys() and "authz_schema" not in places:
        raise ManagedByCoder(
            f"{where} is managed by Coder: use 'coder tokens create', or a database of its own"
        )
    raise StoreError(
        f"{where} has tables that are not authz's ({', '.join(sorted(places))}): "
        "use a database of its own"
    )
