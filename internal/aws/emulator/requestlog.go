package emulator

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// requestLogSize is how many requests are remembered.
const requestLogSize = 10_000

// seenRequest is one attempt at one operation, as the admin API shows it.
type seenRequest struct {
	Seq          int64     `json:"seq"` // from 1, without gaps
	Op           string    `json:"op"`  // "" when it was none of ours
	At           time.Time `json:"at"`  // by the emulator's clock
	Region       string    `json:"region"`
	RequestID    string    `json:"request_id"`
	InvocationID string    `json:"invocation_id,omitempty"`
	Attempt      int       `json:"attempt,omitempty"`
	// Users and Workspaces are those it concerned, also those it made; users in lower case.
	Users      []string `json:"users,omitempty"`
	Workspaces []string `json:"workspaces,omitempty"`
	// Outcome is "ok", the type of the error that was answered, or the kind of the fault that decided.
	Outcome string        `json:"outcome"`
	Faults  []struckFault `json:"faults,omitempty"` // all that struck
}

// requestLog is a ring of the last requests. It is safe for concurrent use.
type requestLog struct {
	mu   sync.Mutex
	ring []seenRequest
	next int // where the next goes once the ring is full: the oldest
	size int
	seq  int64
}

func newRequestLog(size int) *requestLog { return &requestLog{size: size} }

// note remembers a request, and logs it if that is wanted.
func (e *Emulator) note(c *call, o outcome) {
	r := seenRequest{
		Op: c.op, At: c.at, Region: c.region, RequestID: c.requestID,
		InvocationID: c.invocationID, Attempt: c.attempt, Outcome: "ok", Faults: c.struck,
	}
	for _, s := range c.about {
		if s.user != "" && !slices.Contains(r.Users, s.user) {
			r.Users = append(r.Users, s.user)
		}
		if s.workspace != "" && !slices.Contains(r.Workspaces, s.workspace) {
			r.Workspaces = append(r.Workspaces, s.workspace)
		}
	}
	known := (*apiError)(nil)
	switch {
	case o.struck != nil:
		r.Outcome = o.struck.kind
	case errors.As(o.err, &known):
		r.Outcome = known.Type
	case o.err != nil:
		r.Outcome = internalFailure().Type
	}
	r.Seq = e.seen.add(r)
	if e.cfg.LogRequests {
		e.log.Info("request", "seq", r.Seq, "operation", r.Op, "region", r.Region, "outcome", r.Outcome,
			"attempt", r.Attempt, "users", r.Users, "workspaces", r.Workspaces, "faults", len(r.Faults))
	}
}

// add remembers r and gives its number.
func (l *requestLog) add(r seenRequest) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	r.Seq = l.seq
	if len(l.ring) < l.size {
		l.ring = append(l.ring, r)
		return r.Seq
	}
	l.ring[l.next] = r
	l.next = (l.next + 1) % l.size
	return r.Seq
}

// all is what is remembered, oldest first.
func (l *requestLog) all() []seenRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]seenRequest, 0, len(l.ring))
	out = append(out, l.ring[l.next:]...)
	return append(out, l.ring[:l.next]...)
}

// reset forgets the requests. Numbers go on, so that who asks for those since one misses none.
func (l *requestLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring, l.next = nil, 0
}

// requestFilter says which requests are wanted; what is not given wants all.
type requestFilter struct {
	op, user string
	since    int64 // those after this number
	limit    int   // the newest that many; 0 is all
}

func (f requestFilter) of(all []seenRequest) []seenRequest {
	kept := []seenRequest{}
	for _, r := range all {
		if (f.op == "" || r.Op == f.op) && (f.user == "" || slices.Contains(r.Users, strings.ToLower(f.user))) && r.Seq > f.since {
			kept = append(kept, r)
		}
	}
	if f.limit > 0 && len(kept) > f.limit {
		kept = kept[len(kept)-f.limit:]
	}
	return kept
}
