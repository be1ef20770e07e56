-- forge: oldest binary 1

-- No change of what the audit log is about commits without an entry. Every program so far writes one.

-- +goose Up
-- Whoever changes what the log is about writes an entry in the same transaction. The program sees to it (audit.Log.Change);
-- that it was not forgotten is checked when the transaction commits, for whoever has no more than the application's rights.
-- +goose StatementBegin
CREATE FUNCTION audit_recorded() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  PERFORM set_config('forge.recorded', pg_current_xact_id()::text, true);
  RETURN NULL;
END
$body$;
-- +goose StatementEnd
CREATE TRIGGER audit_logs_recorded AFTER INSERT ON audit_logs FOR EACH STATEMENT EXECUTE FUNCTION audit_recorded();

-- +goose StatementBegin
CREATE FUNCTION refuse_unrecorded() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  IF current_setting('forge.recorded', true) IS DISTINCT FROM pg_current_xact_id()::text AND NOT has_table_privilege(TG_RELID, 'TRUNCATE') THEN
    RAISE EXCEPTION 'a change of % without an entry in the audit log', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  RETURN NULL;
END
$body$;
-- +goose StatementEnd
CREATE CONSTRAINT TRIGGER teams_recorded AFTER INSERT OR UPDATE OR DELETE ON teams DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER users_recorded AFTER INSERT OR UPDATE OR DELETE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER projects_recorded AFTER INSERT OR UPDATE OR DELETE ON projects DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER blueprints_recorded AFTER INSERT OR UPDATE OR DELETE ON blueprints DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER user_budgets_recorded AFTER INSERT OR UPDATE OR DELETE ON user_budgets DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER blueprint_versions_recorded AFTER INSERT ON blueprint_versions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER blueprint_statuses_recorded AFTER INSERT ON blueprint_statuses DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER blueprint_promotions_recorded AFTER INSERT ON blueprint_promotions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER price_books_recorded AFTER INSERT ON price_books DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER policy_pauses_recorded AFTER INSERT OR UPDATE OR DELETE ON policy_pauses DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER tokens_recorded AFTER INSERT OR UPDATE OF revoked_at OR DELETE ON tokens DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
CREATE CONSTRAINT TRIGGER workspaces_recorded AFTER INSERT OR DELETE ON workspaces DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unrecorded();
-- A WorkSpace's version is what others see of it; leases and the like change without.
CREATE CONSTRAINT TRIGGER workspaces_recorded_again AFTER UPDATE ON workspaces DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.version IS DISTINCT FROM NEW.version) EXECUTE FUNCTION refuse_unrecorded();

-- +goose Down
DROP TRIGGER workspaces_recorded_again ON workspaces;
DROP TRIGGER workspaces_recorded ON workspaces;
DROP TRIGGER tokens_recorded ON tokens;
DROP TRIGGER policy_pauses_recorded ON policy_pauses;
DROP TRIGGER price_books_recorded ON price_books;
DROP TRIGGER blueprint_promotions_recorded ON blueprint_promotions;
DROP TRIGGER blueprint_statuses_recorded ON blueprint_statuses;
DROP TRIGGER blueprint_versions_recorded ON blueprint_versions;
DROP TRIGGER user_budgets_recorded ON user_budgets;
DROP TRIGGER blueprints_recorded ON blueprints;
DROP TRIGGER projects_recorded ON projects;
DROP TRIGGER users_recorded ON users;
DROP TRIGGER teams_recorded ON teams;
DROP TRIGGER audit_logs_recorded ON audit_logs;
DROP FUNCTION refuse_unrecorded();
DROP FUNCTION audit_recorded();
