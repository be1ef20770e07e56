package desktop

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/goleak"

	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/workspace"
)

const (
	home      = "us-east-1"
	directory = "d-926722edaf"
	abroad    = "eu-west-1"
	elsewhere = "d-93671a2b3c" // the directory there
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(withDatabase{m}) }

type withDatabase struct{ m *testing.M }

func (d withDatabase) Run() int { return pgtest.Run(d.m) }

// bench is a provider of an emulator whose clock is in the test's hand.
type bench struct {
	*Provider
	t      *testing.T
	server *httptest.Server
	config Config

	mu     sync.Mutex
	now    time.Time
	bodies map[string][]string // what was sent, by operation
	calls  []Call              // what the provider told of
}

func newBench(t *testing.T, settings ...func(*emulator.Config)) *bench {
	t.Helper()
	b := &bench{t: t, now: time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC), bodies: map[string][]string{}}
	cfg := emulator.Config{
		Now: b.clock,
		Directories: []emulator.Directory{
			{ID: directory, Users: []string{"alice", "bob"}},
			{ID: elsewhere, Region: abroad, Users: []string{emulator.AnyUser}},
		},
		Logger: slog.New(slog.DiscardHandler),
	}
	for _, set := range settings {
		set(&cfg)
	}
	emu, err := emulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, operation, ok := strings.Cut(r.Header.Get("X-Amz-Target"), "."); ok {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			b.mu.Lock()
			b.bodies[operation] = append(b.bodies[operation], string(body))
			b.mu.Unlock()
		}
		emu.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		b.server.Close()
		if err := emu.Close(); err != nil {
			t.Error(err)
		}
	})
	b.config = configFor(b.server)
	b.config.Observe = func(c Call) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.calls = append(b.calls, c)
	}
	b.Provider = New(b.config)
	return b
}

// configFor is for a server of the test, as fast as it can.
func configFor(server *httptest.Server) Config {
	return Config{
		Endpoint: server.URL, Limiter: &Local{PerSecond: 10_000, Burst: 100}, Origin: "test-forge", Logger: slog.New(slog.DiscardHandler),
		AWS: aws.Config{
			Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
			HTTPClient:  server.Client(),
		},
	}
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// sent are the bodies of an operation's requests.
func (b *bench) sent(operation string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.bodies[operation])
}

// fail orders a fault.
func (b *bench) fail(operation, kind string, count int) {
	b.t.Helper()
	order, err := json.Marshal(map[string]any{"op": operation, "kind": kind, "count": count})
	if err != nil {
		b.t.Fatal(err)
	}
	b.admin(http.MethodPost, "/_emu/faults", string(order), nil)
}

// outcomes are what became of an operation's attempts, as the emulator saw them.
func (b *bench) outcomes(operation string) []string {
	b.t.Helper()
	var seen struct {
		Requests []struct {
			Op, Outcome string
		} `json:"requests"`
	}
	b.admin(http.MethodGet, "/_emu/requests", "", &seen)
	var outcomes []string
	for _, r := range seen.Requests {
		if r.Op == operation {
			outcomes = append(outcomes, r.Outcome)
		}
	}
	return outcomes
}

func (b *bench) admin(method, path, body string, answer any) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.server.URL+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	res, err := b.server.Client().Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b.t.Fatalf("%s %s: %s", method, path, res.Status)
	}
	if answer == nil {
		return
	}
	if err := json.NewDecoder(res.Body).Decode(answer); err != nil {
		b.t.Fatal(err)
	}
}

// spec is a WorkSpace that can be had.
func spec(user string) workspace.CreateSpec {
	return workspace.CreateSpec{
		Intent: id.New[id.WorkSpace](), Region: home, DirectoryID: directory, DirectoryUser: user, ComputeType: "STANDARD",
		OperatingSystem: "WINDOWS", RunningMode: "AUTO_STOP", AutoStopMinutes: 120, Attempt: 1,
		Tags: map[string]string{"cost-centre": "4711"},
	}
}

// shown is what Amazon shows of a WorkSpace of spec's, without what its tags say.
func shown(providerID, user, state string) workspace.Observation {
	return workspace.Observation{
		ProviderID: providerID, State: state, DirectoryID: directory, User: user, RunningMode: "AUTO_STOP", AutoStop: 120,
		ComputeType: "STANDARD", BundleID: "wsb-v26vg2847", RootGiB: 80, UserGiB: 50, Protocol: "WSP",
	}
}

// create makes a WorkSpace that Amazon shows already.
func (b *bench) create(s workspace.CreateSpec) string {
	b.t.Helper()
	made, err := b.Create(b.t.Context(), s)
	if err != nil {
		b.t.Fatal(err)
	}
	b.pass(10 * time.Second)
	return made
}

func (b *bench) find(user string) []workspace.Observation {
	b.t.Helper()
	found, err := b.Find(b.t.Context(), home, directory, user)
	if err != nil {
		b.t.Fatal(err)
	}
	return found
}

// wantClass fails the test unless err is a provider's of the class, and gives it.
func wantClass(t *testing.T, err error, class workspace.Class) *workspace.ProviderError {
	t.Helper()
	var pe *workspace.ProviderError
	if !errors.As(err, &pe) {
		t.Fatalf("%v is no provider error, want one of class %s", err, className(class))
	}
	if pe.Class != class {
		t.Fatalf("%v is of class %s, want %s", err, className(pe.Class), className(class))
	}
	return pe
}

// classIn is the class of a provider's error, and Ambiguous for any other.
func classIn(err error) workspace.Class {
	var pe *workspace.ProviderError
	if errors.As(err, &pe) {
		return pe.Class
	}
	return workspace.Ambiguous
}

// one is the failure of the only one of a batch.
func one(failed map[string]error) error {
	for _, err := range failed {
		return err
	}
	return nil
}
