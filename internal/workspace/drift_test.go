package workspace

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/price"
)

// driftBook has prices of two sizes of Windows in one region.
func driftBook() *price.Book {
	var lines []price.Price
	for compute, fees := range map[string]map[price.Item]money.USD{
		"STANDARD": {price.AlwaysOnMonth: 35 * money.Dollar, price.AutoStopMonth: 10 * money.Dollar, price.AutoStopHour: money.Dollar / 2, price.RootGBMonth: money.Dollar / 10},
		"POWER":    {price.AlwaysOnMonth: 80 * money.Dollar, price.AutoStopMonth: 20 * money.Dollar, price.AutoStopHour: money.Dollar},
	} {
		for item, amount := range fees {
			lines = append(lines, price.Price{Key: price.Key{Region: "us-east-1", ComputeType: compute, OperatingSystem: "WINDOWS", License: "INCLUDED", Item: item}, Amount: amount})
		}
	}
	return price.NewBook(1, "test", price.ClockHour, base, lines)
}

// owned is a row that has run for an hour when the sweep begins, changed by what a case says.
func owned(changes ...func(*owner)) *owner {
	o := &owner{
		ID: "ws_1", ProviderID: ptr("ws-1"), Desired: WantAvailable, State: Available, RunningMode: price.AutoStop, BundleType: "STANDARD",
		OperatingSystem: "WINDOWS", License: "INCLUDED", RootGiB: ptr(80), UserGiB: ptr(50), CreatedAt: at(-time.Hour), UpdatedAt: at(-time.Hour), AcceptedAt: atp(-time.Hour),
	}
	for _, c := range changes {
		c(o)
	}
	return o
}

// glimpsed is what a sweep shows of that, changed by what a case says.
func glimpsed(changes ...func(*glimpse)) *glimpse {
	g := &glimpse{state: "AVAILABLE", mode: price.AutoStop, compute: "STANDARD", root: 80, data: 50, since: base}
	for _, c := range changes {
		c(g)
	}
	return g
}

func usdp(dollars int64) *money.USD { u := money.USD(dollars) * money.Dollar; return &u }

func TestWhatASweepShowsOfARowIsComparedWithIt(t *testing.T) {
	changed := func(kind DriftKind, from, to string, monthly *money.USD) []drifted {
		return []drifted{{kind: kind, from: from, to: to, monthly: monthly}}
	}
	suspected := []drifted{{kind: TerminatedOutside, details: map[string]any{"suspected": true}}}
	started := []drifted{{kind: StartedOutside, details: map[string]any{"hourly_micros": audit.Microdollars(500_000)}}}
	stopped := func(o *owner) { o.Desired, o.State = WantStopped, Stopped }
	for _, c := range []struct {
		name string
		o    *owner
		g    *glimpse
		want []drifted
		look bool
	}{
		{"as it is to be", owned(), glimpsed(), nil, false},
		{"not shown", owned(), nil, suspected, true},
		{"not shown, it is new", owned(func(o *owner) { o.AcceptedAt = atp(-10*time.Minute + time.Second) }), nil, nil, false},
		{"not shown, it was new ten minutes ago", owned(func(o *owner) { o.AcceptedAt = atp(-10 * time.Minute) }), nil, suspected, true},
		{"not shown, something was asked lately", owned(func(o *owner) { o.AskedAt = atp(-time.Minute) }), nil, nil, false},
		{"not shown, it is being terminated", owned(func(o *owner) { o.State = Terminating }), nil, nil, false},
		{"not shown, it is to be terminated", owned(func(o *owner) { o.Desired = WantTerminated }), nil, nil, false},
		{"not shown, it is being replaced", owned(func(o *owner) { o.Replacing = true }), nil, nil, false},
		{"going, nobody asked", owned(), glimpsed(func(g *glimpse) { g.state = "TERMINATING" }), []drifted{{kind: TerminatedOutside, details: map[string]any{"suspected": true, "shown": "TERMINATING"}}}, true},
		{"going on request", owned(func(o *owner) { o.Desired, o.State = WantTerminated, Terminating }), glimpsed(func(g *glimpse) { g.state = "TERMINATING" }), nil, false},
		{"in another state", owned(), glimpsed(func(g *glimpse) { g.state = "STOPPED" }), nil, true},
		{"in a state that Amazon calls otherwise", owned(func(o *owner) { o.State = Impaired }), glimpsed(func(g *glimpse) { g.state = "UNHEALTHY" }), nil, false},
		{"runs, is wanted stopped", owned(stopped), glimpsed(), started, true},
		{"runs as is known, is wanted stopped", owned(stopped, func(o *owner) { o.State = Available }), glimpsed(), started, false},
		{"runs, stop is asked", owned(stopped, func(o *owner) { o.Asked, o.State = string(stop), Available }), glimpsed(), nil, false},
		{"another mode", owned(), glimpsed(func(g *glimpse) { g.mode = price.AlwaysOn }), changed(ModeChanged, price.AutoStop, price.AlwaysOn, usdp(25)), true},
		{"another mode, under way", owned(func(o *owner) { o.Change = "running_mode" }), glimpsed(func(g *glimpse) { g.mode = price.AlwaysOn }), nil, false},
		{"another mode, another change under way", owned(func(o *owner) { o.Change = "user_gib" }), glimpsed(func(g *glimpse) { g.mode = price.AlwaysOn }), changed(ModeChanged, price.AutoStop, price.AlwaysOn, usdp(25)), true},
		{"another size", owned(func(o *owner) { o.BundleType = "POWER" }), glimpsed(), changed(SizeChanged, "POWER", "STANDARD", usdp(-10)), true},
		{"another size, without a price", owned(), glimpsed(func(g *glimpse) { g.compute = "POWERPRO" }), changed(SizeChanged, "STANDARD", "POWERPRO", nil), true},
		{"another size, under way", owned(func(o *owner) { o.Change = "bundle_type" }), glimpsed(func(g *glimpse) { g.compute = "POWER" }), nil, false},
		{"a larger volume", owned(), glimpsed(func(g *glimpse) { g.root = 180 }), changed(VolumesChanged, "80+50 GiB", "180+50 GiB", usdp(10)), true},
		{"both larger, one without a price", owned(), glimpsed(func(g *glimpse) { g.root, g.data = 175, 100 }), changed(VolumesChanged, "80+50 GiB", "175+100 GiB", nil), true},
		{"a larger volume, under way", owned(func(o *owner) { o.Change = "root_gib" }), glimpsed(func(g *glimpse) { g.root = 180 }), nil, false},
		{"volumes that are not known", owned(func(o *owner) { o.RootGiB, o.UserGiB = nil, nil }), glimpsed(), nil, false},
		{"nothing is told of it", owned(), &glimpse{state: "AVAILABLE", since: base}, nil, false},
		{"the row was changed since", owned(func(o *owner) { o.UpdatedAt = at(time.Second) }), glimpsed(func(g *glimpse) { g.mode, g.state = price.AlwaysOn, "STOPPED" }), nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, look := timesAt(1).compare(c.o, c.g, "us-east-1", driftBook(), base)
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(drifted{})); d != "" || look != c.look {
				t.Errorf("look %v, want %v, and %s", look, c.look, d)
			}
		})
	}
}

