package emulator_test

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/aws/emulator"
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

// wantProblem checks that the admin API refuses, in its one form.
func (b *bench) wantProblem(method, path string, body any, status int, says string) {
	b.t.Helper()
	var out struct{ Error string }
	b.call(method, path, body, status, &out)
	if !strings.Contains(out.Error, says) || out.Error == "" {
		b.t.Errorf("%s %s: %q, want %q", method, path, out.Error, says)
	}
}

// adminTests show of every route of the admin API what it does.
var adminTests = []struct {
	routes []string
	do     func(*testing.T, *bench)
}{
	{[]string{"GET /_emu/"}, describesItself},
	{[]string{"GET /_emu/healthz"}, isHealthy},
	{[]string{"GET /_emu/workspaces"}, listsWorkspaces},
	{[]string{"GET /_emu/workspaces/{id}"}, showsOne},
	{[]string{"POST /_emu/workspaces"}, makesStrangers},
	{[]string{"POST /_emu/workspaces/{id}/{action}"}, actsFromOutside},
	{[]string{"PUT /_emu/workspaces/{id}/tags", "DELETE /_emu/workspaces/{id}/tags"}, changesTags},
	{[]string{"POST /_emu/users/{user}/{action}"}, actsOnUsers},
	{[]string{"GET /_emu/directories", "POST /_emu/directories/{id}/users", "DELETE /_emu/directories/{id}/users/{user}"}, changesUsers},
	{[]string{"GET /_emu/clock", "POST /_emu/clock"}, turnsTheClock},
	{[]string{"GET /_emu/requests"}, logsRequests},
	{[]string{"GET /_emu/faults", "POST /_emu/faults", "DELETE /_emu/faults", "DELETE /_emu/faults/{id}"}, listsFaults},
	{[]string{"GET /_emu/quota", "PUT /_emu/quota"}, setsTheQuota},
	{[]string{"GET /_emu/throttle", "PUT /_emu/throttle"}, throttles},
	{[]string{"POST /_emu/reset"}, resets},
}

// metered are the routes that history_test.go, metrics_test.go and bill_test.go are about.
var metered = []string{
	"GET /_emu/workspaces/{id}/history", "PUT /_emu/workspaces/{id}/load", "GET /_emu/bill", "GET /_emu/prices", "PUT /_emu/prices",
}

func TestEveryRouteOfTheAdminAPI(t *testing.T) {
	tested := slices.Clone(metered)
	for _, c := range adminTests {
		tested = append(tested, c.routes...)
		t.Run(strings.ReplaceAll(c.routes[0], "/", "|"), func(t *testing.T) { c.do(t, newBench(t)) })
	}
	want := newBench(t).emu.Routes()
	slices.Sort(want)
	slices.Sort(tested)
	if !slices.Equal(tested, want) {
		t.Errorf("tested are %v, there are %v", tested, want)
	}
}

func describesItself(t *testing.T, b *bench) {
	var out struct {
		Routes          []struct{ Method, Path, About string }
		Actions, Faults map[string]any
		Operations      []string
	}
	b.call(http.MethodGet, "/_emu/", nil, http.StatusOK, &out)
	if len(out.Routes) != len(b.emu.Routes()) || len(out.Actions) != len(emulator.Actions()) ||
		len(out.Faults) != len(emulator.FaultKinds()) || !slices.Equal(out.Operations, emulator.Operations()) || out.Routes[0].Path != "/_emu/" {
		t.Errorf("%+v", out)
	}
}

func isHealthy(t *testing.T, b *bench) {
	b.call(http.MethodGet, "/_emu/healthz", nil, http.StatusOK, nil)
	if err := b.emu.Close(); err != nil {
		t.Fatal(err)
	}
	b.wantProblem(http.MethodGet, "/_emu/healthz", nil, http.StatusServiceUnavailable, "closed")
}

