-- A store and usage tables as authz made them before its first release, with tokens
-- laptop: Z1cyaEiTXN-mYTLmLxFKDAnB6ffihCEJr ci: XDN1mgHBtu-TaD5JWyvhGe0ew9V1O0Wdd old: R8v5AhKTXf-O1R5hWft572wPJqlAiEvQS limited: efXpA6aEIx-B5dq6AmCHhXi4gW86NLGcE
CREATE TABLE public.api_keys (
    id text NOT NULL COLLATE pg_catalog."C",
    hashed_secret bytea NOT NULL,
    user_id uuid NOT NULL,
    last_used timestamp with time zone,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    login_type text NOT NULL,
    lifetime_seconds bigint DEFAULT 86400 NOT NULL,
    token_name text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    scopes text[] DEFAULT '{coder:all}'::text[] NOT NULL,
    allow_list text[] DEFAULT '{*:*}'::text[] NOT NULL,
    authz_rules text,
    CONSTRAINT api_keys_authz_rules_check CHECK (((authz_rules IS NULL) OR ((authz_rules)::jsonb IS NOT NULL))),
    CONSTRAINT api_keys_created_at_check CHECK (((created_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (created_at <= '9999-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT api_keys_expires_at_check CHECK (((expires_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (expires_at <= '9999-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT api_keys_hashed_secret_check CHECK ((octet_length(hashed_secret) = 32)),
    CONSTRAINT api_keys_id_check CHECK ((length(id) = 10)),
    CONSTRAINT api_keys_last_used_check CHECK (((last_used >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (last_used <= '9999-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT api_keys_lifetime_seconds_check CHECK ((lifetime_seconds >= 0)),
    CONSTRAINT api_keys_login_type_check CHECK ((login_type = ANY (ARRAY['password'::text, 'github'::text, 'oidc'::text, 'token'::text, 'none'::text, 'oauth2_provider_app'::text]))),
    CONSTRAINT api_keys_updated_at_check CHECK (((updated_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (updated_at <= '9999-01-01 00:00:00+00'::timestamp with time zone)))
);
CREATE TABLE public.audit_logs (
    id uuid NOT NULL,
    "time" timestamp with time zone NOT NULL,
    actor_kind text NOT NULL,
    actor text DEFAULT ''::text NOT NULL,
    user_id uuid,
    api_key_id text,
    ip text DEFAULT ''::text NOT NULL,
    action text NOT NULL,
    resource_type text NOT NULL,
    resource_id text DEFAULT ''::text NOT NULL,
    resource_target text DEFAULT ''::text NOT NULL,
    username text DEFAULT ''::text NOT NULL,
    additional_fields text DEFAULT '{}'::text NOT NULL,
    CONSTRAINT audit_logs_actor_kind_check CHECK ((actor_kind = ANY (ARRAY['os'::text, 'user'::text, 'nobody'::text]))),
    CONSTRAINT audit_logs_resource_type_check CHECK ((resource_type = ANY (ARRAY['user'::text, 'api_key'::text]))),
    CONSTRAINT audit_logs_time_check CHECK ((("time" >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND ("time" <= '9999-01-01 00:00:00+00'::timestamp with time zone)))
);
CREATE TABLE public.authz_schema (
    only_row boolean DEFAULT true NOT NULL,
    version integer NOT NULL,
    CONSTRAINT authz_schema_only_row_check CHECK (only_row)
);
CREATE TABLE public.usage_entries (
    id text NOT NULL,
    time_ms bigint NOT NULL,
    decision text NOT NULL,
    status integer NOT NULL,
    usage text NOT NULL,
    duration_ms bigint NOT NULL,
    request_id text,
    user_id text,
    username text,
    token_id text,
    token_name text,
    provider text,
    mode text,
    reason text,
    model text,
    proxy_session text,
    input_tokens bigint,
    cached_tokens bigint,
    cache_write_tokens bigint,
    output_tokens bigint,
    reasoning_tokens bigint
);
CREATE TABLE public.usage_processes (
    process text NOT NULL,
    since_ms bigint NOT NULL,
    issued bigint NOT NULL,
    received bigint NOT NULL
);
CREATE TABLE public.users (
    id uuid NOT NULL,
    email text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    username text NOT NULL COLLATE pg_catalog."C",
    name text DEFAULT ''::text NOT NULL,
    status text DEFAULT 'dormant'::text NOT NULL,
    login_type text DEFAULT 'password'::text NOT NULL,
    deleted boolean DEFAULT false NOT NULL,
    is_system boolean DEFAULT false NOT NULL,
    is_service_account boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone,
    hashed_password bytea DEFAULT '\x'::bytea NOT NULL,
    rbac_roles text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT users_created_at_check CHECK (((created_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (created_at <= '9999-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT users_last_seen_at_check CHECK (((last_seen_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (last_seen_at <= '9999-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT users_login_type_check CHECK ((login_type = ANY (ARRAY['password'::text, 'github'::text, 'oidc'::text, 'token'::text, 'none'::text, 'oauth2_provider_app'::text]))),
    CONSTRAINT users_status_check CHECK ((status = ANY (ARRAY['active'::text, 'dormant'::text, 'suspended'::text]))),
    CONSTRAINT users_updated_at_check CHECK (((updated_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (updated_at <= '9999-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT users_username_check CHECK (((length(username) >= 1) AND (length(username) <= 32)))
);
INSERT INTO public.api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at, updated_at, login_type, lifetime_seconds, token_name, scopes, allow_list, authz_rules) VALUES ('Z1cyaEiTXN', '\x6b4b9acc382788799aa0c483305854f7c39fc2d8bc23bd6847b2b0271d4c1040', '92c613a1-3ba8-4130-bea9-e7700b69b268', NULL, '2126-07-14 12:27:55.329466+00', '2026-11-24 12:27:55.329466+00', '2026-11-24 12:27:55.329466+00', 'token', 3144182400, 'laptop', '{coder:all}', '{*:*}', NULL);
INSERT INTO public.api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at, updated_at, login_type, lifetime_seconds, token_name, scopes, allow_list, authz_rules) VALUES ('XDN1mgHBtu', '\xa41bf49a1b9f02d8b146c09eb3895d7f5ab8bd14c4567db87a394b2d7e981243', '6e90ea71-ea6a-486e-837e-c5431f556911', NULL, '2125-06-18 12:27:55.341601+00', '2026-11-24 12:27:55.341601+00', '2026-11-24 12:27:55.341601+00', 'token', 3110400000, 'ci', '{coder:all}', '{*:*}', NULL);
INSERT INTO public.api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at, updated_at, login_type, lifetime_seconds, token_name, scopes, allow_list, authz_rules) VALUES ('R8v5AhKTXf', '\x9c4f4dc7892b8c1719e94390b0460d9f8019b540332966f1699f0cdc176177d8', '92c613a1-3ba8-4130-bea9-e7700b69b268', NULL, '2026-11-24 12:27:55.347127+00', '2026-11-24 12:27:55.34605+00', '2026-11-24 12:27:55.347127+00', 'token', 3110400000, 'old', '{coder:all}', '{*:*}', NULL);
INSERT INTO public.api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at, updated_at, login_type, lifetime_seconds, token_name, scopes, allow_list, authz_rules) VALUES ('y6Wf4ZzMRA', '\x4c47c006423d29711c3ea0d941d051f0f7b6af8c79b9c3d41912dfca53c6f634', '120d666a-13ca-49d7-bd84-4ee60f4cd07b', NULL, '2026-12-01 12:27:55.349421+00', '2026-11-24 12:27:55.349421+00', '2026-11-24 12:27:55.349421+00', 'password', 604800, '', '{coder:all}', '{*:*}', NULL);
INSERT INTO public.api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at, updated_at, login_type, lifetime_seconds, token_name, scopes, allow_list, authz_rules) VALUES ('efXpA6aEIx', '\x547baf3dfa17700ebfa18d315dd8cb0d4072441fbb3ed92826780f885f2ddd68', '92c613a1-3ba8-4130-bea9-e7700b69b268', NULL, '2125-12-05 00:51:54.456077+00', '2026-11-28 00:51:54.456077+00', '2026-11-28 00:51:54.456077+00', 'token', 604800, 'limited', '{coder:all}', '{*:*}', '{"providers": ["openai"]}');
INSERT INTO public.audit_logs (id, "time", actor_kind, actor, user_id, api_key_id, ip, action, resource_type, resource_id, resource_target, username, additional_fields) VALUES ('7d28d7f4-74ae-4abf-9997-920d112a3055', '2026-11-28 00:51:54.453726+00', 'os', 'admin@example', NULL, NULL, '', 'roles', 'user', '92c613a1-3ba8-4130-bea9-e7700b69b268', 'alice', 'alice', '{"before": ["member"], "after": ["owner"]}');
INSERT INTO public.audit_logs (id, "time", actor_kind, actor, user_id, api_key_id, ip, action, resource_type, resource_id, resource_target, username, additional_fields) VALUES ('f953fac0-5080-4120-a39d-e858fe3220f5', '2026-11-28 00:51:54.457779+00', 'os', 'admin@example', NULL, NULL, '', 'create', 'api_key', 'efXpA6aEIx', 'limited', 'alice', '{"login_type": "token", "lifetime_seconds": 604800, "rules": {"providers": ["openai"]}}');
INSERT INTO public.authz_schema (only_row, version) VALUES (true, 2);
INSERT INTO public.usage_entries (id, time_ms, decision, status, usage, duration_ms, request_id, user_id, username, token_id, token_name, provider, mode, reason, model, proxy_session, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens) VALUES ('0123456789ab-000000000001', 1764000000001, 'allow', 200, 'complete', 5, NULL, NULL, 'alice', NULL, NULL, NULL, NULL, NULL, 'claude-x', NULL, 10, 4, NULL, 3, NULL);
INSERT INTO public.usage_entries (id, time_ms, decision, status, usage, duration_ms, request_id, user_id, username, token_id, token_name, provider, mode, reason, model, proxy_session, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens) VALUES ('0123456789ab-000000000002', 1764000000002, 'allow', 200, 'complete', 5, NULL, NULL, 'alice', NULL, NULL, NULL, NULL, NULL, 'claude-x', NULL, 10, 4, NULL, 3, NULL);
INSERT INTO public.usage_processes (process, since_ms, issued, received) VALUES ('0123456789ab', 1764000000000, 3, 2);
INSERT INTO public.users (id, email, username, name, status, login_type, deleted, is_system, is_service_account, created_at, updated_at, last_seen_at, hashed_password, rbac_roles) VALUES ('120d666a-13ca-49d7-bd84-4ee60f4cd07b', '', 'bob', '', 'suspended', 'password', false, false, false, '2026-11-24 12:27:55.305916+00', '2026-11-24 12:27:55.369355+00', NULL, '\x', '{}');
INSERT INTO public.users (id, email, username, name, status, login_type, deleted, is_system, is_service_account, created_at, updated_at, last_seen_at, hashed_password, rbac_roles) VALUES ('6e90ea71-ea6a-486e-837e-c5431f556911', '', 'bot', '', 'active', 'none', false, false, true, '2026-11-24 12:27:55.314157+00', '2026-11-24 12:27:55.314157+00', NULL, '\x', '{}');
INSERT INTO public.users (id, email, username, name, status, login_type, deleted, is_system, is_service_account, created_at, updated_at, last_seen_at, hashed_password, rbac_roles) VALUES ('cb0b7522-91cd-4df6-a1eb-d37cc61ce394', '', 'carol', '', 'active', 'password', true, false, false, '2026-11-24 12:27:55.321772+00', '2026-11-24 12:27:55.359873+00', NULL, '\x', '{}');
INSERT INTO public.users (id, email, username, name, status, login_type, deleted, is_system, is_service_account, created_at, updated_at, last_seen_at, hashed_password, rbac_roles) VALUES ('92c613a1-3ba8-4130-bea9-e7700b69b268', 'alice@example.com', 'alice', '', 'active', 'password', false, false, false, '2026-11-24 12:27:55.284028+00', '2026-11-28 00:51:54.45214+00', NULL, '\x', '{owner}');
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_logs
    ADD CONSTRAINT audit_logs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.authz_schema
    ADD CONSTRAINT authz_schema_pkey PRIMARY KEY (only_row);
ALTER TABLE ONLY public.usage_entries
    ADD CONSTRAINT usage_entries_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.usage_processes
    ADD CONSTRAINT usage_processes_pkey PRIMARY KEY (process);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX api_keys_name ON public.api_keys USING btree (user_id, token_name) WHERE (login_type = 'token'::text);
CREATE INDEX api_keys_user ON public.api_keys USING btree (user_id);
CREATE INDEX audit_logs_time ON public.audit_logs USING btree ("time");
CREATE INDEX usage_entries_time ON public.usage_entries USING btree (time_ms);
CREATE UNIQUE INDEX users_email ON public.users USING btree (lower(email)) WHERE ((deleted = false) AND (email <> ''::text));
CREATE UNIQUE INDEX users_username ON public.users USING btree (lower(username)) WHERE (deleted = false);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;
