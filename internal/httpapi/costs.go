package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/workspace"
)

var (
	errZone = fault.New(fault.Invalid, "TIME_ZONE_INVALID", "there is no such time zone",
		fault.Suggest("use a name of the IANA database, such as Europe/Berlin"))
	errTagFilter = fault.New(fault.Invalid, "TAG_FILTER_INVALID", "a tag to filter by is written KEY=VALUE")
)

func (s *Server) costRoutes() {
	route(s, http.MethodGet, "/costs", "list-cost-records", "Settled costs, record by record, newest first", "Costs", http.StatusOK, s.listCosts)
	route(s, http.MethodGet, "/costs/summary", "summarise-costs", "Cost by group, exact to this second", "Costs", http.StatusOK, s.summariseCosts)
	route(s, http.MethodGet, "/costs/estimate", "estimate-cost", "What a WorkSpace would cost", "Costs", http.StatusOK, s.estimateCost)
	route(s, http.MethodGet, "/costs/workspaces/{id}", "explain-workspace-cost", "Why a WorkSpace costs what it does: every fact, rate and rule", "Costs", http.StatusOK, s.explainCost)
}

// CostFilter is whose costs, and when.
type CostFilter struct {
	From       time.Time `query:"from" doc:"The beginning of this month when left out"`
	To         time.Time `query:"to" doc:"The end of this month when left out"`
	TimeZone   string    `query:"tz" maxLength:"64" default:"UTC" example:"Europe/Berlin" doc:"Whose calendar days, weeks and months are of"`
	User       []string  `query:"user" maxItems:"50" doc:"By id or user name; several with commas"`
	Team       []string  `query:"team" maxItems:"50" doc:"By id or name"`
	Project    []string  `query:"project" maxItems:"50" doc:"By id or name"`
	CostCentre []string  `query:"cost_centre" maxItems:"50"`
	Workspace  []string  `query:"workspace" maxItems:"50" doc:"By id"`
	Blueprint  []string  `query:"blueprint" maxItems:"50" doc:"By id"`
	Bundle     []string  `query:"bundle" maxItems:"50" doc:"By bundle type"`
	Region     []string  `query:"region" maxItems:"50"`
	Tag        []string  `query:"tag" maxItems:"50" doc:"KEY=VALUE; several values of a key are alternatives"`
}

// query is what the filter asks for, as far as the actor may see it.
func (f CostFilter) query(ctx context.Context, s *Server, now time.Time) (cost.Query, error) {
	a, pool := actor.From(ctx), s.audit.Pool()
	q := cost.Query{From: f.From.UTC(), To: f.To.UTC(), Only: map[string][]string{}}
	var err error
	if q.Zone, err = time.LoadLocation(f.TimeZone); err != nil || f.TimeZone == "Local" {
		return q, errZone
	}
	year, month, _ := now.In(q.Zone).Date()
	if f.From.IsZero() {
		q.From = time.Date(year, month, 1, 0, 0, 0, 0, q.Zone).UTC()
	}
	if f.To.IsZero() {
		q.To = time.Date(year, month+1, 1, 0, 0, 0, 0, q.Zone).UTC()
	}
	reach := policy.ReachOf(a, policy.CostRead)
	switch reach {
	case policy.Any:
	case policy.Team:
		q.Team = a.Team
	case policy.Own:
		q.User = a.User
	case policy.None:
		return q, s.refused(ctx, policy.CostRead)
	}
	// Who may not see everybody does not learn here who there is: a name that means nobody is taken for an id.
	named := func(values []string, find func(context.Context, postgres.Querier, string) (string, error)) ([]string, error) {
		out := make([]string, len(values))
		for i, v := range values {
			found, err := find(ctx, pool, v)
			switch {
			case err == nil:
				out[i] = found
			case reach == policy.Any || fault.From(err).Kind != fault.NotFound:
				return nil, err
			default:
				out[i] = v
			}
		}
		return out, nil
	}
	for _, by := range []struct {
		name   string
		values []string
		find   func(context.Context, postgres.Querier, string) (string, error)
	}{
		{"user", f.User, func(ctx context.Context, q postgres.Querier, v string) (string, error) {
			u, err := people.FindUser(ctx, q, v)
			return string(u.ID), err
		}},
		{"team", f.Team, func(ctx context.Context, q postgres.Querier, v string) (string, error) {
			t, err := people.FindTeam(ctx, q, v)
			return string(t.ID), err
		}},
		{"project", f.Project, func(ctx context.Context, q postgres.Querier, v string) (string, error) {
			p, err := people.FindProject(ctx, q, v)
			return string(p.ID), err
		}},
	} {
		if len(by.values) > 0 {
			if q.Only[by.name], err = named(by.values, by.find); err != nil {
				return q, err
			}
		}
	}
	for name, values := range map[string][]string{"cost_centre": f.CostCentre, "workspace": f.Workspace, "blueprint": f.Blueprint, "bundle": f.Bundle, "region": f.Region} {
		if len(values) > 0 {
			q.Only[name] = values
		}
	}
	for _, t := range f.Tag {
		key, value, ok := strings.Cut(t, "=")
		if !ok || key == "" {
			return q, errTagFilter
		}
		q.Only["tag:"+key] = append(q.Only["tag:"+key], value)
	}
	return q, nil
}

