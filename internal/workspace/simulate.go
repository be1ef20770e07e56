package workspace

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/schedule"
)

// What can be wrong with a simulation.
var (
	ErrDays     = fault.New(fault.Invalid, "DAYS_INVALID", "a simulation is of 1 to 365 days")
	ErrTooLarge = fault.New(fault.Unavailable, "SIMULATION_TOO_LARGE", "the simulation takes too long",
		fault.Suggest("ask for fewer days, or for one team or user"))
)

const (
	// simulatePage is how many WorkSpaces are read at once.
	simulatePage = 1000
	// mostDeeds is how many deeds a simulation names; it counts all.
	mostDeeds = 1000
)

// Assumption is what a simulation takes the users to do; its figures are estimates for that.
const Assumption = "what ran in the last 28 days runs at the same hours again, week by week; nobody comes back to what did not; " +
	"Amazon starts at once and stops what is idle on time, prices stay, and no budget stops or refuses anything"

// WhatIf is what a simulation takes to be otherwise than it is.
type WhatIf struct {
	IgnorePauses    bool
	MaxLifetimeDays int                // 0: as it is; else nobody's is longer
	Schedule        *schedule.Schedule // nil: as it is; else that of every AUTO_STOP WorkSpace
}

// check brings it into its normal form, or says what is wrong with it.
func (f *WhatIf) check() error {
	if f.MaxLifetimeDays < 0 || f.MaxLifetimeDays > 3650 {
		return ErrLifetime
	}
	if f.Schedule == nil {
		return nil
	}
	s, err := checkSchedule(f.Schedule, price.AutoStop)
	f.Schedule = s
	return err
}

// apply has it so from an instant on.
func (f WhatIf) apply(w *WorkSpace, from time.Time) {
	if f.MaxLifetimeDays > 0 && (w.MaxLifetimeDays == nil || *w.MaxLifetimeDays > f.MaxLifetimeDays) {
		w.MaxLifetimeDays = &f.MaxLifetimeDays
	}
	if f.Schedule != nil && w.RunningMode == price.AutoStop {
		w.Schedule, w.ScheduledThrough = f.Schedule, &from
	}
}

// SimulatedDeed is something that the rules would do.
type SimulatedDeed struct {
	WorkspaceID id.WorkSpace
	Name        string
	UserID      id.User
	TeamID      id.Team
	Policy      Policy
	Action      string
	At          time.Time
	Why         string
}

// Tally is how often something would be done, and what that would save, by the assumption. It is negative where starts cost
// more than stops save.
type Tally struct {
	Notices, Flags, Stops, Starts, Terminations int
	EstimatedSaving                             money.USD
}

func (t *Tally) count(d deed) {
	switch d {
	case doNotice:
		t.Notices++
	case doFlag:
		t.Flags++
	case doStop:
		t.Stops++
	case doStart:
		t.Starts++
	case doTerminate:
		t.Terminations++
	case doCheck, doRestore:
	}
}

// PolicyCount is what one policy would do to the fleet.
type PolicyCount struct {
	Policy Policy
	Tally
}

// TeamCount is what the policies would do to one team's WorkSpaces.
type TeamCount struct {
	TeamID     id.Team
	WorkSpaces int
	Tally
	EstimatedWithout, EstimatedWith money.USD
}

// Simulation is what the rules about time would do to WorkSpaces in the coming days. The money is estimated: fees of the
// months that begin in that time, and the running time to be expected.
type Simulation struct {
	From, To   time.Time
	WorkSpaces int
	Unpriced   int             // those that the price book has no price for: they cost nothing here
	Policies   []PolicyCount   // in their precedence
	Teams      []TeamCount     // those that save most first
	Deeds      []SimulatedDeed // terminations first, the soonest first
	Truncated  bool            // there are more
	// What the time would cost if the rules did nothing, and with them.
	EstimatedWithout, EstimatedWith money.USD

	teams map[id.Team]*TeamCount
}

// Simulate tells what the rules would do, and changes nothing. What is paused does nothing until its pause ends. It reads
// page by page, and keeps no more than sums and the deeds that it names; when ctx has a deadline, that is ErrTooLarge.
func Simulate(ctx context.Context, q postgres.Querier, f Filter, now time.Time, days int, what WhatIf) (Simulation, error) {
	if days < 1 || days > 365 {
		return Simulation{}, ErrDays
	}
	if err := what.check(); err != nil {
		return Simulation{}, err
	}
	sim := newSimulation(now, days)
	if err := sim.read(ctx, q, f, what); err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = ErrTooLarge
		}
		return Simulation{}, err
	}
	sim.finish()
	return *sim, nil
}

