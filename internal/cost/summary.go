package cost

import (
	"context"
	"fmt"
	"maps"
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

// What refuses a summary that cannot be made.
var (
	ErrGroup = fault.New(fault.Invalid, "GROUP_BY_INVALID", "costs cannot be grouped by that",
		fault.Suggest("use total, user, team, project, cost_centre, workspace, blueprint, bundle, region or tag:KEY"))
	ErrRange       = fault.New(fault.Invalid, "RANGE_INVALID", "the range must end after it begins, and span at most ten years")
	ErrGranularity = fault.New(fault.Invalid, "GRANULARITY_INVALID", "costs are summed by day, week or month",
		fault.Suggest("leave it out for one sum of the whole range"))
	ErrPeriods = fault.New(fault.Invalid, "PERIODS_TOO_MANY", "the range has more than 400 periods", fault.Suggest("ask for a shorter range, or for longer periods"))
)

// maxPeriods is how many periods a summary may have: a year of days.
const maxPeriods = 400

// tagged is what the name of a tag's dimension begins with.
const tagged = "tag:"

// columns are where an attribution a has the single things that a summary is grouped by or narrowed to.
var columns = map[string]string{
	"total": "''", "user": "a.user_id", "team": "a.team_id", "project": "coalesce(a.project_id, '')", "cost_centre": "a.cost_centre",
	"workspace": "a.workspace_id", "blueprint": "a.blueprint_id", "bundle": "a.bundle_type", "region": "a.region",
}

// Query is what a summary is about. User and Team narrow it to what a reader may see, Only to what the reader asks for.
type Query struct {
	From, To time.Time
	// GroupBy is a dimension: total, user, team, project, cost_centre, workspace, blueprint, bundle, region, or tag: with a key.
	GroupBy string
	// Granularity is day, week (from Monday) or month of the Zone, or empty for one sum of the whole range.
	Granularity string
	// Zone is whose calendar the periods are cut by; nil is UTC.
	Zone *time.Location
	User id.User
	Team id.Team
	// Only has, by dimension, the keys of what is counted.
	Only map[string][]string
}

// planned has a statement planned for these arguments, at each execution. A plan that is made once for any span of time takes
// each for short; what it does for a month is wrong for ten years.
func planned(args []any) []any { return append([]any{pgx.QueryExecModeCacheDescribe}, args...) }

// Amount is a cost and what it is for. Open is what of it is not settled yet, up to the instant of the question.
type Amount struct {
	Compute, Storage, Transfer money.USD
	Open                       money.USD
}

// Total is all of it.
func (a Amount) Total() money.USD { return a.Compute + a.Storage + a.Transfer }

// Settled is what is in records.
func (a Amount) Settled() money.USD { return a.Total() - a.Open }

func (a *Amount) add(b Amount) {
	a.Compute += b.Compute
	a.Storage += b.Storage
	a.Transfer += b.Transfer
	a.Open += b.Open
}

func (a *Amount) subtract(b Amount) {
	a.add(Amount{Compute: -b.Compute, Storage: -b.Storage, Transfer: -b.Transfer, Open: -b.Open})
}

// Sum is one group's cost, of the whole range and of each of its periods.
type Sum struct {
	Key string
	// Untagged is what does not have the tag that is grouped by.
	Untagged bool
	Amount
	Periods []Amount
}

// Database is where a summary is read: all of it as it was at one moment, or a settlement that comes between two of its
// parts would be counted twice or not at all.
type Database interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

func atOneMoment(ctx context.Context, db Database, fn func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, db, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, fn)
}

// dimension checks the name of one.
func dimension(name string) error {
	if key, ok := strings.CutPrefix(name, tagged); ok && key != "" && len(key) <= 127 {
		return nil
	}
	if _, ok := columns[name]; ok {
		return nil
	}
	return ErrGroup
}

// Periods are the instants at which the periods of the range begin, and the one at which the last of them ends. The first
// and the last may be shorter than the others.
func (in Query) Periods() ([]time.Time, error) {
	if !in.To.After(in.From) || in.To.Sub(in.From) > 3660*24*time.Hour {
		return nil, ErrRange
	}
	zone := in.Zone
	if zone == nil {
		zone = time.UTC
	}
	from := in.From.In(zone)
	year, month, day := from.Date()
	step := func(int) time.Time { return in.To }
	switch in.Granularity {
	case "":
	case "day":
		step = func(n int) time.Time { return time.Date(year, month, day+n, 0, 0, 0, 0, zone) }
	case "week":
		monday := day - int(from.Weekday()+6)%7
		step = func(n int) time.Time { return time.Date(year, month, monday+7*n, 0, 0, 0, 0, zone) }
	case "month":
		step = func(n int) time.Time { return time.Date(year, month+time.Month(n), 1, 0, 0, 0, 0, zone) }
	default:
		return nil, ErrGranularity
	}
	out := []time.Time{in.From.UTC()}
	for n := 1; ; n++ {
		at := step(n).UTC()
		if !at.Before(in.To) {
			return append(out, in.To.UTC()), nil
		}
		if at.After(out[len(out)-1]) { // a zone that skips a midnight skips a day
			out = append(out, at)
		}
		if len(out) > maxPeriods {
			return nil, ErrPeriods
		}
	}
}

