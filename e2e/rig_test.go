package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/workspace"
)

const (
	rigRegion    = "us-east-1"
	rigDirectory = "d-9067000001"
	rigOrigin    = "forge.test/audit"
)

// rig is a database and an emulated Amazon that outlive the servers, which are processes of their own and can be killed.
type rig struct {
	t      testing.TB
	dir    string
	pg     *app.Embedded
	keys   audit.Keys
	aws    string
	emu    *emulator.Emulator
	speed  int
	forge  *app.Forge       // serves nothing; for setting up
	people []app.Credential // the demo's
	db     *pgx.Conn
	ready  atomic.Int64
	clock  clock.Clock // of servers in this process, and of the rig if it is the emulator's; nil is the machine's
}

// rigConfig is what a server process is told.
type rigConfig struct {
	DatabaseURL, AWS, Keys, Ready string
	Speed                         int
	Rate                          float64 // not money: calls a second
	// Twice is the share of calls to Amazon that are sent twice, as a proxy may.
	Twice float64 // not money: a share
	// KillAt ends the process, without a word, at this boundary of the reconciler; 0: never. Killed is where it is named.
	KillAt int64
	Killed string
}

func newRig(t testing.TB, speed int, settings ...func(*emulator.Config)) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "forge-rig-") //nolint:usetesting // the database's user cannot enter root's t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the database's user passes through
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir, speed: speed}
	log := slog.New(slog.DiscardHandler)
	if r.pg, err = app.StartEmbedded(t.Context(), dir, true, "e2e", log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.pg.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	cfg := emulator.Config{Speed: float64(speed), Logger: log, Directories: []emulator.Directory{
		{ID: rigDirectory, Region: rigRegion, Name: "corp.example.com", Users: []string{emulator.AnyUser}},
	}}
	for _, set := range settings {
		set(&cfg)
	}
	emu, err := emulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: emu, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the emulated Amazon stopped: %v", err)
		}
	}()
	t.Cleanup(func() { _ = server.Close(); _ = emu.Close() })
	r.aws, r.emu, r.clock = "http://"+l.Addr().String(), emu, cfg.Now
	if err := audit.GenerateKeys(filepath.Join(dir, "keys")); err != nil {
		t.Fatal(err)
	}
	if r.keys, err = audit.LoadKeys(filepath.Join(dir, "keys")); err != nil {
		t.Fatal(err)
	}
	own := r.server(rigConfig{DatabaseURL: r.pg.AppURL, AWS: r.aws, Speed: speed, Rate: 100})
	own.Clock = r.clock
	if r.forge, err = app.New(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.forge.Close)
	if r.people, err = r.forge.Seed(t.Context(), filepath.Join(dir, "credentials.json")); err != nil {
		t.Fatal(err)
	}
	if r.db, err = pgx.Connect(t.Context(), r.pg.OwnerURL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.db.Close(context.WithoutCancel(t.Context())) })
	return r
}

func (r *rig) server(c rigConfig) app.Config { return serverOf(c, r.keys) }

func serverOf(c rigConfig, keys audit.Keys) app.Config {
	return app.Config{
		DatabaseURL: c.DatabaseURL, Keys: keys, AuditOrigin: rigOrigin, AWSEndpoint: c.AWS, AWSRate: c.Rate, AWSSpeed: c.Speed, MaxConns: 30,
		Directories: []workspace.Directory{{Region: rigRegion, ID: rigDirectory}}, Workers: true, API: true, Version: "e2e",
		TokenRate: 1000, AddressRate: 1000, Logger: slog.New(slog.DiscardHandler),
	}
}

// users makes people with tokens, and budgets that are no limit.
func (r *rig) users(prefix string, n int) []app.Credential {
	r.t.Helper()
	ctx := actor.With(r.t.Context(), actor.Operator("rig"))
	var made []app.Credential
	err := r.forge.Log.Change(ctx, audit.Intent{Action: "rig.users", ResourceType: "user"}, func(tx *audit.Tx) error {
		made = nil
		team, err := people.FindTeam(ctx, tx, "backend")
		if err != nil {
			return err
		}
		for _, s := range []budget.Setting{
			{Scope: budget.Organisation, ScopeID: budget.OrganisationID, Amount: 10_000_000 * money.Dollar},
			{Scope: budget.Team, ScopeID: string(team.ID), Amount: 10_000_000 * money.Dollar},
		} {
			if _, err := r.forge.Budgets.Set(ctx, tx, s); err != nil {
				return err
			}
		}
		for i := range n {
			name := fmt.Sprintf("%s%03d", prefix, i)
			u, err := people.CreateUser(ctx, tx, people.NewUser{UserName: name, DisplayName: name, Email: name + "@example.com", Team: "backend", Role: actor.Engineer})
			if err != nil {
				return err
			}
			if _, err := r.forge.Budgets.Set(ctx, tx, budget.Setting{Scope: budget.User, ScopeID: string(u.ID), Amount: 10_000 * money.Dollar}); err != nil {
				return err
			}
			_, secret, err := people.CreateToken(ctx, tx, u, "rig", 8784*time.Hour)
			if err != nil {
				return err
			}
			made = append(made, app.Credential{User: name, Role: "engineer", Team: "backend", Token: secret})
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return made
}

// serve runs a server in this process until stop is called.
func (r *rig) serve(workers bool) (url string, stop func()) {
	r.t.Helper()
	cfg := r.server(rigConfig{DatabaseURL: r.pg.AppURL, AWS: r.aws, Speed: r.speed, Rate: 500})
	cfg.Workers, cfg.Clock = workers, r.clock
	f, err := app.New(r.t.Context(), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(r.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	served := make(chan error, 1)
	go func() { served <- f.Serve(ctx, l) }()
	return "http://" + l.Addr().String(), sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			r.t.Errorf("the server did not drain: %v", err)
		}
		f.Close()
	})
}

// server process ------------------------------------------------------------------------------------------------------

type serverProcess struct {
	cmd    *exec.Cmd
	killed string
	url    string
	ended  chan struct{} // closed when it has ended
}

// spawn starts a server as a process of its own.
func (r *rig) spawn(c rigConfig) *serverProcess {
	r.t.Helper()
	n := r.ready.Add(1)
	c.DatabaseURL, c.AWS, c.Keys, c.Speed = r.pg.AppURL, r.aws, filepath.Join(r.dir, "keys"), r.speed
	c.Ready, c.Killed = filepath.Join(r.dir, fmt.Sprintf("ready-%d", n)), filepath.Join(r.dir, fmt.Sprintf("killed-%d", n))
	raw, err := json.Marshal(c)
	if err != nil {
		r.t.Fatal(err)
	}
	p := &serverProcess{cmd: exec.Command(os.Args[0]), killed: c.Killed, ended: make(chan struct{})} //nolint:gosec,noctx // ourselves; ended by kill
	p.cmd.Env = append(os.Environ(), "FORGE_E2E_SERVER="+string(raw))
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.ended) }() // killed is how it ends
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.ended:
			return p
		case <-tick.C:
			if url, err := os.ReadFile(c.Ready); err == nil && len(url) > 0 {
				p.url = string(url)
				return p
			}
		}
	}
}

