package worker

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/robco-forge/forge/internal/audit"
)

// treeMetrics tell how the audit log's tree follows what is committed.
type treeMetrics struct {
	leading, size, signed prometheus.Gauge
	quarantined, orphans  prometheus.Counter
	delay                 prometheus.Histogram
}

func newTreeMetrics(reg prometheus.Registerer) *treeMetrics {
	m := &treeMetrics{
		leading:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "forge_audit_tree_leading", Help: "1 in the process that brings the audit log's entries into its tree; of all replicas together it is 1."}),
		size:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "forge_audit_tree_entries", Help: "Entries in the audit log's tree, as the leading process knows."}),
		signed:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "forge_audit_tree_signed_entries", Help: "Entries that the newest signed checkpoint covers, as the leading process knows."}),
		quarantined: prometheus.NewCounter(prometheus.CounterOpts{Name: "forge_audit_quarantined_total", Help: "Entries that were kept out of the tree because no writer of this installation made them as they are."}),
		orphans:     prometheus.NewCounter(prometheus.CounterOpts{Name: "forge_audit_orphans_total", Help: "Entries that no window had found: after a restore, or because somebody changed them."}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "forge_audit_merge_delay_seconds", Help: "From the instant of an entry to the checkpoint that covers it.",
			Buckets: []float64{.25, .5, 1, 1.5, 2, 3, 5, 10, 30, 60, 300}, // not money: seconds
		}),
	}
	if reg != nil {
		reg.MustRegister(m.leading, m.size, m.signed, m.quarantined, m.orphans, m.delay)
	}
	return m
}

// ObserveTree hears of each round of the audit log's tree.
func (w *Workers) ObserveTree(o audit.Observation) {
	m := w.tree
	m.quarantined.Add(float64(o.Quarantined)) // not money: a count
	if !o.Leading {
		m.leading.Set(0)
		return
	}
	m.leading.Set(1)
	m.size.Set(float64(o.Size))     // not money: a count
	m.signed.Set(float64(o.Signed)) // not money: a count
	for _, d := range o.Delays {
		m.delay.Observe(d.Seconds())
	}
}

// orphans looks for entries that no window finds. Once is enough: what is found is more than a batch only after a restore,
// which the tree's own start deals with.
func (w *Workers) orphans(ctx context.Context) (int, error) {
	n, err := w.Tree.Reconcile(ctx)
	w.tree.orphans.Add(float64(n)) // not money: a count
	return n, err
}

// closeTree gives the lead back, so that another process need not wait for it.
func (w *Workers) closeTree(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	w.Tree.Close(ctx)
}

// witnesses shows them what is new. Once is enough: what could not be shown is with the next.
func (w *Workers) witnesses(ctx context.Context) (int, error) {
	_, err := w.Tree.Cosign(ctx)
	return 0, err
}
