package cost_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/price"
)

// STANDARD in us-east-1: ALWAYS_ON 35 a month; AUTO_STOP 9.75 a month and 0.30 an hour. PERFORMANCE: 50; 13 and 0.47. A
// volume beyond 80 GiB root and 50 user: 0.11 and 0.09 a GiB and month, in the tariff of these tests.
//
// An invoice is a WorkSpace's life, an event a line: begin (it runs), pause, end, ALWAYS_ON and AUTO_STOP (it is switched),
// PERFORMANCE and STANDARD, user=N (GiB), settle, dearer (a book with everything 10 % dearer takes effect), lacking (one without
// STANDARD does). And what each month comes to, in the zone, worked out by hand.
type invoice struct {
	name  string
	rule  price.HourRule
	zone  string
	mode  string
	life  []string
	from  string
	to    string
	per   string
	wants map[string]money.USD
}

var invoices = []invoice{
	{
		// The leap February of 2028 has 29 days; from the 15th at 12:00 half of it is left: 35 / 2. March is whole.
		name: "ALWAYS_ON in a leap February", rule: price.SessionCeil, mode: price.AlwaysOn,
		life: []string{"2028-02-15 12:00 begin", "2028-03-10 00:00 end"}, from: "2028-02-01", to: "2028-05-01", per: "month",
		wants: map[string]money.USD{"2028-02-01": 17_500_000, "2028-03-01": 35_000_000, "2028-04-01": 0},
	},
	{
		// 28 days: from the 22nd at 00:00 a quarter is left, 9.75 / 4 = 2.4375. It runs over the month's end, 23:30 to 00:45,
		// 1 h 15 min: two hours. The first begins in February, and so does the slice that ends at 00:00; the hour that
		// begins at 00:30 is in March's slice.
		name: "AUTO_STOP over a month's end", rule: price.SessionCeil, mode: price.AutoStop,
		life: []string{"2027-02-22 00:00 begin", "2027-02-22 00:00 pause", "2027-02-28 23:30 begin", "2027-03-01 00:45 pause", "2027-03-02 00:00 end"},
		from: "2027-02-01", to: "2027-04-01", per: "month",
		wants: map[string]money.USD{"2027-02-01": 2_437_500 + 300_000, "2027-03-01": 9_750_000 + 300_000},
	},
	{
		// Made on the 16th of 30 days at 00:00: 9.75 / 2 = 4.875. It is ended on the 20th, and nothing is given back. 2 h 59 min
		// of use and the 60 minutes of the timeout are 3 h 59 min: four hours, 1.20.
		name: "made in mid-month and terminated in it", rule: price.SessionCeil, mode: price.AutoStop,
		life: []string{"2026-11-16 00:00 begin", "2026-11-16 03:59 pause", "2026-11-20 10:00 end"}, from: "2026-11-01", to: "2026-12-01", per: "month",
		wants: map[string]money.USD{"2026-11-01": 4_875_000 + 1_200_000},
	},
	{
		// Stopped and started within the hour: 20 minutes and 20 minutes. Each session counts an hour: 0.60.
		name: "twice within an hour, by the session", rule: price.SessionCeil, mode: price.AutoStop,
		life: []string{"2026-11-01 00:00 begin", "2026-11-01 00:00 pause", "2026-11-10 09:00 begin", "2026-11-10 09:20 pause", "2026-11-10 09:30 begin", "2026-11-10 09:50 pause"},
		from: "2026-11-10", to: "2026-11-11", per: "day", wants: map[string]money.USD{"2026-11-10": 600_000},
	},
	{
		// The same: one hour of the clock is touched, 0.30.
		name: "twice within an hour, by the clock", rule: price.ClockHour, mode: price.AutoStop,
		life: []string{"2026-11-01 00:00 begin", "2026-11-01 00:00 pause", "2026-11-10 09:00 begin", "2026-11-10 09:20 pause", "2026-11-10 09:30 begin", "2026-11-10 09:50 pause"},
		from: "2026-11-10", to: "2026-11-11", per: "day", wants: map[string]money.USD{"2026-11-10": 300_000},
	},
	{
		// The same: 40 of 60 minutes of 0.30 are 0.20.
		name: "twice within an hour, by the second", rule: price.Second, mode: price.AutoStop,
		life: []string{"2026-11-01 00:00 begin", "2026-11-01 00:00 pause", "2026-11-10 09:00 begin", "2026-11-10 09:20 pause", "2026-11-10 09:30 begin", "2026-11-10 09:50 pause"},
		from: "2026-11-10", to: "2026-11-11", per: "day", wants: map[string]money.USD{"2026-11-10": 200_000},
	},
	{
		// Amazon's maintenance starts what is stopped, on a Sunday from 00:00 to 04:00, and bills it: four hours, 1.20. Who is
		// at work from 09:00 when the next begins at 00:00 of the Sunday after runs on through it: 19 hours, one session.
		name: "maintenance hours", rule: price.SessionCeil, mode: price.AutoStop,
		life: []string{"2026-11-01 00:00 begin", "2026-11-01 00:00 pause", "2026-11-08 00:00 begin", "2026-11-08 04:00 pause", "2026-11-14 09:00 begin", "2026-11-15 04:00 pause"},
		from: "2026-11-07", to: "2026-11-16", per: "week",
		wants: map[string]money.USD{"2026-11-07": 1_200_000, "2026-11-09": 19 * 300_000},
	},
	{
		// On the 11th of 30 days at 12:00, 19.5 are left. To ALWAYS_ON: 35 × 19.5/30 = 22.75 on top of 9.75. Back on the 21st:
		// ALWAYS_ON until December, so nothing more in November; then 9.75 and, as it runs until 02:30, three hours.
		name: "the mode switched both ways", rule: price.SessionCeil, mode: price.AutoStop,
		life: []string{"2026-11-01 00:00 begin", "2026-11-01 02:00 pause", "2026-11-11 12:00 ALWAYS_ON", "2026-11-11 12:00 begin", "2026-11-21 00:00 AUTO_STOP", "2026-12-01 02:30 pause"},
		from: "2026-11-01", to: "2027-01-01", per: "month",
		wants: map[string]money.USD{"2026-11-01": 9_750_000 + 2*300_000 + 22_750_000, "2026-12-01": 9_750_000 + 3*300_000},
	},
	{
		// On the 16th of 30 days at 00:00, half is left. 9.75 / 2 and 13 / 2 are 4.875 and 6.50; the volume grows from 50 to
		// 150 GiB at the same time, of which PERFORMANCE has 100: 50 × 0.10 / 2 = 2.50. December: 13 and 5.
		name: "resized in mid-month, with its volume", rule: price.SessionCeil, mode: price.AutoStop,
		life: []string{"2026-11-01 00:00 begin", "2026-11-01 00:00 pause", "2026-11-16 00:00 PERFORMANCE", "2026-11-16 00:00 user=150", "2026-12-02 00:00 settle"},
		from: "2026-11-01", to: "2027-01-01", per: "month",
		wants: map[string]money.USD{"2026-11-01": 4_875_000 + 6_500_000 + 2_500_000, "2026-12-01": 18_000_000},
	},
	{
		// A book with dearer prices takes effect on the 16th: what November's fees were sold for stays, 35 and, for the 100 GiB
		// beyond the included 50, 9.00. Later months begin with the book in force: 38.50 and 9.90.
		name: "dearer from the 16th, ALWAYS_ON with a volume", rule: price.SessionCeil, mode: price.AlwaysOn,
		life: []string{"2026-11-01 00:00 begin", "2026-11-01 00:00 user=150", "2026-11-16 00:00 dearer", "2027-01-02 00:00 end"},
		from: "2026-11-01", to: "2027-02-01", per: "month",
		wants: map[string]money.USD{"2026-11-01": 44_000_000, "2026-12-01": 48_400_000, "2027-01-01": 48_400_000},
	},
	{
		// Dearer from 22:00 on the last day. The session that began at 21:30 keeps its price until it ends at 01:00: 3 h 30 min,
		// four hours, of which three begin in November. The fee of December is 9.75 × 1.1, and so is the next session's hour.
		name: "dearer while it runs over a month's end", rule: price.SessionCeil, mode: price.AutoStop,
		life: []string{"2026-11-01 00:00 begin", "2026-11-01 00:00 pause", "2026-11-30 21:30 begin", "2026-11-30 22:00 dearer", "2026-12-01 01:00 pause", "2026-12-05 10:00 begin", "2026-12-05 10:30 pause"},
		from: "2026-11-01", to: "2027-01-01", per: "month",
		wants: map[string]money.USD{"2026-11-01": 9_750_000 + 3*300_000, "2026-12-01": 10_725_000 + 300_000 + 330_000},
	},
	{
		// A book that takes effect at the very instant at which a month begins is that month's. 10 % more, and 10 % of nothing else.
		name: "dearer from the first, twice", rule: price.SessionCeil, mode: price.AlwaysOn,
		life: []string{"2026-11-01 00:00 begin", "2026-12-01 00:00 dearer", "2026-12-20 00:00 dearer", "2027-01-15 00:00 end"},
		from: "2026-11-01", to: "2027-02-01", per: "month",
		wants: map[string]money.USD{"2026-11-01": 35_000_000, "2026-12-01": 38_500_000, "2027-01-01": 38_500_000},
	},
	{
		// Dearer in November; PERFORMANCE from the middle of December, 15.5 of 31 days: 9.75 × 1.1 / 2 = 5.3625 and
		// 13 × 1.1 / 2 = 7.15.
		name: "dearer, then resized", rule: price.SessionCeil, mode: price.AutoStop,
		life: []string{"2026-11-01 00:00 begin", "2026-11-01 00:00 pause", "2026-11-16 00:00 dearer", "2026-12-16 12:00 PERFORMANCE", "2026-12-20 00:00 settle"},
		from: "2026-11-01", to: "2027-01-01", per: "month",
		wants: map[string]money.USD{"2026-11-01": 9_750_000, "2026-12-01": 5_362_500 + 7_150_000},
	},
	{
		// From ALWAYS_ON to AUTO_STOP in November, which begins in December, by the book of December: 9.75 × 1.1.
		name: "sold ahead, and dearer when it begins", rule: price.SessionCeil, mode: price.AlwaysOn,
		life: []string{"2026-11-01 00:00 begin", "2026-11-10 00:00 AUTO_STOP", "2026-11-10 00:00 pause", "2026-11-16 00:00 dearer", "2026-12-02 00:00 settle"},
		from: "2026-11-01", to: "2027-01-01", per: "month",
		wants: map[string]money.USD{"2026-11-01": 35_000_000, "2026-12-01": 10_725_000},
	},
	{
		// A book without STANDARD: the fee goes on as it was, because the WorkSpace does.
		name: "a book that lacks the price", rule: price.SessionCeil, mode: price.AlwaysOn,
		life: []string{"2026-11-01 00:00 begin", "2026-11-16 00:00 lacking", "2027-01-02 00:00 end"},
		from: "2026-11-01", to: "2027-02-01", per: "month",
		wants: map[string]money.USD{"2026-11-01": 35_000_000, "2026-12-01": 35_000_000, "2027-01-01": 35_000_000},
	},
	{
		// In Berlin the 25th of October 2026 has 25 hours, from 22:00 UTC on the 24th until 23:00 UTC. It runs from 20:00 on
		// the 24th (18:00 UTC) until 02:00 on the 26th (01:00 UTC): 4, 25 and 2 hours.
		name: "a weekend of 49 hours", rule: price.SessionCeil, mode: price.AutoStop, zone: "Europe/Berlin",
		life: []string{"2026-10-01 00:00 begin", "2026-10-01 00:00 pause", "2026-10-24 18:00 begin", "2026-10-26 01:00 pause"},
		from: "2026-10-24", to: "2026-10-27", per: "day",
		wants: map[string]money.USD{"2026-10-24": 4 * 300_000, "2026-10-25": 25 * 300_000, "2026-10-26": 2 * 300_000},
	},
	{
		// The 28th of March 2027 has 23 hours there, from 23:00 UTC on the 27th until 22:00 UTC.
		name: "a weekend of 47 hours", rule: price.SessionCeil, mode: price.AutoStop, zone: "Europe/Berlin",
		life: []string{"2027-03-01 00:00 begin", "2027-03-01 00:00 pause", "2027-03-27 19:00 begin", "2027-03-29 00:00 pause"},
		from: "2027-03-27", to: "2027-03-30", per: "day",
		wants: map[string]money.USD{"2027-03-27": 4 * 300_000, "2027-03-28": 23 * 300_000, "2027-03-29": 2 * 300_000},
	},
}

