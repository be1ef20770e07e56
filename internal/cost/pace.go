package cost

import (
	"context"
	"time"

	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/postgres"
)

// Pace is what every scope of budgets has cost a day from a midnight (UTC) up to another, on the average: of the days since
// it began to cost something. The first of a month is left out, because on it the monthly fees are posted.
func Pace(ctx context.Context, q postgres.Querier, from, to time.Time) ([]budget.Pace, error) {
	return postgres.Many[budget.Pace](ctx, q, `
		SELECT CASE dimension WHEN 'total' THEN 'ORGANISATION' ELSE upper(dimension) END AS scope,
		       CASE dimension WHEN 'total' THEN '`+budget.OrganisationID+`' ELSE key END AS scope_id,
		       (sum(compute_micros + storage_micros + transfer_micros) / (
		         SELECT count(*) FROM generate_series(min(day), $2::timestamptz - interval '1 day', interval '1 day') d WHERE extract(day FROM d AT TIME ZONE 'UTC') <> 1
		       ))::bigint AS per_day
		FROM cost_days
		WHERE dimension IN ('total', 'team', 'project', 'user') AND day >= $1 AND day < $2 AND extract(day FROM day AT TIME ZONE 'UTC') <> 1
		GROUP BY dimension, key`, from, to)
}
