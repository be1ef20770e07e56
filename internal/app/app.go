// Package app builds a whole Forge from its configuration; the program and the tests use the same one.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/audit/witness"
	"github.com/robco-forge/forge/internal/aws/desktop"
	"github.com/robco-forge/forge/internal/aws/pricelist"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/httpapi"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/migrate"
	"github.com/robco-forge/forge/internal/worker"
	"github.com/robco-forge/forge/internal/workspace"
)

// Config is everything that a Forge can be told.
type Config struct {
	DatabaseURL string
	// MigrateURL is the owner's way to the database; empty: the same as DatabaseURL.
	MigrateURL  string
	AutoMigrate bool
	MaxConns    int32
	Listen      string
	Keys        audit.Keys
	AuditOrigin string
	// AuditPins is where signed checkpoints are kept outside the database; nil is nowhere.
	AuditPins audit.Pins
	// AuditArchive is where months of the audit log are archived; nil is nowhere.
	AuditArchive archive.Store
	// AuditWitnesses are shown the audit log's checkpoints.
	AuditWitnesses []*witness.Peer
	AWSEndpoint    string
	// PricingEndpoint is another address of the Price List API than AWSEndpoint, or Amazon's.
	PricingEndpoint string
	AWSRate         float64 // not money: calls a second
	// AWSAccount names the account whose limits AWSRate is: replicas that give the same name share them.
	AWSAccount string
	// AWSSpeed is how many times faster than Amazon the endpoint works: an emulator's speed. 0 is 1.
	AWSSpeed    int
	Directories []workspace.Directory
	Workers     bool
	API         bool
	// Notify are the channels over which people are told of things.
	Notify notify.Settings
	// TrustedProxies may say whom they speak for.
	TrustedProxies []netip.Prefix
	TokenRate      float64 // not money: requests a second
	AddressRate    float64 // not money: requests a second
	Version        string
	Logger         *slog.Logger
	// Clock tells the time of everything that is written down and decided; nil is the machine's. An emulator may share it.
	Clock clock.Clock
	// Tracer hears of every statement, and AWSTransport may stand in the way to Amazon: for tests that end the process
	// between any two of them. nil is nobody.
	Tracer       pgx.QueryTracer
	AWSTransport func(http.RoundTripper) http.RoundTripper
}

// Forge is a running service.
type Forge struct {
	cfg      Config
	Pool     *pgxpool.Pool
	Log      *audit.Log
	Fleet    *workspace.Fleet
	Budgets  *budget.Book
	API      *httpapi.Server
	workers  *worker.Workers
	provider *desktop.Provider
	notify   *notify.Sender
	reg      *prometheus.Registry
	split    bool // the application's role is not the owner
}

// New connects and builds; it starts nothing. It refuses a schema that does not fit, saying what to run.
func New(ctx context.Context, cfg Config) (*Forge, error) {
	if cfg.MigrateURL == "" {
		cfg.MigrateURL = cfg.DatabaseURL
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System
	}
	if cfg.AutoMigrate {
		if err := Migrate(ctx, cfg.MigrateURL, cfg.Version, cfg.Logger); err != nil {
			return nil, err
		}
	}
	pool, err := postgres.OpenTraced(ctx, cfg.DatabaseURL, cfg.MaxConns, cfg.Tracer)
	if err != nil {
		return nil, err
	}
	f, err := build(ctx, cfg, pool)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return f, nil
}

// Migrate brings the schema up to this program.
func Migrate(ctx context.Context, url, version string, log *slog.Logger) error {
	m, err := migrate.Open(ctx, url, migrate.Options{Program: version, Logger: log})
	if err != nil {
		return err
	}
	applied, err := m.Up(ctx, 0)
	for _, a := range applied {
		log.Info("migrated", "migration", a.Name, "took", a.Took)
	}
	return errors.Join(err, m.Close())
}

