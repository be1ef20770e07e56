package pgtest

import (
	"fmt"
	"testing"
	"time"
)

// Months gives the audit log partitions for so many months from the first on, which lies before 2026. What lies between them
// and 2026 goes into one partition.
func (db *DB) Months(t testing.TB, first time.Time, n int) {
	t.Helper()
	const form, begin = "2006-01-02 15:04:05Z07:00", "2026-01-01 00:00:00Z"
	sql := ""
	for _, table := range []string{"audit_logs", "audit_personal_data"} {
		part := func(name, from, to string) {
			sql += fmt.Sprintf("CREATE TABLE audit_parts.%s%s PARTITION OF %s FOR VALUES FROM (%s) TO ('%s');\n", table, name, table, from, to)
		}
		sql += fmt.Sprintf("DROP TABLE audit_parts.%s_past;\n", table)
		part("_past", "MINVALUE", first.Format(form))
		m := first
		for range n {
			next := m.AddDate(0, 1, 0)
			if m.Year() >= 2026 {
				break
			}
			part(m.Format("_2006_01"), "'"+m.Format(form)+"'", next.Format(form))
			m = next
		}
		if m.Year() < 2026 {
			part("_between", "'"+m.Format(form)+"'", begin)
		}
	}
	db.Exec(t, sql)
}
