package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
)

// TestARushIsOneAfterTheOther is the reduction of TestProveBudgetsOneAfterTheOther.
func TestARushIsOneAfterTheOther(t *testing.T) { linear(t, 6, 20261202) }

// rushedTogether is how many people ask at once in a small round.
const rushedTogether = 10

// left is what the budgets of a round have left: the team's, its projects' and its people's.
type left [3 + rushedTogether]money.USD

// wish is a request as the model knows it.
type wish struct {
	touches []int
	amount  money.USD
}

// linear has a team at a time ask for WorkSpaces at once, and finds for every team an order of asking one after the other that
// gives the answers that they had. What nobody waited for may have come to something, at any time after it was asked.
func linear(t *testing.T, rounds int, seed uint64) {
	t.Helper()
	t.Logf("seed %d: %d rounds of %d people", seed, rounds, rushedTogether)
	// Nothing but the requests moves the balances: to make a WorkSpace takes Amazon twenty minutes.
	r := newRush(t, rushConfig{users: rounds * rushedTogether, teams: rounds, seed: seed, teamsOnly: true, speed: 1})
	begin := r.roomNow()
	calm, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	others.Go(func() { r.murder(calm, rand.New(rand.NewPCG(seed, 2<<32))) }) //nolint:gosec // repeatable on purpose
	for team := range slices.Chunk(r.people, rushedTogether) {
		r.atOnce(team)
		r.atOnce(slices.DeleteFunc(slices.Clone(team), func(p *rusher) bool { return p.ws != "" }))
	}
	cancel()
	others.Wait()
	r.end()
	_, _, admitted, refused := r.check()
	held := r.heldByName()
	for team := range slices.Chunk(r.people, rushedTogether) {
		r.explain(team, begin, held)
	}
	t.Logf("answers: %v; %d kills; %d admitted and %d refused as if one after the other", r.answers, r.kills, admitted, refused)
	if admitted == 0 || refused == 0 {
		t.Error("there was no rush")
	}
}

// explain looks for the order of a round.
func (r *rush) explain(team []*rusher, begin map[string]money.USD, held map[string]money.USD) {
	r.t.Helper()
	places := map[string]int{}
	var first left
	place := func(scope budget.Scope, scopeID string) []int {
		room, there := begin[string(scope)+scopeID]
		if !there {
			return nil
		}
		n, known := places[string(scope)+scopeID]
		if !known {
			n = len(places)
			places[string(scope)+scopeID], first[n] = n, room
		}
		return []int{n}
	}
	var history []porcupine.Operation
	never := time.Since(r.began)
	for i, p := range team {
		touches := slices.Concat(place(budget.Team, p.team), place(budget.Project, p.project), place(budget.User, p.id))
		for _, a := range p.asked {
			switch a.status {
			case http.StatusAccepted: // the attempt that did it may be one before the last
				history = append(history, porcupine.Operation{ClientId: i, Input: wish{touches, held[a.key]}, Output: true, Call: int64(a.first), Return: int64(a.back)})
			case http.StatusPaymentRequired:
				history = append(history, porcupine.Operation{ClientId: i, Input: wish{touches, a.amount}, Output: false, Call: int64(a.call), Return: int64(a.back)})
			}
		}
		for _, a := range p.gaveUp {
			if amount, done := held[a.key]; done {
				history = append(history, porcupine.Operation{ClientId: i, Input: wish{touches, amount}, Output: true, Call: int64(a.first), Return: int64(never)})
			}
		}
	}
	model := porcupine.Model{
		Init: func() any { return first },
		Step: func(state, input, output any) (bool, any) {
			l, w := state.(left), input.(wish)
			fits := !slices.ContainsFunc(w.touches, func(n int) bool { return l[n] < w.amount })
			if fits {
				for _, n := range w.touches {
					l[n] -= w.amount
				}
			}
			return fits == output.(bool), l
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %v", input, output) },
	}
	if result := porcupine.CheckOperationsTimeout(model, history, time.Minute); result != porcupine.Ok {
		r.t.Errorf("no order explains (%s) the answers of %s: %+v", result, team[0].User, history)
	}
}

// roomNow is what every budget has left, by its scope.
func (r *rush) roomNow() map[string]money.USD {
	r.t.Helper()
	found, err := postgres.Many[struct {
		Name string
		Room money.USD
	}](r.t.Context(), r.db, `
		SELECT b.scope || b.scope_id AS name, p.limit_micros - p.settled_micros - p.held_micros AS room
		FROM user_budgets b JOIN budget_periods p ON p.budget_id = b.id`)
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string]money.USD{}
	for _, f := range found {
		all[f.Name] = f.Room
	}
	return all
}

// heldByName is what was held for the WorkSpaces when they were admitted.
func (r *rush) heldByName() map[string]money.USD {
	r.t.Helper()
	found, err := postgres.Many[struct {
		Name string
		Held money.USD
	}](r.t.Context(), r.db, `
		SELECT DISTINCT w.name, e.held_delta_micros AS held
		FROM workspaces w JOIN budget_entries e ON e.workspace_id = w.id
		WHERE e.kind = 'hold'`)
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string]money.USD{}
	for _, f := range found {
		all[f.Name] = f.Held
	}
	return all
}
