package workspace

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
)

// What can go wrong with an upgrade.
var (
	ErrNoUpgrade = fault.New(fault.NotFound, "UPGRADE_NOT_FOUND", "there is no such upgrade, or it is not of your team's blueprint",
		fault.Suggest("list them with `forge blueprint upgrades`"))
	ErrUpgradeOpen = fault.New(fault.Conflict, "UPGRADE_IN_PROGRESS", "an upgrade of that blueprint is running or paused",
		fault.Suggest("wait until it is done, or abort it first"))
	ErrUpgradeState = fault.New(fault.Conflict, "UPGRADE_STATE_CONFLICT", "the upgrade's state does not allow that")
	ErrUpgrade      = fault.New(fault.Invalid, "UPGRADE_INVALID", "an upgrade's canary is 1 to 100 percent, a batch 1 to 25 WorkSpaces, and failures are not negative")
	ErrUpgradeSize  = fault.New(fault.Invalid, "UPGRADE_TOO_LARGE", "an upgrade has at most 20000 WorkSpaces", fault.Suggest("name the versions to upgrade from"))
)

// UpgradeState is where an upgrade is.
type UpgradeState string

// The states of an upgrade. One that is paused or aborted begins nothing, and what it has begun goes on to its end.
//
//	RUNNING ──► DONE
//	  │ ▲ ▲
//	  │ │ └─ resume ── ABORTED ◄── abort, from RUNNING and PAUSED
//	  ▼ └─── resume
//	PAUSED: somebody said so, or a batch had more failures than it may
const (
	UpgradeRunning UpgradeState = "RUNNING"
	UpgradePaused  UpgradeState = "PAUSED"
	UpgradeAborted UpgradeState = "ABORTED"
	UpgradeDone    UpgradeState = "DONE"
)

// ItemState is where one WorkSpace of an upgrade is.
type ItemState string

// The states of an item.
const (
	ItemWaiting  ItemState = "WAITING"
	ItemUnderWay ItemState = "UNDER_WAY"
	ItemDone     ItemState = "DONE"
	ItemFailed   ItemState = "FAILED"
	ItemSkipped  ItemState = "SKIPPED" // it was left as it is, and Code says why
)

// Upgrade brings the live WorkSpaces of a blueprint to one of its versions, a canary first and then batch after batch.
type Upgrade struct {
	ID             id.Upgrade
	BlueprintID    id.Blueprint
	VersionID      id.BlueprintVersion
	State          UpgradeState
	Reason         string // why it is paused
	CanaryPercent  int
	BatchSize      int
	CanaryFailures int // so many pause it no sooner than one more
	BatchFailures  int
	Confirmed      bool // what migrations lose was confirmed
	CreatedBy      string
	CreatedAt      time.Time
	UpdatedAt      time.Time
	ResumedAt      time.Time // failures of before are not counted any more
	FinishedAt     *time.Time
	NextDueAt      *time.Time
	LeaseToken     *string
}

const upgradeColumns = `
	id, blueprint_id, version_id, state, reason, canary_percent, batch_size, canary_failures, batch_failures, confirmed, created_by,
	created_at, updated_at, resumed_at, finished_at, next_due_at, lease_token`

// UpgradeItem is one WorkSpace of an upgrade.
type UpgradeItem struct {
	WorkspaceID   id.WorkSpace
	Position      int
	Batch         int // 0 is the canary
	FromVersionID id.BlueprintVersion
	Migrates      bool
	State         ItemState
	Code          string
	Message       string
	Attempts      int
	FirstTriedAt  *time.Time
	BegunAt       *time.Time
	FinishedAt    *time.Time
}

const itemColumns = `
	workspace_id, position, batch, from_version_id, migrates, state, code, message, attempts, first_tried_at, begun_at, finished_at`

