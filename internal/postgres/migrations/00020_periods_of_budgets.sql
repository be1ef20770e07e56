-- forge: oldest binary 20

-- Budgets of quarters, of years and of a span of months; templates; several thresholds. What a budget was at a time stays.

-- +goose Up
CREATE EXTENSION btree_gist;
CREATE TABLE budget_templates (
  id text NOT NULL,
  role text NULL,
  team_id text NULL,
  amount_micros bigint NOT NULL,
  period text NOT NULL,
  warning_percents integer[] NOT NULL,
  enforcement text NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  ended_at timestamptz NULL,
  version bigint NOT NULL DEFAULT 1,
  PRIMARY KEY (id),
  CONSTRAINT budget_templates_team_fk FOREIGN KEY (team_id) REFERENCES teams (id) ON UPDATE NO ACTION ON DELETE NO ACTION,
  CONSTRAINT budget_templates_amount_ck CHECK (amount_micros BETWEEN 0 AND 999999999999999999),
  CONSTRAINT budget_templates_enforcement_ck CHECK (enforcement IN ('block', 'block_and_stop', 'warn')),
  CONSTRAINT budget_templates_period_ck CHECK (period IN ('MONTHLY', 'QUARTERLY', 'YEARLY')),
  CONSTRAINT budget_templates_role_ck CHECK (role IN ('engineer', 'contractor', 'team_lead', 'finance', 'auditor', 'admin')),
  CONSTRAINT budget_templates_warning_ck CHECK (cardinality(warning_percents) BETWEEN 1 AND 10 AND 0 < ALL (warning_percents) AND 100 > ALL (warning_percents))
);
CREATE UNIQUE INDEX budget_templates_for_uq ON budget_templates (coalesce(role, ''), coalesce(team_id, '')) WHERE ended_at IS NULL;
GRANT INSERT, SELECT, UPDATE ON budget_templates TO :"app";
CREATE CONSTRAINT TRIGGER budget_templates_recorded AFTER INSERT OR UPDATE OR DELETE ON budget_templates DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();

ALTER TABLE user_budgets
  DROP CONSTRAINT user_budgets_period_ck,
  DROP CONSTRAINT user_budgets_warning_ck,
  ADD COLUMN valid_from timestamptz,
  ADD COLUMN valid_until timestamptz NOT NULL DEFAULT 'infinity',
  ADD COLUMN closed_at timestamptz,
  ADD COLUMN warning_percents integer[],
  ADD COLUMN template_id text;
UPDATE user_budgets SET valid_from = date_trunc('month', created_at, 'UTC'), warning_percents = ARRAY[warning_percent];
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE user_budgets
  DROP COLUMN warning_percent,
  ALTER COLUMN valid_from SET NOT NULL,
  ALTER COLUMN warning_percents SET NOT NULL,
  ADD CONSTRAINT user_budgets_template_fk FOREIGN KEY (template_id) REFERENCES budget_templates (id),
  ADD CONSTRAINT user_budgets_period_ck CHECK (period IN ('MONTHLY', 'QUARTERLY', 'YEARLY', 'CUSTOM')),
  ADD CONSTRAINT user_budgets_custom_ck CHECK (period <> 'CUSTOM' OR isfinite(valid_until)),
  ADD CONSTRAINT user_budgets_valid_ck CHECK (valid_until >= valid_from),
  ADD CONSTRAINT user_budgets_closed_ck CHECK (closed_at IS NULL OR isfinite(valid_until)),
  ADD CONSTRAINT user_budgets_warning_ck CHECK (cardinality(warning_percents) BETWEEN 1 AND 10 AND 0 < ALL (warning_percents) AND 100 > ALL (warning_percents)),
  ADD CONSTRAINT user_budgets_one_at_a_time_ex EXCLUDE USING gist ((scope || ':' || scope_id) WITH =, tstzrange(valid_from, valid_until) WITH &&);
