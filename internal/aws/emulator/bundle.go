package emulator

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// publicBundle is a bundle that Amazon offers to everybody.
type publicBundle struct {
	id       string
	name     string
	compute  string
	system   string // operating system, as in WorkspaceProperties
	protocol string // what its WorkSpaces speak unless told otherwise
}

// publicBundles are the same in every Region and never change their ids. There are more than a page holds,
// as there are at Amazon, so that a client that does not page is found out.
var publicBundles = []publicBundle{
	{"wsb-yz0nwrwj2", "Value with Windows 10 (Server 2022 based) (WSP)", "VALUE", "WINDOWS_SERVER_2022", "WSP"},
	{"wsb-v26vg2847", "Standard with Windows 10 (Server 2022 based) (WSP)", "STANDARD", "WINDOWS_SERVER_2022", "WSP"},
	{"wsb-563kztf9k", "Performance with Windows 10 (Server 2022 based) (WSP)", "PERFORMANCE", "WINDOWS_SERVER_2022", "WSP"},
	{"wsb-kxnz6q681", "Power with Windows 10 (Server 2022 based) (WSP)", "POWER", "WINDOWS_SERVER_2022", "WSP"},
	{"wsb-d3zrx7vf5", "PowerPro with Windows 10 (Server 2022 based) (WSP)", "POWERPRO", "WINDOWS_SERVER_2022", "WSP"},
	{"wsb-gpr383n2b", "Graphics.g4dn with Windows 10 (Server 2022 based) (WSP)", "GRAPHICS_G4DN", "WINDOWS_SERVER_2022", "WSP"},
	{"wsb-3cgdz6g71", "GraphicsPro.g4dn with Windows 10 (Server 2022 based) (WSP)", "GRAPHICSPRO_G4DN", "WINDOWS_SERVER_2022", "WSP"},
	{"wsb-fs04nc7zs", "Standard with Amazon Linux 2 (WSP)", "STANDARD", "AMAZON_LINUX_2", "WSP"},
	{"wsb-8k3ss4z2l", "Performance with Amazon Linux 2 (WSP)", "PERFORMANCE", "AMAZON_LINUX_2", "WSP"},
	{"wsb-3tjyq3dgy", "Power with Amazon Linux 2 (WSP)", "POWER", "AMAZON_LINUX_2", "WSP"},
	{"wsb-yvv8cpt6p", "Standard with Ubuntu 22.04 (WSP)", "STANDARD", "UBUNTU_22_04", "WSP"},
	{"wsb-prc73smc8", "Performance with Ubuntu 22.04 (WSP)", "PERFORMANCE", "UBUNTU_22_04", "WSP"},
	{"wsb-dsd797g59", "Power with Ubuntu 22.04 (WSP)", "POWER", "UBUNTU_22_04", "WSP"},
	{"wsb-h602gjjf0", "Value with Windows 10 (Server 2022 based) (PCoIP)", "VALUE", "WINDOWS_SERVER_2022", "PCOIP"},
	{"wsb-svytzjdyc", "Standard with Windows 10 (Server 2022 based) (PCoIP)", "STANDARD", "WINDOWS_SERVER_2022", "PCOIP"},
	{"wsb-2021ts3yp", "Performance with Windows 10 (Server 2022 based) (PCoIP)", "PERFORMANCE", "WINDOWS_SERVER_2022", "PCOIP"},
	{"wsb-w9vvkbtht", "Power with Windows 10 (Server 2022 based) (PCoIP)", "POWER", "WINDOWS_SERVER_2022", "PCOIP"},
	{"wsb-yzmt2dzj6", "PowerPro with Windows 10 (Server 2022 based) (PCoIP)", "POWERPRO", "WINDOWS_SERVER_2022", "PCOIP"},
	{"wsb-j2mzjqh2w", "Value with Windows 10 (Server 2019 based) (WSP)", "VALUE", "WINDOWS_SERVER_2019", "WSP"},
	{"wsb-8k5xwlxqc", "Standard with Windows 10 (Server 2019 based) (WSP)", "STANDARD", "WINDOWS_SERVER_2019", "WSP"},
	{"wsb-nwx7v3drf", "Performance with Windows 10 (Server 2019 based) (WSP)", "PERFORMANCE", "WINDOWS_SERVER_2019", "WSP"},
	{"wsb-xgj4wpk4c", "Power with Windows 10 (Server 2019 based) (WSP)", "POWER", "WINDOWS_SERVER_2019", "WSP"},
	{"wsb-y4qy0fqv6", "PowerPro with Windows 10 (Server 2019 based) (WSP)", "POWERPRO", "WINDOWS_SERVER_2019", "WSP"},
	{"wsb-kyjxp22wx", "Value with Windows 10 (Server 2019 based) (PCoIP)", "VALUE", "WINDOWS_SERVER_2019", "PCOIP"},
	{"wsb-llytpsjx9", "Standard with Windows 10 (Server 2019 based) (PCoIP)", "STANDARD", "WINDOWS_SERVER_2019", "PCOIP"},
	{"wsb-ql79qy1ly", "Performance with Windows 10 (Server 2019 based) (PCoIP)", "PERFORMANCE", "WINDOWS_SERVER_2019", "PCOIP"},
	{"wsb-j6drbbwtb", "Power with Windows 10 (Server 2019 based) (PCoIP)", "POWER", "WINDOWS_SERVER_2019", "PCOIP"},
	{"wsb-k3rgyv1lm", "PowerPro with Windows 10 (Server 2019 based) (PCoIP)", "POWERPRO", "WINDOWS_SERVER_2019", "PCOIP"},
}

