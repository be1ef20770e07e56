package workspace

import (
	"maps"
	"reflect"
	"slices"

	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/price"
)

// Following is what a WorkSpace becomes when it follows its blueprint from one version to another. What it has as the old
// version said, it has as the new one says; what was chosen otherwise stays, as far as the new version allows it.
type Following struct {
	Next WorkSpace
	// Migrate tells that its root volume is made anew, with everything that was installed on it lost: another image or
	// operating system.
	Migrate bool
	// Why names the fields that differ.
	Why []string
}

// follow is pure: the WorkSpace, the definitions of its version and of the one to come, and the bundle types that its owner
// may use. The error says why it cannot be.
func (w *WorkSpace) follow(from, to blueprint.Definition, allowed []string) (Following, error) {
	f := Following{Next: *w}
	n := &f.Next
	differs := func(is bool, field string) {
		if is {
			f.Why = append(f.Why, field)
		}
	}
	if (w.License == LicenseBYOL) != (to.License == LicenseBYOL) {
		return f, ErrLicense.Sayf("its directory is for the licence %s, and the version's is %s", w.License, to.License)
	}
	n.OperatingSystem, n.License = to.OperatingSystem, to.License
	f.Migrate = w.OperatingSystem != n.OperatingSystem || w.License != n.License || !sameImage(from.Image, to.Image)
	differs(w.OperatingSystem != n.OperatingSystem, "operating_system")
	differs(w.License != n.License, "license")
	differs(!sameImage(from.Image, to.Image), "image")
	if !slices.Contains(to.BundleTypes, w.BundleType) || w.BundleType == from.DefaultBundleType {
		n.BundleType = to.DefaultBundleType
	}
	if slices.Contains(to.BundleTypes, w.BundleType) && !slices.Contains(allowed, n.BundleType) {
		n.BundleType = w.BundleType // the new default is not for its owner, and what it has is still offered
	}
	differs(w.BundleType != n.BundleType, "bundle_type")
	if w.RunningMode == from.RunningMode && w.Schedule == nil {
		n.RunningMode = to.RunningMode
	}
	differs(w.RunningMode != n.RunningMode, "running_mode")
	followTimes(w, n, from, to, differs)
	n.Tags = maps.Clone(w.Tags)
	for k, v := range from.Tags {
		if n.Tags[k] == v {
			delete(n.Tags, k)
		}
	}
	for k, v := range to.Tags {
		if _, own := n.Tags[k]; !own {
			n.Tags[k] = v
		}
	}
	differs(!maps.Equal(w.Tags, n.Tags), "tags")
	given := map[string]string{}
	for _, p := range to.Parameters {
		if v, ok := w.Parameters[p.Name]; ok {
			given[p.Name] = v
		}
	}
	var err error
	if n.Parameters, err = to.Resolve(given); err != nil {
		return f, blueprint.ErrParameter.Sayf("%v", err)
	}
	differs(!maps.Equal(w.Parameters, n.Parameters), "parameters")
	if err := requireTags(to, n.Tags); err != nil {
		return f, err
	}
	if !to.Image.Offers(w.Region, n.BundleType) {
		return f, blueprint.ErrRegion.Sayf("the version has no bundle for %s in %s", n.BundleType, w.Region)
	}
	if !slices.Contains(allowed, n.BundleType) {
		return f, policy.ErrBundleNotAllowed.Sayf("its owner may not use %s", n.BundleType)
	}
	return f, nil
}

// followTimes is the idle timeout and the lifetime.
func followTimes(w, n *WorkSpace, from, to blueprint.Definition, differs func(bool, string)) {
	timeout := func(minutes int) *int {
		if minutes == 0 {
			minutes = 60
		}
		return &minutes
	}
	switch {
	case n.RunningMode != price.AutoStop:
		n.AutoStopTimeoutMinutes = nil
	case w.AutoStopTimeoutMinutes == nil || *w.AutoStopTimeoutMinutes == *timeout(from.AutoStopTimeoutMinutes):
		n.AutoStopTimeoutMinutes = timeout(to.AutoStopTimeoutMinutes)
	}
	differs(!reflect.DeepEqual(w.AutoStopTimeoutMinutes, n.AutoStopTimeoutMinutes), "auto_stop_timeout_minutes")
	days := 0
	if w.MaxLifetimeDays != nil {
		days = *w.MaxLifetimeDays
	}
	if days == from.MaxLifetimeDays {
		days = to.MaxLifetimeDays
	}
	n.MaxLifetimeDays = nil
	if days > 0 {
		n.MaxLifetimeDays = &days
	}
	differs(!reflect.DeepEqual(w.MaxLifetimeDays, n.MaxLifetimeDays), "max_lifetime_days")
}

// sameImage tells whether two versions are made of the same. What is captured is captured anew for each version.
func sameImage(a, b *blueprint.Image) bool {
	if b != nil && b.Golden != nil {
		return false
	}
	return reflect.DeepEqual(a, b)
}
