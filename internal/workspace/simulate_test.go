package workspace

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/price"
)

// hourlyRates is a WorkSpace's price of 10 USD a month and 1 USD an hour that has begun.
var hourlyRates = price.Rates{Month: price.Price{Amount: 10 * money.Dollar}, Hour: &price.Price{Amount: money.Dollar}, Rule: price.SessionCeil}

// monthlyRates is the price of one that is ALWAYS_ON.
var monthlyRates = price.Rates{Month: price.Price{Amount: 35 * money.Dollar}, Rule: price.SessionCeil}

// usedDaily is that somebody used it each day for four weeks until base, for some hours from an hour of the day on.
func usedDaily(hour int, hours time.Duration) pattern {
	var ran []stretch
	for d := range 28 {
		from := time.Date(2026, 10, 26+d, hour, 0, 0, 0, time.UTC)
		ran = append(ran, stretch{from, from.Add(hours)})
	}
	return patternOf(ran, base.Add(-100*day), base)
}

var nobody = pattern{every: patternTime}

func old(w *WorkSpace) { w.CreatedAt = base.Add(-100 * day) }

func disconnectedSince(d time.Duration) func(*WorkSpace) {
	return func(w *WorkSpace) { w.Connection, w.LastConnectedAt = "DISCONNECTED", atp(d) }
}

func (f foreseen) lines() (all []string) {
	for _, d := range f.deeds {
		all = append(all, fmt.Sprintf("%s %s %s", d.Policy, d.Action, d.At.Sub(base)))
	}
	return all
}

