"""Our own tables in SQLite, with Coder's names and meanings (``coder-contract.md`` 5.2).

The type words ``timestamptz``, ``boolean`` and ``json`` tell the reader which value to make of the
stored text or number; ``text`` beside them keeps SQLite from turning text into numbers.
"""

import sqlite3

from authz.errors import StoreError

VERSION = 1
"""Kept in ``PRAGMA user_version``. A change of the tables raises it and adds a migration."""
APPLICATION_ID = 0x61757A31
"""Kept in ``PRAGMA application_id``, so that another program's SQLite file is told apart."""

_TIME = "GLOB '????-??-??T??:??:??.??????+00:00'"
_LOGIN_TYPES = "('password', 'github', 'oidc', 'token', 'none', 'oauth2_provider_app')"

_DDL = (
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
    f"PRAGMA user_version = {VERSION}",
)


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database, in one transaction; does nothing when there are some.

    Args:
        connection: in autocommit mode.

    Raises:
        sqlite3.Error: the file can't be written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_empty(connection):
            for statement in _DDL:
                connection.execute(statement)
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
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        if _is_empty(connection):
            raise StoreError(f"{where} has no tables yet: make them with 'authz users create NAME'")
        raise StoreError(f"{where} is another program's SQLite file: name another in 'identity'")
    if version > VERSION:
        raise StoreError(
            f"{where} was made by a newer authz (tables of version {version}, "
            f"this one knows {VERSION}): upgrade authz"
        )


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
