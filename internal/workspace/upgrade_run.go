package workspace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/postgres"
)

// Upgrader brings due upgrades further. Any number may run, in any number of processes.
type Upgrader struct {
	Fleet *Fleet
	Log   *audit.Log
	Clock clock.Clock
	Slog  *slog.Logger
}

// maxAttempts is how often an item is begun whose migration something else has taken the place of.
const maxAttempts = 3

// Why a WorkSpace was skipped, where no refusal says it.
const (
	codeThere = "ALREADY_THERE"
	codeEnded = "WORKSPACE_ENDED"
)

// Round takes one due upgrade a step further, and returns how many it took.
func (u *Upgrader) Round(ctx context.Context) (int, error) {
	now := u.Clock()
	up, err := postgres.One[Upgrade](ctx, u.Log.Pool(), `
		UPDATE blueprint_upgrades
		SET lease_token = $1, lease_until = $2
		WHERE id = (
			SELECT id
			FROM blueprint_upgrades
			WHERE next_due_at <= $3 AND (lease_until IS NULL OR lease_until <= $3)
			ORDER BY next_due_at
			LIMIT 1
			FOR UPDATE SKIP LOCKED)
		RETURNING`+upgradeColumns, "lease_"+id.Unique(), now.Add(LeaseTime), now)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	pause, err := u.step(ctx, &up)
	if err != nil && !errors.Is(err, errLost) {
		u.Slog.WarnContext(ctx, "upgrade", "upgrade", up.ID, "error", err)
	}
	if err != nil {
		pause = u.Fleet.times().most
	}
	return 1, u.rest(ctx, &up, pause)
}

// never is the pause of an upgrade that waits for people.
const never = time.Duration(-1)

// rest gives the lease back. An upgrade that somebody has steered since stays due.
func (u *Upgrader) rest(ctx context.Context, up *Upgrade, pause time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	var due *time.Time
	if pause != never {
		at := u.Clock().Add(pause)
		due = &at
	}
	_, err := u.Log.Pool().Exec(ctx, `
		UPDATE blueprint_upgrades
		SET lease_token = NULL, lease_until = NULL,
		    next_due_at = CASE WHEN state = 'DONE' THEN NULL WHEN updated_at = $4 THEN $3 ELSE next_due_at END
		WHERE id = $1 AND lease_token = $2`, up.ID, up.LeaseToken, due, up.UpdatedAt)
	return err
}

// step looks what has become of what is under way, and begins what may begin. It returns when to look again.
func (u *Upgrader) step(ctx context.Context, up *Upgrade) (time.Duration, error) {
	over, err := postgres.Many[struct{ WorkspaceID id.WorkSpace }](ctx, u.Log.Pool(), `
		SELECT i.workspace_id
		FROM blueprint_upgrade_items i JOIN workspaces w ON w.id = i.workspace_id
		WHERE i.upgrade_id = $1 AND i.state = 'UNDER_WAY'
		  AND (w.terminated_at IS NOT NULL OR w.migration IS NULL OR w.migration ->> 'upgrade' IS DISTINCT FROM $1)`, up.ID)
	if err != nil {
		return 0, err
	}
	for _, o := range over {
		if err := u.item(ctx, up, o.WorkspaceID, ItemUnderWay, u.conclude); err != nil {
			return 0, err
		}
	}
	next, idle, err := u.advance(ctx, up)
	if err != nil {
		return 0, err
	}
	if idle {
		return never, nil
	}
	for _, ws := range next {
		if err := u.item(ctx, up, ws, ItemWaiting, u.begin); err != nil {
			return 0, err
		}
	}
	if len(next) > 0 {
		return 0, nil // settings are changed at once, and there may be more
	}
	return u.Fleet.times().least, nil
}

