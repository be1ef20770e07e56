package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/money"
)

// amazon is any AWS client at the emulator's address.
func amazon() *workspaces.Client {
	return workspaces.New(workspaces.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(forge.AWS), Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", ""),
	})
}

func launch(t testing.TB, c *client.ClientWithResponses, body client.WorkspaceCreate) client.Workspace {
	t.Helper()
	r, err := c.CreateWorkspaceWithResponse(t.Context(), &client.CreateWorkspaceParams{}, body)
	if err != nil {
		t.Fatal(err)
	}
	if r.JSON202 == nil {
		t.Fatalf("launch: %s %s", r.Status(), r.Body)
	}
	return r.JSON202.Workspace
}

func show(t testing.TB, c *client.ClientWithResponses, id string) client.Workspace {
	t.Helper()
	r, err := c.GetWorkspaceWithResponse(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if r.JSON200 == nil {
		t.Fatalf("show: %s %s", r.Status(), r.Body)
	}
	return *r.JSON200
}

func reaches(t testing.TB, c *client.ClientWithResponses, id, state string) client.Workspace {
	t.Helper()
	var w client.Workspace
	defer func() {
		if string(w.State) != state {
			seen, err := json.Marshal(w)
			t.Logf("last seen, %v: %s", err, seen)
		}
	}()
	eventually(t, id+" is "+state, func() bool {
		w = show(t, c, id)
		return string(w.State) == state
	})
	t.Logf("%s is %s", id, state)
	return w
}

func amount(t testing.TB, m client.Money) money.USD {
	t.Helper()
	u, err := money.Parse(m.Amount)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestAnEngineerGetsAWorkSpaceThatRunsIsChargedAndIsOnRecord(t *testing.T) {
	ctx := t.Context()
	c := as(t, "ada")
	size := client.WorkspaceCreateBundleType("PERFORMANCE")
	asked := client.WorkspaceCreate{Blueprint: "go-dev", BundleType: &size, Project: ptr("checkout"), Tags: &map[string]string{"ticket": "ENG-7"}}
	dry, err := c.CreateWorkspaceWithResponse(ctx, &client.CreateWorkspaceParams{DryRun: ptr(true)}, asked)
	if err != nil || dry.JSON202 == nil || !dry.JSON202.DryRun {
		t.Fatalf("dry run: %v %s", err, dry.Body)
	}
	w := launch(t, c, asked)
	if w.State != "PENDING" || w.Desired != "AVAILABLE" || w.Blueprint != "go-dev@2" {
		t.Fatalf("requested: %+v", w)
	}
	w = reaches(t, c, w.Id, "AVAILABLE")

	out, err := amazon().DescribeWorkspaces(ctx, &workspaces.DescribeWorkspacesInput{WorkspaceIds: []string{*w.ProviderId}})
	if err != nil || len(out.Workspaces) != 1 || *out.Workspaces[0].UserName != "ada" {
		t.Fatalf("Amazon: %v %+v", err, out)
	}
	tags, err := amazon().DescribeTags(ctx, &workspaces.DescribeTagsInput{ResourceId: w.ProviderId})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, tag := range tags.TagList {
		found[*tag.Key] = *tag.Value
	}
	if found["forge:workspace-id"] != w.Id || found["ticket"] != "ENG-7" {
		t.Errorf("tags: %v", found)
	}

	// Its cost is there at once: the fee of the rest of the month, and the hour that has begun.
	w = show(t, c, w.Id)
	cost, err := c.SummariseCostsWithResponse(ctx, &client.SummariseCostsParams{})
	if err != nil || cost.JSON200 == nil || len(cost.JSON200.Items) != 1 {
		t.Fatalf("costs: %v %s", err, cost.Body)
	}
	group := cost.JSON200.Items[0]
	if group.Key != w.Id || group.Name == nil || *group.Name != w.Name || amount(t, group.Open) != 470_000 || amount(t, group.Settled) == 0 || group.Total != w.CostToDate {
		t.Errorf("cost: %+v, to date %+v", group, w.CostToDate)
	}

	budgets, err := c.ListBudgetsWithResponse(ctx, &client.ListBudgetsParams{})
	if err != nil || budgets.JSON200 == nil {
		t.Fatalf("budgets: %v %s", err, budgets.Body)
	}
	for _, b := range budgets.JSON200.Items {
		if b.Scope == "USER" && (amount(t, b.Settled) != amount(t, group.Settled) || amount(t, b.Held) != 3*470_000) {
			t.Errorf("the engineer's budget: %+v", b)
		}
	}

	stopped, err := c.StopWorkspaceWithResponse(ctx, w.Id, &client.StopWorkspaceParams{})
	if err != nil || stopped.JSON202 == nil {
		t.Fatalf("stop: %v %s", err, stopped.Body)
	}
	w = reaches(t, c, w.Id, "STOPPED")
	started, err := c.StartWorkspaceWithResponse(ctx, w.Id, &client.StartWorkspaceParams{})
	if err != nil || started.JSON202 == nil {
		t.Fatalf("start: %v %s", err, started.Body)
	}
	w = reaches(t, c, w.Id, "AVAILABLE")
	ended, err := c.TerminateWorkspaceWithResponse(ctx, w.Id, &client.TerminateWorkspaceParams{})
	if err != nil || ended.JSON202 == nil {
		t.Fatalf("terminate: %v %s", err, ended.Body)
	}
	w = reaches(t, c, w.Id, "TERMINATED")
	if left, err := amazon().DescribeWorkspaces(ctx, &workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(w.DirectoryId), UserName: aws.String("ada")}); err != nil || len(left.Workspaces) != 0 {
		t.Errorf("Amazon still has %v, %v", left.Workspaces, err)
	}
	budgets, _ = c.ListBudgetsWithResponse(ctx, &client.ListBudgetsParams{})
	for _, b := range budgets.JSON200.Items {
		if b.Scope == "USER" && (amount(t, b.Held) != 0 || amount(t, b.Settled) != amount(t, w.CostToDate)) {
			t.Errorf("after the end the budget is %+v, the cost %+v", b, w.CostToDate)
		}
	}

	events, err := c.ListWorkspaceEventsWithResponse(ctx, w.Id, &client.ListWorkspaceEventsParams{})
	if err != nil || events.JSON200 == nil {
		t.Fatalf("events: %v", err)
	}
	var path []string
	for i, e := range events.JSON200.Items {
		if e.Version != int64(i+1) {
			t.Errorf("event %d has version %d", i+1, e.Version)
		}
		if e.FromState != e.ToState {
			path = append(path, e.ToState)
		}
	}
	if got := strings.Join(path, " "); !strings.HasPrefix(got, "PENDING AVAILABLE") || !strings.HasSuffix(got, "TERMINATED") || !strings.Contains(got, "STOPPED") {
		t.Errorf("the history is %s", got)
	}
	onRecord(t, w.Id, "workspace.create", "workspace.observe", "workspace.stop", "workspace.start", "workspace.terminate")
}

// onRecord checks that the audit log tells of the actions on the resource.
func onRecord(t *testing.T, resource string, actions ...string) {
	t.Helper()
	r, err := as(t, "auditor").ListAuditEntriesWithResponse(context.Background(), &client.ListAuditEntriesParams{ResourceId: &resource, Limit: ptr(int64(100))})
	if err != nil || r.JSON200 == nil {
		t.Fatalf("audit: %v %s", err, r.Body)
	}
	have := map[string]bool{}
	for _, e := range r.JSON200.Items {
		have[e.Action] = true
	}
	for _, a := range actions {
		if !have[a] {
			t.Errorf("the audit log has no %s of %s: %v", a, resource, have)
		}
	}
}
