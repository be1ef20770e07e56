package budget_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// held is what a WorkSpace's hold keeps, in whole dollars: fixed, lease, and the lease when full.
func (r *room) held(t *testing.T, ws id.WorkSpace) [3]int {
	t.Helper()
	fixed, lease, target, err := r.book.Held(t.Context(), r.Pool, ws)
	if err != nil {
		t.Fatal(err)
	}
	return [3]int{int(fixed / money.Dollar), int(lease / money.Dollar), int(target / money.Dollar)}
}

func (r *room) resize(ctx context.Context, ws id.WorkSpace, fixed, lease money.USD) error {
	return r.try(ctx, func(ctx context.Context, tx *audit.Tx) error {
		return r.book.Resize(ctx, tx, ws, fixed*money.Dollar, lease*money.Dollar)
	})
}

func (r *room) move(ctx context.Context, ws id.WorkSpace, to budget.Payer) error {
	return r.try(ctx, func(ctx context.Context, tx *audit.Tx) error { return r.book.Move(ctx, tx, ws, to) })
}

func (r *room) charge(t *testing.T, ws id.WorkSpace, part budget.Part, amount money.USD) {
	t.Helper()
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		return r.book.Charge(ctx, tx, ws, r.payer(), part, clock.StartOfMonth(tx.Now), amount, "test")
	})
}

func (r *room) renewOrTell(t *testing.T, ws id.WorkSpace) {
	t.Helper()
	r.do(t, func(ctx context.Context, tx *audit.Tx) error { return r.book.RenewOrTell(ctx, tx, ws) })
}

func TestToHoldMoreTakesRoomAndToHoldLessNever(t *testing.T) {
	for name, c := range map[string]struct {
		limit        money.USD // what is held at first is 0 and 3, of which 2 are charged
		fixed, lease money.USD
		want         [3]int
		refused      bool
	}{
		"a fee that fits":                       {10, 5, 3, [3]int{5, 3, 3}, false},
		"a fee that just fits":                  {10, 5, 2, [3]int{5, 2, 2}, false},
		"a fee that does not":                   {9, 5, 3, [3]int{0, 1, 3}, true},
		"a lease that fits":                     {10, 0, 8, [3]int{0, 8, 8}, false},
		"a lease that does not":                 {10, 0, 9, [3]int{0, 1, 3}, true},
		"a fee for a lease, which is no more":   {3, 1, 0, [3]int{1, 0, 0}, false},
		"a fee for a lease, which is more":      {3, 2, 0, [3]int{0, 1, 3}, true},
		"a smaller lease, and room for it":      {10, 0, 2, [3]int{0, 2, 2}, false},
		"a smaller lease, and no room":          {3, 0, 2, [3]int{0, 1, 2}, false},
		"no lease, beyond the limit":            {1, 0, 0, [3]int{0, 0, 0}, false},
		"a smaller lease, beyond the limit":     {1, 0, 2, [3]int{0, 1, 2}, false},
		"what it is, with room: it is filled":   {10, 0, 3, [3]int{0, 3, 3}, false},
		"what it is, and no room: it stays so":  {3, 0, 3, [3]int{0, 1, 3}, false},
		"a fee beyond the limit is not smaller": {1, 1, 3, [3]int{0, 1, 3}, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := setUp(t, "deny")
			team := string(r.org.Teams[0])
			r.set(t, budget.Team, team, 10*money.Dollar)
			ws := id.New[id.WorkSpace]()
			r.mustHold(t, ws, r.payer(), 0, 3*money.Dollar)
			r.charge(t, ws, budget.Lease, 2*money.Dollar)
			r.do(t, func(ctx context.Context, tx *audit.Tx) error {
				_, err := r.book.Set(ctx, tx, budget.Setting{Scope: budget.Team, ScopeID: team, Amount: c.limit * money.Dollar, AcceptOverrun: true})
				return err
			})
			overrun := r.team(t).Overrun
			err := r.resize(t.Context(), ws, c.fixed, c.lease)
			if errors.Is(err, budget.ErrExceeded) != c.refused || !c.refused && err != nil {
				t.Errorf("resized: %v", err)
			}
			if got := r.held(t, ws); got != c.want {
				t.Errorf("it holds %v, want %v", got, c.want)
			}
			if b := r.team(t); b.Overrun > overrun {
				t.Errorf("more is overrun: %+v", b)
			}
			r.audit(t)
		})
	}
}

func TestWhatHoldsNothingIsNeitherResizedNorMoved(t *testing.T) {
	r := setUp(t, "allow")
	ws := id.New[id.WorkSpace]()
	if err := r.resize(t.Context(), ws, 1, 1); err == nil {
		t.Error("resized")
	}
	if err := r.move(t.Context(), ws, r.payer()); err == nil {
		t.Error("moved")
	}
	if got := r.held(t, ws); got != [3]int{} {
		t.Errorf("it holds %v", got)
	}
	r.mustHold(t, ws, r.payer(), money.Dollar, money.Dollar)
	if err := r.resize(t.Context(), ws, -1, 1); !errors.Is(err, budget.ErrAmount) {
		t.Errorf("resized to a negative amount: %v", err)
	}
}

