package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/migrate"
)

// steps is how many migrations there are.
func steps(t *testing.T) int {
	t.Helper()
	files, err := migrate.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// emptyDatabase is the address of the owner of a new database.
func emptyDatabase(t *testing.T) string {
	t.Helper()
	s, err := migrate.OpenScratch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	address, err := s.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// program is the program itself, in a process of its own.
func program(t *testing.T, database string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), "forge", args...)
	c.Env = append(os.Environ(), "FORGE_MIGRATE_DATABASE_URL="+database)
	return c
}

// says runs the program and returns what it wrote and its exit code.
func says(t *testing.T, database string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	c := program(t, database, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

func TestTenProcessesMigrateAtOnceAndOneDoesIt(t *testing.T) {
	database, all := emptyDatabase(t), steps(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	busy, idle := 0, 0
	for range 10 {
		wg.Go(func() {
			out, errs, code := says(t, database, "migrate", "up")
			mu.Lock()
			defer mu.Unlock()
			if code != 0 {
				t.Errorf("exit %d: %s", code, errs)
			}
			if strings.Contains(out, "nothing to apply") {
				idle++
			}
			if strings.Count(out, "applied  ") == all {
				busy++
			}
		})
	}
	wg.Wait()
	if busy != 1 || idle != 9 {
		t.Errorf("%d applied everything, %d found nothing to do", busy, idle)
	}
}

func TestAMigrationThatIsKilledIsDoneAgain(t *testing.T) {
	database := emptyDatabase(t)
	dir := t.TempDir()
	write := func(name, up string) {
		t.Helper()
		text := "-- forge: oldest binary 1\n-- +goose Up\n" + up + ";\n-- +goose Down\nSELECT 1;\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("00001_a.sql", "CREATE TABLE a (n integer)")
	write("00002_b.sql", "INSERT INTO a VALUES (1); ALTER TABLE a ADD COLUMN m integer; SELECT pg_sleep(3600)")
	write("00003_c.sql", "INSERT INTO a VALUES (3)")
	p := program(t, database, "migrate", "up", "--dir", dir)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context()) //nolint:errcheck // nothing is lost with it
	for asleep := false; !asleep; {
		if err := c.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active')`).Scan(&asleep); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait() // it was killed
	// What was not applied may be changed. The killed process's statement sleeps on for a moment, with its locks.
	write("00002_b.sql", "INSERT INTO a VALUES (2); ALTER TABLE a ADD COLUMN m integer")
	out, errs, code := says(t, database, "migrate", "up", "--dir", dir)
	if code != 0 || strings.Count(out, "applied  ") != 2 {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	var rows string
	if err := c.QueryRow(t.Context(), `SELECT string_agg(n::text, ' ' ORDER BY n) FROM a`).Scan(&rows); err != nil || rows != "2 3" {
		t.Errorf("rows %s, %v", rows, err)
	}
}

func TestMigrateAsPeopleUseIt(t *testing.T) {
	database := emptyDatabase(t)
	check := func(want int, contains string, args ...string) string {
		t.Helper()
		out, errs, code := says(t, database, append([]string{"migrate"}, args...)...)
		if code != want || !strings.Contains(out+errs, contains) {
			t.Fatalf("forge migrate %s: exit %d, want %d with %q\n%s%s", strings.Join(args, " "), code, want, contains, out, errs)
		}
		return out
	}
	check(0, "pending  00001_foundation.sql", "status")
	dry := check(0, "CREATE TABLE workspaces", "up", "--dry-run")
	if !strings.Contains(dry, "river_job") || strings.Contains(dry, `:"app"`) {
		t.Errorf("a dry run shows what would run:\n%s", dry)
	}
	check(0, "database  0", "version")
	check(0, "applied  00001_foundation.sql", "up", "--to", "1")
	check(0, "database  1", "version")
	check(0, "applied", "up")
	check(0, "nothing to apply", "up")
	check(0, `"applied": []`, "up", "-o", "json")
	check(0, "applied  00001_foundation.sql", "status")
	check(2, "say --yes", "down")
	check(2, "text or json", "status", "-o", "xml")
	check(1, "does not know migration 999", "up", "--to", "999")
	check(0, "nothing is pending", "rehearse")

	var status struct {
		Migrations []migrate.Step `json:"migrations"`
	}
	if err := json.Unmarshal([]byte(check(0, "", "status", "-o", "json")), &status); err != nil || len(status.Migrations) != steps(t) || status.Migrations[0].State != migrate.Done {
		t.Errorf("%+v %v", status, err)
	}

	c, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context()) //nolint:errcheck // nothing is lost with it
	if _, err := c.Exec(t.Context(), `INSERT INTO teams (id, name, cost_centre, created_at, updated_at) VALUES ('team_1', 'one', 'c', now(), now())`); err != nil {
		t.Fatal(err)
	}
	for range steps(t) - 1 {
		check(0, "took back", "down", "--yes")
	}
	check(1, "table public.teams (1 row)", "down", "--yes")
	check(0, "took back  00001_foundation.sql", "down", "--yes", "--allow-data-loss")
	check(0, "nothing to take back", "down", "--yes")
	var left int
	if err := c.QueryRow(t.Context(), `SELECT count(*) FROM pg_roles WHERE rolname = current_database() || '_app'`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d roles are left, %v", left, err)
	}
}

// A change of the schema, as a developer makes it.
func TestAuthoringAMigration(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "internal", "postgres", "migrations")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir("../../internal/postgres/migrations")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join("../../internal/postgres/migrations", f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name()), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	schema := filepath.Join(root, "internal", "postgres", "schema.sql")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(schema, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(want int, contains string, args ...string) {
		t.Helper()
		c := program(t, "", append([]string{"migrate"}, args...)...)
		c.Dir = dir // anywhere in the checkout
		out, err := c.CombinedOutput()
		if code := c.ProcessState.ExitCode(); code != want || !strings.Contains(string(out), contains) {
			t.Fatalf("forge migrate %s: exit %d (%v), want %d with %q\n%s", strings.Join(args, " "), code, err, want, contains, out)
		}
	}
	write(postgres.Schema())
	run(0, "nothing to write", "diff", "no change")
	write(strings.Replace(postgres.Schema(), "  state_reason text NOT NULL,\n", "  state_reason text NOT NULL,\n  colour text NOT NULL DEFAULT 'grey',\n", 1))
	run(1, "problem", "verify")
	run(2, "needs a name", "diff", "!!!")
	next := fmt.Sprintf("%05d_colour_of_workspaces.sql", migrate.Newest()+1)
	run(0, next, "diff", "Colour of WorkSpaces")
	run(0, "nothing to write", "diff", "again")
	run(0, "come to the same again", "verify")
	run(0, "finish", "new", "by hand")
	run(1, "is unfinished", "verify")

	outside := program(t, "", "migrate", "new", "x")
	outside.Dir = t.TempDir()
	if out, _ := outside.CombinedOutput(); outside.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "checkout") {
		t.Errorf("outside of a checkout: %s", out)
	}
}
