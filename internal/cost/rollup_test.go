package cost_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/price"
)

// groupings are everything that costs can be summed by, and where a record or its attribution says it.
var groupings = map[string]string{
	"total": "''", "user": "c.user_id", "team": "c.team_id", "project": "coalesce(c.project_id, '')", "cost_centre": "c.cost_centre",
	"workspace": "c.workspace_id", "blueprint": "a.blueprint_id", "bundle": "a.bundle_type", "region": "a.region",
	"tag:env": "a.tags ->> 'env'", "tag:nobody": "a.tags ->> 'nobody'",
}

// zones are whole hours off, half an hour, three quarters, with and without daylight saving.
var zones = []string{"UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Chatham"}

func zone(t interface{ Fatal(args ...any) }, name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func (r *room) sums(t interface {
	Fatal(args ...any)
	Context() context.Context
}, q cost.Query,
) []cost.Sum {
	sums, err := cost.Summarise(t.Context(), r.Pool, q, r.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

// flat are all amounts of a summary by group and period, those that are not zero.
func flat(sums []cost.Sum) map[string]money.USD {
	out := map[string]money.USD{}
	for _, s := range sums {
		for i, p := range s.Periods {
			if p.Total() != 0 {
				out[fmt.Sprintf("%v %q %d", s.Untagged, s.Key, i)] = p.Total()
			}
		}
	}
	return out
}

// Whatever runs at whatever prices, wherever it is cut: a summary is the sum of its groups and of its periods, is the same
// before and after what it counts is settled, and is in the end that of the records, read one by one.
func TestASummaryIsTheSameByWhateverItIsGroupedAndWheneverItIsSettled(t *testing.T) {
	r := setUp(t, at("2026-01-01 00:00"), price.SessionCeil)
	rapid.Check(t, func(rt *rapid.T) {
		now := at("2026-02-25 00:00").AddDate(0, rapid.IntRange(0, 10).Draw(rt, "month"), 0).Add(time.Duration(rapid.Int64Range(0, 6*86400e6).Draw(rt, "begin")) * time.Microsecond)
		begin := now
		r.clock.Set(now)
		do := func(fn func(ctx context.Context, tx *audit.Tx) error) {
			if err := r.try(t.Context(), fn); err != nil {
				rt.Fatal(err)
			}
		}
		amount := rapid.Int64Range(0, 40_000_000)
		book := func() (lines []price.Price) {
			for _, item := range []price.Item{price.AlwaysOnMonth, price.AutoStopMonth, price.AutoStopHour, price.RootGBMonth, price.UserGBMonth} {
				unit := map[price.Item]string{price.AutoStopHour: "hour", price.RootGBMonth: "gb_month", price.UserGBMonth: "gb_month"}[item]
				for _, compute := range []string{"STANDARD", "PERFORMANCE"} {
					key := price.Key{Region: pgtest.Region, ComputeType: compute, OperatingSystem: "WINDOWS", License: "INCLUDED", Item: item}
					lines = append(lines, price.Price{Key: key, Unit: cmp.Or(unit, "month"), Amount: money.USD(amount.Draw(rt, string(item)))})
				}
			}
			return lines
		}
		rule := rapid.SampledFrom([]price.HourRule{price.SessionCeil, price.ClockHour, price.Second}).Draw(rt, "rule")
		do(func(ctx context.Context, tx *audit.Tx) error {
			_, err := cost.ImportBook(ctx, tx, "any", rule, now, book())
			return err
		})
		type desk struct {
			cost.Subject
			runs bool
		}
		tags := rapid.SampledFrom([]map[string]string{nil, {"env": "dev"}, {"env": ""}, {"env": "test", "nobody's": "yes"}})
		var desks []*desk
		defer func() { // one that fails leaves nothing to those after it
			for _, d := range desks {
				_ = r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error { return r.meter.End(ctx, tx, d.Workspace, tx.Now) })
			}
		}()
		for i := range rapid.IntRange(1, 4).Draw(rt, "WorkSpaces") {
			mode := rapid.SampledFrom([]string{price.AutoStop, price.AutoStop, price.AlwaysOn}).Draw(rt, "mode")
			s := r.workspace(t, i%2, rapid.SampledFrom([]id.Project{"", r.org.Projects[i%2]}).Draw(rt, "project"), mode)
			s.Spec.RootGiB, s.Spec.UserGiB, s.BlueprintVersion, s.Tags = 80, 50+10*i, r.org.Version, tags.Draw(rt, "tags")
			do(func(ctx context.Context, tx *audit.Tx) error { return r.meter.Begin(ctx, tx, s) })
			desks = append(desks, &desk{s, true})
		}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int64{1, 1e6, 600e6, 3600e6, 5 * 3600e6, 20 * 3600e6}).Draw(rt, "by")*rapid.Int64Range(1, 3).Draw(rt, "times")) * time.Microsecond)
			if rapid.IntRange(0, 3).Draw(rt, "to the hour") == 0 {
				now = now.Truncate(time.Hour)
			}
			if now.Before(r.clock.Now()) {
				now = r.clock.Now()
			}
			r.clock.Set(now)
			d := rapid.SampledFrom(desks).Draw(rt, "WorkSpace")
			switch rapid.IntRange(0, 7).Draw(rt, "what") {
			case 0, 1:
				do(func(ctx context.Context, tx *audit.Tx) error { _, err := r.meter.Settle(ctx, tx, 3); return err })
			case 2, 3:
				if d.runs = !d.runs; d.runs {
					do(func(ctx context.Context, tx *audit.Tx) error { return r.meter.Begin(ctx, tx, d.Subject) })
				} else {
					do(func(ctx context.Context, tx *audit.Tx) error { return r.meter.Pause(ctx, tx, d.Workspace) })
				}
			case 4:
				d.Tags = tags.Draw(rt, "tags")
				do(func(ctx context.Context, tx *audit.Tx) error { return r.meter.Relabel(ctx, tx, d.Subject) })
			case 5:
				d.Spec.ComputeType = rapid.SampledFrom([]string{"STANDARD", "PERFORMANCE"}).Draw(rt, "compute")
				do(func(ctx context.Context, tx *audit.Tx) error { return r.meter.Switch(ctx, tx, d.Subject, d.runs) })
			case 7: // what is sold keeps its price until its month ends
				do(func(ctx context.Context, tx *audit.Tx) error {
					_, err := cost.ImportBook(ctx, tx, "any", rule, now, book())
					return err
				})
			case 6:
				d.Spec.RunningMode = rapid.SampledFrom([]string{price.AutoStop, price.AlwaysOn}).Draw(rt, "mode")
				do(func(ctx context.Context, tx *audit.Tx) error { return r.meter.Switch(ctx, tx, d.Subject, d.runs) })
			}
		}
		q := cost.Query{
			From: begin.Add(time.Duration(rapid.Int64Range(-40*3600e6, 40*3600e6).Draw(rt, "from")) * time.Microsecond), Zone: zone(rt, rapid.SampledFrom(zones).Draw(rt, "zone")),
			Granularity: rapid.SampledFrom([]string{"", "day", "week", "month"}).Draw(rt, "granularity"),
		}
		if rapid.Bool().Draw(rt, "from midnight") {
			y, m, d := q.From.In(q.Zone).Date()
			q.From = time.Date(y, m, d, 0, 0, 0, 0, q.Zone)
		}
		q.To = q.From.AddDate(0, 0, rapid.IntRange(1, 50).Draw(rt, "days"))
		switch rapid.IntRange(0, 4).Draw(rt, "only") {
		case 0:
			q.Team = r.org.Teams[0]
		case 1:
			q.User = r.org.Users[1][actor.Engineer]
		case 2:
			q.Only = map[string][]string{"bundle": {"STANDARD"}, "project": {"", string(r.org.Projects[0])}}
		case 3:
			q.Only = map[string][]string{"tag:env": {"dev", ""}}
		}
		groups := append(rapid.SliceOfNDistinct(rapid.SampledFrom(slices.Sorted(maps.Keys(groupings))), 4, 4, rapid.ID[string]).Draw(rt, "groups"), "total")
		ask := func() map[string]map[string]money.USD {
			answers := map[string]map[string]money.USD{}
			for _, g := range groups {
				q.GroupBy = g
				sums := r.sums(t, q)
				for _, s := range sums {
					var parts money.USD
					for _, p := range s.Periods {
						parts += p.Total()
					}
					if parts != s.Total() {
						rt.Fatalf("by %s: the periods of %q come to %s, and it to %s", g, s.Key, parts, s.Total())
					}
				}
				answers[g] = flat(sums)
			}
			for _, g := range groups {
				if got, want := total(answers[g]), total(answers["total"]); got != want {
					rt.Fatalf("by %s it is %s, in total %s", g, got, want)
				}
			}
			return answers
		}
		live := ask()
		for n := 1; n > 0; {
			do(func(ctx context.Context, tx *audit.Tx) (err error) { n, err = r.meter.Settle(ctx, tx, 100); return err })
		}
		for g, answer := range ask() {
			if !maps.Equal(answer, live[g]) {
				rt.Fatalf("by %s: settling made %v of %v", g, answer, live[g])
			}
		}
		for _, d := range desks {
			do(func(ctx context.Context, tx *audit.Tx) error { return r.meter.End(ctx, tx, d.Workspace, tx.Now) })
		}
		for g, answer := range ask() {
			if read := r.records(t, rt, g, q); !maps.Equal(answer, read) {
				rt.Fatalf("by %s from %s to %s: the summary is %v, the records are %v", g, q.From, q.To, answer, read)
			}
			if !maps.Equal(answer, live[g]) {
				rt.Fatalf("by %s: the end made %v of %v", g, answer, live[g])
			}
		}
		wrong, err := cost.Misfits(t.Context(), r.Owner)
		if err != nil || len(wrong) > 0 {
			rt.Fatalf("%v, %v", wrong, err)
		}
	})
	before := pgtest.Value[string](t, r.DB, contents)
	tx, err := r.Owner.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context()) //nolint:errcheck // committed by then
	if err := cost.Rebuild(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := pgtest.Value[string](t, r.DB, contents); after != before {
		t.Error("the sums that are made anew are not those that were kept")
	}
}

