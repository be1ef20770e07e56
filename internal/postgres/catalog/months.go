package catalog

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// period is a partition whose place in time changes as time goes on.
type period struct {
	table  string // schema.parent_2026_01
	name   string // parent_2026_01
	parent string // parent
	month  string // 2026_01; empty for parent_past and parent_future
}

// common is what is the same in the names of all months.
func (p period) common(name string) string {
	return strings.ReplaceAll(name, p.name, p.parent+"_MONTH")
}

// periods finds the tables that are named after a month of a partitioned table, or after what is before or after its
// months, attached or not: a month that somebody has detached must not become invisible among the others.
func periods(ctx context.Context, tx pgx.Tx, schemas []string) ([]period, error) {
	rows, err := tx.Query(ctx, `
		SELECT DISTINCT format('%I.%I', n.nspname, c.relname), c.relname, p.relname, CASE WHEN s.suffix ~ '[0-9]' THEN substr(s.suffix, 2) ELSE '' END
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_class p ON p.relkind = 'p' AND starts_with(c.relname, p.relname)
		CROSS JOIN LATERAL (SELECT substr(c.relname, length(p.relname) + 1)) s (suffix)
		WHERE c.relkind = 'r' AND s.suffix ~ '^_([0-9]{4}_[0-9]{2}|past|future)$' AND n.nspname = ANY ($1)
		ORDER BY 1`, schemas)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (period, error) {
		var p period
		err := r.Scan(&p.table, &p.name, &p.parent, &p.month)
		return p, err
	})
}

// instant matches a point in time within the CHECK of such a partition, where it is one of its bounds.
var instant = regexp.MustCompile(`'[0-9]{4}-[0-9]{2}-[0-9]{2}[^']*'`)

// merge makes one of the objects of all months of a table, where they are the same.
func merge(all []Object, periods []period) []Object {
	byTable := map[string]period{}
	months := map[string][]string{} // by the table's common name
	for _, p := range periods {
		byTable[p.table] = p
		if p.month != "" {
			months[p.common(p.table)] = append(months[p.common(p.table)], p.month)
		}
	}
	for _, m := range months {
		slices.Sort(m)
	}
	var out []Object
	found := map[Object][]string{} // the months that have it
	for _, o := range all {
		p, ok := byTable[o.Table]
		if ok && o.Kind == kindConstraint && strings.HasPrefix(o.Definition, "CHECK ") {
			o.Definition = instant.ReplaceAllString(o.Definition, "*")
		}
		if !ok || p.month == "" {
			out = append(out, o)
			continue
		}
		k := Object{Kind: o.Kind, Name: p.common(o.Name), Table: p.common(o.Table), Definition: p.common(o.Definition)}
		found[k] = append(found[k], p.month)
	}
	type one struct{ kind, name string }
	variants := map[one][]Object{} // more than one where months differ
	for o := range found {
		variants[one{o.Kind, o.Name}] = append(variants[one{o.Kind, o.Name}], o)
	}
	for _, vs := range variants {
		// The one that most months have keeps the name: the others deviate from it.
		slices.SortFunc(vs, func(a, b Object) int {
			return cmp.Or(cmp.Compare(len(found[b]), len(found[a])), strings.Compare(a.Definition, b.Definition))
		})
		for i, o := range vs {
			note := which(found[o], months[o.Table])
			switch {
			case note == "":
			case i == 0:
				o.Definition = strings.TrimSpace(o.Definition + note)
			default:
				o.Name += note
			}
			out = append(out, o)
		}
	}
	return out
}

// which says, unless it is all of them, which months have something, or which have not if those are fewer.
func which(have, all []string) string {
	slices.Sort(have)
	if slices.Equal(have, all) {
		return ""
	}
	var lack []string
	for _, m := range all {
		if !slices.Contains(have, m) {
			lack = append(lack, m)
		}
	}
	if 0 < len(lack) && len(lack) < len(have) {
		return " (not " + few(lack) + ")"
	}
	return " (only " + few(have) + ")"
}

// few names the first of many months and counts the rest.
func few(months []string) string {
	const most = 3
	if len(months) <= most {
		return strings.Join(months, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(months[:most], ", "), len(months)-most)
}
