package e2e

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/money"
)

// TestWhatRunsIsInTheSummaryASecondLater asks everybody who may see a cost, in every way there is, and from then on as time
// passes.
func TestWhatRunsIsInTheSummaryASecondLater(t *testing.T) {
	ctx := t.Context()
	virtual := clock.At(time.Date(2027, 3, 1, 10, 20, 0, 0, time.UTC))
	r := newRig(t, 1, func(c *emulator.Config) { c.Now = virtual.Now })
	r.clock = virtual.Now
	url, stop := r.serve(true)
	defer stop()
	sign := func(c app.Credential) *client.ClientWithResponses {
		t.Helper()
		out, err := client.NewClientWithResponses(url, client.WithRequestEditorFn(bearer(c.Token)))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	of := func(role, team string) *client.ClientWithResponses {
		t.Helper()
		for _, p := range r.people {
			if p.Role == role && (team == "" || p.Team == team) {
				return sign(p)
			}
		}
		t.Fatalf("nobody is %s in %q", role, team)
		return nil
	}
	users := r.users("c", 2)
	owner, other, lead, finance := sign(users[0]), sign(users[1]), of("team_lead", "backend"), of("finance", "")
	summary := func(c *client.ClientWithResponses, p client.SummariseCostsParams) client.CostSummary {
		t.Helper()
		a, err := c.SummariseCostsWithResponse(ctx, &p)
		if err != nil || a.JSON200 == nil {
			t.Fatalf("%v %s", err, a.Body)
		}
		var sum money.USD
		for _, g := range a.JSON200.Items {
			sum += amount(t, g.Total)
			if amount(t, g.Total) != amount(t, g.Settled)+amount(t, g.Open) || amount(t, g.Total) != amount(t, g.Compute)+amount(t, g.Storage)+amount(t, g.Transfer) {
				t.Errorf("the parts of %+v are not the whole", g)
			}
			if g.Periods != nil {
				var parts money.USD
				for _, p := range *g.Periods {
					parts += amount(t, p.Total)
				}
				if parts != amount(t, g.Total) {
					t.Errorf("the periods of %q come to %s", g.Key, parts)
				}
			}
		}
		if sum != amount(t, a.JSON200.Total) {
			t.Errorf("the groups come to %s, the total to %s", sum, a.JSON200.Total.Amount)
		}
		return *a.JSON200
	}
	total := func(c *client.ClientWithResponses) money.USD {
		t.Helper()
		return amount(t, summary(c, client.SummariseCostsParams{}).Total)
	}

	w := launch(t, owner, client.WorkspaceCreate{Blueprint: "go-dev", Tags: &map[string]string{"ticket": "ENG-7"}})
	eventually(t, "Amazon has accepted it", func() bool { return show(t, owner, w.Id).ProviderId != nil })
	eventually(t, "it is AVAILABLE", func() bool {
		virtual.Advance(30 * time.Second)
		return show(t, owner, w.Id).State == "AVAILABLE"
	})
	if a, err := owner.StopWorkspaceWithResponse(ctx, w.Id, &client.StopWorkspaceParams{}); err != nil || a.JSON202 == nil {
		t.Fatalf("%v %s", err, a.Body)
	}
	eventually(t, "it is STOPPED", func() bool {
		virtual.Advance(30 * time.Second)
		return show(t, owner, w.Id).State == "STOPPED"
	})
	before := total(finance)
	if a, err := owner.StartWorkspaceWithResponse(ctx, w.Id, &client.StartWorkspaceParams{}); err != nil || a.JSON202 == nil {
		t.Fatalf("%v %s", err, a.Body)
	}
	eventually(t, "it runs again", func() bool {
		virtual.Advance(30 * time.Second)
		return show(t, owner, w.Id).State == "AVAILABLE"
	})
	virtual.Advance(time.Second)
	if got := total(finance); got != before+300_000 {
		t.Errorf("a second after the start the summary says %s, before it %s", got, before)
	}
	virtual.Advance(4*time.Hour + 30*time.Minute)
	all := total(finance)
	if all != before+5*300_000 {
		t.Errorf("four and a half hours later it is %s", all)
	}
	if owned, led := total(owner), total(lead); owned != all || led != all || amount(t, show(t, owner, w.Id).CostToDate) != all {
		t.Errorf("the owner sees %s, the lead %s, finance %s", owned, led, all)
	}
	if total(other) != 0 {
		t.Error("somebody sees what others cost")
	}

	for _, group := range []string{"total", "user", "team", "project", "cost_centre", "workspace", "blueprint", "bundle", "region", "tag:ticket", "tag:none"} {
		for _, per := range []string{"", "day", "week", "month"} {
			p := client.SummariseCostsParams{GroupBy: &group, Tz: ptr("Asia/Kathmandu")}
			if per != "" {
				p.Granularity = ptr(client.SummariseCostsParamsGranularity(per))
			}
			if got := summary(finance, p); amount(t, got.Total) != all || len(got.Items) != 1 {
				t.Errorf("by %s per %s: %+v", group, per, got)
			}
		}
	}
	tagged := summary(lead, client.SummariseCostsParams{GroupBy: ptr("tag:ticket"), Tag: &[]string{"ticket=ENG-7"}, User: &[]string{users[0].User}, Bundle: &[]string{"STANDARD", "POWER"}})
	if len(tagged.Items) != 1 || tagged.Items[0].Key != "ENG-7" || amount(t, tagged.Total) != all {
		t.Errorf("narrowed: %+v", tagged)
	}
	if got := summary(finance, client.SummariseCostsParams{Team: &[]string{"data"}}); len(got.Items) != 0 {
		t.Errorf("of another team: %+v", got)
	}
	if got := summary(other, client.SummariseCostsParams{User: &[]string{users[0].User}}); len(got.Items) != 0 {
		t.Errorf("by somebody else: %+v", got)
	}

	// The records, page by page, and the timeline say the same.
	eventually(t, "all whole hours are settled", func() bool {
		var due int
		if err := r.db.QueryRow(ctx, `SELECT count(*) FROM usage WHERE due_at <= $1`, virtual.Now()).Scan(&due); err != nil {
			t.Fatal(err)
		}
		return due == 0
	})
	if got := total(finance); got != all {
		t.Errorf("settling made %s of %s", got, all)
	}
	var recorded money.USD
	seen := map[string]bool{}
	var cursor *string
	for {
		page, err := owner.ListCostRecordsWithResponse(ctx, &client.ListCostRecordsParams{Cursor: cursor, Limit: ptr(int64(2))})
		if err != nil || page.JSON200 == nil {
			t.Fatalf("%v %s", err, page.Body)
		}
		for _, rec := range page.JSON200.Items {
			if seen[rec.Id] || rec.Tags["ticket"] != "ENG-7" || rec.WorkspaceId != w.Id {
				t.Errorf("a record: %+v", rec)
			}
			seen[rec.Id] = true
			recorded += amount(t, rec.TotalCost)
		}
		if cursor = page.JSON200.NextCursor; cursor == nil {
			break
		}
	}
	now := summary(owner, client.SummariseCostsParams{GroupBy: ptr("total")})
	if recorded != amount(t, now.Items[0].Settled) {
		t.Errorf("the records come to %s, settled is %s", recorded, now.Items[0].Settled.Amount)
	}
	timeline, err := owner.ExplainWorkspaceCostWithResponse(ctx, w.Id, &client.ExplainWorkspaceCostParams{})
	if err != nil || timeline.JSON200 == nil {
		t.Fatalf("%v %s", err, timeline.Body)
	}
	var facts money.USD
	for _, f := range timeline.JSON200.Items {
		facts += amount(t, f.Total)
		if f.Explanation == "" || f.PriceSource == "" || f.HourRule != "session_ceil" {
			t.Errorf("a fact: %+v", f)
		}
		t.Logf("%s %s: %s", f.Item, f.Total.Amount, f.Explanation)
	}
	if facts != all || amount(t, timeline.JSON200.Total) != all || len(timeline.JSON200.Items) != 3 {
		t.Errorf("the facts come to %s: %s", facts, timeline.Body)
	}
	if a, err := other.ExplainWorkspaceCostWithResponse(ctx, w.Id, &client.ExplainWorkspaceCostParams{}); err != nil || a.StatusCode() != 404 {
		t.Errorf("somebody else's timeline: %v %s", err, a.Body)
	}
	if a, err := of("auditor", "").SummariseCostsWithResponse(ctx, &client.SummariseCostsParams{}); err != nil || a.StatusCode() != 403 {
		t.Errorf("an auditor: %v %s", err, a.Body)
	}
	for _, p := range []client.SummariseCostsParams{{Tz: ptr("Mars/Olympus")}, {Tag: &[]string{"x"}}, {GroupBy: ptr("mood")}, {User: &[]string{"nobody"}}} {
		if a, err := finance.SummariseCostsWithResponse(ctx, &p); err != nil || a.StatusCode() != 422 && a.StatusCode() != 404 {
			t.Errorf("%+v: %v %s", p, err, a.Body)
		}
	}

	// Whoever reads what others cost is on record, with what was asked for; who reads their own is not.
	var entries, mine int
	if err := r.db.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE u.role IN ('finance', 'team_lead')), count(*) FILTER (WHERE u.role = 'engineer' AND l.result = 'success')
		FROM audit_logs l JOIN users u ON u.id = l.user_id
		WHERE l.action_type = 'cost.read'`).Scan(&entries, &mine); err != nil {
		t.Fatal(err)
	}
	if entries < 40 || mine != 0 {
		t.Errorf("%d entries of those who see others, %d of those who do not", entries, mine)
	}

	estimate, err := owner.EstimateCostWithResponse(ctx, &client.EstimateCostParams{Region: rigRegion, BundleType: "STANDARD", Hours: ptr(int64(100))})
	if err != nil || estimate.JSON200 == nil {
		t.Fatalf("%v %s", err, estimate.Body)
	}
	// 9.75 and 100 hours of 0.30; (35 - 9.75) / 0.30 h is 84 h 10 min.
	if e := estimate.JSON200; amount(t, e.Month) != 39_750_000 || e.BreakEvenMinutes == nil || *e.BreakEvenMinutes != 5050 {
		text, err := json.Marshal(e)
		t.Errorf("the estimate: %s, %v", text, err)
	}
}
