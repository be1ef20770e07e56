// Package budget keeps what may be spent, what is reserved and what was spent, so that racing requests cannot overspend.
package budget

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/postgres"
)

// The refusals of a budget (Requirements 12.1 to 12.3).
var (
	ErrExceeded = fault.New(fault.OverBudget, "BUDGET_EXCEEDED", "the budget does not have room for this",
		fault.Suggest("stop or terminate what is not needed, choose a smaller bundle, or ask your team lead or finance for more"))
	ErrNone = fault.New(fault.OverBudget, "BUDGET_MISSING", "no budget covers this, and the organisation allows nothing without one",
		fault.Suggest("ask finance to set a budget for you, your team or your project"))
	ErrBelowCommitted = fault.New(fault.Conflict, "BUDGET_BELOW_COMMITTED", "more than that is spent or reserved already",
		fault.Suggest("terminate WorkSpaces first, or repeat with accept_overrun"))
	ErrAmount = fault.New(fault.Invalid, "AMOUNT_INVALID", "that is not an amount of money",
		fault.Suggest("write digits with at most 12 before the point and 6 after, such as 400.00"))
	ErrAboveTeam = fault.New(fault.Forbidden, "BUDGET_ABOVE_TEAM", "a lead may give a member at most what the team has",
		fault.Suggest("ask finance to raise the team's budget first"))
	ErrOwnBudget = fault.New(fault.Forbidden, "BUDGET_OWN", "nobody sets their own budget", fault.Suggest("ask finance"))
	ErrWarning   = fault.New(fault.Invalid, "WARNING_INVALID", "the warning threshold is a whole percentage from 1 to 99")
	ErrScope     = fault.New(fault.Invalid, "SCOPE_INVALID", "a budget is for a USER, TEAM, PROJECT or the ORGANISATION")
	ErrNotFound  = fault.New(fault.NotFound, "BUDGET_NOT_FOUND", "there is no such budget, or it is not yours to see")
	ErrChanged   = fault.New(fault.Conflict, "BUDGET_CHANGED", "the budget was changed in the meantime",
		fault.Suggest("read it again and repeat with its new ETag"))
)

// Scope is the kind of thing that a budget is for.
type Scope string

// The scopes, in the order in which their budgets are locked.
const (
	Organisation Scope = "ORGANISATION"
	Team         Scope = "TEAM"
	Project      Scope = "PROJECT"
	User         Scope = "USER"
)

// Column is the column that names the scope in tables of what costs money; empty for the organisation, which is all of it.
func (s Scope) Column() string {
	switch s {
	case Organisation:
		return ""
	case Team:
		return "team_id"
	case Project:
		return "project_id"
	case User:
	}
	return "user_id"
}

// OrganisationID is the scope id of the one organisation.
const OrganisationID = "organisation"

// Enforcement is what a budget does at its limit.
type Enforcement string

// The enforcements: refuse; refuse and stop what runs when its lease ends; only warn.
const (
	Block        Enforcement = "block"
	BlockAndStop Enforcement = "block_and_stop"
	Warn         Enforcement = "warn"
)

// Payer is whom a WorkSpace's cost belongs to: each names a scope whose budget it touches.
type Payer struct {
	User    id.User
	Team    id.Team
	Project id.Project // may be empty
}

// touches reports whether a budget of the scope is one of the payer's.
func (p Payer) touches(s Scope, scopeID string) bool {
	switch s {
	case Organisation:
		return true
	case Team:
		return scopeID == string(p.Team)
	case Project:
		return scopeID == string(p.Project)
	case User:
	}
	return scopeID == string(p.User)
}

// Book is the budgets. Spent answers what was settled for a scope in a span of time, for a budget that begins in the
// middle of its first period. PaidUntil answers how long the running time that a WorkSpace has open may go on until it has
// cost lease more than is settled; false if none is open, or it costs nothing.
type Book struct {
	Spent     func(ctx context.Context, q postgres.Querier, s Scope, scopeID string, from, to time.Time) (money.USD, error)
	PaidUntil func(ctx context.Context, q postgres.Querier, ws id.WorkSpace, lease money.USD) (until time.Time, runs bool, err error)
}

// Effect is what a request would do, or did, to one budget.
type Effect struct {
	Scope     Scope
	ScopeID   string
	Limit     money.USD
	Settled   money.USD
	Held      money.USD // after the request
	Available money.USD // after the request
	// PeriodStart and Version are of the balance that the verdict was made on.
	PeriodStart time.Time
	Version     int64
}

