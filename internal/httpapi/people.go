package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
)

func (s *Server) peopleRoutes() {
	const tag = "People"
	route(s, http.MethodGet, "/me", "get-me", "Who is signed in", tag, http.StatusOK, s.getMe)
	route(s, http.MethodPost, "/users", "create-user", "Add a person", tag, http.StatusCreated, s.createUser)
	route(s, http.MethodGet, "/users", "list-users", "List people", tag, http.StatusOK, s.listUsers)
	route(s, http.MethodGet, "/users/{id}", "get-user", "Show a person", tag, http.StatusOK, s.getUser)
	route(s, http.MethodPost, "/users/{id}/deactivate", "deactivate-user", "End a person's access", tag, http.StatusOK, s.deactivateUser)
	route(s, http.MethodPost, "/teams", "create-team", "Add a team", tag, http.StatusCreated, s.createTeam)
	route(s, http.MethodGet, "/teams", "list-teams", "List teams", tag, http.StatusOK, s.listTeams)
	route(s, http.MethodGet, "/teams/{id}", "get-team", "Show a team", tag, http.StatusOK, s.getTeam)
	route(s, http.MethodPost, "/teams/{id}/deactivate", "deactivate-team", "Close a team", tag, http.StatusOK, s.deactivateTeam)
	route(s, http.MethodPost, "/projects", "create-project", "Add a project", tag, http.StatusCreated, s.createProject)
	route(s, http.MethodGet, "/projects", "list-projects", "List projects", tag, http.StatusOK, s.listProjects)
	route(s, http.MethodGet, "/projects/{id}", "get-project", "Show a project", tag, http.StatusOK, s.getProject)
	route(s, http.MethodPost, "/projects/{id}/deactivate", "deactivate-project", "Close a project for new WorkSpaces", tag, http.StatusOK, s.deactivateProject)
}

// IDPath is the address of one thing.
type IDPath struct {
	ID string `path:"id" maxLength:"64" doc:"Id or name"`
}

func intent(action policy.Action, kind, what string) audit.Intent {
	return audit.Intent{Action: string(action), ResourceType: kind, ResourceID: what}
}

// narrowed is the team that a list is narrowed to; empty for all. It records the refusal where the actor may see none.
func (s *Server) narrowed(ctx context.Context, action policy.Action) (id.Team, error) {
	a := actor.From(ctx)
	switch policy.ReachOf(a, action) {
	case policy.Any:
		return "", nil
	case policy.Team, policy.Own:
		return a.Team, nil
	case policy.None:
	}
	return "", s.refused(ctx, action)
}

func (s *Server) getMe(ctx context.Context, _ *struct{}) (*struct{ Body api.Me }, error) {
	a := actor.From(ctx)
	u, err := people.FindUser(ctx, s.audit.Pool(), string(a.User))
	if err != nil {
		return nil, err
	}
	allowed := policy.BundlesOf(a.Role)
	if allowed == nil {
		allowed = []string{}
	}
	return &struct{ Body api.Me }{api.Me{User: userView(u), AllowedBundleTypes: allowed}}, nil
}

func userView(u people.User) api.User {
	return api.User{
		ID: string(u.ID), UserName: u.UserName, DisplayName: u.DisplayName, Email: u.Email, TeamID: string(u.TeamID), Team: u.TeamName,
		Role: string(u.Role), CredentialExpiresAt: u.CredentialExpiresAt, CreatedAt: u.CreatedAt, DeactivatedAt: u.DeactivatedAt,
	}
}

func (s *Server) createUser(ctx context.Context, in *struct {
	Once
	Body api.UserCreate
},
) (*Answer[api.User], error) {
	return once(ctx, s, in.Once, audit.Intent{Action: "user.create", ResourceType: "user"}, in.Body, all, func(tx *audit.Tx) (api.User, string, error) {
		if err := policy.Require(tx.Actor, policy.UserManage, "", ""); err != nil {
			return api.User{}, "", err
		}
		u, err := people.CreateUser(ctx, tx, people.NewUser{
			UserName: in.Body.UserName, DisplayName: in.Body.DisplayName, Email: in.Body.Email, Team: in.Body.Team,
			Role: actor.Role(in.Body.Role), CredentialExpiresAt: in.Body.CredentialExpiresAt,
		})
		return userView(u), etag(u.Version), err
	})
}

