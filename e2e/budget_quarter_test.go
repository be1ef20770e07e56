package e2e

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// TestAQuarterOfFewDays is the reduction of TestProveQuarter: a month with two ends of one.
func TestAQuarterOfFewDays(t *testing.T) {
	newQuarter(t, 24, 20270126, time.Date(2027, 1, 30, 0, 0, 0, 0, time.UTC), 32).run()
}

// quarter is the year's driver with budgets: some refuse, some stop what runs, some only warn. Meanwhile finance sets limits up
// and down, prices change, and people start their WorkSpaces with Amazon's client, which asks nobody.
type quarter struct {
	*year
	random *rand.Rand
	limits int
	below  int
	books  int
	checks int
}

func newQuarter(t *testing.T, n int, seed uint64, from time.Time, days int) *quarter {
	t.Helper()
	t.Logf("seed %d: %d WorkSpaces, %d days from %s", seed, n, days, from.Format(time.DateOnly))
	q := &quarter{year: newYear(t, n, seed, from, days), random: rand.New(rand.NewPCG(seed, 1<<32))} //nolint:gosec // repeatable on purpose
	q.budgets()
	for month := clock.StartOfNextMonth(q.from); month.Before(q.to); month = clock.StartOfNextMonth(month) {
		q.at(month.Add(-time.Second), q.check)
		q.at(month.Add(time.Second), q.check)
	}
	often := time.Minute * 100 / time.Duration(n+76) // the more WorkSpaces, the more limits
	for at := q.from.Add(day); at.Before(q.to); at = at.Add(time.Duration(between(q.random, 4*60, 30*60)) * often).Truncate(time.Second) {
		q.at(at, q.finance)
	}
	for i := range 3 {
		q.at(q.from.Add(q.to.Sub(q.from)*time.Duration(i+1)/4).Truncate(time.Hour).Add(17*time.Minute), q.reprice)
	}
	return q
}

// at has something done at a time.
func (q *quarter) at(at time.Time, act func(ctx context.Context)) {
	q.agenda = append(q.agenda, appointment{at: at, deed: deed{do: "act", act: act}})
	heap.Init(&q.agenda)
}

func (q *quarter) by(ctx context.Context, what string, do func(ctx context.Context, tx *audit.Tx) error) error {
	ctx = actor.With(ctx, actor.Operator("finance"))
	return q.forge.Log.Change(ctx, audit.Intent{Action: what, ResourceType: "budget"}, func(tx *audit.Tx) error { return do(ctx, tx) })
}

