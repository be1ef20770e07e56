package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

const (
	idA = "ws_01jd8x5qf8e2x9v7m3k4n5p6q7"
	idB = "ws_01jd8x5qf8e2x9v7m3k4n5p6q8"
)

// bench is one run of the command line against a server made for the test.
type bench struct {
	env
	out, err bytes.Buffer
	pauses   []time.Duration
	clock    time.Time
}

// against makes a command line that is signed in to the server. Pauses take no time, but the clock sees them.
func against(t *testing.T, handler http.Handler) *bench {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	t.Setenv("FORGE_CONFIG", filepath.Join(t.TempDir(), "deep", "config.yaml"))
	t.Setenv("FORGE_API", server.URL)
	t.Setenv("FORGE_TOKEN", "forge_test")
	b := &bench{clock: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	b.env = env{
		IO: IO{In: strings.NewReader(""), Out: &b.out, Err: &b.err}, version: "1.2.3",
		now: func() time.Time { return b.clock },
		pause: func(ctx context.Context, d time.Duration) error {
			b.pauses, b.clock = append(b.pauses, d), b.clock.Add(d)
			return ctx.Err()
		},
	}
	return b
}

func (b *bench) run(args ...string) error { return b.runWith(context.Background(), args...) }

func (b *bench) runWith(ctx context.Context, args ...string) error {
	b.out.Reset()
	b.err.Reset()
	root := &cobra.Command{Use: "forge", SilenceErrors: true, SilenceUsage: true}
	root.AddGroup(&cobra.Group{ID: group, Title: "For engineers:"})
	root.AddCommand(b.commands()...)
	root.SetArgs(args)
	root.SetOut(&b.out)
	root.SetErr(&b.err)
	return root.ExecuteContext(ctx)
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func refuse(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "/docs/problems#" + code, "title": http.StatusText(status), "status": status, "detail": detail, "code": code, "retryable": false, "instance": "req_1", "suggested_action": "do something else"})
}

func workspaceJSON(id, name, state, desired, more string) string {
	return fmt.Sprintf(`{"id":%q,"name":%q,"user_id":"usr_1","user_name":"ada","team_id":"team_1","cost_centre":"cc","blueprint":"backend/go-dev@3","blueprint_version_id":"bpv_1","service_type":"WORKSPACES_PERSONAL","bundle_type":"STANDARD","operating_system":"WINDOWS","running_mode":"AUTO_STOP","region":"us-east-1","directory_id":"d-1","tags":{},"state":%q,"state_reason":"","desired":%q,"cost_to_date":{"amount":"12.340000","currency":"USD"},"version":1,"created_at":"2026-11-01T00:00:00Z","updated_at":"2026-11-01T00:00:00Z","new_field":7%s}`, id, name, state, desired, more)
}

func admittedJSON(ws string) string {
	const zero = `{"amount":"0.000000","currency":"USD"}`
	return `{"workspace":` + ws + `,"estimate":{"monthly_fee":` + zero + `,"first_fee":` + zero + `,"hourly":` + zero + `,"reserved":` + zero + `,"lease_hours":1},"budgets":[],"dry_run":false}`
}

const meJSON = `{"user":{"id":"usr_1","user_name":"ada","display_name":"Ada","email":"ada@robco.example","team_id":"team_1","team":"backend","role":"engineer","created_at":"2026-11-01T00:00:00Z"},"allowed_bundle_types":["STANDARD"]}`

func TestEveryCommandIsOfTheClientAndHasExamples(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s has no short help or no example", c.CommandPath())
		}
		if c.Runnable() && len(c.Commands()) == 0 && c.Flags().Lookup("output") == nil {
			t.Errorf("%s has no --output", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	for _, c := range Commands(IO{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}, "1") {
		if c.GroupID != "client" {
			t.Errorf("%s is in group %q", c.Name(), c.GroupID)
		}
		visit(c)
	}
}

func TestTheServerIsToldWhoAsks(t *testing.T) {
	var got http.Header
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		answer(w, 200, meJSON)
	}))
	if err := b.run("whoami"); err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]string{"Authorization": "Bearer forge_test", "X-Forge-Interface": "cli", "User-Agent": "forge-cli/1.2.3"} {
		if got.Get(header) != want {
			t.Errorf("%s is %q, want %q", header, got.Get(header), want)
		}
	}
	if !strings.Contains(b.out.String(), "ada@robco.example") {
		t.Errorf("whoami printed %q", b.out.String())
	}
}