// lockDefinitions keeps the set of budgets as it is until the end of the transaction: movements share it, setting a
// budget has it alone. So a hold is never taken beside a budget that is just being made and would not count it.
func lockDefinitions(ctx context.Context, tx *audit.Tx, alone bool) error {
	fn := "pg_advisory_xact_lock_shared"
	if alone {
		fn = "pg_advisory_xact_lock"
	}
	_, err := tx.Exec(ctx, `SELECT `+fn+`(hashtextextended('forge budget definitions', 0))`)
	return err
}

// balance is one budget in one period, locked.
type balance struct {
	BudgetID       string
	Scope          Scope
	ScopeID        string
	WarningPercent int
	Enforcement    Enforcement
	PeriodStart    time.Time
	LimitMicros    money.USD
	SettledMicros  money.USD
	HeldMicros     money.USD
	OverrunMicros  money.USD
	WarnedAt       *time.Time
	ExhaustedAt    *time.Time
	Version        int64
}

func (b *balance) available() money.USD { return b.LimitMicros - b.SettledMicros - b.HeldMicros }

// present asks for the month in which reservations live: this one, or the next where another has opened that already. A
// change has its instant from before it waited for its locks, so at the end of a month it may come late.
var present time.Time

// lock locks the budgets that the payers touch, in scope order in one statement, and returns their balances in the month.
func (b *Book) lock(ctx context.Context, tx *audit.Tx, month time.Time, payers ...Payer) ([]*balance, error) {
	if err := lockDefinitions(ctx, tx, false); err != nil {
		return nil, err
	}
	var users, teams, projects []string
	for _, p := range payers {
		users, teams = append(users, string(p.User)), append(teams, string(p.Team))
		if p.Project != "" {
			projects = append(projects, string(p.Project))
		}
	}
	rows, err := tx.Query(ctx, `
		SELECT id
		FROM user_budgets
		WHERE scope = 'ORGANISATION' AND scope_id = '`+OrganisationID+`' OR scope = 'TEAM' AND scope_id = ANY($1)
		   OR scope = 'PROJECT' AND scope_id = ANY($2) OR scope = 'USER' AND scope_id = ANY($3)
		ORDER BY array_position('{ORGANISATION,TEAM,PROJECT,USER}', scope), scope_id
		FOR NO KEY UPDATE`, teams, projects, users)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, nil
	}
	if month.Equal(present) {
		if month, err = presentMonth(ctx, tx, ids); err != nil {
			return nil, err
		}
	}
	return b.balances(ctx, tx, ids, month)
}

// Lock locks the WorkSpaces' holds, and then every budget that their holders and the payers touch, until the transaction
// ends. Who is going to make movements for several WorkSpaces or payers calls it first: each movement locks its own, and two
// changes that came by them in turn would deadlock.
func (b *Book) Lock(ctx context.Context, tx *audit.Tx, workspaces []id.WorkSpace, payers ...Payer) error {
	holds, err := postgres.Many[hold](ctx, tx, `
		SELECT`+holdColumns+`
		FROM budget_holds
		WHERE workspace_id = ANY($1)
		ORDER BY workspace_id
		FOR UPDATE`, workspaces)
	if err != nil {
		return err
	}
	for _, h := range holds {
		payers = append(payers, h.payer())
	}
	_, err = b.lock(ctx, tx, present, payers...)
	return err
}

// presentMonth is the month of present for locked budgets.
func presentMonth(ctx context.Context, tx *audit.Tx, ids []string) (time.Time, error) {
	var month time.Time
	err := tx.QueryRow(ctx, `
		SELECT coalesce(max(period_start), $2)
		FROM budget_periods
		WHERE budget_id = ANY($1) AND period_start > $2`, ids, clock.StartOfMonth(tx.Now)).Scan(&month)
	return month.UTC(), err
}

