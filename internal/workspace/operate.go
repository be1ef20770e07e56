package workspace

import (
	"context"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
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
	if err := w.allow(OpStart); err != nil {
		return nil, err
	}
	if w.starting() {
		unchanged(tx, w, "start")
		return w, nil
	}
	return w, f.start(ctx, tx, w, "user")
}

// starting tells whether it is wanted to run, and does or will.
func (w *WorkSpace) starting() bool {
	return w.Desired == WantAvailable && w.State != Stopped && w.State != Stopping
}

// start wants a WorkSpace to run, for a reason, and reserves what that costs. That somebody wants it ends its being unused.
func (f *Fleet) start(ctx context.Context, tx *audit.Tx, w *WorkSpace, reason string) error {
	if err := f.Budgets.Renew(ctx, tx, w.ID); err != nil {
		return err
	}
	w.wantStarted(reason, tx.Now)
	if err := f.instead(ctx, tx, w); err != nil {
		return err
	}
	f.poke(tx)
	return save(ctx, tx, w, w.State, "start", reason, nil)
}

func (w *WorkSpace) wantStarted(reason string, now time.Time) {
	w.Desired, w.WishReason, w.NextDueAt = WantAvailable, reason, &now
	w.turn(start, stop)
	w.StoppedAt, w.StaleAt = nil, nil
}

// Stop asks for an AUTO_STOP WorkSpace to stop. It needs no budget: what lowers cost is always allowed.
func (f *Fleet) Stop(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, ifVersion *int64) (*WorkSpace, error) {
	w, err := mine(ctx, tx, ws, policy.WorkspaceOperate, ifVersion)
	if err != nil {
		return nil, err
	}
	if err := w.allow(OpStop); err != nil {
		return nil, err
	}
	if w.stopping() && (w.Asked == "" || w.WishReason != string(PolicyIdle)) { // one for being idle may be called off
		unchanged(tx, w, "stop")
		return w, nil
	}
	return w, f.stop(ctx, tx, w, "user", nil)
}

// stopping tells whether it is stopped, or on its way to be.
func (w *WorkSpace) stopping() bool {
	return w.Desired == WantStopped && (w.Asked == string(stop) || w.State == Stopped || w.State == Stopping)
}

// stop wants a WorkSpace to be stopped, for a reason.
func (f *Fleet) stop(ctx context.Context, tx *audit.Tx, w *WorkSpace, reason string, details map[string]any) error {
	w.wantStopped(reason, tx.Now)
	if err := f.instead(ctx, tx, w); err != nil {
		return err
	}
	f.poke(tx)
	return save(ctx, tx, w, w.State, "stop", reason, details)
}

func (w *WorkSpace) wantStopped(reason string, now time.Time) {
	w.Desired, w.WishReason, w.NextDueAt = WantStopped, reason, &now
	w.turn(stop, start)
}

// turn has the opposite of what was asked for until now asked for. When that was asked for stays on the row if it may not
// have shown yet: what is seen until then is no answer to the new wish. A create is waited for first.
func (w *WorkSpace) turn(to, from action) {
	if w.Asked == string(create) {
		return
	}
	if w.Asked != string(from) && w.Asked != string(to) {
		w.AskedAt = nil
	}
	w.Asked = string(to)
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
	return w, f.terminate(ctx, tx, w, "user", nil)
}

// terminate wants a WorkSpace to end, for a reason.
func (f *Fleet) terminate(ctx context.Context, tx *audit.Tx, w *WorkSpace, reason string, details map[string]any) error {
	w.wantTerminated(reason, tx.Now)
	f.poke(tx)
	return save(ctx, tx, w, w.State, "terminate", reason, details)
}

func (w *WorkSpace) wantTerminated(reason string, now time.Time) {
	w.Desired, w.WishReason, w.NextDueAt = WantTerminated, reason, &now
	if w.Asked != string(create) {
		w.Asked, w.AskedAt = "", nil
	}
}

// Confirmation is what must be said before something that loses data is done: the WorkSpace's own name or id.
type Confirmation string

func (c Confirmation) check(w *WorkSpace, lost string) error {
	if string(c) == w.Name || string(c) == string(w.ID) {
		return nil
	}
	return ErrConfirm.Sayf("%s", lost).Suggestf("confirm with its name, %s", w.Name).Detail("lost", lost)
}

