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
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/price"
)

func (r *room) switchTo(t *testing.T, s cost.Subject, runs bool) {
	t.Helper()
	r.do(t, func(ctx context.Context, tx *audit.Tx) error { return r.meter.Switch(ctx, tx, s, runs) })
}

// As the emulator's bill has it (rule 17): made on the 1st, on the 16th at 09:30, half an hour into a run, STANDARD
// becomes PERFORMANCE. 369.5 h of 9.75 a month are 5.003645833…, 350.5 of 13 are 6.328472222…
func TestAnotherComputeTypeWhileItRuns(t *testing.T) {
	for rule, hours := range map[price.HourRule]money.USD{
		price.SessionCeil: 300_000 + 470_000, // 09:00 as STANDARD, 10:00 as PERFORMANCE
		price.ClockHour:   300_000 + 470_000,
		price.Second:      150_000 + 705_000, // half an hour and one and a half
	} {
		t.Run(string(rule), func(t *testing.T) {
			r := setUp(t, at("2026-11-01 00:00"), rule)
			r.setTeamBudget(t, 0, 100*money.Dollar)
			s := r.workspace(t, 0, "", price.AutoStop)
			r.begin(t, s)
			r.pause(t, s)
			r.clock.Set(at("2026-11-16 09:00"))
			r.begin(t, s)
			r.clock.Set(at("2026-11-16 09:30"))
			s.Spec.ComputeType = "PERFORMANCE"
			r.switchTo(t, s, true)
			r.switchTo(t, s, true) // nothing more
			r.clock.Set(at("2026-11-16 11:00"))
			want(t, "to date", r.toDate(t, s.Workspace), 5_003_646+6_328_472+hours)
			r.pause(t, s)
			want(t, "settled", r.settled(t, s.Workspace), 5_003_646+6_328_472+hours)
			want(t, "the budget", r.month(t, 0, "2026-11-16 11:00").Settled, 5_003_646+6_328_472+hours)
		})
	}
}

// Rule 9, as the emulator's bill has it: on the 11th at 12:00. Before: 9.75 and the hours 09, 10 and 11. After: 0.65 of 35.
// Rule 10: switched back, it is ALWAYS_ON until December, whose hours begin at 00:00.
func TestTheModeIsSwitchedForthAndBack(t *testing.T) {
	r := setUp(t, at("2026-11-01 00:00"), price.SessionCeil)
	s := r.workspace(t, 0, "", price.AutoStop)
	r.begin(t, s)
	r.pause(t, s)
	r.clock.Set(at("2026-11-11 09:30"))
	r.begin(t, s)
	r.clock.Set(at("2026-11-11 12:00"))
	always := s
	always.Spec.RunningMode = price.AlwaysOn
	r.switchTo(t, always, true)
	const november = 9_750_000 + 22_750_000 + 3*300_000
	want(t, "switched", r.settled(t, s.Workspace), november)
	for _, day := range []string{"12", "13", "14"} {
		r.clock.Set(at("2026-11-" + day + " 08:00"))
		r.switchTo(t, s, true)
		r.clock.Set(at("2026-11-" + day + " 10:00"))
		r.pause(t, s)
		r.clock.Set(at("2026-11-" + day + " 11:00"))
		r.begin(t, s)
		r.clock.Set(at("2026-11-" + day + " 12:00"))
		r.switchTo(t, always, true)
	}
	r.clock.Set(at("2026-11-30 22:15"))
	r.switchTo(t, s, true)
	want(t, "until December", r.toDate(t, s.Workspace), november)
	r.clock.Set(at("2026-12-01 02:30"))
	r.pause(t, s)
	want(t, "of December, three hours", r.toDate(t, s.Workspace), november+9_750_000+3*300_000)
	r.settle(t)
	want(t, "settled", r.settled(t, s.Workspace), november+9_750_000+3*300_000)
}

