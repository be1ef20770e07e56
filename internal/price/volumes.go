package price

import "strings"

// Included are the sizes, in GiB, of the volumes that come with the public bundles of a compute type and are in its
// monthly fee: those of the bundles' descriptions in DescribeWorkspaceBundles and of Amazon's page of bundles. The
// graphics and the general-purpose types share theirs, which are also the least that Amazon allows them.
func Included(computeType string) (rootGiB, userGiB int, known bool) {
	switch {
	case computeType == "VALUE":
		return 80, 10, true
	case computeType == "STANDARD":
		return 80, 50, true
	case computeType == "PERFORMANCE":
		return 80, 100, true
	case computeType == "POWER", computeType == "POWERPRO", strings.HasPrefix(computeType, "GENERALPURPOSE_"):
		return 175, 100, true
	case strings.HasPrefix(computeType, "GRAPHICS"):
		return 100, 100, true
	}
	return 0, 0, false
}

// Storage is the monthly fee for what volumes of these sizes have beyond the included ones, nil if nothing. A volume that is
// smaller than the included one costs what that does: the book has one fee for a compute type.
func (b *Book) Storage(key Key, rootGiB, userGiB int) (*Price, error) {
	if rootGiB == 0 && userGiB == 0 {
		return nil, nil
	}
	root, user, known := Included(key.ComputeType)
	if !known {
		return nil, ErrUnknown.Sayf("it is not known what volumes %s includes, so its volumes have no price", key.ComputeType).
			Detail("region", key.Region).Detail("bundle_type", key.ComputeType)
	}
	var sum *Price
	for _, v := range []struct {
		item   Item
		beyond int
	}{{RootGBMonth, rootGiB - root}, {UserGBMonth, userGiB - user}} {
		if v.beyond <= 0 {
			continue
		}
		key.Item = v.item
		p, err := b.Rate(key)
		if err != nil {
			return nil, err
		}
		p.Amount = p.Amount.Times(int64(v.beyond))
		if sum == nil {
			sum = &p
		} else {
			sum.Amount += p.Amount
		}
	}
	return sum, nil
}