func (s *Server) listUsers(ctx context.Context, in *struct{ Page }) (*struct{ Body api.UserList }, error) {
	after, err := in.after("users")
	if err != nil {
		return nil, err
	}
	a := actor.From(ctx)
	if policy.ReachOf(a, policy.UserRead) == policy.Own {
		me, err := s.getMe(ctx, nil)
		if err != nil {
			return nil, err
		}
		return &struct{ Body api.UserList }{api.UserList{Items: []api.User{me.Body.User}}}, nil
	}
	team, err := s.narrowed(ctx, policy.UserRead)
	if err != nil {
		return nil, err
	}
	found, err := people.Users(ctx, s.audit.Pool(), team, people.Page{After: after, Limit: in.Limit + 1})
	if err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "users", func(u people.User) string { return string(u.ID) })
	return &struct{ Body api.UserList }{api.UserList{Items: mapped(found, userView), NextCursor: next}}, nil
}

func (s *Server) findUser(ctx context.Context, idOrName string) (people.User, error) {
	u, err := people.FindUser(ctx, s.audit.Pool(), idOrName)
	if err == nil && !policy.Allows(actor.From(ctx), policy.UserRead, u.ID, u.TeamID) {
		err = people.ErrUserNotFound
	}
	if errors.Is(err, people.ErrUserNotFound) {
		return u, s.audit.NoteRefusal(ctx, intent(policy.UserRead, "user", idOrName), err)
	}
	return u, err
}

func (s *Server) getUser(ctx context.Context, in *IDPath) (*Answer[api.User], error) {
	u, err := s.findUser(ctx, in.ID)
	return &Answer[api.User]{Body: userView(u), ETag: etag(u.Version)}, err
}

func (s *Server) deactivateUser(ctx context.Context, in *struct {
	IDPath
	Once
},
) (*Answer[api.UserDeactivated], error) {
	return once(ctx, s, in.Once, audit.Intent{Action: "user.deactivate", ResourceType: "user", ResourceID: in.ID}, nil, all, func(tx *audit.Tx) (api.UserDeactivated, string, error) {
		var out api.UserDeactivated
		if err := policy.Require(tx.Actor, policy.UserManage, "", ""); err != nil {
			return out, "", err
		}
		found, err := people.FindUser(ctx, tx, in.ID)
		if err != nil {
			return out, "", err
		}
		u, err := people.DeactivateUser(ctx, tx, found.ID)
		if err != nil {
			return out, "", err
		}
		out.User = userView(u)
		lead, err := people.LeadOf(ctx, tx, u.TeamID)
		if errors.Is(err, people.ErrUserNotFound) {
			return out, etag(u.Version), nil
		}
		if err != nil {
			return out, "", err
		}
		out.HandedTo = string(lead.ID)
		out.HandedOver, err = s.fleet.HandOver(ctx, tx, u.ID, lead.ID)
		return out, etag(u.Version), err
	})
}

func teamView(t people.Team) api.Team {
	return api.Team{ID: string(t.ID), Name: t.Name, CostCentre: t.CostCentre, CreatedAt: t.CreatedAt, DeactivatedAt: t.DeactivatedAt}
}

func (s *Server) createTeam(ctx context.Context, in *struct {
	Once
	Body api.TeamCreate
},
) (*Answer[api.Team], error) {
	return once(ctx, s, in.Once, audit.Intent{Action: "team.create", ResourceType: "team"}, in.Body, all, func(tx *audit.Tx) (api.Team, string, error) {
		if err := policy.Require(tx.Actor, policy.TeamManage, "", ""); err != nil {
			return api.Team{}, "", err
		}
		t, err := people.CreateTeam(ctx, tx, in.Body.Name, in.Body.CostCentre)
		return teamView(t), etag(t.Version), err
	})
}

func (s *Server) listTeams(ctx context.Context, in *struct{ Page }) (*struct{ Body api.TeamList }, error) {
	after, err := in.after("teams")
	if err != nil {
		return nil, err
	}
	team, err := s.narrowed(ctx, policy.TeamRead)
	if err != nil {
		return nil, err
	}
	found, err := people.Teams(ctx, s.audit.Pool(), team, people.Page{After: after, Limit: in.Limit + 1})
	if err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "teams", func(t people.Team) string { return string(t.ID) })
	return &struct{ Body api.TeamList }{api.TeamList{Items: mapped(found, teamView), NextCursor: next}}, nil
}

