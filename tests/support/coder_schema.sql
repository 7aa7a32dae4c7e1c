-- Coder's own tables `users` and `api_keys` as far as a token's check can
-- notice them, in a newer and an older variant: what both have, then what only one has.

CREATE TYPE login_type AS ENUM ('password', 'github', 'oidc', 'token', 'none', 'oauth2_provider_app');
CREATE TYPE user_status AS ENUM ('active', 'suspended', 'dormant');
CREATE TYPE api_key_scope AS ENUM ('all', 'application_connect', 'coder:all', 'workspace:read');

CREATE TABLE users (
    id uuid NOT NULL PRIMARY KEY,
    email text NOT NULL,
    username text DEFAULT ''::text NOT NULL,
    hashed_password bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    status user_status DEFAULT 'dormant'::user_status NOT NULL,
    rbac_roles text[] DEFAULT '{}'::text[] NOT NULL,
    login_type login_type DEFAULT 'password'::login_type NOT NULL,
    avatar_url text DEFAULT ''::text NOT NULL,
    deleted boolean DEFAULT false NOT NULL,
    last_seen_at timestamp without time zone DEFAULT '0001-01-01 00:00:00'::timestamp NOT NULL,
    quiet_hours_schedule text DEFAULT ''::text NOT NULL,
    name text DEFAULT ''::text NOT NULL,
    github_com_user_id bigint,
    hashed_one_time_passcode bytea,
    one_time_passcode_expires_at timestamp with time zone,
    is_system boolean DEFAULT false NOT NULL
);
CREATE UNIQUE INDEX idx_users_email ON users (email) WHERE deleted = false;
CREATE UNIQUE INDEX users_username_lower_idx ON users (lower(username)) WHERE deleted = false;

CREATE TABLE api_keys (
    id text NOT NULL PRIMARY KEY,
    hashed_secret bytea NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    last_used timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    login_type login_type NOT NULL,
    lifetime_seconds bigint DEFAULT 86400 NOT NULL,
    ip_address inet DEFAULT '0.0.0.0'::inet NOT NULL,
    token_name text DEFAULT ''::text NOT NULL
);
CREATE INDEX idx_api_keys_user ON api_keys (user_id);
CREATE UNIQUE INDEX idx_api_key_name ON api_keys (user_id, token_name)
    WHERE login_type = 'token'::login_type;

-- %% newer
ALTER TABLE users
    ADD COLUMN is_service_account boolean DEFAULT false NOT NULL,
    ADD COLUMN chat_spend_limit_micros bigint;
ALTER TABLE api_keys
    ADD COLUMN scopes api_key_scope[] DEFAULT '{coder:all}'::api_key_scope[] NOT NULL,
    ADD COLUMN allow_list text[] DEFAULT '{*:*}'::text[] NOT NULL,
    ADD CONSTRAINT api_keys_allow_list_not_empty CHECK (array_length(allow_list, 1) > 0);

-- %% older
ALTER TABLE api_keys ADD COLUMN scope api_key_scope DEFAULT 'all'::api_key_scope NOT NULL;
