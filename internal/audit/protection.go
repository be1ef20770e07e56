package audit

import (
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/postgres"
)

// protection looks whether the database keeps everybody from changing the log as Forge made it to: rights, triggers,
// rules, constraints and partitions. A superuser can change all that and back; what he changed of the log, the other
// checks find.
func (p *prover) protection() error {
	p.Made(verify.Schema)
	found, err := postgres.Many[struct{ What string }](p.ctx, p.Pool, unprotected)
	if err != nil {
		return err
	}
	for _, f := range found {
		p.Fail(verify.Schema, -1, "", "%s", f.What)
	}
	health, err := CheckPartitions(p.ctx, p.Pool, p.Clock())
	if err != nil {
		return err
	}
	for _, problem := range health.Problems {
		if problem.Severity == Critical {
			p.Fail(verify.Schema, -1, "", "%s: %s", problem.Table, problem.What)
		}
	}
	return nil
}

// unprotected selects what is not as it should be. Guarded are the tables in which nothing is ever changed, the row of the
// tree, which the application changes, and what it changes under a guard: archives and holds. Personal data is not among
// them: it can be erased.
const unprotected = `
	WITH guarded AS (
		SELECT c.oid, c.relname, c.relowner, c.relacl, c.relrowsecurity, c.relkind, n.nspname = 'audit_parts' AS part
		FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'public' AND c.relname IN ('audit_logs', 'audit_bundles', 'audit_tiles', 'audit_checkpoints', 'audit_cosignatures', 'audit_quarantine', 'audit_tree', 'audit_archives', 'audit_holds')
		   OR n.nspname = 'audit_parts' AND c.relname LIKE 'audit\_logs\_%' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
	), constrained (relname, conname) AS (
		VALUES ('audit_logs', 'audit_logs_pkey'), ('audit_logs', 'audit_logs_finite_ck'), ('audit_logs', 'audit_logs_leaf_size_ck'), ('audit_logs', 'audit_logs_mac_size_ck'),
		       ('audit_bundles', 'audit_bundles_pkey'), ('audit_bundles', 'audit_bundles_full_ck'), ('audit_tiles', 'audit_tiles_pkey'), ('audit_tiles', 'audit_tiles_full_ck'),
		       ('audit_checkpoints', 'audit_checkpoints_pkey'), ('audit_checkpoints', 'audit_checkpoints_root_ck'), ('audit_quarantine', 'audit_quarantine_pkey'),
		       ('audit_tree', 'audit_tree_pkey'), ('audit_tree', 'audit_tree_one_row_ck'), ('audit_tree', 'audit_tree_tail_ck'), ('audit_tree', 'audit_tree_cursor_ck'),
		       ('audit_cosignatures', 'audit_cosignatures_pkey')
	), recorded (relname, tgname, function) AS (
		SELECT r, r || '_recorded', 'refuse_unrecorded'
		FROM unnest(ARRAY['teams', 'users', 'projects', 'blueprints', 'user_budgets', 'budget_requests', 'budget_templates', 'blueprint_versions', 'blueprint_statuses', 'blueprint_promotions',
		                  'price_books', 'cost_months', 'policy_pauses', 'tokens', 'workspaces']) r
		UNION ALL SELECT 'workspaces', 'workspaces_recorded_again', 'refuse_unrecorded'
		UNION ALL SELECT r, r || '_recorded', 'refuse_unrecorded_removal' FROM unnest(ARRAY['audit_subject_keys', 'audit_archives', 'audit_holds']) r
		UNION ALL SELECT r, r || '_guard', r || '_guard' FROM unnest(ARRAY['audit_archives', 'audit_holds']) r
	), functions (function, sha256) AS (
		VALUES ('audit_recorded', '6b7038c55569bcaca6c3618b42abb2ea62a1dc6a4e6d76cb0b781fad23536c52'), ('refuse_unrecorded', 'd531cfa844ffb960467c12e00ad11ebb3ac300c815229dc4d8cd065c06fc6652'),
		       ('refuse_unrecorded_removal', 'abe95f6e1d90d8214577a0c82cfde53e571f0e802c97e2b067e69799ee633675'), ('audit_entry_tables', '7d0942ffaa2216d4e611aa9fd986554a66bb1c4c00809ba13c7604bc039ca038'), ('audit_erase_clear', '8a5adad3800e26d5502f65cdce0d54f04ccfbed1b6dce8e6951a37719a6abebf'),
		       ('audit_erase_subject', '4fd1cf8565c7cc737fe1a4af2d5af99cb1775ec18bc67b429f0729c388f02052'),
		       ('audit_archives_guard', '84357e9033694534e1447bb1960b1ce1c2ecd056c7b0f5cf4a75638173f5f7ad'),
		       ('audit_holds_guard', '8356f88d9e2aeb7efb2579b8d67e95e1d0d5a57f6d273689087afc6fca164fd1'),
		       ('audit_witnessed_at', '4ba66641b353d218242fc31c20b18624a5df9237c84e2112db641b79ecb65be6'),
		       ('audit_drop_refusal', 'f82b6f24d62fe712b7e31c6da444ba56471a9ca5826e3c0780b674b9db8236ac'),
		       ('audit_drop_month', '7dee2854c76c3e878a38677e494afb2235e7dbb71c823d3cb9d6c7bdcd46d734')
	)
	SELECT format('%s may %s in %s', coalesce(r.rolname, 'everybody'), a.privilege_type, g.relname) AS what
	FROM guarded g
	CROSS JOIN LATERAL aclexplode(g.relacl) a
	LEFT JOIN pg_roles r ON r.oid = a.grantee
	WHERE a.grantee <> g.relowner
	  AND (a.privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER') OR g.part AND a.privilege_type <> 'SELECT')
	  AND NOT (g.relname IN ('audit_tree', 'audit_archives', 'audit_holds') AND a.privilege_type = 'UPDATE')
	UNION ALL
	SELECT format('%s may UPDATE the column %s of %s', coalesce(r.rolname, 'everybody'), t.attname, g.relname)
	FROM guarded g
	JOIN pg_attribute t ON t.attrelid = g.oid
	CROSS JOIN LATERAL aclexplode(t.attacl) a
	LEFT JOIN pg_roles r ON r.oid = a.grantee
	WHERE a.grantee <> g.relowner AND a.privilege_type = 'UPDATE'
	UNION ALL
	SELECT format('%s has the trigger %s', g.relname, t.tgname)
	FROM guarded g
	JOIN pg_trigger t ON t.tgrelid = g.oid
	WHERE NOT t.tgisinternal AND NOT (g.relname IN ('audit_archives', 'audit_holds') AND t.tgname IN (g.relname || '_guard', g.relname || '_recorded'))
	  AND NOT (g.relname = 'audit_logs' AND t.tgname = 'audit_logs_recorded' AND t.tgenabled = 'O' AND t.tgfoid = 'audit_recorded'::regproc)
	UNION ALL
	SELECT format('changes of %s no longer need an entry: the trigger %s is not there, or is switched off', n.relname, n.tgname)
	FROM recorded n
	WHERE NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = n.relname::regclass AND t.tgname = n.tgname AND t.tgenabled = 'O' AND t.tgfoid = n.function::regproc)
	UNION ALL
	SELECT format('the function %s is not as Forge made it', n.function)
	FROM functions n
	WHERE NOT EXISTS (SELECT FROM pg_proc f WHERE f.oid = to_regproc(n.function) AND encode(sha256(convert_to(f.prosrc, 'UTF8')), 'hex') = n.sha256)
	UNION ALL
	SELECT format('%s has the rule %s', g.relname, w.rulename)
	FROM guarded g
	JOIN pg_rewrite w ON w.ev_class = g.oid
	UNION ALL
	SELECT format('row security hides rows of %s', g.relname)
	FROM guarded g
	WHERE g.relrowsecurity
	UNION ALL
	SELECT format('%s has another owner than the log', g.relname)
	FROM guarded g
	WHERE g.relowner <> (SELECT l.relowner FROM guarded l WHERE l.relname = 'audit_logs')
	UNION ALL
	SELECT format('%s is no table as Forge makes it', g.relname)
	FROM guarded g
	WHERE g.relkind <> CASE WHEN g.relname = 'audit_logs' THEN 'p' ELSE 'r' END
	UNION ALL
	SELECT format('%s does not take the number of the transaction for the column xid', g.relname)
	FROM guarded g
	LEFT JOIN pg_attribute t ON t.attrelid = g.oid AND t.attname = 'xid'
	LEFT JOIN pg_attrdef d ON d.adrelid = g.oid AND d.adnum = t.attnum
	WHERE (g.part OR g.relname = 'audit_logs') AND pg_get_expr(d.adbin, d.adrelid) IS DISTINCT FROM 'pg_current_xact_id()'
	UNION ALL
	SELECT format('%s lacks the constraint %s', n.relname, n.conname)
	FROM constrained n
	WHERE NOT EXISTS (SELECT FROM guarded g JOIN pg_constraint c ON c.conrelid = g.oid WHERE g.relname = n.relname AND c.conname = n.conname AND c.convalidated)
	UNION ALL
	SELECT format('%s is not attached to the log', g.relname)
	FROM guarded g
	WHERE g.part AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = g.oid AND NOT i.inhdetachpending)
	  AND NOT EXISTS (SELECT FROM audit_archives a WHERE a.state = 'detached' AND g.relname = 'audit_logs_' || to_char(a.month AT TIME ZONE 'UTC', 'YYYY_MM'))
	UNION ALL
	SELECT format('triggers and rules are switched off for %s', coalesce(r.rolname, 'every login'))
	FROM pg_db_role_setting s
	LEFT JOIN pg_roles r ON r.oid = s.setrole
	CROSS JOIN LATERAL unnest(s.setconfig) o (setting)
	WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())) AND o.setting LIKE 'session\_replication\_role=%'`
