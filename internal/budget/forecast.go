package budget

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/notify"
)

// paceDays is from how many days a pace is taken.
const paceDays = 7

// Sum is an amount of one scope.
type Sum struct {
	Scope   Scope
	ScopeID string
	Amount  money.USD
}

// of is the amount of the budget's scope; 0 if it has none.
func of(all []Sum) func(b *Budget) money.USD {
	type key struct {
		scope Scope
		id    string
	}
	amounts := make(map[key]money.USD, len(all))
	for _, s := range all {
		amounts[key{s.Scope, s.ScopeID}] = s.Amount
	}
	return func(b *Budget) money.USD { return amounts[key{b.Scope, b.ScopeID}] }
}

// Forecast is when a budget comes to a share of its limit if it goes on at its pace: an estimate.
type Forecast struct {
	Percent int
	At      time.Time
}

// Forecasts are those of the budget's thresholds and of its limit that it has not come to, and does by the end of its period
// at a pace.
func (b Budget) Forecasts(perDay money.USD, now time.Time) []Forecast {
	var out []Forecast
	committed := b.Settled + b.Held
	for _, percent := range append(slices.Clone(b.WarningPercents), 100) {
		missing := b.Limit.Share(int64(percent), 100) - committed
		if perDay <= 0 || missing <= 0 {
			continue
		}
		left := b.PeriodEnd.Sub(now)
		// In whole seconds, and only when it is soon: the product stays small.
		if missing/perDay > money.USD(left/(24*time.Hour)) {
			continue
		}
		seconds := int64(missing/perDay)*86400 + int64(missing%perDay)*86400/int64(perDay)
		if at := now.Add(time.Duration(seconds) * time.Second); at.Before(b.PeriodEnd) {
			out = append(out, Forecast{percent, at})
		}
	}
	return out
}

// Foretell tells, once per period and threshold, of budgets that come to their next threshold before the period ends if they
// go on at the pace of the last seven days. It returns of how many it told.
func (b *Book) Foretell(ctx context.Context, tx *audit.Tx) (int, error) {
	if err := lockDefinitions(ctx, tx, false); err != nil {
		return 0, err
	}
	today := tx.Now.Truncate(24 * time.Hour)
	paces, err := b.Pace(ctx, tx, today.AddDate(0, 0, -paceDays), today)
	if err != nil || len(paces) == 0 {
		return 0, err
	}
	perDay := of(paces)
	all, err := budgets(ctx, tx, tx.Now, `
		WHERE b.valid_from <= $1 AND b.valid_until > $1 AND p.exhausted_at IS NULL AND p.limit_micros > 0
		ORDER BY array_position('{ORGANISATION,TEAM,PROJECT,USER}', b.scope), b.scope_id`)
	if err != nil {
		return 0, err
	}
	told := 0
	for i := range all {
		a := &all[i]
		pace := perDay(a)
		next := a.Forecasts(pace, tx.Now)
		if len(next) == 0 || next[0].Percent <= max(a.WarnedPercent, a.ForetoldPercent) {
			continue
		}
		if _, err := b.define(ctx, tx, string(a.ID)); err != nil {
			return 0, err
		}
		tag, err := tx.Exec(ctx, `
			UPDATE budget_periods
			SET foretold_percent = $3
			WHERE budget_id = $1 AND period_start = $2 AND foretold_percent < $3 AND warned_percent < $3`, a.ID, a.PeriodStart, next[0].Percent)
		if err != nil {
			return 0, err
		}
		if tag.RowsAffected() == 0 {
			continue // somebody else has
		}
		told++
		if err := foretell(ctx, tx, a, next, pace); err != nil {
			return 0, err
		}
	}
	return told, nil
}

func foretell(ctx context.Context, tx *audit.Tx, b *Budget, next []Forecast, perDay money.USD) error {
	last := next[len(next)-1]
	payload := map[string]any{
		"scope": string(b.Scope), "scope_id": b.ScopeID, "percent": next[0].Percent, "at": next[0].At.Format(time.RFC3339), "per_day": perDay.String(),
		"limit": b.Limit.String(), "settled": b.Settled.String(), "held": b.Held.String(), "period_end": b.PeriodEnd.Format(time.RFC3339),
	}
	if last.Percent == 100 && len(next) > 1 {
		payload["used_up_at"] = last.At.Format(time.RFC3339)
	}
	tx.Record(audit.Event{Action: "budget.forecast", ResourceType: "budget", ResourceID: string(b.ID), Details: map[string]any{
		"percent": next[0].Percent, "at": next[0].At.Format(time.RFC3339), "per_day_micros": audit.Microdollars(int64(perDay)),
	}})
	key := fmt.Sprintf("budget.forecast:%s:%s:%d:%d", b.ID, b.PeriodStart.Format("2006-01"), b.Version, next[0].Percent)
	return tell(ctx, tx, b, notify.Message{Key: key, Event: key, Kind: "budget.forecast", Payload: payload})
}

