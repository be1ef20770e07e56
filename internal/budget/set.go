package budget

import (
	"context"
	"errors"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
)

func isExceeded(err error) bool { return errors.Is(err, ErrExceeded) }

// Setting is what a budget is to be.
type Setting struct {
	Scope          Scope
	ScopeID        string
	Amount         money.USD
	WarningPercent int // 0: 80
	Enforcement    Enforcement
	// AcceptOverrun allows a limit below what is spent or reserved already.
	AcceptOverrun bool
	// IfVersion, when not nil, is the version that the change was made for.
	IfVersion *int64
}

// Set makes or changes the budget of a scope from this month on.
func (b *Book) Set(ctx context.Context, tx *audit.Tx, s Setting) (Budget, error) {
	if s.WarningPercent == 0 {
		s.WarningPercent = 80
	}
	if s.Enforcement == "" {
		s.Enforcement = Block
	}
	if s.Amount < 0 || s.Amount > money.Max {
		return Budget{}, ErrAmount
	}
	if s.WarningPercent < 1 || s.WarningPercent > 99 {
		return Budget{}, ErrWarning
	}
	if err := lockDefinitions(ctx, tx, true); err != nil {
		return Budget{}, err
	}
	var budgetID string
	var before, lent money.USD
	var version int64
	err := tx.QueryRow(ctx, `SELECT id, amount_micros, lent_micros, version FROM user_budgets WHERE scope = $1 AND scope_id = $2 FOR NO KEY UPDATE`, s.Scope, s.ScopeID).
		Scan(&budgetID, &before, &lent, &version)
	switch {
	case err != nil && !isNone(err):
		return Budget{}, err
	case s.IfVersion != nil && *s.IfVersion != version:
		return Budget{}, ErrChanged
	case isNone(err):
		budgetID = string(id.New[id.Budget]())
		if _, err := tx.Exec(ctx, `
			INSERT INTO user_budgets (id, scope, scope_id, amount_micros, period, warning_percent, enforcement, created_at, updated_at)
			VALUES ($1, $2, $3, $4, 'MONTHLY', $5, $6, $7, $7)`,
			budgetID, s.Scope, s.ScopeID, s.Amount, s.WarningPercent, s.Enforcement, tx.Now); err != nil {
			return Budget{}, err
		}
	default:
		month, err := presentMonth(ctx, tx, []string{budgetID})
		if err != nil {
			return Budget{}, err
		}
		if _, err := b.balances(ctx, tx, []string{budgetID}, month); err != nil { // opens the month with the amount before
			return Budget{}, err
		}
		if _, err := tx.Exec(ctx, `
			UPDATE user_budgets
			SET amount_micros = $2, warning_percent = $3, enforcement = $4, updated_at = $5, version = version + 1
			WHERE id = $1`, budgetID, s.Amount, s.WarningPercent, s.Enforcement, tx.Now); err != nil {
			return Budget{}, err
		}
	}
	month, err := presentMonth(ctx, tx, []string{budgetID})
	if err != nil {
		return Budget{}, err
	}
	balances, err := b.balances(ctx, tx, []string{budgetID}, month)
	if err != nil {
		return Budget{}, err
	}
	bal, limit := balances[0], s.Amount+lent
	if limit > money.Max {
		return Budget{}, ErrAmount
	}
	if committed := bal.SettledMicros + bal.HeldMicros; committed > limit && !s.AcceptOverrun {
		return Budget{}, ErrBelowCommitted.
			Sayf("%s USD are spent or reserved already, more than %s", committed, limit).
			Detail("committed", committed.String()).Detail("settled", bal.SettledMicros.String()).Detail("held", bal.HeldMicros.String())
	}
	if err := keepVersion(ctx, tx, budgetID, "set", ""); err != nil {
		return Budget{}, err
	}
	bal.WarningPercent = s.WarningPercent
	if err := relimit(ctx, tx, bal, limit, "set by "+tx.Actor.ID()); err != nil {
		return Budget{}, err
	}
	tx.Record(audit.Event{Action: "budget.set", ResourceType: "budget", ResourceID: budgetID, Details: map[string]any{
		"scope": string(s.Scope), "scope_id": s.ScopeID, "before_micros": audit.Microdollars(int64(before)), "after_micros": audit.Microdollars(int64(s.Amount)),
		"enforcement": string(s.Enforcement), "warning_percent": s.WarningPercent, "accept_overrun": s.AcceptOverrun,
	}})
	return Find(ctx, tx, s.Scope, s.ScopeID, tx.Now)
}

// relimit gives a balance another limit. A raised one arms the warnings again.
func relimit(ctx context.Context, tx *audit.Tx, bal *balance, limit money.USD, reason string) error {
	committed := bal.SettledMicros + bal.HeldMicros
	if committed < limit.Share(int64(bal.WarningPercent), 100) {
		bal.WarnedAt = nil
	}
	if committed < limit {
		bal.ExhaustedAt = nil
	}
	return move(ctx, tx, bal, movement{kind: "limit", limit: limit - bal.LimitMicros, reason: reason})
}

