package budget

import (
	"context"
	"strconv"
	"time"

	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
)

// Difference is where the books do not agree with themselves. The numbers are micro-dollars, but for "balance_version" and "entries".
type Difference struct {
	BudgetID    id.Budget
	Scope       Scope
	ScopeID     string
	PeriodStart time.Time
	What        string
	Stored      int64
	Rebuilt     int64
}

// Texts are the two numbers as people read them.
func (d Difference) Texts() (stored, rebuilt string) {
	if d.What == "balance_version" || d.What == "entries" {
		return strconv.FormatInt(d.Stored, 10), strconv.FormatInt(d.Rebuilt, 10)
	}
	return money.USD(d.Stored).String(), money.USD(d.Rebuilt).String()
}

// Audited is how much was compared, and what differs.
type Audited struct {
	Budgets, Periods, Entries int64
	Differences               []Difference
}

// maxDifferences is how many differences an audit names.
const maxDifferences = 1000

// Audit rebuilds every balance from its immutable entries and compares it with the stored one; and it compares what the
// present month holds with the holds of the WorkSpaces, and its limit with the definition. Each comparison is one statement,
// so that what moves meanwhile does not look like a difference.
func Audit(ctx context.Context, q postgres.Querier, now time.Time) (Audited, error) {
	var a Audited
	if err := q.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM user_budgets), (SELECT count(*) FROM budget_periods), (SELECT count(*) FROM budget_entries)`).
		Scan(&a.Budgets, &a.Periods, &a.Entries); err != nil {
		return a, err
	}
	var err error
	a.Differences, err = postgres.Many[Difference](ctx, q, `
		WITH rebuilt AS (
			SELECT budget_id, period_start, count(*) AS n, max(balance_version) AS version, sum(limit_delta_micros)::bigint AS lim,
			       sum(settled_delta_micros)::bigint AS settled, sum(held_delta_micros)::bigint AS held, sum(overrun_delta_micros)::bigint AS overrun
			FROM budget_entries
			GROUP BY budget_id, period_start
		), present AS (
			SELECT DISTINCT ON (p.budget_id) p.budget_id, p.period_start, p.limit_micros, p.held_micros
			FROM budget_periods p JOIN user_budgets b ON b.id = p.budget_id
			WHERE b.valid_from <= $2 AND b.valid_until > $2
			ORDER BY p.budget_id, p.period_start DESC
		), kept AS (
			SELECT 'ORGANISATION' AS scope, '`+OrganisationID+`' AS scope_id, coalesce(sum(fixed_micros + lease_micros), 0)::bigint AS held FROM budget_holds
			UNION ALL SELECT 'TEAM', team_id, sum(fixed_micros + lease_micros)::bigint FROM budget_holds GROUP BY team_id
			UNION ALL SELECT 'PROJECT', project_id, sum(fixed_micros + lease_micros)::bigint FROM budget_holds WHERE project_id IS NOT NULL GROUP BY project_id
			UNION ALL SELECT 'USER', user_id, sum(fixed_micros + lease_micros)::bigint FROM budget_holds GROUP BY user_id
		), compared AS (
			SELECT p.budget_id, p.period_start, d.what, d.stored, d.rebuilt
			FROM budget_periods p LEFT JOIN rebuilt r USING (budget_id, period_start)
			CROSS JOIN LATERAL (VALUES
				('limit', p.limit_micros, coalesce(r.lim, 0)), ('settled', p.settled_micros, coalesce(r.settled, 0)),
				('held', p.held_micros, coalesce(r.held, 0)), ('overrun', p.overrun_micros, coalesce(r.overrun, 0)),
				('balance_version', p.version, coalesce(r.version, 0)), ('entries', p.version, coalesce(r.n, 0)),
				('beyond_limit', p.overrun_micros, greatest(0, p.settled_micros + p.held_micros - p.limit_micros))) AS d (what, stored, rebuilt)
			UNION ALL
			SELECT p.budget_id, p.period_start, 'holds', p.held_micros, 0
			FROM budget_periods p JOIN user_budgets b ON b.id = p.budget_id
			WHERE b.closed_at IS NOT NULL
			UNION ALL
			SELECT n.budget_id, n.period_start, d.what, d.stored, d.rebuilt
			FROM present n JOIN user_budgets b ON b.id = n.budget_id LEFT JOIN kept k ON k.scope = b.scope AND k.scope_id = b.scope_id
			CROSS JOIN LATERAL (VALUES
				('holds', n.held_micros, coalesce(k.held, 0)),
				('definition', n.limit_micros, b.amount_micros + b.lent_micros)) AS d (what, stored, rebuilt)
		)
		SELECT c.budget_id, b.scope, b.scope_id, c.period_start, c.what, c.stored, c.rebuilt
		FROM compared c JOIN user_budgets b ON b.id = c.budget_id
		WHERE c.stored <> c.rebuilt
		ORDER BY array_position('{ORGANISATION,TEAM,PROJECT,USER}', b.scope), b.scope_id, c.period_start, c.what
		LIMIT $1`, maxDifferences, now)
	return a, err
}
