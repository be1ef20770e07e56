// Package worker runs the loops that bring due rows further. It decides nothing: each loop calls one domain step.
package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/workspace"
)

const (
	reconcilers   = 4
	senders       = 2
	idlePoll      = time.Second
	settleEvery   = 5 * time.Second
	treePoll      = 250 * time.Millisecond
	witnessEvery  = 30 * time.Second
	orphansEvery  = 5 * time.Minute
	driftPoll     = 5 * time.Second
	imagesPoll    = time.Second
	houseEvery    = 10 * time.Minute
	forecastEvery = time.Hour
	settleBatch   = 100
	keyLifetime   = 24 * time.Hour
	healthyWithin = time.Minute
	archiveEvery  = time.Hour
	// archiveWithin is how long archiving a large month may take.
	archiveWithin = 12 * time.Hour
	// movingWithin is how long moving a large overflow of the audit log may take. It ends early with the process.
	movingWithin = 2 * time.Hour
)

// Config is what the loops work with.
type Config struct {
	Reconciler *workspace.Reconciler
	Sweeper    *workspace.Sweeper
	Upgrader   *workspace.Upgrader
	Drift      *workspace.Drift
	Images     *blueprint.Images
	Meter      *cost.Meter
	Budgets    *budget.Book
	Notify     *notify.Sender
	Log        *audit.Log
	// Tree brings the audit log's entries into its tree.
	Tree *audit.Sequencer
	// Archive seals, exports and verifies months of the audit log; nil where no archive is configured.
	Archive *audit.Archivist
	Slog    *slog.Logger
}

// Workers are the background loops of one process. Any number of processes may run them on one database.
type Workers struct {
	Config
	poke    chan struct{}
	last    atomic.Int64
	rounds  *prometheus.CounterVec
	handled *prometheus.CounterVec

	monthsAhead, overflowRows *prometheus.GaugeVec
	partitionProblems         prometheus.Gauge
	tree                      *treeMetrics
}

// New makes the loops; reg may be nil.
func New(c Config, reg prometheus.Registerer) *Workers {
	w := &Workers{Config: c}
	w.poke = make(chan struct{}, reconcilers)
	w.rounds = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "forge_worker_rounds_total", Help: "Rounds of each background loop, by how they ended."}, []string{"loop", "outcome"})
	w.handled = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "forge_worker_rows_total", Help: "Rows that each background loop has worked on."}, []string{"loop"})
	w.monthsAhead = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "forge_audit_partition_months_ahead", Help: "Months after the present one that the audit log has partitions for, without a gap."}, []string{"table"})
	w.overflowRows = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "forge_audit_overflow_rows", Help: "Rows in the audit log's overflow partitions, counted up to 10000."}, []string{"table", "partition"})
	w.partitionProblems = prometheus.NewGauge(prometheus.GaugeOpts{Name: "forge_audit_partition_problems", Help: "What is wrong with the audit log's partitions: forge audit partitions check says it."})
	w.tree = newTreeMetrics(reg)
	if reg != nil {
		reg.MustRegister(w.rounds, w.handled, w.monthsAhead, w.overflowRows, w.partitionProblems)
	}
	return w
}

// Poke wakes a reconciler: something has just become due.
func (w *Workers) Poke() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// Healthy tells whether the loops have come round lately.
func (w *Workers) Healthy() bool {
	return time.Since(time.UnixMilli(w.last.Load())) < healthyWithin
}

