package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/robco-forge/forge/internal/postgres"
)

// State is what became of a migration.
type State string

// States of a migration.
const (
	Pending State = "pending"
	Done    State = "applied"
	// Edited: applied, and its file is no longer what was applied.
	Edited State = "edited"
	// Unknown: applied by a program that knows it; this one does not.
	Unknown State = "unknown"
)

// Step is one migration and its state in a database.
type Step struct {
	Version      int64      `json:"version"`
	Name         string     `json:"name"`
	State        State      `json:"state"`
	AppliedAt    *time.Time `json:"applied_at,omitempty"`
	Program      string     `json:"program,omitempty"`
	OldestBinary int64      `json:"oldest_binary,omitempty"`
}

type row struct {
	at                      time.Time
	name, checksum, program string
}

// Status lists every migration in order. It reads only, and does with the application's rights.
func (m *Migrator) Status(ctx context.Context) ([]Step, error) {
	applied, err := m.applied(ctx)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42501" { // permission denied
		return nil, errors.New("this user may not read which migrations are applied; sign in to the database as its owner (FORGE_MIGRATE_DATABASE_URL), or as a member of the application's role to look only")
	}
	if err != nil {
		return nil, fmt.Errorf("migration status: %w", postgres.Redact(err))
	}
	var steps []Step
	for i := range m.files {
		f := &m.files[i]
		s := Step{Version: f.Version, Name: f.Name, State: Pending, OldestBinary: f.OldestBinary}
		if a, ok := applied[f.Version]; ok {
			s.State, s.AppliedAt, s.Program = Done, &a.at, a.program
			if a.checksum != "" && a.checksum != f.Checksum {
				s.State = Edited
			}
			delete(applied, f.Version)
		}
		steps = append(steps, s)
	}
	for v, a := range applied {
		steps = append(steps, Step{Version: v, Name: a.name, State: Unknown, AppliedAt: &a.at, Program: a.program})
	}
	slices.SortFunc(steps, func(a, b Step) int { return int(a.Version - b.Version) })
	return steps, nil
}

// applied reads the table of applied migrations, whether or not it has our columns yet.
func (m *Migrator) applied(ctx context.Context) (map[int64]row, error) {
	extended, there, err := m.hasTable(ctx)
	if err != nil || !there {
		return nil, err
	}
	columns := `name, checksum, program`
	if !extended {
		columns = `'', '', ''`
	}
	rows, err := m.db.QueryContext(ctx, `SELECT version_id, tstamp AT TIME ZONE 'UTC', `+columns+` FROM `+table+` WHERE is_applied AND version_id > 0`)
	if err != nil {
		return nil, err
	}
	out := map[int64]row{}
	err = each(rows, func() error {
		var v int64
		var r row
		err := rows.Scan(&v, &r.at, &r.name, &r.checksum, &r.program)
		r.at = r.at.UTC()
		out[v] = r
		return err
	})
	return out, err
}

func (m *Migrator) hasTable(ctx context.Context) (extended, there bool, err error) {
	var columns sql.NullInt64
	err = m.db.QueryRowContext(ctx, `
		SELECT (SELECT count(*) FILTER (WHERE attname IN ('name', 'checksum', 'program')) FROM pg_attribute WHERE attrelid = t.oid AND NOT attisdropped)
		FROM (SELECT to_regclass($1)::oid AS oid) t
		WHERE t.oid IS NOT NULL`, table).Scan(&columns)
	if errors.Is(err, sql.ErrNoRows) {
		return false, false, nil
	}
	return columns.Int64 == 3, err == nil, err
}

// check refuses a database whose applied migrations are not this program's.
func (m *Migrator) check(ctx context.Context) error {
	steps, err := m.Status(ctx)
	if err != nil {
		return err
	}
	for _, s := range steps {
		switch s.State {
		case Edited:
			return fmt.Errorf("%w: %s", ErrEdited, s.Name)
		case Unknown:
			return fmt.Errorf("%w: %d %s, applied by %s", ErrUnknown, s.Version, s.Name, s.Program)
		case Pending, Done:
		}
	}
	return nil
}

// Pending lists the migrations that Up would apply up to the version (0: all of them).
func (m *Migrator) Pending(ctx context.Context, to int64) ([]File, error) {
	steps, err := m.Status(ctx)
	if err != nil {
		return nil, err
	}
	var out []File
	for _, s := range steps {
		if s.State == Pending && (to == 0 || s.Version <= to) {
			f, err := find(m.files, s.Version)
			if err != nil {
				return nil, err
			}
			out = append(out, *f)
		}
	}
	return out, nil
}
