// Package migrate changes the database's schema: it applies migrations and takes them back, tells what a change of
// schema.sql needs, proves that migrations and schema.sql agree, and rehearses on a copy.
package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/robco-forge/forge/internal/postgres"
)

const (
	// lockWait is how long one statement of a migration waits for a lock. Whoever comes behind it waits as long.
	lockWait = 2 * time.Second
	// patience is for how long a migration that met a held lock is tried again.
	patience = 2 * time.Minute
	// queue is for how long a process waits for another that migrates.
	queue = time.Hour
)

// Errors that are answers.
var (
	ErrEdited     = errors.New("a migration that is applied has been edited; put the file back as it was and write a new one")
	ErrUnknown    = errors.New("the database has a migration that this program does not know; use the program that applied it, or a newer one")
	ErrUnfinished = errors.New("a migration has a block that a person must finish")
	ErrNothing    = errors.New("no migration is applied")
)

// Options say how to migrate.
type Options struct {
	// Files are the migrations, this program's own when empty.
	Files []File
	// Program is written down beside each migration that it applies.
	Program string
	// Logger hears notices and retries; nil: nobody does.
	Logger *slog.Logger
	// Progress is called when a migration begins.
	Progress func(File)
}

// Migrator applies migrations as the owner of the database.
type Migrator struct {
	db      *sql.DB
	files   []File
	program string
	log     *slog.Logger
	begin   func(File)
	app     string
}

// Open connects as the owner of the database at url.
func Open(ctx context.Context, url string, o Options) (*Migrator, error) {
	m := &Migrator{files: o.Files, program: o.Program, log: o.Logger, begin: o.Progress}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.begin == nil {
		m.begin = func(File) {}
	}
	if len(m.files) == 0 {
		var err error
		if m.files, err = Embedded(); err != nil {
			return nil, err
		}
	}
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database address: %w", postgres.Redact(err))
	}
	cfg.RuntimeParams["timezone"] = "UTC"
	cfg.RuntimeParams["application_name"] = "forge migrate"
	cfg.RuntimeParams["lock_timeout"] = fmt.Sprint(lockWait.Milliseconds())
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.Severity == "WARNING" {
			m.log.Warn("the database says", "notice", n.Message)
		}
	}
	m.db = stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		// A statement of a process that was killed ends within seconds, and with it what it has locked. Servers that do
		// not run on Linux cannot look, and find out when the statement ends.
		if _, err := c.Exec(ctx, `SET client_connection_check_interval = '2s'`); err != nil {
			m.log.Debug("the server cannot tell when a client is gone", "error", err)
		}
		return nil
	}))
	if err := m.db.QueryRowContext(ctx, appRoleQuery).Scan(&m.app); err != nil {
		return nil, errors.Join(fmt.Errorf("database: %w", postgres.Redact(err)), m.db.Close())
	}
	return m, nil
}

// appRoleQuery finds the role of the application: the one that was given its rights, whatever the database is called by
// now; before that, the one that will be named after the database; where the owner may not make roles, the owner.
const appRoleQuery = `
	SELECT coalesce(
	  (SELECT r.rolname
	   FROM pg_class c CROSS JOIN aclexplode(c.relacl) x JOIN pg_roles r ON r.oid = x.grantee
	   WHERE c.oid = to_regclass('public.audit_logs') AND x.privilege_type = 'INSERT' AND x.grantee <> c.relowner AND r.rolname LIKE '%\_app'
	   ORDER BY 1
	   LIMIT 1),
	  CASE WHEN rolsuper OR rolcreaterole OR to_regrole(quote_ident(current_database() || '_app')) IS NOT NULL
	  THEN current_database() || '_app' ELSE current_user END)
	FROM pg_roles
	WHERE rolname = current_user`

// Close ends the connections.
func (m *Migrator) Close() error { return m.db.Close() }

// Applied says that a migration was applied or taken back, and how long that took.
type Applied struct {
	Version int64         `json:"version"`
	Name    string        `json:"name"`
	Took    time.Duration `json:"took_ns"`
}

