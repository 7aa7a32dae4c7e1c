"""The tables of users, groups, tokens and the audit log, with Coder's names and meanings.

In SQLite the type words ``timestamptz``, ``boolean`` and ``json`` tell the reader which value to
make of the stored text or number; ``text`` beside them keeps SQLite from turning text into numbers.
In PostgreSQL states and kinds are checked text where Coder has enums: a new one is then a change of
a check, not of a type that other tables may use. Names compare byte by byte (``COLLATE "C"``), as
in SQLite.
"""

from authz.database.interface import Dialect
from authz.database.migration import Schema, Statements
from authz.database.own_version import grant_as_on_users
from authz.database.sqlite_tables import APPLICATION_ID
from authz.identity.schema_device import POSTGRESQL_DEVICE, SQLITE_DEVICE
from authz.identity.schema_notices import POSTGRESQL_NOTICES, SQLITE_NOTICES

_LOGIN_TYPES = "('password', 'github', 'oidc', 'token', 'none', 'oauth2_provider_app')"
_AUDIT = (
    "id, time, actor_kind, actor, user_id, api_key_id, ip, action, resource_type, resource_id,"
    " resource_target, username, additional_fields"
)
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

# The groups of a user with their rules, as ``read_groups`` reads them. Each change of a group or a
# membership writes them in its transaction, so that a check needs no further table.
_SQLITE_GROUPS = (
    """ALTER TABLE users ADD COLUMN authz_groups text
    CHECK (authz_groups IS NULL OR json_valid(authz_groups))""",
    f"""CREATE TABLE groups (
    id text NOT NULL PRIMARY KEY,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    display_name text NOT NULL DEFAULT '',
    source text NOT NULL DEFAULT '',
    created_at timestamptz text NOT NULL CHECK (created_at {_TIME}),
    updated_at timestamptz text NOT NULL CHECK (updated_at {_TIME}),
    authz_rules text CHECK (authz_rules IS NULL OR json_valid(authz_rules))
) WITHOUT ROWID""",
    "CREATE UNIQUE INDEX groups_name ON groups (lower(name), source)",
    """CREATE TABLE group_members (
    user_id text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_id text NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, group_id)
) WITHOUT ROWID""",
    "CREATE INDEX group_members_group ON group_members (group_id, user_id)",
    # SQLite can't change the check of a column, so the table is made again. The program knows the
    # kinds of objects; a list of them here would have to be changed with each new kind.
    "ALTER TABLE audit_logs RENAME TO audit_logs_2",
    f"""CREATE TABLE audit_logs (
    id text NOT NULL PRIMARY KEY,
    time timestamptz text NOT NULL CHECK (time {_TIME}),
    actor_kind text NOT NULL CHECK (actor_kind IN ('os', 'user', 'nobody')),
    actor text NOT NULL DEFAULT '',
    user_id text,
    api_key_id text,
    ip text NOT NULL DEFAULT '',
    action text NOT NULL,
    resource_type text NOT NULL CHECK (resource_type <> ''),
    resource_id text NOT NULL DEFAULT '',
    resource_target text NOT NULL DEFAULT '',
    username text NOT NULL DEFAULT '',
    additional_fields text NOT NULL DEFAULT '{{}}' CHECK (json_valid(additional_fields))
) WITHOUT ROWID""",
    f"INSERT INTO audit_logs ({_AUDIT}) SELECT {_AUDIT} FROM audit_logs_2",  # noqa: S608 - constants
    "DROP TABLE audit_logs_2",
    "CREATE INDEX audit_logs_time ON audit_logs (time)",
)

