package postgres_test

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/pgembed"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// dump is the schema of a database as text that is the same on every day and every server: without the months that the
// audit log happens to have, and without what pg_dump says of itself.
func dump(t *testing.T, url string) string {
	t.Helper()
	bin, _, err := pgembed.FindBinaries()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "pg_dump"), "--schema-only", "--no-owner", "--no-privileges",
		"--exclude-schema=audit_parts", "--exclude-table=goose_db_version*", url).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("pg_dump: %s", exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(string(out)) {
		switch {
		case strings.HasPrefix(line, "--"), strings.HasPrefix(line, "SET "), strings.HasPrefix(line, "SELECT pg_catalog"), strings.HasPrefix(line, `\`):
		default:
			kept = append(kept, line)
		}
	}
	text := regexp.MustCompile(`\n{3,}`).ReplaceAllString(strings.Join(kept, ""), "\n\n")
	return strings.TrimLeft(text, "\n")
}

func TestGoldenSchema(t *testing.T) {
	have := "-- The whole schema as the migrations make it, without the audit log's months. Written by `make gen`.\n\n" + dump(t, pgtest.New(t).OwnerURL)
	const path = "schema.sql"
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(path, []byte(have), 0o644); err != nil { //nolint:gosec // a public document
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), have); d != "" {
		t.Fatalf("schema.sql is stale; run make gen:\n%s", d)
	}
}

func migrator(t *testing.T, url string) *postgres.Migrator {
	t.Helper()
	m, err := postgres.NewMigrator(url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestUpDownUpComesToTheSameSchema(t *testing.T) {
	db := pgtest.Empty(t)
	m := migrator(t, db.OwnerURL)
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := dump(t, db.OwnerURL)
	for {
		name, err := m.Down(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if name == "" {
			break
		}
	}
	if rest := dump(t, db.OwnerURL); strings.Contains(rest, "CREATE TABLE") || strings.Contains(rest, "CREATE FUNCTION") {
		t.Fatalf("something is left:\n%s", rest)
	}
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first, dump(t, db.OwnerURL)); d != "" {
		t.Fatal(d)
	}
}

func TestReplicasThatMigrateAtOnceApplyEachStepOnce(t *testing.T) {
	db := pgtest.Empty(t)
	var mu sync.Mutex
	var wg sync.WaitGroup
	applied := 0
	for range 4 {
		m := migrator(t, db.OwnerURL)
		wg.Go(func() {
			names, err := m.Up(t.Context())
			mu.Lock()
			defer mu.Unlock()
			applied += len(names)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if want := int(postgres.NewestMigration()); applied != want {
		t.Fatalf("%d steps were applied, want %d", applied, want)
	}
}

func TestAServerRefusesASchemaThatDoesNotFit(t *testing.T) {
	empty := pgtest.Empty(t)
	c, err := pgx.Connect(t.Context(), empty.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context()) //nolint:errcheck // nothing is lost with it
	if err := postgres.CheckSchema(t.Context(), c); !errors.Is(err, postgres.ErrSchemaBehind) {
		t.Errorf("an empty database: %v", err)
	}
	db := pgtest.New(t)
	if err := postgres.CheckSchema(t.Context(), db.Pool); err != nil {
		t.Errorf("the present schema: %v", err)
	}
	db.Exec(t, `UPDATE schema_compatibility SET oldest_binary = 1000000`)
	if err := postgres.CheckSchema(t.Context(), db.Pool); !errors.Is(err, postgres.ErrSchemaAhead) {
		t.Errorf("a schema that excludes this program: %v", err)
	}
	db.Exec(t, `UPDATE schema_compatibility SET oldest_binary = 1`)
	db.Exec(t, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (1000000, true)`)
	if err := postgres.CheckSchema(t.Context(), db.Pool); err != nil {
		t.Errorf("a newer schema that this program can work with: %v", err)
	}
}

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
