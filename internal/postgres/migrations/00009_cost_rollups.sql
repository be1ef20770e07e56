-- forge: oldest binary 9

-- What costs are counted under, and their sums by the hour and by the day. Older programs do not write these, so they may
-- not run on it. Usage and records that are there get what their WorkSpace is now: how its tags were is not known any
-- more. Every record is rewritten once: a million take about a minute.

-- +goose Up
CREATE TABLE cost_attributions (
  id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  digest bytea NOT NULL,
  workspace_id text NOT NULL,
  user_id text NOT NULL,
  team_id text NOT NULL,
  project_id text NULL,
  cost_centre text NOT NULL,
  blueprint_id text NOT NULL,
  blueprint_version_id text NOT NULL,
  bundle_type text NOT NULL,
  region text NOT NULL,
  tags jsonb NOT NULL,
  PRIMARY KEY (id),
  CONSTRAINT cost_attributions_digest_ck CHECK (octet_length(digest) = 32)
);
CREATE UNIQUE INDEX cost_attributions_digest_uq ON cost_attributions (digest);
CREATE INDEX cost_attributions_project_idx ON cost_attributions (project_id) WHERE (project_id IS NOT NULL);
CREATE INDEX cost_attributions_team_idx ON cost_attributions (team_id);
CREATE INDEX cost_attributions_user_idx ON cost_attributions (user_id);
CREATE INDEX cost_attributions_workspace_idx ON cost_attributions (workspace_id);
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

INSERT INTO cost_attributions (digest, workspace_id, user_id, team_id, project_id, cost_centre, blueprint_id, blueprint_version_id, bundle_type, region, tags)
SELECT sha256(convert_to(jsonb_build_array(a.*)::text, 'UTF8')), a.workspace_id, a.user_id, a.team_id, a.project_id, a.cost_centre,
       v.blueprint_id, v.id, a.compute_type, a.region, w.tags
FROM (
  SELECT DISTINCT u.workspace_id, u.user_id, u.team_id, u.project_id, u.cost_centre, p.compute_type, p.region
  FROM usage u JOIN prices p ON p.id = u.price_id
) a JOIN workspaces w ON w.id = a.workspace_id JOIN blueprint_versions v ON v.id = w.blueprint_version_id;

ALTER TABLE usage ADD COLUMN attribution_id bigint;
UPDATE usage u
SET attribution_id = a.id
FROM cost_attributions a, prices p
WHERE p.id = u.price_id AND a.workspace_id = u.workspace_id AND a.user_id = u.user_id AND a.team_id = u.team_id
  AND a.project_id IS NOT DISTINCT FROM u.project_id AND a.cost_centre = u.cost_centre AND a.bundle_type = p.compute_type AND a.region = p.region;
ALTER TABLE usage ALTER COLUMN attribution_id SET NOT NULL,
  ADD CONSTRAINT usage_attribution_fk FOREIGN KEY (attribution_id) REFERENCES cost_attributions (id);

ALTER TABLE cost_records ADD COLUMN attribution_id bigint;
UPDATE cost_records c
SET attribution_id = u.attribution_id
FROM usage u
WHERE u.id = c.usage_id;
ALTER TABLE cost_records ALTER COLUMN attribution_id SET NOT NULL,
  ADD CONSTRAINT cost_records_attribution_fk FOREIGN KEY (attribution_id) REFERENCES cost_attributions (id);

INSERT INTO cost_hours (attribution_id, hour, shard, compute_micros, storage_micros, transfer_micros)
SELECT attribution_id, date_trunc('hour', period_start, 'UTC'), 0, sum(compute_cost_micros), sum(storage_cost_micros), sum(data_transfer_cost_micros)
FROM cost_records
GROUP BY 1, 2;

INSERT INTO cost_days (dimension, key, day, shard, compute_micros, storage_micros, transfer_micros)
SELECT d.dimension, d.key, date_trunc('day', h.hour, 'UTC'), 0, sum(h.compute_micros), sum(h.storage_micros), sum(h.transfer_micros)
FROM cost_hours h
JOIN cost_attributions a ON a.id = h.attribution_id
CROSS JOIN LATERAL (
  VALUES ('total', ''), ('workspace', a.workspace_id), ('user', a.user_id), ('team', a.team_id), ('project', coalesce(a.project_id, '')),
         ('cost_centre', a.cost_centre), ('blueprint', a.blueprint_id), ('bundle', a.bundle_type), ('region', a.region)
  UNION ALL
  SELECT 'tag:' || t.key, t.value FROM jsonb_each_text(a.tags) t
) d (dimension, key)
GROUP BY 1, 2, 3;

GRANT INSERT, SELECT ON cost_attributions TO :"app";
GRANT INSERT, SELECT, UPDATE ON cost_days TO :"app";
GRANT INSERT, SELECT, UPDATE ON cost_hours TO :"app";

-- +goose Down
ALTER TABLE usage DROP CONSTRAINT usage_attribution_fk, DROP COLUMN attribution_id;
ALTER TABLE cost_records DROP CONSTRAINT cost_records_attribution_fk, DROP COLUMN attribution_id;
DROP INDEX cost_hours_hour_idx;
DROP TABLE cost_hours;
DROP INDEX cost_days_day_idx;
DROP TABLE cost_days;
DROP INDEX cost_attributions_workspace_idx;
DROP INDEX cost_attributions_user_idx;
DROP INDEX cost_attributions_team_idx;
DROP INDEX cost_attributions_project_idx;
DROP INDEX cost_attributions_digest_uq;
DROP TABLE cost_attributions;
