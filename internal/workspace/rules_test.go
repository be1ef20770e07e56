package workspace

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/schedule"
)

// runs is an AUTO_STOP WorkSpace that has been AVAILABLE since base.
func runs(changes ...func(*WorkSpace)) *WorkSpace {
	return row(append([]func(*WorkSpace){ran, func(w *WorkSpace) {
		w.RunningMode, w.AutoStopTimeoutMinutes, w.StateSince = price.AutoStop, ptr(60), base
	}}, changes...)...)
}

func lives(days int) func(*WorkSpace) { return func(w *WorkSpace) { w.MaxLifetimeDays = &days } }

func stoppedFor(d time.Duration) func(*WorkSpace) {
	return func(w *WorkSpace) {
		w.State, w.StateSince, w.StoppedAt, w.Desired = Stopped, at(d), atp(d), WantStopped
	}
}

func staleSince(d time.Duration) func(*WorkSpace) {
	return func(w *WorkSpace) { w.StaleAt = atp(d) }
}

func keptAlive(w *WorkSpace) { w.KeepAlive = true }

func alwaysOn(w *WorkSpace) { w.RunningMode, w.AutoStopTimeoutMinutes = price.AlwaysOn, nil }

func extendedUntil(d time.Duration) func(*WorkSpace) {
	return func(w *WorkSpace) { w.ExtendedUntil, w.ExtendedMinutes = atp(d), ptr(240) }
}

// noticed says that a notice was given, of what and when.
func noticed(p Policy, nth int, of, when time.Duration) func(*WorkSpace) {
	return func(w *WorkSpace) {
		if w.Notices == nil {
			w.Notices = map[string]Notice{}
		}
		w.Notices[string(p)] = Notice{For: at(of), Step: nth, At: at(when)}
	}
}

func readAt(d time.Duration) func(*WorkSpace) { return noticed(noteRead, 0, 0, d) }

// follows has a schedule in UTC, followed up to an instant.
func follows(t *testing.T, through time.Duration, entries ...string) func(*WorkSpace) {
	t.Helper()
	s, err := schedule.Parse("UTC", entries...)
	if err != nil {
		t.Fatal(err)
	}
	return func(w *WorkSpace) { w.Schedule, w.ScheduledThrough = &s, atp(through) }
}

