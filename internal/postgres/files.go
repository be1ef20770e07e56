package postgres

import (
	"embed"
	"io/fs"
)

//go:embed migrations/*.sql schema.sql
var files embed.FS

// Migrations are the migrations of this program, numbered files in goose's format.
func Migrations() fs.FS {
	dir, err := fs.Sub(files, "migrations")
	if err != nil {
		panic("postgres: " + err.Error())
	}
	return dir
}

// Schema is schema.sql: the schema as it should be.
func Schema() string {
	b, err := files.ReadFile("schema.sql")
	if err != nil {
		panic("postgres: " + err.Error())
	}
	return string(b)
}
