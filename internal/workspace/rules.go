package workspace

import (
	"fmt"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/schedule"
)

// The rules about time are pure: a row and an instant in, what is next out. The same functions say what is done (sweep.go),
// what a user is told of it beforehand (upcoming), and what would be done in the coming weeks (simulate.go).

// Policy is a rule by which a WorkSpace is stopped, started or ended without anybody's asking.
type Policy string

// The policies, in their precedence: where two have something to do at once, the earlier one does it.
const (
	PolicyLifetime Policy = "lifetime" // Requirement 1.9
	PolicyStale    Policy = "stale"    // Requirements 14.2 to 14.5
	PolicyBudget   Policy = "budget"   // block_and_stop
	PolicySchedule Policy = "schedule"
	PolicyIdle     Policy = "idle" // Requirement 1.7
)

// Policies are all of them, in their precedence.
var Policies = []Policy{PolicyLifetime, PolicyStale, PolicyBudget, PolicySchedule, PolicyIdle}

// The measures of the rules.
const (
	staleAfter = 30 * 24 * time.Hour // stopped and unused for so long is flagged (Requirement 14.2)
	staleGrace = 7 * 24 * time.Hour  // and ended so long after that (Requirement 14.4)
	// idleGrace is how long after its timeout Amazon may take to stop what is idle before Forge does.
	idleGrace = 15 * time.Minute
	// freshFor is how old Amazon's word about a connection may be; it looks every five minutes.
	freshFor = 15 * time.Minute
	// lookAgain is how soon a connection is asked about again when the answer was of no use.
	lookAgain = 15 * time.Minute
	// stopNotice is how long before a scheduled stop the user is told.
	stopNotice = 15 * time.Minute
	// lastNotice is how long before its end the last notice is given; no end comes sooner after it.
	lastNotice = time.Hour
)

// lifetimeNotices are how long before the end of its lifetime the owner is told.
var lifetimeNotices = []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, lastNotice}

// staleNotices are how long before a stale WorkSpace's end the owner is told again.
var staleNotices = []time.Duration{24 * time.Hour}

// Notice is the latest that was told of a policy: which one, of what instant, and when.
type Notice struct {
	For  time.Time `json:"for"`
	Step int       `json:"step"` // 1 is the first
	At   time.Time `json:"at"`
}

// deed is what a rule does.
type deed string

const (
	doNotice    deed = "notice"
	doFlag      deed = "flag"      // tell the owner that it looks forgotten
	doTerminate deed = "terminate" //
	doStop      deed = "stop"
	doStart     deed = "start"
	doCheck     deed = "check"   // ask whether somebody is connected, and go on from there
	doRestore   deed = "restore" // put the extended timeout back
)

// effect tells whether a deed does something to the WorkSpace, rather than say or find out something.
func (d deed) effect() bool { return d == doTerminate || d == doStop || d == doStart }

// step is the next thing that a policy does.
type step struct {
	policy Policy
	do     deed
	at     time.Time
	of     time.Time // notice: the instant that it tells of
	nth    int       // notice: which
	then   deed      // notice: what will be done
	occurs schedule.Occurrence
}

// rule gives the next step of one policy, if it has one, and what it is that it comes to in the end.
type coming struct {
	next   step
	effect step // the same as next unless next is a notice, a flag or a check
}

// rules are the policies that follow from the row alone. That of the budget follows from its hold.
func (w *WorkSpace) rules(now time.Time) []coming {
	if w.State.Ended() || w.Desired == WantTerminated {
		return nil
	}
	var all []coming
	for _, rule := range []func(time.Time) (coming, bool){w.lifetimeRule, w.staleRule, w.scheduleRule, w.idleRule} {
		if c, ok := rule(now); ok {
			all = append(all, c)
		}
	}
	return all
}

// nextRule is when a policy next has something to do.
func (w *WorkSpace) nextRule(now time.Time) *time.Time {
	var next *time.Time
	for _, c := range w.rules(now) {
		if at := c.next.at; next == nil || at.Before(*next) {
			next = &at
		}
	}
	return next
}