func TestALaunchIsRepeatedWithTheSameKey(t *testing.T) {
	var keys, bodies []string
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		keys, bodies = append(keys, r.Header.Get(keyHeader)), append(bodies, string(body))
		switch len(keys) {
		case 1:
			w.Header().Set("Retry-After", "2")
			refuse(w, 503, "UNAVAILABLE", "not now")
		case 2:
			panic(http.ErrAbortHandler) // the connection breaks
		default:
			answer(w, 202, admittedJSON(workspaceJSON(idA, "spike", "PENDING", "AVAILABLE", "")))
		}
	}))
	if err := b.run("launch", "--blueprint", "go-dev", "--bundle", "standard", "--tag", "a=b=c", "--timeout-minutes", "60", "-o", "json"); err != nil {
		t.Fatal(err)
	}
	if len(keys) != 3 || keys[0] == "" || keys[1] != keys[0] || keys[2] != keys[0] {
		t.Errorf("keys were %q", keys)
	}
	if bodies[0] != bodies[2] || !strings.Contains(bodies[0], `"bundle_type":"STANDARD"`) || !strings.Contains(bodies[0], `"a":"b=c"`) {
		t.Errorf("bodies were %q", bodies)
	}
	if b.pauses[0] != 2*time.Second {
		t.Errorf("paused %v, which is not what Retry-After said", b.pauses)
	}
	if err := b.run("launch", "--blueprint", "go-dev"); err != nil {
		t.Fatal(err)
	}
	if keys[3] == keys[0] {
		t.Error("two launches had one key")
	}
}

func TestRefusalsAreNotRepeatedAndUnkeyedChangesNeither(t *testing.T) {
	for _, c := range []struct {
		status, want int
		args         []string
	}{
		{503, attempts, []string{"list"}},
		{503, attempts, []string{"launch", "--blueprint", "x"}},
		{409, 1, []string{"launch", "--blueprint", "x"}},
		{500, 1, []string{"launch", "--blueprint", "x"}},
		{503, 1, []string{"terminate", idA, "--yes"}},
		{429, attempts, []string{"terminate", idA, "--yes"}},
	} {
		n := 0
		b := against(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			n++
			refuse(w, c.status, "X", "no")
		}))
		if err := b.run(c.args...); ExitCode(err) != 1 {
			t.Errorf("%v: %v", c.args, err)
		}
		if n != c.want {
			t.Errorf("%v after %d: %d requests, want %d", c.args, c.status, n, c.want)
		}
	}
}

func TestAServerThatIsNotThereIsTriedAgainAndNamed(t *testing.T) {
	b := against(t, http.NotFoundHandler())
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	t.Setenv("FORGE_API", gone.URL)
	err := b.run("terminate", idA, "--yes")
	if err == nil || !strings.Contains(err.Error(), gone.URL) || ExitCode(err) != 1 {
		t.Errorf("got %v", err)
	}
	if len(b.pauses) != attempts-1 {
		t.Errorf("paused %v", b.pauses)
	}
	var out bytes.Buffer
	PrintError(&out, err)
	if !strings.Contains(out.String(), "Try: ") || strings.Contains(out.String(), "forge_test") {
		t.Errorf("printed %q", out.String())
	}
}

