-- forge: oldest binary 1

-- What happens to a WorkSpace by itself: rules about time, changes under way, connections, pauses, drift.

-- +goose Up
ALTER TABLE budget_entries DROP CONSTRAINT budget_entries_kind_ck, ADD CONSTRAINT budget_entries_kind_ck CHECK (kind = ANY (ARRAY['open'::text, 'limit'::text, 'hold'::text, 'renew'::text, 'resize'::text, 'release'::text, 'charge'::text, 'carry'::text]));
ALTER TABLE budget_holds ADD COLUMN stop_at timestamptz NULL;
CREATE INDEX budget_holds_stop_idx ON budget_holds (stop_at) WHERE (stop_at IS NOT NULL);
DROP INDEX workspaces_lifetime_idx;
DROP INDEX workspaces_stopped_idx;
ALTER TABLE workspaces DROP CONSTRAINT workspaces_asked_ck, ADD CONSTRAINT workspaces_asked_ck CHECK (asked = ANY (ARRAY[''::text, 'create'::text, 'replace'::text, 'start'::text, 'stop'::text, 'terminate'::text, 'modify'::text, 'reboot'::text, 'rebuild'::text, 'restore'::text, 'image'::text])), DROP CONSTRAINT workspaces_flag_ck, ADD CONSTRAINT workspaces_flag_ck CHECK (flag = ANY (ARRAY[''::text, 'STUCK'::text, 'PROTOCOL'::text, 'UNHEALTHY'::text])), ADD CONSTRAINT workspaces_change_ck CHECK ((change = ANY (ARRAY[''::text, 'bundle_type'::text, 'running_mode'::text, 'root_gib'::text, 'user_gib'::text])) AND ((change = ''::text) = (change_to = ''::text))), ADD CONSTRAINT workspaces_connection_ck CHECK (connection = ANY (ARRAY[''::text, 'CONNECTED'::text, 'DISCONNECTED'::text, 'UNKNOWN'::text])), ADD CONSTRAINT workspaces_extended_ck CHECK ((extended_until IS NULL) = (extended_minutes IS NULL)), ADD CONSTRAINT workspaces_wish_reason_ck CHECK (wish_reason = ANY (ARRAY['user'::text, 'idle'::text, 'lifetime'::text, 'stale'::text, 'budget'::text, 'schedule'::text, 'provider'::text])), ADD COLUMN root_gib integer NULL, ADD COLUMN user_gib integer NULL, ADD COLUMN keep_alive boolean NOT NULL DEFAULT false, ADD COLUMN schedule jsonb NULL, ADD COLUMN wish_reason text NOT NULL DEFAULT 'user', ADD COLUMN retag boolean NOT NULL DEFAULT false, ADD COLUMN rebooted_at timestamptz NULL, ADD COLUMN change text NOT NULL DEFAULT '', ADD COLUMN change_to text NOT NULL DEFAULT '', ADD COLUMN change_asked_at timestamptz NULL, ADD COLUMN change_begun_at timestamptz NULL, ADD COLUMN enlarged_at timestamptz NULL, ADD COLUMN reduced_at timestamptz NULL, ADD COLUMN grown_at timestamptz NULL, ADD COLUMN connection text NOT NULL DEFAULT '', ADD COLUMN connection_checked_at timestamptz NULL, ADD COLUMN last_connected_at timestamptz NULL, ADD COLUMN extended_until timestamptz NULL, ADD COLUMN extended_minutes integer NULL, ADD COLUMN stopped_at timestamptz NULL, ADD COLUMN stale_at timestamptz NULL, ADD COLUMN scheduled_through timestamptz NULL, ADD COLUMN notices jsonb NOT NULL DEFAULT '{}', ADD COLUMN rule_due_at timestamptz NULL, ADD COLUMN rule_lease_until timestamptz NULL;
DROP INDEX workspaces_team_live_idx;
CREATE INDEX workspaces_team_live_idx ON workspaces (team_id, id) INCLUDE (state) WHERE (terminated_at IS NULL);
CREATE INDEX workspaces_rule_due_idx ON workspaces (rule_due_at) WHERE (rule_due_at IS NOT NULL);
CREATE TABLE drift_sweeps (
  region text NOT NULL,
  directory_id text NOT NULL,
  due_at timestamptz NOT NULL,
  lease_until timestamptz NULL,
  lease_token text NULL,
  begun_at timestamptz NULL,
  ended_at timestamptz NULL,
  complete boolean NOT NULL DEFAULT false,
  error text NOT NULL DEFAULT '',
  pages integer NOT NULL DEFAULT 0,
  seen integer NOT NULL DEFAULT 0,
  completed_at timestamptz NULL,
  tags_after text NOT NULL DEFAULT '',
  PRIMARY KEY (region, directory_id)
);
CREATE TABLE policy_pauses (
  target text NOT NULL,
  reason text NOT NULL,
  paused_by text NOT NULL,
  paused_at timestamptz NOT NULL,
  until timestamptz NULL,
  PRIMARY KEY (target),
  CONSTRAINT policy_pauses_target_ck CHECK (target = ANY (ARRAY['stops'::text, 'terminations'::text, 'lifetime'::text, 'stale'::text, 'budget'::text, 'schedule'::text, 'idle'::text]))
);
CREATE TABLE drift_findings (
  id text NOT NULL,
  region text NOT NULL,
  directory_id text NOT NULL,
  provider_id text NOT NULL,
  workspace_id text NULL,
  kind text NOT NULL,
  first_seen_at timestamptz NOT NULL,
  last_seen_at timestamptz NOT NULL,
  resolved_at timestamptz NULL,
  resolution text NOT NULL DEFAULT '',
  monthly_micros bigint NULL,
  details jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (id),
  CONSTRAINT drift_findings_workspace_fk FOREIGN KEY (workspace_id) REFERENCES workspaces (id) ON UPDATE NO ACTION ON DELETE NO ACTION,
  CONSTRAINT drift_findings_kind_ck CHECK (kind = ANY (ARRAY['FOREIGN'::text, 'ORPHAN'::text, 'DUPLICATE'::text, 'LOST_TAGS'::text, 'TERMINATED_OUTSIDE'::text, 'STARTED_OUTSIDE'::text, 'MODE_CHANGED'::text, 'SIZE_CHANGED'::text, 'VOLUMES_CHANGED'::text]))
);
CREATE INDEX drift_findings_directory_idx ON drift_findings (region, directory_id) WHERE (resolved_at IS NULL);
CREATE UNIQUE INDEX drift_findings_open_uq ON drift_findings (region, provider_id, kind) WHERE (resolved_at IS NULL);
CREATE INDEX drift_findings_workspace_idx ON drift_findings (workspace_id) WHERE (workspace_id IS NOT NULL);
GRANT INSERT, SELECT, UPDATE ON drift_findings TO :"app";
GRANT INSERT, SELECT, UPDATE ON drift_sweeps TO :"app";
GRANT DELETE, INSERT, SELECT, UPDATE ON policy_pauses TO :"app";