// What an operation loses.
const (
	lostByRebuild = "the root volume is made anew from the image of its bundle, and the user volume comes back from its last snapshot, up to 12 hours old: whatever else is on them is lost"
	lostByRestore = "both volumes come back from their last snapshots, up to 12 hours old: whatever was written since is lost"
)

// Reboot asks for a running WorkSpace to be rebooted; what is open in it is lost, and what is on its volumes stays.
func (f *Fleet) Reboot(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, ifVersion *int64) (*WorkSpace, error) {
	return f.ask(ctx, tx, ws, OpReboot, reboot, ifVersion, nil)
}

// Rebuild asks for the root volume to be made anew. Which snapshot the user volume comes back from is Amazon's choice: the
// last. It needs the confirmation.
func (f *Fleet) Rebuild(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, c Confirmation, ifVersion *int64) (*WorkSpace, error) {
	return f.ask(ctx, tx, ws, OpRebuild, rebuild, ifVersion, func(w *WorkSpace) error { return c.check(w, lostByRebuild) })
}

// Restore asks for both volumes to come back from their last snapshots. It needs the confirmation.
func (f *Fleet) Restore(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, c Confirmation, ifVersion *int64) (*WorkSpace, error) {
	return f.ask(ctx, tx, ws, OpRestore, restore, ifVersion, func(w *WorkSpace) error { return c.check(w, lostByRestore) })
}

// Image asks for an image to be made of a running WorkSpace, which cannot be used meanwhile, for up to 45 minutes.
func (f *Fleet) Image(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, ifVersion *int64) (*WorkSpace, error) {
	return f.ask(ctx, tx, ws, OpImage, image, ifVersion, nil)
}

// ask asks for something that happens once. One thing at a time: what was asked for before is waited for. Asking again for
// what is under way succeeds.
func (f *Fleet) ask(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, op Operation, act action, ifVersion *int64, check func(*WorkSpace) error) (*WorkSpace, error) {
	w, err := mine(ctx, tx, ws, policy.WorkspaceOperate, ifVersion)
	if err != nil {
		return nil, err
	}
	already, err := w.mayAsk(op, act)
	if err != nil {
		return nil, err
	}
	if already {
		unchanged(tx, w, string(op))
		return w, nil
	}
	if check != nil {
		if err := check(w); err != nil {
			return nil, err
		}
	}
	w.askOnce(act, tx.Now)
	f.poke(tx)
	return w, save(ctx, tx, w, w.State, string(op), "user", nil)
}

// mayAsk refuses what the state or something that is under way does not allow, and tells whether it is under way already.
func (w *WorkSpace) mayAsk(op Operation, act action) (already bool, err error) {
	if err := w.allow(op); err != nil {
		return false, err
	}
	under := map[State]action{Rebooting: reboot, Rebuilding: rebuild, Restoring: restore, Suspended: image}[w.State]
	if w.Asked == string(act) || under == act && !(act == reboot && w.Flag == FlagStuck) {
		return true, nil
	}
	if w.Asked != "" && w.Asked != string(modify) || w.Change != "" || w.MigrationAskedAt != nil { // an idle timeout is asked for again afterwards
		return false, w.busy(string(op))
	}
	return false, nil
}

func (w *WorkSpace) askOnce(act action, now time.Time) {
	w.Asked, w.AskedAt, w.WishReason, w.NextDueAt, w.ErrorCode, w.ErrorMessage = string(act), nil, "user", &now, "", ""
}

// busy says what must be over first.
func (w *WorkSpace) busy(wanted string) error {
	what := w.Asked
	switch {
	case w.MigrationAskedAt != nil:
		what = spelled[string(migrate)]
	case w.Change != "":
		what = "the change of its " + spelled[w.Change] + " to " + w.ChangeTo
	}
	return ErrBusy.Sayf("%s is under way; %s must wait for it", what, wanted).Detail("under_way", what).Detail("state", string(w.State))
}

// unchanged records that what was asked for is so already.
func unchanged(tx *audit.Tx, w *WorkSpace, kind string) {
	tx.Record(audit.Event{Action: "workspace." + kind, ResourceType: "workspace", ResourceID: string(w.ID), Details: map[string]any{
		"already": true, "state": string(w.State), "desired": string(w.Desired),
	}})
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
