package audit_test

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/pgembed"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// elsewhere dumps the database and restores it into a cluster of its own, as after a move to another machine: its
// transactions are numbered anew, from far below.
func elsewhere(t *testing.T, db *pgtest.DB) *pgtest.DB {
	t.Helper()
	name := pgtest.Value[string](t, db, `SELECT current_database()`)
	roles := pgtest.Value[string](t, db, `SELECT string_agg(format('CREATE ROLE %I LOGIN;', rolname), ' ') FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> 'postgres'`)
	server, err := pgembed.Start(t.Context(), pgembed.Options{Ephemeral: true, Settings: map[string]string{"shared_buffers": "64MB"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	admin, err := pgx.Connect(t.Context(), server.URL("postgres", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context())
	for _, sql := range []string{roles, `CREATE DATABASE ` + name + ` OWNER ` + pgtest.Value[string](t, db, `SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()`)} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	bin, _, err := pgembed.FindBinaries()
	if err != nil {
		t.Fatal(err)
	}
	dump := filepath.Join(t.TempDir(), "forge.dump")
	for _, args := range [][]string{
		{"pg_dump", "--format=custom", "--file", dump, pgtest.SuperURL(name)},
		{"pg_restore", "--exit-on-error", "--dbname", server.URL(name, "postgres"), dump},
	} {
		if out, err := exec.CommandContext(t.Context(), filepath.Join(bin, args[0]), args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", args[0], err, bytes.TrimSpace(out))
		}
	}
	as := func(url string) *pgxpool.Pool {
		role := pgtest.Value[string](t, &pgtest.DB{Owner: connected(t, url)}, `SELECT current_user`)
		return connected(t, server.URL(name, role))
	}
	return &pgtest.DB{Pool: as(db.AppURL), Owner: as(db.OwnerURL), Keys: db.Keys}
}

func connected(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), url, 5)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// T52: a logical restore. Entries have numbers of transactions that the new cluster has not come to.
func TestALogThatIsRestoredIntoAnotherClusterGoesOn(t *testing.T) {
	before := setUp(t)
	before.Exec(t, `DO $$BEGIN FOR i IN 1..10000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END$$`) // a restore is of a thousand or two
	pins := audit.PinDir(t.TempDir())
	pinned := func(c *audit.SequencerConfig) { c.Pins = pins }
	seq := before.sequencer(t, "before", pinned)
	before.note(t, 300)
	settle(t, before, seq, 300)
	seq.Close(t.Context())
	before.note(t, 40) // which nobody sequences before the dump

	after := &room{elsewhere(t, before.DB), before.log}
	after.log = after.Log(t, before.log.Clock())
	most := func(db *pgtest.DB, sql string) int64 { return pgtest.Value[int64](t, db, sql) }
	if stored, now := most(after.DB, `SELECT max(xid)::text::bigint FROM audit_logs`), most(after.DB, `SELECT pg_current_xact_id()::text::bigint`); stored <= now {
		t.Fatalf("the new cluster is at transaction %d, and entries are of up to %d", now, stored)
	}
	after.note(t, 10) // before any sequencer
	seq = after.sequencer(t, "after", pinned)
	settle(t, after, seq, 350)
	after.note(t, 250) // and while one runs
	settle(t, after, seq, 600)
	if n := most(after.DB, `SELECT count(*) FROM audit_quarantine`); n != 0 {
		t.Errorf("%d entries are in quarantine", n)
	}
	if n := most(after.DB, `SELECT size FROM audit_tree`); n != 600 {
		t.Errorf("the tree has %d entries", n)
	}
	text, err := pins.Latest(t.Context())
	if err != nil || !strings.Contains(text, "\n600\n") {
		t.Errorf("pinned is %s, %v", text, err)
	}
	s := &scene{room: after, pinned: []string{text}}
	if err := after.log.Heartbeat(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	settle(t, after, seq, 601)
	if r := s.prove(t); !r.OK() {
		t.Error(r.Text())
	}
}
