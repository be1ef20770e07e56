package emulator_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

// bundleOf asks for a POWER bundle of an image.
func bundleOf(image, name string, changes ...func(*workspaces.CreateWorkspaceBundleInput)) *workspaces.CreateWorkspaceBundleInput {
	in := &workspaces.CreateWorkspaceBundleInput{
		BundleName: &name, BundleDescription: aws.String("for tests"), ImageId: &image,
		ComputeType: &types.ComputeType{Name: types.ComputePower},
		RootStorage: &types.RootStorage{Capacity: aws.String("200")},
		UserStorage: &types.UserStorage{Capacity: aws.String("150")},
	}
	for _, change := range changes {
		change(in)
	}
	return in
}

// bundle makes a bundle of an image and waits until it can be used.
func (b *bench) bundle(image, name string, changes ...func(*workspaces.CreateWorkspaceBundleInput)) string {
	b.t.Helper()
	out, err := b.client().CreateWorkspaceBundle(b.t.Context(), bundleOf(image, name, changes...))
	if err != nil {
		b.t.Fatal(err)
	}
	b.clock.advance(time.Minute)
	return *out.WorkspaceBundle.BundleId
}

func (b *bench) describeBundle(id string) *types.WorkspaceBundle {
	b.t.Helper()
	out, err := b.client().DescribeWorkspaceBundles(b.t.Context(), &workspaces.DescribeWorkspaceBundlesInput{BundleIds: []string{id}})
	if err != nil {
		b.t.Fatal(err)
	}
	if len(out.Bundles) == 0 {
		return nil
	}
	return &out.Bundles[0]
}

func (b *bench) deleteBundle(id string) string {
	b.t.Helper()
	_, err := b.client().DeleteWorkspaceBundle(b.t.Context(), &workspaces.DeleteWorkspaceBundleInput{BundleId: &id})
	return codeOf(b.t, err)
}

func (b *bench) updateBundle(id, image string) string {
	b.t.Helper()
	_, err := b.client().UpdateWorkspaceBundle(b.t.Context(), &workspaces.UpdateWorkspaceBundleInput{BundleId: &id, ImageId: &image})
	return codeOf(b.t, err)
}

// of makes a request ask for a bundle.
func of(bundle string) func(*types.WorkspaceRequest) {
	return func(r *types.WorkspaceRequest) { r.BundleId = &bundle }
}

func TestAnOwnBundleFromMakingToDeletion(t *testing.T) {
	b := newBench(t)
	image, _ := b.golden("base")
	out, err := b.client().CreateWorkspaceBundle(t.Context(), bundleOf(image, "forge/base/v1/POWER"))
	if err != nil {
		t.Fatal(err)
	}
	got := out.WorkspaceBundle
	id := *got.BundleId
	if got.State != types.WorkspaceBundleStatePending || *got.Name != "forge/base/v1/POWER" || *got.Owner != "123456789012" || *got.ImageId != image ||
		got.ComputeType.Name != types.ComputePower || *got.RootStorage.Capacity != "200" || *got.UserStorage.Capacity != "150" ||
		got.BundleType != types.BundleTypeRegular || !sameTime(*got.CreationTime, b.clock.Now()) || *got.Description != "for tests" {
		t.Errorf("%+v", got)
	}
	if out := b.create(request("bob", of(id))); len(out.FailedRequests) != 1 || *out.FailedRequests[0].ErrorCode != "ResourceUnavailable.Bundle" {
		t.Errorf("of a pending one: %+v", out)
	}
	wantCode(t, "update a pending one", b.updateBundle(id, image), "ResourceUnavailableException")
	b.clock.advance(8*time.Second - time.Nanosecond)
	if got := b.describeBundle(id); got.State != types.WorkspaceBundleStatePending {
		t.Errorf("%+v", got)
	}
	b.clock.advance(4 * time.Second)
	if got := b.describeBundle(id); got.State != types.WorkspaceBundleStateAvailable {
		t.Errorf("%+v", got)
	}
	wantCode(t, "delete the image", b.deleteImage(image), "ResourceAssociatedException")

	ws := b.available(request("bob", alwaysOn, of(id)))
	w := b.describe(ws)
	if p := w.WorkspaceProperties; *w.BundleId != id || p.ComputeTypeName != types.ComputePower || *p.RootVolumeSizeGib != 200 ||
		*p.UserVolumeSizeGib != 150 || p.OperatingSystemName != types.OperatingSystemNameWindowsServer2022 || p.Protocols[0] != types.ProtocolWsp {
		t.Errorf("%+v", p)
	}
	wantCode(t, "delete in use", b.deleteBundle(id), "ResourceAssociatedException")
	b.terminate(ws)
	wantCode(t, "delete while the last one goes", b.deleteBundle(id), "ResourceAssociatedException")
	b.pass(ws, "TERMINATED")
	b.pass(ws, "ABSENT")
	wantCode(t, "delete", b.deleteBundle(id), "")
	wantCode(t, "delete again", b.deleteBundle(id), "ResourceNotFoundException")
	if got := b.describeBundle(id); got != nil {
		t.Errorf("%+v", got)
	}
	wantCode(t, "delete the image", b.deleteImage(image), "")
	b.clock.advance(time.Minute)
	if out := b.create(request("bob", of(id))); len(out.FailedRequests) != 1 || *out.FailedRequests[0].ErrorCode != "ResourceNotFound.Bundle" {
		t.Errorf("of a deleted one: %+v", out)
	}
}

