package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

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
		"a question is first": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			var n int
			err := tx.QueryRow(t.Context(), `SELECT $1::int + count(*)::int FROM said`, 1).Scan(&n)
			return said(n), err
		}, rows: 1},
		"a question without an answer is first": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			var n int
			if err := tx.QueryRow(t.Context(), `SELECT n FROM said WHERE n = $1`, 1).Scan(&n); !errors.Is(err, pgx.ErrNoRows) {
				return nil, fmt.Errorf("%d, %w", n, err)
			}
			_, err := tx.Exec(t.Context(), `INSERT INTO said VALUES ($1)`, 1)
			return said(2), err
		}, rows: 2},
		"many rows are first": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			all, err := postgres.Many[struct{ N int }](t.Context(), tx, `SELECT n FROM generate_series(1, $1::int) n`, 3)
			if err == nil {
				_, err = tx.Exec(t.Context(), `INSERT INTO said VALUES ($1)`, 7)
			}
			return said(len(all)), err
		}, rows: 2},
		"rows that nobody reads to the end are first": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			rows, err := tx.Query(t.Context(), `SELECT n FROM generate_series(1, $1::int) n`, 3)
			if err != nil || !rows.Next() {
				return nil, fmt.Errorf("no row: %w", err)
			}
			rows.Close()
			return said(1), rows.Err()
		}, rows: 1},
		"statements together are first": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			return said(2), tx.SendBatch(t.Context(), said(1)).Close()
		}, rows: 2},
		"the first fails": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			_, err := tx.Exec(t.Context(), `INSERT INTO said VALUES (1 / $1)`, 0)
			return said(1), err
		}, code: "22012"},
		"the first fails, and fn keeps it to itself": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			if err := tx.QueryRow(t.Context(), `SELECT 1 / $1`, 0).Scan(new(int)); err == nil {
				return nil, errors.New("no error")
			}
			return said(1), nil
		}, code: "25P02"},
		"the first never gets there, and fn keeps it to itself": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			if _, err := tx.Exec(t.Context(), `INSERT INTO said VALUES ($1)`, make(chan int)); err == nil {
				return nil, errors.New("no error")
			}
			if _, err := tx.Exec(t.Context(), `INSERT INTO said VALUES ($1)`, 7); err == nil {
				return nil, errors.New("a statement ran behind a beginning that never was")
			}
			return said(1), nil
		}, err: pgx.ErrTxClosed},
		"fn would end it": {fn: func(tx pgx.Tx) (*pgx.Batch, error) {
			_, err := tx.Exec(t.Context(), `INSERT INTO said VALUES ($1)`, 1)
			if tx.Commit(t.Context()) == nil || tx.Rollback(t.Context()) == nil {
				return nil, errors.New("it was ended")
			}
			return said(2), err
		}, rows: 2},
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
			// Both of the pool's connections can be had: none is kept.
			free, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			one, err := pool.Acquire(free)
			if err != nil {
				t.Fatal(err)
			}
			defer one.Release()
			two, err := pool.Acquire(free)
			if err != nil {
				t.Fatal(err)
			}
			defer two.Release()
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