// hardware is what a compute type is made of.
type hardware struct {
	vCPU, memoryGiB  int
	rootGiB, userGiB int // what the public bundles come with
	leastRootGiB     int // what it may be shrunk to at creation
	leastUserGiB     int
}

var computeTypes = map[string]hardware{
	"VALUE":            {1, 2, 80, 10, 80, 10},
	"STANDARD":         {2, 4, 80, 50, 80, 10},
	"PERFORMANCE":      {2, 8, 80, 100, 80, 10},
	"POWER":            {4, 16, 175, 100, 80, 10},
	"POWERPRO":         {8, 32, 175, 100, 80, 10},
	"GRAPHICS_G4DN":    {4, 16, 100, 100, 100, 100},
	"GRAPHICSPRO_G4DN": {16, 64, 100, 100, 100, 100},
}

// published is when the public bundles were, as far as they say.
var published = time.Date(2023, time.October, 17, 18, 30, 0, 0, time.UTC)

// bundle is what a WorkSpace is made from, Amazon's or the account's own. Only own ones are stored.
type bundle struct {
	Seq         int64             `json:"seq"` // of Amazon's the place in its list, from 1
	ID          string            `json:"id"`
	Region      string            `json:"region"` // "" is every one
	Name        string            `json:"name"`
	Description string            `json:"description"`
	ImageID     string            `json:"image_id"`
	Compute     string            `json:"compute"`
	System      string            `json:"system"`   // the image's
	Protocol    string            `json:"protocol"` // the image's
	RootGiB     int               `json:"root_gib"`
	UserGiB     int               `json:"user_gib"`
	Tags        map[string]string `json:"tags,omitempty"`
	Created     time.Time         `json:"created"`
	Updated     time.Time         `json:"updated"`           // given another image
	Ready       time.Time         `json:"ready"`             // PENDING before, AVAILABLE after
	Deleted     bool              `json:"deleted,omitempty"` // the last line about it

	amazons bool
}

func (*bundle) kind() string  { return "bundle" }
func (b *bundle) key() string { return b.ID }

// amazonBundles are publicBundles by their ids.
var amazonBundles = func() map[string]*bundle {
	all := map[string]*bundle{}
	for i, p := range publicBundles {
		h := computeTypes[p.compute]
		_, system, _ := strings.Cut(p.name, " with ")
		all[p.id] = &bundle{
			Seq: int64(i) + 1, ID: p.id, Name: p.name,
			Description: fmt.Sprintf("%s, %d vCPU, %dGiB Memory, %dGB Root, %dGB User",
				system, h.vCPU, h.memoryGiB, h.rootGiB, h.userGiB),
			ImageID: fmt.Sprintf("wsi-%09x", hash(p.system, p.protocol)&0xfffffffff),
			Compute: p.compute, System: p.system, Protocol: p.protocol, RootGiB: h.rootGiB, UserGiB: h.userGiB,
			Created: published, Updated: published, Ready: published, amazons: true,
		}
	}
	return all
}()