// TestForesee is what the rules would do to one WorkSpace, and save. base is Monday, 2026-11-23 09:00.
func TestForesee(t *testing.T) {
	const hour, minute = time.Hour, time.Minute
	until := at(5 * hour)
	for _, c := range []struct {
		name          string
		w             *WorkSpace
		days          int
		p             pattern
		rates         price.Rates
		pauses        Pauses
		want          []string
		without, with money.USD // in dollars
		saved         map[Policy]money.USD
	}{
		{name: "nobody uses it: Amazon's timer stops it", w: runs(), days: 2, p: nobody, rates: hourlyRates, without: 1, with: 1},
		{name: "ALWAYS_ON is exempt, and pays its month", w: runs(alwaysOn), days: 9, p: nobody, rates: monthlyRates, without: 35, with: 35},
		{
			name: "a lifetime ends within the month", w: runs(alwaysOn, lives(7)), days: 10, p: nobody, rates: monthlyRates,
			want: []string{"lifetime notice 144h0m0s", "lifetime notice 167h0m0s", "lifetime terminate 168h0m0s"}, without: 35, saved: map[Policy]money.USD{PolicyLifetime: 35},
		},
		{
			name: "and after it has begun: its fee is owed", w: runs(alwaysOn, lives(8)), days: 10, p: nobody, rates: monthlyRates,
			want: []string{"lifetime notice 24h0m0s", "lifetime notice 168h0m0s", "lifetime notice 191h0m0s", "lifetime terminate 192h0m0s"}, without: 35, with: 35,
		},
		{name: "forgotten", w: runs(old, stoppedFor(-29*day)), days: 10, p: nobody, rates: hourlyRates, want: []string{"stale flag 24h0m0s", "stale notice 168h0m0s", "stale terminate 192h0m0s"}, without: 10, with: 10},
		{name: "forgotten and kept alive", w: runs(old, stoppedFor(-29*day), keptAlive), days: 10, p: nobody, rates: hourlyRates, want: []string{"stale flag 24h0m0s"}, without: 10, with: 10},
		{name: "used daily: never idle, never forgotten", w: runs(old, stoppedFor(-14*hour)), days: 60, p: usedDaily(10, 3*hour), rates: hourlyRates, without: 20 + 60*3, with: 20 + 60*3},
		{
			name: "used daily, and flagged: it is not forgotten", w: runs(old, stoppedFor(-40*day), staleSince(-2*day)), days: 9, p: usedDaily(10, 3*hour), rates: hourlyRates, without: 10 + 27, with: 10 + 27,
		},
		{
			name: "a schedule stops what would run on", w: runs(old, stoppedFor(-14*hour), follows(t, 0, "stop 12:00 DAILY")), days: 2, p: usedDaily(10, 6*hour), rates: hourlyRates,
			want:    []string{"schedule notice 2h45m0s", "schedule stop 3h0m0s", "schedule notice 26h45m0s", "schedule stop 27h0m0s"},
			without: 12, with: 4, saved: map[Policy]money.USD{PolicySchedule: 8},
		},
		{
			name: "a start costs, and Amazon's timer ends it", w: runs(old, stoppedFor(-14*hour), follows(t, 0, "start 10:00 MON")), days: 2, p: nobody, rates: hourlyRates,
			want: []string{"schedule start 1h0m0s"}, with: 1, saved: map[Policy]money.USD{PolicySchedule: -1},
		},
		{
			name: "it runs at an hour when nobody uses it: its user leaves", w: runs(old), days: 1, p: usedDaily(12, 3*hour), rates: hourlyRates, without: 4, with: 4,
		},
		{
			name: "its user has left, and Amazon's timer has failed", w: runs(old, func(w *WorkSpace) { w.StateSince = at(-9 * hour) }, disconnectedSince(-8*hour)), days: 1, p: usedDaily(12, 3*hour), rates: hourlyRates,
			want: []string{"idle stop 0s"}, without: 6, with: 3, saved: map[Policy]money.USD{PolicyIdle: 3},
		},
		{
			name: "the same, paused for five hours", w: runs(old, func(w *WorkSpace) { w.StateSince = at(-9 * hour) }, disconnectedSince(-8*hour)), days: 1, p: nobody, rates: hourlyRates,
			pauses: Pauses{{Target: AllStops, Reason: "x", Until: &until}}, want: []string{"idle stop 5h0m0s"}, without: 24, with: 5, saved: map[Policy]money.USD{PolicyIdle: 19},
		},
		{
			name: "the same, paused for good", w: runs(old, func(w *WorkSpace) { w.StateSince = at(-9 * hour) }, disconnectedSince(-8*hour)), days: 1, p: nobody, rates: hourlyRates, pauses: Pauses{{Target: AllStops, Reason: "x"}}, without: 24, with: 24,
		},
		{
			name: "an end that was paused: the last notice, and an hour", w: runs(old, stoppedFor(-day), lives(100)), days: 1, p: nobody, rates: hourlyRates,
			pauses: Pauses{{Target: AllTerminations, Reason: "x", Until: &until}}, want: []string{"lifetime notice 5h0m0s", "lifetime terminate 6h0m0s"},
		},
		{name: "one that is being stopped", w: runs(old, want(WantStopped), in(Stopping, -minute)), days: 1, p: nobody, rates: hourlyRates},
		{name: "one that is being made pays its first month", w: row(func(w *WorkSpace) { w.RunningMode = price.AlwaysOn }), days: 1, p: nobody, rates: price.Rates{Month: price.Price{Amount: 30 * 24 * money.Dollar}}, without: 183, with: 183},
		{name: "to be ended already", w: runs(old, lives(1), want(WantTerminated)), days: 40, p: nobody, rates: hourlyRates},
		{name: "without a price", w: runs(func(w *WorkSpace) { w.StateSince = at(-9 * hour) }, disconnectedSince(-8*hour)), days: 2, p: nobody, want: []string{"idle stop 0s"}},
		{name: "an extension holds", w: runs(old, extendedUntil(4*hour)), days: 1, p: nobody, rates: hourlyRates, without: 4, with: 4},
		{
			name: "it runs for days, and its user comes back the day after each stop", w: runs(old, follows(t, 0, "stop 15:00 DAILY")), days: 3,
			p: patternOf([]stretch{{base.Add(-patternTime), base}}, base.Add(-100*day), base), rates: hourlyRates,
			want: []string{
				"schedule notice 5h45m0s", "schedule stop 6h0m0s", "schedule notice 29h45m0s", "schedule stop 30h0m0s",
				"schedule notice 53h45m0s", "schedule stop 54h0m0s",
			},
			without: 72, with: 18, saved: map[Policy]money.USD{PolicySchedule: 54},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := *c.w
			got, err := c.w.foresee(t.Context(), base, at(time.Duration(c.days)*day), c.p, c.rates, c.pauses)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got.lines()); d != "" {
				t.Error(d)
			}
			for p, u := range c.saved {
				c.saved[p] = u * money.Dollar
			}
			if d := cmp.Diff(c.saved, got.saved); d != "" || got.without != c.without*money.Dollar || got.with != c.with*money.Dollar {
				t.Errorf("costs %s without and %s with them: %s", got.without, got.with, d)
			}
			for _, d := range got.deeds {
				if d.Why == "" {
					t.Errorf("%s %s does not say why", d.Policy, d.Action)
				}
			}
			if d := cmp.Diff(before, *c.w); d != "" {
				t.Errorf("the row was changed: %s", d)
			}
		})
	}
}

