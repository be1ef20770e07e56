package verify

import (
	"errors"
	"fmt"
	"iter"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/audit/leaf"
)

// Options are what a verification is about and what it may trust.
type Options struct {
	Keys Keys
	// First and Behind are the places to look at: from the one up to, and without, the other. Behind 0 is all.
	First, Behind int64
	// Pinned are checkpoints that were kept elsewhere: the log must continue them.
	Pinned []string
	// Witnesses must all have signed the checkpoint of a bundle.
	Witnesses []note.Verifier
	// Receipts are proofs of entries that somebody kept: a bundle must have what they prove.
	Receipts []string
	// Signed are the checkpoints that the log itself has kept, in ascending order of size; nil is none. They are looked
	// at only when the whole log is.
	Signed iter.Seq2[string, error]
	// Each is given every entry that is where it belongs, in order. What it returns ends the verification.
	Each func(index int64, raw []byte, e *leaf.Entry) error
	// Missing is told of an entry that is not there, in place of a failure of V5: whoever asks may know better why.
	Missing func(index int64, id string)
	// Progress is told now and then how many of how many entries were looked at.
	Progress func(done, all int64)
}

// Log verifies a log, or a stretch of it, against its newest checkpoint. The error is of the source or of a function in
// the options; what is wrong with the log goes into the report.
func Log(r *Report, src Source, o Options) error {
	v := &walk{Report: r, o: o, src: src, tiles: newTileReader(src), beats: newBeats(o.First > 0)}
	return v.log()
}

// walk is one verification under way.
type walk struct {
	*Report
	o      Options
	src    Source
	tiles  *tileReader
	hashes tlog.HashReader
	ids    recent
	beats  *beats
	clock  clockWatch
	signed *signedWatch
}

func (v *walk) log() error {
	c, ok, err := v.checkpoint()
	if !ok {
		return err
	}
	v.Origin, v.Size = c.Origin, c.Size
	v.witnessed(c, v.o.Witnesses)
	v.First, v.Behind = v.o.First, v.o.Behind
	if v.Behind == 0 {
		v.Behind = c.Size
	}
	v.hashes = tlog.TileHashReader(tlog.Tree{N: c.Size, Hash: c.Root}, v.tiles)
	if err := v.pinned(c); err != nil {
		return err
	}
	if v.First < 0 || v.First > v.Behind || v.Behind > c.Size {
		v.Fail(Coverage, -1, "", "the entries from %d up to %d are asked for, and the checkpoint covers %d", v.First, v.Behind, c.Size)
		return nil
	}
	v.Made(Tiles, Leaves, Coverage, Content, Heartbeats, Times)
	if v.o.Signed != nil && v.First == 0 {
		v.Made(Signature, History)
		v.signed = newSignedWatch(v.o.Signed)
		defer v.signed.stop()
	}
	for from := v.First; from < v.Behind; {
		to := min((from/TileWidth+1)*TileWidth, v.Behind)
		if err := v.bundle(from, to); err != nil {
			return err
		}
		if v.o.Progress != nil {
			v.o.Progress(to-v.First, v.Behind-v.First)
		}
		from = to
	}
	if v.signed != nil {
		if err := v.signed.end(v); err != nil {
			return err
		}
	}
	v.clock.end(v.Report)
	v.beats.end(v.Report, v.clock.latest)
	return nil
}

// checkpoint opens the newest checkpoint; ok is false when nothing can be said without it.
func (v *walk) checkpoint() (c Checkpoint, ok bool, err error) {
	return v.newest(v.src.Checkpoint, v.o.Keys)
}

// newest reads and opens the checkpoint that a log is verified against; ok is false when nothing can be said without it.
func (r *Report) newest(read func() (string, error), k Keys) (c Checkpoint, ok bool, err error) {
	r.Made(Signature)
	text, err := read()
	if errors.Is(err, ErrNotThere) {
		r.Fail(Signature, -1, "", "there is no checkpoint: nothing can be verified")
		return c, false, nil
	}
	if err != nil {
		return c, false, err
	}
	c, ok = r.open("the checkpoint", -1, "", text, k)
	return c, ok, nil
}

