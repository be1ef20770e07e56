package workspace

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/blueprint/spec"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/price"
)

// migrating is one of which a migration was asked for, since when; the target's id may be known.
func migrating(since time.Duration, target string) func(*WorkSpace) {
	return func(w *WorkSpace) {
		w.Asked, w.AskedAt, w.MigrationAskedAt = string(migrate), atp(since), atp(since)
		w.Migration, w.WishReason = &Migration{Version: "bpv_2", BundleType: "POWER"}, "user"
		if target != "" {
			w.TargetID, w.Asked, w.AskedAt = &target, "", nil
		}
	}
}

func with(l look, changes ...func(*look)) look {
	for _, c := range changes {
		c(&l)
	}
	return l
}

func looked(l *look) { l.confirmed = true }

func targetIn(state string) func(*look) {
	return func(l *look) { l.target = &Observation{ProviderID: "ws-2", State: state, Intent: "ws_1"} }
}

// TestDecideMigrations walks the lines about migrations of the table in decide.go.
func TestDecideMigrations(t *testing.T) {
	const minute, hour = time.Minute, time.Hour
	suspended := in(Suspended, 13*hour)
	for _, c := range []struct {
		name string
		w    *WorkSpace
		l    look
		now  time.Duration
		want decision
	}{
		{"wished for", row(ran, askedButNotSent(migrate)), seen("AVAILABLE"), 13 * hour, decision{do: migrate}},
		{"wished for while it starts", row(ran, in(Starting, 13*hour), askedButNotSent(migrate)), seen("STARTING"), 13 * hour, decision{after: 30 * time.Second}},
		{"sent, no answer", row(ran, migrating(13*hour, "")), seen("AVAILABLE"), 13 * hour, decision{do: confirm}},
		{"the same, and nothing else is there", row(ran, migrating(13*hour, "")), with(seen("AVAILABLE"), looked), 13*hour + minute, decision{after: 15 * time.Second}},
		{"the same, nearly in time", row(ran, migrating(13*hour, "")), with(seen("AVAILABLE"), looked), 13*hour + 5*minute - time.Second, decision{after: time.Second}},
		{"the same, in time", row(ran, migrating(13*hour, "")), with(seen("AVAILABLE"), looked), 13*hour + 5*minute, decision{do: note, to: Available, reason: "requested", unsent: true}},
		{"the same, but it is suspended", row(ran, suspended, migrating(13*hour, "")), with(seen("SUSPENDED"), looked), 13*hour + 5*minute, decision{after: 30 * time.Second}},
		{"sent, no answer, a second one shows", row(ran, migrating(13*hour, "")), with(seen("AVAILABLE"), looked, targetIn("PENDING")), 13*hour + minute, decision{do: note, to: Available, reason: "user", target: "ws-2"}},
		{"sent, no answer, only the second one is left", row(ran, migrating(13*hour, "")), with(look{}, looked, targetIn("AVAILABLE")), 14 * hour, decision{do: note, to: Available, reason: "user", target: "ws-2"}},

		{"the source is suspended", row(ran, migrating(13*hour, "ws-2")), with(seen("SUSPENDED"), targetIn("PENDING")), 13*hour + minute, decision{do: note, to: Suspended, reason: "provider"}},
		{"it goes on", row(ran, suspended, migrating(13*hour, "ws-2")), with(seen("SUSPENDED"), targetIn("PENDING")), 13*hour + 30*minute, decision{after: 30 * time.Second}},
		{"its end is wanted, and waits", row(ran, suspended, want(WantTerminated), migrating(13*hour, "ws-2")), with(seen("SUSPENDED"), targetIn("PENDING")), 13*hour + 30*minute, decision{after: 30 * time.Second}},
		{"the target is there, the source not gone", row(ran, suspended, migrating(13*hour, "ws-2")), with(seen("SUSPENDED"), targetIn("AVAILABLE")), 14 * hour, decision{after: 30 * time.Second}},
		{"the source goes, the target is not there", row(ran, suspended, migrating(13*hour, "ws-2")), with(seen("TERMINATING"), targetIn("PENDING")), 14 * hour, decision{after: 30 * time.Second}},
		{"the source goes, the target is there", row(ran, suspended, migrating(13*hour, "ws-2")), with(seen("TERMINATING"), targetIn("AVAILABLE")), 14 * hour, decision{do: note, to: Available, reason: "user", moved: true}},
		{"the source is gone, the target stopped", row(ran, suspended, migrating(13*hour, "ws-2")), with(look{}, targetIn("STOPPED")), 20 * hour, decision{do: note, to: Stopped, reason: "user", moved: true}},
		{"neither the one nor the other for two hours", row(ran, suspended, migrating(13*hour, "ws-2")), with(seen("SUSPENDED"), targetIn("PENDING")), 15 * hour, decision{do: note, to: Suspended, reason: "requested", flag: FlagStuck}},

		{"the target is hidden for a moment", row(ran, suspended, migrating(13*hour, "ws-2")), seen("SUSPENDED"), 13*hour + 30*minute, decision{after: 30 * time.Second}},
		{"the source is back", row(ran, suspended, migrating(13*hour, "ws-2")), seen("STOPPED"), 13*hour + 45*minute, decision{do: note, to: Stopped, reason: "provider"}},
		{"the same, before the hour is over", row(ran, in(Stopped, 13*hour), migrating(13*hour, "ws-2")), seen("STOPPED"), 14*hour - 10*time.Second, decision{after: 10 * time.Second}},
		{"the same, after it", row(ran, in(Stopped, 13*hour), migrating(13*hour, "ws-2")), seen("STOPPED"), 14 * hour, decision{do: note, to: Stopped, reason: "requested", missed: true}},
		{"the same, a moment later", row(ran, in(Stopped, 13*hour), migrating(13*hour, "ws-2"), missedTimes(1, 14*hour)), seen("STOPPED"), 14*hour + time.Second, decision{after: minute}},
		{"the same, the third time", row(ran, in(Stopped, 13*hour), migrating(13*hour, "ws-2"), missedTimes(2, 14*hour)), seen("STOPPED"), 14*hour + minute, decision{do: confirm}},
		{"and by its user neither", row(ran, in(Stopped, 13*hour), migrating(13*hour, "ws-2"), missedTimes(2, 14*hour)), with(seen("STOPPED"), looked), 14*hour + minute, decision{do: note, to: Stopped, reason: "provider", unmoved: true, code: codeMigration, message: "*"}},
		{"by its user it shows", row(ran, in(Stopped, 13*hour), migrating(13*hour, "ws-2"), missedTimes(2, 14*hour)), with(seen("STOPPED"), looked, targetIn("PENDING")), 14*hour + minute, decision{do: note, to: Stopped, reason: "requested"}},
		{"both are missing", row(ran, suspended, migrating(13*hour, "ws-2")), look{}, 14 * hour, decision{do: note, to: Suspended, reason: "requested", missed: true}},
		{"both are missing, with much else", row(ran, suspended, migrating(13*hour, "ws-2"), func(w *WorkSpace) { w.ObservedAt = atp(14 * hour) }), look{doubtful: true}, 14 * hour, decision{after: minute}},
		{"both are missing, thrice and by their user", row(ran, suspended, migrating(13*hour, "ws-2"), missedTimes(2, 14*hour)), with(look{}, looked), 14*hour + minute, decision{do: note, to: Terminated, reason: reasonGone}},
		{"the source is gone while a request waits", row(ran, in(Terminating, 14*hour), askedButNotSent(migrate), func(w *WorkSpace) { w.Migration = &Migration{} }), look{}, 14 * hour, decision{do: confirm}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := timesAt(1).decide(c.w, c.l, at(c.now))
			if c.want.message == "*" && got.message != "" {
				got.message = "*"
			}
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// What is seen in a user's place is told apart by ids and tags; the tags of what a migration makes may show late.
func TestWhatAMigrationMakesIsRecognised(t *testing.T) {
	source, other := Observation{ProviderID: "ws-1", Intent: "ws_1", Marked: true}, Observation{ProviderID: "ws-2", Intent: "ws_1", Marked: true}
	untagged, strange := Observation{ProviderID: "ws-2"}, Observation{ProviderID: "ws-2", Intent: "ws_9", Marked: true}
	for name, c := range map[string]struct {
		w                       *WorkSpace
		found                   []Observation
		is, target, strangerhas string
	}{
		"both":                    {row(ran, migrating(0, "")), []Observation{other, source}, "ws-1", "ws-2", ""},
		"both, and known":         {row(ran, migrating(0, "ws-2")), []Observation{source, other}, "ws-1", "ws-2", ""},
		"tags are late":           {row(ran, migrating(0, "")), []Observation{source, untagged}, "ws-1", "ws-2", ""},
		"somebody else's":         {row(ran, migrating(0, "")), []Observation{source, strange}, "ws-1", "", "ws-2"},
		"the target alone":        {row(ran, migrating(0, "")), []Observation{other}, "", "ws-2", ""},
		"not migrated":            {row(ran), []Observation{source, untagged}, "ws-1", "", "ws-2"},
		"not migrated, two of us": {row(ran), []Observation{other, source}, "ws-1", "", ""},
		"not migrated, another":   {row(ran), []Observation{other}, "ws-2", "", ""},
		"no id yet":               {row(), []Observation{other}, "ws-2", "", ""},
	} {
		l := c.w.recognise(c.found)
		has := func(o *Observation) string {
			if o == nil {
				return ""
			}
			return o.ProviderID
		}
		if has(l.found) != c.is || has(l.target) != c.target || has(l.stranger) != c.strangerhas || !l.confirmed {
			t.Errorf("%s: found %s, target %s, stranger %s", name, has(l.found), has(l.target), has(l.stranger))
		}
	}
}

// Of two versions only the image of the very region and bundle type counts, and what Amazon changes without a loss does not.
func TestWhatIsLostByAnUpgrade(t *testing.T) {
	base := blueprint.Definition{OperatingSystem: "WINDOWS", BundleTypes: []string{"STANDARD", "POWER"}, DefaultBundleType: "POWER"}
	of := func(change func(*blueprint.Definition)) blueprint.Definition {
		d := base
		change(&d)
		return d
	}
	bundles := func(region, bundle string) func(*blueprint.Definition) {
		return func(d *blueprint.Definition) {
			d.Image = &spec.Image{Bundles: map[string]map[string]string{region: {"STANDARD": bundle}}}
		}
	}
	images := func(image string) func(*blueprint.Definition) {
		return func(d *blueprint.Definition) { d.Image = &spec.Image{Images: map[string]string{"eu-west-1": image}} }
	}
	for name, c := range map[string]struct {
		is, to blueprint.Definition
		lost   bool
	}{
		"nothing differs": {base, base, false},
		"settings":        {base, of(func(d *blueprint.Definition) { d.MaxLifetimeDays, d.Tags = 3, map[string]string{"a": "b"} }), false},
		"an image":        {base, of(images("wsi-1")), true},
		"the same image":  {of(images("wsi-1")), of(images("wsi-1")), false},
		"another image":   {of(images("wsi-1")), of(images("wsi-2")), true},
		"another bundle":  {of(bundles("eu-west-1", "wsb-1")), of(bundles("eu-west-1", "wsb-2")), true},
		"another bundle elsewhere": {of(bundles("eu-west-1", "wsb-1")), of(func(d *blueprint.Definition) {
			bundles("eu-west-1", "wsb-1")(d)
			d.Image.Bundles["us-east-1"] = map[string]string{"STANDARD": "wsb-9"}
		}), false},
		"another golden one":           {of(func(d *blueprint.Definition) { d.Image = &spec.Image{Golden: &spec.Golden{Workspace: "ws-1"}} }), of(func(d *blueprint.Definition) { d.Image = &spec.Image{Golden: &spec.Golden{Workspace: "ws-2"}} }), true},
		"another operating system":     {base, of(func(d *blueprint.Definition) { d.OperatingSystem = "UBUNTU" }), true},
		"its bundle type is not there": {base, of(func(d *blueprint.Definition) { d.BundleTypes = []string{"POWER"} }), false},
		"nor its family": {base, of(func(d *blueprint.Definition) {
			d.BundleTypes, d.DefaultBundleType = []string{"GRAPHICS_G4DN"}, "GRAPHICS_G4DN"
		}), true},
	} {
		w := row(ran, func(w *WorkSpace) { w.Region, w.BundleType, w.OperatingSystem = "eu-west-1", "STANDARD", "WINDOWS" })
		if got := w.lost(w.migrationTo("bpv_2", c.to), c.is, c.to); got != c.lost {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestWhatIsTakenOverFromAnotherVersion(t *testing.T) {
	is := blueprint.Definition{AutoStopTimeoutMinutes: 60, MaxLifetimeDays: 180, Tags: map[string]string{"tier": "a", "old": "x"}}
	to := blueprint.Definition{AutoStopTimeoutMinutes: 120, MaxLifetimeDays: 90, Tags: map[string]string{"tier": "b", "new": "y"}}
	w := row(ran, func(w *WorkSpace) {
		w.RunningMode, w.AutoStopTimeoutMinutes, w.MaxLifetimeDays = price.AutoStop, ptr(60), ptr(180)
		w.Tags = map[string]string{"tier": "a", "old": "x", "mine": "m"}
	})
	follow := func(w *WorkSpace, to blueprint.Definition) map[string]any {
		t.Helper()
		changed, err := w.follow(is, to)
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	changed := follow(w, to)
	if *w.AutoStopTimeoutMinutes != 120 || *w.MaxLifetimeDays != 90 || !w.Retag || !maps.Equal(w.Tags, map[string]string{"tier": "b", "new": "y", "mine": "m"}) || len(changed) != 3 {
		t.Errorf("%d %d %v, changed %v", *w.AutoStopTimeoutMinutes, *w.MaxLifetimeDays, w.Tags, changed)
	}
	chosen := row(ran, func(w *WorkSpace) {
		w.RunningMode, w.AutoStopTimeoutMinutes, w.MaxLifetimeDays = price.AutoStop, ptr(240), ptr(30)
		w.Tags = map[string]string{"tier": "mine", "new": "n"}
	})
	if changed := follow(chosen, to); len(changed) != 0 || *chosen.AutoStopTimeoutMinutes != 240 || *chosen.MaxLifetimeDays != 30 || chosen.Tags["tier"] != "mine" || chosen.Tags["new"] != "n" || chosen.Retag {
		t.Errorf("what was chosen: %v %v", changed, chosen.Tags)
	}
	always := row(ran, func(w *WorkSpace) { w.RunningMode, w.Tags = price.AlwaysOn, map[string]string{} })
	if follow(always, blueprint.Definition{AutoStopTimeoutMinutes: 120, MaxLifetimeDays: 180}); always.AutoStopTimeoutMinutes != nil || always.MaxLifetimeDays != nil {
		t.Errorf("an ALWAYS_ON one: %v %v", always.AutoStopTimeoutMinutes, always.MaxLifetimeDays)
	}
}

func TestWhatAnUpgradeWouldMakeOfAWorkSpace(t *testing.T) {
	is := blueprint.Definition{OperatingSystem: "WINDOWS", License: "INCLUDED", BundleTypes: []string{"STANDARD", "POWER"}, DefaultBundleType: "STANDARD", RunningMode: price.AutoStop}
	least := int64(1)
	parameter := spec.Parameter{Name: "cores", Type: spec.Integer, Minimum: &least}
	for _, c := range []struct {
		name   string
		change func(*blueprint.Definition)
		role   actor.Role
		params map[string]string
		want   error
		lost   bool
		bundle string
	}{
		{"nothing", func(*blueprint.Definition) {}, actor.Engineer, nil, nil, false, "STANDARD"},
		{"an image", func(d *blueprint.Definition) {
			d.Image = &blueprint.Image{Images: map[string]string{"eu-west-1": "wsi-1"}}
		}, actor.Engineer, nil, nil, true, "STANDARD"},
		{"an image, and its size no longer", func(d *blueprint.Definition) {
			d.Image, d.BundleTypes, d.DefaultBundleType = &blueprint.Image{Images: map[string]string{"eu-west-1": "wsi-1"}}, []string{"POWER"}, "POWER"
		}, actor.Engineer, nil, nil, true, "POWER"},
		{"the same for a contractor", func(d *blueprint.Definition) {
			d.Image, d.BundleTypes, d.DefaultBundleType = &blueprint.Image{Images: map[string]string{"eu-west-1": "wsi-1"}}, []string{"POWER"}, "POWER"
		}, actor.Contractor, nil, policy.ErrBundleNotAllowed, false, ""},
		{"a bundle that is elsewhere", func(d *blueprint.Definition) {
			d.Image = &blueprint.Image{Bundles: map[string]map[string]string{"us-east-1": {"STANDARD": "wsb-1"}}}
		}, actor.Engineer, nil, blueprint.ErrRegion, false, ""},
		{"another licence", func(d *blueprint.Definition) { d.License = "BYOL" }, actor.Engineer, nil, ErrLicense, false, ""},
		{"a tag that it lacks", func(d *blueprint.Definition) { d.RequiredTags = []spec.RequiredTag{{Key: "ticket"}} }, actor.Engineer, nil, blueprint.ErrRequiredTag, false, ""},
		{"a parameter that it lacks", func(d *blueprint.Definition) { d.Parameters = []spec.Parameter{parameter} }, actor.Engineer, nil, blueprint.ErrParameter, false, ""},
		{"a parameter that it has", func(d *blueprint.Definition) { d.Parameters = []spec.Parameter{parameter} }, actor.Engineer, map[string]string{"cores": "2", "gone": "x"}, nil, false, "STANDARD"},
		{"captured anew", func(d *blueprint.Definition) {
			d.Image = &blueprint.Image{Golden: &spec.Golden{Region: "eu-west-1", Workspace: "ws-1"}}
		}, actor.Engineer, nil, nil, true, "STANDARD"},
	} {
		w := row(ran, func(w *WorkSpace) {
			w.Region, w.BundleType, w.OperatingSystem, w.License, w.BlueprintVersionID, w.Parameters = "eu-west-1", "STANDARD", "WINDOWS", "INCLUDED", "bpv_1", c.params
		})
		to := is
		c.change(&to)
		s, err := w.towards("bpv_2", is, to, c.role)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
			continue
		}
		if err == nil && (s.lost != c.lost || s.becomes().BundleType != c.bundle) {
			t.Errorf("%s: lost %v, it becomes %s", c.name, s.lost, s.becomes().BundleType)
		}
		if _, kept := s.then.Parameters["gone"]; err == nil && kept {
			t.Errorf("%s: parameters %v", c.name, s.then.Parameters)
		}
	}
}

func TestTheCanaryIsAlwaysTheSameAndNeverNobody(t *testing.T) {
	for _, c := range []struct{ n, percent, batch, canary, batches int }{
		{0, 10, 10, 0, 0}, {1, 1, 10, 1, 0}, {9, 10, 25, 1, 1}, {100, 10, 25, 10, 4}, {101, 10, 25, 11, 4}, {30, 100, 25, 30, 0},
	} {
		u := &Upgrade{VersionID: "bpv_2", CanaryPercent: c.percent, BatchSize: c.batch}
		order := func(backwards bool) []UpgradeItem {
			var items []UpgradeItem
			for i := range c.n {
				items = append(items, UpgradeItem{WorkspaceID: id.WorkSpace(fmt.Sprintf("ws_%03d", i))})
			}
			if backwards {
				slices.Reverse(items)
			}
			u.order(items)
			return items
		}
		items := order(false)
		if d := cmp.Diff(items, order(true)); d != "" {
			t.Error(d)
		}
		canary, last := 0, 0
		for _, i := range items {
			if last = max(last, i.Batch); i.Batch == 0 {
				canary++
			}
		}
		if canary != c.canary || last != c.batches {
			t.Errorf("%+v: a canary of %d and %d batches", c, canary, last)
		}
	}
}

func TestWhatAnUpgradeDoesNext(t *testing.T) {
	const w, u, d, f, s = ItemWaiting, ItemUnderWay, ItemDone, ItemFailed, ItemSkipped
	tally := func(batch int, state ItemState, n int) BatchTally {
		return BatchTally{Batch: batch, State: state, Count: n, Counted: n}
	}
	known := BatchTally{Batch: 0, State: f, Count: 2}
	for name, c := range map[string]struct {
		state   UpgradeState
		tallies []BatchTally
		want    upgradePlan
	}{
		"the beginning":                {UpgradeRunning, []BatchTally{tally(0, w, 3), tally(1, w, 10)}, upgradePlan{batch: 0, room: 10}},
		"the canary is under way":      {UpgradeRunning, []BatchTally{tally(0, u, 3), tally(1, w, 10)}, upgradePlan{batch: 0, room: 7}},
		"the canary is over":           {UpgradeRunning, []BatchTally{tally(0, d, 3), tally(1, w, 10)}, upgradePlan{batch: 1, room: 10}},
		"one of the canary failed":     {UpgradeRunning, []BatchTally{tally(0, d, 1), tally(0, f, 1), tally(0, u, 1), tally(1, w, 10)}, upgradePlan{pause: "1 of the canary failed, and 0 may", batch: 0, room: 9}},
		"that is known":                {UpgradeRunning, []BatchTally{tally(0, d, 1), known, tally(1, w, 10)}, upgradePlan{batch: 1, room: 10}},
		"a batch may have one":         {UpgradeRunning, []BatchTally{tally(0, d, 3), tally(1, f, 1), tally(1, w, 9)}, upgradePlan{batch: 1, room: 10}},
		"but not two":                  {UpgradeRunning, []BatchTally{tally(0, d, 3), tally(1, f, 2), tally(1, w, 8)}, upgradePlan{pause: "2 of batch 1 failed, and 1 may", batch: 1, room: 10}},
		"skipping is no failure":       {UpgradeRunning, []BatchTally{tally(0, s, 3), tally(1, w, 10)}, upgradePlan{batch: 1, room: 10}},
		"the end":                      {UpgradeRunning, []BatchTally{tally(0, d, 3), tally(1, s, 10)}, upgradePlan{batch: -1, room: 10, done: true}},
		"the last of all failed":       {UpgradeRunning, []BatchTally{tally(0, d, 3), tally(1, f, 10)}, upgradePlan{pause: "10 of batch 1 failed, and 1 may", batch: -1, room: 10}},
		"nothing to upgrade":           {UpgradeRunning, nil, upgradePlan{batch: -1, room: 10, done: true}},
		"paused, some still under way": {UpgradePaused, []BatchTally{tally(0, u, 3), tally(1, w, 10)}, upgradePlan{}},
		"aborted, none under way":      {UpgradeAborted, []BatchTally{tally(0, d, 3), tally(1, w, 10)}, upgradePlan{idle: true}},
	} {
		up := &Upgrade{State: c.state, BatchSize: 10, BatchFailures: 1}
		if got := up.plan(c.tallies); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}