func TestAPatternRepeatsWhatRan(t *testing.T) {
	ago := func(d time.Duration) time.Time { return base.Add(-d) }
	const hour = time.Hour
	for _, c := range []struct {
		name    string
		ran     []stretch
		created time.Time
		after   time.Duration
		want    []string
	}{
		{"nothing", nil, ago(90 * day), 0, nil},
		{"an hour a week ago", []stretch{{ago(7 * day), ago(7*day - hour)}}, ago(90 * day), 0, []string{"504h0m0s on", "505h0m0s off", "1176h0m0s on", "1177h0m0s off"}},
		{"it is a week old", []stretch{{ago(6 * day), ago(6*day - hour)}}, ago(7 * day), 0, []string{"24h0m0s on", "25h0m0s off", "192h0m0s on", "193h0m0s off"}},
		{"it is a bit older", []stretch{{ago(6 * day), ago(6*day - hour)}}, ago(7*day + hour), 0, []string{"192h0m0s on", "193h0m0s off", "528h0m0s on", "529h0m0s off"}},
		{"it is younger", []stretch{{ago(2 * hour), ago(hour)}}, ago(3 * hour), 0, []string{"166h0m0s on", "167h0m0s off", "334h0m0s on", "335h0m0s off"}},
		{"its size was changed meanwhile", []stretch{{ago(6 * day), ago(5 * day)}, {ago(5 * day), ago(4 * day)}}, ago(7 * day), 0, []string{"24h0m0s on", "48h0m0s on", "72h0m0s off", "192h0m0s on"}},
		{"it runs on", []stretch{{ago(7 * day), ago(6 * day)}, {ago(day), base}}, ago(7 * day), 0, []string{"24h0m0s off", "144h0m0s on", "168h0m0s on", "192h0m0s off"}},
		{"it has always run", []stretch{{ago(7 * day), base}}, ago(7 * day), 0, []string{"24h0m0s on", "48h0m0s on", "72h0m0s on", "96h0m0s on"}},
		{"it ran for no time at all", []stretch{{ago(day), ago(day)}}, ago(90 * day), 0, nil},
		{"asked in the middle", []stretch{{ago(7 * day), ago(7*day - hour)}}, ago(7 * day), 200 * day, []string{"4872h0m0s on", "4873h0m0s off", "5040h0m0s on", "5041h0m0s off"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := patternOf(c.ran, c.created, base)
			var got []string
			for now, n := at(c.after), 0; n < 4; n++ {
				next, on, ok := p.next(base, now)
				if !ok {
					break
				}
				word := "off"
				if on {
					word = "on"
				}
				got, now = append(got, fmt.Sprintf("%s %s", next.Sub(base), word)), next
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestMaintenanceIsNoUse(t *testing.T) {
	ran := []stretch{{at(-20 * day), at(-20*day + time.Hour)}, {at(-10 * day), at(-10*day + 2*time.Hour)}}
	for _, c := range []struct {
		name string
		w    *WorkSpace
		want int
	}{
		{"it runs", runs(old), 2},
		{"it was stopped after both", runs(old, stoppedFor(-9*day)), 2},
		{"it was stopped between them, and maintained", runs(old, stoppedFor(-20*day+time.Hour)), 1},
		{"it was stopped before, and is maintained", runs(old, stoppedFor(-25*day), in(Maintenance, -day)), 0},
	} {
		if got := c.w.used(slices.Clone(ran)); len(got) != c.want {
			t.Errorf("%s: used in %v", c.name, got)
		}
	}
}

func TestWhatIsUnderWaySettles(t *testing.T) {
	asked := func(a action) func(*WorkSpace) { return func(w *WorkSpace) { w.Asked = string(a) } }
	for _, c := range []struct {
		w    *WorkSpace
		want State
	}{
		{row(), Available},
		{row(want(WantStopped)), Stopped},
		{runs(), Available},
		{runs(want(WantStopped)), Available}, // somebody has logged in
		{runs(want(WantStopped), asked(stop)), Stopped},
		{runs(in(Starting, 0)), Available},
		{runs(in(Stopping, 0)), Stopped}, // by Amazon's timer
		{runs(in(Stopping, 0), asked(start)), Available},
		{runs(stoppedFor(0)), Stopped},
		{runs(stoppedFor(0), want(WantAvailable), asked(start)), Available},
		{runs(in(Rebooting, 0)), Available},
		{runs(in(Rebuilding, 0), want(WantStopped), asked(stop)), Stopped},
		{runs(in(Suspended, 0)), Available},
		{runs(stoppedFor(-day), in(Maintenance, 0)), Stopped},
		{runs(in(Maintenance, 0)), Available},
		{runs(in(Impaired, 0)), Impaired},
		{runs(in(Conflict, 0)), Conflict},
	} {
		if got := c.w.settles(); got != c.want {
			t.Errorf("%s, wanted %s, asked to %q: it settles as %s", c.w.State, c.w.Desired, c.w.Asked, got)
		}
	}
}

// aPattern is some use in the weeks until base.
func aPattern(t *rapid.T) pattern {
	var ran []stretch
	for end, n := base.Add(-patternTime), rapid.IntRange(0, 40).Draw(t, "stretches"); n > 0 && end.Before(base); n-- {
		from := end.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "pause")) * time.Minute)
		end = from.Add(time.Duration(rapid.IntRange(1, 2000).Draw(t, "runs")) * time.Minute)
		if end.After(base) {
			end = base
		}
		if from.Before(end) {
			ran = append(ran, stretch{from, end})
		}
	}
	return patternOf(ran, base.Add(-time.Duration(rapid.IntRange(1, 60).Draw(t, "age"))*day), base)
}

// somebodys is a WorkSpace in the middle of its life.
func somebodys(t *rapid.T) *WorkSpace {
	w := someRow(t)
	w.CreatedAt = base.Add(-time.Duration(rapid.IntRange(0, 50).Draw(t, "hours ago")) * time.Hour)
	since := time.Duration(rapid.IntRange(-45*24, 0).Draw(t, "since")) * time.Hour
	rapid.SampledFrom([]func(*WorkSpace){
		ran, func(w *WorkSpace) { ran(w); stoppedFor(since)(w) },
		func(w *WorkSpace) { ran(w); stoppedFor(since - 30*day)(w); staleSince(since)(w) },
		func(w *WorkSpace) { ran(w); disconnectedSince(since)(w) },
		func(w *WorkSpace) { ran(w); want(WantStopped)(w); in(Stopping, 0)(w) },
		func(*WorkSpace) {},
	}).Draw(t, "state")(&w)
	if s := rapid.SampledFrom(someSchedules).Draw(t, "schedule"); s != nil {
		w.Schedule, w.ScheduledThrough = s, atp(0)
	}
	return &w
}

func somePauses(t *rapid.T) (all Pauses) {
	for _, target := range []string{AllStops, AllTerminations, "schedule"} {
		switch rapid.IntRange(0, 4).Draw(t, target+" paused") {
		case 0:
			all = append(all, Pause{Target: target, Reason: "x"})
		case 1:
			all = append(all, Pause{Target: target, Reason: "x", Until: atp(time.Duration(rapid.IntRange(1, 500).Draw(t, "hours")) * time.Hour)})
		}
	}
	return all
}

// everything holds every policy back.
func everything() (all Pauses) {
	for _, p := range Policies {
		all = append(all, Pause{Target: string(p), Reason: "x"})
	}
	return all
}

func TestWhatIsForeseenAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, p, pauses := somebodys(t), aPattern(t), somePauses(t)
		days := rapid.IntRange(1, 120).Draw(t, "days")
		rates := hourlyRates
		rates.Rule = rapid.SampledFrom([]price.HourRule{price.SessionCeil, price.ClockHour, price.Second}).Draw(t, "rule")
		if w.RunningMode == price.AlwaysOn {
			rates = monthlyRates
		}
		foresee := func(days int, pauses Pauses) foreseen {
			f, err := w.foresee(t.Context(), base, at(time.Duration(days)*day), p, rates, pauses)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		all := foresee(days, pauses)
		var sum money.USD
		for policy, saved := range all.saved {
			if policy == "" {
				t.Errorf("%s is saved by nothing", saved)
			}
			sum += saved
		}
		if sum != all.without-all.with {
			t.Errorf("the policies save %s, and the difference of %s and %s is another", sum, all.without, all.with)
		}
		if idle := foresee(days, everything()); len(idle.deeds) > 0 || idle.with != idle.without || idle.without != all.without {
			t.Errorf("with everything paused: %v, %s and %s", idle.lines(), idle.without, idle.with)
		}
		if !slices.IsSortedFunc(all.deeds, func(a, b SimulatedDeed) int { return a.At.Compare(b.At) }) {
			t.Errorf("not in their order: %v", all.lines())
		}
		// The days one by one are the days at once.
		fewer := rapid.IntRange(1, days).Draw(t, "fewer days")
		first := foresee(fewer, pauses)
		n := 0
		for _, d := range all.deeds {
			if d.At.Before(at(time.Duration(fewer) * day)) {
				n++
			}
		}
		if d := cmp.Diff(all.deeds[:n], first.deeds); d != "" && n+len(first.deeds) > 0 {
			t.Error(d)
		}
		for i, d := range all.deeds {
			if pauses.why(d.Policy, deed(d.Action), d.At) != "" {
				t.Errorf("%s %s is paused at %s", d.Policy, d.Action, d.At)
			}
			if d.Action == string(doTerminate) {
				notice := func(o SimulatedDeed) bool {
					return o.Policy == d.Policy && o.Action == string(doNotice) && !o.At.After(d.At.Add(-lastNotice))
				}
				if i != len(all.deeds)-1 || !slices.ContainsFunc(all.deeds, notice) {
					t.Errorf("it ends without a notice, or something happens after its end: %v", strings.Join(all.lines(), ", "))
				}
			}
		}
	})
}
