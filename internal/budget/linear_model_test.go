package budget_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

const (
	modelBudgets = 6 // the organisation, two teams, two projects, one user
	modelDesks   = 8
)

// ledger is the model: one budget after the other, one request after the other. It is comparable, as porcupine wants it.
type ledger struct {
	limit, committed [modelBudgets]money.USD
	held             [modelDesks]money.USD
	payer            [modelDesks]int
}

// asked is what somebody asks of the ledger, and whether it was done.
type asked struct {
	what   string
	desk   int
	payer  int
	budget int
	amount money.USD
}

// touched are the model's budgets of each payer.
var touched = [][]int{{0, 1}, {0, 1, 3}, {0, 1, 3, 5}, {0, 1, 5}, {0, 2}, {0, 2, 4}}

func (l *ledger) room(payer int, amount money.USD) bool {
	for _, b := range touched[payer] {
		if l.limit[b]-l.committed[b] < amount {
			return false
		}
	}
	return true
}

func (l *ledger) move(payer int, amount money.USD) {
	for _, b := range touched[payer] {
		l.committed[b] += amount
	}
}

// step tells what the ledger must answer, and does it.
func (l *ledger) step(a asked) (done bool) {
	switch a.what {
	case "hold":
		if done = l.room(a.payer, a.amount); done {
			l.move(a.payer, a.amount)
			l.held[a.desk], l.payer[a.desk] = a.amount, a.payer
		}
	case "resize":
		need := a.amount - l.held[a.desk]
		if done = need <= 0 || l.room(l.payer[a.desk], need); done {
			l.move(l.payer[a.desk], need)
			l.held[a.desk] = a.amount
		}
	case "release":
		done = true
		l.move(l.payer[a.desk], -l.held[a.desk])
		l.held[a.desk] = 0
	case "limit":
		if done = l.committed[a.budget] <= a.amount; done {
			l.limit[a.budget] = a.amount
		}
	}
	return done
}

func modelOf(begin ledger) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return begin },
		Step: func(state, input, output any) (bool, any) {
			l := state.(ledger)
			done := l.step(input.(asked))
			return done == output.(bool), l
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %v", input, output) },
	}
}

// Whatever is asked at once, the answers are those of some order of asking one after the other that keeps to who asked
// before whom.
func TestVerdictsAreThoseOfOneAfterTheOther(t *testing.T) {
	const rounds, clients, steps = 25, modelDesks, 4
	r := setUp(t, "deny")
	random := pgtest.Random(t)
	lead := r.org.Users[0][actor.TeamLead]
	scopes := [modelBudgets]budget.Setting{
		{Scope: budget.Organisation, ScopeID: budget.OrganisationID},
		{Scope: budget.Team, ScopeID: string(r.org.Teams[0])},
		{Scope: budget.Team, ScopeID: string(r.org.Teams[1])},
		{Scope: budget.Project, ScopeID: string(r.org.Projects[0])},
		{Scope: budget.Project, ScopeID: string(r.org.Projects[1])},
		{Scope: budget.User, ScopeID: string(lead)},
	}
	engineers := [2]id.User{r.org.Users[0][actor.Engineer], r.org.Users[1][actor.Engineer]}
	payers := []budget.Payer{
		{User: engineers[0], Team: r.org.Teams[0]},
		{User: engineers[0], Team: r.org.Teams[0], Project: r.org.Projects[0]},
		{User: lead, Team: r.org.Teams[0], Project: r.org.Projects[0]},
		{User: lead, Team: r.org.Teams[0]},
		{User: engineers[1], Team: r.org.Teams[1]},
		{User: engineers[1], Team: r.org.Teams[1], Project: r.org.Projects[1]},
	}
	answers := map[string]int{}
	for round := range rounds {
		var begin ledger
		for i := range scopes {
			begin.limit[i] = money.USD(10+random.IntN(40)) * money.Dollar
			r.set(t, scopes[i].Scope, scopes[i].ScopeID, begin.limit[i])
		}
		desks := make([]id.WorkSpace, modelDesks)
		for i := range desks {
			desks[i] = id.New[id.WorkSpace]()
		}
		began := time.Now()
		histories := make([][]porcupine.Operation, clients)
		sources := make([]*rand.Rand, clients)
		for i := range sources {
			sources[i] = rand.New(rand.NewPCG(random.Uint64(), 0))
		}
		errs := atOnce(clients, func(i int) error {
			own, holds := sources[i], false
			for range steps {
				a := asked{what: "hold", desk: i, payer: own.IntN(len(payers)), amount: money.USD(1+own.IntN(15)) * money.Dollar}
				switch {
				case own.IntN(8) == 0:
					a.what, a.budget, a.amount = "limit", own.IntN(modelBudgets), money.USD(own.IntN(60))*money.Dollar
				case holds && own.IntN(2) == 0:
					a.what = "release"
				case holds:
					a.what = "resize"
				}
				call := time.Since(began)
				err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) (err error) {
					switch a.what {
					case "hold":
						_, err = r.book.Hold(ctx, tx, desks[i], payers[a.payer], a.amount, 0)
					case "resize":
						err = r.book.Resize(ctx, tx, desks[i], a.amount, 0)
					case "release":
						err = r.book.Release(ctx, tx, desks[i], "model")
					case "limit":
						s := scopes[a.budget]
						s.Amount = a.amount
						_, err = r.book.Set(ctx, tx, s)
					}
					return err
				})
				if err != nil && !errors.Is(err, budget.ErrExceeded) && !errors.Is(err, budget.ErrBelowCommitted) {
					return err
				}
				histories[i] = append(histories[i], porcupine.Operation{ClientId: i, Input: a, Output: err == nil, Call: int64(call), Return: int64(time.Since(began))})
				if err == nil && a.what != "limit" {
					holds = a.what != "release"
				}
			}
			return nil
		})
		var history []porcupine.Operation
		for i, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
			history = append(history, histories[i]...)
			r.release(t, desks[i])
		}
		for _, o := range history {
			answers[fmt.Sprint(o.Input.(asked).what, " ", o.Output)]++
		}
		if result := porcupine.CheckOperationsTimeout(modelOf(begin), history, time.Minute); result != porcupine.Ok {
			t.Fatalf("round %d is %s: %+v", round, result, history)
		}
	}
	t.Log(answers)
	for _, a := range []string{"hold true", "hold false", "resize true", "resize false", "release true", "limit true", "limit false"} {
		if answers[a] == 0 {
			t.Errorf("there was no %s", a)
		}
	}
	r.audit(t)
	r.noDeadlocks(t)
}