// Run runs every loop until ctx ends, and returns when the last has finished what it was at.
func (w *Workers) Run(ctx context.Context) {
	w.last.Store(time.Now().UnixMilli())
	var wg sync.WaitGroup
	for range reconcilers {
		wg.Go(func() { w.loop(ctx, "reconcile", idlePoll, w.poke, w.Reconciler.Round) })
	}
	wg.Go(func() { w.loop(ctx, "rules", idlePoll, nil, w.Sweeper.Round) })
	wg.Go(func() { w.loop(ctx, "upgrades", idlePoll, nil, w.Upgrader.Round) })
	wg.Go(func() { w.loop(ctx, "images", imagesPoll, nil, w.Images.Round) })
	for range senders {
		wg.Go(func() { w.loop(ctx, "notify", idlePoll, nil, w.Notify.Round) })
	}
	wg.Go(func() { w.loop(ctx, "settle", settleEvery, nil, w.settle) })
	wg.Go(func() { w.loop(ctx, "loans", settleEvery, nil, w.loans) })
	wg.Go(func() { w.loop(ctx, "forecasts", forecastEvery, nil, w.forecasts) })
	wg.Go(func() { w.loopFull(ctx, "audit_tree", treePoll, nil, audit.SequenceBatch, w.Tree.Round) })
	wg.Go(func() { w.loop(ctx, "audit_witnesses", witnessEvery, nil, w.witnesses) })
	wg.Go(func() { w.loop(ctx, "audit_orphans", orphansEvery, nil, w.orphans) })
	wg.Go(func() { w.loop(ctx, "housekeeping", houseEvery, nil, w.housekeeping) })
	wg.Go(func() {
		// A sweep takes as long as Amazon lets it. It ends with the process and is begun anew by the next one.
		w.loop(ctx, "drift", driftPoll, nil, func(context.Context) (int, error) { return w.Drift.Round(actor.With(ctx, actor.System("drift"))) })
	})
	wg.Go(func() {
		// Not with the minute of a step, and not to its end: it is one transaction, which the next process begins again.
		w.loop(ctx, "partitions", houseEvery, nil, func(context.Context) (int, error) { return w.partitions(ctx) })
	})
	if w.Archive != nil {
		// It ends with the process, and goes on with the next.
		wg.Go(func() {
			w.loop(ctx, "audit_archive", archiveEvery, nil, func(context.Context) (int, error) { return w.archive(actor.With(ctx, actor.System("audit_archive"))) })
		})
	}
	wg.Wait()
	w.closeTree(ctx)
}

// loop calls step again and again: at once while there is work, else when poked or after the pause. A step that has
// begun is finished after ctx has ended.
func (w *Workers) loop(ctx context.Context, name string, pause time.Duration, poke <-chan struct{}, step func(context.Context) (int, error)) {
	w.loopFull(ctx, name, pause, poke, 1, step)
}

// loopFull is loop for a step that is called again at once only after it had a full load.
func (w *Workers) loopFull(ctx context.Context, name string, pause time.Duration, poke <-chan struct{}, full int, step func(context.Context) (int, error)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-poke:
		case <-timer.C:
		}
		for ctx.Err() == nil {
			work, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			n, err := step(actor.With(work, actor.System(name)))
			cancel()
			if err != nil {
				w.rounds.WithLabelValues(name, "error").Inc()
				w.Slog.ErrorContext(ctx, "background loop", "loop", name, "error", err)
				break
			}
			w.last.Store(time.Now().UnixMilli())
			w.rounds.WithLabelValues(name, "ok").Inc()
			w.handled.WithLabelValues(name).Add(float64(n)) // not money: a count
			if n < full {
				break
			}
		}
		timer.Reset(pause)
	}
}

func (w *Workers) settle(ctx context.Context) (int, error) {
	var n int
	err := w.Log.Change(ctx, audit.Intent{Action: "cost.settle", ResourceType: "cost"}, func(tx *audit.Tx) (err error) {
		n, err = w.Meter.Settle(ctx, tx, settleBatch)
		return nothingIfNone(n, err)
	})
	return n, ignoreNothing(err)
}

// loans ends a loan of a budget whose time has come.
func (w *Workers) loans(ctx context.Context) (int, error) {
	var n int
	err := w.Log.Change(ctx, audit.Intent{Action: "budget.loan_ended", ResourceType: "budget_request"}, func(tx *audit.Tx) (err error) {
		n, err = w.Budgets.ReturnLoan(ctx, tx)
		return nothingIfNone(n, err)
	})
	return n, ignoreNothing(err)
}

