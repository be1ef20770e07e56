package migrate

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/robco-forge/forge/internal/postgres"
)

// Why a server may refuse a schema.
var (
	ErrSchemaBehind = errors.New("the database schema is older than this program; run `forge migrate up`, or start the server with --auto-migrate")
	ErrSchemaAhead  = errors.New("the database schema is newer than this program can work with; run a newer release")
)

// CheckSchema says whether this program can serve on the schema that the database has: ErrSchemaBehind when a migration
// is missing, ErrSchemaAhead when a newer one has excluded this program. A newer schema that has not is fine: replicas
// are replaced one by one.
func CheckSchema(ctx context.Context, q postgres.Querier) error {
	var version, oldest int64
	err := q.QueryRow(ctx, `
		SELECT coalesce((SELECT max(version_id) FROM `+table+` WHERE is_applied), 0),
		       coalesce((SELECT oldest_binary FROM schema_compatibility), 0)`).Scan(&version, &oldest)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42P01" { // undefined table
		return ErrSchemaBehind
	}
	if err != nil {
		return fmt.Errorf("reading the schema version: %w", err)
	}
	newest := Newest()
	if version < newest {
		return fmt.Errorf("%w (database %d, program %d)", ErrSchemaBehind, version, newest)
	}
	if oldest > newest {
		return fmt.Errorf("%w (database asks for %d, program %d)", ErrSchemaAhead, oldest, newest)
	}
	return nil
}
