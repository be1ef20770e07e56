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
	ErrMonthOpens = fault.New(fault.Unavailable, "BUDGET_MONTH_OPENS", "the month has just begun, and its fees are not all posted: what is left is not known yet",
		fault.Suggest("try again in a minute"))
	ErrBelowCommitted = fault.New(fault.Conflict, "BUDGET_BELOW_COMMITTED", "more than that is spent or reserved already",
		fault.Suggest("terminate WorkSpaces first, or repeat with accept_overrun"))
	ErrAmount = fault.New(fault.Invalid, "AMOUNT_INVALID", "that is not an amount of money",
		fault.Suggest("write digits with at most 12 before the point and 6 after, such as 400.00"))
	ErrAboveTeam = fault.New(fault.Forbidden, "BUDGET_ABOVE_TEAM", "a lead may give a member at most what the team has",
		fault.Suggest("ask finance to raise the team's budget first"))
	ErrOwnBudget = fault.New(fault.Forbidden, "BUDGET_OWN", "nobody sets their own budget", fault.Suggest("ask finance"))
	ErrWarning   = fault.New(fault.Invalid, "WARNING_INVALID", "warning thresholds are at most ten whole percentages from 1 to 99")
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
// cost lease more than is settled; false if none is open, or it costs nothing. Pace answers what every scope has cost a day in
// a span of whole days, on the average. FeesDue answers whether monthly fees of a payer's budgets have not been posted that
// were due by the month's beginning; NextFees what every scope's WorkSpaces will be charged when the next month begins.
type Book struct {
	Spent     func(ctx context.Context, q postgres.Querier, s Scope, scopeID string, from, to time.Time) (money.USD, error)
	PaidUntil func(ctx context.Context, q postgres.Querier, ws id.WorkSpace, lease money.USD) (until time.Time, runs bool, err error)
	Pace      func(ctx context.Context, q postgres.Querier, from, to time.Time) ([]Sum, error)
	FeesDue   func(ctx context.Context, q postgres.Querier, p Payer, organisation bool, month time.Time) (bool, error)
	NextFees  func(ctx context.Context, q postgres.Querier) ([]Sum, error)
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
	_, err := tx.Exec(ctx, `SELECT `+fn+`(hashtextextended($1, 0))`, "forge budget definitions") // an argument lets BEGIN come along
	return err
}

// definition is a budget without its balances, locked.
type definition struct {
	ID      string
	Scope   Scope
	ScopeID string
	validity
	AmountMicros money.USD
	LentMicros   money.USD
	Version      int64
}

const definitionColumns = `
	b.id, b.scope, b.scope_id,` + validityColumns + `, b.amount_micros, b.lent_micros, b.version`

// define reads and locks one budget; ErrNotFound if there is none.
func (b *Book) define(ctx context.Context, tx *audit.Tx, budgetID string) (definition, error) {
	d, err := postgres.One[definition](ctx, tx, `SELECT`+definitionColumns+` FROM user_budgets b WHERE b.id = $1 FOR NO KEY UPDATE`, budgetID)
	if isNone(err) {
		err = ErrNotFound
	}
	return d, err
}

// balance is one budget in one period, locked.
type balance struct {
	BudgetID        string
	Scope           Scope
	ScopeID         string
	WarningPercents []int
	Enforcement     Enforcement
	PeriodStart     time.Time
	LimitMicros     money.USD
	SettledMicros   money.USD
	HeldMicros      money.USD
	OverrunMicros   money.USD
	WarnedAt        *time.Time
	WarnedPercent   int
	ForetoldPercent int
	ExhaustedAt     *time.Time
	Version         int64
}

func (b *balance) available() money.USD { return b.LimitMicros - b.SettledMicros - b.HeldMicros }

// present asks for the month in which reservations live: this one, or the next where another has opened that already. A
// change has its instant from before it waited for its locks, so at the end of a month it may come late.
var present time.Time

