package app

import (
	"context"
	"time"

	"github.com/robco-forge/forge/internal/audit"
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
		Logger: f.cfg.Logger, Observe: func(o audit.Observation) { f.workers.ObserveTree(o) },
	}
	if f.cfg.AuditPins != "" {
		c.Pins = audit.PinDir(f.cfg.AuditPins)
	}
	return audit.NewSequencer(c)
}

// lastHeartbeat says what this process has written to the audit log, now that it writes no more.
func (f *Forge) lastHeartbeat(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := f.Log.Heartbeat(ctx, true); err != nil {
		f.cfg.Logger.WarnContext(ctx, "audit: the last heartbeat was not written", "error", err)
	}
}