func newSimulation(now time.Time, days int) *Simulation {
	sim := &Simulation{From: now, To: now.Add(time.Duration(days) * 24 * time.Hour), teams: map[id.Team]*TeamCount{}}
	for _, p := range Policies {
		sim.Policies = append(sim.Policies, PolicyCount{Policy: p})
	}
	return sim
}

func (s *Simulation) read(ctx context.Context, q postgres.Querier, f Filter, what WhatIf) error {
	book, err := cost.BookAt(ctx, q, s.From)
	if err != nil {
		return err
	}
	var pauses Pauses
	if !what.IgnorePauses {
		if pauses, err = ReadPauses(ctx, q, s.From); err != nil {
			return err
		}
	}
	f.Live, f.After, f.Limit = true, "", simulatePage
	for {
		page, err := List(ctx, q, f)
		if err != nil || len(page) == 0 {
			return err
		}
		ids := make([]id.WorkSpace, len(page))
		for i := range page {
			ids[i] = page[i].ID
		}
		runs, err := cost.Runs(ctx, q, ids, s.From.Add(-patternTime), s.From)
		if err != nil {
			return err
		}
		ran := map[id.WorkSpace][]stretch{}
		for _, r := range runs {
			ran[r.WorkspaceID] = append(ran[r.WorkspaceID], stretch{r.OpenedAt, r.ClosedAt})
		}
		for i := range page {
			w := &page[i]
			rates, err := s.ratesOf(book, w)
			if err != nil {
				return err
			}
			what.apply(w, s.From)
			out, err := w.foresee(ctx, s.From, s.To, patternOf(w.used(ran[w.ID]), w.CreatedAt, s.From), rates, pauses)
			if err != nil {
				return err
			}
			s.add(w, out)
		}
		if len(page) < simulatePage {
			return nil
		}
		f.After = string(page[len(page)-1].ID)
	}
}

// ratesOf are a WorkSpace's prices: none for one that the book does not know.
func (s *Simulation) ratesOf(book *price.Book, w *WorkSpace) (price.Rates, error) {
	rates, err := book.RatesOf(w.spec())
	if errors.Is(err, price.ErrUnknown) {
		s.Unpriced++
		return price.Rates{}, nil
	}
	return rates, err
}

// add counts what would be done to one WorkSpace.
func (s *Simulation) add(w *WorkSpace, out foreseen) {
	team := s.teams[w.TeamID]
	if team == nil {
		team = &TeamCount{TeamID: w.TeamID}
		s.teams[w.TeamID] = team
	}
	s.WorkSpaces++
	team.WorkSpaces++
	for _, d := range out.deeds {
		s.policy(d.Policy).count(deed(d.Action))
		team.count(deed(d.Action))
	}
	for p, saved := range out.saved {
		s.policy(p).EstimatedSaving += saved
	}
	s.EstimatedWithout += out.without
	s.EstimatedWith += out.with
	team.EstimatedWithout += out.without
	team.EstimatedWith += out.with
	team.EstimatedSaving += out.without - out.with
	if s.Deeds = append(s.Deeds, out.deeds...); len(s.Deeds) > 4*mostDeeds {
		s.cut()
	}
}

func (s *Simulation) policy(p Policy) *Tally { return &s.Policies[slices.Index(Policies, p)].Tally }

func (s *Simulation) finish() {
	s.cut()
	for _, t := range s.teams {
		s.Teams = append(s.Teams, *t)
	}
	slices.SortFunc(s.Teams, func(a, b TeamCount) int {
		return cmp.Or(cmp.Compare(b.EstimatedSaving, a.EstimatedSaving), strings.Compare(string(a.TeamID), string(b.TeamID)))
	})
}

// cut keeps the terminations, and then the rest, each the soonest.
func (s *Simulation) cut() {
	rank := func(d SimulatedDeed) int {
		if d.Action == string(doTerminate) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(s.Deeds, func(a, b SimulatedDeed) int {
		return cmp.Or(rank(a)-rank(b), a.At.Compare(b.At), strings.Compare(string(a.WorkspaceID), string(b.WorkspaceID)))
	})
	if len(s.Deeds) > mostDeeds {
		s.Deeds, s.Truncated = s.Deeds[:mostDeeds:mostDeeds], true
	}
}
