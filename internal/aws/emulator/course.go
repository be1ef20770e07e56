package emulator

import (
	"slices"
	"time"
)

// mark is what a fault does to the further course of a WorkSpace. It is kept with the WorkSpace, so that it
// outlives the order and the emulator's process.
type mark struct {
	Kind    string    `json:"kind"`
	Fault   string    `json:"fault"`           // the order's id
	State   string    `json:"state,omitempty"` // stuck_state: the one it does not leave
	Code    string    `json:"code,omitempty"`  // to_error
	Message string    `json:"message,omitempty"`
	DelayMS int64     `json:"delay_ms,omitempty"` // unhealthy_after
	Until   time.Time `json:"until,omitzero"`     // tags_lag
}

// marked gives the mark of a kind, nil if there is none.
func (w *workspace) marked(kind string) *mark {
	at := slices.IndexFunc(w.Marks, func(m mark) bool { return m.Kind == kind })
	if at < 0 {
		return nil
	}
	return &w.Marks[at]
}

// unmark takes the marks off that are meant. Records share their slices, so it makes a new one.
func (w *workspace) unmark(meant func(mark) bool) {
	w.Marks = slices.DeleteFunc(slices.Clone(w.Marks), meant)
}

func ofKind(kind string) func(mark) bool { return func(m mark) bool { return m.Kind == kind } }

// put replaces the mark of its kind.
func (w *workspace) put(m mark) {
	w.unmark(ofKind(m.Kind))
	w.Marks = append(w.Marks, m)
}

// stuck reports whether a fault keeps the WorkSpace in the state it is in. It goes on when somebody acts, and be it by a
// reboot of one that is stuck rebooting.
func (w *workspace) stuck() bool {
	m := w.marked("stuck_state")
	return m != nil && m.State == w.State
}

// afflicted is the state that follows by itself, and when, where faults make that another than it would be.
func (w *workspace) afflicted(state string, when time.Time) (string, time.Time) {
	switch {
	case w.stuck():
		return "", time.Time{}
	case w.State == statePending && state == stateAvailable && w.marked("to_error") != nil:
		return stateError, when
	case w.State != stateAvailable:
		return state, when
	}
	if m := w.marked("unhealthy_after"); m != nil {
		if ill := w.AvailableAt.Add(time.Duration(m.DelayMS) * time.Millisecond); state == "" || ill.Before(when) {
			return stateUnhealthy, ill
		}
	}
	return state, when
}

// suffer ends the mark that kept it where it was, and carries out the one that led into the state just entered.
func (w *workspace) suffer() {
	w.unmark(ofKind("stuck_state"))
	switch w.State {
	case stateError:
		if m := w.marked("to_error"); m != nil {
			w.ErrorCode, w.ErrorText = m.Code, m.Message
			w.unmark(ofKind("to_error"))
		}
	case stateUnhealthy:
		w.unmark(ofKind("unhealthy_after"))
	}
}

// lift takes marks off. What was overdue happens now and not in the past, which has been seen.
func (w *workspace) lift(meant func(mark) bool, now time.Time) {
	w.unmark(meant)
	if state, when := w.upcoming(); state == "" || !when.Before(now) {
		return
	}
	if w.Next != "" {
		w.NextAt = now
	} else {
		w.ModeAt = now
	}
}

// event is what has become of a WorkSpace that a fault can be about.
type event struct {
	*workspace
	op                        string // "" when nobody's call did it
	created, entered, changed bool
}

// course is what faults of a kind do at an event they apply to.
type course struct {
	kind    string
	applies func(event, *fault) bool
	do      func(event, *fault)
}

var stuck = course{
	"stuck_state",
	func(v event, f *fault) bool { return v.entered && v.State == f.State },
	func(v event, f *fault) { v.put(mark{Kind: f.Kind, Fault: f.ID, State: f.State}) },
}