// open opens a checkpoint that a trusted key must have signed. A test that has switched that off gets what it says.
func (r *Report) open(what string, index int64, entry, text string, k Keys) (c Checkpoint, ok bool) {
	c, err := OpenCheckpoint(text, k)
	if err == nil {
		return c, true
	}
	r.Fail(Signature, index, entry, "%s: %v", what, err)
	if !r.Off(Signature) {
		return c, false
	}
	c, err = ParseCheckpoint(text)
	return c, err == nil
}

// pinned compares with the checkpoints that were kept elsewhere.
func (v *walk) pinned(c Checkpoint) error {
	if len(v.o.Pinned) == 0 {
		return nil
	}
	v.Made(History)
	for _, text := range v.o.Pinned {
		e, err := OpenCheckpoint(text, v.o.Keys)
		if err != nil {
			v.Fail(Signature, -1, "", "a pinned checkpoint: %v", err)
			continue
		}
		if e.Size > c.Size {
			v.Fail(History, -1, "", "the log had %d entries in a pinned checkpoint, and its newest checkpoint has %d", e.Size, c.Size)
			continue
		}
		root, err := tlog.TreeHash(e.Size, v.hashes)
		switch {
		case v.tiles.broken != nil:
			return v.tiles.broken
		case errors.Is(err, ErrNotThere):
			v.unmade(History, fmt.Sprintf("the hashes that lead from the pinned checkpoint over %d entries to this one are not here: export from the first entry on, or give --checkpoint to the export", e.Size))
		case err != nil:
			v.Fail(Tiles, -1, "", "the tree up to %d entries: %v", e.Size, err)
		case root != e.Root:
			v.Fail(History, -1, "", "the first %d entries have the root %s in a pinned checkpoint, and %s in this log", e.Size, e.Root, root)
		}
	}
	return nil
}

// bundle looks at the entries from one place up to another of the same bundle.
func (v *walk) bundle(from, to int64) error {
	n := from / TileWidth
	first := n * TileWidth
	tile := tlog.Tile{H: TileHeight, N: n, W: int(min(TileWidth, v.Size-first))}
	hashes, err := v.treeHashes(from, to)
	if err != nil {
		return err
	}
	if hashes == nil && !v.Off(Tiles) {
		return nil
	}
	leaves, err := v.src.Leaves(tile)
	if err != nil || len(leaves) != tile.W {
		v.beats.spoiled = true
	}
	switch {
	case errors.Is(err, ErrNotThere):
		v.Fail(Coverage, from, "", "the entries from %d up to %d are missing", from, to-1)
		return nil
	case errors.Is(err, errCut):
		v.Fail(Coverage, first+int64(len(leaves)), "", "%s: %v", TilePath(tile, true), err)
		return nil
	case err != nil:
		return err
	case len(leaves) != tile.W:
		v.Fail(Coverage, from, "", "%s has %d entries, not %d", TilePath(tile, true), len(leaves), tile.W)
		return nil
	}
	for i := from; i < to; i++ {
		var inTree *tlog.Hash
		if hashes != nil {
			inTree = &hashes[i-from]
		}
		if err := v.place(i, leaves[i-first], inTree); err != nil {
			return err
		}
	}
	return nil
}

// treeHashes are the hashes of the entries, proven to lead to the signed root; nil when they do not.
func (v *walk) treeHashes(from, to int64) ([]tlog.Hash, error) {
	indexes := make([]int64, to-from)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(0, from+int64(i))
	}
	hashes, err := v.hashes.ReadHashes(indexes)
	if v.tiles.broken != nil {
		return nil, v.tiles.broken
	}
	if err != nil {
		v.beats.spoiled = true
		v.Fail(Tiles, from, "", "the hashes of the entries from %d up to %d do not lead to the signed root: %v", from, to-1, err)
		v.signed = nil // without them, nothing can be said of other roots
		return nil, nil
	}
	if v.signed != nil {
		for _, h := range hashes {
			if err := v.signed.add(v, h); err != nil {
				return nil, err
			}
		}
	}
	return hashes, nil
}