// advance decides on the upgrade as a whole: it pauses or ends it, or says which items may begin now, or that nothing will
// happen until somebody resumes it.
func (u *Upgrader) advance(ctx context.Context, up *Upgrade) (next []id.WorkSpace, idle bool, err error) {
	in := audit.Intent{Action: "blueprint.upgrade_step", ResourceType: "blueprint", ResourceID: string(up.BlueprintID)}
	err = u.Log.Change(ctx, in, func(tx *audit.Tx) error {
		next, idle = nil, false
		is, err := u.held(ctx, tx, up)
		if err != nil {
			return err
		}
		tallies, err := UpgradeProgress(ctx, tx, is.ID)
		if err != nil {
			return err
		}
		p := is.plan(tallies)
		switch {
		case p.pause != "":
			is.State, is.Reason = UpgradePaused, p.pause
		case p.done:
			is.State, is.FinishedAt, is.NextDueAt = UpgradeDone, &tx.Now, nil
		case is.State != UpgradeRunning:
			idle = p.idle
			return audit.ErrNothing
		default:
			found, err := postgres.Many[struct{ WorkspaceID id.WorkSpace }](ctx, tx, `
				SELECT workspace_id
				FROM blueprint_upgrade_items
				WHERE upgrade_id = $1 AND state = 'WAITING' AND batch = $2 AND try_at <= $3
				ORDER BY position
				LIMIT $4`, is.ID, p.batch, tx.Now, p.room)
			if err != nil {
				return err
			}
			for _, f := range found {
				next = append(next, f.WorkspaceID)
			}
			return audit.ErrNothing
		}
		details := map[string]any{"upgrade": string(is.ID), "state": string(is.State), "reason": is.Reason}
		tx.Record(audit.Event{Action: in.Action, ResourceType: in.ResourceType, ResourceID: in.ResourceID, Details: details})
		if err := is.save(ctx, tx); err != nil {
			return err
		}
		up.UpdatedAt = is.UpdatedAt
		if !id.Is[id.User](is.CreatedBy) {
			return nil
		}
		return notify.Enqueue(ctx, tx, notify.Message{
			Key: "blueprint.upgrade:" + string(is.ID) + ":" + tx.Now.Format(time.RFC3339Nano), Kind: "blueprint.upgrade", User: id.User(is.CreatedBy), Payload: details,
		})
	})
	return next, idle, ignoreNothing(err)
}

// held is the upgrade as it is now, locked, if the lease is still held.
func (u *Upgrader) held(ctx context.Context, tx *audit.Tx, up *Upgrade) (*Upgrade, error) {
	is, err := lockUpgrade(ctx, tx, up.ID)
	if err != nil {
		return nil, err
	}
	if is.LeaseToken == nil || *is.LeaseToken != *up.LeaseToken {
		return nil, errLost
	}
	up.UpdatedAt = is.UpdatedAt
	return is, nil
}

// upgradePlan is what an upgrade does next.
type upgradePlan struct {
	pause string // it is paused, for this reason
	done  bool
	idle  bool // nothing until somebody resumes it
	batch int  // this batch goes on,
	room  int  // with so many more
}

// plan says what is to be done next, given what there is of each batch.
func (u *Upgrade) plan(tallies []BatchTally) upgradePlan {
	p := upgradePlan{batch: -1, room: u.BatchSize}
	underWay := 0
	for _, t := range tallies {
		allowed, name := u.BatchFailures, fmt.Sprintf("batch %d", t.Batch)
		if t.Batch == 0 {
			allowed, name = u.CanaryFailures, "the canary"
		}
		switch t.State {
		case ItemWaiting, ItemUnderWay:
			if p.batch < 0 {
				p.batch = t.Batch
			}
			if t.State == ItemUnderWay {
				underWay += t.Count
			}
		case ItemFailed:
			if t.Counted > allowed && p.pause == "" {
				p.pause = fmt.Sprintf("%d of %s failed, and %d may", t.Counted, name, allowed)
			}
		case ItemDone, ItemSkipped:
		}
	}
	if u.State != UpgradeRunning {
		return upgradePlan{idle: underWay == 0}
	}
	p.room -= underWay
	p.done = p.batch < 0 && p.pause == ""
	return p
}

