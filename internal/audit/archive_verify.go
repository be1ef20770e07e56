package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/postgres"
)

// archiveCheck compares archives with the tree. What is wrong goes into the report as V12; the error says that it could not
// be looked at.
type archiveCheck struct {
	*verify.Report
	ctx       context.Context //nolint:containedctx // it lives as long as the one call
	q         postgres.Querier
	store     archive.Store
	keys      verify.Keys
	signers   note.Verifiers
	witnesses []note.Verifier
	now       time.Time
	tree      *treeState
}

func (c *archiveCheck) fail(row *archived, index int64, format string, args ...any) {
	c.Fail(verify.Archives, index, "", "the month %s: "+format, append([]any{row.name()}, args...)...)
}

// manifest reads the manifest of a month; ok is false when it is not the one that was made.
func (c *archiveCheck) manifest(row *archived) (m archive.Manifest, ok bool, err error) {
	body, err := c.store.Open(c.ctx, *row.Manifest, row.Objects[*row.Manifest])
	if errors.Is(err, archive.ErrNotThere) {
		c.fail(row, -1, "its manifest is not in %s", c.store.Name())
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	defer body.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(io.LimitReader(body, archive.MaxManifest))
	if err != nil {
		return m, false, err
	}
	m, err = archive.Open(text, c.signers)
	switch {
	case err != nil:
		c.fail(row, -1, "%v", err)
	case archive.Hash(text) != *row.ManifestSHA256:
		c.fail(row, -1, "its manifest is another than was recorded")
	case m.Log != c.keys.Origin || m.Month != row.name() || !m.From.Equal(row.Month) || !m.To.Equal(row.to()) || m.Entries != row.Entries:
		c.fail(row, -1, "its manifest is of %s of the log %q, with %d entries", m.Month, m.Log, m.Entries)
	default:
		return m, true, nil
	}
	return m, false, nil
}

// month looks at the archive of a month. before is the month that was archived before it, nil for the first.
func (c *archiveCheck) month(row, before *archived) error {
	m, ok, err := c.manifest(row)
	if err != nil || !ok {
		return err
	}
	if before != nil && before.ManifestSHA256 != nil && m.Previous != *before.ManifestSHA256 || before == nil && m.Previous != "" {
		c.fail(row, -1, "its manifest does not follow that of the month before")
	}
	cp, err := verify.OpenCheckpoint(m.Checkpoint, c.keys)
	if err != nil {
		c.fail(row, -1, "the checkpoint in its manifest: %v", err)
		return nil
	}
	if cp.Size > c.tree.Size {
		c.fail(row, -1, "the checkpoint in its manifest covers %d entries, and the tree has %d", cp.Size, c.tree.Size)
		return nil
	}
	if err := c.witnessed(row, m.Checkpoint); err != nil {
		return err
	}
	was, places := len(c.Failures), rangesLeft{m.Ranges}
	hashes := tlog.TileHashReader(tlog.Tree{N: cp.Size, Hash: cp.Root}, &storedTiles{newTiles(c.ctx, c.q, c.tree)})
	var entries int64
	for _, f := range m.Files {
		n, err := c.file(row, f, &places, hashes)
		if err != nil {
			return err
		}
		entries += n
	}
	if entries != m.Entries && len(c.Failures) == was {
		c.fail(row, -1, "its files have %d entries, and its manifest %d", entries, m.Entries)
	}
	if err := c.locks(row); err != nil {
		return err
	}
	for _, f := range m.Personal {
		if err := c.personalFile(row, f); err != nil {
			return err
		}
	}
	return nil
}

// witnessed looks for a witness's signature, where one is known.
func (c *archiveCheck) witnessed(row *archived, text string) error {
	if len(c.witnesses) == 0 {
		return nil
	}
	n, err := note.Open([]byte(text), note.VerifierList(c.witnesses...))
	var unsigned *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unsigned) || err == nil && len(n.Sigs) == 0:
		c.Note("No witness that you named has signed the checkpoint in the archive of %s.", row.name())
	case err != nil:
		c.fail(row, -1, "a witness's signature in its manifest: %v", err)
	}
	return nil
}