func TestWhatHasNoRowIsJudgedByItsTagsAndByRowsThatHadIt(t *testing.T) {
	const young = 10 * time.Minute
	ended := func(when time.Duration) *owner {
		return owned(func(o *owner) { o.State, o.TerminatedAt = Terminated, atp(when) })
	}
	without := func(s State) *owner { return owned(func(o *owner) { o.ProviderID, o.State = nil, s }) }
	other := owned(func(o *owner) { o.ProviderID = ptr("ws-other") })
	ours, others := Marks{Intent: "ws_1", Marked: true}, Marks{Marked: true}
	for _, c := range []struct {
		name string
		s    stranger
		kind DriftKind
		of   bool
		look bool
	}{
		{"no tags, nobody's place", stranger{}, Foreign, false, false},
		{"somebody else's tags", stranger{marks: others}, Foreign, false, false},
		{"no tags, in the place of one that was asked for", stranger{place: without(Pending)}, "", true, true},
		{"no tags, in the place of one that has given up on it", stranger{place: without(Conflict)}, Foreign, true, false},
		{"no tags, its user has another", stranger{place: other}, Foreign, true, false},
		{"somebody else's tags, in the place of one that was asked for", stranger{marks: others, place: without(Pending)}, Foreign, true, false},
		{"going already", stranger{glimpse: glimpse{state: "TERMINATING"}}, "", false, false},
		{"ours, its row has none yet", stranger{marks: ours, intent: without(Pending)}, "", true, true},
		{"ours, its row has another", stranger{marks: ours, intent: other}, Duplicate, true, false},
		{"ours, its row has another just now", stranger{marks: ours, intent: owned(func(o *owner) { o.ProviderID, o.UpdatedAt = ptr("ws-other"), at(time.Second) })}, "", false, false},
		{"ours, its row is being replaced", stranger{marks: ours, intent: owned(func(o *owner) { o.ProviderID, o.Replacing = ptr("ws-other"), true })}, "", false, false},
		{"ours, its row has ended", stranger{marks: ours, intent: ended(-young)}, Orphan, true, false},
		{"ours, its row has just ended", stranger{marks: ours, intent: ended(-young + time.Second)}, "", false, false},
		{"ours, and no such row", stranger{marks: ours}, Orphan, false, false},
		{"the row that had it has ended", stranger{had: ended(-young)}, Orphan, true, false},
		{"the row that had it has just ended", stranger{had: ended(0)}, "", false, false},
		{"a row has just taken it", stranger{had: owned()}, "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.s.since = base
			kind, of, look := timesAt(1).judge(&c.s)
			if kind != c.kind || (of != nil) != c.of || look != c.look {
				t.Errorf("got %q, of a row %v, look %v", kind, of != nil, look)
			}
		})
	}
}

