package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/workspace"
)

// WorkspacePath is the address of one WorkSpace.
type WorkspacePath struct {
	ID id.WorkSpace `path:"id" maxLength:"64"`
}

func (s *Server) workspaceRoutes() {
	const tag = "WorkSpaces"
	route(s, http.MethodPost, "/workspaces", "create-workspace", "Ask for a WorkSpace", tag, http.StatusAccepted, s.createWorkspace)
	route(s, http.MethodGet, "/workspaces", "list-workspaces", "List WorkSpaces", tag, http.StatusOK, s.listWorkspaces)
	route(s, http.MethodGet, "/workspaces/{id}", "get-workspace", "Show a WorkSpace", tag, http.StatusOK, s.getWorkspace)
	route(s, http.MethodPatch, "/workspaces/{id}", "update-workspace", "Change a WorkSpace's settings", tag, http.StatusOK, s.updateWorkspace)
	route(s, http.MethodDelete, "/workspaces/{id}", "terminate-workspace", "End a WorkSpace and everything on it", tag, http.StatusAccepted, s.terminateWorkspace)
	route(s, http.MethodPost, "/workspaces/{id}/start", "start-workspace", "Start a stopped WorkSpace", tag, http.StatusAccepted, s.startWorkspace)
	route(s, http.MethodPost, "/workspaces/{id}/stop", "stop-workspace", "Stop an AUTO_STOP WorkSpace", tag, http.StatusAccepted, s.stopWorkspace)
	route(s, http.MethodGet, "/workspaces/{id}/events", "list-workspace-events", "What happened to a WorkSpace", tag, http.StatusOK, s.listEvents)
}

func (s *Server) createWorkspace(ctx context.Context, in *struct {
	Once
	DryRun bool `query:"dry_run" doc:"Answer as if, and change nothing"`
	Body   api.WorkspaceCreate
},
) (*Answer[api.WorkspaceAdmitted], error) {
	b, r := in.Body, requestOf(in.Body)
	admit := func(tx *audit.Tx) (api.WorkspaceAdmitted, string, error) {
		a, err := s.fleet.Request(ctx, tx, r)
		if err != nil {
			return api.WorkspaceAdmitted{}, "", err
		}
		views, err := s.views(ctx, tx, []workspace.WorkSpace{*a.WorkSpace}, tx.Now)
		if err != nil {
			return api.WorkspaceAdmitted{}, "", err
		}
		return api.WorkspaceAdmitted{
			Workspace: views[0], Estimate: estimateView(a.Estimate), Budgets: mapped(a.Effects, effectView), Warnings: a.Warnings, DryRun: in.DryRun,
		}, etag(a.WorkSpace.Version), nil
	}
	if !in.DryRun {
		return once(ctx, s, in.Once, audit.Intent{Action: string(policy.WorkspaceCreate), ResourceType: "workspace"}, b, all, admit)
	}
	out := &Answer[api.WorkspaceAdmitted]{}
	err := s.audit.Rehearse(ctx, func(tx *audit.Tx) (err error) {
		out.Body, _, err = admit(tx)
		return err
	})
	return out, err
}

func requestOf(b api.WorkspaceCreate) workspace.Request {
	return workspace.Request{
		Blueprint: b.Blueprint, BundleType: b.BundleType, OperatingSystem: b.OperatingSystem, ServiceType: b.ServiceType, RunningMode: b.RunningMode,
		Region: b.Region, Project: b.Project, Name: b.Name, Tags: b.Tags, AutoStopTimeoutMinutes: b.AutoStopTimeoutMinutes, MaxLifetimeDays: b.MaxLifetimeDays,
		KeepAlive: b.KeepAlive, Schedule: scheduleOf(b.Schedule), Parameters: b.Parameters,
	}
}

func estimateView(e price.Estimate) api.Estimate {
	return api.Estimate{
		MonthlyFee: usd(e.MonthlyFee), FirstFee: usd(e.FirstFee), Hourly: usd(e.Hourly), Reserved: usd(e.Hold()),
		LeaseHours: e.LeaseHours, BreakEvenMinutes: e.BreakEvenMinutes,
	}
}

func effectView(e budget.Effect) api.BudgetEffect {
	return api.BudgetEffect{
		Scope: string(e.Scope), ScopeID: e.ScopeID, Limit: usd(e.Limit), Settled: usd(e.Settled), Held: usd(e.Held), Available: usd(max(0, e.Available)),
	}
}

