package workspace

import (
	"strconv"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/price"
)

// What follows from a complete sweep of a directory. Nothing here asks Amazon to do anything: what is to be done about a
// WorkSpace of ours is the reconciler's to decide, which is made to look at it, and what is not ours is only reported.
//
//	a live row         the sweep shows             what follows
//	─────────────────  ──────────────────────────  ──────────────────────────────────────────────────────────────────
//	any                another state               look
//	not unwanted       nothing, TERMINATING        look, TERMINATED_OUTSIDE: suspected until the row ends (faults 7, 13)
//	much of it at once nothing                     nothing is concluded at all                                      (8)
//	young, in change   nothing                     nothing                                                          (7)
//	wanted STOPPED     AVAILABLE, nobody asked     STARTED_OUTSIDE, which its idle timeout ends                    (14)
//	                   another mode, size, volumes look, MODE_, SIZE_, VOLUMES_CHANGED until the row agrees        (16)
//	                   other tags than ours        tag it again, LOST_TAGS until they are right                    (20)
//	none               our tags, row without id    look: the reconciler takes it over
//	none               our tags, row with another  DUPLICATE
//	none               our tags or id, row ended   ORPHAN
//	without id, here   one without tags            look: it may be the one that was asked for
//	none               anything else               FOREIGN                                                     (20, 21)
//
// A row that was changed since the page that showed its WorkSpace was asked for is not compared with it.

// glimpse is what is kept of a WorkSpace that a sweep has shown.
type glimpse struct {
	state, mode, compute string
	user                 string // lower case
	root, data           int    // GiB; 0: not told
	since                time.Time
}

func (g *glimpse) leaving() bool { return g.state == "TERMINATING" || g.state == "TERMINATED" }

// owner is what a sweep must know of a row.
type owner struct {
	ID              id.WorkSpace
	DirectoryUser   string
	ProviderID      *string
	Desired         Desired
	State           State
	Asked           string
	AskedAt         *time.Time
	Replacing       bool
	Change          string
	RunningMode     string
	BundleType      string
	OperatingSystem string
	License         string
	RootGiB         *int
	UserGiB         *int
	Tags            map[string]string
	CreatedAt       time.Time
	UpdatedAt       time.Time
	AcceptedAt      *time.Time
	TerminatedAt    *time.Time

	MigrationAskedAt *time.Time
}

const ownerColumns = `
	id, directory_user, provider_id, desired, state, asked, asked_at, replacing, change, running_mode, bundle_type, operating_system,
	license, root_gib, user_gib, tags, created_at, updated_at, accepted_at, terminated_at, migration_asked_at`

// leaves tells whether the row's WorkSpace is to go, so that its absence says nothing.
func (o *owner) leaves() bool {
	return o.Desired == WantTerminated || o.State == Terminating || o.Asked == string(terminate) || o.Replacing || o.MigrationAskedAt != nil
}

// old tells whether the row has had its WorkSpace for so long that a list shows it, and was asked for nothing lately.
func (o *owner) old(t times, at time.Time) bool {
	born := o.CreatedAt
	if o.AcceptedAt != nil {
		born = *o.AcceptedAt
	}
	return at.Sub(born) >= t.young && (o.AskedAt == nil || at.Sub(*o.AskedAt) >= t.young)
}

// endedBefore tells whether the row had ended so long before that a list does not show its WorkSpace any more.
func (o *owner) endedBefore(t times, at time.Time) bool {
	return o.TerminatedAt != nil && at.Sub(*o.TerminatedAt) >= t.young
}

func (o *owner) spec(region, compute, mode string) price.Spec {
	return price.Spec{Region: region, ComputeType: compute, OperatingSystem: o.OperatingSystem, License: o.License, RunningMode: mode}
}

// drifted is something that is otherwise than it is wanted. Its details say how, with no personal data.
type drifted struct {
	kind    DriftKind
	from    string
	to      string
	monthly *money.USD // what it costs a month more, or less; nil: not known, or nothing
	details map[string]any
}

