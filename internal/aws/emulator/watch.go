package emulator

import (
	"time"
)

// Watch tells what becomes of the WorkSpaces, for tests whose clock goes from one event to the next.
type Watch struct {
	e    *Emulator
	seen map[string]*watched
}

// watched is a WorkSpace as it was last told of, and until when that stays true if nobody does anything to it.
type watched struct {
	record *workspace
	until  time.Time // zero: for good
	told   Changed
}

// Changed is a WorkSpace that is another than when it was last told of.
type Changed struct {
	ID, User      string
	Before, State string // Before is empty for a new one, State is ABSENT for one that is gone
	// Resold says that what is charged for it is another: the running mode, the compute type, a volume.
	Resold bool

	terms terms
}

// Watch begins with all WorkSpaces being new.
func (e *Emulator) Watch() *Watch { return &Watch{e: e, seen: map[string]*watched{}} }

// Look tells what has changed since the last look, and when something changes by itself next; zero: never.
func (w *Watch) Look() (changed []Changed, next time.Time) {
	w.e.mu.RLock()
	defer w.e.mu.RUnlock()
	now := w.e.now()
	for _, o := range w.e.world.order {
		was, known := w.seen[o.ID]
		if !known {
			was = &watched{}
			w.seen[o.ID] = was
		}
		if was.record != o || !was.until.IsZero() && !was.until.After(now) {
			v := o.at(now)
			is := Changed{ID: o.ID, User: o.User, Before: was.told.State, State: v.State, terms: v.terms()}
			is.Resold = known && (!soldAlike(&was.told.terms, &is.terms) || was.told.terms.RunningMode != is.terms.RunningMode || was.told.terms.AutoStop != is.terms.AutoStop)
			if is.State != is.Before || is.Resold {
				changed = append(changed, is)
			}
			until, _ := v.nextChange(now)
			*was = watched{record: o, until: until, told: is}
		}
		if !was.until.IsZero() && (next.IsZero() || was.until.Before(next)) {
			next = was.until
		}
	}
	return changed, next
}