// 13 × 15/30 = 6.50 and 9.75 × 15/30 = 4.875: what was posted for the rest of November is given back by a record that
// names the one it corrects, and the month reads as one whole.
func TestASmallerComputeTypeWhileItIsStoppedGivesBackTheRestOfTheMonth(t *testing.T) {
	r := setUp(t, at("2026-11-01 00:00"), price.SessionCeil)
	r.setTeamBudget(t, 0, 100*money.Dollar)
	s := r.workspace(t, 0, "", price.AutoStop)
	s.Spec.ComputeType = "PERFORMANCE"
	r.begin(t, s)
	r.pause(t, s)
	want(t, "the fee", r.settled(t, s.Workspace), 13_000_000)
	r.clock.Set(at("2026-11-16 00:00"))
	s.Spec.ComputeType = "STANDARD"
	r.switchTo(t, s, false)
	want(t, "prorated", r.settled(t, s.Workspace), 6_500_000+4_875_000)
	want(t, "the budget", r.month(t, 0, "2026-11-16 00:00").Settled, 6_500_000+4_875_000)
	if n := pgtest.Value[int](t, r.DB, `
		SELECT count(*)
		FROM cost_records c JOIN cost_records o ON o.id = c.corrects
		WHERE c.total_cost_micros = -6500000 AND o.total_cost_micros = 13000000 AND o.usage_id = c.usage_id
		  AND (o.period_start, o.period_end) = (c.period_start, c.period_end)`); n != 1 {
		t.Errorf("%d corrections, want one", n)
	}
	want(t, "in its first days", r.summary(t, "workspace", at("2026-11-01 00:00"), at("2026-11-10 00:00"))[string(s.Workspace)].Total(), 6_500_000)
	r.clock.Set(at("2026-11-20 09:00"))
	r.begin(t, s)
	r.clock.Set(at("2026-12-01 00:00"))
	r.settle(t)
	want(t, "with 255 hours as STANDARD, and December", r.settled(t, s.Workspace), 6_500_000+4_875_000+255*300_000+9_750_000)
}

