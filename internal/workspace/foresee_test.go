package workspace

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/schedule"
)

// routine is what its user does, week by week: nothing without days.
type routine struct {
	days  []time.Weekday
	hours time.Duration // for how long each day
}

// live lets time pass, with what its user does in it: they come at 10:10.
func (m *machine) live(r routine, until time.Time) {
	a := &m.amazon
	for m.now.Before(until) {
		midnight := m.now.Truncate(day)
		comes := midnight.Add(10*time.Hour + 10*time.Minute)
		next := midnight.Add(day)
		for _, at := range []time.Time{comes.Add(r.hours), comes, until} {
			if at.After(m.now) && at.Before(next) {
				next = at
			}
		}
		m.pass(next.Sub(m.now))
		switch {
		case !slices.Contains(r.days, m.now.Weekday()) || a.state == "":
		case m.now.Equal(comes):
			if a.state == "STOPPED" {
				a.start(m.now, "login")
			}
			a.connected = true
		case m.now.Equal(comes.Add(r.hours)) && a.connected:
			a.connected, a.lastSeen = false, &next
		}
		m.remember()
	}
}

// lately is when it ran in the time that makes the pattern.
func (m *machine) lately() (ran []stretch) {
	for _, r := range m.ran {
		if r.until.IsZero() {
			r.until = m.now
		}
		if r.until.After(m.now.Add(-patternTime)) {
			ran = append(ran, r)
		}
	}
	return ran
}

// TestWhatIsForeseenIsWhatTheRulesDo lets a WorkSpace live for four weeks with Amazon and its user, foresees the time after
// them, and lets it live on: the rules do that, and nothing else.
func TestWhatIsForeseenIsWhatTheRulesDo(t *testing.T) {
	daily := func(action schedule.Action, at string) *schedule.Schedule {
		return &schedule.Schedule{Zone: "UTC", Entries: []schedule.Entry{{Action: action, At: at, Days: weekdays}}}
	}
	schedules := []*schedule.Schedule{nil, nil, someSchedules[1], daily(schedule.Stop, "12:30"), daily(schedule.Start, "09:20")}
	rapid.Check(t, func(t *rapid.T) {
		user := rapid.SampledFrom([]routine{
			{}, {days: []time.Weekday{1, 2, 3, 4, 5}, hours: 4 * time.Hour}, {days: []time.Weekday{0, 1, 2, 3, 4, 5, 6}, hours: 8 * time.Hour}, {days: []time.Weekday{3}, hours: 2 * time.Hour},
		}).Draw(t, "user")
		w := row(func(w *WorkSpace) {
			w.WishReason, w.RunningMode, w.BundleType, w.AutoStopTimeoutMinutes = "user", price.AutoStop, "STANDARD", ptr(60)
			w.CreatedAt = base.Add(-210 * time.Minute)
			w.KeepAlive = rapid.IntRange(0, 3).Draw(t, "keep alive") == 0
			if days := rapid.SampledFrom([]int{0, 0, 40, 60, 90}).Draw(t, "lifetime"); days > 0 {
				w.MaxLifetimeDays = &days
			}
		})
		m := newMachine(*w, t.Fatalf)
		m.remember()
		s := rapid.SampledFrom(schedules).Draw(t, "schedule")
		early := rapid.Bool().Draw(t, "the schedule is old")
		if early {
			m.setSchedule(s)
		}
		m.live(routine{}, base.Add(time.Duration(rapid.IntRange(1, 6).Draw(t, "days before"))*day))
		m.live(user, m.now.Add(patternTime))
		if !early {
			m.setSchedule(s)
		}
		from := m.now
		until := from.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "days")) * day)
		foreseen, err := m.w.foresee(t.Context(), from, until, patternOf(m.w.used(m.lately()), m.w.CreatedAt, from), hourlyRates, nil)
		if err != nil {
			t.Fatal(err)
		}
		m.done = nil
		m.live(user, until)
		foreseen.deeds = slices.DeleteFunc(foreseen.deeds, func(d SimulatedDeed) bool { return d.Action == string(doNotice) })
		var done []string
		for _, d := range m.done {
			done = append(done, fmt.Sprintf("%s %s %s", d.policy, d.do, d.at.Sub(base)))
		}
		if len(done) != len(foreseen.deeds) {
			t.Fatalf("foreseen %q, done %q", foreseen.lines(), done)
		}
		for i, d := range foreseen.deeds {
			if did := m.done[i]; did.policy != d.Policy || string(did.do) != d.Action || did.at.Sub(d.At).Abs() > 15*time.Minute {
				t.Fatalf("foreseen %q, done %q", foreseen.lines(), done)
			}
		}
	})
}
