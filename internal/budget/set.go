package budget

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

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
	Scope   Scope
	ScopeID string
	Amount  money.USD
	// Period is how long the amount is for; empty is as it was, or Monthly.
	Period Period
	// FirstMonth and LastMonth are those of a Custom period: any time in them.
	FirstMonth, LastMonth time.Time
	WarningPercents       []int // none: 80
	Enforcement           Enforcement
	// AcceptOverrun allows a limit below what is spent or reserved already.
	AcceptOverrun bool
	// IfVersion, when not nil, is the version that the change was made for.
	IfVersion *int64
}

// Set makes or changes the budget of a scope: a Custom one for its months, any other from this month on. To give it another
// period ends the budget that there is and makes a new one, which has its loans.
func (b *Book) Set(ctx context.Context, tx *audit.Tx, s Setting) (Budget, error) {
	if s.Enforcement == "" {
		s.Enforcement = Block
	}
	if s.Amount < 0 || s.Amount > money.Max {
		return Budget{}, ErrAmount
	}
	var err error
	if s.WarningPercents, err = thresholds(s.WarningPercents); err != nil {
		return Budget{}, err
	}
	if err := lockDefinitions(ctx, tx, true); err != nil {
		return Budget{}, err
	}
	others, err := postgres.Many[definition](ctx, tx, `
		SELECT`+definitionColumns+`
		FROM user_budgets b
		WHERE b.scope = $1 AND b.scope_id = $2
		ORDER BY b.valid_from, b.valid_until
		FOR NO KEY UPDATE`, s.Scope, s.ScopeID)
	if err != nil {
		return Budget{}, err
	}
	about, before, err := b.place(ctx, tx, &s, others)
	if err != nil {
		return Budget{}, err
	}
	var bal *balance
	begun := !about.ValidFrom.After(clock.StartOfMonth(tx.Now))
	if begun {
		if bal, err = b.open(ctx, tx, about); err != nil { // with the limit before
			return Budget{}, err
		}
	}
	if _, err := tx.Exec(ctx, `
		UPDATE user_budgets
		SET amount_micros = $2, warning_percents = $3, enforcement = $4, updated_at = $5, template_id = NULL, version = version + $6
		WHERE id = $1`, about.ID, s.Amount, s.WarningPercents, s.Enforcement, tx.Now, before.step); err != nil {
		return Budget{}, err
	}
	limit := s.Amount + about.LentMicros
	if limit > money.Max {
		return Budget{}, ErrAmount
	}
	if err := keepVersion(ctx, tx, about.ID, "set", ""); err != nil {
		return Budget{}, err
	}
	if begun {
		if committed := bal.SettledMicros + bal.HeldMicros; committed > limit && !s.AcceptOverrun {
			return Budget{}, ErrBelowCommitted.
				Sayf("%s USD are spent or reserved already, more than %s", committed, limit).
				Detail("committed", committed.String()).Detail("settled", bal.SettledMicros.String()).Detail("held", bal.HeldMicros.String())
		}
		bal.WarningPercents = s.WarningPercents
		if err := relimit(ctx, tx, bal, limit, "set by "+tx.Actor.ID()); err != nil {
			return Budget{}, err
		}
	}
	start, end := about.of(about.near(clock.StartOfMonth(tx.Now)))
	tx.Record(audit.Event{Action: "budget.set", ResourceType: "budget", ResourceID: about.ID, Details: map[string]any{
		"scope": string(s.Scope), "scope_id": s.ScopeID, "before_micros": audit.Microdollars(int64(before.amount)), "after_micros": audit.Microdollars(int64(s.Amount)),
		"enforcement": string(s.Enforcement), "warning_percents": whole(s.WarningPercents), "accept_overrun": s.AcceptOverrun,
		"period": string(s.Period), "period_start": start.Format(time.RFC3339), "period_end": end.Format(time.RFC3339),
	}})
	found, err := budgets(ctx, tx, tx.Now, `WHERE b.id = $2`, about.ID)
	return one(found, err)
}

// whole are numbers as details take them.
func whole(all []int) []any {
	out := make([]any, len(all))
	for i, n := range all {
		out[i] = int64(n)
	}
	return out
}

// past is what a budget was before it is set; a new one is of version 1 already.
type past struct {
	amount money.USD
	step   int
}

