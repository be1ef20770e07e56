package emulator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"go.uber.org/goleak"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

const (
	directory = "d-926722edaf"
	elsewhere = "d-93671a2b3c" // in eu-west-1
	standard  = "wsb-v26vg2847"
	graphics  = "wsb-gpr383n2b"
	pcoip     = "wsb-svytzjdyc" // STANDARD that can speak either protocol
)

func TestMain(m *testing.M) {
	if path := os.Getenv("EMULATOR_TEST_SERVE"); path != "" {
		serveUntilKilled(path)
	}
	goleak.VerifyTestMain(m)
}

// bench is an emulator behind a server, with the clock in the test's hand.
type bench struct {
	t      *testing.T
	emu    *emulator.Emulator
	server *httptest.Server
	clock  *clock
}

// clock moves only when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) { c.set(c.Now().Add(d)) }

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

var start = time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC)

func newBench(t *testing.T, settings ...func(*emulator.Config)) *bench {
	t.Helper()
	b := &bench{t: t, clock: &clock{now: start}}
	cfg := emulator.Config{
		Now: b.clock.Now,
		Directories: []emulator.Directory{
			{ID: directory, Name: "corp.example.com", Users: []string{"alice", "bob", "carol", "dave"}},
			{ID: elsewhere, Region: "eu-west-1", Users: []string{emulator.AnyUser}},
		},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	for _, set := range settings {
		set(&cfg)
	}
	emu, err := emulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.emu = emu
	b.serve()
	return b
}

func (b *bench) serve() {
	b.server = httptest.NewServer(b.emu)
	b.t.Cleanup(b.close)
}

// close also sees to it that no operation answered an error that Amazon does not have for it: every test is one
// of that, too.
func (b *bench) close() {
	b.server.Close()
	for _, o := range b.emu.Outcomes() {
		if !readModel().mayAnswer(o.Op, o.Outcome) {
			b.t.Errorf("%s answered %s, which its model does not have", o.Op, o.Outcome)
		}
	}
	if err := b.emu.Close(); err != nil && !errors.Is(err, os.ErrClosed) { // a crashed one has nothing to close
		b.t.Error(err)
	}
}

func stateFile(path string) func(*emulator.Config) {
	return func(c *emulator.Config) { c.StateFile = path }
}

// client is the real SDK, which sends each call once unless a retryer is given.
func (b *bench) client(options ...func(*workspaces.Options)) *workspaces.Client {
	return sdk(b.server.URL, append([]func(*workspaces.Options){
		func(o *workspaces.Options) { o.HTTPClient = b.server.Client() },
	}, options...)...)
}

func sdk(url string, options ...func(*workspaces.Options)) *workspaces.Client {
	return workspaces.New(workspaces.Options{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(url),
		Credentials:  credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		Retryer:      aws.NopRetryer{},
	}, append(options, plainBodies)...)
}

// plainBodies hides the WriteTo of the SDK's request bodies, which fails once they are closed and takes the
// answer with it (see latency in wire.go). Read does what it should, so that no test depends on the timing.
func plainBodies(o *workspaces.Options) {
	given := o.HTTPClient.(*http.Client).Transport
	o.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		plain := *r
		plain.Body = struct{ io.ReadCloser }{r.Body}
		return given.RoundTrip(&plain)
	})}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func inRegion(name string) func(*workspaces.Options) {
	return func(o *workspaces.Options) { o.Region = name }
}

// request asks for a STANDARD WorkSpace that stops by itself after an hour.
func request(user string, changes ...func(*types.WorkspaceRequest)) types.WorkspaceRequest {
	r := types.WorkspaceRequest{
		DirectoryId: aws.String(directory), UserName: aws.String(user), BundleId: aws.String(standard),
		WorkspaceProperties: &types.WorkspaceProperties{RunningMode: types.RunningModeAutoStop},
	}
	for _, change := range changes {
		change(&r)
	}
	return r
}

func alwaysOn(r *types.WorkspaceRequest) {
	r.WorkspaceProperties = &types.WorkspaceProperties{RunningMode: types.RunningModeAlwaysOn}
}

