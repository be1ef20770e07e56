package plans

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/workspace"
)

// Query is one that is asked often, or of a large table.
type Query struct {
	Name string
	// Indexes must all be used, each by some statement of the query; "a|b" is either.
	Indexes []string
	// Rows are the most that one statement may look at.
	Rows int64
	// Statements are those that the product sends for it, each text once.
	Statements []Statement
}

// Verdict is how one query was answered: the plans of its statements taken together.
type Verdict struct {
	Plan
	// Complaints say what is not as it should be.
	Complaints []string
}

// Check explains every statement of the query, as it is planned for its arguments and, where it is prepared, as it is
// planned for any.
func (q Query) Check(ctx context.Context, tx pgx.Tx) (v Verdict, err error) {
	for _, mode := range []struct {
		name    string
		explain func(Statement, context.Context, pgx.Tx) (Plan, error)
	}{{"planned for its arguments", Statement.Explain}, {"planned for any arguments", Statement.ExplainGeneric}} {
		used := map[string]bool{}
		for _, s := range q.Statements {
			explain := mode.explain
			if s.Unprepared {
				explain = Statement.Explain // there is no other plan
			}
			p, err := explain(s, ctx, tx)
			if err != nil {
				return v, err
			}
			for _, index := range p.Indexes {
				used[index] = true
				if !slices.Contains(v.Indexes, index) {
					v.Indexes = append(v.Indexes, index)
				}
			}
			v.Rows, v.Pages = max(v.Rows, p.Rows), max(v.Pages, p.Pages)
			if len(p.Scans) > 0 {
				v.Complaints = append(v.Complaints, fmt.Sprintf("%s: it scans %v: %s", mode.name, p.Scans, s.SQL))
			}
			if p.Rows > q.Rows {
				v.Complaints = append(v.Complaints, fmt.Sprintf("%s: it looks at %d rows by %v, at most %d are needed: %s", mode.name, p.Rows, p.Indexes, q.Rows, s.SQL))
			}
		}
		for _, want := range q.Indexes {
			if !slices.ContainsFunc(strings.Split(want, "|"), func(index string) bool { return used[index] }) {
				v.Complaints = append(v.Complaints, fmt.Sprintf("%s: it does not use %s", mode.name, want))
			}
		}
	}
	return v, nil
}

// page is what a list asks for: the API's 50 and one to see whether there are more.
const page = 51

// asker collects the queries. The first error stays.
type asker struct {
	*Bench
	ctx context.Context
	all []Query
	err error
}

// ask adds a query: what fn sends.
func (a *asker) ask(name string, rows int64, indexes []string, fn func() error) {
	if a.err != nil {
		return
	}
	heard, err := a.listen(nil, fn)
	a.add(name, rows, indexes, heard, err)
}

func (a *asker) add(name string, rows int64, indexes []string, heard []Statement, err error) {
	if err == nil && len(heard) == 0 {
		err = errors.New("nothing was asked of the database")
	}
	if err != nil && a.err == nil {
		a.err = fmt.Errorf("%s: %w", name, err)
	}
	a.all = append(a.all, Query{Name: name, Indexes: indexes, Rows: rows, Statements: heard})
}

// text adds a query that the product does not ask yet, by its text.
func (a *asker) text(name string, rows int64, indexes []string, sql string, args ...any) {
	a.add(name, rows, indexes, []Statement{{SQL: sql, Args: args}}, nil)
}

// value is one value out of the database: a bound, or somebody to ask for.
func value[T any](a *asker, sql string, args ...any) (v T) {
	if a.err == nil {
		if err := a.Pool.QueryRow(a.ctx, sql, args...).Scan(&v); err != nil {
			a.err = fmt.Errorf("%s: %w", sql, err)
		}
	}
	return v
}

func by(indexes ...string) []string { return indexes }

