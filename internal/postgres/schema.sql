-- The whole schema as the migrations make it, without the audit log's months. Written by `make gen`.

CREATE FUNCTION public.audit_partitions_ensure(months_ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '2s'
    AS $_$
DECLARE
  parent text;
  made integer := 0;
  first_month date;
  last_month date := (date_trunc('month', now()) + make_interval(months => months_ahead))::date;
  m date;
  part text;
BEGIN
  IF months_ahead NOT BETWEEN 0 AND 240 THEN
    RAISE EXCEPTION 'months_ahead must be between 0 and 240, not %', months_ahead USING ERRCODE = '22023';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('forge audit partitions', 0));
  FOREACH parent IN ARRAY ARRAY['audit_logs', 'audit_personal_data'] LOOP
    SELECT coalesce(max(to_date(right(c.relname, 7), 'YYYY_MM')) + interval '1 month', '2026-01-01')::date INTO first_month
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = parent::regclass AND c.relname ~ '_[0-9]{4}_[0-9]{2}$';
    CONTINUE WHEN first_month > last_month;
    IF to_regclass('audit_parts.' || parent || '_future') IS NOT NULL THEN
      EXECUTE format('ALTER TABLE %I DETACH PARTITION audit_parts.%I', parent, parent || '_future');
    END IF;
    m := first_month;
    WHILE m <= last_month LOOP
      part := parent || to_char(m, '_YYYY_MM');
      EXECUTE format('CREATE TABLE audit_parts.%I (LIKE %I INCLUDING ALL)', part, parent);
      IF to_regclass('audit_parts.' || parent || '_future') IS NOT NULL THEN
        EXECUTE format('WITH moved AS (DELETE FROM audit_parts.%I WHERE timestamp >= %L AND timestamp < %L RETURNING *) INSERT INTO audit_parts.%I SELECT * FROM moved',
          parent || '_future', m::timestamptz, (m + interval '1 month')::timestamptz, part);
      END IF;
      EXECUTE format('ALTER TABLE %I ATTACH PARTITION audit_parts.%I FOR VALUES FROM (%L) TO (%L)',
        parent, part, m::timestamptz, (m + interval '1 month')::timestamptz);
      made := made + 1;
      m := (m + interval '1 month')::date;
    END LOOP;
    IF to_regclass('audit_parts.' || parent || '_future') IS NULL THEN
      EXECUTE format('CREATE TABLE audit_parts.%I (LIKE %I INCLUDING ALL)', parent || '_future', parent);
    END IF;
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION audit_parts.%I FOR VALUES FROM (%L) TO (MAXVALUE)',
      parent, parent || '_future', m::timestamptz);
  END LOOP;
  RETURN made;
END
$_$;

CREATE TABLE public.audit_logs (
    "timestamp" timestamp with time zone NOT NULL,
    id uuid NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    user_id text NOT NULL,
    actor_type text NOT NULL,
    action_type text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    result text NOT NULL,
    code text NOT NULL,
    interface text NOT NULL,
    request_id text NOT NULL,
    source_ip inet,
    user_agent text,
    leaf bytea NOT NULL,
    mac bytea NOT NULL,
    CONSTRAINT audit_logs_finite_ck CHECK (isfinite("timestamp")),
    CONSTRAINT audit_logs_leaf_size_ck CHECK (((octet_length(leaf) >= 2) AND (octet_length(leaf) <= 65535))),
    CONSTRAINT audit_logs_mac_size_ck CHECK ((octet_length(mac) = 32)),
    CONSTRAINT audit_logs_result_ck CHECK ((result = ANY (ARRAY['success'::text, 'refused'::text, 'failed'::text])))
)
PARTITION BY RANGE ("timestamp");

CREATE TABLE public.audit_personal_data (
    entry_id uuid NOT NULL,
    "timestamp" timestamp with time zone NOT NULL,
    subject_id text NOT NULL,
    key_generation integer NOT NULL,
    sealed bytea NOT NULL
)
PARTITION BY RANGE ("timestamp");

CREATE TABLE public.audit_subject_keys (
    subject_id text NOT NULL,
    generation integer NOT NULL,
    wrapped_key bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    erased_at timestamp with time zone
);

CREATE TABLE public.blueprint_versions (
    id text NOT NULL,
    blueprint_id text NOT NULL,
    number integer NOT NULL,
    definition text NOT NULL,
    digest text NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT blueprint_versions_digest_ck CHECK ((digest = encode(sha256(convert_to(definition, 'UTF8'::name)), 'hex'::text))),
    CONSTRAINT blueprint_versions_number_ck CHECK ((number > 0)),
    CONSTRAINT blueprint_versions_size_ck CHECK ((octet_length(definition) <= 65536))
);

