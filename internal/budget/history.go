package budget

import (
	"context"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
)

// Version is what a budget was from a time on. SetBy is an actor's id; a loan that ended by itself was ended by the system.
type Version struct {
	Version   int64
	At        time.Time
	SetBy     string
	Cause     string // set, request, loan, loan_ended, template
	RequestID *id.BudgetRequest
	Amount    money.USD
	Lent      money.USD
	validity
	WarningPercents []int
	Enforcement     Enforcement
}

// keepVersion writes down what a budget has just become.
func keepVersion(ctx context.Context, tx *audit.Tx, budgetID, cause string, request id.BudgetRequest) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO budget_versions (budget_id, version, at, set_by, cause, request_id, amount_micros, lent_micros, period, valid_from, valid_until, warning_percents, enforcement)
		SELECT id, version, $2, $3, $4, nullif($5, ''), amount_micros, lent_micros, period, valid_from, valid_until, warning_percents, enforcement
		FROM user_budgets
		WHERE id = $1`, budgetID, tx.Now, tx.Actor.ID(), cause, request)
	return err
}

// History is what a budget was, the newest first; before is the version of the last one on the page before, or 0.
func History(ctx context.Context, q postgres.Querier, budgetID id.Budget, before int64, limit int) ([]Version, error) {
	return postgres.Many[Version](ctx, q, `
		SELECT b.version, b.at, b.set_by, b.cause, b.request_id, b.amount_micros AS amount, b.lent_micros AS lent,`+validityColumns+`,
		       b.warning_percents, b.enforcement
		FROM budget_versions b
		WHERE b.budget_id = $1 AND ($2 = 0 OR b.version < $2)
		ORDER BY b.version DESC
		LIMIT $3`, budgetID, before, limit)
}

// Entry is one movement of a balance. Deltas are what it changed.
type Entry struct {
	Number      int64
	PeriodStart time.Time
	Version     int64 // of the balance, after the movement
	At          time.Time
	Kind        string
	WorkspaceID *id.WorkSpace
	Limit       money.USD
	Settled     money.USD
	Held        money.USD
	Overrun     money.USD
	Reason      string
}

// Entries lists a budget's movements, the newest first; before is the number of the last one on the page before, or 0.
func Entries(ctx context.Context, q postgres.Querier, budgetID id.Budget, before int64, limit int) ([]Entry, error) {
	return postgres.Many[Entry](ctx, q, `
		SELECT id AS number, period_start, balance_version AS version, at, kind, workspace_id, limit_delta_micros AS limit,
		       settled_delta_micros AS settled, held_delta_micros AS held, overrun_delta_micros AS overrun, reason
		FROM budget_entries
		WHERE budget_id = $1 AND ($2 = 0 OR id < $2)
		ORDER BY id DESC
		LIMIT $3`, budgetID, before, limit)
}

// Get is a budget by its id; pgx.ErrNoRows if there is none.
func Get(ctx context.Context, q postgres.Querier, budgetID id.Budget, now time.Time) (Budget, error) {
	found, err := budgets(ctx, q, now, `WHERE b.id = $2`, budgetID)
	return one(found, err)
}
