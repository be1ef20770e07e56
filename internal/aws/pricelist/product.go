package pricelist

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/price"
)

// product is what the Price List says of one SKU, as far as it matters here.
type product struct {
	sku, family            string
	region, bundle, system string
	license, mode, storage string
	resource, usage        string
	rates                  []rate
	terms                  int  // on demand
	otherwise              bool // there are terms of another kind
}

// rate is one price of an on-demand term.
type rate struct{ unit, usd, begin, end string }

// name tells people which product it is.
func (p *product) name() string {
	parts := []string{p.family, p.region, p.bundle, p.system, p.license, p.mode, p.storage, p.resource, p.usage}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " / ")
}

// reason is why a product gives no price.
type reason struct {
	text       string
	understood bool
}

// Products that are understood and are not what Forge pays for. Of the same bundle names, those of another family are
// WorkSpaces Core's, at other prices; software is added to a bundle, often for nothing; and the fees for volumes other
// than the included ones are those of other pairs of sizes.
var (
	otherFamily  = reason{"another product family, such as WorkSpaces Core", true}
	otherRegion  = reason{"another region", true}
	software     = reason{"software that is added to a bundle", true}
	pools        = reason{"WorkSpaces Pools", true}
	otherVolumes = reason{"volumes other than those that the bundle includes", true}
	free         = reason{"no charge", true}
	reserved     = reason{"not sold on demand", true}
)

// Products that are not understood.
var (
	unknownFamily  = reason{"it has no product family, or no description at all", false}
	noRegion       = reason{"it does not say which region it is of", false}
	unknownKind    = reason{"its resource type is not known", false}
	unknownBundle  = reason{"its bundle is no compute type that is known", false}
	unknownSystem  = reason{"its operating system is not known", false}
	unknownLicense = reason{"its licence is not known for its operating system", false}
	unknownMode    = reason{"its running mode is not known", false}
	unknownUnit    = reason{"its unit is not that of its running mode", false}
	unknownVolumes = reason{"its volumes are not understood", false}
	contradiction  = reason{"its usage type is not known, or says something else than its other attributes", false}
	unknownPrice   = reason{"it does not have one price in USD", false}
	ambiguous      = reason{"another product has a different price for the same thing", false}
	twice          = reason{"another product has the same price for the same thing", true}
)

// systems are the operating systems in Forge's words. "Any" is said of hardware alone, for Windows licences of one's own.
var systems = map[string]string{
	"Windows": "WINDOWS", "Any": "WINDOWS",
	"Amazon Linux": "AMAZON_LINUX_2", "Ubuntu Linux": "UBUNTU", "Red Hat Enterprise Linux": "RHEL", "Rocky Linux": "ROCKY",
}

// licenseOf is the license in Forge's words. Linux comes with what it needs, whether Amazon says Included or None to it.
func (p *product) licenseOf() (string, bool) {
	switch p.license {
	case "Included":
		return "INCLUDED", p.system != "Any"
	case "None":
		return "INCLUDED", p.system != "Any" && p.system != "Windows"
	case "Bring Your Own License":
		return "BYOL", p.system == "Any" || p.system == "Windows"
	}
	return "", false
}

// variant is the end of the name of a bundle that is another one with other volumes.
var variant = regexp.MustCompile(`^(.+)-[0-9]$`)

// computeTypes are Amazon's own, as the SDK knows them.
var computeTypes = func() map[string]bool {
	all := map[string]bool{}
	for _, c := range types.Compute("").Values() {
		all[string(c)] = true
	}
	return all
}()

// computeType is the compute type whose name a bundle has: that of Graphics.g4dn is GRAPHICS_G4DN.
func computeType(bundle string) (string, bool) {
	c := strings.ToUpper(strings.ReplaceAll(bundle, ".", "_"))
	return c, computeTypes[c]
}

// usageType is how the bill names it: a short name of the region, which us-east-1 does without, then AW for WorkSpaces, then
// HW for hardware or SW for software, letters more for some kinds of license, and a number.
var usageType = regexp.MustCompile(`^(?:([A-Z]{2,6}[0-9]?)-)?AW-(HWB[0-9]?|HWU?|SW)-([0-9A-Za-z.]+)(-AutoStop-User|-AutoStop-Usage)?$`)

