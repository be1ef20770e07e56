package emulator

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// Operations are the names of what the emulator can do.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }

// FaultKinds are the ways of failing.
func FaultKinds() []string { return slices.Sorted(maps.Keys(faultKinds)) }

// Actions are what can happen to a WorkSpace from outside.
func Actions() []string { return slices.Sorted(maps.Keys(outsideActions)) }

// Routes are those of the admin API, as "GET /_emu/clock".
func (e *Emulator) Routes() []string {
	var all []string
	for _, r := range e.routes() {
		all = append(all, r.method+" "+strings.TrimSuffix(r.path, "{$}"))
	}
	return all
}

// State is everything there is, as a journal would hold it.
func (e *Emulator) State() []byte {
	e.mu.RLock()
	defer e.mu.RUnlock()
	lines, err := encodeLines(e.world.records())
	if err != nil {
		panic(err)
	}
	return lines
}

// Outcome is what a request to an operation came to (see seenRequest).
type Outcome struct{ Op, Outcome string }

// Outcomes are those of the last requests.
func (e *Emulator) Outcomes() []Outcome {
	var all []Outcome
	for _, r := range e.seen.all() {
		all = append(all, Outcome{r.Op, r.Outcome})
	}
	return all
}

// Crash lets go of the files as the kernel does of a killed process, and of nothing else.
func (e *Emulator) Crash() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.journal.close()
}

// brokenDisk is a disk that writes and then cannot sync, and perhaps cannot truncate.
type brokenDisk struct {
	file
	syncs int // how many fail
	stuck bool
}

var errDisk = errors.New("disk: input/output error")

func (d *brokenDisk) Sync() error {
	if d.syncs > 0 {
		d.syncs--
		return errDisk
	}
	return d.file.Sync()
}

func (d *brokenDisk) Truncate(size int64) error {
	if d.stuck {
		return errDisk
	}
	return d.file.Truncate(size)
}

// BreakDisk makes the next syncs fail; if stuck, what was written cannot be taken back either.
func (e *Emulator) BreakDisk(syncs int, stuck bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.journal.f = &brokenDisk{file: e.journal.f, syncs: syncs, stuck: stuck}
}

// Fail puts a WorkSpace into a state of ill health; the error says why it cannot be.
func (e *Emulator) Fail(id, state, code, message string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	w, _ := e.world.find("", id, now)
	if no := w.fail(state, code, message, now); no != nil {
		return no.code
	}
	if err := e.commit(&w); err != nil {
		return err.Error()
	}
	return ""
}

// Lives gives the states a WorkSpace was in, one after the other, up to now.
func (e *Emulator) Lives(id string) []string {
	e.mu.RLock()
	defer e.mu.RUnlock()
	v := *e.world.workspaces[id]
	states := []string{v.State}
	for v.step(e.now()) {
		if v.State != states[len(states)-1] {
			states = append(states, v.State)
		}
	}
	return states
}