func (p *serverProcess) kill() {
	_ = p.cmd.Process.Kill() // it may be dead already
	<-p.ended
}

// serverChild is the server process.
func serverChild(config string) int {
	var c rigConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if err := serverRun(c); err != nil {
		fmt.Fprintln(os.Stderr, "server process:", err)
		return 1
	}
	return 0
}

func serverRun(c rigConfig) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	keys, err := audit.LoadKeys(c.Keys)
	if err != nil {
		return err
	}
	cfg := serverOf(c, keys)
	if c.KillAt > 0 {
		b := &boundaries{at: c.KillAt, name: c.Killed}
		cfg.Tracer, cfg.AWSTransport = b, func(next http.RoundTripper) http.RoundTripper { return boundaryTransport{b, next} }
	}
	if c.Twice > 0 {
		cfg.AWSTransport = func(next http.RoundTripper) http.RoundTripper { return twice{c.Twice, next} }
	}
	f, err := app.New(ctx, cfg)
	if err != nil {
		return err
	}
	defer f.Close()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.Ready+".new", []byte("http://"+l.Addr().String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(c.Ready+".new", c.Ready); err != nil {
		return err
	}
	return f.Serve(ctx, l)
}

// boundaries counts what lies between two instructions of the reconciler that can be seen from outside: before and after
// every statement, and before and after every call to Amazon. At one of them the process dies.
type boundaries struct {
	n, at int64
	mu    sync.Mutex
	name  string
}

func (b *boundaries) pass(ctx context.Context, what string) {
	if actor.From(ctx).ID() != "system:reconcile" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n++; b.n != b.at {
		return
	}
	_ = os.WriteFile(b.name, []byte(what), 0o600)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // it takes a moment
}

type statementKey struct{}

func short(sql string) string {
	words := strings.Fields(sql)
	return strings.Join(words[:min(len(words), 5)], " ")
}

// TraceQueryStart passes the boundary before a statement. Looking for work is not one: nothing has begun.
func (b *boundaries) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	what := short(data.SQL)
	if !strings.HasPrefix(what, "UPDATE workspaces SET lease_token =") {
		b.pass(ctx, "before "+what)
	}
	return context.WithValue(ctx, statementKey{}, what)
}

// TraceQueryEnd passes the boundary after a statement.
func (b *boundaries) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	what, _ := ctx.Value(statementKey{}).(string)
	if strings.HasPrefix(what, "UPDATE workspaces SET lease_token =") && data.CommandTag.RowsAffected() == 0 {
		return
	}
	b.pass(ctx, "after "+what)
}

// TraceBatchStart passes the boundary before several statements that are sent as one.
func (b *boundaries) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	b.pass(ctx, "before a batch")
	return ctx
}

// TraceBatchQuery is told of each statement of a batch.
func (b *boundaries) TraceBatchQuery(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	b.pass(ctx, "in a batch, after "+short(data.SQL))
}

// TraceBatchEnd passes the boundary after several statements.
func (b *boundaries) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchEndData) {
	b.pass(ctx, "after a batch")
}

type boundaryTransport struct {
	b    *boundaries
	next http.RoundTripper
}

func (t boundaryTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "WorkspacesService.")
	t.b.pass(r.Context(), "before the call "+op)
	resp, err := t.next.RoundTrip(r)
	t.b.pass(r.Context(), "after the call "+op)
	return resp, err
}

// twice sends some requests a second time and gives the second answer.
type twice struct {
	share float64
	next  http.RoundTripper
}

func (t twice) RoundTrip(r *http.Request) (*http.Response, error) {
	if rand.Float64() >= t.share || r.GetBody == nil { //nolint:gosec // chance
		return t.next.RoundTrip(r)
	}
	again := r.Clone(r.Context())
	body, err := r.GetBody()
	if err != nil {
		return nil, err
	}
	again.Body = body
	if first, err := t.next.RoundTrip(r); err == nil {
		_, _ = io.Copy(io.Discard, first.Body) // it is lost
		_ = first.Body.Close()
	}
	return t.next.RoundTrip(again)
}
