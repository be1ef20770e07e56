package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/client"
)

// books are what the database says of one WorkSpace's money.
func books(t *testing.T, id string) (holds, openMeters int) {
	t.Helper()
	db, err := pgx.Connect(t.Context(), forge.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context()) //nolint:errcheck // nothing is lost with it
	if err := db.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM budget_holds WHERE workspace_id = $1),
		       (SELECT count(*) FROM usage WHERE workspace_id = $1 AND kind = 'running' AND closed_at IS NULL)`, id).Scan(&holds, &openMeters); err != nil {
		t.Fatal(err)
	}
	return holds, openMeters
}

func outside(t *testing.T, providerID, what string) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, fmt.Sprintf("%s/_emu/workspaces/%s/%s", forge.AWS, providerID, what), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		t.Fatalf("%s outside: %s", what, resp.Status)
	}
}

func TestAStrangersWorkSpaceIsNeitherAdoptedNorTouched(t *testing.T) {
	bundles, err := amazon().DescribeWorkspaceBundles(t.Context(), &workspaces.DescribeWorkspaceBundlesInput{Owner: aws.String("AMAZON")})
	if err != nil {
		t.Fatal(err)
	}
	var bundle *string
	for _, b := range bundles.Bundles {
		if b.ComputeType.Name == types.ComputeStandard && strings.Contains(*b.Name, "WSP") {
			bundle = b.BundleId
		}
	}
	made, err := amazon().CreateWorkspaces(t.Context(), &workspaces.CreateWorkspacesInput{Workspaces: []types.WorkspaceRequest{
		{BundleId: bundle, DirectoryId: aws.String("d-9067000001"), UserName: aws.String("karen")},
	}})
	if err != nil || len(made.PendingRequests) != 1 {
		t.Fatalf("%v %+v", err, made)
	}
	foreign := *made.PendingRequests[0].WorkspaceId
	eventually(t, "the stranger's WorkSpace is shown", func() bool {
		shown, err := amazon().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{WorkspaceIds: []string{foreign}})
		return err == nil && len(shown.Workspaces) == 1
	})
	t.Cleanup(func() { outside(t, foreign, "terminate") }) // her place is free again for the other tests
	c := as(t, "karen")
	w := launch(t, c, client.WorkspaceCreate{Blueprint: "go-dev"})
	w = reaches(t, c, w.Id, "CONFLICT")
	if w.ProviderId != nil || w.ErrorCode == nil {
		t.Errorf("adopted: %+v", w)
	}
	if r, err := c.TerminateWorkspaceWithResponse(t.Context(), w.Id, &client.TerminateWorkspaceParams{}); err != nil || r.JSON202 == nil {
		t.Fatal(err)
	}
	reaches(t, c, w.Id, "FAILED") // it ended and never ran
	if holds, meters := books(t, w.Id); holds != 0 || meters != 0 {
		t.Errorf("%d holds, %d meters are left", holds, meters)
	}
	still, err := amazon().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{WorkspaceIds: []string{foreign}})
	if err != nil || len(still.Workspaces) != 1 || still.Workspaces[0].State == types.WorkspaceStateTerminating {
		t.Errorf("the stranger's WorkSpace was touched: %v %+v", err, still)
	}
}

func TestAUserWhomTheDirectoryDoesNotKnowGetsAFailureAndTheMoneyBack(t *testing.T) {
	admin := as(t, "admin")
	u, err := admin.CreateUserWithResponse(t.Context(), &client.CreateUserParams{}, client.UserCreate{
		UserName: "ghost", DisplayName: "Ghost", Email: "ghost@example.com", Role: "engineer", Team: "backend",
	})
	if err != nil || u.JSON201 == nil {
		t.Fatalf("%v %s", err, u.Body)
	}
	tok, err := admin.CreateTokenWithResponse(t.Context(), &client.CreateTokenParams{}, client.TokenCreate{Name: "t", User: ptr("ghost")})
	if err != nil || tok.JSON201 == nil {
		t.Fatalf("%v %s", err, tok.Body)
	}
	c := with(t, *tok.JSON201.Secret)
	w := launch(t, c, client.WorkspaceCreate{Blueprint: "go-dev"})
	w = reaches(t, c, w.Id, "FAILED")
	if w.ErrorCode == nil || !strings.HasPrefix(*w.ErrorCode, "ResourceNotFound.User") {
		t.Errorf("%+v", w)
	}
	if holds, meters := books(t, w.Id); holds != 0 || meters != 0 {
		t.Errorf("%d holds, %d meters are left", holds, meters)
	}
}

func TestWhatAmazonStopsAndStartsByItselfIsSeenAndMetered(t *testing.T) {
	c := as(t, "whitfield")
	w := launch(t, c, client.WorkspaceCreate{Blueprint: "notebooks"})
	w = reaches(t, c, w.Id, "AVAILABLE")
	if holds, meters := books(t, w.Id); holds != 1 || meters != 1 {
		t.Fatalf("%d holds, %d meters", holds, meters)
	}
	outside(t, *w.ProviderId, "stop")
	// A wish makes the row due; without one it is looked at within minutes.
	if r := ask(t, "PATCH", "/api/v1/workspaces/"+w.Id, token(t, "whitfield"), strings.NewReader(`{"auto_stop_timeout_minutes":60}`)); r.status != 200 {
		t.Fatal(r.body)
	}
	reaches(t, c, w.Id, "STOPPED")
	if holds, meters := books(t, w.Id); holds != 1 || meters != 0 {
		t.Errorf("stopped: %d holds, %d meters", holds, meters)
	}
}

func TestWhoLeavesHandsTheirWorkSpaceToTheLead(t *testing.T) {
	c := as(t, "vint")
	w := launch(t, c, client.WorkspaceCreate{Blueprint: "notebooks"})
	reaches(t, c, w.Id, "AVAILABLE")
	r := ask(t, "POST", "/api/v1/users/vint/deactivate", token(t, "admin"), nil)
	var out client.UserDeactivated
	if err := json.Unmarshal([]byte(r.body), &out); err != nil || r.status != 200 || out.HandedOver != 1 || out.HandedTo == nil {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := ask(t, "GET", "/api/v1/me", token(t, "vint"), nil); r.status != 401 {
		t.Errorf("who left still gets in: %d", r.status)
	}
	lead := show(t, as(t, "lead-data"), w.Id)
	if lead.UserId != *out.HandedTo || lead.UserName != "vint" {
		t.Errorf("%+v", lead)
	}
	if r, err := as(t, "lead-data").TerminateWorkspaceWithResponse(t.Context(), w.Id, &client.TerminateWorkspaceParams{}); err != nil || r.JSON202 == nil {
		t.Fatal(err)
	}
	reaches(t, as(t, "lead-data"), w.Id, "TERMINATED")
	if holds, meters := books(t, w.Id); holds != 0 || meters != 0 {
		t.Errorf("%d holds, %d meters are left", holds, meters)
	}
}
