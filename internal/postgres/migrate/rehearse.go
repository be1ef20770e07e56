package migrate

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/postgres/pgembed"
)

// Rehearsal is what the pending migrations did to a copy.
type Rehearsal struct {
	// WithData tells whether the copy had the rows as well. Without them times say nothing, and rows are those that the
	// original is estimated to have.
	WithData   bool                 `json:"with_data"`
	Migrations []RehearsedMigration `json:"migrations"`
}

// RehearsedMigration is one migration of a rehearsal.
type RehearsedMigration struct {
	Name       string          `json:"name"`
	Took       time.Duration   `json:"took_ns"`
	Statements []RehearsedStep `json:"statements"`
	// Failed is why the migration does not run; those behind it were not tried.
	Failed string `json:"failed,omitempty"`
}

// RehearsedStep is one statement of a rehearsal.
type RehearsedStep struct {
	Line int           `json:"line"`
	SQL  string        `json:"sql"`
	Took time.Duration `json:"took_ns"`
	// Locks are the strongest on each table that was there before, as far as this statement took or strengthened them.
	Locks []TableLock `json:"locks"`
	// Warnings say what would hold up people who use the database meanwhile, and what to do instead.
	Warnings []string `json:"warnings"`
}

// TableLock is what a statement does to one table.
type TableLock struct {
	Table string `json:"table"`
	Mode  string `json:"mode"`
	// Rows is an estimate of how many rows the table has.
	Rows int64 `json:"estimated_rows"`
	// Rewritten and Read tell that the statement wrote, or went through, the whole table under the lock.
	Rewritten bool `json:"rewritten,omitempty"`
	Read      bool `json:"read,omitempty"`
	// Held is how long, on the copy, the lock was held: from the statement's begin to the end of the transaction.
	Held time.Duration `json:"held_ns"`
}

// modes of table locks, weakest first.
var modes = []string{
	"AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock",
	"ExclusiveLock", "AccessExclusiveLock",
}

var (
	blocksWriters = slices.Index(modes, "ShareLock")
	blocksReaders = slices.Index(modes, "AccessExclusiveLock")
)

var camel = regexp.MustCompile(`([a-z])([A-Z])`)

// modeName is the mode as PostgreSQL's manual writes it.
func modeName(m int) string {
	return strings.ToUpper(camel.ReplaceAllString(strings.TrimSuffix(modes[m], "Lock"), "$1 $2"))
}

