package workspace

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/robco-forge/forge/internal/fault"
)

// What a directory's licence can be. A blueprint's may have other words, which are Amazon's; what counts here is whether
// it is the organisation's own.
const (
	LicenseIncluded = "INCLUDED"
	LicenseBYOL     = "BYOL"
)

// ErrLicense says that no directory is for WorkSpaces of the blueprint's licence.
var ErrLicense = fault.New(fault.Invalid, "LICENSE_NOT_CONFIGURED", "no directory is configured for the licence of the blueprint",
	fault.Suggest("choose a region that has one, or another blueprint; an operator can configure a directory for that licence"))

// Directory is where WorkSpaces of a region are made. A region may have several.
type Directory struct {
	Region string
	ID     string
	// License is LicenseBYOL for a directory on dedicated hardware, in which Windows is the organisation's own. Empty is
	// LicenseIncluded.
	License string
	// SubnetIDs are those that the directory is to have; none: whichever it has.
	SubnetIDs []string
	// Teams are the names of those for which it is the default.
	Teams []string
}

// The forms of Amazon's names.
var (
	regionRule    = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$`)
	directoryRule = regexp.MustCompile(`^(d-[0-9a-f]{8,63}|wsd-[0-9a-z]{8,61})$`)
	subnetRule    = regexp.MustCompile(`^subnet-([0-9a-f]{8}|[0-9a-f]{17})$`)
)

// maxSubnets is how many subnets Amazon gives a directory.
const maxSubnets = 2

// Wrong says what is wrong with a directory that is configured after others, or nothing.
func (d Directory) Wrong(before []Directory) error {
	var wrong []error
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if !regionRule.MatchString(d.Region) {
		say("%q is not a region, such as us-east-1", d.Region)
	}
	if !directoryRule.MatchString(d.ID) {
		say("%q is not the id of a directory, such as d-9067012345", d.ID)
	}
	if d.License != "" && d.License != LicenseIncluded && d.License != LicenseBYOL {
		say("a license is %s or %s, not %q", LicenseIncluded, LicenseBYOL, d.License)
	}
	if len(d.SubnetIDs) > maxSubnets {
		say("a directory has %d subnets at most", maxSubnets)
	}
	for i, s := range d.SubnetIDs {
		switch {
		case !subnetRule.MatchString(s):
			say("%q is not the id of a subnet, such as subnet-0a1b2c3d", s)
		case slices.Contains(d.SubnetIDs[:i], s):
			say("the subnet %s is there twice", s)
		}
	}
	for i, team := range d.Teams {
		switch {
		case team == "":
			say("the name of a team is empty")
		case slices.Contains(d.Teams[:i], team):
			say("the team %s is there twice", team)
		}
	}
	for _, b := range before {
		if b.ID == d.ID {
			say("the directory %s is configured twice", d.ID)
			continue
		}
		for _, team := range d.Teams {
			if b.Region == d.Region && slices.Contains(b.Teams, team) {
				say("the team %s has two default directories in %s: %s and %s", team, d.Region, b.ID, d.ID)
			}
		}
	}
	return errors.Join(wrong...)
}

// fits tells whether WorkSpaces of a licence can be made in the directory: what is the organisation's own runs only on
// hardware of its own, and nothing else runs there.
func (d Directory) fits(license string) bool {
	return (d.License == LicenseBYOL) == (license == LicenseBYOL)
}

// place chooses the directory of a request, of those that fit the licence. In a region that was named it is the team's
// default there, else the first that is nobody's default, else the first. Without a region it is the team's default
// anywhere, else the first.
func place(configured []Directory, region, team, license string) (Directory, error) {
	var here, fit []Directory
	for _, d := range configured {
		if region != "" && d.Region != region {
			continue
		}
		here = append(here, d)
		if d.fits(license) {
			fit = append(fit, d)
		}
	}
	if len(here) == 0 {
		return Directory{}, ErrRegion.Sayf("no directory is configured for %q", region).Detail("regions", regionsOf(configured, func(Directory) bool { return true }))
	}
	if len(fit) == 0 {
		return Directory{}, wrongLicense(configured, region, license)
	}
	chosen := slices.IndexFunc(fit, func(d Directory) bool { return slices.Contains(d.Teams, team) })
	if chosen < 0 && region != "" {
		chosen = slices.IndexFunc(fit, func(d Directory) bool { return len(d.Teams) == 0 })
	}
	return fit[max(chosen, 0)], nil
}

// wrongLicense refuses with what is configured, and the regions in which the licence can be had.
func wrongLicense(configured []Directory, region, license string) error {
	have := make([]map[string]string, 0, len(configured))
	for _, d := range configured {
		have = append(have, map[string]string{"region": d.Region, "directory_id": d.ID, "license": cmp.Or(d.License, LicenseIncluded)})
	}
	where := "no directory"
	if region != "" {
		where = "no directory of " + region
	}
	return ErrLicense.Sayf("the blueprint's licence is %s, and %s is configured for it", license, where).
		Detail("directories", have).
		Detail("regions", regionsOf(configured, func(d Directory) bool { return d.fits(license) }))
}

// regionsOf are the regions of the directories that are wanted, each once, in their order.
func regionsOf(all []Directory, wanted func(Directory) bool) []string {
	regions := []string{}
	for _, d := range all {
		if wanted(d) && !slices.Contains(regions, d.Region) {
			regions = append(regions, d.Region)
		}
	}
	return regions
}
