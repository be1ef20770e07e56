-- The whole schema of Forge, as it should be. Change it here, then run `forge migrate diff "what changes"`, which writes
-- the migration that brings a database from what the migrations make to this. `make verify` compares the two.
--
-- :"app" is the application's role, named after the database. What tools make for themselves is not here: the table of
-- applied migrations, the schema of the job queue, and the months of the audit log but for one call that makes them.

-- For exclusion constraints over text.
CREATE EXTENSION btree_gist;

-- Which binaries may run on this schema. A server whose newest migration is older than oldest_binary refuses to start.
CREATE TABLE schema_compatibility (
  singleton boolean PRIMARY KEY DEFAULT true,
  oldest_binary bigint NOT NULL,
  CONSTRAINT schema_compatibility_one_row_ck CHECK (singleton)
);

-- The one organisation of this installation.
CREATE TABLE organisation (
  singleton boolean PRIMARY KEY DEFAULT true,
  audit_origin text NOT NULL,
  audit_keys_check bytea NOT NULL,
  budget_default text NOT NULL,
  created_at timestamptz NOT NULL,
  CONSTRAINT organisation_one_row_ck CHECK (singleton),
  CONSTRAINT organisation_budget_default_ck CHECK (budget_default IN ('allow', 'deny'))
);

-- People ------------------------------------------------------------------------------------------------------------

CREATE TABLE teams (
  id text PRIMARY KEY,
  name text NOT NULL,
  cost_centre text NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  deactivated_at timestamptz,
  version bigint NOT NULL DEFAULT 1,
  CONSTRAINT teams_name_ck CHECK (name ~ '^[a-z][a-z0-9-]{0,62}$')
);
CREATE UNIQUE INDEX teams_name_uq ON teams (name);

CREATE TABLE users (
  id text PRIMARY KEY,
  user_name text NOT NULL,
  display_name text NOT NULL,
  email text NOT NULL,
  team_id text NOT NULL,
  role text NOT NULL,
  credential_expires_at timestamptz,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  deactivated_at timestamptz,
  version bigint NOT NULL DEFAULT 1,
  CONSTRAINT users_team_fk FOREIGN KEY (team_id) REFERENCES teams (id),
  CONSTRAINT users_role_ck CHECK (role IN ('engineer', 'contractor', 'team_lead', 'finance', 'auditor', 'admin')),
  CONSTRAINT users_user_name_ck CHECK (user_name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
  CONSTRAINT users_contractor_expires_ck CHECK (role <> 'contractor' OR credential_expires_at IS NOT NULL)
);
CREATE UNIQUE INDEX users_user_name_uq ON users (user_name);
CREATE UNIQUE INDEX users_email_uq ON users (lower(email));
CREATE INDEX users_team_idx ON users (team_id, id);

CREATE TABLE projects (
  id text PRIMARY KEY,
  name text NOT NULL,
  team_id text NOT NULL,
  cost_centre text NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  deactivated_at timestamptz,
  version bigint NOT NULL DEFAULT 1,
  CONSTRAINT projects_team_fk FOREIGN KEY (team_id) REFERENCES teams (id),
  CONSTRAINT projects_name_ck CHECK (name ~ '^[a-z][a-z0-9-]{0,62}$')
);
CREATE UNIQUE INDEX projects_name_uq ON projects (name);
CREATE INDEX projects_team_idx ON projects (team_id, id);

CREATE TABLE tokens (
  id text PRIMARY KEY,
  user_id text NOT NULL,
  name text NOT NULL,
  hash bytea NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  last_used_at timestamptz,
  revoked_at timestamptz,
  CONSTRAINT tokens_user_fk FOREIGN KEY (user_id) REFERENCES users (id),
  CONSTRAINT tokens_hash_ck CHECK (octet_length(hash) = 32)
);
CREATE UNIQUE INDEX tokens_hash_uq ON tokens (hash);
CREATE INDEX tokens_user_idx ON tokens (user_id, id);

-- An answer that was given for a key is given again; written in the transaction of the change it answers.
CREATE TABLE idempotency_keys (
  actor_id text NOT NULL,
  key text NOT NULL,
  request_hash bytea NOT NULL,
  response bytea NOT NULL DEFAULT ''::bytea,
  etag text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL,
  PRIMARY KEY (actor_id, key)
);
CREATE INDEX idempotency_keys_created_idx ON idempotency_keys (created_at);

-- Blueprints --------------------------------------------------------------------------------------------------------

CREATE TABLE blueprints (
  id text PRIMARY KEY,
  team_id text,
  name text NOT NULL,
  description text NOT NULL DEFAULT '',
  owner text NOT NULL DEFAULT '',
  labels jsonb NOT NULL DEFAULT '{}',
  active_version integer NOT NULL, -- that of the latest promotion; 0: none yet
  created_by text NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CONSTRAINT blueprints_team_fk FOREIGN KEY (team_id) REFERENCES teams (id),
  CONSTRAINT blueprints_name_ck CHECK (name ~ '^[a-z][a-z0-9-]{0,62}$')
);
-- NULL is the public team; one name per team, and one public.
CREATE UNIQUE INDEX blueprints_team_name_uq ON blueprints (team_id, name) NULLS NOT DISTINCT;

-- A version is written once: the application has no right to change or delete one, nobody can by mistake, and its digest
-- is that of its bytes.
CREATE TABLE blueprint_versions (
  id text PRIMARY KEY,
  blueprint_id text NOT NULL,
  number integer NOT NULL,
  definition text NOT NULL,
  digest text NOT NULL,
  source jsonb NOT NULL DEFAULT '{}',
  created_by text NOT NULL,
  created_at timestamptz NOT NULL,
  CONSTRAINT blueprint_versions_blueprint_fk FOREIGN KEY (blueprint_id) REFERENCES blueprints (id),
  CONSTRAINT blueprint_versions_number_ck CHECK (number > 0),
  CONSTRAINT blueprint_versions_size_ck CHECK (octet_length(definition) <= 65536),
  CONSTRAINT blueprint_versions_digest_ck CHECK (digest = encode(sha256(convert_to(definition, 'UTF8')), 'hex'))
);
CREATE UNIQUE INDEX blueprint_versions_number_uq ON blueprint_versions (blueprint_id, number);

-- The statuses that a version has had; the one with the highest ordinal is what it is. Each is reached once, if at all.
CREATE TABLE blueprint_statuses (
  version_id text NOT NULL,
  ordinal integer NOT NULL,
  status text NOT NULL,
  reason text NOT NULL DEFAULT '',
  set_by text NOT NULL,
  set_at timestamptz NOT NULL,
  PRIMARY KEY (version_id, ordinal),
  CONSTRAINT blueprint_statuses_version_fk FOREIGN KEY (version_id) REFERENCES blueprint_versions (id),
  CONSTRAINT blueprint_statuses_status_ck CHECK (
    ordinal = CASE status WHEN 'draft' THEN 0 WHEN 'published' THEN 1 WHEN 'deprecated' THEN 2 WHEN 'archived' THEN 3 ELSE -1 END
    AND ordinal >= 0)
);

-- Which version of a blueprint was active from when on. A rollback names the promotion that it takes back.
CREATE TABLE blueprint_promotions (
  blueprint_id text NOT NULL,
  ordinal integer NOT NULL,
  number integer NOT NULL,
  kind text NOT NULL,
  reason text NOT NULL DEFAULT '',
  undoes integer,
  set_by text NOT NULL,
  set_at timestamptz NOT NULL,
  PRIMARY KEY (blueprint_id, ordinal),
  CONSTRAINT blueprint_promotions_version_fk FOREIGN KEY (blueprint_id, number) REFERENCES blueprint_versions (blueprint_id, number),
  CONSTRAINT blueprint_promotions_kind_ck CHECK (kind IN ('promote', 'rollback') AND (kind = 'rollback') = (undoes IS NOT NULL))
);
CREATE UNIQUE INDEX blueprint_promotions_undoes_uq ON blueprint_promotions (blueprint_id, undoes) WHERE undoes IS NOT NULL;

CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  RAISE EXCEPTION 'rows of % are history and never change', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$body$;
CREATE TRIGGER blueprint_versions_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON blueprint_versions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER blueprint_statuses_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON blueprint_statuses FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER blueprint_promotions_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON blueprint_promotions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Images that Forge makes: one of each version's golden WorkSpace, and one copy of each image in each region that needs it.
-- The row is the queue, and its id with the generation is the name at Amazon, by which it is found again.
CREATE TABLE blueprint_images (
  id text PRIMARY KEY,
  kind text NOT NULL,
  version_id text,
  region text NOT NULL,
  source_region text NOT NULL,
  source text NOT NULL, -- Amazon's id of the WorkSpace that it is captured from, or of the image that it is a copy of
  state text NOT NULL,
  generation integer NOT NULL DEFAULT 1,
  image_id text,
  error_code text NOT NULL DEFAULT '',
  error_message text NOT NULL DEFAULT '',
  attempts integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL,
  wanted_at timestamptz NOT NULL,
  asked_at timestamptz,
  begun_at timestamptz,
  ended_at timestamptz,
  next_due_at timestamptz,
  lease_until timestamptz,
  lease_token text,
  CONSTRAINT blueprint_images_version_fk FOREIGN KEY (version_id) REFERENCES blueprint_versions (id),
  CONSTRAINT blueprint_images_kind_ck CHECK (kind IN ('capture', 'copy') AND (kind = 'capture') = (version_id IS NOT NULL)),
  CONSTRAINT blueprint_images_state_ck CHECK (state IN ('WANTED', 'MAKING', 'AVAILABLE', 'FAILED')),
  CONSTRAINT blueprint_images_made_ck CHECK (state <> 'AVAILABLE' OR image_id IS NOT NULL)
);
CREATE UNIQUE INDEX blueprint_images_capture_uq ON blueprint_images (version_id) WHERE kind = 'capture';
CREATE UNIQUE INDEX blueprint_images_copy_uq ON blueprint_images (source, region) WHERE kind = 'copy';
CREATE INDEX blueprint_images_due_idx ON blueprint_images (next_due_at) WHERE next_due_at IS NOT NULL;
-- How long it took lately, for saying how long it will take.
CREATE INDEX blueprint_images_took_idx ON blueprint_images (region, kind, ended_at) INCLUDE (begun_at) WHERE state = 'AVAILABLE';

-- Bundles that Forge makes of images: a cache in every region, under Amazon's quota.
CREATE TABLE aws_bundles (
  id text PRIMARY KEY,
  region text NOT NULL,
  image_id text NOT NULL,
  compute_type text NOT NULL,
  root_gib integer NOT NULL,
  user_gib integer NOT NULL,
  versions text[] NOT NULL, -- that have asked for it
  state text NOT NULL,
  generation integer NOT NULL DEFAULT 1,
  bundle_id text,
  error_code text NOT NULL DEFAULT '',
  error_message text NOT NULL DEFAULT '',
  attempts integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL,
  wanted_at timestamptz NOT NULL,
  asked_at timestamptz,
  begun_at timestamptz,
  ended_at timestamptz,
  last_used_at timestamptz NOT NULL,
  next_due_at timestamptz,
  lease_until timestamptz,
  lease_token text,
  CONSTRAINT aws_bundles_state_ck CHECK (state IN ('WANTED', 'MAKING', 'AVAILABLE', 'FAILED', 'DELETING', 'GONE')),
  CONSTRAINT aws_bundles_made_ck CHECK (state <> 'AVAILABLE' OR bundle_id IS NOT NULL)
);
CREATE UNIQUE INDEX aws_bundles_key_uq ON aws_bundles (region, image_id, compute_type, root_gib, user_gib);
CREATE INDEX aws_bundles_due_idx ON aws_bundles (next_due_at) WHERE next_due_at IS NOT NULL;

-- Who needs a bundle: WorkSpaces that are on it or wait for it. Deleting one waits for this row's lock on it and counts again.
CREATE TABLE aws_bundle_uses (
  workspace_id text NOT NULL,
  bundle text NOT NULL,
  since timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, bundle),
  CONSTRAINT aws_bundle_uses_bundle_fk FOREIGN KEY (bundle) REFERENCES aws_bundles (id)
);
CREATE INDEX aws_bundle_uses_bundle_idx ON aws_bundle_uses (bundle);

