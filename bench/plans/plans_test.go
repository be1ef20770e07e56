package plans_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/bench/plans"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/workspace"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// filled is a database with the sizes, and the product on it.
func filled(t *testing.T, s plans.Sizes) *plans.Bench {
	t.Helper()
	db := pgtest.New(t)
	conn, err := pgx.Connect(t.Context(), db.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := plans.Fill(t.Context(), conn, s, nil); err != nil {
		t.Fatal(err)
	}
	b, err := plans.Open(t.Context(), db.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Pool.Close)
	return b
}

func rolledBack(t *testing.T, b *plans.Bench) pgx.Tx {
	t.Helper()
	tx, err := b.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(t.Context()) })
	return tx
}

func TestEveryHotQueryIsAnsweredByItsIndex(t *testing.T) {
	b := filled(t, plans.Sizes{WorkSpaces: 200_000, CostRecords: 200_000, AuditLogs: 200_000})
	queries, err := b.Queries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range queries {
		t.Run(q.Name, func(t *testing.T) {
			tx, err := b.Pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback(t.Context())
			v, err := q.Check(t.Context(), tx)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d rows of at most %d, %d pages, by %v", v.Rows, q.Rows, v.Pages, v.Indexes)
			for _, c := range v.Complaints {
				t.Error(c)
			}
		})
	}
	t.Run("a scan is found out", func(t *testing.T) {
		tx := rolledBack(t, b)
		q := plans.Query{
			Rows: 100, Indexes: []string{"cost_records_user_idx"},
			Statements: []plans.Statement{{SQL: `SELECT id FROM cost_records WHERE cost_centre = $1`, Args: []any{"cc-1"}}},
		}
		v, err := q.Check(t.Context(), tx)
		if err != nil {
			t.Fatal(err)
		}
		all := strings.Join(v.Complaints, "\n")
		for _, want := range []string{"it scans [cost_records]", "at most 100 are needed", "does not use cost_records_user_idx", "for its arguments", "for any arguments"} {
			if !strings.Contains(all, want) {
				t.Errorf("no complaint says %q: %s", want, all)
			}
		}
	})
}

func TestTheSameSizesGiveTheSameRows(t *testing.T) {
	var sums []string
	for range 2 {
		b := filled(t, plans.Sizes{WorkSpaces: 500, CostRecords: 2000, AuditLogs: 1000})
		var sum string
		if err := b.Pool.QueryRow(t.Context(), `
			SELECT concat_ws(' ',
			  (SELECT md5(string_agg(w::text, '' ORDER BY id)) FROM workspaces w),
			  (SELECT md5(string_agg(c::text, '' ORDER BY id)) FROM cost_records c),
			  (SELECT md5(string_agg(encode(leaf, 'hex'), '' ORDER BY timestamp, id)) FROM audit_logs),
			  (SELECT count(*) FROM cost_records), (SELECT count(*) FROM audit_logs))`).Scan(&sum); err != nil {
			t.Fatal(err)
		}
		sums = append(sums, sum)
	}
	if sums[0] != sums[1] || !strings.HasSuffix(sums[0], " 2000 1000") {
		t.Errorf("%q and %q", sums[0], sums[1])
	}
}

