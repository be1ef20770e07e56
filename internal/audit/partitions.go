package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres"
)

// MonthsAhead is how many months of partitions are kept ready.
const MonthsAhead = 24

// ErrPartitionsBusy says that the months were not made because others kept on using the tables, or were making them.
// Nothing was changed; the next round tries again.
var ErrPartitionsBusy = errors.New("audit: the tables of the audit log are in use; partitions are made at the next try")

// EnsurePartitions makes the months that are missing, and MonthsAhead of them; see MakePartitions.
func (l *Log) EnsurePartitions(ctx context.Context) (int, error) {
	return MakePartitions(ctx, l.pool, l.now(), MonthsAhead)
}

// MakePartitions makes the months that are missing up to so many after that of now, through the owner's function, moves
// what the overflow partition has of them, and returns how many partitions that made. It takes as long as there is to
// move and is all or nothing. A missing month fails no write: it goes to the overflow partition.
func MakePartitions(ctx context.Context, pool *pgxpool.Pool, now time.Time, monthsAhead int) (int, error) {
	var made int
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0`); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT audit_partitions_ensure($1, $2)`, monthsAhead, now).Scan(&made)
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "55P03" || pg.Code == "40P01") { // lock timeout, deadlock
		return 0, fmt.Errorf("%w: %w", ErrPartitionsBusy, err)
	}
	if err != nil {
		return 0, fmt.Errorf("making audit partitions: %w", err)
	}
	return made, nil
}

// PartitionKind is what a partition takes.
type PartitionKind string

// Kinds of partitions. The overflow partitions of the past and the future take what no month takes; a default one has no
// place here, and neither has a partition that is not a whole month.
const (
	KindMonth   PartitionKind = "month"
	KindPast    PartitionKind = "past"
	KindFuture  PartitionKind = "future"
	KindDefault PartitionKind = "default"
	KindOdd     PartitionKind = "odd"
)

// PartitionedTables are the tables that have a partition for each month.
func PartitionedTables() []string { return []string{"audit_logs", "audit_personal_data"} }

// Partition is one part of a table of the audit log.
type Partition struct {
	Table string        `json:"table"`
	Name  string        `json:"name"`
	Kind  PartitionKind `json:"kind"`
	// From is the first instant in it, To the first behind it; nil where there is no bound.
	From *time.Time `json:"from"`
	To   *time.Time `json:"to"`
	// Bytes is what it takes on disk, with its indexes.
	Bytes int64 `json:"bytes"`
	// EstimatedRows is PostgreSQL's estimate, nil as long as it has none.
	EstimatedRows *int64 `json:"estimated_rows"`
	// Detaching says that somebody began to detach it and did not finish: it takes no writes.
	Detaching bool `json:"detaching"`
}

// Partitions lists the partitions of the audit log, by table and time.
func Partitions(ctx context.Context, q postgres.Querier) ([]Partition, error) {
	return listPartitions(ctx, q, true)
}

// listPartitions leaves sizes out where nobody wants them: they are looked up file by file, and wait for whoever holds
// the table.
func listPartitions(ctx context.Context, q postgres.Querier, sizes bool) ([]Partition, error) {
	parts, err := postgres.Many[Partition](ctx, q, `
		SELECT p.parent AS "table", c.relname::text AS name, '' AS kind, nullif(p.lower, '-infinity') AS "from", nullif(p.upper, 'infinity') AS "to",
		       CASE WHEN $1 THEN pg_total_relation_size(c.oid) ELSE 0 END AS bytes, nullif(c.reltuples, -1)::bigint AS estimated_rows, p.detaching
		FROM audit_partitions() p JOIN pg_class c ON c.oid = p.part
		ORDER BY p.parent, p.lower NULLS LAST`, sizes)
	if err != nil {
		return nil, fmt.Errorf("listing audit partitions: %w", err)
	}
	for i := range parts {
		parts[i].utc()
		parts[i].Kind = kindOf(&parts[i])
	}
	return parts, nil
}

func (p *Partition) utc() {
	for _, t := range []**time.Time{&p.From, &p.To} {
		if *t != nil {
			u := (*t).UTC()
			*t = &u
		}
	}
}

func kindOf(p *Partition) PartitionKind {
	switch {
	case p.From == nil && p.To == nil:
		return KindDefault
	case p.From == nil && p.To.Equal(clock.StartOfMonth(*p.To)):
		return KindPast
	case p.To == nil && p.From.Equal(clock.StartOfMonth(*p.From)):
		return KindFuture
	case p.From != nil && p.To != nil && p.From.Equal(clock.StartOfMonth(*p.From)) && p.To.Equal(p.From.AddDate(0, 1, 0)):
		return KindMonth
	}
	return KindOdd
}
