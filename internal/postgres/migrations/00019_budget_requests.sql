-- forge: oldest binary 9

-- Who needs more of a budget asks for it, and what was lent goes back; every state that a budget had is kept.

-- +goose Up
CREATE INDEX budget_entries_budget_idx ON budget_entries (budget_id, id);
ALTER TABLE user_budgets ADD CONSTRAINT user_budgets_lent_ck CHECK ((lent_micros >= 0) AND ((amount_micros + lent_micros) <= '999999999999999999'::bigint)), ADD COLUMN lent_micros bigint NOT NULL DEFAULT 0;
CREATE TABLE budget_requests (
  id text NOT NULL,
  budget_id text NOT NULL,
  asked_by text NOT NULL,
  team_id text NULL,
  asked_micros bigint NOT NULL,
  asked_until timestamptz NULL,
  reason text NOT NULL,
  state text NOT NULL DEFAULT 'PENDING',
  granted_micros bigint NULL,
  until timestamptz NULL,
  decided_by text NULL,
  decided_at timestamptz NULL,
  note text NOT NULL DEFAULT '',
  returned_at timestamptz NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (id),
  CONSTRAINT budget_requests_asked_by_fk FOREIGN KEY (asked_by) REFERENCES users (id) ON UPDATE NO ACTION ON DELETE NO ACTION,
  CONSTRAINT budget_requests_budget_fk FOREIGN KEY (budget_id) REFERENCES user_budgets (id) ON UPDATE NO ACTION ON DELETE NO ACTION,
  CONSTRAINT budget_requests_amount_ck CHECK ((asked_micros > 0) AND (granted_micros > 0)),
  CONSTRAINT budget_requests_decided_ck CHECK (((state = ANY (ARRAY['PENDING'::text, 'WITHDRAWN'::text, 'EXPIRED'::text])) = (decided_by IS NULL)) AND ((decided_by IS NULL) = (decided_at IS NULL))),
  CONSTRAINT budget_requests_granted_ck CHECK ((state = ANY (ARRAY['APPROVED'::text, 'LENT'::text, 'RETURNED'::text])) = (granted_micros IS NOT NULL)),
  CONSTRAINT budget_requests_loan_ck CHECK ((state <> ALL (ARRAY['LENT'::text, 'RETURNED'::text])) OR (until IS NOT NULL)),
  CONSTRAINT budget_requests_not_own_ck CHECK (decided_by <> asked_by),
  CONSTRAINT budget_requests_returned_ck CHECK ((state = 'RETURNED'::text) = (returned_at IS NOT NULL)),
  CONSTRAINT budget_requests_state_ck CHECK (state = ANY (ARRAY['PENDING'::text, 'APPROVED'::text, 'LENT'::text, 'RETURNED'::text, 'DECLINED'::text, 'WITHDRAWN'::text, 'EXPIRED'::text]))
);
CREATE INDEX budget_requests_asked_by_idx ON budget_requests (asked_by, id);
CREATE INDEX budget_requests_budget_idx ON budget_requests (budget_id, id);
CREATE INDEX budget_requests_expiry_idx ON budget_requests (asked_until) WHERE ((state = 'PENDING'::text) AND (asked_until IS NOT NULL));
CREATE INDEX budget_requests_loan_idx ON budget_requests (until) WHERE (state = 'LENT'::text);
CREATE UNIQUE INDEX budget_requests_pending_uq ON budget_requests (budget_id, asked_by) WHERE (state = 'PENDING'::text);
CREATE INDEX budget_requests_state_idx ON budget_requests (state, id);
CREATE INDEX budget_requests_team_idx ON budget_requests (team_id, id);
CREATE TABLE budget_versions (
  budget_id text NOT NULL,
  version bigint NOT NULL,
  at timestamptz NOT NULL,
  set_by text NOT NULL,
  cause text NOT NULL,
  request_id text NULL,
  amount_micros bigint NOT NULL,
  lent_micros bigint NOT NULL,
  warning_percent integer NOT NULL,
  enforcement text NOT NULL,
  PRIMARY KEY (budget_id, version),
  CONSTRAINT budget_versions_budget_fk FOREIGN KEY (budget_id) REFERENCES user_budgets (id) ON UPDATE NO ACTION ON DELETE NO ACTION,
  CONSTRAINT budget_versions_cause_ck CHECK (cause = ANY (ARRAY['set'::text, 'request'::text, 'loan'::text, 'loan_ended'::text, 'template'::text]))
);
INSERT INTO budget_versions (budget_id, version, at, set_by, cause, amount_micros, lent_micros, warning_percent, enforcement)
SELECT id, version, updated_at, 'system', 'set', amount_micros, lent_micros, warning_percent, enforcement FROM user_budgets;
CREATE CONSTRAINT TRIGGER budget_requests_recorded AFTER INSERT OR UPDATE OR DELETE ON budget_requests DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
GRANT INSERT, SELECT, UPDATE ON budget_requests TO :"app";
GRANT INSERT, SELECT ON budget_versions TO :"app";

-- +goose Down
DROP TABLE budget_versions;
DROP INDEX budget_requests_team_idx;
DROP INDEX budget_requests_state_idx;
DROP INDEX budget_requests_pending_uq;
DROP INDEX budget_requests_loan_idx;
DROP INDEX budget_requests_expiry_idx;
DROP INDEX budget_requests_budget_idx;
DROP INDEX budget_requests_asked_by_idx;
DROP TABLE budget_requests;
ALTER TABLE user_budgets DROP CONSTRAINT user_budgets_lent_ck, DROP COLUMN lent_micros;
DROP INDEX budget_entries_budget_idx;