// UpgradeRequest asks for an upgrade.
type UpgradeRequest struct {
	Blueprint      string // by id or reference
	To             int    // the version; 0: the active one
	From           []int  // only from these versions; empty: from any other
	CanaryPercent  int    // 0: 10
	BatchSize      int    // 0: 10
	CanaryFailures int
	BatchFailures  int
	Confirm        Confirmation // the blueprint's name or id, where data is lost
}

// maxUpgrade bounds the WorkSpaces of an upgrade.
const maxUpgrade = 20_000

// Upgrade begins an upgrade. It changes nothing by itself: what is due is brought further afterwards. Which WorkSpaces are the
// canary follows from the target and them, so that asking again for what was undone chooses the same. Where WorkSpaces
// must be migrated, the loss must be confirmed with the blueprint's name.
func (f *Fleet) Upgrade(ctx context.Context, tx *audit.Tx, r UpgradeRequest) (*Upgrade, error) {
	b, err := blueprint.Find(ctx, tx, tx.Actor, r.Blueprint)
	if err != nil {
		return nil, err
	}
	if err := mayUpgrade(tx.Actor, b); err != nil {
		return nil, err
	}
	target, err := blueprint.Target(ctx, tx, b, r.To)
	if err != nil {
		return nil, err
	}
	numbers, err := blueprint.Numbers(ctx, tx, b.ID)
	if err != nil {
		return nil, err
	}
	from, err := r.versions(b, target.ID, numbers)
	if err != nil {
		return nil, err
	}
	u := &Upgrade{
		ID: id.New[id.Upgrade](), BlueprintID: b.ID, VersionID: target.ID, State: UpgradeRunning, CanaryPercent: cmp.Or(r.CanaryPercent, 10), BatchSize: cmp.Or(r.BatchSize, 10),
		CanaryFailures: r.CanaryFailures, BatchFailures: r.BatchFailures, CreatedBy: tx.Actor.ID(), CreatedAt: tx.Now, UpdatedAt: tx.Now, ResumedAt: tx.Now, NextDueAt: &tx.Now,
	}
	if u.CanaryPercent < 1 || u.CanaryPercent > 100 || u.BatchSize < 1 || u.BatchSize > 25 || u.CanaryFailures < 0 || u.BatchFailures < 0 || u.CanaryFailures > maxUpgrade || u.BatchFailures > maxUpgrade {
		return nil, ErrUpgrade
	}
	items, err := u.items(ctx, tx, from)
	if err != nil {
		return nil, err
	}
	migrations := 0
	for i := range items {
		if items[i].Migrates {
			migrations++
		}
	}
	if migrations > 0 {
		if c := string(r.Confirm); c != b.Name && c != b.Ref() && c != string(b.ID) {
			return nil, ErrConfirm.Sayf("%d of %d WorkSpaces would be migrated: for each of them %s", migrations, len(items), lostByMigration).
				Suggestf("confirm with the blueprint's name, %s", b.Name).Detail("lost", lostByMigration).Detail("migrations", migrations).Detail("workspaces", len(items))
		}
		u.Confirmed = true
	}
	if err := u.insert(ctx, tx, items); err != nil {
		return nil, err
	}
	tx.Record(audit.Event{Action: string(policy.BlueprintUpgrade), ResourceType: "blueprint", ResourceID: string(b.ID), Details: map[string]any{
		"upgrade": string(u.ID), "to_version": string(u.VersionID), "workspaces": len(items), "migrations": migrations,
		"canary_percent": u.CanaryPercent, "batch_size": u.BatchSize, "canary_failures": u.CanaryFailures, "batch_failures": u.BatchFailures,
	}})
	return u, nil
}

// mayUpgrade refuses who may not: an upgrade is for the leads of its team, and of a public blueprint for admins.
func mayUpgrade(a actor.Actor, b blueprint.Blueprint) error {
	var team id.Team
	if b.TeamID != nil {
		team = *b.TeamID
	}
	return policy.Require(a, policy.BlueprintUpgrade, "", team)
}

