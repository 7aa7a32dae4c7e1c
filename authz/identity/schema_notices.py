"""The table of notices that a webhook gets."""

_TIME = "GLOB '????-??-??T??:??:??.??????+00:00'"
_RANGE = "BETWEEN '1970-01-01Z' AND '9999-01-01Z'"

SQLITE_NOTICES = (
    f"""CREATE TABLE notices (
    id text NOT NULL PRIMARY KEY CHECK (id <> ''),
    kind text NOT NULL CHECK (kind <> ''),
    subject text NOT NULL DEFAULT '',
    body text NOT NULL CHECK (json_valid(body)),
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_at timestamptz text NOT NULL CHECK (next_at {_TIME}),
    done_at timestamptz text CHECK (done_at {_TIME}),
    created_at timestamptz text NOT NULL CHECK (created_at {_TIME}),
    keep_until timestamptz text NOT NULL CHECK (keep_until {_TIME})
) WITHOUT ROWID""",
    "CREATE INDEX notices_next ON notices (next_at) WHERE done_at IS NULL",
    "CREATE INDEX api_keys_end ON api_keys (expires_at) WHERE login_type = 'token'",
)

POSTGRESQL_NOTICES = (
    f"""CREATE TABLE notices (
    id text COLLATE "C" NOT NULL PRIMARY KEY CHECK (id <> ''),
    kind text NOT NULL CHECK (kind <> ''),
    subject text COLLATE "C" NOT NULL DEFAULT '',
    body text NOT NULL CHECK (body::jsonb IS NOT NULL),
    attempts bigint NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_at timestamptz NOT NULL CHECK (next_at {_RANGE}),
    done_at timestamptz CHECK (done_at {_RANGE}),
    created_at timestamptz NOT NULL CHECK (created_at {_RANGE}),
    keep_until timestamptz NOT NULL CHECK (keep_until {_RANGE})
)""",
    "CREATE INDEX notices_next ON notices (next_at) WHERE done_at IS NULL",
    "CREATE INDEX api_keys_end ON api_keys (expires_at) WHERE login_type = 'token'",
    # A role that creates tokens may tell of their end, so it needs all rights on this table.
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
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON notices TO %s', grantee);
    END LOOP;
END
$$""",
)
