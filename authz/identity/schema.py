"""The tables of users, tokens and the audit log, with Coder's names and meanings.

In SQLite the type words ``timestamptz``, ``boolean`` and ``json`` tell the reader which value to
make of the stored text or number; ``text`` beside them keeps SQLite from turning text into numbers.
In PostgreSQL states and kinds are checked text where Coder has enums: a new one is then a change of
a check, not of a type that other tables may use. Names compare byte by byte (``COLLATE "C"``), as
in SQLite.
"""

from authz.database.interface import Dialect
from authz.database.migration import Schema, Statements
from authz.database.sqlite_tables import APPLICATION_ID

_LOGIN_TYPES = "('password', 'github', 'oidc', 'token', 'none', 'oauth2_provider_app')"
_TIME = "GLOB '????-??-??T??:??:??.??????+00:00'"

_SQLITE = (
    f"""CREATE TABLE users (
    id text NOT NULL PRIMARY KEY,
    email text NOT NULL DEFAULT '',
    username text NOT NULL CHECK (length(username) BETWEEN 1 AND 32),
    name text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT 'dormant' CHECK (status IN ('active', 'dormant', 'suspended')),
    login_type text NOT NULL DEFAULT 'password' CHECK (login_type IN {_LOGIN_TYPES}),
    deleted boolean NOT NULL DEFAULT false CHECK (deleted IN (0, 1)),
    is_system boolean NOT NULL DEFAULT false CHECK (is_system IN (0, 1)),
    is_service_account boolean NOT NULL DEFAULT false CHECK (is_service_account IN (0, 1)),
    created_at timestamptz text NOT NULL CHECK (created_at {_TIME}),
    updated_at timestamptz text NOT NULL CHECK (updated_at {_TIME}),
    last_seen_at timestamptz text CHECK (last_seen_at {_TIME}),
    hashed_password blob NOT NULL DEFAULT x'' CHECK (typeof(hashed_password) = 'blob'),
    rbac_roles json text NOT NULL DEFAULT '[]' CHECK (json_valid(rbac_roles))
) WITHOUT ROWID""",
    "CREATE UNIQUE INDEX users_username ON users (lower(username)) WHERE deleted = 0",
    "CREATE UNIQUE INDEX users_email ON users (lower(email)) WHERE deleted = 0 AND email <> ''",
    f"""CREATE TABLE api_keys (
    id text NOT NULL PRIMARY KEY CHECK (length(id) = 10),
    hashed_secret blob NOT NULL
        CHECK (typeof(hashed_secret) = 'blob' AND length(hashed_secret) = 32),
    user_id text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    last_used timestamptz text CHECK (last_used {_TIME}),
    expires_at timestamptz text NOT NULL CHECK (expires_at {_TIME}),
    created_at timestamptz text NOT NULL CHECK (created_at {_TIME}),
    updated_at timestamptz text NOT NULL CHECK (updated_at {_TIME}),
    login_type text NOT NULL CHECK (login_type IN {_LOGIN_TYPES}),
    lifetime_seconds integer NOT NULL DEFAULT 86400 CHECK (lifetime_seconds >= 0),
    token_name text NOT NULL DEFAULT '',
    scopes json text NOT NULL DEFAULT '["coder:all"]' CHECK (json_valid(scopes)),
    allow_list json text NOT NULL DEFAULT '["*:*"]' CHECK (json_valid(allow_list)),
    authz_rules text CHECK (authz_rules IS NULL OR json_valid(authz_rules))
) WITHOUT ROWID""",
    "CREATE INDEX api_keys_user ON api_keys (user_id)",
    """CREATE UNIQUE INDEX api_keys_name ON api_keys (user_id, token_name)
    WHERE login_type = 'token'""",
    f"""CREATE TABLE audit_logs (
    id text NOT NULL PRIMARY KEY,
    time timestamptz text NOT NULL CHECK (time {_TIME}),
    actor_kind text NOT NULL CHECK (actor_kind IN ('os', 'user', 'nobody')),
    actor text NOT NULL DEFAULT '',
    user_id text,
    api_key_id text,
    ip text NOT NULL DEFAULT '',
    action text NOT NULL,
    resource_type text NOT NULL CHECK (resource_type IN ('user', 'api_key')),
    resource_id text NOT NULL DEFAULT '',
    resource_target text NOT NULL DEFAULT '',
    username text NOT NULL DEFAULT '',
    additional_fields text NOT NULL DEFAULT '{{}}' CHECK (json_valid(additional_fields))
) WITHOUT ROWID""",
    "CREATE INDEX audit_logs_time ON audit_logs (time)",
    f"PRAGMA application_id = {APPLICATION_ID}",
)

# Python has no later year and no infinity: one such row would fail its whole batch.
_RANGE = "BETWEEN '1970-01-01Z' AND '9999-01-01Z'"

_POSTGRESQL = (
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
    last_seen_at timestamptz CHECK (last_seen_at {_RANGE}),
    hashed_password bytea NOT NULL DEFAULT '',
    rbac_roles text[] NOT NULL DEFAULT '{{}}'
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
    allow_list text[] NOT NULL DEFAULT '{{*:*}}',
    authz_rules text CHECK (authz_rules IS NULL OR authz_rules::jsonb IS NOT NULL)
)""",
    "CREATE INDEX api_keys_user ON api_keys (user_id)",
    """CREATE UNIQUE INDEX api_keys_name ON api_keys (user_id, token_name)
    WHERE login_type = 'token'""",
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
    # Coder's database has no such table: it marks the tables as authz's.
    """CREATE TABLE authz_schema (
    only_row boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (only_row),
    version integer NOT NULL
)""",
    "INSERT INTO authz_schema (version) VALUES (0)",
)


def _store_version(dialect: Dialect, version: int) -> Statements:
    if dialect is Dialect.SQLITE:
        return (f"PRAGMA user_version = {version:d}",)
    return (f"UPDATE authz_schema SET version = {version:d}",)  # noqa: S608 - a number


IDENTITY = Schema(
    name="identity",
    # No release of authz made tables of version 1.
    steps={2: {Dialect.SQLITE: _SQLITE, Dialect.POSTGRESQL: _POSTGRESQL}},
    store_version=_store_version,
)
