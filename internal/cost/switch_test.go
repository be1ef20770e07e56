package cost_test

import (
	"context"
	"testing"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/money"
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
