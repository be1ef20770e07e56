package audit

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit/leaf"
)

// WriteIn writes an event's entry in a transaction that the test ends as it likes.
func (l *Log) WriteIn(ctx context.Context, tx pgx.Tx, e Event) error {
	rows, err := l.rows(l.now(), actor.From(ctx), subjectKey{}, []entry{{Event: e, result: leaf.Success}}, &sending{})
	if err != nil {
		return err
	}
	return tx.SendBatch(ctx, rows).Close()
}

// The queries of the sequencer, for looking at their plans.
const (
	SQLNamed    = `SELECT ` + entryColumns + ` FROM ` + named + ` ORDER BY o.i`
	SQLWindow   = window
	SQLPlanning = planning
)