// TestRules holds each rule at the instants around which it begins to hold: the next step, and what it comes to. base is a
// Monday, 09:00.
func TestRules(t *testing.T) {
	const minute, hour, week = time.Minute, time.Hour, 7 * 24 * time.Hour
	type next struct {
		do     deed
		at     time.Duration
		effect deed
		comes  time.Duration
	}
	none := next{}
	for _, c := range []struct {
		name   string
		policy Policy
		w      *WorkSpace
		now    time.Duration
		want   next
	}{
		{"no lifetime", PolicyLifetime, runs(), 0, none},
		{"a lifetime of 30 days", PolicyLifetime, runs(lives(30)), 0, next{doNotice, 23 * day, doTerminate, 30 * day}},
		{"its first notice is due", PolicyLifetime, runs(lives(30)), 23 * day, next{doNotice, 23 * day, doTerminate, 30 * day}},
		{"and given", PolicyLifetime, runs(lives(30), noticed(PolicyLifetime, 1, 30*day, 23*day)), 23 * day, next{doNotice, 29 * day, doTerminate, 30 * day}},
		{"two are overdue: the later one", PolicyLifetime, runs(lives(30)), 29*day + hour, next{doNotice, 29 * day, doTerminate, 30 * day}},
		{"the last one is left", PolicyLifetime, runs(lives(30), noticed(PolicyLifetime, 2, 30*day, 29*day)), 29*day + hour, next{doNotice, 30*day - hour, doTerminate, 30 * day}},
		{"all are given", PolicyLifetime, runs(lives(30), noticed(PolicyLifetime, 3, 30*day, 30*day-hour)), 30*day - minute, next{doTerminate, 30 * day, doTerminate, 30 * day}},
		{"the last one was given late", PolicyLifetime, runs(lives(30), noticed(PolicyLifetime, 3, 30*day, 30*day)), 30*day + minute, next{doTerminate, 30*day + hour, doTerminate, 30*day + hour}},
		{"one day: no notice before it began", PolicyLifetime, runs(lives(1)), 0, next{doNotice, 23 * hour, doTerminate, day}},
		{"two days", PolicyLifetime, runs(lives(2)), 0, next{doNotice, day, doTerminate, 2 * day}},
		{"seven days: none at its beginning", PolicyLifetime, runs(lives(7)), 0, next{doNotice, 6 * day, doTerminate, 7 * day}},
		{"extended after a notice", PolicyLifetime, runs(lives(60), noticed(PolicyLifetime, 3, 30*day, 30*day-hour)), 30*day - minute, next{doNotice, 53 * day, doTerminate, 60 * day}},
		{"shortened to less than a week from now", PolicyLifetime, runs(lives(12)), 8 * day, next{doNotice, 5 * day, doTerminate, 12 * day}},
		{"shortened into the past: a notice first", PolicyLifetime, runs(lives(2)), 8 * day, next{doNotice, 2*day - hour, doTerminate, 8*day + hour}},
		{"and an hour after that", PolicyLifetime, runs(lives(2), noticed(PolicyLifetime, 3, 2*day, 8*day)), 8 * day, next{doTerminate, 8*day + hour, doTerminate, 8*day + hour}},
		{"kept alive: it ends nevertheless", PolicyLifetime, runs(lives(1), keptAlive), 0, next{doNotice, 23 * hour, doTerminate, day}},
		{"unwanted already", PolicyLifetime, runs(lives(1), want(WantTerminated)), 2 * day, none},

		{"it runs: not forgotten", PolicyStale, runs(), 90 * day, none},
		{"stopped", PolicyStale, runs(stoppedFor(0)), 0, next{doFlag, 30 * day, doTerminate, 37 * day}},
		{"stopped, and Amazon did not say who was there", PolicyStale, runs(stoppedFor(0), readAt(30*day)), 30 * day, next{doFlag, 30*day + hour, doTerminate, 37*day + hour}},
		{"read before it was due", PolicyStale, runs(stoppedFor(0), readAt(30*day-minute)), 30 * day, next{doFlag, 30 * day, doTerminate, 37 * day}},
		{"kept alive: flagged, and that is all", PolicyStale, runs(stoppedFor(0), keptAlive), 0, next{doFlag, 30 * day, doFlag, 30 * day}},
		{"kept alive and flagged", PolicyStale, runs(stoppedFor(0), keptAlive, staleSince(30*day)), 38 * day, none},
		{"flagged", PolicyStale, runs(stoppedFor(0), staleSince(30*day)), 30 * day, next{doNotice, 36 * day, doTerminate, 37 * day}},
		{"flagged and told", PolicyStale, runs(stoppedFor(0), staleSince(30*day), noticed(PolicyStale, 1, 37*day, 36*day)), 36 * day, next{doTerminate, 37 * day, doTerminate, 37 * day}},
		{"told late", PolicyStale, runs(stoppedFor(0), staleSince(30*day), noticed(PolicyStale, 1, 37*day, 37*day)), 37 * day, next{doTerminate, 37*day + hour, doTerminate, 37*day + hour}},
		{"at its end nobody knows who was there", PolicyStale, runs(stoppedFor(0), staleSince(30*day), noticed(PolicyStale, 1, 37*day, 36*day), readAt(37*day)), 37 * day, next{doTerminate, 37*day + hour, doTerminate, 37*day + hour}},
		{"flagged, and running: somebody may use it", PolicyStale, runs(stoppedFor(0), staleSince(30*day), in(Available, 31*day)), 31 * day, next{doCheck, 31*day + 15*minute, doTerminate, 37 * day}},
		{"the same, asked about", PolicyStale, runs(stoppedFor(0), staleSince(30*day), in(Available, 31*day), readAt(31*day+20*minute)), 31*day + 20*minute, none},
		{"the same, stopped again: somebody may have used it", PolicyStale, runs(stoppedFor(0), staleSince(30*day), in(Stopped, 32*day), readAt(31*day+20*minute)), 32 * day, next{doCheck, 32 * day, doTerminate, 37 * day}},
		{"its end came while Amazon maintained it", PolicyStale, runs(stoppedFor(0), staleSince(30*day), noticed(PolicyStale, 1, 37*day, 36*day), in(Stopped, 37*day+hour)), 37*day + hour, next{doTerminate, 37 * day, doTerminate, 37 * day}},
		{"the same, and nobody knew who was there", PolicyStale, runs(stoppedFor(0), staleSince(30*day), noticed(PolicyStale, 1, 37*day, 36*day), in(Stopped, 37*day+hour), readAt(37*day+hour)), 37*day + hour, next{doTerminate, 37*day + 2*hour, doTerminate, 37*day + 2*hour}},
		{"the same, kept alive", PolicyStale, runs(stoppedFor(0), staleSince(30*day), keptAlive, noticed(PolicyStale, 1, 37*day, 36*day), in(Stopped, 37*day+hour)), 37*day + hour, next{doCheck, 37*day + hour, doTerminate, 37 * day}},
		{"flagged, and Amazon maintains it", PolicyStale, runs(stoppedFor(0), staleSince(30*day), in(Maintenance, 31*day)), 31 * day, none},

		{"no schedule", PolicySchedule, runs(), 0, none},
		{"a stop is told a quarter of an hour before", PolicySchedule, runs(follows(t, 0, "stop 18:00 DAILY")), 0, next{doNotice, 8*hour + 45*minute, doStop, 9 * hour}},
		{"and then it comes", PolicySchedule, runs(follows(t, 0, "stop 18:00 DAILY"), noticed(PolicySchedule, 1, 9*hour, 8*hour+45*minute)), 8*hour + 45*minute, next{doStop, 9 * hour, doStop, 9 * hour}},
		{"it is due, and nothing was told: no word any more", PolicySchedule, runs(follows(t, 0, "stop 18:00 DAILY")), 9 * hour, next{doStop, 9 * hour, doStop, 9 * hour}},
		{"what is stopped is not told of a stop", PolicySchedule, runs(stoppedFor(0), follows(t, 0, "stop 18:00 DAILY")), hour, next{doStop, 9 * hour, doStop, 9 * hour}},
		{"a start is not told", PolicySchedule, runs(stoppedFor(0), follows(t, 0, "start 10:00 DAILY")), 0, next{doStart, hour, doStart, hour}},
		{"of what was missed only the latest", PolicySchedule, runs(follows(t, 0, "start 08:00 DAILY", "stop 18:00 DAILY")), 3*day + 8*hour, next{doStart, 3*day - hour, doStart, 3*day - hour}},
		{"what was done is not done again", PolicySchedule, runs(follows(t, 9*hour, "stop 18:00 DAILY")), 9 * hour, next{doNotice, day + 8*hour + 45*minute, doStop, day + 9*hour}},
		{"an extension puts a stop off", PolicySchedule, runs(follows(t, 0, "stop 18:00 DAILY"), extendedUntil(10*hour)), 9 * hour, next{doNotice, 9*hour + 45*minute, doStop, 10 * hour}},
		{"it is over", PolicySchedule, runs(follows(t, 0, "stop 18:00 DAILY"), extendedUntil(10*hour)), 10 * hour, next{doStop, 10 * hour, doStop, 10 * hour}},
		{"an extension that ends before changes nothing", PolicySchedule, runs(follows(t, 0, "stop 18:00 DAILY"), extendedUntil(2*hour)), 0, next{doNotice, 8*hour + 45*minute, doStop, 9 * hour}},
		{"an extension does not put a start off", PolicySchedule, runs(follows(t, 0, "start 10:00 DAILY"), extendedUntil(10*hour)), 0, next{doStart, hour, doStart, hour}},
		{"an ALWAYS_ON one cannot be stopped", PolicySchedule, runs(alwaysOn, follows(t, 0, "stop 18:00 DAILY")), 0, none},
		{"but started", PolicySchedule, runs(alwaysOn, follows(t, 0, "stop 18:00 DAILY", "start 20:00 DAILY")), 0, next{doStart, 11 * hour, doStart, 11 * hour}},

		{"idle is asked about a while after Amazon's timer", PolicyIdle, runs(), 0, next{doCheck, hour + 15*minute, doStop, hour + 15*minute}},
		{"from when its user was last seen", PolicyIdle, runs(func(w *WorkSpace) { w.LastConnectedAt = atp(2 * hour) }), 3 * hour, next{doCheck, 3*hour + 15*minute, doStop, 3*hour + 15*minute}},
		{"it was started since", PolicyIdle, runs(in(Available, 3*hour), func(w *WorkSpace) { w.LastConnectedAt = atp(2 * hour) }), 3 * hour, next{doCheck, 4*hour + 15*minute, doStop, 4*hour + 15*minute}},
		{"asked about, and of no use", PolicyIdle, runs(readAt(2 * hour)), 2 * hour, next{doCheck, 2*hour + 15*minute, doStop, 2*hour + 15*minute}},
		{"an extension holds, and is put back", PolicyIdle, runs(extendedUntil(4 * hour)), hour, next{doRestore, 4 * hour, doRestore, 4 * hour}},
		{"the same while it is stopped", PolicyIdle, runs(stoppedFor(0), extendedUntil(4*hour)), hour, next{doRestore, 4 * hour, doRestore, 4 * hour}},
		{"ALWAYS_ON is exempt", PolicyIdle, runs(alwaysOn), week, none},
		{"stopped", PolicyIdle, runs(stoppedFor(0)), week, none},
		{"to be stopped", PolicyIdle, runs(want(WantStopped), askedButNotSent(stop)), week, none},
		{"started by its user although it is to be stopped", PolicyIdle, runs(want(WantStopped)), 0, next{doCheck, hour + 15*minute, doStop, hour + 15*minute}},
		{"ended", PolicyIdle, runs(in(Terminated, 0)), week, none},
	} {
		t.Run(string(c.policy)+": "+c.name, func(t *testing.T) {
			var got next
			for _, r := range c.w.rules(at(c.now)) {
				if r.next.policy == c.policy {
					got = next{r.next.do, r.next.at.Sub(base), r.effect.do, r.effect.at.Sub(base)}
				}
			}
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func connection(state string, checked, last time.Duration) Connection {
	c := Connection{State: state, CheckedAt: at(checked)}
	if last != 0 {
		c.LastAt = atp(last)
	}
	return c
}

// TestWhatIsReadDecidesWhetherAStepIsStillRight: nobody is taken for gone on an old or an uncertain word.
func TestWhatIsReadDecidesWhetherAStepIsStillRight(t *testing.T) {
	const minute, hour = time.Minute, time.Hour
	idle := step{policy: PolicyIdle, do: doCheck}
	stale := step{policy: PolicyStale, do: doTerminate}
	flag := step{policy: PolicyStale, do: doFlag}
	gone := connection("DISCONNECTED", 2*hour, 0)
	for _, c := range []struct {
		name  string
		w     *WorkSpace
		d     step
		c     Connection
		known bool
		now   time.Duration
		want  bool
	}{
		{"idle", runs(), idle, gone, true, 2 * hour, true},
		{"idle, just before it is", runs(), idle, connection("DISCONNECTED", hour, 0), true, hour + 15*minute - time.Second, false},
		{"idle, when it is", runs(), idle, connection("DISCONNECTED", hour, 0), true, hour + 15*minute, true},
		{"idle, as of a quarter of an hour ago", runs(), idle, gone, true, 2*hour + 15*minute, true},
		{"idle, as of longer ago", runs(), idle, gone, true, 2*hour + 15*minute + time.Second, false},
		{"connected", runs(), idle, connection("CONNECTED", 2*hour, hour), true, 2 * hour, false},
		{"not known", runs(), idle, connection("UNKNOWN", 2*hour, 0), true, 2 * hour, false},
		{"not told", runs(), idle, Connection{}, false, 2 * hour, false},
		{"gone for less than the timeout", runs(), idle, connection("DISCONNECTED", 2*hour, hour), true, 2 * hour, false},
		{"while something else is asked for", runs(asked(modify, hour)), idle, gone, true, 2 * hour, false},
		{"while it reboots", runs(in(Rebooting, 0)), idle, gone, true, 2 * hour, false},
		{"an extension holds", runs(extendedUntil(4 * hour)), idle, gone, true, 2 * hour, false},
		{"forgotten", runs(stoppedFor(0)), flag, connection("UNKNOWN", 30*day, 0), true, 30 * day, true},
		{"not forgotten: not told", runs(stoppedFor(0)), flag, Connection{}, false, 30 * day, false},
		{"used between", runs(stoppedFor(0), in(Stopped, 20*day)), flag, connection("UNKNOWN", 30*day, 19*day), true, 30 * day, false},
		{"only maintained between", runs(stoppedFor(0), in(Stopped, 20*day)), flag, connection("UNKNOWN", 30*day, 0), true, 30 * day, true},
		{"last used before it was stopped", runs(stoppedFor(2 * hour)), flag, connection("UNKNOWN", 30*day, hour), true, 31 * day, true},
		{"to end", runs(stoppedFor(0), staleSince(30*day)), stale, connection("UNKNOWN", 37*day, 0), true, 37 * day, true},
		{"used since it was flagged", runs(stoppedFor(0), staleSince(30*day), in(Stopped, 32*day)), stale, connection("UNKNOWN", 37*day, 31*day), true, 37 * day, false},
		{"to end, and nobody knows", runs(stoppedFor(0), staleSince(30*day)), stale, Connection{}, false, 37 * day, false},
		{"to end, kept alive since", runs(stoppedFor(0), staleSince(30*day), keptAlive), stale, connection("UNKNOWN", 37*day, 0), true, 37 * day, false},
		{"the end of its lifetime asks nobody", runs(), step{policy: PolicyLifetime, do: doTerminate}, Connection{}, false, 0, true},
		{"a scheduled stop of what is stopped", runs(stoppedFor(0)), step{policy: PolicySchedule, do: doStop}, Connection{}, false, 0, false},
		{"a scheduled stop does not ask whether somebody is there", runs(), step{policy: PolicySchedule, do: doStop}, Connection{}, false, 0, true},
		{"a scheduled stop while one for being idle may be called off", runs(want(WantStopped), askedButNotSent(stop), func(w *WorkSpace) { w.WishReason = "idle" }), step{policy: PolicySchedule, do: doStop}, Connection{}, false, 0, true},
		{"a scheduled stop of what is being stopped", runs(want(WantStopped), askedButNotSent(stop)), step{policy: PolicySchedule, do: doStop}, Connection{}, false, 0, false},
		{"a scheduled start of what runs", runs(), step{policy: PolicySchedule, do: doStart}, Connection{}, false, 0, false},
		{"a scheduled start", runs(stoppedFor(0)), step{policy: PolicySchedule, do: doStart}, Connection{}, false, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.d.wantsReading() {
				c.w.read(c.c, c.known, at(c.now))
			}
			if got := c.w.still(c.d, reading{c.c, c.known}, at(c.now)); got != c.want {
				t.Errorf("got %t, want %t", got, c.want)
			}
		})
	}
}

// Amazon's monthly maintenance starts what is stopped, and stops it again: that is not use.
func TestAMaintenanceRunIsNotUse(t *testing.T) {
	w := runs(stoppedFor(0))
	for _, seenAt := range []struct {
		state string
		when  time.Duration
	}{{"MAINTENANCE", day}, {"AVAILABLE", day + time.Hour}, {"STOPPED", day + 3*time.Hour}} {
		l := seen(seenAt.state, func(o *Observation) { o.RunningMode, o.AutoStop = price.AutoStop, 60 })
		timesAt(1).decide(w, l, at(seenAt.when)).apply(w, l, at(seenAt.when))
	}
	if w.State != Stopped || !w.StoppedAt.Equal(base) {
		t.Errorf("%s, stopped and not used since %v", w.State, w.StoppedAt)
	}
	w.read(connection("UNKNOWN", 2*day, day+90*time.Minute), true, at(2*day))
	if !w.StoppedAt.Equal(at(day + 3*time.Hour)) {
		t.Errorf("used in between, it counts from %v", w.StoppedAt)
	}
}

func TestEachPauseHoldsBackWhatItSays(t *testing.T) {
	later := at(time.Hour)
	for _, c := range []struct {
		target string
		policy Policy
		do     deed
		want   bool
	}{
		{AllStops, PolicyIdle, doCheck, true},
		{AllStops, PolicySchedule, doStop, true},
		{AllStops, PolicySchedule, doNotice, true},
		{AllStops, PolicySchedule, doStart, false},
		{AllStops, PolicyBudget, doStop, true},
		{AllStops, PolicyLifetime, doTerminate, false},
		{AllStops, PolicyIdle, doRestore, false},
		{AllTerminations, PolicyLifetime, doTerminate, true},
		{AllTerminations, PolicyLifetime, doNotice, true},
		{AllTerminations, PolicyStale, doFlag, true},
		{AllTerminations, PolicyStale, doTerminate, true},
		{AllTerminations, PolicyIdle, doCheck, false},
		{"schedule", PolicySchedule, doStart, true},
		{"schedule", PolicySchedule, doStop, true},
		{"schedule", PolicyIdle, doCheck, false},
		{"idle", PolicyIdle, doCheck, true},
		{"idle", PolicyIdle, doRestore, false},
		{"lifetime", PolicyLifetime, doTerminate, true},
		{"lifetime", PolicyStale, doTerminate, false},
		{"stale", PolicyStale, doFlag, true},
		{"budget", PolicyBudget, doStop, true},
	} {
		for _, p := range []Pause{{Target: c.target, Reason: "a demonstration"}, {Target: c.target, Reason: "a demonstration", Until: &later}} {
			if got := (Pauses{p}).why(c.policy, c.do, base) != ""; got != c.want {
				t.Errorf("%s paused until %v: %s of %s is held back: %t", c.target, p.Until, c.do, c.policy, got)
			}
			if p.Until != nil && (Pauses{p}).why(c.policy, c.do, later) != "" {
				t.Errorf("%s: the pause does not end", c.target)
			}
		}
	}
}

// TestWhereTwoAreDueTheEarlierPolicyActs has several due at once: they come in their precedence, and a pause of one lets the
// others through.
func TestWhereTwoAreDueTheEarlierPolicyActs(t *testing.T) {
	w := runs(lives(1), noticed(PolicyLifetime, 3, day, day-time.Hour), follows(t, 0, "stop 18:00 DAILY"), staleSince(0), in(Available, time.Hour), func(w *WorkSpace) { w.StoppedAt = atp(0) })
	order := func(pauses Pauses) (policies []Policy) {
		for _, d := range w.due(pauses, at(2*day)) {
			policies = append(policies, d.policy)
		}
		return policies
	}
	if got := order(nil); !slices.Equal(got, []Policy{PolicyLifetime, PolicyStale, PolicySchedule, PolicyIdle}) {
		t.Errorf("due: %v", got)
	}
	if got := order(Pauses{{Target: AllTerminations, Reason: "x"}}); !slices.Equal(got, []Policy{PolicySchedule, PolicyIdle}) {
		t.Errorf("due without terminations: %v", got)
	}
	if got := order(Pauses{{Target: AllStops, Reason: "x"}}); !slices.Equal(got, []Policy{PolicyLifetime, PolicyStale}) {
		t.Errorf("due without stops: %v", got)
	}
	inOrder := slices.IsSortedFunc(Policies, func(a, b Policy) int {
		all := []Policy{PolicyLifetime, PolicyStale, PolicyBudget, PolicySchedule, PolicyIdle}
		return slices.Index(all, a) - slices.Index(all, b)
	})
	if !inOrder || len(Policies) != 5 {
		t.Errorf("the precedence is %v", Policies)
	}
}

// TestUpcomingTellsWhatComesWhenAndHowToPutItOff is what a user reads.
func TestUpcomingTellsWhatComesWhenAndHowToPutItOff(t *testing.T) {
	const hour = time.Hour
	budgetStop := at(3 * hour)
	idleKnown := func(w *WorkSpace) { w.Connection, w.ConnectionCheckedAt = "DISCONNECTED", atp(0) }
	for _, c := range []struct {
		name   string
		w      *WorkSpace
		stop   *time.Time
		pauses Pauses
		want   []string // policy, action, hours from base or ?, and a part of why or how
	}{
		{"ended", runs(in(Terminated, 0)), nil, nil, nil},
		{"unwanted", runs(lives(1), want(WantTerminated)), nil, nil, nil},
		{"idle, not known", runs(), nil, nil, []string{"idle stop ? 60 minutes after its user has disconnected"}},
		{"idle, somebody was there", runs(func(w *WorkSpace) { w.Connection = "CONNECTED" }), nil, nil, []string{"idle stop ? somebody was connected"}},
		{"idle, nobody is there", runs(idleKnown), nil, nil, []string{"idle stop 1h0m0s nobody is connected"}},
		{"extended", runs(extendedUntil(4*hour), idleKnown), nil, nil, []string{"idle stop 4h0m0s 240 minutes"}},
		{"a lifetime", runs(lives(1), idleKnown), nil, nil, []string{"idle stop 1h0m0s", "lifetime terminate 24h0m0s --lifetime-days"}},
		{"a lifetime that is over", runs(lives(1), idleKnown, func(w *WorkSpace) { w.CreatedAt = at(-3 * day) }), nil, nil, []string{"lifetime terminate 1h0m0s", "idle stop 1h0m0s"}},
		{"a budget and a schedule", runs(follows(t, 0, "stop 10:30 DAILY")), &budgetStop, nil, []string{"schedule stop 1h30m0s Mon 2026-11-23 10:30 UTC", "budget stop 3h0m0s finance", "idle stop ?"}},
		{"a budget that ALWAYS_ON does not need", runs(alwaysOn), &budgetStop, nil, []string{"idle  ? ALWAYS_ON WorkSpace is exempt"}},
		{"a budget that stops what is stopped", runs(stoppedFor(0)), &budgetStop, nil, []string{"stale terminate 888h0m0s forge image keeps"}},
		{"stopped and kept alive", runs(stoppedFor(0), keptAlive), nil, nil, []string{"stale flag 720h0m0s", "stale  ? kept alive"}},
		{"stopped, flagged, kept alive", runs(stoppedFor(0), keptAlive, staleSince(0)), nil, nil, []string{"stale  ? kept alive"}},
		{"a start", runs(stoppedFor(0), follows(t, 0, "start 10:00 DAILY")), nil, nil, []string{"schedule start 1h0m0s --no-schedule", "stale terminate 888h0m0s"}},
		{"paused", runs(idleKnown, lives(1)), nil, Pauses{{Target: AllStops, Reason: "a demonstration"}}, []string{"idle stop 1h0m0s paused: a demonstration", "lifetime terminate 24h0m0s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.w.Upcoming(base, c.stop, c.pauses)
			if len(got) != len(c.want) {
				t.Fatalf("got %+v, want %v", got, c.want)
			}
			for i, u := range got {
				when := "?"
				if u.At != nil {
					when = u.At.Sub(base).String()
				}
				said := string(u.Policy) + " " + u.Action + " " + when + " "
				words, part, _ := strings.Cut(c.want[i], when+" ")
				if words != c.want[i] && words+when+" " != said || words == c.want[i] && c.want[i]+" " != said {
					t.Errorf("%d: got %q, want %q", i, said, c.want[i])
				}
				if all := u.Why + " " + u.Delay + " paused: " + u.Paused; !strings.Contains(all, part) && words != c.want[i] {
					t.Errorf("%d: %q is not in %q", i, part, all)
				}
				if u.Why == "" || u.Action != "" && u.Delay == "" {
					t.Errorf("%d: it does not say why, or how to put it off: %+v", i, u)
				}
			}
		})
	}
}
