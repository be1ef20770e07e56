package migrate_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/robco-forge/forge/internal/postgres/migrate"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

func open(t *testing.T, url string, files []migrate.File) *migrate.Migrator {
	t.Helper()
	m, err := migrate.Open(t.Context(), url, migrate.Options{Files: files, Program: "test"})
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

func up(t *testing.T, m *migrate.Migrator, to int64) []migrate.Applied {
	t.Helper()
	done, err := m.Up(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(t.Context()) }) // nothing is lost with it
	return c
}

func exec(t *testing.T, c *pgx.Conn, sql string) {
	t.Helper()
	if _, err := c.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// file is a migration with the statements, without what every file has.
func file(up, down string) string {
	return "-- forge: oldest binary 1\n-- +goose Up\n" + up + ";\n-- +goose Down\n" + down + ";\n"
}

var small = []string{
	"00001_a.sql", file("CREATE TABLE a (n integer)", "DROP TABLE a"),
	"00002_b.sql", file("ALTER TABLE a ADD COLUMN m integer", "ALTER TABLE a DROP COLUMN m"),
	"00003_c.sql", file("CREATE TABLE c (n integer)", "DROP TABLE c"),
}

func TestUpStopsWhereItIsTold(t *testing.T) {
	m := open(t, pgtest.Empty(t).OwnerURL, load(t, small...))
	if done := up(t, m, 2); len(done) != 2 || done[1].Name != "00002_b.sql" {
		t.Fatalf("%+v", done)
	}
	pending, err := m.Pending(t.Context(), 0)
	if err != nil || len(pending) != 1 || pending[0].Version != 3 {
		t.Fatalf("%+v %v", pending, err)
	}
	if database, program, err := m.Version(t.Context()); err != nil || database != 2 || program != 3 {
		t.Errorf("%d %d %v", database, program, err)
	}
	if _, err := m.Up(t.Context(), 9); err == nil {
		t.Error("a migration that is not there was accepted")
	}
	if done := up(t, m, 0); len(done) != 1 {
		t.Errorf("%+v", done)
	}
	if done := up(t, m, 0); len(done) != 0 {
		t.Errorf("applied again: %+v", done)
	}
}

func TestAFailureLeavesNothingBehindAndUpGoesOn(t *testing.T) {
	db := pgtest.Empty(t)
	broken := load(t, "00001_a.sql", small[1], "00002_b.sql", file("ALTER TABLE a ADD COLUMN m integer; INSERT INTO a (n, m) VALUES (1, 2); SELECT 1/0", "SELECT 1"))
	_, err := open(t, db.OwnerURL, broken).Up(t.Context(), 0)
	if err == nil || !strings.Contains(err.Error(), "00002_b.sql") || !strings.Contains(err.Error(), "division by zero") ||
		!strings.Contains(err.Error(), "line 3") || !strings.Contains(err.Error(), "forge migrate up") {
		t.Fatalf("%v", err)
	}
	m := open(t, db.OwnerURL, load(t, small...))
	if done := up(t, m, 0); len(done) != 2 {
		t.Errorf("went on with %+v", done)
	}
}

func TestReplicasThatMigrateAtOnceApplyEachStepOnce(t *testing.T) {
	db := pgtest.Empty(t)
	var mu sync.Mutex
	var wg sync.WaitGroup
	applied := map[string]int{}
	busy := 0
	for range 6 {
		m := open(t, db.OwnerURL, nil)
		wg.Go(func() {
			done, err := m.Up(t.Context(), 0)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if len(done) > 0 {
				busy++
			}
			for _, a := range done {
				applied[a.Name]++
			}
		})
	}
	wg.Wait()
	if busy != 1 || len(applied) == 0 {
		t.Errorf("%d processes had something to do: %v", busy, applied)
	}
	for name, n := range applied {
		if n != 1 {
			t.Errorf("%s was applied %d times", name, n)
		}
	}
}

func TestAnEditedMigrationIsFound(t *testing.T) {
	db := pgtest.Empty(t)
	up(t, open(t, db.OwnerURL, load(t, small...)), 0)
	edited := append([]string{}, small...)
	edited[1] = file("CREATE TABLE a (n bigint)", "DROP TABLE a")
	m := open(t, db.OwnerURL, load(t, edited...))
	for what, try := range map[string]func() error{
		"up":   func() error { _, err := m.Up(t.Context(), 0); return err },
		"down": func() error { _, err := m.Down(t.Context(), true); return err },
	} {
		if err := try(); !errors.Is(err, migrate.ErrEdited) || !strings.Contains(err.Error(), "00001_a.sql") {
			t.Errorf("%s: %v", what, err)
		}
	}
	steps, err := m.Status(t.Context())
	if err != nil || steps[0].State != migrate.Edited || steps[1].State != migrate.Done || steps[1].Program != "test" || steps[1].AppliedAt == nil {
		t.Errorf("%+v %v", steps, err)
	}
}

func TestAnOlderProgramLeavesANewerSchemaAlone(t *testing.T) {
	db := pgtest.Empty(t)
	up(t, open(t, db.OwnerURL, load(t, small...)), 0)
	older := open(t, db.OwnerURL, load(t, small[:4]...))
	if done := up(t, older, 0); len(done) != 0 {
		t.Errorf("up: %+v", done)
	}
	if _, err := older.Down(t.Context(), true); !errors.Is(err, migrate.ErrUnknown) {
		t.Errorf("down: %v", err)
	}
	// What both have made, each without the other, is for a person to sort out.
	branch := open(t, db.OwnerURL, load(t, append(append([]string{}, small[:4]...), "00004_d.sql", file("SELECT 1", "SELECT 1"))...))
	if _, err := branch.Up(t.Context(), 0); !errors.Is(err, migrate.ErrUnknown) || !strings.Contains(err.Error(), "00003_c.sql") {
		t.Errorf("up on another branch: %v", err)
	}
}

func TestATableOfAnOlderProgramIsTakenOver(t *testing.T) {
	db := pgtest.Empty(t)
	c := connect(t, db.OwnerURL)
	exec(t, c, `
		CREATE TABLE goose_db_version (id integer PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, version_id bigint NOT NULL, is_applied boolean NOT NULL, tstamp timestamp NOT NULL DEFAULT now());
		INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, true), (1, true);
		CREATE TABLE a (n integer)`)
	m := open(t, db.OwnerURL, load(t, small...))
	steps, err := m.Status(t.Context())
	if err != nil || steps[0].State != migrate.Done || steps[1].State != migrate.Pending {
		t.Fatalf("%+v %v", steps, err)
	}
	if done := up(t, m, 0); len(done) != 2 {
		t.Fatalf("%+v", done)
	}
	edited := append([]string{}, small...)
	edited[1] = file("CREATE TABLE a (n bigint)", "DROP TABLE a")
	if _, err := open(t, db.OwnerURL, load(t, edited...)).Up(t.Context(), 0); !errors.Is(err, migrate.ErrEdited) {
		t.Errorf("the checksum of what the older program applied is not kept: %v", err)
	}
}

func TestDownRefusesToDestroyData(t *testing.T) {
	db := pgtest.Empty(t)
	m := open(t, db.OwnerURL, load(t, small...))
	up(t, m, 0)
	c := connect(t, db.OwnerURL)
	exec(t, c, `INSERT INTO a (n, m) VALUES (1, NULL), (2, 5); INSERT INTO c VALUES (1)`)
	refused := func(says string) {
		t.Helper()
		_, err := m.Down(t.Context(), false)
		var loss *migrate.LossError
		if !errors.As(err, &loss) || len(loss.Lost) != 1 || !strings.Contains(loss.Lost[0], says) {
			t.Fatalf("%v, want it to name %s", err, says)
		}
	}
	refused("table public.c (1 row)")
	exec(t, c, `DELETE FROM c`)
	if back, err := m.Down(t.Context(), false); err != nil || back.Version != 3 {
		t.Fatalf("an empty table: %+v %v", back, err)
	}
	refused("column m of table public.a (a value in 1 row)")
	exec(t, c, `UPDATE a SET m = NULL`)
	if _, err := m.Down(t.Context(), false); err != nil {
		t.Fatalf("a column with nothing in it: %v", err)
	}
	refused("table public.a (2 rows)")
	if _, err := m.Down(t.Context(), true); err != nil {
		t.Fatalf("allowed: %v", err)
	}
	if _, err := m.Down(t.Context(), true); !errors.Is(err, migrate.ErrNothing) {
		t.Errorf("nothing left: %v", err)
	}
}

// The look and the drop are one transaction: a row that is written meanwhile is seen or comes too late to be lost.
func TestDownSeesARowThatIsBeingWritten(t *testing.T) {
	db := pgtest.Empty(t)
	m := open(t, db.OwnerURL, load(t, small...))
	up(t, m, 0)
	c := connect(t, db.OwnerURL)
	exec(t, c, `BEGIN; INSERT INTO c VALUES (1)`)
	ended := make(chan error, 1)
	go func() {
		_, err := m.Down(t.Context(), false)
		ended <- err
	}()
	watch := connect(t, db.OwnerURL)
	for waiting := false; !waiting; { // until the migration stands behind the writer
		if err := watch.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'c'::regclass AND NOT granted)`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, c, `COMMIT`)
	var loss *migrate.LossError
	if err := <-ended; !errors.As(err, &loss) {
		t.Errorf("the row was destroyed: %v", err)
	}
}

func TestAMigrationThatMeetsAHeldLockIsTriedAgain(t *testing.T) {
	db := pgtest.Empty(t)
	m := open(t, db.OwnerURL, load(t, small...))
	up(t, m, 1)
	c := connect(t, db.OwnerURL)
	exec(t, c, `BEGIN; LOCK TABLE a IN ACCESS SHARE MODE`)
	ended := make(chan error, 1)
	go func() {
		_, err := m.Up(t.Context(), 0)
		ended <- err
	}()
	watch := connect(t, db.OwnerURL)
	// It waits, gives way after lock_timeout, and comes back.
	for _, waits := range []bool{true, false, true} {
		for have := !waits; have != waits; {
			if err := watch.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'a'::regclass AND NOT granted)`).Scan(&have); err != nil {
				t.Fatal(err)
			}
		}
	}
	exec(t, c, `COMMIT`)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAnIndexIsBuiltWithoutATransactionAndAHalfBuiltOneReplaced(t *testing.T) {
	db := pgtest.Empty(t)
	const build = `-- forge: oldest binary 1
-- +goose NO TRANSACTION
-- +goose Up
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS a_uq ON a (n);
-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS a_uq;
`
	m := open(t, db.OwnerURL, load(t, "00001_a.sql", small[1], "00002_b.sql", build))
	up(t, m, 1)
	c := connect(t, db.OwnerURL)
	exec(t, c, `INSERT INTO a VALUES (1), (1)`)
	if _, err := m.Up(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "run again without harm") {
		t.Fatalf("two equal rows: %v", err)
	}
	exec(t, c, `DELETE FROM a`)
	if done := up(t, m, 0); len(done) != 1 {
		t.Fatalf("%+v", done)
	}
	var valid bool
	if err := c.QueryRow(t.Context(), `SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_uq'::regclass`).Scan(&valid); err != nil || !valid {
		t.Errorf("valid: %t %v", valid, err)
	}
	if _, err := m.Down(t.Context(), false); err != nil {
		t.Error(err)
	}
}

