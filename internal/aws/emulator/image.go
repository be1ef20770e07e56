package emulator

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The states of an image; a bundle has the first two of them.
const (
	imagePending   = "PENDING"
	imageAvailable = "AVAILABLE"
	imageError     = "ERROR"
)

// imageQuota is how many images an account may have in a Region.
const imageQuota = 40

// image is the root volume of a WorkSpace, kept to make bundles of. What it is now follows from what is
// stored and the time, as with a workspace.
type image struct {
	Seq         int64             `json:"seq"`
	ID          string            `json:"id"`
	Region      string            `json:"region"`
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	System      string            `json:"system"`
	Protocol    string            `json:"protocol"`
	Source      string            `json:"source"` // the WorkSpace or image it was made of
	Created     time.Time         `json:"created"`
	Done        time.Time         `json:"done"` // PENDING before; AVAILABLE after, or ERROR if it failed
	ErrorCode   string            `json:"error_code,omitempty"`
	ErrorText   string            `json:"error_text,omitempty"`
	SharedWith  []string          `json:"shared_with,omitempty"` // accounts that may copy it, in order
	Tags        map[string]string `json:"tags,omitempty"`
	Deleted     bool              `json:"deleted,omitempty"` // the last line about it
}

func (*image) kind() string  { return "image" }
func (i *image) key() string { return i.ID }

func (i *image) state(now time.Time) string {
	switch {
	case now.Before(i.Done):
		return imagePending
	case i.ErrorCode != "":
		return imageError
	}
	return imageAvailable
}

// fail makes an image that is not finished end in ERROR. The code is one of the model's for details.
func (i *image) fail(code, text string) { i.ErrorCode, i.ErrorText = code, text }

// platform is the kind of an operating system, in Amazon's words.
func platform(system string) string {
	if strings.HasPrefix(system, "WINDOWS") {
		return "WINDOWS"
	}
	return "LINUX"
}

// ownImages are the account's in a Region, oldest first.
func (w *world) ownImages(region string) []*image {
	return w.imagesThat(func(i *image) bool { return i.Region == region })
}

// imagesThat are those wanted, oldest first.
func (w *world) imagesThat(wanted func(*image) bool) []*image {
	var found []*image
	for _, i := range w.images {
		if wanted(i) {
			found = append(found, i)
		}
	}
	slices.SortFunc(found, func(a, b *image) int { return cmp.Compare(a.Seq, b.Seq) })
	return found
}

// sharedWith reports whether an image of another account may be copied by the call's.
func (i *image) sharedWith(c *call) bool { return slices.Contains(i.SharedWith, c.account()) }

// ownImage finds an image of the account's. Amazon's own are for nobody to use but through their bundles.
func (w *world) ownImage(region, id string) (*image, error) {
	if amazonsImage(id) {
		return nil, accessDenied()
	}
	i, ok := w.images[id]
	if !ok || i.Region != region {
		return nil, notFound(id)
	}
	return i, nil
}

// usableImage finds an image that a bundle can be made of.
func (w *world) usableImage(c *call, id string) (*image, error) {
	i, err := w.ownImage(c.region, id)
	if err != nil {
		return nil, err
	}
	if i.state(c.at) != imageAvailable {
		return nil, unavailable(id)
	}
	return i, nil
}

// newImage is one that is being made from now on. It fails when the name is taken or there are too many;
// images that failed count, too.
func (e *Emulator) newImage(c *call, name, description, source string, tags []wireTag) (*image, error) {
	if err := checkTags(tags); err != nil {
		return nil, err
	}
	own := e.world.ownImages(c.region)
	if slices.ContainsFunc(own, func(i *image) bool { return i.Name == name }) {
		return nil, alreadyExists("An image with the specified name exists already.")
	}
	if len(own) >= imageQuota {
		return nil, limitExceeded()
	}
	id := e.newID("wsi-")
	return &image{
		Seq: e.world.seq + 1, ID: id, Region: c.region, Name: name, Description: description, Source: source,
		Created: c.at, Done: c.at.Add(imaging.of(id, e.speed)), Tags: tagMap(tags),
	}, nil
}

type createImageInput struct {
	Name        string
	Description string
	WorkspaceId string
	Tags        []wireTag
}