// ends is the step towards an end at an instant: the latest notice that is due and was not given, else the next one to
// come, else the end itself, which does not come before the last notice has been out for its time.
func (w *WorkSpace) ends(p Policy, end, since time.Time, notices []time.Duration, now time.Time) coming {
	given := w.Notices[string(p)]
	if !given.For.Equal(end) {
		given = Notice{}
	}
	effect := step{policy: p, do: doTerminate, at: later(end, now.Add(lastNotice))}
	if given.Step == len(notices) {
		effect.at = later(end, given.At.Add(lastNotice))
		return coming{effect, effect}
	}
	notice := func(i int) step {
		return step{policy: p, do: doNotice, at: end.Add(-notices[i]), of: end, nth: i + 1, then: doTerminate}
	}
	for i := len(notices) - 1; i >= given.Step; i-- {
		if n := notice(i); !n.at.After(now) && (n.at.After(since) || i == len(notices)-1) {
			return coming{n, effect}
		}
	}
	for i := given.Step; i < len(notices); i++ {
		if n := notice(i); n.at.After(now) && (n.at.After(since) || i == len(notices)-1) {
			return coming{n, effect}
		}
	}
	return coming{effect, effect}
}

// lifetimeRule ends a WorkSpace at its age. Keep-alive does not put that off; a lead does, by extending the lifetime.
func (w *WorkSpace) lifetimeRule(now time.Time) (coming, bool) {
	if w.MaxLifetimeDays == nil {
		return coming{}, false
	}
	end := w.CreatedAt.Add(time.Duration(*w.MaxLifetimeDays) * 24 * time.Hour)
	return w.ends(PolicyLifetime, end, w.CreatedAt, lifetimeNotices, now), true
}

// staleRule flags what has been stopped and unused for long, and ends it some time after, unless it is to be kept alive.
func (w *WorkSpace) staleRule(now time.Time) (coming, bool) {
	if w.StoppedAt == nil {
		return coming{}, false
	}
	if w.StaleAt != nil && w.StateSince.After(*w.StaleAt) && w.Notices[noteRead].At.Before(w.StateSince) && (w.State == Available || w.State == Stopped) {
		// It has run since: somebody has used it, or Amazon has maintained it. Its end, if that has come, asks the same.
		check := step{policy: PolicyStale, do: doCheck, at: w.StateSince}
		if w.State == Available {
			check.at = check.at.Add(idleGrace)
		}
		end := w.ends(PolicyStale, w.StaleAt.Add(staleGrace), *w.StaleAt, staleNotices, now)
		if w.State == Available || w.KeepAlive || end.next.do != doTerminate || end.next.at.After(now) {
			return coming{check, step{policy: PolicyStale, do: doTerminate, at: w.StaleAt.Add(staleGrace)}}, true
		}
	}
	if w.State != Stopped {
		return coming{}, false
	}
	if w.StaleAt == nil {
		flag := w.StoppedAt.Add(staleAfter)
		if read := w.Notices[noteRead].At; !read.Before(flag) {
			flag = read.Add(time.Hour) // Amazon's answer was of no use
		}
		c := coming{next: step{policy: PolicyStale, do: doFlag, at: flag, then: doTerminate, of: flag.Add(staleGrace)}}
		c.effect = step{policy: PolicyStale, do: doTerminate, at: flag.Add(staleGrace)}
		if w.KeepAlive {
			c.effect = c.next
		}
		return c, true
	}
	if w.KeepAlive {
		return coming{}, false
	}
	end := w.StaleAt.Add(staleGrace)
	c := w.ends(PolicyStale, end, *w.StaleAt, staleNotices, now)
	if read := w.Notices[noteRead].At; c.next.do == doTerminate && !read.Before(end) {
		c.next.at = read.Add(time.Hour)
		c.effect = c.next
	}
	return c, true
}

