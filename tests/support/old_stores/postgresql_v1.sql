-- A store that authz made with tables of version 1. laptop: Z1cyaEiTXN-mYTLmLxFKDAnB6ffihCEJr ci: XDN1mgHBtu-TaD5JWyvhGe0ew9V1O0Wdd old: R8v5AhKTXf-O1R5hWft572wPJqlAiEvQS
CREATE TABLE users (
    id uuid NOT NULL PRIMARY KEY,
    email text COLLATE "C" NOT NULL DEFAULT '',
    username text COLLATE "C" NOT NULL CHECK (length(username) BETWEEN 1 AND 32),
    name text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT 'dormant' CHECK (status IN ('active', 'dormant', 'suspended')),
    login_type text NOT NULL DEFAULT 'password' CHECK (login_type IN ('password', 'github', 'oidc', 'token', 'none', 'oauth2_provider_app')),
    deleted boolean NOT NULL DEFAULT false,
    is_system boolean NOT NULL DEFAULT false,
    is_service_account boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL CHECK (created_at BETWEEN '1970-01-01Z' AND '9999-01-01Z'),
    updated_at timestamptz NOT NULL CHECK (updated_at BETWEEN '1970-01-01Z' AND '9999-01-01Z'),
    last_seen_at timestamptz CHECK (last_seen_at BETWEEN '1970-01-01Z' AND '9999-01-01Z')
);
CREATE UNIQUE INDEX users_username ON users (lower(username)) WHERE deleted = false;
CREATE UNIQUE INDEX users_email ON users (lower(email))
    WHERE deleted = false AND email <> '';
CREATE TABLE api_keys (
    id text COLLATE "C" NOT NULL PRIMARY KEY CHECK (length(id) = 10),
    hashed_secret bytea NOT NULL CHECK (octet_length(hashed_secret) = 32),
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    last_used timestamptz CHECK (last_used BETWEEN '1970-01-01Z' AND '9999-01-01Z'),
    expires_at timestamptz NOT NULL CHECK (expires_at BETWEEN '1970-01-01Z' AND '9999-01-01Z'),
    created_at timestamptz NOT NULL CHECK (created_at BETWEEN '1970-01-01Z' AND '9999-01-01Z'),
    updated_at timestamptz NOT NULL CHECK (updated_at BETWEEN '1970-01-01Z' AND '9999-01-01Z'),
    login_type text NOT NULL CHECK (login_type IN ('password', 'github', 'oidc', 'token', 'none', 'oauth2_provider_app')),
    lifetime_seconds bigint NOT NULL DEFAULT 86400 CHECK (lifetime_seconds >= 0),
    token_name text COLLATE "C" NOT NULL DEFAULT '',
    scopes text[] NOT NULL DEFAULT '{coder:all}',
    allow_list text[] NOT NULL DEFAULT '{*:*}'
);
CREATE INDEX api_keys_user ON api_keys (user_id);
CREATE UNIQUE INDEX api_keys_name ON api_keys (user_id, token_name)
    WHERE login_type = 'token';
CREATE TABLE authz_schema (
    only_row boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (only_row),
    version integer NOT NULL
);
INSERT INTO authz_schema (version) VALUES (1);
INSERT INTO users (id, email, username, name, status, login_type, deleted, is_system, is_service_account, created_at, updated_at, last_seen_at) VALUES ('92c613a1-3ba8-4130-bea9-e7700b69b268', 'alice@example.com', 'alice', '', 'active', 'password', false, false, false, '2026-11-24T12:27:55.284028+00:00', '2026-11-24T12:27:55.284028+00:00', NULL);
INSERT INTO users (id, email, username, name, status, login_type, deleted, is_system, is_service_account, created_at, updated_at, last_seen_at) VALUES ('120d666a-13ca-49d7-bd84-4ee60f4cd07b', '', 'bob', '', 'suspended', 'password', false, false, false, '2026-11-24T12:27:55.305916+00:00', '2026-11-24T12:27:55.369355+00:00', NULL);
INSERT INTO users (id, email, username, name, status, login_type, deleted, is_system, is_service_account, created_at, updated_at, last_seen_at) VALUES ('6e90ea71-ea6a-486e-837e-c5431f556911', '', 'bot', '', 'active', 'none', false, false, true, '2026-11-24T12:27:55.314157+00:00', '2026-11-24T12:27:55.314157+00:00', NULL);
INSERT INTO users (id, email, username, name, status, login_type, deleted, is_system, is_service_account, created_at, updated_at, last_seen_at) VALUES ('cb0b7522-91cd-4df6-a1eb-d37cc61ce394', '', 'carol', '', 'active', 'password', true, false, false, '2026-11-24T12:27:55.321772+00:00', '2026-11-24T12:27:55.359873+00:00', NULL);
INSERT INTO api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at, updated_at, login_type, lifetime_seconds, token_name, scopes, allow_list) VALUES ('Z1cyaEiTXN', '\x6b4b9acc382788799aa0c483305854f7c39fc2d8bc23bd6847b2b0271d4c1040', '92c613a1-3ba8-4130-bea9-e7700b69b268', NULL, '2126-07-14T12:27:55.329466+00:00', '2026-11-24T12:27:55.329466+00:00', '2026-11-24T12:27:55.329466+00:00', 'token', 3144182400, 'laptop', '{coder:all}', '{*:*}');
INSERT INTO api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at, updated_at, login_type, lifetime_seconds, token_name, scopes, allow_list) VALUES ('XDN1mgHBtu', '\xa41bf49a1b9f02d8b146c09eb3895d7f5ab8bd14c4567db87a394b2d7e981243', '6e90ea71-ea6a-486e-837e-c5431f556911', NULL, '2125-06-18T12:27:55.341601+00:00', '2026-11-24T12:27:55.341601+00:00', '2026-11-24T12:27:55.341601+00:00', 'token', 3110400000, 'ci', '{coder:all}', '{*:*}');
INSERT INTO api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at, updated_at, login_type, lifetime_seconds, token_name, scopes, allow_list) VALUES ('R8v5AhKTXf', '\x9c4f4dc7892b8c1719e94390b0460d9f8019b540332966f1699f0cdc176177d8', '92c613a1-3ba8-4130-bea9-e7700b69b268', NULL, '2026-11-24T12:27:55.347127+00:00', '2026-11-24T12:27:55.346050+00:00', '2026-11-24T12:27:55.347127+00:00', 'token', 3110400000, 'old', '{coder:all}', '{*:*}');
INSERT INTO api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at, updated_at, login_type, lifetime_seconds, token_name, scopes, allow_list) VALUES ('y6Wf4ZzMRA', '\x4c47c006423d29711c3ea0d941d051f0f7b6af8c79b9c3d41912dfca53c6f634', '120d666a-13ca-49d7-bd84-4ee60f4cd07b', NULL, '2026-12-01T12:27:55.349421+00:00', '2026-11-24T12:27:55.349421+00:00', '2026-11-24T12:27:55.349421+00:00', 'password', 604800, '', '{coder:all}', '{*:*}');
