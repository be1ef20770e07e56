package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/postgres"
)

// What a reader of the log can be refused.
var (
	ErrUnsigned = fault.New(fault.NotFound, "AUDIT_LOG_EMPTY", "nothing in the audit log has been signed yet",
		fault.Suggest("try again in a few seconds; if this lasts, see docs/runbooks/audit.md"))
	ErrUnwitnessed = fault.New(fault.NotFound, "AUDIT_LOG_UNWITNESSED", "no witness has signed a checkpoint of the audit log",
		fault.Suggest("ask for one without a witness; docs/runbooks/audit.md says how to set one up"))
	ErrNoTile = fault.New(fault.NotFound, "AUDIT_TILE_NOT_FOUND", "the log has no such tile at its newest checkpoint",
		fault.Suggest("fetch the checkpoint again; paths are those of C2SP tlog-tiles"))
	ErrNoEntry       = fault.New(fault.NotFound, "AUDIT_ENTRY_NOT_FOUND", "there is no such audit entry", fault.Suggest("give the entry's timestamp as `at`, too"))
	ErrEntryArchived = fault.New(fault.Conflict, "AUDIT_ENTRY_ARCHIVED", "the entry's month was archived, and its bytes are in the archive alone",
		fault.Suggest("ask for the proof without the leaf, and take that from the archive; or have the month restored: forge audit archive restore"))
	ErrUnproven = fault.New(fault.Conflict, "AUDIT_ENTRY_NOT_SIGNED_YET", "the entry is written, and no signed checkpoint covers it yet",
		fault.Suggest("try again in a few seconds"))
)

// LatestCheckpoint is the newest signed checkpoint, with the signatures of the witnesses that have seen it; or the newest
// of those that a witness has seen.
func LatestCheckpoint(ctx context.Context, q postgres.Querier, witnessed bool) (string, error) {
	c, err := lastCheckpoint(ctx, q)
	if witnessed && err == nil {
		c, err = postgres.One[checkpointRow](ctx, q, `SELECT size, root, note, signed_at FROM audit_checkpoints WHERE size = (SELECT max(size) FROM audit_cosignatures)`)
		if errors.Is(err, pgx.ErrNoRows) {
			err = ErrUnwitnessed
		}
	}
	if err != nil {
		return "", err
	}
	if c.Size == 0 {
		return "", ErrUnsigned
	}
	return withCosignatures(ctx, q, c)
}

// Tile is the content of a path below the log, in the layout of C2SP tlog-tiles: "tile/0/x001/234.p/56" for hashes,
// "tile/entries/000" for leaves. Only what the newest checkpoint covers is there, and what is there never changes.
func Tile(ctx context.Context, q postgres.Querier, path string) ([]byte, error) {
	rest, ok := strings.CutPrefix(path, "tile/")
	if !ok {
		return nil, ErrNoTile
	}
	if leaves, ok := strings.CutPrefix(rest, "entries/"); ok {
		rest = "data/" + leaves
	}
	tile, err := tlog.ParseTilePath(fmt.Sprintf("tile/%d/%s", tileHeight, rest))
	if err != nil || tile.L > 7 || tile.N > 1<<48 {
		return nil, ErrNoTile
	}
	last, err := lastCheckpoint(ctx, q)
	if err != nil {
		return nil, err
	}
	if tile.N<<tileHeight+int64(tile.W) > last.Size>>(tileHeight*max(tile.L, 0)) {
		return nil, ErrNoTile
	}
	t, err := readTree(ctx, q)
	if err != nil {
		return nil, err
	}
	if tile.L >= 0 {
		hashes, err := newTiles(ctx, q, &t).tile(tile.L, tile.N)
		if err == nil && len(hashes) < tile.W*tlog.HashSize {
			err = errDamaged
		}
		if err != nil {
			return nil, err
		}
		return hashes[:tile.W*tlog.HashSize], nil
	}
	first := tile.N << tileHeight
	entries, err := entriesAt(ctx, q, &t, first, first+int64(tile.W))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, e := range entries {
		var length [2]byte
		binary.BigEndian.PutUint16(length[:], uint16(len(e.Leaf))) //nolint:gosec // a constraint says so
		b.Write(length[:])
		b.Write(e.Leaf)
	}
	return b.Bytes(), nil
}

// lookAround is how far from the time in its id an entry's own time may be, when nobody says which it is.
const lookAround = time.Hour

