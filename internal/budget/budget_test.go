package budget_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/price"
)

// room is what every test here needs: a database, a clock, and the budgets.
type room struct {
	*pgtest.DB
	org   *pgtest.Org
	clock *clock.Manual
	log   *audit.Log
	book  *budget.Book
	spent money.USD // what Spent answers
	// feesDue is what FeesDue answers.
	feesDue bool
	// settledUntil is from when PaidUntil counts an hour for each dollar; nothing runs if it is zero.
	settledUntil time.Time
}

var midNovember = time.Date(2026, 11, 15, 12, 0, 0, 0, time.UTC)

func setUp(t *testing.T, budgetDefault string) *room {
	t.Helper()
	r := &room{DB: pgtest.New(t), clock: clock.At(midNovember)}
	r.org = r.Seed(t, midNovember, budgetDefault, price.SessionCeil)
	r.log = r.Log(t, r.clock.Now)
	r.book = &budget.Book{
		Spent: func(context.Context, postgres.Querier, budget.Scope, string, time.Time, time.Time) (money.USD, error) {
			return r.spent, nil
		},
		PaidUntil: func(_ context.Context, _ postgres.Querier, _ id.WorkSpace, lease money.USD) (time.Time, bool, error) {
			return r.settledUntil.Add(time.Duration(lease/money.Dollar) * time.Hour), r.settledUntil != time.Time{}, nil
		},
		FeesDue: func(context.Context, postgres.Querier, budget.Payer, bool, time.Time) (bool, error) {
			return r.feesDue, nil
		},
	}
	return r
}

// try makes a recorded change.
func (r *room) try(ctx context.Context, fn func(ctx context.Context, tx *audit.Tx) error) error {
	return with(ctx, r.log, fn)
}

func with(ctx context.Context, l *audit.Log, fn func(ctx context.Context, tx *audit.Tx) error) error {
	ctx = actor.With(ctx, actor.System("test"))
	return l.Change(ctx, audit.Intent{Action: "test.try", ResourceType: "budget"}, func(tx *audit.Tx) error {
		tx.Record(audit.Event{Action: "test.change", ResourceType: "budget"})
		return fn(ctx, tx)
	})
}

func (r *room) do(t *testing.T, fn func(ctx context.Context, tx *audit.Tx) error) {
	t.Helper()
	if err := r.try(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (r *room) set(t *testing.T, s budget.Scope, scopeID string, amount money.USD) {
	t.Helper()
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		_, err := r.book.Set(ctx, tx, budget.Setting{Scope: s, ScopeID: scopeID, Amount: amount})
		return err
	})
}