// STANDARD includes 80 and 50 GiB; here a GiB of root costs 0.11 and one of the user's 0.09 a month.
func TestVolumesBeyondTheBundlesCostByTheGiB(t *testing.T) {
	r := setUp(t, at("2026-11-01 00:00"), price.SessionCeil)
	r.importTariff(t, price.SessionCeil, at("2026-10-01 00:00"))
	s := r.workspace(t, 0, "", price.AutoStop)
	s.Spec.RootGiB, s.Spec.UserGiB = 80, 50
	r.begin(t, s)
	r.pause(t, s)
	stored := func() money.USD {
		return pgtest.Value[money.USD](t, r.DB, `SELECT coalesce(sum(storage_cost_micros), 0)::bigint FROM cost_records`)
	}
	want(t, "the bundle's own", r.settled(t, s.Workspace), 9_750_000)
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM usage WHERE kind = 'storage'`); n != 0 {
		t.Errorf("%d meters for volumes that are included", n)
	}
	// 50 GiB more for the user are 4.50 a month: 9.75 × 15/30 + 14.25 × 15/30 = 12.00.
	r.clock.Set(at("2026-11-16 00:00"))
	s.Spec.UserGiB = 100
	r.switchTo(t, s, false)
	want(t, "with 100 GiB for the user", r.settled(t, s.Workspace), 12_000_000)
	want(t, "for volumes", stored(), 2_250_000)
	// And 20 of root, 2.20: 4.875 + 14.25 × 5/30 + 16.45 × 10/30 = 4.875 + 2.375 + 5.483333…
	r.clock.Set(at("2026-11-21 00:00"))
	s.Spec.RootGiB = 100
	r.switchTo(t, s, false)
	r.switchTo(t, s, false)
	want(t, "with 100 GiB of root", r.settled(t, s.Workspace), 4_875_000+2_375_000+5_483_333)
	want(t, "for volumes", stored(), 750_000+2_233_333) // 4.50 × 5/30 and 6.70 × 10/30
	r.clock.Set(at("2026-12-16 00:00"))
	want(t, "to date", r.toDate(t, s.Workspace), 4_875_000+2_375_000+5_483_333+16_450_000)
	r.settle(t)
	want(t, "December", stored(), 750_000+2_233_333+6_700_000)
	// Rule 9 with volumes: the AUTO_STOP fee stays, and half of 35 + 6.70 comes on top.
	s.Spec.RunningMode = price.AlwaysOn
	r.clock.Set(at("2026-12-16 12:00"))
	r.switchTo(t, s, true)
	want(t, "ALWAYS_ON", r.settled(t, s.Workspace), 4_875_000+2_375_000+5_483_333+16_450_000+20_850_000)
	r.end(t, s)
	r.clock.Set(at("2027-02-01 00:00"))
	if n := r.settle(t); n != 0 {
		t.Errorf("settled %d usages of what has ended", n)
	}
}

func TestVolumesWithoutAPriceAreRefusedAndNamed(t *testing.T) {
	r := setUp(t, at("2026-11-01 00:00"), price.SessionCeil)
	s := r.workspace(t, 0, "", price.AutoStop)
	r.begin(t, s)
	s.Spec.RootGiB, s.Spec.UserGiB = 100, 50
	r.clock.Set(at("2026-11-10 10:00"))
	err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error { return r.meter.Switch(ctx, tx, s, true) })
	if !errors.Is(err, price.ErrUnknown) || fault.From(err).Details["item"] != "root_gb_month" {
		t.Errorf("switched without a price: %v", err)
	}
	want(t, "to date", r.toDate(t, s.Workspace), 9_750_000+226*300_000)
}

// A run from 09:20 to 12:10 that goes to another project at 10:40. The fee of November is the first project's, that of
// December the second's.
func TestAnotherProjectInTheMiddleOfARun(t *testing.T) {
	for rule, hours := range map[price.HourRule][2]money.USD{
		price.SessionCeil: {600_000, 300_000}, // 09:20, 10:20; 11:20
		price.ClockHour:   {600_000, 600_000}, // 09, 10; 11, 12
		price.Second:      {400_000, 450_000}, // 1 h 20 min; 1 h 30 min
	} {
		t.Run(string(rule), func(t *testing.T) {
			r := setUp(t, at("2026-11-01 00:00"), rule)
			s := r.workspace(t, 0, r.org.Projects[0], price.AutoStop)
			r.begin(t, s)
			r.pause(t, s)
			r.clock.Set(at("2026-11-10 09:20"))
			r.begin(t, s)
			r.clock.Set(at("2026-11-10 10:40"))
			moved := s
			moved.Payer.Project, moved.CostCentre = r.org.Projects[1], "cc-other"
			r.switchTo(t, moved, true)
			r.switchTo(t, moved, true)
			r.clock.Set(at("2026-11-10 12:10"))
			r.settle(t)
			r.pause(t, moved)
			sums := func(group string) map[string]cost.Sum {
				return r.summary(t, group, at("2026-11-01 00:00"), at("2027-01-01 00:00"))
			}
			want(t, "the first project", sums("project")[string(r.org.Projects[0])].Total(), 9_750_000+hours[0])
			want(t, "the second project", sums("project")[string(r.org.Projects[1])].Total(), hours[1])
			want(t, "the second cost centre", sums("cost_centre")["cc-other"].Total(), hours[1])
			r.clock.Set(at("2026-12-01 00:00"))
			want(t, "the second project in December", sums("project")[string(r.org.Projects[1])].Total(), 9_750_000+hours[1])
			r.settle(t)
			want(t, "the first project in December", sums("project")[string(r.org.Projects[0])].Total(), 9_750_000+hours[0])
		})
	}
}

// Before the next month it goes from one to the next and the next; the last pays then.
func TestTheNextMonthsFeeIsTheLastPayers(t *testing.T) {
	r := setUp(t, at("2026-11-01 00:00"), price.SessionCeil)
	s := r.workspace(t, 0, r.org.Projects[0], price.AlwaysOn)
	r.begin(t, s)
	for i, p := range []id.Project{r.org.Projects[1], "", r.org.Projects[0], r.org.Projects[1]} {
		r.clock.Set(at(fmt.Sprintf("2026-11-%d 00:00", 10+i)))
		s.Payer.Project = p
		r.switchTo(t, s, true)
	}
	sums := r.summary(t, "project", at("2026-11-01 00:00"), at("2027-01-01 00:00"))
	if len(sums) != 1 {
		t.Errorf("one has paid: %v", sums)
	}
	// On the 16th it is PERFORMANCE, 50 a month: half of 35 is given back to the first, the second pays half of 50.
	r.clock.Set(at("2026-11-16 00:00"))
	s.Spec.ComputeType = "PERFORMANCE"
	r.switchTo(t, s, true)
	r.clock.Set(at("2026-12-01 00:00"))
	r.settle(t)
	sums = r.summary(t, "project", at("2026-11-01 00:00"), at("2027-01-01 00:00"))
	want(t, "the first", sums[string(r.org.Projects[0])].Total(), 17_500_000)
	want(t, "the last", sums[string(r.org.Projects[1])].Total(), 25_000_000+50_000_000)
}

// A change takes its instant when it begins, and may wait for a lock until another has settled the next month.
func TestASwitchThatIsLateAtTheEndOfAMonthCountsFromTheNext(t *testing.T) {
	r := setUp(t, at("2026-11-01 00:00"), price.SessionCeil)
	s := r.workspace(t, 0, "", price.AutoStop)
	r.begin(t, s)
	r.pause(t, s)
	behind := r.Log(t, clock.At(at("2026-11-30 23:59")).Now)
	r.clock.Set(at("2026-12-01 00:00"))
	r.settle(t)
	s.Spec.ComputeType = "PERFORMANCE"
	ctx := actor.With(t.Context(), actor.System("test"))
	if err := behind.Change(ctx, audit.Intent{Action: "test.try", ResourceType: "cost"}, func(tx *audit.Tx) error {
		tx.Record(audit.Event{Action: "test.change", ResourceType: "cost"})
		return r.meter.Switch(ctx, tx, s, false)
	}); err != nil {
		t.Fatal(err)
	}
	r.settle(t)
	want(t, "November as STANDARD, December as PERFORMANCE", r.settled(t, s.Workspace), 9_750_000+13_000_000)
	if n := r.settle(t); n != 0 {
		t.Errorf("settled %d once more", n)
	}
}

// What has no meters yet, or no more, is not switched.
func TestThereIsNothingToSwitchBeforeTheBeginningOrAfterTheEnd(t *testing.T) {
	r := setUp(t, at("2026-11-01 00:00"), price.SessionCeil)
	s := r.workspace(t, 0, "", price.AutoStop)
	r.switchTo(t, s, true)
	want(t, "before", r.toDate(t, s.Workspace), 0)
	r.begin(t, s)
	r.clock.Set(at("2026-11-01 00:30"))
	r.end(t, s)
	s.Spec.ComputeType = "PERFORMANCE"
	r.switchTo(t, s, true)
	want(t, "after", r.toDate(t, s.Workspace), 9_750_000+300_000)
}

// A book that takes effect meanwhile does not make a change of what is none.
func TestASwitchKeepsThePricesOfWhatDoesNotChange(t *testing.T) {
	r := setUp(t, at("2026-11-01 00:00"), price.SessionCeil)
	s := r.workspace(t, 0, r.org.Projects[0], price.AutoStop)
	r.begin(t, s)
	r.importTariff(t, price.ClockHour, at("2026-11-05 00:00"))
	r.clock.Set(at("2026-11-10 00:00"))
	before := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM usage`)
	s.Spec.AutoStopMinutes = 240
	r.switchTo(t, s, true)
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM usage`); n != before {
		t.Errorf("%d meters were opened", n-before)
	}
	s.Payer.Project = r.org.Projects[1]
	r.switchTo(t, s, true)
	if n := pgtest.Value[int](t, r.DB, `SELECT count(DISTINCT (price_id, hour_rule)) FROM usage`); n != 2 { // the fee's and the hour's
		t.Errorf("another payer pays other prices: %d", n)
	}
}

// The month that is paid as ALWAYS_ON is so whatever the mode; the change that is reckoned from it costs what it then does.
func TestWhatAChangeCostsIsWhatItDoes(t *testing.T) {
	r := setUp(t, at("2026-11-01 00:00"), price.SessionCeil)
	book, err := cost.BookAt(t.Context(), r.Pool, r.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	paid := func(s cost.Subject) bool {
		until, err := cost.AlwaysOnUntil(t.Context(), r.Pool, s.Workspace, r.clock.Now())
		if err != nil || !until.IsZero() && !until.Equal(at("2026-12-01 00:00")) {
			t.Errorf("ALWAYS_ON until %s (%v)", until, err)
		}
		return !until.IsZero()
	}
	s := r.workspace(t, 0, "", price.AutoStop)
	r.begin(t, s)
	for i, step := range []struct {
		compute, mode string
		paid          bool
	}{
		{"PERFORMANCE", price.AutoStop, false},
		{"STANDARD", price.AlwaysOn, true},
		{"STANDARD", price.AutoStop, true},
		{"POWER", price.AutoStop, true},
		{"POWER", price.AlwaysOn, true},
		{"VALUE", price.AutoStop, true},
	} {
		r.clock.Set(at(fmt.Sprintf("2026-11-%02d 00:00", 3*i+4)))
		from := s.Spec
		if paid(s) {
			from.RunningMode = price.AlwaysOn
		}
		s.Spec.ComputeType, s.Spec.RunningMode = step.compute, step.mode
		change, err := book.ChangeCost(from, s.Spec, r.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		before := r.toDate(t, s.Workspace)
		r.switchTo(t, s, true)
		want(t, fmt.Sprintf("to %s %s", step.compute, step.mode), r.toDate(t, s.Workspace)-before, change.Posts)
		r.clock.Advance(time.Minute)
		if paid(s) != step.paid {
			t.Errorf("after %s %s the month is paid as ALWAYS_ON: %v", step.compute, step.mode, !step.paid)
		}
	}
}

// With room for just the change, the change fits: what was held for it is spent by it.
func TestAChangeSpendsWhatWasHeldForIt(t *testing.T) {
	r := setUp(t, at("2026-11-16 00:00"), price.SessionCeil)
	book, err := cost.BookAt(t.Context(), r.Pool, r.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := r.workspace(t, 0, "", price.AutoStop)
	// The fee 4.875 and a lease of 3 × 0.30; then PERFORMANCE, 3.25/2 more and a lease of 3 × 0.47.
	r.setTeamBudget(t, 0, 4_875_000+1_625_000+1_410_000)
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		_, err := r.meter.Budgets.Hold(ctx, tx, s.Workspace, s.Payer, 4_875_000, 900_000)
		return err
	})
	r.begin(t, s)
	to := s
	to.Spec.ComputeType = "PERFORMANCE"
	change, err := book.ChangeCost(s.Spec, to.Spec, r.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		fixed, lease := change.Hold()
		return r.meter.Budgets.Resize(ctx, tx, s.Workspace, fixed, lease)
	})
	if b := r.month(t, 0, "2026-11-16 00:00"); b.Available() != 0 || b.Held != 1_625_000+1_410_000 {
		t.Errorf("before the change: %+v", b)
	}
	r.switchTo(t, to, true)
	if b := r.month(t, 0, "2026-11-16 00:00"); b.Settled != 6_500_000 || b.Held != 1_410_000 || b.Overrun != 0 {
		t.Errorf("after it: %+v", b)
	}
}

// A lease of three hours that cannot be renewed: begun at 10:10, it is paid until 13:10, by session, and until 13:00 by the
// clock; to the second, what is settled by the hour leaves it until 13:10 as well.
func TestWhatABudgetStopsIsDueWhenItsPaidLeaseEnds(t *testing.T) {
	for rule, due := range map[price.HourRule]string{price.SessionCeil: "13:10", price.ClockHour: "13:00", price.Second: "13:10"} {
		t.Run(string(rule), func(t *testing.T) {
			r := setUp(t, at("2026-11-01 00:00"), rule)
			books := r.meter.Budgets
			set := func(amount money.USD, e budget.Enforcement) {
				r.do(t, func(ctx context.Context, tx *audit.Tx) error {
					_, err := books.Set(ctx, tx, budget.Setting{Scope: budget.Team, ScopeID: string(r.org.Teams[0]), Amount: amount, Enforcement: e, AcceptOverrun: true})
					return err
				})
			}
			stopAt := func(s cost.Subject) string {
				due, err := budget.StopAt(t.Context(), r.Pool, []id.WorkSpace{s.Workspace, "ws_other"})
				if err != nil || len(due) > 1 {
					t.Fatal(due, err)
				}
				if _, ok := due[s.Workspace]; !ok {
					return ""
				}
				return due[s.Workspace].Format("15:04")
			}
			set(9_750_000+900_000, budget.BlockAndStop)
			s := r.workspace(t, 0, "", price.AutoStop)
			r.do(t, func(ctx context.Context, tx *audit.Tx) error {
				_, err := books.Hold(ctx, tx, s.Workspace, s.Payer, 9_750_000, 900_000)
				return err
			})
			r.begin(t, s)
			r.pause(t, s)
			r.clock.Set(at("2026-11-10 10:10"))
			r.begin(t, s)
			if got := stopAt(s); got != "" {
				t.Errorf("due at %s already", got)
			}
			for _, now := range []string{"11:00", "12:00", "13:00", "14:00", "15:00"} { // and never later
				r.clock.Set(at("2026-11-10 " + now))
				r.settle(t)
				if got := stopAt(s); got != due {
					t.Errorf("at %s it is due at %q, want %s", now, got, due)
				}
				list, err := budget.DueStops(t.Context(), r.Pool, r.clock.Now(), 10)
				if err != nil || (len(list) == 1) != (now >= due) {
					t.Errorf("at %s the due are %v (%v)", now, list, err)
				}
			}
			r.do(t, func(ctx context.Context, tx *audit.Tx) error { return books.ClearStop(ctx, tx, s.Workspace) })
			if got := stopAt(s); got != "" {
				t.Errorf("cleared, and due at %s", got)
			}
			r.clock.Set(at("2026-11-10 16:00"))
			r.settle(t)
			if stopAt(s) == "" {
				t.Error("it runs on, and is not due again")
			}
			set(9_750_000+900_000, budget.Block)
			r.clock.Set(at("2026-11-10 17:00"))
			r.settle(t)
			if got := stopAt(s); got != "" {
				t.Errorf("the budget stops nothing any more, and it is due at %s", got)
			}
		})
	}
}

// Everything that moves money, at once: nothing is lost, doubled or overspent unseen, and nothing deadlocks.
func TestSwitchesBesideSettlementsKeepTheBooks(t *testing.T) {
	const spaces, steps = 8, 12
	r := setUp(t, at("2026-11-28 10:20"), price.SessionCeil)
	random := pgtest.Random(t)
	books := r.meter.Budgets
	for i := range 2 {
		r.setTeamBudget(t, i, 300*money.Dollar)
		r.do(t, func(ctx context.Context, tx *audit.Tx) error {
			_, err := books.Set(ctx, tx, budget.Setting{
				Scope: budget.Project, ScopeID: string(r.org.Projects[i]), Amount: 150 * money.Dollar, Enforcement: budget.BlockAndStop,
			})
			return err
		})
	}
	all := make([]cost.Subject, spaces)
	for i := range all {
		s := r.workspace(t, i%2, r.org.Projects[i%2], price.AutoStop)
		r.do(t, func(ctx context.Context, tx *audit.Tx) error {
			if _, err := books.Hold(ctx, tx, s.Workspace, s.Payer, 9_750_000, 900_000); err != nil {
				return err
			}
			return r.meter.Begin(ctx, tx, s)
		})
		all[i] = s
	}
	var workers sync.WaitGroup
	errs := make(chan error, spaces*steps+1000)
	stop := make(chan struct{})
	for range 3 {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error { _, err := r.meter.Settle(ctx, tx, 5); return err }); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	var changers sync.WaitGroup
	for i := range all {
		own := rand.New(rand.NewPCG(random.Uint64(), 0)) //nolint:gosec // a test's choices
		changers.Go(func() {
			for range steps {
				r.clock.Advance(time.Duration(own.Int64N(int64(2*time.Hour)) / 1000 * 1000))
				errs <- r.stir(t.Context(), own, &all[i])
			}
		})
	}
	changers.Wait()
	close(stop)
	workers.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	for i := range all {
		r.end(t, all[i])
	}
	for what, query := range map[string]string{
		"usages differ from their records": `
			SELECT count(*) FROM usage u
			WHERE settled_micros <> (SELECT coalesce(sum(total_cost_micros), 0) FROM cost_records c WHERE c.usage_id = u.id)`,
		"balances differ from their entries": `
			SELECT count(*) FROM budget_periods p
			WHERE (limit_micros, settled_micros, held_micros, overrun_micros) IS DISTINCT FROM (
				SELECT (sum(limit_delta_micros)::bigint, sum(settled_delta_micros)::bigint, sum(held_delta_micros)::bigint, sum(overrun_delta_micros)::bigint)
				FROM budget_entries e WHERE (e.budget_id, e.period_start) = (p.budget_id, p.period_start))`,
		"balances are beyond limit and overrun": `SELECT count(*) FROM budget_periods WHERE settled_micros + held_micros > limit_micros + overrun_micros`,
		"teams' balances differ from the records": `
			SELECT count(*) FROM budget_periods p JOIN user_budgets b ON b.id = p.budget_id
			WHERE b.scope = 'TEAM' AND p.settled_micros <> (SELECT coalesce(sum(total_cost_micros), 0) FROM cost_records c
				WHERE c.team_id = b.scope_id AND c.period_start >= p.period_start AND c.period_start < p.period_end)`,
		"projects' balances differ from the records": `
			SELECT count(*) FROM budget_periods p JOIN user_budgets b ON b.id = p.budget_id
			WHERE b.scope = 'PROJECT' AND p.settled_micros <> (SELECT coalesce(sum(total_cost_micros), 0) FROM cost_records c
				WHERE c.project_id = b.scope_id AND c.period_start >= p.period_start AND c.period_start < p.period_end)`,
		"projects' holds differ": `
			SELECT count(*)
			FROM user_budgets b JOIN LATERAL (SELECT * FROM budget_periods p WHERE p.budget_id = b.id ORDER BY period_start DESC LIMIT 1) p ON true
			WHERE b.scope = 'PROJECT' AND p.held_micros <> (SELECT coalesce(sum(fixed_micros + lease_micros), 0) FROM budget_holds h WHERE h.project_id = b.scope_id)`,
	} {
		if n := pgtest.Value[int](t, r.DB, query); n != 0 {
			t.Errorf("%s (%d)", what, n)
		}
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`); n != 0 {
		t.Errorf("PostgreSQL had to break %d deadlocks", n)
	}
}