func TestFillingLeavesTheSchemaAsItWas(t *testing.T) {
	const shape = `
		SELECT string_agg(def, E'\n' ORDER BY def)
		FROM (SELECT indexdef AS def FROM pg_indexes WHERE schemaname IN ('public', 'audit_parts') AND tablename NOT LIKE 'audit\_%\_20%'
		      UNION ALL
		      SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE conparentid = 0) d`
	want := pgtest.Value[string](t, pgtest.New(t), shape)
	b := filled(t, plans.Sizes{WorkSpaces: 100, CostRecords: 100, AuditLogs: 100})
	var got string
	if err := b.Pool.QueryRow(t.Context(), shape).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// uncovered are the foreign keys that no index serves. None of them is ever looked up from the side of what is referred
// to: those rows are not deleted, and nobody asks for it.
var uncovered = map[string]string{
	"workspaces_project_fk":           "projects are deactivated, never deleted; WorkSpaces are listed by user and team",
	"workspaces_blueprint_version_fk": "versions are never deleted; workspaces_blueprint_version_idx finds what lives",
	"blueprint_promotions_version_fk": "versions are never deleted; a blueprint's history is found by its key",
	"blueprint_images_version_fk":     "versions are never deleted; blueprint_images_capture_uq finds the image of one",
	"blueprint_upgrades_version_fk":   "versions are never deleted; upgrades are found by their blueprint",
	"blueprint_upgrade_items_from_fk": "versions are never deleted; items are found by their upgrade",
	"budget_templates_team_fk":        "templates are few, and teams are never deleted",
	"usage_price_fk":                  "prices are never changed or deleted",
	"cost_records_price_fk":           "prices are never changed or deleted",
	"cost_records_usage_fk":           "usage is never deleted; cost_records_slice_uq finds the records of one but for corrections",
	"cost_records_corrects_fk":        "records are never deleted",
	"cost_records_attribution_fk":     "attributions are never changed or deleted",
	"usage_attribution_fk":            "attributions are never changed or deleted",
}

func TestEveryForeignKeyHasAnIndexOrAReason(t *testing.T) {
	db := pgtest.New(t)
	rows, err := db.Owner.Query(t.Context(), `
		SELECT c.conname
		FROM pg_constraint c
		WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace AND NOT EXISTS (
			SELECT FROM pg_index i
			WHERE i.indrelid = c.conrelid AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey
			  AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = format('(%s IS NOT NULL)', (
				SELECT attname FROM pg_attribute WHERE attrelid = c.conrelid AND attnum = c.conkey[1]))))
		ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range found {
		if uncovered[name] == "" {
			t.Errorf("%s has no index: deleting what it refers to reads the whole table; add one, or a reason here", name)
		}
	}
	for name := range uncovered {
		if !slices.Contains(found, name) {
			t.Errorf("%s has an index, or is gone: it needs no reason", name)
		}
	}
}

func TestEveryPromisedColumnLeadsAnIndex(t *testing.T) {
	db := pgtest.New(t)
	for table, promised := range map[string][]string{
		"workspaces":   {"user_id, id", "team_id, id", "state, id", "next_due_at"},
		"cost_records": {"workspace_id, period_start", "user_id, period_start", "team_id, period_start", "period_start", "period_end", "recorded_at"},
		"audit_logs":   {"timestamp", "user_id, timestamp", "action_type, timestamp", "resource_id, timestamp", "resource_type, resource_id, timestamp"},
		"blueprints":   {"team_id"},
		"user_budgets": {"scope_id, scope"},
	} {
		rows, err := db.Owner.Query(t.Context(), `
			SELECT (SELECT string_agg(pg_get_indexdef(indexrelid, n, false), ', ' ORDER BY n) FROM generate_series(1, indnkeyatts) n)
			FROM pg_index
			WHERE indrelid = $1::text::regclass`, table)
		if err != nil {
			t.Fatal(err)
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		for _, columns := range promised {
			if !slices.ContainsFunc(found, func(have string) bool {
				return strings.HasPrefix(strings.ReplaceAll(have, `"`, "")+",", columns+",")
			}) {
				t.Errorf("%s has no index that begins with %s: %q", table, columns, found)
			}
		}
	}
}

func TestNoIndexIsCoveredByAnother(t *testing.T) {
	db := pgtest.New(t)
	rows, err := db.Owner.Query(t.Context(), `
		SELECT a.indexrelid::regclass || ' is a prefix of ' || b.indexrelid::regclass
		FROM pg_index a JOIN pg_index b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid
		JOIN pg_class t ON t.oid = a.indrelid
		WHERE t.relnamespace = 'public'::regnamespace AND NOT a.indisunique
		  AND b.indkey::text || ' ' LIKE a.indkey::text || ' %' AND a.indexprs IS NULL
		  AND b.indoption::text || ' ' LIKE a.indoption::text || ' %'
		  AND pg_get_expr(b.indpred, b.indrelid) IS NOT DISTINCT FROM pg_get_expr(a.indpred, a.indrelid)`)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 0 {
		t.Errorf("drop what another covers: %q", found)
	}
}

func TestAListHoldsWhatItsFilterSays(t *testing.T) {
	b := filled(t, plans.Sizes{WorkSpaces: 2000, CostRecords: 100, AuditLogs: 100})
	var user id.User
	var team id.Team
	if err := b.Pool.QueryRow(t.Context(), `
		SELECT user_id, team_id FROM workspaces WHERE terminated_at IS NULL GROUP BY 1, 2 ORDER BY count(*) DESC LIMIT 1`).Scan(&user, &team); err != nil {
		t.Fatal(err)
	}
	full := 0
	for _, state := range []workspace.State{"", workspace.Available, workspace.Stopped, workspace.Failed, workspace.Terminated} {
		for _, f := range []workspace.Filter{{}, {User: user}, {Team: team}, {User: user, Team: team}} {
			for _, live := range []bool{false, true} {
				f.State, f.Live, f.After, f.Limit = state, live, "", 40
				rows, err := b.Pool.Query(t.Context(), `
					SELECT id
					FROM workspaces
					WHERE ($1 = '' OR user_id = $1) AND ($2 = '' OR team_id = $2) AND ($3 = '' OR state = $3) AND (NOT $4 OR terminated_at IS NULL)
					ORDER BY id`, f.User, f.Team, f.State, f.Live)
				if err != nil {
					t.Fatal(err)
				}
				want, err := pgx.CollectRows(rows, pgx.RowTo[id.WorkSpace])
				if err != nil {
					t.Fatal(err)
				}
				var got []id.WorkSpace
				for {
					page, err := workspace.List(t.Context(), b.Pool, f)
					if err != nil {
						t.Fatal(err)
					}
					for _, w := range page {
						got = append(got, w.ID)
					}
					if len(page) < f.Limit {
						break
					}
					f.After = string(page[len(page)-1].ID)
					full++
				}
				if !slices.Equal(got, want) {
					t.Errorf("%+v: %d WorkSpaces, want %d, or not in order", f, len(got), len(want))
				}
			}
		}
	}
	if full == 0 {
		t.Error("no list had a second page")
	}
}
