package migrate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/robco-forge/forge/internal/postgres/migrate"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// A database with one filled table, and what each statement is known to do to it.
func TestARehearsalNamesTheLockOfEveryStatement(t *testing.T) {
	db := pgtest.Empty(t)
	files := load(t, "00001_a.sql", file(`
		CREATE TABLE big (n integer NOT NULL, word text NOT NULL DEFAULT '');
		CREATE TABLE parts (at timestamptz NOT NULL) PARTITION BY RANGE (at);
		CREATE TABLE parts_old PARTITION OF parts FOR VALUES FROM (MINVALUE) TO ('2026-01-01+00');
		CREATE TABLE parts_new PARTITION OF parts FOR VALUES FROM ('2026-01-01+00') TO (MAXVALUE)`, "DROP TABLE big, parts"),
		"00002_b.sql", file(`
		ALTER TABLE big ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid();
		ALTER TABLE big ADD COLUMN plain integer NOT NULL DEFAULT 0;
		ALTER TABLE big ADD CONSTRAINT big_n_ck CHECK (n >= 0);
		CREATE INDEX big_word_idx ON big (word);
		CREATE TABLE more (n integer);
		ALTER TABLE parts ADD COLUMN word text`, "DROP TABLE more; ALTER TABLE big DROP COLUMN token, DROP COLUMN plain"),
		"00003_c.sql", `-- forge: oldest binary 1
-- +goose NO TRANSACTION
-- +goose Up
CREATE INDEX CONCURRENTLY IF NOT EXISTS big_n_idx ON big (n);
-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS big_n_idx;
`)
	up(t, open(t, db.OwnerURL, files), 1)
	c := connect(t, db.OwnerURL)
	exec(t, c, `INSERT INTO big SELECT n, 'w' || n FROM generate_series(1, 20000) n; ANALYZE`)
	for _, data := range []bool{false, true} {
		t.Run(fmt.Sprintf("data %t", data), func(t *testing.T) {
			r, err := migrate.Rehearse(t.Context(), scratch(t), files, db.OwnerURL, data, func(string) {})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Migrations) != 2 || r.Migrations[0].Failed != "" || r.Migrations[1].Failed != "" || len(r.Migrations[0].Statements) != 6 {
				t.Fatalf("%+v", r)
			}
			for i, want := range []struct {
				table, mode string
				rewritten   bool
				warning     string
			}{
				{"big", "ACCESS EXCLUSIVE", true, "rewrites it"},
				{"", "", false, ""}, // a constant default is kept in the catalogue, under a lock that is held already
				{"big", "ACCESS EXCLUSIVE", false, "NOT VALID"},
				{"big", "ACCESS EXCLUSIVE", false, "CONCURRENTLY"}, // it would take less, but what is held already stays
				{"", "", false, ""},                                // a new table is nobody's yet
				{"parts", "ACCESS EXCLUSIVE", false, ""},
			} {
				s := r.Migrations[0].Statements[i]
				if want.table == "" {
					if len(s.Locks) > 0 {
						t.Errorf("%s: %+v", s.SQL, s.Locks)
					}
					continue
				}
				if (i == 2 || i == 3) && !data {
					continue // without rows there is nothing to read through
				}
				if len(s.Locks) != 1 || s.Locks[0].Table != want.table || s.Locks[0].Mode != want.mode || s.Locks[0].Rewritten != want.rewritten {
					t.Errorf("%s: %+v", s.SQL, s.Locks)
					continue
				}
				if rows := s.Locks[0].Rows; want.table == "big" && rows != 20000 {
					t.Errorf("%s: %d rows", s.SQL, rows)
				}
				if all := strings.Join(s.Warnings, "; "); want.warning == "" && all != "" || !strings.Contains(all, want.warning) {
					t.Errorf("%s warns %q, want %q", s.SQL, all, want.warning)
				}
			}
		})
	}
	var columns int
	if err := c.QueryRow(t.Context(), `SELECT count(*) FROM pg_attribute WHERE attrelid = 'big'::regclass AND attnum > 0`).Scan(&columns); err != nil || columns != 2 {
		t.Errorf("the original has been changed: %d columns, %v", columns, err)
	}
}

func TestARehearsalShowsWhatFailsOnRows(t *testing.T) {
	db := pgtest.Empty(t)
	files := load(t, "00001_a.sql", small[1], "00002_b.sql", file("ALTER TABLE a ADD COLUMN m integer NOT NULL", "ALTER TABLE a DROP COLUMN m"), "00003_c.sql", small[5])
	up(t, open(t, db.OwnerURL, files), 1)
	exec(t, connect(t, db.OwnerURL), `INSERT INTO a VALUES (1)`)
	r, err := migrate.Rehearse(t.Context(), scratch(t), files, db.OwnerURL, true, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Migrations) != 1 || !strings.Contains(r.Migrations[0].Failed, "null values") {
		t.Errorf("%+v", r)
	}
}

// The whole of Forge's own schema is copied, roles and rights with it.
func TestARehearsalCopiesForgesOwnSchema(t *testing.T) {
	db := pgtest.New(t)
	files := slices.Concat(embedded(t), load(t, "00099_a.sql", file(`CREATE INDEX a_idx ON cost_records (cost_centre); GRANT DELETE ON tokens TO :"app"`, "DROP INDEX a_idx")))
	db.Exec(t, `INSERT INTO price_books (source, hour_rule, effective_from, imported_at) VALUES ('test', 'second', now(), now())`)
	r, err := migrate.Rehearse(t.Context(), scratch(t), files, db.OwnerURL, true, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Migrations) != 1 || r.Migrations[0].Failed != "" {
		t.Fatalf("%+v", r)
	}
	if l := r.Migrations[0].Statements[0].Locks; len(l) != 1 || l[0].Mode != "SHARE" || l[0].Table != "cost_records" {
		t.Errorf("%+v", l)
	}
	none, err := migrate.Rehearse(t.Context(), scratch(t), embedded(t), db.OwnerURL, false, func(string) {})
	if err != nil || len(none.Migrations) != 0 {
		t.Errorf("nothing is pending: %+v %v", none, err)
	}
}
