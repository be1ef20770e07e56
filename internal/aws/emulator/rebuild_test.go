package emulator_test

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

func (b *bench) rebuild(id string) string {
	b.t.Helper()
	out, err := b.client().RebuildWorkspaces(b.t.Context(), &workspaces.RebuildWorkspacesInput{RebuildWorkspaceRequests: []types.RebuildRequest{{WorkspaceId: &id}}})
	return b.refused(id, out.FailedRequests, err)
}

func (b *bench) restore(id string) string {
	b.t.Helper()
	_, err := b.client().RestoreWorkspace(b.t.Context(), &workspaces.RestoreWorkspaceInput{WorkspaceId: &id})
	return codeOf(b.t, err)
}

func (b *bench) maintain(id string, state types.TargetWorkspaceState) string {
	b.t.Helper()
	_, err := b.client().ModifyWorkspaceState(b.t.Context(), &workspaces.ModifyWorkspaceStateInput{WorkspaceId: &id, WorkspaceState: state})
	return codeOf(b.t, err)
}

// fail makes a WorkSpace ill.
func (b *bench) fail(id, state string) {
	b.t.Helper()
	if no := b.emu.Fail(id, state, "SomethingBroke", "Something broke."); no != "" {
		b.t.Fatal(no)
	}
}

// snapshots gives when the snapshots to rebuild and to restore from were taken, zero if there are none.
func (b *bench) snapshots(id string) (rebuild, restore time.Time) {
	b.t.Helper()
	out, err := b.client().DescribeWorkspaceSnapshots(b.t.Context(), &workspaces.DescribeWorkspaceSnapshotsInput{WorkspaceId: &id})
	if err != nil {
		b.t.Fatal(err)
	}
	one := func(all []types.Snapshot) time.Time {
		switch len(all) {
		case 0:
			return time.Time{}
		case 1:
			return *all[0].SnapshotTime
		}
		b.t.Fatalf("%d snapshots", len(all))
		return time.Time{}
	}
	return one(out.RebuildSnapshots), one(out.RestoreSnapshots)
}

func TestSnapshotsAreTakenEveryTwelveHours(t *testing.T) {
	for _, speed := range []float64{1, 600} {
		b := newBench(t, func(c *emulator.Config) { c.Speed = speed })
		id := b.one(request("alice", alwaysOn))
		created := b.admin(id).Created
		at := func(d time.Duration) time.Time { return created.Add(time.Duration(float64(d) / speed)) }
		want := func(now, rebuild, restore time.Time) {
			t.Helper()
			b.clock.set(now)
			gotRebuild, gotRestore := b.snapshots(id)
			if !sameTime(gotRebuild, rebuild) || !sameTime(gotRestore, restore) {
				t.Errorf("speed %v at %v: %v and %v, want %v and %v", speed, now, gotRebuild, gotRestore, rebuild, restore)
			}
		}
		none, first := time.Time{}, at(30*time.Minute)
		want(first.Add(-time.Nanosecond), none, none)
		want(first, first, first)
		second := at(12*time.Hour + 30*time.Minute)
		want(second.Add(-time.Nanosecond), first, first)
		want(second, second, second)
		// Nobody asked for a long time.
		tenth := at(30*time.Minute + 9*12*time.Hour)
		want(tenth.Add(time.Second/time.Duration(speed)), tenth, tenth)

		b.fail(id, "UNHEALTHY")
		eleventh := tenth.Add(second.Sub(first))
		want(eleventh, eleventh, tenth)
		b.reboot(id)
		b.pass(id, "AVAILABLE")
		twelfth := eleventh.Add(second.Sub(first))
		want(twelfth, twelfth, twelfth)
	}
}

func TestSnapshotsOfNone(t *testing.T) {
	b := newBench(t)
	_, err := b.client().DescribeWorkspaceSnapshots(t.Context(), &workspaces.DescribeWorkspaceSnapshotsInput{WorkspaceId: aws.String("ws-000000000")})
	wantCode(t, "snapshots", codeOf(t, err), "ResourceNotFoundException")
}

func TestARebuildTakesASnapshotOfTheUserVolume(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", alwaysOn))
	wantCode(t, "too early", b.rebuild(id), "ResourceNotFound.Snapshot")
	wantCode(t, "restore too early", b.restore(id), "OperationNotSupportedException")
	b.wantState(id, "AVAILABLE")
	b.clock.advance(30 * time.Minute)
	before := *b.describe(id).IpAddress
	b.act(id, "connect")
	wantCode(t, "rebuild", b.rebuild(id), "")
	if b.admin(id).Connected {
		t.Error("the user is still connected")
	}
	wantAbout(t, "rebuilding", b.pass(id, "AVAILABLE"), 30*time.Minute)
	if after := *b.describe(id).IpAddress; after == before {
		t.Errorf("the address is still %s", after)
	}
	wantCode(t, "restore", b.restore(id), "")
	wantAbout(t, "restoring", b.pass(id, "AVAILABLE"), 40*time.Minute)
}

