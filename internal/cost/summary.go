package cost

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// ErrGroup and ErrRange refuse a summary that cannot be made.
var (
	ErrGroup = fault.New(fault.Invalid, "GROUP_BY_INVALID", "costs cannot be grouped by that",
		fault.Suggest("use user, team, project, cost_centre or workspace"))
	ErrRange = fault.New(fault.Invalid, "RANGE_INVALID", "the range must end after it begins, and span at most ten years")
)

// groups are the columns that a summary may be grouped by.
var groups = map[string]string{
	"user": "user_id", "team": "team_id", "project": "coalesce(project_id, '')", "cost_centre": "cost_centre", "workspace": "workspace_id",
}

// Query is what a summary is about. User and Team narrow it to what a reader may see.
type Query struct {
	From, To time.Time
	GroupBy  string
	User     id.User
	Team     id.Team
}

// planned has a statement planned for these arguments, at each execution. A plan that is made once for any span of time takes
// each for short; what it does for a month is wrong for ten years.
func planned(args []any) []any { return append([]any{pgx.QueryExecModeCacheDescribe}, args...) }

// whose is what of User and Team is given, as conditions behind the arguments before, and all arguments. A condition that
// also stands for "anyone" would keep a prepared statement from using an index.
func (in Query) whose(before ...any) (conditions string, args []any) {
	args = before
	if in.User != "" {
		args = append(args, in.User)
		conditions += fmt.Sprintf(" AND user_id = $%d", len(args))
	}
	if in.Team != "" {
		args = append(args, in.Team)
		conditions += fmt.Sprintf(" AND team_id = $%d", len(args))
	}
	return conditions, args
}

// Sum is one group's cost: what is settled, and the open tail up to the instant of the question.
type Sum struct {
	Key     string
	Settled money.USD
	Open    money.USD
}

// Total is all of it.
func (s Sum) Total() money.USD { return s.Settled + s.Open }

// Summarise sums the cost of a range by group, dearest first. It is exact at the instant now: what has run and is not
// settled yet is priced here, so the answer does not depend on when settlement ran (Requirements 11.1 to 11.3).
func Summarise(ctx context.Context, q postgres.Querier, in Query, now time.Time) ([]Sum, error) {
	column, ok := groups[in.GroupBy]
	if !ok {
		return nil, ErrGroup
	}
	if !in.To.After(in.From) || in.To.Sub(in.From) > 3660*24*time.Hour {
		return nil, ErrRange
	}
	whose, args := in.whose(in.From, in.To)
	settled, err := postgres.Many[struct {
		Key   string
		Total money.USD
	}](ctx, q, `
		SELECT `+column+` AS key, sum(total_cost_micros)::bigint AS total
		FROM cost_records
		WHERE period_start >= $1 AND period_start < $2`+whose+`
		GROUP BY 1`, planned(args)...)
	if err != nil {
		return nil, err
	}
	sums := map[string]Sum{}
	for _, s := range settled {
		sums[s.Key] = Sum{Key: s.Key, Settled: s.Total}
	}
	whose, args = in.whose(in.To)
	open, err := postgres.Many[struct {
		Key string
		usage
	}](ctx, q, `
		SELECT `+column+` AS key,`+usageColumns+`
		FROM usage
		WHERE closed_at IS NULL AND settled_until < $1`+whose, args...)
	if err != nil {
		return nil, err
	}
	for _, o := range open {
		s, seen := sums[o.Key]
		tail := o.tail(in.From, in.To, now)
		if tail == 0 && !seen {
			continue // it has not begun
		}
		s.Key = o.Key
		s.Open += tail
		sums[o.Key] = s
	}
	out := make([]Sum, 0, len(sums))
	for _, s := range sums {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Sum) int {
		if a.Total() != b.Total() {
			if a.Total() > b.Total() {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Key, b.Key)
	})
	return out, nil
}

// tail is the part of an open usage that is not settled yet, within the range and up to now.
func (u *usage) tail(from, to, now time.Time) money.USD {
	if u.Kind != running {
		var fees money.USD
		for m := u.SettledUntil; !m.After(now) && m.Before(to); m = clock.StartOfNextMonth(m) {
			if !m.Before(from) {
				fees += price.MonthShare(u.RateMicros, m)
			}
		}
		return fees
	}
	end := now
	if to.Before(end) {
		end = to
	}
	begin := u.SettledUntil
	before := u.SettledMicros
	if from.After(begin) {
		begin, before = from, u.total(from)
	}
	if !end.After(begin) {
		return 0
	}
	return u.total(end) - before
}

// ToDate is what each of the WorkSpaces has cost from its beginning to now.
func ToDate(ctx context.Context, q postgres.Querier, workspaces []id.WorkSpace, now time.Time) (map[id.WorkSpace]money.USD, error) {
	all, err := postgres.Many[usage](ctx, q, `
		SELECT`+usageColumns+`
		FROM usage
		WHERE workspace_id = ANY($1)`, workspaces)
	if err != nil {
		return nil, err
	}
	out := make(map[id.WorkSpace]money.USD, len(workspaces))
	for i := range all {
		u := &all[i]
		out[u.WorkspaceID] += u.SettledMicros
		if u.ClosedAt == nil {
			out[u.WorkspaceID] += u.tail(u.OpenedAt, now.Add(time.Microsecond), now) // a fee is due at the instant its month begins
		}
	}
	return out, nil
}

// Run is a stretch that a WorkSpace ran, within a span of time.
type Run struct {
	WorkspaceID        id.WorkSpace
	OpenedAt, ClosedAt time.Time
}

// Runs are the stretches that WorkSpaces ran within a span of time, those of each in their order. What runs still ran up to
// its end.
func Runs(ctx context.Context, q postgres.Querier, ids []id.WorkSpace, from, to time.Time) ([]Run, error) {
	return postgres.Many[Run](ctx, q, `
		SELECT workspace_id, greatest(opened_at, $2) AS opened_at, least(coalesce(closed_at, $3), $3) AS closed_at
		FROM usage
		WHERE workspace_id = ANY($1) AND kind = '`+running+`' AND opened_at < $3 AND (closed_at IS NULL OR closed_at > $2)
		ORDER BY workspace_id, usage.opened_at`, ids, from, to)
}

// RunningSeconds is how long each WorkSpace ran within a span of time, in seconds. What runs still ran up to its end.
func RunningSeconds(ctx context.Context, q postgres.Querier, ids []id.WorkSpace, from, to time.Time) (map[id.WorkSpace]int64, error) {
	type row struct {
		WorkspaceID id.WorkSpace
		Seconds     int64
	}
	found, err := postgres.Many[row](ctx, q, `
		SELECT workspace_id, sum(extract(epoch FROM least(coalesce(closed_at, $3), $3) - greatest(opened_at, $2)))::bigint AS seconds
		FROM usage
		WHERE workspace_id = ANY($1) AND kind = '`+running+`' AND opened_at < $3 AND (closed_at IS NULL OR closed_at > $2)
		GROUP BY workspace_id`, ids, from, to)
	all := make(map[id.WorkSpace]int64, len(found))
	for _, r := range found {
		all[r.WorkspaceID] = r.Seconds
	}
	return all, err
}