func (r *room) find(t *testing.T, s budget.Scope, scopeID string) budget.Budget {
	t.Helper()
	b, err := budget.Find(t.Context(), r.Pool, s, scopeID, r.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (r *room) team(t *testing.T) budget.Budget {
	t.Helper()
	return r.find(t, budget.Team, string(r.org.Teams[0]))
}

func (r *room) payer() budget.Payer {
	return budget.Payer{User: r.org.Users[0][actor.Engineer], Team: r.org.Teams[0]}
}

func (r *room) hold(ctx context.Context, ws id.WorkSpace, p budget.Payer, fixed, lease money.USD) error {
	return r.try(ctx, func(ctx context.Context, tx *audit.Tx) error {
		_, err := r.book.Hold(ctx, tx, ws, p, fixed, lease)
		return err
	})
}

func (r *room) mustHold(t *testing.T, ws id.WorkSpace, p budget.Payer, fixed, lease money.USD) {
	t.Helper()
	if err := r.hold(t.Context(), ws, p, fixed, lease); err != nil {
		t.Fatal(err)
	}
}

func (r *room) release(t *testing.T, ws id.WorkSpace) {
	t.Helper()
	r.do(t, func(ctx context.Context, tx *audit.Tx) error { return r.book.Release(ctx, tx, ws, "test") })
}

// audit checks what must be true of the books at any time.
func (r *room) audit(t *testing.T) {
	t.Helper()
	for what, query := range map[string]string{
		"a balance differs from the sum of its entries": `
			SELECT count(*)
			FROM budget_periods p
			JOIN (SELECT budget_id, period_start, count(*) AS n, max(balance_version) AS version, sum(limit_delta_micros) AS lim,
			             sum(settled_delta_micros) AS settled, sum(held_delta_micros) AS held, sum(overrun_delta_micros) AS overrun
			      FROM budget_entries GROUP BY 1, 2) e USING (budget_id, period_start)
			WHERE (p.limit_micros, p.settled_micros, p.held_micros, p.overrun_micros, p.version, p.version)
			      IS DISTINCT FROM (e.lim, e.settled, e.held, e.overrun, e.version, e.n)`,
		"a period has no entries": `
			SELECT count(*) FROM budget_periods p
			WHERE NOT EXISTS (SELECT FROM budget_entries e WHERE (e.budget_id, e.period_start) = (p.budget_id, p.period_start))`,
		"an overrun is not what lies beyond the limit": `
			SELECT count(*) FROM budget_periods
			WHERE overrun_micros <> greatest(0, settled_micros + held_micros - limit_micros)`,
		"what is held differs from the holds": `
			SELECT count(*)
			FROM user_budgets b JOIN LATERAL (SELECT * FROM budget_periods p WHERE p.budget_id = b.id ORDER BY period_start DESC LIMIT 1) p ON true
			WHERE b.closed_at IS NULL AND p.held_micros <> (
				SELECT coalesce(sum(fixed_micros + lease_micros), 0)
				FROM budget_holds h
				WHERE CASE b.scope WHEN 'ORGANISATION' THEN true WHEN 'TEAM' THEN h.team_id = b.scope_id
				                   WHEN 'PROJECT' THEN h.project_id = b.scope_id ELSE h.user_id = b.scope_id END)`,
		"an old period still holds": `
			SELECT count(*) FROM budget_periods p
			WHERE held_micros <> 0 AND EXISTS (SELECT FROM budget_periods q WHERE q.budget_id = p.budget_id AND q.period_start > p.period_start)`,
	} {
		if n := pgtest.Value[int](t, r.DB, query); n != 0 {
			t.Errorf("%s (%d times)", what, n)
		}
	}
}

// noDeadlocks ends the application's sessions, whose counters are complete only then.
func (r *room) noDeadlocks(t *testing.T) {
	t.Helper()
	r.Pool.Close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		if pgtest.Value[int](t, r.DB, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename <> current_user`) == 0 {
			if n := pgtest.Value[int](t, r.DB, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`); n != 0 {
				t.Errorf("PostgreSQL had to break %d deadlocks", n)
			}
			return
		}
		<-tick.C
	}
	t.Fatal("the application's sessions do not end")
}

// atOnce calls fn in n goroutines that begin together, and returns their errors.
func atOnce(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = fn(i)
		})
	}
	close(start)
	all.Wait()
	return errs
}

