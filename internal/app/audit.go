package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/httpapi"
	"github.com/robco-forge/forge/internal/id"
)

// tree is this process's sequencer of the audit log.
func (f *Forge) tree() (*audit.Sequencer, error) {
	signers, err := f.cfg.Keys.Signers(f.cfg.AuditOrigin)
	if err != nil {
		return nil, err
	}
	c := audit.SequencerConfig{
		Pool: f.Pool, Clock: f.cfg.Clock, Origin: f.cfg.AuditOrigin, Name: id.Unique(), Keys: f.cfg.Keys, Signers: signers,
		Logger: f.cfg.Logger, Pins: f.cfg.AuditPins, Observe: func(o audit.Observation) { f.workers.ObserveTree(o) },
	}
	c.Witnesses = f.cfg.AuditWitnesses
	return audit.NewSequencer(c)
}

// archivist archives months of the audit log, as far as the application's rights go; nil where nobody said where to.
func (f *Forge) archivist() *audit.Archivist {
	if f.cfg.AuditArchive == nil {
		return nil
	}
	return &audit.Archivist{Log: f.Log, Keys: f.cfg.Keys, Store: f.cfg.AuditArchive, Hot: audit.HotMonths, Logger: f.cfg.Logger}
}

// unwitnessedTooLong is how long a checkpoint may go without a witness's signature before somebody is told: all that is
// younger could be written anew by whoever has the database and the keys.
const unwitnessedTooLong = 5 * time.Minute

func (f *Forge) witnessed(ctx context.Context) ([]audit.Witnessed, error) {
	names := make([]string, len(f.cfg.AuditWitnesses))
	for i, w := range f.cfg.AuditWitnesses {
		names[i] = w.Name()
	}
	return audit.WitnessedBy(ctx, f.Pool, names)
}

// witnesses tells which witnesses have fallen behind. It only warns: the log goes on, and they catch up.
func (f *Forge) witnesses(ctx context.Context) httpapi.Check {
	c := httpapi.Check{Name: "audit_witnesses", OK: true}
	all, err := f.witnessed(ctx)
	if err != nil {
		f.cfg.Logger.WarnContext(ctx, "witnesses", "error", err)
		c.Message = "it could not be looked at; the cause is in the log"
	}
	for _, w := range all {
		if w.Since != nil && f.cfg.Clock().Sub(*w.Since) > unwitnessedTooLong {
			c.Message += fmt.Sprintf("%s has signed nothing of the audit log since %s (docs/runbooks/audit.md). ", w.Witness, w.Since.UTC().Format(time.RFC3339))
		}
	}
	c.Message = strings.TrimSpace(c.Message)
	return c
}

// verifiedTooLong is how long nobody may have recorded that the whole log was verified before somebody is told.
const verifiedTooLong = 8 * 24 * time.Hour

// verified tells when the log was not verified for long. It only warns.
func (f *Forge) verified(ctx context.Context) httpapi.Check {
	c := httpapi.Check{Name: "audit_verified", OK: true}
	since, err := audit.UnverifiedSince(ctx, f.Pool)
	switch {
	case err != nil:
		f.cfg.Logger.WarnContext(ctx, "audit: the last verification", "error", err)
		c.Message = "it could not be looked at; the cause is in the log"
	case !since.IsZero() && f.cfg.Clock().Sub(since) > verifiedTooLong:
		c.Message = fmt.Sprintf("no verification of the audit log that found nothing was recorded since %s: forge audit verify --record", since.UTC().Format(time.RFC3339))
	}
	return c
}

// auditCollector shows what the database knows of the audit log, the same from every replica.
type auditCollector struct{ forge *Forge }

var (
	unwitnessedDesc = prometheus.NewDesc("forge_audit_unwitnessed_seconds",
		"Age of the oldest checkpoint of the audit log that the witness has not signed, nor a newer one.", []string{"witness"}, nil)
	verifyAgeDesc = prometheus.NewDesc("forge_audit_verify_age_seconds",
		"Time since a verification of the whole audit log that found nothing was recorded (forge audit verify --record), or since the log began.", nil, nil)
	overdueDesc = prometheus.NewDesc("forge_audit_archive_overdue_months",
		"Months of the audit log that ended more than ten days ago and are not verified in the archive.", nil, nil)
)

// Describe tells what there is to collect.
func (auditCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- unwitnessedDesc
	ch <- verifyAgeDesc
	ch <- overdueDesc
}

// Collect reads it. Without a database there is nothing to see, and the log says why.
func (c auditCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	f := c.forge
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	now := f.cfg.Clock()
	all, err := f.witnessed(ctx)
	for _, w := range all {
		var age time.Duration
		if w.Since != nil {
			age = max(0, now.Sub(*w.Since))
		}
		gauge(unwitnessedDesc, age.Seconds(), w.Witness)
	}
	if since, sinceErr := audit.UnverifiedSince(ctx, f.Pool); sinceErr != nil {
		err = errors.Join(err, sinceErr)
	} else if !since.IsZero() {
		gauge(verifyAgeDesc, max(0, now.Sub(since)).Seconds())
	}
	if f.cfg.AuditArchive != nil {
		n, overdueErr := audit.OverdueMonths(ctx, f.Pool, now)
		if err = errors.Join(err, overdueErr); overdueErr == nil {
			gauge(overdueDesc, float64(n))
		}
	}
	if err != nil {
		f.cfg.Logger.WarnContext(ctx, "parts of the audit log are not in the metrics", "error", err)
	}
}

// lastHeartbeat says what this process has written to the audit log, now that it writes no more.
func (f *Forge) lastHeartbeat(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := f.Log.Heartbeat(ctx, true); err != nil {
		f.cfg.Logger.WarnContext(ctx, "audit: the last heartbeat was not written", "error", err)
	}
}
