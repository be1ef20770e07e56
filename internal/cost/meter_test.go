package cost_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/price"
)

type room struct {
	*pgtest.DB
	org   *pgtest.Org
	clock *clock.Manual
	log   *audit.Log
	meter *cost.Meter
}

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	return t
}

func setUp(t *testing.T, now time.Time, rule price.HourRule) *room {
	t.Helper()
	r := &room{DB: pgtest.New(t), clock: clock.At(now), meter: &cost.Meter{Budgets: &budget.Book{Spent: cost.Spent, PaidUntil: cost.PaidUntil, FeesDue: cost.FeesDue}}}
	r.org = r.Seed(t, now, "allow", rule)
	r.log = r.Log(t, r.clock.Now)
	return r
}

func (r *room) try(ctx context.Context, fn func(ctx context.Context, tx *audit.Tx) error) error {
	ctx = actor.With(ctx, actor.System("test"))
	return r.log.Change(ctx, audit.Intent{Action: "test.try", ResourceType: "cost"}, func(tx *audit.Tx) error {
		tx.Record(audit.Event{Action: "test.change", ResourceType: "cost"})
		return fn(ctx, tx)
	})
}

func (r *room) do(t *testing.T, fn func(ctx context.Context, tx *audit.Tx) error) {
	t.Helper()
	if err := r.try(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (r *room) setTeamBudget(t *testing.T, team int, amount money.USD) {
	t.Helper()
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		_, err := r.meter.Budgets.Set(ctx, tx, budget.Setting{Scope: budget.Team, ScopeID: string(r.org.Teams[team]), Amount: amount})
		return err
	})
}

// workspace adds the row of a WorkSpace of the team's engineer and says what its meters are about.
func (r *room) workspace(t *testing.T, team int, project id.Project, mode string) cost.Subject {
	t.Helper()
	user := r.org.Users[team][actor.Engineer]
	return cost.Subject{
		Workspace: r.WorkSpace(t, r.org, user, project, mode, r.clock.Now()), CostCentre: r.org.CostCentres[team], Spec: pgtest.Spec(mode),
		Payer: budget.Payer{User: user, Team: r.org.Teams[team], Project: project},
	}
}

func (r *room) begin(t *testing.T, s cost.Subject) {
	t.Helper()
	r.do(t, func(ctx context.Context, tx *audit.Tx) error { return r.meter.Begin(ctx, tx, s) })
}

func (r *room) pause(t *testing.T, s cost.Subject) {
	t.Helper()
	r.do(t, func(ctx context.Context, tx *audit.Tx) error { return r.meter.Pause(ctx, tx, s.Workspace) })
}

func (r *room) end(t *testing.T, s cost.Subject) {
	t.Helper()
	r.do(t, func(ctx context.Context, tx *audit.Tx) error { return r.meter.End(ctx, tx, s.Workspace, tx.Now) })
}

func (r *room) settle(t *testing.T) int {
	t.Helper()
	var n int
	r.do(t, func(ctx context.Context, tx *audit.Tx) (err error) { n, err = r.meter.Settle(ctx, tx, 100); return err })
	return n
}

// settled is what the records of a WorkSpace come to.
func (r *room) settled(t *testing.T, ws id.WorkSpace) money.USD {
	t.Helper()
	return pgtest.Value[money.USD](t, r.DB, `SELECT coalesce(sum(total_cost_micros), 0)::bigint FROM cost_records WHERE workspace_id = $1`, ws)
}