-- Prices ------------------------------------------------------------------------------------------------------------

CREATE TABLE price_books (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  source text NOT NULL,
  hour_rule text NOT NULL,
  effective_from timestamptz NOT NULL,
  imported_at timestamptz NOT NULL,
  CONSTRAINT price_books_hour_rule_ck CHECK (hour_rule IN ('session_ceil', 'clock_hour', 'second'))
);
CREATE INDEX price_books_effective_idx ON price_books (effective_from, id);

CREATE TABLE prices (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  book_id bigint NOT NULL,
  region text NOT NULL,
  compute_type text NOT NULL,
  operating_system text NOT NULL,
  license text NOT NULL,
  item text NOT NULL,
  unit text NOT NULL,
  amount_micros bigint NOT NULL,
  sku text NOT NULL DEFAULT '',
  CONSTRAINT prices_book_fk FOREIGN KEY (book_id) REFERENCES price_books (id),
  CONSTRAINT prices_item_ck CHECK (item IN ('always_on_month', 'auto_stop_month', 'auto_stop_hour', 'root_gb_month', 'user_gb_month', 'transfer_gb')),
  CONSTRAINT prices_unit_ck CHECK (unit IN ('month', 'hour', 'gb_month', 'gb')),
  CONSTRAINT prices_amount_ck CHECK (amount_micros >= 0)
);
CREATE UNIQUE INDEX prices_key_uq ON prices (book_id, region, compute_type, operating_system, license, item);

-- WorkSpaces --------------------------------------------------------------------------------------------------------

CREATE TABLE workspaces (
  id text PRIMARY KEY,
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
  root_gib integer,
  user_gib integer,
  bundle_id text, -- the custom bundle that it is made of; NULL: Amazon's public one
  image_since timestamptz, -- since when it waits, or waited, for its image
  auto_stop_timeout_minutes integer,
  max_lifetime_days integer,
  keep_alive boolean NOT NULL DEFAULT false,
  schedule jsonb,
  tags jsonb NOT NULL,
  parameters jsonb NOT NULL DEFAULT '{}',

  desired text NOT NULL,
  wish_reason text NOT NULL DEFAULT 'user',
  state text NOT NULL,
  state_reason text NOT NULL,
  error_code text NOT NULL DEFAULT '',
  error_message text NOT NULL DEFAULT '',

  provider_id text,
  observed_state text NOT NULL DEFAULT '',
  observed_at timestamptz,
  asked text NOT NULL DEFAULT '',
  asked_at timestamptz,
  attempts integer NOT NULL DEFAULT 0,
  missed integer NOT NULL DEFAULT 0,
  replaced integer NOT NULL DEFAULT 0,
  replacing boolean NOT NULL DEFAULT false,
  flag text NOT NULL DEFAULT '',
  unclear boolean NOT NULL DEFAULT false,
  retag boolean NOT NULL DEFAULT false,
  rebooted_at timestamptz,

  change text NOT NULL DEFAULT '',
  change_to text NOT NULL DEFAULT '',
  change_asked_at timestamptz,
  change_begun_at timestamptz,
  enlarged_at timestamptz,
  reduced_at timestamptz,
  grown_at timestamptz,
  migration jsonb,
  migration_asked_at timestamptz,
  target_id text,

  connection text NOT NULL DEFAULT '',
  connection_checked_at timestamptz,
  last_connected_at timestamptz,
  extended_until timestamptz,
  extended_minutes integer,
  stopped_at timestamptz,
  stale_at timestamptz,
  scheduled_through timestamptz,
  notices jsonb NOT NULL DEFAULT '{}',
  rule_due_at timestamptz,
  rule_lease_until timestamptz,

  version bigint NOT NULL,
  next_due_at timestamptz,
  lease_until timestamptz,
  lease_token text,

  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  state_since timestamptz NOT NULL DEFAULT now(),
  first_asked_at timestamptz,
  accepted_at timestamptz,
  available_at timestamptz,
  terminated_at timestamptz,

  CONSTRAINT workspaces_user_fk FOREIGN KEY (user_id) REFERENCES users (id),
  CONSTRAINT workspaces_team_fk FOREIGN KEY (team_id) REFERENCES teams (id),
  CONSTRAINT workspaces_project_fk FOREIGN KEY (project_id) REFERENCES projects (id),
  CONSTRAINT workspaces_blueprint_version_fk FOREIGN KEY (blueprint_version_id) REFERENCES blueprint_versions (id),
  CONSTRAINT workspaces_service_type_ck CHECK (service_type IN ('WORKSPACES_PERSONAL', 'WORKSPACES_APPLICATIONS')),
  CONSTRAINT workspaces_running_mode_ck CHECK (running_mode IN ('AUTO_STOP', 'ALWAYS_ON')),
  CONSTRAINT workspaces_auto_stop_ck CHECK (
    (running_mode = 'AUTO_STOP') = (auto_stop_timeout_minutes IS NOT NULL)
    AND (auto_stop_timeout_minutes IS NULL OR auto_stop_timeout_minutes > 0 AND auto_stop_timeout_minutes % 60 = 0)),
  CONSTRAINT workspaces_max_lifetime_ck CHECK (max_lifetime_days IS NULL OR max_lifetime_days BETWEEN 1 AND 3650),
  CONSTRAINT workspaces_desired_ck CHECK (desired IN ('AVAILABLE', 'STOPPED', 'TERMINATED')),
  CONSTRAINT workspaces_wish_reason_ck CHECK (wish_reason IN ('user', 'idle', 'lifetime', 'stale', 'budget', 'schedule', 'provider', 'upgrade')),
  CONSTRAINT workspaces_asked_ck CHECK (asked IN (
    '', 'create', 'replace', 'start', 'stop', 'terminate', 'modify', 'reboot', 'rebuild', 'restore', 'image', 'migrate')),
  CONSTRAINT workspaces_flag_ck CHECK (flag IN ('', 'STUCK', 'PROTOCOL', 'UNHEALTHY')),
  CONSTRAINT workspaces_change_ck CHECK (change IN ('', 'bundle_type', 'running_mode', 'root_gib', 'user_gib') AND (change = '') = (change_to = '')),
  CONSTRAINT workspaces_migration_ck CHECK (
    (migration_asked_at IS NULL OR migration IS NOT NULL) AND (target_id IS NULL OR migration_asked_at IS NOT NULL)),
  CONSTRAINT workspaces_extended_ck CHECK ((extended_until IS NULL) = (extended_minutes IS NULL)),
  CONSTRAINT workspaces_connection_ck CHECK (connection IN ('', 'CONNECTED', 'DISCONNECTED', 'UNKNOWN')),
  CONSTRAINT workspaces_state_ck CHECK (state IN (
    'PENDING', 'AVAILABLE', 'STARTING', 'STOPPING', 'STOPPED', 'REBOOTING', 'REBUILDING', 'RESTORING', 'UPDATING',
    'IMPAIRED', 'MAINTENANCE', 'SUSPENDED', 'TERMINATING', 'TERMINATED', 'FAILED', 'CONFLICT')),
  CONSTRAINT workspaces_ended_ck CHECK ((state IN ('TERMINATED', 'FAILED')) = (terminated_at IS NOT NULL))
);
-- Amazon's own rule: one WorkSpace per user and directory. What ended does not count.
CREATE UNIQUE INDEX workspaces_directory_user_uq ON workspaces (directory_id, directory_user) WHERE terminated_at IS NULL;
CREATE UNIQUE INDEX workspaces_owner_name_uq ON workspaces (user_id, lower(name)) WHERE terminated_at IS NULL;
CREATE UNIQUE INDEX workspaces_provider_uq ON workspaces (region, provider_id) WHERE provider_id IS NOT NULL;
CREATE UNIQUE INDEX workspaces_target_uq ON workspaces (region, target_id) WHERE target_id IS NOT NULL;
-- What is being migrated, for the limit of a region.
CREATE INDEX workspaces_migrating_idx ON workspaces (region) WHERE migration_asked_at IS NOT NULL;
CREATE INDEX workspaces_user_idx ON workspaces (user_id, id);
CREATE INDEX workspaces_team_idx ON workspaces (team_id, id);
CREATE INDEX workspaces_due_idx ON workspaces (next_due_at) WHERE next_due_at IS NOT NULL;
-- Most rows have ended: a list of what lives must not read its way past them.
CREATE INDEX workspaces_live_idx ON workspaces (id) WHERE terminated_at IS NULL;
CREATE INDEX workspaces_team_live_idx ON workspaces (team_id, id) INCLUDE (state) WHERE terminated_at IS NULL;
CREATE INDEX workspaces_state_idx ON workspaces (state, id) WHERE state <> 'TERMINATED';
CREATE INDEX workspaces_blueprint_version_idx ON workspaces (blueprint_version_id) WHERE terminated_at IS NULL;
-- When a rule about time next has something to do: a notice, a stop, an end. What has nothing ahead is not in it.
CREATE INDEX workspaces_rule_due_idx ON workspaces (rule_due_at) WHERE rule_due_at IS NOT NULL;
-- How long it took lately, for saying how long it will take.
CREATE INDEX workspaces_provisioned_idx ON workspaces (region, available_at) INCLUDE (created_at) WHERE available_at IS NOT NULL;

