package budget

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/postgres"
)

// hold is what one WorkSpace keeps reserved: its fixed fee until that posts, and one lease of running time.
type hold struct {
	WorkspaceID       id.WorkSpace
	UserID            id.User
	TeamID            id.Team
	ProjectID         *id.Project
	FixedMicros       money.USD
	LeaseMicros       money.USD
	LeaseTargetMicros money.USD
	RenewalRefusedAt  *time.Time
	StopAt            *time.Time
}

const holdColumns = `
	workspace_id, user_id, team_id, project_id, fixed_micros, lease_micros, lease_target_micros, renewal_refused_at, stop_at`

func (h hold) payer() Payer {
	p := Payer{User: h.UserID, Team: h.TeamID}
	if h.ProjectID != nil {
		p.Project = *h.ProjectID
	}
	return p
}

// Hold reserves a WorkSpace's committed cost in every budget that its payer touches, or refuses: ErrExceeded naming each
// budget that lacks room and by how much, ErrNone where no budget exists and the organisation denies. The budgets stay
// locked until the transaction ends, so of many simultaneous requests exactly those with room are admitted.
func (b *Book) Hold(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, p Payer, fixed, lease money.USD) ([]Effect, error) {
	balances, err := b.lock(ctx, tx, present, p)
	if err != nil {
		return nil, err
	}
	if len(balances) == 0 {
		if err := b.allowedWithout(ctx, tx); err != nil {
			return nil, err
		}
	}
	if err := b.feesPosted(ctx, tx, p, balances); err != nil {
		return nil, err
	}
	if err := room(balances, fixed+lease); err != nil {
		return nil, err
	}
	writes := &pgx.Batch{}
	writes.Queue(`
		INSERT INTO budget_holds (workspace_id, user_id, team_id, project_id, fixed_micros, lease_micros, lease_target_micros, held_at)
		VALUES ($1, $2, $3, nullif($4, ''), $5, $6, $6, $7)`, ws, p.User, p.Team, p.Project, fixed, lease, tx.Now)
	effects := make([]Effect, len(balances))
	for i, bal := range balances {
		seen := bal.Version
		bal.queue(writes, tx.Now, movement{kind: "hold", workspace: ws, held: fixed + lease})
		effects[i] = Effect{bal.Scope, bal.ScopeID, bal.LimitMicros, bal.SettledMicros, bal.HeldMicros, bal.available(), bal.PeriodStart, seen}
	}
	if err := tx.SendBatch(ctx, writes).Close(); err != nil {
		return nil, err
	}
	for _, bal := range balances {
		if err := crossings(ctx, tx, bal, p); err != nil {
			return nil, err
		}
	}
	return effects, nil
}

// feesPosted refuses to judge on balances that the fees of their month are not in yet: they are charged whatever is left.
func (b *Book) feesPosted(ctx context.Context, tx *audit.Tx, p Payer, balances []*balance) error {
	month, organisation := clock.StartOfMonth(tx.Now), false
	for _, bal := range balances {
		organisation = organisation || bal.Scope == Organisation
		if bal.PeriodStart.After(month) {
			month = bal.PeriodStart
		}
	}
	if len(balances) == 0 {
		return nil
	}
	due, err := b.FeesDue(ctx, tx, p, organisation, month)
	if err == nil && due {
		err = ErrMonthOpens
	}
	return err
}

func (b *Book) allowedWithout(ctx context.Context, q postgres.Querier) error {
	var def string
	if err := q.QueryRow(ctx, `SELECT budget_default FROM organisation`).Scan(&def); err != nil && !isNone(err) {
		return err
	}
	if def != "allow" {
		return ErrNone
	}
	return nil
}

// lacking are the enforced balances that cannot take an amount.
func lacking(balances []*balance, amount money.USD) []*balance {
	var out []*balance
	for _, b := range balances {
		if b.Enforcement != Warn && b.available() < amount {
			out = append(out, b)
		}
	}
	return out
}