// Rehearse runs the pending migrations on a copy of the database at address: its schema, and its data when asked.
// The original is only read. progress hears what is going on.
func Rehearse(ctx context.Context, s *Scratch, files []File, address string, data bool, progress func(string)) (_ *Rehearsal, err error) {
	original, err := Open(ctx, address, Options{Files: files})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, original.Close()) }()
	pending, err := original.Pending(ctx, 0)
	if err != nil {
		return nil, err
	}
	r := &Rehearsal{WithData: data, Migrations: []RehearsedMigration{}}
	if len(pending) == 0 {
		return r, nil
	}
	rows, err := estimates(ctx, original.db)
	if err != nil {
		return nil, err
	}
	progress("copying")
	copied, err := s.clone(ctx, original, address, data)
	if err != nil {
		return nil, err
	}
	m, err := Open(ctx, copied, Options{Files: files, Program: "rehearse"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if data {
		progress("counting rows")
		if _, err := m.db.ExecContext(ctx, `ANALYZE`); err != nil {
			return nil, err
		}
		if rows, err = estimates(ctx, m.db); err != nil {
			return nil, err
		}
	}
	for i := range pending {
		progress("running " + pending[i].Name)
		done, err := m.rehearse(ctx, &pending[i], rows)
		if err != nil {
			return nil, err
		}
		r.Migrations = append(r.Migrations, *done)
		if done.Failed != "" {
			break
		}
	}
	return r, nil
}

// estimates are the rows of each table, partitions counted in, as PostgreSQL last estimated them.
func estimates(ctx context.Context, db *sql.DB) (map[string]int64, error) {
	//nolint:sqlclosecheck // each closes them
	rows, err := db.QueryContext(ctx, `
		SELECT coalesce(pg_partition_root(c.oid), c.oid)::regclass::text, sum(greatest(c.reltuples, 0))::bigint
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_%'
		GROUP BY 1`)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	err = each(rows, func() error {
		var name string
		var n int64
		err := rows.Scan(&name, &n)
		out[name] = n
		return err
	})
	return out, err
}

// clone copies a database with PostgreSQL's own tools. The copy has the original's name, on a private server, so that
// roles named after it fit.
func (s *Scratch) clone(ctx context.Context, original *Migrator, address string, data bool) (string, error) {
	var name string
	if err := original.db.QueryRowContext(ctx, `SELECT current_database()`).Scan(&name); err != nil {
		return "", err
	}
	if s.server == nil {
		return "", errors.New("a rehearsal needs a private scratch server")
	}
	found, err := original.db.QueryContext(ctx, `SELECT rolname FROM pg_roles WHERE rolname NOT LIKE 'pg\_%'`)
	if err != nil {
		return "", err
	}
	roles, err := texts(found)
	if err != nil {
		return "", err
	}
	copied, err := s.named(ctx, name)
	if err != nil {
		return "", err
	}
	for _, role := range roles {
		if _, err := s.admin.Exec(ctx, `DO $do$ BEGIN CREATE ROLE `+pgx.Identifier{role}.Sanitize()+` NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $do$`); err != nil {
			return "", err
		}
	}
	dir, err := os.MkdirTemp("", "forge-rehearse-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system clears what stays
	file := filepath.Join(dir, "copy")
	parts := [][]string{{"--schema-only"}, {"--data-only", "--table=" + table, "--table=schema_compatibility"}}
	if data {
		parts = [][]string{nil}
	}
	for _, part := range parts {
		if err := tool(ctx, "pg_dump", slices.Concat([]string{"--format=custom", "--no-owner", "--file=" + file}, part, []string{"--dbname=" + address})...); err != nil {
			return "", err
		}
		if err := tool(ctx, "pg_restore", "--no-owner", "--exit-on-error", "--dbname="+copied, file); err != nil {
			return "", err
		}
	}
	return copied, nil
}

// tool runs a program of PostgreSQL's that stands beside the server's.
func tool(ctx context.Context, name string, args ...string) error {
	path := name
	if dir, _, err := pgembed.FindBinaries(); err == nil {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			path = filepath.Join(dir, name)
		}
	}
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // PostgreSQL's own programs, and arguments that no shell reads
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is missing: install PostgreSQL's client programs", name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(said.String()))
	}
	return nil
}

// rehearse runs one migration, statement by statement, watching what each does.
func (m *Migrator) rehearse(ctx context.Context, f *File, rows map[string]int64) (*RehearsedMigration, error) {
	r := &RehearsedMigration{Name: f.Name, Statements: []RehearsedStep{}}
	if len(f.Unfinished) > 0 {
		r.Failed = strings.Join(f.Unfinished, "; ")
		return r, nil
	}
	st, err := newStore(m.files, m.program)
	if err != nil {
		return nil, err
	}
	if _, err := st.TableExists(ctx, m.db); err != nil {
		return nil, err
	}
	began := time.Now()
	if f.NoTransaction {
		for _, s := range f.Up {
			start := time.Now()
			if err := m.alone(ctx, m.db, f, []Statement{s}); err != nil {
				r.Failed = err.Error()
				return r, nil //nolint:nilerr // a finding, not a failure of ours
			}
			r.Statements = append(r.Statements, RehearsedStep{Line: s.Line, SQL: oneLine(s.For(m.app)), Took: time.Since(start), Locks: []TableLock{}, Warnings: []string{}})
		}
		r.Took = time.Since(began)
		return r, st.Insert(ctx, m.db, insertOf(f))
	}
	tx, err := m.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	before, err := watch(ctx, tx)
	if err != nil {
		return nil, err
	}
	first := before
	starts := make([]time.Time, len(f.Up))
	for i, s := range f.Up {
		starts[i] = time.Now()
		if _, err := tx.ExecContext(ctx, s.For(m.app)); err != nil {
			r.Failed = fmt.Sprintf("the statement on line %d: %v", s.Line, err)
			return r, nil //nolint:nilerr // a finding, not a failure of ours
		}
		step := RehearsedStep{Line: s.Line, SQL: oneLine(s.For(m.app)), Took: time.Since(starts[i]), Locks: []TableLock{}, Warnings: []string{}}
		after, err := watch(ctx, tx)
		if err != nil {
			return nil, err
		}
		step.Locks = compare(first, before, after, rows)
		r.Statements = append(r.Statements, step)
		before = after
	}
	if err := st.Insert(ctx, tx, insertOf(f)); err != nil {
		return nil, err
	}
	if err := tx.Commit(); err != nil {
		r.Failed = err.Error()
		return r, nil //nolint:nilerr // a finding, not a failure of ours
	}
	end := time.Now()
	r.Took = end.Sub(began)
	for i := range r.Statements {
		for j := range r.Statements[i].Locks {
			r.Statements[i].Locks[j].Held = end.Sub(starts[i])
		}
		r.Statements[i].warn()
	}
	return r, nil
}