func (r *room) month(t *testing.T, team int, when string) budget.Budget {
	t.Helper()
	b, err := budget.Find(t.Context(), r.Pool, budget.Team, string(r.org.Teams[team]), at(when))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (r *room) toDate(t *testing.T, ws id.WorkSpace) money.USD {
	t.Helper()
	sums, err := cost.ToDate(t.Context(), r.Pool, []id.WorkSpace{ws}, r.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return sums[ws]
}

func want(t *testing.T, what string, got, want money.USD) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// STANDARD in us-east-1: 9.75 a month and 0.30 an hour. The session of 22:30 to 01:10 is 2 h 40 min, billed as 3.
func TestTheInvoiceOfAutoStopOverAMonthsEnd(t *testing.T) {
	r := setUp(t, at("2026-11-30 22:30"), price.SessionCeil)
	r.setTeamBudget(t, 0, 100*money.Dollar)
	s := r.workspace(t, 0, "", price.AutoStop)
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		_, err := r.meter.Budgets.Hold(ctx, tx, s.Workspace, s.Payer, 20_313, 900_000)
		return err
	})
	r.begin(t, s)
	// 1.5 of 720 hours of 9.75 is 0.0203125.
	want(t, "the first fee", r.settled(t, s.Workspace), 20_313)
	if b := r.month(t, 0, "2026-11-30 23:00"); b.Settled != 20_313 || b.Held != 900_000 {
		t.Errorf("after the fee has posted November is %+v", b)
	}
	r.clock.Set(at("2026-11-30 23:00"))
	r.settle(t)
	want(t, "at 23:00", r.settled(t, s.Workspace), 20_313+300_000)
	if b := r.month(t, 0, "2026-11-30 23:00"); b.Held != 900_000 {
		t.Errorf("the lease is not renewed: %+v", b)
	}
	r.clock.Set(at("2026-12-01 01:10"))
	want(t, "to date, before it is settled", r.toDate(t, s.Workspace), 20_313+9_750_000+900_000)
	r.settle(t)
	if n := r.settle(t); n != 0 {
		t.Errorf("settled %d once more", n)
	}
	r.pause(t, s)
	want(t, "the whole invoice", r.settled(t, s.Workspace), 20_313+9_750_000+900_000)
	if b := r.month(t, 0, "2026-11-30 23:00"); b.Settled != 20_313+600_000 || b.Held != 0 {
		t.Errorf("November is %+v", b)
	}
	if b := r.month(t, 0, "2026-12-01 01:10"); b.Settled != 9_750_000+300_000 || b.Held != 900_000 {
		t.Errorf("December is %+v", b)
	}
	r.clock.Set(at("2026-12-01 09:00"))
	r.begin(t, s) // the fee goes on; a new session begins
	r.clock.Set(at("2026-12-01 09:01"))
	r.end(t, s)
	want(t, "after a session of a minute", r.settled(t, s.Workspace), 20_313+9_750_000+900_000+300_000)
	r.clock.Set(at("2027-02-01 00:00"))
	if n := r.settle(t); n != 0 {
		t.Errorf("settled %d usages of what has ended", n)
	}
	want(t, "months later", r.toDate(t, s.Workspace), 20_313+9_750_000+900_000+300_000)
}

// 35 a month: the second half of November, then whole months, also the one that it ends in.
func TestTheInvoiceOfAlwaysOnOverMonthsEnds(t *testing.T) {
	r := setUp(t, at("2026-11-16 00:00"), price.SessionCeil)
	r.setTeamBudget(t, 0, 100*money.Dollar)
	s := r.workspace(t, 0, r.org.Projects[0], price.AlwaysOn)
	r.begin(t, s)
	r.begin(t, s) // what is open stays
	want(t, "the first fee", r.settled(t, s.Workspace), 17_500_000)
	r.clock.Set(at("2026-12-01 00:00"))
	r.settle(t)
	want(t, "from December on", r.settled(t, s.Workspace), 17_500_000+35_000_000)
	r.clock.Set(at("2027-01-01 00:07"))
	r.end(t, s) // before anyone has settled January
	want(t, "the whole invoice", r.settled(t, s.Workspace), 17_500_000+2*35_000_000)
	want(t, "to date", r.toDate(t, s.Workspace), 17_500_000+2*35_000_000)
	for when, amount := range map[string]money.USD{"2026-11-20 00:00": 17_500_000, "2026-12-20 00:00": 35_000_000, "2027-01-20 00:00": 35_000_000} {
		want(t, "the budget of "+when, r.month(t, 0, when).Settled, amount)
	}
}

// reckoning is what a WorkSpace should cost, summed by hand from its history.
type reckoning struct {
	cost.Subject
	mode     string
	since    time.Time
	until    *time.Time
	sessions [][2]time.Time
	running  bool
}