func TestATokenIsNotTakenElsewhere(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer other.Close()
	b := against(t, http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	if err := b.run("whoami"); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("got %v", err)
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{UsageError{Err: errors.New("x")}, 2},
		{fmt.Errorf("more: %w", UsageError{Err: errors.New("x")}), 2},
		{errors.New(`unknown command "x" for "forge"`), 2},
		{&APIError{Status: 401}, 3},
		{fmt.Errorf("more: %w", &APIError{Status: 403}), 3},
		{&APIError{Status: 402}, 4},
		{&APIError{Status: 404}, 1},
		{context.Canceled, 1},
	} {
		if got := ExitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

func TestWrongCommandLinesAreUsageErrorsAndSendNothing(t *testing.T) {
	b := against(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s was sent", r.Method, r.URL) }))
	for _, line := range []string{
		"launch", "launch --blueprint", "launch --blueprint x --tag y", "launch --blueprint x --tag a=1 --tag a=2", "launch --blueprint x --dry-run --wait",
		"launch --blueprint x extra", "describe", "describe a b", "list --nonsense", "list -o xml", "list --limit -1", "terminate x", "token create", "token create --name x --lifetime 90m",
		"token frobnicate", "costs --by phase", "costs --from yesterday", "costs --from 2026-11-02 --to 2026-11-01", "budgets set TEAM backend", "budgets set GALAXY x 4", "budgets set TEAM x -4", "budgets nonsense",
		"audit list --result maybe", "login", "login --token", "context use", "unheard-of",
	} {
		if err := b.run(strings.Fields(line)...); ExitCode(err) != 2 {
			t.Errorf("forge %s: exit %d, %v", line, ExitCode(err), err)
		}
	}
	err := b.run("launch", "--nonsense")
	var out bytes.Buffer
	PrintError(&out, err)
	if want := "Error: unknown flag: --nonsense\nTry: forge launch --help\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

func TestARefusalIsPrintedWithWhatToDo(t *testing.T) {
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(402)
		_, _ = io.WriteString(w, `{"type":"t","title":"t","status":402,"detail":"the budget is\nspent\u001b[31m","code":"BUDGET_EXCEEDED","retryable":false,"instance":"req_1","suggested_action":"ask finance","details":{"required":"4.000000","fields":[{"field":"a","problem":"b"}]}}`)
	}))
	err := b.run("launch", "--blueprint", "x")
	if ExitCode(err) != 4 {
		t.Errorf("exit %d: %v", ExitCode(err), err)
	}
	var out bytes.Buffer
	PrintError(&out, err)
	want := "Error: the budget is\\nspent\\x1b[31m\n  fields: field=a problem=b\n  required: 4.000000\nTry: ask finance\nCode: BUDGET_EXCEEDED   Request: req_1\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestAGatewaysPageIsNotTakenForAProblem(t *testing.T) {
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Request-Id", "req_9")
		w.WriteHeader(403)
		_, _ = io.WriteString(w, "<html>")
	}))
	err := b.run("list")
	var out bytes.Buffer
	PrintError(&out, err)
	if want := "Error: the server answered 403 Forbidden\nRequest: req_9\n"; out.String() != want || ExitCode(err) != 3 {
		t.Errorf("exit %d, printed %q", ExitCode(err), out.String())
	}
}

// pagedWorkspaces serves n WorkSpaces in pages of two.
func pagedWorkspaces(t *testing.T, n int, limits *[]string) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/me" {
			answer(w, 200, meJSON)
			return
		}
		if id, ok := strings.CutPrefix(r.URL.Path, "/api/v1/workspaces/"); ok {
			answer(w, 200, workspaceJSON(id, "one", "AVAILABLE", "AVAILABLE", ""))
			return
		}
		*limits = append(*limits, r.URL.Query().Get("limit"))
		first := 0
		if c := r.URL.Query().Get("cursor"); c != "" {
			_, _ = fmt.Sscanf(c, "at-%d", &first)
		}
		var items []string
		for i := first; i < min(first+2, n); i++ {
			items = append(items, workspaceJSON(fmt.Sprintf("ws_%026d", i), fmt.Sprintf("name-%d", i), "STOPPED", "STOPPED", ""))
		}
		next := ""
		if first+2 < n {
			next = fmt.Sprintf(`,"next_cursor":"at-%d"`, first+2)
		}
		answer(w, 200, `{"items":[`+strings.Join(items, ",")+`]`+next+`}`)
	})
}