// stir makes one change to a WorkSpace, as whoever has its row locked does.
func (r *room) stir(ctx context.Context, random *rand.Rand, s *cost.Subject) error {
	to := *s
	what, lease := random.IntN(5), money.USD(random.IntN(3_000_000))
	switch what {
	case 0:
		to.Spec.ComputeType = []string{"VALUE", "STANDARD", "PERFORMANCE", "POWER"}[random.IntN(4)]
	case 1:
		to.Spec.RunningMode = []string{price.AutoStop, price.AlwaysOn}[random.IntN(2)]
	case 2:
		to.Payer.Project = r.org.Projects[random.IntN(2)]
	}
	err := r.try(ctx, func(ctx context.Context, tx *audit.Tx) error {
		if what < 3 {
			if err := r.meter.Switch(ctx, tx, to, true); err != nil {
				return err
			}
		}
		switch what {
		case 2:
			return r.meter.Budgets.Move(ctx, tx, to.Workspace, to.Payer)
		case 3:
			return r.meter.Budgets.Resize(ctx, tx, to.Workspace, lease/2, lease)
		}
		return r.meter.Budgets.RenewOrTell(ctx, tx, to.Workspace)
	})
	if errors.Is(err, budget.ErrExceeded) {
		return nil // as it was
	}
	*s = to
	return err
}