func (k *reckoning) at(now time.Time, rule price.HourRule) money.USD {
	fee, hourly := 35*money.Dollar, money.USD(0)
	if k.mode == price.AutoStop {
		fee, hourly = 9_750_000, 300_000
	}
	end := now
	if k.until != nil {
		end = *k.until
	}
	sum := price.MonthShare(fee, k.since)
	for m := clock.StartOfNextMonth(k.since); !m.After(end); m = clock.StartOfNextMonth(m) {
		sum += fee
	}
	var paid time.Time
	for i, s := range k.sessions {
		if k.running && i == len(k.sessions)-1 {
			s[1] = now
		}
		if s[0].Before(paid) {
			s[0] = paid // an hour of the clock is paid once
		}
		sum += price.Running(rule, hourly, s[0], s[1])
		if rule == price.ClockHour && s[1].After(s[0]) {
			paid = s[1].Add(time.Hour - 1).Truncate(time.Hour)
		}
	}
	return sum
}

// However often and whenever settlement runs, the books say at every moment what one reckoning of the history says.
func TestTheBooksAgreeWithOneReckoningAtEveryMoment(t *testing.T) {
	for _, rule := range []price.HourRule{price.SessionCeil, price.ClockHour, price.Second} {
		t.Run(string(rule), func(t *testing.T) {
			random := pgtest.Random(t)
			r := setUp(t, at("2026-11-11 10:17"), rule)
			for team := range 2 {
				r.setTeamBudget(t, team, 10_000*money.Dollar)
			}
			var all []*reckoning
			for i := range 4 {
				mode := []string{price.AutoStop, price.AlwaysOn, price.AutoStop, price.AutoStop}[i]
				project := id.Project("")
				if i == 2 {
					project = r.org.Projects[0]
				}
				r.clock.Advance(time.Duration(random.Int64N(int64(3 * time.Hour))))
				r.clock.Set(r.clock.Now()) // whole microseconds
				s := r.workspace(t, i%2, project, mode)
				r.begin(t, s)
				k := &reckoning{Subject: s, mode: mode, since: r.clock.Now(), running: true}
				if mode == price.AutoStop {
					k.sessions = [][2]time.Time{{r.clock.Now()}}
				}
				all = append(all, k)
			}
			for range 20 {
				r.step(t, random, all)
				r.agree(t, all, rule)
			}
			for _, k := range all {
				if k.until == nil {
					r.end(t, k.Subject)
					k.ended(r.clock.Now())
				}
			}
			r.agree(t, all, rule)
			for _, k := range all {
				want(t, k.mode+" settled", r.settled(t, k.Workspace), k.at(r.clock.Now(), rule))
			}
		})
	}
}

func (k *reckoning) ended(now time.Time) {
	k.paused(now)
	k.until = &now
}

func (k *reckoning) paused(now time.Time) {
	if k.running && len(k.sessions) > 0 {
		k.sessions[len(k.sessions)-1][1] = now
	}
	k.running = false
}

// step moves the clock and does something.
func (r *room) step(t *testing.T, random *rand.Rand, all []*reckoning) {
	t.Helper()
	switch random.IntN(4) {
	case 0:
		r.clock.Set(r.clock.Now().Truncate(time.Hour).Add(time.Hour))
	case 1:
		if random.IntN(2) == 0 {
			r.clock.Set(clock.StartOfNextMonth(r.clock.Now()))
		}
	default:
		r.clock.Set(r.clock.Now().Add(time.Duration(random.Int64N(int64(40 * time.Hour)))))
	}
	k := all[random.IntN(len(all))]
	switch what := random.IntN(8); {
	case what < 4:
		r.settle(t)
	case k.until != nil || k.mode == price.AlwaysOn && what < 7:
	case what == 7 && random.IntN(3) == 0:
		r.end(t, k.Subject)
		k.ended(r.clock.Now())
	case k.running:
		r.pause(t, k.Subject)
		k.paused(r.clock.Now())
	default:
		r.begin(t, k.Subject)
		k.running = true
		k.sessions = append(k.sessions, [2]time.Time{r.clock.Now()})
	}
}

