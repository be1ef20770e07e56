package pgtest

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Copy makes another database with the same content and the same keys, which goes with t. Nobody may be connected to the
// first any more: Copy closes its pools.
func (db *DB) Copy(t testing.TB) *DB {
	t.Helper()
	db.Pool.Close()
	db.Owner.Close()
	c := create(t, ` TEMPLATE `+db.name(t)+` STRATEGY wal_log`)
	c.Keys = db.Keys
	c.Pool, c.Owner = connect(t, c.AppURL), connect(t, c.OwnerURL)
	return c
}

// Super runs statements in the database as a superuser, whom no right stops.
func (db *DB) Super(t testing.TB, statements ...string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), SuperURL(db.name(t)))
	must(t, err)
	defer c.Close(t.Context()) //nolint:errcheck // nothing is lost with it
	_, err = c.Exec(t.Context(), strings.Join(statements, ";\n"))
	must(t, err)
}

// name is what the server calls the database.
func (db *DB) name(t testing.TB) string {
	t.Helper()
	c, err := pgx.ParseConfig(db.OwnerURL)
	must(t, err)
	return c.Database
}