-- Upgrades of the live WorkSpaces of a blueprint to one of its versions, in batches: a canary, which is batch 0, and then one
-- after the other. Whoever takes the lease of a due one brings it further.
CREATE TABLE blueprint_upgrades (
  id text PRIMARY KEY,
  blueprint_id text NOT NULL,
  version_id text NOT NULL,
  state text NOT NULL,
  reason text NOT NULL DEFAULT '',
  canary_percent integer NOT NULL,
  batch_size integer NOT NULL,
  canary_failures integer NOT NULL,
  batch_failures integer NOT NULL,
  confirmed boolean NOT NULL,
  created_by text NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  resumed_at timestamptz NOT NULL,
  finished_at timestamptz,
  next_due_at timestamptz,
  lease_until timestamptz,
  lease_token text,
  CONSTRAINT blueprint_upgrades_blueprint_fk FOREIGN KEY (blueprint_id) REFERENCES blueprints (id),
  CONSTRAINT blueprint_upgrades_version_fk FOREIGN KEY (version_id) REFERENCES blueprint_versions (id),
  CONSTRAINT blueprint_upgrades_state_ck CHECK (state IN ('RUNNING', 'PAUSED', 'ABORTED', 'DONE')),
  CONSTRAINT blueprint_upgrades_done_ck CHECK ((state = 'DONE') = (finished_at IS NOT NULL)),
  CONSTRAINT blueprint_upgrades_canary_ck CHECK (canary_percent BETWEEN 1 AND 100),
  CONSTRAINT blueprint_upgrades_batch_ck CHECK (batch_size BETWEEN 1 AND 25),
  CONSTRAINT blueprint_upgrades_failures_ck CHECK (canary_failures >= 0 AND batch_failures >= 0)
);
-- One at a time: two would move the same WorkSpaces to and fro.
CREATE UNIQUE INDEX blueprint_upgrades_open_uq ON blueprint_upgrades (blueprint_id) WHERE state IN ('RUNNING', 'PAUSED');
CREATE INDEX blueprint_upgrades_blueprint_idx ON blueprint_upgrades (blueprint_id, id);
CREATE INDEX blueprint_upgrades_due_idx ON blueprint_upgrades (next_due_at) WHERE next_due_at IS NOT NULL;

CREATE TABLE blueprint_upgrade_items (
  upgrade_id text NOT NULL,
  workspace_id text NOT NULL,
  position integer NOT NULL,
  batch integer NOT NULL,
  from_version_id text NOT NULL,
  migrates boolean NOT NULL,
  state text NOT NULL,
  code text NOT NULL DEFAULT '',
  message text NOT NULL DEFAULT '',
  attempts integer NOT NULL DEFAULT 0,
  try_at timestamptz NOT NULL,
  first_tried_at timestamptz,
  begun_at timestamptz,
  finished_at timestamptz,
  PRIMARY KEY (upgrade_id, workspace_id),
  CONSTRAINT blueprint_upgrade_items_upgrade_fk FOREIGN KEY (upgrade_id) REFERENCES blueprint_upgrades (id),
  CONSTRAINT blueprint_upgrade_items_workspace_fk FOREIGN KEY (workspace_id) REFERENCES workspaces (id),
  CONSTRAINT blueprint_upgrade_items_from_fk FOREIGN KEY (from_version_id) REFERENCES blueprint_versions (id),
  CONSTRAINT blueprint_upgrade_items_state_ck CHECK (state IN ('WAITING', 'UNDER_WAY', 'DONE', 'FAILED', 'SKIPPED')),
  CONSTRAINT blueprint_upgrade_items_finished_ck CHECK ((state IN ('DONE', 'FAILED', 'SKIPPED')) = (finished_at IS NOT NULL))
);
CREATE UNIQUE INDEX blueprint_upgrade_items_position_uq ON blueprint_upgrade_items (upgrade_id, position);
CREATE INDEX blueprint_upgrade_items_open_idx ON blueprint_upgrade_items (upgrade_id, position) WHERE state IN ('WAITING', 'UNDER_WAY');
CREATE INDEX blueprint_upgrade_items_workspace_idx ON blueprint_upgrade_items (workspace_id);

-- What does not happen by itself until an admin lets it: every automatic stop or termination, or those of one policy.
CREATE TABLE policy_pauses (
  target text PRIMARY KEY,
  reason text NOT NULL,
  paused_by text NOT NULL,
  paused_at timestamptz NOT NULL,
  until timestamptz,
  CONSTRAINT policy_pauses_target_ck CHECK (target IN ('stops', 'terminations', 'lifetime', 'stale', 'budget', 'schedule', 'idle'))
);

-- The latest look at everything in a directory, and who is at it. What was not seen counts only in one that is complete.
CREATE TABLE drift_sweeps (
  region text NOT NULL,
  directory_id text NOT NULL,
  due_at timestamptz NOT NULL,
  lease_until timestamptz,
  lease_token text,
  begun_at timestamptz,
  ended_at timestamptz,
  complete boolean NOT NULL DEFAULT false,
  error text NOT NULL DEFAULT '',
  pages integer NOT NULL DEFAULT 0,
  seen integer NOT NULL DEFAULT 0,
  completed_at timestamptz,
  tags_after text NOT NULL DEFAULT '', -- the user up to whom tags were checked; the next sweep goes on behind them
  PRIMARY KEY (region, directory_id)
);

-- What Amazon has otherwise than Forge wants it, from when it was first seen to when it was so no more.
CREATE TABLE drift_findings (
  id text PRIMARY KEY,
  region text NOT NULL,
  directory_id text NOT NULL,
  provider_id text NOT NULL,
  workspace_id text,
  kind text NOT NULL,
  first_seen_at timestamptz NOT NULL,
  last_seen_at timestamptz NOT NULL,
  resolved_at timestamptz,
  resolution text NOT NULL DEFAULT '',
  monthly_micros bigint,
  details jsonb NOT NULL DEFAULT '{}',
  CONSTRAINT drift_findings_workspace_fk FOREIGN KEY (workspace_id) REFERENCES workspaces (id),
  CONSTRAINT drift_findings_kind_ck CHECK (kind IN (
    'FOREIGN', 'ORPHAN', 'DUPLICATE', 'LOST_TAGS', 'TERMINATED_OUTSIDE', 'STARTED_OUTSIDE', 'MODE_CHANGED', 'SIZE_CHANGED', 'VOLUMES_CHANGED'))
);
CREATE UNIQUE INDEX drift_findings_open_uq ON drift_findings (region, provider_id, kind) WHERE resolved_at IS NULL;
CREATE INDEX drift_findings_directory_idx ON drift_findings (region, directory_id) WHERE resolved_at IS NULL;
CREATE INDEX drift_findings_workspace_idx ON drift_findings (workspace_id) WHERE workspace_id IS NOT NULL;

-- Where nothing can be made until an operator has acted: a region (directory_id is empty) or one directory of it.
CREATE TABLE provider_holds (
  region text NOT NULL,
  directory_id text NOT NULL,
  code text NOT NULL,
  message text NOT NULL,
  since timestamptz NOT NULL,
  last_at timestamptz NOT NULL,
  next_try_at timestamptz NOT NULL,
  refusals integer NOT NULL,
  CONSTRAINT provider_holds_pk PRIMARY KEY (region, directory_id)
);

-- Whose turn it is to call Amazon: one row for each account and region, for all replicas. Microseconds since 1970.
CREATE TABLE aws_limits (
  account text NOT NULL,
  region text NOT NULL,
  tat_us bigint NOT NULL,
  sweep_tat_us bigint NOT NULL DEFAULT 0,
  pace_us bigint NOT NULL,
  throttled_us bigint NOT NULL DEFAULT 0,
  CONSTRAINT aws_limits_pk PRIMARY KEY (account, region),
  CONSTRAINT aws_limits_pace_ck CHECK (pace_us > 0)
) WITH (fillfactor = 50);

-- What happened to a WorkSpace, numbered without gaps by the version of its row.
CREATE TABLE workspace_events (
  workspace_id text NOT NULL,
  version bigint NOT NULL,
  at timestamptz NOT NULL,
  actor_id text NOT NULL,
  kind text NOT NULL,
  from_state text NOT NULL,
  to_state text NOT NULL,
  reason text NOT NULL,
  details jsonb NOT NULL,
  PRIMARY KEY (workspace_id, version),
  CONSTRAINT workspace_events_workspace_fk FOREIGN KEY (workspace_id) REFERENCES workspaces (id)
);

-- Cost --------------------------------------------------------------------------------------------------------------

-- What a cost is counted under: what it was for and whose it was, as that was then. A row is written once.
CREATE TABLE cost_attributions (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  digest bytea NOT NULL, -- of all that follows: the same is written once
  workspace_id text NOT NULL,
  user_id text NOT NULL,
  team_id text NOT NULL,
  project_id text,
  cost_centre text NOT NULL,
  blueprint_id text NOT NULL,
  blueprint_version_id text NOT NULL,
  bundle_type text NOT NULL,
  region text NOT NULL,
  tags jsonb NOT NULL,
  CONSTRAINT cost_attributions_digest_ck CHECK (octet_length(digest) = 32)
);
CREATE UNIQUE INDEX cost_attributions_digest_uq ON cost_attributions (digest);
CREATE INDEX cost_attributions_workspace_idx ON cost_attributions (workspace_id);
CREATE INDEX cost_attributions_user_idx ON cost_attributions (user_id);
CREATE INDEX cost_attributions_team_idx ON cost_attributions (team_id);
CREATE INDEX cost_attributions_project_idx ON cost_attributions (project_id) WHERE project_id IS NOT NULL;

