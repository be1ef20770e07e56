package httpapi

import (
	"context"
	"net/http"
	"strconv"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/workspace"
)

func (s *Server) upgradeRoutes() {
	const tag = "Blueprints"
	route(s, http.MethodPost, "/workspaces/{id}/migrate", "migrate-workspace", "Bring it to another bundle by way of a new WorkSpace; loses data", "WorkSpaces", http.StatusAccepted, s.migrateWorkspace)
	route(s, http.MethodPost, "/blueprints/{id}/upgrades", "create-upgrade", "Upgrade a blueprint's WorkSpaces in batches", tag, http.StatusAccepted, s.createUpgrade)
	route(s, http.MethodGet, "/blueprints/{id}/upgrades", "list-upgrades", "Upgrades of a blueprint's WorkSpaces", tag, http.StatusOK, s.listUpgrades)
	route(s, http.MethodGet, "/upgrades/{id}", "get-upgrade", "An upgrade with its progress and its WorkSpaces", tag, http.StatusOK, s.getUpgrade)
	route(s, http.MethodPost, "/upgrades/{id}/pause", "pause-upgrade", "Begin nothing until it is resumed", tag, http.StatusOK, s.pauseUpgrade)
	route(s, http.MethodPost, "/upgrades/{id}/abort", "abort-upgrade", "Leave what has not begun as it is", tag, http.StatusOK, s.abortUpgrade)
	route(s, http.MethodPost, "/upgrades/{id}/resume", "resume-upgrade", "Let it go on", tag, http.StatusOK, s.resumeUpgrade)
}

func (s *Server) migrateWorkspace(ctx context.Context, in *struct {
	PowerInput
	Body api.WorkspaceMigrate
},
) (*Answer[api.Workspace], error) {
	b := in.Body
	return s.operate(ctx, in.WorkspacePath, in.IfMatch, in.Once, "migrate", b, func(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, version *int64) (*workspace.WorkSpace, error) {
		return s.fleet.Migrate(ctx, tx, ws, b.Blueprint, b.BundleType, workspace.Confirmation(b.Confirm), version)
	})
}

// UpgradedPath is a blueprint, by id or reference.
type UpgradedPath struct {
	ID string `path:"id" maxLength:"130"`
}

// UpgradePath is an upgrade.
type UpgradePath struct {
	ID id.Upgrade `path:"id" maxLength:"64"`
}

func (s *Server) createUpgrade(ctx context.Context, in *struct {
	UpgradedPath
	Once
	DryRun bool `query:"dry_run" doc:"Answer as if, and change nothing"`
	Body   api.UpgradeCreate
},
) (*Answer[api.Upgrade], error) {
	b := in.Body
	r := workspace.UpgradeRequest{
		Blueprint: in.ID, To: b.ToVersion, From: b.FromVersions, CanaryPercent: b.CanaryPercent, BatchSize: b.BatchSize,
		CanaryFailures: b.CanaryFailures, BatchFailures: b.BatchFailures, Confirm: workspace.Confirmation(b.Confirm),
	}
	begin := func(tx *audit.Tx) (v api.Upgrade, err error) {
		u, err := s.fleet.Upgrade(ctx, tx, r)
		if err != nil {
			return v, err
		}
		v, err = s.upgradeView(ctx, tx, u)
		v.DryRun = in.DryRun
		return v, err
	}
	if !in.DryRun {
		intent := audit.Intent{Action: string(policy.BlueprintUpgrade), ResourceType: "blueprint", ResourceID: in.ID}
		return once(ctx, s, in.Once, intent, b, all, func(tx *audit.Tx) (api.Upgrade, string, error) {
			v, err := begin(tx)
			return v, "", err
		})
	}
	out := &Answer[api.Upgrade]{}
	err := s.audit.Rehearse(ctx, func(tx *audit.Tx) (err error) {
		out.Body, err = begin(tx)
		return err
	})
	return out, err
}

func (s *Server) listUpgrades(ctx context.Context, in *struct {
	UpgradedPath
	Page
},
) (*struct{ Body api.UpgradeList }, error) {
	after, err := in.after("upgrades")
	if err != nil {
		return nil, err
	}
	found, err := workspace.Upgrades(ctx, s.audit.Pool(), actor.From(ctx), in.ID, after, in.Limit+1)
	if err != nil {
		return nil, s.audit.NoteRefusal(ctx, audit.Intent{Action: string(policy.BlueprintUpgrade), ResourceType: "blueprint", ResourceID: in.ID}, err)
	}
	found, next := cut(found, in.Limit, "upgrades", func(u workspace.Upgrade) string { return string(u.ID) })
	out := api.UpgradeList{Items: []api.Upgrade{}, NextCursor: next}
	for i := range found {
		v, err := s.upgradeView(ctx, s.audit.Pool(), &found[i])
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, v)
	}
	return &struct{ Body api.UpgradeList }{out}, nil
}

