-- A store and usage tables as authz made them before its first release, with tokens
-- laptop: Z1cyaEiTXN-mYTLmLxFKDAnB6ffihCEJr ci: XDN1mgHBtu-TaD5JWyvhGe0ew9V1O0Wdd old: R8v5AhKTXf-O1R5hWft572wPJqlAiEvQS limited: U3PnnVzhtK-1zsTvMcjw1vz10rp3HHIe8
PRAGMA application_id = 1635088945;
PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE api_keys (
    id text NOT NULL PRIMARY KEY CHECK (length(id) = 10),
    hashed_secret blob NOT NULL
        CHECK (typeof(hashed_secret) = 'blob' AND length(hashed_secret) = 32),
    user_id text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    last_used timestamptz text CHECK (last_used GLOB '????-??-??T??:??:??.??????+00:00'),
    expires_at timestamptz text NOT NULL CHECK (expires_at GLOB '????-??-??T??:??:??.??????+00:00'),
    created_at timestamptz text NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??.??????+00:00'),
    updated_at timestamptz text NOT NULL CHECK (updated_at GLOB '????-??-??T??:??:??.??????+00:00'),
    login_type text NOT NULL CHECK (login_type IN ('password', 'github', 'oidc', 'token', 'none', 'oauth2_provider_app')),
    lifetime_seconds integer NOT NULL DEFAULT 86400 CHECK (lifetime_seconds >= 0),
    token_name text NOT NULL DEFAULT '',
    scopes json text NOT NULL DEFAULT '["coder:all"]' CHECK (json_valid(scopes)),
    allow_list json text NOT NULL DEFAULT '["*:*"]' CHECK (json_valid(allow_list))
, authz_rules text CHECK (authz_rules IS NULL OR json_valid(authz_rules))) WITHOUT ROWID;
INSERT INTO "api_keys" VALUES('R8v5AhKTXf',X'9C4F4DC7892B8C1719E94390B0460D9F8019B540332966F1699F0CDC176177D8','92c613a1-3ba8-4130-bea9-e7700b69b268',NULL,'2026-11-24T12:27:55.347127+00:00','2026-11-24T12:27:55.346050+00:00','2026-11-24T12:27:55.347127+00:00','token',3110400000,'old','["coder:all"]','["*:*"]',NULL);
INSERT INTO "api_keys" VALUES('U3PnnVzhtK',X'D6DFA734D3186C75AFA3CA504938B28B4BB3BAF868AADBFAB69221FC5E55FAE2','92c613a1-3ba8-4130-bea9-e7700b69b268',NULL,'2125-12-05T00:51:52.910800+00:00','2026-11-28T00:51:52.910800+00:00','2026-11-28T00:51:52.910800+00:00','token',604800,'limited','["coder:all"]','["*:*"]','{"providers": ["openai"]}');
INSERT INTO "api_keys" VALUES('XDN1mgHBtu',X'A41BF49A1B9F02D8B146C09EB3895D7F5AB8BD14C4567DB87A394B2D7E981243','6e90ea71-ea6a-486e-837e-c5431f556911',NULL,'2125-06-18T12:27:55.341601+00:00','2026-11-24T12:27:55.341601+00:00','2026-11-24T12:27:55.341601+00:00','token',3110400000,'ci','["coder:all"]','["*:*"]',NULL);
INSERT INTO "api_keys" VALUES('Z1cyaEiTXN',X'6B4B9ACC382788799AA0C483305854F7C39FC2D8BC23BD6847B2B0271D4C1040','92c613a1-3ba8-4130-bea9-e7700b69b268',NULL,'2126-07-14T12:27:55.329466+00:00','2026-11-24T12:27:55.329466+00:00','2026-11-24T12:27:55.329466+00:00','token',3144182400,'laptop','["coder:all"]','["*:*"]',NULL);
INSERT INTO "api_keys" VALUES('y6Wf4ZzMRA',X'4C47C006423D29711C3EA0D941D051F0F7B6AF8C79B9C3D41912DFCA53C6F634','120d666a-13ca-49d7-bd84-4ee60f4cd07b',NULL,'2026-12-01T12:27:55.349421+00:00','2026-11-24T12:27:55.349421+00:00','2026-11-24T12:27:55.349421+00:00','password',604800,'','["coder:all"]','["*:*"]',NULL);
CREATE TABLE audit_logs (
    id text NOT NULL PRIMARY KEY,
    time timestamptz text NOT NULL CHECK (time GLOB '????-??-??T??:??:??.??????+00:00'),
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
    additional_fields text NOT NULL DEFAULT '{}' CHECK (json_valid(additional_fields))
) WITHOUT ROWID;
INSERT INTO "audit_logs" VALUES('c45887e0-9848-4806-a20b-ab4f4cd76a70','2026-11-28T00:51:52.907861+00:00','os','admin@example',NULL,NULL,'','roles','user','92c613a1-3ba8-4130-bea9-e7700b69b268','alice','alice','{"before": ["member"], "after": ["owner"]}');
INSERT INTO "audit_logs" VALUES('e462df73-5970-4f12-a23e-7fa25819a073','2026-11-28T00:51:52.911347+00:00','os','admin@example',NULL,NULL,'','create','api_key','U3PnnVzhtK','limited','alice','{"login_type": "token", "lifetime_seconds": 604800, "rules": {"providers": ["openai"]}}');
CREATE TABLE usage_entries (id text NOT NULL, time_ms bigint NOT NULL, decision text NOT NULL, status integer NOT NULL, usage text NOT NULL, duration_ms bigint NOT NULL, request_id text, user_id text, username text, token_id text, token_name text, provider text, mode text, reason text, model text, proxy_session text, input_tokens bigint, cached_tokens bigint, cache_write_tokens bigint, output_tokens bigint, reasoning_tokens bigint, PRIMARY KEY (id));
INSERT INTO "usage_entries" VALUES('0123456789ab-000000000001',1764000000001,'allow',200,'complete',5,NULL,NULL,'alice',NULL,NULL,NULL,NULL,NULL,'claude-x',NULL,10,4,NULL,3,NULL);
INSERT INTO "usage_entries" VALUES('0123456789ab-000000000002',1764000000002,'allow',200,'complete',5,NULL,NULL,'alice',NULL,NULL,NULL,NULL,NULL,'claude-x',NULL,10,4,NULL,3,NULL);
CREATE TABLE usage_processes (
    process text NOT NULL PRIMARY KEY,
    since_ms bigint NOT NULL,
    issued bigint NOT NULL,
    received bigint NOT NULL
);
INSERT INTO "usage_processes" VALUES('0123456789ab',1764000000000,3,2);
CREATE TABLE users (
    id text NOT NULL PRIMARY KEY,
    email text NOT NULL DEFAULT '',
    username text NOT NULL CHECK (length(username) BETWEEN 1 AND 32),
    name text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT 'dormant' CHECK (status IN ('active', 'dormant', 'suspended')),
    login_type text NOT NULL DEFAULT 'password' CHECK (login_type IN ('password', 'github', 'oidc', 'token', 'none', 'oauth2_provider_app')),
    deleted boolean NOT NULL DEFAULT false CHECK (deleted IN (0, 1)),
    is_system boolean NOT NULL DEFAULT false CHECK (is_system IN (0, 1)),
    is_service_account boolean NOT NULL DEFAULT false CHECK (is_service_account IN (0, 1)),
    created_at timestamptz text NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??.??????+00:00'),
    updated_at timestamptz text NOT NULL CHECK (updated_at GLOB '????-??-??T??:??:??.??????+00:00'),
    last_seen_at timestamptz text CHECK (last_seen_at GLOB '????-??-??T??:??:??.??????+00:00')
, hashed_password blob NOT NULL DEFAULT x'' CHECK (typeof(hashed_password) = 'blob'), rbac_roles json text NOT NULL DEFAULT '[]' CHECK (json_valid(rbac_roles))) WITHOUT ROWID;
INSERT INTO "users" VALUES('120d666a-13ca-49d7-bd84-4ee60f4cd07b','','bob','','suspended','password',0,0,0,'2026-11-24T12:27:55.305916+00:00','2026-11-24T12:27:55.369355+00:00',NULL,X'','[]');
INSERT INTO "users" VALUES('6e90ea71-ea6a-486e-837e-c5431f556911','','bot','','active','none',0,0,1,'2026-11-24T12:27:55.314157+00:00','2026-11-24T12:27:55.314157+00:00',NULL,X'','[]');
INSERT INTO "users" VALUES('92c613a1-3ba8-4130-bea9-e7700b69b268','alice@example.com','alice','','active','password',0,0,0,'2026-11-24T12:27:55.284028+00:00','2026-11-28T00:51:52.906648+00:00',NULL,X'','["owner"]');
INSERT INTO "users" VALUES('cb0b7522-91cd-4df6-a1eb-d37cc61ce394','','carol','','active','password',1,0,0,'2026-11-24T12:27:55.321772+00:00','2026-11-24T12:27:55.359873+00:00',NULL,X'','[]');
CREATE UNIQUE INDEX users_username ON users (lower(username)) WHERE deleted = 0;
CREATE UNIQUE INDEX users_email ON users (lower(email)) WHERE deleted = 0 AND email <> '';
CREATE INDEX api_keys_user ON api_keys (user_id);
CREATE UNIQUE INDEX api_keys_name ON api_keys (user_id, token_name)
    WHERE login_type = 'token';
CREATE INDEX audit_logs_time ON audit_logs (time);
CREATE INDEX usage_entries_time ON usage_entries (time_ms);
COMMIT;