// contents are a digest of all sums.
const contents = `
	SELECT md5(string_agg(line, E'\n' ORDER BY line))
	FROM (SELECT concat_ws(' ', dimension, key, day, sum(compute_micros), sum(storage_micros)) AS line FROM cost_days GROUP BY dimension, key, day
	      UNION ALL
	      SELECT concat_ws(' ', attribution_id, hour, sum(compute_micros), sum(storage_micros)) FROM cost_hours GROUP BY attribution_id, hour) x`

func total(amounts map[string]money.USD) (sum money.USD) {
	for _, a := range amounts {
		sum += a
	}
	return sum
}

// records is a summary as the records alone make it.
func (r *room) records(t *testing.T, rt *rapid.T, group string, q cost.Query) map[string]money.USD {
	t.Helper()
	periods, err := q.Periods()
	if err != nil {
		rt.Fatal(err)
	}
	rows, err := r.Owner.Query(t.Context(), `
		SELECT `+groupings[group]+`, c.period_start, c.total_cost_micros
		FROM cost_records c JOIN cost_attributions a ON a.id = c.attribution_id
		WHERE c.period_start >= $1 AND c.period_start < $2 AND ($3 = '' OR c.team_id = $3) AND ($4 = '' OR c.user_id = $4)
		  AND ($5::text[] IS NULL OR a.bundle_type = ANY($5)) AND ($6::text[] IS NULL OR coalesce(c.project_id, '') = ANY($6))
		  AND ($7::text[] IS NULL OR a.tags ->> 'env' = ANY($7))`,
		q.From, q.To, q.Team, q.User, q.Only["bundle"], q.Only["project"], q.Only["tag:env"])
	if err != nil {
		rt.Fatal(err)
	}
	out := map[string]money.USD{}
	for rows.Next() {
		var key *string
		var start time.Time
		var amount money.USD
		if err := rows.Scan(&key, &start, &amount); err != nil {
			rt.Fatal(err)
		}
		i, exact := slices.BinarySearchFunc(periods, start, time.Time.Compare)
		if !exact {
			i--
		}
		name := fmt.Sprintf("%v %q %d", key == nil, "", i)
		if key != nil {
			name = fmt.Sprintf("%v %q %d", false, *key, i)
		}
		if out[name] += amount; out[name] == 0 {
			delete(out, name)
		}
	}
	if err := rows.Err(); err != nil {
		rt.Fatal(err)
	}
	return out
}

