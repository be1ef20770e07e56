package httpapi

import (
	"context"
	"net/http"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/workspace"
)

// PolicyPath is the address of one policy.
type PolicyPath struct {
	Name string `path:"name" maxLength:"20" enum:"lifetime,stale,budget,schedule,idle,stops,terminations"`
}

func (s *Server) policyRoutes() {
	const tag = "Policies"
	route(s, http.MethodGet, "/policies", "list-policies", "What happens by itself, and what is paused", tag, http.StatusOK, s.listPolicies)
	route(s, http.MethodGet, "/policies/simulation", "simulate-policies", "What the policies would do in the coming days, and save", tag, http.StatusOK, s.simulatePolicies)
	route(s, http.MethodPost, "/policies/{name}/pause", "pause-policy", "Keep a policy, all stops or all terminations from happening", tag, http.StatusOK, s.pausePolicy)
	route(s, http.MethodPost, "/policies/{name}/resume", "resume-policy", "Let it happen again", tag, http.StatusOK, s.resumePolicy)
}

var policies = []struct{ name, description string }{
	{"lifetime", "ends a WorkSpace at its maximum lifetime; notices 7 days, 1 day and 1 hour before"},
	{"stale", "flags what has been stopped and unused for 30 days, and ends it 7 days later unless it is kept alive"},
	{"budget", "stops what a budget with block_and_stop has no room for, at the end of what is paid"},
	{"schedule", "starts and stops by a WorkSpace's own schedule; a notice 15 minutes before a stop"},
	{"idle", "stops what is idle and Amazon's own timer has missed; Amazon's timer itself cannot be paused"},
	{workspace.AllStops, "every automatic stop: budget, schedule, idle"},
	{workspace.AllTerminations, "every automatic termination: lifetime, stale"},
}

func (s *Server) listPolicies(ctx context.Context, _ *struct{}) (*struct{ Body api.PolicyList }, error) {
	if err := workspace.CanReadPolicies(actor.From(ctx)); err != nil {
		return nil, err
	}
	pauses, err := workspace.ReadPauses(ctx, s.audit.Pool(), s.audit.Clock()())
	if err != nil {
		return nil, err
	}
	out := api.PolicyList{}
	for _, p := range policies {
		v := api.Policy{Name: p.name, Description: p.description}
		for _, pause := range pauses {
			if pause.Target == p.name {
				v.Paused, v.Reason, v.PausedBy, v.PausedAt, v.Until = true, pause.Reason, pause.PausedBy, &pause.PausedAt, pause.Until
			}
		}
		out.Items = append(out.Items, v)
	}
	return &struct{ Body api.PolicyList }{out}, nil
}

func (s *Server) pausePolicy(ctx context.Context, in *struct {
	PolicyPath
	Body api.PolicyPause
},
) (*struct{ Body api.PolicyList }, error) {
	err := s.audit.Change(ctx, audit.Intent{Action: "policy.pause", ResourceType: "policy", ResourceID: in.Name}, func(tx *audit.Tx) error {
		return workspace.PausePolicy(ctx, tx, in.Name, in.Body.Reason, in.Body.Until)
	})
	if err != nil {
		return nil, err
	}
	return s.listPolicies(ctx, nil)
}

func (s *Server) resumePolicy(ctx context.Context, in *PolicyPath) (*struct{ Body api.PolicyList }, error) {
	err := s.audit.Change(ctx, audit.Intent{Action: "policy.resume", ResourceType: "policy", ResourceID: in.Name}, func(tx *audit.Tx) error {
		return workspace.ResumePolicy(ctx, tx, in.Name)
	})
	if err != nil {
		return nil, err
	}
	return s.listPolicies(ctx, nil)
}
