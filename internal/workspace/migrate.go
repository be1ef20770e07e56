package workspace

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/policy"
)

// A migration is Amazon's way to another bundle: a second WorkSpace is made for the same user, with the user volume's last
// snapshot, and takes the place of the first. Amazon has no token by which a request for it could be known again and tells
// nobody that one has failed, so it is looked for before anything else is done, and both ids are on the row from when they
// are known until it is known which of the two stays.

// Migration is what a WorkSpace is to become by one.
type Migration struct {
	// Version is the blueprint version whose bundle it is, and From the one before it.
	Version         id.BlueprintVersion `json:"version"`
	From            id.BlueprintVersion `json:"from"`
	BundleType      string              `json:"bundle_type"`
	OperatingSystem string              `json:"operating_system"`
	Image           bool                `json:"image,omitempty"`   // the bundle is not one of Amazon's own
	Upgrade         id.Upgrade          `json:"upgrade,omitempty"` // that asked for it; empty: a person did
}

// maxMigrations is how many Amazon carries out at once in a region (its administration guide, "Migrate a WorkSpace").
const maxMigrations = 25

// What comes of a migration that went wrong.
const (
	codeMigration  = "MIGRATION_FAILED"
	codeSuperseded = "MIGRATION_SUPERSEDED"
	codeNoBundle   = "BUNDLE_NOT_READY"
)

const lostByMigration = "a new WorkSpace takes its place: what is on the root volume (C:) is lost, and the user volume (D:) comes back from its last snapshot, up to 12 hours old"

// Migrate asks for a WorkSpace to be migrated to a version of its blueprint, with a bundle type of that; empty is the one that
// it has. It needs the confirmation. What Amazon changes without a loss is refused with the way to that.
func (f *Fleet) Migrate(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, version, bundleType string, c Confirmation, ifVersion *int64) (*WorkSpace, error) {
	w, err := mine(ctx, tx, ws, policy.WorkspaceUpdate, ifVersion)
	if err != nil {
		return nil, err
	}
	is, err := blueprint.DefinitionOf(ctx, tx, w.BlueprintVersionID)
	if err != nil {
		return nil, err
	}
	to, d := w.BlueprintVersionID, is
	if version != "" {
		b, v, _, err := blueprint.Usable(ctx, tx, version)
		if err != nil {
			return nil, err
		}
		has, _, err := blueprint.Resolve(ctx, tx, tx.Actor, string(w.BlueprintVersionID))
		if err != nil {
			return nil, err
		}
		if has.ID != b.ID {
			return nil, ErrChange.Sayf("it is of the blueprint %s, and can only be brought to another version of that", has.Ref())
		}
		to, d = v.ID, v.Definition
	}
	m := w.migrationTo(to, d)
	if bundleType != "" {
		m.BundleType = bundleType
	}
	if !slices.Contains(d.BundleTypes, m.BundleType) {
		return nil, blueprint.ErrBundle.Sayf("its blueprint does not offer %s", m.BundleType).Detail("bundle_types", d.BundleTypes)
	}
	if err := policy.RequireBundle(tx.Actor, m.BundleType); err != nil {
		return nil, err
	}
	switch {
	case w.Migration != nil && w.Migration.Version == m.Version && w.Migration.BundleType == m.BundleType,
		to == w.BlueprintVersionID && m.BundleType == w.BundleType:
		unchanged(tx, w, string(OpMigrate))
		return w, nil
	case !w.lost(m, is, d):
		return nil, ErrChange.Sayf("nothing of it would have to be migrated").Suggestf("a bundle is changed with `forge update --bundle`, and what else a version says with `forge blueprint upgrade`, without a loss")
	}
	if err := w.mayMigrate(f.times(), is, d, tx.Now); err != nil {
		return nil, err
	}
	if err := c.check(w, lostByMigration); err != nil {
		return nil, err
	}
	return w, f.migrate(ctx, tx, w, m, "user", nil)
}