func TestAListHasAllPagesInTheServersOwnWords(t *testing.T) {
	var limits []string
	b := against(t, pagedWorkspaces(t, 5, &limits))
	if err := b.run("list", "-o", "json"); err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(b.out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 5 || got[4]["name"] != "name-4" || got[0]["new_field"] != 7.0 {
		t.Errorf("got %d: %s", len(got), b.out.String())
	}
	limits = nil
	if err := b.run("list", "-o", "csv", "--limit", "3"); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(b.out.String(), "\n"); lines != 4 || !slices.Equal(limits, []string{"3", "1"}) {
		t.Errorf("%d lines, limits %v", lines, limits)
	}
}

func TestAnEmptyListIsAnEmptyArray(t *testing.T) {
	b := against(t, pagedWorkspaces(t, 0, new([]string)))
	if err := b.run("list", "-o", "json"); err != nil || b.out.String() != "[]\n" {
		t.Errorf("%v, printed %q", err, b.out.String())
	}
	if err := b.run("list"); err != nil || b.out.String() != "" || b.err.String() != "No WorkSpaces.\n" {
		t.Errorf("%v, printed %q and %q", err, b.out.String(), b.err.String())
	}
}

func TestAListThatDoesNotEndIsNoticed(t *testing.T) {
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, `{"items":[],"next_cursor":"x"}`) }))
	if err := b.run("list"); err == nil || !strings.Contains(err.Error(), "does not end") {
		t.Errorf("got %v", err)
	}
}

func TestAWorkSpaceGoesByNameFromAnyPage(t *testing.T) {
	b := against(t, pagedWorkspaces(t, 5, new([]string)))
	if err := b.run("describe", "name-4", "-o", "json"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.out.String(), fmt.Sprintf("ws_%026d", 4)) {
		t.Errorf("described %s", b.out.String())
	}
	if err := b.run("describe", "nobody"); err == nil || ExitCode(err) != 1 {
		t.Errorf("got %v", err)
	}
}

// states serves one WorkSpace that goes through the states, one a look.
func states(launched string, polls ...string) http.Handler {
	n := 0
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			answer(w, 202, launched)
			return
		}
		if polls[n] == "oops" {
			refuse(w, 500, "INTERNAL", "oops")
		} else {
			answer(w, 200, polls[n])
		}
		n = min(n+1, len(polls)-1)
	})
}

func TestWaitingEndsWhenTheWorkSpaceIsAvailable(t *testing.T) {
	pending, available := workspaceJSON(idA, "spike", "PENDING", "AVAILABLE", ""), workspaceJSON(idA, "spike", "AVAILABLE", "AVAILABLE", "")
	b := against(t, states(admittedJSON(pending), pending, "oops", pending, available))
	if err := b.run("launch", "--blueprint", "x", "--wait", "-o", "json"); err != nil {
		t.Fatal(err)
	}
	want := idA + "  PENDING\nThe server does not answer (oops); still trying.\n" + idA + "  AVAILABLE\n"
	if diff := cmp.Diff(want, b.err.String()); diff != "" {
		t.Error(diff)
	}
	var got struct {
		Workspace struct {
			State string `json:"state"`
		} `json:"workspace"`
	}
	if err := json.Unmarshal(b.out.Bytes(), &got); err != nil || got.Workspace.State != "AVAILABLE" {
		t.Errorf("%v, printed %s", err, b.out.String())
	}
	b2 := against(t, states(admittedJSON(pending), pending, available))
	b2.errTTY = true
	if err := b2.run("launch", "--blueprint", "x", "--wait"); err != nil || !strings.Contains(b2.err.String(), "\r\x1b[K"+idA+"  PENDING  1s") || !strings.HasSuffix(b2.err.String(), "\r\x1b[K") {
		t.Errorf("%v, printed %q", err, b2.err.String())
	}
}