// indexOf is the place of an entry. Without at, its id says about when it was written.
func indexOf(ctx context.Context, q postgres.Querier, t *treeState, entry uuid.UUID, at time.Time) (int64, error) {
	from, to := at, at
	if at.IsZero() {
		sec, nsec := entry.Time().UnixTime()
		written := time.Unix(sec, nsec)
		from, to = written.Add(-lookAround), written.Add(lookAround)
	}
	var timestamp time.Time
	err := q.QueryRow(ctx, `SELECT timestamp FROM audit_logs WHERE id = $1 AND timestamp BETWEEN $2 AND $3`, entry, from, to).Scan(&timestamp)
	if errors.Is(err, pgx.ErrNoRows) {
		return archivedIndex(ctx, q, entry, from, to)
	}
	if err != nil {
		return 0, err
	}
	for i, id := range t.TailIDs {
		if id == entry {
			return t.Size/tileWidth*tileWidth + int64(i), nil
		}
	}
	var index int64
	err = q.QueryRow(ctx, `
		SELECT n * 256 + array_position(ids, $1) - 1
		FROM audit_bundles
		WHERE tstzrange(first_timestamp, last_timestamp, '[]') @> $2::timestamptz AND $1 = ANY (ids)`, entry, timestamp).Scan(&index)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrUnproven
	}
	return index, err
}

// ProofRequest is which proof is asked for.
type ProofRequest struct {
	Entry uuid.UUID
	// At is the entry's timestamp; the zero time asks the id.
	At time.Time
	// Size is that of the checkpoint to prove it to; 0 is the newest.
	Size int64
	// Leaf puts the entry's bytes into the proof.
	Leaf bool
}

// Proof is the proof that an entry is in the log at a checkpoint, as C2SP tlog-proof: whoever has the leaf and the log's
// public key can check it without Forge.
func Proof(ctx context.Context, q postgres.Querier, r ProofRequest) (string, error) {
	t, err := readTree(ctx, q)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", ErrUnsigned
	}
	if err != nil {
		return "", err
	}
	index, err := indexOf(ctx, q, &t, r.Entry, r.At)
	if err != nil {
		return "", err
	}
	// Read first, it may be behind the tree but never ahead of it.
	most := t.Size
	if r.Size > 0 {
		most = min(most, r.Size)
	}
	last, err := postgres.One[checkpointRow](ctx, q, `SELECT size, root, note, signed_at FROM audit_checkpoints WHERE size <= $1 ORDER BY size DESC LIMIT 1`, most)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && last.Size <= index {
		return "", ErrUnproven
	}
	if err != nil {
		return "", err
	}
	proof, err := tlog.ProveRecord(last.Size, index, newTiles(ctx, q, &t))
	if err != nil {
		return "", err
	}
	p := verify.Proof{Index: index, Hashes: proof}
	if r.Leaf {
		placed, err := entriesAt(ctx, q, &t, index, index+1)
		if err != nil {
			return "", err
		}
		p.Leaf = placed[0].Leaf
	}
	p.Checkpoint, err = withCosignatures(ctx, q, last)
	return p.Text(), err
}

// Fed is an entry with its place in the log.
type Fed struct {
	Index int64
	Entry
}

// Feed is the signed entries from a place on, in the order of the log: each once, without a gap. Whoever keeps the last
// place can go on behind it for ever.
func Feed(ctx context.Context, q postgres.Querier, from int64, limit int) ([]Fed, error) {
	last, err := lastCheckpoint(ctx, q)
	if err != nil || from >= last.Size {
		return nil, err
	}
	t, err := readTree(ctx, q)
	if err != nil {
		return nil, err
	}
	var out []Fed
	for to := min(last.Size, from+int64(limit)); from < to; {
		until := min((from/tileWidth+1)*tileWidth, to)
		placed, err := entriesAt(ctx, q, &t, from, until)
		if err != nil {
			return nil, err
		}
		for _, p := range placed {
			e := Entry{
				Timestamp: p.Timestamp, ID: p.ID, UserID: p.UserID, ActorType: p.ActorType, ActionType: p.ActionType, ResourceType: p.ResourceType,
				ResourceID: p.ResourceID, Result: p.Result, Code: p.Code, Interface: p.Interface, RequestID: p.RequestID, Leaf: p.Leaf,
			}
			if err := e.decode(); err != nil {
				return nil, err
			}
			out = append(out, Fed{p.Index, e})
		}
		from = until
	}
	return out, nil
}

// Range is the places of the entries of a period: the first, and the one behind the last. Entries of other times may lie
// between, for two that overlap have no order. Both are 0 when there are none.
func Range(ctx context.Context, q postgres.Querier, from, to time.Time) (first, behind int64, err error) {
	t, err := readTree(ctx, q)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	last, err := lastCheckpoint(ctx, q)
	if err != nil {
		return 0, 0, err
	}
	var lowest, highest *int64
	err = q.QueryRow(ctx, `
		SELECT min(n), max(n)
		FROM audit_bundles
		WHERE tstzrange(first_timestamp, last_timestamp, '[]') && tstzrange($1, $2)`, from, to).Scan(&lowest, &highest)
	if err != nil {
		return 0, 0, err
	}
	tail := t.Size / tileWidth
	for _, ts := range t.TailTimestamps {
		if !ts.Before(from) && ts.Before(to) {
			if lowest == nil {
				lowest = &tail
			}
			highest = &tail
		}
	}
	if lowest == nil {
		return 0, 0, nil
	}
	return min(*lowest*tileWidth, last.Size), min((*highest+1)*tileWidth, last.Size), nil
}