// noteCosts puts on record that somebody reads what others cost.
func (s *Server) noteCosts(ctx context.Context, q cost.Query, details map[string]any) error {
	if q.User != "" {
		return nil
	}
	details["from"], details["to"], details["team_id"] = q.From.Format(time.RFC3339), q.To.Format(time.RFC3339), string(q.Team)
	for name, keys := range q.Only {
		if strings.HasPrefix(name, "tag:") {
			name, keys = "tag", []string{"yes"} // people write in tags what they like
		}
		text := strings.Join(keys, ",")
		details["only_"+name] = text[:min(len(text), 500)]
	}
	return s.audit.Note(ctx, audit.Event{Action: string(policy.CostRead), ResourceType: "cost", Details: details})
}

func (s *Server) summariseCosts(ctx context.Context, in *struct {
	CostFilter
	GroupBy     string `query:"group_by" maxLength:"131" pattern:"^(total|user|team|project|cost_centre|workspace|blueprint|bundle|region|tag:.+)$" default:"workspace" doc:"total, user, team, project, cost_centre, workspace, blueprint, bundle, region, or tag:KEY"`
	Granularity string `query:"granularity" enum:"day,week,month" doc:"Each group's cost by day, week or month as well"`
},
) (*struct{ Body api.CostSummary }, error) {
	now := s.audit.Clock()()
	q, err := in.query(ctx, s, now)
	if err != nil {
		return nil, err
	}
	q.GroupBy, q.Granularity = in.GroupBy, in.Granularity
	sums, err := cost.Summarise(ctx, s.audit.Pool(), q, now)
	if err != nil {
		return nil, err
	}
	if err := s.noteCosts(ctx, q, map[string]any{"group_by": strings.SplitN(q.GroupBy, ":", 2)[0], "granularity": q.Granularity}); err != nil {
		return nil, err
	}
	names, err := s.namesOf(ctx, q.GroupBy, mapped(sums, func(g cost.Sum) string { return g.Key }))
	if err != nil {
		return nil, err
	}
	periods, err := q.Periods()
	if err != nil {
		return nil, err
	}
	var total money.USD
	items := mapped(sums, func(g cost.Sum) api.CostGroup {
		total += g.Total()
		v := api.CostGroup{Key: g.Key, Name: names[g.Key], Untagged: g.Untagged, CostAmount: amountView(g.Amount)}
		if q.Granularity != "" {
			for i, p := range g.Periods {
				v.Periods = append(v.Periods, api.CostPeriod{From: periods[i], To: periods[i+1], Open: usd(p.Open), Total: usd(p.Total())})
			}
		}
		return v
	})
	return &struct{ Body api.CostSummary }{api.CostSummary{
		From: q.From, To: q.To, AsOf: now, GroupBy: q.GroupBy, Granularity: q.Granularity, TimeZone: q.Zone.String(), Total: usd(total), Items: items,
	}}, nil
}

// namesOf are the names of what costs are grouped by, where it has ids.
func (s *Server) namesOf(ctx context.Context, group string, keys []string) (map[string]string, error) {
	switch group {
	case "user", "team", "project":
		return people.Names(ctx, s.audit.Pool(), keys)
	case "workspace":
		return workspace.Names(ctx, s.audit.Pool(), keys)
	}
	return nil, nil
}

