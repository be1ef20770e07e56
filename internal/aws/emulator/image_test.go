package emulator_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/aws/smithy-go"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

// codeOf is the type of Amazon's error, "" if there was none.
func codeOf(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e := smithy.APIError(nil)
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	return e.ErrorCode()
}

// sameTime compares a time that went over the wire, to the millisecond.
func sameTime(got, want time.Time) bool { return got.Equal(want.Truncate(time.Millisecond)) }

// capture asks for an image of a WorkSpace and gives its id and the type of the error.
func (b *bench) capture(id, name string) (string, string) {
	b.t.Helper()
	out, err := b.client().CreateWorkspaceImage(b.t.Context(), &workspaces.CreateWorkspaceImageInput{
		WorkspaceId: &id, Name: &name, Description: aws.String("golden"),
	})
	if code := codeOf(b.t, err); code != "" {
		return "", code
	}
	return *out.ImageId, ""
}

// image describes one, nil if there is none.
func (b *bench) image(id string, options ...func(*workspaces.Options)) *types.WorkspaceImage {
	b.t.Helper()
	out, err := b.client(options...).DescribeWorkspaceImages(b.t.Context(), &workspaces.DescribeWorkspaceImagesInput{ImageIds: []string{id}})
	if err != nil {
		b.t.Fatal(err)
	}
	if len(out.Images) == 0 {
		return nil
	}
	return &out.Images[0]
}

// golden gives an image that is available, and the WorkSpace it was made of.
func (b *bench) golden(name string, changes ...func(*types.WorkspaceRequest)) (image, source string) {
	b.t.Helper()
	source = b.available(request("alice", append(changes, alwaysOn)...))
	image, code := b.capture(source, name)
	wantCode(b.t, "capture", code, "")
	b.pass(source, "AVAILABLE")
	return image, source
}

func (b *bench) copyImage(from, region, id, name string) (string, string) {
	b.t.Helper()
	out, err := b.client(inRegion(region)).CopyWorkspaceImage(b.t.Context(), &workspaces.CopyWorkspaceImageInput{
		Name: &name, SourceImageId: &id, SourceRegion: &from,
	})
	if code := codeOf(b.t, err); code != "" {
		return "", code
	}
	return *out.ImageId, ""
}

func (b *bench) deleteImage(id string) string {
	b.t.Helper()
	_, err := b.client().DeleteWorkspaceImage(b.t.Context(), &workspaces.DeleteWorkspaceImageInput{ImageId: &id})
	return codeOf(b.t, err)
}

