-- forge: oldest binary 1

-- What the reconciler must know to survive Amazon's faults, and what is measured of provisioning.

-- +goose Up
ALTER TABLE workspaces
  ADD COLUMN replaced integer NOT NULL DEFAULT 0,
  ADD COLUMN replacing boolean NOT NULL DEFAULT false,
  ADD COLUMN flag text NOT NULL DEFAULT '',
  ADD COLUMN unclear boolean NOT NULL DEFAULT false,
  ADD COLUMN state_since timestamptz NOT NULL DEFAULT now(),
  ADD COLUMN first_asked_at timestamptz,
  ADD COLUMN accepted_at timestamptz;
UPDATE workspaces SET state_since = updated_at WHERE terminated_at IS NULL;
ALTER TABLE workspaces
  DROP CONSTRAINT workspaces_asked_ck,
  ADD CONSTRAINT workspaces_asked_ck CHECK (asked IN ('', 'create', 'replace', 'start', 'stop', 'terminate', 'modify')),
  ADD CONSTRAINT workspaces_flag_ck CHECK (flag IN ('', 'STUCK', 'PROTOCOL'));
CREATE INDEX workspaces_provisioned_idx ON workspaces (region, available_at) INCLUDE (created_at) WHERE available_at IS NOT NULL;

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
GRANT SELECT, INSERT, UPDATE, DELETE ON provider_holds TO :"app";

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
GRANT SELECT, INSERT, UPDATE ON aws_limits TO :"app";

-- +goose Down
DROP TABLE aws_limits;
DROP TABLE provider_holds;

DROP INDEX workspaces_provisioned_idx;
UPDATE workspaces SET asked = '', asked_at = NULL WHERE asked = 'replace';
ALTER TABLE workspaces
  DROP CONSTRAINT workspaces_flag_ck,
  DROP CONSTRAINT workspaces_asked_ck,
  ADD CONSTRAINT workspaces_asked_ck CHECK (asked IN ('', 'create', 'start', 'stop', 'terminate', 'modify')),
  DROP COLUMN accepted_at,
  DROP COLUMN first_asked_at,
  DROP COLUMN state_since,
  DROP COLUMN unclear,
  DROP COLUMN flag,
  DROP COLUMN replacing,
  DROP COLUMN replaced;
