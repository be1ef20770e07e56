package workspace

import (
	"context"
	"maps"
	"time"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/price"
)

// foreseen is what the rules would do to one WorkSpace.
type foreseen struct {
	deeds         []SimulatedDeed
	without, with money.USD
	saved         map[Policy]money.USD // whose sum is the difference of the two
}

// course is a WorkSpace that goes through the coming days twice at once: as if there were no rules, and with them.
type course struct {
	is     WorkSpace // with the rules
	now    time.Time
	used   bool // somebody uses it now, by the pattern
	rates  price.Rates
	pauses Pauses

	without, with tab
	ended         bool // with the rules
	last          Policy
	saved         money.USD // up to when a rule last did something
	out           foreseen
}

// tab is what is to be paid.
type tab struct {
	paid   money.USD // fees, and what has run and stopped
	runs   bool
	opened time.Time // since when it runs
	stops  time.Time // when Amazon's timer stops it; zero: it does not
}

func (t *tab) turn(runs bool, rates price.Rates, now time.Time) {
	if t.runs && (!runs || t.until(now).Before(now)) {
		t.paid, t.runs = t.total(rates, now), false
	}
	if runs && !t.runs {
		t.opened = now
	}
	t.runs, t.stops = runs, time.Time{}
}

// until is up to when it has run.
func (t *tab) until(now time.Time) time.Time {
	if t.stops.IsZero() || t.stops.After(now) {
		return now
	}
	return t.stops
}

func (t *tab) total(rates price.Rates, now time.Time) money.USD {
	if !t.runs || rates.Hour == nil {
		return t.paid
	}
	return t.paid + price.Running(rates.Rule, rates.Hour.Amount, t.opened, t.until(now))
}

// foresee has the rules act on a copy of the row, from one instant until another, by the functions that act on the row
// itself. Its user follows the pattern. Where several things happen at once, the user is first, then Amazon.
func (w *WorkSpace) foresee(ctx context.Context, from, until time.Time, p pattern, rates price.Rates, pauses Pauses) (foreseen, error) {
	if w.Desired == WantTerminated || w.State.Ended() {
		return foreseen{}, nil
	}
	c := &course{is: *w, now: from, rates: rates, pauses: pauses}
	c.is.Notices = maps.Clone(w.Notices)
	c.begin(p)
	month := clock.StartOfNextMonth(from)
	turnAt, on, turns := p.next(from, from)
	for n := 0; ; n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return foreseen{}, ctx.Err()
		}
		timer, runsOut := c.timer()
		d, rule := c.next()
		at := month
		if turns && turnAt.Before(at) {
			at = turnAt
		}
		if runsOut && timer.Before(at) {
			at = timer
		}
		if rule && d.next.at.Before(at) {
			at = d.next.at
		}
		if !at.Before(until) {
			break
		}
		c.now = at
		switch {
		case month.Equal(at):
			c.fee(rates.Fee())
			month = clock.StartOfNextMonth(month)
		case turns && turnAt.Equal(at):
			c.turn(on)
			turnAt, on, turns = p.next(from, at)
		case runsOut && timer.Equal(at):
			c.becomes(Stopped)
		default:
			// What a pause has kept back may have become something else meanwhile.
			if d, rule = c.next(); rule && !d.next.at.After(at) {
				c.act(d)
			}
		}
	}
	c.now = until
	c.settle()
	c.out.without, c.out.with = c.without.total(rates, until), c.with.total(rates, until)
	return c.out, nil
}

// begin brings what is under way to its end: Amazon's transitions are no part of what is foreseen. Whoever uses it at an hour
// at which the pattern has nobody use it leaves now, unless they were seen to be gone before.
func (c *course) begin(p pattern) {
	w := &c.is
	if w.AvailableAt == nil && w.State == Pending {
		c.fee(price.MonthShare(c.rates.Fee(), c.now))
	}
	c.becomes(w.settles())
	w.Asked, w.AskedAt = "", nil
	for _, t := range []*tab{&c.without, &c.with} {
		t.turn(w.State.Runs(), c.rates, c.now)
	}
	gone := !w.State.Runs() || w.Connection == "DISCONNECTED"
	if c.used = p.runsAtFirst() && !gone; !c.used && !gone {
		c.left()
	}
	if timer, ok := c.timer(); ok {
		c.without.stops = timer
	}
}

// settles is the state that it comes to when what is under way is done. What ran after it was stopped and left unused is
// stopped again.
func (w *WorkSpace) settles() State {
	rests := Available
	if w.stopping() || w.StoppedAt != nil {
		rests = Stopped
	}
	switch w.State {
	case Pending, Starting:
		if w.Desired == WantAvailable {
			return Available
		}
		return Stopped
	case Stopping, Stopped:
		if w.Desired == WantAvailable && w.Asked == string(start) {
			return Available
		}
		return Stopped
	case Available:
		if w.stopping() {
			return Stopped
		}
	case Rebooting, Rebuilding, Restoring, Updating, Maintenance, Suspended:
		return rests
	case Impaired, Terminating, Terminated, Failed, Conflict:
	}
	return w.State
}

