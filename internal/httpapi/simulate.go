package httpapi

import (
	"context"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/workspace"
)

func (s *Server) simulatePolicies(ctx context.Context, in *struct {
	Days         int    `query:"days" minimum:"1" maximum:"365" default:"30"`
	Team         string `query:"team" maxLength:"64" doc:"Only this team's, by id or name"`
	User         string `query:"user" maxLength:"64" doc:"Only this user's, by id or name"`
	IgnorePauses bool   `query:"ignore_pauses" doc:"As if nothing were paused"`
},
) (*struct{ Body api.Simulation }, error) {
	a, pool := actor.From(ctx), s.audit.Pool()
	var f workspace.Filter
	switch policy.ReachOf(a, policy.PolicySimulate) {
	case policy.Any:
	case policy.Team:
		f.Team = a.Team
	case policy.Own, policy.None:
		return nil, s.refused(ctx, policy.PolicySimulate)
	}
	if in.Team != "" {
		team, err := people.FindTeam(ctx, pool, in.Team)
		if err != nil {
			return nil, err
		}
		if !policy.Allows(a, policy.PolicySimulate, "", team.ID) {
			return nil, s.refused(ctx, policy.PolicySimulate)
		}
		f.Team = team.ID
	}
	if in.User != "" {
		u, err := people.FindUser(ctx, pool, in.User)
		if err != nil {
			return nil, err
		}
		if !policy.Allows(a, policy.PolicySimulate, u.ID, u.TeamID) {
			return nil, people.ErrUserNotFound
		}
		f.User = u.ID
	}
	sim, err := workspace.Simulate(ctx, pool, f, s.audit.Clock()(), in.Days, in.IgnorePauses)
	if err != nil {
		return nil, err
	}
	return &struct{ Body api.Simulation }{api.Simulation{
		From: sim.From, To: sim.To, Assumption: workspace.Assumption, Workspaces: sim.WorkSpaces, Truncated: sim.Truncated,
		Policies: mapped(sim.Policies, func(c workspace.PolicyCount) api.PolicyCount {
			return api.PolicyCount{
				Policy: string(c.Policy), Notices: c.Notices, Flags: c.Flags, Stops: c.Stops, Starts: c.Starts, Terminations: c.Terminations,
				EstimatedSaving: usd(c.EstimatedSaving),
			}
		}),
		Deeds: mapped(sim.Deeds, func(d workspace.SimulatedDeed) api.SimulatedDeed {
			return api.SimulatedDeed{
				WorkspaceID: string(d.WorkspaceID), Name: d.Name, UserID: string(d.UserID), TeamID: string(d.TeamID), Policy: string(d.Policy), Action: d.Action, At: d.At,
			}
		}),
		EstimatedWithout: usd(sim.EstimatedWithout), EstimatedWith: usd(sim.EstimatedWith), EstimatedSaving: usd(sim.EstimatedWithout - sim.EstimatedWith),
	}}, nil
}