var storagePair = regexp.MustCompile(`^Root:([0-9]{1,5}) GB,\s?User:([0-9]{1,5}) GB$`)

// key is what the product is a price for, or the reason why it is none.
func (p *product) key(region string) (price.Key, reason) {
	k := price.Key{Region: p.region}
	switch {
	case p.family == "":
		return k, unknownFamily
	case p.family != "Enterprise Applications":
		return k, otherFamily
	case !price.IsRegion(p.region):
		return k, noRegion
	case region != "" && p.region != region:
		return k, otherRegion
	case p.mode == "Pool", p.mode == "Not Applicable Pools", strings.Contains(p.usage, "-Pools"):
		return k, pools
	case p.resource == "Software", strings.HasSuffix(p.bundle, " Plus"):
		return k, software
	case p.resource != "Hardware":
		return k, unknownKind
	}
	base, isVariant := p.bundle, false
	if m := variant.FindStringSubmatch(p.bundle); m != nil {
		base, isVariant = m[1], true
	}
	var known bool
	if k.ComputeType, known = computeType(base); !known {
		return k, unknownBundle
	}
	if isVariant {
		return k, otherVolumes
	}
	if k.OperatingSystem = systems[p.system]; k.OperatingSystem == "" {
		return k, unknownSystem
	}
	if k.License, known = p.licenseOf(); !known {
		return k, unknownLicense
	}
	return p.item(k)
}

// item completes the key with what of the WorkSpace is paid for. The running mode, the unit and the usage type all say it,
// and must say the same.
func (p *product) item(k price.Key) (price.Key, reason) {
	switch {
	case p.terms == 0 && p.otherwise:
		return k, reserved
	case p.terms != 1, len(p.rates) != 1:
		return k, unknownPrice
	}
	unit := strings.ToLower(p.rates[0].unit)
	suffix := ""
	switch {
	case p.mode == "AlwaysOn" && unit == "month":
		k.Item = price.AlwaysOnMonth
	case p.mode == "AutoStop" && unit == "month":
		k.Item, suffix = price.AutoStopMonth, "-AutoStop-User"
	case p.mode == "AutoStop" && (unit == "hour" || unit == "hrs"):
		k.Item, suffix = price.AutoStopHour, "-AutoStop-Usage"
	case p.mode == "AlwaysOn", p.mode == "AutoStop":
		return k, unknownUnit
	default:
		return k, unknownMode
	}
	m := usageType.FindStringSubmatch(p.usage)
	switch {
	case m == nil, m[4] != suffix, m[2] == "SW",
		strings.HasPrefix(m[2], "HWB") && k.License != "BYOL",
		m[1] == "" && k.Region != "us-east-1":
		return k, contradiction
	}
	return k, p.volumes(k)
}

// volumes checks that a monthly fee is for the volumes that the bundle includes. The hourly rate does not depend on volumes.
func (p *product) volumes(k price.Key) reason {
	if k.Item == price.AutoStopHour {
		return reason{}
	}
	root, user, known := price.Included(k.ComputeType)
	if !known || !storagePair.MatchString(p.storage) {
		return unknownVolumes
	}
	m := storagePair.FindStringSubmatch(p.storage)
	if strings.TrimLeft(m[1], "0") != fmt.Sprint(root) || strings.TrimLeft(m[2], "0") != fmt.Sprint(user) {
		return otherVolumes
	}
	return reason{}
}

// amount is the price itself. Amazon writes ten decimals; what is finer than a millionth is not understood.
func (p *product) amount() (money.USD, reason) {
	r := p.rates[0]
	if r.begin != "" && r.begin != "0" || r.end != "" && r.end != "Inf" {
		return 0, unknownPrice // the first of several, by how much is used
	}
	text := r.usd
	if whole, fraction, ok := strings.Cut(text, "."); ok && len(fraction) > 6 {
		text = whole + "." + fraction[:6] + strings.TrimRight(fraction[6:], "0")
	}
	amount, err := money.Parse(text)
	switch {
	case err != nil, amount < 0, amount > 100_000*money.Dollar:
		return 0, unknownPrice
	case amount == 0:
		return 0, free
	}
	return amount, reason{}
}
