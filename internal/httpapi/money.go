package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
)

func (s *Server) moneyRoutes() {
	route(s, http.MethodGet, "/budgets", "list-budgets", "Budgets with their balances", "Budgets", http.StatusOK, s.listBudgets)
	route(s, http.MethodDelete, "/budgets/{id}", "end-budget", "Have a budget count no more from this month on", "Budgets", http.StatusOK, s.endBudget)
	route(s, http.MethodGet, "/budgets/templates", "list-budget-templates", "The budgets of those who have none of their own", "Budgets", http.StatusOK, s.listBudgetTemplates)
	route(s, http.MethodPut, "/budgets/templates", "set-budget-template", "Make or change the budget of everybody of a role or a team", "Budgets", http.StatusOK, s.setBudgetTemplate)
	route(s, http.MethodDelete, "/budgets/templates/{id}", "end-budget-template", "Have a template count no more; budgets stay", "Budgets", http.StatusOK, s.endBudgetTemplate)
	route(s, http.MethodPut, "/budgets/{scope}/{scope_id}", "set-budget", "Make or change a budget", "Budgets", http.StatusOK, s.setBudget)
}

func budgetView(b budget.Budget, names map[string]string) api.Budget {
	v := api.Budget{
		ID: string(b.ID), Scope: string(b.Scope), ScopeID: b.ScopeID, Name: names[b.ScopeID], Amount: usd(b.Amount), Lent: usd(b.Lent), Limit: usd(b.Limit),
		WarningPercents: b.WarningPercents, Enforcement: string(b.Enforcement), Period: string(b.Period), PeriodStart: b.PeriodStart, PeriodEnd: b.PeriodEnd,
		Settled: usd(b.Settled), Held: usd(b.Held), Available: usd(b.Available()), Overrun: usd(b.Overrun), WarnedAt: b.WarnedAt, WarnedPercent: b.WarnedPercent,
		ExhaustedAt: b.ExhaustedAt, Version: b.Version,
	}
	v.FirstMonth, v.LastMonth = months(b.ValidFrom, b.ValidUntil)
	if b.TemplateID != nil {
		v.TemplateID = string(*b.TemplateID)
	}
	if b.Limit > 0 {
		v.ConsumedPercent = int64((b.Settled + b.Held).Share(100, int64(b.Limit)))
	}
	return v
}

const monthForm = "2006-01"

// months are the first and the last of those from the one up to, and without, the other.
func months(from time.Time, until *time.Time) (first, last string) {
	if until != nil {
		last = until.UTC().Add(-time.Microsecond).Format(monthForm)
	}
	return from.UTC().Format(monthForm), last
}

// monthOf reads a month that may be left out.
func monthOf(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(monthForm, text)
	if err != nil {
		return at, budget.ErrPeriod.Sayf("%q is no month", text)
	}
	return at, nil
}

func (s *Server) listBudgets(ctx context.Context, in *struct {
	Page
	Ended bool `query:"ended" doc:"Also those that count no more"`
},
) (*struct{ Body api.BudgetList }, error) {
	after, err := in.after("budgets")
	if err != nil {
		return nil, err
	}
	a, pool := actor.From(ctx), s.audit.Pool()
	v := budget.View{Users: []string{string(a.User)}, Ended: in.Ended}
	switch policy.ReachOf(a, policy.BudgetRead) {
	case policy.Any:
		v.All = true
	case policy.Team:
		v.Teams = []string{string(a.Team)}
		if v.Users, v.Projects, err = people.Members(ctx, pool, a.Team); err != nil {
			return nil, err
		}
	case policy.Own:
		v.Teams = []string{string(a.Team)} // an engineer sees why the team's money refuses them
	case policy.None:
		return nil, s.refused(ctx, policy.BudgetRead)
	}
	found, err := budget.List(ctx, pool, v, s.audit.Clock()(), after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "budgets", func(b budget.Budget) string { return string(b.ID) })
	names, err := people.Names(ctx, pool, mapped(found, func(b budget.Budget) string { return b.ScopeID }))
	if err != nil {
		return nil, err
	}
	return &struct{ Body api.BudgetList }{api.BudgetList{Items: mapped(found, func(b budget.Budget) api.Budget { return budgetView(b, names) }), NextCursor: next}}, nil
}

