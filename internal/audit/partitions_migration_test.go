package audit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/migrate"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// shape is the structure of everything about the audit log, without its bounds and with one name for every partition.
func shape(t *testing.T, db *pgtest.DB) map[string]string {
	t.Helper()
	things, err := postgres.Many[struct{ Name, Shape string }](t.Context(), db.Owner, `
		SELECT c.relname::text AS name, concat_ws(E'\n', c.relkind, c.reloptions::text,
		  (SELECT string_agg(format('%s %s %s %s', attname, atttypid::regtype, attnotnull, (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum)), E'\n' ORDER BY attnum)
		   FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
		  (SELECT string_agg(format('%s %s %s %s', conname, pg_get_constraintdef(oid), conislocal, convalidated), E'\n' ORDER BY conname) FROM pg_constraint WHERE conrelid = c.oid),
		  (SELECT string_agg(pg_get_indexdef(indexrelid), E'\n' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = c.oid)) AS shape
		FROM pg_class c
		WHERE c.relkind IN ('r', 'p') AND (c.relnamespace = 'audit_parts'::regnamespace OR c.relname IN ('audit_logs', 'audit_personal_data'))
		UNION ALL
		SELECT oid::regprocedure::text, concat(pg_get_functiondef(oid), proacl) FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'audit%'`)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, thing := range things {
		out[thing.Name] = thing.Shape
	}
	return out
}

func TestTheMigrationGoesUpAndDownWithEveryRowAndLeavesMonthsAlike(t *testing.T) {
	db := pgtest.Empty(t)
	m, err := migrate.Open(t.Context(), db.OwnerURL, migrate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() }) // nothing is lost with it
	const migration = 4
	if _, err := m.Up(t.Context(), migration-1); err != nil {
		t.Fatal(err)
	}
	pool, err := postgres.Open(t.Context(), db.OwnerURL, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	db.Owner, db.Pool = pool, pool
	seedOverflow(t, db, 5, -1200, 0, 1, 24, 25, 40)
	// Only what both schemas have; after a way down there is no xid of personal data to compare.
	rows := `
		SELECT count(*) || ' ' || md5(string_agg(format('%s %s %s %s', id, a.timestamp, a.xid, p), ',' ORDER BY id))
		FROM audit_logs a JOIN (SELECT entry_id, timestamp, subject_id, key_generation, sealed FROM audit_personal_data) p ON p.entry_id = a.id AND p.timestamp = a.timestamp`
	want, before := pgtest.Value[string](t, db, rows), shape(t, db)
	if !strings.HasPrefix(want, "30 ") {
		t.Fatal(want)
	}
	var first map[string]string
	for range 2 {
		if _, err := m.Up(t.Context(), migration); err != nil {
			t.Fatal(err)
		}
		if have := pgtest.Value[string](t, db, rows); have != want {
			t.Errorf("up: %s, want %s", have, want)
		}
		up := shape(t, db)
		if first == nil {
			first = up
		}
		if diff := cmp.Diff(first, up); diff != "" {
			t.Errorf("a second up makes something else:\n%s", diff)
		}
		if _, err := m.Down(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if have := pgtest.Value[string](t, db, rows); have != want {
			t.Errorf("down: %s, want %s", have, want)
		}
		if diff := cmp.Diff(before, shape(t, db)); diff != "" {
			t.Errorf("down does not restore what was:\n%s", diff)
		}
	}
	if _, err := m.Up(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	latest := shape(t, db)
	if made, err := audit.MakePartitions(t.Context(), pool, present().AddDate(0, 3, 0), audit.MonthsAhead); err != nil || made != 6 {
		t.Fatalf("made %d: %v", made, err)
	}
	if have := pgtest.Value[string](t, db, rows); have != want {
		t.Errorf("after the move: %s, want %s", have, want)
	}
	// A month of the first release is like one made now, and an overflow partition that was moved like the one before.
	after := shape(t, db)
	for _, table := range audit.PartitionedTables() {
		var kind map[string]string
		for n := range 28 {
			name := table + present().AddDate(0, n, 0).Format("_2006_01")
			from, to := present().AddDate(0, n, 0), present().AddDate(0, n+1, 0)
			alike := strings.NewReplacer(name, "PART", day(from), "FROM", day(to), "TO").Replace(after[name])
			if kind == nil {
				kind = map[string]string{"": alike}
			}
			if diff := cmp.Diff(kind[""], alike); diff != "" {
				t.Errorf("%s is another than the present month:\n%s", name, diff)
			}
		}
		name := table + "_future"
		moved := strings.ReplaceAll(after[name], day(present().AddDate(0, 28, 0)), day(present().AddDate(0, 25, 0)))
		if diff := cmp.Diff(latest[name], moved); diff != "" {
			t.Errorf("%s has changed:\n%s", name, diff)
		}
	}
}

func day(t time.Time) string { return fmt.Sprintf("%s 00:00:00+00", t.Format(time.DateOnly)) }