// balances reads the balances of locked budgets, opening the period where this is the first movement in it.
func (b *Book) balances(ctx context.Context, tx *audit.Tx, ids []string, month time.Time) ([]*balance, error) {
	for attempt := 0; ; attempt++ {
		found, err := postgres.Many[balance](ctx, tx, `
			SELECT b.id AS budget_id, b.scope, b.scope_id, b.warning_percent, b.enforcement, p.period_start,
			       p.limit_micros, p.settled_micros, p.held_micros, p.overrun_micros, p.warned_at, p.exhausted_at, p.version
			FROM user_budgets b JOIN budget_periods p ON p.budget_id = b.id
			WHERE b.id = ANY($1) AND p.period_start = $2
			ORDER BY array_position($1, b.id)`, ids, month)
		if err != nil {
			return nil, err
		}
		if len(found) == len(ids) || attempt > 0 {
			out := make([]*balance, len(found))
			for i := range found {
				out[i] = &found[i]
			}
			return out, nil
		}
		for _, budgetID := range ids {
			if slices.ContainsFunc(found, func(x balance) bool { return x.BudgetID == budgetID }) {
				continue
			}
			if err := b.openPeriod(ctx, tx, budgetID, month, true); err != nil {
				return nil, err
			}
		}
	}
}

// openPeriod begins a budget's month. Reservations live in the present month only: what is held is carried into it out
// of the month before. A budget that is new begins with what was settled this month already.
func (b *Book) openPeriod(ctx context.Context, tx *audit.Tx, budgetID string, month time.Time, carry bool) error {
	var scope Scope
	var scopeID string
	var limit, held, settled money.USD
	if err := tx.QueryRow(ctx, `SELECT scope, scope_id, amount_micros + lent_micros FROM user_budgets WHERE id = $1`, budgetID).
		Scan(&scope, &scopeID, &limit); err != nil {
		return err
	}
	settled, err := b.Spent(ctx, tx, scope, scopeID, month, clock.StartOfNextMonth(month))
	if err != nil {
		return err
	}
	newest, err := presentMonth(ctx, tx, []string{budgetID})
	if err != nil {
		return err
	}
	if !month.Before(newest) {
		if held, err = heldFor(ctx, tx, scope, scopeID); err != nil {
			return err
		}
		if carry {
			if err := b.carryOut(ctx, tx, budgetID, month); err != nil {
				return err
			}
		}
	}
	overrun := max(0, settled+held-limit)
	if _, err = tx.Exec(ctx, `
		INSERT INTO budget_periods (budget_id, period_start, period_end, limit_micros, settled_micros, held_micros, overrun_micros)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		budgetID, month, clock.StartOfNextMonth(month), limit, settled, held, overrun); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO budget_entries (budget_id, period_start, balance_version, at, kind, limit_delta_micros, settled_delta_micros, held_delta_micros, overrun_delta_micros, reason)
		VALUES ($1, $2, 1, $3, 'open', $4, $5, $6, $7, 'the period begins')`,
		budgetID, month, tx.Now, limit, settled, held, overrun)
	return err
}

// heldFor is what all WorkSpaces of the scope hold.
func heldFor(ctx context.Context, q postgres.Querier, s Scope, scopeID string) (held money.USD, err error) {
	where, args := "", []any{}
	if column := s.Column(); column != "" {
		where, args = " WHERE "+column+" = $1", append(args, scopeID)
	}
	err = q.QueryRow(ctx, `
		SELECT coalesce(sum(fixed_micros + lease_micros), 0)::bigint
		FROM budget_holds`+where, args...).Scan(&held)
	return held, err
}

func (b *Book) carryOut(ctx context.Context, tx *audit.Tx, budgetID string, month time.Time) error {
	rows, err := tx.Query(ctx, `
		SELECT period_start FROM budget_periods WHERE budget_id = $1 AND period_start < $2 AND held_micros > 0`, budgetID, month)
	if err != nil {
		return err
	}
	starts, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
	if err != nil {
		return err
	}
	for _, start := range starts {
		old, err := b.balances(ctx, tx, []string{budgetID}, start)
		if err != nil {
			return err
		}
		if err := move(ctx, tx, old[0], movement{kind: "carry", held: -old[0].HeldMicros, reason: "carried into the next period"}); err != nil {
			return err
		}
	}
	return nil
}

// movement is one change of a balance.
type movement struct {
	kind                 string
	workspace            id.WorkSpace
	limit, settled, held money.USD
	reason               string
}

// move applies the movement to a locked balance and writes its entry. Whatever lies beyond the limit afterwards is
// overrun: admission has refused what it may refuse before it comes to this.
func move(ctx context.Context, tx *audit.Tx, b *balance, m movement) error {
	writes := &pgx.Batch{}
	b.queue(writes, tx.Now, m)
	return tx.SendBatch(ctx, writes).Close()
}

