package workspace

import (
	"context"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// mine locks a WorkSpace that the actor may act on. One that they may not even see does not exist; one that they may see
// and not touch is forbidden.
func mine(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, action policy.Action, ifVersion *int64) (*WorkSpace, error) {
	w, err := get(ctx, tx, ws, "FOR UPDATE")
	if err != nil {
		return nil, err
	}
	if !policy.Allows(tx.Actor, policy.WorkspaceRead, w.UserID, w.TeamID) {
		return nil, ErrNotFound
	}
	if err := policy.Require(tx.Actor, action, w.UserID, w.TeamID); err != nil {
		return nil, err
	}
	if ifVersion != nil && *ifVersion != w.Version {
		return nil, ErrChanged.Detail("version", w.Version)
	}
	return w, nil
}

// Start asks for a stopped WorkSpace to run. Its hold must be whole, so that what it will cost is reserved; asking for
// what is so already succeeds.
func (f *Fleet) Start(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, ifVersion *int64) (*WorkSpace, error) {
	w, err := mine(ctx, tx, ws, policy.WorkspaceOperate, ifVersion)
	if err != nil {
		return nil, err
	}
	if w.Desired == WantTerminated || w.State.Ended() {
		return nil, stateConflict(w, "started")
	}
	if w.Desired == WantAvailable && w.State != Stopped && w.State != Stopping {
		unchanged(tx, w, "start")
		return w, nil
	}
	if err := f.Budgets.Renew(ctx, tx, w.ID); err != nil {
		return nil, err
	}
	w.Desired, w.Asked, w.AskedAt, w.NextDueAt = WantAvailable, "start", nil, &tx.Now
	f.poke(tx)
	return w, save(ctx, tx, w, w.State, "start", "user", nil)
}

// Stop asks for an AUTO_STOP WorkSpace to stop. It needs no budget: what lowers cost is always allowed.
func (f *Fleet) Stop(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, ifVersion *int64) (*WorkSpace, error) {
	w, err := mine(ctx, tx, ws, policy.WorkspaceOperate, ifVersion)
	if err != nil {
		return nil, err
	}
	if w.Desired == WantTerminated || w.State.Ended() {
		return nil, stateConflict(w, "stopped")
	}
	if w.RunningMode == price.AlwaysOn {
		return nil, ErrAlwaysOn
	}
	if w.Desired == WantStopped && (w.Asked == "stop" || w.State == Stopped || w.State == Stopping) {
		unchanged(tx, w, "stop")
		return w, nil
	}
	w.Desired, w.Asked, w.AskedAt, w.NextDueAt = WantStopped, "stop", nil, &tx.Now
	f.poke(tx)
	return w, save(ctx, tx, w, w.State, "stop", "user", nil)
}

// Terminate asks for a WorkSpace to end, with everything on it. Asking twice succeeds.
func (f *Fleet) Terminate(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, ifVersion *int64) (*WorkSpace, error) {
	w, err := mine(ctx, tx, ws, policy.WorkspaceOperate, ifVersion)
	if err != nil {
		return nil, err
	}
	if w.Desired == WantTerminated || w.State.Ended() {
		unchanged(tx, w, "terminate")
		return w, nil
	}
	w.Desired, w.NextDueAt = WantTerminated, &tx.Now
	f.poke(tx)
	return w, save(ctx, tx, w, w.State, "terminate", "user", nil)
}

// unchanged records that what was asked for is so already.
func unchanged(tx *audit.Tx, w *WorkSpace, kind string) {
	tx.Record(audit.Event{Action: "workspace." + kind, ResourceType: "workspace", ResourceID: string(w.ID), Details: map[string]any{
		"already": true, "state": string(w.State), "desired": string(w.Desired),
	}})
}

func stateConflict(w *WorkSpace, verb string) error {
	allowed := []string{}
	if !w.State.Ended() && w.Desired != WantTerminated {
		allowed = []string{"start", "stop", "terminate"}
	}
	if w.State.Ended() {
		return ErrState.Sayf("the WorkSpace is %s and cannot be %s", w.State, verb).Suggestf("launch a new one").
			Detail("state", string(w.State)).Detail("allowed", allowed)
	}
	return ErrState.Sayf("the WorkSpace is being terminated and cannot be %s", verb).Suggestf("launch a new one once it is gone").
		Detail("state", string(w.State)).Detail("allowed", allowed)
}

// Patch is what can be changed in place; nil fields stay.
type Patch struct {
	Name                   *string
	Tags                   map[string]string
	AutoStopTimeoutMinutes *int
	MaxLifetimeDays        *int
}

// Update changes a WorkSpace's own settings. A new idle timeout is brought to Amazon by the reconciler.
func (f *Fleet) Update(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, p Patch, ifVersion *int64) (*WorkSpace, error) {
	w, err := mine(ctx, tx, ws, policy.WorkspaceUpdate, ifVersion)
	if err != nil {
		return nil, err
	}
	if w.State.Ended() || w.Desired == WantTerminated {
		return nil, stateConflict(w, "changed")
	}
	changed := map[string]any{}
	if p.Name != nil && *p.Name != w.Name {
		if !nameRule.MatchString(*p.Name) {
			return nil, ErrName
		}
		changed["name"] = map[string]any{"from": w.Name, "to": *p.Name}
		w.Name = *p.Name
	}
	if p.Tags != nil {
		if err := checkTags(p.Tags); err != nil {
			return nil, err
		}
		changed["tags"] = len(p.Tags)
		w.Tags = p.Tags
	}
	if p.AutoStopTimeoutMinutes != nil && (w.AutoStopTimeoutMinutes == nil || *w.AutoStopTimeoutMinutes != *p.AutoStopTimeoutMinutes) {
		before := w.AutoStopTimeoutMinutes
		if err := setIdle(w, p.AutoStopTimeoutMinutes); err != nil {
			return nil, err
		}
		changed["auto_stop_timeout_minutes"] = map[string]any{"from": *before, "to": *w.AutoStopTimeoutMinutes}
		if w.Asked == "" {
			w.Asked, w.AskedAt = "modify", nil
		}
		w.NextDueAt = &tx.Now
		f.poke(tx)
	}
	if p.MaxLifetimeDays != nil {
		if err := setLifetime(w, p.MaxLifetimeDays); err != nil {
			return nil, err
		}
		changed["max_lifetime_days"] = *p.MaxLifetimeDays
	}
	if len(changed) == 0 {
		unchanged(tx, w, "update")
		return w, nil
	}
	err = save(ctx, tx, w, w.State, "update", "user", changed)
	if postgres.Violates(err, "workspaces_owner_name_uq") {
		return nil, ErrNameTaken
	}
	return w, err
}

// HandOver gives every live WorkSpace of a person to another, and returns how many. What they have cost stays with whom
// it was charged to.
func (f *Fleet) HandOver(ctx context.Context, tx *audit.Tx, from, to id.User) (int, error) {
	owned, err := postgres.Many[WorkSpace](ctx, tx, `
		SELECT`+columns+`
		FROM workspaces
		WHERE user_id = $1 AND terminated_at IS NULL
		ORDER BY id
		FOR UPDATE`, from)
	if err != nil {
		return 0, err
	}
	for i := range owned {
		w := &owned[i]
		w.UserID = to
		// Two people may have used the same name; the new owner's must stay unique.
		w.Name = "from-" + w.DirectoryUser + "-" + string(w.ID[len(w.ID)-6:])
		if err := save(ctx, tx, w, w.State, "hand_over", "user deactivated", map[string]any{"from": string(from), "to": string(to)}); err != nil {
			return 0, err
		}
	}
	return len(owned), nil
}