func (s *Server) findTeam(ctx context.Context, idOrName string) (people.Team, error) {
	t, err := people.FindTeam(ctx, s.audit.Pool(), idOrName)
	if err == nil && !policy.Allows(actor.From(ctx), policy.TeamRead, "", t.ID) {
		err = people.ErrTeamNotFound
	}
	if errors.Is(err, people.ErrTeamNotFound) {
		return t, s.audit.NoteRefusal(ctx, intent(policy.TeamRead, "team", idOrName), err)
	}
	return t, err
}

func (s *Server) getTeam(ctx context.Context, in *IDPath) (*Answer[api.Team], error) {
	t, err := s.findTeam(ctx, in.ID)
	return &Answer[api.Team]{Body: teamView(t), ETag: etag(t.Version)}, err
}

func (s *Server) deactivateTeam(ctx context.Context, in *struct {
	IDPath
	Once
},
) (*Answer[api.Team], error) {
	return once(ctx, s, in.Once, audit.Intent{Action: "team.deactivate", ResourceType: "team", ResourceID: in.ID}, nil, all, func(tx *audit.Tx) (api.Team, string, error) {
		if err := policy.Require(tx.Actor, policy.TeamManage, "", ""); err != nil {
			return api.Team{}, "", err
		}
		found, err := people.FindTeam(ctx, tx, in.ID)
		if err != nil {
			return api.Team{}, "", err
		}
		t, err := people.DeactivateTeam(ctx, tx, found.ID)
		return teamView(t), etag(t.Version), err
	})
}

func projectView(p people.Project) api.Project {
	return api.Project{
		ID: string(p.ID), Name: p.Name, TeamID: string(p.TeamID), Team: p.TeamName, CostCentre: p.CostCentre, CreatedAt: p.CreatedAt, DeactivatedAt: p.DeactivatedAt,
	}
}

func (s *Server) createProject(ctx context.Context, in *struct {
	Once
	Body api.ProjectCreate
},
) (*Answer[api.Project], error) {
	return once(ctx, s, in.Once, audit.Intent{Action: "project.create", ResourceType: "project"}, in.Body, all, func(tx *audit.Tx) (api.Project, string, error) {
		t, err := people.FindTeam(ctx, tx, in.Body.Team)
		if err == nil && !policy.Allows(tx.Actor, policy.TeamRead, "", t.ID) {
			err = people.ErrTeamNotFound
		}
		if err != nil {
			return api.Project{}, "", err
		}
		if err := policy.Require(tx.Actor, policy.ProjectManage, "", t.ID); err != nil {
			return api.Project{}, "", err
		}
		p, err := people.CreateProject(ctx, tx, in.Body.Name, t, in.Body.CostCentre)
		return projectView(p), etag(p.Version), err
	})
}

func (s *Server) listProjects(ctx context.Context, in *struct{ Page }) (*struct{ Body api.ProjectList }, error) {
	after, err := in.after("projects")
	if err != nil {
		return nil, err
	}
	team, err := s.narrowed(ctx, policy.ProjectRead)
	if err != nil {
		return nil, err
	}
	found, err := people.Projects(ctx, s.audit.Pool(), team, people.Page{After: after, Limit: in.Limit + 1})
	if err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "projects", func(p people.Project) string { return string(p.ID) })
	return &struct{ Body api.ProjectList }{api.ProjectList{Items: mapped(found, projectView), NextCursor: next}}, nil
}

func (s *Server) getProject(ctx context.Context, in *IDPath) (*Answer[api.Project], error) {
	p, err := people.FindProject(ctx, s.audit.Pool(), in.ID)
	if err == nil && !policy.Allows(actor.From(ctx), policy.ProjectRead, "", p.TeamID) {
		err = people.ErrProjectNotFound
	}
	if errors.Is(err, people.ErrProjectNotFound) {
		return nil, s.audit.NoteRefusal(ctx, intent(policy.ProjectRead, "project", in.ID), err)
	}
	return &Answer[api.Project]{Body: projectView(p), ETag: etag(p.Version)}, err
}