func TestWaitingEndsWhereThereIsNothingToWaitFor(t *testing.T) {
	pending := workspaceJSON(idA, "spike", "PENDING", "AVAILABLE", "")
	for want, last := range map[string]string{
		"FAILED: NO_CAPACITY: none left": workspaceJSON(idA, "spike", "FAILED", "AVAILABLE", `,"error_code":"NO_CAPACITY","error_message":"none left"`),
		"is TERMINATED":                  workspaceJSON(idA, "spike", "TERMINATED", "TERMINATED", ""),
		"is CONFLICT":                    workspaceJSON(idA, "spike", "CONFLICT", "AVAILABLE", ""),
		"is to be TERMINATED now":        workspaceJSON(idA, "spike", "PENDING", "TERMINATED", ""),
		"still PENDING after 2m":         pending,
	} {
		b := against(t, states(admittedJSON(pending), pending, last))
		err := b.run("launch", "--blueprint", "x", "--wait", "--wait-timeout", "2m", "-o", "yaml")
		if err == nil || !strings.Contains(err.Error(), want) || ExitCode(err) != 1 {
			t.Errorf("got %v, want %q", err, want)
		}
		if !strings.Contains(b.out.String(), "id: "+idA) {
			t.Errorf("printed %q", b.out.String())
		}
	}
}

func TestAFailedWorkSpaceCanBeWaitedOutOfTheWorld(t *testing.T) {
	failed := workspaceJSON(idA, "spike", "FAILED", "TERMINATED", "")
	b := against(t, states(failed, failed, workspaceJSON(idA, "spike", "TERMINATED", "TERMINATED", "")))
	if err := b.run("terminate", idA, "--yes", "--wait"); err != nil {
		t.Fatal(err)
	}
}

func TestAnInterruptedWaitSaysThatTheRestGoesOn(t *testing.T) {
	pending := workspaceJSON(idA, "spike", "PENDING", "AVAILABLE", "")
	b := against(t, states(admittedJSON(pending), pending))
	ctx, cancel := context.WithCancel(t.Context())
	b.pause = func(ctx context.Context, _ time.Duration) error { cancel(); return ctx.Err() }
	if err := b.runWith(ctx, "launch", "--blueprint", "x", "--wait"); err == nil || !strings.Contains(err.Error(), "goes on without us") {
		t.Errorf("got %v", err)
	}
}

func TestTerminatingAsksWhereSomebodyCanAnswer(t *testing.T) {
	sent := 0
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		sent++
		answer(w, 202, workspaceJSON(idA, "spike", "TERMINATING", "TERMINATED", ""))
	}))
	b.inTTY = true
	for input, want := range map[string]int{"y\n": 1, "yes\n": 1, "n\n": 0, "\n": 0, "": 0, "y": 0} {
		sent = 0
		b.In = strings.NewReader(input)
		if err := b.run("terminate", idA); (err == nil) != (want == 1) || sent != want {
			t.Errorf("%q: %d sent, %v", input, sent, err)
		}
	}
}

func TestBudgetsHaveBarsOnATerminal(t *testing.T) {
	const m = `{"amount":"1.500000","currency":"USD"}`
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		item := `{"id":"b","scope":"TEAM","scope_id":"team_1","name":"backend","amount":` + m + `,"warning_percents":[80],"period":"MONTHLY","first_month":"2026-11","enforcement":"block","period_start":"2026-11-01T00:00:00Z","period_end":"2026-12-01T00:00:00Z","settled":` + m + `,"held":` + m + `,"available":{"amount":"-1.500000","currency":"USD"},"overrun":` + m + `,"consumed_percent":50,"version":1}`
		if r.Method == http.MethodPut {
			body, _ := io.ReadAll(r.Body)
			if want := `{"accept_overrun":true,"amount":"400"}`; strings.TrimSpace(string(body)) != want || r.URL.Path != "/api/v1/budgets/TEAM/backend" {
				t.Errorf("PUT %s %s", r.URL.Path, body)
			}
			answer(w, 200, item)
			return
		}
		answer(w, 200, `{"items":[`+item+`]}`)
	}))
	if err := b.run("budgets"); err != nil || strings.Contains(b.out.String(), "█") || !strings.Contains(b.out.String(), "50%") {
		t.Errorf("%v\n%s", err, b.out.String())
	}
	if err := b.run("budgets", "-o", "csv"); err != nil || !strings.Contains(b.out.String(), ",-1.500000,50,block") {
		t.Errorf("%v\n%s", err, b.out.String())
	}
	b.outTTY = true
	if err := b.run("budgets"); err != nil || !strings.Contains(b.out.String(), "██████████░░░░░░░░░░  50%") {
		t.Errorf("%v\n%s", err, b.out.String())
	}
	if err := b.run("budgets", "set", "team", "backend", "400", "--accept-overrun"); err != nil {
		t.Error(err)
	}
}

