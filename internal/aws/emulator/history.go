package emulator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
)

// historyKept is how far back it is known what a WorkSpace was. Amazon keeps its metrics for 455 days (15
// months); a month more keeps the bill of each of those months whole.
const historyKept = (455 + 31) * 24 * time.Hour

// history is what one WorkSpace was up to the last thing that was done to it. What it has been since follows
// from its record (see workspace.at); after it is gone the history is all there is.
//
// It costs no writes of its own: while the journal is read each WorkSpace's lines rebuild it, and the rewrite
// at a start puts it into one line.
type history struct {
	Seq         int64
	ID          string
	Region      string // with the account, see placeOf
	DirectoryID string
	User        string
	Computer    string
	Created     time.Time

	spans []span // in order of time, each until the next begins
}

// span is a time in which nothing about a WorkSpace changed.
type span struct {
	From      time.Time
	State     string
	Connected bool // a user's client is
	Waiting   bool // a user's client is waiting for the start
	Terms     *terms
}

// terms are the things about a WorkSpace that change rarely, and that Amazon's bill depends on. Spans share them.
type terms struct {
	RunningMode string `json:"running_mode"`
	AutoStop    int    `json:"auto_stop_minutes,omitempty"`
	BundleID    string `json:"bundle_id"`
	Compute     string `json:"compute"`
	System      string `json:"system"`
	RootGiB     int    `json:"root_gib"`
	UserGiB     int    `json:"user_gib"`
	// MigratedTo is the WorkSpace that takes this one's place, once that is decided.
	MigratedTo string            `json:"migrated_to,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
}

func (w *workspace) terms() terms {
	return terms{
		RunningMode: w.RunningMode, AutoStop: w.AutoStop, BundleID: w.BundleID, Compute: w.Compute, System: w.System,
		RootGiB: w.RootGiB, UserGiB: w.UserGiB, MigratedTo: w.MigratedTo, Tags: w.Tags,
	}
}

func (t *terms) equal(o *terms) bool {
	return t.RunningMode == o.RunningMode && t.AutoStop == o.AutoStop && t.BundleID == o.BundleID &&
		t.Compute == o.Compute && t.System == o.System && t.RootGiB == o.RootGiB && t.UserGiB == o.UserGiB &&
		t.MigratedTo == o.MigratedTo && maps.Equal(t.Tags, o.Tags)
}

func (*history) kind() string  { return "history" }
func (h *history) key() string { return h.ID }

// historyLine is a history as the journal has it. Spans name their terms by number.
type historyLine struct {
	Seq         int64      `json:"seq"`
	ID          string     `json:"id"`
	Region      string     `json:"region"`
	DirectoryID string     `json:"directory_id"`
	User        string     `json:"user"`
	Computer    string     `json:"computer"`
	Created     time.Time  `json:"created"`
	Terms       []*terms   `json:"terms"`
	Spans       []spanLine `json:"spans"`
}

type spanLine struct {
	From      time.Time `json:"t"`
	State     string    `json:"s"`
	Connected bool      `json:"c,omitempty"`
	Waiting   bool      `json:"w,omitempty"`
	Terms     int       `json:"k"`
}

// MarshalJSON writes the form of the journal.
func (h *history) MarshalJSON() ([]byte, error) {
	line := historyLine{
		Seq: h.Seq, ID: h.ID, Region: h.Region, DirectoryID: h.DirectoryID, User: h.User, Computer: h.Computer,
		Created: h.Created, Terms: []*terms{}, Spans: make([]spanLine, 0, len(h.spans)),
	}
	for _, s := range h.spans {
		if n := len(line.Terms); n == 0 || line.Terms[n-1] != s.Terms {
			line.Terms = append(line.Terms, s.Terms)
		}
		line.Spans = append(line.Spans, spanLine{s.From, s.State, s.Connected, s.Waiting, len(line.Terms) - 1})
	}
	return json.Marshal(line)
}

// UnmarshalJSON reads the form of the journal.
func (h *history) UnmarshalJSON(b []byte) error {
	var line historyLine
	if err := json.Unmarshal(b, &line); err != nil {
		return err
	}
	*h = history{
		Seq: line.Seq, ID: line.ID, Region: line.Region, DirectoryID: line.DirectoryID, User: line.User,
		Computer: line.Computer, Created: line.Created,
	}
	for i, s := range line.Spans {
		if s.Terms < 0 || s.Terms >= len(line.Terms) || line.Terms[s.Terms] == nil {
			return fmt.Errorf("span %d has no terms", i)
		}
		if i > 0 && s.From.Before(line.Spans[i-1].From) {
			return fmt.Errorf("span %d begins before the one before it", i)
		}
		h.spans = append(h.spans, span{s.From.UTC(), s.State, s.Connected, s.Waiting, line.Terms[s.Terms]})
	}
	return nil
}

// nextChange is the first instant after t at which w, being as of t, changes without anybody's doing.
// Whatever workspace.at does with the passing of time must have its instant here, or the history misses it.
func (w *workspace) nextChange(t time.Time) (time.Time, bool) {
	var next time.Time
	consider := func(when time.Time) {
		if when.After(t) && (next.IsZero() || when.Before(next)) {
			next = when
		}
	}
	if state, when := w.upcoming(); state != "" {
		consider(when)
	}
	if w.Change != nil {
		consider(w.Change.Done)
	}
	if w.Connected {
		consider(w.ConnectedAt)
	}
	return next, !next.IsZero()
}

// asOf is when w was made what it says.
func (w *workspace) asOf() time.Time {
	if w.AsOf.IsZero() {
		return w.Since // nothing has been done to it since it entered its state
	}
	return w.AsOf
}

// unfold adds what w is from one time until another, which is not included, to spans.
func (w *workspace) unfold(spans []span, from, until time.Time) []span {
	v := w.at(from)
	for t, more := from, true; more && t.Before(until); t, more = v.nextChange(t) {
		v = v.at(t)
		spans = add(spans, t, &v)
	}
	return spans
}

// add appends what w is from t on, unless that is what it was already.
func add(spans []span, t time.Time, w *workspace) []span {
	s := span{From: t, State: w.State, Connected: w.online(t)}
	s.Waiting = w.Connected && !s.Connected && w.State == stateStarting
	is := w.terms()
	if n := len(spans); n > 0 {
		last := spans[n-1]
		if last.Terms.equal(&is) {
			s.Terms = last.Terms
		}
		if s.Terms != nil && s.State == last.State && s.Connected == last.Connected && s.Waiting == last.Waiting {
			return spans
		}
	}
	if s.Terms == nil {
		s.Terms = &is
	}
	return append(spans, s)
}

// remember makes the history reach to when a changed record takes the old one's place; old is nil for the
// first one. The history it replaces stays what it was for whoever is reading it.
func (w *world) remember(old, changed *workspace) {
	h, ok := w.histories[changed.ID]
	if !ok {
		h = &history{
			Seq: changed.Seq, ID: changed.ID, Region: changed.Region, DirectoryID: changed.DirectoryID,
			User: changed.User, Computer: changed.Computer, Created: changed.Created,
		}
	}
	w.histories[changed.ID] = h
	if old != nil {
		w.histories[changed.ID] = h.until(old, changed.asOf())
	}
}

// until is the history with what w was up to t.
func (h *history) until(w *workspace, t time.Time) *history {
	from := w.asOf()
	if n := len(h.spans); n > 0 && from.Before(h.spans[n-1].From) {
		from = h.spans[n-1].From // the clock was turned back: what was told stays told
	}
	next := *h
	next.spans = w.unfold(h.spans, from, t)
	next.drop(t.Add(-historyKept))
	return &next
}

// drop forgets what was over before t. It moves what is left only once that halves it, so that appending
// stays cheap.
func (h *history) drop(t time.Time) {
	first := covering(h.spans, t)
	if first > 0 && first >= len(h.spans)/2 {
		h.spans = slices.Clone(h.spans[first:])
	}
}

// covering is the index of the span that t is in, -1 if t is before all of them.
func covering(spans []span, t time.Time) int {
	after, _ := slices.BinarySearchFunc(spans, t, func(s span, t time.Time) int {
		if s.From.After(t) {
			return 1
		}
		return -1
	})
	return after - 1
}

// bury completes the history of a WorkSpace that has become absent at t and is about to be forgotten.
func (w *world) bury(gone *workspace, t time.Time) {
	if h, ok := w.histories[gone.ID]; ok {
		w.histories[gone.ID] = h.until(gone, t.Add(1))
	}
}

// forgetHistories drops the WorkSpaces that have been gone for longer than anybody may ask about.
func (w *world) forgetHistories(now time.Time) {
	maps.DeleteFunc(w.histories, func(id string, h *history) bool {
		_, exists := w.workspaces[id]
		return !exists && (len(h.spans) == 0 || now.Sub(h.spans[len(h.spans)-1].From) > historyKept)
	})
	maps.DeleteFunc(w.loads, func(id string, _ *load) bool {
		_, known := w.histories[id]
		return !known
	})
}

// timeline is all that a WorkSpace has been until some time.
type timeline struct {
	*history
	spans []span
	load  *load // nil: as if nobody had set one
	until time.Time
}

// timeline gives what h's WorkSpace has been until now.
func (w *world) timeline(h *history, now time.Time) *timeline {
	l := &timeline{history: h, spans: h.spans[:len(h.spans):len(h.spans)], load: w.loads[h.ID], until: now}
	if o, ok := w.workspaces[h.ID]; ok {
		from := o.asOf()
		if n := len(h.spans); n > 0 && from.Before(h.spans[n-1].From) {
			from = h.spans[n-1].From
		}
		l.spans = o.unfold(l.spans, from, now.Add(1))
	}
	return l
}

// timelines gives those of the histories that are wanted, oldest first.
func (w *world) timelines(now time.Time, wanted func(*history) bool) []*timeline {
	var found []*timeline
	for _, h := range w.histories {
		if wanted(h) {
			found = append(found, w.timeline(h, now))
		}
	}
	slices.SortFunc(found, func(a, b *timeline) int { return cmp.Compare(a.Seq, b.Seq) })
	return found
}

// end is when span i ends: when the next begins or, for the last, at the end of the timeline.
func (l *timeline) end(i int) time.Time {
	if i+1 < len(l.spans) {
		return l.spans[i+1].From
	}
	return l.until
}

// historyRecords are the histories and the loads, in a stable order, for a rewrite of the journal.
func (w *world) historyRecords() []record {
	var all []record
	for _, id := range slices.Sorted(maps.Keys(w.histories)) {
		all = append(all, w.histories[id])
	}
	for _, id := range slices.Sorted(maps.Keys(w.loads)) {
		all = append(all, w.loads[id])
	}
	if w.prices != nil {
		all = append(all, w.prices)
	}
	return all
}

// meterRoutes are the parts of the admin API that tell what was: the history, what it measured, and the bill.
func (e *Emulator) meterRoutes() []route {
	return []route{
		{"GET", "/_emu/workspaces/{id}/history", "all that a WorkSpace has been, also when it is gone", e.adminHistory},
		{"PUT", "/_emu/workspaces/{id}/load", "what its metrics are made of", e.adminLoad},
		{"GET", "/_emu/bill", "Amazon's bill of a month", e.adminBill},
		{"GET", "/_emu/prices", "what the bill is made with", e.adminPrices},
		{"PUT", "/_emu/prices", "other prices", e.adminSetPrices},
	}
}

// adminInterval is a span as the admin API shows it. To is absent from the one that lasts.
type adminInterval struct {
	From      time.Time `json:"from"`
	To        time.Time `json:"to,omitzero"`
	State     string    `json:"state"`
	Connected bool      `json:"connected"`
	Waiting   bool      `json:"waiting,omitempty"`
	*terms
}

// adminHistory answers with all that a WorkSpace has been, also when it is gone.
func (e *Emulator) adminHistory(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	e.mu.RLock()
	h, ok := e.world.histories[id]
	var l *timeline
	if ok {
		l = e.world.timeline(h, e.now())
	}
	e.mu.RUnlock()
	if !ok {
		adminWrite(w, http.StatusNotFound, adminError{fmt.Sprintf("there is no WorkSpace %q, nor was there one", id)})
		return
	}
	out := struct {
		ID          string          `json:"id"`
		Account     string          `json:"account"`
		Region      string          `json:"region"`
		DirectoryID string          `json:"directory_id"`
		User        string          `json:"user"`
		Created     time.Time       `json:"created"`
		Intervals   []adminInterval `json:"intervals"`
	}{l.ID, accountOf(l.Region), regionOf(l.Region), l.DirectoryID, l.User, l.Created, []adminInterval{}}
	for i, s := range l.spans {
		interval := adminInterval{From: s.From, State: s.State, Connected: s.Connected, Waiting: s.Waiting, terms: s.Terms}
		if i+1 < len(l.spans) {
			interval.To = l.end(i)
		}
		out.Intervals = append(out.Intervals, interval)
	}
	adminWrite(w, http.StatusOK, out)
}
