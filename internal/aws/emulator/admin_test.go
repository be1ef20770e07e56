package emulator_test

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
)

func TestOutsideActionsFollowAmazonsRules(t *testing.T) {
	b := newBench(t)
	id := b.one(request("alice"))
	b.call(http.MethodPost, "/_emu/workspaces/"+id+"/connect", nil, http.StatusConflict, nil)
	b.pass(id, "AVAILABLE")
	b.call(http.MethodPost, "/_emu/workspaces/"+id+"/start", nil, http.StatusConflict, nil)
	b.act(id, "connect")
	b.act(id, "connect")
	b.act(id, "stop")
	b.call(http.MethodPost, "/_emu/workspaces/"+id+"/connect", nil, http.StatusConflict, nil)
	b.pass(id, "STOPPED")
	b.act(id, "start")
	b.act(id, "connect") // and waits
	b.pass(id, "AVAILABLE")
	if !b.admin(id).Connected {
		t.Error("the user who waited is not connected")
	}
	b.act(id, "terminate")
	b.wantState(id, "TERMINATING")
	b.call(http.MethodPost, "/_emu/workspaces/"+id+"/explode", nil, http.StatusNotFound, nil)
	b.call(http.MethodPost, "/_emu/workspaces/ws-000000000/stop", nil, http.StatusNotFound, nil)
	b.call(http.MethodGet, "/_emu/nothing", nil, http.StatusNotFound, nil)
}

func TestTheAdminAPIShowsEveryRegion(t *testing.T) {
	b := newBench(t)
	b.one(request("alice"))
	out, err := b.client(inRegion("eu-west-1")).CreateWorkspaces(t.Context(), &workspaces.CreateWorkspacesInput{Workspaces: []types.WorkspaceRequest{
		request("anybody", func(r *types.WorkspaceRequest) { r.DirectoryId = aws.String(elsewhere) }),
	}})
	if err != nil || len(out.PendingRequests) != 1 {
		t.Fatal(err, out)
	}
	got := b.adminAll()
	if len(got) != 2 || got[0].Region != "us-east-1" || got[1].Region != "eu-west-1" {
		t.Errorf("%+v", got)
	}
}

func TestTheRequestLogForgetsTheOldest(t *testing.T) {
	b := newBench(t)
	for range 10_003 {
		r, err := http.NewRequest(http.MethodGet, "http://emulator.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		b.emu.ServeHTTP(&discard{header: http.Header{}}, r)
	}
	b.send("DescribeWorkspaces", "{}")
	got := b.requests()
	if len(got) != 10_000 || got[len(got)-1].Op != "DescribeWorkspaces" || got[0].Outcome != "UnknownOperationException" {
		t.Errorf("%d requests, the last %+v", len(got), got[len(got)-1])
	}
}

// discard is a client that does not read.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
