package emulator_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

// wantAbout checks a duration against its mean ±20 %.
func wantAbout(t *testing.T, what string, got, mean time.Duration) {
	t.Helper()
	if float64(got) < 0.8*float64(mean) || float64(got) > 1.2*float64(mean) {
		t.Errorf("%s took %v, want %v ±20 %%", what, got, mean)
	}
}

// The four of them give the code an item was refused with, "" if it was not.

func (b *bench) start(id string) string {
	b.t.Helper()
	out, err := b.client().StartWorkspaces(b.t.Context(), &workspaces.StartWorkspacesInput{StartWorkspaceRequests: []types.StartRequest{{WorkspaceId: &id}}})
	return b.refused(id, out.FailedRequests, err)
}

func (b *bench) stop(id string) string {
	b.t.Helper()
	out, err := b.client().StopWorkspaces(b.t.Context(), &workspaces.StopWorkspacesInput{StopWorkspaceRequests: []types.StopRequest{{WorkspaceId: &id}}})
	return b.refused(id, out.FailedRequests, err)
}

func (b *bench) reboot(id string) string {
	b.t.Helper()
	out, err := b.client().RebootWorkspaces(b.t.Context(), &workspaces.RebootWorkspacesInput{RebootWorkspaceRequests: []types.RebootRequest{{WorkspaceId: &id}}})
	return b.refused(id, out.FailedRequests, err)
}

func (b *bench) terminate(id string) string {
	b.t.Helper()
	out, err := b.client().TerminateWorkspaces(b.t.Context(), &workspaces.TerminateWorkspacesInput{TerminateWorkspaceRequests: []types.TerminateRequest{{WorkspaceId: &id}}})
	return b.refused(id, out.FailedRequests, err)
}

func (b *bench) refused(id string, failed []types.FailedWorkspaceChangeRequest, err error) string {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	if len(failed) == 0 {
		return ""
	}
	if len(failed) > 1 || *failed[0].WorkspaceId != id || aws.ToString(failed[0].ErrorMessage) == "" {
		b.t.Fatalf("failed requests %+v", failed)
	}
	return *failed[0].ErrorCode
}

func TestALifeFromCreationToAbsence(t *testing.T) {
	b := newBench(t)
	id := b.one(request("alice"))
	wantAbout(t, "provisioning", b.pass(id, "AVAILABLE"), 15*time.Minute)
	wantCode(t, "stop", b.stop(id), "")
	wantAbout(t, "stopping", b.pass(id, "STOPPED"), 3*time.Minute)
	wantCode(t, "start", b.start(id), "")
	wantAbout(t, "starting", b.pass(id, "AVAILABLE"), 90*time.Second)
	wantCode(t, "reboot", b.reboot(id), "")
	wantAbout(t, "rebooting", b.pass(id, "AVAILABLE"), 4*time.Minute)
	wantCode(t, "terminate", b.terminate(id), "")
	wantAbout(t, "terminating", b.pass(id, "TERMINATED"), 5*time.Minute)
	if got := b.describe(id); got == nil || got.State != types.WorkspaceStateTerminated {
		t.Errorf("terminated: %+v", got)
	}
	if took := b.pass(id, "ABSENT"); took != 5*time.Second {
		t.Errorf("was TERMINATED for %v", took)
	}
	if got := b.describe(id); got != nil {
		t.Errorf("absent: %+v", got)
	}
	wantCode(t, "terminate again", b.terminate(id), "ResourceNotFound.WorkSpace")

	// The directory needs a little longer to forget.
	b.clock.advance(10*time.Second - time.Nanosecond)
	if out := b.create(request("alice")); len(out.FailedRequests) != 1 || *out.FailedRequests[0].ErrorCode != "ResourceExists.WorkSpace" {
		t.Errorf("at once: %+v", out)
	}
	b.clock.advance(time.Nanosecond)
	b.one(request("alice"))
}

func wantCode(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: refused with %q, want %q", what, got, want)
	}
}

func TestWhatEachStateAllows(t *testing.T) {
	const state, mode, gone = "InvalidResourceState.WorkSpace", "OperationNotSupported.RunningMode", "ResourceNotFound.WorkSpace"
	reach := map[string]func(b *bench) string{
		"PENDING":   func(b *bench) string { return b.one(request("alice")) },
		"AVAILABLE": func(b *bench) string { return b.available(request("alice")) },
		"STOPPING":  func(b *bench) string { id := b.available(request("alice")); b.stop(id); return id },
		"STOPPED": func(b *bench) string {
			id := b.available(request("alice"))
			b.stop(id)
			b.pass(id, "STOPPED")
			return id
		},
		"STARTING": func(b *bench) string {
			id := b.available(request("alice"))
			b.stop(id)
			b.pass(id, "STOPPED")
			b.start(id)
			return id
		},
		"REBOOTING":   func(b *bench) string { id := b.available(request("alice")); b.reboot(id); return id },
		"TERMINATING": func(b *bench) string { id := b.available(request("alice")); b.terminate(id); return id },
		"AVAILABLE, always on": func(b *bench) string {
			return b.available(request("alice", alwaysOn))
		},
		"ABSENT": func(b *bench) string { return "ws-000000000" },
	}
	for from, want := range map[string][4]string{
		//                       start  stop   reboot terminate
		"PENDING":              {state, state, state, ""},
		"AVAILABLE":            {state, "", "", ""},
		"STOPPING":             {state, state, state, ""},
		"STOPPED":              {"", state, state, ""},
		"STARTING":             {state, state, state, ""},
		"REBOOTING":            {state, state, state, ""},
		"TERMINATING":          {state, state, state, ""},
		"AVAILABLE, always on": {mode, mode, "", ""},
		"ABSENT":               {gone, gone, gone, gone},
	} {
		t.Run(from, func(t *testing.T) {
			for i, do := range []func(*bench, string) string{(*bench).start, (*bench).stop, (*bench).reboot, (*bench).terminate} {
				b := newBench(t)
				id := reach[from](b)
				before := b.admin(id)
				wantCode(t, []string{"start", "stop", "reboot", "terminate"}[i], do(b, id), want[i])
				if after := b.admin(id); want[i] != "" && (after.State != before.State || after.NextAt != before.NextAt) {
					t.Errorf("refused, but %s until %v became %s until %v", before.State, before.NextAt, after.State, after.NextAt)
				}
			}
		})
	}
}

