package budget

import (
	"context"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
)

// ErrTemplateNotFound refuses what is about a template that there is not.
var ErrTemplateNotFound = fault.New(fault.NotFound, "BUDGET_TEMPLATE_NOT_FOUND", "there is no such template of budgets",
	fault.Suggest("see `forge budgets template list`"))

// Template is the budget that everybody has who has none of their own: those of a role, of a team, of both, or all. Of
// several, the one that says most counts: team and role, team, role, all.
type Template struct {
	ID              id.BudgetTemplate
	Role            *actor.Role
	TeamID          *id.Team
	Amount          money.USD
	Period          Period
	WarningPercents []int
	Enforcement     Enforcement
	Version         int64
	UpdatedAt       time.Time
	Budgets         int64 // that follow it
}

const templateColumns = `
	t.id, t.role, t.team_id, t.amount_micros AS amount, t.period, t.warning_percents, t.enforcement, t.version, t.updated_at`

// Templates are all that count, those first that say most.
func Templates(ctx context.Context, q postgres.Querier, now time.Time) ([]Template, error) {
	return postgres.Many[Template](ctx, q, `
		SELECT`+templateColumns+`, (SELECT count(*) FROM user_budgets b WHERE b.template_id = t.id AND b.valid_until > $1) AS budgets
		FROM budget_templates t
		WHERE t.ended_at IS NULL
		ORDER BY t.team_id IS NULL, t.role IS NULL, t.team_id, t.role`, clock.StartOfMonth(now))
}

// SetTemplate makes or changes the template of a role and a team, either of which may be empty for any. Who has no budget
// has one by it from now on, and every budget that follows it has its amount. It needs AcceptOverrun if that is below what
// is committed under one of them.
func (b *Book) SetTemplate(ctx context.Context, tx *audit.Tx, t Template, acceptOverrun bool) (Template, error) {
	if t.Period == "" {
		t.Period = Monthly
	}
	if t.Enforcement == "" {
		t.Enforcement = Block
	}
	if t.Amount < 0 || t.Amount > money.Max {
		return t, ErrAmount
	}
	if t.Period == Custom {
		return t, ErrPeriod.Sayf("a template is MONTHLY, QUARTERLY or YEARLY")
	}
	var err error
	if t.WarningPercents, err = thresholds(t.WarningPercents); err != nil {
		return t, err
	}
	if err := lockDefinitions(ctx, tx, true); err != nil {
		return t, err
	}
	before, err := postgres.Many[Template](ctx, tx, `
		SELECT`+templateColumns+`, 0::bigint AS budgets
		FROM budget_templates t
		WHERE t.ended_at IS NULL AND t.role IS NOT DISTINCT FROM $1 AND t.team_id IS NOT DISTINCT FROM $2`, t.Role, t.TeamID)
	if err != nil {
		return t, err
	}
	details := map[string]any{
		"after_micros": audit.Microdollars(int64(t.Amount)), "period": string(t.Period), "enforcement": string(t.Enforcement),
		"warning_percents": whole(t.WarningPercents), "accept_overrun": acceptOverrun,
	}
	if t.Role != nil {
		details["role"] = string(*t.Role)
	}
	if t.TeamID != nil {
		details["team_id"] = string(*t.TeamID)
	}
	// Another period is another template: budgets of the one before go on until somebody sets them.
	if len(before) > 0 && before[0].Period != t.Period {
		if err := b.endTemplate(ctx, tx, before[0].ID); err != nil {
			return t, err
		}
		before = nil
	}
	if len(before) == 0 {
		t.ID = id.New[id.BudgetTemplate]()
		_, err = tx.Exec(ctx, `
			INSERT INTO budget_templates (id, role, team_id, amount_micros, period, warning_percents, enforcement, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)`, t.ID, t.Role, t.TeamID, t.Amount, t.Period, t.WarningPercents, t.Enforcement, tx.Now)
	} else {
		t.ID = before[0].ID
		details["before_micros"] = audit.Microdollars(int64(before[0].Amount))
		_, err = tx.Exec(ctx, `
			UPDATE budget_templates
			SET amount_micros = $2, warning_percents = $3, enforcement = $4, updated_at = $5, version = version + 1
			WHERE id = $1`, t.ID, t.Amount, t.WarningPercents, t.Enforcement, tx.Now)
	}
	if err != nil {
		return t, err
	}
	changed, err := b.follow(ctx, tx, t, acceptOverrun)
	if err != nil {
		return t, err
	}
	made, err := b.applyTemplates(ctx, tx)
	if err != nil {
		return t, err
	}
	details["changed"], details["made"] = changed, int64(made)
	tx.Record(audit.Event{Action: "budget.template_set", ResourceType: "budget_template", ResourceID: string(t.ID), Details: details})
	all, err := Templates(ctx, tx, tx.Now)
	for _, have := range all {
		if have.ID == t.ID {
			t = have
		}
	}
	return t, err
}