func TestOfSimultaneousRequestsExactlyThoseWithRoomAreAdmitted(t *testing.T) {
	const requests, admitted = 24, 3
	const fixed, lease = 9_750_000, 900_000
	r := setUp(t, "deny")
	r.set(t, budget.Organisation, budget.OrganisationID, 1000*money.Dollar)
	r.set(t, budget.Team, string(r.org.Teams[0]), admitted*(fixed+lease)+fixed) // and not quite a fourth
	users := make([]id.User, requests)
	for i := range users {
		users[i] = r.User(t, fmt.Sprintf("racer-%d", i), r.org.Teams[0], actor.Engineer, midNovember)
		r.set(t, budget.User, string(users[i]), 400*money.Dollar)
	}
	errs := atOnce(requests, func(i int) error {
		return r.hold(t.Context(), id.New[id.WorkSpace](), budget.Payer{User: users[i], Team: r.org.Teams[0]}, fixed, lease)
	})
	got := 0
	for _, err := range errs {
		switch {
		case err == nil:
			got++
		case !errors.Is(err, budget.ErrExceeded):
			t.Errorf("refused for another reason: %v", err)
		}
	}
	if got != admitted {
		t.Errorf("%d were admitted, want exactly %d", got, admitted)
	}
	if b := r.team(t); b.Held != admitted*(fixed+lease) || b.Settled != 0 || b.Held > b.Limit || b.Overrun != 0 {
		t.Errorf("the team's balance is %+v", b)
	}
	if b := r.find(t, budget.Organisation, budget.OrganisationID); b.Held != admitted*(fixed+lease) {
		t.Errorf("the refused left something in the organisation's balance: %+v", b)
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_logs WHERE result = 'refused' AND code = 'BUDGET_EXCEEDED'`); n != requests-admitted {
		t.Errorf("%d refusals are recorded, want %d", n, requests-admitted)
	}
	r.audit(t)
	r.noDeadlocks(t)
}

// Payers that share some budgets and not others, taken in any order, by every movement there is.
func TestOverlappingMovementsNeitherDeadlockNorLoseMoney(t *testing.T) {
	const workers, steps = 12, 25
	r := setUp(t, "deny")
	random := pgtest.Random(t)
	r.set(t, budget.Organisation, budget.OrganisationID, 600*money.Dollar)
	var payers []budget.Payer
	for i := range 2 {
		r.set(t, budget.Team, string(r.org.Teams[i]), 300*money.Dollar)
		r.set(t, budget.Project, string(r.org.Projects[i]), 200*money.Dollar)
		for _, role := range []actor.Role{actor.Engineer, actor.Contractor, actor.TeamLead} {
			u := r.org.Users[i][role]
			r.set(t, budget.User, string(u), 100*money.Dollar)
			for _, project := range []id.Project{"", r.org.Projects[0], r.org.Projects[1]} {
				payers = append(payers, budget.Payer{User: u, Team: r.org.Teams[i], Project: project})
			}
		}
	}
	sources := make([]*rand.Rand, workers)
	for i := range sources {
		sources[i] = rand.New(rand.NewPCG(random.Uint64(), 0))
	}
	errs := atOnce(workers, func(i int) error {
		own := sources[i]
		type running struct {
			ws id.WorkSpace
			p  budget.Payer
		}
		var mine []running
		for range steps {
			if len(mine) == 0 || own.IntN(3) == 0 {
				w := running{id.New[id.WorkSpace](), payers[own.IntN(len(payers))]}
				err := r.hold(t.Context(), w.ws, w.p, money.USD(own.IntN(20_000_000)), money.USD(own.IntN(5_000_000)))
				if errors.Is(err, budget.ErrExceeded) {
					continue
				}
				if err != nil {
					return err
				}
				mine = append(mine, w)
				continue
			}
			n := own.IntN(len(mine))
			w := mine[n]
			amount, what := money.USD(own.IntN(3_000_000)), own.IntN(7)
			to := payers[own.IntN(len(payers))]
			err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error {
				month := clock.StartOfMonth(tx.Now)
				switch what {
				case 0:
					return r.book.Charge(ctx, tx, w.ws, w.p, budget.Lease, month, amount, "test")
				case 1:
					return r.book.Charge(ctx, tx, w.ws, w.p, budget.Fixed, month, amount, "test")
				case 2:
					return r.book.RenewOrTell(ctx, tx, w.ws)
				case 4:
					return r.book.Charge(ctx, tx, w.ws, w.p, budget.Correction, month, -amount/1000, "test")
				case 5:
					return r.book.Resize(ctx, tx, w.ws, amount, 3*amount)
				case 6:
					return r.book.Move(ctx, tx, w.ws, to)
				default:
					return r.book.Release(ctx, tx, w.ws, "test")
				}
			})
			if what > 4 && errors.Is(err, budget.ErrExceeded) {
				continue
			}
			if err != nil {
				return err
			}
			if what == 3 {
				mine = append(mine[:n], mine[n+1:]...)
			}
		}
		return nil
	})
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	r.audit(t)
	r.noDeadlocks(t)
}

func TestSettingABudgetRacesWithHolds(t *testing.T) {
	r := setUp(t, "deny")
	random := pgtest.Random(t)
	r.set(t, budget.Team, string(r.org.Teams[0]), 100*money.Dollar)
	amounts := make([]money.USD, 8)
	for i := range amounts {
		amounts[i] = money.USD(random.IntN(200)) * money.Dollar
	}
	errs := atOnce(24, func(i int) error {
		if i%3 == 0 {
			err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error {
				_, err := r.book.Set(ctx, tx, budget.Setting{Scope: budget.Team, ScopeID: string(r.org.Teams[0]), Amount: amounts[i/3]})
				return err
			})
			if errors.Is(err, budget.ErrBelowCommitted) {
				return nil
			}
			return err
		}
		err := r.hold(t.Context(), id.New[id.WorkSpace](), r.payer(), 9*money.Dollar, money.Dollar)
		if errors.Is(err, budget.ErrExceeded) {
			return nil
		}
		return err
	})
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if b := r.team(t); b.Settled+b.Held > b.Limit || b.Overrun != 0 {
		t.Errorf("the limit was passed: %+v", b)
	}
	r.audit(t)
	r.noDeadlocks(t)
}

// A budget made while others reserve counts every reservation: those before it and those after.
func TestABudgetMadeBesideHoldsCountsThemAll(t *testing.T) {
	r := setUp(t, "allow")
	errs := atOnce(20, func(i int) error {
		if i == 7 {
			return r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error {
				_, err := r.book.Set(ctx, tx, budget.Setting{Scope: budget.Team, ScopeID: string(r.org.Teams[0]), Amount: 1000 * money.Dollar})
				return err
			})
		}
		return r.hold(t.Context(), id.New[id.WorkSpace](), r.payer(), money.Dollar, money.Dollar)
	})
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if b := r.team(t); b.Held != 38*money.Dollar {
		t.Errorf("held %s of 38", b.Held)
	}
	r.audit(t)
}

func TestAChargeBeyondItsHoldIsTakenAndWrittenDownAsOverrun(t *testing.T) {
	r := setUp(t, "deny")
	r.set(t, budget.Team, string(r.org.Teams[0]), 10*money.Dollar)
	ws := id.New[id.WorkSpace]()
	r.mustHold(t, ws, r.payer(), 4*money.Dollar, 3*money.Dollar)
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		return r.book.Charge(ctx, tx, ws, r.payer(), budget.Fixed, clock.StartOfMonth(tx.Now), 12*money.Dollar, "dearer than thought")
	})
	if b := r.team(t); b.Settled != 12*money.Dollar || b.Held != 3*money.Dollar || b.Overrun != 5*money.Dollar || b.Available() != 0 {
		t.Errorf("the balance is %+v", b)
	}
	if got := pgtest.Value[string](t, r.DB, `SELECT reason FROM budget_entries WHERE kind = 'charge' AND overrun_delta_micros > 0`); got != "dearer than thought" {
		t.Errorf("the overrun's reason is %q", got)
	}
	r.audit(t)
	r.release(t, ws)
	if b := r.team(t); b.Held != 0 || b.Overrun != 2*money.Dollar {
		t.Errorf("after the release the balance is %+v", b)
	}
	entries := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM budget_entries`)
	r.release(t, ws)
	if got := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM budget_entries`); got != entries {
		t.Errorf("releasing twice moved something")
	}
	r.audit(t)
}

func TestRunningTimeUsesUpItsLeaseAndARenewalFillsItAgain(t *testing.T) {
	r := setUp(t, "deny")
	r.set(t, budget.Team, string(r.org.Teams[0]), 10*money.Dollar)
	ws := id.New[id.WorkSpace]()
	r.mustHold(t, ws, r.payer(), 0, 3*money.Dollar)
	charge := func(amount money.USD) {
		t.Helper()
		r.do(t, func(ctx context.Context, tx *audit.Tx) error {
			return r.book.Charge(ctx, tx, ws, r.payer(), budget.Lease, clock.StartOfMonth(tx.Now), amount, "running time")
		})
	}
	renew := func() error {
		return r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error { return r.book.Renew(ctx, tx, ws) })
	}
	charge(2 * money.Dollar)
	if b := r.team(t); b.Settled != 2*money.Dollar || b.Held != money.Dollar {
		t.Fatalf("after 2 of a lease of 3 the balance is %+v", b)
	}
	if err := renew(); err != nil {
		t.Fatal(err)
	}
	if b := r.team(t); b.Held != 3*money.Dollar {
		t.Fatalf("the lease is not full: %+v", b)
	}
	charge(5 * money.Dollar)
	if b := r.team(t); b.Settled != 7*money.Dollar || b.Held != 0 {
		t.Fatalf("the balance is %+v", b)
	}
	charge(1)
	if err := renew(); !errors.Is(err, budget.ErrExceeded) {
		t.Fatalf("3 USD fit into 2.999999: %v", err)
	}
	for range 2 { // told once
		r.do(t, func(ctx context.Context, tx *audit.Tx) error { return r.book.RenewOrTell(ctx, tx, ws) })
		r.clock.Advance(time.Hour)
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM notifications WHERE kind = 'budget.renewal_refused'`); n != 1 {
		t.Errorf("told %d times", n)
	}
	r.audit(t)
}