func (b *bench) create(requests ...types.WorkspaceRequest) *workspaces.CreateWorkspacesOutput {
	b.t.Helper()
	out, err := b.client().CreateWorkspaces(b.t.Context(), &workspaces.CreateWorkspacesInput{Workspaces: requests})
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// one creates a WorkSpace and gives its id.
func (b *bench) one(r types.WorkspaceRequest) string {
	b.t.Helper()
	out := b.create(r)
	if len(out.PendingRequests) != 1 {
		b.t.Fatalf("create %s: refused: %s", *r.UserName, *out.FailedRequests[0].ErrorCode)
	}
	return *out.PendingRequests[0].WorkspaceId
}

// available creates a WorkSpace and lets the time pass until it can be used.
func (b *bench) available(r types.WorkspaceRequest) string {
	b.t.Helper()
	id := b.one(r)
	b.pass(id, "AVAILABLE")
	return id
}

// pass lets the time pass until the WorkSpace enters its next state, which must be the one named, and checks
// that it did so neither earlier nor later than announced. It gives how long that took.
func (b *bench) pass(id, state string) time.Duration {
	b.t.Helper()
	w := b.admin(id)
	if w.Next != state {
		b.t.Fatalf("%s in %s goes on to %q, want %s", id, w.State, w.Next, state)
	}
	b.clock.set(w.NextAt.Add(-time.Nanosecond))
	b.wantState(id, w.State)
	b.clock.set(w.NextAt)
	b.wantState(id, state)
	return w.NextAt.Sub(w.Since)
}

func (b *bench) wantState(id, want string) {
	b.t.Helper()
	if got := b.admin(id).State; got != want {
		b.t.Fatalf("state of %s is %s, want %s", id, got, want)
	}
}

// describe gives the WorkSpace as Amazon's API shows it, nil if it does not.
func (b *bench) describe(id string) *types.Workspace {
	b.t.Helper()
	out, err := b.client().DescribeWorkspaces(b.t.Context(), &workspaces.DescribeWorkspacesInput{WorkspaceIds: []string{id}})
	if err != nil {
		b.t.Fatal(err)
	}
	if len(out.Workspaces) == 0 {
		return nil
	}
	return &out.Workspaces[0]
}

type adminWorkspace struct {
	ID, Region, User, State, Next string
	Since, Visible, Created       time.Time
	ImageID                       string    `json:"image_id"`
	NextAt                        time.Time `json:"next_at"`
	ChangedAt                     time.Time `json:"changed_at"`
	Connected                     bool
	Tags                          map[string]string
	Protocol                      string
	RunningMode                   string `json:"running_mode"`
	ErrorCode                     string `json:"error_code"`
}

func (b *bench) adminAll() []adminWorkspace {
	b.t.Helper()
	var out struct{ Workspaces []adminWorkspace }
	b.call(http.MethodGet, "/_emu/workspaces", nil, http.StatusOK, &out)
	return out.Workspaces
}

// admin gives the WorkSpace as the admin API shows it, in the state ABSENT if it does not.
func (b *bench) admin(id string) adminWorkspace {
	b.t.Helper()
	for _, w := range b.adminAll() {
		if w.ID == id {
			return w
		}
	}
	return adminWorkspace{ID: id, State: "ABSENT"}
}

// act lets something happen to a WorkSpace from outside.
func (b *bench) act(id, action string) {
	b.t.Helper()
	b.call(http.MethodPost, "/_emu/workspaces/"+id+"/"+action, nil, http.StatusOK, nil)
}

type seenRequest struct {
	Seq          int64
	Op, Outcome  string
	Users        []string
	Workspaces   []string
	Faults       []struct{ ID, Kind string }
	InvocationID string `json:"invocation_id"`
	Attempt      int
}

func (b *bench) requests() []seenRequest {
	b.t.Helper()
	var out struct{ Requests []seenRequest }
	b.call(http.MethodGet, "/_emu/requests", nil, http.StatusOK, &out)
	return out.Requests
}

type fault struct {
	ID          string  `json:"id,omitempty"`
	Op          string  `json:"op,omitempty"`
	Kind        string  `json:"kind"`
	User        string  `json:"user,omitempty"`
	Directory   string  `json:"directory,omitempty"`
	Workspace   string  `json:"workspace,omitempty"`
	Region      string  `json:"region,omitempty"`
	Count       int     `json:"count,omitempty"`
	Nth         int     `json:"nth,omitempty"`
	Probability float64 `json:"probability,omitempty"`
	Seed        uint64  `json:"seed,omitempty"`
	DelayMS     int64   `json:"delay_ms,omitempty"`
	Code        string  `json:"code,omitempty"`
	Message     string  `json:"message,omitempty"`
	State       string  `json:"state,omitempty"`
	Limit       *int    `json:"limit,omitempty"`
	Matched     int     `json:"matched,omitempty"`
	Struck      int     `json:"struck,omitempty"`
}

// fault puts a fault into force and gives its id.
func (b *bench) fault(f fault) string {
	b.t.Helper()
	var out struct{ ID string }
	b.call(http.MethodPost, "/_emu/faults", f, http.StatusOK, &out)
	return out.ID
}

// faults are those in force.
func (b *bench) faults() []fault {
	b.t.Helper()
	var out struct{ Faults []fault }
	b.call(http.MethodGet, "/_emu/faults", nil, http.StatusOK, &out)
	return out.Faults
}

// call uses the admin API.
func (b *bench) call(method, path string, body any, wantStatus int, answer any) {
	b.t.Helper()
	content, err := json.Marshal(body)
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.server.URL+path, bytes.NewReader(content))
	if err != nil {
		b.t.Fatal(err)
	}
	res, err := b.server.Client().Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if res.StatusCode != wantStatus {
		b.t.Fatalf("%s %s: status %d, want %d: %s", method, path, res.StatusCode, wantStatus, got)
	}
	if answer == nil {
		return
	}
	if err := json.Unmarshal(got, answer); err != nil {
		b.t.Fatalf("%s %s: %v in %s", method, path, err, got)
	}
}

// send posts a body as it is, signed for nobody, and gives status and answer.
func (b *bench) send(op, body string) (int, map[string]any, http.Header) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, b.server.URL+"/", bytes.NewReader([]byte(body)))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "WorkspacesService."+op)
	res, err := b.server.Client().Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, answer, res.Header
}
