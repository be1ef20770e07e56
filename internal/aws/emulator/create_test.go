package emulator_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

func TestANewWorkSpaceIsPendingAndHasWhatItsBundleBrings(t *testing.T) {
	b := newBench(t)
	out := b.create(request("Alice", func(r *types.WorkspaceRequest) {
		r.WorkspaceProperties = nil
		r.Tags = []types.Tag{{Key: aws.String("forge:env"), Value: aws.String("test")}}
	}))
	if len(out.FailedRequests) != 0 || len(out.PendingRequests) != 1 {
		t.Fatalf("%+v", out)
	}
	got := out.PendingRequests[0]
	want := types.Workspace{
		DirectoryId: aws.String(directory), UserName: aws.String("Alice"), BundleId: aws.String(standard),
		State: types.WorkspaceStatePending,
		WorkspaceProperties: &types.WorkspaceProperties{
			RunningMode: types.RunningModeAlwaysOn, RootVolumeSizeGib: aws.Int32(80), UserVolumeSizeGib: aws.Int32(50),
			ComputeTypeName: types.ComputeStandard, Protocols: []types.Protocol{types.ProtocolWsp},
			OperatingSystemName: types.OperatingSystemNameWindowsServer2022,
		},
		ModificationStates: []types.ModificationState{},
	}
	if diff := cmp.Diff(want, got, unexported, cmpopts.IgnoreFields(types.Workspace{}, "WorkspaceId")); diff != "" {
		t.Error(diff)
	}
	b.pass(*got.WorkspaceId, "AVAILABLE")
	later := b.describe(*got.WorkspaceId)
	if later.State != types.WorkspaceStateAvailable || later.IpAddress == nil || later.SubnetId == nil || later.ComputerName == nil {
		t.Errorf("once available: %+v", later)
	}
	if got := b.admin(*got.WorkspaceId).Tags; got["forge:env"] != "test" {
		t.Errorf("tags %v", got)
	}
}

var unexported = cmpopts.IgnoreUnexported(types.Workspace{}, types.WorkspaceProperties{}, types.Tag{}, types.ModificationState{})