func TestWhatIsHeldIsCarriedIntoTheNextMonth(t *testing.T) {
	for _, rolled := range []bool{true, false} {
		t.Run(fmt.Sprintf("rolled over first %v", rolled), func(t *testing.T) {
			r := setUp(t, "deny")
			r.set(t, budget.Team, string(r.org.Teams[0]), 10*money.Dollar)
			r.set(t, budget.User, string(r.payer().User), 10*money.Dollar)
			ws := id.New[id.WorkSpace]()
			r.mustHold(t, ws, r.payer(), 4*money.Dollar, 3*money.Dollar)
			november := clock.StartOfMonth(r.clock.Now())
			r.clock.Set(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC))
			if rolled {
				r.do(t, func(ctx context.Context, tx *audit.Tx) error {
					n, err := r.book.RollOver(ctx, tx)
					if n != 2 {
						t.Errorf("opened %d months, want 2", n)
					}
					return err
				})
				if b := r.team(t); b.Held != 7*money.Dollar || b.Settled != 0 {
					t.Errorf("December begins with %+v", b)
				}
				r.do(t, func(ctx context.Context, tx *audit.Tx) error {
					n, err := r.book.RollOver(ctx, tx)
					if n != 0 {
						t.Errorf("the second time opened %d months", n)
					}
					return err
				})
			}
			// An hour of November is settled in December.
			r.do(t, func(ctx context.Context, tx *audit.Tx) error {
				return r.book.Charge(ctx, tx, ws, r.payer(), budget.Lease, november, money.Dollar, "running time")
			})
			if b := r.team(t); b.Held != 6*money.Dollar || b.Settled != 0 {
				t.Errorf("December is %+v", b)
			}
			then, err := budget.Find(t.Context(), r.Pool, budget.Team, string(r.org.Teams[0]), november)
			if err != nil || then.Held != 0 || then.Settled != money.Dollar {
				t.Errorf("November is %+v (%v)", then, err)
			}
			r.release(t, ws)
			if b := r.team(t); b.Held != 0 {
				t.Errorf("after the release December is %+v", b)
			}
			r.audit(t)
		})
	}
}

