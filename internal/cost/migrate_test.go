package cost_test

import (
	"context"
	"testing"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/price"
)

func (r *room) migrate(t *testing.T, s cost.Subject, runs bool) {
	t.Helper()
	r.do(t, func(ctx context.Context, tx *audit.Tx) error { return r.meter.Migrate(ctx, tx, s, runs) })
}

// Rule 14, as the emulator's bill has it: asked for on the 16th at 09:00 and over at 09:45. The source is charged until then and
// the target, a PERFORMANCE, from 09:00 on, whose hours begin anew. 369.75 h of 720 at 9.75 are 5.00703125, 351 h at 13 are
// 6.3375.
func TestAMigrationChargesBoth(t *testing.T) {
	for rule, hours := range map[price.HourRule]money.USD{
		price.SessionCeil: 300_000 + 2*470_000, // 08:00 as STANDARD; 09:45 to 11:00 are two begun hours
		price.ClockHour:   300_000 + 2*470_000, // the hours 08; 09 and 10
	} {
		t.Run(string(rule), func(t *testing.T) {
			r := setUp(t, at("2026-11-01 00:00"), rule)
			r.setTeamBudget(t, 0, 100*money.Dollar)
			s := r.workspace(t, 0, "", price.AutoStop)
			r.begin(t, s)
			r.pause(t, s)
			r.clock.Set(at("2026-11-16 08:00"))
			r.begin(t, s)
			r.clock.Set(at("2026-11-16 09:00"))
			r.pause(t, s) // SUSPENDED
			r.clock.Set(at("2026-11-16 09:45"))
			s.Spec.ComputeType, s.Since = "PERFORMANCE", at("2026-11-16 09:00")
			r.migrate(t, s, true)
			r.begin(t, s) // as the reconciler does when it is seen to run
			r.clock.Set(at("2026-11-16 11:00"))
			r.pause(t, s)
			want(t, "settled", r.settled(t, s.Workspace), 5_007_031+6_337_500+hours)
			want(t, "the budget", r.month(t, 0, "2026-11-16 11:00").Settled, 5_007_031+6_337_500+hours)
		})
	}
}
