package migrate

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/pressly/goose/v3/database"
)

// table is where applied migrations are noted. Beside goose's columns it has those that tell an edited file and who
// applied it.
const table = "goose_db_version"

// extraColumns are added to a table that an older program or goose itself has made.
const extraColumns = `
	ALTER TABLE ` + table + `
	ADD COLUMN IF NOT EXISTS name text NOT NULL DEFAULT '',
	ADD COLUMN IF NOT EXISTS checksum text NOT NULL DEFAULT '',
	ADD COLUMN IF NOT EXISTS program text NOT NULL DEFAULT ''`

// store notes in the transaction of a migration that it was applied or taken back.
type store struct {
	database.StoreExtender
	files   []File
	program string
}

func newStore(files []File, program string) (*store, error) {
	s, err := database.NewStore(database.DialectPostgres, table)
	if err != nil {
		return nil, err
	}
	x, ok := s.(database.StoreExtender)
	if !ok {
		return nil, fmt.Errorf("goose's store cannot tell whether its table exists: %T", s)
	}
	return &store{x, files, program}, nil
}

func (s *store) CreateVersionTable(ctx context.Context, db database.DBTxConn) error {
	if err := s.StoreExtender.CreateVersionTable(ctx, db); err != nil {
		return err
	}
	_, err := db.ExecContext(ctx, extraColumns)
	return err
}

// TableExists also brings a table that an older program made up to ours, and notes the checksums of what that applied.
// goose calls it while it holds the lock that migrations queue on.
func (s *store) TableExists(ctx context.Context, db database.DBTxConn) (bool, error) {
	there, err := s.StoreExtender.TableExists(ctx, db)
	if err != nil || !there {
		return there, err
	}
	var extended bool
	if err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = $1::regclass AND attname = 'checksum')`, table).Scan(&extended); err != nil || extended {
		return true, err
	}
	if _, err := db.ExecContext(ctx, extraColumns); err != nil {
		return true, err
	}
	for i := range s.files {
		f := &s.files[i]
		if _, err := db.ExecContext(ctx, `UPDATE `+table+` SET name = $2, checksum = $3 WHERE version_id = $1`, f.Version, f.Name, f.Checksum); err != nil {
			return true, err
		}
	}
	return true, nil
}

func (s *store) Insert(ctx context.Context, db database.DBTxConn, r database.InsertRequest) error {
	if r.Version == 0 { // goose's mark that the table is there
		return s.StoreExtender.Insert(ctx, db, r)
	}
	f, err := find(s.files, r.Version)
	if err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `
		INSERT INTO `+table+` (version_id, is_applied, name, checksum, program)
		VALUES ($1, true, $2, $3, $4)`, f.Version, f.Name, f.Checksum, s.program); err != nil {
		return err
	}
	return s.compatibility(ctx, db)
}

func (s *store) Delete(ctx context.Context, db database.DBTxConn, version int64) error {
	if err := s.StoreExtender.Delete(ctx, db, version); err != nil || version == 1 {
		return err // the first migration brought the table that compatibility writes
	}
	return s.compatibility(ctx, db)
}

// compatibility writes down the oldest program that may serve on what is applied now.
func (s *store) compatibility(ctx context.Context, db database.DBTxConn) error {
	applied, err := s.ListMigrations(ctx, db)
	if err != nil {
		return err
	}
	oldest := int64(1)
	for _, a := range applied {
		if f, err := find(s.files, a.Version); err == nil && a.IsApplied {
			oldest = max(oldest, f.OldestBinary)
		}
	}
	var there sql.NullString
	if err := db.QueryRowContext(ctx, `SELECT to_regclass('schema_compatibility')::text`).Scan(&there); err != nil || !there.Valid {
		return err // migrations that are not Forge's have no such table
	}
	_, err = db.ExecContext(ctx, `UPDATE schema_compatibility SET oldest_binary = $1`, oldest)
	return err
}

func find(files []File, version int64) (*File, error) {
	for i := range files {
		if files[i].Version == version {
			return &files[i], nil
		}
	}
	return nil, fmt.Errorf("this program does not know migration %d", version)
}

func insertOf(f *File) database.InsertRequest { return database.InsertRequest{Version: f.Version} }
