// Package catalog reads the schema of a database out of PostgreSQL's catalogue, as objects that can be compared and as a
// fingerprint: to see that migrations make what they should, and that a live database has not been tampered with.
package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Source is what a catalogue is read from: a connection, a pool or a transaction.
type Source interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Options say what is read.
type Options struct {
	// Schemas are read; what is outside of them is not, but for what belongs to the database as a whole.
	Schemas []string
	// ExcludeTables, as schema.table, are left out with all that hangs on them.
	ExcludeTables []string
	// AppRole is the application's role, which is shown as :app; <database>_app when empty.
	AppRole string
}

// Object is one thing in the catalogue.
type Object struct {
	Kind string
	// Name is unique within the kind.
	Name string
	// Table is what the object hangs on, as schema.table; empty when it stands for itself.
	Table string
	// Definition is everything about it that matters. Order of columns, statistics and rows do not.
	Definition string
}

// Catalog is the schema of a database, sorted by kind and name.
type Catalog struct{ Objects []Object }

// Read reads the catalogue. It depends neither on the session's settings nor on the names of the database and its two
// roles: the owner is shown as :owner, the application as :app.
//
// Months of a partitioned table, named parent_2026_01, are read as one, parent_MONTH, whichever of them exist; what is
// not the same in all of them says which months it is of. Where they begin and end does not matter, nor where the
// partitions parent_past and parent_future do.
func Read(ctx context.Context, from Source, o Options) (_ Catalog, err error) {
	tx, err := begin(ctx, from)
	if err != nil {
		return Catalog{}, err
	}
	// The settings go with the transaction, or, within somebody else's, with the savepoint.
	defer func() { err = errors.Join(err, tx.Rollback(context.WithoutCancel(ctx))) }()
	if _, err := tx.Exec(ctx, `SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL extra_float_digits = 1; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL bytea_output = 'hex'; SET LOCAL quote_all_identifiers = off`); err != nil {
		return Catalog{}, err
	}
	var owner, app string
	if err := tx.QueryRow(ctx, rolesQuery, o.AppRole).Scan(&owner, &app); err != nil {
		return Catalog{}, err
	}
	periods, err := periods(ctx, tx, o.Schemas)
	if err != nil {
		return Catalog{}, err
	}
	var all []Object
	for _, q := range queries {
		rows, err := tx.Query(ctx, scope+q.sql, o.Schemas, append([]string{}, o.ExcludeTables...), owner, app)
		if err != nil {
			return Catalog{}, err
		}
		objects, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (Object, error) {
			x := Object{Kind: q.kind}
			err := r.Scan(&x.Name, &x.Table, &x.Definition)
			x.Definition = strings.TrimSpace(x.Definition)
			return x, err
		})
		if err != nil {
			return Catalog{}, fmt.Errorf("catalogue, %s: %w", q.kind, err)
		}
		all = append(all, objects...)
	}
	c := Catalog{Objects: merge(all, periods)}
	slices.SortFunc(c.Objects, compare)
	return c, nil
}

// begin makes sure that all queries see the same. Within a transaction that is up to whoever began it.
func begin(ctx context.Context, from Source) (pgx.Tx, error) {
	if c, ok := from.(interface {
		BeginTx(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error)
	}); ok {
		return c.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	}
	return from.Begin(ctx)
}

func compare(a, b Object) int {
	if a.Kind != b.Kind {
		return strings.Compare(a.Kind, b.Kind)
	}
	return strings.Compare(a.Name, b.Name)
}

// Fingerprint is the same for two catalogues exactly when they are.
func (c Catalog) Fingerprint() string {
	h := sha256.New()
	field := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	for _, o := range c.Objects {
		field(o.Kind)
		field(o.Name)
		field(o.Table)
		field(o.Definition)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Text is the catalogue for people.
func (c Catalog) Text() string {
	var b strings.Builder
	for _, o := range c.Objects {
		fmt.Fprintf(&b, "%s %s: %s\n", o.Kind, o.Name, o.Definition)
	}
	return b.String()
}

// Difference is an object that is not the same in two catalogues. Have or Want is empty when it is missing there.
type Difference struct {
	Kind, Name, Table, Have, Want string
}

func (d Difference) String() string {
	switch {
	case d.Have == "":
		return fmt.Sprintf("%s %s is missing: %s", d.Kind, d.Name, d.Want)
	case d.Want == "":
		return fmt.Sprintf("%s %s should not be there: %s", d.Kind, d.Name, d.Have)
	}
	return fmt.Sprintf("%s %s is\n  %s\nand should be\n  %s", d.Kind, d.Name, d.Have, d.Want)
}

// Compare lists what must change in have to make it want.
func Compare(have, want Catalog) []Difference {
	var out []Difference
	i, j := 0, 0
	for i < len(have.Objects) || j < len(want.Objects) {
		var order int
		switch {
		case i == len(have.Objects):
			order = 1
		case j == len(want.Objects):
			order = -1
		default:
			order = compare(have.Objects[i], want.Objects[j])
		}
		switch {
		case order < 0:
			h := have.Objects[i]
			out = append(out, Difference{h.Kind, h.Name, h.Table, shown(h.Definition), ""})
			i++
		case order > 0:
			w := want.Objects[j]
			out = append(out, Difference{w.Kind, w.Name, w.Table, "", shown(w.Definition)})
			j++
		default:
			h, w := have.Objects[i], want.Objects[j]
			if h != w {
				out = append(out, Difference{h.Kind, h.Name, h.Table, shown(h.Definition), shown(w.Definition)})
			}
			i++
			j++
		}
	}
	return out
}

// shown makes sure that an object without a definition does not look like one that is missing.
func shown(definition string) string {
	if definition == "" {
		return "(as it is by default)"
	}
	return definition
}
