package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/workspace"
)

func (s *Server) driftRoutes() {
	const tag = "Drift"
	route(s, http.MethodGet, "/drift", "list-drift", "What Amazon has otherwise than Forge wants it", tag, http.StatusOK, s.listDrift)
	route(s, http.MethodPost, "/drift/sweeps", "sweep-drift", "Look at everything in the directories now", tag, http.StatusAccepted, s.sweepDrift)
}

func findingView(f workspace.ListedFinding) api.Finding {
	v := api.Finding{
		ID: f.ID, Kind: string(f.Kind), Region: f.Region, DirectoryID: f.DirectoryID, ProviderID: f.ProviderID, WorkspaceName: f.Name, UserName: f.User,
		FirstSeenAt: f.FirstSeenAt, LastSeenAt: f.LastSeenAt, ResolvedAt: f.ResolvedAt, Resolution: f.Resolution, Details: f.Details, Advice: f.Kind.Advice(),
	}
	if f.WorkspaceID != nil {
		v.WorkspaceID = string(*f.WorkspaceID)
	}
	if f.MonthlyMicros != nil {
		cost := usd(*f.MonthlyMicros)
		v.MonthlyCost = &cost
	}
	return v
}

func sweepView(now time.Time) func(workspace.Sweep) api.Sweep {
	return func(w workspace.Sweep) api.Sweep {
		return api.Sweep{
			Region: w.Region, DirectoryID: w.DirectoryID, DueAt: w.DueAt, Running: w.LeaseUntil != nil && w.LeaseUntil.After(now), BegunAt: w.BegunAt,
			EndedAt: w.EndedAt, Complete: w.Complete, Error: w.Error, Pages: w.Pages, Seen: w.Seen, CompletedAt: w.CompletedAt,
		}
	}
}

func (s *Server) listDrift(ctx context.Context, in *struct {
	Page
	Kind   workspace.DriftKind `query:"kind" enum:"FOREIGN,ORPHAN,DUPLICATE,LOST_TAGS,TERMINATED_OUTSIDE,STARTED_OUTSIDE,MODE_CHANGED,SIZE_CHANGED,VOLUMES_CHANGED"`
	Region string              `query:"region" maxLength:"64"`
	All    bool                `query:"all" doc:"Those that are resolved, too"`
},
) (*struct{ Body api.FindingList }, error) {
	after, err := in.after("drift")
	if err != nil {
		return nil, err
	}
	if policy.ReachOf(actor.From(ctx), policy.DriftRead) != policy.Any {
		return nil, s.refused(ctx, policy.DriftRead)
	}
	f := workspace.DriftFilter{Kind: in.Kind, Region: in.Region, All: in.All, After: after, Limit: in.Limit + 1}
	found, err := workspace.Findings(ctx, s.audit.Pool(), f)
	if err != nil {
		return nil, err
	}
	cost, err := workspace.DriftCost(ctx, s.audit.Pool(), f)
	if err != nil {
		return nil, err
	}
	sweeps, err := workspace.Sweeps(ctx, s.audit.Pool())
	if err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "drift", func(f workspace.ListedFinding) string { return f.ID })
	return &struct{ Body api.FindingList }{api.FindingList{
		Items: mapped(found, findingView), NextCursor: next, MonthlyCost: usd(cost), Sweeps: mapped(sweeps, sweepView(s.audit.Clock()())),
	}}, nil
}

func (s *Server) sweepDrift(ctx context.Context, in *struct {
	Once
	Body api.SweepRequest
},
) (*Answer[api.SweepList], error) {
	what := audit.Intent{Action: string(policy.DriftSweep), ResourceType: "drift", ResourceID: in.Body.Region}
	return once(ctx, s, in.Once, what, in.Body, all, func(tx *audit.Tx) (api.SweepList, string, error) {
		due, err := s.fleet.SweepNow(ctx, tx, in.Body.Region)
		return api.SweepList{Items: mapped(due, sweepView(tx.Now))}, "", err
	})
}
