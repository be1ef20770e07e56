package emulator

import (
	"errors"
	"sync"
	"time"
)

// requestLogSize is how many requests are remembered.
const requestLogSize = 10_000

// seenRequest is one attempt at one operation, as the admin API shows it.
type seenRequest struct {
	Op           string    `json:"op"` // "" when it was none of ours
	At           time.Time `json:"at"`
	Region       string    `json:"region"`
	RequestID    string    `json:"request_id"`
	InvocationID string    `json:"invocation_id,omitempty"`
	Attempt      int       `json:"attempt,omitempty"`
	// Outcome is "ok", the type of the error that was answered, or the kind of the fault that struck.
	Outcome string `json:"outcome"`
}

// requestLog is a ring of the last requests. It is safe for concurrent use.
type requestLog struct {
	mu   sync.Mutex
	ring []seenRequest
	next int // where the next goes once the ring is full: the oldest
	size int
}

func newRequestLog(size int) *requestLog { return &requestLog{size: size} }

func (l *requestLog) add(c *call, struck *strike, err error) {
	r := seenRequest{
		Op: c.op, At: c.at, Region: c.region, RequestID: c.requestID,
		InvocationID: c.invocationID, Attempt: c.attempt, Outcome: "ok",
	}
	known := (*apiError)(nil)
	switch {
	case struck != nil:
		r.Outcome = struck.kind
	case errors.As(err, &known):
		r.Outcome = known.Type
	case err != nil:
		r.Outcome = internalFailure().Type
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) < l.size {
		l.ring = append(l.ring, r)
		return
	}
	l.ring[l.next] = r
	l.next = (l.next + 1) % l.size
}

// all is what is remembered, oldest first.
func (l *requestLog) all() []seenRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]seenRequest, 0, len(l.ring))
	out = append(out, l.ring[l.next:]...)
	return append(out, l.ring[:l.next]...)
}
