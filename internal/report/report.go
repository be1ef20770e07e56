// Package report makes the monthly showback and chargeback reports of what WorkSpaces cost, and closes months.
package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
)

// What refuses a report.
var (
	ErrMonth = fault.New(fault.Invalid, "MONTH_INVALID", "a month is written like 2026-11, and has begun")
	ErrRows  = fault.New(fault.Invalid, "REPORT_ROWS_INVALID", "a FOCUS export has a row for each charge and cannot be grouped",
		fault.Suggest("leave group_by out, or ask for another format"))
)

// Dimensions are what a report sums by, in its order.
var Dimensions = []string{"team", "project", "cost_centre", "bundle"}

// Workspaces stands beside the Dimensions for the lines of the WorkSpaces.
const Workspaces = "workspace"

const monthForm = "2006-01"

// ParseMonth reads a billing month, which is UTC's.
func ParseMonth(text string) (time.Time, error) {
	m, err := time.Parse(monthForm, text)
	if err != nil {
		return time.Time{}, ErrMonth
	}
	return m, nil
}

// Scope narrows a report to what its reader may see; the zero Scope is everything.
type Scope struct {
	User id.User
	Team id.Team
}

// Parts is a cost by what it is for. Total is all of it.
type Parts struct {
	Fee, Running, Storage money.USD
	// Transfer is nil where no data transfer is metered: it is unknown, not zero.
	Transfer *money.USD
	// Corrections are of fees of the month itself; Earlier is what was recorded for months that were closed by then.
	Corrections, Earlier money.USD
	Total                money.USD
	// Seconds is how long the hours of Running are together.
	Seconds int64
}

func (p Parts) sum() money.USD {
	sum := p.Fee + p.Running + p.Storage + p.Corrections + p.Earlier
	if p.Transfer != nil {
		sum += *p.Transfer
	}
	return sum
}

// Group is what one value of a dimension cost. Name is empty where the key is its own name.
type Group struct {
	Key, Name string
	Parts
}

// Line is what a WorkSpace cost for one payer, in one place and as one bundle type.
type Line struct {
	WorkspaceID, Name, ProviderID string
	UserID, TeamID, Team          string
	ProjectID, Project            string
	CostCentre                    string
	BundleType                    string
	Region                        string
	Parts
}

// Report is what a month cost, made of its immutable records alone. Its groups are in memory, its lines are read as they are
// written.
type Report struct {
	Month time.Time
	Scope Scope
	// AsOf is when it was made; a closed month's was made when the month was closed.
	AsOf time.Time
	// Hash is the SHA-256 of a closed month's whole report as JSON, whatever this one's Scope; nil while the month is open.
	Hash []byte
	// Organisation is where the costs belong: the origin of the audit log.
	Organisation string
	// Records is how many records it is made of, Last the newest of them.
	Records int64
	Last    string
	Total   Parts
	// Groups has the dearest first, by dimension.
	Groups map[string][]Group

	closed bool
	q      postgres.Querier
	done   func()
}

// Closed tells whether the report is final.
func (r *Report) Closed() bool { return r.closed }

// End is the instant at which the month ends.
func (r *Report) End() time.Time { return clock.StartOfNextMonth(r.Month) }

// Open makes the report of a month that has begun as of one moment of the database; end it with Done.
func Open(ctx context.Context, db cost.Database, month time.Time, scope Scope, now time.Time) (*Report, error) {
	if month.After(now) {
		return nil, ErrMonth
	}
	tx, err := db.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	r := &Report{Month: month, Scope: scope, AsOf: now, q: tx, done: func() {
		_ = tx.Rollback(context.WithoutCancel(ctx)) // it has written nothing
	}}
	c, err := Find(ctx, tx, month)
	switch {
	case err == nil:
		r.closed, r.AsOf, r.Hash = true, c.ClosedAt.UTC(), c.ContentHash
	case errors.Is(err, pgx.ErrNoRows):
		err = nil
	}
	if err == nil {
		err = r.load(ctx)
	}
	if err != nil {
		r.done()
		return nil, err
	}
	return r, nil
}

// Done ends the reading.
func (r *Report) Done() { r.done() }

// args are the parameters of covered.
func (r *Report) args() []any {
	args := []any{r.Month, r.End()}
	switch {
	case r.Scope.User != "":
		args = append(args, r.Scope.User)
	case r.Scope.Team != "":
		args = append(args, r.Scope.Team)
	}
	return append([]any{pgx.QueryExecModeCacheDescribe}, args...) // planned for this month, not for any
}

// covered are the records that the report is made of: those of the month but for what was late, and what was late for the
// months before it and is reported in this one. Every record is covered by one month.
func (r *Report) covered() string {
	scope := ""
	switch {
	case r.Scope.User != "":
		scope = " AND t.user_id = $3"
	case r.Scope.Team != "":
		scope = " AND t.team_id = $3"
	}
	return `(
		SELECT t.*, false AS late
		FROM cost_records t
		WHERE t.period_start >= $1 AND t.period_start < $2 AND NOT EXISTS (SELECT FROM cost_late_records l WHERE l.record_id = t.id)` + scope + `
		UNION ALL
		SELECT t.*, true
		FROM cost_late_records l JOIN cost_records t ON t.id = l.record_id
		WHERE l.reported_in = $1` + scope + `
	)`
}

// used are the covered records with what each is for.
func (r *Report) used() string {
	return `(
		SELECT c.*, a.bundle_type, a.region, coalesce(c.project_id, '') AS project,
		       CASE WHEN c.late THEN 'late' WHEN c.corrects IS NOT NULL THEN 'correction' ELSE u.kind END AS what
		FROM ` + r.covered() + ` c
		JOIN usage u ON u.id = c.usage_id
		JOIN cost_attributions a ON a.id = c.attribution_id
	)`
}

