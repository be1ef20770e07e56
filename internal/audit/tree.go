package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/postgres"
)

// Sizes of tiles (C2SP tlog-tiles): a tile has eight levels of the tree, and up to 256 hashes of the lowest.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// errDamaged says that what the database keeps of the tree does not fit together. Nothing is signed from it.
var errDamaged = errors.New("audit: the stored tree is damaged; run `forge audit verify`")

// treeState is the row of audit_tree: the edge of the tree, and what is in it.
type treeState struct {
	Origin          string
	Size            int64
	Edges           [][]byte
	TailIDs         []uuid.UUID `db:"tail_ids"`
	TailTimestamps  []time.Time
	Snapshot        string
	Pending         *string
	CursorXid       *string
	CursorTimestamp *time.Time
	CursorID        *uuid.UUID `db:"cursor_id"`
	Recheck         string
	Cluster         string
	Epoch           int64
}

// readTree reads the state; pgx.ErrNoRows when there is no tree yet.
func readTree(ctx context.Context, q postgres.Querier) (treeState, error) {
	t, err := postgres.One[treeState](ctx, q, `
		SELECT origin, size, edges, tail_ids, tail_timestamps, snapshot::text AS snapshot, pending::text AS pending,
		       cursor_xid::text AS cursor_xid, cursor_timestamp, cursor_id, recheck_until::text AS recheck, cluster, epoch
		FROM audit_tree`)
	if err != nil {
		return t, err
	}
	return t, t.check()
}

// check says whether the edge has the shape that a tree of this size has.
func (t *treeState) check() error {
	n := t.Size
	for level := 0; level < len(t.Edges) || n > 0; level++ {
		if level >= len(t.Edges) || int64(len(t.Edges[level])) != n%tileWidth*tlog.HashSize {
			return fmt.Errorf("%w: its edge is not that of %d entries", errDamaged, t.Size)
		}
		n /= tileWidth
	}
	if int64(len(t.TailIDs)) != t.Size%tileWidth || len(t.TailTimestamps) != len(t.TailIDs) {
		return fmt.Errorf("%w: its tail is not that of %d entries", errDamaged, t.Size)
	}
	return nil
}

// add puts an entry at the end, and queues what has become full.
func (t *treeState) add(full *pgx.Batch, id uuid.UUID, at time.Time, leafHash tlog.Hash) {
	t.TailIDs = append(t.TailIDs, id)
	t.TailTimestamps = append(t.TailTimestamps, at)
	n := t.Size
	t.Size++
	if len(t.TailIDs) == tileWidth {
		first, last := t.TailTimestamps[0], t.TailTimestamps[0]
		for _, ts := range t.TailTimestamps {
			if ts.Before(first) {
				first = ts
			}
			if ts.After(last) {
				last = ts
			}
		}
		full.Queue(`INSERT INTO audit_bundles (n, ids, timestamps, first_timestamp, last_timestamp) VALUES ($1, $2, $3, $4, $5)`,
			n/tileWidth, t.TailIDs, t.TailTimestamps, first, last)
		t.TailIDs, t.TailTimestamps = []uuid.UUID{}, []time.Time{} // the batch keeps the old ones
	}
	for level := 0; ; level++ {
		if level == len(t.Edges) {
			t.Edges = append(t.Edges, nil)
		}
		t.Edges[level] = append(t.Edges[level], leafHash[:]...)
		if len(t.Edges[level]) < tileWidth*tlog.HashSize {
			return
		}
		n /= tileWidth
		full.Queue(`INSERT INTO audit_tiles (level, n, hashes) VALUES ($1, $2, $3)`, level, n, t.Edges[level])
		leafHash = perfectRoot(t.Edges[level])
		t.Edges[level] = []byte{}
	}
}

// perfectRoot is the root over a power of two of hashes.
func perfectRoot(hashes []byte) tlog.Hash {
	row := make([]tlog.Hash, len(hashes)/tlog.HashSize)
	for i := range row {
		row[i] = tlog.Hash(hashes[i*tlog.HashSize:])
	}
	for len(row) > 1 {
		for i := range len(row) / 2 {
			row[i] = tlog.NodeHash(row[2*i], row[2*i+1])
		}
		row = row[:len(row)/2]
	}
	return row[0]
}

// tiles reads the hashes of a tree: full tiles from their table, the others from the edge. It remembers what it read, so
// it serves one piece of work and no more.
type tiles struct {
	ctx  context.Context //nolint:containedctx // tlog.HashReader has none
	q    postgres.Querier
	tree *treeState
	read map[tileKey][]byte
}

type tileKey struct {
	level int
	n     int64
}

func newTiles(ctx context.Context, q postgres.Querier, tree *treeState) *tiles {
	return &tiles{ctx: ctx, q: q, tree: tree, read: map[tileKey][]byte{}}
}

// tile is the hashes of a tile, as many as there are.
func (t *tiles) tile(level int, n int64) ([]byte, error) {
	if level < len(t.tree.Edges) && n == t.tree.Size>>(tileHeight*(level+1)) {
		return t.tree.Edges[level], nil
	}
	key := tileKey{level, n}
	if data, ok := t.read[key]; ok {
		return data, nil
	}
	var data []byte
	err := t.q.QueryRow(t.ctx, `SELECT hashes FROM audit_tiles WHERE level = $1 AND n = $2`, level, n).Scan(&data)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("%w: tile %d of level %d is missing", errDamaged, n, level)
	}
	if err != nil {
		return nil, err
	}
	if len(t.read) >= 1024 {
		clear(t.read)
	}
	t.read[key] = data
	return data, nil
}

// ReadHashes is tlog.HashReader.
func (t *tiles) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		tile := tlog.TileForIndex(tileHeight, x)
		data, err := t.tile(tile.L, tile.N)
		if err != nil {
			return nil, err
		}
		tile.W = len(data) / tlog.HashSize
		if out[i], err = tlog.HashFromTile(tile, data, x); err != nil {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
	}
	return out, nil
}

// root is the root of the first size entries.
func (t *tiles) root(size int64) (tlog.Hash, error) { return tlog.TreeHash(size, t) }