CREATE TABLE public.blueprints (
    id text NOT NULL,
    team_id text,
    name text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    active_version integer NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT blueprints_name_ck CHECK ((name ~ '^[a-z][a-z0-9-]{0,62}$'::text))
);

CREATE TABLE public.budget_entries (
    id bigint NOT NULL,
    budget_id text NOT NULL,
    period_start timestamp with time zone NOT NULL,
    balance_version bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    workspace_id text,
    limit_delta_micros bigint DEFAULT 0 NOT NULL,
    settled_delta_micros bigint DEFAULT 0 NOT NULL,
    held_delta_micros bigint DEFAULT 0 NOT NULL,
    overrun_delta_micros bigint DEFAULT 0 NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    CONSTRAINT budget_entries_kind_ck CHECK ((kind = ANY (ARRAY['open'::text, 'limit'::text, 'hold'::text, 'renew'::text, 'release'::text, 'charge'::text, 'carry'::text])))
);

ALTER TABLE public.budget_entries ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.budget_entries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.budget_holds (
    workspace_id text NOT NULL,
    user_id text NOT NULL,
    team_id text NOT NULL,
    project_id text,
    fixed_micros bigint NOT NULL,
    lease_micros bigint NOT NULL,
    lease_target_micros bigint NOT NULL,
    held_at timestamp with time zone NOT NULL,
    renewal_refused_at timestamp with time zone,
    CONSTRAINT budget_holds_positive_ck CHECK (((fixed_micros >= 0) AND (lease_micros >= 0) AND (lease_target_micros >= 0)))
);

CREATE TABLE public.budget_periods (
    budget_id text NOT NULL,
    period_start timestamp with time zone NOT NULL,
    period_end timestamp with time zone NOT NULL,
    limit_micros bigint NOT NULL,
    settled_micros bigint DEFAULT 0 NOT NULL,
    held_micros bigint DEFAULT 0 NOT NULL,
    overrun_micros bigint DEFAULT 0 NOT NULL,
    warned_at timestamp with time zone,
    exhausted_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    CONSTRAINT budget_periods_not_overspent_ck CHECK (((settled_micros + held_micros) <= (limit_micros + overrun_micros))),
    CONSTRAINT budget_periods_positive_ck CHECK (((held_micros >= 0) AND (overrun_micros >= 0) AND (limit_micros >= 0))),
    CONSTRAINT budget_periods_range_ck CHECK ((period_end > period_start))
);

CREATE TABLE public.cost_records (
    id text NOT NULL,
    usage_id text NOT NULL,
    workspace_id text NOT NULL,
    user_id text NOT NULL,
    team_id text NOT NULL,
    project_id text,
    cost_centre text NOT NULL,
    price_id bigint NOT NULL,
    compute_cost_micros bigint DEFAULT 0 NOT NULL,
    storage_cost_micros bigint DEFAULT 0 NOT NULL,
    data_transfer_cost_micros bigint DEFAULT 0 NOT NULL,
    total_cost_micros bigint GENERATED ALWAYS AS (((compute_cost_micros + storage_cost_micros) + data_transfer_cost_micros)) STORED,
    period_start timestamp with time zone NOT NULL,
    period_end timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    corrects text,
    CONSTRAINT cost_records_period_ck CHECK ((period_end > period_start))
);

CREATE TABLE public.idempotency_keys (
    actor_id text NOT NULL,
    key text NOT NULL,
    request_hash bytea NOT NULL,
    response bytea DEFAULT '\x'::bytea NOT NULL,
    etag text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone NOT NULL
);

CREATE TABLE public.notifications (
    id text NOT NULL,
    dedupe_key text NOT NULL,
    kind text NOT NULL,
    user_id text,
    team_id text,
    payload jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    sent_at timestamp with time zone,
    CONSTRAINT notifications_someone_ck CHECK (((user_id IS NOT NULL) OR (team_id IS NOT NULL)))
);

CREATE TABLE public.organisation (
    singleton boolean DEFAULT true NOT NULL,
    audit_origin text NOT NULL,
    audit_keys_check bytea NOT NULL,
    budget_default text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT organisation_budget_default_ck CHECK ((budget_default = ANY (ARRAY['allow'::text, 'deny'::text]))),
    CONSTRAINT organisation_one_row_ck CHECK (singleton)
);

