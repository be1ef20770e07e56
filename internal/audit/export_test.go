package audit

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
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

// Reseal seals other values with an entry, as whoever has the keys could.
func Reseal(k Keys, subject string, wrapped []byte, entry uuid.UUID, values map[string]string) ([]byte, error) {
	key, err := open(k.Personal[:], wrapped, []byte(subject))
	if err != nil {
		return nil, err
	}
	openings := map[string]verify.Opening{}
	for field, value := range values {
		openings[field] = verify.Opening{Salt: make([]byte, leaf.MinSalt), Value: value}
	}
	plain, err := json.Marshal(openings)
	if err != nil {
		return nil, err
	}
	return encrypt(key, plain, entry[:])
}
