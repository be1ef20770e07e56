package cost

import (
	"context"
	"time"

	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/postgres"
)

// Pace is what every scope of budgets has cost a day from a midnight (UTC) up to another, on the average: of the days since
// it began to cost something. The first of a month is left out, because on it the monthly fees are posted.
func Pace(ctx context.Context, q postgres.Querier, from, to time.Time) ([]budget.Sum, error) {
	return postgres.Many[budget.Sum](ctx, q, `
		SELECT CASE dimension WHEN 'total' THEN 'ORGANISATION' ELSE upper(dimension) END AS scope,
		       CASE dimension WHEN 'total' THEN '`+budget.OrganisationID+`' ELSE key END AS scope_id,
		       (sum(compute_micros + storage_micros + transfer_micros) / (
		         SELECT count(*) FROM generate_series(min(day), $2::timestamptz - interval '1 day', interval '1 day') d WHERE extract(day FROM d AT TIME ZONE 'UTC') <> 1
		       ))::bigint AS amount
		FROM cost_days
		WHERE dimension IN ('total', 'team', 'project', 'user') AND day >= $1 AND day < $2 AND extract(day FROM day AT TIME ZONE 'UTC') <> 1
		GROUP BY dimension, key`, from, to)
}

// FeesDue tells whether monthly fees are not posted yet that were due by the beginning of the month: fees of the payer's user,
// team and project, or of anybody.
func FeesDue(ctx context.Context, q postgres.Querier, p budget.Payer, anybody bool, month time.Time) (due bool, err error) {
	err = q.QueryRow(ctx, `
		SELECT EXISTS (
			SELECT FROM usage
			WHERE due_at <= $1 AND kind <> 'running' AND ($2 OR user_id = $3 OR team_id = $4 OR project_id = nullif($5, '')))`,
		month, anybody, p.User, p.Team, p.Project).Scan(&due)
	return due, err
}

// NextFees are the monthly fees that post when the next month begins, by the rates of now: a price that changes until then
// changes them.
func NextFees(ctx context.Context, q postgres.Querier) ([]budget.Sum, error) {
	return postgres.Many[budget.Sum](ctx, q, `
		SELECT CASE WHEN GROUPING(user_id) = 0 THEN 'USER' WHEN GROUPING(team_id) = 0 THEN 'TEAM' WHEN GROUPING(project_id) = 0 THEN 'PROJECT' ELSE 'ORGANISATION' END AS scope,
		       coalesce(user_id, team_id, project_id, '`+budget.OrganisationID+`') AS scope_id, sum(rate_micros)::bigint AS amount
		FROM usage
		WHERE closed_at IS NULL AND kind <> 'running'
		GROUP BY GROUPING SETS ((user_id), (team_id), (project_id), ())
		HAVING NOT (GROUPING(project_id) = 0 AND project_id IS NULL)`)
}