// amazonsImage reports whether an image is one that Amazon's bundles are made of. They can be used through
// their bundles only.
func amazonsImage(id string) bool {
	for _, b := range amazonBundles {
		if b.ImageID == id {
			return true
		}
	}
	return false
}

// bundle finds one that can be used in region.
func (w *world) bundle(region, id string) (*bundle, bool) {
	if b, ok := amazonBundles[id]; ok {
		return b, true
	}
	b, ok := w.bundles[id]
	return b, ok && b.Region == region
}

// ownBundles are the account's in a Region, oldest first.
func (w *world) ownBundles(region string) []*bundle {
	var own []*bundle
	for _, b := range w.bundles {
		if b.Region == region {
			own = append(own, b)
		}
	}
	slices.SortFunc(own, func(a, b *bundle) int { return cmp.Compare(a.Seq, b.Seq) })
	return own
}

func (b *bundle) available(now time.Time) bool { return !now.Before(b.Ready) }

type wireBundle struct {
	BundleId        string
	Name            string
	Owner           string
	Description     string
	ImageId         string
	RootStorage     wireCapacity
	UserStorage     wireCapacity
	ComputeType     wireName
	LastUpdatedTime wireTime
	CreationTime    wireTime
	State           string
	BundleType      string
}

// wireCapacity is a size in GiB. Amazon sends it as text.
type wireCapacity struct{ Capacity string }

type wireName struct{ Name string }

func (b *bundle) wire(now time.Time) wireBundle {
	out := wireBundle{
		BundleId: b.ID, Name: b.Name, Owner: accountOf(b.Region), Description: b.Description, ImageId: b.ImageID,
		RootStorage:     wireCapacity{strconv.Itoa(b.RootGiB)},
		UserStorage:     wireCapacity{strconv.Itoa(b.UserGiB)},
		ComputeType:     wireName{b.Compute},
		LastUpdatedTime: wireTime(b.Updated),
		CreationTime:    wireTime(b.Created),
		State:           imageAvailable,
		BundleType:      "REGULAR",
	}
	if b.amazons {
		out.Owner = amazon
	}
	if !b.available(now) {
		out.State = imagePending
	}
	return out
}

// amazon is the owner of the public bundles.
const amazon = "AMAZON"

func taggedBundle(w *world, c *call, id string) (tagged, bool) {
	found, ok := w.bundle(c.region, id)
	if !ok || found.amazons {
		return tagged{}, false
	}
	b := *found
	return tagged{b.Tags, func(tags map[string]string) record { b.Tags = tags; return &b }}, true
}

type describeBundlesInput struct {
	BundleIds []string
	Owner     string
	NextToken string
}

// describeBundles returns Amazon's bundles, or the account's own when no owner is named. Of ids it returns
// those there are, whoever owns them.
func describeBundles(e *Emulator, c *call, in describeBundlesInput) (any, error) {
	if len(in.BundleIds) > 0 && in.Owner != "" {
		return nil, invalidParameters("BundleIds cannot be combined with Owner.")
	}
	var found []*bundle
	for _, p := range publicBundles {
		if in.Owner == amazon || slices.Contains(in.BundleIds, p.id) {
			found = append(found, amazonBundles[p.id])
		}
	}
	for _, b := range e.world.ownBundles(c.region) {
		if slices.Contains(in.BundleIds, b.ID) || (len(in.BundleIds) == 0 && (in.Owner == "" || in.Owner == c.account())) {
			found = append(found, b)
		}
	}
	// Ids fit on one page, so Amazon's and own bundles, which are counted apart, never share more than that.
	found, next, err := page(c, found, func(b *bundle) int64 { return b.Seq }, 0, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := struct {
		Bundles   []wireBundle
		NextToken string `json:",omitempty"`
	}{make([]wireBundle, 0, len(found)), next}
	for _, b := range found {
		out.Bundles = append(out.Bundles, b.wire(c.at))
	}
	return out, nil
}

// bundleQuota is how many bundles of its own an account may have in a Region. Amazon does not raise it.
const bundleQuota = 50

type createBundleInput struct {
	BundleName        string
	BundleDescription string
	ImageId           string
	ComputeType       wireName
	RootStorage       *wireCapacity
	UserStorage       wireCapacity
	Tags              []wireTag
}

// createBundle makes a bundle of an image of the account's. Its name is what a client knows it by when the
// answer was lost.
func createBundle(e *Emulator, c *call, in createBundleInput) (any, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	root, user, err := in.storage()
	if err != nil {
		return nil, err
	}
	image, err := e.world.usableImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}
	own := e.world.ownBundles(c.region)
	if slices.ContainsFunc(own, func(b *bundle) bool { return b.Name == in.BundleName }) {
		return nil, alreadyExists("A bundle with the specified name exists already.")
	}
	if len(own) >= bundleQuota {
		return nil, limitExceeded()
	}
	id := e.newID("wsb-")
	b := &bundle{
		Seq: e.world.seq + 1, ID: id, Region: c.region, Name: in.BundleName, Description: in.BundleDescription,
		ImageID: image.ID, Compute: in.ComputeType.Name, System: image.System, Protocol: image.Protocol,
		RootGiB: root, UserGiB: user, Tags: tagMap(in.Tags),
		Created: c.at, Updated: c.at, Ready: c.at.Add(bundling.of(id, e.speed)),
	}
	if err := e.commit(b); err != nil {
		return nil, err
	}
	return struct{ WorkspaceBundle wireBundle }{b.wire(c.at)}, nil
}

