package budget

import (
	"context"
	"fmt"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
)

// Held is what a WorkSpace keeps reserved: for a fee that will post, of its lease, and what its lease is when full. What has
// no hold keeps nothing.
func (b *Book) Held(ctx context.Context, q postgres.Querier, ws id.WorkSpace) (fixed, lease, leaseTarget money.USD, err error) {
	err = q.QueryRow(ctx, `
		SELECT fixed_micros, lease_micros, lease_target_micros
		FROM budget_holds
		WHERE workspace_id = $1`, ws).Scan(&fixed, &lease, &leaseTarget)
	if isNone(err) {
		err = nil
	}
	return fixed, lease, leaseTarget, err
}

// Resize sets what a WorkSpace's hold keeps for a fee that will post, and its lease, which it fills. To keep more of either
// takes room in every enforced budget, or it is refused with ErrExceeded and nothing changes. To keep less is never refused:
// a lease that there is no room to fill stays as it is, as far as it is within the new one.
func (b *Book) Resize(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, fixed, lease money.USD) error {
	if fixed < 0 || lease < 0 {
		return ErrAmount
	}
	h, err := b.lockHold(ctx, tx, ws)
	if isNone(err) {
		return fmt.Errorf("budget: the WorkSpace %s has no hold to resize", ws)
	}
	if err != nil {
		return err
	}
	balances, err := b.lock(ctx, tx, present, h.payer())
	if err != nil {
		return err
	}
	full := lease
	need := fixed + full - h.FixedMicros - h.LeaseMicros
	if err := room(balances, need); err != nil && need > 0 {
		if fixed > h.FixedMicros || lease > h.LeaseTargetMicros {
			return err
		}
		full = min(h.LeaseMicros, lease)
		need = fixed + full - h.FixedMicros - h.LeaseMicros
	}
	if full == lease { // it is renewed
		h.RenewalRefusedAt, h.StopAt = nil, nil
	}
	if _, err := tx.Exec(ctx, `
		UPDATE budget_holds
		SET fixed_micros = $2, lease_micros = $3, lease_target_micros = $4, renewal_refused_at = $5, stop_at = $6
		WHERE workspace_id = $1`, ws, fixed, full, lease, h.RenewalRefusedAt, h.StopAt); err != nil {
		return err
	}
	if need == 0 {
		return nil
	}
	return b.each(ctx, tx, present, h.payer(), movement{kind: "resize", workspace: ws, held: need})
}

// Move gives a WorkSpace's hold to another payer. It takes room in those budgets only that the payer before did not touch:
// ErrExceeded, with nothing changed, when one has none; ErrNone when the new payer has no budget and the organisation
// allows nothing without. The new budgets decide anew about the lease: what the old ones refused is forgotten.
func (b *Book) Move(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, to Payer) error {
	h, err := b.lockHold(ctx, tx, ws)
	if isNone(err) {
		return fmt.Errorf("budget: the WorkSpace %s has no hold to move", ws)
	}
	from := h.payer()
	if err != nil || from == to {
		return err
	}
	balances, err := b.lock(ctx, tx, present, from, to)
	if err != nil {
		return err
	}
	var left, entered []*balance
	covered := false
	for _, bal := range balances {
		before, after := from.touches(bal.Scope, bal.ScopeID), to.touches(bal.Scope, bal.ScopeID)
		covered = covered || after
		switch {
		case before && !after:
			left = append(left, bal)
		case after && !before:
			entered = append(entered, bal)
		}
	}
	if !covered {
		if err := b.allowedWithout(ctx, tx); err != nil {
			return err
		}
	}
	amount := h.FixedMicros + h.LeaseMicros
	if err := room(entered, amount); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		UPDATE budget_holds
		SET user_id = $2, team_id = $3, project_id = nullif($4, ''), renewal_refused_at = NULL, stop_at = NULL
		WHERE workspace_id = $1`, ws, to.User, to.Team, to.Project); err != nil {
		return err
	}
	if amount == 0 {
		return nil
	}
	for _, bal := range left {
		if err := move(ctx, tx, bal, movement{kind: "release", workspace: ws, held: -amount, reason: "moved to another payer"}); err != nil {
			return err
		}
	}
	for _, bal := range entered {
		if err := move(ctx, tx, bal, movement{kind: "hold", workspace: ws, held: amount, reason: "moved from another payer"}); err != nil {
			return err
		}
		if err := crossings(ctx, tx, bal, to); err != nil {
			return err
		}
	}
	return nil
}
