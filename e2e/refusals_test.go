package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/robco-forge/forge/client"
)

// answer is what came back of a raw request.
type answer struct {
	status int
	kind   string
	body   string
	header http.Header
}

func (a answer) code(t testing.TB) string {
	t.Helper()
	var p struct {
		Code   string `json:"code"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.kind != "application/problem+json" || p.Code == "" || p.Detail == "" || p.Status != a.status {
		t.Errorf("not a problem: %d %s %q", a.status, a.kind, a.body)
	}
	return p.Code
}

func ask(t testing.TB, method, path, secret string, body io.Reader, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, forge.API+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if secret != "" {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), string(b), resp.Header}
}

func TestOf24EngineersAtOnceMoneyFor3AdmitsExactly3(t *testing.T) {
	ctx := t.Context()
	finance := as(t, "finance")
	// What one costs, from a dry run; the whole team's money is then set to three of that.
	dry, err := as(t, "alan").CreateWorkspaceWithResponse(ctx, &client.CreateWorkspaceParams{DryRun: ptr(true)}, client.WorkspaceCreate{Blueprint: "services"})
	if err != nil || dry.JSON202 == nil {
		t.Fatalf("dry run: %v %s", err, dry.Body)
	}
	one := amount(t, dry.JSON202.Estimate.Reserved)
	var spent, before string
	for _, b := range budgetsOf(t, "finance") {
		if b.Scope == "TEAM" && b.Name != nil && *b.Name == "backend" {
			before = b.Amount.Amount
			spent = (amount(t, b.Settled) + amount(t, b.Held) + one.Times(3) + one/2).String()
		}
	}
	set, err := finance.SetBudgetWithResponse(ctx, "TEAM", "backend", &client.SetBudgetParams{}, client.BudgetSet{Amount: spent})
	if err != nil || set.JSON200 == nil {
		t.Fatalf("setting the budget: %v %s", err, set.Body)
	}
	t.Cleanup(func() {
		if r, err := finance.SetBudgetWithResponse(context.Background(), "TEAM", "backend", &client.SetBudgetParams{}, client.BudgetSet{Amount: before}); err != nil || r.JSON200 == nil {
			t.Errorf("restoring the budget: %v %s", err, r.Body)
		}
	})
	since := time.Now()
	var mu sync.Mutex
	statuses := map[int]int{}
	var admitted []string
	var wg sync.WaitGroup
	start := make(chan struct{})
	engineers := 0
	for _, u := range forge.Users {
		if u.Role != "engineer" || u.Team != "backend" {
			continue
		}
		engineers++
		wg.Go(func() {
			<-start
			r := ask(t, "POST", "/api/v1/workspaces", u.Token, strings.NewReader(`{"blueprint":"services"}`))
			mu.Lock()
			defer mu.Unlock()
			statuses[r.status]++
			if r.status == http.StatusAccepted {
				var body client.WorkspaceAdmitted
				if err := json.Unmarshal([]byte(r.body), &body); err != nil {
					t.Error(err)
				}
				admitted = append(admitted, body.Workspace.Id)
			} else if c := r.code(t); c != "BUDGET_EXCEEDED" {
				t.Errorf("refused with %s: %s", c, r.body)
			}
		})
	}
	close(start)
	wg.Wait()
	if engineers != 24 || statuses[http.StatusAccepted] != 3 || statuses[http.StatusPaymentRequired] != 21 {
		t.Fatalf("%d engineers: %v", engineers, statuses)
	}
	r, err := as(t, "auditor").ListAuditEntriesWithResponse(ctx, &client.ListAuditEntriesParams{
		Action: ptr("workspace.create"), Result: ptr(client.ListAuditEntriesParamsResult("refused")), Limit: ptr(int64(100)), From: &since,
	})
	if err != nil || r.JSON200 == nil {
		t.Fatalf("audit: %v %s", err, r.Body)
	}
	refused := 0
	for _, e := range r.JSON200.Items {
		if e.Code != nil && *e.Code == "BUDGET_EXCEEDED" {
			refused++
		}
	}
	if refused != 21 {
		t.Errorf("%d refusals on record, want 21", refused)
	}
	for _, id := range admitted {
		reaches(t, as(t, "admin"), id, "AVAILABLE")
		if r, err := as(t, "admin").TerminateWorkspaceWithResponse(ctx, id, &client.TerminateWorkspaceParams{}); err != nil || r.JSON202 == nil {
			t.Fatalf("terminate: %v %s", err, r.Body)
		}
	}
	for _, id := range admitted {
		reaches(t, as(t, "admin"), id, "TERMINATED")
	}
}

func budgetsOf(t testing.TB, user string) []client.Budget {
	t.Helper()
	var all []client.Budget
	p := &client.ListBudgetsParams{Limit: ptr(int64(100))}
	for {
		r, err := as(t, user).ListBudgetsWithResponse(t.Context(), p)
		if err != nil || r.JSON200 == nil {
			t.Fatalf("budgets: %v", err)
		}
		all = append(all, r.JSON200.Items...)
		if r.JSON200.NextCursor == nil {
			return all
		}
		p.Cursor = r.JSON200.NextCursor
	}
}

func TestWhoIsNobodyGetsIn401AndWhatIsNotYoursIsNotThere(t *testing.T) {
	const me = "/api/v1/me"
	for name, secret := range map[string]string{"none": "", "garbage": "x", "well-formed prefix": "forge_" + strings.Repeat("A", 44), "sql": "forge_' OR 1=1 --"} {
		if r := ask(t, "GET", me, secret, nil); r.status != 401 || r.code(t) != "UNAUTHENTICATED" || r.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	made, err := as(t, "radia").CreateTokenWithResponse(t.Context(), &client.CreateTokenParams{}, client.TokenCreate{Name: "short"})
	if err != nil || made.JSON201 == nil {
		t.Fatalf("token: %v %s", err, made.Body)
	}
	secret := *made.JSON201.Secret
	if r := ask(t, "GET", me, secret, nil); r.status != 200 {
		t.Fatalf("a new token: %d", r.status)
	}
	if r := ask(t, "DELETE", "/api/v1/tokens/"+made.JSON201.Token.Id, token(t, "ada"), nil); r.status != 404 {
		t.Errorf("another's token: %d", r.status)
	}
	if r := ask(t, "DELETE", "/api/v1/tokens/"+made.JSON201.Token.Id, token(t, "radia"), nil); r.status != 200 {
		t.Fatalf("revoke: %d %s", r.status, r.body)
	}
	if r := ask(t, "GET", me, secret, nil); r.status != 401 {
		t.Errorf("a revoked token: %d", r.status)
	}

	w := launch(t, as(t, "shafi"), client.WorkspaceCreate{Blueprint: "notebooks"})
	for _, user := range []string{"ada", "lead-backend", "contractor", "finance", "auditor"} {
		for _, c := range [][2]string{{"GET", ""}, {"DELETE", ""}, {"POST", "/stop"}, {"POST", "/start"}, {"GET", "/events"}} {
			if r := ask(t, c[0], "/api/v1/workspaces/"+w.Id+c[1], token(t, user), nil); r.status != 404 || r.code(t) != "WORKSPACE_NOT_FOUND" {
				t.Errorf("%s %s%s: %d %s", user, c[0], c[1], r.status, r.body)
			}
		}
	}
	if r := ask(t, "GET", "/api/v1/workspaces/"+w.Id, token(t, "lead-data"), nil); r.status != 200 {
		t.Errorf("the own lead: %d", r.status)
	}
	if r := ask(t, "POST", "/api/v1/workspaces", token(t, "ada"), strings.NewReader(`{"blueprint":"data/notebooks"}`)); r.status != 404 {
		t.Errorf("another team's blueprint: %d", r.status)
	}
	if r := ask(t, "GET", "/api/v1/audit/entries", token(t, "finance"), nil); r.status != 403 {
		t.Errorf("finance reads the audit log: %d", r.status)
	}
	if r := ask(t, "POST", "/api/v1/workspaces", token(t, "auditor"), strings.NewReader(`{"blueprint":"go-dev"}`)); r.status != 403 {
		t.Errorf("an auditor launches: %d", r.status)
	}
	r := ask(t, "POST", "/api/v1/workspaces", token(t, "contractor"), strings.NewReader(`{"blueprint":"go-dev","bundle_type":"POWER"}`))
	if r.status != 403 || r.code(t) != "BUNDLE_NOT_ALLOWED" || !strings.Contains(r.body, `["STANDARD","PERFORMANCE"]`) {
		t.Errorf("a contractor asks for POWER: %d %s", r.status, r.body)
	}
	if r := ask(t, "POST", "/api/v1/workspaces", token(t, "shafi"), strings.NewReader(`{"blueprint":"notebooks"}`)); r.status != 409 || r.code(t) != "WORKSPACE_EXISTS" {
		t.Errorf("a second one: %d %s", r.status, r.body)
	}
}

func TestNoMalformedRequestIsAnsweredWithAnythingButAProblem(t *testing.T) {
	const secret = "hunter2-do-not-echo"
	ada := token(t, "grace")
	post := func(path, body string, header ...string) answer {
		return ask(t, "POST", path, ada, strings.NewReader(body), header...)
	}
	bodies := []string{
		``, `{`, `[]`, `null`, `"x"`, `42`, `{}`, `{"blueprint":""}`, `{"blueprint":7}`, `{"blueprint":null}`, `{"blueprint":["go-dev"]}`,
		`{"blueprint":"go-dev","password":"` + secret + `"}`, `{"blueprint":"go-dev","bundle_type":"` + secret + `"}`,
		`{"blueprint":"go-dev","bundle_type":7}`, `{"blueprint":"go-dev","tags":["` + secret + `"]}`, `{"blueprint":"go-dev","tags":{"a":{"b":"` + secret + `"}}}`,
		`{"blueprint":"go-dev","tags":{"aws:x":"y"}}`, `{"blueprint":"go-dev","auto_stop_timeout_minutes":61}`, `{"blueprint":"go-dev","auto_stop_timeout_minutes":-60}`,
		`{"blueprint":"go-dev","auto_stop_timeout_minutes":1e400}`, `{"blueprint":"go-dev","max_lifetime_days":0}`, `{"blueprint":"go-dev","max_lifetime_days":99999999999999999999}`,
		`{"blueprint":"` + strings.Repeat("x", 300) + `"}`, `{"blueprint":"go-dev@0"}`, `{"blueprint":"go-dev@99999999999999999999"}`, "{\"blueprint\":\"go\\u0000dev\"}",
		"{\"blueprint\":\"\xff\xfe\"}", `{"blueprint":"go-dev","name":"../../etc"}`, `{"blueprint":"go-dev","region":"mars-1"}`, `{"blueprint":"go-dev","project":"nope"}`,
		`{"blueprint":"go-dev","operating_system":"PLAN9"}`, `{"blueprint":"go-dev","service_type":"` + secret + `"}`, `{"blueprint":"go-dev","running_mode":"MANUAL"}`,
		`{"blueprint":"go-dev","name":"` + strings.Repeat("n", 64) + `"}`, strings.Repeat(`{"a":`, 5000), `{"blueprint":"go-dev"} {"blueprint":"go-dev"}`,
	}
	for _, b := range bodies {
		r := post("/api/v1/workspaces", b)
		if r.status < 400 || r.status >= 500 {
			t.Errorf("%.60q: %d %s", b, r.status, r.body)
			continue
		}
		r.code(t)
		if strings.Contains(r.body, secret) {
			t.Errorf("%.60q: the answer echoes what was sent: %s", b, r.body)
		}
	}
	if r := ask(t, "POST", "/api/v1/workspaces", ada, bytes.NewReader(bytes.Repeat([]byte(" "), 2<<20))); r.status != http.StatusRequestEntityTooLarge || r.code(t) != "BODY_TOO_LARGE" {
		t.Errorf("2 MiB: %d %s", r.status, r.body)
	}
	if r := post("/api/v1/workspaces", `{"blueprint":"go-dev"}`, "Content-Type", "text/xml"); r.status < 400 || r.status >= 500 {
		t.Errorf("XML: %d", r.status)
	}
	if r := post("/api/v1/workspaces", `{"blueprint":"go-dev","service_type":"WORKSPACES_APPLICATIONS"}`); r.status != 501 || r.code(t) != "NOT_YET_SUPPORTED" {
		t.Errorf("applications: %d %s", r.status, r.body)
	}
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/api/v1/nothing", 404, "ROUTE_NOT_FOUND"},
		{"PUT", "/api/v1/workspaces", 405, "METHOD_NOT_ALLOWED"},
		{"GET", "/", 404, "ROUTE_NOT_FOUND"},
		{"GET", "/api/v1/workspaces?limit=1000", 422, "VALIDATION_FAILED"},
		{"GET", "/api/v1/workspaces?cursor=zzz", 422, "CURSOR_INVALID"},
		{"GET", "/api/v1/workspaces?limit=x", 422, "VALIDATION_FAILED"},
		{"GET", "/api/v1/costs/summary?group_by=mood", 422, "VALIDATION_FAILED"},
		{"GET", "/api/v1/costs/summary?from=2027-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", 422, "RANGE_INVALID"},
		{"GET", "/api/v1/workspaces/ws_nope", 404, "WORKSPACE_NOT_FOUND"},
		{"GET", "/api/v1/workspaces/%00", 422, "TEXT_INVALID"},
	} {
		if r := ask(t, c.method, c.path, ada, nil); r.status != c.status || r.code(t) != c.code {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, r.status, r.body, c.status, c.code)
		}
	}
	for _, amount := range []string{"-1", "NaN", "1e400", "1.1234567", "", "1000000000000", "12 USD"} {
		body, _ := json.Marshal(map[string]string{"amount": amount})
		if r := ask(t, "PUT", "/api/v1/budgets/TEAM/data", token(t, "finance"), bytes.NewReader(body)); r.status != 422 {
			t.Errorf("a budget of %q: %d %s", amount, r.status, r.body)
		}
	}
}

func TestARepeatedRequestWithItsKeyIsAnsweredAndDoneOnce(t *testing.T) {
	hedy := token(t, "hedy")
	const body = `{"blueprint":"go-dev"}`
	var wg sync.WaitGroup
	ids := make(chan string, 8)
	for range 8 {
		wg.Go(func() {
			r := ask(t, "POST", "/api/v1/workspaces", hedy, strings.NewReader(body), "Idempotency-Key", "one-of-eight")
			var a client.WorkspaceAdmitted
			if err := json.Unmarshal([]byte(r.body), &a); err != nil || r.status != 202 {
				t.Errorf("%d %s", r.status, r.body)
				return
			}
			ids <- a.Workspace.Id
		})
	}
	wg.Wait()
	close(ids)
	seen := map[string]int{}
	for id := range ids {
		seen[id]++
	}
	if len(seen) != 1 {
		t.Fatalf("eight repeats made %v", seen)
	}
	r := ask(t, "POST", "/api/v1/workspaces", hedy, strings.NewReader(`{"blueprint":"go-dev","name":"other"}`), "Idempotency-Key", "one-of-eight")
	if r.status != 409 || r.code(t) != "IDEMPOTENCY_KEY_REUSED" {
		t.Errorf("another body: %d %s", r.status, r.body)
	}
	first := ask(t, "POST", "/api/v1/tokens", hedy, strings.NewReader(`{"name":"ci"}`), "Idempotency-Key", "tok")
	again := ask(t, "POST", "/api/v1/tokens", hedy, strings.NewReader(`{"name":"ci"}`), "Idempotency-Key", "tok")
	if first.status != 201 || again.status != 201 || !strings.Contains(first.body, `"secret":"forge_`) || strings.Contains(again.body, "secret") || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("a token's secret is shown once:\n%s\n%s", first.body, again.body)
	}
}

func TestALostRaceIsToldByTheETag(t *testing.T) {
	c := as(t, "lynn")
	w := launch(t, c, client.WorkspaceCreate{Blueprint: "go-dev"})
	w = reaches(t, c, w.Id, "AVAILABLE")
	path := "/api/v1/workspaces/" + w.Id
	got := ask(t, "GET", path, token(t, "lynn"), nil)
	tag := got.header.Get("ETag")
	if r := ask(t, "PATCH", path, token(t, "lynn"), strings.NewReader(`{"name":"first"}`), "If-Match", tag); r.status != 200 || r.header.Get("ETag") == tag {
		t.Fatalf("first: %d %s", r.status, r.body)
	}
	if r := ask(t, "PATCH", path, token(t, "lynn"), strings.NewReader(`{"name":"second"}`), "If-Match", tag); r.status != 409 || r.code(t) != "WORKSPACE_CHANGED" {
		t.Errorf("second: %d %s", r.status, r.body)
	}
	if r := ask(t, "PATCH", path, token(t, "lynn"), strings.NewReader(`{"auto_stop_timeout_minutes":120}`)); r.status != 200 {
		t.Errorf("idle timeout: %d %s", r.status, r.body)
	}
}