func (s *Server) deactivateProject(ctx context.Context, in *struct {
	IDPath
	Once
},
) (*Answer[api.Project], error) {
	return once(ctx, s, in.Once, audit.Intent{Action: "project.deactivate", ResourceType: "project", ResourceID: in.ID}, nil, all, func(tx *audit.Tx) (api.Project, string, error) {
		found, err := people.FindProject(ctx, tx, in.ID)
		if err == nil && !policy.Allows(tx.Actor, policy.ProjectRead, "", found.TeamID) {
			err = people.ErrProjectNotFound
		}
		if err != nil {
			return api.Project{}, "", err
		}
		if err := policy.Require(tx.Actor, policy.ProjectManage, "", found.TeamID); err != nil {
			return api.Project{}, "", err
		}
		p, err := people.DeactivateProject(ctx, tx, found.ID)
		return projectView(p), etag(p.Version), err
	})
}

func (s *Server) tokenRoutes() {
	const tag = "Tokens"
	route(s, http.MethodPost, "/tokens", "create-token", "Make a token", tag, http.StatusCreated, s.createToken)
	route(s, http.MethodGet, "/tokens", "list-tokens", "List your tokens", tag, http.StatusOK, s.listTokens)
	route(s, http.MethodDelete, "/tokens/{id}", "revoke-token", "Revoke a token", tag, http.StatusOK, s.revokeToken)
}

func tokenView(t people.Token) api.Token {
	return api.Token{
		ID: string(t.ID), UserID: string(t.UserID), Name: t.Name, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, LastUsedAt: t.LastUsedAt, RevokedAt: t.RevokedAt,
	}
}

func (s *Server) createToken(ctx context.Context, in *struct {
	Once
	Body api.TokenCreate
},
) (*Answer[api.TokenCreated], error) {
	keep := func(t api.TokenCreated) api.TokenCreated { return api.TokenCreated{Token: t.Token} }
	return once(ctx, s, in.Once, audit.Intent{Action: "token.create", ResourceType: "token"}, in.Body, keep, func(tx *audit.Tx) (api.TokenCreated, string, error) {
		whom := in.Body.User
		if whom == "" {
			whom = string(tx.Actor.User)
		}
		u, err := people.FindUser(ctx, tx, whom)
		if err == nil && !policy.Allows(tx.Actor, policy.TokenManage, u.ID, u.TeamID) {
			err = people.ErrUserNotFound
		}
		if err != nil {
			return api.TokenCreated{}, "", err
		}
		hours := in.Body.LifetimeHours
		if hours == 0 {
			hours = 720
		}
		t, secret, err := people.CreateToken(ctx, tx, u, in.Body.Name, time.Duration(hours)*time.Hour)
		return api.TokenCreated{Token: tokenView(t), Secret: secret}, "", err
	})
}

func (s *Server) listTokens(ctx context.Context, in *struct{ Page }) (*struct{ Body api.TokenList }, error) {
	after, err := in.after("tokens")
	if err != nil {
		return nil, err
	}
	found, err := people.Tokens(ctx, s.audit.Pool(), actor.From(ctx).User, people.Page{After: after, Limit: in.Limit + 1})
	if err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "tokens", func(t people.Token) string { return string(t.ID) })
	return &struct{ Body api.TokenList }{api.TokenList{Items: mapped(found, tokenView), NextCursor: next}}, nil
}

func (s *Server) revokeToken(ctx context.Context, in *IDPath) (*struct{ Body api.Token }, error) {
	out := &struct{ Body api.Token }{}
	err := s.audit.Change(ctx, audit.Intent{Action: "token.revoke", ResourceType: "token", ResourceID: in.ID}, func(tx *audit.Tx) error {
		t, err := people.FindToken(ctx, tx, in.ID)
		if err == nil && !policy.Allows(tx.Actor, policy.TokenManage, t.UserID, "") {
			err = people.ErrTokenNotFound
		}
		if err != nil {
			return err
		}
		if err := people.RevokeToken(ctx, tx, t); err != nil {
			return err
		}
		t, err = people.FindToken(ctx, tx, in.ID)
		out.Body = tokenView(t)
		return err
	})
	return out, err
}