// migrationTo is what is to be had from a version: the bundle type that it has, as far as the version offers that.
func (w *WorkSpace) migrationTo(version id.BlueprintVersion, d blueprint.Definition) Migration {
	m := Migration{Version: version, From: w.BlueprintVersionID, BundleType: w.BundleType, OperatingSystem: d.OperatingSystem, Image: d.Image != nil}
	if !slices.Contains(d.BundleTypes, m.BundleType) {
		m.BundleType = d.DefaultBundleType
	}
	return m
}

// lost tells whether the way from one definition to another is a migration, with what that loses: not where only settings
// differ, nor where Amazon changes one bundle type into the other. What is captured is captured anew for each version.
func (w *WorkSpace) lost(m Migration, is, to blueprint.Definition) bool {
	if to.Image != nil && to.Image.Golden != nil && m.Version != w.BlueprintVersionID {
		return true
	}
	return m.OperatingSystem != w.OperatingSystem || imageOf(is, w.Region, w.BundleType) != imageOf(to, w.Region, m.BundleType) || m.BundleType != w.BundleType && !sameFamily(w.BundleType, m.BundleType)
}

func sameFamily(a, b string) bool {
	return slices.ContainsFunc(computeFamilies, func(f []string) bool { return slices.Contains(f, a) && slices.Contains(f, b) })
}