// MayLeadSet says whether a team's lead may give the member that amount: not to themselves, and not more than the team
// has. For other roles it says nothing.
func MayLeadSet(ctx context.Context, q postgres.Querier, who actor.Actor, s Setting, team id.Team, now time.Time) error {
	if s.Scope == User && s.ScopeID == string(who.User) {
		return ErrOwnBudget
	}
	if who.Role != actor.TeamLead {
		return nil
	}
	teams, err := Find(ctx, q, Team, string(team), now)
	if isNone(err) || err == nil && s.Amount > teams.Limit {
		return ErrAboveTeam
	}
	return err
}

// Budget is a definition with its balance in the present month.
type Budget struct {
	ID             id.Budget
	Scope          Scope
	ScopeID        string
	Amount         money.USD
	Lent           money.USD // for a time, on top of the amount: the limit is both together
	WarningPercent int
	Enforcement    Enforcement
	Version        int64
	PeriodStart    time.Time
	PeriodEnd      time.Time
	Limit          money.USD
	Settled        money.USD
	Held           money.USD
	Overrun        money.USD
	WarnedAt       *time.Time
	ExhaustedAt    *time.Time
}

// Available is what a new request may still reserve.
func (b Budget) Available() money.USD { return max(0, b.Limit-b.Settled-b.Held) }

const budgetColumns = `
	b.id, b.scope, b.scope_id, b.amount_micros AS amount, b.lent_micros AS lent, b.warning_percent, b.enforcement, b.version,
	$1::timestamptz AS period_start, $2::timestamptz AS period_end, coalesce(p.limit_micros, b.amount_micros + b.lent_micros) AS limit,
	coalesce(p.settled_micros, 0) AS settled, coalesce(p.held_micros, 0) AS held, coalesce(p.overrun_micros, 0) AS overrun,
	p.warned_at, p.exhausted_at
FROM user_budgets b LEFT JOIN budget_periods p ON p.budget_id = b.id AND p.period_start = $1`

// Find is the budget of a scope; pgx.ErrNoRows when it has none.
func Find(ctx context.Context, q postgres.Querier, s Scope, scopeID string, now time.Time) (Budget, error) {
	return postgres.One[Budget](ctx, q, `SELECT`+budgetColumns+` WHERE b.scope = $3 AND b.scope_id = $4`,
		clock.StartOfMonth(now), clock.StartOfNextMonth(now), s, scopeID)
}

// View is which budgets a reader sees: all of them, or those of the given users, teams and projects.
type View struct {
	All                    bool
	Users, Teams, Projects []string
}

// List lists budgets by id.
func List(ctx context.Context, q postgres.Querier, v View, now time.Time, after string, limit int) ([]Budget, error) {
	visible, args := "", []any{clock.StartOfMonth(now), clock.StartOfNextMonth(now), after, limit}
	if !v.All {
		visible = `
		  AND (b.scope = 'USER' AND b.scope_id = ANY($5) OR b.scope = 'TEAM' AND b.scope_id = ANY($6) OR b.scope = 'PROJECT' AND b.scope_id = ANY($7))`
		args = append(args, v.Users, v.Teams, v.Projects)
	}
	return postgres.Many[Budget](ctx, q, `SELECT`+budgetColumns+`
		WHERE b.id > $3`+visible+`
		ORDER BY b.id
		LIMIT $4`, args...)
}

// RollOver opens the present month of every budget that has none yet, so that a quiet budget shows its month from the
// first minute on. It returns how many it opened.
func (b *Book) RollOver(ctx context.Context, tx *audit.Tx) (int, error) {
	if err := lockDefinitions(ctx, tx, false); err != nil {
		return 0, err
	}
	month := clock.StartOfMonth(tx.Now)
	due, err := postgres.Many[struct{ ID string }](ctx, tx, `
		SELECT b.id
		FROM user_budgets b
		WHERE coalesce((SELECT max(p.period_start) FROM budget_periods p WHERE p.budget_id = b.id) < $1, true)
		ORDER BY array_position('{ORGANISATION,TEAM,PROJECT,USER}', b.scope), b.scope_id
		FOR NO KEY UPDATE`, month)
	if err != nil || len(due) == 0 {
		return 0, err
	}
	ids := make([]string, len(due))
	for i, d := range due {
		ids[i] = d.ID
	}
	if _, err := b.balances(ctx, tx, ids, month); err != nil {
		return 0, err
	}
	tx.Record(audit.Event{Action: "budget.roll_over", ResourceType: "budget", ResourceID: "", Details: map[string]any{
		"period_start": month.Format(time.RFC3339), "opened": len(ids),
	}})
	return len(ids), nil
}

// Touched are the budgets that a payer's costs fall under, in scope order.
func Touched(ctx context.Context, q postgres.Querier, p Payer, now time.Time) ([]Budget, error) {
	return postgres.Many[Budget](ctx, q, `SELECT`+budgetColumns+`
		WHERE b.scope = 'ORGANISATION' AND b.scope_id = '`+OrganisationID+`' OR b.scope = 'TEAM' AND b.scope_id = $3
		   OR b.scope = 'PROJECT' AND b.scope_id = nullif($4, '') OR b.scope = 'USER' AND b.scope_id = $5
		ORDER BY array_position('{ORGANISATION,TEAM,PROJECT,USER}', b.scope)`,
		clock.StartOfMonth(now), clock.StartOfNextMonth(now), p.Team, p.Project, p.User)
}
