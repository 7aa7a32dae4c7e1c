"""The tables of the device flow: codes that wait for a person, and refresh tokens."""

_TIME = "GLOB '????-??-??T??:??:??.??????+00:00'"
_RANGE = "BETWEEN '1970-01-01Z' AND '9999-01-01Z'"

SQLITE_DEVICE = (
    f"""CREATE TABLE device_codes (
    device_digest blob NOT NULL PRIMARY KEY CHECK (length(device_digest) = 32),
    user_code text NOT NULL,
    kind text NOT NULL CHECK (kind <> ''),
    client text NOT NULL DEFAULT '',
    provider text NOT NULL DEFAULT '',
    ip text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'approved', 'denied')),
    user_id text REFERENCES users (id) ON DELETE CASCADE,
    interval_seconds integer NOT NULL CHECK (interval_seconds > 0),
    polled_at timestamptz text CHECK (polled_at {_TIME}),
    created_at timestamptz text NOT NULL CHECK (created_at {_TIME}),
    expires_at timestamptz text NOT NULL CHECK (expires_at {_TIME})
) WITHOUT ROWID""",
    "CREATE UNIQUE INDEX device_codes_user_code ON device_codes (user_code)",
    "CREATE INDEX device_codes_ip ON device_codes (ip, created_at)",
    f"""CREATE TABLE device_attempts (
    id text NOT NULL PRIMARY KEY,
    ip text NOT NULL,
    time timestamptz text NOT NULL CHECK (time {_TIME})
) WITHOUT ROWID""",
    "CREATE INDEX device_attempts_ip ON device_attempts (ip, time)",
    f"""CREATE TABLE refresh_tokens (
    api_key_id text NOT NULL PRIMARY KEY REFERENCES api_keys (id) ON DELETE CASCADE,
    family_digest blob NOT NULL CHECK (length(family_digest) = 32),
    digest blob NOT NULL CHECK (length(digest) = 32),
    previous_digest blob CHECK (length(previous_digest) = 32),
    seed blob NOT NULL CHECK (length(seed) = 32),
    access_expires_at timestamptz text NOT NULL CHECK (access_expires_at {_TIME}),
    rotated_at timestamptz text NOT NULL CHECK (rotated_at {_TIME}),
    created_at timestamptz text NOT NULL CHECK (created_at {_TIME})
) WITHOUT ROWID""",
)

POSTGRESQL_DEVICE = (
    f"""CREATE TABLE device_codes (
    device_digest bytea NOT NULL PRIMARY KEY CHECK (octet_length(device_digest) = 32),
    user_code text COLLATE "C" NOT NULL,
    kind text NOT NULL CHECK (kind <> ''),
    client text NOT NULL DEFAULT '',
    provider text NOT NULL DEFAULT '',
    ip text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'approved', 'denied')),
    user_id uuid REFERENCES users (id) ON DELETE CASCADE,
    interval_seconds bigint NOT NULL CHECK (interval_seconds > 0),
    polled_at timestamptz CHECK (polled_at {_RANGE}),
    created_at timestamptz NOT NULL CHECK (created_at {_RANGE}),
    expires_at timestamptz NOT NULL CHECK (expires_at {_RANGE})
)""",
    "CREATE UNIQUE INDEX device_codes_user_code ON device_codes (user_code)",
    "CREATE INDEX device_codes_ip ON device_codes (ip, created_at)",
    f"""CREATE TABLE device_attempts (
    id uuid NOT NULL PRIMARY KEY,
    ip text COLLATE "C" NOT NULL,
    time timestamptz NOT NULL CHECK (time {_RANGE})
)""",
    "CREATE INDEX device_attempts_ip ON device_attempts (ip, time)",
    f"""CREATE TABLE refresh_tokens (
    api_key_id text COLLATE "C" NOT NULL PRIMARY KEY REFERENCES api_keys (id) ON DELETE CASCADE,
    family_digest bytea NOT NULL CHECK (octet_length(family_digest) = 32),
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    previous_digest bytea CHECK (octet_length(previous_digest) = 32),
    seed bytea NOT NULL CHECK (octet_length(seed) = 32),
    access_expires_at timestamptz NOT NULL CHECK (access_expires_at {_RANGE}),
    rotated_at timestamptz NOT NULL CHECK (rotated_at {_RANGE}),
    created_at timestamptz NOT NULL CHECK (created_at {_RANGE})
)""",
    # A role that creates tokens signs users in, so it needs all rights on these tables.
    """DO $$
DECLARE
    granted record;
    grantee text;
BEGIN
    FOR granted IN
        SELECT DISTINCT acl.grantee AS oid
        FROM pg_catalog.pg_class c, aclexplode(c.relacl) acl
        WHERE c.oid = 'api_keys'::regclass AND acl.grantee <> c.relowner
            AND acl.privilege_type = 'INSERT'
    LOOP
        grantee := CASE granted.oid WHEN 0 THEN 'PUBLIC' ELSE granted.oid::regrole::text END;
        EXECUTE format(
            'GRANT SELECT, INSERT, UPDATE, DELETE ON device_codes, device_attempts,'
            ' refresh_tokens TO %s', grantee);
    END LOOP;
END
$$""",
)
