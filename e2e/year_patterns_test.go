package e2e

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/schedule"
	"github.com/robco-forge/forge/internal/workspace"
)

// inhabitant is somebody who has one WorkSpace in the year, and all that they will do with it.
type inhabitant struct {
	name    string
	pattern string
	who     actor.Actor

	launch  time.Time
	request workspace.Request
	plan    []deed

	// What goes wrong at Amazon's with their WorkSpace.
	autoStopFails, statusMissing, statusStale bool

	ws       id.WorkSpace
	provider string
	asked    []deed // what Forge was asked for, and did
	rng      *rand.Rand
	from, to time.Time
	seconds  time.Duration // after the full minute they do what they do
}

// deed is something that a user does at a time, to Amazon with their client or to Forge.
type deed struct {
	at    time.Time
	do    string
	until time.Time // connect: when the client goes away again
	n     int       // extend: hours; lifetime: days
	to    string    // change: the running mode or the bundle
	act   func(ctx context.Context)
}

func (p *inhabitant) does(at time.Time, d deed) {
	if at.Before(p.launch.Add(time.Hour)) || !at.Before(p.to) {
		return
	}
	d.at = at.Truncate(time.Minute).Add(p.seconds)
	p.plan = append(p.plan, d)
}

// session is a client that is connected for a time. Some press start in Forge first.
func (p *inhabitant) session(at time.Time, lasts time.Duration) {
	at, until := at.Truncate(time.Minute), at.Add(lasts).Truncate(time.Minute)
	p.does(at, deed{do: "connect", until: until})
	p.does(until, deed{do: "disconnect"})
}

// minutes is a span between two, in minutes.
func (p *inhabitant) minutes(from, to int) time.Duration {
	return time.Duration(from+p.rng.IntN(to-from+1)) * time.Minute
}

// days calls each for every day from the launch on, or from a later one, until an end.
func (p *inhabitant) days(from, to time.Time, each func(midnight time.Time)) {
	for at := from.Truncate(day); at.Before(to) && at.Before(p.to); at = at.Add(day) {
		each(at)
	}
}

func weekday(t time.Time) bool { return t.Weekday() != time.Saturday && t.Weekday() != time.Sunday }

// office works on weekdays, in one stretch or in two, but for two weeks of holidays now and then.
func (p *inhabitant) office(from, to time.Time, share float64) {
	holiday := from.Add(p.minutes(30*24*60, 120*24*60))
	p.days(from, to, func(d time.Time) {
		if d.After(holiday.Add(14 * day)) {
			holiday = d.Add(p.minutes(90*24*60, 150*24*60))
		}
		if !weekday(d) || d.After(holiday) || p.rng.Float64() > share {
			return
		}
		begin := d.Add(p.minutes(7*60, 9*60+30))
		if p.rng.IntN(10) < 6 {
			p.session(begin, p.minutes(120, 200))
			p.session(begin.Add(p.minutes(230, 330)), p.minutes(100, 220))
			return
		}
		if p.rng.IntN(10) < 3 {
			p.does(begin.Add(-5*time.Minute), deed{do: "start"})
		}
		p.session(begin, p.minutes(240, 500))
	})
}

// sometimes works on one day of every second, fourth or eighth week.
func (p *inhabitant) sometimes(from, to time.Time) {
	on, every := p.rng.IntN(56), []int{14, 28, 28, 56}[p.rng.IntN(4)]
	p.days(from, to, func(d time.Time) {
		if (int(d.Unix()/86400)+on)%every == 0 {
			p.session(d.Add(p.minutes(8*60, 17*60)), p.minutes(20, 300))
		}
	})
}