// versions are those to upgrade from.
func (r UpgradeRequest) versions(b blueprint.Blueprint, target id.BlueprintVersion, numbers map[int]id.BlueprintVersion) ([]id.BlueprintVersion, error) {
	chosen := r.From
	if len(chosen) == 0 {
		chosen = slices.Collect(maps.Keys(numbers))
	}
	var from []id.BlueprintVersion
	for _, n := range chosen {
		v, ok := numbers[n]
		if !ok {
			return nil, blueprint.ErrNotFound.Sayf("%s has no version %d", b.Ref(), n)
		}
		if v != target {
			from = append(from, v)
		}
	}
	return from, nil
}

// items are the live WorkSpaces of some versions, those of the canary first.
func (u *Upgrade) items(ctx context.Context, tx *audit.Tx, from []id.BlueprintVersion) ([]UpgradeItem, error) {
	rows, err := postgres.Many[WorkSpace](ctx, tx, `
		SELECT`+columns+`
		FROM workspaces
		WHERE terminated_at IS NULL AND desired <> 'TERMINATED' AND blueprint_version_id = ANY($1)
		LIMIT $2`, from, maxUpgrade+1)
	if err != nil {
		return nil, err
	}
	if len(rows) > maxUpgrade {
		return nil, ErrUpgradeSize
	}
	to, err := blueprint.DefinitionOf(ctx, tx, u.VersionID)
	if err != nil {
		return nil, err
	}
	definitions := map[id.BlueprintVersion]blueprint.Definition{}
	items := make([]UpgradeItem, len(rows))
	for i := range rows {
		w := &rows[i]
		is, known := definitions[w.BlueprintVersionID]
		if !known {
			if is, err = blueprint.DefinitionOf(ctx, tx, w.BlueprintVersionID); err != nil {
				return nil, err
			}
			definitions[w.BlueprintVersionID] = is
		}
		items[i] = UpgradeItem{WorkspaceID: w.ID, FromVersionID: w.BlueprintVersionID, Migrates: w.lost(w.migrationTo(u.VersionID, to), is, to), State: ItemWaiting}
	}
	u.order(items)
	return items, nil
}

// order puts the items into an order that follows from the target and them, and into batches: the canary has at least one.
func (u *Upgrade) order(items []UpgradeItem) {
	digest := func(i UpgradeItem) string {
		sum := sha256.Sum256([]byte(string(u.VersionID) + "\n" + string(i.WorkspaceID)))
		return hex.EncodeToString(sum[:])
	}
	slices.SortFunc(items, func(a, b UpgradeItem) int { return cmp.Compare(digest(a), digest(b)) })
	canary := (len(items)*u.CanaryPercent + 99) / 100
	for i := range items {
		items[i].Position = i
		if i >= canary {
			items[i].Batch = 1 + (i-canary)/u.BatchSize
		}
	}
}

func (u *Upgrade) insert(ctx context.Context, tx *audit.Tx, items []UpgradeItem) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO blueprint_upgrades (id, blueprint_id, version_id, state, canary_percent, batch_size, canary_failures, batch_failures, confirmed,
		                                created_by, created_at, updated_at, resumed_at, next_due_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $11, $11)`,
		u.ID, u.BlueprintID, u.VersionID, u.State, u.CanaryPercent, u.BatchSize, u.CanaryFailures, u.BatchFailures, u.Confirmed, u.CreatedBy, u.CreatedAt)
	if postgres.Violates(err, "blueprint_upgrades_open_uq") {
		return ErrUpgradeOpen
	}
	if err != nil {
		return err
	}
	var ids, froms []string
	var positions, batches []int
	var migrates []bool
	for _, i := range items {
		ids, froms = append(ids, string(i.WorkspaceID)), append(froms, string(i.FromVersionID))
		positions, batches, migrates = append(positions, i.Position), append(batches, i.Batch), append(migrates, i.Migrates)
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO blueprint_upgrade_items (upgrade_id, workspace_id, from_version_id, position, batch, migrates, state, try_at)
		SELECT $1, i.workspace_id, i.from_version_id, i.position, i.batch, i.migrates, 'WAITING', $7
		FROM unnest($2::text[], $3::text[], $4::integer[], $5::integer[], $6::boolean[]) AS i (workspace_id, from_version_id, position, batch, migrates)`,
		u.ID, ids, froms, positions, batches, migrates, u.CreatedAt)
	return err
}

