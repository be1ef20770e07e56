package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/catalog"
	"github.com/robco-forge/forge/internal/postgres/pgembed"
)

// Scratch is a server for databases that are thrown away: a private one that ends with it, or one that somebody runs.
type Scratch struct {
	admin   *pgx.Conn
	server  *pgembed.Server // nil: somebody else's
	address *url.URL        // of somebody else's
	made    []string
	Version string
}

// OpenScratch starts a private server; with an address it uses that one, where the user must be allowed to create
// databases and roles.
func OpenScratch(ctx context.Context, address string) (*Scratch, error) {
	s := &Scratch{}
	admin := address
	if address == "" {
		var err error
		if s.server, err = pgembed.Start(ctx, pgembed.Options{Ephemeral: true}); err != nil {
			return nil, fmt.Errorf("scratch server: %w", err)
		}
		admin = s.server.URL("postgres", "postgres")
	} else {
		var err error
		if s.address, err = url.Parse(address); err != nil {
			return nil, errors.New("the scratch server's address cannot be parsed; write postgres://user:password@host:5432/postgres")
		}
	}
	var err error
	if s.admin, err = pgx.Connect(ctx, admin); err != nil {
		return nil, errors.Join(fmt.Errorf("scratch server: %w", postgres.Redact(err)), s.Close(ctx))
	}
	if err := s.admin.QueryRow(ctx, `SHOW server_version`).Scan(&s.Version); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

// Close drops what was made and ends a private server.
func (s *Scratch) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var errs []error
	if s.admin != nil {
		for _, name := range s.made {
			for _, drop := range []string{`DROP DATABASE IF EXISTS %s WITH (FORCE)`, `DROP ROLE IF EXISTS %s_app`, `DROP ROLE IF EXISTS %s_owner`} {
				if s.server != nil {
					continue // goes as a whole
				}
				if _, err := s.admin.Exec(ctx, fmt.Sprintf(drop, name)); err != nil {
					errs = append(errs, err)
				}
			}
		}
		errs = append(errs, s.admin.Close(ctx))
	}
	if s.server != nil {
		errs = append(errs, s.server.Stop(ctx))
	}
	return errors.Join(errs...)
}

// Database makes an empty database and returns the address of its owner, who may do what an installation's owner may.
func (s *Scratch) Database(ctx context.Context) (string, error) {
	return s.named(ctx, "scratch_"+strings.ToLower(id.Unique()))
}

func (s *Scratch) named(ctx context.Context, name string) (string, error) {
	s.made = append(s.made, name)
	quoted := pgx.Identifier{name}.Sanitize()
	owner := name + "_owner"
	statements := []string{
		`CREATE ROLE ` + pgx.Identifier{owner}.Sanitize() + ` LOGIN CREATEROLE`,
		`CREATE DATABASE ` + quoted + ` OWNER ` + pgx.Identifier{owner}.Sanitize(),
	}
	if s.server == nil {
		owner = s.address.User.Username()
		statements = []string{`CREATE DATABASE ` + quoted}
	}
	for _, sql := range statements {
		if _, err := s.admin.Exec(ctx, sql); err != nil {
			return "", fmt.Errorf("scratch database: %w", err)
		}
	}
	if s.server != nil {
		return s.server.URL(name, owner), nil
	}
	u := *s.address
	u.Path = "/" + name
	return u.String(), nil
}

// load makes a database of schema.sql.
func (s *Scratch) load(ctx context.Context, schema string) (address string, err error) {
	if address, err = s.Database(ctx); err != nil {
		return "", err
	}
	stmts, err := statements(schema, &strings.Builder{})
	if err != nil {
		return "", fmt.Errorf("schema.sql: %w", err)
	}
	m, err := Open(ctx, address, Options{})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := inTx(ctx, m.db, func(tx *sql.Tx) error { return m.run(ctx, tx, stmts) }); err != nil {
		return "", fmt.Errorf("schema.sql: %w", err)
	}
	return address, nil
}

func inTx(ctx context.Context, db *sql.DB, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// Read reads the catalogue of a database: every schema but PostgreSQL's own and those left out, without the table of
// applied migrations.
func Read(ctx context.Context, address string, without ...string) (c catalog.Catalog, err error) {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	rows, err := conn.Query(ctx, `
		SELECT nspname
		FROM pg_namespace
		WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\_%' AND nspname <> ALL (coalesce($1::text[], '{}'))
		ORDER BY 1`, without)
	if err != nil {
		return c, err
	}
	schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return c, err
	}
	var app string
	if err := conn.QueryRow(ctx, appRoleQuery).Scan(&app); err != nil {
		return c, err
	}
	return catalog.Read(ctx, conn, catalog.Options{Schemas: schemas, ExcludeTables: []string{"public." + table}, AppRole: app})
}