// patterns are the kinds of people, with how many of a thousand are of each. Each gives one a plan.
var patterns = []struct {
	name  string
	share int
	plan  func(p *inhabitant)
}{
	{"office worker", 8, func(p *inhabitant) { p.office(p.launch, p.to, 0.9) }},
	{"night owl across midnight and month ends", 9, func(p *inhabitant) {
		p.days(p.launch, p.to, func(d time.Time) {
			if p.rng.IntN(7) < 4 || d.Add(day).Day() == 1 {
				p.session(d.Add(p.minutes(20*60, 23*60+30)), p.minutes(60, 420))
			}
		})
	}},
	{"a day every few weeks", 160, func(p *inhabitant) { p.sometimes(p.launch, p.to) }},
	{"a few minutes now and then", 60, func(p *inhabitant) {
		for at := p.launch.Add(day); at.Before(p.to); at = at.Add(p.minutes(5*24*60, 25*24*60)) {
			p.session(at, p.minutes(1, 12))
		}
	}},
	{"abandons it", 170, func(p *inhabitant) { p.office(p.launch, p.launch.Add(p.minutes(7*24*60, 50*24*60)), 0.3) }},
	{"abandons it, kept alive", 45, func(p *inhabitant) {
		p.request.KeepAlive = true
		p.office(p.launch, p.launch.Add(p.minutes(7*24*60, 40*24*60)), 0.3)
	}},
	{"back the day before its end", 70, func(p *inhabitant) { p.comesBack() }},
	{"keeps it alive once it is flagged", 30, func(p *inhabitant) {
		last := p.launch.Add(p.minutes(5*24*60, 30*24*60))
		p.session(last, 2*time.Hour)
		p.does(last.Add(33*day), deed{do: "keep alive"})
	}},
	{"ALWAYS_ON", 60, func(p *inhabitant) {
		p.request.RunningMode, p.request.BundleType = "ALWAYS_ON", []string{"STANDARD", "PERFORMANCE", "POWER"}[p.rng.IntN(3)]
		p.sometimes(p.launch, p.to)
	}},
	{"has a lifetime", 130, func(p *inhabitant) {
		p.lives(20, 300)
		p.sometimes(p.launch, p.to)
	}},
	{"has a lifetime that a lead extends", 50, func(p *inhabitant) {
		days := p.lives(20, 100)
		more := 30 + p.rng.IntN(31)
		p.sometimes(p.launch, p.to)
		p.does(p.launch.Add(time.Duration(days-3)*day), deed{do: "lifetime", n: days + more})
	}},
	{"has a lifetime and keep-alive", 15, func(p *inhabitant) {
		p.lives(20, 90)
		p.request.KeepAlive = true
	}},
	{"has a schedule", 8, func(p *inhabitant) { p.scheduled() }},
	{"extends its idle time", 12, func(p *inhabitant) {
		p.days(p.launch, p.to, func(d time.Time) {
			if !weekday(d) || p.rng.IntN(2) == 0 {
				return
			}
			begin, lasts := d.Add(p.minutes(8*60, 11*60)), p.minutes(60, 300)
			p.session(begin, lasts)
			if p.rng.IntN(2) == 0 {
				p.does(begin.Add(lasts-10*time.Minute), deed{do: "extend", n: 1 + p.rng.IntN(6)})
			}
		})
	}},
	{"connected for days", 20, func(p *inhabitant) {
		for at := p.launch.Add(p.minutes(60, 3*24*60)); at.Before(p.to); at = at.Add(p.minutes(14*24*60, 40*24*60)) {
			p.session(at, p.minutes(30*60, 80*60))
		}
	}},
	{"Amazon does not know who is connected", 15, func(p *inhabitant) {
		p.statusMissing = true
		p.recently()
		p.sometimes(p.launch, p.to)
	}},
	{"AutoStop fails", 25, func(p *inhabitant) {
		p.autoStopFails = true
		p.sometimes(p.launch, p.to)
	}},
	{"AutoStop fails, and Amazon does not know who is connected", 10, func(p *inhabitant) {
		p.autoStopFails, p.statusMissing = true, true
		p.recently()
		p.stopsByHand()
	}},
	{"AutoStop fails, and Amazon's word about connections is old", 10, func(p *inhabitant) {
		p.autoStopFails, p.statusStale = true, true
		p.recently()
		p.stopsByHand()
	}},
	{"switches its running mode", 35, func(p *inhabitant) {
		p.office(p.launch, p.to, 0.08)
		mode := "ALWAYS_ON"
		for at := p.launch.Add(p.minutes(5*24*60, 30*24*60)); at.Before(p.to); at = at.Add(p.minutes(10*24*60, 60*24*60)) {
			p.does(at, deed{do: "mode", to: mode})
			mode = map[string]string{"ALWAYS_ON": "AUTO_STOP", "AUTO_STOP": "ALWAYS_ON"}[mode]
		}
	}},
	{"changes its bundle", 35, func(p *inhabitant) {
		p.office(p.launch, p.to, 0.08)
		sizes := []string{"PERFORMANCE", "STANDARD", "POWER", "PERFORMANCE", "STANDARD"}
		for i, at := 0, p.launch.Add(p.minutes(5*24*60, 30*24*60)); at.Before(p.to); i, at = i+1, at.Add(p.minutes(32*24*60, 70*24*60)) {
			p.does(at, deed{do: "bundle", to: sizes[i%len(sizes)]})
		}
	}},
	{"terminates it", 45, func(p *inhabitant) {
		last := p.launch.Add(p.minutes(10*24*60, 200*24*60))
		p.sometimes(p.launch, last)
		if p.rng.IntN(3) == 0 { // just before a month ends: it is gone only in the next
			last = time.Date(last.Year(), last.Month()+1, 1, 0, 0, 0, 0, time.UTC).Add(-p.minutes(1, 4))
		}
		p.does(last, deed{do: "terminate"})
	}},
}