func build(ctx context.Context, cfg Config, pool *pgxpool.Pool) (*Forge, error) {
	if err := migrate.CheckSchema(ctx, pool); err != nil {
		return nil, err
	}
	if err := claim(ctx, pool, cfg.AuditOrigin, cfg.Keys); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	log, err := audit.NewLog(audit.Config{
		Pool: pool, Clock: cfg.Clock, Origin: cfg.AuditOrigin, Writer: fmt.Sprintf("%s-%d-%s", host, os.Getpid(), id.Unique()[20:]), Keys: cfg.Keys, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	ensurePartitions(ctx, log, cfg.Logger)
	aws, err := desktop.LoadAWS(ctx, cfg.AWSEndpoint)
	if err != nil {
		return nil, fmt.Errorf("AWS configuration: %w", err)
	}
	if cfg.AWSTransport != nil {
		aws.HTTPClient = &http.Client{Transport: cfg.AWSTransport(http.DefaultTransport)}
	}
	reg := prometheus.NewRegistry()
	f := &Forge{cfg: cfg, Pool: pool, Log: log, reg: reg}
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	calls := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "forge_aws_call_seconds", Help: "Calls to Amazon by operation and outcome."}, []string{"operation", "region", "outcome"})
	steps := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "forge_provisioning_seconds", Help: "From the request of a WorkSpace to its first AVAILABLE, whole and by step.",
		Buckets: []float64{1, 5, 15, 30, 60, 120, 300, 600, 900, 1200, 1800, 2400, 3600, 7200}, // not money: seconds
	}, []string{"region", "step"})
	waits := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "forge_aws_turn_wait_seconds", Help: "How long calls to Amazon waited for their turn within its limits, by who waits.",
		Buckets: []float64{.01, .1, .25, .5, 1, 2, 4, 8, 16, 32}, // not money: seconds
	}, []string{"region", "for"})
	reg.MustRegister(calls, steps, waits, awsCollector{f}, notifyCollector{f}, auditCollector{f})

	sender, err := newSender(cfg, log, reg)
	if err != nil {
		return nil, err
	}
	f.notify = sender
	f.Budgets = &budget.Book{Spent: cost.Spent, PaidUntil: cost.PaidUntil, Pace: cost.Pace, FeesDue: cost.FeesDue, NextFees: cost.NextFees}
	meter := &cost.Meter{Budgets: f.Budgets}
	limiter := &desktop.Shared{
		DB: pool, Account: cfg.AWSAccount, PerSecond: cfg.AWSRate, Burst: desktop.BurstAt(cfg.AWSRate),
		Waited: func(region string, sweep bool, d time.Duration) {
			who := "people"
			if sweep {
				who = "sweep"
			}
			waits.WithLabelValues(region, who).Observe(d.Seconds())
		},
	}
	f.provider = desktop.New(desktop.Config{
		Endpoint: cfg.AWSEndpoint, Limiter: limiter, Origin: cfg.AuditOrigin, Logger: cfg.Logger, AWS: aws,
		BreakFor: max(15*time.Second/time.Duration(max(cfg.AWSSpeed, 1)), 100*time.Millisecond),
		Observe: func(c desktop.Call) {
			calls.WithLabelValues(c.Operation, c.Region, c.Outcome).Observe(c.Took.Seconds())
		},
	})
	f.Fleet = &workspace.Fleet{
		Budgets: f.Budgets, Meter: meter, Directories: cfg.Directories, Speed: cfg.AWSSpeed, Provider: f.provider,
	}
	f.Fleet.Images = &blueprint.Images{Amazon: desktop.Images{Provider: f.provider}, Log: log, Clock: cfg.Clock, Slog: cfg.Logger, Speed: cfg.AWSSpeed, Ready: f.Fleet.Prepared}
	tree, err := f.tree()
	if err != nil {
		return nil, err
	}
	f.workers = worker.New(worker.Config{
		Tree: tree, Archive: f.archivist(),
		Reconciler: &workspace.Reconciler{Fleet: f.Fleet, Log: log, Clock: cfg.Clock, Slog: cfg.Logger, Provisioned: func(p workspace.Provisioning) {
			steps.WithLabelValues(p.Region, "total").Observe(p.Total.Seconds())
			for _, s := range p.Steps {
				steps.WithLabelValues(p.Region, s.Name).Observe(s.Ended.Sub(s.Begun).Seconds())
			}
		}},
		Sweeper:  &workspace.Sweeper{Fleet: f.Fleet, Log: log, Clock: cfg.Clock, Slog: cfg.Logger},
		Upgrader: &workspace.Upgrader{Fleet: f.Fleet, Log: log, Clock: cfg.Clock, Slog: cfg.Logger},
		Drift:    &workspace.Drift{Fleet: f.Fleet, Log: log, Clock: cfg.Clock, Slog: cfg.Logger},
		Images:   f.Fleet.Images,
		Meter:    meter, Budgets: f.Budgets, Notify: sender, Log: log, Slog: cfg.Logger,
	}, reg)
	if cfg.Workers {
		f.Fleet.Due = f.workers.Poke
	}
	f.API = httpapi.New(httpapi.Config{
		Log: log, Fleet: f.Fleet, Budgets: f.Budgets, Notify: sender, Logger: cfg.Logger, Version: cfg.Version, TrustedProxies: cfg.TrustedProxies,
		TokenRate: cfg.TokenRate, AddressRate: cfg.AddressRate, Metrics: httpapi.NewMetrics(reg), Ready: f.ready,
		ReadPrices: pricelist.Read, FetchPrices: pricelist.NewAPI(aws, cmp.Or(cfg.PricingEndpoint, cfg.AWSEndpoint)).Fetch,
	})
	err = pool.QueryRow(ctx, `SELECT NOT has_table_privilege('audit_logs', 'DELETE')`).Scan(&f.split)
	return f, err
}