// mayMigrate refuses what Amazon's rules, the state, or something that is under way do not allow.
func (w *WorkSpace) mayMigrate(t times, is, to blueprint.Definition, now time.Time) error {
	if err := w.allow(OpMigrate); err != nil {
		return err
	}
	if w.Change != "" || w.Asked != "" && w.Asked != string(modify) {
		return w.busy(string(OpMigrate))
	}
	if is.License != to.License {
		return ErrChange.Sayf("its license is %s, and the version's is %s: Amazon keeps them in different directories", is.License, to.License).Suggestf("launch a new one")
	}
	if w.AcceptedAt != nil {
		if until := w.AcceptedAt.Add(t.mature); until.After(now) {
			return ErrTooSoon.Sayf("Amazon's rule: a WorkSpace can be migrated 12 hours after it was made").Suggestf("ask again after %s", until.UTC().Format("2006-01-02 15:04 MST")).
				Detail("possible_at", until.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// migrate wants a WorkSpace to be migrated, for a reason, and reserves what that costs.
func (f *Fleet) migrate(ctx context.Context, tx *audit.Tx, w *WorkSpace, m Migration, reason string, details map[string]any) error {
	w.askMigration(m, reason, tx.Now)
	if err := f.reserve(ctx, tx, w); err != nil {
		return err
	}
	all := map[string]any{"from_version": string(m.From), "to_version": string(m.Version), "bundle_type": m.BundleType, "operating_system": m.OperatingSystem}
	for k, v := range details {
		all[k] = v
	}
	f.poke(tx)
	return save(ctx, tx, w, w.State, string(OpMigrate), reason, all)
}

func (w *WorkSpace) askMigration(m Migration, reason string, now time.Time) {
	w.askOnce(migrate, now)
	w.Migration, w.WishReason = &m, reason
}

// instead gives back what was reserved for a migration that something else has taken the place of.
func (f *Fleet) instead(ctx context.Context, tx *audit.Tx, w *WorkSpace) error {
	if w.Migration == nil || w.MigrationAskedAt != nil || w.Asked == string(migrate) {
		return nil
	}
	w.Migration = nil
	return errors.Join(f.settleBundle(ctx, tx, w), f.fitHold(ctx, tx, w))
}

// migrating is for one that Amazon has been asked to migrate, until it is known what came of it. Nothing else is asked for
// meanwhile. The source is what has its id; the target is what Amazon makes of it.
func (t times) migrating(w *WorkSpace, l look, now time.Time) decision {
	state, age := w.State, now.Sub(*w.MigrationAskedAt)
	leaving := l.found == nil
	if l.found != nil {
		state = w.follows(l.found)
		leaving = state == Terminating || state == Terminated
	}
	switch {
	case l.target != nil && w.TargetID == nil: // the answer was lost, and this is what it would have told
		return decision{do: note, to: w.State, reason: w.wishedBy(), target: l.target.ProviderID}
	case w.TargetID == nil && !l.confirmed:
		return decision{do: confirm}
	case l.target != nil && leaving && l.target.State != "PENDING":
		return decision{do: note, to: w.follows(l.target), reason: w.wishedBy(), moved: true}
	case l.found != nil && !leaving && state != w.State:
		return decision{do: note, to: state, reason: "provider"}
	case l.target != nil && w.Missed > 0:
		return decision{do: note, to: w.State, reason: w.StateReason}
	case w.Flag == "" && age >= t.stuckBig:
		return decision{do: note, to: w.State, reason: w.StateReason, flag: FlagStuck}
	case l.target != nil, w.TargetID != nil && age < t.young, l.found != nil && (leaving || state == Suspended):
		return decision{after: t.pause(w, now)} // it is on its way
	case l.found != nil && w.TargetID == nil && age < t.settle:
		return decision{after: min(t.settle-age, t.glance)}
	case l.found != nil && w.TargetID == nil:
		// Amazon would show it for most of an hour: it has not begun, and can be asked for again. If it has nevertheless,
		// Amazon refuses that.
		return decision{do: note, to: state, reason: w.StateReason, unsent: true}
	case l.found != nil && age < t.migrated:
		return decision{after: min(t.migrated-age, t.most)}
	}
	return t.unseen(w, l, now)
}

// unseen is for one whose target is not shown any more, or neither of the two. It takes several looks, of both kinds, to
// conclude that it is so.
func (t times) unseen(w *WorkSpace, l look, now time.Time) decision {
	switch {
	case l.doubtful && now.Sub(w.lastSeen()) < t.doubt, w.Missed > 0 && now.Sub(w.UpdatedAt) < t.miss:
		return decision{after: t.miss}
	case w.Missed+1 < maxMissed:
		return decision{do: note, to: w.State, reason: w.StateReason, missed: true}
	case !l.confirmed:
		return decision{do: confirm}
	case l.found == nil:
		return decision{do: note, to: w.ended(), reason: w.goneBecause()}
	}
	return decision{do: note, to: w.follows(l.found), reason: "provider", unmoved: true, code: codeMigration, message: "Amazon has not migrated it within an hour, and does not say why; it is as it was"}
}

// conclude brings what came of a migration onto the row.
func (d decision) conclude(w *WorkSpace, bundleID string, now time.Time) {
	switch {
	case d.target != "":
		w.TargetID = &d.target
	case d.unsent:
		w.MigrationAskedAt = nil
		if w.Asked == string(migrate) {
			w.AskedAt = nil
		}
		return
	case d.moved:
		w.become(*w.Migration, bundleID)
		w.AcceptedAt, w.EnlargedAt, w.ReducedAt, w.GrownAt, w.Retag = w.MigrationAskedAt, nil, nil, nil, true // Amazon's waits begin anew
		w.endMigration()
	case d.unmoved:
		w.endMigration()
	default:
		return
	}
	if w.Asked == string(migrate) {
		w.Asked, w.AskedAt = "", nil
	}
	w.UpdatedAt = now
}

// become is what a migration makes of a WorkSpace, apart from what Amazon shows.
func (w *WorkSpace) become(m Migration, bundleID string) {
	w.BlueprintVersionID, w.OperatingSystem, w.BundleID = m.Version, m.OperatingSystem, nil
	if m.Image {
		w.BundleID = &bundleID
	}
}

func (w *WorkSpace) endMigration() {
	w.Migration, w.MigrationAskedAt, w.TargetID = nil, nil, nil
}

// migrationBegun writes down the target's id as soon as Amazon has told it.
func (r *Reconciler) migrationBegun(ctx context.Context, w *WorkSpace, target string) error {
	now, err := r.change(ctx, w, "migration_begun", func(tx *audit.Tx, is *WorkSpace) error {
		if is.MigrationAskedAt == nil || is.TargetID != nil {
			return audit.ErrNothing
		}
		was := *is
		decision{target: target}.conclude(is, "", tx.Now)
		return save(ctx, tx, is, is.State, "migration_begun", is.wishedBy(), was.migrationDetails(target))
	})
	if errors.Is(err, audit.ErrNothing) {
		now, err = w, nil
	}
	if err != nil {
		return err
	}
	return r.rest(ctx, now, r.times().least)
}

// migrationDetails say, in an event, what is migrated to what.
func (w *WorkSpace) migrationDetails(target string) map[string]any {
	m := w.Migration
	details := map[string]any{
		"source_id": deref(w.ProviderID), "target_id": target, "from_version": string(m.From), "to_version": string(m.Version), "bundle_type": m.BundleType,
	}
	if m.Upgrade != "" {
		details["upgrade"] = string(m.Upgrade)
	}
	return details
}

// alreadyMigrated writes down that Amazon has the WorkSpace on the bundle that it is to be migrated to.
func (r *Reconciler) alreadyMigrated(ctx context.Context, w *WorkSpace, bundleID string) error {
	now, err := r.change(ctx, w, "migrated", func(tx *audit.Tx, is *WorkSpace) error {
		if is.Migration == nil || is.Migration.Version != w.Migration.Version {
			return audit.ErrNothing
		}
		was := *is
		changed, err := r.Fleet.settings(ctx, tx, is, is.Migration.Version)
		if err != nil {
			return err
		}
		is.become(*is.Migration, bundleID)
		is.endMigration()
		if is.Asked == string(migrate) {
			is.Asked, is.AskedAt = "", nil
		}
		if err := r.resold(ctx, tx, &was, is); err != nil {
			return err
		}
		details := was.migrationDetails("")
		details["already"] = true
		maps.Copy(details, changed)
		return save(ctx, tx, is, is.State, "migrated", is.wishedBy(), details)
	})
	if errors.Is(err, audit.ErrNothing) {
		now, err = w, nil
	}
	if err != nil {
		return err
	}
	return r.rest(ctx, now, 0)
}

// askMigrate asks Amazon for a migration. What is known of the bundles is looked up first; that it cannot be does not leave it
// open whether anything was asked for.
func (r *Reconciler) askMigrate(ctx context.Context, w ask) (target string, err error) {
	bundleID, err := r.bundleFor(ctx, w.WorkSpace)
	if err != nil {
		return "", err
	}
	if bundleID == w.bundle {
		return "", errMigrated
	}
	return r.Fleet.Provider.Migrate(ctx, w.Region, *w.ProviderID, bundleID)
}

// errMigrated says that there is nothing to migrate.
var errMigrated = errors.New("workspace: it is of that bundle already")

// bundleFor is the bundle that a WorkSpace is to be migrated to: that of the version's image, or Amazon's public one where it has
// none. One that is still to be made is waited for, and its owner can read what for.
func (r *Reconciler) bundleFor(ctx context.Context, w *WorkSpace) (string, error) {
	m, f := w.Migration, r.Fleet
	if f.Images == nil {
		return f.Provider.PublicBundle(ctx, w.Region, m.BundleType, m.OperatingSystem)
	}
	supply, err := f.Images.Bundle(ctx, r.Log.Pool(), blueprint.Need{Version: m.Version, Region: w.Region, ComputeType: m.BundleType, WorkSpace: w.ID})
	var no *fault.Fault
	switch {
	case errors.As(err, &no):
		return "", &ProviderError{Class: Rejected, Code: no.Code, Message: no.Message, Err: err}
	case err != nil:
		return "", &ProviderError{Class: NotNow, Code: codeNoBundle, Message: "the bundle of the version cannot be read", Err: err}
	case supply.Public:
		return f.Provider.PublicBundle(ctx, w.Region, m.BundleType, m.OperatingSystem)
	case supply.Waiting != nil:
		return "", &ProviderError{Class: Blocked, Code: codeNoBundle, Message: supply.Waiting.Say(r.Clock())}
	}
	return supply.BundleID, nil
}

// settleBundle lets go of the bundles that were kept for a WorkSpace and a migration that is over, but of the one that it has.
func (f *Fleet) settleBundle(ctx context.Context, tx *audit.Tx, w *WorkSpace) error {
	if f.Images == nil {
		return nil
	}
	return f.Images.Settle(ctx, tx, w.ID, deref(w.BundleID))
}