// Up applies what is pending up to the version (0: all of it). Processes that migrate one database at the same time
// queue; who comes later finds nothing to do. Each migration is one transaction: what failed has left nothing behind,
// what went before it stays, and the next Up goes on from there. A migration that meets a held lock is tried again.
func (m *Migrator) Up(ctx context.Context, to int64) ([]Applied, error) {
	if to == 0 {
		to = m.files[len(m.files)-1].Version
	} else if _, err := find(m.files, to); err != nil {
		return nil, err
	}
	err := m.check(ctx)
	if errors.Is(err, ErrUnknown) {
		// A newer release was here. As long as nothing of ours is missing, that is what rolling upgrades look like.
		if pending, other := m.Pending(ctx, 0); other != nil || len(pending) == 0 {
			return nil, other
		}
	}
	if err != nil {
		return nil, err
	}
	for i := range m.files {
		if f := &m.files[i]; f.Version <= to && len(f.Unfinished) > 0 {
			return nil, fmt.Errorf("%w: %s, %s", ErrUnfinished, f.Name, strings.Join(f.Unfinished, "; "))
		}
	}
	p, err := m.provider(nil)
	if err != nil {
		return nil, err
	}
	var done []Applied
	deadline := time.Now().Add(patience)
	for attempt := 1; ; attempt++ {
		results, err := p.UpTo(ctx, to)
		var partial *goose.PartialError
		if errors.As(err, &partial) {
			results = partial.Applied
		}
		for _, r := range results {
			f, err := find(m.files, r.Source.Version)
			if err != nil {
				return done, err
			}
			done = append(done, Applied{f.Version, f.Name, r.Duration})
		}
		switch {
		case err == nil:
			return done, nil
		case partial == nil:
			return done, fmt.Errorf("migrate up: %w", postgres.Redact(err))
		case contended(err) && time.Now().Before(deadline):
			m.log.Warn("a lock is held; trying again", "attempt", attempt, "error", partial.Err)
			if err := pause(ctx, attempt); err != nil {
				return done, err
			}
		default:
			return done, m.failed(partial)
		}
	}
}

// contended tells whether a migration failed only because others were using what it needs.
func contended(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && slices.Contains([]string{"55P03", "40P01", "40001"}, pg.Code)
}

// pause waits a little longer each time, so that those who held the lock or queued behind us get on.
func pause(ctx context.Context, attempt int) error {
	most := min(5*time.Second, time.Duration(attempt)*500*time.Millisecond)
	t := time.NewTimer(most/2 + rand.N(most/2)) //nolint:gosec // jitter needs no secrecy
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// failed says in what state a failure has left the database, and how to go on.
func (m *Migrator) failed(p *goose.PartialError) error {
	f, err := find(m.files, p.Failed.Source.Version)
	if err != nil {
		return err
	}
	state := "nothing of it remains"
	if f.NoTransaction {
		state = "it runs without a transaction: statements before this one remain, and are run again without harm"
	}
	return fmt.Errorf("%s: %w\n%s; the database is at the migration before it. Mend the cause, then run `forge migrate up` again: it goes on from here", f.Name, p.Err, state)
}

// provider is goose with our statements. guard, if any, runs in the transaction of a migration before it is taken back.
func (m *Migrator) provider(guard func(context.Context, *sql.Tx, *File) error) (*goose.Provider, error) {
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, uint64(queue/time.Second)))
	if err != nil {
		return nil, err
	}
	st, err := newStore(m.files, m.program)
	if err != nil {
		return nil, err
	}
	steps := make([]*goose.Migration, len(m.files))
	for i := range m.files {
		f := &m.files[i]
		up, down := &goose.GoFunc{Mode: goose.TransactionEnabled}, &goose.GoFunc{Mode: goose.TransactionEnabled}
		if f.NoTransaction {
			up.Mode, down.Mode = goose.TransactionDisabled, goose.TransactionDisabled
			up.RunDB = func(ctx context.Context, db *sql.DB) error { return m.alone(ctx, db, f, f.Up) }
			down.RunDB = func(ctx context.Context, db *sql.DB) error { return m.alone(ctx, db, f, f.Down) }
		} else {
			up.RunTx = func(ctx context.Context, tx *sql.Tx) error {
				m.begin(*f)
				return m.run(ctx, tx, f.Up)
			}
			down.RunTx = func(ctx context.Context, tx *sql.Tx) error {
				m.begin(*f)
				if guard != nil {
					if err := guard(ctx, tx, f); err != nil {
						return err
					}
				}
				return m.run(ctx, tx, f.Down)
			}
		}
		steps[i] = goose.NewGoMigration(f.Version, up, down)
	}
	return goose.NewProvider(goose.DialectCustom, m.db, nil, goose.WithStore(st), goose.WithSessionLocker(locker),
		goose.WithGoMigrations(steps...), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
}

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func (m *Migrator) run(ctx context.Context, db execer, statements []Statement) error {
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s.For(m.app)); err != nil {
			return fmt.Errorf("the statement on line %d: %w", s.Line, err)
		}
	}
	return nil
}