// compare compares a live row, which has an id, with what the sweep that began then has shown of it, nil for nothing. It
// tells what is drift, and whether the reconciler is to look.
func (t times) compare(o *owner, g *glimpse, region string, book *price.Book, began time.Time) (found []drifted, look bool) {
	if g == nil {
		if o.leaves() || !o.old(t, began) {
			return nil, false
		}
		return []drifted{{kind: TerminatedOutside, details: map[string]any{"suspected": true}}}, true
	}
	if o.UpdatedAt.After(g.since) {
		return nil, false
	}
	look = fromAmazon[g.state] != o.State
	if g.leaving() {
		if !o.leaves() {
			found = append(found, drifted{kind: TerminatedOutside, details: map[string]any{"suspected": true, "shown": g.state}})
		}
		return found, look
	}
	if g.state == "AVAILABLE" && o.Desired == WantStopped && o.Asked == "" && g.mode != price.AlwaysOn {
		d := drifted{kind: StartedOutside, details: map[string]any{}}
		if rates, err := ratesOf(book, o.spec(region, o.BundleType, price.AutoStop)); err == nil && rates.Hour != nil {
			d.details["hourly_micros"] = audit.Microdollars(int64(rates.Hour.Amount))
		}
		found = append(found, d)
	}
	before := len(found)
	if g.mode != "" && g.mode != o.RunningMode && o.Change != "running_mode" {
		found = append(found, drifted{
			kind: ModeChanged, from: o.RunningMode, to: g.mode,
			monthly: more(monthly(book, o.spec(region, o.BundleType, o.RunningMode)), monthly(book, o.spec(region, o.BundleType, g.mode))),
		})
	}
	if g.compute != "" && g.compute != o.BundleType && o.Change != "bundle_type" {
		found = append(found, drifted{
			kind: SizeChanged, from: o.BundleType, to: g.compute,
			monthly: more(monthly(book, o.spec(region, o.BundleType, o.RunningMode)), monthly(book, o.spec(region, g.compute, o.RunningMode))),
		})
	}
	if v, ok := volumes(o, g, region, book); ok {
		found = append(found, v)
	}
	return found, look || len(found) > before
}

// volumes compares the volumes of which both sizes are known.
func volumes(o *owner, g *glimpse, region string, book *price.Book) (drifted, bool) {
	root, data := g.root, g.data
	if o.RootGiB == nil || root == 0 || o.Change == "root_gib" {
		root = value(o.RootGiB)
	}
	if o.UserGiB == nil || data == 0 || o.Change == "user_gib" {
		data = value(o.UserGiB)
	}
	moreRoot, moreData := root-value(o.RootGiB), data-value(o.UserGiB)
	if moreRoot == 0 && moreData == 0 {
		return drifted{}, false
	}
	d := drifted{kind: VolumesChanged, from: gib(value(o.RootGiB), value(o.UserGiB)), to: gib(root, data)}
	if book == nil {
		return d, true
	}
	var sum money.USD
	for item, n := range map[price.Item]int{price.RootGBMonth: moreRoot, price.UserGBMonth: moreData} {
		rate, err := book.Rate(price.Key{Region: region, ComputeType: o.BundleType, OperatingSystem: o.OperatingSystem, License: o.License, Item: item})
		if n != 0 && err != nil {
			return d, true
		}
		sum += rate.Amount.Times(int64(n))
	}
	d.monthly = &sum
	return d, true
}

// gib writes the sizes of both volumes as people do.
func gib(root, data int) string {
	size := func(n int) string {
		if n == 0 {
			return "?"
		}
		return strconv.Itoa(n)
	}
	return size(root) + "+" + size(data) + " GiB"
}

// value is what a pointer points to, zero for nothing.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// stranger is a WorkSpace that a sweep has shown and that no live row has.
type stranger struct {
	providerID string
	glimpse
	marks  Marks
	had    *owner // the row that has, or had, this very WorkSpace
	intent *owner // the row that its tags name
	place  *owner // the live row of its user
}

