package emulator

import (
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

func findBundle(id string) (publicBundle, bool) {
	at := slices.IndexFunc(publicBundles, func(b publicBundle) bool { return b.id == id })
	if at < 0 {
		return publicBundle{}, false
	}
	return publicBundles[at], true
}

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

func (b publicBundle) wire() wireBundle {
	h := computeTypes[b.compute]
	_, system, _ := strings.Cut(b.name, " with ")
	return wireBundle{
		BundleId: b.id,
		Name:     b.name,
		Owner:    "AMAZON",
		Description: fmt.Sprintf("%s, %d vCPU, %dGiB Memory, %dGB Root, %dGB User",
			system, h.vCPU, h.memoryGiB, h.rootGiB, h.userGiB),
		ImageId:         fmt.Sprintf("wsi-%09x", hash(b.system, b.protocol)&0xfffffffff),
		RootStorage:     wireCapacity{strconv.Itoa(h.rootGiB)},
		UserStorage:     wireCapacity{strconv.Itoa(h.userGiB)},
		ComputeType:     wireName{b.compute},
		LastUpdatedTime: wireTime(published),
		CreationTime:    wireTime(published),
		State:           "AVAILABLE",
		BundleType:      "REGULAR",
	}
}

type describeBundlesInput struct {
	BundleIds []string
	Owner     string
	NextToken string
}

// describeBundles knows only the public bundles: asked for an account's own, it has none.
func describeBundles(_ *Emulator, c *call, in describeBundlesInput) (any, error) {
	if len(in.BundleIds) > 0 && in.Owner != "" {
		return nil, invalidParameters("BundleIds cannot be combined with Owner.")
	}
	var at []int64
	for i, b := range publicBundles {
		if in.Owner == "AMAZON" || slices.Contains(in.BundleIds, b.id) {
			at = append(at, int64(i)+1)
		}
	}
	at, next, err := page(c, at, func(i int64) int64 { return i }, 0, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := struct {
		Bundles   []wireBundle
		NextToken string `json:",omitempty"`
	}{make([]wireBundle, 0, len(at)), next}
	for _, i := range at {
		out.Bundles = append(out.Bundles, publicBundles[i-1].wire())
	}
	return out, nil
}