// storage is the size of the volumes asked for (GiB). A root volume that is not given has the size it has in
// Amazon's bundles.
func (in createBundleInput) storage() (root, user int, err error) {
	h, ok := computeTypes[in.ComputeType.Name]
	if !ok {
		return 0, 0, invalidParameters("The specified compute type is not supported.")
	}
	root = h.rootGiB
	if in.RootStorage != nil {
		if root, err = strconv.Atoi(in.RootStorage.Capacity); err != nil {
			return 0, 0, invalidParameters("The capacity of the root volume is not a number.")
		}
	}
	if user, err = strconv.Atoi(in.UserStorage.Capacity); err != nil {
		return 0, 0, invalidParameters("The capacity of the user volume is not a number.")
	}
	if !h.allows(root, user) {
		return 0, 0, invalidParameters("The combination of root and user volume sizes is not supported.")
	}
	return root, user, nil
}

type updateBundleInput struct{ BundleId, ImageId string }

// updateBundle gives a bundle another image, in place: WorkSpaces made of it stay as they are until they are
// rebuilt.
func updateBundle(e *Emulator, c *call, in updateBundleInput) (any, error) {
	b, err := e.world.ownBundle(c, in.BundleId)
	if err != nil {
		return nil, err
	}
	if in.ImageId == "" {
		return nil, invalidParameters("ImageId must be specified.")
	}
	image, err := e.world.usableImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}
	if !b.available(c.at) {
		return nil, unavailable(b.ID)
	}
	if platform(image.System) != platform(b.System) {
		return nil, notSupported("The operating system of the image is of another kind than the one of the bundle.")
	}
	updated := *b
	updated.ImageID, updated.System, updated.Protocol, updated.Updated = image.ID, image.System, image.Protocol, c.at
	if err := e.commit(&updated); err != nil {
		return nil, err
	}
	return nothing{}, nil
}

type deleteBundleInput struct{ BundleId string }

func deleteBundle(e *Emulator, c *call, in deleteBundleInput) (any, error) {
	b, err := e.world.ownBundle(c, in.BundleId)
	if err != nil {
		return nil, err
	}
	for _, o := range e.world.order {
		if o.BundleID != b.ID {
			continue
		}
		if v := o.at(c.at); v.State != stateAbsent {
			return nil, associated("One or more WorkSpaces are associated with the bundle.")
		}
	}
	gone := *b
	gone.Deleted = true
	if err := e.commit(&gone); err != nil {
		return nil, err
	}
	return nothing{}, nil
}

// ownBundle finds a bundle that the account may change.
func (w *world) ownBundle(c *call, id string) (*bundle, error) {
	if id == "" {
		return nil, invalidParameters("BundleId must be specified.")
	}
	b, ok := w.bundle(c.region, id)
	if !ok {
		return nil, notFound(id)
	}
	if b.amazons {
		return nil, accessDenied()
	}
	return b, nil
}