-- What lives is looked at by the rules once, and from then on when something is due.
UPDATE workspaces
SET rule_due_at = now(), stopped_at = CASE WHEN state = 'STOPPED' THEN state_since END
WHERE terminated_at IS NULL;

-- +goose Down
DROP INDEX drift_findings_workspace_idx;
DROP INDEX drift_findings_open_uq;
DROP INDEX drift_findings_directory_idx;
DROP TABLE drift_findings;
DROP TABLE policy_pauses;
DROP TABLE drift_sweeps;
DROP INDEX workspaces_rule_due_idx;
DROP INDEX workspaces_team_live_idx;
CREATE INDEX workspaces_team_live_idx ON workspaces (team_id, id) WHERE (terminated_at IS NULL);
ALTER TABLE workspaces DROP COLUMN rule_lease_until, DROP COLUMN rule_due_at, DROP COLUMN notices, DROP COLUMN scheduled_through, DROP COLUMN stale_at, DROP COLUMN stopped_at, DROP COLUMN extended_minutes, DROP COLUMN extended_until, DROP COLUMN last_connected_at, DROP COLUMN connection_checked_at, DROP COLUMN connection, DROP COLUMN grown_at, DROP COLUMN reduced_at, DROP COLUMN enlarged_at, DROP COLUMN change_begun_at, DROP COLUMN change_asked_at, DROP COLUMN change_to, DROP COLUMN change, DROP COLUMN rebooted_at, DROP COLUMN retag, DROP COLUMN wish_reason, DROP COLUMN schedule, DROP COLUMN keep_alive, DROP COLUMN user_gib, DROP COLUMN root_gib, DROP CONSTRAINT workspaces_flag_ck, ADD CONSTRAINT workspaces_flag_ck CHECK (flag = ANY (ARRAY[''::text, 'STUCK'::text, 'PROTOCOL'::text])), DROP CONSTRAINT workspaces_asked_ck, ADD CONSTRAINT workspaces_asked_ck CHECK (asked = ANY (ARRAY[''::text, 'create'::text, 'replace'::text, 'start'::text, 'stop'::text, 'terminate'::text, 'modify'::text]));
CREATE INDEX workspaces_stopped_idx ON workspaces (updated_at) WHERE (state = 'STOPPED'::text);
CREATE INDEX workspaces_lifetime_idx ON workspaces ((((created_at AT TIME ZONE 'UTC'::text) + ((max_lifetime_days)::double precision * '1 day'::interval)))) WHERE ((max_lifetime_days IS NOT NULL) AND (terminated_at IS NULL));
DROP INDEX budget_holds_stop_idx;
ALTER TABLE budget_holds DROP COLUMN stop_at;
ALTER TABLE budget_entries DROP CONSTRAINT budget_entries_kind_ck, ADD CONSTRAINT budget_entries_kind_ck CHECK (kind = ANY (ARRAY['open'::text, 'limit'::text, 'hold'::text, 'renew'::text, 'release'::text, 'charge'::text, 'carry'::text]));
