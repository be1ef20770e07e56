package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/workspace"
)

func (s *Server) budgetRoutes() {
	const tag = "Budgets"
	route(s, http.MethodPost, "/budgets/requests", "create-budget-request", "Ask for more of a budget", tag, http.StatusCreated, s.createBudgetRequest)
	route(s, http.MethodGet, "/budgets/requests", "list-budget-requests", "Who asked for more, and what became of it", tag, http.StatusOK, s.listBudgetRequests)
	route(s, http.MethodPost, "/budgets/requests/{id}/approve", "approve-budget-request", "Grant a request, or another amount", tag, http.StatusOK, s.approveBudgetRequest)
	route(s, http.MethodPost, "/budgets/requests/{id}/decline", "decline-budget-request", "Refuse a request", tag, http.StatusOK, s.declineBudgetRequest)
	route(s, http.MethodPost, "/budgets/requests/{id}/withdraw", "withdraw-budget-request", "Take a request back", tag, http.StatusOK, s.withdrawBudgetRequest)
	route(s, http.MethodPost, "/budgets/check", "check-budgets", "What a WorkSpace would do to the budgets; nothing is made or reserved", tag, http.StatusOK, s.checkBudgets)
	route(s, http.MethodGet, "/budgets/audit", "audit-budgets", "Whether the balances are what their entries say", tag, http.StatusOK, s.auditBudgets)
	route(s, http.MethodGet, "/budgets/{id}", "get-budget", "A budget with its balance", tag, http.StatusOK, s.getBudget)
	route(s, http.MethodGet, "/budgets/{id}/entries", "list-budget-entries", "Every movement of a budget, the newest first", tag, http.StatusOK, s.listBudgetEntries)
	route(s, http.MethodGet, "/budgets/{id}/history", "list-budget-history", "Who set a budget to what, the newest first", tag, http.StatusOK, s.listBudgetHistory)
}

// RequestPath is the address of one request for more.
type RequestPath struct {
	ID id.BudgetRequest `path:"id" maxLength:"64"`
}

// BudgetPath is the address of one budget.
type BudgetPath struct {
	ID id.Budget `path:"id" maxLength:"64"`
}

func requestView(r budget.Request, names map[string]string) api.BudgetRequest {
	v := api.BudgetRequest{
		ID: string(r.ID), BudgetID: string(r.BudgetID), Scope: string(r.Scope), ScopeID: r.ScopeID, Name: names[r.ScopeID], BudgetLimit: usd(r.BudgetLimit),
		AskedBy: string(r.AskedBy), AskedByName: names[string(r.AskedBy)], Amount: usd(r.Asked), AskedUntil: r.AskedUntil, Reason: r.Reason,
		State: string(r.State), Until: r.Until, DecidedAt: r.DecidedAt, Note: r.Note, ReturnedAt: r.ReturnedAt, CreatedAt: r.CreatedAt,
	}
	if r.Granted != nil {
		granted := usd(*r.Granted)
		v.Granted = &granted
	}
	if r.DecidedBy != nil {
		v.DecidedBy, v.DecidedName = string(*r.DecidedBy), names[string(*r.DecidedBy)]
	}
	return v
}

func requestViews(ctx context.Context, q postgres.Querier, all ...budget.Request) ([]api.BudgetRequest, error) {
	var ids []string
	for _, r := range all {
		ids = append(ids, r.ScopeID, string(r.AskedBy))
		if r.DecidedBy != nil {
			ids = append(ids, string(*r.DecidedBy))
		}
	}
	names, err := people.Names(ctx, q, ids)
	return mapped(all, func(r budget.Request) api.BudgetRequest { return requestView(r, names) }), err
}

