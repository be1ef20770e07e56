package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit/verify"
)

// A heartbeat is an entry in which a writer says which entries it has committed since the one before: their numbers from
// and to, how many, and a hash over their leaf hashes. An entry that vanishes before it is in the tree is missed by it.
const (
	// HeartbeatAction is the action of a heartbeat.
	HeartbeatAction = verify.HeartbeatAction
	heartbeatEvery  = 10 * time.Second
	// heartbeatIdle is how often a writer with nothing to tell says so.
	heartbeatIdle = 10 * time.Minute
	// inDoubtFor is how long a commit whose answer was lost may still come to be: longer than any statement may take.
	inDoubtFor = 90 * time.Second
)

var errRolledBack = errors.New("audit: rolled back")

// heartbeats is what a writer knows of the entries it has numbered.
type heartbeats struct {
	mu        sync.Mutex
	last      uint64 // the last number given out
	from      uint64 // the first that no heartbeat has covered
	open      map[uint64]*written
	committed []written // by number
	told      time.Time
}

// written is one entry on its way.
type written struct {
	number  uint64
	id      uuid.UUID
	at      time.Time
	hash    [32]byte
	inDoubt time.Time // since when, if its commit was not answered
}

// sending is the entries of one attempt at a transaction.
type sending struct {
	entries  []*written
	complete bool // all were sent, and the commit with them
}

func newHeartbeats() *heartbeats { return &heartbeats{from: 1, open: map[uint64]*written{}} }

// begin numbers an entry.
func (h *heartbeats) begin(s *sending, id uuid.UUID, at time.Time) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	w := &written{number: h.last, id: id, at: at}
	h.open[w.number] = w
	s.entries = append(s.entries, w)
	return w.number
}

func (s *sending) hashed(hash [32]byte) { s.entries[len(s.entries)-1].hash = hash }

// end says how the attempt ended. With an error of what was sent with the commit nobody knows yet.
func (h *heartbeats) end(s *sending, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range s.entries {
		if err != nil && s.complete && !errors.Is(err, errRolledBack) {
			w.inDoubt = time.Now()
			continue
		}
		delete(h.open, w.number)
		if err == nil {
			h.committed = append(h.committed, *w)
		}
	}
	*s = sending{}
}

// covered is what a heartbeat tells: the committed entries up to a number below which nothing is open.
type covered struct {
	from, to uint64
	count    int
	hash     [32]byte
}

func (h *heartbeats) cover() covered {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := covered{from: h.from, to: h.last}
	for n := range h.open {
		c.to = min(c.to, n-1)
	}
	var hashes [][]byte
	for i := range h.committed {
		if h.committed[i].number <= c.to {
			hashes = append(hashes, h.committed[i].hash[:])
		}
	}
	c.count = len(hashes)
	c.hash = verify.HeartbeatHash(hashes)
	return c
}

func (h *heartbeats) tell(c covered) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.from, h.told = c.to+1, time.Now()
	h.committed = slices.DeleteFunc(h.committed, func(w written) bool { return w.number <= c.to })
}

// resolve asks the database what became of commits that were not answered.
func (l *Log) resolve(ctx context.Context) error {
	h := l.beats
	h.mu.Lock()
	var doubtful []*written
	for _, w := range h.open {
		if !w.inDoubt.IsZero() {
			doubtful = append(doubtful, w)
		}
	}
	h.mu.Unlock()
	for _, w := range doubtful {
		var there bool
		if err := l.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM audit_logs WHERE timestamp = $1 AND id = $2)`, w.at, w.id).Scan(&there); err != nil {
			return err
		}
		h.mu.Lock()
		if there {
			h.committed = append(h.committed, *w)
		}
		if there || time.Since(w.inDoubt) > inDoubtFor {
			delete(h.open, w.number)
		}
		h.mu.Unlock()
	}
	return nil
}

// Heartbeat writes what this writer has committed since its last heartbeat, when there is something to tell or it has
// been silent for long. The last one of a process says so: then nothing of it can be missing behind it.
func (l *Log) Heartbeat(ctx context.Context, last bool) error {
	if err := l.resolve(ctx); err != nil {
		return err
	}
	c := l.beats.cover()
	l.beats.mu.Lock()
	nothing := c.count == 0 || c.count == 1 && !l.beats.told.IsZero() // but for the heartbeat before
	quiet := !l.beats.told.IsZero() && time.Since(l.beats.told) < heartbeatIdle
	first := l.beats.told.IsZero()
	l.beats.mu.Unlock()
	if nothing && !last && (quiet || first) {
		return nil
	}
	err := l.Note(actor.With(ctx, actor.System("audit")), Event{
		Action: HeartbeatAction, ResourceType: "writer", ResourceID: l.writer,
		Details: map[string]any{"from": c.from, "to": c.to, "count": c.count, "sha256": hex.EncodeToString(c.hash[:]), "last": last},
	})
	if err == nil {
		l.beats.tell(c)
	}
	return err
}

// Beat writes heartbeats until ctx ends. The last one is the caller's, when nothing is written any more.
func (l *Log) Beat(ctx context.Context) {
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		work, cancel := context.WithTimeout(ctx, heartbeatEvery)
		err := l.Heartbeat(work, false)
		cancel()
		if err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "audit: heartbeat", "error", err)
		}
	}
}
