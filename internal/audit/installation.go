package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/postgres"
)

var (
	// ErrOrigin says that the database belongs to another log.
	ErrOrigin = errors.New("the database's audit log has another origin")
	// ErrKeys says that the audit keys are not those that this database was begun with.
	ErrKeys = errors.New("the audit keys are not those of this database; give --keys-dir the installation's own directory")
)

// Installed is the name of the database's log. It refuses keys that are not the log's, and another name than this one, if it is
// given: what is written with them would be taken for forged.
func Installed(ctx context.Context, q postgres.Querier, origin string, keys Keys) (string, error) {
	var have string
	var check []byte
	err := q.QueryRow(ctx, `SELECT audit_origin, audit_keys_check FROM organisation`).Scan(&have, &check)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", errNoLog
	case err != nil:
		return "", err
	case origin != "" && have != origin:
		return "", fmt.Errorf("%w: %q, not %q; start with --audit-origin %s", ErrOrigin, have, origin, have)
	case !bytes.Equal(check, keys.Check()):
		return "", ErrKeys
	}
	return have, nil
}

var errNoLog = errors.New("the database has no audit log yet: no server was started on it")