// place finds the budget that is set among those of the scope, or makes it with the amount that it is to have.
func (b *Book) place(ctx context.Context, tx *audit.Tx, s *Setting, others []definition) (about definition, before past, err error) {
	month := clock.StartOfMonth(tx.Now)
	var now *definition
	for i := range others {
		if others[i].covers(month) {
			now = &others[i]
		}
	}
	if s.Period == "" {
		s.Period = Monthly
		if now != nil {
			s.Period = now.Period
		}
		if s.Period == Custom && s.FirstMonth.IsZero() && s.LastMonth.IsZero() {
			s.FirstMonth, s.LastMonth = now.ValidFrom.UTC(), now.until().Add(-time.Microsecond)
		}
	}
	v, err := s.span(tx.Now)
	if err != nil {
		return about, before, err
	}
	same := now
	if s.Period == Custom {
		same = nil
		for i := range others {
			if o := &others[i]; o.Period == Custom && o.ValidFrom.Equal(v.ValidFrom) && o.until().Equal(v.until()) && o.until().After(month) {
				same = o
			}
		}
	}
	if s.IfVersion != nil && (same == nil || *s.IfVersion != same.Version) {
		return about, before, ErrChanged
	}
	if same != nil && same.Period == s.Period {
		return *same, past{same.AmountMicros, 1}, nil
	}
	var lent money.USD
	var heir string
	if same != nil {
		if same.Period == Custom {
			return about, before, overlap(*same)
		}
		if err := b.end(ctx, tx, *same, month); err != nil {
			return about, before, err
		}
		before.amount, lent, heir = same.AmountMicros, same.LentMicros, same.ID
		until := month
		same.ValidUntil = &until
	}
	for _, o := range others {
		switch {
		case !o.ValidFrom.Before(o.until()), !o.ValidFrom.Before(v.until()), !o.until().After(v.ValidFrom):
		case s.Period != Custom && !o.until().After(month):
			v.ValidFrom = o.until() // what was spent before counted under the other one
		default:
			return about, before, overlap(o)
		}
	}
	about = definition{ID: string(id.New[id.Budget]()), Scope: s.Scope, ScopeID: s.ScopeID, validity: v, AmountMicros: s.Amount, LentMicros: lent, Version: 1}
	if err := insert(ctx, tx, about, s.WarningPercents, s.Enforcement, ""); err != nil || heir == "" {
		return about, before, err
	}
	_, err = tx.Exec(ctx, `UPDATE budget_requests SET budget_id = $2 WHERE budget_id = $1 AND state IN ('PENDING', 'LENT')`, heir, about.ID)
	return about, before, err
}

func overlap(o definition) error {
	e := ErrOverlaps.Detail("budget_id", o.ID).Detail("first_month", o.ValidFrom.UTC().Format("2006-01"))
	if o.ValidUntil != nil {
		e = e.Detail("last_month", o.ValidUntil.UTC().Add(-time.Microsecond).Format("2006-01"))
	}
	return e
}