// A change takes its instant when it begins, and may wait for a lock until another has opened the next month.
func TestAHoldThatIsLateAtTheEndOfAMonthIsHeldInTheNext(t *testing.T) {
	for name, late := range map[string]func(r *room, ctx context.Context, tx *audit.Tx, ws id.WorkSpace) error{
		"hold": func(r *room, ctx context.Context, tx *audit.Tx, ws id.WorkSpace) error {
			_, err := r.book.Hold(ctx, tx, ws, r.payer(), 4*money.Dollar, 3*money.Dollar)
			return err
		},
		"set": func(r *room, ctx context.Context, tx *audit.Tx, _ id.WorkSpace) error {
			_, err := r.book.Set(ctx, tx, budget.Setting{Scope: budget.Team, ScopeID: string(r.org.Teams[0]), Amount: 20 * money.Dollar})
			return err
		},
		"charge": func(r *room, ctx context.Context, tx *audit.Tx, _ id.WorkSpace) error {
			return r.book.Charge(ctx, tx, "ws_before", r.payer(), budget.Lease, clock.StartOfMonth(tx.Now), money.Dollar, "running time")
		},
		"release": func(r *room, ctx context.Context, tx *audit.Tx, _ id.WorkSpace) error {
			return r.book.Release(ctx, tx, "ws_before", "test")
		},
		"roll over": func(r *room, ctx context.Context, tx *audit.Tx, _ id.WorkSpace) error {
			_, err := r.book.RollOver(ctx, tx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := setUp(t, "deny")
			r.set(t, budget.Team, string(r.org.Teams[0]), 10*money.Dollar)
			r.mustHold(t, "ws_before", r.payer(), money.Dollar, money.Dollar)
			ws := id.New[id.WorkSpace]()
			behind := r.Log(t, clock.At(time.Date(2026, 11, 30, 23, 59, 59, 0, time.UTC)).Now)
			r.clock.Set(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC))
			r.do(t, func(ctx context.Context, tx *audit.Tx) error { _, err := r.book.RollOver(ctx, tx); return err })
			if err := with(t.Context(), behind, func(ctx context.Context, tx *audit.Tx) error { return late(r, ctx, tx, ws) }); err != nil {
				t.Fatal(err)
			}
			r.audit(t)
			r.release(t, ws)
			r.release(t, "ws_before")
			r.audit(t)
			if b := r.team(t); b.Held != 0 {
				t.Errorf("still held: %+v", b)
			}
		})
	}
}