func (s *Server) createBudgetRequest(ctx context.Context, in *struct {
	Once
	Body api.BudgetRequestCreate
},
) (*Answer[api.BudgetRequest], error) {
	what := audit.Intent{Action: string(policy.BudgetRequest), ResourceType: "budget_request"}
	return once(ctx, s, in.Once, what, in.Body, all, func(tx *audit.Tx) (api.BudgetRequest, string, error) {
		amount, err := budget.ParseAmount(in.Body.Amount, "")
		if err != nil {
			return api.BudgetRequest{}, "", err
		}
		scope, of := budget.Scope(in.Body.Scope), in.Body.ScopeID
		if scope == "" && of == "" {
			scope, of = budget.User, string(tx.Actor.User)
		}
		scopeID, team, owner, err := scopeOf(ctx, tx, scope, of)
		if err != nil {
			return api.BudgetRequest{}, "", err
		}
		if !policy.Allows(tx.Actor, policy.BudgetRead, owner, team) && team != tx.Actor.Team {
			return api.BudgetRequest{}, "", people.ErrUserNotFound.Sayf("there is no such %s, or it is not yours to see", scope)
		}
		if err := policy.Require(tx.Actor, policy.BudgetRequest, owner, team); err != nil {
			return api.BudgetRequest{}, "", err
		}
		r, err := s.budgets.Ask(ctx, tx, budget.Wish{Scope: scope, ScopeID: scopeID, Team: team, Amount: amount, Reason: in.Body.Reason, Until: in.Body.Until})
		return answerRequest(ctx, tx, r, err)
	})
}

// answerRequest shows a request that was just changed.
func answerRequest(ctx context.Context, tx *audit.Tx, r budget.Request, err error) (api.BudgetRequest, string, error) {
	if err != nil {
		return api.BudgetRequest{}, "", err
	}
	views, err := requestViews(ctx, tx, r)
	return views[0], "", err
}

func (s *Server) listBudgetRequests(ctx context.Context, in *struct {
	Page
	State budget.RequestState `query:"state" enum:"PENDING,APPROVED,LENT,RETURNED,DECLINED,WITHDRAWN,EXPIRED"`
	ID    id.BudgetRequest    `query:"id" maxLength:"64" doc:"Only this one"`
},
) (*struct{ Body api.BudgetRequestList }, error) {
	after, err := in.after("budget_requests")
	if err != nil {
		return nil, err
	}
	a, pool := actor.From(ctx), s.audit.Pool()
	f := budget.RequestFilter{User: a.User, ID: in.ID, State: in.State, Before: after, Limit: in.Limit + 1}
	switch policy.ReachOf(a, policy.BudgetRead) {
	case policy.Any:
		f.All = true
	case policy.Team:
		f.Team = a.Team
	case policy.Own:
	case policy.None:
		return nil, s.refused(ctx, policy.BudgetRead)
	}
	found, err := budget.Requests(ctx, pool, f, s.audit.Clock()())
	if err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "budget_requests", func(r budget.Request) string { return string(r.ID) })
	views, err := requestViews(ctx, pool, found...)
	return &struct{ Body api.BudgetRequestList }{api.BudgetRequestList{Items: views, NextCursor: next}}, err
}

// mayDecide finds a request that the actor may decide: it is theirs to see, and its budget theirs to set.
func (s *Server) mayDecide(ctx context.Context, tx *audit.Tx, request id.BudgetRequest) error {
	r, err := budget.FindRequest(ctx, tx, request, tx.Now)
	if err != nil {
		return err
	}
	var team, member id.Team
	if r.TeamID != nil {
		team = *r.TeamID
	}
	if !policy.Allows(tx.Actor, policy.BudgetRead, r.AskedBy, team) {
		return budget.ErrRequestNotFound
	}
	if r.AskedBy == tx.Actor.User {
		return budget.ErrRequestOwn
	}
	// A lead sets the members' budgets; every other one is finance's.
	if r.Scope == budget.User {
		member = team
	}
	return policy.Require(tx.Actor, policy.BudgetSet, "", member)
}

func (s *Server) approveBudgetRequest(ctx context.Context, in *struct {
	RequestPath
	Once
	Body api.BudgetRequestApprove
},
) (*Answer[api.BudgetRequest], error) {
	what := audit.Intent{Action: "budget.approve", ResourceType: "budget_request", ResourceID: string(in.ID)}
	return once(ctx, s, in.Once, what, in.Body, all, func(tx *audit.Tx) (api.BudgetRequest, string, error) {
		d := budget.Decision{Until: in.Body.Until, Forever: in.Body.Forever, Note: in.Body.Note}
		if in.Body.Amount != "" {
			amount, err := budget.ParseAmount(in.Body.Amount, "")
			if err != nil {
				return api.BudgetRequest{}, "", err
			}
			d.Amount = &amount
		}
		if err := s.mayDecide(ctx, tx, in.ID); err != nil {
			return api.BudgetRequest{}, "", err
		}
		r, err := s.budgets.Approve(ctx, tx, in.ID, d)
		return answerRequest(ctx, tx, r, err)
	})
}