-- Facts: what ran, from when to when, at which price, for whom.
CREATE TABLE usage (
  id text PRIMARY KEY,
  workspace_id text NOT NULL,
  kind text NOT NULL,
  opened_at timestamptz NOT NULL,
  closed_at timestamptz,
  price_id bigint NOT NULL,
  rate_micros bigint NOT NULL,
  hour_rule text NOT NULL,
  user_id text NOT NULL,
  team_id text NOT NULL,
  project_id text,
  cost_centre text NOT NULL,
  settled_until timestamptz NOT NULL,
  settled_micros bigint NOT NULL DEFAULT 0,
  due_at timestamptz,
  attribution_id bigint NOT NULL,
  root_gib integer NOT NULL DEFAULT 0, -- the volumes that a fee for volumes was sold for
  user_gib integer NOT NULL DEFAULT 0,
  CONSTRAINT usage_workspace_fk FOREIGN KEY (workspace_id) REFERENCES workspaces (id),
  CONSTRAINT usage_price_fk FOREIGN KEY (price_id) REFERENCES prices (id),
  CONSTRAINT usage_attribution_fk FOREIGN KEY (attribution_id) REFERENCES cost_attributions (id),
  CONSTRAINT usage_kind_ck CHECK (kind IN ('fixed_month', 'running', 'storage', 'transfer')),
  CONSTRAINT usage_hour_rule_ck CHECK (hour_rule IN ('session_ceil', 'clock_hour', 'second')),
  CONSTRAINT usage_closed_after_opened_ck CHECK (closed_at >= opened_at),
  CONSTRAINT usage_settled_ck CHECK (settled_until >= opened_at AND settled_micros >= 0),
  CONSTRAINT usage_closed_is_settled_ck CHECK (closed_at IS NULL OR due_at IS NULL)
);
CREATE UNIQUE INDEX usage_one_open_uq ON usage (workspace_id, kind) WHERE closed_at IS NULL;
CREATE INDEX usage_workspace_idx ON usage (workspace_id, opened_at);
CREATE INDEX usage_due_idx ON usage (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX usage_open_user_idx ON usage (user_id) WHERE closed_at IS NULL;
CREATE INDEX usage_open_team_idx ON usage (team_id) WHERE closed_at IS NULL;

CREATE TABLE cost_records (
  id text PRIMARY KEY,
  usage_id text NOT NULL,
  workspace_id text NOT NULL,
  user_id text NOT NULL,
  team_id text NOT NULL,
  project_id text,
  cost_centre text NOT NULL,
  price_id bigint NOT NULL,
  compute_cost_micros bigint NOT NULL DEFAULT 0,
  storage_cost_micros bigint NOT NULL DEFAULT 0,
  data_transfer_cost_micros bigint NOT NULL DEFAULT 0,
  total_cost_micros bigint GENERATED ALWAYS AS (compute_cost_micros + storage_cost_micros + data_transfer_cost_micros) STORED,
  period_start timestamptz NOT NULL,
  period_end timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL,
  corrects text,
  attribution_id bigint NOT NULL,
  CONSTRAINT cost_records_usage_fk FOREIGN KEY (usage_id) REFERENCES usage (id),
  CONSTRAINT cost_records_price_fk FOREIGN KEY (price_id) REFERENCES prices (id),
  CONSTRAINT cost_records_corrects_fk FOREIGN KEY (corrects) REFERENCES cost_records (id),
  CONSTRAINT cost_records_attribution_fk FOREIGN KEY (attribution_id) REFERENCES cost_attributions (id),
  CONSTRAINT cost_records_period_ck CHECK (period_end > period_start)
);
CREATE UNIQUE INDEX cost_records_slice_uq ON cost_records (usage_id, period_start) WHERE corrects IS NULL;
CREATE INDEX cost_records_workspace_idx ON cost_records (workspace_id, period_start);
CREATE INDEX cost_records_user_idx ON cost_records (user_id, period_start);
CREATE INDEX cost_records_team_idx ON cost_records (team_id, period_start);
CREATE INDEX cost_records_project_idx ON cost_records (project_id, period_start) WHERE project_id IS NOT NULL;
CREATE INDEX cost_records_period_start_idx ON cost_records (period_start);
CREATE INDEX cost_records_period_end_idx ON cost_records (period_end);
CREATE INDEX cost_records_recorded_idx ON cost_records (recorded_at);

-- The records by the hour (UTC) in which their period begins and by attribution. Who adds to a row adds to the one of the
-- shard that he has to himself, so that simultaneous settlements do not wait for each other.
CREATE TABLE cost_hours (
  attribution_id bigint NOT NULL,
  hour timestamptz NOT NULL,
  shard smallint NOT NULL,
  compute_micros bigint NOT NULL,
  storage_micros bigint NOT NULL,
  transfer_micros bigint NOT NULL,
  PRIMARY KEY (attribution_id, hour, shard)
) WITH (fillfactor = 90);
CREATE INDEX cost_hours_hour_idx ON cost_hours (hour);

-- The same by the day (UTC) and one thing only, such as the team. A record is counted once under each thing that it has.
CREATE TABLE cost_days (
  dimension text NOT NULL,
  key text NOT NULL,
  day timestamptz NOT NULL,
  shard smallint NOT NULL,
  compute_micros bigint NOT NULL,
  storage_micros bigint NOT NULL,
  transfer_micros bigint NOT NULL,
  PRIMARY KEY (dimension, key, day, shard)
) WITH (fillfactor = 70);
CREATE INDEX cost_days_day_idx ON cost_days (dimension, day);

-- Months whose report is final (internal/report). They are closed one after the other, from the first that cost anything.
CREATE TABLE cost_months (
  month timestamptz PRIMARY KEY,
  closed_at timestamptz NOT NULL,
  closed_by text NOT NULL,
  records bigint NOT NULL,
  last_record text NOT NULL, -- the newest that it covers, '' if it has none
  total_micros bigint NOT NULL,
  content_hash bytea NOT NULL, -- SHA-256 of the report as JSON
  CONSTRAINT cost_months_month_ck CHECK (month = date_trunc('month', month, 'UTC')),
  CONSTRAINT cost_months_content_hash_ck CHECK (octet_length(content_hash) = 32)
);

-- What things that a closed month's report names were called when it was closed, and their ids at Amazon.
CREATE TABLE cost_month_names (
  month timestamptz NOT NULL,
  id text NOT NULL,
  name text NOT NULL,
  provider_id text NOT NULL,
  PRIMARY KEY (month, id)
);

-- Records that were written for a month after it was closed, and the month in whose report they are instead. So every record
-- is in the report of one month, and a closed one never changes.
CREATE TABLE cost_late_records (
  record_id text PRIMARY KEY,
  reported_in timestamptz NOT NULL,
  CONSTRAINT cost_late_records_record_fk FOREIGN KEY (record_id) REFERENCES cost_records (id)
);
CREATE INDEX cost_late_records_reported_idx ON cost_late_records (reported_in);

CREATE TRIGGER cost_months_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON cost_months FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER cost_month_names_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON cost_month_names FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER cost_late_records_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON cost_late_records FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Whoever writes a record shares the lock of its month until the commit, and whoever closes the month has it to himself:
-- either the report sees the record, or the writer sees that the month is closed. 1836019316 is "mont" in ASCII.
CREATE FUNCTION note_late_records() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $body$
DECLARE
  m timestamptz;
  closed timestamptz;
  goes_to timestamptz;
BEGIN
  FOR m IN SELECT DISTINCT date_trunc('month', period_start) FROM inserted ORDER BY 1 LOOP
    PERFORM pg_advisory_xact_lock_shared(1836019316, (extract(year FROM m) * 12 + extract(month FROM m))::integer);
    SELECT max(month) INTO closed FROM cost_months;
    CONTINUE WHEN closed IS NULL OR m > closed;
    LOOP
      goes_to := closed + interval '1 month';
      PERFORM pg_advisory_xact_lock_shared(1836019316, (extract(year FROM goes_to) * 12 + extract(month FROM goes_to))::integer);
      SELECT max(month) INTO closed FROM cost_months;
      EXIT WHEN closed < goes_to;
    END LOOP;
    INSERT INTO cost_late_records (record_id, reported_in)
    SELECT id, goes_to FROM inserted WHERE date_trunc('month', period_start) = m;
  END LOOP;
  RETURN NULL;
END
$body$;
CREATE TRIGGER cost_records_late AFTER INSERT ON cost_records REFERENCING NEW TABLE AS inserted
FOR EACH STATEMENT EXECUTE FUNCTION note_late_records();

-- Budgets -----------------------------------------------------------------------------------------------------------

-- What everybody of a role or a team has who has no budget of their own. NULL is any; the one that says most counts.
CREATE TABLE budget_templates (
  id text PRIMARY KEY,
  role text,
  team_id text,
  amount_micros bigint NOT NULL,
  period text NOT NULL,
  warning_percents integer[] NOT NULL,
  enforcement text NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  ended_at timestamptz,
  version bigint NOT NULL DEFAULT 1,
  CONSTRAINT budget_templates_team_fk FOREIGN KEY (team_id) REFERENCES teams (id),
  CONSTRAINT budget_templates_role_ck CHECK (role IN ('engineer', 'contractor', 'team_lead', 'finance', 'auditor', 'admin')),
  CONSTRAINT budget_templates_amount_ck CHECK (amount_micros BETWEEN 0 AND 999999999999999999),
  CONSTRAINT budget_templates_period_ck CHECK (period IN ('MONTHLY', 'QUARTERLY', 'YEARLY')),
  CONSTRAINT budget_templates_warning_ck CHECK (cardinality(warning_percents) BETWEEN 1 AND 10 AND 0 < ALL (warning_percents) AND 100 > ALL (warning_percents)),
  CONSTRAINT budget_templates_enforcement_ck CHECK (enforcement IN ('block', 'block_and_stop', 'warn'))
);
CREATE UNIQUE INDEX budget_templates_for_uq ON budget_templates (coalesce(role, ''), coalesce(team_id, '')) WHERE ended_at IS NULL;

-- What is to be spent per period. A budget counts for the whole months (UTC) from valid_from up to valid_until, and no two
-- of a scope count in the same.
CREATE TABLE user_budgets (
  id text PRIMARY KEY,
  scope text NOT NULL,
  scope_id text NOT NULL,
  amount_micros bigint NOT NULL,
  lent_micros bigint NOT NULL DEFAULT 0, -- the sum of its loans: the limit is both together
  period text NOT NULL,
  valid_from timestamptz NOT NULL,
  valid_until timestamptz NOT NULL DEFAULT 'infinity',
  closed_at timestamptz, -- since when nothing is reserved under it any more
  warning_percents integer[] NOT NULL,
  enforcement text NOT NULL,
  template_id text, -- whose amount it follows
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  version bigint NOT NULL DEFAULT 1,
  CONSTRAINT user_budgets_template_fk FOREIGN KEY (template_id) REFERENCES budget_templates (id),
  CONSTRAINT user_budgets_scope_ck CHECK (scope IN ('ORGANISATION', 'TEAM', 'PROJECT', 'USER')),
  CONSTRAINT user_budgets_amount_ck CHECK (amount_micros BETWEEN 0 AND 999999999999999999),
  CONSTRAINT user_budgets_lent_ck CHECK (lent_micros >= 0 AND amount_micros + lent_micros <= 999999999999999999),
  CONSTRAINT user_budgets_period_ck CHECK (period IN ('MONTHLY', 'QUARTERLY', 'YEARLY', 'CUSTOM')),
  CONSTRAINT user_budgets_custom_ck CHECK (period <> 'CUSTOM' OR isfinite(valid_until)),
  CONSTRAINT user_budgets_valid_ck CHECK (valid_until >= valid_from),
  CONSTRAINT user_budgets_closed_ck CHECK (closed_at IS NULL OR isfinite(valid_until)),
  CONSTRAINT user_budgets_warning_ck CHECK (cardinality(warning_percents) BETWEEN 1 AND 10 AND 0 < ALL (warning_percents) AND 100 > ALL (warning_percents)),
  CONSTRAINT user_budgets_enforcement_ck CHECK (enforcement IN ('block', 'block_and_stop', 'warn')),
  CONSTRAINT user_budgets_one_at_a_time_ex EXCLUDE USING gist ((scope || ':' || scope_id) WITH =, tstzrange(valid_from, valid_until) WITH &&)
);
CREATE INDEX user_budgets_scope_idx ON user_budgets (scope_id, scope, valid_until);
CREATE INDEX user_budgets_open_idx ON user_budgets (valid_until) WHERE closed_at IS NULL;
CREATE INDEX user_budgets_template_idx ON user_budgets (template_id) WHERE template_id IS NOT NULL;

-- The balance of one budget in one period. The database itself refuses a commit beyond the limit: only an outside
-- cause, written down as overrun, can pass it.
CREATE TABLE budget_periods (
  budget_id text NOT NULL,
  period_start timestamptz NOT NULL,
  period_end timestamptz NOT NULL,
  limit_micros bigint NOT NULL,
  settled_micros bigint NOT NULL DEFAULT 0,
  held_micros bigint NOT NULL DEFAULT 0,
  overrun_micros bigint NOT NULL DEFAULT 0,
  warned_at timestamptz,
  warned_percent integer NOT NULL DEFAULT 0, -- the highest threshold that was told
  exhausted_at timestamptz,
  foretold_percent integer NOT NULL DEFAULT 0, -- the highest threshold of which it was told when it may be reached
  shortfall_at timestamptz, -- when it was told that there is no room for the fees of the month that follows
  version bigint NOT NULL DEFAULT 1,
  PRIMARY KEY (budget_id, period_start),
  CONSTRAINT budget_periods_budget_fk FOREIGN KEY (budget_id) REFERENCES user_budgets (id),
  CONSTRAINT budget_periods_range_ck CHECK (period_end > period_start),
  CONSTRAINT budget_periods_positive_ck CHECK (held_micros >= 0 AND overrun_micros >= 0 AND limit_micros >= 0),
  CONSTRAINT budget_periods_not_overspent_ck CHECK (settled_micros + held_micros <= limit_micros + overrun_micros)
);

-- What one WorkSpace keeps reserved in every budget that it touches.
CREATE TABLE budget_holds (
  workspace_id text PRIMARY KEY,
  user_id text NOT NULL,
  team_id text NOT NULL,
  project_id text,
  fixed_micros bigint NOT NULL,
  lease_micros bigint NOT NULL,
  lease_target_micros bigint NOT NULL,
  held_at timestamptz NOT NULL,
  renewal_refused_at timestamptz,
  stop_at timestamptz,
  CONSTRAINT budget_holds_positive_ck CHECK (fixed_micros >= 0 AND lease_micros >= 0 AND lease_target_micros >= 0)
);
-- What runs on a lease that a budget with block_and_stop has not renewed.
CREATE INDEX budget_holds_stop_idx ON budget_holds (stop_at) WHERE stop_at IS NOT NULL;
CREATE INDEX budget_holds_user_idx ON budget_holds (user_id);
CREATE INDEX budget_holds_team_idx ON budget_holds (team_id);
CREATE INDEX budget_holds_project_idx ON budget_holds (project_id) WHERE project_id IS NOT NULL;

-- Every movement; balances can be rebuilt from these.
CREATE TABLE budget_entries (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  budget_id text NOT NULL,
  period_start timestamptz NOT NULL,
  balance_version bigint NOT NULL,
  at timestamptz NOT NULL,
  kind text NOT NULL,
  workspace_id text,
  limit_delta_micros bigint NOT NULL DEFAULT 0,
  settled_delta_micros bigint NOT NULL DEFAULT 0,
  held_delta_micros bigint NOT NULL DEFAULT 0,
  overrun_delta_micros bigint NOT NULL DEFAULT 0,
  reason text NOT NULL DEFAULT '',
  CONSTRAINT budget_entries_period_fk FOREIGN KEY (budget_id, period_start) REFERENCES budget_periods (budget_id, period_start),
  CONSTRAINT budget_entries_kind_ck CHECK (kind IN ('open', 'limit', 'hold', 'renew', 'resize', 'release', 'charge', 'carry'))
);
CREATE UNIQUE INDEX budget_entries_version_uq ON budget_entries (budget_id, period_start, balance_version);
CREATE INDEX budget_entries_budget_idx ON budget_entries (budget_id, id);

-- Who asked for more, and what became of it. A request with an end is a loan: LENT until then, RETURNED afterwards.
CREATE TABLE budget_requests (
  id text PRIMARY KEY,
  budget_id text NOT NULL,
  asked_by text NOT NULL,
  team_id text,
  asked_micros bigint NOT NULL,
  asked_until timestamptz,
  reason text NOT NULL,
  state text NOT NULL DEFAULT 'PENDING',
  granted_micros bigint,
  until timestamptz,
  decided_by text,
  decided_at timestamptz,
  note text NOT NULL DEFAULT '',
  returned_at timestamptz,
  created_at timestamptz NOT NULL,
  CONSTRAINT budget_requests_budget_fk FOREIGN KEY (budget_id) REFERENCES user_budgets (id),
  CONSTRAINT budget_requests_asked_by_fk FOREIGN KEY (asked_by) REFERENCES users (id),
  CONSTRAINT budget_requests_state_ck CHECK (state IN ('PENDING', 'APPROVED', 'LENT', 'RETURNED', 'DECLINED', 'WITHDRAWN', 'EXPIRED')),
  CONSTRAINT budget_requests_amount_ck CHECK (asked_micros > 0 AND granted_micros > 0),
  CONSTRAINT budget_requests_granted_ck CHECK ((state IN ('APPROVED', 'LENT', 'RETURNED')) = (granted_micros IS NOT NULL)),
  CONSTRAINT budget_requests_loan_ck CHECK (state NOT IN ('LENT', 'RETURNED') OR until IS NOT NULL),
  CONSTRAINT budget_requests_returned_ck CHECK ((state = 'RETURNED') = (returned_at IS NOT NULL)),
  CONSTRAINT budget_requests_decided_ck CHECK ((state IN ('PENDING', 'WITHDRAWN', 'EXPIRED')) = (decided_by IS NULL) AND (decided_by IS NULL) = (decided_at IS NULL)),
  CONSTRAINT budget_requests_not_own_ck CHECK (decided_by <> asked_by)
);
CREATE UNIQUE INDEX budget_requests_pending_uq ON budget_requests (budget_id, asked_by) WHERE state = 'PENDING';
CREATE INDEX budget_requests_budget_idx ON budget_requests (budget_id, id);
CREATE INDEX budget_requests_asked_by_idx ON budget_requests (asked_by, id);
CREATE INDEX budget_requests_team_idx ON budget_requests (team_id, id);
CREATE INDEX budget_requests_state_idx ON budget_requests (state, id);
CREATE INDEX budget_requests_loan_idx ON budget_requests (until) WHERE state = 'LENT';
CREATE INDEX budget_requests_expiry_idx ON budget_requests (asked_until) WHERE state = 'PENDING' AND asked_until IS NOT NULL;

-- What a budget was from when on, and who made it so.
CREATE TABLE budget_versions (
  budget_id text NOT NULL,
  version bigint NOT NULL,
  at timestamptz NOT NULL,
  set_by text NOT NULL,
  cause text NOT NULL,
  request_id text,
  amount_micros bigint NOT NULL,
  lent_micros bigint NOT NULL,
  period text NOT NULL,
  valid_from timestamptz NOT NULL,
  valid_until timestamptz NOT NULL,
  warning_percents integer[] NOT NULL,
  enforcement text NOT NULL,
  PRIMARY KEY (budget_id, version),
  CONSTRAINT budget_versions_budget_fk FOREIGN KEY (budget_id) REFERENCES user_budgets (id),
  CONSTRAINT budget_versions_cause_ck CHECK (cause IN ('set', 'request', 'loan', 'loan_ended', 'template', 'ended'))
);

-- Messages to people ------------------------------------------------------------------------------------------------

CREATE TABLE notifications (
  id text PRIMARY KEY,
  dedupe_key text NOT NULL,
  event_key text, -- of what several messages tell; none: only this one does
  kind text NOT NULL,
  user_id text,
  team_id text,
  payload jsonb NOT NULL,
  created_at timestamptz NOT NULL,
  sent_at timestamptz, -- when its deliveries were written
  CONSTRAINT notifications_someone_ck CHECK (user_id IS NOT NULL OR team_id IS NOT NULL)
);
CREATE UNIQUE INDEX notifications_dedupe_uq ON notifications (dedupe_key);
CREATE INDEX notifications_unsent_idx ON notifications (created_at) WHERE sent_at IS NULL;

-- A message on its way over one channel. The target is the user of an e-mail, the team of a channel of its own, or empty
-- for the organisation's. To one target they go one after the other, by number.
CREATE TABLE notification_deliveries (
  id text PRIMARY KEY,
  number bigint GENERATED ALWAYS AS IDENTITY,
  notification_id text NOT NULL,
  event_key text NOT NULL,
  channel text NOT NULL,
  target text NOT NULL,
  state text NOT NULL DEFAULT 'WAITING',
  attempts integer NOT NULL DEFAULT 0,
  due_at timestamptz NOT NULL,
  give_up_at timestamptz NOT NULL,
  lease_until timestamptz,
  lease_token text,
  last_error text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL,
  ended_at timestamptz,
  CONSTRAINT notification_deliveries_notification_fk FOREIGN KEY (notification_id) REFERENCES notifications (id),
  CONSTRAINT notification_deliveries_channel_ck CHECK (channel IN ('email', 'webhook', 'slack')),
  CONSTRAINT notification_deliveries_state_ck CHECK (state IN ('WAITING', 'SENT', 'DEAD')),
  CONSTRAINT notification_deliveries_ended_ck CHECK ((state = 'WAITING') = (ended_at IS NULL))
);
-- One event is told once over each channel to each target, though several messages tell of it.
CREATE UNIQUE INDEX notification_deliveries_event_uq ON notification_deliveries (event_key, channel, target);
CREATE UNIQUE INDEX notification_deliveries_number_uq ON notification_deliveries (number);
CREATE INDEX notification_deliveries_notification_idx ON notification_deliveries (notification_id);
CREATE INDEX notification_deliveries_waiting_idx ON notification_deliveries (channel, target, number) WHERE state = 'WAITING';
CREATE INDEX notification_deliveries_due_idx ON notification_deliveries (due_at, number) WHERE state = 'WAITING';
CREATE INDEX notification_deliveries_dead_idx ON notification_deliveries (number) WHERE state = 'DEAD';

-- Audit -------------------------------------------------------------------------------------------------------------

CREATE SCHEMA audit_parts;

-- leaf is the evidence; the other columns are a checked copy for searching. source_ip and user_agent are personal data:
-- the leaf has only salted commitments to them, so that erasing them leaves the evidence whole.
CREATE TABLE audit_logs (
  timestamp timestamptz NOT NULL,
  id uuid NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
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
  PRIMARY KEY (timestamp, id),
  CONSTRAINT audit_logs_finite_ck CHECK (isfinite(timestamp)),
  CONSTRAINT audit_logs_leaf_size_ck CHECK (octet_length(leaf) BETWEEN 2 AND 65535),
  CONSTRAINT audit_logs_mac_size_ck CHECK (octet_length(mac) = 32),
  CONSTRAINT audit_logs_result_ck CHECK (result IN ('success', 'refused', 'failed'))
) PARTITION BY RANGE (timestamp);
CREATE INDEX audit_logs_xid_idx ON audit_logs (xid);
CREATE INDEX audit_logs_user_idx ON audit_logs (user_id, timestamp DESC, id DESC);
CREATE INDEX audit_logs_action_idx ON audit_logs (action_type, timestamp DESC, id DESC);
CREATE INDEX audit_logs_resource_idx ON audit_logs (resource_id, timestamp DESC, id DESC);
CREATE INDEX audit_logs_resource_type_idx ON audit_logs (resource_type, resource_id, timestamp DESC, id DESC);
CREATE INDEX audit_logs_result_idx ON audit_logs (result, timestamp DESC, id DESC) WHERE result <> 'success';
CREATE INDEX audit_logs_address_idx ON audit_logs (source_ip, timestamp DESC, id DESC) WHERE source_ip IS NOT NULL;
CREATE INDEX audit_logs_interface_idx ON audit_logs (interface, timestamp DESC, id DESC) WHERE interface NOT IN ('api', 'cli', 'worker');

-- Personal data of an entry, sealed under a key of its subject: destroying the key erases it.
CREATE TABLE audit_subject_keys (
  subject_id text NOT NULL,
  generation integer NOT NULL,
  wrapped_key bytea NOT NULL,
  created_at timestamptz NOT NULL,
  erased_at timestamptz,
  PRIMARY KEY (subject_id, generation)
);
CREATE TABLE audit_personal_data (
  entry_id uuid NOT NULL,
  timestamp timestamptz NOT NULL,
  subject_id text NOT NULL,
  key_generation integer NOT NULL,
  sealed bytea NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (timestamp, entry_id)
) PARTITION BY RANGE (timestamp);

-- The tree over the entries (RFC 6962), and where each entry is in it. Only its edge changes: everything below is written
-- once. edges are the tiles that are not full yet, from the leaves up; tail_ids and tail_timestamps are the entries of
-- the lowest one. snapshot is which transactions the tree has; while a long window is worked through, pending is what
-- it will have then and cursor_ is how far that is. Who leads holds the lease; who changes the row names its epoch.
CREATE TABLE audit_tree (
  singleton boolean PRIMARY KEY DEFAULT true,
  origin text NOT NULL,
  size bigint NOT NULL,
  edges bytea[] NOT NULL,
  tail_ids uuid[] NOT NULL,
  tail_timestamps timestamptz[] NOT NULL,
  snapshot pg_snapshot NOT NULL,
  pending pg_snapshot,
  cursor_xid xid8,
  cursor_timestamp timestamptz,
  cursor_id uuid,
  recheck_until timestamptz NOT NULL,
  cluster text NOT NULL,
  epoch bigint NOT NULL,
  leader text NOT NULL,
  leader_pid integer NOT NULL,
  lease_until timestamptz NOT NULL,
  CONSTRAINT audit_tree_one_row_ck CHECK (singleton),
  CONSTRAINT audit_tree_tail_ck CHECK (cardinality(tail_ids) = size % 256 AND cardinality(tail_timestamps) = size % 256),
  CONSTRAINT audit_tree_cursor_ck CHECK ((cursor_xid IS NULL) = (cursor_timestamp IS NULL) AND (cursor_xid IS NULL) = (cursor_id IS NULL) AND (cursor_xid IS NULL OR pending IS NOT NULL))
);
-- Which entries have the places n*256 up to n*256+255.
CREATE TABLE audit_bundles (
  n bigint PRIMARY KEY,
  ids uuid[] NOT NULL,
  timestamps timestamptz[] NOT NULL,
  first_timestamp timestamptz NOT NULL,
  last_timestamp timestamptz NOT NULL,
  CONSTRAINT audit_bundles_full_ck CHECK (cardinality(ids) = 256 AND cardinality(timestamps) = 256)
);
CREATE INDEX audit_bundles_time_idx ON audit_bundles USING gist (tstzrange(first_timestamp, last_timestamp, '[]'::text));
CREATE TABLE audit_tiles (
  level smallint NOT NULL,
  n bigint NOT NULL,
  hashes bytea NOT NULL,
  PRIMARY KEY (level, n),
  CONSTRAINT audit_tiles_full_ck CHECK (octet_length(hashes) = 8192)
);
-- What was signed: the key is why one size never has two roots.
CREATE TABLE audit_checkpoints (
  size bigint PRIMARY KEY,
  root bytea NOT NULL,
  note text NOT NULL,
  signed_at timestamptz NOT NULL,
  CONSTRAINT audit_checkpoints_root_ck CHECK (octet_length(root) = 32)
);

-- What witnesses signed: each that a checkpoint follows from those that it saw before.
CREATE TABLE audit_cosignatures (
  size bigint NOT NULL,
  witness text NOT NULL,
  line text NOT NULL,
  cosigned_at timestamptz NOT NULL,
  PRIMARY KEY (witness, size),
  CONSTRAINT audit_cosignatures_checkpoint_fk FOREIGN KEY (size) REFERENCES audit_checkpoints (size)
);
CREATE INDEX audit_cosignatures_size_idx ON audit_cosignatures (size);

-- Entries that the tree refused: not written by a Forge of this installation, or changed since.
CREATE TABLE audit_quarantine (
  timestamp timestamptz NOT NULL,
  id uuid NOT NULL,
  reason text NOT NULL,
  found_at timestamptz NOT NULL,
  PRIMARY KEY (timestamp, id)
);

-- How far each month of the log is on its way out of the database. No row is a month that is open. The files are in the
-- store; objects are their versions there. keep_until is until when a month that was brought back stays.
CREATE TABLE audit_archives (
  month timestamptz PRIMARY KEY,
  state text NOT NULL,
  entries bigint NOT NULL,
  size bigint NOT NULL,
  store text,
  manifest text,
  manifest_sha256 text,
  objects jsonb,
  locked_until timestamptz,
  sealed_at timestamptz NOT NULL,
  exported_at timestamptz,
  verified_at timestamptz,
  detached_at timestamptz,
  dropped_at timestamptz,
  restored_at timestamptz,
  keep_until timestamptz,
  CONSTRAINT audit_archives_month_ck CHECK (month = date_trunc('month', month AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'),
  CONSTRAINT audit_archives_state_ck CHECK (state IN ('sealed', 'exported', 'verified', 'detached', 'dropped')),
  CONSTRAINT audit_archives_exported_ck CHECK (state = 'sealed' OR manifest IS NOT NULL AND manifest_sha256 IS NOT NULL AND objects IS NOT NULL AND locked_until IS NOT NULL AND exported_at IS NOT NULL),
  CONSTRAINT audit_archives_verified_ck CHECK (state IN ('sealed', 'exported') OR verified_at IS NOT NULL)
);
-- Months, the last one included, that nobody may drop whatever their age.
CREATE TABLE audit_holds (
  id text PRIMARY KEY,
  first_month timestamptz NOT NULL,
  last_month timestamptz NOT NULL,
  reason text NOT NULL,
  placed_at timestamptz NOT NULL,
  placed_by text NOT NULL,
  released_at timestamptz,
  released_by text,
  CONSTRAINT audit_holds_order_ck CHECK (first_month <= last_month),
  CONSTRAINT audit_holds_released_ck CHECK ((released_at IS NULL) = (released_by IS NULL))
);

-- The tables that have entries and what is known of persons: the log's, and those of detached months.
CREATE FUNCTION audit_entry_tables(OUT entries text, OUT personal text) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $body$
  SELECT 'public.audit_logs', 'public.audit_personal_data'
  UNION ALL
  SELECT 'audit_parts.audit_logs' || s.suffix, 'audit_parts.audit_personal_data' || s.suffix
  FROM (SELECT to_char(month, '_YYYY_MM') AS suffix FROM audit_archives WHERE state = 'detached') s
  WHERE to_regclass('audit_parts.audit_logs' || s.suffix) IS NOT NULL AND to_regclass('audit_parts.audit_personal_data' || s.suffix) IS NOT NULL
$body$;

-- Takes what stands in clear beside personal data whose key was erased, in detached months as well, and returns how many
-- entries had any.
CREATE FUNCTION audit_erase_clear(subject text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $body$
DECLARE
  t record;
  n bigint;
  total bigint := 0;
BEGIN
  FOR t IN SELECT * FROM audit_entry_tables() LOOP
    EXECUTE format('
      UPDATE %s a
      SET source_ip = NULL, user_agent = NULL
      FROM %s d
      JOIN public.audit_subject_keys k ON k.subject_id = d.subject_id AND k.generation = d.key_generation AND k.erased_at IS NOT NULL
      WHERE a.user_id = $1 AND (a.source_ip IS NOT NULL OR a.user_agent IS NOT NULL)
        AND d.timestamp = a.timestamp AND d.entry_id = a.id AND d.subject_id = $1', t.entries, t.personal) USING subject;
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;
  END LOOP;
  RETURN total;
END
$body$;

-- Erases what the log knows of a person: the bytes of the keys, and what stands in clear. Entries, hashes and proofs stay.
-- Returns how many entries that concerned, without those of dropped months, and up to which generation the keys are gone: NULL
-- when nothing was known.
CREATE FUNCTION audit_erase_subject(subject text, at timestamptz, OUT entries bigint, OUT through integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $body$
DECLARE
  t record;
  n bigint;
  gone integer[];
BEGIN
  WITH erased AS (
    UPDATE audit_subject_keys SET wrapped_key = '', erased_at = at WHERE subject_id = subject AND erased_at IS NULL RETURNING generation
  )
  SELECT array_agg(e.generation), max(e.generation) INTO gone, through FROM erased e;
  entries := 0;
  FOR t IN SELECT * FROM audit_entry_tables() LOOP
    EXECUTE format('
      SELECT count(*)
      FROM %s a
      JOIN %s d ON d.timestamp = a.timestamp AND d.entry_id = a.id
      WHERE a.user_id = $1 AND d.subject_id = $1 AND d.key_generation = ANY ($2)', t.entries, t.personal) INTO n USING subject, gone;
    entries := entries + n;
  END LOOP;
  PERFORM audit_erase_clear(subject);
END
$body$;

-- Keeps the states of months what they are: one after the other, and only as the tables themselves say.
CREATE FUNCTION audit_archives_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $body$
DECLARE
  part oid;
  attached boolean;
BEGIN
  IF TG_OP = 'DELETE' OR TG_OP = 'INSERT' AND NEW.state <> 'sealed' OR TG_OP = 'UPDATE' AND (NEW.month, NEW.entries, NEW.size, NEW.sealed_at) IS DISTINCT FROM (OLD.month, OLD.entries, OLD.size, OLD.sealed_at) THEN
    RAISE EXCEPTION 'what is known of an archived month is not taken back' USING ERRCODE = '55000';
  ELSIF TG_OP = 'INSERT' THEN
    RETURN NEW;
  END IF;
  IF NOT (OLD.state, NEW.state) IN (('sealed', 'exported'), ('exported', 'verified'), ('verified', 'verified'), ('verified', 'detached'), ('detached', 'verified'), ('detached', 'dropped'), ('dropped', 'verified')) THEN
    RAISE EXCEPTION 'a month does not go from % to %', OLD.state, NEW.state USING ERRCODE = '55000';
  END IF;
  IF OLD.state <> 'sealed' AND (NEW.manifest, NEW.manifest_sha256, NEW.objects, NEW.store, NEW.exported_at) IS DISTINCT FROM (OLD.manifest, OLD.manifest_sha256, OLD.objects, OLD.store, OLD.exported_at) OR NEW.locked_until < OLD.locked_until THEN
    RAISE EXCEPTION 'an archive of a month is made once' USING ERRCODE = '55000';
  END IF;
  SELECT c.oid INTO part FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'audit_parts' AND c.relname = 'audit_logs_' || to_char(NEW.month, 'YYYY_MM');
  attached := EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = part AND NOT i.inhdetachpending);
  IF NEW.state = 'verified' AND NOT attached OR NEW.state = 'detached' AND (attached OR part IS NULL) OR NEW.state = 'dropped' AND part IS NOT NULL THEN
    RAISE EXCEPTION 'the table of % is not %', to_char(NEW.month, 'YYYY-MM'), NEW.state USING ERRCODE = '55000';
  END IF;
  RETURN NEW;
END
$body$;
CREATE TRIGGER audit_archives_guard BEFORE INSERT OR UPDATE OR DELETE ON audit_archives FOR EACH ROW EXECUTE FUNCTION audit_archives_guard();

-- A hold can be released, once, and is otherwise for ever what it is.
CREATE FUNCTION audit_holds_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $body$
BEGIN
  IF TG_OP = 'DELETE' OR OLD.released_at IS NOT NULL OR (NEW.id, NEW.first_month, NEW.last_month, NEW.reason, NEW.placed_at, NEW.placed_by) IS DISTINCT FROM (OLD.id, OLD.first_month, OLD.last_month, OLD.reason, OLD.placed_at, OLD.placed_by) THEN
    RAISE EXCEPTION 'a legal hold is released once, and not changed' USING ERRCODE = '55000';
  END IF;
  RETURN NEW;
END
$body$;
CREATE TRIGGER audit_holds_guard BEFORE UPDATE OR DELETE ON audit_holds FOR EACH ROW EXECUTE FUNCTION audit_holds_guard();

-- The latest instant that a witness has named; NULL when none has. It stands in the signature's line (C2SP
-- tlog-cosignature: four bytes of the key, eight of the time), which whoever verifies the log checks.
CREATE FUNCTION audit_witnessed_at() RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $body$
  SELECT max(least(c.cosigned_at, to_timestamp(('x' || encode(substring(decode(split_part(btrim(c.line, E'\n'), ' ', 3), 'base64') FROM 5 FOR 8), 'hex'))::bit(64)::bigint)))
  FROM audit_cosignatures c
$body$;

-- Why a month cannot be dropped; NULL when it can. It is seven years old by the clock of the database and by a witness's:
-- whoever sets the one ahead does not have the other.
CREATE FUNCTION audit_drop_refusal(which timestamptz) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $body$
  SELECT CASE
    WHEN a.month IS NULL THEN 'it was never archived'
    WHEN a.state <> 'detached' THEN format('it is %s, not detached', a.state)
    WHEN h.id IS NOT NULL THEN format('the legal hold %s is on it: %s', h.id, h.reason)
    WHEN n.witness IS NULL THEN 'no witness has signed the log: nobody but this database says what time it is'
    WHEN n.over > n.own THEN format('its seven years end at %s', n.over)
    WHEN n.over > n.witness THEN format('its seven years end at %s, and no witness has signed later than %s', n.over, n.witness)
    WHEN a.locked_until > least(n.own, n.witness) THEN format('its archive is locked until %s', a.locked_until)
  END
  FROM (SELECT which + interval '1 month' + interval '7 years' AS over, audit_witnessed_at() AS witness, now() AS own) n
  LEFT JOIN audit_archives a ON a.month = which
  LEFT JOIN LATERAL (SELECT * FROM audit_holds x WHERE which BETWEEN x.first_month AND x.last_month AND x.released_at IS NULL ORDER BY x.id LIMIT 1) h ON true
$body$;

-- Drops the tables of a month whose time is over. The application can drop nothing but through here.
CREATE FUNCTION audit_drop_month(which timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $body$
DECLARE
  refusal text;
BEGIN
  LOCK TABLE audit_holds IN SHARE MODE; -- none is placed meanwhile
  PERFORM FROM audit_archives a WHERE a.month = which FOR UPDATE;
  refusal := audit_drop_refusal(which);
  IF refusal IS NOT NULL THEN
    RAISE EXCEPTION 'the month % of the audit log cannot be dropped: %', to_char(which, 'YYYY-MM'), refusal USING ERRCODE = '55000';
  END IF;
  EXECUTE format('DROP TABLE audit_parts.%I', 'audit_logs_' || to_char(which, 'YYYY_MM'));
  EXECUTE format('DROP TABLE IF EXISTS audit_parts.%I', 'audit_personal_data_' || to_char(which, 'YYYY_MM'));
  UPDATE audit_archives SET state = 'dropped', dropped_at = now() WHERE month = which;
END
$body$;

-- Overflow partitions keep writes alive where no month was made; a row in one raises an alarm.
CREATE TABLE audit_parts.audit_logs_past PARTITION OF audit_logs (
  CONSTRAINT audit_overflow_ck CHECK (timestamp IS NOT NULL AND timestamp < '2026-01-01 00:00:00+00')
) FOR VALUES FROM (MINVALUE) TO ('2026-01-01 00:00:00+00')
  WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_freeze_min_age = 0);
CREATE TABLE audit_parts.audit_personal_data_past PARTITION OF audit_personal_data (
  CONSTRAINT audit_overflow_ck CHECK (timestamp IS NOT NULL AND timestamp < '2026-01-01 00:00:00+00')
) FOR VALUES FROM (MINVALUE) TO ('2026-01-01 00:00:00+00')
  WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_freeze_min_age = 0);

-- The partitions of the audit log's two tables; -infinity and infinity where there is no bound, none for a DEFAULT one.
CREATE FUNCTION audit_partitions(OUT parent text, OUT part oid, OUT lower timestamptz, OUT upper timestamptz, OUT detaching boolean)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $body$
  SELECT p.parent, c.oid,
         CASE b.bounds[1] WHEN 'MINVALUE' THEN '-infinity' ELSE btrim(b.bounds[1], '''')::timestamptz END,
         CASE b.bounds[2] WHEN 'MAXVALUE' THEN 'infinity' ELSE btrim(b.bounds[2], '''')::timestamptz END,
         i.inhdetachpending
  FROM unnest(ARRAY['audit_logs', 'audit_personal_data']) p (parent)
  JOIN pg_inherits i ON i.inhparent = format('public.%I', p.parent)::regclass
  JOIN pg_class c ON c.oid = i.inhrelid
  CROSS JOIN LATERAL (SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM \((.+)\) TO \((.+)\)$')) b (bounds)
$body$;

-- The months from January 2026 up to the last that no partition but the overflow one of the future takes, without those
-- that were archived.
CREATE FUNCTION audit_months_missing(last_month timestamptz, OUT parent text, OUT lower timestamptz, OUT upper timestamptz)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $body$
  SELECT t.parent, m, m + interval '1 month'
  FROM unnest(ARRAY['audit_logs', 'audit_personal_data']) t (parent),
       generate_series('2026-01-01 00:00:00+00', last_month, interval '1 month') m
  WHERE NOT EXISTS (
    SELECT FROM audit_partitions() p
    WHERE p.parent = t.parent AND p.lower < m + interval '1 month' AND p.upper > m AND p.upper < 'infinity')
    AND NOT EXISTS (SELECT FROM audit_archives a WHERE a.month = m AND a.state IN ('detached', 'dropped'))
  ORDER BY t.parent, m
$body$;

-- Makes every month that is missing, from January 2026 up to the given number of months after that of the instant, and
-- returns how many partitions that made. What the overflow partition of the future has of them goes where it belongs,
-- with its xid; a new overflow partition begins behind the last month.
--
-- The long part touches no table that others use: new tables are filled beside the old, from what the overflow partition
-- had at one moment. The short part holds both tables: the overflow partition is taken out, the new ones are attached,
-- which their CHECKs spare PostgreSQL to read them for, and what came after that moment is brought. It waits 200 ms for
-- a lock, gives way to those who queue behind it, and tries again, some ten seconds long; then it fails with 55P03 and
-- everything is as before.
--
-- The instant is an argument because the server's clock is an input. It cannot be far from the database's, so that no
-- clock makes thousands of tables.
CREATE FUNCTION audit_partitions_ensure(months_ahead integer, at timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $body$
DECLARE
  tries CONSTANT integer := 25;
  horizon CONSTANT timestamptz := now() + interval '300 months';
  callers_wait CONSTANT text := current_setting('lock_timeout');
  -- Where nothing dies autovacuum seldom comes. Let it come after every twentieth of new rows and freeze them at once:
  -- then nothing of a month is written again years later, and rows can be counted in an index.
  append_only CONSTANT text := 'autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_freeze_min_age = 0';
  last_month timestamptz;
  moment pg_snapshot; -- what the long part has seen at least
  attach text[] := '{}'; -- statements
  made integer := 0;
  -- The tables that get a new overflow partition, in the order in which every writer locks them; which they have now, if
  -- any; their columns; how many rows were copied from it.
  moving text[] := '{}';
  old regclass[] := '{}';
  columns text[] := '{}';
  copied bigint[] := '{}';
  t text;
  part text;
  next text;
  overflow record;
  m record;
  list text;
  n bigint;
  total bigint;
  had bigint;
  behind timestamptz;
BEGIN
  IF (months_ahead BETWEEN 0 AND 240) IS NOT TRUE THEN
    RAISE EXCEPTION 'months_ahead must be between 0 and 240, not %', months_ahead USING ERRCODE = '22023';
  END IF;
  IF (at BETWEEN '2026-01-01 00:00:00+00' AND horizon) IS NOT TRUE OR at + make_interval(months => months_ahead) > horizon THEN
    RAISE EXCEPTION 'the months must lie between 2026 and 300 months from now; is a clock right that says %?', at USING ERRCODE = '22023';
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN -- it would not see what is written meanwhile, and drop it
    RAISE EXCEPTION 'partitions are made in READ COMMITTED' USING ERRCODE = '25001';
  END IF;
  last_month := date_trunc('month', at) + make_interval(months => months_ahead);

  -- Nearly always nothing is missing. Else one at a time: who comes second finds the work done.
  IF NOT EXISTS (SELECT FROM audit_months_missing(last_month)) THEN
    RETURN 0;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('forge audit partitions', 0));
  PERFORM set_config('lock_timeout', '200ms', true);

  -- The long part.
  moment := pg_current_snapshot();
  FOREACH t IN ARRAY ARRAY['audit_logs', 'audit_personal_data'] LOOP
    SELECT p.part::regclass AS part, p.lower INTO overflow FROM audit_partitions() p WHERE p.parent = t AND p.upper = 'infinity';
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO list
    FROM pg_attribute a
    WHERE a.attrelid = format('public.%I', t)::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
    behind := NULL;
    total := 0;
    FOR m IN SELECT * FROM audit_months_missing(last_month) x WHERE x.parent = t LOOP
      part := t || to_char(m.lower, '_YYYY_MM');
      IF m.lower < overflow.lower THEN -- a gap, which no overflow partition can cover
        IF m.upper > overflow.lower THEN
          RAISE EXCEPTION '% begins within a month, at %', overflow.part, overflow.lower USING ERRCODE = '55000';
        ELSIF to_regclass(format('audit_parts.%I', part)) IS NOT NULL THEN
          RAISE WARNING 'audit_parts.% is there and not attached: attach it, or drop it to have it made anew', part;
          CONTINUE;
        END IF;
      ELSE
        behind := last_month + interval '1 month';
      END IF;
      EXECUTE format('CREATE TABLE audit_parts.%I (LIKE public.%I INCLUDING ALL, CONSTRAINT audit_month_ck CHECK (timestamp IS NOT NULL AND timestamp >= %L AND timestamp < %L)) WITH (%s)',
        part, t, m.lower, m.upper, append_only);
      attach := attach || format('ALTER TABLE public.%I ATTACH PARTITION audit_parts.%I FOR VALUES FROM (%L) TO (%L)', t, part, m.lower, m.upper);
      made := made + 1;
      IF m.lower >= overflow.lower THEN
        EXECUTE format('INSERT INTO audit_parts.%I (%s) SELECT %2$s FROM %s WHERE timestamp >= %L AND timestamp < %L', part, list, overflow.part, m.lower, m.upper);
        GET DIAGNOSTICS n = ROW_COUNT;
        total := total + n;
      END IF;
    END LOOP;
    CONTINUE WHEN behind IS NULL;
    IF overflow.part IS NULL THEN -- somebody took it away; months may be there beyond the last
      SELECT greatest(behind, max(p.upper)) INTO behind FROM audit_partitions() p WHERE p.parent = t;
    END IF;
    next := t || '_coming'; -- as long as _future, so that the names of its indexes are cut at the same place
    EXECUTE format('CREATE TABLE audit_parts.%I (LIKE public.%I INCLUDING ALL, CONSTRAINT audit_overflow_ck CHECK (timestamp IS NOT NULL AND timestamp >= %L)) WITH (%s)',
      next, t, behind, append_only);
    IF t = 'audit_personal_data' THEN -- entries have this one everywhere
      EXECUTE format('CREATE INDEX ON audit_parts.%I (xid)', next);
    END IF;
    attach := attach || format('ALTER TABLE public.%I ATTACH PARTITION audit_parts.%I FOR VALUES FROM (%L) TO (MAXVALUE)', t, next, behind);
    IF overflow.part IS NOT NULL THEN
      EXECUTE format('INSERT INTO audit_parts.%I (%s) SELECT %2$s FROM %s WHERE timestamp >= %L', next, list, overflow.part, behind);
      GET DIAGNOSTICS n = ROW_COUNT;
      total := total + n;
    END IF;
    moving := moving || t;
    old := old || overflow.part;
    columns := columns || list;
    copied := copied || total;
  END LOOP;

  -- The short part.
  FOR attempt IN 1..tries LOOP
    BEGIN
      FOREACH t IN ARRAY moving LOOP
        EXECUTE format('LOCK TABLE ONLY public.%I IN ACCESS EXCLUSIVE MODE', t);
      END LOOP;
      FOR i IN 1..cardinality(moving) LOOP
        CONTINUE WHEN old[i] IS NULL;
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE NOWAIT', old[i]); -- writers wait by now
        EXECUTE format('ALTER TABLE public.%I DETACH PARTITION %s', moving[i], old[i]);
      END LOOP;
      FOREACH t IN ARRAY attach LOOP
        EXECUTE t;
      END LOOP;
      FOR i IN 1..cardinality(moving) LOOP
        IF old[i] IS NOT NULL THEN
          -- Some of these were copied: the copies have seen later moments.
          EXECUTE format('INSERT INTO public.%I (%s) SELECT %2$s FROM %s WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) ON CONFLICT DO NOTHING',
            moving[i], columns[i], old[i]) USING moment;
          GET DIAGNOSTICS n = ROW_COUNT;
          EXECUTE format('SELECT count(*) FROM %s', old[i]) INTO had; -- a million rows take a quarter of a second
          IF copied[i] + n <> had THEN
            RAISE EXCEPTION '% has % rows and % were moved: nothing is changed', old[i], had, copied[i] + n USING ERRCODE = 'XX001';
          END IF;
          EXECUTE format('DROP TABLE %s', old[i]);
        END IF;
        next := moving[i] || '_coming';
        EXECUTE format('ALTER TABLE audit_parts.%I RENAME TO %I', next, moving[i] || '_future');
        FOR m IN
          SELECT c.relname AS name
          FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
          WHERE x.indrelid = format('audit_parts.%I', moving[i] || '_future')::regclass
        LOOP
          EXECUTE format('ALTER INDEX audit_parts.%I RENAME TO %I', m.name, replace(m.name, next, moving[i] || '_future'));
        END LOOP;
      END LOOP;
      EXIT;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
      IF attempt = tries THEN
        RAISE;
      END IF;
    END;
    PERFORM pg_sleep(0.1 + random() * 0.2);
  END LOOP;
  PERFORM set_config('lock_timeout', callers_wait, true);
  RETURN made;
END
$body$;

-- Programs of the release before call this one.
CREATE FUNCTION audit_partitions_ensure(months_ahead integer) RETURNS integer
LANGUAGE sql SET search_path = pg_catalog, public, pg_temp AS $body$
  SELECT audit_partitions_ensure(months_ahead, now())
$body$;

SELECT audit_partitions_ensure(24);

-- Whoever changes what the log is about writes an entry in the same transaction. The program sees to it (audit.Log.Change);
-- that it was not forgotten is checked when the transaction commits, for whoever has no more than the application's rights.
CREATE FUNCTION audit_recorded() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  PERFORM set_config('forge.recorded', pg_current_xact_id()::text, true);
  RETURN NULL;
END
$body$;
CREATE TRIGGER audit_logs_recorded AFTER INSERT ON audit_logs FOR EACH STATEMENT EXECUTE FUNCTION audit_recorded();

CREATE FUNCTION refuse_unrecorded() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  IF current_setting('forge.recorded', true) IS DISTINCT FROM pg_current_xact_id()::text AND NOT has_table_privilege(TG_RELID, 'TRUNCATE') THEN
    RAISE EXCEPTION 'a change of % without an entry in the audit log', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  RETURN NULL;
END
$body$;
CREATE CONSTRAINT TRIGGER teams_recorded AFTER INSERT OR UPDATE OR DELETE ON teams DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER users_recorded AFTER INSERT OR UPDATE OR DELETE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER projects_recorded AFTER INSERT OR UPDATE OR DELETE ON projects DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER blueprints_recorded AFTER INSERT OR UPDATE OR DELETE ON blueprints DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER user_budgets_recorded AFTER INSERT OR UPDATE OR DELETE ON user_budgets DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER budget_templates_recorded AFTER INSERT OR UPDATE OR DELETE ON budget_templates DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER budget_requests_recorded AFTER INSERT OR UPDATE OR DELETE ON budget_requests DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER blueprint_versions_recorded AFTER INSERT ON blueprint_versions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER blueprint_statuses_recorded AFTER INSERT ON blueprint_statuses DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER blueprint_promotions_recorded AFTER INSERT ON blueprint_promotions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER price_books_recorded AFTER INSERT ON price_books DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER cost_months_recorded AFTER INSERT ON cost_months DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER policy_pauses_recorded AFTER INSERT OR UPDATE OR DELETE ON policy_pauses DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER tokens_recorded AFTER INSERT OR UPDATE OF revoked_at OR DELETE ON tokens DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER workspaces_recorded AFTER INSERT OR DELETE ON workspaces DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
-- A WorkSpace's version is what others see of it; leases and the like change without.
CREATE CONSTRAINT TRIGGER workspaces_recorded_again AFTER UPDATE ON workspaces DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.version IS DISTINCT FROM NEW.version) EXECUTE FUNCTION refuse_unrecorded();
-- What cannot be brought back needs an entry whoever takes it, and through whatever function.
CREATE FUNCTION refuse_unrecorded_removal() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  IF current_setting('forge.recorded', true) IS DISTINCT FROM pg_current_xact_id()::text THEN
    RAISE EXCEPTION 'a change of % without an entry in the audit log', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  RETURN NULL;
END
$body$;
CREATE CONSTRAINT TRIGGER audit_subject_keys_recorded AFTER UPDATE ON audit_subject_keys DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded_removal();
CREATE CONSTRAINT TRIGGER audit_archives_recorded AFTER INSERT OR UPDATE ON audit_archives DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded_removal();
CREATE CONSTRAINT TRIGGER audit_holds_recorded AFTER INSERT OR UPDATE ON audit_holds DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded_removal();

-- The application's role ---------------------------------------------------------------------------------------------

-- The application may add to history and never change it. A login of the application is made a member of this role.
CREATE ROLE :"app" NOLOGIN;
GRANT USAGE ON SCHEMA public TO :"app";
GRANT SELECT ON ALL TABLES IN SCHEMA public TO :"app";
GRANT INSERT, UPDATE ON teams, users, projects, tokens, blueprints, workspaces, aws_limits, user_budgets, budget_periods, budget_requests, budget_templates, notifications, notification_deliveries, drift_sweeps, drift_findings,
  organisation, usage, cost_hours, cost_days, blueprint_upgrades, blueprint_upgrade_items, blueprint_images, aws_bundles TO :"app";
GRANT INSERT, UPDATE, DELETE ON idempotency_keys, budget_holds, provider_holds, policy_pauses, aws_bundle_uses TO :"app";
GRANT INSERT ON blueprint_versions, blueprint_statuses, blueprint_promotions, price_books, prices, workspace_events, cost_attributions, cost_records, cost_months, cost_month_names, cost_late_records, budget_entries, budget_versions, audit_logs,
  audit_personal_data, audit_subject_keys, audit_tree, audit_bundles, audit_tiles, audit_checkpoints, audit_cosignatures, audit_quarantine TO :"app";
GRANT UPDATE ON audit_tree TO :"app";
GRANT INSERT, UPDATE ON audit_archives, audit_holds TO :"app";
REVOKE ALL ON FUNCTION audit_partitions(), audit_months_missing(timestamptz), audit_partitions_ensure(integer),
  audit_partitions_ensure(integer, timestamptz), audit_erase_clear(text), audit_erase_subject(text, timestamptz), audit_drop_month(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_partitions(), audit_partitions_ensure(integer), audit_partitions_ensure(integer, timestamptz),
  audit_erase_clear(text), audit_erase_subject(text, timestamptz), audit_drop_month(timestamptz) TO :"app";