func TestTagsAreRightWhenTheySayWhoseItIsAndWhatItsUserSet(t *testing.T) {
	o := owned(func(o *owner) { o.Tags = map[string]string{"ticket": "1"} })
	for _, c := range []struct {
		name string
		m    Marks
		want string
	}{
		{"ours with its user's", Marks{Intent: "ws_1", Marked: true, Tags: map[string]string{"ticket": "1", "more": "2"}}, tagsRight},
		{"ours without its user's", Marks{Intent: "ws_1", Marked: true}, tagsMissing},
		{"ours with another value", Marks{Intent: "ws_1", Marked: true, Tags: map[string]string{"ticket": "2"}}, tagsMissing},
		{"none", Marks{}, tagsMissing},
		{"another installation's, or nobody's", Marks{Marked: true}, tagsOthers},
		{"another WorkSpace's", Marks{Intent: "ws_2", Marked: true}, tagsOthers},
	} {
		if got := o.tagged(c.m); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestAFindingIsResolvedOnlyByWhatIsKnown(t *testing.T) {
	ended := owned(func(o *owner) { o.TerminatedAt = &base })
	mode := map[string]any{"from": price.AutoStop, "to": price.AlwaysOn}
	for _, c := range []struct {
		name    string
		kind    DriftKind
		details map[string]any
		o       *owner
		g       *glimpse
		want    string
	}{
		{"a stranger is gone", Foreign, nil, nil, nil, "not shown any more"},
		{"a stranger is going", Orphan, nil, ended, glimpsed(func(g *glimpse) { g.state = "TERMINATED" }), "terminated"},
		{"a stranger was handed over", Foreign, nil, owned(), glimpsed(), "taken over"},
		{"a stranger whose tags could not be read", Duplicate, nil, nil, glimpsed(), ""},
		{"it was terminated outside indeed", TerminatedOutside, nil, ended, nil, "confirmed"},
		{"it was not", TerminatedOutside, nil, owned(), glimpsed(), "seen again"},
		{"its user terminates it now", TerminatedOutside, nil, owned(func(o *owner) { o.Desired = WantTerminated }), nil, "terminated on request"},
		{"it is missing still, and in change", TerminatedOutside, nil, owned(), nil, ""},
		{"it stopped", StartedOutside, nil, owned(func(o *owner) { o.Desired = WantStopped }), glimpsed(func(g *glimpse) { g.state = "STOPPED" }), "stopped"},
		{"it is being stopped", StartedOutside, nil, owned(func(o *owner) { o.Desired, o.Asked = WantStopped, string(stop) }), glimpsed(), "stopped"},
		{"it is in maintenance", StartedOutside, nil, owned(func(o *owner) { o.Desired = WantStopped }), glimpsed(func(g *glimpse) { g.state = "MAINTENANCE" }), ""},
		{"it is wanted now", StartedOutside, nil, owned(), glimpsed(), "wanted"},
		{"the row agrees", ModeChanged, mode, owned(func(o *owner) { o.RunningMode = price.AlwaysOn }), glimpsed(func(g *glimpse) { g.mode = price.AlwaysOn }), "adopted"},
		{"the row agrees, by a page older than that", ModeChanged, mode, owned(func(o *owner) { o.RunningMode = price.AlwaysOn }), glimpsed(), "adopted"},
		{"it was changed back", ModeChanged, mode, owned(), glimpsed(), "changed back"},
		{"a change is under way", ModeChanged, mode, owned(func(o *owner) { o.Change = "running_mode" }), glimpsed(func(g *glimpse) { g.mode = price.AlwaysOn }), ""},
		{"it is missing", SizeChanged, map[string]any{"from": "STANDARD", "to": "POWER"}, owned(), nil, ""},
		{"it has ended", VolumesChanged, nil, ended, nil, "ended"},
		{"the volumes are taken over", VolumesChanged, map[string]any{"from": "80+10 GiB", "to": "80+50 GiB"}, owned(), glimpsed(), "adopted"},
		{"its tags were not looked at", LostTags, nil, owned(), glimpsed(), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &Finding{Kind: c.kind, ProviderID: "ws-1", Details: c.details}
			if got := resolution(f, c.o, c.g); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