// item brings one item further, in one change with its WorkSpace.
func (u *Upgrader) item(ctx context.Context, up *Upgrade, ws id.WorkSpace, in ItemState, fn func(context.Context, *audit.Tx, *Upgrade, *UpgradeItem, *WorkSpace) error) error {
	intent := audit.Intent{Action: "blueprint.upgrade_item", ResourceType: "workspace", ResourceID: string(ws)}
	var waits *UpgradeItem // it could not begin now
	err := u.Log.Change(ctx, intent, func(tx *audit.Tx) error {
		waits = nil
		is, err := u.held(ctx, tx, up)
		if err != nil {
			return err
		}
		if is.State != UpgradeRunning && in == ItemWaiting {
			return audit.ErrNothing
		}
		w, err := get(ctx, tx, ws, "FOR UPDATE")
		if err != nil {
			return err
		}
		i, err := postgres.One[UpgradeItem](ctx, tx, `SELECT`+itemColumns+` FROM blueprint_upgrade_items WHERE upgrade_id = $1 AND workspace_id = $2 FOR UPDATE`, is.ID, ws)
		if err != nil {
			return err
		}
		if i.State != in {
			return audit.ErrNothing
		}
		if err := fn(ctx, tx, is, &i, w); err != nil {
			return err
		}
		if i.State == ItemWaiting && in == ItemWaiting {
			waits = &i
			return audit.ErrNothing
		}
		if i.State == ItemDone || i.State == ItemFailed || i.State == ItemSkipped {
			i.FinishedAt = &tx.Now
		}
		tx.Record(audit.Event{Action: intent.Action, ResourceType: "workspace", ResourceID: string(ws), Details: map[string]any{
			"upgrade": string(is.ID), "state": string(i.State), "from_version": string(i.FromVersionID), "to_version": string(is.VersionID), "code": i.Code, "message": i.Message,
		}})
		_, err = tx.Exec(ctx, `
			UPDATE blueprint_upgrade_items
			SET state = $3, code = $4, message = $5, attempts = $6, try_at = $7, first_tried_at = $8, begun_at = $9, finished_at = $10
			WHERE upgrade_id = $1 AND workspace_id = $2`, is.ID, ws, i.State, i.Code, i.Message, i.Attempts, tx.Now.Add(u.Fleet.times().most), i.FirstTriedAt, i.BegunAt, i.FinishedAt)
		return err
	})
	if !errors.Is(err, audit.ErrNothing) || waits == nil {
		return ignoreNothing(err)
	}
	_, err = u.Log.Pool().Exec(ctx, `
		UPDATE blueprint_upgrade_items
		SET try_at = $3, first_tried_at = $4, code = $5, message = $6
		WHERE upgrade_id = $1 AND workspace_id = $2 AND state = 'WAITING'`, up.ID, ws, u.Clock().Add(u.Fleet.times().most), waits.FirstTriedAt, waits.Code, waits.Message)
	return err
}

func ignoreNothing(err error) error {
	if errors.Is(err, audit.ErrNothing) {
		return nil
	}
	return err
}