func amountView(a cost.Amount) api.CostAmount {
	return api.CostAmount{
		Compute: usd(a.Compute), Storage: usd(a.Storage), Transfer: usd(a.Transfer), Settled: usd(a.Settled()), Open: usd(a.Open), Total: usd(a.Total()),
	}
}

func (s *Server) listCosts(ctx context.Context, in *struct {
	Page
	CostFilter
},
) (*struct{ Body api.CostRecordList }, error) {
	after, err := in.after("costs")
	if err != nil {
		return nil, err
	}
	at, last, err := timeCursor(after)
	if err != nil {
		return nil, err
	}
	q, err := in.query(ctx, s, s.audit.Clock()())
	if err != nil {
		return nil, err
	}
	if _, err := q.Periods(); err != nil {
		return nil, err
	}
	found, err := cost.Records(ctx, s.audit.Pool(), q, at, id.CostRecord(last), in.Limit+1)
	if err != nil {
		return nil, err
	}
	if err := s.noteCosts(ctx, q, map[string]any{"returned": min(len(found), in.Limit)}); err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "costs", func(r cost.Record) string { return timeKey(r.PeriodStart, string(r.ID)) })
	return &struct{ Body api.CostRecordList }{api.CostRecordList{Items: mapped(found, recordView), NextCursor: next}}, nil
}

// timeKey and timeCursor are a cursor's place among what is in order of time and id.
func timeKey(at time.Time, key string) string { return at.UTC().Format(time.RFC3339Nano) + " " + key }

func timeCursor(key string) (time.Time, string, error) {
	if key == "" {
		return time.Time{}, "", nil
	}
	at, last, ok := strings.Cut(key, " ")
	t, err := time.Parse(time.RFC3339Nano, at)
	if !ok || last == "" || err != nil {
		return time.Time{}, "", errCursor
	}
	return t, last, nil
}

func recordView(r cost.Record) api.CostRecord {
	v := api.CostRecord{
		ID: string(r.ID), UsageID: string(r.UsageID), Kind: r.Kind, WorkspaceID: string(r.WorkspaceID), UserID: string(r.UserID), TeamID: string(r.TeamID),
		CostCentre: r.CostCentre, BlueprintID: string(r.BlueprintID), BlueprintVersionID: string(r.BlueprintVersionID), BundleType: r.BundleType, Region: r.Region,
		Tags: r.Tags, PriceID: r.PriceID, Item: string(r.Item), SKU: r.Sku, Rate: usd(r.RateMicros), HourRule: string(r.HourRule), Compute: usd(r.ComputeMicros),
		Storage: usd(r.StorageMicros), Transfer: usd(r.TransferMicros), Total: usd(r.Total()), PeriodStart: r.PeriodStart.UTC(), PeriodEnd: r.PeriodEnd.UTC(),
		RecordedAt: r.RecordedAt.UTC(),
	}
	if r.ProjectID != nil {
		v.ProjectID = string(*r.ProjectID)
	}
	if r.Corrects != nil {
		v.Corrects = string(*r.Corrects)
	}
	return v
}

func (s *Server) explainCost(ctx context.Context, in *struct {
	WorkspacePath
	Page
},
) (*struct{ Body api.CostTimeline }, error) {
	after, err := in.after("timeline")
	if err != nil {
		return nil, err
	}
	at, last, err := timeCursor(after)
	if err != nil {
		return nil, err
	}
	now := s.audit.Clock()()
	q, err := CostFilter{TimeZone: "UTC"}.query(ctx, s, now)
	if err != nil {
		return nil, err
	}
	found, total, err := cost.Timeline(ctx, s.audit.Pool(), in.ID, q, at, id.Usage(last), in.Limit+1, now)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && after == "" {
		// What has not cost anything yet is there as well, for those who may see it.
		if _, err := workspace.Get(ctx, s.audit.Pool(), actor.From(ctx), in.ID); err != nil {
			return nil, s.audit.NoteRefusal(ctx, audit.Intent{Action: string(policy.CostRead), ResourceType: "workspace", ResourceID: string(in.ID)}, err)
		}
	}
	if me := actor.From(ctx).User; slices.ContainsFunc(found, func(f cost.Fact) bool { return f.UserID != me }) {
		if err := s.audit.Note(ctx, audit.Event{Action: string(policy.CostRead), ResourceType: "workspace", ResourceID: string(in.ID)}); err != nil {
			return nil, err
		}
	}
	found, next := cut(found, in.Limit, "timeline", func(f cost.Fact) string { return timeKey(f.OpenedAt, string(f.ID)) })
	return &struct{ Body api.CostTimeline }{api.CostTimeline{
		WorkspaceID: string(in.ID), AsOf: now, Total: usd(total), Items: mapped(found, factView), NextCursor: next,
	}}, nil
}

