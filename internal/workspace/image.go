package workspace

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
)

// reasonImage is why a WorkSpace stays PENDING whose bundle is still to be made.
const reasonImage = "waits for its image"

func (w *WorkSpace) need() blueprint.Need {
	return blueprint.Need{Version: w.BlueprintVersionID, Region: w.Region, ComputeType: w.BundleType, WorkSpace: w.ID}
}

// prepare makes sure of the bundle that a WorkSpace is to be made of, and writes it down before anything is asked for. It returns
// the WorkSpace as it is then, or nil when it is put off or has failed.
func (r *Reconciler) prepare(ctx context.Context, w *WorkSpace) (*WorkSpace, error) {
	if r.Fleet.Images == nil || w.BundleID != nil {
		return w, nil
	}
	supply, err := r.Fleet.Images.Bundle(ctx, r.Log.Pool(), w.need())
	var f *fault.Fault
	switch {
	case errors.As(err, &f):
		return nil, r.refused(ctx, w, create, &ProviderError{Class: Rejected, Code: f.Code, Message: f.Message, Err: err})
	case err != nil:
		return nil, r.later(ctx, w, err)
	case supply.Public:
		return w, nil
	case supply.Waiting != nil && w.ImageSince != nil:
		return nil, r.rest(ctx, w, r.times().most)
	}
	kind, details := "bundle", map[string]any{"bundle_id": supply.BundleID}
	if supply.Waiting != nil {
		kind, details = "wait_image", map[string]any{"for": supply.Waiting.For, "minutes": supply.Waiting.Minutes(r.Clock())}
	}
	now, err := r.change(ctx, w, kind, func(tx *audit.Tx, is *WorkSpace) error {
		if supply.Waiting != nil {
			is.ImageSince = &tx.Now
			return save(ctx, tx, is, is.State, kind, reasonImage, details)
		}
		// Its way through Amazon begins here: the wait does not count as being stuck.
		is.BundleID, is.StateSince = &supply.BundleID, tx.Now
		return save(ctx, tx, is, is.State, kind, "provider", details)
	})
	if err != nil {
		return nil, err
	}
	if supply.Waiting != nil {
		return nil, r.rest(ctx, now, r.times().most)
	}
	return now, nil
}

// withoutBundle is for a create that was refused because its bundle is not there: one that Forge made is looked for and made again,
// and this one waits for it.
func (r *Reconciler) withoutBundle(ctx context.Context, w *WorkSpace, cause error) error {
	var pe *ProviderError
	if w.BundleID == nil || !errors.As(cause, &pe) || !strings.HasPrefix(pe.Code, "ResourceNotFound.Bundle") {
		return cause
	}
	ours, err := r.Fleet.Images.Lost(ctx, r.Log.Pool(), w.Region, *w.BundleID)
	if err != nil {
		return errors.Join(cause, err)
	}
	if !ours {
		return cause
	}
	now, err := r.change(ctx, w, "bundle_lost", func(tx *audit.Tx, is *WorkSpace) error {
		lost := deref(is.BundleID)
		is.BundleID = nil
		return save(ctx, tx, is, is.State, "bundle_lost", "provider", map[string]any{"bundle_id": lost})
	})
	if err != nil {
		return errors.Join(cause, err)
	}
	*w = *now
	return &ProviderError{Class: NotNow, Code: pe.Code, Message: pe.Message, Err: cause}
}

// Prepared has WorkSpaces looked at that have waited for a bundle.
func (f *Fleet) Prepared(ctx context.Context, tx *audit.Tx, waiting []id.WorkSpace) error {
	_, err := tx.Exec(ctx, `
		UPDATE workspaces
		SET next_due_at = $2
		WHERE id = ANY($1) AND state = 'PENDING' AND bundle_id IS NULL AND next_due_at > $2 AND lease_token IS NULL`, waiting, tx.Now)
	f.poke(tx)
	return err
}

// waiting reads what a WorkSpace waits for, if that is its image.
func (f *Fleet) waiting(ctx context.Context, q postgres.Querier, w *WorkSpace) (*blueprint.Wait, error) {
	if f.Images == nil || !w.onItsWay() || w.ImageSince == nil || w.BundleID != nil || w.FirstAskedAt != nil {
		return nil, nil
	}
	return f.Images.Waiting(ctx, q, w.need())
}

// after is how long a way takes that begins when the wait is over.
func (e Expectation) after(wait *blueprint.Wait, since time.Time) Expectation {
	if wait == nil {
		return e
	}
	d := max(0, wait.Until.Sub(since))
	return Expectation{Typical: e.Typical + d, Slow: e.Slow + d, Samples: e.Samples}
}