func TestEachItemOfACreateIsSettledByItself(t *testing.T) {
	b := newBench(t)
	b.one(request("alice"))
	properties := func(p types.WorkspaceProperties) func(*types.WorkspaceRequest) {
		return func(r *types.WorkspaceRequest) { r.WorkspaceProperties = &p }
	}
	bundle := func(id string) func(*types.WorkspaceRequest) {
		return func(r *types.WorkspaceRequest) { r.BundleId = &id }
	}
	autoStop := types.RunningModeAutoStop
	for _, c := range []struct {
		name string
		item types.WorkspaceRequest
		want string // "" is accepted
	}{
		{"unknown directory", request("bob", func(r *types.WorkspaceRequest) { r.DirectoryId = aws.String("d-0123456789") }), "ResourceNotFound.Directory"},
		{"directory of another Region", request("bob", func(r *types.WorkspaceRequest) { r.DirectoryId = aws.String(elsewhere) }), "ResourceNotFound.Directory"},
		{"unknown user", request("mallory"), "ResourceNotFound.User"},
		{"unknown bundle", request("bob", bundle("wsb-000000000")), "ResourceNotFound.Bundle"},
		{"second WorkSpace", request("alice"), "ResourceExists.WorkSpace"},
		{"second WorkSpace in other letters", request("ALICE"), "ResourceExists.WorkSpace"},
		{"timeout of an always-on one", request("bob", properties(types.WorkspaceProperties{RunningMode: types.RunningModeAlwaysOn, RunningModeAutoStopTimeoutInMinutes: aws.Int32(60)})), "AutoStopTimeoutIsNotApplicableForAnAlwaysOnWorkspace"},
		{"timeout of a manual one", request("bob", properties(types.WorkspaceProperties{RunningMode: types.RunningModeManual, RunningModeAutoStopTimeoutInMinutes: aws.Int32(60)})), "AutoStopTimeoutIsNotDefaultForManualWorkspace"},
		{"timeout of 90 minutes", request("bob", properties(types.WorkspaceProperties{RunningMode: autoStop, RunningModeAutoStopTimeoutInMinutes: aws.Int32(90)})), "InvalidParameterValue.AutoStopTimeout"},
		{"timeout of 0 minutes", request("bob", properties(types.WorkspaceProperties{RunningMode: autoStop, RunningModeAutoStopTimeoutInMinutes: aws.Int32(0)})), "InvalidParameterValue.AutoStopTimeout"},
		{"volumes that do not go together", request("bob", properties(types.WorkspaceProperties{RootVolumeSizeGib: aws.Int32(175), UserVolumeSizeGib: aws.Int32(50)})), "InvalidParameterValue.VolumeSize"},
		{"small volumes of a graphics one", request("bob", bundle(graphics), properties(types.WorkspaceProperties{RootVolumeSizeGib: aws.Int32(80)})), "InvalidParameterValue.VolumeSize"},
		{"another compute type", request("bob", properties(types.WorkspaceProperties{ComputeTypeName: types.ComputePower})), "InvalidParameterValue.ComputeType"},
		{"another operating system", request("bob", properties(types.WorkspaceProperties{OperatingSystemName: types.OperatingSystemNameRocky8})), "InvalidParameterValue.OperatingSystem"},
		{"protocol the bundle lacks", request("bob", properties(types.WorkspaceProperties{Protocols: []types.Protocol{types.ProtocolPcoip}})), "InvalidParameterValue.Protocol"},
		{"encryption without a key", request("bob", func(r *types.WorkspaceRequest) { r.RootVolumeEncryptionEnabled = aws.Bool(true) }), "InvalidParameterValue.VolumeEncryptionKey"},
		{"first of two for one user", request("bob", bundle(pcoip), properties(types.WorkspaceProperties{RunningMode: autoStop, Protocols: []types.Protocol{types.ProtocolWsp}, RunningModeAutoStopTimeoutInMinutes: aws.Int32(120), RootVolumeSizeGib: aws.Int32(175), UserVolumeSizeGib: aws.Int32(100)})), ""},
		{"second of two for one user", request("Bob"), "ResourceExists.WorkSpace"},
	} {
		// Beside one that is good, so that a refusal must not touch it.
		user := fmt.Sprintf("extra %s", c.name)
		if err := b.emu.AddUsers(directory, user); err != nil {
			t.Fatal(err)
		}
		out := b.create(c.item, request(user))
		if c.want == "" {
			if len(out.PendingRequests) != 2 {
				t.Errorf("%s: refused: %+v", c.name, out.FailedRequests)
			}
			continue
		}
		if len(out.PendingRequests) != 1 || *out.PendingRequests[0].UserName != user || len(out.FailedRequests) != 1 {
			t.Errorf("%s: %d accepted, %d refused", c.name, len(out.PendingRequests), len(out.FailedRequests))
			continue
		}
		no := out.FailedRequests[0]
		if *no.ErrorCode != c.want || aws.ToString(no.ErrorMessage) == "" {
			t.Errorf("%s: code %s, want %s", c.name, *no.ErrorCode, c.want)
		}
		if diff := cmp.Diff(&c.item, no.WorkspaceRequest, cmpopts.IgnoreUnexported(types.WorkspaceRequest{}, types.WorkspaceProperties{}, types.Tag{})); diff != "" {
			t.Errorf("%s: the request came back changed: %s", c.name, diff)
		}
	}
}

func TestOneCreateDoesNotMakeTwoForOneUser(t *testing.T) {
	b := newBench(t)
	out := b.create(request("carol"), request("CAROL"))
	if len(out.PendingRequests) != 1 || len(out.FailedRequests) != 1 || *out.FailedRequests[0].ErrorCode != "ResourceExists.WorkSpace" {
		t.Errorf("%+v", out)
	}
}