func TestBundlesThatCannotBeMade(t *testing.T) {
	b := newBench(t)
	image, source := b.golden("base")
	b.bundle(image, "taken")
	pending, _ := b.capture(source, "pending")
	const invalid = "InvalidParameterValuesException"
	for name, c := range map[string]struct {
		in   *workspaces.CreateWorkspaceBundleInput
		want string
	}{
		"name":            {bundleOf(image, "taken"), "ResourceAlreadyExistsException"},
		"no image":        {bundleOf("wsi-000000000", "new"), "ResourceNotFoundException"},
		"pending image":   {bundleOf(pending, "new"), "ResourceUnavailableException"},
		"no compute type": {bundleOf(image, "new", func(in *workspaces.CreateWorkspaceBundleInput) { in.ComputeType = &types.ComputeType{} }), invalid},
		"volumes":         {bundleOf(image, "new", func(in *workspaces.CreateWorkspaceBundleInput) { in.UserStorage.Capacity = aws.String("50") }), invalid},
		"user volume":     {bundleOf(image, "new", func(in *workspaces.CreateWorkspaceBundleInput) { in.UserStorage.Capacity = aws.String("much") }), invalid},
		"root volume":     {bundleOf(image, "new", func(in *workspaces.CreateWorkspaceBundleInput) { in.RootStorage.Capacity = aws.String("1e3") }), invalid},
		"tags": {bundleOf(image, "new", func(in *workspaces.CreateWorkspaceBundleInput) {
			in.Tags = []types.Tag{tag("aws:mine", "")}
		}), invalid},
		"pattern of the name": {bundleOf(image, "has spaces"), "ValidationException"},
	} {
		_, err := b.client().CreateWorkspaceBundle(t.Context(), c.in)
		wantCode(t, name, codeOf(t, err), c.want)
	}
	_, err := b.client(inRegion("eu-west-1")).CreateWorkspaceBundle(t.Context(), bundleOf(image, "new"))
	wantCode(t, "image of another Region", codeOf(t, err), "ResourceNotFoundException")

	id := b.bundle(image, "default-root", func(in *workspaces.CreateWorkspaceBundleInput) {
		in.RootStorage, in.UserStorage.Capacity = nil, aws.String("100")
	})
	if got := b.describeBundle(id); *got.RootStorage.Capacity != "175" {
		t.Errorf("root volume %s", *got.RootStorage.Capacity)
	}
}

func TestTheQuotaAndThePagesOfOwnBundles(t *testing.T) {
	b := newBench(t)
	image, _ := b.golden("base")
	var made []string
	for i := range 50 {
		made = append(made, b.bundle(image, fmt.Sprintf("bundle-%d", i)))
	}
	_, err := b.client().CreateWorkspaceBundle(t.Context(), bundleOf(image, "one-too-many"))
	wantCode(t, "51st", codeOf(t, err), "ResourceLimitExceededException")

	for _, owner := range []*string{nil, aws.String("123456789012")} {
		var seen []string
		pages := workspaces.NewDescribeWorkspaceBundlesPaginator(b.client(), &workspaces.DescribeWorkspaceBundlesInput{Owner: owner})
		for pages.HasMorePages() {
			out, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, bundle := range out.Bundles {
				seen = append(seen, *bundle.BundleId)
			}
		}
		if !slices.Equal(seen, made) {
			t.Errorf("owner %q: %q, want %q", aws.ToString(owner), seen, made)
		}
	}
	for name, in := range map[string]*workspaces.DescribeWorkspaceBundlesInput{
		"another account": {Owner: aws.String("999999999999")},
		"unknown ids":     {BundleIds: []string{"wsb-000000000"}},
	} {
		out, err := b.client().DescribeWorkspaceBundles(t.Context(), in)
		if err != nil || len(out.Bundles) != 0 {
			t.Errorf("%s: %v %+v", name, err, out)
		}
	}
	out, err := b.client(inRegion("eu-west-1")).DescribeWorkspaceBundles(t.Context(), &workspaces.DescribeWorkspaceBundlesInput{BundleIds: []string{made[0], standard}})
	if err != nil || len(out.Bundles) != 1 || *out.Bundles[0].BundleId != standard {
		t.Errorf("elsewhere: %v %+v", err, out)
	}
	wantCode(t, "delete", b.deleteBundle(made[0]), "")
	b.bundle(image, "one-too-many")
}