// tell tells whoever a budget concerns: its person, its team's lead, or finance.
func tell(ctx context.Context, tx *audit.Tx, b *Budget, m notify.Message) error {
	key := m.Key
	var team id.Team
	var err error
	switch b.Scope {
	case Organisation:
		return notify.EnqueueRole(ctx, tx, actor.Finance, m)
	case Team:
		team = id.Team(b.ScopeID)
	case Project:
		err = tx.QueryRow(ctx, `SELECT team_id FROM projects WHERE id = $1`, b.ScopeID).Scan(&team)
	case User:
		m.Key, m.User = key+":user", id.User(b.ScopeID)
		if err := notify.Enqueue(ctx, tx, m); err != nil {
			return err
		}
		m.User = ""
		err = tx.QueryRow(ctx, `SELECT team_id FROM users WHERE id = $1`, b.ScopeID).Scan(&team)
	}
	if err != nil {
		return err
	}
	m.Key, m.Team = key+":team", team
	return notify.Enqueue(ctx, tx, m)
}

// shortfallDays is how many days before a month its shortfalls are told.
const shortfallDays = 7

// TellShortfalls tells, once per month, of budgets that have no room for the fees of the month that follows: a fee can be
// avoided only by ending the WorkSpace before. It returns of how many it told.
func (b *Book) TellShortfalls(ctx context.Context, tx *audit.Tx) (int, error) {
	next := clock.StartOfNextMonth(tx.Now)
	if next.Sub(tx.Now) > shortfallDays*24*time.Hour {
		return 0, nil
	}
	if err := lockDefinitions(ctx, tx, false); err != nil {
		return 0, err
	}
	fees, err := b.NextFees(ctx, tx)
	if err != nil || len(fees) == 0 {
		return 0, err
	}
	due := of(fees)
	all, err := budgets(ctx, tx, tx.Now, `
		WHERE b.valid_from <= $1 AND b.valid_until > $2 AND b.enforcement <> 'warn' AND p.budget_id IS NOT NULL
		  AND (p.shortfall_at IS NULL OR p.shortfall_at < $1)
		ORDER BY array_position('{ORGANISATION,TEAM,PROJECT,USER}', b.scope), b.scope_id`, next)
	if err != nil {
		return 0, err
	}
	told := 0
	for i := range all {
		a := &all[i]
		fee := due(a)
		if fee == 0 {
			continue
		}
		// What is held goes on; in a period that ends, what was spent does not.
		committed, limit := fee+a.Held, a.Amount+a.Lent
		if a.PeriodEnd.After(next) {
			committed, limit = committed+a.Settled, a.Limit
		}
		if committed <= limit {
			continue
		}
		if _, err := b.define(ctx, tx, string(a.ID)); err != nil {
			return 0, err
		}
		tag, err := tx.Exec(ctx, `
			UPDATE budget_periods
			SET shortfall_at = $3
			WHERE budget_id = $1 AND period_start = $2 AND (shortfall_at IS NULL OR shortfall_at < $4)`, a.ID, a.PeriodStart, tx.Now, clock.StartOfMonth(tx.Now))
		if err != nil {
			return 0, err
		}
		if tag.RowsAffected() == 0 {
			continue // somebody else has
		}
		told++
		tx.Record(audit.Event{Action: "budget.shortfall", ResourceType: "budget", ResourceID: string(a.ID), Details: map[string]any{
			"month": next.Format("2006-01"), "fees_micros": audit.Microdollars(int64(fee)), "missing_micros": audit.Microdollars(int64(committed - limit)),
		}})
		key := fmt.Sprintf("budget.shortfall:%s:%s", a.ID, next.Format("2006-01"))
		if err := tell(ctx, tx, a, notify.Message{Key: key, Event: key, Kind: "budget.shortfall", Payload: map[string]any{
			"scope": string(a.Scope), "scope_id": a.ScopeID, "at": next.Format(time.RFC3339), "fees": fee.String(), "held": a.Held.String(),
			"limit": limit.String(), "missing": (committed - limit).String(),
		}}); err != nil {
			return 0, err
		}
	}
	return told, nil
}