func (s *Server) declineBudgetRequest(ctx context.Context, in *struct {
	RequestPath
	Once
	Body api.BudgetRequestDecline
},
) (*Answer[api.BudgetRequest], error) {
	what := audit.Intent{Action: "budget.decline", ResourceType: "budget_request", ResourceID: string(in.ID)}
	return once(ctx, s, in.Once, what, in.Body, all, func(tx *audit.Tx) (api.BudgetRequest, string, error) {
		if err := s.mayDecide(ctx, tx, in.ID); err != nil {
			return api.BudgetRequest{}, "", err
		}
		r, err := s.budgets.Decline(ctx, tx, in.ID, in.Body.Note)
		return answerRequest(ctx, tx, r, err)
	})
}

func (s *Server) withdrawBudgetRequest(ctx context.Context, in *struct {
	RequestPath
	Once
},
) (*Answer[api.BudgetRequest], error) {
	what := audit.Intent{Action: "budget.withdraw", ResourceType: "budget_request", ResourceID: string(in.ID)}
	return once(ctx, s, in.Once, what, nil, all, func(tx *audit.Tx) (api.BudgetRequest, string, error) {
		r, err := budget.FindRequest(ctx, tx, in.ID, tx.Now)
		if err == nil && r.AskedBy != tx.Actor.User {
			err = budget.ErrRequestNotFound
		}
		if err != nil {
			return api.BudgetRequest{}, "", err
		}
		r, err = s.budgets.Withdraw(ctx, tx, in.ID)
		return answerRequest(ctx, tx, r, err)
	})
}

// readableBudget is a budget that the actor may see in full: theirs, their team's for a lead, every one for finance.
func (s *Server) readableBudget(ctx context.Context, budgetID id.Budget) (budget.Budget, error) {
	a, pool := actor.From(ctx), s.audit.Pool()
	b, err := budget.Get(ctx, pool, budgetID, s.audit.Clock()())
	if errors.Is(err, pgx.ErrNoRows) {
		return b, budget.ErrNotFound
	}
	if err != nil {
		return b, err
	}
	_, team, owner, err := scopeOf(ctx, pool, b.Scope, b.ScopeID)
	if err != nil {
		return b, err
	}
	if policy.Allows(a, policy.BudgetRead, owner, team) {
		return b, nil
	}
	return b, s.audit.NoteRefusal(ctx, audit.Intent{Action: string(policy.BudgetRead), ResourceType: "budget", ResourceID: string(budgetID)}, budget.ErrNotFound)
}

