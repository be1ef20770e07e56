-- forge: oldest binary 9

-- closed months of costs

-- +goose Up
CREATE TABLE cost_late_records (
  record_id text NOT NULL,
  reported_in timestamptz NOT NULL,
  PRIMARY KEY (record_id),
  CONSTRAINT cost_late_records_record_fk FOREIGN KEY (record_id) REFERENCES cost_records (id) ON UPDATE NO ACTION ON DELETE NO ACTION
);
CREATE INDEX cost_late_records_reported_idx ON cost_late_records (reported_in);
CREATE TABLE cost_months (
  month timestamptz NOT NULL,
  closed_at timestamptz NOT NULL,
  closed_by text NOT NULL,
  records bigint NOT NULL,
  last_record text NOT NULL,
  total_micros bigint NOT NULL,
  content_hash bytea NOT NULL,
  PRIMARY KEY (month),
  CONSTRAINT cost_months_content_hash_ck CHECK (octet_length(content_hash) = 32),
  CONSTRAINT cost_months_month_ck CHECK (month = date_trunc('month'::text, month, 'UTC'::text))
);
CREATE TABLE cost_month_names (
  month timestamptz NOT NULL,
  id text NOT NULL,
  name text NOT NULL,
  provider_id text NOT NULL,
  PRIMARY KEY (month, id)
);
GRANT INSERT, SELECT ON cost_late_records TO :"app";
GRANT INSERT, SELECT ON cost_month_names TO :"app";
GRANT INSERT, SELECT ON cost_months TO :"app";
-- +goose StatementBegin
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
-- +goose StatementEnd
CREATE TRIGGER cost_months_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON cost_months FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER cost_month_names_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON cost_month_names FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER cost_late_records_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON cost_late_records FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER cost_months_recorded AFTER INSERT ON cost_months DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE TRIGGER cost_records_late AFTER INSERT ON cost_records REFERENCING NEW TABLE AS inserted
FOR EACH STATEMENT EXECUTE FUNCTION note_late_records();

-- +goose Down
DROP TRIGGER cost_records_late ON cost_records;
DROP FUNCTION note_late_records();
DROP TABLE cost_month_names;
DROP TABLE cost_months;
DROP INDEX cost_late_records_reported_idx;
DROP TABLE cost_late_records;
