package price

import (
	"time"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/money"
)

// Change is what it costs to make another thing of a WorkSpace.
type Change struct {
	// MonthlyBefore and MonthlyAfter are the fixed fees of a whole month, volumes included.
	MonthlyBefore, MonthlyAfter money.USD
	// HourlyBefore and HourlyAfter are the rates while running; zero for ALWAYS_ON.
	HourlyBefore, HourlyAfter money.USD
	// Posts is what the change adds to this month's fee at once; negative if it takes from it. Where a change cuts this
	// month a second time, the roundings of its parts may make a micro-dollar of difference.
	Posts money.USD
	// LeaseBefore and LeaseAfter are the running time reserved ahead, in money.
	LeaseBefore, LeaseAfter money.USD
	// Effective is from when on the running mode's prices apply: now, or the first of the next month.
	Effective time.Time
}

// Hold is what the budgets must keep for the WorkSpace from the change on: the fee that will post, and the lease.
func (c Change) Hold() (fixed, lease money.USD) { return max(0, c.Posts), c.LeaseAfter }

// ChangeCost is what it costs to change a WorkSpace from one thing to another at now. From AUTO_STOP to ALWAYS_ON, the fee
// for the rest of the month comes on top of what was due; the other way ALWAYS_ON lasts until the month ends. Any other
// change prorates the fee before and after. One whose month is paid as ALWAYS_ON already (cost.AlwaysOnUntil) is given as
// ALWAYS_ON from, whatever its running mode: it costs nothing to switch it back.
func (b *Book) ChangeCost(from, to Spec, now time.Time) (Change, error) {
	before, err := b.RatesOf(from)
	if err != nil {
		return Change{}, err
	}
	after, err := b.RatesOf(to)
	if err != nil {
		return Change{}, err
	}
	c := Change{
		MonthlyBefore: before.Fee(), MonthlyAfter: after.Fee(), LeaseBefore: before.lease(from), LeaseAfter: after.lease(to), Effective: now,
	}
	if before.Hour != nil {
		c.HourlyBefore = before.Hour.Amount
	}
	if after.Hour != nil {
		c.HourlyAfter = after.Hour.Amount
	}
	rest := after // of this month
	if from.RunningMode == AlwaysOn && to.RunningMode != AlwaysOn {
		c.Effective = clock.StartOfNextMonth(now)
		always := to
		always.RunningMode = AlwaysOn
		if rest, err = b.RatesOf(always); err != nil {
			return Change{}, err
		}
	}
	switch {
	case from.RunningMode != AlwaysOn && to.RunningMode == AlwaysOn:
		c.Posts = MonthShare(rest.Fee(), now)
	case !before.sameFee(rest):
		c.Posts = MonthShare(rest.Fee(), now) - MonthShare(before.Fee(), now)
	}
	return c, nil
}