// createImage captures a WorkSpace, which is SUSPENDED until the image is there and lets nothing be done to
// it meanwhile. The image's name is what a client knows it by when the answer was lost.
func createImage(e *Emulator, c *call, in createImageInput) (any, error) {
	w, ok := e.world.find(c.region, in.WorkspaceId, c.at)
	if !ok {
		return nil, notFound(in.WorkspaceId)
	}
	i, err := e.newImage(c, in.Name, in.Description, w.ID, in.Tags)
	if err != nil {
		return nil, err
	}
	if w.EncryptRoot || w.EncryptUser {
		return nil, notSupported("An image cannot be created from an encrypted WorkSpace.")
	}
	if w.State != stateAvailable {
		return nil, invalidState("An image cannot be created from a WorkSpace in the state " + w.State + ".")
	}
	if w.Change != nil {
		return nil, invalidState("An image cannot be created from a WorkSpace that is being modified.")
	}
	i.System, i.Protocol = w.System, w.Protocol
	e.faults.spoil(c, i)
	w.Speed = e.speed
	w.enter(stateSuspended, c.at)
	w.Next, w.NextAt = stateAvailable, i.Done
	if err := e.commit(&together{i, &w}); err != nil {
		return nil, err
	}
	out := i.wire(c.at)
	out.Updates = nil
	return out, nil
}

type copyImageInput struct {
	Name          string
	Description   string
	SourceImageId string
	SourceRegion  string
	Tags          []wireTag
}

// copyImage pulls an image of another Region, or of the same, into the Region it is called in. It may be one
// that another account shares.
func copyImage(e *Emulator, c *call, in copyImageInput) (any, error) {
	place := placeOf(c.account(), in.SourceRegion)
	if i := e.world.images[in.SourceImageId]; i != nil && i.sharedWith(c) && regionOf(i.Region) == in.SourceRegion {
		place = i.Region
	}
	source, err := e.world.ownImage(place, in.SourceImageId)
	if err != nil {
		return nil, err
	}
	if source.state(c.at) != imageAvailable {
		return nil, unavailable(source.ID)
	}
	return e.derive(c, source, in.Name, in.Description, in.Tags)
}

type updatedImageInput struct {
	Name          string
	Description   string
	SourceImageId string
	Tags          []wireTag
}

// createUpdatedImage makes an image with Amazon's newest drivers of another. Amazon does so for Windows only.
func createUpdatedImage(e *Emulator, c *call, in updatedImageInput) (any, error) {
	source, err := e.world.ownImage(c.region, in.SourceImageId)
	if err != nil {
		return nil, err
	}
	if platform(source.System) != "WINDOWS" {
		return nil, notSupported("Only images of Windows can be updated.")
	}
	if source.state(c.at) != imageAvailable {
		return nil, invalidState("An image in the state " + source.state(c.at) + " cannot be updated.")
	}
	return e.derive(c, source, in.Name, in.Description, in.Tags)
}

// derive begins to make an image of another.
func (e *Emulator) derive(c *call, source *image, name, description string, tags []wireTag) (any, error) {
	i, err := e.newImage(c, name, description, source.ID, tags)
	if err != nil {
		return nil, err
	}
	i.System, i.Protocol = source.System, source.Protocol
	e.faults.spoil(c, i)
	if err := e.commit(i); err != nil {
		return nil, err
	}
	return struct{ ImageId string }{i.ID}, nil
}

type wireImage struct {
	ImageId         string
	Name            string
	Description     string `json:",omitempty"`
	OperatingSystem wireType
	State           string
	RequiredTenancy string
	ErrorCode       string           `json:",omitempty"`
	ErrorMessage    string           `json:",omitempty"`
	ErrorDetails    []wireImageError `json:",omitempty"`
	Created         wireTime
	OwnerAccountId  string
	Updates         *wireUpdates `json:",omitempty"`
}

type wireType struct{ Type string }

type wireImageError struct{ ErrorCode, ErrorMessage string }

type wireUpdates struct {
	UpdateAvailable bool
	Description     string `json:",omitempty"`
}

// updatesAfter is the age at which an image of Windows is told to be behind Amazon's drivers. Amazon does not
// say when it releases new ones.
const updatesAfter = 90 * 24 * time.Hour

func (i *image) wire(now time.Time) wireImage {
	out := wireImage{
		ImageId: i.ID, Name: i.Name, Description: i.Description, OperatingSystem: wireType{platform(i.System)},
		State: i.state(now), RequiredTenancy: "DEFAULT", Created: wireTime(i.Created), OwnerAccountId: accountOf(i.Region),
	}
	switch out.State {
	case imageError:
		out.ErrorCode, out.ErrorMessage = i.ErrorCode, i.ErrorText
		out.ErrorDetails = []wireImageError{{i.ErrorCode, i.ErrorText}}
	case imageAvailable:
		out.Updates = &wireUpdates{}
		if platform(i.System) == "WINDOWS" && now.Sub(i.Created) >= updatesAfter {
			out.Updates = &wireUpdates{UpdateAvailable: true, Description: "Newer drivers are available."}
		}
	}
	return out
}