// lock locks the budgets that the payers touch, in scope order in one statement, and returns their balances in the month.
func (b *Book) lock(ctx context.Context, tx *audit.Tx, month time.Time, payers ...Payer) ([]*balance, error) {
	since := month
	if month.Equal(present) {
		since = clock.StartOfMonth(tx.Now)
	}
	defs, err := b.lockSince(ctx, tx, since, payers)
	if err != nil || len(defs) == 0 {
		return nil, err
	}
	if month.Equal(present) {
		if month, err = presentMonth(ctx, tx, idsOf(defs)); err != nil {
			return nil, err
		}
	}
	return b.balances(ctx, tx, slices.DeleteFunc(defs, func(d definition) bool { return !d.covers(month) }), month)
}

// lockSince locks the budgets that the payers touch in a month or later.
func (b *Book) lockSince(ctx context.Context, tx *audit.Tx, month time.Time, payers []Payer) ([]definition, error) {
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
	locked := func() ([]definition, error) {
		return postgres.Many[definition](ctx, tx, `
			SELECT`+definitionColumns+`
			FROM user_budgets b
			WHERE (b.scope = 'ORGANISATION' AND b.scope_id = '`+OrganisationID+`' OR b.scope = 'TEAM' AND b.scope_id = ANY($1)
			   OR b.scope = 'PROJECT' AND b.scope_id = ANY($2) OR b.scope = 'USER' AND b.scope_id = ANY($3)) AND b.valid_until > $4
			ORDER BY array_position('{ORGANISATION,TEAM,PROJECT,USER}', b.scope), b.scope_id, b.valid_from
			FOR NO KEY UPDATE`, teams, projects, users, month)
	}
	defs, err := locked()
	if err != nil {
		return nil, err
	}
	made, err := b.fromTemplates(ctx, tx, defs, payers)
	if err != nil || !made {
		return defs, err
	}
	return locked()
}

