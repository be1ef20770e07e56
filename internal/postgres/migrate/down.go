package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/robco-forge/forge/internal/postgres"
)

// LossError refuses to take a migration back, because of what would go with it and cannot come back.
type LossError struct {
	Name string
	// Lost says what, each with how much is in it.
	Lost []string
}

func (e *LossError) Error() string {
	return fmt.Sprintf("taking back %s would destroy %s; keep a copy (pg_dump) and allow the loss, or leave it", e.Name, strings.Join(e.Lost, ", "))
}

// selfFilled are tables whose rows migrations write themselves, so that nothing is lost with them.
var selfFilled = []string{"public.schema_compatibility", "river.river_migration"}

// countedUpTo bounds how far the rows are counted that would be lost.
const countedUpTo = 10_000

// Last is the migration that Down would take back.
func (m *Migrator) Last(ctx context.Context) (*File, error) {
	steps, err := m.Status(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range slices.Backward(steps) {
		if s.State != Pending {
			if s.State == Unknown {
				return nil, fmt.Errorf("%w: %d %s, applied by %s", ErrUnknown, s.Version, s.Name, s.Program)
			}
			return find(m.files, s.Version)
		}
	}
	return nil, ErrNothing
}

// Down takes back the newest migration. What it drops with data in it is refused by a *LossError unless that is
// allowed: the look and the drop are one transaction, so that nobody can add a row between them.
func (m *Migrator) Down(ctx context.Context, allowLoss bool) (Applied, error) {
	if _, err := m.Last(ctx); err != nil {
		return Applied{}, err
	}
	if err := m.check(ctx); err != nil {
		return Applied{}, err
	}
	p, err := m.provider(func(ctx context.Context, tx *sql.Tx, f *File) error {
		if len(f.Unfinished) > 0 {
			return fmt.Errorf("%w: %s, %s", ErrUnfinished, f.Name, strings.Join(f.Unfinished, "; "))
		}
		if allowLoss {
			return nil
		}
		lost, err := m.losses(ctx, tx, f)
		if err == nil && len(lost) > 0 {
			err = &LossError{Name: f.Name, Lost: lost}
		}
		return err
	})
	if err != nil {
		return Applied{}, err
	}
	deadline := time.Now().Add(patience)
	for attempt := 1; ; attempt++ {
		r, err := p.Down(ctx)
		if err == nil {
			f, err := find(m.files, r.Source.Version)
			if err != nil {
				return Applied{}, err
			}
			return Applied{f.Version, f.Name, r.Duration}, nil
		}
		var partial *goose.PartialError
		switch {
		case errors.Is(err, goose.ErrNoNextVersion):
			return Applied{}, ErrNothing
		case contended(err) && time.Now().Before(deadline):
			m.log.Warn("a lock is held; trying again", "attempt", attempt, "error", err)
			if err := pause(ctx, attempt); err != nil {
				return Applied{}, err
			}
		case errors.As(err, &partial):
			var loss *LossError
			if errors.As(err, &loss) {
				return Applied{}, loss
			}
			return Applied{}, fmt.Errorf("migrate down: %w\nnothing was taken back", partial.Err)
		default:
			return Applied{}, fmt.Errorf("migrate down: %w", postgres.Redact(err))
		}
	}
}

// holder is a table, or a column of one, that holds data.
type holder struct {
	table  string // qualified and quoted
	column string // quoted; empty: the whole table
}

// losses runs the statements that take a migration back, sees which tables and columns are gone, undoes that, locks
// those tables and looks whether there is something in them.
func (m *Migrator) losses(ctx context.Context, tx *sql.Tx, f *File) ([]string, error) {
	before, err := holders(ctx, tx)
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `SAVEPOINT look`); err != nil {
		return nil, err
	}
	if err := m.run(ctx, tx, f.Down); err != nil {
		return nil, err
	}
	after, err := holders(ctx, tx)
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT look`); err != nil {
		return nil, err
	}
	var lost []string
	for _, h := range before {
		if slices.Contains(after, h) || h.column != "" && !slices.Contains(after, holder{table: h.table}) || slices.Contains(selfFilled, h.table) {
			continue // it stays, or goes with its table
		}
		if _, err := tx.ExecContext(ctx, `LOCK TABLE `+h.table+` IN ACCESS EXCLUSIVE MODE`); err != nil {
			return nil, err
		}
		where := ""
		if h.column != "" {
			where = ` WHERE ` + h.column + ` IS NOT NULL`
		}
		var n int
		if err := tx.QueryRowContext(ctx, fmt.Sprintf(`SELECT count(*) FROM (SELECT FROM %s%s LIMIT %d) AS counted`, h.table, where, countedUpTo+1)).Scan(&n); err != nil {
			return nil, err
		}
		if n > 0 {
			lost = append(lost, describe(h, n))
		}
	}
	return lost, nil
}

func describe(h holder, n int) string {
	rows := fmt.Sprintf("%d rows", n)
	switch {
	case n == 1:
		rows = "1 row"
	case n > countedUpTo:
		rows = fmt.Sprintf("more than %d rows", countedUpTo)
	}
	if h.column != "" {
		return fmt.Sprintf("column %s of table %s (a value in %s)", h.column, h.table, rows)
	}
	return fmt.Sprintf("table %s (%s)", h.table, rows)
}

// holders lists every table and every column that can hold data. Partitions are part of their table; a generated
// column comes back by itself.
func holders(ctx context.Context, tx *sql.Tx) ([]holder, error) {
	var out []holder
	rows, err := tx.QueryContext(ctx, `
		SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), coalesce(quote_ident(a.attname), '')
		FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace
		LEFT JOIN LATERAL (
		  SELECT NULL::name AS attname
		  UNION ALL
		  SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '') a ON true
		WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND n.nspname NOT IN ('pg_catalog', 'information_schema')
		  AND n.nspname NOT LIKE 'pg\_%'
		ORDER BY 1, 2`)
	if err != nil {
		return nil, err
	}
	err = each(rows, func() error {
		var h holder
		err := rows.Scan(&h.table, &h.column)
		out = append(out, h)
		return err
	})
	return out, err
}
