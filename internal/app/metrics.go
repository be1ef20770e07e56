package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/robco-forge/forge/internal/workspace"
)

// awsCollector shows, when somebody scrapes, the holds and the drift as they are in the database, the same from every
// replica, and the circuits of this one.
type awsCollector struct{ forge *Forge }

var (
	holdDesc = prometheus.NewDesc("forge_provider_hold",
		"1 while nothing can be made in the region, or the directory, until an operator has acted.", []string{"region", "directory", "code"}, nil)
	driftDesc = prometheus.NewDesc("forge_drift_open",
		"What Amazon has otherwise than Forge wants it, by kind; `forge drift` lists it.", []string{"region", "kind"}, nil)
	pauseDesc = prometheus.NewDesc("forge_policy_paused",
		"1 while a policy, all stops or all terminations do not happen by themselves; `forge policy list` says why.", []string{"policy"}, nil)
	circuitDesc = prometheus.NewDesc("forge_aws_circuit",
		"1 for the state that this replica's circuit to the region is in: closed, half-open or open.", []string{"region", "state"}, nil)
)

// Describe tells what there is to collect.
func (awsCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- holdDesc
	ch <- circuitDesc
	ch <- driftDesc
	ch <- pauseDesc
}

// Collect reads both. Without a database there are no holds to be seen, and the log says why.
func (c awsCollector) Collect(ch chan<- prometheus.Metric) {
	for _, circuit := range c.forge.provider.Circuits() {
		ch <- prometheus.MustNewConstMetric(circuitDesc, prometheus.GaugeValue, 1, circuit.Region, circuit.State)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	holds, err := workspace.Holds(ctx, c.forge.Pool)
	if err != nil {
		c.forge.cfg.Logger.WarnContext(ctx, "holds are not in the metrics", "error", err)
		return
	}
	for _, h := range holds {
		ch <- prometheus.MustNewConstMetric(holdDesc, prometheus.GaugeValue, 1, h.Region, h.DirectoryID, h.Code)
	}
	pauses, err := workspace.ReadPauses(ctx, c.forge.Pool, c.forge.Log.Clock()())
	if err != nil {
		c.forge.cfg.Logger.WarnContext(ctx, "pauses are not in the metrics", "error", err)
		return
	}
	for _, p := range pauses {
		ch <- prometheus.MustNewConstMetric(pauseDesc, prometheus.GaugeValue, 1, p.Target)
	}
	drift, err := workspace.OpenDrift(ctx, c.forge.Pool)
	if err != nil {
		c.forge.cfg.Logger.WarnContext(ctx, "drift is not in the metrics", "error", err)
		return
	}
	for _, d := range drift {
		ch <- prometheus.MustNewConstMetric(driftDesc, prometheus.GaugeValue, float64(d.Open), d.Region, string(d.Kind)) // not money: a count
	}
}