// PauseUpgrade keeps an upgrade from beginning anything until it is resumed.
func (f *Fleet) PauseUpgrade(ctx context.Context, tx *audit.Tx, upgrade id.Upgrade) (*Upgrade, error) {
	return steer(ctx, tx, upgrade, "pause", func(u *Upgrade) error {
		switch u.State {
		case UpgradeRunning:
			u.State, u.Reason = UpgradePaused, "somebody paused it"
		case UpgradePaused:
		case UpgradeAborted, UpgradeDone:
			return ErrUpgradeState.Sayf("it is %s", u.State)
		}
		return nil
	})
}

// AbortUpgrade ends an upgrade as far as it has not begun. It can be resumed.
func (f *Fleet) AbortUpgrade(ctx context.Context, tx *audit.Tx, upgrade id.Upgrade) (*Upgrade, error) {
	return steer(ctx, tx, upgrade, "abort", func(u *Upgrade) error {
		switch u.State {
		case UpgradeRunning, UpgradePaused:
			u.State, u.Reason = UpgradeAborted, "somebody aborted it"
		case UpgradeAborted:
		case UpgradeDone:
			return ErrUpgradeState.Sayf("it is done")
		}
		return nil
	})
}

// ResumeUpgrade lets an upgrade that is paused or aborted go on. What failed stays so and is not counted against a batch any
// more; with retry what failed or was skipped is taken once more, of one that is done, too.
func (f *Fleet) ResumeUpgrade(ctx context.Context, tx *audit.Tx, upgrade id.Upgrade, retry bool) (*Upgrade, error) {
	u, err := steer(ctx, tx, upgrade, "resume", func(u *Upgrade) error {
		if u.State == UpgradeDone && !retry {
			return ErrUpgradeState.Sayf("it is done").Suggestf("say that what failed or was skipped is to be taken once more")
		}
		if u.State != UpgradeRunning {
			u.State, u.Reason, u.ResumedAt, u.FinishedAt = UpgradeRunning, "", tx.Now, nil
		}
		return nil
	})
	if err != nil || !retry {
		return u, err
	}
	_, err = tx.Exec(ctx, `
		UPDATE blueprint_upgrade_items
		SET state = 'WAITING', code = '', message = '', attempts = 0, try_at = $2, first_tried_at = NULL, begun_at = NULL, finished_at = NULL
		WHERE upgrade_id = $1 AND state IN ('FAILED', 'SKIPPED')`, u.ID, tx.Now)
	return u, err
}

// steer changes the state of an upgrade that the actor may steer. Asking for what is so already succeeds.
func steer(ctx context.Context, tx *audit.Tx, upgrade id.Upgrade, kind string, change func(*Upgrade) error) (*Upgrade, error) {
	u, err := lockUpgrade(ctx, tx, upgrade)
	if err != nil {
		return nil, err
	}
	b, err := blueprint.Find(ctx, tx, tx.Actor, string(u.BlueprintID))
	if errors.Is(err, blueprint.ErrNotFound) {
		return nil, ErrNoUpgrade
	}
	if err != nil {
		return nil, err
	}
	if err := mayUpgrade(tx.Actor, b); err != nil {
		return nil, err
	}
	before := u.State
	if err := change(u); err != nil {
		return nil, err
	}
	u.NextDueAt = &tx.Now
	if err := u.save(ctx, tx); err != nil {
		return nil, err
	}
	tx.Record(audit.Event{Action: "blueprint.upgrade_" + kind, ResourceType: "blueprint", ResourceID: string(u.BlueprintID), Details: map[string]any{
		"upgrade": string(u.ID), "from_state": string(before), "to_state": string(u.State),
	}})
	return u, nil
}