// Queries has the product ask everything that is hot and returns it as it was asked. Changes are taken back, but for one:
// the month of five budgets begins. So it is taken back beforehand.
func (b *Bench) Queries(ctx context.Context) ([]Query, error) {
	a := &asker{Bench: b, ctx: ctx}
	for _, sql := range []string{`DELETE FROM budget_entries`, `
		DELETE FROM budget_periods
		WHERE period_start = (SELECT max(period_start) FROM budget_periods)
		  AND budget_id IN (SELECT id FROM user_budgets WHERE scope = 'USER' ORDER BY id LIMIT 5)`} {
		if _, err := b.Pool.Exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	a.workspaces()
	a.sweeps()
	a.costs()
	a.budgets()
	a.people()
	a.blueprints()
	a.audit()
	a.house()
	return a.all, a.err
}

// whoever has most: the worst case of every list. A sum over the busiest team of few is better made by reading the month.
const (
	busiestUser = `SELECT user_id FROM workspaces WHERE terminated_at IS NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1`
	busiestTeam = `SELECT team_id FROM workspaces WHERE terminated_at IS NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1`
	typicalTeam = `SELECT team_id FROM workspaces GROUP BY 1 ORDER BY count(*) DESC, 1 OFFSET (SELECT count(*) / 2 FROM teams) LIMIT 1`
)

func (a *asker) workspaces() {
	user, team := value[id.User](a, busiestUser), value[id.Team](a, busiestTeam)
	ofUser := value[int64](a, `SELECT count(*) FROM workspaces WHERE user_id = $1 AND terminated_at IS NULL`, user)
	ofTeam := value[int64](a, `SELECT count(*) FROM workspaces WHERE team_id = $1 AND terminated_at IS NULL`, team)
	everOfTeam := value[int64](a, `SELECT count(*) FROM workspaces WHERE team_id = $1`, team)
	failed := value[int64](a, `SELECT count(*) FROM workspaces WHERE state = 'FAILED'`)
	middle := value[string](a, `SELECT id FROM workspaces ORDER BY id OFFSET (SELECT count(*) / 2 FROM workspaces) LIMIT 1`)
	// The page is found in the index and then fetched: its rows count twice.
	list := func(name string, rows int64, indexes []string, f workspace.Filter) {
		f.Limit = page
		a.ask("WorkSpaces: "+name, rows+page, append(indexes, "workspaces_pkey"), func() error {
			_, err := workspace.List(a.ctx, a.Pool, f)
			return err
		})
	}
	list("a user's", max(ofUser, page), by("workspaces_owner_name_uq|workspaces_user_idx"), workspace.Filter{User: user, Live: true})
	list("a user's, ended too", page, by("workspaces_user_idx"), workspace.Filter{User: user})
	list("a user's that are stopped", max(ofUser, page), by("workspaces_owner_name_uq|workspaces_user_idx"), workspace.Filter{User: user, State: workspace.Stopped})
	list("a team's", page, by("workspaces_team_live_idx"), workspace.Filter{Team: team, Live: true})
	list("a team's, ended too", page, by("workspaces_team_idx"), workspace.Filter{Team: team})
	list("a team's that are stopped", ofTeam, by("workspaces_team_live_idx"), workspace.Filter{Team: team, State: workspace.Stopped})
	list("a team's that have failed", max(failed, everOfTeam), by("workspaces_team_idx|workspaces_state_idx"), workspace.Filter{Team: team, State: workspace.Failed})
	list("everyone's", page, by("workspaces_live_idx"), workspace.Filter{Live: true})
	list("everyone's, a later page", page, by("workspaces_live_idx"), workspace.Filter{Live: true, After: middle})
	list("everyone's, ended too", page, nil, workspace.Filter{})
	list("everyone's that are available", page, by("workspaces_state_idx"), workspace.Filter{State: workspace.Available})
	list("everyone's that have failed", page, by("workspaces_state_idx"), workspace.Filter{State: workspace.Failed})
	list("everyone's that were terminated", 2*page, nil, workspace.Filter{State: workspace.Terminated})
	a.ask("WorkSpaces: one", 1, by("workspaces_pkey"), func() error {
		_, err := workspace.Get(a.ctx, a.Pool, actor.System("bench"), id.WorkSpace(middle))
		return err
	})
	a.ask("WorkSpaces: names of fifty", page, by("workspaces_pkey"), func() error {
		_, err := workspace.Names(a.ctx, a.Pool, someWorkspaces(a))
		return err
	})
	a.ask("WorkSpaces: what happened to one", 10, by("workspace_events_pkey"), func() error {
		_, err := workspace.Events(a.ctx, a.Pool, id.WorkSpace(middle), 0, page)
		return err
	})
	a.ask("WorkSpaces: a leaver's, handed over", max(ofUser, page), by("workspaces_owner_name_uq|workspaces_user_idx"), func() error {
		return a.change(a.ctx, func(tx *audit.Tx) error {
			_, err := a.fleet.HandOver(a.ctx, tx, user, user)
			return err
		})
	})
}

func someWorkspaces(a *asker) []string {
	var ids []string
	rows, err := a.Pool.Query(a.ctx, `SELECT id FROM workspaces ORDER BY id DESC LIMIT 50`)
	if err == nil {
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil && a.err == nil {
		a.err = err
	}
	return ids
}

func (a *asker) sweeps() {
	if a.err != nil {
		return
	}
	for _, c := range []struct{ which, known string }{{"that Amazon knows", "provider_id IS NOT NULL"}, {"that Amazon does not know yet", "provider_id IS NULL"}} {
		heard, err := a.listen(func(sql string) bool {
			return strings.Contains(sql, "SET lease_token") && strings.Contains(sql, c.known)
		}, func() error {
			_, err := a.reconciler.Round(a.ctx)
			return err
		})
		passed := value[int64](a, `SELECT count(*) FROM workspaces WHERE next_due_at <= $1 AND (lease_until > $1 OR NOT (`+c.known+`))`, Now)
		a.add("sweep: WorkSpaces due "+c.which+", claimed", 3*workspace.BatchSize+passed, by("workspaces_due_idx", "workspaces_pkey"), heard, err)
	}
	expected, err := a.listen(func(sql string) bool { return strings.Contains(sql, "percentile_cont") }, func() error {
		_, err := workspace.Expect(a.ctx, a.Pool, "us-east-1")
		return err
	})
	a.add("how long provisioning took lately", 400, by("workspaces_provisioned_idx"), expected, err)
	due, err := a.listen(func(sql string) bool { return strings.Contains(sql, "rule_lease_until") }, func() error {
		_, err := a.sweeper.Round(a.ctx)
		return err
	})
	a.add("sweep: rules that are due, claimed", 3*100, by("workspaces_rule_due_idx", "workspaces_pkey"), only(due, "rule_lease_until"), err)
	stops, err := a.listen(nil, func() error {
		_, err := budget.DueStops(a.ctx, a.Pool, Now, 100)
		return err
	})
	a.add("sweep: what a budget stops", 100, by("budget_holds_stop_idx"), stops, err)
	version := value[string](a, `SELECT blueprint_version_id FROM workspaces WHERE terminated_at IS NULL GROUP BY 1 ORDER BY count(*) DESC, 1 OFFSET 20 LIMIT 1`)
	running := value[int64](a, `SELECT count(*) FROM workspaces WHERE blueprint_version_id = $1 AND terminated_at IS NULL`, version)
	a.text("sweep: who is on a blueprint's version", running, by("workspaces_blueprint_version_idx"), `
		SELECT id
		FROM workspaces
		WHERE blueprint_version_id = $1 AND terminated_at IS NULL`, version)
	// The budgets of a hundred at once: with as few budgets as there are, PostgreSQL may as well read them all.
	a.ask("sweep: usage due, settled and charged", 2*value[int64](a, `SELECT count(*) FROM user_budgets`),
		by("usage_due_idx", "usage_pkey", "budget_periods_pkey", "budget_holds_pkey"), func() error {
			return a.change(a.ctx, func(tx *audit.Tx) error {
				_, err := a.meter.Settle(a.ctx, tx, 100)
				return err
			})
		})
	a.text("sweep: messages not sent yet", 100, by("notifications_unsent_idx"), `
		SELECT id
		FROM notifications
		WHERE sent_at IS NULL
		ORDER BY created_at
		LIMIT 100`)
}

func (a *asker) costs() {
	from, to := clock.StartOfMonth(Now).AddDate(0, -1, 0), clock.StartOfMonth(Now)
	user, team := value[id.User](a, busiestUser), value[id.Team](a, typicalTeam)
	project := value[string](a, `SELECT project_id FROM workspaces WHERE team_id = $1 AND project_id IS NOT NULL LIMIT 1`, team)
	// What an answer is made of: the month's records and the usage that is open.
	part := func(where string, args ...any) int64 {
		args = append([]any{from, to}, args...)
		return max(
			value[int64](a, `SELECT count(*) FROM cost_records WHERE period_start >= $1 AND period_start < $2`+strings.ReplaceAll(where, "?", "$3"), args...),
			value[int64](a, `SELECT count(*) FROM usage WHERE closed_at IS NULL`+strings.ReplaceAll(where, "?", "$1"), args[2:]...))
	}
	sum := func(name string, rows int64, indexes []string, q cost.Query) {
		q.From, q.To = from, to
		a.ask("cost: "+name, rows, indexes, func() error {
			_, err := cost.Summarise(a.ctx, a.Pool, q, Now)
			return err
		})
	}
	// What the sums of an answer are made of: days of one thing, or hours of everything that it is narrowed to.
	days := func(dimension string) int64 {
		return max(value[int64](a, `SELECT count(*) FROM cost_days WHERE dimension = $1 AND day >= $2 AND day < $3`, dimension, from, to),
			value[int64](a, `SELECT count(*) FROM usage WHERE due_at <= $1`, Now.Add(time.Hour)))
	}
	sum("a user's month, by WorkSpace", part(" AND user_id = ?", user), by("cost_records_user_idx", "usage_open_user_idx"), cost.Query{GroupBy: "workspace", User: user})
	sum("a team's month, by user", part(" AND team_id = ?", team), by("cost_records_team_idx", "usage_open_team_idx"), cost.Query{GroupBy: "user", Team: team})
	sum("a project's month, by user", part(" AND project_id = ?", project), by("cost_records_project_idx", "usage_due_idx"),
		cost.Query{GroupBy: "user", Only: map[string][]string{"project": {project}}})
	for _, group := range []string{"team", "workspace", "region", "tag:env"} {
		sum("everyone's month, by "+group, days(group), by("cost_days_day_idx|cost_days_pkey", "usage_due_idx"), cost.Query{GroupBy: group})
	}
	sum("a team's month, by day", part(" AND team_id = ?", team), by("cost_days_pkey", "usage_open_team_idx"), cost.Query{GroupBy: "total", Granularity: "day", Team: team})
	for _, s := range []struct {
		scope    budget.Scope
		id, name string
	}{
		{budget.User, string(user), "a user"},
		{budget.Team, string(team), "a team"},
		{budget.Project, project, "a project"},
		{budget.Organisation, budget.OrganisationID, "everyone"},
	} {
		a.ask("cost: what "+s.name+" has spent in a month", 100, by("cost_days_pkey"), func() error {
			_, err := cost.Spent(a.ctx, a.Pool, s.scope, s.id, from, to)
			return err
		})
	}
	a.ask("cost: of fifty WorkSpaces, to date", 2*page, by("usage_workspace_idx"), func() error {
		var ids []id.WorkSpace
		for _, ws := range someWorkspaces(a) {
			ids = append(ids, id.WorkSpace(ws))
		}
		_, err := cost.ToDate(a.ctx, a.Pool, ids, Now)
		return err
	})
	ws := value[string](a, `SELECT workspace_id FROM cost_records ORDER BY id OFFSET 1000 LIMIT 1`)
	a.text("cost: records of a WorkSpace", value[int64](a, `SELECT count(*) FROM cost_records WHERE workspace_id = $1`, ws), by("cost_records_workspace_idx"), `
		SELECT id, period_start, total_cost_micros
		FROM cost_records
		WHERE workspace_id = $1 AND period_start >= $2
		ORDER BY period_start`, ws, Begin)
	hour := Now.AddDate(0, -1, 0)
	for _, column := range []string{"recorded_at", "period_end"} {
		within := value[int64](a, `SELECT count(*) FROM cost_records WHERE `+column+` >= $1 AND `+column+` < $2`, hour, hour.Add(time.Hour))
		a.text("cost: records of an hour, by "+column, within, by("cost_records_"+strings.TrimSuffix(column, "_at")+"_idx"), `
			SELECT id, total_cost_micros
			FROM cost_records
			WHERE `+column+` >= $1 AND `+column+` < $2
			ORDER BY `+column, hour, hour.Add(time.Hour))
	}
}

func (a *asker) budgets() {
	user := value[id.User](a, busiestUser)
	team := value[id.Team](a, `SELECT team_id FROM users WHERE id = $1`, user)
	members := value[int64](a, `SELECT count(*) FROM users WHERE team_id = $1`, team)
	budgets := value[int64](a, `SELECT count(*) FROM user_budgets`)
	a.ask("budgets: locked for a request", 6, by("user_budgets_scope_idx", "user_budgets_pkey", "budget_periods_pkey"), func() error {
		return a.change(a.ctx, func(tx *audit.Tx) error { return a.book.Lock(a.ctx, tx, nil, budget.Payer{User: user, Team: team}) })
	})
	a.ask("budgets: one", 2, by("user_budgets_scope_idx", "budget_periods_pkey"), func() error {
		_, err := budget.Find(a.ctx, a.Pool, budget.User, string(user), Now)
		return err
	})
	a.ask("budgets: everyone's", 2*page, by("user_budgets_pkey", "budget_periods_pkey"), func() error {
		_, err := budget.List(a.ctx, a.Pool, budget.View{All: true}, Now, "", page)
		return err
	})
	// The members are looked up one by one; where there are many, reading the small table through is cheaper.
	a.ask("budgets: a team's", budgets+2*(members+page), by("budget_periods_pkey"), func() error {
		users, projects, err := people.Members(a.ctx, a.Pool, team)
		if err != nil {
			return err
		}
		_, err = budget.List(a.ctx, a.Pool, budget.View{Users: users, Teams: []string{string(team)}, Projects: projects}, Now, "", page)
		return err
	})
	a.ask("budgets: the month begins", 2*budgets, by("budget_periods_pkey", "budget_holds_user_idx", "cost_days_pkey"), func() error {
		return a.change(a.ctx, func(tx *audit.Tx) error {
			_, err := a.book.RollOver(a.ctx, tx)
			return err
		})
	})
}

func (a *asker) people() {
	user := value[id.User](a, busiestUser)
	name := value[string](a, `SELECT user_name FROM users WHERE id = $1`, user)
	team := value[id.Team](a, busiestTeam)
	number := 0
	if _, err := fmt.Sscanf(name, "user-%d", &number); err != nil && a.err == nil {
		a.err = err
	}
	members := value[int64](a, `SELECT count(*) FROM users WHERE team_id = $1`, team)
	teams := value[int64](a, `SELECT count(*) FROM teams`)
	a.ask("people: signing in", 2, by("tokens_hash_uq", "users_pkey"), func() error {
		return a.change(a.ctx, func(tx *audit.Tx) error {
			_, err := people.SignIn(a.ctx, tx, secret(number), Now)
			return err
		})
	})
	a.ask("people: one by name or id", teams+2, by("users_user_name_uq", "users_pkey"), func() error {
		_, err := people.FindUser(a.ctx, a.Pool, name)
		return err
	})
	a.ask("people: all", teams+page, by("users_pkey"), func() error {
		_, err := people.Users(a.ctx, a.Pool, "", people.Page{Limit: page})
		return err
	})
	a.ask("people: a team's", max(members, page)+teams, by("users_team_idx"), func() error {
		_, err := people.Users(a.ctx, a.Pool, team, people.Page{Limit: page})
		return err
	})
	a.ask("people: a team's lead", members+teams, by("users_team_idx"), func() error {
		_, err := people.LeadOf(a.ctx, a.Pool, team)
		return err
	})
	a.ask("people: a team's members", members+10, by("users_team_idx"), func() error {
		_, _, err := people.Members(a.ctx, a.Pool, team)
		return err
	})
	a.ask("people: a user's tokens", 3, by("tokens_user_idx"), func() error {
		_, err := people.Tokens(a.ctx, a.Pool, user, people.Page{Limit: page})
		return err
	})
	a.ask("people: a leaver's tokens, revoked", teams+2, by("tokens_user_idx"), func() error {
		return a.change(a.ctx, func(tx *audit.Tx) error {
			_, err := people.DeactivateUser(a.ctx, tx, user)
			return err
		})
	})
}

func (a *asker) blueprints() {
	team := value[id.Team](a, busiestTeam)
	engineer := actor.Actor{Type: actor.TypeUser, User: "usr_bench", Role: actor.Engineer, Team: team}
	version := value[id.BlueprintVersion](a, `SELECT min(id) FROM blueprint_versions`)
	all := value[int64](a, `SELECT count(*) FROM blueprints`) + value[int64](a, `SELECT count(*) FROM teams`) + page // each with its latest version
	a.ask("blueprints: a team's and the public", all, by("blueprint_versions_number_uq"), func() error {
		_, err := blueprint.List(a.ctx, a.Pool, engineer, "", page)
		return err
	})
	name := value[string](a, `SELECT name FROM blueprints WHERE team_id IS NULL ORDER BY id LIMIT 1`)
	a.ask("blueprints: what a reference means", all, by("blueprint_versions_number_uq", "blueprint_statuses_pkey"), func() error {
		_, _, err := blueprint.Resolve(a.ctx, a.Pool, engineer, name)
		return err
	})
	all += value[int64](a, `SELECT count(*) FROM blueprint_versions`)
	one := value[id.Blueprint](a, `SELECT id FROM blueprints ORDER BY id LIMIT 1`)
	a.ask("blueprints: all versions of one", all, by("blueprint_versions_number_uq", "blueprint_statuses_pkey"), func() error {
		_, err := blueprint.Versions(a.ctx, a.Pool, one, 0, page)
		return err
	})
	a.ask("blueprints: the history of one", all, by("blueprint_versions_number_uq", "blueprint_promotions_pkey"), func() error {
		_, err := blueprint.History(a.ctx, a.Pool, one, page)
		return err
	})
	a.ask("blueprints: how a version is written", all, nil, func() error {
		_, err := blueprint.Refs(a.ctx, a.Pool, []id.BlueprintVersion{version})
		return err
	})
}

func (a *asker) audit() {
	user := value[string](a, busiestUser)
	resource := value[string](a, `SELECT resource_id FROM audit_logs WHERE resource_type = 'workspace' ORDER BY timestamp DESC, id DESC OFFSET 1000 LIMIT 1`)
	search := func(name string, rows int64, indexes []string, f audit.Filter) {
		f.Limit = page
		a.ask("audit: "+name, rows, indexes, func() error {
			_, err := audit.Search(a.ctx, a.Pool, f)
			return err
		})
	}
	middle := Now.AddDate(-1, 0, 0)
	search("the newest", page, by("audit_logs_pkey"), audit.Filter{})
	search("a week a year ago", page, by("audit_logs_pkey"), audit.Filter{From: middle.AddDate(0, 0, -7), To: middle})
	search("a later page", page, by("audit_logs_pkey"), audit.Filter{Before: middle, BeforeID: uuid.Max})
	search("by a user", page, by("audit_logs_user_idx"), audit.Filter{UserID: user})
	search("by a user, a later page", page, by("audit_logs_user_idx"), audit.Filter{UserID: user, Before: middle, BeforeID: uuid.Max})
	search("by nobody we know", 1, by("audit_logs_user_idx"), audit.Filter{UserID: "usr_nobody"})
	search("by the system, which does most", 20*page, by("audit_logs_user_idx|audit_logs_pkey"), audit.Filter{UserID: "system:reconcile"})
	search("a common action", 20*page, by("audit_logs_action_idx|audit_logs_pkey"), audit.Filter{ActionType: "workspace.create"})
	search("a rare action", page, by("audit_logs_action_idx"), audit.Filter{ActionType: "price_book.import"})
	search("an action, a year ago", 20*page, by("audit_logs_action_idx|audit_logs_pkey"), audit.Filter{ActionType: "workspace.stop", From: middle.AddDate(0, -1, 0), To: middle})
	search("about a resource", page, by("audit_logs_resource_idx"), audit.Filter{ResourceID: resource})
	search("about a resource of a kind", page, by("audit_logs_resource_type_idx|audit_logs_resource_idx"), audit.Filter{ResourceType: "workspace", ResourceID: resource})
	search("about a common kind", 20*page, by("audit_logs_pkey"), audit.Filter{ResourceType: "workspace"})
	search("about a kind that one in a thousand is of", 1000*page, by("audit_logs_pkey|audit_logs_resource_type_idx"), audit.Filter{ResourceType: "project"})
	search("about a rare kind", 10, by("audit_logs_resource_type_idx"), audit.Filter{ResourceType: "price_book"})
	search("from a rare address", page, by("audit_logs_address_idx"), audit.Filter{Address: netip.MustParsePrefix("203.0.113.9/32")})
	search("from a network", 20*page, by("audit_logs_address_idx|audit_logs_pkey"), audit.Filter{Address: netip.MustParsePrefix("203.0.113.0/24")})
	search("through a usual interface", 20*page, by("audit_logs_pkey"), audit.Filter{Interface: "api"})
	search("through a rare interface", page, by("audit_logs_interface_idx"), audit.Filter{Interface: "admin"})
	search("refusals", page, by("audit_logs_result_idx"), audit.Filter{Result: "refused"})
	search("failures", max(page, value[int64](a, `SELECT count(*) FROM audit_logs WHERE result = 'failed'`)), by("audit_logs_result_idx"), audit.Filter{Result: "failed"})
	byUser := value[int64](a, `SELECT count(*) FROM audit_logs WHERE user_id = $1`, user)
	search("a user's refusals", byUser, by("audit_logs_user_idx|audit_logs_result_idx"), audit.Filter{UserID: user, Result: "refused"})
}

func (a *asker) house() {
	if a.err != nil {
		return
	}
	old := value[int64](a, `SELECT count(*) FROM idempotency_keys WHERE created_at < $1`, Now.Add(-ageOfKeys))
	heard, err := a.housekeeping(a.ctx)
	a.add("house: old answers, forgotten", old, by("idempotency_keys_created_idx"), heard, err)
}
