package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/robco-forge/forge/internal/postgres/catalog"
)

// Report is what Verify found. It is in order when Problems is empty.
type Report struct {
	Server     string `json:"server"`
	Migrations int    `json:"migrations"`
	// Up, Again and Schema are fingerprints: of the schema that the migrations make, that they make after they were all
	// taken back, and of schema.sql. Up and Again take in the job queue's tables, Compared and Schema do not.
	Up       string   `json:"up"`
	Again    string   `json:"up_again"`
	Compared string   `json:"up_compared"`
	Schema   string   `json:"schema_sql"`
	Problems []string `json:"problems"`
}

// Verify proves on scratch databases that the migrations reach schema.sql exactly, that taking back each of them
// restores what was before it, down to nothing, and that applying them again makes the same. It compares catalogues,
// not texts.
func Verify(ctx context.Context, s *Scratch, files []File, schema string, progress func(string)) (*Report, error) {
	r := &Report{Server: s.Version, Migrations: len(files), Problems: []string{}}
	problem := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	for i := range files {
		for _, u := range files[i].Unfinished {
			problem("%s is unfinished, %s", files[i].Name, u)
		}
	}
	if len(r.Problems) > 0 {
		return r, nil // what is unfinished need not even run
	}
	address, err := s.Database(ctx)
	if err != nil {
		return nil, err
	}
	m, err := Open(ctx, address, Options{Files: files, Program: "verify"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = m.Close() }() // nothing is lost with it

	// stages[i] is the catalogue with i migrations applied.
	nothing, err := Read(ctx, address)
	if err != nil {
		return nil, err
	}
	stages := []catalog.Catalog{nothing}
	for i := range files {
		progress("up    " + files[i].Name)
		if _, err := m.Up(ctx, files[i].Version); err != nil {
			problem("%v", err)
			return r, nil
		}
		c, err := Read(ctx, address)
		if err != nil {
			return nil, err
		}
		stages = append(stages, c)
	}
	r.Up = stages[len(files)].Fingerprint()

	progress("compare with schema.sql")
	reached, err := Read(ctx, address, RiverSchema)
	if err != nil {
		return nil, err
	}
	want, err := s.loaded(ctx, schema)
	if err != nil {
		problem("%v", err)
		return r, nil
	}
	r.Compared, r.Schema = reached.Fingerprint(), want.Fingerprint()
	for _, d := range catalog.Compare(reached, want) {
		problem("the migrations do not reach schema.sql: %s", d)
	}

	for i, f := range slices.Backward(files) {
		progress("down  " + f.Name)
		if _, err := m.Down(ctx, true); err != nil {
			problem("%v", err)
			return r, nil
		}
		c, err := Read(ctx, address)
		if err != nil {
			return nil, err
		}
		for _, d := range catalog.Compare(c, stages[i]) {
			problem("taking back %s does not restore what was before it: %s", f.Name, d)
		}
	}
	progress("up    all of them again")
	if _, err := m.Up(ctx, 0); err != nil {
		problem("applying again: %v", err)
		return r, nil
	}
	again, err := Read(ctx, address)
	if err != nil {
		return nil, err
	}
	r.Again = again.Fingerprint()
	for _, d := range catalog.Compare(again, stages[len(files)]) {
		problem("applying again makes something else: %s", d)
	}
	return r, nil
}

// loaded is the catalogue of schema.sql.
func (s *Scratch) loaded(ctx context.Context, schema string) (catalog.Catalog, error) {
	address, err := s.load(ctx, schema)
	if err != nil {
		return catalog.Catalog{}, err
	}
	return Read(ctx, address, RiverSchema)
}

// ErrDrift says that Verify found problems.
var ErrDrift = errors.New("migrations and schema.sql do not agree")