// sight is the state of a table within the transaction that migrates.
type sight struct {
	mode  int // of the strongest lock; -1: none
	files string
	read  int64
}

// watch sees, for every table, the strongest lock that the transaction holds, the files that its rows are in, and how
// many rows the transaction has read in passing through it. A partitioned table and its partitions are one.
func watch(ctx context.Context, tx *sql.Tx) (map[string]sight, error) {
	rows, err := tx.QueryContext(ctx, `
		SELECT coalesce(pg_partition_root(c.oid), c.oid)::regclass::text,
		       coalesce(max(array_position($1::text[], l.mode)), 0) - 1,
		       coalesce(string_agg(pg_relation_filenode(c.oid)::text, ' ' ORDER BY c.oid), ''),
		       coalesce(sum(pg_stat_get_xact_tuples_returned(c.oid)), 0)::bigint
		FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace
		LEFT JOIN LATERAL (
		  SELECT mode
		  FROM pg_locks
		  WHERE relation = c.oid AND locktype = 'relation' AND pid = pg_backend_pid() AND granted
		    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
		  ORDER BY array_position($1::text[], mode) DESC
		  LIMIT 1) l ON true
		WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_%'
		GROUP BY 1`, modes)
	if err != nil {
		return nil, err
	}
	out := map[string]sight{}
	err = each(rows, func() error {
		var name string
		var s sight
		err := rows.Scan(&name, &s.mode, &s.files, &s.read)
		out[name] = s
		return err
	})
	return out, err
}

// compare tells what a statement did to the tables that were there at first.
func compare(first, before, after map[string]sight, rows map[string]int64) []TableLock {
	locks := []TableLock{}
	for name, was := range before {
		if _, old := first[name]; !old {
			continue
		}
		is, there := after[name]
		if !there { // dropped: PostgreSQL lists it no more
			locks = append(locks, TableLock{Table: name, Mode: modeName(blocksReaders), Rows: rows[name]})
			continue
		}
		rewritten, read := is.files != was.files, is.read > was.read && rows[name] > 0
		if is.mode > was.mode && is.mode >= 0 || rewritten {
			locks = append(locks, TableLock{Table: name, Mode: modeName(max(is.mode, 0)), Rows: rows[name], Rewritten: rewritten, Read: read})
		} else if read && is.mode >= blocksWriters {
			locks = append(locks, TableLock{Table: name, Mode: modeName(is.mode), Rows: rows[name], Read: true})
		}
	}
	slices.SortFunc(locks, func(a, b TableLock) int { return strings.Compare(a.Table, b.Table) })
	return locks
}

// warn says what would hold up others.
func (s *RehearsedStep) warn() {
	for _, l := range s.Locks {
		mode := slices.IndexFunc(modes, func(m string) bool { return modeName(slices.Index(modes, m)) == l.Mode })
		if mode < blocksWriters || l.Rows == 0 {
			continue
		}
		who := "writers wait"
		if mode >= blocksReaders {
			who = "readers and writers wait"
		}
		does, instead := "", "keep it short: it is released when the migration's transaction ends"
		switch {
		case l.Rewritten:
			does, instead = " and rewrites it", "add the column without a default that has to be computed for each row, fill it in batches, then set the default"
		case strings.Contains(strings.ToUpper(s.SQL), " INDEX "):
			does, instead = " while the index is built", "use CREATE INDEX CONCURRENTLY in a migration of its own (-- +goose NO TRANSACTION)"
		case l.Read:
			does, instead = " and reads all of it", "add the constraint NOT VALID, and VALIDATE it in the next migration"
		}
		s.Warnings = append(s.Warnings, fmt.Sprintf("%s on %s (about %d rows)%s: %s; %s", l.Mode, l.Table, l.Rows, does, who, instead))
	}
}
