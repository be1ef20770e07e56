package emulator_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/aws/smithy-go"
)

// The journeys of TestTheAWSProgramDrivesTheEmulator in one, through the Go SDK and its pages.
func TestTheGoSDKDrivesTheEmulator(t *testing.T) {
	b := newBench(t)
	api, ctx := b.client(), t.Context()

	// A directory and its IP group.
	must(api.RegisterWorkspaceDirectory(ctx, &workspaces.RegisterWorkspaceDirectoryInput{DirectoryId: aws.String(newDirectory), SubnetIds: subnets}))
	b.clock.advance(time.Hour)
	group := must(api.CreateIpGroup(ctx, &workspaces.CreateIpGroupInput{GroupName: aws.String("office"), UserRules: []types.IpRuleItem{rule("203.0.113.0/24")}})).GroupId
	must(api.AssociateIpGroups(ctx, &workspaces.AssociateIpGroupsInput{DirectoryId: aws.String(newDirectory), GroupIds: []string{*group}}))
	var directories []string
	for pages := workspaces.NewDescribeWorkspaceDirectoriesPaginator(api, &workspaces.DescribeWorkspaceDirectoriesInput{Limit: aws.Int32(1)}); pages.HasMorePages(); {
		for _, d := range must(pages.NextPage(ctx)).Directories {
			directories = append(directories, *d.DirectoryId)
		}
	}
	if !slices.Equal(directories, []string{directory, newDirectory}) {
		t.Fatalf("directories %q", directories)
	}

	// WorkSpaces of a public bundle for more people than a page has, and one for nobody.
	bundles := must(api.DescribeWorkspaceBundles(ctx, &workspaces.DescribeWorkspaceBundlesInput{Owner: aws.String("AMAZON")})).Bundles
	var requests []types.WorkspaceRequest
	for i := range 30 {
		requests = append(requests, request(fmt.Sprintf("u%02d", i), func(r *types.WorkspaceRequest) {
			r.DirectoryId, r.BundleId, r.Tags = aws.String(newDirectory), bundles[0].BundleId, []types.Tag{tag("n", fmt.Sprint(i))}
		}))
	}
	requests = append(requests, request("nobody"))
	var failed []types.FailedCreateWorkspaceRequest
	for batch := range slices.Chunk(requests, 25) {
		failed = append(failed, b.create(batch...).FailedRequests...)
	}
	if len(failed) != 1 || *failed[0].WorkspaceRequest.UserName != "nobody" || *failed[0].ErrorCode != "ResourceNotFound.User" {
		t.Fatalf("failed: %+v", failed)
	}
	b.clock.advance(time.Hour / 2)
	var all []types.Workspace
	for pages := workspaces.NewDescribeWorkspacesPaginator(api, &workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(newDirectory)}); pages.HasMorePages(); {
		all = append(all, must(pages.NextPage(ctx)).Workspaces...)
	}
	if len(all) != 30 {
		t.Fatalf("%d WorkSpaces", len(all))
	}
	mine := must(api.DescribeWorkspaces(ctx, &workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(newDirectory), UserName: aws.String("U29")})).Workspaces
	if len(mine) != 1 || mine[0].State != types.WorkspaceStateAvailable || b.tags(*mine[0].WorkspaceId)["n"] != "29" {
		t.Fatalf("%+v", mine)
	}
	id := mine[0].WorkspaceId

	// Its life.
	b.act(*id, "connect")
	status := must(api.DescribeWorkspacesConnectionStatus(ctx, &workspaces.DescribeWorkspacesConnectionStatusInput{WorkspaceIds: []string{*id}})).WorkspacesConnectionStatus
	if len(status) != 1 || status[0].ConnectionState != types.ConnectionStateConnected {
		t.Errorf("%+v", status)
	}
	wantDone := func(what string, failed []types.FailedWorkspaceChangeRequest, err error) {
		t.Helper()
		if err != nil || len(failed) > 0 {
			t.Fatalf("%s: %v %+v", what, err, failed)
		}
		b.clock.advance(time.Hour / 6)
	}
	rebooted, err := api.RebootWorkspaces(ctx, &workspaces.RebootWorkspacesInput{RebootWorkspaceRequests: []types.RebootRequest{{WorkspaceId: id}}})
	wantDone("reboot", rebooted.FailedRequests, err)
	stopped, err := api.StopWorkspaces(ctx, &workspaces.StopWorkspacesInput{StopWorkspaceRequests: []types.StopRequest{{WorkspaceId: id}}})
	wantDone("stop", stopped.FailedRequests, err)
	started, err := api.StartWorkspaces(ctx, &workspaces.StartWorkspacesInput{StartWorkspaceRequests: []types.StartRequest{{WorkspaceId: id}}})
	wantDone("start", started.FailedRequests, err)
	modify := func(p types.WorkspaceProperties) error {
		_, err := api.ModifyWorkspaceProperties(ctx, &workspaces.ModifyWorkspacePropertiesInput{WorkspaceId: id, WorkspaceProperties: &p})
		return err
	}
	if err := modify(types.WorkspaceProperties{RunningMode: types.RunningModeAlwaysOn}); err != nil {
		t.Fatal(err)
	}
	if w := b.describe(*id); w.State != types.WorkspaceStateAvailable || w.WorkspaceProperties.RunningMode != types.RunningModeAlwaysOn {
		t.Errorf("%+v", w)
	}

	// The errors, each of its own type.
	_, err = api.RegisterWorkspaceDirectory(ctx, &workspaces.RegisterWorkspaceDirectoryInput{DirectoryId: aws.String(newDirectory)})
	wantError[*types.ResourceAlreadyExistsException](t, "registered twice", err)
	_, err = api.DeregisterWorkspaceDirectory(ctx, &workspaces.DeregisterWorkspaceDirectoryInput{DirectoryId: aws.String(newDirectory)})
	if e := wantError[*types.OperationNotSupportedException](t, "deregistered in use", err); aws.ToString(e.Reason) == "" {
		t.Errorf("%+v has no reason", e)
	}
	_, err = api.DeleteIpGroup(ctx, &workspaces.DeleteIpGroupInput{GroupId: group})
	wantError[*types.ResourceAssociatedException](t, "deleted in use", err)
	_, err = api.DescribeTags(ctx, &workspaces.DescribeTagsInput{ResourceId: aws.String("wsipg-000000000")})
	if e := wantError[*types.ResourceNotFoundException](t, "tags of nothing", err); aws.ToString(e.ResourceId) != "wsipg-000000000" {
		t.Errorf("%+v names no resource", e)
	}
	_, err = api.DescribeWorkspaces(ctx, &workspaces.DescribeWorkspacesInput{NextToken: aws.String("made up")})
	wantError[*types.InvalidParameterValuesException](t, "made-up token", err)
	wantError[*types.UnsupportedWorkspaceConfigurationException](t, "graphics", modify(types.WorkspaceProperties{ComputeTypeName: types.ComputeGraphicsG4dn}))
	var api400 smithy.APIError
	if err := modify(types.WorkspaceProperties{RunningMode: "SOMETIMES"}); !errors.As(err, &api400) || api400.ErrorCode() != "ValidationException" {
		t.Errorf("no such mode: %v", err)
	}
	terminated, err := api.TerminateWorkspaces(ctx, &workspaces.TerminateWorkspacesInput{TerminateWorkspaceRequests: []types.TerminateRequest{{WorkspaceId: id}}})
	wantDone("terminate", terminated.FailedRequests, err)
	if w := b.describe(*id); w != nil {
		t.Errorf("still there: %+v", w)
	}
}