// A correction gives back what was spent, and leaves alone what is held for what is still to be.
func TestACorrectionUsesUpNoHold(t *testing.T) {
	r := setUp(t, "deny")
	r.set(t, budget.Team, string(r.org.Teams[0]), 10*money.Dollar)
	ws := id.New[id.WorkSpace]()
	r.mustHold(t, ws, r.payer(), 4*money.Dollar, 3*money.Dollar)
	r.charge(t, ws, budget.Fixed, 4*money.Dollar)
	if err := r.resize(t.Context(), ws, 2, 3); err != nil {
		t.Fatal(err)
	}
	r.charge(t, ws, budget.Correction, -3*money.Dollar)
	if b := r.team(t); b.Settled != money.Dollar || b.Held != 5*money.Dollar {
		t.Errorf("the balance is %+v", b)
	}
	r.charge(t, ws, budget.Correction, 0)
	r.audit(t)
}

// To another project of the same team: the team's budget and the organisation's see nothing of it.
func TestAMoveTakesRoomOnlyWhereThePayerIsNew(t *testing.T) {
	r := setUp(t, "deny")
	org, team := budget.OrganisationID, string(r.org.Teams[0])
	projects := [2]string{string(r.org.Projects[0]), string(r.org.Projects[1])}
	r.set(t, budget.Organisation, org, 7*money.Dollar)
	r.set(t, budget.Team, team, 7*money.Dollar) // full, and common to both
	r.set(t, budget.Project, projects[0], 10*money.Dollar)
	r.set(t, budget.Project, projects[1], 7*money.Dollar-1)
	from, to := r.payer(), r.payer()
	from.Project, to.Project = r.org.Projects[0], r.org.Projects[1]
	ws := id.New[id.WorkSpace]()
	r.mustHold(t, ws, from, 4*money.Dollar, 3*money.Dollar)
	entries := func(s budget.Scope) int {
		return pgtest.Value[int](t, r.DB, `SELECT count(*) FROM budget_entries e JOIN user_budgets b ON b.id = e.budget_id WHERE b.scope = $1`, s)
	}
	before := entries(budget.Team) + entries(budget.Organisation)
	if err := r.move(t.Context(), ws, to); !errors.Is(err, budget.ErrExceeded) {
		t.Fatalf("moved to where there is no room: %v", err)
	}
	if b := r.find(t, budget.Project, projects[0]); b.Held != 7*money.Dollar {
		t.Errorf("the refusal changed something: %+v", b)
	}
	r.set(t, budget.Project, projects[1], 7*money.Dollar)
	for range 2 { // moved there, it is there
		if err := r.move(t.Context(), ws, to); err != nil {
			t.Fatal(err)
		}
		r.audit(t)
	}
	if a, b := r.find(t, budget.Project, projects[0]), r.find(t, budget.Project, projects[1]); a.Held != 0 || b.Held != 7*money.Dollar {
		t.Errorf("the projects' balances are %+v and %+v", a, b)
	}
	if n := entries(budget.Team) + entries(budget.Organisation); n != before {
		t.Errorf("%d movements in budgets that it did not leave", n-before)
	}
	if b := r.find(t, budget.Project, projects[1]); b.ExhaustedAt == nil {
		t.Error("the second project's budget has come to its limit, and does not say so")
	}
	r.release(t, ws)
	r.audit(t)
}

func TestAMoveToWhatNoBudgetCoversIsAllowedOrDeniedByDefault(t *testing.T) {
	for def, want := range map[string]error{"allow": nil, "deny": budget.ErrNone} {
		r := setUp(t, def)
		r.set(t, budget.Team, string(r.org.Teams[0]), 10*money.Dollar)
		ws := id.New[id.WorkSpace]()
		r.mustHold(t, ws, r.payer(), money.Dollar, money.Dollar)
		err := r.move(t.Context(), ws, budget.Payer{User: r.org.Users[1][actor.Engineer], Team: r.org.Teams[1]})
		if !errors.Is(err, want) {
			t.Errorf("by default %s: %v, want %v", def, err, want)
		}
		if b := r.team(t); b.Held != map[bool]money.USD{true: 0, false: 2 * money.Dollar}[want == nil] {
			t.Errorf("by default %s the team's balance is %+v", def, b)
		}
		r.audit(t)
	}
}

