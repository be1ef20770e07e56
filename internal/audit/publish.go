package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/postgres"
)

// signAtMost bounds how many entries one checkpoint adds: they are all read again before it is signed.
const signAtMost = 64 * tileWidth

// checkpointRow is a signed checkpoint.
type checkpointRow struct {
	Size     int64
	Root     []byte
	Note     string
	SignedAt time.Time
}

// lastCheckpoint is the newest; the zero one when nothing was signed yet.
func lastCheckpoint(ctx context.Context, q postgres.Querier) (checkpointRow, error) {
	c, err := postgres.One[checkpointRow](ctx, q, `SELECT size, root, note, signed_at FROM audit_checkpoints ORDER BY size DESC LIMIT 1`)
	if errors.Is(err, pgx.ErrNoRows) {
		empty := rfc6962.DefaultHasher.EmptyRoot()
		return checkpointRow{Root: empty}, nil
	}
	return c, err
}

// sign makes a checkpoint over what has come since the last one. Everything that is new is read again from where it is
// kept and hashed by another implementation than the one that made the tree: a bit that fell over in between is found
// before a signature makes it lasting. A root that was signed in error can never be mended.
func (s *Sequencer) sign(ctx context.Context, o *Observation) error {
	var made *checkpointRow
	var delays []time.Duration
	err := s.fenced(ctx, func(tx pgx.Tx, t *treeState) error {
		last, err := lastCheckpoint(ctx, tx)
		if err != nil {
			return err
		}
		o.Signed = last.Size
		if last.Size > t.Size {
			return fmt.Errorf("%w: %d entries were signed and the tree has %d; was an old backup restored?", ErrFork, last.Size, t.Size)
		}
		if last.Size == t.Size && !s.signed.IsZero() {
			return nil
		}
		stored := newTiles(ctx, tx, t)
		rebuilt, err := rangeUpTo(stored, last.Size)
		if err != nil {
			return err
		}
		if root, err := rootOf(rebuilt); err != nil || root != tlog.Hash(last.Root) {
			return errors.Join(fmt.Errorf("%w: the tree of %d entries has the root %s, and %s was signed", ErrFork, last.Size, root, tlog.Hash(last.Root)), err)
		}
		if last.Size == t.Size {
			return nil
		}
		size, now := min(t.Size, last.Size+signAtMost), s.cfg.Clock()
		for from := last.Size; from < size; {
			to := min((from/tileWidth+1)*tileWidth, size)
			placed, err := entriesAt(ctx, tx, t, from, to)
			if err != nil {
				return err
			}
			for i := range placed {
				if err := rebuilt.Append(rfc6962.DefaultHasher.HashLeaf(placed[i].Leaf), nil); err != nil {
					return err
				}
				delays = append(delays, now.Sub(placed[i].Timestamp))
			}
			from = to
		}
		root, err := rootOf(rebuilt)
		if err != nil {
			return err
		}
		if have, err := stored.root(size); err != nil || have != root {
			return errors.Join(fmt.Errorf("%w: %d entries hash to the root %s, and the tiles to %s; nothing is signed", errDamaged, size, root, have), err)
		}
		signed, err := note.Sign(&note.Note{Text: verify.CheckpointText(s.cfg.Origin, size, root)}, s.cfg.Signers...)
		if err != nil {
			return fmt.Errorf("signing the audit log: %w", err)
		}
		made = &checkpointRow{Size: size, Root: root[:], Note: string(signed), SignedAt: now}
		_, err = tx.Exec(ctx, `INSERT INTO audit_checkpoints (size, root, note, signed_at) VALUES ($1, $2, $3, $4)`, made.Size, made.Root, made.Note, made.SignedAt)
		return err
	})
	if err != nil || made == nil {
		return err
	}
	o.Signed, o.Delays = made.Size, delays
	if s.cfg.Pins != nil {
		if err := s.cfg.Pins.Save(ctx, made.Note); err != nil {
			s.cfg.Logger.ErrorContext(ctx, "audit: a checkpoint was not pinned", "size", made.Size, "error", err)
		}
	}
	return nil
}

// rangeUpTo is the compact range of the first size entries, from the tiles.
func rangeUpTo(stored *tiles, size int64) (*compact.Range, error) {
	f := &compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	nodes := compact.RangeNodes(0, uint64(size), nil) //nolint:gosec // no size is negative
	hashes := make([][]byte, len(nodes))
	for i, n := range nodes {
		h, err := stored.ReadHashes([]int64{tlog.StoredHashIndex(int(n.Level), int64(n.Index))}) //nolint:gosec // below size
		if err != nil {
			return nil, err
		}
		hashes[i] = h[0][:]
	}
	return f.NewRange(0, uint64(size), hashes) //nolint:gosec // as above
}

func rootOf(r *compact.Range) (tlog.Hash, error) {
	root, err := r.GetRootHash(nil)
	if err != nil {
		return tlog.Hash{}, err
	}
	if root == nil {
		root = rfc6962.DefaultHasher.EmptyRoot()
	}
	return tlog.Hash(root), nil
}

// placedEntry is an entry at its place in the tree.
type placedEntry struct {
	Index int64
	entryRow
}

// entriesAt is the entries from one place up to another, which must lie in one bundle. A missing one is an error.
func entriesAt(ctx context.Context, q postgres.Querier, t *treeState, from, to int64) ([]placedEntry, error) {
	first := from / tileWidth * tileWidth
	ids, timestamps, err := bundleAt(ctx, q, t, from/tileWidth)
	if err != nil {
		return nil, err
	}
	if from < first || to > first+int64(len(ids)) {
		return nil, fmt.Errorf("%w: entries %d to %d are not in one bundle", errDamaged, from, to)
	}
	placed, err := postgres.Many[placedEntry](ctx, q, `
		SELECT $3 + o.i - 1 AS index, `+entryColumns+`
		FROM `+named+`
		ORDER BY o.i`, ids[from-first:to-first], timestamps[from-first:to-first], from)
	if err == nil && int64(len(placed)) < to-from {
		placed, err = withDetached(ctx, q, from, ids[from-first:to-first], timestamps[from-first:to-first], placed)
	}
	if err != nil {
		return nil, err
	}
	for i, p := range placed {
		if want := from + int64(i); p.Index != want {
			return nil, fmt.Errorf("%w: entry %d (%s) is missing", errDamaged, want, ids[want-first])
		}
	}
	if int64(len(placed)) != to-from {
		missing := from + int64(len(placed))
		return nil, fmt.Errorf("%w: entry %d (%s) is missing", errDamaged, missing, ids[missing-first])
	}
	return placed, nil
}

// bundleAt is which entries have the places n*256 and following: all 256, or the tail.
func bundleAt(ctx context.Context, q postgres.Querier, t *treeState, n int64) (ids []uuid.UUID, timestamps []time.Time, err error) {
	if n == t.Size/tileWidth {
		return t.TailIDs, t.TailTimestamps, nil
	}
	err = q.QueryRow(ctx, `SELECT ids, timestamps FROM audit_bundles WHERE n = $1`, n).Scan(&ids, &timestamps)
	if errors.Is(err, pgx.ErrNoRows) {
		err = fmt.Errorf("%w: bundle %d is missing", errDamaged, n)
	}
	if err == nil && (len(ids) != tileWidth || len(timestamps) != tileWidth) {
		err = fmt.Errorf("%w: bundle %d is not of 256 entries", errDamaged, n)
	}
	return ids, timestamps, err
}

// leafHash is the hash of a leaf in the tree.
func leafHash(b []byte) tlog.Hash { return tlog.Hash(leaf.Hash(b)) }