_POSTGRESQL_GROUPS = (
    """ALTER TABLE users ADD COLUMN authz_groups text
    CHECK (authz_groups IS NULL OR authz_groups::jsonb IS NOT NULL)""",
    f"""CREATE TABLE groups (
    id uuid NOT NULL PRIMARY KEY,
    name text COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    display_name text NOT NULL DEFAULT '',
    source text COLLATE "C" NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL CHECK (created_at {_RANGE}),
    updated_at timestamptz NOT NULL CHECK (updated_at {_RANGE}),
    authz_rules text CHECK (authz_rules IS NULL OR authz_rules::jsonb IS NOT NULL)
)""",
    "CREATE UNIQUE INDEX groups_name ON groups (lower(name), source)",
    """CREATE TABLE group_members (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_id uuid NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, group_id)
)""",
    "CREATE INDEX group_members_group ON group_members (group_id, user_id)",
    """ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_resource_type_check,
    ADD CONSTRAINT audit_logs_resource_type_check CHECK (resource_type <> '')""",
    # A role that may read the rules of tokens checks tokens, so it needs the groups of users. A
    # role with rights on the users manages them, so it needs the same rights on groups.
    """DO $$
DECLARE
    granted record;
    grantee text;
BEGIN
    FOR granted IN
        SELECT DISTINCT acl.grantee AS oid, 'SELECT (authz_groups)' AS rights, 'users' AS tables
        FROM pg_catalog.pg_attribute a, aclexplode(a.attacl) acl
        WHERE a.attrelid = 'api_keys'::regclass AND a.attname = 'authz_rules'
            AND acl.privilege_type = 'SELECT'
        UNION
        SELECT acl.grantee, acl.privilege_type, 'groups, group_members'
        FROM pg_catalog.pg_class c, aclexplode(c.relacl) acl
        WHERE c.oid = 'users'::regclass AND acl.grantee <> c.relowner
            AND acl.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    LOOP
        grantee := CASE granted.oid WHEN 0 THEN 'PUBLIC' ELSE granted.oid::regrole::text END;
        EXECUTE format('GRANT %s ON %s TO %s', granted.rights, granted.tables, grantee);
    END LOOP;
END
$$""",
)


# The role is the one that the identity provider gave at the last sign-in.
_SQLITE_LINKS = (
    f"""CREATE TABLE user_links (
    issuer text NOT NULL CHECK (issuer <> ''),
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    user_id text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role text NOT NULL,
    created_at timestamptz text NOT NULL CHECK (created_at {_TIME}),
    PRIMARY KEY (issuer, subject)
) WITHOUT ROWID""",
    "CREATE INDEX user_links_user ON user_links (user_id)",
)

_POSTGRESQL_LINKS = (
    f"""CREATE TABLE user_links (
    issuer text COLLATE "C" NOT NULL CHECK (issuer <> ''),
    subject text COLLATE "C" NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role text NOT NULL,
    created_at timestamptz NOT NULL CHECK (created_at {_RANGE}),
    PRIMARY KEY (issuer, subject)
)""",
    "CREATE INDEX user_links_user ON user_links (user_id)",
    grant_as_on_users("user_links"),
)


def _store_version(dialect: Dialect, version: int) -> Statements:
    if dialect is Dialect.SQLITE:
        return (f"PRAGMA user_version = {version:d}",)
    return (f"UPDATE authz_schema SET version = {version:d}",)  # noqa: S608 - a number


IDENTITY = Schema(
    name="identity",
    # No release of authz made tables of version 1.
    steps={
        2: {Dialect.SQLITE: _SQLITE, Dialect.POSTGRESQL: _POSTGRESQL},
        3: {Dialect.SQLITE: _SQLITE_GROUPS, Dialect.POSTGRESQL: _POSTGRESQL_GROUPS},
        4: {Dialect.SQLITE: _SQLITE_LINKS, Dialect.POSTGRESQL: _POSTGRESQL_LINKS},
        5: {Dialect.SQLITE: SQLITE_DEVICE, Dialect.POSTGRESQL: POSTGRESQL_DEVICE},
        6: {Dialect.SQLITE: SQLITE_NOTICES, Dialect.POSTGRESQL: POSTGRESQL_NOTICES},
    },
    store_version=_store_version,
)
