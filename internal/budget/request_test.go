package budget_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
)

// by makes a recorded change as one of the first team's people.
func (r *room) by(ctx context.Context, role actor.Role, fn func(ctx context.Context, tx *audit.Tx) error) error {
	ctx = actor.With(ctx, r.org.Actor(0, role))
	return r.log.Change(ctx, audit.Intent{Action: "test.try", ResourceType: "budget"}, func(tx *audit.Tx) error { return fn(ctx, tx) })
}

// ask asks for more of the engineer's own budget.
func (r *room) ask(t *testing.T, amount money.USD, until *time.Time) budget.Request {
	t.Helper()
	var out budget.Request
	if err := r.by(t.Context(), actor.Engineer, func(ctx context.Context, tx *audit.Tx) (err error) {
		out, err = r.book.Ask(ctx, tx, budget.Wish{
			Scope: budget.User, ScopeID: string(r.org.Users[0][actor.Engineer]), Team: r.org.Teams[0], Amount: amount, Reason: "a release", Until: until,
		})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func (r *room) approve(ctx context.Context, role actor.Role, request id.BudgetRequest, d budget.Decision) error {
	return r.by(ctx, role, func(ctx context.Context, tx *audit.Tx) error {
		_, err := r.book.Approve(ctx, tx, request, d)
		return err
	})
}

func (r *room) returnLoan(ctx context.Context) (n int, err error) {
	err = with(ctx, r.log, func(ctx context.Context, tx *audit.Tx) (err error) {
		n, err = r.book.ReturnLoan(ctx, tx)
		return err
	})
	return n, err
}

func (r *room) mine(t *testing.T) budget.Budget {
	t.Helper()
	return r.find(t, budget.User, string(r.org.Users[0][actor.Engineer]))
}

// lender is a room in which the team has 1000, the engineer 100.
func lender(t *testing.T) *room {
	t.Helper()
	r := setUp(t, "deny")
	r.set(t, budget.Team, string(r.org.Teams[0]), 1000*money.Dollar)
	r.set(t, budget.User, string(r.org.Users[0][actor.Engineer]), 100*money.Dollar)
	return r
}

func (r *room) state(t *testing.T, request id.BudgetRequest) budget.RequestState {
	t.Helper()
	found, err := budget.FindRequest(t.Context(), r.Pool, request, r.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return found.State
}

func (r *room) told(t *testing.T, kind string) (n int) {
	t.Helper()
	if err := r.Pool.QueryRow(t.Context(), `SELECT count(*) FROM notifications WHERE kind = $1`, kind).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestALoanIsLentAndGoesBackByItself(t *testing.T) {
	r := lender(t)
	until := midNovember.Add(48 * time.Hour)
	asked := r.ask(t, 50*money.Dollar, &until)
	if asked.State != budget.Pending || asked.BudgetLimit != 100*money.Dollar || r.told(t, "budget.requested") != 1 {
		t.Fatalf("asked: %+v", asked)
	}
	if err := r.approve(t.Context(), actor.TeamLead, asked.ID, budget.Decision{}); err != nil {
		t.Fatal(err)
	}
	if b := r.mine(t); b.Limit != 150*money.Dollar || b.Amount != 100*money.Dollar || b.Lent != 50*money.Dollar {
		t.Fatalf("lent: %+v", b)
	}
	r.mustHold(t, "ws_a", r.payer(), 120*money.Dollar, 0)
	if n, err := r.returnLoan(t.Context()); err == nil && n != 0 {
		t.Fatalf("%d loans went back before their time", n)
	}
	// The month turns before the loan ends for another one: it is lent in the new month, too.
	r.clock.Set(until)
	if n, err := r.returnLoan(t.Context()); err != nil || n != 1 {
		t.Fatalf("the loan's end: %d %v", n, err)
	}
	if n, err := r.returnLoan(t.Context()); err != nil || n != 0 {
		t.Fatalf("the loan's end again: %d %v", n, err)
	}
	b := r.mine(t)
	if b.Limit != 100*money.Dollar || b.Lent != 0 || b.Overrun != 20*money.Dollar || r.state(t, asked.ID) != budget.Returned {
		t.Fatalf("returned: %+v %s", b, r.state(t, asked.ID))
	}
	if r.told(t, "budget.request_approved") != 1 || r.told(t, "budget.loan_ended") != 1 {
		t.Error("somebody was not told")
	}
	history, err := budget.History(t.Context(), r.Pool, b.ID, 0, 10)
	if err != nil || len(history) != 3 || history[0].Cause != "loan_ended" || history[1].Cause != "loan" || history[1].Lent != 50*money.Dollar ||
		*history[1].RequestID != asked.ID || history[2].Cause != "set" {
		t.Fatalf("history: %+v %v", history, err)
	}
	r.audit(t)
	if a, err := budget.Audit(t.Context(), r.Pool, r.clock.Now()); err != nil || len(a.Differences) != 0 || a.Entries == 0 {
		t.Fatalf("audit: %+v %v", a, err)
	}
}

func TestALoanOverTheMonthsEndIsLentInBothMonths(t *testing.T) {
	r := lender(t)
	until := time.Date(2026, 12, 3, 0, 0, 0, 0, time.UTC)
	asked := r.ask(t, 50*money.Dollar, &until)
	if err := r.approve(t.Context(), actor.Finance, asked.ID, budget.Decision{}); err != nil {
		t.Fatal(err)
	}
	r.clock.Set(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC))
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		_, err := r.book.RollOver(ctx, tx)
		return err
	})
	if b := r.mine(t); b.Limit != 150*money.Dollar {
		t.Fatalf("in December: %+v", b)
	}
	r.clock.Set(until)
	if n, err := r.returnLoan(t.Context()); err != nil || n != 1 {
		t.Fatalf("%d %v", n, err)
	}
	if b := r.mine(t); b.Limit != 100*money.Dollar {
		t.Fatalf("after it: %+v", b)
	}
	r.audit(t)
}

func TestWhoMayDecideAndWhatMayNotBeDecided(t *testing.T) {
	r := lender(t)
	soon := midNovember.Add(time.Hour)
	mine := r.ask(t, 50*money.Dollar, &soon)
	for name, c := range map[string]struct {
		role actor.Role
		d    budget.Decision
		want error
	}{
		"their own":           {actor.Engineer, budget.Decision{}, budget.ErrRequestOwn},
		"more than the team":  {actor.TeamLead, budget.Decision{Amount: new(901 * money.Dollar)}, budget.ErrAboveTeam},
		"nothing":             {actor.Finance, budget.Decision{Amount: new(money.USD)}, budget.ErrRequestNothing},
		"less than nothing":   {actor.Finance, budget.Decision{Amount: new(-money.Dollar)}, budget.ErrAmount},
		"more than there is":  {actor.Finance, budget.Decision{Amount: new(money.Max)}, budget.ErrAmount},
		"until now":           {actor.Finance, budget.Decision{Until: new(midNovember)}, budget.ErrUntil},
		"until the year 3000": {actor.Finance, budget.Decision{Until: new(midNovember.AddDate(1000, 0, 0))}, budget.ErrUntil},
	} {
		if err := r.approve(t.Context(), c.role, mine.ID, c.d); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.approve(t.Context(), actor.Finance, "brq_none", budget.Decision{}); !errors.Is(err, budget.ErrRequestNotFound) {
		t.Errorf("a request that is not: %v", err)
	}
	err := r.by(t.Context(), actor.Engineer, func(ctx context.Context, tx *audit.Tx) error {
		_, err := r.book.Ask(ctx, tx, budget.Wish{Scope: budget.User, ScopeID: mine.ScopeID, Team: r.org.Teams[0], Amount: 1, Reason: "again"})
		return err
	})
	if !errors.Is(err, budget.ErrRequestPending) {
		t.Errorf("asked twice: %v", err)
	}
	// Nobody has decided in time.
	r.clock.Set(soon)
	if err := r.approve(t.Context(), actor.Finance, mine.ID, budget.Decision{}); !errors.Is(err, budget.ErrRequestExpired) {
		t.Errorf("too late: %v", err)
	}
	if r.state(t, mine.ID) != budget.Expired {
		t.Error("it is shown as if it could be decided")
	}
	// What is over stands in nobody's way; what is granted for good has no end.
	second := r.ask(t, 50*money.Dollar, nil)
	if err := r.approve(t.Context(), actor.TeamLead, second.ID, budget.Decision{Amount: new(900 * money.Dollar)}); err != nil {
		t.Error(err)
	}
	if b := r.mine(t); b.Amount != 1000*money.Dollar || b.Limit != 1000*money.Dollar || b.Lent != 0 {
		t.Errorf("granted for good: %+v", b)
	}
	if err := r.approve(t.Context(), actor.Finance, second.ID, budget.Decision{}); !errors.Is(err, budget.ErrRequestDecided) {
		t.Errorf("decided twice: %v", err)
	}
	third := r.ask(t, money.Dollar, nil)
	if err := r.by(t.Context(), actor.TeamLead, func(ctx context.Context, tx *audit.Tx) error {
		_, err := r.book.Withdraw(ctx, tx, third.ID)
		return err
	}); !errors.Is(err, budget.ErrRequestNotFound) {
		t.Errorf("withdrawn by another: %v", err)
	}
	if err := r.by(t.Context(), actor.TeamLead, func(ctx context.Context, tx *audit.Tx) error {
		_, err := r.book.Decline(ctx, tx, third.ID, "no")
		return err
	}); err != nil || r.state(t, third.ID) != budget.Declined || r.told(t, "budget.request_declined") != 1 {
		t.Errorf("declined: %v %s", err, r.state(t, third.ID))
	}
	r.audit(t)
}

// race runs all at once, and counts those that succeed; the others must fail with want.
func race(t *testing.T, want error, all ...func() error) (won int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	for _, fn := range all {
		wg.Go(func() {
			<-start
			err := fn()
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.Is(err, want):
				t.Errorf("lost with %v", err)
			}
		})
	}
	close(start)
	wg.Wait()
	return won
}

func TestOfManyDecisionsAtOnceOneStands(t *testing.T) {
	r := lender(t)
	limit := 100 * money.Dollar
	for round := range 12 {
		asked := r.ask(t, money.Dollar, nil)
		approve := func(role actor.Role) func() error {
			return func() error { return r.approve(t.Context(), role, asked.ID, budget.Decision{}) }
		}
		others := []func() error{approve(actor.TeamLead), approve(actor.Finance), approve(actor.Admin)}
		if round%2 == 1 {
			others = append(others, func() error {
				return r.by(t.Context(), actor.Engineer, func(ctx context.Context, tx *audit.Tx) error {
					_, err := r.book.Withdraw(ctx, tx, asked.ID)
					return err
				})
			})
		}
		if won := race(t, budget.ErrRequestDecided, others...); won != 1 {
			t.Fatalf("round %d: %d decisions stand", round, won)
		}
		if r.state(t, asked.ID) == budget.Approved {
			limit += money.Dollar
		}
		if b := r.mine(t); b.Limit != limit {
			t.Fatalf("round %d: %s, want %s", round, b.Limit, limit)
		}
	}
	r.audit(t)
}

// Loans end in several processes at once while another request of the same budget is approved, and WorkSpaces are admitted.
func TestEveryLoanGoesBackOnceWhileOthersAreGranted(t *testing.T) {
	r := lender(t)
	for round := range 6 {
		until := r.clock.Now().Add(time.Hour)
		loan := r.ask(t, 30*money.Dollar, &until)
		if err := r.approve(t.Context(), actor.Finance, loan.ID, budget.Decision{}); err != nil {
			t.Fatal(err)
		}
		wish := r.ask(t, 20*money.Dollar, nil)
		before := r.mine(t).Limit
		r.clock.Set(until)
		var mu sync.Mutex
		ended := 0
		back := func() error {
			n, err := r.returnLoan(t.Context())
			mu.Lock()
			defer mu.Unlock()
			ended += n
			return err
		}
		ws := id.New[id.WorkSpace]()
		won := race(t, nil, back, back, back,
			func() error { return r.approve(t.Context(), actor.TeamLead, wish.ID, budget.Decision{}) },
			func() error { return r.hold(t.Context(), ws, r.payer(), money.Dollar, 0) })
		if won != 5 || ended != 1 {
			t.Fatalf("round %d: %d of 5 came through, %d loans ended", round, won, ended)
		}
		if b := r.mine(t); b.Limit != before-10*money.Dollar || b.Lent != 0 {
			t.Fatalf("round %d: %s after %s", round, b.Limit, before)
		}
	}
	if n := r.told(t, "budget.loan_ended"); n != 6 {
		t.Errorf("told of %d ends", n)
	}
	r.audit(t)
}

func TestAnAuditNamesEachDifference(t *testing.T) {
	r := lender(t)
	r.mustHold(t, "ws_a", r.payer(), 10*money.Dollar, money.Dollar)
	r.Exec(t, `UPDATE budget_periods SET settled_micros = settled_micros + 7, version = version + 1 WHERE budget_id = $1`, r.mine(t).ID)
	r.Exec(t, `UPDATE budget_holds SET lease_micros = 0`)
	a, err := budget.Audit(t.Context(), r.Pool, r.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, d := range a.Differences {
		stored, rebuilt := d.Texts()
		found = append(found, string(d.Scope)+" "+d.What+" "+stored+" "+rebuilt)
	}
	want := []string{"TEAM holds 11.000000 10.000000", "USER balance_version 4 3", "USER entries 4 3", "USER holds 11.000000 10.000000", "USER settled 0.000007 0.000000"}
	if len(found) != len(want) {
		t.Fatalf("got %q", found)
	}
	for i := range want {
		if found[i] != want[i] {
			t.Errorf("got %q, want %q", found[i], want[i])
		}
	}
}