// A summary is of one moment: a settlement between two of its readings neither doubles nor loses anything.
func TestASummaryBesideSettlementsIsSteady(t *testing.T) {
	r := setUp(t, at("2026-11-30 10:20"), price.SessionCeil)
	var all []cost.Subject
	for i := range 12 {
		s := r.workspace(t, i%2, "", price.AutoStop)
		r.begin(t, s)
		all = append(all, s)
	}
	r.clock.Set(at("2026-12-01 15:00"))
	// 10:20 to 15:00 of the next day are 28 h 40 min; and December's fee.
	fee := price.MonthShare(9_750_000, at("2026-11-30 10:20"))
	each := fee + 9_750_000 + 29*300_000
	done := make(chan error, 1)
	go func() {
		for n := 1; n > 0; {
			if err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) (err error) { n, err = r.meter.Settle(ctx, tx, 1); return err }); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for settled := false; !settled; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			settled = true
		default:
		}
		for _, g := range []string{"total", "team", "workspace"} {
			var sum money.USD
			for _, s := range r.sums(t, cost.Query{From: at("2026-11-01 00:00"), To: at("2027-01-01 00:00"), GroupBy: g}) {
				sum += s.Total()
			}
			want(t, "by "+g, sum, each.Times(int64(len(all))))
		}
	}
}

