package emulator_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
)

func failsImage(t *testing.T, b *bench) {
	source := b.available(request("alice", alwaysOn))
	b.fault(fault{Kind: "image_fails", Workspace: source, Code: "DomainJoined", Message: "The WorkSpace is joined to a domain."})
	id, code := b.capture(source, "base/v1")
	wantCode(t, "capture", code, "")
	b.wantState(source, "SUSPENDED")
	if got := b.image(id); got.State != types.WorkspaceImageStatePending || got.ErrorCode != nil {
		t.Errorf("%+v", got)
	}
	b.pass(source, "AVAILABLE")
	got := b.image(id)
	if got.State != types.WorkspaceImageStateError || aws.ToString(got.ErrorCode) != "DomainJoined" || len(got.ErrorDetails) != 1 ||
		got.ErrorDetails[0].ErrorCode != types.WorkspaceImageErrorDetailCodeDomainJoined || aws.ToString(got.ErrorDetails[0].ErrorMessage) != "The WorkSpace is joined to a domain." {
		t.Errorf("%+v", got)
	}
	_, err := b.client().CreateWorkspaceBundle(t.Context(), &workspaces.CreateWorkspaceBundleInput{
		BundleName: aws.String("b"), BundleDescription: aws.String("b"), ImageId: &id, ComputeType: &types.ComputeType{Name: types.ComputeStandard},
		UserStorage: &types.UserStorage{Capacity: aws.String("50")},
	})
	wantCode(t, "bundle of it", codeOf(t, err), "ResourceUnavailableException")
	wantCode(t, "delete", b.deleteImage(id), "")
	id, code = b.capture(source, "base/v1")
	wantCode(t, "capture again", code, "")
	b.pass(source, "AVAILABLE")
	b.clock.advance(time.Minute)
	if got := b.image(id); got.State != types.WorkspaceImageStateAvailable {
		t.Errorf("%+v", got)
	}
}