// follow gives the budgets that follow a template its amount, in the definitions and in the periods that are open.
func (b *Book) follow(ctx context.Context, tx *audit.Tx, t Template, acceptOverrun bool) (int64, error) {
	month := clock.StartOfMonth(tx.Now)
	if !acceptOverrun {
		var short int64
		if err := tx.QueryRow(ctx, `
			SELECT count(*)
			FROM user_budgets b JOIN budget_periods p ON p.budget_id = b.id
			WHERE b.template_id = $1 AND b.valid_until > $2 AND p.period_end > $2 AND p.settled_micros + p.held_micros > $3 + b.lent_micros`,
			t.ID, month, t.Amount).Scan(&short); err != nil {
			return 0, err
		}
		if short > 0 {
			return 0, ErrBelowCommitted.Sayf("under %d budgets that follow the template, more than %s USD are spent or reserved already", short, t.Amount).
				Detail("budgets", short)
		}
	}
	tag, err := tx.Exec(ctx, `
		UPDATE user_budgets
		SET amount_micros = $3, warning_percents = $4, enforcement = $5, updated_at = $6, version = version + 1
		WHERE template_id = $1 AND valid_until > $2`, t.ID, month, t.Amount, t.WarningPercents, t.Enforcement, tx.Now)
	if err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO budget_versions (budget_id, version, at, set_by, cause, amount_micros, lent_micros, period, valid_from, valid_until, warning_percents, enforcement)
		SELECT id, version, $3, $4, 'template', amount_micros, lent_micros, period, valid_from, valid_until, warning_percents, enforcement
		FROM user_budgets
		WHERE template_id = $1 AND valid_until > $2`, t.ID, month, tx.Now, tx.Actor.ID()); err != nil {
		return 0, err
	}
	_, err = tx.Exec(ctx, `
		WITH before AS (
			SELECT p.budget_id, p.period_start, p.limit_micros, p.overrun_micros, b.amount_micros + b.lent_micros AS lim, p.settled_micros + p.held_micros AS committed,
			       (SELECT coalesce(max(w), 0) FROM unnest(b.warning_percents) w
			        WHERE p.settled_micros + p.held_micros > 0 AND (p.settled_micros + p.held_micros)::numeric * 100 >= (b.amount_micros + b.lent_micros)::numeric * w) AS reached
			FROM user_budgets b JOIN budget_periods p ON p.budget_id = b.id
			WHERE b.template_id = $1 AND b.valid_until > $2 AND p.period_end > $2
			ORDER BY b.scope_id
			FOR NO KEY UPDATE
		), moved AS (
			UPDATE budget_periods p
			SET limit_micros = o.lim, overrun_micros = greatest(0, o.committed - o.lim), version = p.version + 1,
			    warned_percent = least(p.warned_percent, o.reached), warned_at = CASE WHEN o.reached > 0 THEN p.warned_at END,
			    foretold_percent = least(p.foretold_percent, p.warned_percent, o.reached), exhausted_at = CASE WHEN o.committed >= o.lim THEN p.exhausted_at END
			FROM before o
			WHERE p.budget_id = o.budget_id AND p.period_start = o.period_start
			RETURNING p.budget_id, p.period_start, p.version, p.limit_micros - o.limit_micros AS more, p.overrun_micros - o.overrun_micros AS over
		)
		INSERT INTO budget_entries (budget_id, period_start, balance_version, at, kind, limit_delta_micros, overrun_delta_micros, reason)
		SELECT budget_id, period_start, version, $3, 'limit', more, over, 'set by ' || $4
		FROM moved`, t.ID, month, tx.Now, tx.Actor.ID())
	return tag.RowsAffected(), err
}

// EndTemplate ends a template. Budgets that follow it stay as they are.
func (b *Book) EndTemplate(ctx context.Context, tx *audit.Tx, template id.BudgetTemplate) error {
	if err := lockDefinitions(ctx, tx, true); err != nil {
		return err
	}
	if err := b.endTemplate(ctx, tx, template); err != nil {
		return err
	}
	tx.Record(audit.Event{Action: "budget.template_end", ResourceType: "budget_template", ResourceID: string(template)})
	return nil
}

func (b *Book) endTemplate(ctx context.Context, tx *audit.Tx, template id.BudgetTemplate) error {
	tag, err := tx.Exec(ctx, `UPDATE budget_templates SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL`, template, tx.Now)
	if err == nil && tag.RowsAffected() == 0 {
		return ErrTemplateNotFound
	}
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE user_budgets SET template_id = NULL WHERE template_id = $1`, template)
	return err
}