// room refuses an amount that any of the enforced balances cannot take. The refusal names the version of every balance that
// it was made on.
func room(balances []*balance, amount money.USD) error {
	var short []map[string]any
	var worst *balance
	for _, b := range lacking(balances, amount) {
		if worst == nil || b.available() < worst.available() {
			worst = b
		}
		short = append(short, map[string]any{
			"scope": string(b.Scope), "scope_id": b.ScopeID, "limit": b.LimitMicros.String(), "settled": b.SettledMicros.String(),
			"held": b.HeldMicros.String(), "available": max(0, b.available()).String(), "missing": (amount - b.available()).String(),
			"balance_version": b.Version,
		})
	}
	if worst == nil {
		return nil
	}
	seen := make([]map[string]any, len(balances))
	for i, b := range balances {
		seen[i] = map[string]any{
			"scope": string(b.Scope), "scope_id": b.ScopeID, "period_start": b.PeriodStart.UTC().Format(time.RFC3339), "balance_version": b.Version,
		}
	}
	return ErrExceeded.
		Sayf("the %s budget has %s USD left of %s, and this needs %s", worst.Scope, max(0, worst.available()), worst.LimitMicros, amount).
		Suggestf("free %s USD by stopping or terminating what is not needed, choose a smaller bundle, or ask your team lead or finance for more", amount-worst.available()).
		Detail("required", amount.String()).Detail("currency", money.Currency).Detail("budgets", short).Detail("balances", seen)
}

// Part is which part of a hold a charge uses up.
type Part int

// The parts of a hold. A Correction of what was charged uses up none.
const (
	Fixed Part = iota
	Lease
	Correction
)

// Charge converts what was held into what was spent: amount, for use that began in the month. It is never refused; what
// lies beyond the limit is overrun with the reason. A correction may be negative.
func (b *Book) Charge(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, p Payer, part Part, month time.Time, amount money.USD, reason string) error {
	if amount == 0 && part != Fixed {
		return nil
	}
	h, err := b.lockHold(ctx, tx, ws)
	if err != nil && !isNone(err) {
		return err
	}
	holder := h.payer()
	if isNone(err) {
		holder = p
	}
	// All of both payers' budgets are locked at once, in scope order, before anything moves.
	if month.Before(clock.StartOfMonth(tx.Now)) {
		if _, err := b.lockSince(ctx, tx, month, []Payer{p, holder}); err != nil {
			return err
		}
	}
	if _, err := b.lock(ctx, tx, present, p, holder); err != nil {
		return err
	}
	// A fee that posts ends the reservation for it, whatever it came to; running time uses up its lease bit by bit.
	var used money.USD
	switch part {
	case Fixed:
		used = h.FixedMicros
	case Lease:
		used = min(amount, h.LeaseMicros)
	case Correction:
	}
	if used > 0 {
		if err := b.shrink(ctx, tx, h, part, used); err != nil {
			return err
		}
		if err := b.each(ctx, tx, present, holder, movement{kind: "release", workspace: ws, held: -used, reason: "posted"}); err != nil {
			return err
		}
	}
	return b.each(ctx, tx, month, p, movement{kind: "charge", workspace: ws, settled: amount, reason: reason})
}

func (b *Book) shrink(ctx context.Context, tx *audit.Tx, h hold, part Part, by money.USD) error {
	column := "fixed_micros"
	if part == Lease {
		column = "lease_micros"
	}
	_, err := tx.Exec(ctx, `UPDATE budget_holds SET `+column+` = `+column+` - $2 WHERE workspace_id = $1`, h.WorkspaceID, by)
	return err
}