func TestARebuildIsOfOneWorkSpace(t *testing.T) {
	b := newBench(t)
	_, err := b.client().RebuildWorkspaces(t.Context(), &workspaces.RebuildWorkspacesInput{
		RebuildWorkspaceRequests: []types.RebuildRequest{{WorkspaceId: aws.String("ws-000000000")}, {WorkspaceId: aws.String("ws-000000001")}},
	})
	wantCode(t, "two", codeOf(t, err), "ValidationException")
	wantCode(t, "absent", b.rebuild("ws-000000000"), "ResourceNotFound.WorkSpace")
	wantCode(t, "restore absent", b.restore("ws-000000000"), "ResourceNotFoundException")
}

// old gives a WorkSpace that stops by itself, which it has not done as its user is there, with snapshots of it.
func (b *bench) old() string {
	b.t.Helper()
	id := b.available(request("alice"))
	b.act(id, "connect")
	b.clock.advance(13 * time.Hour)
	return id
}

func TestWhatEachStateAllowsOfTheRest(t *testing.T) {
	const (
		state, inState = "InvalidResourceState.WorkSpace", "InvalidResourceStateException"
		no             = "OperationNotSupportedException"
	)
	reach := map[string]func(b *bench) string{
		"PENDING":   func(b *bench) string { return b.one(request("alice")) },
		"AVAILABLE": (*bench).old,
		"STOPPING":  func(b *bench) string { id := b.old(); b.stop(id); return id },
		"STOPPED":   func(b *bench) string { id := b.old(); b.stop(id); b.pass(id, "STOPPED"); return id },
		"STARTING": func(b *bench) string {
			id := b.old()
			b.stop(id)
			b.pass(id, "STOPPED")
			b.start(id)
			return id
		},
		"REBOOTING":  func(b *bench) string { id := b.old(); b.reboot(id); return id },
		"REBUILDING": func(b *bench) string { id := b.old(); b.rebuild(id); return id },
		"RESTORING":  func(b *bench) string { id := b.old(); b.restore(id); return id },
		"UNHEALTHY":  func(b *bench) string { id := b.old(); b.fail(id, "UNHEALTHY"); return id },
		"IMPAIRED":   func(b *bench) string { id := b.old(); b.fail(id, "IMPAIRED"); return id },
		"ERROR":      func(b *bench) string { id := b.old(); b.fail(id, "ERROR"); return id },
		"SUSPENDED":  func(b *bench) string { id := b.old(); b.capture(id, "base"); return id },
		"ADMIN_MAINTENANCE": func(b *bench) string {
			id := b.old()
			b.maintain(id, types.TargetWorkspaceStateAdminMaintenance)
			return id
		},
		"MAINTENANCE": func(b *bench) string {
			id := b.old()
			b.act(id, "disconnect")
			b.pass(id, "STOPPING")
			b.pass(id, "STOPPED")
			b.pass(id, "MAINTENANCE")
			return id
		},
		"TERMINATING": func(b *bench) string { id := b.old(); b.terminate(id); return id },
	}
	ops := []struct {
		name string
		do   func(*bench, string) string
	}{
		{"start", (*bench).start},
		{"stop", (*bench).stop},
		{"reboot", (*bench).reboot},
		{"rebuild", (*bench).rebuild},
		{"restore", (*bench).restore},
		{"terminate", (*bench).terminate},
		{"into maintenance", func(b *bench, id string) string { return b.maintain(id, types.TargetWorkspaceStateAdminMaintenance) }},
		{"out of maintenance", func(b *bench, id string) string { return b.maintain(id, types.TargetWorkspaceStateAvailable) }},
		{"modify", func(b *bench, id string) string {
			return b.modify(id, types.WorkspaceProperties{RunningModeAutoStopTimeoutInMinutes: aws.Int32(120)})
		}},
		{"migrate", func(b *bench, id string) string { _, code := b.migrate(id, pcoip); return code }},
	}
	for from, want := range map[string][10]string{
		//                    start  stop   reboot rebuild restore terminate in  out      modify   migrate
		"PENDING":           {state, state, state, state, no, "", inState, inState, inState, no},
		"AVAILABLE":         {state, "", "", "", "", "", "", inState, "", ""},
		"STOPPING":          {state, state, state, state, no, "", inState, inState, inState, no},
		"STOPPED":           {"", state, state, "", "", "", inState, inState, "", ""},
		"STARTING":          {state, state, state, state, no, "", inState, inState, inState, no},
		"REBOOTING":         {state, state, state, "", no, "", inState, inState, inState, no},
		"REBUILDING":        {state, state, state, state, no, "", inState, inState, inState, no},
		"RESTORING":         {state, state, state, state, no, "", inState, inState, inState, no},
		"UNHEALTHY":         {state, "", "", "", "", "", inState, inState, inState, no},
		"IMPAIRED":          {state, "", state, state, no, "", inState, inState, inState, no},
		"ERROR":             {state, "", state, "", "", "", inState, inState, inState, ""},
		"SUSPENDED":         {state, state, state, state, no, state, inState, inState, inState, no},
		"ADMIN_MAINTENANCE": {state, state, state, state, no, "", inState, "", inState, no},
		"MAINTENANCE":       {state, state, state, state, no, "", inState, inState, inState, no},
		"TERMINATING":       {state, state, state, state, no, "", inState, inState, inState, no},
	} {
		t.Run(from, func(t *testing.T) {
			for i, op := range ops {
				b := newBench(t, func(c *emulator.Config) { c.Maintenance = true })
				id := reach[from](b)
				b.wantState(id, from)
				before := b.admin(id)
				wantCode(t, op.name, op.do(b, id), want[i])
				if after := b.admin(id); want[i] != "" && (after.State != before.State || after.NextAt != before.NextAt) {
					t.Errorf("%s was refused, but %s until %v became %s until %v", op.name, before.State, before.NextAt, after.State, after.NextAt)
				}
			}
		})
	}
}