CREATE TABLE public.price_books (
    id bigint NOT NULL,
    source text NOT NULL,
    hour_rule text NOT NULL,
    effective_from timestamp with time zone NOT NULL,
    imported_at timestamp with time zone NOT NULL,
    CONSTRAINT price_books_hour_rule_ck CHECK ((hour_rule = ANY (ARRAY['session_ceil'::text, 'clock_hour'::text, 'second'::text])))
);

ALTER TABLE public.price_books ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.price_books_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.prices (
    id bigint NOT NULL,
    book_id bigint NOT NULL,
    region text NOT NULL,
    compute_type text NOT NULL,
    operating_system text NOT NULL,
    license text NOT NULL,
    item text NOT NULL,
    unit text NOT NULL,
    amount_micros bigint NOT NULL,
    sku text DEFAULT ''::text NOT NULL,
    CONSTRAINT prices_amount_ck CHECK ((amount_micros >= 0)),
    CONSTRAINT prices_item_ck CHECK ((item = ANY (ARRAY['always_on_month'::text, 'auto_stop_month'::text, 'auto_stop_hour'::text, 'root_gb_month'::text, 'user_gb_month'::text, 'transfer_gb'::text]))),
    CONSTRAINT prices_unit_ck CHECK ((unit = ANY (ARRAY['month'::text, 'hour'::text, 'gb_month'::text, 'gb'::text])))
);

ALTER TABLE public.prices ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.prices_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.projects (
    id text NOT NULL,
    name text NOT NULL,
    team_id text NOT NULL,
    cost_centre text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    deactivated_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    CONSTRAINT projects_name_ck CHECK ((name ~ '^[a-z][a-z0-9-]{0,62}$'::text))
);

CREATE TABLE public.schema_compatibility (
    singleton boolean DEFAULT true NOT NULL,
    oldest_binary bigint NOT NULL,
    CONSTRAINT schema_compatibility_one_row_ck CHECK (singleton)
);

CREATE TABLE public.teams (
    id text NOT NULL,
    name text NOT NULL,
    cost_centre text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    deactivated_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    CONSTRAINT teams_name_ck CHECK ((name ~ '^[a-z][a-z0-9-]{0,62}$'::text))
);

CREATE TABLE public.tokens (
    id text NOT NULL,
    user_id text NOT NULL,
    name text NOT NULL,
    hash bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    last_used_at timestamp with time zone,
    revoked_at timestamp with time zone,
    CONSTRAINT tokens_hash_ck CHECK ((octet_length(hash) = 32))
);

CREATE TABLE public.usage (
    id text NOT NULL,
    workspace_id text NOT NULL,
    kind text NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    closed_at timestamp with time zone,
    price_id bigint NOT NULL,
    rate_micros bigint NOT NULL,
    hour_rule text NOT NULL,
    user_id text NOT NULL,
    team_id text NOT NULL,
    project_id text,
    cost_centre text NOT NULL,
    settled_until timestamp with time zone NOT NULL,
    settled_micros bigint DEFAULT 0 NOT NULL,
    due_at timestamp with time zone,
    CONSTRAINT usage_closed_after_opened_ck CHECK ((closed_at >= opened_at)),
    CONSTRAINT usage_closed_is_settled_ck CHECK (((closed_at IS NULL) OR (due_at IS NULL))),
    CONSTRAINT usage_hour_rule_ck CHECK ((hour_rule = ANY (ARRAY['session_ceil'::text, 'clock_hour'::text, 'second'::text]))),
    CONSTRAINT usage_kind_ck CHECK ((kind = ANY (ARRAY['fixed_month'::text, 'running'::text, 'storage'::text, 'transfer'::text]))),
    CONSTRAINT usage_settled_ck CHECK (((settled_until >= opened_at) AND (settled_micros >= 0)))
);

CREATE TABLE public.user_budgets (
    id text NOT NULL,
    scope text NOT NULL,
    scope_id text NOT NULL,
    amount_micros bigint NOT NULL,
    period text NOT NULL,
    warning_percent integer NOT NULL,
    enforcement text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    CONSTRAINT user_budgets_amount_ck CHECK (((amount_micros >= 0) AND (amount_micros <= '999999999999999999'::bigint))),
    CONSTRAINT user_budgets_enforcement_ck CHECK ((enforcement = ANY (ARRAY['block'::text, 'block_and_stop'::text, 'warn'::text]))),
    CONSTRAINT user_budgets_period_ck CHECK ((period = 'MONTHLY'::text)),
    CONSTRAINT user_budgets_scope_ck CHECK ((scope = ANY (ARRAY['ORGANISATION'::text, 'TEAM'::text, 'PROJECT'::text, 'USER'::text]))),
    CONSTRAINT user_budgets_warning_ck CHECK (((warning_percent >= 1) AND (warning_percent <= 99)))
);