// scheduleRule follows the clock on the wall. Of what was missed only the latest counts. An extension puts a stop off.
func (w *WorkSpace) scheduleRule(now time.Time) (coming, bool) {
	if w.Schedule == nil {
		return coming{}, false
	}
	through := w.CreatedAt
	if w.ScheduledThrough != nil {
		through = *w.ScheduledThrough
	}
	s := *w.Schedule
	if w.RunningMode == price.AlwaysOn { // somebody else has made it so: it cannot be stopped any more
		s.Entries = slices.DeleteFunc(slices.Clone(s.Entries), func(e schedule.Entry) bool { return e.Action == schedule.Stop })
	}
	next, ok := s.Last(now, through)
	if !ok {
		if next, ok = s.Next(later(through, now)); !ok {
			return coming{}, false
		}
	}
	effect := step{policy: PolicySchedule, do: doStart, at: next.At, occurs: next}
	if next.Action == schedule.Start {
		return coming{effect, effect}, true
	}
	effect.do = doStop
	if w.ExtendedUntil != nil {
		effect.at = later(effect.at, *w.ExtendedUntil)
	}
	if !w.State.Runs() && w.State != Starting || w.Notices[string(PolicySchedule)].For.Equal(effect.at) || !effect.at.After(now) {
		return coming{effect, effect}, true
	}
	return coming{step{policy: PolicySchedule, do: doNotice, at: effect.at.Add(-stopNotice), of: effect.at, nth: 1, then: doStop}, effect}, true
}

// noteRead is under which the row keeps when a connection was last asked about.
const noteRead = "read"

// idleRule verifies that Amazon's own timer has stopped what is idle, and puts an extended timeout back. When nobody knows
// whether a user is connected, it is not idle.
func (w *WorkSpace) idleRule(now time.Time) (coming, bool) {
	if w.RunningMode != price.AutoStop {
		return coming{}, false
	}
	if w.ExtendedUntil != nil {
		s := step{policy: PolicyIdle, do: doRestore, at: *w.ExtendedUntil}
		return coming{s, s}, true
	}
	if w.State != Available || w.stopping() {
		return coming{}, false
	}
	check := step{policy: PolicyIdle, do: doCheck, at: w.idleSince().Add(time.Duration(w.timeout(now))*time.Minute + idleGrace)}
	if read := w.Notices[noteRead].At; !read.Before(check.at) {
		check.at = read.Add(lookAgain)
	}
	stop := check
	stop.do = doStop
	return coming{check, stop}, true
}