// begin brings a WorkSpace to the target: at once where only settings differ, otherwise by a migration, which it asks for. A
// refusal leaves it as it is; where waiting may help, it is tried again for as long as Amazon's longest transitions take.
func (u *Upgrader) begin(ctx context.Context, tx *audit.Tx, up *Upgrade, i *UpgradeItem, w *WorkSpace) error {
	if i.FirstTriedAt == nil {
		i.FirstTriedAt = &tx.Now
	}
	migrates, err := u.Fleet.upgrade(ctx, tx, up, w)
	var no *fault.Fault
	switch {
	case err == nil && migrates:
		i.State, i.BegunAt, i.Code, i.Message = ItemUnderWay, &tx.Now, "", ""
		i.Attempts++
	case err == nil:
		i.State, i.BegunAt, i.Code, i.Message = ItemDone, &tx.Now, "", ""
	case errors.Is(err, errThere):
		i.State, i.Code, i.Message = ItemSkipped, codeThere, "it is on that version already"
	case !errors.As(err, &no):
		return err
	default:
		i.State, i.Code, i.Message = ItemSkipped, no.Code, no.Message
		waits := errors.Is(err, ErrState) && !w.State.Ended() && w.Desired != WantTerminated || errors.Is(err, ErrBusy)
		if waits && tx.Now.Sub(*i.FirstTriedAt) < u.Fleet.times().stuckBig {
			i.State = ItemWaiting
		}
	}
	return nil
}

// conclude says what has become of a migration that an item asked for.
func (u *Upgrader) conclude(_ context.Context, _ *audit.Tx, up *Upgrade, i *UpgradeItem, w *WorkSpace) error {
	switch {
	case w.Migration != nil && w.Migration.Upgrade == up.ID && w.TerminatedAt == nil:
		return audit.ErrNothing
	case w.TerminatedAt != nil:
		i.State, i.Code, i.Message = ItemSkipped, codeEnded, "it ended meanwhile"
	case w.BlueprintVersionID == up.VersionID:
		i.State = ItemDone
	case w.ErrorCode != "":
		i.State, i.Code, i.Message = ItemFailed, w.ErrorCode, w.ErrorMessage
	case i.Attempts < maxAttempts:
		i.State, i.Code, i.Message = ItemWaiting, codeSuperseded, "something else was asked for before Amazon could be"
	default:
		i.State, i.Code, i.Message = ItemSkipped, codeSuperseded, "something else was asked for each time before Amazon could be"
	}
	return nil
}

// upgrade brings one WorkSpace to the version, or asks for the migration that does.
func (f *Fleet) upgrade(ctx context.Context, tx *audit.Tx, up *Upgrade, w *WorkSpace) (migrates bool, err error) {
	switch {
	case w.State.Ended() || w.Desired == WantTerminated:
		return false, ErrState.Sayf("it has ended, or is about to")
	case w.BlueprintVersionID == up.VersionID:
		return false, errThere
	}
	is, err := blueprint.DefinitionOf(ctx, tx, w.BlueprintVersionID)
	if err != nil {
		return false, err
	}
	to, err := blueprint.DefinitionOf(ctx, tx, up.VersionID)
	if err != nil {
		return false, err
	}
	owner, err := people.FindUser(ctx, tx, string(w.UserID))
	if err != nil {
		return false, err
	}
	s, err := w.towards(up.VersionID, is, to, owner.Role)
	if err != nil {
		return false, err
	}
	if m := s.to; s.lost {
		if !up.Confirmed {
			return false, ErrConfirm.Sayf("it would have to be migrated, which was not so when the upgrade was asked for")
		}
		if err := w.mayMigrate(f.times(), is, to, tx.Now); err != nil {
			return false, err
		}
		m.Upgrade = up.ID
		return true, f.migrate(ctx, tx, w, m, "upgrade", map[string]any{"upgrade": string(up.ID)})
	}
	if err := w.allow(OpUpdate); err != nil {
		return false, err
	}
	then := s.then
	then.BlueprintVersionID, then.NextDueAt = up.VersionID, &tx.Now
	if err := f.reserve(ctx, tx, &then); err != nil {
		return false, err
	}
	details := map[string]any{"upgrade": string(up.ID), "from_version": string(w.BlueprintVersionID), "to_version": string(up.VersionID)}
	maps.Copy(details, s.changed)
	f.poke(tx)
	return false, save(ctx, tx, &then, then.State, "upgrade", "upgrade", details)
}

// errThere says that there is nothing to do.
var errThere = errors.New("workspace: it is on that version already")