CREATE TABLE public.users (
    id text NOT NULL,
    user_name text NOT NULL,
    display_name text NOT NULL,
    email text NOT NULL,
    team_id text NOT NULL,
    role text NOT NULL,
    credential_expires_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    deactivated_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    CONSTRAINT users_contractor_expires_ck CHECK (((role <> 'contractor'::text) OR (credential_expires_at IS NOT NULL))),
    CONSTRAINT users_role_ck CHECK ((role = ANY (ARRAY['engineer'::text, 'contractor'::text, 'team_lead'::text, 'finance'::text, 'auditor'::text, 'admin'::text]))),
    CONSTRAINT users_user_name_ck CHECK ((user_name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'::text))
);

CREATE TABLE public.workspace_events (
    workspace_id text NOT NULL,
    version bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    actor_id text NOT NULL,
    kind text NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    reason text NOT NULL,
    details jsonb NOT NULL
);

CREATE TABLE public.workspaces (
    id text NOT NULL,
    name text NOT NULL,
    user_id text NOT NULL,
    team_id text NOT NULL,
    project_id text,
    cost_centre text NOT NULL,
    blueprint_version_id text NOT NULL,
    service_type text NOT NULL,
    bundle_type text NOT NULL,
    operating_system text NOT NULL,
    license text NOT NULL,
    running_mode text NOT NULL,
    region text NOT NULL,
    directory_id text NOT NULL,
    directory_user text NOT NULL,
    auto_stop_timeout_minutes integer,
    max_lifetime_days integer,
    tags jsonb NOT NULL,
    desired text NOT NULL,
    state text NOT NULL,
    state_reason text NOT NULL,
    error_code text DEFAULT ''::text NOT NULL,
    error_message text DEFAULT ''::text NOT NULL,
    provider_id text,
    observed_state text DEFAULT ''::text NOT NULL,
    observed_at timestamp with time zone,
    asked text DEFAULT ''::text NOT NULL,
    asked_at timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    missed integer DEFAULT 0 NOT NULL,
    version bigint NOT NULL,
    next_due_at timestamp with time zone,
    lease_until timestamp with time zone,
    lease_token text,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    available_at timestamp with time zone,
    terminated_at timestamp with time zone,
    CONSTRAINT workspaces_asked_ck CHECK ((asked = ANY (ARRAY[''::text, 'create'::text, 'start'::text, 'stop'::text, 'terminate'::text, 'modify'::text]))),
    CONSTRAINT workspaces_auto_stop_ck CHECK ((((running_mode = 'AUTO_STOP'::text) = (auto_stop_timeout_minutes IS NOT NULL)) AND ((auto_stop_timeout_minutes IS NULL) OR ((auto_stop_timeout_minutes > 0) AND ((auto_stop_timeout_minutes % 60) = 0))))),
    CONSTRAINT workspaces_desired_ck CHECK ((desired = ANY (ARRAY['AVAILABLE'::text, 'STOPPED'::text, 'TERMINATED'::text]))),
    CONSTRAINT workspaces_ended_ck CHECK (((state = ANY (ARRAY['TERMINATED'::text, 'FAILED'::text])) = (terminated_at IS NOT NULL))),
    CONSTRAINT workspaces_max_lifetime_ck CHECK (((max_lifetime_days IS NULL) OR ((max_lifetime_days >= 1) AND (max_lifetime_days <= 3650)))),
    CONSTRAINT workspaces_running_mode_ck CHECK ((running_mode = ANY (ARRAY['AUTO_STOP'::text, 'ALWAYS_ON'::text]))),
    CONSTRAINT workspaces_service_type_ck CHECK ((service_type = ANY (ARRAY['WORKSPACES_PERSONAL'::text, 'WORKSPACES_APPLICATIONS'::text]))),
    CONSTRAINT workspaces_state_ck CHECK ((state = ANY (ARRAY['PENDING'::text, 'AVAILABLE'::text, 'STARTING'::text, 'STOPPING'::text, 'STOPPED'::text, 'REBOOTING'::text, 'REBUILDING'::text, 'RESTORING'::text, 'UPDATING'::text, 'IMPAIRED'::text, 'MAINTENANCE'::text, 'SUSPENDED'::text, 'TERMINATING'::text, 'TERMINATED'::text, 'FAILED'::text, 'CONFLICT'::text])))
);

ALTER TABLE ONLY public.audit_logs
    ADD CONSTRAINT audit_logs_pkey PRIMARY KEY ("timestamp", id);

ALTER TABLE ONLY public.audit_personal_data
    ADD CONSTRAINT audit_personal_data_pkey PRIMARY KEY ("timestamp", entry_id);

ALTER TABLE ONLY public.audit_subject_keys
    ADD CONSTRAINT audit_subject_keys_pkey PRIMARY KEY (subject_id, generation);

ALTER TABLE ONLY public.blueprint_versions
    ADD CONSTRAINT blueprint_versions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.blueprints
    ADD CONSTRAINT blueprints_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.budget_entries
    ADD CONSTRAINT budget_entries_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.budget_holds
    ADD CONSTRAINT budget_holds_pkey PRIMARY KEY (workspace_id);

ALTER TABLE ONLY public.budget_periods
    ADD CONSTRAINT budget_periods_pkey PRIMARY KEY (budget_id, period_start);

ALTER TABLE ONLY public.cost_records
    ADD CONSTRAINT cost_records_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (actor_id, key);

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.organisation
    ADD CONSTRAINT organisation_pkey PRIMARY KEY (singleton);

ALTER TABLE ONLY public.price_books
    ADD CONSTRAINT price_books_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.prices
    ADD CONSTRAINT prices_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.schema_compatibility
    ADD CONSTRAINT schema_compatibility_pkey PRIMARY KEY (singleton);

ALTER TABLE ONLY public.teams
    ADD CONSTRAINT teams_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.usage
    ADD CONSTRAINT usage_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.user_budgets
    ADD CONSTRAINT user_budgets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.workspace_events
    ADD CONSTRAINT workspace_events_pkey PRIMARY KEY (workspace_id, version);

ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_pkey PRIMARY KEY (id);

CREATE INDEX audit_logs_action_idx ON ONLY public.audit_logs USING btree (action_type, "timestamp" DESC, id DESC);

CREATE INDEX audit_logs_resource_idx ON ONLY public.audit_logs USING btree (resource_id, "timestamp" DESC, id DESC);

CREATE INDEX audit_logs_resource_type_idx ON ONLY public.audit_logs USING btree (resource_type, "timestamp" DESC, id DESC);

CREATE INDEX audit_logs_user_idx ON ONLY public.audit_logs USING btree (user_id, "timestamp" DESC, id DESC);

CREATE INDEX audit_logs_xid_idx ON ONLY public.audit_logs USING btree (xid);

CREATE UNIQUE INDEX blueprint_versions_number_uq ON public.blueprint_versions USING btree (blueprint_id, number);

CREATE UNIQUE INDEX blueprints_team_name_uq ON public.blueprints USING btree (team_id, name) NULLS NOT DISTINCT;

CREATE UNIQUE INDEX budget_entries_version_uq ON public.budget_entries USING btree (budget_id, period_start, balance_version);

CREATE INDEX budget_holds_project_idx ON public.budget_holds USING btree (project_id) WHERE (project_id IS NOT NULL);

CREATE INDEX budget_holds_team_idx ON public.budget_holds USING btree (team_id);

CREATE INDEX budget_holds_user_idx ON public.budget_holds USING btree (user_id);

CREATE INDEX cost_records_period_end_idx ON public.cost_records USING btree (period_end);

CREATE INDEX cost_records_period_start_idx ON public.cost_records USING btree (period_start);

CREATE INDEX cost_records_recorded_idx ON public.cost_records USING btree (recorded_at);

CREATE UNIQUE INDEX cost_records_slice_uq ON public.cost_records USING btree (usage_id, period_start) WHERE (corrects IS NULL);

CREATE INDEX cost_records_team_idx ON public.cost_records USING btree (team_id, period_start);

CREATE INDEX cost_records_user_idx ON public.cost_records USING btree (user_id, period_start);

CREATE INDEX cost_records_workspace_idx ON public.cost_records USING btree (workspace_id, period_start);

CREATE INDEX idempotency_keys_created_idx ON public.idempotency_keys USING btree (created_at);

CREATE UNIQUE INDEX notifications_dedupe_uq ON public.notifications USING btree (dedupe_key);

CREATE INDEX notifications_unsent_idx ON public.notifications USING btree (created_at) WHERE (sent_at IS NULL);

CREATE INDEX price_books_effective_idx ON public.price_books USING btree (effective_from, id);

CREATE UNIQUE INDEX prices_key_uq ON public.prices USING btree (book_id, region, compute_type, operating_system, license, item);

CREATE UNIQUE INDEX projects_name_uq ON public.projects USING btree (name);

CREATE INDEX projects_team_idx ON public.projects USING btree (team_id, id);

CREATE UNIQUE INDEX teams_name_uq ON public.teams USING btree (name);

CREATE UNIQUE INDEX tokens_hash_uq ON public.tokens USING btree (hash);

CREATE INDEX tokens_user_idx ON public.tokens USING btree (user_id, id);

CREATE INDEX usage_due_idx ON public.usage USING btree (due_at) WHERE (due_at IS NOT NULL);

CREATE UNIQUE INDEX usage_one_open_uq ON public.usage USING btree (workspace_id, kind) WHERE (closed_at IS NULL);

CREATE INDEX usage_workspace_idx ON public.usage USING btree (workspace_id, opened_at);

CREATE UNIQUE INDEX user_budgets_scope_uq ON public.user_budgets USING btree (scope, scope_id);

CREATE UNIQUE INDEX users_email_uq ON public.users USING btree (lower(email));

CREATE INDEX users_team_idx ON public.users USING btree (team_id, id);

CREATE UNIQUE INDEX users_user_name_uq ON public.users USING btree (user_name);

CREATE UNIQUE INDEX workspaces_directory_user_uq ON public.workspaces USING btree (directory_id, directory_user) WHERE (terminated_at IS NULL);

CREATE INDEX workspaces_due_idx ON public.workspaces USING btree (next_due_at) WHERE (next_due_at IS NOT NULL);

CREATE UNIQUE INDEX workspaces_owner_name_uq ON public.workspaces USING btree (user_id, lower(name)) WHERE (terminated_at IS NULL);

CREATE UNIQUE INDEX workspaces_provider_uq ON public.workspaces USING btree (region, provider_id) WHERE (provider_id IS NOT NULL);

CREATE INDEX workspaces_team_idx ON public.workspaces USING btree (team_id, id);

CREATE INDEX workspaces_user_idx ON public.workspaces USING btree (user_id, id);

ALTER TABLE ONLY public.blueprint_versions
    ADD CONSTRAINT blueprint_versions_blueprint_fk FOREIGN KEY (blueprint_id) REFERENCES public.blueprints(id);

ALTER TABLE ONLY public.blueprints
    ADD CONSTRAINT blueprints_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id);

ALTER TABLE ONLY public.budget_entries
    ADD CONSTRAINT budget_entries_period_fk FOREIGN KEY (budget_id, period_start) REFERENCES public.budget_periods(budget_id, period_start);

ALTER TABLE ONLY public.budget_periods
    ADD CONSTRAINT budget_periods_budget_fk FOREIGN KEY (budget_id) REFERENCES public.user_budgets(id);

ALTER TABLE ONLY public.cost_records
    ADD CONSTRAINT cost_records_corrects_fk FOREIGN KEY (corrects) REFERENCES public.cost_records(id);

ALTER TABLE ONLY public.cost_records
    ADD CONSTRAINT cost_records_price_fk FOREIGN KEY (price_id) REFERENCES public.prices(id);

ALTER TABLE ONLY public.cost_records
    ADD CONSTRAINT cost_records_usage_fk FOREIGN KEY (usage_id) REFERENCES public.usage(id);

ALTER TABLE ONLY public.prices
    ADD CONSTRAINT prices_book_fk FOREIGN KEY (book_id) REFERENCES public.price_books(id);

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id);

ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_user_fk FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.usage
    ADD CONSTRAINT usage_price_fk FOREIGN KEY (price_id) REFERENCES public.prices(id);

ALTER TABLE ONLY public.usage
    ADD CONSTRAINT usage_workspace_fk FOREIGN KEY (workspace_id) REFERENCES public.workspaces(id);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id);

ALTER TABLE ONLY public.workspace_events
    ADD CONSTRAINT workspace_events_workspace_fk FOREIGN KEY (workspace_id) REFERENCES public.workspaces(id);

ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_blueprint_version_fk FOREIGN KEY (blueprint_version_id) REFERENCES public.blueprint_versions(id);

ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_project_fk FOREIGN KEY (project_id) REFERENCES public.projects(id);

ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id);

ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_user_fk FOREIGN KEY (user_id) REFERENCES public.users(id);

