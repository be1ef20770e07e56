package httpapi

import (
	"context"
	"strings"
	"time"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/schedule"
	"github.com/robco-forge/forge/internal/workspace"
)

// simulateWithin is how long a simulation may take. Clients wait for half a minute.
const simulateWithin = 25 * time.Second

// SimulateInput is whose WorkSpaces to go through, for how long, and what to take for otherwise than it is.
type SimulateInput struct {
	Days              int    `query:"days" minimum:"1" maximum:"365" default:"30"`
	Team              string `query:"team" maxLength:"64" doc:"Only this team's, by id or name"`
	User              string `query:"user" maxLength:"64" doc:"Only this user's, by id or name"`
	IgnorePauses      bool   `query:"ignore_pauses" doc:"As if nothing were paused"`
	IfMaxLifetimeDays int    `query:"if_max_lifetime_days" minimum:"0" maximum:"3650" doc:"As if no WorkSpace had a longer lifetime; 0 is as it is"`
	IfSchedule        string `query:"if_schedule" maxLength:"1000" doc:"As if every AUTO_STOP WorkSpace had this schedule: entries like \"stop 19:00 WEEKDAYS\", with semicolons between them"`
	Timezone          string `query:"timezone" maxLength:"64" doc:"Of if_schedule: an IANA name such as Europe/Berlin"`
}

func (in *SimulateInput) whatIf() (workspace.WhatIf, error) {
	what := workspace.WhatIf{IgnorePauses: in.IgnorePauses, MaxLifetimeDays: in.IfMaxLifetimeDays}
	if in.IfSchedule == "" && in.Timezone == "" {
		return what, nil
	}
	s, err := schedule.Parse(in.Timezone, strings.Split(in.IfSchedule, ";")...)
	if err != nil {
		return what, workspace.ErrSchedule.Sayf("%v", err)
	}
	what.Schedule = &s
	return what, nil
}

// simulated narrows the WorkSpaces to those that the actor may simulate. Others' teams and people do not exist for them.
func (s *Server) simulated(ctx context.Context, in *SimulateInput) (workspace.Filter, error) {
	a, pool := actor.From(ctx), s.audit.Pool()
	var f workspace.Filter
	refuse := func(err error) (workspace.Filter, error) {
		return f, s.audit.NoteRefusal(ctx, audit.Intent{Action: string(policy.PolicySimulate), ResourceType: "policy"}, err)
	}
	switch policy.ReachOf(a, policy.PolicySimulate) {
	case policy.Any:
	case policy.Team:
		f.Team = a.Team
	case policy.Own, policy.None:
		return f, s.refused(ctx, policy.PolicySimulate)
	}
	if in.Team != "" {
		team, err := people.FindTeam(ctx, pool, in.Team)
		if err != nil {
			return f, err
		}
		if !policy.Allows(a, policy.PolicySimulate, "", team.ID) {
			return refuse(people.ErrTeamNotFound)
		}
		f.Team = team.ID
	}
	if in.User != "" {
		u, err := people.FindUser(ctx, pool, in.User)
		if err != nil {
			return f, err
		}
		if !policy.Allows(a, policy.PolicySimulate, u.ID, u.TeamID) {
			return refuse(people.ErrUserNotFound)
		}
		f.User = u.ID
	}
	return f, nil
}

func (s *Server) simulatePolicies(ctx context.Context, in *SimulateInput) (*struct{ Body api.Simulation }, error) {
	what, err := in.whatIf()
	if err != nil {
		return nil, err
	}
	f, err := s.simulated(ctx, in)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, simulateWithin)
	defer cancel()
	sim, err := workspace.Simulate(limited, s.audit.Pool(), f, s.audit.Clock()(), in.Days, what)
	if err != nil {
		return nil, err
	}
	// Whoever reads what others cost is on record.
	if err := s.audit.Note(ctx, audit.Event{Action: string(policy.PolicySimulate), ResourceType: "policy", Details: map[string]any{
		"days": in.Days, "team_id": string(f.Team), "user_id": string(f.User),
	}}); err != nil {
		return nil, err
	}
	names, err := people.Names(ctx, s.audit.Pool(), mapped(sim.Teams, func(t workspace.TeamCount) string { return string(t.TeamID) }))
	if err != nil {
		return nil, err
	}
	return &struct{ Body api.Simulation }{simulationView(sim, names)}, nil
}

func simulationView(sim workspace.Simulation, names map[string]string) api.Simulation {
	return api.Simulation{
		From: sim.From, To: sim.To, Estimate: true, Assumption: workspace.Assumption, Workspaces: sim.WorkSpaces, Unpriced: sim.Unpriced, Truncated: sim.Truncated,
		Policies: mapped(sim.Policies, func(c workspace.PolicyCount) api.PolicyCount {
			return api.PolicyCount{
				Policy: string(c.Policy), Notices: c.Notices, Flags: c.Flags, Stops: c.Stops, Starts: c.Starts, Terminations: c.Terminations,
				EstimatedSaving: usd(c.EstimatedSaving),
			}
		}),
		Teams: mapped(sim.Teams, func(c workspace.TeamCount) api.TeamCount {
			return api.TeamCount{
				TeamID: string(c.TeamID), Name: names[string(c.TeamID)], Workspaces: c.WorkSpaces,
				Notices: c.Notices, Flags: c.Flags, Stops: c.Stops, Starts: c.Starts, Terminations: c.Terminations,
				EstimatedWithout: usd(c.EstimatedWithout), EstimatedWith: usd(c.EstimatedWith), EstimatedSaving: usd(c.EstimatedSaving),
			}
		}),
		Deeds: mapped(sim.Deeds, func(d workspace.SimulatedDeed) api.SimulatedDeed {
			return api.SimulatedDeed{
				WorkspaceID: string(d.WorkspaceID), Name: d.Name, UserID: string(d.UserID), TeamID: string(d.TeamID), Policy: string(d.Policy),
				Action: d.Action, At: d.At, Why: d.Why,
			}
		}),
		EstimatedWithout: usd(sim.EstimatedWithout), EstimatedWith: usd(sim.EstimatedWith), EstimatedSaving: usd(sim.EstimatedWithout - sim.EstimatedWith),
	}
}
