package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Why a server may refuse a schema.
var (
	ErrSchemaBehind = errors.New("the database schema is older than this program; run `forge migrate up`")
	ErrSchemaAhead  = errors.New("the database schema is newer than this program can work with; run a newer release")
)

// Migrator applies the embedded migrations as the owner of the database.
type Migrator struct {
	db       *sql.DB
	provider *goose.Provider
}

// NewMigrator connects as the owner. Replicas that migrate at the same time queue on an advisory lock.
func NewMigrator(url string, log *slog.Logger) (*Migrator, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database address: %w", redact(err))
	}
	cfg.RuntimeParams["timezone"] = "UTC"
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { log.Info("the database says", "notice", n.Message) }
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, err
	}
	db := stdlib.OpenDB(*cfg)
	provider, err := goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithSessionLocker(locker), goose.WithSlog(log))
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Migrator{db: db, provider: provider}, nil
}

// Close ends the connection.
func (m *Migrator) Close() error { return m.db.Close() }

// Up applies what is pending and returns the names of what it applied.
func (m *Migrator) Up(ctx context.Context) ([]string, error) {
	results, err := m.provider.Up(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrate up: %w", redact(err))
	}
	names := make([]string, len(results))
	for i, r := range results {
		names[i] = r.Source.Path
	}
	return names, nil
}

// Down takes back the newest migration and returns its name; empty when there is none.
func (m *Migrator) Down(ctx context.Context) (string, error) {
	r, err := m.provider.Down(ctx)
	if errors.Is(err, goose.ErrNoNextVersion) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("migrate down: %w", redact(err))
	}
	return r.Source.Path, nil
}

// Step is one migration and whether it is applied.
type Step struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
}

// Status lists every migration in order.
func (m *Migrator) Status(ctx context.Context) ([]Step, error) {
	status, err := m.provider.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("migration status: %w", redact(err))
	}
	steps := make([]Step, len(status))
	for i, s := range status {
		steps[i] = Step{Version: s.Source.Version, Name: s.Source.Path, Applied: s.State == goose.StateApplied}
	}
	return steps, nil
}

// NewestMigration is the version of the newest migration in this program.
func NewestMigration() int64 {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(names) == 0 {
		panic("postgres: no migrations are embedded")
	}
	v, err := goose.NumericComponent(names[len(names)-1])
	if err != nil {
		panic("postgres: " + err.Error())
	}
	return v
}

// CheckSchema says whether this program can serve on the schema that the database has: ErrSchemaBehind when a migration
// is missing, ErrSchemaAhead when a newer one has excluded this program.
func CheckSchema(ctx context.Context, q Querier) error {
	var version, oldest int64
	err := q.QueryRow(ctx, `
		SELECT coalesce((SELECT max(version_id) FROM goose_db_version WHERE is_applied), 0),
		       coalesce((SELECT oldest_binary FROM schema_compatibility), 0)`).Scan(&version, &oldest)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42P01" { // undefined table
		return ErrSchemaBehind
	}
	if err != nil {
		return fmt.Errorf("reading the schema version: %w", err)
	}
	newest := NewestMigration()
	if version < newest {
		return fmt.Errorf("%w (database %d, program %d)", ErrSchemaBehind, version, newest)
	}
	if oldest > newest {
		return fmt.Errorf("%w (database asks for %d, program %d)", ErrSchemaAhead, oldest, newest)
	}
	return nil
}
