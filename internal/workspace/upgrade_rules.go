package workspace

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/price"
)

// What a WorkSpace takes over from another version of its blueprint. What its owner has chosen otherwise stays.

// imageOf says what the root volume of a bundle type in a region is made of; empty is Amazon's public image.
func imageOf(d blueprint.Definition, region, bundleType string) string {
	switch i := d.Image; {
	case i == nil:
		return ""
	case i.Bundles != nil:
		return "bundle " + i.Bundles[region][bundleType]
	case i.Images != nil:
		return "image " + i.Images[region]
	default:
		golden, err := json.Marshal(i.Golden)
		if err != nil {
			return "golden"
		}
		return "golden " + string(golden)
	}
}

// idleOf is the idle timeout that a definition gives, in minutes.
func idleOf(d blueprint.Definition) int {
	if d.AutoStopTimeoutMinutes == 0 {
		return modeMinutes(price.AutoStop)
	}
	return d.AutoStopTimeoutMinutes
}

// settings brings a WorkSpace's settings to those of another version, and returns what changes by that.
func (f *Fleet) settings(ctx context.Context, tx *audit.Tx, w *WorkSpace, version id.BlueprintVersion) (map[string]any, error) {
	if version == w.BlueprintVersionID {
		return nil, nil
	}
	is, err := blueprint.DefinitionOf(ctx, tx, w.BlueprintVersionID)
	if err != nil {
		return nil, err
	}
	to, err := blueprint.DefinitionOf(ctx, tx, version)
	if err != nil {
		return nil, err
	}
	return w.follow(is, to)
}

// upgradeStep is what an upgrade to a version makes of a WorkSpace.
type upgradeStep struct {
	then    WorkSpace      // with the settings that it takes over
	changed map[string]any // those settings
	to      Migration
	lost    bool // it must be migrated to come there
}

// towards tells what an upgrade from one definition to another would make of the WorkSpace, and refuses what cannot be. owner is
// the role of whose it is.
func (w *WorkSpace) towards(version id.BlueprintVersion, is, to blueprint.Definition, owner actor.Role) (upgradeStep, error) {
	s := upgradeStep{then: *w, to: w.migrationTo(version, to)}
	if (w.License == LicenseBYOL) != (to.License == LicenseBYOL) {
		return s, ErrLicense.Sayf("its licence is %s, and the version's is %s: Amazon keeps them in different directories", w.License, to.License).Suggestf("launch a new one")
	}
	var err error
	if s.changed, err = s.then.follow(is, to); err != nil {
		return s, err
	}
	if err := checkTags(s.then.Tags); err != nil {
		return s, err
	}
	if err := requireTags(to, s.then.Tags); err != nil {
		return s, err
	}
	if s.lost = w.lost(s.to, is, to); !s.lost {
		return s, nil
	}
	if !to.Image.Offers(w.Region, s.to.BundleType) {
		return s, blueprint.ErrRegion.Sayf("the version has no bundle for %s in %s", s.to.BundleType, w.Region)
	}
	if s.to.BundleType != w.BundleType {
		if err := policy.RequireBundle(actor.Actor{Type: actor.TypeUser, Role: owner}, s.to.BundleType); err != nil {
			return s, policy.ErrBundleNotAllowed.Sayf("its owner may not use %s, and the version does not offer %s", s.to.BundleType, w.BundleType)
		}
	}
	return s, nil
}

// becomes is the WorkSpace once it is there, for what it costs then.
func (s *upgradeStep) becomes() *WorkSpace {
	w := s.then
	if s.lost {
		w.BundleType, w.OperatingSystem = s.to.BundleType, s.to.OperatingSystem
	}
	return &w
}

// follow takes over the timeout, the lifetime and the tags in which one definition differs from the other, as far as the
// WorkSpace has them from the one before, and the parameters, and returns what changes.
func (w *WorkSpace) follow(is, to blueprint.Definition) (map[string]any, error) {
	changed := map[string]any{}
	note := func(what string, from, to any) { changed[what] = map[string]any{"from": from, "to": to} }
	if have := w.AutoStopTimeoutMinutes; have != nil && *have == idleOf(is) && idleOf(to) != *have {
		minutes := idleOf(to)
		note("auto_stop_timeout_minutes", *have, minutes)
		w.AutoStopTimeoutMinutes = &minutes
	}
	days := 0
	if w.MaxLifetimeDays != nil {
		days = *w.MaxLifetimeDays
	}
	if days == is.MaxLifetimeDays && days != to.MaxLifetimeDays {
		note("max_lifetime_days", days, to.MaxLifetimeDays)
		w.MaxLifetimeDays = nil
		if to.MaxLifetimeDays > 0 {
			w.MaxLifetimeDays = &to.MaxLifetimeDays
		}
	}
	tags := maps.Clone(w.Tags)
	if tags == nil {
		tags = map[string]string{}
	}
	maps.DeleteFunc(tags, func(k, v string) bool { was, ok := is.Tags[k]; return ok && was == v })
	for k, v := range to.Tags {
		if _, chosen := tags[k]; !chosen {
			tags[k] = v
		}
	}
	if !maps.Equal(tags, w.Tags) {
		note("tags", w.Tags, tags)
		w.Tags, w.Retag = tags, true
	}
	given := map[string]string{}
	for _, p := range to.Parameters {
		if v, ok := w.Parameters[p.Name]; ok {
			given[p.Name] = v
		}
	}
	parameters, err := to.Resolve(given)
	if err != nil {
		return nil, blueprint.ErrParameter.Sayf("%v", err)
	}
	if !maps.Equal(parameters, w.Parameters) {
		note("parameters", w.Parameters, parameters)
		w.Parameters = parameters
	}
	return changed, nil
}
