package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/robco-forge/forge/internal/workspace"
)

// holdsCollector shows the holds as they are in the database when somebody scrapes, the same from every replica.
type holdsCollector struct {
	pool *pgxpool.Pool
	log  *slog.Logger
}

var holdDesc = prometheus.NewDesc("forge_provider_hold",
	"1 while nothing can be made in the region, or the directory, until an operator has acted.", []string{"region", "directory", "code"}, nil)

// Describe tells what there is to collect.
func (holdsCollector) Describe(ch chan<- *prometheus.Desc) { ch <- holdDesc }

// Collect reads the holds. Without a database there are none to be seen, and the log says why.
func (c holdsCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	holds, err := workspace.Holds(ctx, c.pool)
	if err != nil {
		c.log.WarnContext(ctx, "holds are not in the metrics", "error", err)
		return
	}
	for _, h := range holds {
		ch <- prometheus.MustNewConstMetric(holdDesc, prometheus.GaugeValue, 1, h.Region, h.DirectoryID, h.Code)
	}
}
