package budget_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

func (r *room) setAs(t *testing.T, s budget.Setting) (b budget.Budget, err error) {
	t.Helper()
	if s.Scope == "" {
		s.Scope, s.ScopeID = budget.Team, string(r.org.Teams[0])
	}
	err = r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) (err error) {
		b, err = r.book.Set(ctx, tx, s)
		return err
	})
	return b, err
}

func (r *room) mustSet(t *testing.T, s budget.Setting) budget.Budget {
	t.Helper()
	b, err := r.setAs(t, s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (r *room) rollOver(t *testing.T) (n int) {
	t.Helper()
	err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) (err error) {
		n, err = r.book.RollOver(ctx, tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (r *room) chargeOf(t *testing.T, ws id.WorkSpace, month time.Time, amount money.USD) {
	t.Helper()
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		return r.book.Charge(ctx, tx, ws, r.payer(), budget.Lease, month, amount, "running time")
	})
}

// agrees fails when the books do not agree with themselves.
func (r *room) agrees(t *testing.T) {
	t.Helper()
	if a, err := budget.Audit(t.Context(), r.Pool, r.clock.Now()); err != nil || len(a.Differences) != 0 {
		t.Errorf("audit: %+v %v", a, err)
	}
}

func month(text string) time.Time {
	at, err := time.Parse("2006-01", text)
	if err != nil {
		panic(err)
	}
	return at
}

func TestAQuarterIsOnePeriod(t *testing.T) {
	r := setUp(t, "deny")
	r.spent = 2 * money.Dollar // in October
	b := r.mustSet(t, budget.Setting{Amount: 30 * money.Dollar, Period: budget.Quarterly})
	if !b.PeriodStart.Equal(month("2026-10")) || !b.PeriodEnd.Equal(month("2027-01")) || b.Settled != 2*money.Dollar {
		t.Fatalf("the quarter is %+v", b)
	}
	r.spent = 0
	ws := id.New[id.WorkSpace]()
	r.mustHold(t, ws, r.payer(), 4*money.Dollar, 3*money.Dollar)
	r.chargeOf(t, ws, month("2026-11"), money.Dollar)
	r.clock.Set(month("2026-12"))
	if n := r.rollOver(t); n != 0 {
		t.Errorf("December opened %d periods", n)
	}
	r.chargeOf(t, ws, month("2026-12"), money.Dollar)
	if b := r.team(t); b.Settled != 4*money.Dollar || b.Held != 5*money.Dollar || !b.PeriodStart.Equal(month("2026-10")) {
		t.Errorf("in December it is %+v", b)
	}
	if err := r.hold(t.Context(), id.New[id.WorkSpace](), r.payer(), 22*money.Dollar, 0); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("21 dollars are left of the quarter: %v", err)
	}
	r.clock.Set(month("2027-01"))
	// An hour of December is charged in January, before anything else has opened the new quarter.
	r.chargeOf(t, ws, month("2026-12"), money.Dollar)
	if b := r.team(t); b.Settled != 0 || b.Held != 4*money.Dollar || !b.PeriodEnd.Equal(month("2027-04")) {
		t.Errorf("the next quarter begins with %+v", b)
	}
	then, err := budget.Find(t.Context(), r.Pool, budget.Team, string(r.org.Teams[0]), month("2026-11"))
	if err != nil || then.Settled != 5*money.Dollar || then.Held != 0 {
		t.Errorf("the quarter before is %+v (%v)", then, err)
	}
	r.audit(t)
	r.agrees(t)
}

func TestAnotherPeriodEndsTheBudgetAndMakesANewOne(t *testing.T) {
	r := setUp(t, "deny")
	r.clock.Set(month("2026-10").Add(time.Hour))
	first := r.mustSet(t, budget.Setting{Amount: 10 * money.Dollar})
	ws := id.New[id.WorkSpace]()
	r.mustHold(t, ws, r.payer(), 4*money.Dollar, 3*money.Dollar)
	r.chargeOf(t, ws, month("2026-10"), money.Dollar)
	r.clock.Set(midNovember)
	r.rollOver(t)
	r.chargeOf(t, ws, month("2026-11"), money.Dollar)
	r.spent = money.Dollar // in November
	second := r.mustSet(t, budget.Setting{Amount: 50 * money.Dollar, Period: budget.Quarterly})
	if second.ID == first.ID || !second.PeriodStart.Equal(month("2026-11")) || !second.PeriodEnd.Equal(month("2027-01")) ||
		second.Settled != money.Dollar || second.Held != 5*money.Dollar {
		t.Fatalf("the new one is %+v", second)
	}
	ended, err := budget.Get(t.Context(), r.Pool, first.ID, r.clock.Now())
	if err != nil || ended.Held != 0 || ended.Settled != money.Dollar || !ended.PeriodStart.Equal(month("2026-10")) {
		t.Errorf("the old one is %+v (%v)", ended, err)
	}
	// What belongs to October still goes there.
	r.chargeOf(t, ws, month("2026-10"), money.Dollar)
	if ended, err = budget.Get(t.Context(), r.Pool, first.ID, r.clock.Now()); err != nil || ended.Settled != 2*money.Dollar {
		t.Errorf("after a late charge the old one is %+v (%v)", ended, err)
	}
	if b := r.team(t); b.Settled != money.Dollar || b.Held != 4*money.Dollar {
		t.Errorf("and the new one %+v", b)
	}
	history, err := budget.History(t.Context(), r.Pool, first.ID, 0, 10)
	if err != nil || len(history) != 2 || history[0].Cause != "ended" || !history[0].ValidUntil.Equal(month("2026-11")) {
		t.Errorf("history: %+v %v", history, err)
	}
	// A change of the amount alone leaves the period.
	if b := r.mustSet(t, budget.Setting{Amount: 60 * money.Dollar}); b.ID != second.ID || b.Period != budget.Quarterly || b.Version != 2 {
		t.Errorf("changed, it is %+v", b)
	}
	r.audit(t)
	r.agrees(t)
}

func TestASpanOfMonthsCountsInThemAlone(t *testing.T) {
	r := setUp(t, "deny")
	span := func(first, last string, amount money.USD) budget.Setting {
		return budget.Setting{Amount: amount, Period: budget.Custom, FirstMonth: month(first), LastMonth: month(last)}
	}
	for name, c := range map[string]struct {
		s    budget.Setting
		want error
	}{
		"no months":         {budget.Setting{Period: budget.Custom}, budget.ErrPeriod},
		"no last month":     {budget.Setting{Period: budget.Custom, FirstMonth: month("2026-12")}, budget.ErrPeriod},
		"end before start":  {span("2027-02", "2027-01", 0), budget.ErrPeriod},
		"over":              {span("2026-01", "2026-10", 0), budget.ErrPeriodPast},
		"too long":          {span("2026-11", "2046-10", 0), budget.ErrPeriod},
		"months of a month": {budget.Setting{Period: budget.Monthly, FirstMonth: month("2026-12")}, budget.ErrPeriod},
		"no such period":    {budget.Setting{Period: "WEEKLY"}, budget.ErrPeriod},
	} {
		if _, err := r.setAs(t, c.s); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	later := r.mustSet(t, span("2027-01", "2027-02", 5*money.Dollar))
	if later.Settled != 0 || later.Held != 0 || !later.PeriodStart.Equal(month("2027-01")) || !later.PeriodEnd.Equal(month("2027-03")) {
		t.Fatalf("the later one is %+v", later)
	}
	now := r.mustSet(t, span("2026-11", "2026-12", 20*money.Dollar))
	for name, s := range map[string]budget.Setting{
		"a month of both":    span("2026-12", "2027-01", 0),
		"around both":        span("2026-11", "2027-06", 0),
		"without end":        {Period: budget.Monthly},
		"the year":           {Period: budget.Yearly},
		"another that is on": {Period: budget.Quarterly},
	} {
		if _, err := r.setAs(t, s); !errors.Is(err, budget.ErrOverlaps) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ws := id.New[id.WorkSpace]()
	r.mustHold(t, ws, r.payer(), 4*money.Dollar, 3*money.Dollar)
	if b, err := budget.Get(t.Context(), r.Pool, later.ID, r.clock.Now()); err != nil || b.Held != 0 {
		t.Errorf("what is held now counts in what is to come: %+v %v", b, err)
	}
	// The same months are the same budget, and no months mean the one that is on.
	if b := r.mustSet(t, span("2026-11", "2026-12", 15*money.Dollar)); b.ID != now.ID || b.Version != 2 {
		t.Errorf("it is %+v", b)
	}
	if b := r.mustSet(t, budget.Setting{Amount: 16 * money.Dollar}); b.ID != now.ID || b.Limit != 16*money.Dollar || b.Period != budget.Custom {
		t.Errorf("it is %+v", b)
	}
	r.agrees(t)
	r.clock.Set(month("2027-01").Add(time.Minute))
	if n := r.rollOver(t); n != 2 { // one is closed, one begins
		t.Errorf("rolled %d over", n)
	}
	if b := r.team(t); b.ID != later.ID || b.Held != 7*money.Dollar || b.Overrun != 2*money.Dollar {
		t.Errorf("in January it is %+v", b)
	}
	r.agrees(t)
	r.clock.Set(month("2027-03"))
	r.rollOver(t)
	if _, err := budget.Find(t.Context(), r.Pool, budget.Team, string(r.org.Teams[0]), r.clock.Now()); err == nil {
		t.Error("a budget counts whose months are over")
	}
	if err := r.hold(t.Context(), id.New[id.WorkSpace](), r.payer(), 0, money.Dollar); !errors.Is(err, budget.ErrNone) {
		t.Errorf("without a budget: %v", err)
	}
	r.release(t, ws)
	r.audit(t)
	r.agrees(t)
}

func TestABudgetThatIsEndedLimitsNothing(t *testing.T) {
	r := setUp(t, "allow")
	b := r.mustSet(t, budget.Setting{Amount: 10 * money.Dollar})
	ws := id.New[id.WorkSpace]()
	r.mustHold(t, ws, r.payer(), 4*money.Dollar, 3*money.Dollar)
	var stale int64 = 7
	end := func(version *int64) error {
		return r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error { return r.book.End(ctx, tx, string(b.ID), version) })
	}
	if err := end(&stale); !errors.Is(err, budget.ErrChanged) {
		t.Errorf("of another version: %v", err)
	}
	if err := end(nil); err != nil {
		t.Fatal(err)
	}
	if err := end(nil); !errors.Is(err, budget.ErrEnded) {
		t.Errorf("a second time: %v", err)
	}
	r.mustHold(t, id.New[id.WorkSpace](), r.payer(), 40*money.Dollar, 0)
	r.chargeOf(t, ws, month("2026-11"), money.Dollar)
	r.release(t, ws)
	ended, err := budget.Get(t.Context(), r.Pool, b.ID, r.clock.Now())
	if err != nil || ended.Held != 0 || ended.Settled != 0 {
		t.Errorf("it is %+v (%v)", ended, err)
	}
	for want, v := range map[int]budget.View{0: {All: true}, 1: {All: true, Ended: true}} {
		if all, err := budget.List(t.Context(), r.Pool, v, r.clock.Now(), "", 10); err != nil || len(all) != want {
			t.Errorf("%+v lists %d (%v)", v, len(all), err)
		}
	}
	// Another one begins with what is held.
	if b := r.mustSet(t, budget.Setting{Amount: 50 * money.Dollar}); b.Held != 40*money.Dollar {
		t.Errorf("the next one is %+v", b)
	}
	r.audit(t)
	r.agrees(t)
}

// The database has the last word: two of a scope at one instant are refused by it.
func TestTheDatabaseRefusesTwoBudgetsForOneInstant(t *testing.T) {
	r := setUp(t, "deny")
	r.mustSet(t, budget.Setting{Amount: money.Dollar})
	_, err := r.Owner.Exec(t.Context(), `
		INSERT INTO user_budgets (id, scope, scope_id, amount_micros, period, valid_from, warning_percents, enforcement, created_at, updated_at)
		SELECT 'bud_two', scope, scope_id, 0, 'YEARLY', valid_from + interval '5 months', '{80}', 'block', now(), now() FROM user_budgets`)
	if !postgres.Violates(err, "user_budgets_one_at_a_time_ex") {
		t.Errorf("it says %v", err)
	}
}

// Periods change while WorkSpaces are launched: no hold slips past a budget that is just being made.
func TestPeriodsThatChangeInARaceCountEveryHold(t *testing.T) {
	r := setUp(t, "deny")
	r.set(t, budget.Organisation, budget.OrganisationID, 1000*money.Dollar)
	r.mustSet(t, budget.Setting{Amount: 30 * money.Dollar})
	kinds := []budget.Period{budget.Quarterly, budget.Monthly, budget.Yearly}
	errs := atOnce(32, func(i int) error {
		if i%8 == 7 {
			_, err := r.setAs(t, budget.Setting{Amount: 30 * money.Dollar, Period: kinds[i/8%3]})
			return err
		}
		err := r.hold(t.Context(), id.New[id.WorkSpace](), r.payer(), 2*money.Dollar, 0)
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
	if b := r.team(t); b.Held != 30*money.Dollar || b.Overrun != 0 {
		t.Errorf("in the end it is %+v", b)
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM user_budgets WHERE scope = 'TEAM' AND valid_until = 'infinity'`); n != 1 {
		t.Errorf("%d budgets are on", n)
	}
	r.agrees(t)
}

func TestEveryThresholdIsToldOnce(t *testing.T) {
	r := setUp(t, "deny")
	r.mustSet(t, budget.Setting{Amount: 100 * money.Dollar, WarningPercents: []int{95, 50, 80}})
	expect := func(when string, want ...int) {
		t.Helper()
		for i, percent := range []int{50, 80, 95} {
			n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_logs WHERE action_type = 'budget.warning' AND convert_from(leaf, 'UTF8') LIKE '%"percent":' || $1 || '}%'`, fmt.Sprint(percent))
			if n != want[i] {
				t.Errorf("%s: %d %% was told %d times, want %d", when, percent, n, want[i])
			}
		}
	}
	hold := func(dollars money.USD) {
		t.Helper()
		r.mustHold(t, id.New[id.WorkSpace](), r.payer(), dollars*money.Dollar, 0)
	}
	hold(49)
	expect("at 49", 0, 0, 0)
	hold(1)
	expect("at 50", 1, 0, 0)
	hold(46)
	expect("at 96, two at once", 1, 1, 1)
	hold(1)
	expect("at 97", 1, 1, 1)
	if b := r.team(t); b.WarnedPercent != 95 {
		t.Errorf("it says %+v", b)
	}
	r.mustSet(t, budget.Setting{Amount: 150 * money.Dollar, WarningPercents: []int{50, 80, 95}})
	hold(1) // 98 of 150
	expect("raised, at 65 %", 1, 1, 1)
	hold(23)
	expect("raised, at 80 %", 1, 2, 1)
	r.agrees(t)
}

func TestATemplateGivesEverybodyABudget(t *testing.T) {
	r := setUp(t, "deny")
	r.set(t, budget.Organisation, budget.OrganisationID, 1000*money.Dollar)
	engineer, role := r.payer(), actor.Engineer
	own := func(t *testing.T) budget.Budget { t.Helper(); return r.find(t, budget.User, string(engineer.User)) }
	template := func(tp budget.Template, accept bool) (budget.Template, error) {
		err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) (err error) {
			tp, err = r.book.SetTemplate(ctx, tx, tp, accept)
			return err
		})
		return tp, err
	}
	must := func(tp budget.Template, accept bool) budget.Template {
		t.Helper()
		out, err := template(tp, accept)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first := must(budget.Template{Role: &role, Amount: 10 * money.Dollar, WarningPercents: []int{50}}, false)
	engineers := pgtest.Value[int64](t, r.DB, `SELECT count(*) FROM users WHERE role = 'engineer'`)
	if first.Budgets != engineers || engineers < 2 {
		t.Errorf("%d budgets were made for %d engineers", first.Budgets, engineers)
	}
	if b := own(t); b.Amount != 10*money.Dollar || b.WarningPercents[0] != 50 || b.TemplateID == nil || *b.TemplateID != first.ID {
		t.Errorf("theirs is %+v", b)
	}
	r.mustHold(t, id.New[id.WorkSpace](), engineer, 8*money.Dollar, 0)
	if err := r.hold(t.Context(), id.New[id.WorkSpace](), engineer, 3*money.Dollar, 0); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("it limits: %v", err)
	}
	if _, err := template(budget.Template{Role: &role, Amount: 7 * money.Dollar}, false); !errors.Is(err, budget.ErrBelowCommitted) {
		t.Errorf("below what is held: %v", err)
	}
	if tp := must(budget.Template{Role: &role, Amount: 7 * money.Dollar}, true); tp.ID != first.ID || tp.Version != 2 {
		t.Errorf("changed it is %+v", tp)
	}
	if b := own(t); b.Limit != 7*money.Dollar || b.Overrun != money.Dollar || b.WarningPercents[0] != 80 {
		t.Errorf("lowered, theirs is %+v", b)
	}
	must(budget.Template{Role: &role, Amount: 20 * money.Dollar}, false)
	if b := own(t); b.Limit != 20*money.Dollar || b.Overrun != 0 || b.ExhaustedAt != nil || b.Available() != 12*money.Dollar {
		t.Errorf("raised, theirs is %+v", b)
	}
	r.audit(t)
	r.agrees(t)
	// What somebody has set follows no template any more.
	other := r.org.Users[1][actor.Engineer]
	r.set(t, budget.User, string(other), 99*money.Dollar)
	must(budget.Template{Role: &role, Amount: 30 * money.Dollar}, false)
	if b := r.find(t, budget.User, string(other)); b.Amount != 99*money.Dollar || b.TemplateID != nil {
		t.Errorf("the set one is %+v", b)
	}
	// The one that says most counts; it is for those who have none yet.
	must(budget.Template{Amount: money.Dollar, Period: budget.Yearly}, false)
	lead := r.find(t, budget.User, string(r.org.Users[0][actor.TeamLead]))
	if lead.Amount != money.Dollar || lead.Period != budget.Yearly || !lead.PeriodEnd.Equal(month("2027-01")) {
		t.Errorf("a lead's is %+v", lead)
	}
	if b := own(t); b.Amount != 30*money.Dollar {
		t.Errorf("an engineer's is %+v", b)
	}
	if err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error { return r.book.EndTemplate(ctx, tx, first.ID) }); err != nil {
		t.Fatal(err)
	}
	if b := own(t); b.Amount != 30*money.Dollar || b.TemplateID != nil {
		t.Errorf("after the template's end it is %+v", b)
	}
	r.agrees(t)
}

