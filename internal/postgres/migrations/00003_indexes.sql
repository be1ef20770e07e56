-- forge: oldest binary 1

-- The indexes that the queries need; ADR 0013 says which query each is for. Writers of a table wait while its indexes are
-- built: with millions of audit entries that is minutes, so choose a quiet hour.

-- +goose Up
CREATE INDEX workspaces_live_idx ON workspaces (id) WHERE terminated_at IS NULL;
CREATE INDEX workspaces_team_live_idx ON workspaces (team_id, id) WHERE terminated_at IS NULL;
CREATE INDEX workspaces_state_idx ON workspaces (state, id) WHERE state <> 'TERMINATED';
CREATE INDEX workspaces_blueprint_version_idx ON workspaces (blueprint_version_id) WHERE terminated_at IS NULL;
CREATE INDEX workspaces_lifetime_idx ON workspaces (((created_at AT TIME ZONE 'UTC') + max_lifetime_days * INTERVAL '1 day'))
  WHERE max_lifetime_days IS NOT NULL AND terminated_at IS NULL;
CREATE INDEX workspaces_stopped_idx ON workspaces (updated_at) WHERE state = 'STOPPED';

CREATE INDEX usage_open_user_idx ON usage (user_id) WHERE closed_at IS NULL;
CREATE INDEX usage_open_team_idx ON usage (team_id) WHERE closed_at IS NULL;

CREATE INDEX cost_records_project_idx ON cost_records (project_id, period_start) WHERE project_id IS NOT NULL;

DROP INDEX user_budgets_scope_uq;
CREATE UNIQUE INDEX user_budgets_scope_uq ON user_budgets (scope_id, scope);

DROP INDEX audit_logs_resource_type_idx;
CREATE INDEX audit_logs_resource_type_idx ON audit_logs (resource_type, resource_id, timestamp DESC, id DESC);
CREATE INDEX audit_logs_result_idx ON audit_logs (result, timestamp DESC, id DESC) WHERE result <> 'success';

-- +goose Down
DROP INDEX audit_logs_result_idx;
DROP INDEX audit_logs_resource_type_idx;
CREATE INDEX audit_logs_resource_type_idx ON audit_logs (resource_type, timestamp DESC, id DESC);

DROP INDEX user_budgets_scope_uq;
CREATE UNIQUE INDEX user_budgets_scope_uq ON user_budgets (scope, scope_id);

DROP INDEX cost_records_project_idx;

DROP INDEX usage_open_team_idx;
DROP INDEX usage_open_user_idx;

DROP INDEX workspaces_stopped_idx;
DROP INDEX workspaces_lifetime_idx;
DROP INDEX workspaces_blueprint_version_idx;
DROP INDEX workspaces_state_idx;
DROP INDEX workspaces_team_live_idx;
DROP INDEX workspaces_live_idx;