// storedTiles are the tiles of the database, for a reader that proves them.
type storedTiles struct{ *tiles }

func (s *storedTiles) Height() int                     { return tileHeight }
func (s *storedTiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (s *storedTiles) ReadTiles(want []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(want))
	for i, t := range want {
		data, err := s.tile(t.L, t.N)
		if err != nil {
			return nil, err
		}
		if len(data) < t.W*tlog.HashSize {
			return nil, errDamaged
		}
		out[i] = data[:t.W*tlog.HashSize]
	}
	return out, nil
}

// rangesLeft says of places, in ascending order, whether ranges have them.
type rangesLeft struct{ left [][2]int64 }

func (r *rangesLeft) has(index int64) bool {
	for len(r.left) > 0 && r.left[0][1] < index {
		r.left = r.left[1:]
	}
	return len(r.left) > 0 && r.left[0][0] <= index
}

// file reads a file back and compares every entry with the tree. It returns how many it has.
func (c *archiveCheck) file(row *archived, f archive.File, places *rangesLeft, hashes tlog.HashReader) (n int64, err error) {
	body, err := c.store.Open(c.ctx, f.Name, row.Objects[f.Name])
	if errors.Is(err, archive.ErrNotThere) {
		c.fail(row, -1, "%s is not in %s", f.Name, c.store.Name())
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer body.Close() //nolint:errcheck // it was only read
	in, err := archive.NewReader(io.LimitReader(body, f.Bytes+1))
	if err != nil {
		return 0, err
	}
	defer in.Close()
	var batch []archivedLeaf
	for {
		index, raw, err := in.Next()
		if err == nil {
			n++
		}
		if len(batch) > 0 && (err != nil || index/tileWidth != batch[0].index/tileWidth) {
			if wrong := c.compare(row, batch, places, hashes); wrong {
				return n, nil
			}
			batch = batch[:0]
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			c.fail(row, -1, "%s: %v", f.Name, err)
			return n, nil
		}
		batch = append(batch, archivedLeaf{index, raw})
	}
	sum, length, err := in.Sum()
	if err != nil {
		return n, err
	}
	if sum != f.SHA256 || length != f.Bytes || n != f.Entries {
		c.fail(row, -1, "%s is not the file that was archived: it has %d bytes and the SHA-256 %s", f.Name, length, sum)
	}
	return n, nil
}

type archivedLeaf struct {
	index int64
	raw   []byte
}

// compare looks at entries of one bundle; wrong says that it is useless to go on.
func (c *archiveCheck) compare(row *archived, batch []archivedLeaf, places *rangesLeft, hashes tlog.HashReader) (wrong bool) {
	indexes := make([]int64, len(batch))
	for i, l := range batch {
		indexes[i] = tlog.StoredHashIndex(0, l.index)
	}
	inTree, err := hashes.ReadHashes(indexes)
	if err != nil {
		c.fail(row, batch[0].index, "the tree does not lead to the checkpoint in its manifest: %v", err)
		return true
	}
	for i, l := range batch {
		e, err := leaf.Decode(l.raw)
		switch {
		case leafHash(l.raw) != inTree[i]:
			c.fail(row, l.index, "the entry in its archive is not the one in the tree")
			return true
		case err != nil:
			c.fail(row, l.index, "%v", err)
		case e.Time.Before(row.Month) || !e.Time.Before(row.to()):
			c.fail(row, l.index, "the entry is of %s", e.Time.Format(time.RFC3339))
		case !places.has(l.index):
			c.fail(row, l.index, "the entry is in none of the ranges of its manifest")
		}
	}
	return false
}

// locks looks whether the store keeps the files, and shows the versions that were written.
func (c *archiveCheck) locks(row *archived) error {
	if !c.store.Locks() {
		c.Note("%s has no object lock: whoever may write there can remove the archive of %s.", c.store.Name(), row.name())
	}
	for name, version := range row.Objects {
		if archive.IsPersonal(name) {
			continue
		}
		o, err := c.store.Stat(c.ctx, name)
		switch {
		case errors.Is(err, archive.ErrNotThere):
			c.fail(row, -1, "%s was removed from %s, or hidden by a delete marker", name, c.store.Name())
		case err != nil:
			return err
		case o.Version != version:
			c.fail(row, -1, "%s has a newer version %s than the one that was written, %s", name, o.Version, version)
		case !c.store.Locks() || !c.now.Before(row.over()):
		case !o.Compliance:
			c.fail(row, -1, "%s is not locked in compliance mode: whoever has the right can remove it", name)
		case o.LockedUntil.Before(row.over().Truncate(time.Second)):
			c.fail(row, -1, "%s is locked until %s only, not until %s", name, o.LockedUntil.UTC().Format(time.RFC3339), row.over().Format(time.RFC3339))
		}
	}
	return nil
}

// personalFile looks at what was archived of persons. That it is gone is allowed: it is no evidence.
func (c *archiveCheck) personalFile(row *archived, f archive.File) error {
	body, err := c.store.Open(c.ctx, f.Name, row.Objects[f.Name])
	if errors.Is(err, archive.ErrNotThere) {
		c.Note("What was archived of persons in %s is no longer in %s.", row.name(), c.store.Name())
		return nil
	}
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // it was only read
	in, err := archive.NewReader(io.LimitReader(body, f.Bytes+1))
	if err != nil {
		return err
	}
	defer in.Close()
	sum, _, err := in.Sum()
	if err == nil && sum != f.SHA256 {
		c.fail(row, -1, "%s is not the file that was archived", f.Name)
	}
	return err
}

// check is the check of the archivist's store.
func (a *Archivist) check(ctx context.Context, r *verify.Report) (*archiveCheck, error) {
	keys, signers, err := a.trusted()
	if err != nil {
		return nil, err
	}
	t, err := readTree(ctx, a.Log.pool)
	if err != nil {
		return nil, err
	}
	return &archiveCheck{Report: r, ctx: ctx, q: a.Log.pool, store: a.Store, keys: keys, signers: signers, witnesses: a.Witnesses, now: a.Log.now(), tree: &t}, nil
}

// Verify reads archives back and compares them with the tree: those of the months that are named, or all.
func (a *Archivist) Verify(ctx context.Context, months ...time.Time) (*verify.Report, error) {
	r := verify.NewReport()
	r.Origin = a.Log.origin
	c, err := a.check(ctx, r)
	if err != nil {
		return nil, err
	}
	r.Size = c.tree.Size
	r.Made(verify.Archives)
	rows, err := archivedMonths(ctx, a.Log.pool)
	if err != nil {
		return nil, err
	}
	for _, m := range months {
		if !slices.ContainsFunc(rows, func(r archived) bool { return r.Month.Equal(m) && r.Manifest != nil }) {
			return nil, fmt.Errorf("%w: the month %s was not archived", ErrArchive, m.Format(monthForm))
		}
	}
	return r, c.all(rows, months)
}

// all looks at every month that was exported, or at those that are named.
func (c *archiveCheck) all(rows []archived, only []time.Time) error {
	var before *archived
	for i := range rows {
		row := &rows[i]
		if row.Manifest == nil {
			continue
		}
		if only == nil || slices.ContainsFunc(only, row.Month.Equal) {
			if row.State == MonthDropped {
				if _, err := c.store.Stat(c.ctx, *row.Manifest); errors.Is(err, archive.ErrNotThere) {
					before = row // its time was over, and somebody removed it
					continue
				}
			}
			if err := c.month(row, before); err != nil {
				return err
			}
			c.Entries += row.Entries
		}
		before = row
	}
	return nil
}

// verify reads a month back before anything is taken from the database.
func (a *Archivist) verify(ctx context.Context, row *archived) error {
	r, err := a.Verify(ctx, row.Month)
	if err != nil {
		return err
	}
	if !r.OK() {
		return fmt.Errorf("%w: what the store has is not what was written: %s", ErrArchive, r.Failures[0])
	}
	return a.record(ctx, verifyAction, row.Month, map[string]any{"manifest": *row.ManifestSHA256, "entries": row.Entries}, func(tx *Tx) error {
		return set(ctx, tx, row, `state = 'verified', verified_at = $3`, tx.Now)
	})
}