// each applies a movement to every budget of the payer in the month.
func (b *Book) each(ctx context.Context, tx *audit.Tx, month time.Time, p Payer, m movement) error {
	balances, err := b.lock(ctx, tx, month, p)
	if err != nil {
		return err
	}
	writes := &pgx.Batch{}
	for _, bal := range balances {
		bal.queue(writes, tx.Now, m)
	}
	if err := tx.SendBatch(ctx, writes).Close(); err != nil {
		return err
	}
	for _, bal := range balances {
		if m.settled+m.held > 0 {
			if err := crossings(ctx, tx, bal, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// Renew fills a WorkSpace's lease up again. It returns ErrExceeded, with nothing changed, when a budget has no room.
func (b *Book) Renew(ctx context.Context, tx *audit.Tx, ws id.WorkSpace) error {
	_, _, err := b.renew(ctx, tx, ws, true)
	return err
}

// renew is Renew for what somebody asks for, or for what runs already; refused with ErrExceeded, it tells the hold and the
// budgets that lack room.
func (b *Book) renew(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, asked bool) (h hold, short []*balance, err error) {
	h, err = b.lockHold(ctx, tx, ws)
	if isNone(err) {
		return h, nil, nil
	}
	if err != nil {
		return h, nil, err
	}
	balances, err := b.lock(ctx, tx, present, h.payer())
	if err != nil {
		return h, nil, err
	}
	need := h.LeaseTargetMicros - h.LeaseMicros
	if need <= 0 {
		return h, nil, nil
	}
	if asked {
		if err := b.feesPosted(ctx, tx, h.payer(), balances); err != nil {
			return h, nil, err
		}
	}
	if err := room(balances, need); err != nil {
		return h, lacking(balances, need), err
	}
	if _, err := tx.Exec(ctx, `
		UPDATE budget_holds
		SET lease_micros = lease_target_micros, renewal_refused_at = NULL, stop_at = NULL
		WHERE workspace_id = $1`, ws); err != nil {
		return h, nil, err
	}
	return h, nil, b.each(ctx, tx, present, h.payer(), movement{kind: "renew", workspace: ws, held: need})
}

// RenewOrTell is Renew for a WorkSpace that runs on: a refusal is noted and told, and the WorkSpace goes on. If a budget
// that refuses is one that stops what runs, it is due to be stopped at the end of the lease that is paid.
func (b *Book) RenewOrTell(ctx context.Context, tx *audit.Tx, ws id.WorkSpace) error {
	h, short, err := b.renew(ctx, tx, ws, false)
	if !isExceeded(err) {
		return err
	}
	if err := b.stopWhenPaid(ctx, tx, h, short); err != nil || h.RenewalRefusedAt != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE budget_holds SET renewal_refused_at = $2 WHERE workspace_id = $1`, ws, tx.Now); err != nil {
		return err
	}
	tx.Record(audit.Event{Action: "budget.renewal_refused", ResourceType: "workspace", ResourceID: string(ws)})
	return notify.Enqueue(ctx, tx, notify.Message{
		Key: "budget.renewal_refused:" + string(ws) + ":" + tx.Now.Format(time.RFC3339), Kind: "budget.renewal_refused", User: h.UserID,
		Payload: map[string]any{"workspace_id": string(ws)},
	})
}

// Release gives back everything that a WorkSpace still holds. Releasing twice is no error.
func (b *Book) Release(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, reason string) error {
	h, err := b.lockHold(ctx, tx, ws)
	if isNone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := b.lock(ctx, tx, present, h.payer()); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM budget_holds WHERE workspace_id = $1`, ws); err != nil {
		return err
	}
	rest := h.FixedMicros + h.LeaseMicros
	if rest == 0 {
		return nil
	}
	return b.each(ctx, tx, present, h.payer(), movement{kind: "release", workspace: ws, held: -rest, reason: reason})
}

// lockHold reads a WorkSpace's hold and locks it until the transaction ends, so that nobody moves it meanwhile to another
// payer. Holds are locked before budgets.
func (b *Book) lockHold(ctx context.Context, tx *audit.Tx, ws id.WorkSpace) (hold, error) {
	return postgres.One[hold](ctx, tx, `
		SELECT`+holdColumns+`
		FROM budget_holds
		WHERE workspace_id = $1
		FOR UPDATE`, ws)
}
