package httpapi

import (
	"context"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
)

func (s *Server) endBudget(ctx context.Context, in *struct {
	BudgetPath
	IfMatch
},
) (*Answer[api.Budget], error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	b, err := s.readableBudget(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	var out *Answer[api.Budget]
	what := audit.Intent{Action: "budget.end", ResourceType: "budget", ResourceID: string(in.ID)}
	err = s.audit.Change(ctx, what, func(tx *audit.Tx) error {
		// A lead sets the members' budgets, but not their own; every other one is finance's.
		_, member, _, err := scopeOf(ctx, tx, b.Scope, b.ScopeID)
		if err != nil {
			return err
		}
		if b.Scope != budget.User {
			member = ""
		}
		if err := policy.Require(tx.Actor, policy.BudgetSet, "", member); err != nil {
			return err
		}
		if b.Scope == budget.User && b.ScopeID == string(tx.Actor.User) {
			return budget.ErrOwnBudget
		}
		if err := s.budgets.End(ctx, tx, string(in.ID), version); err != nil {
			return err
		}
		ended, err := budget.Get(ctx, tx, in.ID, tx.Now)
		if err != nil {
			return err
		}
		names, err := people.Names(ctx, tx, []string{ended.ScopeID})
		out = &Answer[api.Budget]{Body: budgetView(ended, names), ETag: etag(ended.Version)}
		return err
	})
	return out, err
}

func templateView(t budget.Template, names map[string]string) api.BudgetTemplate {
	v := api.BudgetTemplate{
		ID: string(t.ID), Amount: usd(t.Amount), Period: string(t.Period), WarningPercents: t.WarningPercents, Enforcement: string(t.Enforcement),
		Budgets: t.Budgets, UpdatedAt: t.UpdatedAt.UTC(), Version: t.Version,
	}
	if t.Role != nil {
		v.Role = string(*t.Role)
	}
	if t.TeamID != nil {
		v.TeamID, v.TeamName = string(*t.TeamID), names[string(*t.TeamID)]
	}
	return v
}

func (s *Server) listBudgetTemplates(ctx context.Context, _ *struct{}) (*struct{ Body api.BudgetTemplateList }, error) {
	if policy.ReachOf(actor.From(ctx), policy.BudgetSet) == policy.None {
		return nil, s.refused(ctx, policy.BudgetSet)
	}
	found, err := budget.Templates(ctx, s.audit.Pool(), s.audit.Clock()())
	if err != nil {
		return nil, err
	}
	var teams []string
	for _, t := range found {
		if t.TeamID != nil {
			teams = append(teams, string(*t.TeamID))
		}
	}
	names, err := people.Names(ctx, s.audit.Pool(), teams)
	return &struct{ Body api.BudgetTemplateList }{api.BudgetTemplateList{Items: mapped(found, func(t budget.Template) api.BudgetTemplate { return templateView(t, names) })}}, err
}

func (s *Server) setBudgetTemplate(ctx context.Context, in *struct{ Body api.BudgetTemplateSet }) (*struct{ Body api.BudgetTemplate }, error) {
	out := &struct{ Body api.BudgetTemplate }{}
	err := s.audit.Change(ctx, audit.Intent{Action: "budget.template_set", ResourceType: "budget_template"}, func(tx *audit.Tx) error {
		if err := policy.Require(tx.Actor, policy.BudgetSet, "", ""); err != nil {
			return err
		}
		amount, err := budget.ParseAmount(in.Body.Amount, "")
		if err != nil {
			return err
		}
		t := budget.Template{
			Amount: amount, Period: budget.Period(in.Body.Period), WarningPercents: in.Body.WarningPercents, Enforcement: budget.Enforcement(in.Body.Enforcement),
		}
		if in.Body.Role != "" {
			role := actor.Role(in.Body.Role)
			t.Role = &role
		}
		names := map[string]string{}
		if in.Body.Team != "" {
			team, err := people.FindTeam(ctx, tx, in.Body.Team)
			if err != nil {
				return err
			}
			t.TeamID, names[string(team.ID)] = &team.ID, team.Name
		}
		t, err = s.budgets.SetTemplate(ctx, tx, t, in.Body.AcceptOverrun)
		out.Body = templateView(t, names)
		return err
	})
	return out, err
}

func (s *Server) endBudgetTemplate(ctx context.Context, in *struct {
	ID id.BudgetTemplate `path:"id" maxLength:"64"`
},
) (*struct{ Body api.BudgetTemplateEnded }, error) {
	what := audit.Intent{Action: "budget.template_end", ResourceType: "budget_template", ResourceID: string(in.ID)}
	err := s.audit.Change(ctx, what, func(tx *audit.Tx) error {
		if err := policy.Require(tx.Actor, policy.BudgetSet, "", ""); err != nil {
			return err
		}
		return s.budgets.EndTemplate(ctx, tx, in.ID)
	})
	return &struct{ Body api.BudgetTemplateEnded }{api.BudgetTemplateEnded{ID: string(in.ID)}}, err
}