DROP INDEX user_budgets_scope_uq;
CREATE INDEX user_budgets_scope_idx ON user_budgets (scope_id, scope, valid_until);
CREATE INDEX user_budgets_open_idx ON user_budgets (valid_until) WHERE closed_at IS NULL;
CREATE INDEX user_budgets_template_idx ON user_budgets (template_id) WHERE template_id IS NOT NULL;

ALTER TABLE budget_versions
  DROP CONSTRAINT budget_versions_cause_ck,
  ADD CONSTRAINT budget_versions_cause_ck CHECK (cause IN ('set', 'request', 'loan', 'loan_ended', 'template', 'ended')),
  ADD COLUMN period text,
  ADD COLUMN valid_from timestamptz,
  ADD COLUMN valid_until timestamptz,
  ADD COLUMN warning_percents integer[];
UPDATE budget_versions v
SET period = b.period, valid_from = b.valid_from, valid_until = b.valid_until, warning_percents = ARRAY[v.warning_percent]
FROM user_budgets b
WHERE b.id = v.budget_id;
ALTER TABLE budget_versions
  DROP COLUMN warning_percent,
  ALTER COLUMN period SET NOT NULL,
  ALTER COLUMN valid_from SET NOT NULL,
  ALTER COLUMN valid_until SET NOT NULL,
  ALTER COLUMN warning_percents SET NOT NULL;

ALTER TABLE budget_periods ADD COLUMN warned_percent integer NOT NULL DEFAULT 0, ADD COLUMN foretold_percent integer NOT NULL DEFAULT 0, ADD COLUMN shortfall_at timestamptz;
UPDATE budget_periods p SET warned_percent = b.warning_percents[1] FROM user_budgets b WHERE b.id = p.budget_id AND p.warned_at IS NOT NULL;

-- +goose Down
-- The schema before has one monthly budget of a scope with one threshold, the highest: with more of a scope, this fails.
ALTER TABLE budget_periods DROP COLUMN shortfall_at, DROP COLUMN foretold_percent, DROP COLUMN warned_percent;
ALTER TABLE budget_versions
  DROP CONSTRAINT budget_versions_cause_ck,
  ADD COLUMN warning_percent integer;
UPDATE budget_versions SET warning_percent = (SELECT max(w) FROM unnest(warning_percents) w), cause = CASE cause WHEN 'ended' THEN 'set' ELSE cause END;
ALTER TABLE budget_versions
  ADD CONSTRAINT budget_versions_cause_ck CHECK (cause IN ('set', 'request', 'loan', 'loan_ended', 'template')),
  ALTER COLUMN warning_percent SET NOT NULL,
  DROP COLUMN warning_percents,
  DROP COLUMN valid_until,
  DROP COLUMN valid_from,
  DROP COLUMN period;
DROP INDEX user_budgets_template_idx;
DROP INDEX user_budgets_open_idx;
DROP INDEX user_budgets_scope_idx;
CREATE UNIQUE INDEX user_budgets_scope_uq ON user_budgets (scope_id, scope);
ALTER TABLE user_budgets
  DROP CONSTRAINT user_budgets_one_at_a_time_ex,
  DROP CONSTRAINT user_budgets_warning_ck,
  DROP CONSTRAINT user_budgets_closed_ck,
  DROP CONSTRAINT user_budgets_valid_ck,
  DROP CONSTRAINT user_budgets_custom_ck,
  DROP CONSTRAINT user_budgets_period_ck,
  DROP CONSTRAINT user_budgets_template_fk,
  ADD COLUMN warning_percent integer;
UPDATE user_budgets SET warning_percent = (SELECT max(w) FROM unnest(warning_percents) w), period = 'MONTHLY';
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE user_budgets
  ALTER COLUMN warning_percent SET NOT NULL,
  ADD CONSTRAINT user_budgets_period_ck CHECK (period IN ('MONTHLY')),
  ADD CONSTRAINT user_budgets_warning_ck CHECK (warning_percent BETWEEN 1 AND 99),
  DROP COLUMN template_id,
  DROP COLUMN warning_percents,
  DROP COLUMN closed_at,
  DROP COLUMN valid_until,
  DROP COLUMN valid_from;
DROP TABLE budget_templates;
DROP EXTENSION btree_gist;