// ApplyTemplates makes budgets by the templates for everybody who has none, and returns how many.
func (b *Book) ApplyTemplates(ctx context.Context, tx *audit.Tx) (int, error) {
	var due bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (`+withoutBudget+`)`, clock.StartOfMonth(tx.Now)).Scan(&due); err != nil || !due {
		return 0, err
	}
	if err := lockDefinitions(ctx, tx, true); err != nil {
		return 0, err
	}
	made, err := b.applyTemplates(ctx, tx)
	if err == nil && made > 0 {
		tx.Record(audit.Event{Action: "budget.template_applied", ResourceType: "budget_template", Details: map[string]any{"made": int64(made)}})
	}
	return made, err
}

// withoutBudget selects the people who have no budget in the month $1 and a template for one.
const withoutBudget = `
	SELECT u.id AS scope_id, t.id AS template_id, t.amount_micros, t.period, t.warning_percents, t.enforcement
	FROM users u
	CROSS JOIN LATERAL (
		SELECT t.*
		FROM budget_templates t
		WHERE t.ended_at IS NULL AND (t.role IS NULL OR t.role = u.role) AND (t.team_id IS NULL OR t.team_id = u.team_id)
		ORDER BY t.team_id IS NULL, t.role IS NULL
		LIMIT 1
	) t
	WHERE u.deactivated_at IS NULL
	  AND NOT EXISTS (SELECT FROM user_budgets b WHERE b.scope = 'USER' AND b.scope_id = u.id AND b.valid_from <= $1 AND b.valid_until > $1)`

type dueBudget struct {
	ScopeID         string
	TemplateID      id.BudgetTemplate
	AmountMicros    money.USD
	Period          Period
	WarningPercents []int
	Enforcement     Enforcement
}

// applyTemplates is for whoever has the definitions alone.
func (b *Book) applyTemplates(ctx context.Context, tx *audit.Tx) (int, error) {
	due, err := postgres.Many[dueBudget](ctx, tx, withoutBudget+` ORDER BY u.id`, clock.StartOfMonth(tx.Now))
	if err != nil {
		return 0, err
	}
	for chunk := range slices.Chunk(due, 500) {
		if err := b.byTemplate(ctx, tx, chunk); err != nil {
			return 0, err
		}
	}
	return len(due), nil
}

// byTemplate makes budgets. Their periods are opened by the first movement under them, or when the period is rolled over.
func (b *Book) byTemplate(ctx context.Context, tx *audit.Tx, due []dueBudget) error {
	month := clock.StartOfMonth(tx.Now)
	n := len(due)
	ids, scopes, templates, amounts, periods, starts := make([]string, n), make([]string, n), make([]string, n), make([]int64, n), make([]string, n), make([]time.Time, n)
	for i, d := range due {
		start, _ := d.Period.around(month, month, forever)
		ids[i], scopes[i], templates[i], amounts[i], periods[i], starts[i] = string(id.New[id.Budget]()), d.ScopeID, string(d.TemplateID), int64(d.AmountMicros), string(d.Period), start
	}
	// It counts from the end of the budget before on, and up to the next one that is set already.
	if _, err := tx.Exec(ctx, `
		INSERT INTO user_budgets (id, scope, scope_id, amount_micros, period, valid_from, valid_until, warning_percents, enforcement, template_id, created_at, updated_at)
		SELECT n.id, 'USER', n.scope_id, n.amount, n.period,
		       greatest(n.start, (SELECT max(b.valid_until) FROM user_budgets b WHERE b.scope = 'USER' AND b.scope_id = n.scope_id AND b.valid_until <= $8)),
		       coalesce((SELECT min(b.valid_from) FROM user_budgets b WHERE b.scope = 'USER' AND b.scope_id = n.scope_id AND b.valid_from > $8), 'infinity'),
		       t.warning_percents, t.enforcement, t.id, $7, $7
		FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::timestamptz[]) n (id, scope_id, template, amount, period, start)
		JOIN budget_templates t ON t.id = n.template`, ids, scopes, templates, amounts, periods, starts, tx.Now, month); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO budget_versions (budget_id, version, at, set_by, cause, amount_micros, lent_micros, period, valid_from, valid_until, warning_percents, enforcement)
		SELECT id, version, $2, $3, 'template', amount_micros, lent_micros, period, valid_from, valid_until, warning_percents, enforcement
		FROM user_budgets
		WHERE id = ANY($1)`, ids, tx.Now, tx.Actor.ID())
	return err
}