func TestCapturingSuspendsTheWorkSpace(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", alwaysOn))
	b.act(id, "connect")
	out, err := b.client().CreateWorkspaceImage(t.Context(), &workspaces.CreateWorkspaceImageInput{
		WorkspaceId: &id, Name: aws.String("base/v1"), Description: aws.String("golden"), Tags: []types.Tag{tag("a", "b")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if out.State != types.WorkspaceImageStatePending || *out.Name != "base/v1" || *out.Description != "golden" || *out.OwnerAccountId == "" ||
		out.OperatingSystem.Type != types.OperatingSystemTypeWindows || out.RequiredTenancy != types.WorkspaceImageRequiredTenancyDefault || !sameTime(*out.Created, b.clock.Now()) {
		t.Errorf("%+v", out)
	}
	b.wantState(id, "SUSPENDED")
	if b.admin(id).Connected {
		t.Error("the user is still connected")
	}
	const state = "InvalidResourceState.WorkSpace"
	wantCode(t, "terminate", b.terminate(id), state)
	wantCode(t, "reboot", b.reboot(id), state)
	wantCode(t, "rebuild", b.rebuild(id), state)
	wantCode(t, "modify", b.modify(id, types.WorkspaceProperties{RunningMode: types.RunningModeAutoStop}), "InvalidResourceStateException")
	_, code := b.capture(id, "base/v2")
	wantCode(t, "capture again", code, "InvalidResourceStateException")
	wantCode(t, "delete while pending", b.deleteImage(*out.ImageId), "InvalidResourceStateException")

	wantAbout(t, "capture", b.pass(id, "AVAILABLE"), 30*time.Minute)
	got := b.image(*out.ImageId)
	if got == nil || got.State != types.WorkspaceImageStateAvailable || got.ErrorCode != nil || got.Updates == nil || *got.Updates.UpdateAvailable {
		t.Errorf("%+v", got)
	}
	b.clock.advance(90 * 24 * time.Hour)
	if got := b.image(*out.ImageId); !*got.Updates.UpdateAvailable || aws.ToString(got.Updates.Description) == "" {
		t.Errorf("%+v", got.Updates)
	}
	wantCode(t, "delete", b.deleteImage(*out.ImageId), "")
	if got := b.image(*out.ImageId); got != nil {
		t.Errorf("deleted: %+v", got)
	}
	wantCode(t, "delete again", b.deleteImage(*out.ImageId), "")
}

func TestWhichWorkSpacesCanBeCaptured(t *testing.T) {
	const state, unsupported = "InvalidResourceStateException", "OperationNotSupportedException"
	for name, c := range map[string]struct {
		make func(b *bench) string
		want string
	}{
		"PENDING": {func(b *bench) string { return b.one(request("bob")) }, state},
		"STOPPED": {func(b *bench) string {
			id := b.available(request("bob"))
			b.stop(id)
			b.pass(id, "STOPPED")
			return id
		}, state},
		"REBOOTING": {func(b *bench) string { id := b.available(request("bob")); b.reboot(id); return id }, state},
		"UNHEALTHY": {func(b *bench) string {
			id := b.available(request("bob"))
			b.fail(id, "UNHEALTHY")
			return id
		}, state},
		"ADMIN_MAINTENANCE": {func(b *bench) string {
			id := b.available(request("bob"))
			b.maintain(id, types.TargetWorkspaceStateAdminMaintenance)
			return id
		}, state},
		"being modified": {func(b *bench) string {
			id := b.available(request("bob", alwaysOn))
			b.clock.advance(6 * time.Hour)
			b.modify(id, types.WorkspaceProperties{UserVolumeSizeGib: aws.Int32(100)})
			return id
		}, state},
		"encrypted": {func(b *bench) string {
			return b.available(request("bob", func(r *types.WorkspaceRequest) {
				r.VolumeEncryptionKey, r.UserVolumeEncryptionEnabled = aws.String("alias/aws/workspaces"), aws.Bool(true)
			}))
		}, unsupported},
		"absent":    {func(*bench) string { return "ws-000000000" }, "ResourceNotFoundException"},
		"AVAILABLE": {func(b *bench) string { return b.available(request("bob")) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			id := c.make(b)
			before := b.admin(id).State
			_, code := b.capture(id, "base")
			wantCode(t, "capture", code, c.want)
			if c.want != "" {
				b.wantState(id, before)
			}
		})
	}
}

func TestTheNamesOfImagesAreUniqueInARegion(t *testing.T) {
	b := newBench(t)
	image, source := b.golden("base")
	_, code := b.capture(source, "base")
	wantCode(t, "capture", code, "ResourceAlreadyExistsException")
	b.wantState(source, "AVAILABLE")
	_, code = b.copyImage("us-east-1", "us-east-1", image, "base")
	wantCode(t, "copy", code, "ResourceAlreadyExistsException")
	_, code = b.copyImage("us-east-1", "eu-west-1", image, "base")
	wantCode(t, "copy to another Region", code, "")
}

func TestAnImageIsPulledFromAnotherRegion(t *testing.T) {
	b := newBench(t)
	image, source := b.golden("base")
	b.clock.advance(time.Hour)
	_, code := b.copyImage("eu-west-1", "us-east-1", image, "copy")
	wantCode(t, "from the wrong Region", code, "ResourceNotFoundException")
	there, code := b.copyImage("us-east-1", "eu-west-1", image, "copy")
	wantCode(t, "copy", code, "")
	if b.image(there) != nil {
		t.Error("the copy is where it was copied from")
	}
	eu := inRegion("eu-west-1")
	if got := b.image(there, eu); got == nil || got.State != types.WorkspaceImageStatePending {
		t.Fatalf("%+v", got)
	}
	b.clock.advance(23 * time.Minute)
	if got := b.image(there, eu); got.State != types.WorkspaceImageStatePending {
		t.Errorf("after 23 minutes: %s", got.State)
	}
	b.clock.advance(14 * time.Minute)
	if got := b.image(there, eu); got.State != types.WorkspaceImageStateAvailable {
		t.Errorf("after 37 minutes: %s", got.State)
	}
	early, code := b.capture(source, "later")
	wantCode(t, "capture", code, "")
	_, code = b.copyImage("us-east-1", "eu-west-1", early, "too-early")
	wantCode(t, "of an image that is pending", code, "ResourceUnavailableException")
}

func TestACopyWhoseSourceIsDeletedEndsInError(t *testing.T) {
	b := newBench(t)
	image, _ := b.golden("base")
	there, _ := b.copyImage("us-east-1", "eu-west-1", image, "copy")
	wantCode(t, "delete", b.deleteImage(image), "")
	eu := inRegion("eu-west-1")
	if got := b.image(there, eu); got.State != types.WorkspaceImageStatePending {
		t.Errorf("%s", got.State)
	}
	b.clock.advance(time.Hour)
	got := b.image(there, eu)
	if got.State != types.WorkspaceImageStateError || aws.ToString(got.ErrorCode) != "UnknownError" || aws.ToString(got.ErrorMessage) == "" ||
		len(got.ErrorDetails) != 1 || got.ErrorDetails[0].ErrorCode != types.WorkspaceImageErrorDetailCodeUnknownError {
		t.Errorf("%+v", got)
	}
	_, err := b.client(eu).CreateWorkspaceBundle(t.Context(), bundleOf(there, "of-nothing"))
	if e := (*types.ResourceUnavailableException)(nil); !errors.As(err, &e) || aws.ToString(e.ResourceId) != there {
		t.Errorf("a bundle of it: %v", err)
	}
}

func TestImagesOfWindowsCanBeUpdated(t *testing.T) {
	b := newBench(t)
	image, source := b.golden("base")
	update := func(id, name string) (string, string) {
		out, err := b.client().CreateUpdatedWorkspaceImage(t.Context(), &workspaces.CreateUpdatedWorkspaceImageInput{
			Name: &name, Description: aws.String("newer drivers"), SourceImageId: &id,
		})
		if code := codeOf(t, err); code != "" {
			return "", code
		}
		return *out.ImageId, ""
	}
	newer, code := update(image, "base-2")
	wantCode(t, "update", code, "")
	_, code = update(newer, "base-3")
	wantCode(t, "of one that is pending", code, "InvalidResourceStateException")
	_, code = update(image, "base")
	wantCode(t, "name", code, "ResourceAlreadyExistsException")
	_, code = update("wsi-000000000", "base-4")
	wantCode(t, "of none", code, "ResourceNotFoundException")
	b.clock.advance(time.Hour)
	if got := b.image(newer); got.State != types.WorkspaceImageStateAvailable {
		t.Errorf("%+v", got)
	}
	if b.image(image) == nil {
		t.Error("the source is gone")
	}
	b.wantState(source, "AVAILABLE")

	linux := b.available(request("bob", func(r *types.WorkspaceRequest) { r.BundleId = aws.String("wsb-fs04nc7zs") }))
	penguin, code := b.capture(linux, "linux")
	wantCode(t, "capture", code, "")
	b.pass(linux, "AVAILABLE")
	if got := b.image(penguin); got.OperatingSystem.Type != types.OperatingSystemTypeLinux {
		t.Errorf("%+v", got)
	}
	_, code = update(penguin, "linux-2")
	wantCode(t, "Linux", code, "OperationNotSupportedException")
}

func TestImagesAreShownInPagesAndCounted(t *testing.T) {
	b := newBench(t)
	image, source := b.golden("base")
	var made []string
	for i := range 39 {
		id, code := b.copyImage("us-east-1", "us-east-1", image, fmt.Sprintf("copy-%d", i))
		wantCode(t, "copy", code, "")
		made = append(made, id)
	}
	_, code := b.copyImage("us-east-1", "us-east-1", image, "one-too-many")
	wantCode(t, "copy", code, "ResourceLimitExceededException")
	_, code = b.capture(source, "one-too-many")
	wantCode(t, "capture", code, "ResourceLimitExceededException")
	b.wantState(source, "AVAILABLE")
	_, code = b.copyImage("us-east-1", "eu-west-1", image, "elsewhere")
	wantCode(t, "another Region", code, "")

	var seen []string
	in := workspaces.DescribeWorkspaceImagesInput{ImageType: types.ImageTypeOwned}
	for pages := 0; ; pages++ {
		out, err := b.client().DescribeWorkspaceImages(t.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range out.Images {
			seen = append(seen, *i.ImageId)
		}
		if out.NextToken == nil {
			if pages != 1 {
				t.Errorf("%d pages", pages+1)
			}
			break
		}
		in.NextToken, in.MaxResults = out.NextToken, aws.Int32(20) // which may change from page to page
	}
	if want := append([]string{image}, made...); !slices.Equal(seen, want) {
		t.Errorf("%q, want %q", seen, want)
	}
	out, err := b.client().DescribeWorkspaceImages(t.Context(), &workspaces.DescribeWorkspaceImagesInput{ImageType: types.ImageTypeShared})
	if err != nil || len(out.Images) != 0 {
		t.Errorf("shared with us: %v %+v", err, out)
	}
	b.clock.advance(time.Hour)
	wantCode(t, "delete", b.deleteImage(made[0]), "")
	_, code = b.copyImage("us-east-1", "us-east-1", image, "one-too-many")
	wantCode(t, "copy", code, "")
}

func TestAnImageIsSharedAndUnshared(t *testing.T) {
	b := newBench(t)
	image, source := b.golden("base")
	share := func(id, account string, allow bool) string {
		_, err := b.client().UpdateWorkspaceImagePermission(t.Context(), &workspaces.UpdateWorkspaceImagePermissionInput{
			ImageId: &id, SharedAccountId: &account, AllowCopyImage: &allow,
		})
		return codeOf(t, err)
	}
	shared := func(most *int32, token *string) ([]string, *string) {
		out, err := b.client().DescribeWorkspaceImagePermissions(t.Context(), &workspaces.DescribeWorkspaceImagePermissionsInput{ImageId: &image, MaxResults: most, NextToken: token})
		if err != nil || *out.ImageId != image {
			t.Fatalf("%v %+v", err, out)
		}
		var accounts []string
		for _, p := range out.ImagePermissions {
			accounts = append(accounts, *p.SharedAccountId)
		}
		return accounts, out.NextToken
	}
	if got, _ := shared(nil, nil); len(got) != 0 {
		t.Errorf("%q", got)
	}
	for _, account := range []string{"333333333333", "111111111111", "222222222222", "111111111111"} {
		wantCode(t, "share", share(image, account, true), "")
	}
	first, token := shared(aws.Int32(2), nil)
	rest, end := shared(aws.Int32(1), token)
	if !slices.Equal(first, []string{"111111111111", "222222222222"}) || !slices.Equal(rest, []string{"333333333333"}) || end != nil {
		t.Errorf("%q %q", first, rest)
	}
	wantCode(t, "delete", b.deleteImage(image), "ResourceAssociatedException")
	for _, account := range []string{"111111111111", "222222222222", "333333333333", "444444444444"} {
		wantCode(t, "unshare", share(image, account, false), "")
	}
	if got, _ := shared(nil, nil); len(got) != 0 {
		t.Errorf("%q", got)
	}
	wantCode(t, "with oneself", share(image, "123456789012", true), "InvalidParameterValuesException")
	wantCode(t, "of none", share("wsi-000000000", "111111111111", true), "ResourceNotFoundException")
	pending, _ := b.capture(source, "pending")
	wantCode(t, "of a pending one", share(pending, "111111111111", true), "ResourceUnavailableException")
	_, err := b.client().DescribeWorkspaceImagePermissions(t.Context(), &workspaces.DescribeWorkspaceImagePermissionsInput{ImageId: aws.String("wsi-000000000")})
	wantCode(t, "permissions of none", codeOf(t, err), "ResourceNotFoundException")
	wantCode(t, "delete", b.deleteImage(image), "")
}

func TestAmazonsImagesAreForNobody(t *testing.T) {
	b := newBench(t)
	bundles, err := b.client().DescribeWorkspaceBundles(t.Context(), &workspaces.DescribeWorkspaceBundlesInput{BundleIds: []string{standard}})
	if err != nil {
		t.Fatal(err)
	}
	id := *bundles.Bundles[0].ImageId
	wantCode(t, "delete", b.deleteImage(id), "AccessDeniedException")
	_, code := b.copyImage("us-east-1", "us-east-1", id, "mine")
	wantCode(t, "copy", code, "AccessDeniedException")
	_, err = b.client().CreateWorkspaceBundle(t.Context(), bundleOf(id, "mine"))
	wantCode(t, "bundle", codeOf(t, err), "AccessDeniedException")
}

func TestACaptureGoesOnOverARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	old, _ := b.golden("old")
	id := b.available(request("bob", alwaysOn))
	image, code := b.capture(id, "base")
	wantCode(t, "capture", code, "")
	wantCode(t, "delete", b.deleteImage(old), "")
	ready := b.admin(id).NextAt
	b.emu.Crash()

	again := newBench(t, stateFile(path), func(c *emulator.Config) { c.Now, c.Speed = b.clock.Now, 600 })
	again.clock = b.clock
	again.clock.set(ready.Add(-time.Nanosecond))
	again.wantState(id, "SUSPENDED")
	if got := again.image(image); got == nil || got.State != types.WorkspaceImageStatePending {
		t.Errorf("%+v", got)
	}
	again.clock.set(ready)
	again.wantState(id, "AVAILABLE")
	if got := again.image(image); got == nil || got.State != types.WorkspaceImageStateAvailable {
		t.Errorf("%+v", got)
	}
	if got := again.image(old); got != nil {
		t.Errorf("a deleted image is back: %+v", got)
	}
}

func TestASharedImageIsCopiedByTheOtherAccount(t *testing.T) {
	b := newBench(t)
	image, _ := b.golden("base")
	const other = "111122223333"
	theirs := func(o *workspaces.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider(other, "secret", "")
	}
	pull := func(name string) (*workspaces.CopyWorkspaceImageOutput, error) {
		return b.client(theirs, inRegion("eu-west-1")).CopyWorkspaceImage(t.Context(), &workspaces.CopyWorkspaceImageInput{
			Name: &name, SourceImageId: &image, SourceRegion: aws.String("us-east-1"),
		})
	}
	_, err := pull("before")
	wantCode(t, "before it is shared", codeOf(t, err), "ResourceNotFoundException")
	if b.image(image, theirs) != nil {
		t.Error("it is shown before it is shared")
	}
	if _, err := b.client().UpdateWorkspaceImagePermission(t.Context(), &workspaces.UpdateWorkspaceImagePermissionInput{
		ImageId: &image, SharedAccountId: aws.String(other), AllowCopyImage: aws.Bool(true),
	}); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[types.ImageType]int{"": 1, types.ImageTypeShared: 1, types.ImageTypeOwned: 0} {
		out, err := b.client(theirs).DescribeWorkspaceImages(t.Context(), &workspaces.DescribeWorkspaceImagesInput{ImageType: kind})
		if err != nil || len(out.Images) != want || want == 1 && *out.Images[0].OwnerAccountId != "123456789012" {
			t.Errorf("%q: %v %+v", kind, err, out)
		}
	}
	out, err := pull("after")
	if err != nil {
		t.Fatal(err)
	}
	if got := b.image(*out.ImageId, theirs, inRegion("eu-west-1")); got == nil || *got.OwnerAccountId != other {
		t.Errorf("%+v", got)
	}
	// It can be copied and nothing else.
	_, err = b.client(theirs).CreateWorkspaceBundle(t.Context(), bundleOf(image, "theirs"))
	wantCode(t, "bundle of it", codeOf(t, err), "ResourceNotFoundException")
}

func TestBundlesAndImagesHaveTags(t *testing.T) {
	b := newBench(t)
	image, _ := b.golden("base")
	bundle := b.bundle(image, "tagged", func(in *workspaces.CreateWorkspaceBundleInput) { in.Tags = []types.Tag{tag("a", "1")} })
	copied, err := b.client().CopyWorkspaceImage(t.Context(), &workspaces.CopyWorkspaceImageInput{
		Name: aws.String("copy"), SourceImageId: &image, SourceRegion: aws.String("us-east-1"), Tags: []types.Tag{tag("a", "1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{bundle, *copied.ImageId} {
		if _, err := b.client().CreateTags(t.Context(), &workspaces.CreateTagsInput{ResourceId: &id, Tags: []types.Tag{tag("b", "2")}}); err != nil {
			t.Fatal(err)
		}
		if got := b.tags(id); len(got) != 2 || got["a"] != "1" || got["b"] != "2" {
			t.Errorf("%s: %v", id, got)
		}
	}
	_, err = b.client().DescribeTags(t.Context(), &workspaces.DescribeTagsInput{ResourceId: aws.String(standard)})
	wantCode(t, "Amazon's bundle", codeOf(t, err), "ResourceNotFoundException")
}