func TestEachThresholdIsToldOncePerLimit(t *testing.T) {
	r := setUp(t, "deny")
	team := string(r.org.Teams[0])
	r.set(t, budget.Team, team, 10*money.Dollar)
	told := func(kind string) int {
		t.Helper()
		users := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM notifications WHERE kind = $1 AND user_id = $2`, kind, r.payer().User)
		teams := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM notifications WHERE kind = $1 AND team_id = $2`, kind, team)
		events := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_logs WHERE action_type = $1`, kind)
		if users != teams || users != events {
			t.Errorf("%s: the engineer was told %d times, the lead %d, the record %d", kind, users, teams, events)
		}
		return users
	}
	const warning, exhausted = "budget.warning", "budget.exhausted"
	expect := func(when string, warnings, exhaustions int) {
		t.Helper()
		if w, e := told(warning), told(exhausted); w != warnings || e != exhaustions {
			t.Errorf("%s: %d warnings and %d exhaustions, want %d and %d", when, w, e, warnings, exhaustions)
		}
	}
	hold := func(dollars money.USD) {
		t.Helper()
		r.mustHold(t, id.New[id.WorkSpace](), r.payer(), dollars*money.Dollar, 0)
	}
	hold(7)
	expect("at 7 of 10", 0, 0)
	hold(1)
	expect("at 8 of 10", 1, 0)
	hold(1)
	expect("at 9 of 10", 1, 0)
	hold(1)
	expect("at 10 of 10", 1, 1)
	r.set(t, budget.Team, team, 20*money.Dollar)
	hold(5)
	expect("at 15 of 20", 1, 1)
	hold(5)
	expect("at 20 of 20, both at once", 2, 2)
	if b := r.team(t); b.WarnedAt == nil || b.ExhaustedAt == nil {
		t.Errorf("the balance does not say so: %+v", b)
	}
	// What is simultaneous crosses once as well.
	r.set(t, budget.Team, team, 40*money.Dollar)
	for _, err := range atOnce(12, func(int) error { return r.hold(t.Context(), id.New[id.WorkSpace](), r.payer(), money.Dollar, 0) }) {
		if err != nil {
			t.Error(err)
		}
	}
	expect("at 32 of 40", 3, 2)
	r.audit(t)
}

func TestALimitBelowWhatIsCommittedMustBeMeant(t *testing.T) {
	r := setUp(t, "deny")
	team := string(r.org.Teams[0])
	r.set(t, budget.Team, team, 10*money.Dollar)
	ws := id.New[id.WorkSpace]()
	r.mustHold(t, ws, r.payer(), 4*money.Dollar, 3*money.Dollar)
	lower := func(s budget.Setting) error {
		s.Scope, s.ScopeID = budget.Team, team
		return r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error {
			_, err := r.book.Set(ctx, tx, s)
			return err
		})
	}
	if err := lower(budget.Setting{Amount: 7*money.Dollar - 1}); !errors.Is(err, budget.ErrBelowCommitted) {
		t.Fatalf("a limit below what is held: %v", err)
	}
	if b := r.team(t); b.Limit != 10*money.Dollar || b.Version != 1 {
		t.Errorf("the refusal changed something: %+v", b)
	}
	if err := lower(budget.Setting{Amount: 7 * money.Dollar}); err != nil {
		t.Fatal(err)
	}
	if err := lower(budget.Setting{Amount: 5 * money.Dollar, AcceptOverrun: true}); err != nil {
		t.Fatal(err)
	}
	if b := r.team(t); b.Overrun != 2*money.Dollar || b.Available() != 0 || b.Version != 3 {
		t.Errorf("the balance is %+v", b)
	}
	stale := int64(1)
	for _, c := range []struct {
		s    budget.Setting
		want error
	}{
		{budget.Setting{Amount: 50 * money.Dollar, IfVersion: &stale}, budget.ErrChanged},
		{budget.Setting{Amount: -1}, budget.ErrAmount},
		{budget.Setting{Amount: money.Max + 1}, budget.ErrAmount},
		{budget.Setting{Amount: money.Dollar, WarningPercents: []int{100}}, budget.ErrWarning},
	} {
		if err := lower(c.s); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.s, err, c.want)
		}
	}
	r.audit(t)
}

func TestWhatNoBudgetCoversIsAllowedOrDeniedByDefault(t *testing.T) {
	for def, want := range map[string]error{"allow": nil, "deny": budget.ErrNone} {
		r := setUp(t, def)
		if err := r.hold(t.Context(), id.New[id.WorkSpace](), r.payer(), money.Dollar, money.Dollar); !errors.Is(err, want) {
			t.Errorf("by default %s: %v, want %v", def, err, want)
		}
		other := budget.Payer{User: r.org.Users[1][actor.Engineer], Team: r.org.Teams[1]}
		r.set(t, budget.Team, string(r.org.Teams[1]), 2*money.Dollar)
		r.mustHold(t, id.New[id.WorkSpace](), other, money.Dollar, money.Dollar)
		if err := r.hold(t.Context(), id.New[id.WorkSpace](), other, 0, 1); !errors.Is(err, budget.ErrExceeded) {
			t.Errorf("by default %s a budget that exists is not kept: %v", def, err)
		}
		r.audit(t)
	}
}

func TestABudgetThatOnlyWarnsRefusesNothing(t *testing.T) {
	r := setUp(t, "deny")
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		_, err := r.book.Set(ctx, tx, budget.Setting{Scope: budget.Team, ScopeID: string(r.org.Teams[0]), Amount: money.Dollar, Enforcement: budget.Warn})
		return err
	})
	r.mustHold(t, id.New[id.WorkSpace](), r.payer(), 5*money.Dollar, 0)
	if b := r.team(t); b.Held != 5*money.Dollar || b.Overrun != 4*money.Dollar {
		t.Errorf("the balance is %+v", b)
	}
	r.audit(t)
}

func TestABudgetThatIsNewBeginsWithWhatWasSettledAndIsHeld(t *testing.T) {
	r := setUp(t, "allow")
	r.mustHold(t, id.New[id.WorkSpace](), r.payer(), 2*money.Dollar, money.Dollar)
	r.spent = 4 * money.Dollar
	r.set(t, budget.Team, string(r.org.Teams[0]), 10*money.Dollar)
	if b := r.team(t); b.Settled != 4*money.Dollar || b.Held != 3*money.Dollar || b.Available() != 3*money.Dollar {
		t.Errorf("the balance is %+v", b)
	}
	r.audit(t)
}

func TestTheDatabaseItselfRefusesToPassALimit(t *testing.T) {
	r := setUp(t, "deny")
	r.set(t, budget.Team, string(r.org.Teams[0]), 10*money.Dollar)
	for _, column := range []string{"held_micros", "settled_micros"} {
		_, err := r.Pool.Exec(t.Context(), `UPDATE budget_periods SET `+column+` = limit_micros + 1`)
		if !postgres.Violates(err, "budget_periods_not_overspent_ck") {
			t.Errorf("%s beyond the limit: %v", column, err)
		}
		if _, err := r.Pool.Exec(t.Context(), `UPDATE budget_periods SET `+column+` = limit_micros`); err != nil {
			t.Error(err)
		}
		if _, err := r.Pool.Exec(t.Context(), `UPDATE budget_periods SET `+column+` = 0`); err != nil {
			t.Error(err)
		}
	}
}

func TestARehearsalHoldsNothing(t *testing.T) {
	r := setUp(t, "deny")
	r.set(t, budget.Team, string(r.org.Teams[0]), 10*money.Dollar)
	err := r.log.Rehearse(t.Context(), func(tx *audit.Tx) error {
		effects, err := r.book.Hold(t.Context(), tx, id.New[id.WorkSpace](), r.payer(), 4*money.Dollar, money.Dollar)
		if len(effects) != 1 || effects[0].Available != 5*money.Dollar {
			t.Errorf("the effects are %+v", effects)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if b := r.team(t); b.Held != 0 {
		t.Errorf("the rehearsal holds %s", b.Held)
	}
}

func TestALeadGivesMembersAtMostWhatTheTeamHas(t *testing.T) {
	r := setUp(t, "deny")
	r.set(t, budget.Team, string(r.org.Teams[0]), 10*money.Dollar)
	lead, member := r.org.Actor(0, actor.TeamLead), r.org.Users[0][actor.Engineer]
	for _, c := range []struct {
		user   id.User
		team   id.Team
		amount money.USD
		want   error
	}{
		{member, r.org.Teams[0], 10 * money.Dollar, nil},
		{member, r.org.Teams[0], 10*money.Dollar + 1, budget.ErrAboveTeam},
		{lead.User, r.org.Teams[0], money.Dollar, budget.ErrOwnBudget},
		{member, r.org.Teams[1], 0, budget.ErrAboveTeam}, // a team without a budget
	} {
		err := budget.MayLeadSet(t.Context(), r.Pool, lead, budget.Setting{Scope: budget.User, ScopeID: string(c.user), Amount: c.amount}, c.team, r.clock.Now())
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := budget.Find(t.Context(), r.Pool, budget.Project, "prj_none", r.clock.Now()); !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("a budget that is not there: %v", err)
	}
}