var courses = []course{
	stuck,
	{
		"to_error",
		func(v event, _ *fault) bool { return v.created },
		func(v event, f *fault) { v.put(mark{Kind: f.Kind, Fault: f.ID, Code: f.Code, Message: f.Message}) },
	},
	{
		"unhealthy_after",
		func(v event, _ *fault) bool {
			return v.entered && (v.State == stateAvailable || v.Next == stateAvailable)
		},
		func(v event, f *fault) { v.put(mark{Kind: f.Kind, Fault: f.ID, DelayMS: f.DelayMS}) },
	},
	{
		"describe_lag",
		func(v event, _ *fault) bool { return v.created },
		func(v event, f *fault) { v.Visible = v.Created.Add(f.delay()) },
	},
	{
		"tags_lost",
		func(v event, _ *fault) bool { return v.created && len(v.Tags) > 0 },
		func(v event, _ *fault) { v.Tags = nil },
	},
	{
		"tags_lag",
		func(v event, _ *fault) bool { return v.created },
		func(v event, f *fault) { v.put(mark{Kind: f.Kind, Fault: f.ID, Until: v.Created.Add(f.delay())}) },
	},
	{
		"autostop_fails",
		func(v event, _ *fault) bool { return v.created },
		func(v event, f *fault) { v.put(mark{Kind: f.Kind, Fault: f.ID}) },
	},
	{
		"modify_update_failed",
		func(v event, _ *fault) bool { return v.changed },
		func(v event, f *fault) { v.put(mark{Kind: f.Kind, Fault: f.ID}) },
	},
}

// befall lets a fault strike that is about an event. The caller holds e.mu for writing.
func (e *Emulator) befall(v event, by course) {
	f := e.faults.take(func(f *fault) bool {
		return f.Kind == by.kind && f.concerns(v.op, v.Region) && f.meets(v.subject()) && by.applies(v, f)
	})
	if f == nil {
		return
	}
	by.do(v, f)
	if e.doing != nil {
		e.doing.struck = append(e.doing.struck, f.mention())
	}
}

// markAll is mark for the WorkSpaces that a record is or holds.
func (e *Emulator) markAll(r record) {
	switch r := r.(type) {
	case *workspace:
		e.mark(r)
	case *together:
		for _, one := range *r {
			e.markAll(one)
		}
	}
}

// mark lets faults strike a WorkSpace that is about to be recorded. The caller holds e.mu for writing.
func (e *Emulator) mark(w *workspace) {
	old, known := e.world.workspaces[w.ID]
	v := event{workspace: w, created: !known, entered: !known, changed: w.Change != nil}
	if e.doing != nil {
		v.op = e.doing.op
		if s := w.subject(); !slices.Contains(e.doing.about, s) && len(e.doing.about) < subjectsShown {
			e.doing.about = append(e.doing.about, s)
		}
	}
	if known {
		was := old.at(w.Since)
		v.entered = was.State != w.State || !was.Since.Equal(w.Since)
		v.changed = v.changed && (old.Change == nil || !old.Change.Begins.Equal(w.Change.Begins))
	}
	if v.changed {
		w.FailedChange = ""
	}
	for _, c := range courses {
		e.befall(v, c)
	}
}

// watching reports whether an order waits for WorkSpaces to enter a state by themselves.
func (fs *faults) watching() bool {
	return fs.any(func(f *fault) bool { return f.Kind == "stuck_state" && f.Op == "" })
}

// settle lets faults strike the WorkSpaces that have entered a state by themselves since the last time. It must
// be called before anything is told of them. The caller holds e.mu for writing.
func (e *Emulator) settle(now time.Time) error {
	last := e.settled
	e.settled = now
	if !e.faults.watching() {
		return nil
	}
	var entered []*workspace
	for _, o := range e.world.order {
		v := *o
		for {
			state, when := v.upcoming()
			if state == "" || now.Before(when) {
				break
			}
			v = o.at(when)
			if when.After(last) {
				then := v
				entered = append(entered, &then)
			}
		}
	}
	slices.SortStableFunc(entered, func(a, b *workspace) int { return a.Since.Compare(b.Since) })
	struck := map[string]bool{}
	for _, w := range entered {
		if struck[w.ID] {
			continue // it did not get that far
		}
		e.befall(event{workspace: w, entered: true}, stuck)
		if w.stuck() {
			struck[w.ID] = true
			if err := e.store(w); err != nil {
				return err
			}
		}
	}
	return nil
}

// release takes the marks off that are meant, of every WorkSpace, and reports whether there were any. The caller
// holds e.mu for writing.
func (e *Emulator) release(meant func(mark) bool, now time.Time) (bool, error) {
	var changed []record
	for _, o := range e.world.order {
		if slices.ContainsFunc(o.Marks, meant) {
			v := o.at(now)
			v.lift(meant, now)
			changed = append(changed, &v)
		}
	}
	return len(changed) > 0, e.store(changed...)
}
