// Package postgres is the way to the database: the pool, transactions, constraint names and migrations.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/robco-forge/forge/internal/fault"
)

// ErrText refuses text that no column can keep.
var ErrText = fault.New(fault.Invalid, "TEXT_INVALID", "a text holds a character that cannot be kept, such as NUL",
	fault.Suggest("send valid UTF-8 without NUL"))

// IsInvalidText tells whether the database refused the bytes of a text.
func IsInvalidText(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "22021" || pg.Code == "22P05")
}

// Querier is what a function that only reads takes: a pool or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Executor is a Querier that can write as well.
type Executor interface {
	Querier
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// Limits on what one connection may do to the others.
const (
	statementTimeout = 30 * time.Second
	lockTimeout      = 10 * time.Second
	idleInTxTimeout  = 60 * time.Second
)

// Open connects to the database at url with at most maxConns connections (0: pgx's default) and checks that it answers.
// Sessions speak UTC whatever the server's zone is.
func Open(ctx context.Context, url string, maxConns int32) (*pgxpool.Pool, error) {
	return OpenTraced(ctx, url, maxConns, nil)
}

// OpenTraced is Open with somebody who hears of every statement; nil is nobody.
func OpenTraced(ctx context.Context, url string, maxConns int32, tracer pgx.QueryTracer) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database address: %w", Redact(err))
	}
	if maxConns > 0 {
		cfg.MaxConns = maxConns
	}
	cfg.MaxConnLifetime = time.Hour
	cfg.ConnConfig.Tracer = tracer
	cfg.MaxConnLifetimeJitter = 10 * time.Minute
	params := cfg.ConnConfig.RuntimeParams
	params["timezone"] = "UTC"
	params["statement_timeout"] = millis(statementTimeout)
	params["lock_timeout"] = millis(lockTimeout)
	params["idle_in_transaction_session_timeout"] = millis(idleInTxTimeout)
	if params["application_name"] == "" {
		params["application_name"] = "forge"
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("database: %w", Redact(err))
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("database does not answer: %w", Redact(err))
	}
	return pool, nil
}

func millis(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }

// Redact keeps a password in a malformed address out of messages; pgx already hides it in well-formed ones.
func Redact(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		return errors.New("cannot be parsed; write postgres://user:password@host:5432/database")
	}
	return err
}

// Violates tells whether err is a violation of the named constraint or unique index.
func Violates(err error, constraint string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.ConstraintName == constraint && strings.HasPrefix(pg.Code, "23")
}

// transient tells whether the transaction may succeed when it is simply run again.
func transient(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code {
	case "40001", "40P01", "55P03": // serialization failure, deadlock, lock timeout
		return true
	}
	return false
}

// IsTransient tells whether err came from contention or a lost connection, so that trying later may help.
func IsTransient(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return transient(err) || strings.HasPrefix(pg.Code, "57P") || strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "53")
	}
	var connect *pgconn.ConnectError
	return errors.As(err, &connect) || pgconn.SafeToRetry(err)
}

const txAttempts = 6

// Beginner begins transactions: a pool, or a connection that somebody keeps.
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Sender sends statements together: the same.
type Sender interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// InTx runs fn in a transaction, and again from the start when the database asks for that (serialization, deadlock,
// lock timeout): fn must have no effects outside the transaction.
func InTx(ctx context.Context, db Beginner, fn func(pgx.Tx) error) error {
	return retried(ctx, func() error { return pgx.BeginFunc(ctx, db, fn) })
}

// InTxEnding is InTx for a transaction that ends with statements whose answers nobody needs: they and the commit are one
// round trip, and so are its beginning and fn's first statement. An error of theirs is returned like fn's, and nothing is
// committed.
func InTxEnding(ctx context.Context, c *pgxpool.Conn, fn func(pgx.Tx) (*pgx.Batch, error)) error {
	return retried(ctx, func() error {
		tx := &lateTx{conn: c.Conn()}
		// A connection that does not come out of its transaction is closed by the pool.
		defer tx.rollback(ctx)
		ending, err := fn(tx)
		if err != nil {
			return err
		}
		return tx.end(ctx, ending)
	})
}

// Together runs the statements as one transaction of one round trip, and again like InTx.
func Together(ctx context.Context, db Sender, make func() (*pgx.Batch, error)) error {
	return retried(ctx, func() error {
		all, err := make()
		if err != nil {
			return err
		}
		return db.SendBatch(ctx, all).Close()
	})
}

func retried(ctx context.Context, try func() error) error {
	for attempt := 1; ; attempt++ {
		err := try()
		if err == nil || attempt == txAttempts || !transient(err) {
			return err
		}
		pause := time.NewTimer(time.Duration(rand.IntN(20<<attempt)) * time.Millisecond) //nolint:gosec // jitter needs no secrecy
		select {
		case <-ctx.Done():
			pause.Stop()
			return errors.Join(ctx.Err(), err)
		case <-pause.C:
		}
	}
}

// One is the one row of a query as a T, by column name. It returns pgx.ErrNoRows when there is none.
func One[T any](ctx context.Context, q Querier, sql string, args ...any) (T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		var none T
		return none, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[T])
}

// Many is every row of a query as a T, by column name.
func Many[T any](ctx context.Context, q Querier, sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[T])
}