type describeImagesInput struct {
	ImageIds   []string
	ImageType  string
	MaxResults int
	NextToken  string
}

// describeImages returns the account's images and those shared with it, or one kind of them, oldest first.
func describeImages(e *Emulator, c *call, in describeImagesInput) (any, error) {
	found := e.world.imagesThat(func(i *image) bool {
		own := i.Region == c.region
		shared := !own && i.sharedWith(c) && regionOf(i.Region) == regionOf(c.region)
		return anyOrIn(in.ImageIds, i.ID) && (own && in.ImageType != "SHARED" || shared && in.ImageType != "OWNED")
	})
	found, next, err := page(c, found, func(i *image) int64 { return i.Seq }, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := struct {
		Images    []wireImage
		NextToken string `json:",omitempty"`
	}{make([]wireImage, 0, len(found)), next}
	for _, i := range found {
		out.Images = append(out.Images, i.wire(c.at))
	}
	return out, nil
}

func taggedImage(w *world, c *call, id string) (tagged, bool) {
	found, err := w.ownImage(c.region, id)
	if err != nil {
		return tagged{}, false
	}
	i := *found
	return tagged{i.Tags, func(tags map[string]string) record { i.Tags = tags; return &i }}, true
}

type deleteImageInput struct{ ImageId string }

// deleteImage deletes an image that no bundle is made of and that nobody else may copy. The service model
// gives this operation no error for an image that is not there, so that is taken as done. A copy of it that
// is not finished fails.
func deleteImage(e *Emulator, c *call, in deleteImageInput) (any, error) {
	if amazonsImage(in.ImageId) {
		return nil, accessDenied()
	}
	i, ok := e.world.images[in.ImageId]
	if !ok || i.Region != c.region {
		return nothing{}, nil
	}
	if i.state(c.at) == imagePending {
		return nil, invalidState("An image in the state PENDING cannot be deleted.")
	}
	if slices.ContainsFunc(e.world.ownBundles(c.region), func(b *bundle) bool { return b.ImageID == i.ID }) {
		return nil, associated("One or more bundles are associated with the Image. Delete the bundles before you delete the image.")
	}
	if len(i.SharedWith) > 0 {
		return nil, associated("The image is shared with other accounts. Stop sharing it before you delete the image.")
	}
	gone := *i
	gone.Deleted = true
	records := together{&gone}
	for _, other := range e.world.images {
		if other.Source == i.ID && other.state(c.at) == imagePending {
			orphan := *other
			orphan.fail("UnknownError", "The source image was deleted.")
			records = append(records, &orphan)
		}
	}
	if err := e.commit(&records); err != nil {
		return nil, err
	}
	return nothing{}, nil
}

type imagePermissionInput struct {
	ImageId         string
	AllowCopyImage  bool
	SharedAccountId string
}

// updateImagePermission lets another account copy an image, or no longer. Either is no error when it is so
// already.
func updateImagePermission(e *Emulator, c *call, in imagePermissionInput) (any, error) {
	i, err := e.world.usableImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}
	if in.SharedAccountId == c.account() {
		return nil, invalidParameters("An image cannot be shared with its owner.")
	}
	shared := *i
	shared.SharedWith = slices.DeleteFunc(slices.Clone(i.SharedWith), func(id string) bool { return id == in.SharedAccountId })
	if in.AllowCopyImage {
		shared.SharedWith = append(shared.SharedWith, in.SharedAccountId)
		slices.Sort(shared.SharedWith)
	}
	if err := e.commit(&shared); err != nil {
		return nil, err
	}
	return nothing{}, nil
}

type describePermissionsInput struct {
	ImageId    string
	MaxResults int
	NextToken  string
}

func describeImagePermissions(e *Emulator, c *call, in describePermissionsInput) (any, error) {
	i, err := e.world.ownImage(c.region, in.ImageId)
	if err != nil {
		return nil, err
	}
	type permission struct{ SharedAccountId string }
	// Twelve digits, so the accounts are in order of the numbers, too.
	shared, next, err := page(c, i.SharedWith, func(id string) int64 {
		n, _ := strconv.ParseInt(id, 10, 64)
		return n
	}, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := struct {
		ImageId          string
		ImagePermissions []permission
		NextToken        string `json:",omitempty"`
	}{i.ID, make([]permission, 0, len(shared)), next}
	for _, id := range shared {
		out.ImagePermissions = append(out.ImagePermissions, permission{id})
	}
	return out, nil
}