// Whoever comes after the template launches several WorkSpaces at once: one budget is made, and it counts them all.
func TestABudgetByATemplateIsMadeOnceInARace(t *testing.T) {
	r := setUp(t, "deny")
	p := r.payer()
	r.set(t, budget.Team, string(p.Team), 1000*money.Dollar)
	r.Exec(t, `INSERT INTO budget_templates (id, role, amount_micros, period, warning_percents, enforcement, created_at, updated_at)
		VALUES ('btp_late', 'engineer', 10000000, 'MONTHLY', '{80}', 'block', now(), now())`)
	admitted := 0
	for _, err := range atOnce(16, func(int) error { return r.hold(t.Context(), id.New[id.WorkSpace](), p, 2*money.Dollar, 0) }) {
		switch {
		case err == nil:
			admitted++
		case !errors.Is(err, budget.ErrExceeded):
			t.Error(err)
		}
	}
	if b := r.find(t, budget.User, string(p.User)); admitted != 5 || b.Held != 10*money.Dollar || b.Overrun != 0 {
		t.Errorf("%d were admitted, and it is %+v", admitted, b)
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM user_budgets WHERE scope = 'USER' AND scope_id = $1`, p.User); n != 1 {
		t.Errorf("%d budgets were made", n)
	}
	if err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error { _, err := r.book.ApplyTemplates(ctx, tx); return err }); err != nil {
		t.Fatal(err)
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM users u WHERE role = 'engineer' AND NOT EXISTS (SELECT FROM user_budgets b WHERE b.scope_id = u.id)`); n != 0 {
		t.Errorf("%d engineers have none", n)
	}
	r.agrees(t)
}

