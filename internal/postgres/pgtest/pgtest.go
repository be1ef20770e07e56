// Package pgtest gives every test a database of its own on a real PostgreSQL that the test binary started.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/migrate"
	"github.com/robco-forge/forge/internal/postgres/pgembed"
)

const (
	template = "forge_template"
	owner    = "forge_owner"
	app      = template + "_app"
)

var (
	server *pgembed.Server
	// clone serialises the use of the template: PostgreSQL copies it only while nobody is connected to it.
	clone sync.Mutex
)

// Main starts the server, runs the tests and ends the server. Call it from TestMain. A server that does not start fails
// the tests: they never run against anything else.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for those who have something to do before the end.
func Run(m interface{ Run() int }) int {
	ctx := context.Background()
	var err error
	// The zone is one that nobody expects, with three quarters of an hour: what depends on the server's zone shows.
	server, err = pgembed.Start(ctx, pgembed.Options{
		Ephemeral: true, Logger: slog.New(slog.DiscardHandler), Settings: map[string]string{"timezone": "Pacific/Chatham", "max_connections": "300", "max_prepared_transactions": "50"},
	})
	if err == nil {
		err = prepare(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		if server != nil {
			_ = server.Stop(ctx) // the first error is the one to tell
		}
		return 1
	}
	code := m.Run()
	if err := server.Stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return 1
	}
	return code
}

func prepare(ctx context.Context) error {
	if err := super(ctx, `CREATE ROLE `+owner+` LOGIN CREATEROLE`, `CREATE DATABASE `+template+` OWNER `+owner); err != nil {
		return err
	}
	m, err := migrate.Open(ctx, server.URL(template, owner), migrate.Options{})
	if err != nil {
		return err
	}
	if _, err := m.Up(ctx, 0); err != nil {
		return err
	}
	if err := m.Close(); err != nil {
		return err
	}
	return super(ctx, `ALTER ROLE `+app+` LOGIN`)
}

// super runs statements as the superuser.
func super(ctx context.Context, statements ...string) error {
	c, err := pgx.Connect(ctx, server.URL("postgres", "postgres"))
	if err != nil {
		return err
	}
	defer c.Close(ctx) //nolint:errcheck // nothing is lost with it
	for _, s := range statements {
		if _, err := c.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// DB is one test's database. Pool has the application's rights, Owner those of the tables' owner.
type DB struct {
	Pool, Owner      *pgxpool.Pool
	AppURL, OwnerURL string
	// Keys are those of the database's audit logs.
	Keys audit.Keys
}

// Origin names the audit logs of tests.
const Origin = "test.forge/audit"

// Exec runs a statement as the owner.
func (db *DB) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := db.Owner.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// New makes a migrated database that goes with the test.
func New(t testing.TB) *DB {
	t.Helper()
	db := create(t, ` TEMPLATE `+template+` STRATEGY wal_log`)
	db.Pool, db.Owner = connect(t, db.AppURL), connect(t, db.OwnerURL)
	return db
}

// Empty makes a database with nothing in it, for tests of migrations. It has no pools.
func Empty(t testing.TB) *DB {
	t.Helper()
	return create(t, "")
}

func create(t testing.TB, how string) *DB {
	t.Helper()
	name := "t_" + strings.ToLower(id.Unique())
	clone.Lock()
	err := super(t.Context(), `CREATE DATABASE `+name+` OWNER `+owner+how)
	clone.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := super(ctx, `DROP DATABASE `+name+` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	db := &DB{AppURL: server.URL(name, app), OwnerURL: server.URL(name, owner)}
	db.Keys.Signing = make([][32]byte, 1)
	for _, key := range [][]byte{db.Keys.Writer[:], db.Keys.Personal[:], db.Keys.Signing[0][:]} {
		if _, err := rand.Read(key); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

func connect(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), url, 30)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Log is an audit log on the database, with keys of its own and the organisation in place: budgets deny by default.
func (db *DB) Log(t testing.TB, now clock.Clock) *audit.Log {
	t.Helper()
	if _, err := db.Pool.Exec(t.Context(), `
		INSERT INTO organisation (audit_origin, audit_keys_check, budget_default, created_at)
		VALUES ($1, $2, 'deny', $3)
		ON CONFLICT DO NOTHING`, Origin, db.Keys.Check(), now()); err != nil {
		t.Fatal(err)
	}
	log, err := audit.NewLog(audit.Config{Pool: db.Pool, Clock: now, Origin: Origin, Writer: "test", Keys: db.Keys, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// Value is the one value of a query, read as the owner.
func Value[T any](t testing.TB, db *DB, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := db.Owner.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// SuperURL is the superuser's way to a database, for tests of what even the owner may not do.
func SuperURL(database string) string { return server.URL(database, "postgres") }