// insert writes a budget down.
func insert(ctx context.Context, tx *audit.Tx, d definition, percents []int, how Enforcement, template string) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO user_budgets (id, scope, scope_id, amount_micros, lent_micros, period, valid_from, valid_until, warning_percents, enforcement, template_id, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, coalesce($8, 'infinity'::timestamptz), $9, $10, nullif($11, ''), $12, $12)`,
		d.ID, d.Scope, d.ScopeID, d.AmountMicros, d.LentMicros, d.Period, d.ValidFrom, d.ValidUntil, percents, how, template, tx.Now)
	if postgres.Violates(err, "user_budgets_one_at_a_time_ex") {
		return ErrOverlaps
	}
	return err
}

// relimit gives a balance another limit. A raised one arms the warnings again.
func relimit(ctx context.Context, tx *audit.Tx, bal *balance, limit money.USD, reason string) error {
	m := movement{kind: "limit", limit: limit - bal.LimitMicros, reason: reason}
	raised := *bal
	raised.LimitMicros = limit
	if reached := raised.reached(); reached < bal.WarnedPercent {
		bal.WarnedPercent = reached
		if reached == 0 {
			bal.WarnedAt = nil
		}
	}
	bal.ForetoldPercent = min(bal.ForetoldPercent, bal.WarnedPercent)
	if bal.SettledMicros+bal.HeldMicros < limit {
		bal.ExhaustedAt = nil
	}
	return move(ctx, tx, bal, m)
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

// Budget is a definition with its balance in the present period, or in the nearest that it has.
type Budget struct {
	ID      id.Budget
	Scope   Scope
	ScopeID string
	validity
	Amount          money.USD
	Lent            money.USD // for a time, on top of the amount: the limit is both together
	WarningPercents []int
	Enforcement     Enforcement
	TemplateID      *id.BudgetTemplate // whose amount it follows
	Version         int64
	PeriodStart     time.Time `db:"-"`
	PeriodEnd       time.Time `db:"-"`
	Limit           money.USD
	Settled         money.USD
	Held            money.USD
	Overrun         money.USD
	WarnedAt        *time.Time
	WarnedPercent   int
	ForetoldPercent int
	ExhaustedAt     *time.Time
}

// Available is what a new request may still reserve.
func (b Budget) Available() money.USD { return max(0, b.Limit-b.Settled-b.Held) }

// budgets reads budgets with their balances at a time; $1 is the month.
func budgets(ctx context.Context, q postgres.Querier, now time.Time, where string, args ...any) ([]Budget, error) {
	month := clock.StartOfMonth(now)
	found, err := postgres.Many[Budget](ctx, q, `
		SELECT b.id, b.scope, b.scope_id,`+validityColumns+`, b.amount_micros AS amount, b.lent_micros AS lent, b.warning_percents, b.enforcement,
		       b.template_id, b.version, coalesce(p.limit_micros, b.amount_micros + b.lent_micros) AS limit, coalesce(p.settled_micros, 0) AS settled,
		       coalesce(p.held_micros, 0) AS held, coalesce(p.overrun_micros, 0) AS overrun, p.warned_at, coalesce(p.warned_percent, 0) AS warned_percent,
		       coalesce(p.foretold_percent, 0) AS foretold_percent, p.exhausted_at
		FROM user_budgets b
		CROSS JOIN LATERAL (SELECT greatest(least($1::timestamptz, b.valid_until - interval '1 microsecond'), b.valid_from) AS at) m
		LEFT JOIN LATERAL (
			SELECT * FROM budget_periods p WHERE p.budget_id = b.id AND p.period_start <= m.at ORDER BY p.period_start DESC LIMIT 1
		) p ON p.period_end > m.at
		`+where, append([]any{month}, args...)...)
	for i := range found {
		found[i].PeriodStart, found[i].PeriodEnd = found[i].of(found[i].near(month))
	}
	return found, err
}

// one is the only budget of several, or pgx.ErrNoRows.
func one(found []Budget, err error) (Budget, error) {
	switch {
	case err != nil:
		return Budget{}, err
	case len(found) == 0:
		return Budget{}, pgx.ErrNoRows
	}
	return found[0], nil
}

// Find is the budget of a scope that counts at a time; pgx.ErrNoRows when it has none.
func Find(ctx context.Context, q postgres.Querier, s Scope, scopeID string, now time.Time) (Budget, error) {
	found, err := budgets(ctx, q, now, `WHERE b.scope = $2 AND b.scope_id = $3 AND b.valid_from <= $1 AND b.valid_until > $1`, s, scopeID)
	return one(found, err)
}

// View is which budgets a reader sees: all of them, or those of the given users, teams and projects; those that have ended
// only if they are asked for.
type View struct {
	All                    bool
	Ended                  bool
	Users, Teams, Projects []string
}

// List lists budgets by id.
func List(ctx context.Context, q postgres.Querier, v View, now time.Time, after string, limit int) ([]Budget, error) {
	visible, args := "", []any{after, limit}
	if !v.Ended {
		visible = ` AND b.valid_until > $1`
	}
	if !v.All {
		visible += `
		  AND (b.scope = 'USER' AND b.scope_id = ANY($4) OR b.scope = 'TEAM' AND b.scope_id = ANY($5) OR b.scope = 'PROJECT' AND b.scope_id = ANY($6))`
		args = append(args, v.Users, v.Teams, v.Projects)
	}
	return budgets(ctx, q, now, `
		WHERE b.id > $2`+visible+`
		ORDER BY b.id
		LIMIT $3`, args...)
}

// RollOver opens the present period of every budget that has none yet, so that a quiet budget shows it from the first
// minute on, and closes what counts no more. It returns how many it opened and closed.
func (b *Book) RollOver(ctx context.Context, tx *audit.Tx) (int, error) {
	if err := lockDefinitions(ctx, tx, false); err != nil {
		return 0, err
	}
	month := clock.StartOfMonth(tx.Now)
	due, err := postgres.Many[definition](ctx, tx, `
		SELECT`+definitionColumns+`
		FROM user_budgets b
		WHERE b.closed_at IS NULL AND (b.valid_until <= $1 OR b.valid_from <= $1
		  AND coalesce((SELECT p.period_end FROM budget_periods p WHERE p.budget_id = b.id ORDER BY p.period_start DESC LIMIT 1) <= $1, true))
		ORDER BY array_position('{ORGANISATION,TEAM,PROJECT,USER}', b.scope), b.scope_id, b.valid_from
		FOR NO KEY UPDATE`, month)
	if err != nil || len(due) == 0 {
		return 0, err
	}
	var opened []definition
	closed := 0
	for _, d := range due {
		if d.covers(month) {
			opened = append(opened, d)
			continue
		}
		closed++
		if err := b.close(ctx, tx, d, d.until()); err != nil {
			return 0, err
		}
	}
	if _, err := b.balances(ctx, tx, opened, month); err != nil {
		return 0, err
	}
	tx.Record(audit.Event{Action: "budget.roll_over", ResourceType: "budget", ResourceID: "", Details: map[string]any{
		"period_start": month.Format(time.RFC3339), "opened": len(opened), "closed": closed,
	}})
	return len(due), nil
}

// Touched are the budgets that a payer's costs fall under, in scope order.
func Touched(ctx context.Context, q postgres.Querier, p Payer, now time.Time) ([]Budget, error) {
	return budgets(ctx, q, now, `
		WHERE (b.scope = 'ORGANISATION' AND b.scope_id = '`+OrganisationID+`' OR b.scope = 'TEAM' AND b.scope_id = $2
		   OR b.scope = 'PROJECT' AND b.scope_id = nullif($3, '') OR b.scope = 'USER' AND b.scope_id = $4) AND b.valid_from <= $1 AND b.valid_until > $1
		ORDER BY array_position('{ORGANISATION,TEAM,PROJECT,USER}', b.scope)`, p.Team, p.Project, p.User)
}