// judge says what a WorkSpace is that no live row has, whose it was, and whether the reconciler is to look at that row.
func (t times) judge(s *stranger) (kind DriftKind, of *owner, look bool) {
	switch {
	case s.leaving():
	case s.place != nil && s.place.MigrationAskedAt != nil: // what it becomes
		return "", s.place, true
	case s.had != nil:
		if s.had.endedBefore(t, s.since) {
			return Orphan, s.had, false
		}
	case s.marks.Intent != "" && s.intent == nil:
		return Orphan, nil, false
	case s.marks.Intent != "" && s.intent.TerminatedAt != nil:
		if s.intent.endedBefore(t, s.since) {
			return Orphan, s.intent, false
		}
	case s.marks.Intent != "" && s.intent.ProviderID == nil:
		return "", s.intent, true
	case s.marks.Intent != "":
		if !s.intent.Replacing && !s.intent.UpdatedAt.After(s.since) {
			return Duplicate, s.intent, false
		}
	case !s.marks.Marked && s.place != nil && s.place.ProviderID == nil && s.place.State != Conflict:
		return "", s.place, true
	default:
		return Foreign, s.place, false
	}
	return "", nil, false
}

// What the tags of a WorkSpace of ours can be.
const (
	tagsRight   = ""
	tagsMissing = "missing" // and are set again
	tagsOthers  = "another" // they say that it is somebody else's, which people must decide
)

// tagged tells whether the tags of a row's WorkSpace are those that it was given.
func (o *owner) tagged(m Marks) string {
	if m.Marked && m.Intent != o.ID {
		return tagsOthers
	}
	if m.Intent != o.ID {
		return tagsMissing
	}
	for k, v := range o.Tags {
		if m.Tags[k] != v {
			return tagsMissing
		}
	}
	return tagsRight
}

// resolution says why what was found is so no more, given its row and what the sweep has shown, each nil for none. Empty
// is that nothing can be said yet.
func resolution(f *Finding, o *owner, g *glimpse) string {
	ended := o != nil && o.TerminatedAt != nil
	switch f.Kind {
	case Foreign, Orphan, Duplicate:
		switch {
		case g == nil:
			return "not shown any more"
		case g.leaving():
			return "terminated"
		case o != nil && !ended && deref(o.ProviderID) == f.ProviderID:
			return "taken over"
		}
	case TerminatedOutside:
		switch {
		case o != nil && o.Desired == WantTerminated:
			return "terminated on request"
		case ended:
			return "confirmed"
		case g != nil && !g.leaving():
			return "seen again"
		}
	case StartedOutside:
		switch {
		case ended:
			return "ended"
		case o != nil && o.Desired == WantAvailable:
			return "wanted"
		case o != nil && o.Asked == string(stop), g != nil && !fromAmazon[g.state].Runs():
			return "stopped"
		}
	case ModeChanged, SizeChanged, VolumesChanged:
		switch {
		case ended:
			return "ended"
		case o == nil || g == nil:
		case f.has(o) == f.Details["to"]:
			return "adopted"
		case f.has(o) == f.Details["from"] && f.shown(g) == f.Details["from"]:
			return "changed back"
		}
	case LostTags:
		if ended {
			return "ended"
		}
	}
	return ""
}

// has is what the row has of what was found changed, and shown what Amazon has of it.
func (f *Finding) has(o *owner) string {
	switch f.Kind {
	case ModeChanged:
		return o.RunningMode
	case SizeChanged:
		return o.BundleType
	case VolumesChanged:
		return gib(value(o.RootGiB), value(o.UserGiB))
	case Foreign, Orphan, Duplicate, LostTags, TerminatedOutside, StartedOutside:
	}
	return ""
}

func (f *Finding) shown(g *glimpse) string {
	switch f.Kind {
	case ModeChanged:
		return g.mode
	case SizeChanged:
		return g.compute
	case VolumesChanged:
		return gib(g.root, g.data)
	case Foreign, Orphan, Duplicate, LostTags, TerminatedOutside, StartedOutside:
	}
	return ""
}

// ratesOf are the prices of a WorkSpace; without a book none is known.
func ratesOf(book *price.Book, s price.Spec) (price.Rates, error) {
	if book == nil {
		return price.Rates{}, price.ErrUnknown
	}
	return book.RatesOf(s)
}

// monthly is the fixed fee of a month, nil where no price is known.
func monthly(book *price.Book, s price.Spec) *money.USD {
	rates, err := ratesOf(book, s)
	if err != nil {
		return nil
	}
	return &rates.Month.Amount
}

// more is by how much one fee is above the other, if both are known.
func more(from, to *money.USD) *money.USD {
	if from == nil || to == nil {
		return nil
	}
	d := *to - *from
	return &d
}