func TestAThresholdIsForetoldOnce(t *testing.T) {
	r := setUp(t, "deny") // the middle of the 15th
	team := string(r.org.Teams[0])
	pace := money.Dollar
	r.book.Pace = func(_ context.Context, _ postgres.Querier, from, to time.Time) ([]budget.Sum, error) {
		if !to.Equal(r.clock.Now().Truncate(24*time.Hour)) || to.Sub(from) != 7*24*time.Hour {
			t.Errorf("asked for %s to %s", from, to)
		}
		return []budget.Sum{{Scope: budget.Team, ScopeID: team, Amount: pace}}, nil
	}
	foretell := func() (n int) {
		t.Helper()
		r.do(t, func(ctx context.Context, tx *audit.Tx) (err error) {
			n, err = r.book.Foretell(ctx, tx)
			return err
		})
		return n
	}
	r.mustSet(t, budget.Setting{Amount: 100 * money.Dollar})
	r.mustHold(t, id.New[id.WorkSpace](), r.payer(), 60*money.Dollar, 0)
	if n := foretell(); n != 0 { // 20 dollars away, at one a day
		t.Errorf("told of %d that are not reached", n)
	}
	pace = 4 * money.Dollar
	want := []budget.Forecast{{Percent: 80, At: midNovember.AddDate(0, 0, 5)}, {Percent: 100, At: midNovember.AddDate(0, 0, 10)}}
	if got := r.team(t).Forecasts(pace, r.clock.Now()); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("forecasts %v, want %v", got, want)
	}
	if n, again := foretell(), foretell(); n != 1 || again != 0 {
		t.Errorf("told of %d and then of %d", n, again)
	}
	if text := pgtest.Value[string](t, r.DB, `SELECT max(payload->>'at') || ' ' || max(payload->>'used_up_at') FROM notifications WHERE kind = 'budget.forecast'`); text != "2026-11-20T12:00:00Z 2026-11-25T12:00:00Z" {
		t.Errorf("it says %s", text)
	}
	// It is reached, and then the limit itself is ahead.
	r.mustHold(t, id.New[id.WorkSpace](), r.payer(), 21*money.Dollar, 0)
	if n, again := foretell(), foretell(); n != 1 || again != 0 {
		t.Errorf("of the limit told %d and then %d", n, again)
	}
	r.mustSet(t, budget.Setting{Amount: 120 * money.Dollar}) // 81 of 120: 80 % is ahead again
	if n := foretell(); n != 1 {
		t.Errorf("raised, told of %d", n)
	}
	r.clock.Set(month("2026-12"))
	if n := foretell(); n != 0 { // the new month is not open yet
		t.Errorf("told of %d in a month that is not open", n)
	}
	r.rollOver(t)
	if b := r.team(t); b.ForetoldPercent != 0 || clock.StartOfMonth(b.PeriodStart) != b.PeriodStart {
		t.Errorf("December is %+v", b)
	}
	r.agrees(t)
}