func TestInvoicesWorkedOutByHand(t *testing.T) {
	for _, in := range invoices {
		for _, often := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, settled often %v", in.name, often), func(t *testing.T) { in.check(t, often) })
		}
	}
}

func (in invoice) check(t *testing.T, often bool) {
	t.Helper()
	first, _, _ := strings.Cut(in.life[0], " begin")
	r := setUp(t, at(first), in.rule)
	r.importTariff(t, in.rule, at(first))
	s := r.workspace(t, 0, "", in.mode)
	s.Spec.RootGiB, s.Spec.UserGiB = 80, 50
	runs := false
	for _, line := range in.life {
		when, what := at(line[:16]), line[17:]
		for often && r.clock.Now().Add(7*time.Hour).Before(when) {
			r.clock.Advance(7 * time.Hour)
			r.settle(t)
		}
		r.clock.Set(when)
		switch what {
		case "begin":
			runs = true
			r.begin(t, s)
		case "pause":
			runs = false
			r.pause(t, s)
		case "end":
			r.end(t, s)
		case "settle":
			r.settle(t)
		case "dearer":
			r.importTimes(t, in.rule, when, 110, "")
		case "lacking":
			r.importTimes(t, in.rule, when, 200, "STANDARD")
		case price.AlwaysOn, price.AutoStop:
			s.Spec.RunningMode = what
			r.switchTo(t, s, runs)
		case "PERFORMANCE", "STANDARD":
			s.Spec.ComputeType, s.Spec.UserGiB = what, max(100, s.Spec.UserGiB)
			r.switchTo(t, s, runs)
		default:
			if _, err := fmt.Sscanf(what, "user=%d", &s.Spec.UserGiB); err != nil {
				t.Fatal(err)
			}
			r.switchTo(t, s, runs)
		}
	}
	z := time.UTC
	if in.zone != "" {
		z = zone(t, in.zone)
	}
	day := func(text string) time.Time {
		d, err := time.ParseInLocation(time.DateOnly, text, z)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	q := cost.Query{From: day(in.from), To: day(in.to), Zone: z, Granularity: in.per, GroupBy: "workspace"}
	periods, err := q.Periods()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]money.USD{}
	for _, sum := range r.sums(t, q) {
		for i, p := range sum.Periods {
			got[periods[i].In(z).Format(time.DateOnly)] = p.Total()
		}
	}
	for d, amount := range in.wants {
		want(t, d, got[d], amount)
	}
	var all, whole money.USD
	for _, amount := range in.wants {
		whole += amount
	}
	for _, amount := range got {
		all += amount
	}
	want(t, "all of it", all, whole)
	for n := 1; n > 0; {
		n = r.settle(t)
	}
	if again := r.periods(t, q); !maps.Equal(again, got) {
		t.Errorf("settled it is %v, before it was %v", again, got)
	}
	r.explained(t, s.Workspace)
}