func TestAServerRefusesASchemaThatDoesNotFit(t *testing.T) {
	empty := connect(t, pgtest.Empty(t).OwnerURL)
	if err := migrate.CheckSchema(t.Context(), empty); !errors.Is(err, migrate.ErrSchemaBehind) {
		t.Errorf("an empty database: %v", err)
	}
	db := pgtest.New(t)
	if err := migrate.CheckSchema(t.Context(), db.Pool); err != nil {
		t.Errorf("the present schema: %v", err)
	}
	// What a newer program's migration declares is what this one reads.
	next := migrate.Newest() + 1
	name := fmt.Sprintf("%05d_next.sql", next)
	for _, c := range []struct {
		oldest int64
		want   error
	}{{1, nil}, {next, migrate.ErrSchemaAhead}} {
		newer := append(embedded(t), load(t, name, fmt.Sprintf("-- forge: oldest binary %d\n-- +goose Up\nALTER TABLE workspaces ADD COLUMN colour text;\n-- +goose Down\nALTER TABLE workspaces DROP COLUMN colour;\n", c.oldest))...)
		m := open(t, db.OwnerURL, newer)
		up(t, m, 0)
		if err := migrate.CheckSchema(t.Context(), db.Pool); !errors.Is(err, c.want) {
			t.Errorf("a newer schema for %d and later: %v", c.oldest, err)
		}
		if _, err := m.Down(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if err := migrate.CheckSchema(t.Context(), db.Pool); err != nil {
			t.Errorf("after it was taken back: %v", err)
		}
	}
	db.Exec(t, `DELETE FROM goose_db_version WHERE version_id = $1`, migrate.Newest())
	if err := migrate.CheckSchema(t.Context(), db.Pool); !errors.Is(err, migrate.ErrSchemaBehind) {
		t.Errorf("a step is missing: %v", err)
	}
}

// The application may look, and a stranger is told who may.
func TestStatusNeedsNoOwner(t *testing.T) {
	db := pgtest.New(t)
	if steps, err := open(t, db.AppURL, nil).Status(t.Context()); err != nil || len(steps) == 0 || steps[0].State != migrate.Done {
		t.Errorf("%+v %v", steps, err)
	}
	db.Exec(t, `REVOKE SELECT ON goose_db_version FROM forge_template_app`)
	if _, err := open(t, db.AppURL, nil).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "owner") {
		t.Errorf("%v", err)
	}
}

func embedded(t *testing.T) []migrate.File {
	t.Helper()
	files, err := migrate.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestTheJobQueuesLibraryIsContentWithItsTables(t *testing.T) {
	db := pgtest.New(t)
	river, err := rivermigrate.New(riverpgxv5.New(db.Pool), &rivermigrate.Config{Schema: migrate.RiverSchema, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	found, err := river.Validate(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !found.OK {
		t.Errorf("a newer release of the library wants a further step: %v", found.Messages)
	}
}
