package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// History can be added to and not changed, whatever the program does.
func TestTheDatabaseRefusesTheApplicationWhatItMustNotDo(t *testing.T) {
	db := pgtest.New(t)
	code := func(sql string) string {
		t.Helper()
		_, err := db.Pool.Exec(t.Context(), sql)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) {
			t.Errorf("%s: %v", sql, err)
			return ""
		}
		return pg.Code
	}
	const denied = "42501"
	for table, column := range map[string]string{
		"audit_logs": "action_type", "audit_personal_data": "subject_id", "audit_subject_keys": "erased_at", "blueprint_versions": "definition",
		"cost_records": "compute_cost_micros", "budget_entries": "held_delta_micros", "workspace_events": "kind", "prices": "amount_micros",
		"price_books": "hour_rule", "goose_db_version": "is_applied", "schema_compatibility": "oldest_binary",
	} {
		for _, sql := range []string{`UPDATE ` + table + ` SET ` + column + ` = ` + column, `DELETE FROM ` + table, `TRUNCATE ` + table, `DROP TABLE ` + table} {
			if got := code(sql); got != denied {
				t.Errorf("%s: %q, want permission denied", sql, got)
			}
		}
	}
	for _, sql := range []string{
		`DELETE FROM users`, `DELETE FROM workspaces`, `DELETE FROM budget_periods`, `DELETE FROM usage`,
		`CREATE TABLE public.mine (n int)`, `CREATE SCHEMA mine`, `SELECT * FROM audit_parts.audit_logs_past`, `CREATE ROLE mine`,
	} {
		if got := code(sql); got != denied {
			t.Errorf("%s: %q, want permission denied", sql, got)
		}
	}
	if got := code(`SELECT audit_partitions_ensure(241)`); got != "22023" {
		t.Errorf("partitions for 241 months: %q", got)
	}
}

func TestSessionsSpeakUTCWhateverTheServersZone(t *testing.T) {
	db := pgtest.New(t)
	var zone string
	if err := db.Pool.QueryRow(t.Context(), `SELECT current_setting('timezone')`).Scan(&zone); err != nil {
		t.Fatal(err)
	}
	if zone != "UTC" {
		t.Errorf("the session's zone is %s", zone)
	}
}

func TestAnAddressInAMessageHasNoPassword(t *testing.T) {
	for _, url := range []string{"postgres://u:hunter2@host:notaport/db", "postgres://u:hunter2@127.0.0.1:1/db?connect_timeout=1", "postgres://u:hunter2@%zz/db"} {
		_, err := postgres.Open(t.Context(), url, 1)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