// queue is move with others: what many wait for is written in one round trip.
func (b *balance) queue(writes *pgx.Batch, now time.Time, m movement) {
	before := b.OverrunMicros
	b.LimitMicros += m.limit
	b.SettledMicros += m.settled
	b.HeldMicros += m.held
	b.OverrunMicros = max(0, b.SettledMicros+b.HeldMicros-b.LimitMicros)
	b.Version++
	if b.OverrunMicros > before && m.reason == "" && b.Enforcement == Warn {
		m.reason = "the budget only warns"
	}
	writes.Queue(`
		UPDATE budget_periods
		SET limit_micros = $3, settled_micros = $4, held_micros = $5, overrun_micros = $6, version = $7, warned_at = $8, exhausted_at = $9
		WHERE budget_id = $1 AND period_start = $2`,
		b.BudgetID, b.PeriodStart, b.LimitMicros, b.SettledMicros, b.HeldMicros, b.OverrunMicros, b.Version, b.WarnedAt, b.ExhaustedAt)
	writes.Queue(`
		INSERT INTO budget_entries (budget_id, period_start, balance_version, at, kind, workspace_id, limit_delta_micros, settled_delta_micros, held_delta_micros, overrun_delta_micros, reason)
		VALUES ($1, $2, $3, $4, $5, nullif($6, ''), $7, $8, $9, $10, $11)`,
		b.BudgetID, b.PeriodStart, b.Version, now, m.kind, m.workspace, m.limit, m.settled, m.held, b.OverrunMicros-before, m.reason)
}

// crossings records, once per limit, that a balance has come to its warning threshold or its limit, and tells the
// engineer and the team's lead (Requirements 12.2 and 12.3).
func crossings(ctx context.Context, tx *audit.Tx, b *balance, p Payer) error {
	committed := b.SettledMicros + b.HeldMicros
	if b.WarnedAt == nil && committed > 0 && committed >= b.LimitMicros.Share(int64(b.WarningPercent), 100) {
		if err := cross(ctx, tx, b, p, "budget.warning", "warned_at", b.WarningPercent); err != nil {
			return err
		}
		b.WarnedAt = &tx.Now
	}
	if b.ExhaustedAt == nil && committed > 0 && committed >= b.LimitMicros {
		if err := cross(ctx, tx, b, p, "budget.exhausted", "exhausted_at", 100); err != nil {
			return err
		}
		b.ExhaustedAt = &tx.Now
	}
	return nil
}

func cross(ctx context.Context, tx *audit.Tx, b *balance, p Payer, kind, column string, percent int) error {
	if _, err := tx.Exec(ctx, `UPDATE budget_periods SET `+column+` = $3 WHERE budget_id = $1 AND period_start = $2`,
		b.BudgetID, b.PeriodStart, tx.Now); err != nil {
		return err
	}
	payload := map[string]any{
		"scope": string(b.Scope), "scope_id": b.ScopeID, "percent": percent, "limit": b.LimitMicros.String(),
		"settled": b.SettledMicros.String(), "held": b.HeldMicros.String(), "period_start": b.PeriodStart.Format(time.RFC3339),
	}
	// The version, and not the limit: one that is raised and set back is crossed again.
	key := fmt.Sprintf("%s:%s:%s:%d", kind, b.BudgetID, b.PeriodStart.Format("2006-01"), b.Version)
	for _, m := range []notify.Message{{Key: key + ":user", User: p.User}, {Key: key + ":team", Team: p.Team}} {
		if m.User == "" && m.Team == "" {
			continue // what was lent to all has ended: there is nobody in particular
		}
		m.Event, m.Kind, m.Payload = key, kind, payload
		if err := notify.Enqueue(ctx, tx, m); err != nil {
			return err
		}
	}
	tx.Record(audit.Event{Action: kind, ResourceType: "budget", ResourceID: b.BudgetID, Details: map[string]any{
		"percent": percent, "limit_micros": audit.Microdollars(int64(b.LimitMicros)),
		"committed_micros": audit.Microdollars(int64(b.SettledMicros + b.HeldMicros)),
	}})
	return nil
}

// isNone tells whether err says that there is no row.
func isNone(err error) bool { return errors.Is(err, pgx.ErrNoRows) }