// parts sums records x with what each is for.
const parts = `
	coalesce(sum(x.total_cost_micros) FILTER (WHERE x.what = 'fixed_month'), 0)::bigint AS fee,
	coalesce(sum(x.total_cost_micros) FILTER (WHERE x.what = 'running'), 0)::bigint AS running,
	coalesce(sum(x.total_cost_micros) FILTER (WHERE x.what = 'storage'), 0)::bigint AS storage,
	(sum(x.total_cost_micros) FILTER (WHERE x.what = 'transfer'))::bigint AS transfer,
	coalesce(sum(x.total_cost_micros) FILTER (WHERE x.what = 'correction'), 0)::bigint AS corrections,
	coalesce(sum(x.total_cost_micros) FILTER (WHERE x.what = 'late'), 0)::bigint AS earlier,
	coalesce(sum(x.total_cost_micros), 0)::bigint AS total,
	coalesce(sum(extract(epoch FROM x.period_end - x.period_start)) FILTER (WHERE x.what = 'running'), 0)::bigint AS seconds`

// names are what things are called, and their ids at Amazon: for a closed month as they were when it was closed.
func (r *Report) names() string {
	if r.closed {
		return `(SELECT id, name, provider_id FROM cost_month_names WHERE month = $1)`
	}
	return liveNames
}

const liveNames = `(
	SELECT id, name, coalesce(provider_id, '') AS provider_id FROM workspaces
	UNION ALL
	SELECT id, name, '' FROM teams
	UNION ALL
	SELECT id, name, '' FROM projects
)`

// load reads the totals and the groups.
func (r *Report) load(ctx context.Context) error {
	if err := r.q.QueryRow(ctx, `SELECT audit_origin FROM organisation`).Scan(&r.Organisation); err != nil {
		return err
	}
	type row struct {
		Grain     int
		Key, Name string
		Records   int64
		Last      string
		Parts
	}
	// A column that a set does not group by sets its bit of the grain, the last column the lowest.
	dimensions := map[int]string{0b0111: "team", 0b1011: "project", 0b1101: "cost_centre", 0b1110: "bundle"}
	found, err := postgres.Many[row](ctx, r.q, `
		WITH g AS (
		  SELECT grouping(x.team_id, x.project, x.cost_centre, x.bundle_type) AS grain, coalesce(x.team_id, x.project, x.cost_centre, x.bundle_type, '') AS key,
		         count(*) AS records, coalesce(max(x.id COLLATE "C"), '') AS last,`+parts+`
		  FROM `+r.used()+` x
		  GROUP BY GROUPING SETS ((x.team_id), (x.project), (x.cost_centre), (x.bundle_type), ())
		)
		SELECT g.*, coalesce(n.name, '') AS name
		FROM g LEFT JOIN `+r.names()+` n ON n.id = g.key AND g.grain IN (7, 11)`, r.args()...)
	if err != nil {
		return err
	}
	r.Groups = map[string][]Group{}
	for _, g := range found {
		if g.sum() != g.Parts.Total {
			return fmt.Errorf("report: the parts of %q come to %s, all of it to %s", g.Key, g.sum(), g.Parts.Total)
		}
		if dimension, ok := dimensions[g.Grain]; ok {
			r.Groups[dimension] = append(r.Groups[dimension], Group{g.Key, g.Name, g.Parts})
		} else {
			r.Records, r.Last, r.Total = g.Records, g.Last, g.Parts
		}
	}
	for _, groups := range r.Groups {
		slices.SortFunc(groups, func(a, b Group) int {
			return cmp.Or(cmp.Compare(b.Parts.Total, a.Parts.Total), strings.Compare(a.Key, b.Key))
		})
	}
	return nil
}

// lines are the lines in the order of the ids in them, or the dearest first, at most limit of them if it is not zero.
func (r *Report) lines(ctx context.Context, dearest bool, limit int, each func(*Line) error) error {
	const key = `x.team_id, x.project, x.workspace_id, x.user_id, x.cost_centre, x.bundle_type, x.region`
	order := `l.team_id COLLATE "C", l.project_id COLLATE "C", l.workspace_id COLLATE "C", l.user_id COLLATE "C", l.cost_centre COLLATE "C",
		l.bundle_type COLLATE "C", l.region COLLATE "C"`
	if dearest {
		order = "l.total DESC, " + order
	}
	if limit > 0 {
		order += fmt.Sprintf(" LIMIT %d", limit)
	}
	rows, err := r.q.Query(ctx, `
		WITH l AS (
		  SELECT x.team_id, x.project AS project_id, x.workspace_id, x.user_id, x.cost_centre, x.bundle_type, x.region,`+parts+`
		  FROM `+r.used()+` x
		  GROUP BY `+key+`
		), n AS (SELECT * FROM `+r.names()+` n)
		SELECT l.*, coalesce(w.name, '') AS name, coalesce(w.provider_id, '') AS provider_id, coalesce(t.name, '') AS team, coalesce(p.name, '') AS project
		FROM l
		LEFT JOIN n w ON w.id = l.workspace_id
		LEFT JOIN n t ON t.id = l.team_id
		LEFT JOIN n p ON p.id = l.project_id
		ORDER BY `+order, r.args()...)
	return forEach(rows, err, each)
}

// forEach hands on the rows of a query one by one, as they come.
func forEach[T any](rows pgx.Rows, err error, each func(*T) error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		v, err := pgx.RowToStructByName[T](rows)
		if err != nil {
			return err
		}
		if err := each(&v); err != nil {
			return err
		}
	}
	return rows.Err()
}