func (r *room) agree(t *testing.T, all []*reckoning, rule price.HourRule) {
	t.Helper()
	now := r.clock.Now()
	var total money.USD
	for _, k := range all {
		total += k.at(now, rule)
		want(t, fmt.Sprintf("%s at %s to date", k.mode, now), r.toDate(t, k.Workspace), k.at(now, rule))
	}
	from, to := at("2026-11-01 00:00"), at("2028-11-01 00:00")
	for _, group := range []string{"user", "team", "project", "cost_centre", "workspace"} {
		sums := r.summary(t, group, from, to)
		var sum, settled money.USD
		for _, s := range sums {
			sum, settled = sum+s.Total(), settled+s.Settled()
		}
		want(t, fmt.Sprintf("by %s at %s", group, now), sum, total)
		want(t, "settled by "+group, settled, pgtest.Value[money.USD](t, r.DB, `SELECT coalesce(sum(total_cost_micros), 0)::bigint FROM cost_records`))
		if group == "workspace" {
			for _, k := range all {
				want(t, "the summary of one", sums[string(k.Workspace)].Total(), k.at(now, rule))
			}
		}
	}
	var months money.USD
	for m := from; m.Before(now.AddDate(0, 1, 0)); m = clock.StartOfNextMonth(m) {
		for _, s := range r.summary(t, "team", m, clock.StartOfNextMonth(m)) {
			months += s.Total()
		}
	}
	want(t, "the sum of the months", months, total)
	if n := pgtest.Value[int](t, r.DB, `
		SELECT count(*) FROM budget_periods p JOIN user_budgets b ON b.id = p.budget_id
		WHERE p.settled_micros <> (SELECT coalesce(sum(total_cost_micros), 0) FROM cost_records c
			WHERE c.team_id = b.scope_id AND c.period_start >= p.period_start AND c.period_start < p.period_end)`); n != 0 {
		t.Errorf("%d budget periods differ from the records", n)
	}
}

func (r *room) summary(t *testing.T, group string, from, to time.Time) map[string]cost.Sum {
	t.Helper()
	sums, err := cost.Summarise(t.Context(), r.Pool, cost.Query{From: from, To: to, GroupBy: group}, r.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]cost.Sum{}
	for i, s := range sums {
		if i > 0 && s.Total() > sums[i-1].Total() {
			t.Errorf("by %s: not dearest first", group)
		}
		out[s.Key] = s
	}
	return out
}

func TestSimultaneousSettlementsDoubleNothing(t *testing.T) {
	r := setUp(t, at("2026-11-30 10:20"), price.SessionCeil)
	for team := range 2 {
		r.setTeamBudget(t, team, 10_000*money.Dollar)
	}
	var all []cost.Subject
	for i := range 16 {
		s := r.workspace(t, i*7%2, "", price.AutoStop)
		r.begin(t, s)
		r.clock.Advance(time.Second)
		all = append(all, s)
	}
	r.clock.Set(at("2026-12-01 01:00"))
	start := make(chan struct{})
	errs := make([]error, 5)
	var done sync.WaitGroup
	for i := range errs {
		done.Go(func() {
			<-start
			for n := 1; n > 0 && errs[i] == nil; {
				errs[i] = r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) (err error) { n, err = r.meter.Settle(ctx, tx, 3); return err })
			}
		})
	}
	close(start)
	done.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	for r.settle(t) > 0 { // what another held when the last looked
	}
	for _, s := range all {
		// 10:20 to 01:00 is 14 h 40 min.
		want(t, "settled", r.settled(t, s.Workspace)-price.MonthShare(9_750_000, r.opened(t, s)), 9_750_000+15*300_000)
	}
	for team := range 2 {
		var recorded money.USD
		for _, when := range []string{"2026-11-30 12:00", "2026-12-01 12:00"} {
			recorded += r.month(t, team, when).Settled
		}
		want(t, "the budgets", recorded, pgtest.Value[money.USD](t, r.DB, `SELECT sum(total_cost_micros)::bigint FROM cost_records WHERE team_id = $1`, r.org.Teams[team]))
	}
	r.Pool.Close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for pgtest.Value[int](t, r.DB, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename <> current_user`) > 0 {
		<-tick.C
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`); n != 0 {
		t.Errorf("PostgreSQL had to break %d deadlocks", n)
	}
}

func (r *room) opened(t *testing.T, s cost.Subject) time.Time {
	t.Helper()
	return pgtest.Value[time.Time](t, r.DB, `SELECT opened_at FROM usage WHERE workspace_id = $1 AND kind = 'fixed_month'`, s.Workspace)
}

