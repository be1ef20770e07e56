package emulator_test

import (
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

func maintained(c *emulator.Config) { c.Maintenance = true }

func TestAStoppedWorkSpaceIsMaintainedOnceAMonth(t *testing.T) {
	// The third Mondays of 2026, from March on.
	mondays := []string{"2026-03-16", "2026-04-20", "2026-05-18", "2026-06-15", "2026-07-20", "2026-08-17", "2026-09-21", "2026-10-19", "2026-11-16", "2026-12-21"}
	b := newBench(t, maintained)
	nights := map[time.Duration]bool{}
	for _, user := range []string{"alice", "bob", "carol", "dave"} {
		b.clock.set(start)
		id := b.available(request(user))
		b.pass(id, "STOPPING")
		b.pass(id, "STOPPED")
		for _, monday := range mondays {
			b.pass(id, "MAINTENANCE")
			first, err := time.Parse(time.DateOnly, monday)
			if err != nil {
				t.Fatal(err)
			}
			into := b.clock.Now().Sub(first)
			if into < 0 || into >= 14*24*time.Hour || into%(24*time.Hour) > 4*time.Hour {
				t.Errorf("%s: %v after %s", user, into, monday)
			}
			nights[into.Truncate(24*time.Hour)] = true
			b.call(http.MethodPost, "/_emu/workspaces/"+id+"/connect", nil, http.StatusConflict, nil)
			wantAbout(t, "maintenance", b.pass(id, "STOPPED"), time.Hour)
		}
	}
	if len(nights) < 2 {
		t.Errorf("all in one night: %v", nights)
	}
}

func TestWhatIsNotMaintained(t *testing.T) {
	off := newBench(t)
	id := off.available(request("alice"))
	off.pass(id, "STOPPING")
	off.pass(id, "STOPPED")
	off.clock.advance(90 * 24 * time.Hour)
	if got := off.emu.Lives(id); slices.Contains(got, "MAINTENANCE") {
		t.Errorf("it is off: %v", got)
	}

	b := newBench(t, maintained)
	always, used := b.available(request("alice", alwaysOn)), b.available(request("bob"))
	manual := b.available(request("carol", func(r *types.WorkspaceRequest) {
		r.WorkspaceProperties = &types.WorkspaceProperties{RunningMode: types.RunningModeManual}
	}))
	b.act(used, "connect")
	b.stop(manual)
	b.clock.advance(90 * 24 * time.Hour)
	for _, id := range []string{always, used, manual} {
		if got := b.emu.Lives(id); slices.Contains(got, "MAINTENANCE") {
			t.Errorf("%v", got)
		}
	}
}

func TestALateLookFindsEveryMaintenance(t *testing.T) {
	b := newBench(t, maintained)
	id := b.one(request("alice"))
	b.clock.advance(62 * 24 * time.Hour) // to 3 May, when two of them are over
	want := []string{"PENDING", "AVAILABLE", "STOPPING", "STOPPED", "MAINTENANCE", "STOPPED", "MAINTENANCE", "STOPPED"}
	if got := b.emu.Lives(id); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	b.act(id, "connect")
	b.pass(id, "AVAILABLE")
}

func TestMaintenanceWaitsForAVolume(t *testing.T) {
	b := newBench(t, maintained)
	id := b.available(request("alice"))
	b.clock.advance(12 * time.Hour)
	due := b.admin(id).NextAt
	b.clock.set(due.Add(-time.Minute))
	wantCode(t, "modify", b.modify(id, types.WorkspaceProperties{UserVolumeSizeGib: aws.Int32(100)}), "")
	if w := b.admin(id); w.Next != "MAINTENANCE" || !w.NextAt.After(due.Add(14*24*time.Hour)) {
		t.Errorf("%+v", w)
	}
}

func TestMaintenanceSwitchedOnOrOffLeavesThePastAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	id := b.available(request("alice"))
	b.clock.advance(62 * 24 * time.Hour)
	restart := func(on bool) {
		b.emu.Crash()
		now := b.clock
		b = newBench(t, stateFile(path), func(c *emulator.Config) { c.Now, c.Maintenance = now.Now, on })
		b.clock = now
	}
	restart(true)
	if w := b.admin(id); w.State != "STOPPED" || w.Next != "MAINTENANCE" || !w.NextAt.After(b.clock.Now()) {
		t.Errorf("on: %+v", w)
	}
	b.pass(id, "MAINTENANCE")
	restart(false)
	b.pass(id, "STOPPED")
	if w := b.admin(id); w.Next != "" {
		t.Errorf("off: %+v", w)
	}
}