func (s *Server) getBudget(ctx context.Context, in *BudgetPath) (*Answer[api.Budget], error) {
	b, err := s.readableBudget(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	names, err := people.Names(ctx, s.audit.Pool(), []string{b.ScopeID})
	return &Answer[api.Budget]{Body: budgetView(b, names), ETag: etag(b.Version)}, err
}

// before reads the cursor of a list that is numbered.
func (p Page) before(list string) (int64, error) {
	after, err := p.after(list)
	if err != nil || after == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(after, 10, 64)
	if err != nil {
		return 0, errCursor
	}
	return n, nil
}

func (s *Server) listBudgetEntries(ctx context.Context, in *struct {
	BudgetPath
	Page
},
) (*struct{ Body api.BudgetEntryList }, error) {
	before, err := in.before("budget_entries")
	if err != nil {
		return nil, err
	}
	if _, err := s.readableBudget(ctx, in.ID); err != nil {
		return nil, err
	}
	found, err := budget.Entries(ctx, s.audit.Pool(), in.ID, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "budget_entries", func(e budget.Entry) string { return strconv.FormatInt(e.Number, 10) })
	return &struct{ Body api.BudgetEntryList }{api.BudgetEntryList{Items: mapped(found, func(e budget.Entry) api.BudgetEntry {
		v := api.BudgetEntry{
			Number: e.Number, PeriodStart: e.PeriodStart.UTC(), Version: e.Version, At: e.At.UTC(), Kind: e.Kind, Limit: usd(e.Limit), Settled: usd(e.Settled),
			Held: usd(e.Held), Overrun: usd(e.Overrun), Reason: e.Reason,
		}
		if e.WorkspaceID != nil {
			v.WorkspaceID = string(*e.WorkspaceID)
		}
		return v
	}), NextCursor: next}}, nil
}

func (s *Server) listBudgetHistory(ctx context.Context, in *struct {
	BudgetPath
	Page
},
) (*struct{ Body api.BudgetVersionList }, error) {
	before, err := in.before("budget_history")
	if err != nil {
		return nil, err
	}
	if _, err := s.readableBudget(ctx, in.ID); err != nil {
		return nil, err
	}
	found, err := budget.History(ctx, s.audit.Pool(), in.ID, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "budget_history", func(v budget.Version) string { return strconv.FormatInt(v.Version, 10) })
	names, err := people.Names(ctx, s.audit.Pool(), mapped(found, func(v budget.Version) string { return v.SetBy }))
	return &struct{ Body api.BudgetVersionList }{api.BudgetVersionList{Items: mapped(found, func(b budget.Version) api.BudgetVersion {
		v := api.BudgetVersion{
			Version: b.Version, At: b.At.UTC(), SetBy: b.SetBy, SetByName: names[b.SetBy], Cause: b.Cause, Amount: usd(b.Amount), Lent: usd(b.Lent),
			Period: string(b.Period), WarningPercents: b.WarningPercents, Enforcement: string(b.Enforcement),
		}
		v.FirstMonth, v.LastMonth = months(b.ValidFrom, b.ValidUntil)
		if b.RequestID != nil {
			v.RequestID = string(*b.RequestID)
		}
		return v
	}), NextCursor: next}}, err
}

func (s *Server) auditBudgets(ctx context.Context, _ *struct{}) (*struct{ Body api.BudgetAudit }, error) {
	if policy.ReachOf(actor.From(ctx), policy.BudgetAudit) != policy.Any {
		return nil, s.refused(ctx, policy.BudgetAudit)
	}
	a, err := budget.Audit(ctx, s.audit.Pool(), s.audit.Clock()())
	return &struct{ Body api.BudgetAudit }{api.BudgetAudit{
		Budgets: a.Budgets, Periods: a.Periods, Entries: a.Entries, Differences: mapped(a.Differences, func(d budget.Difference) api.BudgetDifference {
			stored, rebuilt := d.Texts()
			return api.BudgetDifference{
				BudgetID: string(d.BudgetID), Scope: string(d.Scope), ScopeID: d.ScopeID, PeriodStart: d.PeriodStart.UTC(), What: d.What, Stored: stored, Rebuilt: rebuilt,
			}
		}),
	}}, err
}

func (s *Server) checkBudgets(ctx context.Context, in *struct{ Body api.BudgetCheck }) (*struct{ Body api.BudgetVerdict }, error) {
	c, err := s.fleet.Check(ctx, s.audit, requestOf(in.Body.WorkspaceCreate), in.Body.Hours)
	if err != nil {
		return nil, err
	}
	names, err := people.Names(ctx, s.audit.Pool(), mapped(c.Budgets, func(h workspace.Headroom) string { return h.ScopeID }))
	if err != nil {
		return nil, err
	}
	v := api.BudgetVerdict{
		Verdict: string(c.Verdict), Estimate: estimateView(c.Estimate), Hours: c.Hours, Changes: mapped(c.Changes, flipView),
		Budgets: mapped(c.Budgets, func(h workspace.Headroom) api.BudgetHeadroom {
			return api.BudgetHeadroom{
				BudgetID: string(h.ID), Scope: string(h.Scope), ScopeID: h.ScopeID, Name: names[h.ScopeID], Enforcement: string(h.Enforcement),
				Limit: usd(h.Limit), Settled: usd(h.Settled), Held: usd(h.Held), Available: usd(h.Available()), Missing: usd(h.Missing),
			}
		}),
	}
	if c.Expected != nil {
		expected := usd(*c.Expected)
		v.Expected = &expected
	}
	if c.Refusal != nil {
		p := problemOf(s.fault(ctx, c.Refusal), "")
		v.Refusal = &api.BudgetRefusal{Code: p.Code, Detail: p.Detail, SuggestedAction: p.SuggestedAction, Details: p.Details}
	}
	return &struct{ Body api.BudgetVerdict }{v}, nil
}

func flipView(c workspace.Change) api.BudgetChange {
	v := api.BudgetChange{Kind: c.Kind, Text: c.Text, BundleType: c.BundleType, RunningMode: c.RunningMode, Hours: c.Hours}
	for _, r := range c.Raises {
		v.Raises = append(v.Raises, api.BudgetRaise{
			BudgetID: string(r.Budget.ID), Scope: string(r.Budget.Scope), ScopeID: r.Budget.ScopeID, By: usd(r.By),
			GrantedBy: mapped(r.GrantedBy, func(role actor.Role) string { return string(role) }),
		})
	}
	return v
}