// forecasts tells of budgets that are going to come to a threshold, or have no room for the next fees.
func (w *Workers) forecasts(ctx context.Context) (int, error) {
	err := w.Log.Change(ctx, audit.Intent{Action: "budget.forecast", ResourceType: "budget"}, func(tx *audit.Tx) error {
		n, err := w.Budgets.Foretell(ctx, tx)
		return nothingIfNone(n, err)
	})
	if err := ignoreNothing(err); err != nil {
		return 0, err
	}
	err = w.Log.Change(ctx, audit.Intent{Action: "budget.shortfall", ResourceType: "budget"}, func(tx *audit.Tx) error {
		n, err := w.Budgets.TellShortfalls(ctx, tx)
		return nothingIfNone(n, err)
	})
	return 0, ignoreNothing(err)
}

func nothingIfNone(n int, err error) error {
	if err == nil && n == 0 {
		return audit.ErrNothing
	}
	return err
}

func ignoreNothing(err error) error {
	if errors.Is(err, audit.ErrNothing) {
		return nil
	}
	return err
}

// archive brings the audit log's months as far as the application's rights go. Detaching is the owner's. A round does all
// there is to do.
func (w *Workers) archive(ctx context.Context) (int, error) {
	work, cancel := context.WithTimeout(ctx, archiveWithin)
	defer cancel()
	done, err := w.Archive.Run(work, false)
	for _, s := range done {
		w.Slog.InfoContext(ctx, "audit archive", "month", s.Month, "state", s.State)
	}
	if ctx.Err() != nil || errors.Is(err, audit.ErrArchiving) {
		err = nil // the process ends, and whatever failed did because of that; or another replica is at it
	}
	return 0, err
}

// partitions makes the audit log's months ahead, and tells how its partitions are whether that went well or not.
func (w *Workers) partitions(ctx context.Context) (int, error) {
	moving, cancel := context.WithTimeout(ctx, movingWithin)
	made, err := w.Log.EnsurePartitions(moving)
	cancel()
	if errors.Is(err, audit.ErrPartitionsBusy) {
		w.Slog.WarnContext(ctx, "audit partitions", "error", err)
		err = nil
	}
	health, unseen := audit.CheckPartitions(ctx, w.Log.Pool(), w.Log.Clock()())
	if ctx.Err() != nil {
		return made, nil //nolint:nilerr // the process ends, and whatever failed did because of that
	}
	if unseen != nil {
		return made, errors.Join(err, unseen)
	}
	for table, n := range health.MonthsAhead {
		w.monthsAhead.WithLabelValues(table).Set(float64(n)) // not money: a count
	}
	for _, o := range health.Overflow {
		w.overflowRows.WithLabelValues(o.Table, o.Partition).Set(float64(o.Rows)) // not money: a count
	}
	w.partitionProblems.Set(float64(len(health.Problems))) // not money: a count
	for _, p := range health.Problems {
		w.Slog.WarnContext(ctx, "audit partitions", "table", p.Table, "severity", p.Severity, "problem", p.What, "do", p.Do)
	}
	return made, err
}

// housekeeping makes budgets by templates, opens the budgets' periods, finishes erasures and forgets old idempotency keys.
func (w *Workers) housekeeping(ctx context.Context) (int, error) {
	made := w.Log.Change(ctx, audit.Intent{Action: "budget.template_applied", ResourceType: "budget_template"}, func(tx *audit.Tx) error {
		n, err := w.Budgets.ApplyTemplates(ctx, tx)
		return nothingIfNone(n, err)
	})
	opened := w.Log.Change(ctx, audit.Intent{Action: "budget.roll_over", ResourceType: "budget"}, func(tx *audit.Tx) error {
		n, err := w.Budgets.RollOver(ctx, tx)
		return nothingIfNone(n, err)
	})
	_, erased := w.Log.EraseLate(ctx)
	_, forgot := w.Log.Pool().Exec(ctx, `DELETE FROM idempotency_keys WHERE created_at < $1`, w.Log.Clock()().Add(-keyLifetime))
	return 0, errors.Join(ignoreNothing(made), ignoreNothing(opened), erased, forgot) // none waits for another
}