func TestTwoCreatesAtOnceMakeOneWorkSpace(t *testing.T) {
	b := newBench(t)
	const rounds, racers = 20, 4
	for i := range rounds {
		user := fmt.Sprintf("racer-%d", i)
		if err := b.emu.AddUsers(directory, user); err != nil {
			t.Fatal(err)
		}
		var made, refused int
		var mu sync.Mutex
		var group sync.WaitGroup
		for range racers {
			group.Go(func() {
				out, err := b.client().CreateWorkspaces(t.Context(), &workspaces.CreateWorkspacesInput{Workspaces: []types.WorkspaceRequest{request(user)}})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				made += len(out.PendingRequests)
				refused += len(out.FailedRequests)
			})
		}
		group.Wait()
		if made != 1 || refused != racers-1 {
			t.Fatalf("%s: %d made, %d refused", user, made, refused)
		}
	}
}

func TestTheQuotaRefusesTheWholeCallPerRegion(t *testing.T) {
	b := newBench(t, func(c *emulator.Config) { c.Quota = 2 })
	first := b.one(request("alice"))
	_, err := b.client().CreateWorkspaces(t.Context(), &workspaces.CreateWorkspacesInput{
		Workspaces: []types.WorkspaceRequest{request("bob"), request("carol")},
	})
	if e := (*types.ResourceLimitExceededException)(nil); !errors.As(err, &e) {
		t.Fatalf("three of two: %v", err)
	}
	if got := b.adminAll(); len(got) != 1 {
		t.Fatalf("a refused call made something: %v", got)
	}
	b.one(request("bob"))
	out, err := b.client(inRegion("eu-west-1")).CreateWorkspaces(t.Context(), &workspaces.CreateWorkspacesInput{
		Workspaces: []types.WorkspaceRequest{request("anyone at all", func(r *types.WorkspaceRequest) { r.DirectoryId = aws.String(elsewhere) })},
	})
	if err != nil || len(out.PendingRequests) != 1 {
		t.Errorf("another Region: %v %+v", err, out)
	}
	// A call that makes nothing asks for nothing.
	if out := b.create(request("alice")); len(out.FailedRequests) != 1 {
		t.Errorf("%+v", out)
	}
	b.terminate(first)
	for _, next := range []string{"TERMINATED", "ABSENT"} {
		b.pass(first, next)
	}
	b.one(request("carol"))
}

func TestEncryptionTakesTwiceAsLong(t *testing.T) {
	b := newBench(t)
	id := b.one(request("alice", func(r *types.WorkspaceRequest) {
		r.VolumeEncryptionKey = aws.String("alias/aws/workspaces")
		r.UserVolumeEncryptionEnabled = aws.Bool(true)
	}))
	wantAbout(t, "provisioning", b.pass(id, "AVAILABLE"), 30*time.Minute)
	if w := b.describe(id); !aws.ToBool(w.UserVolumeEncryptionEnabled) || w.RootVolumeEncryptionEnabled != nil {
		t.Errorf("%+v", w)
	}
}

func TestAddUsersNeedsADirectory(t *testing.T) {
	b := newBench(t)
	if err := b.emu.AddUsers("d-0000000000", "x"); err == nil {
		t.Error("no error")
	}
	if err := b.emu.AddUsers(directory, "good", ""); err == nil {
		t.Error("a nameless user was taken")
	}
	if out := b.create(request("good")); len(out.PendingRequests) != 0 {
		t.Error("a refused call added a user")
	}
	if err := b.emu.AddUsers(directory, "ALICE", "erin", "Erin"); err != nil {
		t.Error(err)
	}
	b.create(request("alice"), request("ERIN"))
	if got := b.adminAll(); len(got) != 2 {
		t.Errorf("%+v", got)
	}
}
