package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/audit/leaf"
)

// HeartbeatAction is the action of the entries in which servers say what they have written.
const HeartbeatAction = "audit.writer.heartbeat"

// HeartbeatHash is what a heartbeat says of the entries it tells of: SHA-256 over their leaf hashes in ascending order.
func HeartbeatHash(leafHashes [][]byte) (sum [32]byte) {
	slices.SortFunc(leafHashes, bytes.Compare)
	d := sha256.New()
	for _, h := range leafHashes {
		d.Write(h)
	}
	d.Sum(sum[:0])
	return sum
}

// beats compares what servers wrote with what they say they wrote.
type beats struct {
	writers map[[2]string]*writer
	// partial says that the verification does not begin with the log: what the first heartbeats tell of may lie before.
	partial bool
	// spoiled says that entries of the log are missing or changed, as other checks found: then nothing can be compared
	// with what servers say.
	spoiled bool
}

func newBeats(partial bool) *beats {
	return &beats{writers: map[[2]string]*writer{}, partial: partial}
}

// writer is what one boot of a server has written, as far as heartbeats have not yet told.
type writer struct {
	hashes map[uint64][]byte
	// from and told are the numbers between which the last heartbeat told.
	from, told uint64
	beats      int
	// judged is the number from which on nothing can lie before a stretch that begins within the log: an entry that the
	// writer numbered after its second heartbeat there.
	judged uint64
	// open are heartbeats of which something was missing when they came. It may come late: the sequencer finds what no
	// window had, and brings it in.
	open   []*heartbeat
	latest time.Time
	// last says that the writer said it would write no more.
	last bool
}

type heartbeat struct {
	index    int64
	id       string
	from, to uint64
	count    uint64
	sum      string
	hashes   map[uint64][]byte
}

func (h *heartbeat) holds() bool {
	if uint64(len(h.hashes)) != h.count {
		return false
	}
	all := make([][]byte, 0, len(h.hashes))
	for _, x := range h.hashes {
		all = append(all, x)
	}
	sum := HeartbeatHash(all)
	return hex.EncodeToString(sum[:]) == h.sum
}

func (b *beats) see(r *Report, index int64, raw []byte, e *leaf.Entry) {
	if b.spoiled {
		return
	}
	key := [2]string{e.Writer.ID, e.Writer.Boot}
	w := b.writers[key]
	if w == nil {
		w = &writer{hashes: map[uint64][]byte{}}
		b.writers[key] = w
	}
	if e.Time.After(w.latest) {
		w.latest = e.Time
	}
	n := e.Writer.Seq
	hash := leaf.Hash(raw)
	if n <= w.told && w.beats > 0 {
		if !w.late(n, hash[:]) && !b.partial {
			r.Fail(Heartbeats, index, e.ID, "server %s did not count its number %d among what it had committed, and here it is", e.Writer.ID, n)
		}
		if n < w.from {
			return
		}
	}
	if _, twice := w.hashes[n]; twice {
		r.Fail(Heartbeats, index, e.ID, "server %s gave the number %d twice", e.Writer.ID, n)
	}
	w.hashes[n] = hash[:]
	if e.Action == HeartbeatAction && e.Actor.Type == leaf.System {
		b.beat(r, index, e, w)
	}
}

// late gives an entry to the heartbeats that miss one, and says whether there was any.
func (w *writer) late(n uint64, hash []byte) (missed bool) {
	w.open = slices.DeleteFunc(w.open, func(h *heartbeat) bool {
		if n < h.from || n > h.to {
			return false
		}
		missed = true
		h.hashes[n] = hash
		return h.holds()
	})
	return missed
}

// beat looks at a heartbeat.
func (b *beats) beat(r *Report, index int64, e *leaf.Entry, w *writer) {
	from, ok1 := number(e.Details["from"])
	to, ok2 := number(e.Details["to"])
	count, ok3 := number(e.Details["count"])
	sum, ok4 := e.Details["sha256"].(string)
	last, ok5 := e.Details["last"].(bool)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		r.Fail(Heartbeats, index, e.ID, "the heartbeat does not say what one says")
		return
	}
	w.beats++
	first := w.beats == 1
	// A heartbeat whose commit was not answered is told again, from the same number.
	if from != w.told+1 && from != w.from && (!first || !b.partial) {
		r.Fail(Heartbeats, index, e.ID, "this heartbeat of server %s tells from %d on, and the one before it up to %d", e.Writer.ID, from, w.told)
	}
	h := &heartbeat{index, e.ID, from, to, count, sum, map[uint64][]byte{}}
	for n, hash := range w.hashes {
		if n >= from && n <= to {
			h.hashes[n] = hash
		}
	}
	switch {
	case h.holds():
	case b.partial && (w.judged == 0 || from <= w.judged):
		// What it tells of may lie before the stretch that is looked at.
	default:
		w.open = append(w.open, h)
	}
	if w.beats == 2 {
		w.judged = e.Writer.Seq
	}
	w.from, w.told, w.last = from, to, last
	for n := range w.hashes {
		if n < from {
			delete(w.hashes, n)
		}
	}
}

// close reports what never came.
func (w *writer) close(r *Report, id string) {
	for _, h := range w.open {
		if have := uint64(len(h.hashes)); have != h.count {
			r.Fail(Heartbeats, h.index, h.id, "server %s had committed %d entries numbered %d to %d, and the log has %d of them", id, h.count, h.from, h.to, have)
			continue
		}
		r.Fail(Heartbeats, h.index, h.id, "of what server %s had committed as numbers %d to %d, something is not in the log as it was written", id, h.from, h.to)
	}
}

// Silence is how long a server that runs may say nothing: it beats every ten minutes when idle.
const Silence = 15 * time.Minute

// end closes what is open, and says which servers ended without a word: what they wrote after their last heartbeat can
// have vanished before it came into the tree, and nobody would know.
func (b *beats) end(r *Report, now time.Time) {
	if b.spoiled {
		r.unmade(Heartbeats, "entries are missing or changed, so that what servers say they wrote cannot be compared")
		return
	}
	silent := 0
	for key, w := range b.writers {
		w.close(r, key[0])
		if !w.last && now.Sub(w.latest) > Silence {
			silent++
		}
	}
	if silent > 0 {
		r.Note("%d server processes ended without a last heartbeat: if an entry that one of them wrote in its last seconds was removed before it came into the tree, V8 cannot tell.", silent)
	}
}

func number(v any) (uint64, bool) {
	switch n := v.(type) {
	case int64:
		return uint64(n), n >= 0 //nolint:gosec // it is checked
	case uint64:
		return n, true
	}
	return 0, false
}