func (s *Server) listWorkspaces(ctx context.Context, in *struct {
	Page
	User  string `query:"user" maxLength:"64" doc:"Only this user's, by id or name"`
	State string `query:"state" maxLength:"20" enum:"PENDING,AVAILABLE,STARTING,STOPPING,STOPPED,REBOOTING,REBUILDING,RESTORING,UPDATING,IMPAIRED,MAINTENANCE,SUSPENDED,TERMINATING,TERMINATED,FAILED,CONFLICT"`
	All   bool   `query:"all" doc:"Also those that have ended"`
},
) (*struct{ Body api.WorkspaceList }, error) {
	after, err := in.after("workspaces")
	if err != nil {
		return nil, err
	}
	a, pool := actor.From(ctx), s.audit.Pool()
	f := workspace.Filter{State: workspace.State(in.State), Live: !in.All && in.State == "", After: after, Limit: in.Limit + 1}
	switch policy.ReachOf(a, policy.WorkspaceRead) {
	case policy.Any:
	case policy.Team:
		f.Team = a.Team
	case policy.Own:
		f.User = a.User
	case policy.None:
		return nil, s.refused(ctx, policy.WorkspaceRead)
	}
	if in.User != "" {
		u, err := people.FindUser(ctx, pool, in.User)
		if err != nil {
			return nil, err
		}
		if !policy.Allows(a, policy.WorkspaceRead, u.ID, u.TeamID) {
			return nil, people.ErrUserNotFound
		}
		f.User = u.ID
	}
	found, err := workspace.List(ctx, pool, f)
	if err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "workspaces", func(w workspace.WorkSpace) string { return string(w.ID) })
	views, err := s.views(ctx, pool, found, s.audit.Clock()())
	if err != nil {
		return nil, err
	}
	return &struct{ Body api.WorkspaceList }{api.WorkspaceList{Items: views, NextCursor: next}}, nil
}

// refused records that a whole kind of thing is closed to the actor, and returns the refusal.
func (s *Server) refused(ctx context.Context, action policy.Action) error {
	return s.audit.NoteRefusal(ctx, audit.Intent{Action: string(action), ResourceType: "list"}, policy.Require(actor.From(ctx), action, "", ""))
}

func (s *Server) getWorkspace(ctx context.Context, in *WorkspacePath) (*Answer[api.Workspace], error) {
	w, err := workspace.Get(ctx, s.audit.Pool(), actor.From(ctx), in.ID)
	if errors.Is(err, workspace.ErrNotFound) {
		return nil, s.audit.NoteRefusal(ctx, audit.Intent{Action: string(policy.WorkspaceRead), ResourceType: "workspace", ResourceID: string(in.ID)}, err)
	}
	if err != nil {
		return nil, err
	}
	return s.show(ctx, s.audit.Pool(), w)
}

// show is one WorkSpace with what will happen to it.
func (s *Server) show(ctx context.Context, q postgres.Querier, w *workspace.WorkSpace) (*Answer[api.Workspace], error) {
	now := s.audit.Clock()()
	views, err := s.views(ctx, q, []workspace.WorkSpace{*w}, now)
	if err != nil {
		return nil, err
	}
	v := &views[0]
	if v.Upcoming, err = upcomingViews(ctx, q, w, now); err != nil {
		return nil, err
	}
	if v.Change, err = changeView(ctx, q, w, now); err != nil {
		return nil, err
	}
	d, err := blueprint.DefinitionOf(ctx, q, w.BlueprintVersionID)
	if err != nil {
		return nil, err
	}
	v.Parameters, v.Environment = w.Parameters, d.Settings(w.Parameters)
	return &Answer[api.Workspace]{Body: *v, ETag: etag(w.Version)}, nil
}

// act makes a change of one WorkSpace that has no body to keep under a key.
func (s *Server) act(ctx context.Context, kind string, ws id.WorkSpace, fn func(*audit.Tx) (*workspace.WorkSpace, error)) (*Answer[api.Workspace], error) {
	var out *Answer[api.Workspace]
	err := s.audit.Change(ctx, audit.Intent{Action: "workspace." + kind, ResourceType: "workspace", ResourceID: string(ws)}, func(tx *audit.Tx) error {
		w, err := fn(tx)
		if err != nil {
			return err
		}
		out, err = s.show(ctx, tx, w)
		return err
	})
	return out, err
}

func (s *Server) terminateWorkspace(ctx context.Context, in *struct {
	WorkspacePath
	IfMatch
},
) (*Answer[api.Workspace], error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	return s.act(ctx, "terminate", in.ID, func(tx *audit.Tx) (*workspace.WorkSpace, error) {
		return s.fleet.Terminate(ctx, tx, in.ID, version)
	})
}

// PowerInput asks for a start or a stop.
type PowerInput struct {
	WorkspacePath
	IfMatch
	Once
}

func (s *Server) startWorkspace(ctx context.Context, in *PowerInput) (*Answer[api.Workspace], error) {
	return s.operate(ctx, in.WorkspacePath, in.IfMatch, in.Once, "start", nil, s.fleet.Start)
}

func (s *Server) stopWorkspace(ctx context.Context, in *PowerInput) (*Answer[api.Workspace], error) {
	return s.operate(ctx, in.WorkspacePath, in.IfMatch, in.Once, "stop", nil, s.fleet.Stop)
}