func (s *Server) setBudget(ctx context.Context, in *struct {
	Scope   budget.Scope `path:"scope" enum:"ORGANISATION,TEAM,PROJECT,USER"`
	ScopeID string       `path:"scope_id" maxLength:"64" doc:"Id or name; organisation for the organisation"`
	IfMatch
	Body api.BudgetSet
},
) (*Answer[api.Budget], error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	var out *Answer[api.Budget]
	what := audit.Intent{Action: string(policy.BudgetSet), ResourceType: "budget", ResourceID: string(in.Scope) + ":" + in.ScopeID}
	err = s.audit.Change(ctx, what, func(tx *audit.Tx) error {
		amount, err := budget.ParseAmount(in.Body.Amount, in.Body.Currency)
		if err != nil {
			return err
		}
		set := budget.Setting{
			Scope: in.Scope, Amount: amount, Period: budget.Period(in.Body.Period), WarningPercents: in.Body.WarningPercents,
			Enforcement: budget.Enforcement(in.Body.Enforcement), AcceptOverrun: in.Body.AcceptOverrun, IfVersion: version,
		}
		if set.FirstMonth, err = monthOf(in.Body.FirstMonth); err != nil {
			return err
		}
		if set.LastMonth, err = monthOf(in.Body.LastMonth); err != nil {
			return err
		}
		var team id.Team
		var owner id.User
		if set.ScopeID, team, owner, err = scopeOf(ctx, tx, in.Scope, in.ScopeID); err != nil {
			return err
		}
		if !policy.Allows(tx.Actor, policy.BudgetRead, owner, team) {
			return people.ErrUserNotFound.Sayf("there is no such %s, or it is not yours to see", in.Scope)
		}
		// A lead sets the members' budgets; the team's own, its projects' and the organisation's are finance's.
		member := team
		if in.Scope != budget.User {
			member = ""
		}
		if err := policy.Require(tx.Actor, policy.BudgetSet, "", member); err != nil {
			return err
		}
		if err := budget.MayLeadSet(ctx, tx, tx.Actor, set, team, tx.Now); err != nil {
			return err
		}
		b, err := s.budgets.Set(ctx, tx, set)
		if err != nil {
			return err
		}
		names, err := people.Names(ctx, tx, []string{b.ScopeID})
		out = &Answer[api.Budget]{Body: budgetView(b, names), ETag: etag(b.Version)}
		return err
	})
	return out, err
}

// scopeOf finds what a budget is for: its id, its team, and its person.
func scopeOf(ctx context.Context, q postgres.Querier, scope budget.Scope, idOrName string) (string, id.Team, id.User, error) {
	switch scope {
	case budget.Organisation:
		if idOrName != budget.OrganisationID {
			return "", "", "", budget.ErrScope.Suggestf("the organisation's scope_id is %q", budget.OrganisationID)
		}
		return budget.OrganisationID, "", "", nil
	case budget.Team:
		t, err := people.FindTeam(ctx, q, idOrName)
		return string(t.ID), t.ID, "", err
	case budget.Project:
		p, err := people.FindProject(ctx, q, idOrName)
		return string(p.ID), p.TeamID, "", err
	case budget.User:
		u, err := people.FindUser(ctx, q, idOrName)
		return string(u.ID), u.TeamID, u.ID, err
	}
	return "", "", "", budget.ErrScope
}

func auditCursor(key string) (time.Time, uuid.UUID, error) {
	const idLength = 36
	if len(key) <= idLength+1 {
		return time.Time{}, uuid.Nil, errCursor
	}
	at, err1 := time.Parse(time.RFC3339Nano, key[:len(key)-idLength-1])
	entry, err2 := uuid.Parse(key[len(key)-idLength:])
	if err1 != nil || err2 != nil {
		return time.Time{}, uuid.Nil, errCursor
	}
	return at, entry, nil
}

func entryView(e audit.Entry) api.AuditEntry {
	v := api.AuditEntry{
		ID: e.ID.String(), Timestamp: e.Timestamp.UTC(), UserID: e.UserID, ActorType: e.ActorType, Action: e.ActionType, ResourceType: e.ResourceType,
		ResourceID: e.ResourceID, Result: e.Result, Code: e.Code, Interface: e.Interface, RequestID: e.RequestID, Details: e.Details,
		LeafHash: hexHash(leaf.Hash(e.Leaf)), Erased: e.Erased,
	}
	if e.SourceIP != nil {
		v.SourceIP = *e.SourceIP
	}
	if e.UserAgent != nil {
		v.UserAgent = *e.UserAgent
	}
	return v
}
