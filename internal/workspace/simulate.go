package workspace

import (
	"context"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// ErrDays refuses a simulation of too many days.
var ErrDays = fault.New(fault.Invalid, "DAYS_INVALID", "a simulation is of 1 to 365 days")

const (
	// pattern is how much of the past the expected use is taken from: whole weeks.
	pattern = 28 * 24 * time.Hour
	// simulatePage is how many WorkSpaces are read at once.
	simulatePage = 1000
	// mostDeeds is how many deeds a simulation names; it counts all.
	mostDeeds = 1000
	// mostSteps bounds what the rules may do to one WorkSpace in a year.
	mostSteps = 4000
)

// Assumption is what a simulation takes the users to do; its figures are estimates for that.
const Assumption = "what ran in the last 28 days is used as much from now on, and never idle or stale; nobody comes back to what did not"

// SimulatedDeed is something that the rules would do.
type SimulatedDeed struct {
	WorkspaceID id.WorkSpace
	Name        string
	UserID      id.User
	TeamID      id.Team
	Policy      Policy
	Action      string
	At          time.Time
}

// PolicyCount is what one policy would do to the fleet, and what its terminations would save, by the assumption.
type PolicyCount struct {
	Policy                                      Policy
	Notices, Flags, Stops, Starts, Terminations int
	EstimatedSaving                             money.USD
}

// Simulation is what the rules about time would do to WorkSpaces in the coming days. The money is estimated: fees of the
// months that begin in that time, and the running time to be expected.
type Simulation struct {
	From, To   time.Time
	WorkSpaces int
	Policies   []PolicyCount   // in their precedence
	Deeds      []SimulatedDeed // the soonest, terminations first of those at once
	Truncated  bool            // there are more
	// What the time would cost if the rules did nothing, and with them.
	EstimatedWithout, EstimatedWith money.USD
}

// Simulate tells what the rules would do, and changes nothing. Policies that are paused now do nothing, unless pauses are to
// be ignored. It reads page by page.
func Simulate(ctx context.Context, q postgres.Querier, f Filter, now time.Time, days int, ignorePauses bool) (Simulation, error) {
	if days < 1 || days > 365 {
		return Simulation{}, ErrDays
	}
	sim := Simulation{From: now, To: now.Add(time.Duration(days) * 24 * time.Hour)}
	for _, p := range Policies {
		sim.Policies = append(sim.Policies, PolicyCount{Policy: p})
	}
	book, err := cost.BookAt(ctx, q, now)
	if err != nil {
		return Simulation{}, err
	}
	var pauses Pauses
	if !ignorePauses {
		if pauses, err = ReadPauses(ctx, q, now); err != nil {
			return Simulation{}, err
		}
	}
	f.Live, f.After, f.Limit = true, "", simulatePage
	for {
		page, err := List(ctx, q, f)
		if err != nil {
			return Simulation{}, err
		}
		ids := make([]id.WorkSpace, len(page))
		for i := range page {
			ids[i] = page[i].ID
		}
		ran, err := cost.RunningSeconds(ctx, q, ids, now.Add(-pattern), now)
		if err != nil {
			return Simulation{}, err
		}
		for i := range page {
			if err := sim.add(&page[i], ran[page[i].ID], book, pauses); err != nil {
				return Simulation{}, err
			}
		}
		if len(page) < simulatePage {
			break
		}
		f.After = string(page[len(page)-1].ID)
	}
	sim.cut()
	return sim, nil
}

// add lets the rules go through the days of one WorkSpace, which ran for so many seconds in the time of the pattern.
func (s *Simulation) add(w *WorkSpace, ran int64, book *price.Book, pauses Pauses) error {
	s.WorkSpaces++
	rates, err := book.RatesOf(w.spec())
	if err != nil {
		return err
	}
	var perPattern money.USD // running time
	if rates.Hour != nil {
		perPattern = rates.Hour.Amount.Share(ran, int64(time.Hour/time.Second))
	}
	until := func(end time.Time) money.USD {
		total := perPattern.Share(int64(end.Sub(s.From)/time.Second), int64(pattern/time.Second))
		for month := clock.StartOfNextMonth(s.From); !month.After(end); month = clock.StartOfNextMonth(month) {
			total += rates.Fee()
		}
		return total
	}
	without := until(s.To)
	if w.Desired == WantTerminated {
		without = 0
	}
	with := without
	for _, d := range w.foresee(s.From, s.To, ran > 0, pauses) {
		c := &s.Policies[slices.Index(Policies, d.Policy)]
		switch deed(d.Action) {
		case doNotice:
			c.Notices++
		case doFlag:
			c.Flags++
		case doStop:
			c.Stops++
		case doStart:
			c.Starts++
		case doTerminate:
			c.Terminations++
			with = until(d.At)
			c.EstimatedSaving += without - with
		case doCheck, doRestore:
		}
		s.Deeds = append(s.Deeds, d)
	}
	s.EstimatedWithout += without
	s.EstimatedWith += with
	if len(s.Deeds) > 4*mostDeeds {
		s.cut()
	}
	return nil
}

// cut keeps the soonest deeds.
func (s *Simulation) cut() {
	slices.SortStableFunc(s.Deeds, func(a, b SimulatedDeed) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return compareBool(a.Action == string(doTerminate), b.Action == string(doTerminate))
	})
	if len(s.Deeds) > mostDeeds {
		s.Deeds, s.Truncated = s.Deeds[:mostDeeds], true
	}
}

