package audit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
)

// A month begins empty, and the sequencer keeps the plans that it made then. None of them may read whole months.
func TestTheSequencersPlansOfAnEmptyMonthServeAFullOne(t *testing.T) {
	r := setUp(t)
	r.note(t, 300)
	s := r.sequencer(t, "one")
	settle(t, r, s, 300)
	conn, err := pgx.Connect(t.Context(), r.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for name, q := range map[string]struct {
		sql  string
		args []any
	}{
		"what is signed": {audit.SQLNamed, []any{[]uuid.UUID{uuid.New()}, []time.Time{now}}},
		"a window":       {audit.SQLWindow, []any{"1:1:", "1:9:", nil, nil, nil, "-infinity", 10}},
	} {
		t.Run(name, func(t *testing.T) {
			types := make([]string, len(q.args))
			literals := make([]string, len(q.args))
			for i, a := range q.args {
				switch a := a.(type) {
				case []uuid.UUID:
					types[i], literals[i] = "uuid[]", "ARRAY['"+a[0].String()+"'::uuid]"
				case []time.Time:
					types[i], literals[i] = "timestamptz[]", "ARRAY['"+a[0].Format(time.RFC3339)+"'::timestamptz]"
				case string:
					types[i], literals[i] = "text", "'"+a+"'"
				case nil:
					types[i], literals[i] = []string{"", "", "text", "timestamptz", "uuid"}[i], "NULL"
				default:
					types[i], literals[i] = "int", fmt.Sprint(a)
				}
			}
			for _, sql := range []string{strings.ReplaceAll(audit.SQLPlanning, "LOCAL ", ""), "DEALLOCATE ALL", "PREPARE q (" + strings.Join(types, ", ") + ") AS " + q.sql} {
				if _, err := conn.Exec(t.Context(), sql); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}
			rows, err := conn.Query(t.Context(), "EXPLAIN EXECUTE q ("+strings.Join(literals, ", ")+")")
			if err != nil {
				t.Fatal(err)
			}
			plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			if i := slices.IndexFunc(plan, func(l string) bool { return strings.Contains(l, "Seq Scan on audit_logs") }); i >= 0 {
				t.Errorf("%s\nin\n%s", plan[i], strings.Join(plan, "\n"))
			}
			if !slices.ContainsFunc(plan, func(l string) bool { return strings.Contains(l, "Index") && strings.Contains(l, "audit_logs_2026_11") }) {
				t.Errorf("no index of November in\n%s", strings.Join(plan, "\n"))
			}
		})
	}
}