// budgets spreads the people over teams with a project each, and sets the limits: of the organisation, the teams and the
// projects, and of two of three people.
func (q *quarter) budgets() {
	q.t.Helper()
	const teams = 4
	err := q.by(q.t.Context(), "quarter.budgets", func(ctx context.Context, tx *audit.Tx) error {
		set := func(s budget.Scope, scopeID string, amount money.USD, e budget.Enforcement) error {
			_, err := q.forge.Budgets.Set(ctx, tx, budget.Setting{Scope: s, ScopeID: scopeID, Amount: amount, Enforcement: e})
			return err
		}
		if err := set(budget.Organisation, budget.OrganisationID, money.USD(len(q.people)*between(q.random, 18, 20))*money.Dollar, budget.Block); err != nil {
			return err
		}
		for i := range teams {
			name := fmt.Sprintf("quarter-%d", i)
			team, err := people.CreateTeam(ctx, tx, name, "cc-quarter")
			if err != nil {
				return err
			}
			project, err := people.CreateProject(ctx, tx, name, team, "cc-quarter")
			if err != nil {
				return err
			}
			each := len(q.people) / teams
			enforcements := []budget.Enforcement{budget.Block, budget.BlockAndStop, budget.Warn, budget.Block}
			if err := set(budget.Team, string(team.ID), money.USD(each*between(q.random, 12, 20))*money.Dollar, enforcements[i]); err != nil {
				return err
			}
			if err := set(budget.Project, string(project.ID), money.USD(each*between(q.random, 5, 10))*money.Dollar, enforcements[(i+1)%teams]); err != nil {
				return err
			}
			for n, p := range q.people {
				if n%teams != i {
					continue
				}
				if q.random.IntN(2) == 0 {
					p.request.Project = name
				}
				if !slices.ContainsFunc(p.plan, func(d deed) bool { return d.do == "lifetime" }) { // theirs has the lead
					p.who.Team = team.ID
				} else {
					p.request.Project = ""
				}
				if _, err := tx.Exec(ctx, `UPDATE users SET team_id = $2 WHERE id = $1`, p.who.User, p.who.Team); err != nil {
					return err
				}
				if q.random.IntN(3) > 0 {
					amount := money.USD(between(q.random, 4, 45)) * money.Dollar
					if err := set(budget.User, string(p.who.User), amount, enforcements[q.random.IntN(3)]); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		q.t.Fatal(err)
	}
}

// finance sets the limit of a budget up, or down, now and then below what is committed.
func (q *quarter) finance(ctx context.Context) {
	err := q.by(ctx, "quarter.limit", func(ctx context.Context, tx *audit.Tx) error {
		all, err := budget.List(ctx, tx, budget.View{All: true}, tx.Now, "", 10_000)
		if err != nil {
			return err
		}
		b := all[q.random.IntN(len(all))]
		amount := b.Amount*money.USD(between(q.random, 70, 160))/100 + money.USD(q.random.IntN(1_000_000))
		_, err = q.forge.Budgets.Set(ctx, tx, budget.Setting{
			Scope: b.Scope, ScopeID: b.ScopeID, Amount: amount, WarningPercents: b.WarningPercents, Enforcement: b.Enforcement, AcceptOverrun: q.random.IntN(3) == 0,
		})
		return err
	})
	q.limits++
	if errors.Is(err, budget.ErrBelowCommitted) {
		q.below++
		return
	}
	if err != nil {
		q.t.Fatal(err)
	}
}

// reprice imports a book with other prices: dearer ones, and once cheaper ones.
func (q *quarter) reprice(ctx context.Context) {
	lines, err := price.Default()
	if err != nil {
		q.t.Fatal(err)
	}
	q.books++
	percent := []money.USD{100, 115, 90, 125}[q.books]
	for i := range lines {
		lines[i].Amount = lines[i].Amount * percent / 100
	}
	if err := q.by(ctx, "quarter.prices", func(ctx context.Context, tx *audit.Tx) error {
		_, err := cost.ImportBook(ctx, tx, fmt.Sprintf("quarter %d", q.books), price.SessionCeil, tx.Now, lines)
		return err
	}); err != nil {
		q.t.Fatal(err)
	}
}

func (q *quarter) run() {
	q.t.Helper()
	q.year.run(q.t.Context())
	if q.t.Failed() {
		return
	}
	q.population()
	q.check(q.t.Context())
	j := q.readJournal()
	q.causes(j)
	q.thresholds(j)
	q.t.Logf("%d limits set, %d of them refused as below what is committed; %d price books; the balances were rebuilt and compared %d times", q.limits, q.below, q.books, q.checks)
}

// check rebuilds all balances from their entries, and compares what is settled with the cost records.
func (q *quarter) check(ctx context.Context) {
	q.t.Helper()
	q.checks++
	q.readJournal()
	wrong, err := postgres.Many[struct{ What string }](ctx, q.db, `
		SELECT format('%s %s of %s: settled %s, and the records come to %s', b.scope, b.scope_id, p.period_start, p.settled_micros, r.sum) AS what
		FROM user_budgets b JOIN budget_periods p ON p.budget_id = b.id CROSS JOIN LATERAL (
			SELECT coalesce(sum(c.total_cost_micros), 0) AS sum
			FROM cost_records c
			WHERE c.period_start >= p.period_start AND c.period_start < p.period_end AND CASE b.scope
			  WHEN 'USER' THEN c.user_id = b.scope_id WHEN 'TEAM' THEN c.team_id = b.scope_id WHEN 'PROJECT' THEN c.project_id = b.scope_id ELSE true END) r
		WHERE p.settled_micros <> r.sum`)
	if err != nil {
		q.t.Fatal(err)
	}
	for _, w := range wrong {
		q.t.Errorf("%s: %s", q.clock.Now(), w.What)
	}
}

// causes says for every movement beyond a limit what outside cause it has: what Amazon bills without asking, a limit that was
// set below what is committed, or a budget that only warns. It fails for what has none.
func (q *quarter) causes(j journal) {
	q.t.Helper()
	refused, renewed := q.events("budget.renewal_refused"), map[string][]time.Time{}
	for _, versions := range j {
		for _, v := range versions {
			if v.entry.Kind == "renew" {
				renewed[v.entry.WS] = append(renewed[v.entry.WS], v.entry.At)
			}
		}
	}
	// unpaid tells whether the last renewal was refused before what was used up to an instant was charged, which may be renewed
	// at that instant.
	unpaid := func(ws string, at time.Time) bool {
		last := func(all []time.Time, until time.Time) (newest time.Time) {
			for _, t := range all {
				if !t.After(until) {
					newest = later(newest, t)
				}
			}
			return newest
		}
		return last(refused[ws], at).After(last(renewed[ws], at.Add(-time.Microsecond)))
	}
	count, sums := map[string]int{}, map[string]money.USD{}
	for name, versions := range j {
		for i, v := range versions {
			e, beyond := v.entry, v.entry.Overrun
			if i > 0 && versions[i-1].entry.Reason == "posted" && versions[i-1].entry.WS == e.WS && versions[i-1].entry.At.Equal(e.At) {
				beyond += versions[i-1].entry.Overrun // what was held for it came free just before
			}
			if carried := slices.IndexFunc(versions[:i], func(v balanceSeen) bool { return v.entry.Kind == "carry" }); carried > 0 {
				beyond = min(beyond, v.overrun-versions[carried-1].overrun) // so did what was held for its last hour, into the next
			}
			if beyond <= 0 {
				continue
			}
			var why string
			switch {
			case e.Enforcement == "warn":
				why = "the budget only warns"
			case e.Kind == "limit", e.Kind == "open" && i == 0:
				why = "the limit was set below what is committed"
			case e.Kind == "charge" && strings.HasPrefix(e.Reason, "monthly fee") && e.At.Equal(e.Period):
				why = "the fee of a month that begins, which only ending the WorkSpace avoids"
			case e.Kind == "charge" && e.Reason == "running time" && unpaid(e.WS, e.At):
				why = "it ran on, or was started at Amazon's, when its renewal had been refused"
			default:
				q.t.Errorf("%v passed its limit without an outside cause: %+v, before it was %+v", name, v, versions[max(0, i-1)])
				continue
			}
			count[why]++
			sums[why] += beyond
		}
	}
	for _, why := range slices.Sorted(maps.Keys(count)) {
		q.t.Logf("beyond the limit %5d times, by %12s USD in all: %s", count[why], sums[why], why)
	}
}

// events is when something was recorded about each resource.
func (q *quarter) events(action string) map[string][]time.Time {
	q.t.Helper()
	found, err := postgres.Many[struct {
		Resource string
		At       time.Time
	}](q.t.Context(), q.db, `
		SELECT resource_id AS resource, timestamp AS at FROM audit_logs WHERE action_type = $1 AND result = $2 ORDER BY timestamp`, action, string(leaf.Success))
	if err != nil {
		q.t.Fatal(err)
	}
	all := map[string][]time.Time{}
	for _, f := range found {
		all[f.Resource] = append(all[f.Resource], f.At)
	}
	return all
}

// thresholds compares the warnings that were recorded, and put into the outbox, with those that the entries ask for: one when
// what is committed comes to a threshold, and another only when a limit has taken it below that in between.
func (q *quarter) thresholds(j journal) {
	q.t.Helper()
	for _, threshold := range []struct {
		event   string
		percent func(e entryOf) int
	}{{"budget.warning", func(e entryOf) int { return e.Percent }}, {"budget.exhausted", func(entryOf) int { return 100 }}} {
		recorded, total, rearmed := q.events(threshold.event), 0, 0
		periods := map[string][]balanceName{}
		for name, versions := range j {
			budgetID := versions[0].entry.BudgetID
			periods[budgetID] = append(periods[budgetID], name)
		}
		for budgetID, names := range periods {
			var want []time.Time
			for _, name := range names {
				told, times := false, 0
				for _, v := range j[name] {
					e, committed := v.entry, v.settled+v.held
					line := v.limit.Share(int64(threshold.percent(e)), 100)
					switch {
					case e.Kind == "limit" && committed < line:
						told = false
					case e.Settled+e.Held > 0 && e.Kind != "open" && committed > 0 && committed >= line && !told:
						told = true
						times++
						want = append(want, e.At)
					}
				}
				if times > 1 {
					rearmed += times - 1
				}
			}
			slices.SortFunc(want, time.Time.Compare)
			total += len(want)
			if got := recorded[budgetID]; !slices.EqualFunc(got, want, time.Time.Equal) {
				q.t.Errorf("%s of %v: recorded at %v, and the entries ask for %v", threshold.event, names, got, want)
			}
			delete(recorded, budgetID)
		}
		for budgetID, at := range recorded {
			q.t.Errorf("%s of %s, which has no entries, at %v", threshold.event, budgetID, at)
		}
		var messages int
		if err := q.db.QueryRow(q.t.Context(), `SELECT count(DISTINCT event_key) FROM notifications WHERE kind = $1`, threshold.event).Scan(&messages); err != nil {
			q.t.Fatal(err)
		}
		if messages != total {
			q.t.Errorf("%s: %d were told, and there were %d", threshold.event, messages, total)
		}
		q.t.Logf("%s: %d, each once; %d of them again after the limit was raised; %d put into the outbox", threshold.event, total, rearmed, messages)
		if total == 0 {
			q.t.Errorf("there was no %s", threshold.event)
		}
	}
}