// compareBool orders true before false.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// foresee has the rules act on a copy of the row, from one instant until another, by the same functions that act on the row
// itself. What is used is never idle nor forgotten; about what is not, Amazon says that nobody has been there since.
func (w *WorkSpace) foresee(from, until time.Time, used bool, pauses Pauses) (all []SimulatedDeed) {
	is := *w
	is.Notices = map[string]Notice{}
	for policy, n := range w.Notices {
		is.Notices[policy] = n
	}
	now := from
	for range mostSteps {
		var next *step
		for _, c := range is.rules(now) {
			d := c.next
			if used && (d.policy == PolicyIdle && d.do == doCheck || d.policy == PolicyStale) || pauses.why(d.policy, d.do, now) != "" {
				continue
			}
			if next == nil || d.at.Before(next.at) {
				next = &d
			}
		}
		if next == nil || next.at.After(until) {
			return all
		}
		now = later(now, next.at)
		nobody := reading{Connection: Connection{State: "DISCONNECTED", CheckedAt: now, LastAt: is.LastConnectedAt}, known: true}
		action := next.do
		if next.do == doCheck && next.policy == PolicyIdle {
			action = doStop
		}
		if !is.still(*next, nobody, now) {
			is.read(nobody.Connection, true, now)
			continue
		}
		is.undergo(*next, now)
		if used && next.do == doStop { // its user comes back
			is.Desired, is.State, is.StoppedAt = WantAvailable, Available, nil
		}
		if action != doRestore && action != doCheck {
			all = append(all, SimulatedDeed{WorkspaceID: w.ID, Name: w.Name, UserID: w.UserID, TeamID: w.TeamID, Policy: next.policy, Action: string(action), At: now})
		}
		if is.Desired == WantTerminated {
			return all
		}
	}
	return all
}

// undergo is what a step makes of the row once Amazon has carried it out.
func (w *WorkSpace) undergo(d step, now time.Time) {
	switch d.do {
	case doNotice:
		w.notice(d, now)
	case doFlag:
		w.StaleAt = &now
	case doTerminate:
		w.Desired = WantTerminated
	case doRestore:
		w.ExtendedUntil, w.ExtendedMinutes = nil, nil
	case doStop, doCheck:
		w.Desired, w.State, w.StateSince, w.StoppedAt = WantStopped, Stopped, now, &now
	case doStart:
		w.Desired, w.State, w.StateSince, w.StoppedAt, w.StaleAt = WantAvailable, Available, now, nil, nil
	}
}
