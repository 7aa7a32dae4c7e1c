"""Our own tables in SQLite, with Coder's names and meanings (``coder-contract.md`` 5.2).

The type words ``timestamptz``, ``boolean`` and ``json`` tell the reader which value to make of the
stored text or number; ``text`` beside them keeps SQLite from turning text into numbers.
"""

import sqlite3

from authz.errors import StoreError

VERSION = 2
"""Kept in ``PRAGMA user_version``. A change of the tables raises it and adds a step."""
APPLICATION_ID = 0x61757A31
"""Kept in ``PRAGMA application_id``, so that another program's SQLite file is told apart."""

_TIME = "GLOB '????-??-??T??:??:??.??????+00:00'"
_LOGIN_TYPES = "('password', 'github', 'oidc', 'token', 'none', 'oauth2_provider_app')"

_VERSION_1 = (
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
    last_seen_at timestamptz text CHECK (last_seen_at {_TIME})
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
    allow_list json text NOT NULL DEFAULT '["*:*"]' CHECK (json_valid(allow_list))
) WITHOUT ROWID""",
    "CREATE INDEX api_keys_user ON api_keys (user_id)",
    """CREATE UNIQUE INDEX api_keys_name ON api_keys (user_id, token_name)
    WHERE login_type = 'token'""",
    f"PRAGMA application_id = {APPLICATION_ID}",
)
_VERSION_2 = (
    # Empty for whoever has no password.
    """ALTER TABLE users ADD COLUMN
    hashed_password blob NOT NULL DEFAULT x'' CHECK (typeof(hashed_password) = 'blob')""",
    """ALTER TABLE users ADD COLUMN
    rbac_roles json text NOT NULL DEFAULT '[]' CHECK (json_valid(rbac_roles))""",
    """ALTER TABLE api_keys ADD COLUMN
    authz_rules text CHECK (authz_rules IS NULL OR json_valid(authz_rules))""",
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
)
_STEPS = {1: _VERSION_1, 2: _VERSION_2}
"""What makes the tables of a version out of those of the one before it."""
_DDL = tuple(statement for step in _STEPS.values() for statement in step)


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database, or bring our own up to date; in one transaction.

    Does nothing where there are others.

    Args:
        connection: in autocommit mode.

    Raises:
        sqlite3.Error: the file can't be written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        ours = _application(connection) == APPLICATION_ID
        if ours or _is_empty(connection):
            for step in range(version + 1, VERSION + 1):
                for statement in _STEPS[step]:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {max(version, VERSION)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def check_version(connection: sqlite3.Connection, where: str) -> None:
    """Return when the database holds the tables that this program knows.

    Args:
        connection: to the database.
        where: names the file in the error.

    Raises:
        StoreError: the tables are missing, another program's, or a newer version's.
        sqlite3.Error: the file can't be read.
    """
    version = _version(connection)
    if _application(connection) != APPLICATION_ID:
        if _is_empty(connection):
            raise StoreError(f"{where} has no tables yet: make them with 'authz users create NAME'")
        raise StoreError(f"{where} is another program's SQLite file: name another in 'identity'")
    if version > VERSION:
        raise StoreError(
            f"{where} was made by a newer authz (tables of version {version}, "
            f"this one knows {VERSION}): upgrade authz"
        )


def is_outdated(connection: sqlite3.Connection) -> bool:
    """Say whether our own tables are of an earlier version: ``create_tables`` mends that."""
    return _version(connection) < VERSION


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _application(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA application_id").fetchone()[0])


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
