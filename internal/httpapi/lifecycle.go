package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/schedule"
	"github.com/robco-forge/forge/internal/workspace"
)

func (s *Server) lifecycleRoutes() {
	const tag = "WorkSpaces"
	route(s, http.MethodPost, "/workspaces/{id}/reboot", "reboot-workspace", "Reboot a running WorkSpace", tag, http.StatusAccepted, s.rebootWorkspace)
	route(s, http.MethodPost, "/workspaces/{id}/rebuild", "rebuild-workspace", "Make the root volume anew; loses data", tag, http.StatusAccepted, s.rebuildWorkspace)
	route(s, http.MethodPost, "/workspaces/{id}/restore", "restore-workspace", "Bring both volumes back to their last snapshots; loses data", tag, http.StatusAccepted, s.restoreWorkspace)
	route(s, http.MethodPost, "/workspaces/{id}/image", "image-workspace", "Make an image of a running WorkSpace", tag, http.StatusAccepted, s.imageWorkspace)
	route(s, http.MethodPost, "/workspaces/{id}/extend", "extend-workspace", "Let it be idle for longer", tag, http.StatusOK, s.extendWorkspace)
	route(s, http.MethodPost, "/workspaces/adopt", "adopt-workspace", "Make a WorkSpace that Forge did not make Forge's own", tag, http.StatusAccepted, s.adoptWorkspace)
}

// operation is a function of the fleet that asks for something of one WorkSpace.
type operation func(context.Context, *audit.Tx, id.WorkSpace, *int64) (*workspace.WorkSpace, error)

// operate asks for something of a WorkSpace, once for a key; request is what the key is for besides.
func (s *Server) operate(ctx context.Context, path WorkspacePath, match IfMatch, key Once, kind string, request any, fn operation) (*Answer[api.Workspace], error) {
	version, err := match.version()
	if err != nil {
		return nil, err
	}
	intent := audit.Intent{Action: "workspace." + kind, ResourceType: "workspace", ResourceID: string(path.ID)}
	return once(ctx, s, key, intent, request, all, func(tx *audit.Tx) (api.Workspace, string, error) {
		w, err := fn(ctx, tx, path.ID, version)
		if err != nil {
			return api.Workspace{}, "", err
		}
		shown, err := s.show(ctx, tx, w)
		if err != nil {
			return api.Workspace{}, "", err
		}
		return shown.Body, shown.ETag, nil
	})
}

func (s *Server) rebootWorkspace(ctx context.Context, in *PowerInput) (*Answer[api.Workspace], error) {
	return s.operate(ctx, in.WorkspacePath, in.IfMatch, in.Once, "reboot", nil, s.fleet.Reboot)
}

func (s *Server) imageWorkspace(ctx context.Context, in *PowerInput) (*Answer[api.Workspace], error) {
	return s.operate(ctx, in.WorkspacePath, in.IfMatch, in.Once, "image", nil, s.fleet.Image)
}

// ConfirmInput asks for something that loses data.
type ConfirmInput struct {
	PowerInput
	Body api.WorkspaceConfirm
}

func (s *Server) rebuildWorkspace(ctx context.Context, in *ConfirmInput) (*Answer[api.Workspace], error) {
	return s.confirmed(ctx, in, "rebuild", s.fleet.Rebuild)
}

func (s *Server) restoreWorkspace(ctx context.Context, in *ConfirmInput) (*Answer[api.Workspace], error) {
	return s.confirmed(ctx, in, "restore", s.fleet.Restore)
}

func (s *Server) confirmed(ctx context.Context, in *ConfirmInput, kind string,
	fn func(context.Context, *audit.Tx, id.WorkSpace, workspace.Confirmation, *int64) (*workspace.WorkSpace, error),
) (*Answer[api.Workspace], error) {
	return s.operate(ctx, in.WorkspacePath, in.IfMatch, in.Once, kind, in.Body, func(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, version *int64) (*workspace.WorkSpace, error) {
		return fn(ctx, tx, ws, workspace.Confirmation(in.Body.Confirm), version)
	})
}

func (s *Server) extendWorkspace(ctx context.Context, in *struct {
	PowerInput
	Body api.WorkspaceExtend
},
) (*Answer[api.Workspace], error) {
	return s.operate(ctx, in.WorkspacePath, in.IfMatch, in.Once, "extend", in.Body, func(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, version *int64) (*workspace.WorkSpace, error) {
		return s.fleet.Extend(ctx, tx, ws, in.Body.Hours, version)
	})
}