// periods is what a summary of one WorkSpace has by day.
func (r *room) periods(t *testing.T, q cost.Query) map[string]money.USD {
	t.Helper()
	starts, err := q.Periods()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]money.USD{}
	for _, sum := range r.sums(t, q) {
		for i, p := range sum.Periods {
			out[starts[i].In(q.Zone).Format(time.DateOnly)] = p.Total()
		}
	}
	return out
}

// explained checks that a WorkSpace's timeline comes to what it costs, and says why.
func (r *room) explained(t *testing.T, ws id.WorkSpace) {
	t.Helper()
	facts, total, err := cost.Timeline(t.Context(), r.Pool, ws, cost.Query{}, time.Time{}, "", 100, r.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	var sum money.USD
	for _, f := range facts {
		sum += f.Total()
		t.Logf("%s %s: %s", f.Item, f.Total(), f.Explain())
		if f.Explain() == "" {
			t.Errorf("%s is not explained", f.ID)
		}
		var posted money.USD
		for _, p := range f.Postings {
			posted += p.Total()
			t.Logf("    %s: %s", p.Total(), p.Explain())
		}
		if f.Kind != "running" && posted != f.SettledMicros {
			t.Errorf("the postings of %s come to %s of %s", f.ID, posted, f.SettledMicros)
		}
	}
	want(t, "the timeline", sum, r.toDate(t, ws))
	want(t, "its total", total, sum)
}

// What is settled twice by mistake, the database refuses: a usage has one record for each slice.
func TestASliceHasOneRecord(t *testing.T) {
	r := setUp(t, at("2026-11-01 00:00"), price.SessionCeil)
	s := r.workspace(t, 0, "", price.AlwaysOn)
	r.begin(t, s)
	r.Exec(t, `UPDATE usage SET settled_until = opened_at, settled_micros = 0, due_at = opened_at`)
	err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error { _, err := r.meter.Settle(ctx, tx, 10); return err })
	if err == nil || !strings.Contains(err.Error(), "cost_records_slice_uq") {
		t.Errorf("settled twice: %v", err)
	}
	want(t, "settled", r.settled(t, s.Workspace), 35_000_000)
}