// Of simultaneous moves into a project, exactly those with room are made; so are growing holds.
func TestOfSimultaneousMovesAndGrowthsExactlyThoseWithRoomAreMade(t *testing.T) {
	const n, fit = 16, 5
	r := setUp(t, "deny")
	r.set(t, budget.Organisation, budget.OrganisationID, 1000*money.Dollar)
	r.set(t, budget.Project, string(r.org.Projects[0]), fit*5*money.Dollar+4*money.Dollar)
	all := make([]id.WorkSpace, n)
	to := r.payer()
	to.Project = r.org.Projects[0]
	count := func(errs []error) (made int) {
		for _, err := range errs {
			switch {
			case err == nil:
				made++
			case !errors.Is(err, budget.ErrExceeded):
				t.Error(err)
			}
		}
		return made
	}
	for i := range all {
		all[i] = id.New[id.WorkSpace]()
		r.mustHold(t, all[i], r.payer(), 3*money.Dollar, 2*money.Dollar)
	}
	if made := count(atOnce(n, func(i int) error { return r.move(t.Context(), all[i], to) })); made != fit {
		t.Errorf("%d were moved, want exactly %d", made, fit)
	}
	r.audit(t)
	if made := count(atOnce(n, func(i int) error { return r.resize(t.Context(), all[i], 5, 2) })); made != n-fit+2 { // 4 dollars are left
		t.Errorf("%d have grown, want %d", made, n-fit+2)
	}
	r.audit(t)
	r.noDeadlocks(t)
}

func TestOnlyABudgetThatStopsMakesWhatRunsDue(t *testing.T) {
	r := setUp(t, "deny")
	team, user := string(r.org.Teams[0]), string(r.payer().User)
	set := func(s budget.Scope, scopeID string, amount money.USD, e budget.Enforcement) {
		t.Helper()
		r.do(t, func(ctx context.Context, tx *audit.Tx) error {
			_, err := r.book.Set(ctx, tx, budget.Setting{Scope: s, ScopeID: scopeID, Amount: amount * money.Dollar, Enforcement: e, AcceptOverrun: true})
			return err
		})
	}
	ws := id.New[id.WorkSpace]()
	noon := midNovember
	dueAt := func() string {
		t.Helper()
		due, err := budget.StopAt(t.Context(), r.Pool, []id.WorkSpace{ws})
		if err != nil {
			t.Fatal(err)
		}
		if at, ok := due[ws]; ok {
			return fmt.Sprint(at.Sub(noon).Hours())
		}
		return ""
	}
	expect := func(when, want string) {
		t.Helper()
		r.renewOrTell(t, ws)
		if got := dueAt(); got != want {
			t.Errorf("%s it is due %q hours from noon, want %q", when, got, want)
		}
	}
	set(budget.Team, team, 10, budget.Block)
	set(budget.User, user, 10, budget.BlockAndStop)
	r.mustHold(t, ws, r.payer(), 0, 3*money.Dollar)
	r.charge(t, ws, budget.Lease, money.Dollar)
	set(budget.Team, team, 3, budget.Block)
	r.settledUntil = noon
	expect("with room in the user's budget, not in the team's", "")
	set(budget.User, user, 3, budget.BlockAndStop)
	r.settledUntil = time.Time{}
	expect("while it does not run", "")
	r.settledUntil = noon
	expect("with two hours paid", "2")
	r.settledUntil = noon.Add(2 * time.Hour)
	expect("when it could look later", "2")
	r.settledUntil = noon.Add(-time.Hour)
	expect("when it is earlier", "1")
	for now, want := range map[time.Time][]id.WorkSpace{noon: {}, noon.Add(time.Hour): {ws}} {
		if due, err := budget.DueStops(t.Context(), r.Pool, now, 5); err != nil || !slices.Equal(due, want) {
			t.Errorf("at %s the due are %v (%v)", now, due, err)
		}
	}
	set(budget.User, user, 3, budget.Block)
	expect("when the budget stops nothing any more", "")
	set(budget.User, user, 3, budget.BlockAndStop)
	expect("and again", "1")
	set(budget.User, user, 100, budget.BlockAndStop)
	set(budget.Team, team, 100, budget.Block)
	expect("when there is room again", "")
	if got := r.held(t, ws); got != [3]int{0, 3, 3} {
		t.Errorf("it holds %v", got)
	}
	r.charge(t, ws, budget.Lease, money.Dollar)
	set(budget.User, user, 4, budget.BlockAndStop)
	expect("full again", "1")
	if err := r.resize(t.Context(), ws, 0, 2); err != nil || dueAt() != "" { // what is left of it is all it needs
		t.Errorf("resized (%v), it is due %q", err, dueAt())
	}
	r.charge(t, ws, budget.Lease, money.Dollar)
	expect("once more", "0")
	other := budget.Payer{User: r.org.Users[0][actor.TeamLead], Team: r.payer().Team}
	if err := r.move(t.Context(), ws, other); err != nil || dueAt() != "" {
		t.Errorf("moved (%v), it is due %q", err, dueAt())
	}
	expect("where there is room", "")
	r.audit(t)
	r.release(t, ws)
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM budget_holds`); n != 0 {
		t.Errorf("%d holds are left", n)
	}
}
