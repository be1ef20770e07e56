package workspace

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/price"
)

// Verdict is what would become of a request.
type Verdict string

// The verdicts. RunsOut would be admitted, and the money does not last for the hours that it is to run.
const (
	WouldAdmit  Verdict = "admitted"
	RunsOut     Verdict = "runs_out"
	WouldRefuse Verdict = "refused"
)

// Headroom is what a budget has left before a request, and how much more the request takes than that.
type Headroom struct {
	budget.Budget
	Missing money.USD
}

// Raise is how much more a budget needs, and the roles that can grant it.
type Raise struct {
	Budget    budget.Budget
	By        money.USD
	GrantedBy []actor.Role
}

// Change is one change of a request that would turn its verdict to WouldAdmit.
type Change struct {
	Kind        string // running_mode, bundle, hours, raise, set_budget
	Text        string
	BundleType  string
	RunningMode string
	Hours       *int64
	Raises      []Raise // all of them are needed
}

// Checked is what a request would do to the budgets.
type Checked struct {
	Verdict  Verdict
	Estimate price.Estimate
	Budgets  []Headroom
	Expected *money.USD // until the end of the month, with the hours given
	Hours    *int64     // how many the enforced budgets have room for; nil: as many as there are
	Refusal  error      // what the request would be refused with, by a budget
	Changes  []Change   // the smallest first
}

// rehearsed is one request as if it were made.
type rehearsed struct {
	Admitted
	rooms   []Headroom
	refusal error
}

// rehearse makes a request and takes it back. What its budgets refuse is an answer; every other refusal an error.
func (f *Fleet) rehearse(ctx context.Context, log *audit.Log, r Request) (rehearsed, error) {
	var out rehearsed
	err := log.Rehearse(ctx, func(tx *audit.Tx) error {
		a, err := f.Request(ctx, tx, r)
		if err != nil && !errors.Is(err, budget.ErrExceeded) && !errors.Is(err, budget.ErrNone) {
			return err
		}
		out = rehearsed{Admitted: a, refusal: err}
		// The budgets are locked still: these are the numbers that the verdict was made on.
		touched, err := budget.Touched(ctx, tx, a.WorkSpace.payer(), tx.Now)
		for _, b := range touched {
			if out.refusal == nil {
				b.Held -= a.Estimate.Hold()
			}
			out.rooms = append(out.rooms, Headroom{Budget: b})
		}
		return err
	})
	return out, err
}

// needs is what a request takes from each budget: what is reserved at once, or what the hours cost that are expected.
func needs(e price.Estimate, hours *int64) money.USD {
	if hours == nil {
		return e.Hold()
	}
	return max(e.Hold(), e.FirstFee+e.Hourly.Times(*hours))
}

// lacks fills in what each enforced budget lacks, and tells whether any does.
func lacks(rooms []Headroom, amount money.USD) bool {
	short := false
	for i := range rooms {
		if b := &rooms[i]; b.Enforcement != budget.Warn {
			b.Missing = max(0, amount-(b.Limit-b.Settled-b.Held))
			short = short || b.Missing > 0
		}
	}
	return short
}

// Check answers what a request would do to the budgets, on the very way that the request would go, and what is the
// smallest change that would have it admitted. hours, when not nil, is how long it is to run until the end of the month.
func (f *Fleet) Check(ctx context.Context, log *audit.Log, r Request, hours *int64) (Checked, error) {
	first, err := f.rehearse(ctx, log, r)
	if err != nil {
		return Checked{}, err
	}
	c := Checked{Verdict: WouldAdmit, Estimate: first.Estimate, Budgets: first.rooms, Refusal: first.refusal, Hours: affordable(first.rooms, first.Estimate)}
	short := lacks(c.Budgets, needs(c.Estimate, hours))
	switch {
	case first.refusal != nil:
		c.Verdict = WouldRefuse
	case short:
		c.Verdict = RunsOut
	}
	if hours != nil {
		expected := c.Estimate.FirstFee + c.Estimate.Hourly.Times(*hours)
		c.Expected = &expected
	}
	if c.Verdict == WouldAdmit {
		return c, nil
	}
	if errors.Is(first.refusal, budget.ErrNone) {
		c.Changes = []Change{{Kind: "set_budget", Text: "finance sets a budget for you, your team or your project"}}
		return c, nil
	}
	if c.Verdict == RunsOut && c.Hours != nil && c.Estimate.Hourly > 0 {
		c.Changes = append(c.Changes, Change{Kind: "hours", Hours: c.Hours, Text: fmt.Sprintf("let it run for at most %d hours until the end of the month", *c.Hours)})
	}
	cheaper, err := f.cheaper(ctx, log, r, first.WorkSpace, needs(c.Estimate, hours), hours)
	if err != nil {
		return Checked{}, err
	}
	c.Changes = append(c.Changes, cheaper...)
	if raise := raises(actor.From(ctx), c.Budgets); len(raise.Raises) > 0 {
		c.Changes = append(c.Changes, raise)
	}
	return c, nil
}