// Summarise sums the cost of a range by group, dearest first. It is exact at the instant now: what has run and is not
// settled yet is priced here, so the answer does not depend on when settlement ran (Requirements 11.1 to 11.3). A cost
// belongs to the period in which its slice of use begins.
func Summarise(ctx context.Context, db Database, in Query, now time.Time) ([]Sum, error) {
	if err := dimension(in.GroupBy); err != nil {
		return nil, err
	}
	for name := range in.Only {
		if err := dimension(name); err != nil {
			return nil, err
		}
	}
	periods, err := in.Periods()
	if err != nil {
		return nil, err
	}
	s := &summary{Query: in, periods: periods, now: now, sums: map[group]*Sum{}}
	if err := atOneMoment(ctx, db, func(tx pgx.Tx) error {
		if err := s.settled(ctx, tx); err != nil {
			return err
		}
		return s.open(ctx, tx)
	}); err != nil {
		return nil, err
	}
	return s.sorted(), nil
}

// group tells a key from not having the tag.
type group struct {
	key  string
	none bool
}

// summary is one under way.
type summary struct {
	Query
	periods []time.Time
	now     time.Time
	sums    map[group]*Sum
}

func (s *summary) of(g group) *Sum {
	sum := s.sums[g]
	if sum == nil {
		sum = &Sum{Key: g.key, Untagged: g.none, Periods: make([]Amount, len(s.periods)-1)}
		s.sums[g] = sum
	}
	return sum
}

func (s *summary) count(g group, period int, a Amount) {
	sum := s.of(g)
	sum.add(a)
	sum.Periods[period].add(a)
}

func (s *summary) sorted() []Sum {
	out := make([]Sum, 0, len(s.sums))
	for g, sum := range s.sums {
		if g.none && !slices.ContainsFunc(sum.Periods, func(a Amount) bool { return a != Amount{} }) {
			continue // everything has the tag
		}
		out = append(out, *sum)
	}
	slices.SortFunc(out, func(a, b Sum) int {
		switch {
		case a.Total() > b.Total():
			return -1
		case a.Total() < b.Total():
			return 1
		case a.Untagged != b.Untagged && b.Untagged:
			return -1
		case a.Untagged != b.Untagged:
			return 1
		}
		return strings.Compare(a.Key, b.Key)
	})
	return out
}

// single is the one dimension that the summary is about, if there is only one: then whole days are summed up already.
func (s *summary) single() (name string, keys []string, ok bool) {
	only := s.narrowed()
	name = s.GroupBy
	if name == "total" {
		for d := range only {
			name = d
		}
	}
	for d := range only {
		if d != name {
			return "", nil, false
		}
	}
	return name, only[name], true
}

// narrowed is everything that the summary is narrowed to. A dimension that has no key in both has none at all.
func (s *summary) narrowed() map[string][]string {
	all := map[string][]string{}
	narrow := func(name string, keys []string) {
		if was, ok := all[name]; ok {
			keys = slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !slices.Contains(was, k) })
		}
		all[name] = keys
	}
	for name, keys := range s.Only {
		narrow(name, keys)
	}
	if s.User != "" {
		narrow("user", []string{string(s.User)})
	}
	if s.Team != "" {
		narrow("team", []string{string(s.Team)})
	}
	return all
}

// grain is the size of the sums that a stretch of time is read from.
type grain int

const (
	records grain = iota
	hours
	days
)

// stretch is time that is read from one kind of sums.
type stretch struct {
	from, to time.Time
	grain    grain
}

