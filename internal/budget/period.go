package budget

import (
	"context"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/fault"
)

// Period is how long a budget's amount is for. Periods begin and end with months in UTC, as Amazon's fees do.
type Period string

// The periods: of the calendar, or the one span of months that a budget is for.
const (
	Monthly   Period = "MONTHLY"
	Quarterly Period = "QUARTERLY"
	Yearly    Period = "YEARLY"
	Custom    Period = "CUSTOM"
)

// The refusals of periods.
var (
	ErrPeriod = fault.New(fault.Invalid, "PERIOD_INVALID", "a period is MONTHLY, QUARTERLY, YEARLY, or CUSTOM with its first and its last month",
		fault.Suggest("write months like 2027-01; the last one is not before the first"))
	ErrPeriodPast = fault.New(fault.Invalid, "PERIOD_PAST", "that span of months is over",
		fault.Suggest("give a last month that is not over yet"))
	ErrOverlaps = fault.New(fault.Conflict, "BUDGET_OVERLAPS", "there is another budget for some of those months, and only one counts at a time",
		fault.Suggest("end the other one first (`forge budgets delete`), or choose other months"))
	ErrEnded = fault.New(fault.Conflict, "BUDGET_ENDED", "the budget has ended", fault.Suggest("set a new one"))
)

// forever is the end of what has none.
var forever = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// validity is for which months a budget counts: from the one up to, and without, the other. Until nil is without end.
type validity struct {
	Period     Period
	ValidFrom  time.Time
	ValidUntil *time.Time
}

// validityColumns need a budget as b.
const validityColumns = `
	b.period, b.valid_from, nullif(b.valid_until, 'infinity') AS valid_until`

func (v validity) until() time.Time {
	if v.ValidUntil == nil {
		return forever
	}
	return v.ValidUntil.UTC()
}

// covers says whether the budget counts in the month.
func (v validity) covers(month time.Time) bool {
	return !month.Before(v.ValidFrom) && month.Before(v.until())
}

// of is the budget's period that has the month in it: the calendar's, as far as the budget counts.
func (v validity) of(month time.Time) (start, end time.Time) {
	from, until := v.ValidFrom.UTC(), v.until()
	start, end = v.Period.around(month.UTC(), from, until)
	if from.Before(until) {
		if start.Before(from) {
			start = from
		}
		if end.After(until) {
			end = until
		}
	}
	return start, end
}

func (p Period) around(month, from, until time.Time) (start, end time.Time) {
	year, m, _ := month.Date()
	switch p {
	case Monthly:
	case Quarterly:
		start = time.Date(year, m-(m-1)%3, 1, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 3, 0)
	case Yearly:
		start = time.Date(year, time.January, 1, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(1, 0, 0)
	case Custom:
		return from, until
	}
	return clock.StartOfMonth(month), clock.StartOfNextMonth(month)
}

// near is the month nearest to another in which the budget counts.
func (v validity) near(month time.Time) time.Time {
	if last := v.until(); !month.Before(last) {
		month = clock.StartOfMonth(last.Add(-time.Microsecond))
	}
	if month.Before(v.ValidFrom) {
		month = v.ValidFrom.UTC()
	}
	return month
}

// span reads the months that a setting of a budget is for.
func (s Setting) span(now time.Time) (validity, error) {
	v := validity{Period: s.Period}
	month := clock.StartOfMonth(now)
	switch s.Period {
	case Monthly, Quarterly, Yearly:
		if !s.FirstMonth.IsZero() || !s.LastMonth.IsZero() {
			return v, ErrPeriod.Sayf("only a CUSTOM period has a first and a last month")
		}
		v.ValidFrom, _ = s.Period.around(month, month, forever)
	case Custom:
		switch {
		case s.FirstMonth.IsZero() || s.LastMonth.IsZero():
			return v, ErrPeriod.Sayf("a CUSTOM period needs its first and its last month")
		case s.LastMonth.Before(s.FirstMonth):
			return v, ErrPeriod.Sayf("the last month, %s, is before the first, %s", s.LastMonth.Format("2006-01"), s.FirstMonth.Format("2006-01"))
		case s.LastMonth.Before(month):
			return v, ErrPeriodPast
		case s.LastMonth.Sub(s.FirstMonth) > maxSpan:
			return v, ErrPeriod.Sayf("a CUSTOM period has at most ten years")
		}
		until := clock.StartOfNextMonth(s.LastMonth)
		v.ValidFrom, v.ValidUntil = clock.StartOfMonth(s.FirstMonth), &until
	default:
		return v, ErrPeriod
	}
	return v, nil
}

const maxSpan = 10 * 366 * 24 * time.Hour

// thresholds are warning thresholds in order, each once; 80 when there are none.
func thresholds(percents []int) ([]int, error) {
	if len(percents) == 0 {
		return []int{80}, nil
	}
	out := slices.Clone(percents)
	slices.Sort(out)
	out = slices.Compact(out)
	if out[0] < 1 || out[len(out)-1] > 99 || len(out) > 10 {
		return nil, ErrWarning
	}
	return out, nil
}

// reached is the highest of the thresholds that the amount has come to, or 0.
func (b *balance) reached() int {
	committed, highest := b.SettledMicros+b.HeldMicros, 0
	for _, t := range b.WarningPercents {
		if committed > 0 && committed >= b.LimitMicros.Share(int64(t), 100) {
			highest = t
		}
	}
	return highest
}

// End ends a budget: from the present month on it does not count any more. What was booked under it stays, requests for
// more of it are over, and what was lent is gone with it.
func (b *Book) End(ctx context.Context, tx *audit.Tx, budgetID string, ifVersion *int64) error {
	if err := lockDefinitions(ctx, tx, true); err != nil {
		return err
	}
	d, err := b.define(ctx, tx, budgetID)
	switch {
	case err != nil:
		return err
	case ifVersion != nil && *ifVersion != d.Version:
		return ErrChanged
	case !d.until().After(clock.StartOfMonth(tx.Now)):
		return ErrEnded
	}
	if err := b.end(ctx, tx, d, clock.StartOfMonth(tx.Now)); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		UPDATE budget_requests
		SET state = CASE state WHEN 'PENDING' THEN 'EXPIRED' ELSE 'RETURNED' END, returned_at = CASE state WHEN 'LENT' THEN $2::timestamptz END
		WHERE budget_id = $1 AND state IN ('PENDING', 'LENT')`, budgetID, tx.Now); err != nil {
		return err
	}
	tx.Record(audit.Event{Action: "budget.end", ResourceType: "budget", ResourceID: budgetID, Details: map[string]any{
		"scope": string(d.Scope), "scope_id": d.ScopeID, "amount_micros": audit.Microdollars(int64(d.AmountMicros)),
	}})
	return nil
}

// end has a budget count no more from the month on; one that has not begun never counts.
func (b *Book) end(ctx context.Context, tx *audit.Tx, d definition, month time.Time) error {
	if d.ValidFrom.After(month) {
		month = d.ValidFrom.UTC()
	}
	if err := b.close(ctx, tx, d, month); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE user_budgets SET lent_micros = 0, updated_at = $2, version = version + 1 WHERE id = $1`, d.ID, tx.Now); err != nil {
		return err
	}
	return keepVersion(ctx, tx, d.ID, "ended", "")
}

// close takes what is reserved out of a budget that counts no more from a month on.
func (b *Book) close(ctx context.Context, tx *audit.Tx, d definition, until time.Time) error {
	if err := b.carryOut(ctx, tx, d, forever); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE user_budgets SET closed_at = $2, valid_until = $3 WHERE id = $1`, d.ID, tx.Now, until)
	return err
}
