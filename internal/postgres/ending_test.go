package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

func TestWhatIsSentWithTheCommitIsCommittedOrNothingIs(t *testing.T) {
	db := pgtest.Empty(t)
	pool, err := postgres.Open(t.Context(), db.OwnerURL, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := pool.Exec(t.Context(), `
		CREATE TABLE said (n int PRIMARY KEY);
		CREATE TABLE later (n int REFERENCES said (n) DEFERRABLE INITIALLY DEFERRED)`); err != nil {
		t.Fatal(err)
	}
	said := func(n int) *pgx.Batch {
		b := &pgx.Batch{}
		b.Queue(`INSERT INTO said (n) VALUES ($1)`, n)
		return b
	}
	refused := errors.New("refused")
	for name, c := range map[string]struct {
		fn   func(pgx.Tx) (*pgx.Batch, error)
		code string // of PostgreSQL
		err  error
		rows int64
	}{
		"both": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			_, err := tx.Exec(t.Context(), `INSERT INTO said VALUES (1)`)
			return said(2), err
		}, rows: 2},
		"only with the end": {fn: func(pgx.Tx) (*pgx.Batch, error) { return said(1), nil }, rows: 1},
		"no end": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			_, err := tx.Exec(t.Context(), `INSERT INTO said VALUES (1)`)
			return &pgx.Batch{}, err
		}, rows: 1},
		"fn refuses": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			_, err := tx.Exec(t.Context(), `INSERT INTO said VALUES (1)`)
			return said(2), errors.Join(err, refused)
		}, err: refused},
		"the end is refused": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			_, err := tx.Exec(t.Context(), `INSERT INTO said VALUES (1)`)
			return said(1), err
		}, code: "23505"},
		"the commit is refused": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			_, err := tx.Exec(t.Context(), `INSERT INTO later VALUES (7)`)
			return said(1), err
		}, code: "23503"},
		"fn keeps a failure to itself": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			if _, err := tx.Exec(t.Context(), `SELECT 1/0`); err == nil {
				return nil, errors.New("no error")
			}
			return said(1), nil
		}, code: "25P02"},
		"and sends nothing": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			if _, err := tx.Exec(t.Context(), `SELECT 1/0`); err == nil {
				return nil, errors.New("no error")
			}
			return &pgx.Batch{}, nil
		}, err: pgx.ErrTxCommitRollback},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := pool.Exec(t.Context(), `TRUNCATE said, later`); err != nil {
				t.Fatal(err)
			}
			err := pool.AcquireFunc(t.Context(), func(conn *pgxpool.Conn) error { return postgres.InTxEnding(t.Context(), conn, c.fn) })
			var pg *pgconn.PgError
			errors.As(err, &pg)
			if (pg == nil) != (c.code == "") || pg != nil && pg.Code != c.code || c.err != nil && !errors.Is(err, c.err) || c.code == "" && c.err == nil && err != nil {
				t.Errorf("error %v", err)
			}
			var n int64
			if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM said`).Scan(&n); err != nil || n != c.rows {
				t.Errorf("%d rows (%v), want %d", n, err, c.rows)
			}
			if s := pool.Stat(); s.AcquiredConns() != 0 {
				t.Errorf("%d connections are kept", s.AcquiredConns())
			}
		})
	}
}

func TestATransactionIsTriedAgainWhenTheDatabaseAsksForIt(t *testing.T) {
	db := pgtest.Empty(t)
	pool, err := postgres.Open(t.Context(), db.OwnerURL, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := pool.Exec(t.Context(), `
		CREATE TABLE said (n int);
		CREATE FUNCTION stumble() RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE SQLSTATE '40001'; END$$`); err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]func(sql *string) error{
		"InTxEnding": func(sql *string) error {
			return pool.AcquireFunc(t.Context(), func(conn *pgxpool.Conn) error {
				return postgres.InTxEnding(t.Context(), conn, func(pgx.Tx) (*pgx.Batch, error) { return next(sql), nil })
			})
		},
		"Together": func(sql *string) error {
			return postgres.Together(t.Context(), pool, func() (*pgx.Batch, error) { return next(sql), nil })
		},
		"InTx": func(sql *string) error {
			return postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error { return tx.SendBatch(context.WithoutCancel(t.Context()), next(sql)).Close() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := pool.Exec(t.Context(), `TRUNCATE said`); err != nil {
				t.Fatal(err)
			}
			sql := `SELECT stumble()`
			if err := run(&sql); err != nil {
				t.Fatal(err)
			}
			var n int64
			if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM said`).Scan(&n); err != nil || n != 1 {
				t.Errorf("%d rows (%v), want that of the second attempt", n, err)
			}
		})
	}
}

// next says something, and stumbles the first time.
func next(sql *string) *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue(`INSERT INTO said VALUES (1)`)
	if *sql != "" {
		b.Queue(*sql)
		*sql = ""
	}
	return b
}