func lockUpgrade(ctx context.Context, tx *audit.Tx, upgrade id.Upgrade) (*Upgrade, error) {
	u, err := postgres.One[Upgrade](ctx, tx, `SELECT`+upgradeColumns+` FROM blueprint_upgrades WHERE id = $1 FOR UPDATE`, upgrade)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNoUpgrade
	}
	return &u, err
}

// save writes an upgrade whose state has changed. The row must be locked.
func (u *Upgrade) save(ctx context.Context, tx *audit.Tx) error {
	u.UpdatedAt = tx.Now
	_, err := tx.Exec(ctx, `
		UPDATE blueprint_upgrades
		SET state = $2, reason = $3, updated_at = $4, resumed_at = $5, finished_at = $6, next_due_at = $7
		WHERE id = $1`, u.ID, u.State, u.Reason, u.UpdatedAt, u.ResumedAt, u.FinishedAt, u.NextDueAt)
	if postgres.Violates(err, "blueprint_upgrades_open_uq") {
		return ErrUpgradeOpen
	}
	return err
}

// GetUpgrade is an upgrade that the actor may see, as they may its blueprint.
func GetUpgrade(ctx context.Context, q postgres.Querier, a actor.Actor, upgrade id.Upgrade) (*Upgrade, error) {
	u, err := postgres.One[Upgrade](ctx, q, `SELECT`+upgradeColumns+` FROM blueprint_upgrades WHERE id = $1`, upgrade)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNoUpgrade
	}
	if err != nil {
		return nil, err
	}
	b, err := blueprint.Find(ctx, q, a, string(u.BlueprintID))
	if errors.Is(err, blueprint.ErrNotFound) {
		return nil, ErrNoUpgrade
	}
	if err != nil {
		return nil, err
	}
	return &u, mayUpgrade(a, b)
}

// Upgrades lists the upgrades of a blueprint, the newest first, behind one.
func Upgrades(ctx context.Context, q postgres.Querier, a actor.Actor, ref, after string, limit int) ([]Upgrade, error) {
	b, err := blueprint.Find(ctx, q, a, ref)
	if err != nil {
		return nil, err
	}
	if err := mayUpgrade(a, b); err != nil {
		return nil, err
	}
	return postgres.Many[Upgrade](ctx, q, `
		SELECT`+upgradeColumns+`
		FROM blueprint_upgrades
		WHERE blueprint_id = $1 AND ($2 = '' OR id < $2)
		ORDER BY id DESC
		LIMIT $3`, b.ID, after, limit)
}

// UpgradeItems lists the WorkSpaces of an upgrade in their order, behind a position.
func UpgradeItems(ctx context.Context, q postgres.Querier, upgrade id.Upgrade, after, limit int) ([]UpgradeItem, error) {
	return postgres.Many[UpgradeItem](ctx, q, `
		SELECT`+itemColumns+`
		FROM blueprint_upgrade_items
		WHERE upgrade_id = $1 AND position > $2
		ORDER BY position
		LIMIT $3`, upgrade, after, limit)
}

// BatchTally is how many items of a batch are in a state.
type BatchTally struct {
	Batch   int
	State   ItemState
	Count   int
	Counted int // of those that failed, the ones since the upgrade was last resumed
}

// UpgradeProgress counts the items of an upgrade by batch and state.
func UpgradeProgress(ctx context.Context, q postgres.Querier, upgrade id.Upgrade) ([]BatchTally, error) {
	return postgres.Many[BatchTally](ctx, q, `
		SELECT i.batch, i.state, count(*) AS count, count(*) FILTER (WHERE i.finished_at > u.resumed_at) AS counted
		FROM blueprint_upgrade_items i JOIN blueprint_upgrades u ON u.id = i.upgrade_id
		WHERE i.upgrade_id = $1
		GROUP BY i.batch, i.state
		ORDER BY i.batch, i.state`, upgrade)
}