// The model itself refuses what is wrong: a verdict that came too late, and one that no order explains.
func TestTheModelTellsAWrongVerdict(t *testing.T) {
	var begin ledger
	for i := range begin.limit {
		begin.limit[i] = 10 * money.Dollar
	}
	hold := func(desk int, call, back int64, done bool) porcupine.Operation {
		return porcupine.Operation{ClientId: desk, Input: asked{what: "hold", desk: desk, amount: 6 * money.Dollar}, Output: done, Call: call, Return: back}
	}
	for name, c := range map[string]struct {
		history []porcupine.Operation
		want    bool
	}{
		"one of two":                       {[]porcupine.Operation{hold(0, 0, 5, true), hold(1, 1, 4, false)}, true},
		"both":                             {[]porcupine.Operation{hold(0, 0, 5, true), hold(1, 1, 4, true)}, false},
		"none":                             {[]porcupine.Operation{hold(0, 0, 5, false), hold(1, 1, 4, false)}, false},
		"refused for what was not to come": {[]porcupine.Operation{hold(0, 0, 1, false), hold(1, 2, 3, true)}, false},
	} {
		if got := porcupine.CheckOperations(modelOf(begin), c.history); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestARefusalNamesTheVersionsThatItSaw(t *testing.T) {
	r := setUp(t, "deny")
	r.set(t, budget.Organisation, budget.OrganisationID, 100*money.Dollar)
	r.set(t, budget.Team, string(r.org.Teams[0]), 5*money.Dollar)
	r.mustHold(t, id.New[id.WorkSpace](), r.payer(), money.Dollar, 0)
	if err := r.hold(t.Context(), id.New[id.WorkSpace](), r.payer(), 5*money.Dollar, 0); !errors.Is(err, budget.ErrExceeded) {
		t.Fatal(err)
	}
	e, err := leaf.Decode(pgtest.Value[[]byte](t, r.DB, `SELECT leaf FROM audit_logs WHERE result = 'refused'`))
	if err != nil {
		t.Fatal(err)
	}
	month := "2026-11-01T00:00:00Z"
	want := fmt.Sprint([]any{
		map[string]any{"scope": "ORGANISATION", "scope_id": budget.OrganisationID, "period_start": month, "balance_version": int64(3)},
		map[string]any{"scope": "TEAM", "scope_id": string(r.org.Teams[0]), "period_start": month, "balance_version": int64(3)},
	})
	if got := fmt.Sprint(e.Details["balances"]); got != want {
		t.Errorf("it names %s, not %s", got, want)
	}
}

func TestWhatABudgetThatOnlyWarnsLetsPassIsOverrunWithItsReason(t *testing.T) {
	r := setUp(t, "deny")
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		_, err := r.book.Set(ctx, tx, budget.Setting{Scope: budget.Team, ScopeID: string(r.org.Teams[0]), Amount: money.Dollar, Enforcement: budget.Warn})
		return err
	})
	r.mustHold(t, id.New[id.WorkSpace](), r.payer(), 5*money.Dollar, 0)
	if reason := pgtest.Value[string](t, r.DB, `SELECT reason FROM budget_entries WHERE overrun_delta_micros > 0`); reason != "the budget only warns" {
		t.Errorf("the reason is %q", reason)
	}
}