// A record that corrects another is counted under what the other was, whatever the WorkSpace is called by then.
func TestTagsCountFromTheHourInWhichTheyChange(t *testing.T) {
	r := setUp(t, at("2026-11-01 00:00"), price.SessionCeil)
	s := r.workspace(t, 0, "", price.AutoStop)
	s.Tags = map[string]string{"env": "dev"}
	r.begin(t, s)
	r.clock.Set(at("2026-11-16 02:30"))
	s.Tags = map[string]string{"env": "test"}
	r.do(t, func(ctx context.Context, tx *audit.Tx) error { return r.meter.Relabel(ctx, tx, s) })
	r.clock.Set(at("2026-11-16 04:00"))
	check := func(devs, tests money.USD) {
		t.Helper()
		got := map[string]money.USD{}
		for _, sum := range r.sums(t, cost.Query{From: at("2026-11-01 00:00"), To: at("2026-12-01 00:00"), GroupBy: "tag:env"}) {
			got[sum.Key] = sum.Total()
		}
		if len(got) != 2 || got["dev"] != devs || got["test"] != tests {
			t.Errorf("by the tag: %v", got)
		}
	}
	check(9_750_000+362*300_000, 2*300_000) // 15 days and two hours; the hours from 02:00 and 03:00
	r.settle(t)
	r.pause(t, s)
	check(9_750_000+362*300_000, 2*300_000)
	s.Spec.ComputeType = "PERFORMANCE"
	r.switchTo(t, s, false)
	// At 04:00 on the 16th 356 of 720 hours are left: 364/720 of 9.75 are 4.929166…; 356/720 of 13 are 6.427777…
	check(4_929_167+362*300_000, 2*300_000+6_427_778)
}

// India's day begins at 18:30 UTC: what began at 18:10 is of the day before, what began at 18:40 of this one.
func TestHalfAnHourOffIsReadFromTheRecords(t *testing.T) {
	r := setUp(t, at("2026-11-10 18:10"), price.SessionCeil)
	one, two := r.workspace(t, 0, "", price.AutoStop), r.workspace(t, 1, "", price.AutoStop)
	r.begin(t, one)
	r.clock.Set(at("2026-11-10 18:40"))
	r.begin(t, two)
	r.clock.Set(at("2026-11-10 18:50"))
	r.pause(t, one)
	r.pause(t, two)
	india := zone(t, "Asia/Kolkata")
	q := cost.Query{From: time.Date(2026, 11, 10, 0, 0, 0, 0, india), To: time.Date(2026, 11, 12, 0, 0, 0, 0, india), Zone: india, Granularity: "day", GroupBy: "team"}
	for _, s := range r.sums(t, q) {
		day := map[string]int{string(r.org.Teams[0]): 0, string(r.org.Teams[1]): 1}[s.Key]
		if s.Periods[day].Total() != s.Total() || s.Periods[1-day].Total() != 0 || s.Total() == 0 {
			t.Errorf("%s: %+v", s.Key, s.Periods)
		}
	}
	if n := len(r.sums(t, q)); n != 2 {
		t.Errorf("%d teams", n)
	}
}

// The calendar is the zone's: a day of 23 hours, one of 25, a week from Monday, a month.
func TestPeriodsAreOfTheZonesCalendar(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	day := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, berlin) }
	for _, c := range []struct {
		granularity string
		from, to    time.Time
		want        []time.Duration
	}{
		{"day", day(2026, 3, 28), day(2026, 3, 31), []time.Duration{24 * time.Hour, 23 * time.Hour, 24 * time.Hour}},
		{"day", day(2026, 10, 24), day(2026, 10, 27), []time.Duration{24 * time.Hour, 25 * time.Hour, 24 * time.Hour}},
		{"week", day(2026, 10, 21), day(2026, 11, 3), []time.Duration{5*24*time.Hour + time.Hour, 7 * 24 * time.Hour, 24 * time.Hour}},
		{"month", day(2028, 2, 1), day(2028, 3, 15), []time.Duration{29 * 24 * time.Hour, 14 * 24 * time.Hour}},
		{"", day(2026, 10, 1), day(2026, 11, 1), []time.Duration{31*24*time.Hour + time.Hour}},
	} {
		starts, err := cost.Query{From: c.from, To: c.to, Zone: berlin, Granularity: c.granularity}.Periods()
		if err != nil {
			t.Fatal(err)
		}
		var got []time.Duration
		for i := range len(starts) - 1 {
			got = append(got, starts[i+1].Sub(starts[i]))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s from %s to %s: %v, want %v", c.granularity, c.from, c.to, got, c.want)
		}
	}
}
