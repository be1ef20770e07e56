package plans

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/worker"
	"github.com/robco-forge/forge/internal/workspace"
)

// Bench is the product on a filled database, with an ear on what it asks.
type Bench struct {
	Pool       *pgxpool.Pool
	ear        *ear
	log        *audit.Log
	book       *budget.Book
	meter      *cost.Meter
	fleet      *workspace.Fleet
	reconciler *workspace.Reconciler
	sweeper    *workspace.Sweeper
}

// Open connects to a database that Fill has filled.
func Open(ctx context.Context, url string) (*Bench, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	b := &Bench{ear: &ear{}}
	cfg.ConnConfig.Tracer = b.ear
	cfg.ConnConfig.RuntimeParams["timezone"] = "UTC"
	if b.Pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, err
	}
	now := clock.At(Now).Now
	silent := slog.New(slog.DiscardHandler)
	if b.log, err = audit.NewLog(audit.Config{Pool: b.Pool, Clock: now, Origin: origin, Writer: "bench", Logger: silent}); err != nil {
		b.Pool.Close()
		return nil, err
	}
	b.book = &budget.Book{Spent: cost.Spent, PaidUntil: cost.PaidUntil, Pace: cost.Pace, FeesDue: cost.FeesDue, NextFees: cost.NextFees}
	b.meter = &cost.Meter{Budgets: b.book}
	b.fleet = &workspace.Fleet{Budgets: b.book, Meter: b.meter, Provider: nobody{}}
	b.sweeper = &workspace.Sweeper{Fleet: b.fleet, Log: b.log, Clock: now, Slog: silent}
	b.reconciler = &workspace.Reconciler{Fleet: b.fleet, Log: b.log, Clock: now, Slog: silent}
	return b, nil
}

// nobody is a cloud that cannot be reached.
type nobody struct{ workspace.Provider }

var errNobody = &workspace.ProviderError{Class: workspace.Throttled, Code: "NOBODY"}

// Describe fails, so that what was claimed is given back as it was.
func (nobody) Describe(context.Context, string, []string) (map[string]workspace.Observation, error) {
	return nil, errNobody
}

// ear hears every statement that goes to the database while it listens.
type ear struct {
	mu    sync.Mutex
	on    bool
	deny  func(sql string) bool
	heard []Statement
}

// errDenied is what a statement gets that was only to be heard.
var errDenied = errors.New("bench: heard, and not executed")

// reads are the statements that look for rows; what only adds one, or calls a function, has no plan to speak of.
var reads = regexp.MustCompile(`(?s)^(SELECT\b.*\bFROM|UPDATE|DELETE)\b`)

// TraceQueryStart writes the statement down, and keeps it from being sent when it is only to be heard.
func (e *ear) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.on {
		return ctx
	}
	sql := strings.TrimSpace(q.SQL)
	if reads.MatchString(sql) {
		s := Statement{SQL: sql, Args: q.Args}
		if len(s.Args) > 0 {
			if mode, ok := s.Args[0].(pgx.QueryExecMode); ok {
				s.Args, s.Unprepared = s.Args[1:], mode == pgx.QueryExecModeCacheDescribe
			}
		}
		if len(s.Args) > 0 {
			if named, ok := s.Args[0].(pgx.NamedArgs); ok {
				var err error
				if s.SQL, s.Args, err = named.RewriteQuery(ctx, nil, sql, nil); err != nil {
					panic(err) // the product's own statement
				}
			}
		}
		e.heard = append(e.heard, s)
	}
	if e.deny != nil && e.deny(sql) {
		ctx, cancel := context.WithCancelCause(ctx)
		cancel(errDenied)
		return ctx
	}
	return ctx
}

// TraceQueryEnd is of no interest.
func (e *ear) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// listen runs fn and returns each text of a statement that it sent, once, with its first arguments. Statements that deny
// holds true for are heard and fail; an error of fn then means nothing.
func (b *Bench) listen(deny func(sql string) bool, fn func() error) ([]Statement, error) {
	b.ear.mu.Lock()
	b.ear.on, b.ear.deny, b.ear.heard = true, deny, nil
	b.ear.mu.Unlock()
	err := fn()
	b.ear.mu.Lock()
	defer b.ear.mu.Unlock()
	b.ear.on = false
	var out []Statement
	known := map[string]bool{}
	for _, s := range b.ear.heard {
		if !known[s.SQL] {
			known[s.SQL] = true
			out = append(out, s)
		}
	}
	if deny != nil {
		err = nil
	}
	return out, err
}

// change rehearses a change: nothing of it remains.
func (b *Bench) change(ctx context.Context, fn func(*audit.Tx) error) error {
	return b.log.Rehearse(actor.With(ctx, actor.System("bench")), fn)
}

// housekeeping runs the background loops until they come to forget old answers. What the other loops ask for is heard,
// and not done.
func (b *Bench) housekeeping(ctx context.Context) ([]Statement, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	channels, err := notify.Settings{}.Open()
	if err != nil {
		return nil, err
	}
	signers, err := audit.Keys{Signing: [][32]byte{{}}}.Signers(origin)
	if err != nil {
		return nil, err
	}
	tree, err := audit.NewSequencer(audit.SequencerConfig{Pool: b.Pool, Clock: b.log.Clock(), Origin: origin, Signers: signers, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	heard, err := b.listen(func(sql string) bool {
		if strings.Contains(sql, "idempotency_keys") {
			cancel()
			return true
		}
		return slices.ContainsFunc([]string{"workspaces", "FROM usage", "notifications", "audit_"}, func(of string) bool { return strings.Contains(sql, of) })
	}, func() error {
		silent := slog.New(slog.DiscardHandler)
		worker.New(worker.Config{
			Reconciler: b.reconciler, Sweeper: b.sweeper, Drift: &workspace.Drift{Fleet: b.fleet, Log: b.log, Clock: b.log.Clock(), Slog: silent},
			Upgrader: &workspace.Upgrader{Fleet: b.fleet, Log: b.log, Clock: b.log.Clock(), Slog: silent},
			Images:   &blueprint.Images{Log: b.log, Clock: b.log.Clock(), Slog: silent},
			Tree:     tree, Notify: &notify.Sender{Pool: b.log.Pool(), Log: b.log, Clock: b.log.Clock(), Slog: silent, Channels: channels},
			Meter: b.meter, Budgets: b.book, Log: b.log, Slog: silent,
		}, nil).Run(ctx)
		return nil
	})
	return only(heard, "idempotency_keys"), err
}

// only are the statements that speak of the table.
func only(all []Statement, table string) (out []Statement) {
	for _, s := range all {
		if strings.Contains(s.SQL, table) {
			out = append(out, s)
		}
	}
	return out
}
