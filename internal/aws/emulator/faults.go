package emulator

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxFaults = 1000 // orders in force
	// callsSpared is how many struck calls are remembered, so that their retries are let through.
	callsSpared = 10_000
	untilClear  = -1 // a fault's count: no end
)

// order is a fault to be, as the admin API takes it. What is not given is no condition.
type order struct {
	Kind string `json:"kind"` // a key of faultKinds

	// Which requests or WorkSpaces it strikes. All that is given must be true of one and the same of those a
	// request is about.
	Op        string `json:"op,omitempty"`
	User      string `json:"user,omitempty"` // case does not matter
	Directory string `json:"directory,omitempty"`
	Workspace string `json:"workspace,omitempty"`
	Region    string `json:"region,omitempty"`

	// How often. One that strikes WorkSpaces counts them, the others count requests.
	Count       int     `json:"count,omitempty"`       // how many to strike: 0 is one, -1 is all until it is cleared
	Nth         int     `json:"nth,omitempty"`         // leave the matching ones before this alone
	Probability float64 `json:"probability,omitempty"` // of each to be struck; 0 is 1
	Seed        uint64  `json:"seed,omitempty"`        // of the draws: the same seed draws the same

	// What the kind needs to know.
	DelayMS int64  `json:"delay_ms,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	State   string `json:"state,omitempty"`
	Limit   *int   `json:"limit,omitempty"`
}

func (o *order) delay() time.Duration { return time.Duration(o.DelayMS) * time.Millisecond }

// parseOrder reads one order; the error says what is wrong with it.
func parseOrder(r io.Reader) (order, error) {
	in := json.NewDecoder(r)
	in.DisallowUnknownFields() // a misspelt condition would strike everything
	var o order
	if err := in.Decode(&o); err != nil {
		return order{}, err
	}
	if _, err := in.Token(); err != io.EOF {
		return order{}, errors.New("one fault at a time")
	}
	return o, o.check()
}

// check refuses what would never strike, or not as it was meant.
func (o *order) check() error {
	kind, ok := faultKinds[o.Kind]
	if !ok {
		return fmt.Errorf("there is no fault of kind %q; see GET /_emu/", o.Kind)
	}
	if err := kind.checkFields(o); err != nil {
		return fmt.Errorf("%s: %w", o.Kind, err)
	}
	if o.Op != "" && !knownOperation(o.Op) {
		return fmt.Errorf("there is no operation %q", o.Op)
	}
	if o.Op != "" && kind.ops != nil && !slices.Contains(kind.ops, o.Op) {
		return fmt.Errorf("%s strikes %s, not %s", o.Kind, strings.Join(kind.ops, ", "), o.Op)
	}
	switch {
	case o.Count < untilClear:
		return fmt.Errorf("count %d is negative; -1 is until cleared", o.Count)
	case o.Nth < 0:
		return fmt.Errorf("nth %d is negative", o.Nth)
	case o.Nth > 0 && (o.Count > 1 || o.Count == untilClear):
		return errors.New("nth strikes once and excludes a count")
	case !(o.Probability >= 0 && o.Probability <= 1):
		return fmt.Errorf("probability %v is not between 0 and 1", o.Probability)
	case o.Seed != 0 && o.Probability == 0:
		return errors.New("a seed is of use with a probability only")
	}
	return nil
}

func knownOperation(name string) bool {
	_, ours := operations[name]
	_, watch := cloudWatchOperations[name]
	return ours || watch
}

// fault is an order in force.
type fault struct {
	order
	ID      string
	matched int // requests or WorkSpaces it could have struck
	struck  int
	draw    *rand.Rand
	stale   map[string]any // status_stale: what is told of the connections of these WorkSpaces
}

func newFault(o order) *fault {
	if o.Count == 0 {
		o.Count = 1
	}
	if o.Message == "" && slices.Contains(faultKinds[o.Kind].uses, "message") {
		o.Message = "The operation could not be completed."
	}
	return &fault{order: o, ID: "f-" + newUUID()[:8], draw: rand.New(rand.NewPCG(o.Seed, 0))}
}

// due counts something that matches and reports whether it is to be struck.
func (f *fault) due() bool {
	f.matched++
	if f.matched < f.Nth || (f.Probability > 0 && f.draw.Float64() >= f.Probability) {
		return false
	}
	f.struck++
	return true
}

// lasting reports whether it strikes whatever matches until it is cleared.
func (f *fault) lasting() bool { return f.Count == untilClear && f.Nth == 0 && f.Probability == 0 }

func (f *fault) over() bool { return f.Count != untilClear && f.struck >= f.Count }

// subject is one of those a request is about, as far as it says. User is in lower case.
type subject struct{ user, directory, workspace string }

func (w *workspace) subject() subject {
	return subject{strings.ToLower(w.User), w.DirectoryID, w.ID}
}

// meets reports whether the conditions on who and what are true of s.
func (o *order) meets(s subject) bool {
	return (o.User == "" || strings.ToLower(o.User) == s.user) &&
		(o.Directory == "" || o.Directory == s.directory) &&
		(o.Workspace == "" || o.Workspace == s.workspace)
}

// concerns reports whether the order is for such a call: its operation and Region.
func (o *order) concerns(op, place string) bool {
	if o.Op != "" && o.Op != op {
		return false
	}
	if ops := faultKinds[o.Kind].ops; ops != nil && op != "" && !slices.Contains(ops, op) {
		return false
	}
	return o.Region == "" || o.Region == regionOf(place) || o.Region == place
}

// matches reports whether the order is for the request.
func (o *order) matches(c *call) bool {
	if !o.concerns(c.op, c.region) {
		return false
	}
	return o.meets(subject{}) || slices.ContainsFunc(c.about, o.meets)
}

// struckFault is a fault that struck, as the request log shows it.
type struckFault struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
}

func (f *fault) mention() struckFault { return struckFault{f.ID, f.Kind} }

// strike is a fault that hit a request and decides what is answered.
type strike struct {
	kind string
	faultKind
	err *apiError
}

// answer is the error to give instead of the answer, nil if there is none.
func (s *strike) answer() error {
	if s.err == nil {
		return nil
	}
	return s.err
}

// faults are the orders in force, oldest first. It is safe for concurrent use. Who holds mu takes no other
// lock; who needs Emulator.mu, too, takes that before.
type faults struct {
	mu      sync.Mutex
	pending []*fault
	spared  []string          // invocation ids of struck calls, the last ones
	again   map[string]repeat // what is to be shown on the page of a token once more
}

// repeat is an item of a page that is shown again on the next one.
type repeat struct {
	member string
	item   any
}

// add puts an order into force, unless there are too many.
func (fs *faults) add(f *fault) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if len(fs.pending) >= maxFaults {
		return false
	}
	fs.pending = append(fs.pending, f)
	return true
}

// remove takes back the orders that are meant and reports whether there were any.
func (fs *faults) remove(meant func(id string) bool) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	before := len(fs.pending)
	fs.pending = slices.DeleteFunc(fs.pending, func(f *fault) bool { return meant(f.ID) })
	return len(fs.pending) < before
}

// reset forgets everything.
func (fs *faults) reset() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.pending, fs.spared, fs.again = nil, nil, nil
}

// adminFault is an order in force as the admin API shows it.
type adminFault struct {
	ID string `json:"id"`
	order
	Matched int `json:"matched"`
	Struck  int `json:"struck"`
}

func (fs *faults) list() []adminFault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	out := []adminFault{}
	for _, f := range fs.pending {
		out = append(out, adminFault{f.ID, f.order, f.matched, f.struck})
	}
	return out
}

// take counts the orders that match and gives the first that strikes, nil if none does. Orders that are used
// up are forgotten.
func (fs *faults) take(matches func(*fault) bool) *fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var winner *fault
	for _, f := range fs.pending {
		if !matches(f) {
			continue
		}
		if winner != nil {
			f.matched++
		} else if f.due() {
			winner = f
		}
	}
	if winner != nil && winner.over() {
		fs.pending = slices.DeleteFunc(fs.pending, func(f *fault) bool { return f == winner })
	}
	return winner
}

// any reports whether there is an order of such a kind.
func (fs *faults) any(is func(*fault) bool) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return slices.ContainsFunc(fs.pending, is)
}

// strike gives the fault that hits the request at this stage, nil if none does, and counts it.
// The caller does not hold e.mu.
func (fs *faults) strike(e *Emulator, c *call, at stage) *strike {
	if at == beforeApply {
		c.about = e.subjectsOf(c)
	}
	f := fs.take(func(f *fault) bool {
		kind := faultKinds[f.Kind]
		return kind.stage == at && f.matches(c) && !(kind.oncePerCall && fs.spares(c)) && (kind.when == nil || kind.when(c))
	})
	if f == nil {
		return nil
	}
	kind := faultKinds[f.Kind]
	if kind.oncePerCall && c.invocationID != "" {
		fs.spare(c.invocationID)
	}
	c.struck = append(c.struck, f.mention())
	s := &strike{kind: f.Kind, faultKind: kind}
	if kind.fails != nil {
		s.err = kind.fails(f, c)
	}
	return s
}

// spares reports whether an earlier attempt of the call was struck: one call of an SDK's method is hit once, by
// whatever order, and its retry shows what the first attempt did. The caller holds fs.mu.
func (fs *faults) spares(c *call) bool {
	return c.invocationID != "" && slices.Contains(fs.spared, c.invocationID)
}

func (fs *faults) spare(invocation string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if len(fs.spared) >= callsSpared {
		fs.spared = slices.Delete(fs.spared, 0, callsSpared/2)
	}
	fs.spared = append(fs.spared, invocation)
}

// refuses gives why an item of a batch fails though nothing speaks against it, nil if it does not.
func (fs *faults) refuses(c *call, w *workspace) *refusal {
	f := fs.strikeOn(c, w, "fail_item")
	if f == nil {
		return nil
	}
	return &refusal{f.Code, f.Message}
}

// marks reports whether a fault of this kind strikes a WorkSpace that the call is about to change.
func (fs *faults) marks(c *call, kind string, w *workspace) bool {
	return fs.strikeOn(c, w, kind) != nil
}

// strikeOn gives the fault of a kind that hits a WorkSpace in a call. What is done from outside is not a call
// and is not hit.
func (fs *faults) strikeOn(c *call, w *workspace, kind string) *fault {
	if c.op == "" {
		return nil
	}
	f := fs.take(func(f *fault) bool {
		return f.Kind == kind && f.concerns(c.op, c.region) && f.meets(w.subject())
	})
	if f != nil {
		c.struck = append(c.struck, f.mention())
	}
	return f
}

// quotaOver reports whether a fault forbids that many WorkSpaces.
func (fs *faults) quotaOver(c *call, live int) bool {
	f := fs.take(func(f *fault) bool { return f.Kind == "quota" && live > *f.Limit && f.matches(c) })
	if f != nil {
		c.struck = append(c.struck, f.mention())
	}
	return f != nil
}

// spoil lets a fault make an image that is begun end in ERROR. Conditions on a WorkSpace are about the one that is captured.
func (fs *faults) spoil(c *call, i *image) {
	f := fs.take(func(f *fault) bool { return f.Kind == "image_fails" && f.matches(c) })
	if f != nil {
		c.struck = append(c.struck, f.mention())
		i.fail(cmp.Or(f.Code, "UnknownError"), f.Message)
	}
}

// subjectsShown bounds those kept of one request; a batch has 25 items at most.
const subjectsShown = 100

// subjectsOf are those a request is about: those it names and those whose WorkSpaces it names.
func (e *Emulator) subjectsOf(c *call) []subject {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var found []subject
	add := func(s subject) {
		if s != (subject{}) && len(found) < subjectsShown && !slices.Contains(found, s) {
			found = append(found, s)
		}
	}
	var walk func(value any)
	walk = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			add(subject{user: strings.ToLower(text(v, "UserName")), directory: text(v, "DirectoryId")})
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		case string:
			if w, ok := e.world.workspaces[v]; ok {
				add(w.subject())
			} else if strings.HasPrefix(v, "ws-") && model.shape("WorkspaceId").matches(v) {
				add(subject{workspace: v})
			} else if _, ok := e.world.directories[v]; ok {
				add(subject{directory: v})
			}
		}
	}
	walk(c.input)
	return found
}
