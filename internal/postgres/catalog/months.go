package catalog

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// month is a partition made at run time.
type month struct {
	table  string // schema.parent_2026_01
	common string // schema.parent_MONTH
	name   string // parent_2026_01
	parent string // parent
}

// months finds the partitions that are named after a month of their parent's, attached or not: a month that somebody has
// detached must not become invisible among the others.
func months(ctx context.Context, tx pgx.Tx) ([]month, error) {
	rows, err := tx.Query(ctx, `
		SELECT format('%I.%I', n.nspname, c.relname), c.relname, p.relname, n.nspname
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_class p ON p.relkind = 'p' AND c.relname ~ ('^' || p.relname || '_[0-9]{4}_[0-9]{2}$')
		WHERE c.relkind = 'r'
		ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (month, error) {
		var m month
		var schema string
		err := r.Scan(&m.table, &m.name, &m.parent, &schema)
		m.common = pgx.Identifier{schema}.Sanitize()
		m.common = strings.Trim(m.common, `"`) + "." + m.parent + "_MONTH"
		return m, err
	})
}

// instant matches a point in time within a definition: the bounds of a month, which differ from month to month.
var instant = regexp.MustCompile(`'[0-9]{4}-[0-9]{2}-[0-9]{2}[^']*'`)

// merge makes one of the objects of all months of a table, where they are the same.
func merge(all []Object, months []month) []Object {
	byTable := map[string]month{}
	count := map[string]int{} // months by common name
	for _, m := range months {
		byTable[m.table] = m
		count[m.common]++
	}
	var out []Object
	type key struct{ common, kind, name, definition string }
	found := map[key][]string{} // the months that have it
	for _, o := range all {
		m, ok := byTable[o.Table]
		if !ok {
			out = append(out, o)
			continue
		}
		k := key{m.common, o.Kind, strings.ReplaceAll(o.Name, m.name, m.parent+"_MONTH"), strings.ReplaceAll(o.Definition, m.name, m.parent+"_MONTH")}
		if o.Kind == kindConstraint {
			k.definition = instant.ReplaceAllString(k.definition, "*")
		}
		found[k] = append(found[k], strings.TrimPrefix(m.name, m.parent+"_"))
	}
	for k, in := range found {
		o := Object{Kind: k.kind, Name: k.name, Table: k.common, Definition: k.definition}
		if len(in) < count[k.common] {
			slices.Sort(in)
			o.Name += " in " + few(in, count[k.common])
		}
		out = append(out, o)
	}
	return out
}

// few names months: those that have an object, so that a single one that deviates is named, and of many how many.
func few(in []string, of int) string {
	const most = 3
	if len(in) <= most {
		return "only " + strings.Join(in, ", ")
	}
	return fmt.Sprintf("%d of %d months, from %s to %s", len(in), of, in[0], in[len(in)-1])
}
