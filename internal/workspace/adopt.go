package workspace

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// What keeps a WorkSpace from being adopted.
var (
	ErrNotThere = fault.New(fault.NotFound, "PROVIDER_WORKSPACE_NOT_FOUND", "Amazon has no such WorkSpace in that region", fault.Suggest("`forge drift` lists what Forge does not know"))
	ErrAdopted  = fault.New(fault.Conflict, "WORKSPACE_ADOPTED", "that WorkSpace is Forge's already")
	ErrMarked   = fault.New(fault.Conflict, "WORKSPACE_MARKED", "its tags say that it is somebody else's", fault.Suggest("if they are wrong, remove its tags that begin with forge: and adopt it then"))
	ErrProvider = fault.New(fault.Unavailable, "PROVIDER_UNAVAILABLE", "Amazon cannot be asked at the moment", fault.Suggest("try again in a minute"))
)

// Stranger is a WorkSpace of the provider's that Forge did not make, as it was looked at.
type Stranger struct {
	Region string
	Observation
	Marks Marks
}

// Look looks at a stranger, before it is adopted.
func (f *Fleet) Look(ctx context.Context, region, providerID string) (Stranger, error) {
	if !slices.ContainsFunc(f.Directories, func(d Directory) bool { return d.Region == region }) {
		return Stranger{}, ErrRegion.Sayf("no directory is configured for %q", region).Detail("regions", regionsOf(f.Directories, func(Directory) bool { return true }))
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	found, err := f.Provider.Describe(ctx, region, []string{providerID})
	if err != nil {
		return Stranger{}, unavailable(err)
	}
	o, ok := found[providerID]
	if !ok {
		return Stranger{}, ErrNotThere
	}
	marks, err := f.Provider.Marks(ctx, region, providerID)
	if err != nil {
		return Stranger{}, unavailable(err)
	}
	return Stranger{region, o, marks}, nil
}

// unavailable hides what a provider said behind a fault that may be shown.
func unavailable(err error) error {
	var pe *ProviderError
	if errors.As(err, &pe) && pe.Class == Rejected || errors.As(err, &pe) && pe.Class == Gone {
		return ErrNotThere
	}
	return ErrProvider.Because(err)
}

// Adopt makes a stranger without marks Forge's own, for its directory user. Where that user has asked for a WorkSpace which
// the stranger keeps from being made, it becomes that one; otherwise it becomes a new one from the blueprint. Its cost must
// fit into the budgets, and is counted from now on. Its tags are brought to Amazon afterwards.
func (f *Fleet) Adopt(ctx context.Context, tx *audit.Tx, s Stranger, ref string) (*WorkSpace, error) {
	if err := policy.Require(tx.Actor, policy.WorkspaceAdopt, "", ""); err != nil {
		return nil, err
	}
	if s.Marks.Marked {
		return nil, ErrMarked.Detail("tags", s.Marks.Tags)
	}
	if s.State == "ERROR" {
		return nil, ErrState.Sayf("Amazon has it in ERROR, and Forge would make it anew").Suggestf("restore or rebuild it at Amazon, and adopt it then")
	}
	waiting, err := postgres.One[WorkSpace](ctx, tx, `
		SELECT`+columns+`
		FROM workspaces
		WHERE directory_id = $1 AND directory_user = lower($2) AND terminated_at IS NULL
		FOR UPDATE`, s.DirectoryID, s.User)
	switch {
	case err == nil && waiting.ProviderID != nil:
		return nil, ErrExists.Sayf("%s has the WorkSpace %s in that directory already", s.User, waiting.ID)
	case err == nil:
		w := &waiting
		w.ProviderID, w.AcceptedAt, w.Retag, w.Unclear, w.Asked, w.AskedAt, w.NextDueAt = &s.ProviderID, &tx.Now, true, false, "", nil, &tx.Now
		w.ErrorCode, w.ErrorMessage = "", ""
		before := w.State
		w.State, w.StateSince, w.AvailableAt = Pending, tx.Now, &tx.Now
		f.poke(tx)
		if err := f.owed(ctx, tx, w); err != nil {
			return nil, err
		}
		err := save(ctx, tx, w, before, "adopt", "user", map[string]any{"provider_id": s.ProviderID})
		if postgres.Violates(err, "workspaces_provider_uq") {
			return nil, ErrAdopted
		}
		return w, err
	case !errors.Is(err, pgx.ErrNoRows):
		return nil, err
	}
	return f.adoptNew(ctx, tx, s, ref)
}

func (f *Fleet) adoptNew(ctx context.Context, tx *audit.Tx, s Stranger, ref string) (*WorkSpace, error) {
	owner, err := people.FindUser(ctx, tx, strings.ToLower(s.User))
	if err != nil {
		return nil, err
	}
	b, v, _, err := blueprint.Usable(ctx, tx, ref)
	if err != nil {
		return nil, err
	}
	team, err := people.FindTeam(ctx, tx, string(owner.TeamID))
	if err != nil {
		return nil, err
	}
	w, err := f.plan(Request{Region: s.Region, RunningMode: s.RunningMode, Name: owner.UserName + "-adopted-" + strings.TrimPrefix(s.ProviderID, "ws-")}, b, v.Definition, team.Name)
	if err != nil {
		return nil, err
	}
	w.ID, w.UserID, w.TeamID, w.CostCentre, w.BlueprintVersionID = id.New[id.WorkSpace](), owner.ID, owner.TeamID, team.CostCentre, v.ID
	w.DirectoryID, w.DirectoryUser, w.BundleType = s.DirectoryID, owner.UserName, s.ComputeType
	if w.RunningMode == price.AutoStop && s.AutoStop > 0 {
		w.AutoStopTimeoutMinutes = &s.AutoStop
	}
	w.Desired, w.WishReason, w.State, w.Version = WantAvailable, "user", Pending, 1
	if s.State == "STOPPED" || s.State == "STOPPING" {
		w.Desired = WantStopped
	}
	w.CreatedAt, w.UpdatedAt, w.StateSince, w.NextDueAt, w.AcceptedAt = tx.Now, tx.Now, tx.Now, &tx.Now, &tx.Now
	w.ProviderID, w.Retag, w.AvailableAt, w.RuleDueAt = &s.ProviderID, true, &tx.Now, w.nextRule(tx.Now)
	book, err := cost.BookAt(ctx, tx, tx.Now)
	if err != nil {
		return nil, err
	}
	estimate, err := book.Estimate(w.spec(), tx.Now)
	if err != nil {
		return nil, err
	}
	if err := insert(ctx, tx, w); err != nil {
		return nil, err
	}
	if _, err := f.Budgets.Hold(ctx, tx, w.ID, w.payer(), estimate.FirstFee, estimate.Lease); err != nil {
		return nil, err
	}
	if err := f.owed(ctx, tx, w); err != nil {
		return nil, err
	}
	f.poke(tx)
	return w, record(ctx, tx, w, "", "adopt", "user", map[string]any{
		"provider_id": s.ProviderID, "directory_user": s.User, "blueprint_version_id": string(v.ID), "bundle_type": w.BundleType, "running_mode": w.RunningMode,
		"held_micros": audit.Microdollars(int64(estimate.Hold())),
	})
}

// owed begins a WorkSpace's month. It has run before it was ours, so whatever it is seen in is not taken for a failed creation,
// which would be made anew; its hours begin when it is seen to run.
func (f *Fleet) owed(ctx context.Context, tx *audit.Tx, w *WorkSpace) error {
	if err := f.Meter.Begin(ctx, tx, w.subject()); err != nil {
		return err
	}
	return f.Meter.Pause(ctx, tx, w.ID)
}

// MayAdopt refuses those who may not, before anything is looked at.
func (f *Fleet) MayAdopt(ctx context.Context) error {
	return policy.Require(actor.From(ctx), policy.WorkspaceAdopt, "", "")
}