func factView(f cost.Fact) api.CostFact {
	v := api.CostFact{
		UsageID: string(f.ID), Kind: f.Kind, From: f.OpenedAt.UTC(), UserID: string(f.UserID), TeamID: string(f.TeamID), CostCentre: f.CostCentre,
		BundleType: f.BundleType, Region: f.Region, Tags: f.Tags, Rate: usd(f.RateMicros), Unit: f.Unit, Item: string(f.Item), SKU: f.Sku, PriceBookID: f.BookID,
		PriceSource: f.Source, HourRule: string(f.HourRule), Settled: usd(f.SettledMicros), Open: usd(f.Open), Total: usd(f.Total()), Explanation: f.Explain(),
	}
	if f.ClosedAt != nil {
		end := f.ClosedAt.UTC()
		v.To = &end
	}
	if f.ProjectID != nil {
		v.ProjectID = string(*f.ProjectID)
	}
	for _, r := range f.Postings {
		p := api.CostPosting{RecordID: string(r.ID), From: r.PeriodStart.UTC(), To: r.PeriodEnd.UTC(), Amount: usd(r.Total()), Explanation: r.Explain()}
		if r.Corrects != nil {
			p.Corrects = string(*r.Corrects)
		}
		v.Postings = append(v.Postings, p)
	}
	return v
}

func (s *Server) estimateCost(ctx context.Context, in *struct {
	Region                 string `query:"region" required:"true" minLength:"1" maxLength:"64" example:"us-east-1"`
	BundleType             string `query:"bundle_type" required:"true" minLength:"1" maxLength:"64" example:"STANDARD"`
	OperatingSystem        string `query:"operating_system" maxLength:"64" default:"WINDOWS"`
	License                string `query:"license" maxLength:"64" default:"INCLUDED"`
	RunningMode            string `query:"running_mode" enum:"AUTO_STOP,ALWAYS_ON" default:"AUTO_STOP"`
	AutoStopTimeoutMinutes int    `query:"auto_stop_timeout_minutes" minimum:"60" maximum:"2880" multipleOf:"60" default:"60"`
	RootGiB                int    `query:"root_gib" minimum:"0" maximum:"2000" doc:"What the bundle includes when left out"`
	UserGiB                int    `query:"user_gib" minimum:"0" maximum:"2000" doc:"What the bundle includes when left out"`
	Hours                  int    `query:"hours" minimum:"0" maximum:"744" default:"160" doc:"Running time a month, in hours"`
},
) (*struct{ Body api.CostEstimate }, error) {
	if a := actor.From(ctx); policy.ReachOf(a, policy.CostRead) == policy.None {
		return nil, s.refused(ctx, policy.CostRead)
	}
	now := s.audit.Clock()()
	book, err := cost.BookAt(ctx, s.audit.Pool(), now)
	if err != nil {
		return nil, err
	}
	e, err := book.Estimate(price.Spec{
		Region: in.Region, ComputeType: in.BundleType, OperatingSystem: in.OperatingSystem, License: in.License, RunningMode: in.RunningMode,
		AutoStopMinutes: in.AutoStopTimeoutMinutes, RootGiB: in.RootGiB, UserGiB: in.UserGiB,
	}, now)
	if err != nil {
		return nil, err
	}
	return &struct{ Body api.CostEstimate }{api.CostEstimate{
		Estimate: estimateView(e), PriceBookID: book.ID, HourRule: string(book.HourRule), Hours: in.Hours, Month: usd(e.MonthlyFee + e.Hourly.Times(int64(in.Hours))),
	}}, nil
}