func TestWhatIsLeftIsNotGuessedWhileFeesAreBeingPosted(t *testing.T) {
	r := setUp(t, "deny")
	r.set(t, budget.Team, string(r.org.Teams[0]), 10*money.Dollar)
	r.feesDue = true
	if err := r.hold(t.Context(), id.New[id.WorkSpace](), r.payer(), money.Dollar, 0); !errors.Is(err, budget.ErrMonthOpens) {
		t.Errorf("it says %v", err)
	}
	r.feesDue = false
	r.mustHold(t, id.New[id.WorkSpace](), r.payer(), money.Dollar, 0)
}

func TestAShortfallIsToldBeforeTheMonth(t *testing.T) {
	r := setUp(t, "deny")
	team := string(r.org.Teams[0])
	r.set(t, budget.Team, team, 10*money.Dollar)
	r.set(t, budget.Organisation, budget.OrganisationID, 100*money.Dollar)
	r.mustHold(t, id.New[id.WorkSpace](), r.payer(), 0, 3*money.Dollar)
	fees := 7 * money.Dollar
	r.book.NextFees = func(context.Context, postgres.Querier) ([]budget.Sum, error) {
		return []budget.Sum{{Scope: budget.Team, ScopeID: team, Amount: fees}, {Scope: budget.Organisation, ScopeID: budget.OrganisationID, Amount: fees}}, nil
	}
	tell := func() (n int) {
		t.Helper()
		r.do(t, func(ctx context.Context, tx *audit.Tx) (err error) {
			n, err = r.book.TellShortfalls(ctx, tx)
			return err
		})
		return n
	}
	fees++
	if n := tell(); n != 0 {
		t.Errorf("told of %d two weeks before", n)
	}
	r.clock.Set(month("2026-12").AddDate(0, 0, -6))
	fees--
	if n := tell(); n != 0 {
		t.Errorf("told of %d with just enough", n)
	}
	fees++
	if n, again := tell(), tell(); n != 1 || again != 0 {
		t.Errorf("told of %d and then of %d", n, again)
	}
	if text := pgtest.Value[string](t, r.DB, `SELECT max(payload->>'missing') || ' ' || max(payload->>'at') FROM notifications WHERE kind = 'budget.shortfall'`); text != "0.000001 2026-12-01T00:00:00Z" {
		t.Errorf("it says %s", text)
	}
	// A quarter goes on with what it has spent.
	r.mustSet(t, budget.Setting{Amount: 12 * money.Dollar, Period: budget.Quarterly})
	if n := tell(); n != 0 {
		t.Errorf("told of %d that have room", n)
	}
	r.chargeOf(t, id.New[id.WorkSpace](), month("2026-11"), 3*money.Dollar)
	if n := tell(); n != 1 {
		t.Errorf("told of %d of a quarter that has none", n)
	}
}