// partitionsWithin is how long a start waits for the audit log's months; moving a large overflow is left to the workers.
const partitionsWithin = 15 * time.Second

// ensurePartitions makes the audit log's months ahead. Writes do not need them, so a server starts without.
func ensurePartitions(ctx context.Context, log *audit.Log, logger *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, partitionsWithin)
	defer cancel()
	if _, err := log.EnsurePartitions(ctx); err != nil {
		logger.WarnContext(ctx, "no audit partitions were made at start", "error", err)
	}
}

// claim names the installation's audit log and its keys, once and for all, and refuses another name or other keys.
func claim(ctx context.Context, pool *pgxpool.Pool, origin string, keys audit.Keys) error {
	_, err := pool.Exec(ctx, `
		INSERT INTO organisation (audit_origin, audit_keys_check, budget_default, created_at)
		VALUES ($1, $2, 'deny', $3)
		ON CONFLICT DO NOTHING`, origin, keys.Check(), clock.System())
	if err != nil {
		return err
	}
	_, err = audit.Installed(ctx, pool, origin, keys)
	return err
}

func (f *Forge) ready(ctx context.Context) []httpapi.Check {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	check := func(name string, err error) httpapi.Check {
		if err != nil {
			return httpapi.Check{Name: name, Message: err.Error()}
		}
		return httpapi.Check{Name: name, OK: true}
	}
	database := f.Pool.Ping(ctx)
	if database != nil {
		f.cfg.Logger.ErrorContext(ctx, "not ready", "error", database)
		database = errors.New("the database does not answer")
	}
	checks := []httpapi.Check{check("database", database)}
	if database == nil {
		checks = append(checks, check("schema", migrate.CheckSchema(ctx, f.Pool)), f.partitions(ctx), f.witnesses(ctx), f.verified(ctx), f.holds(ctx), f.pauses(ctx), f.notifications(ctx))
	}
	checks = append(checks, f.circuits())
	if f.cfg.Workers {
		var err error
		if !f.workers.Healthy() {
			err = errors.New("the background loops have not come round for a minute")
		}
		checks = append(checks, check("workers", err))
	}
	roles := httpapi.Check{Name: "database_roles", OK: true}
	if !f.split {
		roles.Message = "the application owns its tables: the database cannot keep it from changing history; give it a role of its own (docs/runbooks/operations.md)"
	}
	return append(checks, roles)
}

