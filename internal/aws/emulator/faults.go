package emulator

import (
	"fmt"
	"strings"
	"sync"
)

// stage is where in a request's way a fault may strike.
type stage int

const (
	beforeApply stage = iota // read and checked, nothing done yet
	afterApply               // done and durable, nothing said yet; never reached by a request that is refused
)

// faultKind is one way of failing. A new kind is a new entry in faultKinds, and a field here and in strike if
// it does something none of the others does.
type faultKind struct {
	stage stage
	// oncePerCall leaves alone the further attempts of a call it has struck, so that one call of an SDK's
	// method is hit once and its retry shows what the first attempt did.
	oncePerCall bool
	drop        bool
	err         *apiError
}

var faultKinds = map[string]faultKind{
	"drop_before_apply":         {stage: beforeApply, drop: true},
	"drop_response_after_apply": {stage: afterApply, drop: true, oncePerCall: true},
	"throttle":                  {stage: beforeApply, err: &apiError{Type: "ThrottlingException", Message: "Rate exceeded"}},
	"http500":                   {stage: beforeApply, err: internalFailure()},
}

// fault is an order to fail the next requests that match, as the admin API takes it.
type fault struct {
	Op    string `json:"op"`              // "" matches every operation
	Kind  string `json:"kind"`            // a key of faultKinds
	User  string `json:"user,omitempty"`  // only requests about this user, or a WorkSpace of theirs; case does not matter
	Count int    `json:"count,omitempty"` // how many requests to strike; default 1

	struck map[string]bool // invocation ids, for kinds that strike once per call
}

// strike is a fault that hit a request.
type strike struct {
	kind string
	faultKind
}

// answer is the error to give instead of the answer, nil if the connection is dropped.
func (s *strike) answer() error {
	if s.err == nil {
		return nil
	}
	return s.err
}

// faults are the orders that are not used up, oldest first. It is safe for concurrent use.
type faults struct {
	mu      sync.Mutex
	pending []*fault
}

// add takes an order; the error says what is wrong with it.
func (fs *faults) add(f fault) error {
	if _, ok := faultKinds[f.Kind]; !ok {
		return fmt.Errorf("there is no fault of kind %q", f.Kind)
	}
	if _, ok := operations[f.Op]; !ok && f.Op != "" {
		return fmt.Errorf("there is no operation %q", f.Op)
	}
	if f.Count < 0 {
		return fmt.Errorf("count %d is negative", f.Count)
	}
	if f.Count == 0 {
		f.Count = 1
	}
	f.struck = map[string]bool{}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.pending = append(fs.pending, &f)
	return nil
}

func (fs *faults) clear() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.pending = nil
}

// list is a copy of the orders that are not used up.
func (fs *faults) list() []fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	out := []fault{}
	for _, f := range fs.pending {
		if f.Count > 0 {
			out = append(out, fault{Op: f.Op, Kind: f.Kind, User: f.User, Count: f.Count})
		}
	}
	return out
}

// strike gives the fault that hits the request at this stage, nil if none does, and counts it.
// The caller does not hold e.mu.
func (fs *faults) strike(e *Emulator, c *call, at stage) *strike {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if len(fs.pending) == 0 {
		return nil
	}
	users := e.usersOf(c)
	for _, f := range fs.pending {
		kind := faultKinds[f.Kind]
		if f.Count == 0 || kind.stage != at || (f.Op != "" && f.Op != c.op) {
			continue
		}
		if f.User != "" && !users[strings.ToLower(f.User)] {
			continue
		}
		if kind.oncePerCall && c.invocationID != "" {
			if fs.spared(c) {
				continue
			}
			f.struck[c.invocationID] = true
		}
		f.Count--
		return &strike{kind: f.Kind, faultKind: kind}
	}
	return nil
}

// spared reports whether any order has struck an earlier attempt of the call: two orders for one operation
// are for two calls.
func (fs *faults) spared(c *call) bool {
	for _, f := range fs.pending {
		if f.struck[c.invocationID] {
			return true
		}
	}
	return false
}

// usersOf are the users a request is about, in lower case: those it names and those whose WorkSpaces it names.
func (e *Emulator) usersOf(c *call) map[string]bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	users := map[string]bool{}
	var walk func(value any)
	walk = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			for name, inner := range v {
				if s, ok := inner.(string); ok && name == "UserName" {
					users[strings.ToLower(s)] = true
				}
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		case string:
			if w, ok := e.world.workspaces[v]; ok {
				users[strings.ToLower(w.User)] = true
			}
		}
	}
	walk(c.input)
	return users
}