func (s *Server) adoptWorkspace(ctx context.Context, in *struct {
	Once
	Body api.WorkspaceAdopt
},
) (*Answer[api.Workspace], error) {
	intent := audit.Intent{Action: "workspace.adopt", ResourceType: "workspace", ResourceID: in.Body.ProviderID}
	if err := s.fleet.MayAdopt(ctx); err != nil {
		return nil, s.audit.NoteRefusal(ctx, intent, err)
	}
	stranger, err := s.fleet.Look(ctx, in.Body.Region, in.Body.ProviderID)
	if err != nil {
		return nil, s.audit.NoteRefusal(ctx, intent, err)
	}
	return once(ctx, s, in.Once, intent, in.Body, all, func(tx *audit.Tx) (api.Workspace, string, error) {
		w, err := s.fleet.Adopt(ctx, tx, stranger, in.Body.Blueprint)
		if err != nil {
			return api.Workspace{}, "", err
		}
		shown, err := s.show(ctx, tx, w)
		if err != nil {
			return api.Workspace{}, "", err
		}
		return shown.Body, shown.ETag, nil
	})
}

func (s *Server) updateWorkspace(ctx context.Context, in *struct {
	WorkspacePath
	IfMatch
	DryRun bool `query:"dry_run" doc:"Answer as if, and change nothing"`
	Body   api.WorkspaceUpdate
},
) (*Answer[api.Workspace], error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	b := in.Body
	patch := workspace.Patch{
		Name: b.Name, Tags: b.Tags, AutoStopTimeoutMinutes: b.AutoStopTimeoutMinutes, MaxLifetimeDays: b.MaxLifetimeDays, KeepAlive: b.KeepAlive,
		Schedule: scheduleOf(b.Schedule), NoSchedule: b.NoSchedule, Project: b.Project, BundleType: b.BundleType, RunningMode: b.RunningMode,
		RootGiB: b.RootVolumeGiB, UserGiB: b.UserVolumeGiB,
	}
	update := func(tx *audit.Tx) (*workspace.WorkSpace, error) {
		return s.fleet.Update(ctx, tx, in.ID, patch, version)
	}
	if !in.DryRun {
		return s.act(ctx, "update", in.ID, update)
	}
	var out *Answer[api.Workspace]
	err = s.audit.Rehearse(ctx, func(tx *audit.Tx) error {
		w, err := update(tx)
		if err != nil {
			return err
		}
		out, err = s.show(ctx, tx, w)
		return err
	})
	return out, err
}

func scheduleOf(s *api.Schedule) *schedule.Schedule {
	if s == nil {
		return nil
	}
	return &schedule.Schedule{Zone: s.Timezone, Entries: mapped(s.Entries, func(e api.ScheduleEntry) schedule.Entry {
		return schedule.Entry{Action: schedule.Action(e.Action), At: e.At, Days: e.Days}
	})}
}

func scheduleView(s *schedule.Schedule) *api.Schedule {
	if s == nil {
		return nil
	}
	return &api.Schedule{Timezone: s.Zone, Entries: mapped(s.Entries, func(e schedule.Entry) api.ScheduleEntry {
		return api.ScheduleEntry{Action: string(e.Action), At: e.At, Days: e.Days}
	})}
}

func upcomingViews(ctx context.Context, q postgres.Querier, w *workspace.WorkSpace, now time.Time) ([]api.Upcoming, error) {
	pauses, err := workspace.ReadPauses(ctx, q, now)
	if err != nil {
		return nil, err
	}
	stops, err := budget.StopAt(ctx, q, []id.WorkSpace{w.ID})
	if err != nil {
		return nil, err
	}
	var stop *time.Time
	if at, ok := stops[w.ID]; ok {
		stop = &at
	}
	return mapped(w.Upcoming(now, stop, pauses), func(u workspace.Upcoming) api.Upcoming {
		return api.Upcoming{Policy: string(u.Policy), Action: u.Action, At: u.At, Why: u.Why, Delay: u.Delay, Paused: u.Paused}
	}), nil
}

func changeView(ctx context.Context, q postgres.Querier, w *workspace.WorkSpace, now time.Time) (*api.WorkspaceChange, error) {
	if w.Change == "" {
		return nil, nil
	}
	c, err := w.ChangeCost(ctx, q, now)
	if err != nil {
		return nil, err
	}
	return &api.WorkspaceChange{
		Property: w.Change, From: w.Property(w.Change), To: w.ChangeTo, AskedAt: w.ChangeAskedAt, BegunAt: w.ChangeBegunAt,
		MonthlyFeeBefore: usd(c.MonthlyBefore), MonthlyFeeAfter: usd(c.MonthlyAfter), HourlyBefore: usd(c.HourlyBefore), HourlyAfter: usd(c.HourlyAfter),
		PostsAtOnce: usd(c.Posts),
	}, nil
}