// idleSince is the earliest that its user can have gone.
func (w *WorkSpace) idleSince() time.Time {
	if w.LastConnectedAt != nil {
		return later(w.StateSince, *w.LastConnectedAt)
	}
	return w.StateSince
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// read brings what the provider says of a connection onto the row. A user who has been there since it was stopped has used
// it: it is not forgotten, and if it is stopped again it has been so since then.
func (w *WorkSpace) read(c Connection, known bool, now time.Time) {
	if w.Notices == nil {
		w.Notices = map[string]Notice{}
	}
	w.Notices[noteRead] = Notice{At: now}
	w.Connection = "UNKNOWN"
	if !known {
		return
	}
	w.Connection, w.ConnectionCheckedAt = c.State, &c.CheckedAt
	last := c.LastAt
	if c.State == "CONNECTED" && (last == nil || last.Before(c.CheckedAt)) {
		last = &c.CheckedAt
	}
	if last != nil && (w.LastConnectedAt == nil || last.After(*w.LastConnectedAt)) {
		w.LastConnectedAt = last
	}
	if w.StoppedAt == nil || w.LastConnectedAt == nil || !w.LastConnectedAt.After(*w.StoppedAt) {
		return
	}
	w.StaleAt, w.StoppedAt = nil, nil
	if w.State == Stopped {
		since := w.StateSince
		w.StoppedAt = &since
	}
}

// covers tells whether what is said of a connection is from when it last ran, or from later: whoever used it then is in it.
func (c Connection) covers(stopped time.Time) bool {
	return !c.CheckedAt.Before(stopped.Add(-freshFor))
}

// fresh tells whether nobody is connected for certain.
func fresh(c Connection, now time.Time) bool {
	return c.State == "DISCONNECTED" && now.Sub(c.CheckedAt) <= freshFor
}

// Upcoming is what will happen to a WorkSpace by itself, or why it will not.
type Upcoming struct {
	Policy Policy
	Action string     // terminate, stop, start or flag; empty: the policy does not apply
	At     *time.Time // nil: nobody can say
	Why    string
	Delay  string // how it is put off
	Paused string // why an admin keeps it from happening
}

// Upcoming tells what the policies will do, the soonest first, and then which do not apply, and why.
func (w *WorkSpace) Upcoming(now time.Time, budgetStop *time.Time, pauses Pauses) []Upcoming {
	if w.State.Ended() || w.Desired == WantTerminated {
		return nil
	}
	var all []Upcoming
	add := func(u Upcoming) {
		u.Paused = pauses.why(u.Policy, deed(u.Action), now)
		all = append(all, u)
	}
	for _, c := range w.rules(now) {
		if u, ok := w.told(c, now); ok {
			add(u)
		}
	}
	if budgetStop != nil && w.RunningMode == price.AutoStop && w.State.Runs() {
		add(Upcoming{Policy: PolicyBudget, Action: string(doStop), At: budgetStop, Why: "a budget has no room for more running time, and what is paid ends then", Delay: "ask your team lead or finance for more budget"})
	}
	slices.SortStableFunc(all, func(a, b Upcoming) int {
		switch {
		case a.At != nil && b.At != nil:
			return a.At.Compare(*b.At)
		case a.At != nil:
			return -1
		case b.At != nil:
			return 1
		}
		return 0
	})
	if w.RunningMode == price.AlwaysOn {
		all = append(all, Upcoming{Policy: PolicyIdle, Why: "an ALWAYS_ON WorkSpace is exempt: its month is paid whether or not it runs, and Amazon does not stop it"})
	}
	if w.KeepAlive {
		all = append(all, Upcoming{Policy: PolicyStale, Why: "it is kept alive: unused for 30 days it is flagged, and not ended"})
	}
	return all
}

// told puts what a policy comes to into words.
func (w *WorkSpace) told(c coming, now time.Time) (Upcoming, bool) {
	at := c.effect.at
	u := Upcoming{Policy: c.effect.policy, Action: string(c.effect.do), At: &at}
	switch c.effect.policy {
	case PolicyLifetime:
		u.Why = fmt.Sprintf("it will be %d days old, which is its lifetime", *w.MaxLifetimeDays)
		u.Delay = "your team lead can extend it: forge update --lifetime-days"
	case PolicyStale:
		u.Why = "it has been stopped and unused since " + w.StoppedAt.UTC().Format("2006-01-02")
		u.Delay = "start it and use it, or forge update --keep-alive; before it ends, forge image keeps what is on it"
	case PolicySchedule:
		u.Why = "its schedule: " + c.effect.occurs.Local
		u.Delay = "forge extend puts a stop off; forge update --no-schedule takes the schedule away"
	case PolicyIdle:
		return w.toldIdle(u, now)
	case PolicyBudget:
	}
	return u, true
}

// toldIdle tells when Amazon's timer stops it, as far as that can be known.
func (w *WorkSpace) toldIdle(u Upcoming, now time.Time) (Upcoming, bool) {
	if w.State != Available || w.stopping() {
		return u, false
	}
	minutes := w.timeout(now)
	u.Action, u.Delay = string(doStop), "connect to it, or forge extend"
	if w.ConnectionCheckedAt != nil && w.Connection == "DISCONNECTED" && now.Sub(*w.ConnectionCheckedAt) <= freshFor {
		at := w.idleSince().Add(time.Duration(minutes) * time.Minute)
		u.At, u.Why = &at, fmt.Sprintf("nobody is connected; Amazon stops it %d minutes after its user has gone", minutes)
		return u, true
	}
	u.At = nil
	u.Why = fmt.Sprintf("Amazon stops it %d minutes after its user has disconnected", minutes)
	if w.Connection == "CONNECTED" {
		u.Why += "; somebody was connected when it was last asked about"
	}
	return u, true
}