// stretches cut the periods into whole days where they are summed up, whole hours, and what lies beside: the parts of an
// hour in which a period begins or ends, as those of a zone do that is half an hour off.
func (s *summary) stretches(largest grain) []stretch {
	var out []stretch
	put := func(from, to time.Time, g grain) {
		switch last := len(out) - 1; {
		case !to.After(from):
		case last >= 0 && out[last].grain == g && out[last].to.Equal(from):
			out[last].to = to
		default:
			out = append(out, stretch{from, to, g})
		}
	}
	var cut func(from, to time.Time, g grain)
	cut = func(from, to time.Time, g grain) {
		size := map[grain]time.Duration{hours: time.Hour, days: 24 * time.Hour}[g]
		if g == records {
			put(from, to, g)
			return
		}
		begin := from.Truncate(size)
		if begin.Before(from) {
			begin = begin.Add(size)
		}
		end := to.Truncate(size)
		if !begin.Before(end) {
			cut(from, to, g-1)
			return
		}
		cut(from, begin, g-1)
		put(begin, end, g)
		cut(end, to, g-1)
	}
	for i := range len(s.periods) - 1 {
		cut(s.periods[i], s.periods[i+1], largest)
	}
	return out
}

// settled adds what is in records.
func (s *summary) settled(ctx context.Context, q postgres.Querier) error {
	name, keys, single := s.single()
	largest := hours
	if single {
		largest = days
	}
	for _, part := range s.stretches(largest) {
		var err error
		if part.grain == days {
			err = s.fromDays(ctx, q, part, name, keys)
		} else {
			err = s.fromParts(ctx, q, part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// row is a sum that a query found. Period counts from 1, as width_bucket does.
type row struct {
	Period                     int
	Key                        *string
	Compute, Storage, Transfer money.USD
}

// fromDays adds days of the one dimension. What has not a tag is what is left of all of it.
func (s *summary) fromDays(ctx context.Context, q postgres.Querier, part stretch, name string, keys []string) error {
	if err := s.day(ctx, q, part, name, keys, func(r row) {
		g := group{key: *r.Key}
		if s.GroupBy != name {
			g.key = ""
		}
		s.count(g, r.Period-1, Amount{Compute: r.Compute, Storage: r.Storage, Transfer: r.Transfer})
		if s.untagged(keys) {
			none := s.of(group{none: true})
			a := Amount{Compute: r.Compute, Storage: r.Storage, Transfer: r.Transfer}
			none.subtract(a)
			none.Periods[r.Period-1].subtract(a)
		}
	}); err != nil || !s.untagged(keys) {
		return err
	}
	return s.day(ctx, q, part, "total", nil, func(r row) {
		s.count(group{none: true}, r.Period-1, Amount{Compute: r.Compute, Storage: r.Storage, Transfer: r.Transfer})
	})
}

// untagged tells whether what has not a tag is asked for.
func (s *summary) untagged(keys []string) bool {
	return strings.HasPrefix(s.GroupBy, tagged) && keys == nil
}

func (s *summary) day(ctx context.Context, q postgres.Querier, part stretch, name string, keys []string, add func(row)) error {
	args, condition := []any{s.periods, name, part.from, part.to}, ""
	if keys != nil {
		args, condition = append(args, keys), " AND key = ANY($5)"
	}
	found, err := postgres.Many[row](ctx, q, `
		SELECT width_bucket(day, $1::timestamptz[]) AS period, key, sum(compute_micros)::bigint AS compute, sum(storage_micros)::bigint AS storage,
		       sum(transfer_micros)::bigint AS transfer
		FROM cost_days
		WHERE dimension = $2 AND day >= $3 AND day < $4`+condition+`
		GROUP BY 1, 2`, planned(args)...)
	for _, r := range found {
		add(r)
	}
	return err
}

// fromParts adds hours, or records one by one. Those of a person, a team, a project or a WorkSpace have an index, and are
// hardly more than their hours.
func (s *summary) fromParts(ctx context.Context, q postgres.Querier, part stretch) error {
	table, at, own := "cost_hours", "hour", false
	amounts := "sum(t.compute_micros)::bigint AS compute, sum(t.storage_micros)::bigint AS storage, sum(t.transfer_micros)::bigint AS transfer"
	if part.grain == records || s.selective() {
		table, at, own = "cost_records", "period_start", true
		amounts = "sum(t.compute_cost_micros)::bigint AS compute, sum(t.storage_cost_micros)::bigint AS storage, sum(t.data_transfer_cost_micros)::bigint AS transfer"
	}
	key, from, conditions, args := s.under(table, own, s.periods, part.from, part.to)
	found, err := postgres.Many[row](ctx, q, `
		SELECT width_bucket(t.`+at+`, $1::timestamptz[]) AS period, `+key+` AS key, `+amounts+`
		FROM `+from+`
		WHERE t.`+at+` >= $2 AND t.`+at+` < $3`+conditions+`
		GROUP BY 1, 2`, planned(args)...)
	for _, r := range found {
		s.count(groupOf(r.Key), r.Period-1, Amount{Compute: r.Compute, Storage: r.Storage, Transfer: r.Transfer})
	}
	return err
}

// selective tells whether the summary is narrowed to something that has few of the records.
func (s *summary) selective() bool {
	for name := range s.narrowed() {
		if slices.Contains([]string{"user", "team", "project", "workspace"}, name) {
			return true
		}
	}
	return false
}

func groupOf(key *string) group {
	if key == nil {
		return group{none: true}
	}
	return group{key: *key}
}

// under is how a table t is read: the key that is grouped by, t with its attributions a where they are needed, the conditions
// that the summary is narrowed by, and all arguments: those before, and what the conditions need. Own tells that t itself
// says whose it is, and has indexes by that. A condition that also stands for "any" would keep a statement from using them.
func (s *summary) under(table string, own bool, before ...any) (key, from, conditions string, args []any) {
	from, args = table+" t", before
	put := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	attributed := !own
	column := func(name string) string {
		c := columns[name]
		if tag, ok := strings.CutPrefix(name, tagged); ok {
			c = "(a.tags ->> " + put(tag) + "::text)"
		}
		switch name {
		case "total":
		case "user", "team", "project", "cost_centre", "workspace":
			if own {
				c = strings.ReplaceAll(c, "a.", "t.")
			}
		default:
			attributed = true
		}
		return c
	}
	only := s.narrowed()
	for _, name := range slices.Sorted(maps.Keys(only)) {
		c := column(name)
		if name == "project" && !slices.Contains(only[name], "") {
			c = c[len("coalesce("):strings.Index(c, ",")] // which has an index
		}
		conditions += " AND " + c + " = ANY(" + put(only[name]) + ")"
	}
	key = column(s.GroupBy)
	if attributed {
		from += " JOIN cost_attributions a ON a.id = t.attribution_id"
	}
	return key, from, conditions, args
}

// open adds what has run and is not settled yet.
func (s *summary) open(ctx context.Context, q postgres.Querier) error {
	end := s.now
	if s.To.Before(end) {
		end = s.To
	}
	key, from, conditions, args := s.under("usage", true, s.To)
	only := s.narrowed()
	if only["user"] != nil || only["team"] != nil {
		conditions += " AND t.closed_at IS NULL"
	} else {
		// A usage is due at the latest an hour behind what is settled of it.
		args = append(args, end.Add(time.Hour))
		conditions += fmt.Sprintf(" AND t.due_at <= $%d", len(args))
	}
	found, err := postgres.Many[struct {
		Key *string
		usage
	}](ctx, q, `
		SELECT `+key+` AS key, `+ofUsage+`
		FROM `+from+`
		WHERE t.settled_until < $1`+conditions, planned(args)...)
	if err != nil {
		return err
	}
	prices := newTariffs(q)
	for i := range found {
		u := &found[i].usage
		if err := prices.due(ctx, s.now, u); err != nil {
			return err
		}
		first, _ := slices.BinarySearchFunc(s.periods, u.SettledUntil, time.Time.Compare)
		for p := max(0, first-1); p < len(s.periods)-1 && !s.periods[p].After(s.now); p++ {
			tail := u.tail(s.periods[p], s.periods[p+1], s.now)
			if tail == 0 {
				continue
			}
			a := Amount{Compute: tail, Open: tail}
			if u.Kind == storage {
				a = Amount{Storage: tail, Open: tail}
			}
			s.count(groupOf(found[i].Key), p, a)
		}
	}
	return nil
}

// tail is the part of an open usage that is not settled yet and will be counted between two instants: the slices that begin
// there, as far as they have come by now. Only so does it not matter whether they are settled.
func (u *usage) tail(from, to, now time.Time) money.USD {
	if u.Kind != running {
		var fees money.USD
		for n, m := 0, u.SettledUntil; !m.After(now) && m.Before(to); n, m = n+1, clock.StartOfNextMonth(m) {
			if !m.Before(from) {
				fees += price.MonthShare(u.dueIn(n), m)
			}
		}
		return fees
	}
	// The first slice that begins at t or later begins at:
	slice := func(t time.Time) time.Time {
		if t.After(u.SettledUntil) {
			t = t.Add(time.Hour - time.Microsecond).Truncate(time.Hour)
		} else {
			t = u.SettledUntil
		}
		if t.After(now) {
			return now
		}
		return t
	}
	begin, end := slice(from), slice(to)
	if !end.After(begin) {
		return 0
	}
	before := u.SettledMicros
	if begin.After(u.SettledUntil) {
		before = u.total(begin)
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
	prices := newTariffs(q)
	for i := range all {
		u := &all[i]
		if err := prices.due(ctx, now, u); err != nil {
			return nil, err
		}
		out[u.WorkspaceID] += u.SettledMicros + u.unsettled(now)
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
