-- forge: oldest binary 1

-- Blueprints: statuses of versions and promotions as history that stays, where a version was written, parameters.

-- +goose Up
ALTER TABLE blueprints ADD COLUMN owner text NOT NULL DEFAULT '', ADD COLUMN labels jsonb NOT NULL DEFAULT '{}';
ALTER TABLE blueprint_versions ADD COLUMN source jsonb NOT NULL DEFAULT '{}';
ALTER TABLE workspaces ADD COLUMN parameters jsonb NOT NULL DEFAULT '{}';
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

-- Every version there is has been the active one, one after another.
INSERT INTO blueprint_statuses (version_id, ordinal, status, set_by, set_at)
SELECT id, 1, 'published', created_by, created_at FROM blueprint_versions;
INSERT INTO blueprint_promotions (blueprint_id, ordinal, number, kind, set_by, set_at)
SELECT blueprint_id, number, number, 'promote', created_by, created_at FROM blueprint_versions;

-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  RAISE EXCEPTION 'rows of % are history and never change', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$body$;
-- +goose StatementEnd
CREATE TRIGGER blueprint_versions_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON blueprint_versions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER blueprint_statuses_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON blueprint_statuses FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER blueprint_promotions_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON blueprint_promotions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT INSERT, SELECT ON blueprint_statuses TO :"app";
GRANT INSERT, SELECT ON blueprint_promotions TO :"app";

-- +goose Down
DROP TABLE blueprint_promotions;
DROP TABLE blueprint_statuses;
DROP TRIGGER blueprint_versions_stay ON blueprint_versions;
DROP FUNCTION refuse_change();
ALTER TABLE workspaces DROP COLUMN parameters;
ALTER TABLE blueprint_versions DROP COLUMN source;
ALTER TABLE blueprints DROP COLUMN labels, DROP COLUMN owner;
