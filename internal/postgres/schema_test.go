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