func TestWhatHasNoPriceDoesNotBegin(t *testing.T) {
	r := setUp(t, at("2026-11-15 12:00"), price.SessionCeil)
	s := r.workspace(t, 0, "", price.AutoStop)
	s.Spec.ComputeType = "GRAPHICS_G4DN" // ALWAYS_ON only
	err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error { return r.meter.Begin(ctx, tx, s) })
	if !errors.Is(err, price.ErrUnknown) {
		t.Errorf("began without a price: %v", err)
	}
	r.clock.Set(at("2024-11-15 12:00")) // before any book
	err = r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error { return r.meter.Begin(ctx, tx, s) })
	if !errors.Is(err, cost.ErrNoBook) {
		t.Errorf("began without a book: %v", err)
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM usage`); n != 0 {
		t.Errorf("%d meters are open", n)
	}
}

func TestTheBookInForceIsTheOneThatTookEffectLast(t *testing.T) {
	r := setUp(t, at("2026-11-15 12:00"), price.SessionCeil)
	next := r.Book(t, at("2026-12-01 00:00"), price.Second)
	for when, book := range map[string]int64{"2026-11-30 23:59": r.org.Book, "2026-12-01 00:00": next} {
		b, err := cost.BookAt(t.Context(), r.Pool, at(when))
		if err != nil || b.ID != book {
			t.Errorf("at %s: %+v, %v", when, b, err)
		}
	}
	lines, err := price.Default()
	if err != nil {
		t.Fatal(err)
	}
	var imported int64
	r.do(t, func(ctx context.Context, tx *audit.Tx) (err error) {
		imported, err = cost.ImportBook(ctx, tx, "test", price.ClockHour, at("2026-11-01 00:00"), lines)
		return err
	})
	b, err := cost.BookAt(t.Context(), r.Pool, at("2026-11-15 12:00"))
	if err != nil || b.ID != imported || len(b.Lines()) != len(lines) || b.HourRule != price.ClockHour {
		t.Errorf("the imported book is %+v, %v", b, err)
	}
}

func TestASummaryThatCannotBeMadeIsRefused(t *testing.T) {
	r := setUp(t, at("2026-11-15 12:00"), price.SessionCeil)
	now := r.clock.Now()
	for _, c := range []struct {
		q    cost.Query
		want error
	}{
		{cost.Query{From: now, To: now.Add(1), GroupBy: "id; DROP TABLE usage"}, cost.ErrGroup},
		{cost.Query{From: now, To: now, GroupBy: "team"}, cost.ErrRange},
		{cost.Query{From: now, To: now.AddDate(11, 0, 0), GroupBy: "team"}, cost.ErrRange},
	} {
		if _, err := cost.Summarise(t.Context(), r.Pool, c.q, now); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.q, err)
		}
	}
}

// Somebody else ended it, and that is found out later: it costs up to when it was last seen, as Amazon's own bill does, but
// what is settled already stays.
func TestAMeterEndsWhenTheWorkSpaceWasLastSeen(t *testing.T) {
	r := setUp(t, at("2026-11-10 08:00"), price.SessionCeil)
	fee := price.MonthShare(9_750_000, at("2026-11-10 08:00"))
	unsettled, settled := r.workspace(t, 0, "", price.AutoStop), r.workspace(t, 1, "", price.AutoStop)
	endAt := func(s cost.Subject, last string) {
		r.do(t, func(ctx context.Context, tx *audit.Tx) error { return r.meter.End(ctx, tx, s.Workspace, at(last)) })
	}
	r.begin(t, unsettled)
	r.clock.Set(at("2026-11-10 14:30"))
	endAt(unsettled, "2026-11-10 09:50")
	want(t, "two hours begun", r.settled(t, unsettled.Workspace), fee+2*300_000)

	r.clock.Set(at("2026-11-10 08:00"))
	r.begin(t, settled)
	r.clock.Set(at("2026-11-10 14:30"))
	r.settle(t)
	endAt(settled, "2026-11-10 09:50")
	want(t, "six hours were settled", r.settled(t, settled.Workspace), fee+6*300_000)
	r.settle(t)
	want(t, "and no more follow", r.toDate(t, settled.Workspace), fee+6*300_000)
}