// partitions tells how the audit log's are. It only warns: entries are written whatever it finds, but for a month that
// somebody detached, and then another replica could not write them either.
func (f *Forge) partitions(ctx context.Context) httpapi.Check {
	c := httpapi.Check{Name: "audit_partitions", OK: true}
	health, err := audit.CheckPartitions(ctx, f.Pool, f.Log.Clock()())
	switch {
	case err != nil:
		f.cfg.Logger.WarnContext(ctx, "audit partitions", "error", err)
		c.Message = "they could not be looked at; the cause is in the log"
	case len(health.Problems) > 0:
		c.Message = health.Summary() + " (forge audit partitions check)"
	}
	return c
}

// holds tells where nothing can be made. It only warns: everything else goes on.
func (f *Forge) holds(ctx context.Context) httpapi.Check {
	c := httpapi.Check{Name: "aws_creation", OK: true}
	holds, err := workspace.Holds(ctx, f.Pool)
	if err != nil {
		f.cfg.Logger.WarnContext(ctx, "holds", "error", err)
		c.Message = "it could not be looked at; the cause is in the log"
	}
	for _, h := range holds {
		c.Message += fmt.Sprintf("nothing can be made in %s since %s: %s: %s (docs/aws.md). ", strings.TrimSpace(h.Region+" "+h.DirectoryID), h.Since.Format(time.RFC3339), h.Code, h.Message)
	}
	c.Message = strings.TrimSpace(c.Message)
	return c
}

// pauses tells what does not happen by itself. It only warns: it is wanted so.
func (f *Forge) pauses(ctx context.Context) httpapi.Check {
	c := httpapi.Check{Name: "policies", OK: true}
	pauses, err := workspace.ReadPauses(ctx, f.Pool, f.Log.Clock()())
	if err != nil {
		f.cfg.Logger.WarnContext(ctx, "pauses", "error", err)
		c.Message = "it could not be looked at; the cause is in the log"
	}
	for _, p := range pauses {
		c.Message += fmt.Sprintf("%s is paused since %s: %s (forge policy list). ", p.Target, p.PausedAt.UTC().Format(time.RFC3339), p.Reason)
	}
	c.Message = strings.TrimSpace(c.Message)
	return c
}

// circuits tells which regions do not answer. It only warns: requests wait, and everything else goes on.
func (f *Forge) circuits() httpapi.Check {
	c := httpapi.Check{Name: "aws_circuit", OK: true}
	for _, circuit := range f.provider.Circuits() {
		if circuit.State != "closed" {
			c.Message += circuit.Region + " is " + circuit.State + ": Amazon does not answer this replica. "
		}
	}
	c.Message = strings.TrimSpace(c.Message)
	return c
}

// Close gives the connections back.
func (f *Forge) Close() { f.Pool.Close() }

// drainTime is how long requests under way may take once the service is asked to end.
const drainTime = 20 * time.Second

// Serve runs the service on the listener until ctx ends, then drains: no new requests, those under way and the
// background steps are finished.
func (f *Forge) Serve(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if f.cfg.Workers {
		wg.Go(func() { f.workers.Run(background) })
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(f.reg, promhttp.HandlerOpts{}))
	mux.Handle("/", f.API)
	wg.Go(func() { f.Log.Beat(background) })
	if !f.cfg.API {
		mux = http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(f.reg, promhttp.HandlerOpts{}))
		mux.Handle("GET /healthz", f.API)
		mux.Handle("GET /readyz", f.API)
	} else {
		wg.Go(func() { f.API.Run(background) })
	}
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(f.cfg.Logger.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		err = server.Shutdown(drain)
		cancel()
		<-failed //nolint:errcheck // it says that the server was closed, which was our doing
	}
	stop()
	wg.Wait()
	f.lastHeartbeat(ctx)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

var errBootstrapped = fault.New(fault.Conflict, "BOOTSTRAPPED", "there are users already", fault.Suggest("sign in as an admin; `forge token create` makes further tokens"))
