package budget

import (
	"context"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
)

// stopWhenPaid makes a WorkSpace whose renewal was refused due to be stopped at the end of the lease that is paid, if one
// of the budgets that lack room stops what runs; if none does, or it does not run, it is not due any more. What is due does
// not become due later: the hour beyond the lease, once charged, would look as if it had been paid for.
func (b *Book) stopWhenPaid(ctx context.Context, tx *audit.Tx, h hold, short []*balance) error {
	var at *time.Time
	if slices.ContainsFunc(short, func(bal *balance) bool { return bal.Enforcement == BlockAndStop }) {
		until, runs, err := b.PaidUntil(ctx, tx, h.WorkspaceID, h.LeaseMicros)
		if err != nil {
			return err
		}
		if runs {
			at = &until
			if h.StopAt != nil && h.StopAt.Before(until) {
				at = h.StopAt
			}
		}
	}
	_, err := tx.Exec(ctx, `UPDATE budget_holds SET stop_at = $2 WHERE workspace_id = $1 AND stop_at IS DISTINCT FROM $2`, h.WorkspaceID, at)
	return err
}

// DueStops are up to limit WorkSpaces whose paid lease has ended by now under a budget that stops what runs, those first
// that are longest over it. Whoever stops them calls RenewOrTell before: there may be room again since.
func DueStops(ctx context.Context, q postgres.Querier, now time.Time, limit int) ([]id.WorkSpace, error) {
	due, err := postgres.Many[hold](ctx, q, `
		SELECT`+holdColumns+`
		FROM budget_holds
		WHERE stop_at <= $1
		ORDER BY stop_at
		LIMIT $2`, now, limit)
	out := make([]id.WorkSpace, len(due))
	for i, h := range due {
		out[i] = h.WorkspaceID
	}
	return out, err
}

// StopAt tells which of the WorkSpaces are due to be stopped for lack of money, and when.
func StopAt(ctx context.Context, q postgres.Querier, ids []id.WorkSpace) (map[id.WorkSpace]time.Time, error) {
	due, err := postgres.Many[hold](ctx, q, `
		SELECT`+holdColumns+`
		FROM budget_holds
		WHERE workspace_id = ANY($1) AND stop_at IS NOT NULL`, ids)
	out := make(map[id.WorkSpace]time.Time, len(due))
	for _, h := range due {
		out[h.WorkspaceID] = h.StopAt.UTC()
	}
	return out, err
}

// ClearStop forgets that a WorkSpace is due to be stopped: it was, or there is no point. The next refused renewal of what
// runs makes it due again.
func (b *Book) ClearStop(ctx context.Context, tx *audit.Tx, ws id.WorkSpace) error {
	_, err := tx.Exec(ctx, `UPDATE budget_holds SET stop_at = NULL WHERE workspace_id = $1 AND stop_at IS NOT NULL`, ws)
	return err
}
