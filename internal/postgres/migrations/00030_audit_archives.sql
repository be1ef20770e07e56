-- forge: oldest binary 1

-- A person can be erased from the audit log, and months of it archived.

-- +goose Up
-- +goose StatementBegin
-- Takes what stands in clear beside personal data whose key was erased, and returns how many entries had any.
CREATE FUNCTION audit_erase_clear(subject text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $body$
DECLARE
  n bigint;
BEGIN
  UPDATE audit_logs a
  SET source_ip = NULL, user_agent = NULL
  FROM audit_personal_data d
  JOIN audit_subject_keys k ON k.subject_id = d.subject_id AND k.generation = d.key_generation AND k.erased_at IS NOT NULL
  WHERE a.user_id = subject AND (a.source_ip IS NOT NULL OR a.user_agent IS NOT NULL)
    AND d.timestamp = a.timestamp AND d.entry_id = a.id AND d.subject_id = subject;
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END
$body$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Erases what the log knows of a person: the bytes of the keys, and what stands in clear. Entries, hashes and proofs stay.
-- Returns how many entries that concerned, and up to which generation the keys are gone; 0 and NULL when nothing was known.
CREATE FUNCTION audit_erase_subject(subject text, at timestamptz, OUT entries bigint, OUT through integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $body$
BEGIN
  WITH gone AS (
    UPDATE audit_subject_keys SET wrapped_key = '', erased_at = at WHERE subject_id = subject AND erased_at IS NULL RETURNING generation
  )
  SELECT max(g.generation), (
    SELECT count(*)
    FROM audit_logs a
    JOIN audit_personal_data d ON d.timestamp = a.timestamp AND d.entry_id = a.id
    WHERE a.user_id = subject AND d.subject_id = subject AND d.key_generation IN (SELECT generation FROM gone))
  INTO through, entries
  FROM gone g;
  PERFORM audit_erase_clear(subject);
END
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

REVOKE ALL ON FUNCTION audit_erase_clear(text), audit_erase_subject(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_erase_clear(text), audit_erase_subject(text, timestamptz) TO :"app";

-- +goose Down
DROP TRIGGER audit_subject_keys_recorded ON audit_subject_keys;
DROP FUNCTION refuse_unrecorded_removal();
DROP FUNCTION audit_erase_subject(text, timestamptz);
DROP FUNCTION audit_erase_clear(text);