// place looks at what is at a place; inTree is its hash there, nil when that is not known.
func (v *walk) place(index int64, l Leaf, inTree *tlog.Hash) error {
	if l.Raw == nil {
		v.beats.spoiled = true
		if v.o.Missing != nil {
			v.o.Missing(index, l.ID)
		} else {
			v.Fail(Coverage, index, l.ID, "the entry is missing")
		}
		return nil
	}
	v.Entries++
	e, err := leaf.Decode(l.Raw)
	if inTree != nil && *inTree != tlog.RecordHash(l.Raw) {
		v.beats.spoiled = true
		v.Fail(Leaves, index, idOf(l, &e), "its hash is %s, and the tree has %s", tlog.RecordHash(l.Raw), *inTree)
		if !v.Off(Leaves) {
			return nil
		}
	}
	if err != nil {
		v.beats.spoiled = true
		v.Fail(Content, index, l.ID, "%v", err)
		return nil
	}
	if e.Log != v.Origin {
		v.Fail(Content, index, e.ID, "it is an entry of the log %q", e.Log)
	}
	if other, twice := v.ids.add(e.ID, index); twice {
		v.beats.spoiled = true
		v.Fail(Coverage, index, e.ID, "the same entry is at %d, too", other)
	}
	v.clock.see(v.Report, index, &e)
	v.beats.see(v.Report, index, l.Raw, &e)
	if v.o.Each != nil {
		return v.o.Each(index, l.Raw, &e)
	}
	return nil
}

// idOf is the id that an entry should have, or says it has.
func idOf(l Leaf, e *leaf.Entry) string {
	if l.ID != "" {
		return l.ID
	}
	return e.ID
}

// recent finds an id that comes twice among the last few hundred thousand. One that comes again later has the time of
// the first and is out of order: V9 finds it.
type recent struct {
	young, old map[string]int64
}

const recentIDs = 1 << 18

func (r *recent) add(id string, index int64) (other int64, twice bool) {
	if other, twice = r.young[id]; !twice {
		other, twice = r.old[id]
	}
	if len(r.young) >= recentIDs {
		r.old, r.young = r.young, nil
	}
	if r.young == nil {
		r.young = map[string]int64{}
	}
	r.young[id] = index
	return other, twice
}

// signedWatch compares every checkpoint that the log kept with the tree, while the tree grows.
type signedWatch struct {
	next  func() (string, error, bool)
	stop  func()
	size  int64
	roots []tlog.Hash // of the perfect trees that the entries so far make, the largest first
	c     *Checkpoint
	last  int64
}

func newSignedWatch(all iter.Seq2[string, error]) *signedWatch {
	w := &signedWatch{last: -1}
	w.next, w.stop = iter.Pull2(all)
	return w
}

// due reads the next checkpoint that can be trusted to say what it says.
func (w *signedWatch) due(v *walk) error {
	for w.c == nil {
		text, err, ok := w.next()
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		c, err := OpenCheckpoint(text, v.o.Keys)
		if err != nil {
			v.Fail(Signature, -1, "", "a checkpoint that the log kept: %v", err)
			continue
		}
		if c.Size <= w.last {
			v.Fail(History, -1, "", "two checkpoints are over %d entries", c.Size)
			continue
		}
		w.c, w.last = &c, c.Size
	}
	return nil
}

func (w *signedWatch) add(v *walk, h tlog.Hash) error {
	w.roots = append(w.roots, h)
	w.size++
	for n := w.size; n%2 == 0; n /= 2 {
		last := len(w.roots) - 2
		w.roots[last] = tlog.NodeHash(w.roots[last], w.roots[last+1])
		w.roots = w.roots[:last+1]
	}
	for {
		if err := w.due(v); err != nil {
			return err
		}
		if w.c == nil || w.c.Size > w.size {
			return nil
		}
		root := w.roots[len(w.roots)-1]
		for i := len(w.roots) - 2; i >= 0; i-- {
			root = tlog.NodeHash(w.roots[i], root)
		}
		if w.c.Size == w.size && w.c.Root != root {
			v.Fail(History, -1, "", "the first %d entries have the root %s in a checkpoint that the log kept, and %s in this log", w.size, w.c.Root, root)
		}
		w.c = nil
	}
}

// end looks at checkpoints beyond the newest: there can be none.
func (w *signedWatch) end(v *walk) error {
	for {
		if err := w.due(v); err != nil || w.c == nil {
			return err
		}
		if w.c.Size > v.Size {
			v.Fail(History, -1, "", "a checkpoint that the log kept has %d entries, and its newest has %d", w.c.Size, v.Size)
		}
		w.c = nil
	}
}