func TestNothingIsRebuiltWhileItIsModified(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", alwaysOn))
	b.clock.advance(13 * time.Hour)
	wantCode(t, "modify", b.modify(id, types.WorkspaceProperties{UserVolumeSizeGib: aws.Int32(100)}), "")
	wantCode(t, "rebuild", b.rebuild(id), "OperationInProgress.WorkSpace")
	wantCode(t, "restore", b.restore(id), "OperationNotSupportedException")
	_, code := b.migrate(id, pcoip)
	wantCode(t, "migrate", code, "OperationInProgressException")
}

func TestARebuildGoesOnOverARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	id := b.available(request("alice", alwaysOn))
	b.clock.advance(time.Hour)
	wantCode(t, "rebuild", b.rebuild(id), "")
	address, done := *b.describe(id).IpAddress, b.admin(id).NextAt
	rebuild, restore := b.snapshots(id)
	b.emu.Crash()
	again := newBench(t, stateFile(path), func(c *emulator.Config) { c.Now = b.clock.Now })
	again.clock = b.clock
	again.wantState(id, "REBUILDING")
	if gotRebuild, gotRestore := again.snapshots(id); !gotRebuild.Equal(rebuild) || !gotRestore.Equal(restore) {
		t.Errorf("snapshots of %v and %v", gotRebuild, gotRestore)
	}
	again.clock.set(done)
	again.wantState(id, "AVAILABLE")
	if got := *again.describe(id).IpAddress; got != address {
		t.Errorf("the address was %s and is %s", address, got)
	}
}

func TestAdminMaintenanceKeepsEverythingAway(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice"))
	b.act(id, "connect")
	wantCode(t, "in", b.maintain(id, types.TargetWorkspaceStateAdminMaintenance), "")
	if w := b.admin(id); w.Connected || w.Next != "" {
		t.Errorf("%+v", w)
	}
	b.call(http.MethodPost, "/_emu/workspaces/"+id+"/connect", nil, http.StatusConflict, nil)
	b.clock.advance(48 * time.Hour)
	b.wantState(id, "ADMIN_MAINTENANCE")
	wantCode(t, "out", b.maintain(id, types.TargetWorkspaceStateAvailable), "")
	if took := b.pass(id, "STOPPING"); took != time.Hour {
		t.Errorf("stopped %v after the maintenance", took)
	}
	wantCode(t, "absent", b.maintain("ws-000000000", types.TargetWorkspaceStateAvailable), "ResourceNotFoundException")
}

func TestIllHealthIsToldUntilItIsOver(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", alwaysOn))
	for _, state := range []string{"UNHEALTHY", "IMPAIRED", "ERROR"} {
		b.fail(id, state)
		w := b.describe(id)
		if string(w.State) != state || aws.ToString(w.ErrorCode) != "SomethingBroke" || aws.ToString(w.ErrorMessage) != "Something broke." {
			t.Errorf("%+v", w)
		}
	}
	b.clock.advance(time.Hour)
	wantCode(t, "rebuild", b.rebuild(id), "")
	b.pass(id, "AVAILABLE")
	if w := b.describe(id); w.ErrorCode != nil || w.ErrorMessage != nil {
		t.Errorf("%+v", w)
	}
	pending := b.one(request("bob"))
	wantCode(t, "a pending one unhealthy", b.emu.Fail(pending, "UNHEALTHY", "X", "x"), "InvalidResourceState.WorkSpace")
	wantCode(t, "a pending one in error", b.emu.Fail(pending, "ERROR", "X", "x"), "")
	b.terminate(pending)
	wantCode(t, "one on its way out", b.emu.Fail(pending, "ERROR", "X", "x"), "InvalidResourceState.WorkSpace")
}
