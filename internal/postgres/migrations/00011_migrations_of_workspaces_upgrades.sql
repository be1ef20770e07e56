-- forge: oldest binary 9

-- Migrations to another bundle, and upgrades of what lives. A program that does not know migrations would lose the new id of one.

-- +goose Up
CREATE TABLE blueprint_upgrades (
  id text NOT NULL,
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
  finished_at timestamptz NULL,
  next_due_at timestamptz NULL,
  lease_until timestamptz NULL,
  lease_token text NULL,
  PRIMARY KEY (id),
  CONSTRAINT blueprint_upgrades_blueprint_fk FOREIGN KEY (blueprint_id) REFERENCES blueprints (id) ON UPDATE NO ACTION ON DELETE NO ACTION,
  CONSTRAINT blueprint_upgrades_version_fk FOREIGN KEY (version_id) REFERENCES blueprint_versions (id) ON UPDATE NO ACTION ON DELETE NO ACTION,
  CONSTRAINT blueprint_upgrades_batch_ck CHECK ((batch_size >= 1) AND (batch_size <= 25)),
  CONSTRAINT blueprint_upgrades_canary_ck CHECK ((canary_percent >= 1) AND (canary_percent <= 100)),
  CONSTRAINT blueprint_upgrades_done_ck CHECK ((state = 'DONE'::text) = (finished_at IS NOT NULL)),
  CONSTRAINT blueprint_upgrades_failures_ck CHECK ((canary_failures >= 0) AND (batch_failures >= 0)),
  CONSTRAINT blueprint_upgrades_state_ck CHECK (state = ANY (ARRAY['RUNNING'::text, 'PAUSED'::text, 'ABORTED'::text, 'DONE'::text]))
);
CREATE INDEX blueprint_upgrades_blueprint_idx ON blueprint_upgrades (blueprint_id, id);
CREATE INDEX blueprint_upgrades_due_idx ON blueprint_upgrades (next_due_at) WHERE (next_due_at IS NOT NULL);
CREATE UNIQUE INDEX blueprint_upgrades_open_uq ON blueprint_upgrades (blueprint_id) WHERE (state = ANY (ARRAY['RUNNING'::text, 'PAUSED'::text]));
ALTER TABLE workspaces DROP CONSTRAINT workspaces_asked_ck, ADD CONSTRAINT workspaces_asked_ck CHECK (asked = ANY (ARRAY[''::text, 'create'::text, 'replace'::text, 'start'::text, 'stop'::text, 'terminate'::text, 'modify'::text, 'reboot'::text, 'rebuild'::text, 'restore'::text, 'image'::text, 'migrate'::text])), DROP CONSTRAINT workspaces_wish_reason_ck, ADD CONSTRAINT workspaces_wish_reason_ck CHECK (wish_reason = ANY (ARRAY['user'::text, 'idle'::text, 'lifetime'::text, 'stale'::text, 'budget'::text, 'schedule'::text, 'provider'::text, 'upgrade'::text])), ADD CONSTRAINT workspaces_migration_ck CHECK (((migration_asked_at IS NULL) OR (migration IS NOT NULL)) AND ((target_id IS NULL) OR (migration_asked_at IS NOT NULL))), ADD COLUMN migration jsonb NULL, ADD COLUMN migration_asked_at timestamptz NULL, ADD COLUMN target_id text NULL;
CREATE INDEX workspaces_migrating_idx ON workspaces (region) WHERE (migration_asked_at IS NOT NULL);
CREATE UNIQUE INDEX workspaces_target_uq ON workspaces (region, target_id) WHERE (target_id IS NOT NULL);
CREATE TABLE blueprint_upgrade_items (
  upgrade_id text NOT NULL,
  workspace_id text NOT NULL,
  "position" integer NOT NULL,
  batch integer NOT NULL,
  from_version_id text NOT NULL,
  migrates boolean NOT NULL,
  state text NOT NULL,
  code text NOT NULL DEFAULT '',
  message text NOT NULL DEFAULT '',
  attempts integer NOT NULL DEFAULT 0,
  try_at timestamptz NOT NULL,
  first_tried_at timestamptz NULL,
  begun_at timestamptz NULL,
  finished_at timestamptz NULL,
  PRIMARY KEY (upgrade_id, workspace_id),
  CONSTRAINT blueprint_upgrade_items_from_fk FOREIGN KEY (from_version_id) REFERENCES blueprint_versions (id) ON UPDATE NO ACTION ON DELETE NO ACTION,
  CONSTRAINT blueprint_upgrade_items_upgrade_fk FOREIGN KEY (upgrade_id) REFERENCES blueprint_upgrades (id) ON UPDATE NO ACTION ON DELETE NO ACTION,
  CONSTRAINT blueprint_upgrade_items_workspace_fk FOREIGN KEY (workspace_id) REFERENCES workspaces (id) ON UPDATE NO ACTION ON DELETE NO ACTION,
  CONSTRAINT blueprint_upgrade_items_finished_ck CHECK ((state = ANY (ARRAY['DONE'::text, 'FAILED'::text, 'SKIPPED'::text])) = (finished_at IS NOT NULL)),
  CONSTRAINT blueprint_upgrade_items_state_ck CHECK (state = ANY (ARRAY['WAITING'::text, 'UNDER_WAY'::text, 'DONE'::text, 'FAILED'::text, 'SKIPPED'::text]))
);
CREATE INDEX blueprint_upgrade_items_open_idx ON blueprint_upgrade_items (upgrade_id, "position") WHERE (state = ANY (ARRAY['WAITING'::text, 'UNDER_WAY'::text]));
CREATE UNIQUE INDEX blueprint_upgrade_items_position_uq ON blueprint_upgrade_items (upgrade_id, "position");
CREATE INDEX blueprint_upgrade_items_workspace_idx ON blueprint_upgrade_items (workspace_id);
GRANT INSERT, SELECT, UPDATE ON blueprint_upgrade_items TO :"app";
GRANT INSERT, SELECT, UPDATE ON blueprint_upgrades TO :"app";

-- +goose Down
DROP INDEX blueprint_upgrade_items_workspace_idx;
DROP INDEX blueprint_upgrade_items_position_uq;
DROP INDEX blueprint_upgrade_items_open_idx;
DROP TABLE blueprint_upgrade_items;
DROP INDEX workspaces_target_uq;
DROP INDEX workspaces_migrating_idx;
-- What Amazon has not been asked for yet is not asked for any more.
UPDATE workspaces SET asked = '' WHERE asked = 'migrate';
UPDATE workspaces SET wish_reason = 'user' WHERE wish_reason = 'upgrade';
ALTER TABLE workspaces DROP COLUMN target_id, DROP COLUMN migration_asked_at, DROP COLUMN migration, DROP CONSTRAINT workspaces_wish_reason_ck, ADD CONSTRAINT workspaces_wish_reason_ck CHECK (wish_reason = ANY (ARRAY['user'::text, 'idle'::text, 'lifetime'::text, 'stale'::text, 'budget'::text, 'schedule'::text, 'provider'::text])), DROP CONSTRAINT workspaces_asked_ck, ADD CONSTRAINT workspaces_asked_ck CHECK (asked = ANY (ARRAY[''::text, 'create'::text, 'replace'::text, 'start'::text, 'stop'::text, 'terminate'::text, 'modify'::text, 'reboot'::text, 'rebuild'::text, 'restore'::text, 'image'::text]));
DROP INDEX blueprint_upgrades_open_uq;
DROP INDEX blueprint_upgrades_due_idx;
DROP INDEX blueprint_upgrades_blueprint_idx;
DROP TABLE blueprint_upgrades;
