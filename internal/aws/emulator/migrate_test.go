package emulator_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

const power = "wsb-kxnz6q681"

// migrate gives the id of the new WorkSpace and the type of the error.
func (b *bench) migrate(id, bundle string) (string, string) {
	b.t.Helper()
	out, err := b.client().MigrateWorkspace(b.t.Context(), &workspaces.MigrateWorkspaceInput{SourceWorkspaceId: &id, BundleId: &bundle})
	if code := codeOf(b.t, err); code != "" {
		return "", code
	}
	if *out.SourceWorkspaceId != id || *out.TargetWorkspaceId == id {
		b.t.Errorf("%s became %s", *out.SourceWorkspaceId, *out.TargetWorkspaceId)
	}
	return *out.TargetWorkspaceId, ""
}

func TestAMigrationMakesANewWorkSpace(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", func(r *types.WorkspaceRequest) {
		r.Tags = []types.Tag{tag("forge:env", "test")}
		r.WorkspaceProperties = &types.WorkspaceProperties{
			RunningMode: types.RunningModeAutoStop, RunningModeAutoStopTimeoutInMinutes: aws.Int32(180),
			RootVolumeSizeGib: aws.Int32(175), UserVolumeSizeGib: aws.Int32(500),
		}
	}))
	b.clock.set(b.admin(id).Created.Add(12*time.Hour - time.Nanosecond))
	_, code := b.migrate(id, power)
	wantCode(t, "too young", code, "OperationNotSupportedException")
	b.clock.advance(time.Nanosecond)
	target, code := b.migrate(id, power)
	wantCode(t, "migrate", code, "")

	b.wantState(id, "SUSPENDED")
	b.wantState(target, "PENDING")
	wantCode(t, "terminate the old one", b.terminate(id), "InvalidResourceState.WorkSpace")
	wantCode(t, "terminate the new one", b.terminate(target), "OperationInProgress.WorkSpace")
	_, code = b.migrate(id, standard)
	wantCode(t, "migrate again", code, "OperationInProgressException")
	if out := b.create(request("alice")); len(out.FailedRequests) != 1 || *out.FailedRequests[0].ErrorCode != "ResourceExists.WorkSpace" {
		t.Errorf("a third one: %+v", out)
	}

	wantAbout(t, "migrating", b.pass(target, "AVAILABLE"), 45*time.Minute)
	b.wantState(id, "TERMINATING")
	w := b.describe(target)
	if p := w.WorkspaceProperties; *w.BundleId != power || *w.UserName != "alice" || *w.DirectoryId != directory ||
		p.RunningMode != types.RunningModeAutoStop || *p.RunningModeAutoStopTimeoutInMinutes != 180 ||
		p.ComputeTypeName != types.ComputePower || *p.RootVolumeSizeGib != 175 || *p.UserVolumeSizeGib != 500 {
		t.Errorf("%+v %+v", w, p)
	}
	if got := b.tags(target); len(got) != 1 || got["forge:env"] != "test" {
		t.Errorf("tags %v", got)
	}
	b.pass(id, "TERMINATED")
	b.pass(id, "ABSENT")
	b.clock.advance(time.Minute)
	if out := b.create(request("alice")); len(out.FailedRequests) != 1 {
		t.Errorf("a second one: %+v", out)
	}
	_, code = b.migrate(target, standard)
	wantCode(t, "the new one is young", code, "OperationNotSupportedException")
}

func TestAMigrationMayFailWithoutAWord(t *testing.T) {
	b := newBench(t)
	b.fault(fault{Kind: "migrate_silent_fail", User: "alice"})
	id := b.available(request("alice"))
	b.clock.advance(12 * time.Hour)
	b.wantState(id, "STOPPED")
	target, code := b.migrate(id, power)
	wantCode(t, "migrate", code, "")
	b.pass(target, "ABSENT")
	if got := b.describe(target); got != nil {
		t.Errorf("%+v", got)
	}
	b.wantState(id, "STOPPED")
	if got := *b.describe(id).BundleId; got != standard {
		t.Errorf("bundle %s", got)
	}
	target, code = b.migrate(id, power)
	wantCode(t, "migrate again", code, "")
	b.pass(target, "AVAILABLE")
}