func (s *Server) getUpgrade(ctx context.Context, in *struct {
	UpgradePath
	Page
},
) (*struct{ Body api.Upgrade }, error) {
	after, err := in.after("upgrade-items")
	if err != nil {
		return nil, err
	}
	position := -1
	if after != "" {
		if position, err = strconv.Atoi(after); err != nil {
			return nil, errCursor
		}
	}
	pool := s.audit.Pool()
	u, err := workspace.GetUpgrade(ctx, pool, actor.From(ctx), in.ID)
	if err != nil {
		return nil, s.audit.NoteRefusal(ctx, audit.Intent{Action: string(policy.BlueprintUpgrade), ResourceType: "blueprint", ResourceID: string(in.ID)}, err)
	}
	v, err := s.upgradeView(ctx, pool, u)
	if err != nil {
		return nil, err
	}
	items, err := workspace.UpgradeItems(ctx, pool, u.ID, position, in.Limit+1)
	if err != nil {
		return nil, err
	}
	items, v.NextCursor = cut(items, in.Limit, "upgrade-items", func(i workspace.UpgradeItem) string { return strconv.Itoa(i.Position) })
	v.Items, err = itemViews(ctx, pool, items)
	return &struct{ Body api.Upgrade }{v}, err
}

func itemViews(ctx context.Context, q postgres.Querier, items []workspace.UpgradeItem) ([]api.UpgradeItem, error) {
	refs, err := blueprint.Refs(ctx, q, mapped(items, func(i workspace.UpgradeItem) id.BlueprintVersion { return i.FromVersionID }))
	if err != nil {
		return nil, err
	}
	names, err := workspace.Names(ctx, q, mapped(items, func(i workspace.UpgradeItem) string { return string(i.WorkspaceID) }))
	if err != nil {
		return nil, err
	}
	return mapped(items, func(i workspace.UpgradeItem) api.UpgradeItem {
		return api.UpgradeItem{
			WorkspaceID: string(i.WorkspaceID), WorkspaceName: names[string(i.WorkspaceID)], Batch: i.Batch, From: refs[i.FromVersionID], Migrates: i.Migrates,
			State: string(i.State), Code: i.Code, Message: i.Message, BegunAt: i.BegunAt, FinishedAt: i.FinishedAt,
		}
	}), nil
}

func (s *Server) upgradeView(ctx context.Context, q postgres.Querier, u *workspace.Upgrade) (api.Upgrade, error) {
	refs, err := blueprint.Refs(ctx, q, []id.BlueprintVersion{u.VersionID})
	if err != nil {
		return api.Upgrade{}, err
	}
	tallies, err := workspace.UpgradeProgress(ctx, q, u.ID)
	if err != nil {
		return api.Upgrade{}, err
	}
	v := api.Upgrade{
		ID: string(u.ID), BlueprintID: string(u.BlueprintID), To: refs[u.VersionID], State: string(u.State), Reason: u.Reason, CanaryPercent: u.CanaryPercent, BatchSize: u.BatchSize,
		CanaryFailures: u.CanaryFailures, BatchFailures: u.BatchFailures, CreatedBy: u.CreatedBy, CreatedAt: u.CreatedAt, UpdatedAt: u.UpdatedAt, FinishedAt: u.FinishedAt,
		Progress: []api.UpgradeBatch{},
	}
	for _, t := range tallies {
		if n := len(v.Progress); n == 0 || v.Progress[n-1].Batch != t.Batch {
			v.Progress = append(v.Progress, api.UpgradeBatch{Batch: t.Batch})
		}
		b := &v.Progress[len(v.Progress)-1]
		switch t.State {
		case workspace.ItemWaiting:
			b.Waiting = t.Count
		case workspace.ItemUnderWay:
			b.UnderWay = t.Count
		case workspace.ItemDone:
			b.Done = t.Count
		case workspace.ItemFailed:
			b.Failed = t.Count
		case workspace.ItemSkipped:
			b.Skipped = t.Count
		}
	}
	return v, nil
}

func (s *Server) steerUpgrade(ctx context.Context, kind string, upgrade id.Upgrade, fn func(*audit.Tx) (*workspace.Upgrade, error)) (*struct{ Body api.Upgrade }, error) {
	out := &struct{ Body api.Upgrade }{}
	err := s.audit.Change(ctx, audit.Intent{Action: "blueprint.upgrade_" + kind, ResourceType: "upgrade", ResourceID: string(upgrade)}, func(tx *audit.Tx) error {
		u, err := fn(tx)
		if err != nil {
			return err
		}
		out.Body, err = s.upgradeView(ctx, tx, u)
		return err
	})
	return out, err
}

func (s *Server) pauseUpgrade(ctx context.Context, in *UpgradePath) (*struct{ Body api.Upgrade }, error) {
	return s.steerUpgrade(ctx, "pause", in.ID, func(tx *audit.Tx) (*workspace.Upgrade, error) { return s.fleet.PauseUpgrade(ctx, tx, in.ID) })
}

func (s *Server) abortUpgrade(ctx context.Context, in *UpgradePath) (*struct{ Body api.Upgrade }, error) {
	return s.steerUpgrade(ctx, "abort", in.ID, func(tx *audit.Tx) (*workspace.Upgrade, error) { return s.fleet.AbortUpgrade(ctx, tx, in.ID) })
}

func (s *Server) resumeUpgrade(ctx context.Context, in *struct {
	UpgradePath
	Body api.UpgradeResume
},
) (*struct{ Body api.Upgrade }, error) {
	return s.steerUpgrade(ctx, "resume", in.ID, func(tx *audit.Tx) (*workspace.Upgrade, error) {
		return s.fleet.ResumeUpgrade(ctx, tx, in.ID, in.Body.Retry)
	})
}