// alone runs statements that refuse a transaction. They wait for locks as long as it takes, since CONCURRENTLY holds up
// nobody meanwhile. An index that an interrupted run has left half-built is dropped first: IF NOT EXISTS would keep it.
func (m *Migrator) alone(ctx context.Context, db *sql.DB, f *File, statements []Statement) (err error) {
	m.begin(*f)
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if _, err := c.ExecContext(ctx, `SET lock_timeout = 0`); err != nil {
		return err
	}
	defer func() {
		_, reset := c.ExecContext(context.WithoutCancel(ctx), `RESET lock_timeout`)
		err = errors.Join(err, reset)
	}()
	rows, err := c.QueryContext(ctx, `
		SELECT i.indexrelid::regclass::text
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		WHERE NOT i.indisvalid AND c.relkind = 'i' AND c.relnamespace = 'public'::regnamespace`)
	if err != nil {
		return err
	}
	broken, err := texts(rows)
	if err != nil {
		return err
	}
	for _, index := range broken {
		m.log.Warn("dropping an index that an interrupted migration left half-built", "index", index)
		if _, err := c.ExecContext(ctx, `DROP INDEX CONCURRENTLY IF EXISTS `+index); err != nil {
			return err
		}
	}
	return m.run(ctx, c, statements)
}

// each calls scan for every row and closes them.
func each(rows *sql.Rows, scan func() error) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// texts is every row of a query with one column of text.
func texts(rows *sql.Rows) ([]string, error) {
	var out []string
	err := each(rows, func() error {
		var s string
		err := rows.Scan(&s)
		out = append(out, s)
		return err
	})
	return out, err
}

// Version is the newest migration in the database, and in this program.
func (m *Migrator) Version(ctx context.Context) (database, program int64, err error) {
	steps, err := m.Status(ctx)
	for _, s := range steps {
		if s.State != Pending {
			database = max(database, s.Version)
		}
	}
	return database, m.files[len(m.files)-1].Version, err
}

// Embedded are the migrations of this program.
func Embedded() ([]File, error) { return Load(postgres.Migrations()) }

// Newest is the version of the newest migration in this program.
func Newest() int64 {
	names, err := fs.Glob(postgres.Migrations(), "*.sql")
	if err != nil || len(names) == 0 {
		panic("migrate: no migrations are embedded")
	}
	v, err := nameVersion(slices.Max(names))
	if err != nil {
		panic("migrate: " + err.Error())
	}
	return v
}

// SQL is the statements as they would run on this database.
func (m *Migrator) SQL(statements []Statement) []string {
	out := make([]string, len(statements))
	for i, s := range statements {
		out[i] = s.For(m.app)
	}
	return out
}
