-- forge: oldest binary 1

-- A person can be erased from the audit log, and months of it archived.

-- +goose Up
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

-- +goose StatementBegin
-- The tables that have entries and what is known of persons: the log's, and those of detached months.
CREATE FUNCTION audit_entry_tables(OUT entries text, OUT personal text) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $body$
  SELECT 'public.audit_logs', 'public.audit_personal_data'
  UNION ALL
  SELECT 'audit_parts.audit_logs' || s.suffix, 'audit_parts.audit_personal_data' || s.suffix
  FROM (SELECT to_char(month, '_YYYY_MM') AS suffix FROM audit_archives WHERE state = 'detached') s
  WHERE to_regclass('audit_parts.audit_logs' || s.suffix) IS NOT NULL AND to_regclass('audit_parts.audit_personal_data' || s.suffix) IS NOT NULL
$body$;
-- +goose StatementEnd

-- +goose StatementBegin
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
-- +goose StatementEnd

-- +goose StatementBegin
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
-- +goose StatementEnd

-- +goose StatementBegin
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
-- +goose StatementEnd
CREATE TRIGGER audit_archives_guard BEFORE INSERT OR UPDATE OR DELETE ON audit_archives FOR EACH ROW EXECUTE FUNCTION audit_archives_guard();

-- +goose StatementBegin
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
-- +goose StatementEnd
CREATE TRIGGER audit_holds_guard BEFORE UPDATE OR DELETE ON audit_holds FOR EACH ROW EXECUTE FUNCTION audit_holds_guard();

-- +goose StatementBegin
-- The latest instant that a witness has named; NULL when none has. It stands in the signature's line (C2SP
-- tlog-cosignature: four bytes of the key, eight of the time), which whoever verifies the log checks.
CREATE FUNCTION audit_witnessed_at() RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $body$
  SELECT max(least(c.cosigned_at, to_timestamp(('x' || encode(substring(decode(split_part(btrim(c.line, E'\n'), ' ', 3), 'base64') FROM 5 FOR 8), 'hex'))::bit(64)::bigint)))
  FROM audit_cosignatures c
$body$;
-- +goose StatementEnd

-- +goose StatementBegin
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
-- +goose StatementEnd

-- +goose StatementBegin
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
-- +goose StatementEnd

-- +goose StatementBegin
-- The months from January 2026 up to the last that no partition but the overflow one of the future takes, without those
-- that were archived.
CREATE OR REPLACE FUNCTION audit_months_missing(last_month timestamptz, OUT parent text, OUT lower timestamptz, OUT upper timestamptz)
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
-- +goose StatementEnd

-- +goose StatementBegin
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
-- +goose StatementEnd
CREATE CONSTRAINT TRIGGER audit_subject_keys_recorded AFTER UPDATE ON audit_subject_keys DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded_removal();
CREATE CONSTRAINT TRIGGER audit_archives_recorded AFTER INSERT OR UPDATE ON audit_archives DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded_removal();
CREATE CONSTRAINT TRIGGER audit_holds_recorded AFTER INSERT OR UPDATE ON audit_holds DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded_removal();

GRANT SELECT, INSERT, UPDATE ON audit_archives, audit_holds TO :"app";
REVOKE ALL ON FUNCTION audit_erase_clear(text), audit_erase_subject(text, timestamptz), audit_drop_month(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_erase_clear(text), audit_erase_subject(text, timestamptz), audit_drop_month(timestamptz) TO :"app";

-- +goose Down
-- +goose StatementBegin
-- The months from January 2026 up to the last that no partition but the overflow one of the future takes.
CREATE OR REPLACE FUNCTION audit_months_missing(last_month timestamptz, OUT parent text, OUT lower timestamptz, OUT upper timestamptz)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $body$
  SELECT t.parent, m, m + interval '1 month'
  FROM unnest(ARRAY['audit_logs', 'audit_personal_data']) t (parent),
       generate_series('2026-01-01 00:00:00+00', last_month, interval '1 month') m
  WHERE NOT EXISTS (
    SELECT FROM audit_partitions() p
    WHERE p.parent = t.parent AND p.lower < m + interval '1 month' AND p.upper > m AND p.upper < 'infinity')
  ORDER BY t.parent, m
$body$;
-- +goose StatementEnd
DROP TRIGGER audit_subject_keys_recorded ON audit_subject_keys;
DROP FUNCTION audit_drop_month(timestamptz);
DROP FUNCTION audit_drop_refusal(timestamptz);
DROP FUNCTION audit_witnessed_at();
DROP FUNCTION audit_erase_subject(text, timestamptz);
DROP FUNCTION audit_erase_clear(text);
DROP FUNCTION audit_entry_tables();
DROP TABLE audit_holds;
DROP TABLE audit_archives;
DROP FUNCTION audit_holds_guard();
DROP FUNCTION audit_archives_guard();
DROP FUNCTION refuse_unrecorded_removal();