func TestSigningInKeepsOnlyWhatTheServerKnows(t *testing.T) {
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer forge_good" {
			refuse(w, 401, "UNAUTHENTICATED", "no")
			return
		}
		answer(w, 200, meJSON)
	}))
	api := os.Getenv("FORGE_API")
	t.Setenv("FORGE_API", "")
	t.Setenv("FORGE_TOKEN", "")
	var out bytes.Buffer
	PrintError(&out, b.run("whoami"))
	if !strings.Contains(out.String(), "forge login --token") {
		t.Errorf("printed %q", out.String())
	}
	if err := b.run("login", "--token", "forge_bad", "--api", api); ExitCode(err) != 3 {
		t.Errorf("got %v", err)
	}
	path := os.Getenv("FORGE_CONFIG")
	if _, err := os.Stat(path); err == nil {
		t.Error("a token that the server does not know was kept")
	}
	b.In = strings.NewReader("forge_good\n")
	if err := b.run("login", "--token", "-", "--api", api+"/"); err != nil {
		t.Fatal(err)
	}
	config, _, err := LoadConfig()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Config{Current: "default", Contexts: map[string]Context{"default": {API: api + "/", Token: "forge_good"}}}, config); diff != "" {
		t.Error(diff)
	}
	if err := b.run("whoami"); err != nil {
		t.Error(err)
	}
	if err := b.run("whoami", "--context", "elsewhere"); err == nil || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("got %v", err)
	}
	if err := b.run("context", "list", "-o", "json"); err != nil || strings.Contains(b.out.String(), "forge_good") || !strings.Contains(b.out.String(), `"current": true`) {
		t.Errorf("%v, printed %s", err, b.out.String())
	}
}

func TestTheContextFileIsPrivateAndWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "config.yaml")
	t.Setenv("FORGE_CONFIG", path)
	c, got, err := LoadConfig()
	if err != nil || got != path || c.Current != "" || len(c.Contexts) != 0 {
		t.Fatalf("a missing file: %v %q %v", c, got, err)
	}
	c = Config{Current: "dev", Contexts: map[string]Context{"dev": {API: "http://127.0.0.1:8080", Token: "forge_x"}}}
	for range 2 {
		if err := c.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "current: dev\ncontexts:\n  dev:\n    api: http://127.0.0.1:8080\n    token: forge_x\n"; string(b) != want {
		t.Errorf("wrote %q", b)
	}
	if info, err := os.Stat(path); err != nil || (runtime.GOOS != "windows" && info.Mode().Perm() != 0o600) {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("%v left behind, %v", left, err)
	}
	if err := os.WriteFile(path, []byte("current: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadConfig(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

func TestASignInRenewsItsOwnContext(t *testing.T) {
	t.Setenv("FORGE_API", "")
	config := Config{Current: "dev", Contexts: map[string]Context{"dev": {API: "http://a"}, "default": {API: "http://d"}}}
	for _, c := range []struct{ name, api, wantName, wantAPI string }{
		{"", "", "dev", "http://a"},
		{"", "http://a", "dev", "http://a"},
		{"", "http://b:1", "b:1", "http://b:1"},
		{"default", "", "default", "http://d"},
		{"new", "", "new", defaultAPI},
	} {
		if name, to := loginTarget(config, c.name, c.api); name != c.wantName || to.API != c.wantAPI {
			t.Errorf("%+v: %s at %s", c, name, to.API)
		}
	}
	if name, _ := loginTarget(Config{}, "", "http://b"); name != "default" {
		t.Errorf("the first context is called %q", name)
	}
	for api, want := range map[string]bool{"http://localhost:1": false, "http://127.0.0.1": false, "http://[::1]:1": false, "https://x": false, "http://x": true, "http://10.0.0.1": true} {
		if exposed(api) != want {
			t.Errorf("%s: exposed %v", api, !want)
		}
	}
}
