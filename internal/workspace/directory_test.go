package workspace

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/fault"
)

func TestTheDirectoryOfARequest(t *testing.T) {
	const east, west, tokyo = "us-east-1", "us-west-2", "ap-northeast-1"
	all := []Directory{
		{Region: east, ID: "east-data", Teams: []string{"data", "search"}},
		{Region: east, ID: "east-open"},
		{Region: east, ID: "east-open-too"},
		{Region: east, ID: "east-own", License: LicenseBYOL},
		{Region: west, ID: "west-ops", License: LicenseIncluded, Teams: []string{"ops"}},
		{Region: west, ID: "west-data", Teams: []string{"data"}},
		{Region: west, ID: "west-own", License: LicenseBYOL, Teams: []string{"ops-own"}},
		{Region: tokyo, ID: "tokyo", License: LicenseBYOL, Teams: []string{"search"}},
	}
	for name, c := range map[string]struct {
		region, team, license string
		want                  string
		refused               *fault.Fault
		regions               []string
	}{
		"no region, the team's default":                     {"", "data", "INCLUDED", "east-data", nil, nil},
		"no region, the team's default in another region":   {"", "ops", "INCLUDED", "west-ops", nil, nil},
		"no region, no default: the first":                  {"", "mobile", "INCLUDED", "east-data", nil, nil},
		"no region, the first of the licence":               {"", "mobile", "BYOL", "east-own", nil, nil},
		"no region, the team's default of the licence":      {"", "search", "BYOL", "tokyo", nil, nil},
		"region, the team's default":                        {west, "data", "INCLUDED", "west-data", nil, nil},
		"region, no default: the first of nobody":           {east, "mobile", "INCLUDED", "east-open", nil, nil},
		"region, no default, all are somebody's: the first": {west, "mobile", "INCLUDED", "west-ops", nil, nil},
		"region, of the licence":                            {east, "data", "BYOL", "east-own", nil, nil},
		"region, somebody's of the licence":                 {west, "data", "BYOL", "west-own", nil, nil},
		"another licence of Amazon's":                       {east, "data", "NONE", "east-data", nil, nil},
		"region, not of the licence":                        {tokyo, "search", "INCLUDED", "", ErrLicense, []string{east, west}},
		"unknown region":                                    {"eu-west-1", "data", "INCLUDED", "", ErrRegion, []string{east, west, tokyo}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := place(all, c.region, c.team, c.license)
			if c.refused == nil {
				if err != nil || got.ID != c.want {
					t.Errorf("%q, %v; want %q", got.ID, err, c.want)
				}
				return
			}
			if !errors.Is(err, c.refused) {
				t.Fatalf("%v, want %s", err, c.refused.Code)
			}
			var f *fault.Fault
			errors.As(err, &f)
			if d := cmp.Diff(c.regions, f.Details["regions"]); d != "" {
				t.Error(d)
			}
		})
	}
	_, err := place(all[:2], "", "data", LicenseBYOL)
	var f *fault.Fault
	if !errors.As(err, &f) || !errors.Is(err, ErrLicense) {
		t.Fatalf("%v, want %s", err, ErrLicense.Code)
	}
	want := []map[string]string{
		{"region": east, "directory_id": "east-data", "license": "INCLUDED"},
		{"region": east, "directory_id": "east-open", "license": "INCLUDED"},
	}
	if d := cmp.Diff(want, f.Details["directories"]); d != "" {
		t.Error(d)
	}
	if _, err := place(nil, "", "data", ""); !errors.Is(err, ErrRegion) {
		t.Errorf("without directories: %v", err)
	}
}

func TestAWrongDirectoryIsRefused(t *testing.T) {
	good := Directory{
		Region: "us-gov-west-1", ID: "d-9067012345", License: LicenseBYOL, SubnetIDs: []string{"subnet-0a1b2c3d", "subnet-0123456789abcdef0"},
		Teams: []string{"data", "search"},
	}
	if err := good.Wrong([]Directory{{Region: "us-east-1", ID: "wsd-abcdefgh1", Teams: []string{"data"}}}); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		change func(*Directory)
		before []Directory
		says   []string
	}{
		"everything":     {func(d *Directory) { *d = Directory{License: "MINE"} }, nil, []string{"is not a region", "is not the id of a directory", "INCLUDED or BYOL"}},
		"zone":           {func(d *Directory) { d.Region = "us-east-1a" }, nil, []string{`"us-east-1a" is not a region`}},
		"id":             {func(d *Directory) { d.ID = "d-906701234Z" }, nil, []string{"is not the id"}},
		"subnet":         {func(d *Directory) { d.SubnetIDs[0] = "subnet-1" }, nil, []string{`"subnet-1" is not the id of a subnet`}},
		"subnet twice":   {func(d *Directory) { d.SubnetIDs[0] = d.SubnetIDs[1] }, nil, []string{"subnet-0123456789abcdef0 is there twice"}},
		"subnets":        {func(d *Directory) { d.SubnetIDs = append(d.SubnetIDs, "subnet-11111111") }, nil, []string{"2 subnets at most"}},
		"team":           {func(d *Directory) { d.Teams[0] = "" }, nil, []string{"is empty"}},
		"team twice":     {func(d *Directory) { d.Teams[0] = "search" }, nil, []string{"search is there twice"}},
		"directory":      {func(*Directory) {}, []Directory{{Region: "us-east-1", ID: good.ID}}, []string{"configured twice"}},
		"default of two": {func(*Directory) {}, []Directory{{Region: good.Region, ID: "d-1", Teams: []string{"search"}}}, []string{"search has two default directories in us-gov-west-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := good
			d.SubnetIDs, d.Teams = slices.Clone(good.SubnetIDs), slices.Clone(good.Teams)
			c.change(&d)
			err := d.Wrong(c.before)
			if err == nil {
				t.Fatal("it is not refused")
			}
			for _, says := range c.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%q does not say %q", err, says)
				}
			}
			if got := strings.Count(err.Error(), "\n") + 1; got != len(c.says) {
				t.Errorf("%d things are wrong, want %d: %v", got, len(c.says), err)
			}
		})
	}
}