// timer is when Amazon stops what nobody uses. A timer that is over has failed, and stops nothing.
func (c *course) timer() (time.Time, bool) {
	timeout := time.Duration(c.is.timeout(c.now)) * time.Minute
	if c.ended || c.used || timeout == 0 || c.is.State != Available {
		return time.Time{}, false
	}
	at := c.is.idleSince().Add(timeout)
	return at, !at.Before(c.now)
}

// left is that its user has gone.
func (c *course) left() {
	now := c.now
	c.is.LastConnectedAt, c.is.Connection = &now, "DISCONNECTED"
}

func (c *course) fee(amount money.USD) {
	c.without.paid += amount
	if !c.ended {
		c.with.paid += amount
	}
}

// becomes is Amazon, which does at once what was asked for.
func (c *course) becomes(s State) {
	if c.is.State == s {
		return
	}
	decision{do: note, to: s}.apply(&c.is, look{found: &Observation{State: string(s)}}, c.now)
	c.with.turn(s.Runs(), c.rates, c.now)
}

// turn is its user, who begins or ceases to use it. The pattern is of what ran, so when it ceases Amazon's timer has run out:
// nobody has wanted it to be stopped.
func (c *course) turn(on bool) {
	c.used = on
	c.without.turn(on, c.rates, c.now)
	w := &c.is
	switch {
	case c.ended || w.RunningMode == price.AlwaysOn:
	case on && !w.State.Runs():
		w.wantStarted("user", c.now)
		c.becomes(Available)
	case !on && w.State.Runs():
		c.left()
		c.becomes(Stopped)
	}
}

// next is the next thing that the rules do, in their precedence. While somebody uses it, nobody asks whether it is idle.
func (c *course) next() (next coming, found bool) {
	if c.ended {
		return coming{}, false
	}
	for _, r := range c.is.rules(c.now) {
		d := &r.next
		if c.used && d.policy == PolicyIdle && d.do == doCheck {
			continue
		}
		var ever bool
		if d.at, ever = c.pauses.over(d.policy, d.do, later(c.now, d.at)); ever && (!found || d.at.Before(next.next.at)) {
			next, found = r, true
		}
	}
	return next, found
}

// over is when a policy may do something that is due at an instant; never while a pause has no end.
func (p Pauses) over(of Policy, do deed, at time.Time) (time.Time, bool) {
	for p.why(of, do, at) != "" {
		var end time.Time
		for _, pause := range p {
			if pause.Until != nil && pause.Until.After(at) && (end.IsZero() || pause.Until.Before(end)) {
				end = *pause.Until
			}
		}
		if end.IsZero() {
			return at, false
		}
		at = end
	}
	return at, true
}

// act does one step, if it is still right.
func (c *course) act(next coming) {
	w, d := &c.is, next.next
	r := reading{Connection: Connection{State: "DISCONNECTED", CheckedAt: c.now, LastAt: w.LastConnectedAt}, known: true}
	if c.used && w.State.Runs() {
		r.State = "CONNECTED"
	}
	if d.wantsReading() {
		w.read(r.Connection, r.known, c.now)
	}
	if !w.still(d, r, c.now) {
		return
	}
	do := d.do
	if do == doCheck {
		do = doStop
	}
	if do != doRestore {
		c.out.deeds = append(c.out.deeds, SimulatedDeed{
			WorkspaceID: w.ID, Name: w.Name, UserID: w.UserID, TeamID: w.TeamID, Policy: d.policy, Action: string(do), At: c.now, Why: w.reason(next, c.now),
		})
	}
	if do.effect() {
		c.settle()
		c.last = d.policy
	}
	switch do {
	case doNotice:
		w.notice(d, c.now)
	case doFlag:
		now := c.now
		w.StaleAt = &now
	case doRestore:
		w.ExtendedUntil, w.ExtendedMinutes = nil, nil
	case doStop:
		w.wantStopped(string(d.policy), c.now)
		c.becomes(Stopped)
	case doStart:
		w.wantStarted(string(d.policy), c.now)
		c.becomes(Available)
	case doTerminate:
		w.wantTerminated(string(d.policy), c.now)
		c.with.turn(false, c.rates, c.now)
		c.ended = true
	case doCheck:
	}
}

// settle owes what was saved since a rule last did something to that rule.
func (c *course) settle() {
	saved := c.without.total(c.rates, c.now) - c.with.total(c.rates, c.now)
	if saved != c.saved {
		if c.out.saved == nil {
			c.out.saved = map[Policy]money.USD{}
		}
		c.out.saved[c.last] += saved - c.saved
		c.saved = saved
	}
}

// reason is why a step is done, in words.
func (w *WorkSpace) reason(c coming, now time.Time) string {
	if c.next.policy == PolicyIdle {
		return "nobody is connected"
	}
	u, _ := w.told(c, now)
	return u.Why
}
