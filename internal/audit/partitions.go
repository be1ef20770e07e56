package audit

import (
	"context"
	"fmt"
)

// MonthsAhead is how many months of partitions are kept ready.
const MonthsAhead = 24

// EnsurePartitions makes the months ahead that are missing, through the owner's function, and returns how many
// partitions that made. A missing month does not fail a write: it goes to the overflow partition.
func (l *Log) EnsurePartitions(ctx context.Context) (int, error) {
	var made int
	if err := l.pool.QueryRow(ctx, `SELECT audit_partitions_ensure($1)`, MonthsAhead).Scan(&made); err != nil {
		return 0, fmt.Errorf("making audit partitions: %w", err)
	}
	return made, nil
}