func TestEachItemOfABatchIsSettledByItself(t *testing.T) {
	b := newBench(t)
	out := b.create(request("alice"), request("bob", alwaysOn), request("carol"))
	alice, bob, carol := *out.PendingRequests[0].WorkspaceId, *out.PendingRequests[1].WorkspaceId, *out.PendingRequests[2].WorkspaceId
	b.clock.advance(20 * time.Minute)
	stopped, err := b.client().StopWorkspaces(t.Context(), &workspaces.StopWorkspacesInput{StopWorkspaceRequests: []types.StopRequest{
		{WorkspaceId: &alice}, {WorkspaceId: &bob}, {WorkspaceId: aws.String("ws-000000000")}, {WorkspaceId: &carol}, {WorkspaceId: &alice}, {},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, f := range stopped.FailedRequests {
		codes = append(codes, aws.ToString(f.WorkspaceId)+" "+*f.ErrorCode)
	}
	want := []string{bob + " OperationNotSupported.RunningMode", "ws-000000000 ResourceNotFound.WorkSpace", alice + " InvalidResourceState.WorkSpace", " ResourceNotFound.WorkSpace"}
	if !equal(codes, want) {
		t.Errorf("refused %q, want %q", codes, want)
	}
	b.wantState(alice, "STOPPING")
	b.wantState(bob, "AVAILABLE")
	b.wantState(carol, "STOPPING")
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestAWorkSpaceOfAnotherRegionIsNotThere(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice"))
	out, err := b.client(inRegion("eu-west-1")).TerminateWorkspaces(t.Context(), &workspaces.TerminateWorkspacesInput{
		TerminateWorkspaceRequests: []types.TerminateRequest{{WorkspaceId: &id}},
	})
	if err != nil || len(out.FailedRequests) != 1 {
		t.Errorf("%v %+v", err, out)
	}
	b.wantState(id, "AVAILABLE")
}

func TestAnIdleWorkSpaceStopsAfterItsTimeoutWhateverTheSpeed(t *testing.T) {
	for _, speed := range []float64{1, 600} {
		b := newBench(t, func(c *emulator.Config) { c.Speed = speed })
		id := b.available(request("alice"))

		if took := b.pass(id, "STOPPING"); took != time.Hour {
			t.Errorf("speed %v: never used, stopped after %v", speed, took)
		}
		wantAbout(t, "stopping", b.pass(id, "STOPPED"), time.Duration(float64(3*time.Minute)/speed))

		b.start(id)
		b.pass(id, "AVAILABLE")
		b.clock.advance(50 * time.Minute)
		b.act(id, "connect")
		b.clock.advance(24 * time.Hour)
		b.wantState(id, "AVAILABLE")
		b.act(id, "disconnect")
		left := b.clock.Now()
		b.pass(id, "STOPPING")
		if took := b.clock.Now().Sub(left); took != time.Hour {
			t.Errorf("speed %v: stopped %v after the user left", speed, took)
		}
	}
}

func TestAlwaysOnAndManualWorkSpacesDoNotStopByThemselves(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", alwaysOn))
	other := b.available(request("bob", func(r *types.WorkspaceRequest) {
		r.WorkspaceProperties = &types.WorkspaceProperties{RunningMode: types.RunningModeManual}
	}))
	b.clock.advance(30 * 24 * time.Hour)
	b.wantState(id, "AVAILABLE")
	b.wantState(other, "AVAILABLE")
	wantCode(t, "stop a manual one", b.stop(other), "")
}

func TestSpeedDividesWhatAmazonTakes(t *testing.T) {
	b := newBench(t, func(c *emulator.Config) { c.Speed = 600 })
	id := b.one(request("alice"))
	wantAbout(t, "provisioning", b.pass(id, "AVAILABLE"), 15*time.Minute/600)
}

func TestJitterIsTheWorkSpacesOwn(t *testing.T) {
	b := newBench(t)
	took := map[time.Duration]bool{}
	for _, user := range []string{"alice", "bob", "carol", "dave"} {
		w := b.admin(b.one(request(user)))
		took[w.NextAt.Sub(w.Since)] = true
	}
	if len(took) != 4 {
		t.Errorf("four WorkSpaces took %v", took)
	}
}