// affordable is how many running hours the enforced budgets have room for beside the fee; nil without such a limit.
func affordable(rooms []Headroom, e price.Estimate) *int64 {
	var least *int64
	if e.Hourly <= 0 {
		return nil
	}
	for _, b := range rooms {
		if b.Enforcement == budget.Warn {
			continue
		}
		if n := int64(max(0, b.Limit-b.Settled-b.Held-e.FirstFee) / e.Hourly); least == nil || n < *least {
			least = &n
		}
	}
	return least
}

// cheaper tries the other running mode, and the smaller bundles from the largest on, and names those that would fit.
func (f *Fleet) cheaper(ctx context.Context, log *audit.Log, r Request, asked *WorkSpace, amount money.USD, hours *int64) ([]Change, error) {
	fits := func(other Request) (money.USD, bool, error) {
		tried, err := f.rehearse(ctx, log, other)
		if err != nil { // the blueprint does not offer it, or it has no price
			return 0, false, ctx.Err()
		}
		cost := needs(tried.Estimate, hours)
		return cost, tried.refusal == nil && cost < amount && !lacks(tried.rooms, cost), nil
	}
	var out []Change
	mode := r
	mode.RunningMode = price.AutoStop
	if asked.RunningMode == price.AutoStop {
		mode.RunningMode, mode.AutoStopTimeoutMinutes, mode.Schedule = price.AlwaysOn, nil, nil
	}
	cost, ok, err := fits(mode)
	if err != nil {
		return nil, err
	}
	if ok {
		out = append(out, Change{Kind: "running_mode", RunningMode: mode.RunningMode, Text: fmt.Sprintf("use %s: it takes %s USD", mode.RunningMode, cost)})
	}
	offered := policy.BundlesOf(actor.From(ctx).Role)
	for _, bundle := range slices.Backward(offered[:max(0, slices.Index(offered, asked.BundleType))]) {
		smaller := r
		smaller.BundleType = bundle
		cost, ok, err := fits(smaller)
		if err != nil {
			return nil, err
		}
		if ok {
			return append(out, Change{Kind: "bundle", BundleType: bundle, Text: fmt.Sprintf("use %s: it takes %s USD", bundle, cost)}), nil
		}
	}
	return out, nil
}

// raises is how much more the budgets need that lack something, and who can grant it: finance all, a lead a member's as
// far as the team's limit goes.
func raises(who actor.Actor, rooms []Headroom) Change {
	c := Change{Kind: "raise"}
	var team money.USD
	for _, b := range rooms {
		if b.Scope == budget.Team {
			team = b.Limit
		}
	}
	for _, b := range rooms {
		if b.Missing == 0 {
			continue
		}
		grants := []actor.Role{actor.Finance, actor.Admin}
		if b.Scope == budget.User && who.Role != actor.TeamLead && b.Limit+b.Missing <= team {
			grants = append([]actor.Role{actor.TeamLead}, grants...)
		}
		c.Raises = append(c.Raises, Raise{Budget: b.Budget, By: b.Missing, GrantedBy: grants})
		if c.Text != "" {
			c.Text += " and "
		}
		c.Text += fmt.Sprintf("%s USD more for the %s budget, from %s", b.Missing, b.Scope, grants[0])
	}
	return c
}