func TestAnUpdatedBundleChangesWhatARebuildMakes(t *testing.T) {
	b := newBench(t)
	first, source := b.golden("v1")
	id := b.bundle(first, "mutable")
	old := b.available(request("bob", alwaysOn, of(id)))
	second, _ := b.capture(source, "v2")
	wantCode(t, "with a pending image", b.updateBundle(id, second), "ResourceUnavailableException")
	b.pass(source, "AVAILABLE")
	created := *b.describeBundle(id).CreationTime
	b.clock.advance(time.Hour)
	wantCode(t, "update", b.updateBundle(id, second), "")
	if got := b.describeBundle(id); *got.ImageId != second || !sameTime(*got.LastUpdatedTime, b.clock.Now()) || !got.CreationTime.Equal(created) {
		t.Errorf("%+v", got)
	}
	fresh := b.available(request("carol", alwaysOn, of(id)))
	if b.admin(old).ImageID != first || b.admin(fresh).ImageID != second {
		t.Errorf("old of %s, new of %s", b.admin(old).ImageID, b.admin(fresh).ImageID)
	}
	wantCode(t, "rebuild", b.rebuild(old), "")
	b.pass(old, "AVAILABLE")
	if got := b.admin(old).ImageID; got != second {
		t.Errorf("rebuilt of %s", got)
	}
	wantCode(t, "the first image is free", b.deleteImage(first), "")
}

func TestBundlesThatCannotBeChanged(t *testing.T) {
	b := newBench(t)
	image, _ := b.golden("base")
	id := b.bundle(image, "mine")
	linux := b.available(request("bob", of("wsb-fs04nc7zs")))
	penguin, _ := b.capture(linux, "linux")
	b.pass(linux, "AVAILABLE")
	wantCode(t, "Amazon's, update", b.updateBundle(standard, image), "AccessDeniedException")
	wantCode(t, "Amazon's, delete", b.deleteBundle(standard), "AccessDeniedException")
	wantCode(t, "none, update", b.updateBundle("wsb-000000000", image), "ResourceNotFoundException")
	wantCode(t, "none, delete", b.deleteBundle("wsb-000000000"), "ResourceNotFoundException")
	wantCode(t, "no image", b.updateBundle(id, "wsi-000000000"), "ResourceNotFoundException")
	wantCode(t, "another system", b.updateBundle(id, penguin), "OperationNotSupportedException")
	_, err := b.client().UpdateWorkspaceBundle(t.Context(), &workspaces.UpdateWorkspaceBundleInput{BundleId: &id})
	wantCode(t, "image not named", codeOf(t, err), "InvalidParameterValuesException")
	_, err = b.client().DeleteWorkspaceBundle(t.Context(), &workspaces.DeleteWorkspaceBundleInput{})
	wantCode(t, "bundle not named", codeOf(t, err), "InvalidParameterValuesException")
}

func TestBundlesSurviveACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	image, _ := b.golden("base")
	kept, deleted := b.bundle(image, "kept"), b.bundle(image, "deleted")
	wantCode(t, "delete", b.deleteBundle(deleted), "")
	want := b.describeBundle(kept)
	b.emu.Crash()
	for range 2 { // from the journal as it grew, and as it was rewritten
		again := newBench(t, stateFile(path), func(c *emulator.Config) { c.Now = b.clock.Now })
		if got := again.describeBundle(kept); got == nil || *got.Name != *want.Name || *got.ImageId != image || !got.CreationTime.Equal(*want.CreationTime) {
			t.Errorf("%+v", got)
		}
		if got := again.describeBundle(deleted); got != nil {
			t.Errorf("a deleted bundle is back: %+v", got)
		}
		again.emu.Crash()
	}
}