// fromTemplates makes a budget for a payer who has none and whom a template gives one, before anything is moved. Whoever
// moves something for the same person waits, and then sees it; so no movement slips past a budget that is just being made.
func (b *Book) fromTemplates(ctx context.Context, tx *audit.Tx, defs []definition, payers []Payer) (bool, error) {
	month := clock.StartOfMonth(tx.Now)
	var without []string
	for _, p := range payers {
		has := func(d definition) bool { return d.Scope == User && d.ScopeID == string(p.User) && d.covers(month) }
		if p.User != "" && !slices.Contains(without, string(p.User)) && !slices.ContainsFunc(defs, has) {
			without = append(without, string(p.User))
		}
	}
	if len(without) == 0 {
		return false, nil
	}
	slices.Sort(without)
	// Who waited for a lock may not have seen a budget that was made meanwhile.
	var seen bool
	if err := tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM user_budgets WHERE scope = 'USER' AND scope_id = ANY($2) AND valid_from <= $1 AND valid_until > $1)
		    OR EXISTS (`+withoutBudget+` AND u.id = ANY($2))`, month, without).Scan(&seen); err != nil || !seen {
		return false, err
	}
	for _, user := range without {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('forge budget of ' || $1, 0))`, user); err != nil {
			return false, err
		}
	}
	due, err := postgres.Many[dueBudget](ctx, tx, withoutBudget+` AND u.id = ANY($2) ORDER BY u.id`, month, without)
	if err != nil || len(due) == 0 {
		return true, err
	}
	if err := b.byTemplate(ctx, tx, due); err != nil {
		return false, err
	}
	for _, d := range due {
		tx.Record(audit.Event{Action: "budget.template_applied", ResourceType: "budget_template", ResourceID: string(d.TemplateID), Details: map[string]any{
			"made": int64(1), "scope": string(User), "scope_id": d.ScopeID,
		}})
	}
	return true, nil
}