func listsWorkspaces(t *testing.T, b *bench) {
	alice, bob := b.available(request("alice", tagged)), b.one(request("bob"))
	there := b.stranger(map[string]any{"user": "alice", "directory": elsewhere})
	b.act(alice, "connect")
	for query, want := range map[string][]string{
		"":                                   {alice, bob, there.ID},
		"?user=ALICE":                        {alice, there.ID},
		"?user=alice&directory=" + elsewhere: {there.ID},
		"?region=us-east-1":                  {alice, bob},
		"?state=PENDING":                     {bob, there.ID},
		"?connected=true":                    {alice},
		"?user=nobody":                       {},
	} {
		var out struct{ Workspaces []adminWorkspace }
		b.call(http.MethodGet, "/_emu/workspaces"+query, nil, http.StatusOK, &out)
		got := []string{}
		for _, w := range out.Workspaces {
			got = append(got, w.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
}

func showsOne(t *testing.T, b *bench) {
	id := b.one(request("alice", tagged))
	var w adminWorkspace
	b.call(http.MethodGet, "/_emu/workspaces/"+id, nil, http.StatusOK, &w)
	if w.User != "alice" || w.Next != "AVAILABLE" || w.NextAt.IsZero() || w.Tags["intent"] != "i-1" {
		t.Errorf("%+v", w)
	}
	b.wantProblem(http.MethodGet, "/_emu/workspaces/ws-000000000", nil, http.StatusNotFound, "no WorkSpace")
}

// stranger makes a WorkSpace that nobody asked for by Amazon's API.
func (b *bench) stranger(in map[string]any) adminWorkspace {
	b.t.Helper()
	var w adminWorkspace
	b.call(http.MethodPost, "/_emu/workspaces", in, http.StatusOK, &w)
	return w
}

func makesStrangers(t *testing.T, b *bench) {
	w := b.stranger(map[string]any{"user": "alice", "directory": directory, "tags": map[string]string{"owner": "somebody"}})
	b.pass(w.ID, "AVAILABLE")
	if got := b.describe(w.ID); *got.UserName != "alice" || b.tagsOf(w.ID) != 1 {
		t.Errorf("%+v", got)
	}
	if out := b.create(request("alice")); *out.FailedRequests[0].ErrorCode != "ResourceExists.WorkSpace" {
		t.Errorf("%+v", out)
	}
	old := b.stranger(map[string]any{"user": "bob", "directory": directory, "protocol": "PCOIP", "running_mode": "AUTO_STOP"})
	b.clock.advance(time.Minute)
	if got := b.describe(old.ID).WorkspaceProperties; got.Protocols[0] != types.ProtocolPcoip || got.RunningMode != types.RunningModeAutoStop {
		t.Errorf("%+v", got)
	}
	for says, in := range map[string]map[string]any{
		"ResourceExists.WorkSpace":       {"user": "alice", "directory": directory},
		"ResourceNotFound.User":          {"user": "mallory", "directory": directory},
		"ResourceNotFound.Bundle":        {"user": "carol", "directory": directory, "bundle": "wsb-000000000"},
		"InvalidParameterValue.Protocol": {"user": "carol", "directory": directory, "bundle": standard, "protocol": "PCOIP"},
	} {
		b.wantProblem(http.MethodPost, "/_emu/workspaces", in, http.StatusConflict, says)
	}
	b.wantProblem(http.MethodPost, "/_emu/workspaces", map[string]any{"user": "carol", "directory": "d-0000000000"}, http.StatusNotFound, "directory")
	b.wantProblem(http.MethodPost, "/_emu/workspaces", map[string]any{"user": "", "directory": directory}, http.StatusBadRequest, "userName")
	b.wantProblem(http.MethodPost, "/_emu/workspaces", map[string]any{"usre": "carol"}, http.StatusBadRequest, "usre")
}

func actsFromOutside(t *testing.T, b *bench) {
	id := b.available(request("alice"))
	act := func(action string, body any) string {
		var w adminWorkspace
		b.call(http.MethodPost, "/_emu/workspaces/"+id+"/"+action, body, http.StatusOK, &w)
		return w.State
	}
	why := map[string]string{"code": "NET", "message": "no heartbeat"}
	for _, step := range []struct {
		action string
		body   any
		state  string
	}{
		{"connect", nil, "AVAILABLE"}, {"disconnect", nil, "AVAILABLE"},
		{"unhealthy", why, "UNHEALTHY"}, {"impaired", nil, "IMPAIRED"}, {"error", why, "ERROR"}, {"heal", nil, "AVAILABLE"},
		{"suspend", nil, "SUSPENDED"}, {"heal", nil, "AVAILABLE"},
		{"modify", map[string]any{"running_mode": "AUTO_STOP", "auto_stop_minutes": 120}, "AVAILABLE"},
		{"modify", map[string]any{"running_mode": "ALWAYS_ON"}, "AVAILABLE"},
		{"reboot", nil, "REBOOTING"},
	} {
		if got := act(step.action, step.body); got != step.state {
			t.Errorf("%s: %s, want %s", step.action, got, step.state)
		}
		if w := b.admin(id); (step.state == "UNHEALTHY" || step.state == "ERROR") != (w.ErrorCode == "NET") {
			t.Errorf("%s: %+v", step.action, w)
		}
	}
	b.clock.advance(24 * time.Hour)
	for _, change := range []map[string]any{{"compute": "POWER"}, {"user_gib": 100}, {"root_gib": 175}} {
		b.call(http.MethodPost, "/_emu/workspaces/"+id+"/modify", change, http.StatusOK, nil)
		b.clock.advance(24 * time.Hour)
	}
	if p := b.describe(id).WorkspaceProperties; p.ComputeTypeName != types.ComputePower || *p.RootVolumeSizeGib != 175 || *p.UserVolumeSizeGib != 100 || p.RunningMode != types.RunningModeAlwaysOn {
		t.Errorf("%+v", p)
	}
	for _, no := range []struct {
		action string
		body   any
		status int
		says   string
	}{
		{"explode", nil, http.StatusNotFound, "no action"},
		{"stop", nil, http.StatusConflict, "running mode"},
		{"heal", nil, http.StatusConflict, "AVAILABLE"},
		{"release", nil, http.StatusConflict, "not stuck"},
		{"stop", why, http.StatusBadRequest, "means nothing"},
		{"modify", map[string]any{"compute": "ENORMOUS"}, http.StatusBadRequest, "computeTypeName"},
		{"modify", map[string]any{"root_gib": 80}, http.StatusConflict, "larger"},
		{"error", "text", http.StatusBadRequest, "body"},
	} {
		b.wantProblem(http.MethodPost, "/_emu/workspaces/"+id+"/"+no.action, no.body, no.status, no.says)
	}
	act("terminate", nil)
	b.pass(id, "TERMINATED")
}

func changesTags(t *testing.T, b *bench) {
	id := b.one(request("alice", tagged))
	path := "/_emu/workspaces/" + id + "/tags"
	b.call(http.MethodPut, path, map[string]any{"tags": map[string]string{"a": "1", "b": "2"}}, http.StatusOK, nil)
	if b.tagsOf(id) != 2 {
		t.Error("not replaced")
	}
	b.wantProblem(http.MethodPut, path, map[string]any{"tags": map[string]string{"aws:a": "1"}}, http.StatusConflict, "reserved")
	b.wantProblem(http.MethodPut, path, map[string]any{"tags": map[string]string{"": "1"}}, http.StatusBadRequest, "length")
	b.wantProblem(http.MethodPut, path, nil, http.StatusBadRequest, "required")
	b.call(http.MethodDelete, path, nil, http.StatusOK, nil)
	if b.tagsOf(id) != 0 {
		t.Error("not lost")
	}
	b.wantProblem(http.MethodDelete, "/_emu/workspaces/ws-000000000/tags", nil, http.StatusNotFound, "no WorkSpace")
}

func actsOnUsers(t *testing.T, b *bench) {
	id := b.available(request("alice"))
	b.call(http.MethodPost, "/_emu/users/Alice/connect", nil, http.StatusOK, nil)
	if got := b.statuses(); got[id] != "CONNECTED" {
		t.Errorf("%v", got)
	}
	b.wantProblem(http.MethodPost, "/_emu/users/bob/connect", nil, http.StatusNotFound, "no WorkSpace")
	b.stranger(map[string]any{"user": "alice", "directory": elsewhere})
	b.wantProblem(http.MethodPost, "/_emu/users/alice/disconnect", nil, http.StatusConflict, "several")
	b.call(http.MethodPost, "/_emu/users/alice/disconnect?directory="+directory, nil, http.StatusOK, nil)
	if b.admin(id).Connected {
		t.Error("still connected")
	}
}

func changesUsers(t *testing.T, b *bench) {
	users := func() string {
		var out struct {
			Directories []struct {
				ID    string
				Users []string
			}
		}
		b.call(http.MethodGet, "/_emu/directories", nil, http.StatusOK, &out)
		return strings.Join(out.Directories[0].Users, " ")
	}
	if got := users(); got != "alice bob carol dave" {
		t.Errorf("%s", got)
	}
	path := "/_emu/directories/" + directory + "/users"
	b.call(http.MethodPost, path, map[string]any{"users": []string{"erin"}}, http.StatusOK, nil)
	id := b.one(request("erin"))
	b.call(http.MethodDelete, path+"/ERIN", nil, http.StatusOK, nil)
	if got := users(); got != "alice bob carol dave" {
		t.Errorf("%s", got)
	}
	b.act(id, "terminate")
	b.pass(id, "TERMINATED")
	b.pass(id, "ABSENT")
	b.clock.advance(time.Minute)
	wantRefused(t, b.create(request("erin")), "ResourceNotFound.User")
	b.call(http.MethodPost, path, map[string]any{"users": []string{"erin"}}, http.StatusOK, nil)
	b.one(request("erin"))

	// Somebody can go from a directory that accepts everybody, too.
	b.call(http.MethodDelete, "/_emu/directories/"+elsewhere+"/users/mallory", nil, http.StatusOK, nil)
	b.wantProblem(http.MethodPost, "/_emu/workspaces", map[string]any{"user": "Mallory", "directory": elsewhere}, http.StatusConflict, "User")
	b.wantProblem(http.MethodDelete, path+"/mallory", nil, http.StatusNotFound, "no user")
	b.wantProblem(http.MethodPost, path, map[string]any{"users": []string{""}}, http.StatusBadRequest, "characters")
	b.wantProblem(http.MethodPost, "/_emu/directories/d-0000000000/users", nil, http.StatusNotFound, "no directory")
	b.wantProblem(http.MethodDelete, "/_emu/directories/d-0000000000/users/alice", nil, http.StatusNotFound, "no directory")
}

func wantRefused(t *testing.T, out *workspaces.CreateWorkspacesOutput, code string) {
	t.Helper()
	if len(out.FailedRequests) != 1 || *out.FailedRequests[0].ErrorCode != code {
		t.Errorf("%+v, want %s", out, code)
	}
}

func turnsTheClock(t *testing.T, b *bench) {
	path := filepath.Join(t.TempDir(), "state.jsonl")
	b = newBench(t, stateFile(path))
	now := func(b *bench) time.Time {
		var out struct{ Now time.Time }
		b.call(http.MethodGet, "/_emu/clock", nil, http.StatusOK, &out)
		return out.Now
	}
	id := b.one(request("alice", alwaysOn))
	b.call(http.MethodPost, "/_emu/clock", map[string]any{"advance_ms": 3_600_000}, http.StatusOK, nil)
	b.wantState(id, "AVAILABLE")
	b.call(http.MethodPost, "/_emu/clock", map[string]any{"set": start.Add(48 * time.Hour)}, http.StatusOK, nil)
	if got := now(b); !got.Equal(start.Add(48 * time.Hour)) {
		t.Errorf("%v", got)
	}
	for says, in := range map[string]any{
		"forward":       map[string]any{"advance_ms": -1},
		"100 years":     map[string]any{"set": start.AddDate(101, 0, 0)},
		"the clock":     map[string]any{"advance_ms": int64(1) << 62},
		"either":        map[string]any{},
		"body: parsing": map[string]any{"set": "noon"},
		"body: json":    map[string]any{"advance_ms": 1, "sets": 1},
	} {
		b.wantProblem(http.MethodPost, "/_emu/clock", in, http.StatusBadRequest, says)
	}
	b.emu.Crash()
	b = newBench(t, stateFile(path))
	if got := now(b); !got.Equal(start.Add(48 * time.Hour)) {
		t.Errorf("after a restart: %v", got)
	}
	b.clock.advance(time.Hour)
	if got := now(b); !got.Equal(start.Add(49 * time.Hour)) {
		t.Errorf("an hour later: %v", got)
	}
}

func logsRequests(t *testing.T, b *bench) {
	id := b.one(request("Alice"))
	b.fault(fault{Kind: "delay", Op: "DescribeTags", DelayMS: 1})
	b.tagsOf(id)
	b.one(request("bob"))
	get := func(query string) []seenRequest {
		t.Helper()
		var out struct{ Requests []seenRequest }
		b.call(http.MethodGet, "/_emu/requests"+query, nil, http.StatusOK, &out)
		return out.Requests
	}
	all := get("")
	if len(all) != 3 || all[0].Seq != 1 || !slices.Equal(all[0].Users, []string{"alice"}) || !slices.Equal(all[0].Workspaces, []string{id}) ||
		!slices.Equal(all[1].Users, []string{"alice"}) || all[1].Faults[0].Kind != "delay" || all[1].Attempt != 1 {
		t.Fatalf("%+v", all)
	}
	for query, want := range map[string]int{
		"?op=DescribeTags": 1, "?user=ALICE": 2, "?user=alice&op=CreateWorkspaces": 1, "?since=1": 2, "?since=3": 0, "?limit=1": 1, "?limit=0": 3,
	} {
		if got := get(query); len(got) != want {
			t.Errorf("%s: %+v", query, got)
		}
	}
	if got := get("?limit=1"); got[0].Seq != 3 {
		t.Errorf("not the newest: %+v", got)
	}
	b.wantProblem(http.MethodGet, "/_emu/requests?since=yesterday", nil, http.StatusBadRequest, "since")
	b.wantProblem(http.MethodGet, "/_emu/requests?limit=-1", nil, http.StatusBadRequest, "limit")
}

func listsFaults(t *testing.T, b *bench) {
	first := b.fault(fault{Kind: "throttle", Op: "DescribeTags", Count: 3})
	second := b.fault(fault{Kind: "stuck_state", State: "PENDING", Count: -1})
	id := b.one(request("alice"))
	_, err := b.client().DescribeTags(t.Context(), &workspaces.DescribeTagsInput{ResourceId: &id})
	wantCode(t, "describe tags", apiCode(err), "ThrottlingException")
	got := b.faults()
	if len(got) != 2 || got[0].ID != first || got[0].Struck != 1 || got[0].Count != 3 || got[1].ID != second || got[1].Struck != 1 {
		t.Fatalf("%+v", got)
	}
	b.clock.advance(24 * time.Hour)
	b.call(http.MethodDelete, "/_emu/faults/"+first, nil, http.StatusOK, nil)
	b.wantState(id, "PENDING")
	b.call(http.MethodDelete, "/_emu/faults/"+second, nil, http.StatusOK, nil)
	b.wantState(id, "AVAILABLE")
	b.wantProblem(http.MethodDelete, "/_emu/faults/"+second, nil, http.StatusNotFound, "no such fault")
	b.call(http.MethodDelete, "/_emu/faults", nil, http.StatusOK, nil)

	for range 1000 {
		b.fault(fault{Kind: "throttle", Count: -1})
	}
	b.wantProblem(http.MethodPost, "/_emu/faults", fault{Kind: "throttle"}, http.StatusConflict, "1000")
}

func setsTheQuota(t *testing.T, b *bench) {
	var out struct{ Quota int }
	b.call(http.MethodGet, "/_emu/quota", nil, http.StatusOK, &out)
	if out.Quota != 1000 {
		t.Errorf("%+v", out)
	}
	b.call(http.MethodPut, "/_emu/quota", map[string]int{"quota": 1}, http.StatusOK, nil)
	b.one(request("alice"))
	_, err := b.client().CreateWorkspaces(t.Context(), createFor("bob"))
	wantCode(t, "over the quota", apiCode(err), "ResourceLimitExceededException")
	b.call(http.MethodPut, "/_emu/quota", map[string]int{"quota": 2}, http.StatusOK, nil)
	b.one(request("bob"))
	b.wantProblem(http.MethodPut, "/_emu/quota", map[string]int{"quota": -1}, http.StatusBadRequest, "quota")
	b.wantProblem(http.MethodPut, "/_emu/quota", nil, http.StatusBadRequest, "quota")
}

func resets(t *testing.T, b *bench) {
	path := filepath.Join(t.TempDir(), "state.jsonl")
	b = newBench(t, stateFile(path))
	b.one(request("alice"))
	b.fault(fault{Kind: "throttle", Count: -1})
	b.call(http.MethodPut, "/_emu/quota", map[string]int{"quota": 0}, http.StatusOK, nil)
	b.call(http.MethodPut, "/_emu/throttle", map[string]any{"rate": 0.001, "burst": 1}, http.StatusOK, nil)
	b.call(http.MethodPost, "/_emu/clock", map[string]any{"advance_ms": 3_600_000}, http.StatusOK, nil)
	b.call(http.MethodDelete, "/_emu/directories/"+directory+"/users/dave", nil, http.StatusOK, nil)
	b.call(http.MethodPost, "/_emu/reset", nil, http.StatusOK, nil)
	for range 2 {
		var now struct{ Now time.Time }
		b.call(http.MethodGet, "/_emu/clock", nil, http.StatusOK, &now)
		if left := b.adminAll(); len(left) != 0 || len(b.faults()) != 0 || len(b.requests()) != 0 || !now.Now.Equal(start) {
			t.Errorf("%+v %+v %+v %v", left, b.faults(), b.requests(), now)
		}
		b.emu.Crash()
		b = newBench(t, stateFile(path))
	}
	b.one(request("alice"))
	b.one(request("dave"))
}
