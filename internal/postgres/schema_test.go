package postgres_test

import (
	"testing"

	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

func TestTheApplicationMayAddToHistoryAndNotChangeIt(t *testing.T) {
	db := pgtest.New(t)
	for _, table := range []string{"audit_logs", "audit_personal_data", "blueprint_versions", "cost_records", "budget_entries", "workspace_events", "prices", "price_books"} {
		for _, right := range []string{"UPDATE", "DELETE", "TRUNCATE"} {
			var may bool
			if err := db.Pool.QueryRow(t.Context(), `SELECT has_table_privilege($1, $2)`, table, right).Scan(&may); err != nil {
				t.Fatal(err)
			}
			if may {
				t.Errorf("the application may %s %s", right, table)
			}
		}
	}
	if _, err := db.Pool.Exec(t.Context(), `CREATE TABLE mine (a int)`); err == nil {
		t.Error("the application may make tables")
	}
}

func TestAuditMonthsAreMadeOnceAndAMissingMonthFailsNoWrite(t *testing.T) {
	db := pgtest.New(t)
	if n := pgtest.Value[int](t, db, `SELECT audit_partitions_ensure(24)`); n != 0 {
		t.Errorf("%d partitions made again", n)
	}
	// A row far ahead goes to the overflow partition, and into its month once that is made, with its xid.
	db.Exec(t, `
		INSERT INTO audit_logs (timestamp, id, user_id, actor_type, action_type, resource_type, resource_id, result, code, interface, request_id, leaf, mac)
		VALUES (date_trunc('month', now()) + interval '26 months', gen_random_uuid(), 'u', 'system', 'a.b', 'r', '', 'success', '', 'api', '', '\x0102', decode(repeat('00', 32), 'hex'))`)
	xid := pgtest.Value[string](t, db, `SELECT xid::text FROM audit_parts.audit_logs_future`)
	if n := pgtest.Value[int](t, db, `SELECT audit_partitions_ensure(27)`); n != 6 { // three months of two tables
		t.Errorf("%d partitions made, want 6", n)
	}
	if n := pgtest.Value[int](t, db, `SELECT count(*) FROM audit_parts.audit_logs_future`); n != 0 {
		t.Errorf("%d rows are left in the overflow", n)
	}
	if moved := pgtest.Value[string](t, db, `SELECT xid::text FROM audit_logs`); moved != xid {
		t.Errorf("moving changed the xid from %s to %s", xid, moved)
	}
	// The server's zone is not UTC; the months are.
	if n := pgtest.Value[int](t, db, `
		SELECT count(*)
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'audit_logs'::regclass AND pg_get_expr(c.relpartbound, c.oid) NOT LIKE '%-01 00:00:00+00''%'`); n != 0 {
		t.Errorf("%d months are not cut at midnight UTC", n)
	}
}
