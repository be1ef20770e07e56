package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/audit/witness"
	"github.com/robco-forge/forge/internal/postgres"
)

// witnessTime is how long the witnesses may take together when a process takes the lead: nothing is sequenced meanwhile.
const witnessTime = 2 * time.Second

// Cosign shows the newest checkpoint to every witness that has not signed it, if this process leads. It returns how many
// signed. A witness that cannot be reached is asked again the next time; one that contradicts ends the lead, and nothing is
// signed until it agrees or is taken from the configuration.
func (s *Sequencer) Cosign(ctx context.Context) (int, error) {
	s.mu.Lock()
	leading := s.conn != nil
	s.mu.Unlock()
	if !leading {
		return 0, nil
	}
	n, err := s.cosign(ctx, false)
	if errors.Is(err, ErrFork) {
		s.mu.Lock()
		s.drop(ctx)
		s.halted = time.Now().Add(haltTime)
		s.mu.Unlock()
	}
	return n, err
}

// cosign asks those that have not signed the newest checkpoint, or all of them: one may have seen more than is here.
func (s *Sequencer) cosign(ctx context.Context, all bool) (signed int, err error) {
	last, err := lastCheckpoint(ctx, s.cfg.Pool)
	if err != nil || last.Size == 0 || len(s.cfg.Witnesses) == 0 {
		return 0, err
	}
	// Read after it, it covers it.
	t, err := readTree(ctx, s.cfg.Pool)
	if err != nil {
		return 0, err
	}
	stored := newTiles(ctx, s.cfg.Pool, &t)
	var errs []error
	for _, w := range s.cfg.Witnesses {
		var seen int64
		if err := s.cfg.Pool.QueryRow(ctx, `SELECT coalesce(max(size), 0) FROM audit_cosignatures WHERE witness = $1`, w.Name()).Scan(&seen); err != nil {
			return signed, err
		}
		if seen == last.Size && !all {
			continue
		}
		c, err := w.Cosign(ctx, last.Note, last.Size, seen, func(old int64) ([]tlog.Hash, error) { return tlog.ProveTree(last.Size, old, stored) })
		switch {
		case errors.Is(err, witness.ErrContradiction):
			errs = append(errs, fmt.Errorf("%w: witness %s: %w", ErrFork, w.Name(), err))
			continue
		case err != nil:
			s.cfg.Logger.WarnContext(ctx, "audit: a witness did not sign", "witness", w.Name(), "size", last.Size, "error", err)
			continue
		}
		if _, err := s.cfg.Pool.Exec(ctx, `INSERT INTO audit_cosignatures (size, witness, line, cosigned_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
			last.Size, w.Name(), c.Line, c.At); err != nil {
			return signed, err
		}
		signed++
	}
	return signed, errors.Join(errs...)
}

// askWitnesses is Cosign for a process that is about to lead: a log that was set back is noticed before it grows again.
func (s *Sequencer) askWitnesses(ctx context.Context) error {
	if len(s.cfg.Witnesses) == 0 {
		return nil
	}
	asked, cancel := context.WithTimeout(ctx, witnessTime)
	defer cancel()
	_, err := s.cosign(asked, true)
	if errors.Is(err, ErrFork) {
		return err
	}
	if err != nil && ctx.Err() == nil {
		s.cfg.Logger.WarnContext(ctx, "audit: the witnesses were not asked", "error", err)
	}
	return ctx.Err()
}

// Witnessed is what a witness has signed.
type Witnessed struct {
	Witness string
	// Size is that of the newest checkpoint that it signed, 0 if none.
	Size int64
	// Since is the instant of the oldest checkpoint that it has not signed, nor a newer one; nil if there is none.
	Since *time.Time
}

// WitnessedBy tells of each of the named witnesses.
func WitnessedBy(ctx context.Context, q postgres.Querier, names []string) ([]Witnessed, error) {
	return postgres.Many[Witnessed](ctx, q, `
		SELECT w.name AS witness, w.size, (SELECT min(signed_at) FROM audit_checkpoints WHERE size = (SELECT min(size) FROM audit_checkpoints WHERE size > w.size)) AS since
		FROM (SELECT name, o, coalesce((SELECT max(size) FROM audit_cosignatures WHERE witness = name), 0) AS size FROM unnest($1::text[]) WITH ORDINALITY n (name, o)) w
		ORDER BY w.o`, names)
}

// withCosignatures is the note of a checkpoint with the signatures of the witnesses.
func withCosignatures(ctx context.Context, q postgres.Querier, c checkpointRow) (string, error) {
	lines, err := q.Query(ctx, `SELECT line FROM audit_cosignatures WHERE size = $1 ORDER BY witness`, c.Size)
	if err != nil {
		return "", err
	}
	text := c.Note
	all, err := pgx.CollectRows(lines, pgx.RowTo[string])
	for _, line := range all {
		text += line
	}
	return text, err
}
