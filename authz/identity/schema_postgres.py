"""Our own tables in PostgreSQL: those of ``schema.py``, with Coder's types.

States and kinds are checked text where Coder has enums: a new one is then a change of a check, not
of a type that other tables may use. Names compare byte by byte (``COLLATE "C"``), as in SQLite.
"""

from authz.errors import StoreError
from authz.identity.database import Queries

VERSION = 1
"""Kept in ``authz_schema``. A change of the tables raises it and adds a migration."""

_LOGIN_TYPES = "('password', 'github', 'oidc', 'token', 'none', 'oauth2_provider_app')"
# Python knows no later year, and neither infinity: one such row would fail its whole batch.
_RANGE = "BETWEEN '1970-01-01Z' AND '9999-01-01Z'"

_DDL = (
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
    f"INSERT INTO authz_schema (version) VALUES ({VERSION})",  # noqa: S608 - a number of ours
)

_TABLES = """\
SELECT relname::text AS name, relnamespace::bigint AS place FROM pg_catalog.pg_class
WHERE oid IN (to_regclass('users'), to_regclass('api_keys'), to_regclass('authz_schema'))"""
"""Which of the tables an unqualified name finds, and in which schema."""


async def create_tables(transaction: Queries, where: str) -> bool:
    """Make the tables unless they are there.

    Args:
        transaction: no two of them run at the same time (``PostgresDatabase.transaction``).
        where: names the database in the error.

    Returns:
        Whether they were made now.

    Raises:
        StoreError: the database is Coder's own, another program's or a newer version's, or the
            role may not make tables.
    """
    if await _are_there(transaction, where):
        return False
    for statement in _DDL:
        await transaction.execute(statement)
    return True


async def check_tables(queries: Queries, where: str) -> None:
    """Return when the database holds the tables that this program knows.

    Raises:
        StoreError: they are missing, Coder's, another program's, or a newer version's.
    """
    if not await _are_there(queries, where):
        raise StoreError(f"{where} has no tables yet: make them with 'authz db init'")


async def _are_there(queries: Queries, where: str) -> bool:
    places = {row["name"]: row["place"] for row in await queries.fetch(_TABLES)}
    if not places:
        return False
    if "authz_schema" in places and len(places) == 3 and len(set(places.values())) == 1:
        rows = await queries.fetch("SELECT version FROM authz_schema")
        version = rows[0]["version"] if rows else 0
        if version != VERSION:
            raise StoreError(
                f"{where} was made by another version of authz (tables of version {version}, "
                f"this one knows {VERSION}): upgrade authz"
            )
        return True
    if {"users", "api_keys"} <= places.keys() and "authz_schema" not in places:
        raise StoreError(
            f"{where} is managed by Coder: use 'coder tokens create', or a database of its own"
        )
    raise StoreError(
        f"{where} has tables that are not authz's ({', '.join(sorted(places))}): "
        "use a database of its own"
    )