func (s *Server) listEvents(ctx context.Context, in *struct {
	WorkspacePath
	Page
},
) (*struct{ Body api.WorkspaceEventList }, error) {
	after, err := in.after("events")
	if err != nil {
		return nil, err
	}
	var version int64
	if after != "" {
		if version, err = strconv.ParseInt(after, 10, 64); err != nil {
			return nil, errCursor
		}
	}
	if _, err := s.getWorkspace(ctx, &in.WorkspacePath); err != nil {
		return nil, err
	}
	events, err := workspace.Events(ctx, s.audit.Pool(), in.ID, version, in.Limit+1)
	if err != nil {
		return nil, err
	}
	events, next := cut(events, in.Limit, "events", func(e workspace.Event) string { return strconv.FormatInt(e.Version, 10) })
	return &struct{ Body api.WorkspaceEventList }{api.WorkspaceEventList{NextCursor: next, Items: mapped(events, func(e workspace.Event) api.WorkspaceEvent {
		return api.WorkspaceEvent{Version: e.Version, At: e.At, ActorID: e.ActorID, Kind: e.Kind, FromState: e.FromState, ToState: e.ToState, Reason: e.Reason, Details: e.Details}
	})}}, nil
}

// views shows WorkSpaces with what they have cost up to now and the names of what they were made from.
func (s *Server) views(ctx context.Context, q postgres.Querier, found []workspace.WorkSpace, now time.Time) ([]api.Workspace, error) {
	ids := mapped(found, func(w workspace.WorkSpace) id.WorkSpace { return w.ID })
	costs, err := cost.ToDate(ctx, q, ids, now)
	if err != nil {
		return nil, err
	}
	refs, err := blueprint.Refs(ctx, q, mapped(found, func(w workspace.WorkSpace) id.BlueprintVersion { return w.BlueprintVersionID }))
	if err != nil {
		return nil, err
	}
	progress, err := s.fleet.ReadProgress(ctx, q, found, now)
	if err != nil {
		return nil, err
	}
	return mapped(found, func(w workspace.WorkSpace) api.Workspace {
		v := workspaceView(w, costs[w.ID], refs[w.BlueprintVersionID])
		v.Provisioning = provisioningView(w, progress, now)
		return v
	}), nil
}

func provisioningView(w workspace.WorkSpace, progress workspace.Progress, now time.Time) *api.Provisioning {
	p := &api.Provisioning{Waiting: progress.Waiting(&w)}
	for _, s := range w.Provisioning().Steps {
		end := now
		if s.Ended != nil {
			end = *s.Ended
		}
		p.Steps = append(p.Steps, api.ProvisioningStep{Name: s.Name, BegunAt: s.Begun, EndedAt: s.Ended, Seconds: int64(max(0, end.Sub(s.Begun)).Seconds())})
	}
	if e, ok := progress.Expected(&w); ok {
		p.Expected = &api.Expectation{TypicalSeconds: int64(e.Typical.Seconds()), SlowSeconds: int64(e.Slow.Seconds()), Basis: "measured", Samples: e.Samples}
		if e.Samples == 0 {
			p.Expected.Basis = "stated"
		}
	}
	return p
}

func workspaceView(w workspace.WorkSpace, toDate money.USD, ref string) api.Workspace {
	v := api.Workspace{
		ID: string(w.ID), Name: w.Name, UserID: string(w.UserID), UserName: w.DirectoryUser, TeamID: string(w.TeamID), CostCentre: w.CostCentre,
		Blueprint: ref, BlueprintVersionID: string(w.BlueprintVersionID), ServiceType: w.ServiceType, BundleType: w.BundleType,
		OperatingSystem: w.OperatingSystem, RunningMode: w.RunningMode, Region: w.Region, DirectoryID: w.DirectoryID,
		AutoStopTimeoutMinutes: w.AutoStopTimeoutMinutes, MaxLifetimeDays: w.MaxLifetimeDays, Tags: w.Tags, State: string(w.State),
		StateReason: w.StateReason, Desired: string(w.Desired), ErrorCode: w.ErrorCode, ErrorMessage: w.ErrorMessage, Flag: w.Flag, CostToDate: usd(toDate),
		RootVolumeGiB: w.RootGiB, UserVolumeGiB: w.UserGiB, KeepAlive: w.KeepAlive, Schedule: scheduleView(w.Schedule), ExtendedUntil: w.ExtendedUntil,
		UnderWay: w.Asked, StaleAt: w.StaleAt, Connection: w.Connection, LastConnectedAt: w.LastConnectedAt,
		AllowedOperations: mapped(w.Allowed(), func(op workspace.Operation) string { return string(op) }),
		Version:           w.Version, CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt, AvailableAt: w.AvailableAt, TerminatedAt: w.TerminatedAt,
	}
	if w.ProjectID != nil {
		v.ProjectID = string(*w.ProjectID)
	}
	if w.ProviderID != nil {
		v.ProviderID = *w.ProviderID
	}
	if v.StateReason == "" {
		v.StateReason = "requested"
	}
	return v
}