func idsOf(defs []definition) []string {
	ids := make([]string, len(defs))
	for i, d := range defs {
		ids[i] = d.ID
	}
	return ids
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

// balances reads the balances of locked budgets in a month, opening the period where this is the first movement in it.
func (b *Book) balances(ctx context.Context, tx *audit.Tx, defs []definition, month time.Time) ([]*balance, error) {
	ids, starts := idsOf(defs), make([]time.Time, len(defs))
	for i, d := range defs {
		starts[i], _ = d.of(month)
	}
	for attempt := 0; ; attempt++ {
		found, err := postgres.Many[balance](ctx, tx, `
			SELECT b.id AS budget_id, b.scope, b.scope_id, b.warning_percents, b.enforcement, p.period_start, p.limit_micros, p.settled_micros,
			       p.held_micros, p.overrun_micros, p.warned_at, p.warned_percent, p.foretold_percent, p.exhausted_at, p.version
			FROM unnest($1::text[], $2::timestamptz[]) WITH ORDINALITY o (budget, start, i)
			JOIN user_budgets b ON b.id = o.budget
			JOIN budget_periods p ON p.budget_id = o.budget AND p.period_start = o.start
			ORDER BY o.i`, ids, starts)
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
		for _, d := range defs {
			if slices.ContainsFunc(found, func(x balance) bool { return x.BudgetID == d.ID }) {
				continue
			}
			if err := b.openPeriod(ctx, tx, d, month); err != nil {
				return nil, err
			}
		}
	}
}

// openPeriod begins a budget's period with the month in it. Reservations live in the present month only: what is held is
// carried into it out of the period before. A budget that is new begins with what was settled in the period already.
func (b *Book) openPeriod(ctx context.Context, tx *audit.Tx, d definition, month time.Time) error {
	limit, held := d.AmountMicros+d.LentMicros, money.USD(0)
	start, end := d.of(month)
	settled, err := b.Spent(ctx, tx, d.Scope, d.ScopeID, start, end)
	if err != nil {
		return err
	}
	newest, err := presentMonth(ctx, tx, []string{d.ID})
	if err != nil {
		return err
	}
	if end.After(newest) {
		if held, err = heldFor(ctx, tx, d.Scope, d.ScopeID); err != nil {
			return err
		}
		if err := b.carryOut(ctx, tx, d, start); err != nil {
			return err
		}
	}
	overrun := max(0, settled+held-limit)
	if _, err = tx.Exec(ctx, `
		INSERT INTO budget_periods (budget_id, period_start, period_end, limit_micros, settled_micros, held_micros, overrun_micros)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		d.ID, start, end, limit, settled, held, overrun); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO budget_entries (budget_id, period_start, balance_version, at, kind, limit_delta_micros, settled_delta_micros, held_delta_micros, overrun_delta_micros, reason)
		VALUES ($1, $2, 1, $3, 'open', $4, $5, $6, $7, 'the period begins')`,
		d.ID, start, tx.Now, limit, settled, held, overrun)
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

// carryOut takes what is held out of the periods that begin before a time.
func (b *Book) carryOut(ctx context.Context, tx *audit.Tx, d definition, before time.Time) error {
	rows, err := tx.Query(ctx, `
		SELECT period_start FROM budget_periods WHERE budget_id = $1 AND period_start < $2 AND held_micros > 0`, d.ID, before)
	if err != nil {
		return err
	}
	starts, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
	if err != nil {
		return err
	}
	for _, start := range starts {
		old, err := b.balances(ctx, tx, []definition{d}, start)
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
		SET limit_micros = $3, settled_micros = $4, held_micros = $5, overrun_micros = $6, version = $7, warned_at = $8, warned_percent = $9,
		    foretold_percent = $10, exhausted_at = $11
		WHERE budget_id = $1 AND period_start = $2`,
		b.BudgetID, b.PeriodStart, b.LimitMicros, b.SettledMicros, b.HeldMicros, b.OverrunMicros, b.Version, b.WarnedAt, b.WarnedPercent,
		b.ForetoldPercent, b.ExhaustedAt)
	writes.Queue(`
		INSERT INTO budget_entries (budget_id, period_start, balance_version, at, kind, workspace_id, limit_delta_micros, settled_delta_micros, held_delta_micros, overrun_delta_micros, reason)
		VALUES ($1, $2, $3, $4, $5, nullif($6, ''), $7, $8, $9, $10, $11)`,
		b.BudgetID, b.PeriodStart, b.Version, now, m.kind, m.workspace, m.limit, m.settled, m.held, b.OverrunMicros-before, m.reason)
}

// crossings records, once per threshold and limit, that a balance has come to a warning threshold or its limit, and tells
// the engineer and the team's lead (Requirements 12.2 and 12.3).
func crossings(ctx context.Context, tx *audit.Tx, b *balance, p Payer) error {
	reached := b.reached()
	for _, t := range b.WarningPercents {
		if t <= b.WarnedPercent || t > reached {
			continue
		}
		b.WarnedAt, b.WarnedPercent = &tx.Now, t
		if err := cross(ctx, tx, b, p, "budget.warning", t); err != nil {
			return err
		}
	}
	if committed := b.SettledMicros + b.HeldMicros; b.ExhaustedAt == nil && committed > 0 && committed >= b.LimitMicros {
		b.ExhaustedAt = &tx.Now
		return cross(ctx, tx, b, p, "budget.exhausted", 100)
	}
	return nil
}

func cross(ctx context.Context, tx *audit.Tx, b *balance, p Payer, kind string, percent int) error {
	if _, err := tx.Exec(ctx, `
		UPDATE budget_periods
		SET warned_at = $3, warned_percent = $4, exhausted_at = $5
		WHERE budget_id = $1 AND period_start = $2`, b.BudgetID, b.PeriodStart, b.WarnedAt, b.WarnedPercent, b.ExhaustedAt); err != nil {
		return err
	}
	payload := map[string]any{
		"scope": string(b.Scope), "scope_id": b.ScopeID, "percent": percent, "limit": b.LimitMicros.String(),
		"settled": b.SettledMicros.String(), "held": b.HeldMicros.String(), "period_start": b.PeriodStart.Format(time.RFC3339),
	}
	// The version, and not the limit: one that is raised and set back is crossed again.
	key := fmt.Sprintf("%s:%s:%s:%d:%d", kind, b.BudgetID, b.PeriodStart.Format("2006-01"), b.Version, percent)
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
