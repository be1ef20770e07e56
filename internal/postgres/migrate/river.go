package migrate

import (
	"fmt"
	"strings"

	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// RiverSchema is where the job queue keeps its tables. They are the library's: no difference is looked for there.
const RiverSchema = "river"

// river is a range of the job queue's own steps as SQL, "up 1 5" or "down 8 6", with the notes that its library looks
// for. The steps are part of the migration's checksum: a release of the library that rewrites one is noticed.
func river(steps string) (string, error) {
	var direction string
	var from, to int
	if _, err := fmt.Sscanf(steps, "%s %d %d", &direction, &from, &to); err != nil {
		return "", fmt.Errorf("%s%s: want up FIRST LAST or down LAST FIRST: %w", riverMark, steps, err)
	}
	m, err := rivermigrate.New(riverpgxv5.New(nil), &rivermigrate.Config{Schema: RiverSchema})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	add := func(v int, sql func(rivermigrate.Migration) string) error {
		step, err := m.GetVersion(v)
		if err == nil {
			b.WriteString(strings.ReplaceAll(sql(step), "/* TEMPLATE: schema */", RiverSchema+".") + "\n")
		}
		return err
	}
	switch {
	case direction == "up" && from <= to:
		for v := from; v <= to; v++ {
			if err := add(v, func(s rivermigrate.Migration) string { return s.SQLUp }); err != nil {
				return "", err
			}
		}
		fmt.Fprintf(&b, "INSERT INTO %s.river_migration (line, version) SELECT 'main', generate_series(%d, %d);\n", RiverSchema, from, to)
	case direction == "down" && from >= to:
		for v := from; v >= to; v-- {
			if err := add(v, func(s rivermigrate.Migration) string { return s.SQLDown }); err != nil {
				return "", err
			}
		}
		fmt.Fprintf(&b, "DELETE FROM %s.river_migration WHERE line = 'main' AND version BETWEEN %d AND %d;\n", RiverSchema, to, from)
	default:
		return "", fmt.Errorf("%s%s: want up FIRST LAST or down LAST FIRST", riverMark, steps)
	}
	return b.String(), nil
}
