package workspace

import (
	"context"
	"errors"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/postgres"
)

// Hold says that nothing can be made in a region, or in one directory of it, until an operator has acted: a quota, a
// permission, a directory. What is waiting stays PENDING. One creation after another is tried now and then, and the first
// that is accepted ends the hold; nobody has to remember it.
type Hold struct {
	Region      string
	DirectoryID string // empty: the whole region
	Code        string // Amazon's
	Message     string
	Since       time.Time
	LastAt      time.Time // when it was last refused
	NextTryAt   time.Time
	Refusals    int
}

// Holds are all that are in force.
func Holds(ctx context.Context, q postgres.Querier) ([]Hold, error) {
	return postgres.Many[Hold](ctx, q, `
		SELECT region, directory_id, code, message, since, last_at, next_try_at, refusals
		FROM provider_holds
		ORDER BY region, directory_id`)
}

// covers tells whether the hold keeps the WorkSpace from being made.
func (h *Hold) covers(w *WorkSpace) bool {
	return h.Region == w.Region && (h.DirectoryID == "" || h.DirectoryID == w.DirectoryID)
}

// triesEvery is how often a creation is tried while nothing can be made.
const triesEvery = time.Minute

// heldFor tells how long to wait before the WorkSpace may be asked for: nothing when no hold is in force, or when this one
// is to try. Of many that wait, one tries.
func (f *Fleet) heldFor(ctx context.Context, q postgres.Executor, w *WorkSpace, now time.Time) (time.Duration, error) {
	holds, err := Holds(ctx, q)
	if err != nil {
		return 0, err
	}
	for i := range holds {
		h := &holds[i]
		if !h.covers(w) {
			continue
		}
		tag, err := q.Exec(ctx, `
			UPDATE provider_holds
			SET next_try_at = $3
			WHERE region = $1 AND directory_id = $2 AND next_try_at <= $4`, h.Region, h.DirectoryID, now.Add(f.tries()), now)
		if err != nil {
			return 0, err
		}
		if tag.RowsAffected() == 0 {
			return max(h.NextTryAt.Sub(now), time.Second), nil
		}
	}
	return 0, nil
}

func (f *Fleet) tries() time.Duration {
	return max(triesEvery/time.Duration(max(f.Speed, 1)), time.Second)
}

// hold stops the creations of a region or a directory, and tells the operators when it begins or its cause changes.
func (f *Fleet) hold(ctx context.Context, log *audit.Log, w *WorkSpace, pe *ProviderError) error {
	directory := ""
	if pe.Extent == OneDirectory {
		directory = w.DirectoryID
	}
	in := audit.Intent{Action: "provider.hold", ResourceType: "provider", ResourceID: w.Region}
	err := log.Change(ctx, in, func(tx *audit.Tx) error {
		var before string
		var since time.Time
		// The row of before is read by the statement that replaces it, whoever else does the same.
		if err := tx.QueryRow(ctx, `
			WITH old AS (SELECT code FROM provider_holds WHERE region = $1 AND directory_id = $2 FOR UPDATE)
			INSERT INTO provider_holds (region, directory_id, code, message, since, last_at, next_try_at, refusals)
			VALUES ($1, $2, $3, $4, $5, $5, $6, 1)
			ON CONFLICT (region, directory_id) DO UPDATE
			SET code = EXCLUDED.code, message = EXCLUDED.message, last_at = EXCLUDED.last_at, next_try_at = EXCLUDED.next_try_at,
			    refusals = provider_holds.refusals + 1
			RETURNING coalesce((SELECT code FROM old), ''), since`, w.Region, directory, pe.Code, pe.Message, tx.Now, tx.Now.Add(f.tries())).Scan(&before, &since); err != nil {
			return err
		}
		details := map[string]any{"region": w.Region, "directory_id": directory, "code": pe.Code, "message": pe.Message, "workspace_id": string(w.ID)}
		tx.Record(audit.Event{Action: "provider.hold", ResourceType: "provider", ResourceID: w.Region, Details: details})
		if before == pe.Code {
			return nil
		}
		return notify.EnqueueAdmins(ctx, tx, notify.Message{
			Key: "provider.hold:" + w.Region + ":" + directory + ":" + pe.Code + ":" + since.Format(time.RFC3339Nano), Kind: "provider.hold", Payload: details,
		})
	})
	return err
}

// release ends the holds that an accepted creation has shown to be over, and lets what has waited go on.
func (f *Fleet) release(ctx context.Context, log *audit.Log, w *WorkSpace) error {
	holds, err := Holds(ctx, log.Pool())
	if err != nil || len(holds) == 0 {
		return err
	}
	in := audit.Intent{Action: "provider.release", ResourceType: "provider", ResourceID: w.Region}
	err = log.Change(ctx, in, func(tx *audit.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM provider_holds WHERE region = $1 AND directory_id IN ('', $2)`, w.Region, w.DirectoryID)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return audit.ErrNothing
		}
		tx.Record(audit.Event{Action: "provider.release", ResourceType: "provider", ResourceID: w.Region, Details: map[string]any{
			"region": w.Region, "directory_id": w.DirectoryID, "workspace_id": string(w.ID),
		}})
		_, err = tx.Exec(ctx, `
			UPDATE workspaces
			SET next_due_at = $2
			WHERE state = 'PENDING' AND provider_id IS NULL AND region = $1 AND next_due_at > $2 AND lease_token IS NULL`, w.Region, tx.Now)
		f.poke(tx)
		return err
	})
	if errors.Is(err, audit.ErrNothing) {
		return nil
	}
	return err
}