// recently launches it not long before the end: what nobody knows of is asked about again and again, for as long as it is.
func (p *inhabitant) recently() {
	if last := p.to.Add(-p.minutes(50*24*60, 90*24*60)).Truncate(time.Minute); last.After(p.launch) {
		p.launch = last
	}
}

// lives gives it a lifetime of some days, most of which end within the time.
func (p *inhabitant) lives(from, to int) int {
	to = max(from, min(to, int(p.to.Sub(p.launch)/day)-1))
	days := from + p.rng.IntN(to-from+1)
	p.request.MaxLifetimeDays = &days
	return days
}

// comesBack uses it again when it is about to be ended for being unused, twice, and then never more.
func (p *inhabitant) comesBack() {
	at := p.launch.Add(p.minutes(3*24*60, 20*24*60))
	for range 3 {
		if p.rng.IntN(2) == 0 {
			p.does(at.Add(-4*time.Minute), deed{do: "start"})
		}
		lasts := p.minutes(1, 120)
		if p.rng.IntN(2) == 0 {
			lasts = p.minutes(1, 12) // so short that Forge does not look who is connected
		}
		p.session(at, lasts)
		at = at.Add(lasts + 36*day + p.minutes(2*60, 20*60)) // stopped an hour later, flagged 30 days later, ended 7 days later
	}
}

// scheduled has it started and stopped on weekdays, in a zone with summer time. They use it on most of these days, some
// until after the stop, and some days before the start.
func (p *inhabitant) scheduled() {
	zone := []string{"Europe/Berlin", "America/New_York"}[p.rng.IntN(2)]
	s, err := schedule.Parse(zone, "start 08:30 MON-FRI", "stop 18:00 MON-FRI")
	if err != nil {
		panic(err)
	}
	p.request.Schedule = &s
	p.seconds = 20 * time.Second // so that Amazon's timer and the schedule do not stop it at one instant, and either may be first
	loc, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	p.days(p.launch, p.to, func(d time.Time) {
		local := time.Date(d.Year(), d.Month(), d.Day(), 0, 0, 0, 0, loc)
		if !weekday(d) || p.rng.IntN(10) < 3 {
			return
		}
		begin := local.Add(p.minutes(8*60+31, 10*60))
		if p.rng.IntN(10) == 0 {
			begin = local.Add(p.minutes(7*60, 8*60)) // before it is started
		}
		p.session(begin, p.minutes(60, 600))
	})
}

// stopsByHand uses it now and then and stops it in Forge a day later, because nobody else does.
func (p *inhabitant) stopsByHand() {
	for at := p.launch.Add(p.minutes(24*60, 4*24*60)); at.Before(p.to); at = at.Add(p.minutes(7*24*60, 20*24*60)) {
		p.session(at, p.minutes(30, 300))
		p.does(at.Add(p.minutes(24*60, 40*60)), deed{do: "stop"})
	}
}

// populate makes so many people and their plans for the time, the same for the same seed.
func populate(n int, seed uint64, from, to time.Time) []*inhabitant {
	total := 0
	for _, k := range patterns {
		total += k.share
	}
	var all []*inhabitant
	taken := 0
	for i, k := range patterns {
		taken += k.share
		until := n * taken / total
		if i < len(patterns)-1 {
			until = min(max(until, len(all)+1), n-(len(patterns)-1-i))
		}
		for len(all) < until {
			p := &inhabitant{name: fmt.Sprintf("y%04d", len(all)), pattern: k.name, rng: rand.New(rand.NewPCG(seed, uint64(len(all)))), from: from, to: to}
			p.request = workspace.Request{Blueprint: "year", Name: p.name}
			// Most are there in the first month; the others come all through the year.
			p.launch = from.Add(time.Duration(p.rng.Int64N(int64(30 * day))))
			if p.rng.IntN(10) < 4 {
				p.launch = from.Add(time.Duration(p.rng.Int64N(int64(to.Sub(from)) * 9 / 10)))
			}
			p.launch = p.launch.Truncate(time.Minute)
			k.plan(p)
			slices.SortStableFunc(p.plan, func(a, b deed) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
			p.plan = slices.Insert(p.plan, 0, deed{at: p.launch, do: "launch"})
			all = append(all, p)
		}
	}
	return all
}
