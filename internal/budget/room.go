package budget

import (
	"context"
	"time"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
)

// Room is how much each budget has left in the present month. It takes what is asked of it in turn, for plans: nothing is
// reserved.
type Room struct {
	left map[Scope]map[string]money.USD
}

// ReadRoom reads the room in every budget that may refuse.
func ReadRoom(ctx context.Context, q postgres.Querier, now time.Time) (*Room, error) {
	r := &Room{left: map[Scope]map[string]money.USD{}}
	type row struct {
		Scope   Scope
		ScopeID string
		Micros  money.USD
	}
	found, err := postgres.Many[row](ctx, q, `
		SELECT b.scope, b.scope_id, coalesce(p.limit_micros - p.settled_micros - p.held_micros, b.amount_micros + b.lent_micros) AS micros
		FROM user_budgets b LEFT JOIN budget_periods p ON p.budget_id = b.id AND p.period_start <= $1 AND p.period_end > $1
		WHERE b.enforcement <> 'warn' AND b.valid_from <= $1 AND b.valid_until > $1`, clock.StartOfMonth(now))
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		if r.left[f.Scope] == nil {
			r.left[f.Scope] = map[string]money.USD{}
		}
		r.left[f.Scope][f.ScopeID] = f.Micros
	}
	return r, nil
}

// Take takes an amount from every budget that the payer touches, or from none: it names the first that lacks room and by
// how much. What is not positive is always taken.
func (r *Room) Take(p Payer, amount money.USD) (short Scope, missing money.USD) {
	touched := []struct {
		scope Scope
		id    string
	}{{Organisation, OrganisationID}, {Team, string(p.Team)}, {Project, string(p.Project)}, {User, string(p.User)}}
	if amount > 0 {
		for _, t := range touched {
			if left, has := r.left[t.scope][t.id]; has && left < amount {
				return t.scope, amount - left
			}
		}
	}
	for _, t := range touched {
		if left, has := r.left[t.scope][t.id]; has {
			r.left[t.scope][t.id] = left - amount
		}
	}
	return "", 0
}