func TestMigrationsThatAreRefused(t *testing.T) {
	b := newBench(t)
	image, source := b.golden("base")
	id := b.available(request("bob", alwaysOn))
	b.clock.advance(13 * time.Hour)
	out, err := b.client().CreateWorkspaceBundle(t.Context(), bundleOf(image, "mine"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ id, bundle, want string }{
		"no WorkSpace":   {"ws-000000000", power, "ResourceNotFoundException"},
		"no bundle":      {id, "wsb-000000000", "ResourceNotFoundException"},
		"same bundle":    {id, standard, "InvalidParameterValuesException"},
		"pending bundle": {id, *out.WorkspaceBundle.BundleId, "ResourceUnavailableException"},
		"another system": {id, "wsb-fs04nc7zs", "OperationNotSupportedException"},
	} {
		_, code := b.migrate(c.id, c.bundle)
		wantCode(t, name, code, c.want)
		b.wantState(id, "AVAILABLE")
	}
	b.clock.advance(time.Minute)
	target, code := b.migrate(source, *out.WorkspaceBundle.BundleId)
	wantCode(t, "to an own bundle", code, "")
	wantCode(t, "delete that", b.deleteBundle(*out.WorkspaceBundle.BundleId), "ResourceAssociatedException")
	b.pass(target, "AVAILABLE")
	if got := b.admin(target).ImageID; got != image {
		t.Errorf("made of %s", got)
	}
}

func TestTwentyFiveMigrationsAtOnce(t *testing.T) {
	b := newBench(t)
	var ids []string
	for i := range 26 {
		user := fmt.Sprintf("user-%d", i)
		if err := b.emu.AddUsers(directory, user); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, b.one(request(user)))
	}
	b.clock.advance(13 * time.Hour)
	for i, id := range ids {
		want := ""
		if i == 25 {
			want = "ResourceUnavailableException"
		}
		_, code := b.migrate(id, power)
		wantCode(t, fmt.Sprintf("migration %d", i+1), code, want)
	}
	b.clock.advance(time.Hour)
	_, code := b.migrate(ids[25], power)
	wantCode(t, "later", code, "")
}

// A migration of which the journal has lost a part has not begun.
func TestAMigrationIsNeverHalfDone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	id := b.available(request("alice"))
	b.clock.advance(13 * time.Hour)
	before := size(t, path)
	target, code := b.migrate(id, power)
	wantCode(t, "migrate", code, "")
	b.emu.Crash()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int64{before, before + 1, (before + int64(len(whole))) / 2, int64(len(whole)) - 1} {
		torn := filepath.Join(t.TempDir(), "torn")
		if err := os.WriteFile(torn, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		again := newBench(t, stateFile(torn), func(c *emulator.Config) { c.Now = b.clock.Now })
		again.wantState(id, "STOPPED")
		again.wantState(target, "ABSENT")
	}
}

func TestAMigrationGoesOnOverARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	id := b.available(request("alice"))
	b.clock.advance(13 * time.Hour)
	target, code := b.migrate(id, power)
	wantCode(t, "migrate", code, "")
	done := b.admin(target).NextAt
	b.emu.Crash()
	again := newBench(t, stateFile(path), func(c *emulator.Config) { c.Now = b.clock.Now })
	again.clock = b.clock
	again.wantState(id, "SUSPENDED")
	again.wantState(target, "PENDING")
	again.clock.set(done)
	again.wantState(id, "TERMINATING")
	again.wantState(target, "AVAILABLE")
	again.clock.advance(24 * time.Hour)
	again.wantState(id, "ABSENT")
	// Nobody looked, and it went through everything all the same.
	if got := again.emu.Lives(target); !slices.Equal(got, []string{"PENDING", "AVAILABLE", "STOPPING", "STOPPED"}) {
		t.Errorf("%v", got)
	}
}
