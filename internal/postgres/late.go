package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// errWhole is what a transaction under InTxEnding answers to whoever would end it.
var errWhole = errors.New("postgres: this transaction is ended by who began it")

// lateTx is a transaction that begins in one round trip with its first statement.
type lateTx struct {
	conn *pgx.Conn
	tx   pgx.Tx // nil before
}

// with begins the transaction together with statements. The answer to BEGIN has been read, or is the error of the results.
func (l *lateTx) with(ctx context.Context, first ...*pgx.QueuedQuery) pgx.BatchResults {
	b := &pgx.Batch{}
	b.BeginTx(pgx.TxOptions{})
	b.QueuedQueries = append(b.QueuedQueries, first...)
	results := l.conn.SendBatch(ctx, b)
	l.tx = results.Tx()
	_, _ = results.Exec()
	return results
}

// now begins it if it has not begun.
func (l *lateTx) now(ctx context.Context) error {
	if l.tx != nil {
		return nil
	}
	tx, err := l.conn.Begin(ctx)
	if err == nil {
		l.tx = tx
	}
	return err
}

// end sends the last statements and the commit.
func (l *lateTx) end(ctx context.Context, ending *pgx.Batch) error {
	ending.Queue("COMMIT")
	results := l.SendBatch(ctx, ending)
	var tag pgconn.CommandTag
	var err error
	for range ending.Len() {
		if tag, err = results.Exec(); err != nil {
			break
		}
	}
	if err := errors.Join(err, results.Close()); err != nil {
		return err
	}
	if tag.String() != "COMMIT" { // a statement had failed before, and whoever sent it kept that quiet
		return pgx.ErrTxCommitRollback
	}
	return nil
}

// rollback rolls back what was not committed.
func (l *lateTx) rollback(ctx context.Context) {
	if l.tx != nil && l.conn.PgConn().TxStatus() != 'I' {
		_ = l.tx.Rollback(ctx)
	}
}

func (l *lateTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if l.tx == nil {
		return l.with(ctx, b.QueuedQueries...)
	}
	return l.tx.SendBatch(ctx, b)
}

// late says whether a statement takes BEGIN with it. One without arguments may be several, and goes behind it.
func (l *lateTx) late(ctx context.Context, args []any) (bool, error) {
	if l.tx == nil && len(args) > 0 {
		return true, nil
	}
	return false, l.now(ctx)
}

func (l *lateTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	late, err := l.late(ctx, args)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	if !late {
		return l.tx.Exec(ctx, sql, args...)
	}
	results := l.with(ctx, &pgx.QueuedQuery{SQL: sql, Arguments: args})
	tag, err := results.Exec()
	if closed := results.Close(); err == nil {
		err = closed
	}
	return tag, err
}

func (l *lateTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	late, err := l.late(ctx, args)
	if err != nil {
		return nil, err
	}
	if !late {
		return l.tx.Query(ctx, sql, args...) //nolint:rowserrcheck // whoever reads them looks
	}
	results := l.with(ctx, &pgx.QueuedQuery{SQL: sql, Arguments: args})
	rows, err := results.Query() //nolint:rowserrcheck // as above
	if err != nil {
		_ = results.Close()
		return nil, err
	}
	return &firstRows{Rows: rows, results: results}, nil
}

func (l *lateTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if l.tx != nil {
		return l.tx.QueryRow(ctx, sql, args...)
	}
	rows, err := l.Query(ctx, sql, args...) //nolint:rowserrcheck // Scan looks
	return firstRow{rows, err}
}

func (l *lateTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	if err := l.now(ctx); err != nil {
		return 0, err
	}
	return l.tx.CopyFrom(ctx, table, columns, rows)
}

func (l *lateTx) Begin(ctx context.Context) (pgx.Tx, error) {
	if err := l.now(ctx); err != nil {
		return nil, err
	}
	return l.tx.Begin(ctx)
}

func (l *lateTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	return l.conn.Prepare(ctx, name, sql)
}

func (l *lateTx) Conn() *pgx.Conn                { return l.conn }
func (l *lateTx) LargeObjects() pgx.LargeObjects { return pgx.LargeObjects{} }
func (l *lateTx) Commit(context.Context) error   { return errWhole }
func (l *lateTx) Rollback(context.Context) error { return errWhole }

// firstRows are the rows of a statement that took BEGIN with it. The connection is busy until its batch is closed.
type firstRows struct {
	pgx.Rows
	results pgx.BatchResults
	err     error
}

func (r *firstRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

func (r *firstRows) Close() {
	r.Rows.Close()
	r.err = r.results.Close()
}

func (r *firstRows) Err() error {
	if err := r.Rows.Err(); err != nil {
		return err
	}
	return r.err
}

// firstRow is the first of such rows.
type firstRow struct {
	rows pgx.Rows
	err  error
}

func (r firstRow) Scan(into ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(into...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}
