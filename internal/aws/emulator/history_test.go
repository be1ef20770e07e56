package emulator_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

type interval struct {
	From, To           time.Time
	State              string
	Connected, Waiting bool
	RunningMode        string `json:"running_mode"`
	Compute            string
	UserGiB            int `json:"user_gib"`
	Tags               map[string]string
}

type history struct {
	ID, User  string
	Created   time.Time
	Intervals []interval
}

func (b *bench) history(id string) history {
	b.t.Helper()
	var out history
	b.call(http.MethodGet, "/_emu/workspaces/"+id+"/history", nil, http.StatusOK, &out)
	return out
}

// states are the intervals without their times.
func (h history) states() []string {
	var all []string
	for _, i := range h.Intervals {
		s := i.State
		if i.Connected {
			s += " connected"
		}
		if i.Waiting {
			s += " waiting"
		}
		all = append(all, s)
	}
	return all
}

func TestTheHistoryTellsWhatNobodyAskedFor(t *testing.T) {
	for name, ask := range map[string]bool{"asked at every turn": true, "asked at the end": false} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			b := newBench(t, stateFile(path))
			id := b.one(request("alice"))
			turn := func(d time.Duration) {
				b.clock.advance(d)
				if ask {
					b.describe(id)
				}
			}
			turn(24 * time.Hour) // available, and stopped after an hour
			b.act(id, "connect")
			turn(10 * time.Minute)
			b.act(id, "disconnect")
			turn(6 * time.Hour)
			b.act(id, "connect")
			turn(time.Second) // still starting
			b.terminate(id)
			turn(24 * time.Hour)

			h := b.history(id)
			want := []string{
				"PENDING", "AVAILABLE", "STOPPING", "STOPPED", "STARTING waiting", "AVAILABLE connected", "AVAILABLE", "STOPPING", "STOPPED",
				"STARTING waiting", "TERMINATING", "TERMINATED", "ABSENT",
			}
			if diff := cmp.Diff(want, h.states()); diff != "" {
				t.Fatal(diff)
			}
			for i, s := range h.Intervals[:len(h.Intervals)-1] {
				if !s.To.Equal(h.Intervals[i+1].From) || !s.From.Before(s.To) {
					t.Errorf("interval %d is %v to %v, the next begins at %v", i, s.From, s.To, h.Intervals[i+1].From)
				}
			}
			at := func(i int) time.Time { return h.Intervals[i].From }
			if !at(0).Equal(start) || !h.Created.Equal(start) {
				t.Errorf("begins at %v, created %v", at(0), h.Created)
			}
			if d := at(2).Sub(at(1)); d != time.Hour {
				t.Errorf("it stopped after %v", d)
			}
			if d := at(7).Sub(at(6)); d != time.Hour {
				t.Errorf("it stopped %v after the user left", d)
			}
			b.emu.Crash()
			again := newBench(t, stateFile(path))
			again.clock.set(b.clock.Now())
			if diff := cmp.Diff(h, again.history(id)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheHistoryTellsOfChangesOfSizeWhenTheyTakeEffect(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", alwaysOn))
	available := b.clock.Now()
	b.clock.advance(6 * time.Hour)
	if _, err := b.client().ModifyWorkspaceProperties(t.Context(), &workspaces.ModifyWorkspacePropertiesInput{
		WorkspaceId: &id, WorkspaceProperties: &types.WorkspaceProperties{ComputeTypeName: types.ComputePerformance},
	}); err != nil {
		t.Fatal(err)
	}
	done := b.admin(id).ChangedAt
	b.clock.advance(5 * time.Hour)
	if _, err := b.client().CreateTags(t.Context(), &workspaces.CreateTagsInput{ResourceId: &id, Tags: []types.Tag{tag("a", "b")}}); err != nil {
		t.Fatal(err)
	}
	got := b.history(id).Intervals[1:]
	if len(got) != 4 {
		t.Fatalf("%+v", got)
	}
	rebooted := got[2].From
	wantAbout(t, "rebooting", rebooted.Sub(done), 4*time.Minute)
	want := []interval{
		{From: available, To: done, State: "AVAILABLE", RunningMode: "ALWAYS_ON", Compute: "STANDARD", UserGiB: 50},
		{From: done, To: rebooted, State: "REBOOTING", RunningMode: "ALWAYS_ON", Compute: "PERFORMANCE", UserGiB: 50},
		{From: rebooted, To: b.clock.Now(), State: "AVAILABLE", RunningMode: "ALWAYS_ON", Compute: "PERFORMANCE", UserGiB: 50},
		{From: b.clock.Now(), State: "AVAILABLE", RunningMode: "ALWAYS_ON", Compute: "PERFORMANCE", UserGiB: 50, Tags: map[string]string{"a": "b"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheHistoryDoesNotGoBackWithTheClock(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", alwaysOn))
	b.clock.advance(time.Hour)
	b.act(id, "connect")
	b.clock.advance(-30 * time.Minute)
	b.act(id, "disconnect")
	b.act(id, "connect")
	b.clock.advance(2 * time.Hour)
	b.act(id, "disconnect")
	b.clock.advance(time.Minute)
	last := time.Time{}
	for _, i := range b.history(id).Intervals {
		if i.From.Before(last) {
			t.Errorf("%+v follows %v", i, last)
		}
		last = i.From
	}
}

func TestTheHistoryIsKeptForFifteenMonthsAndNotForEver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	dead := b.available(request("bob"))
	b.terminate(dead)
	id := b.available(request("alice", alwaysOn))
	for range 700 { // days
		b.act(id, "connect")
		b.clock.advance(8 * time.Hour)
		b.act(id, "disconnect")
		b.clock.advance(16 * time.Hour)
	}
	kept := b.history(id).Intervals
	if first := kept[0].From; b.clock.Now().Sub(first) < 456*24*time.Hour {
		t.Errorf("it begins %v ago", b.clock.Now().Sub(first))
	}
	if len(kept) > 2*2*500 {
		t.Errorf("%d intervals", len(kept))
	}
	if err := b.emu.Close(); err != nil {
		t.Fatal(err)
	}
	again := newBench(t, stateFile(path), func(c *emulator.Config) { c.Now = b.clock.Now })
	again.call(http.MethodGet, "/_emu/workspaces/"+dead+"/history", nil, http.StatusNotFound, nil)
	if diff := cmp.Diff(kept, again.history(id).Intervals); diff != "" {
		t.Error(diff)
	}
}

func TestAHistoryThatMakesNoSenseIsNotRead(t *testing.T) {
	for name, spans := range map[string]string{
		"no terms":    `[{"t":"2026-11-01T00:00:00Z","s":"AVAILABLE","k":2}]`,
		"null terms":  `[{"t":"2026-11-01T00:00:00Z","s":"AVAILABLE","k":1}]`,
		"out of turn": `[{"t":"2026-11-02T00:00:00Z","s":"AVAILABLE","k":0},{"t":"2026-11-01T00:00:00Z","s":"STOPPED","k":0}]`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			writeState(t, path, `{"emulator":"workspaces","version":1,"seq":1}`+"\n"+
				`{"kind":"history","value":{"id":"ws-1","terms":[{},null],"spans":`+spans+`}}`+"\n{}\n")
			if _, err := emulator.New(emulator.Config{StateFile: path}); err == nil {
				t.Error("no error")
			}
		})
	}
}

// What Amazon says of the connection and what it measured of it must be one story.
func TestTheConnectionStatusIsTheHistorys(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice"))
	b.act(id, "connect")
	for _, step := range []struct {
		action string
		want   types.ConnectionState
	}{{"", types.ConnectionStateConnected}, {"disconnect", types.ConnectionStateDisconnected}, {"stop", types.ConnectionStateUnknown}} {
		if step.action != "" {
			b.act(id, step.action)
		}
		b.clock.advance(10 * time.Minute)
		out, err := b.client().DescribeWorkspacesConnectionStatus(t.Context(), &workspaces.DescribeWorkspacesConnectionStatusInput{WorkspaceIds: []string{id}})
		if err != nil || len(out.WorkspacesConnectionStatus) != 1 {
			t.Fatal(err, out)
		}
		status := out.WorkspacesConnectionStatus[0]
		intervals := b.history(id).Intervals
		is := intervals[len(intervals)-1]
		if status.ConnectionState != step.want || is.Connected != (step.want == types.ConnectionStateConnected) {
			t.Errorf("%q: %s, in the history %+v", step.action, status.ConnectionState, is)
		}
		if status.ConnectionState == types.ConnectionStateDisconnected {
			for _, i := range intervals {
				if i.Connected && !status.LastKnownUserConnectionTimestamp.Equal(i.To.Truncate(time.Millisecond)) {
					t.Errorf("last known %v, in the history until %v", status.LastKnownUserConnectionTimestamp, i.To)
				}
			}
		}
	}
}

// Whoever reads the past keeps what was found, whatever is done meanwhile.
func TestThePastIsReadWhileItIsMade(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", alwaysOn))
	var readers sync.WaitGroup
	done := make(chan struct{})
	for _, path := range []string{"/_emu/workspaces/" + id + "/history", "/_emu/bill?month=2026-03"} {
		readers.Go(func() {
			for reading := true; reading; {
				select {
				case <-done:
					reading = false // after one more
				default:
				}
				w := httptest.NewRecorder()
				b.emu.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
				if w.Code != http.StatusOK || !json.Valid(w.Body.Bytes()) {
					t.Errorf("%s: %d %s", path, w.Code, w.Body)
				}
			}
		})
	}
	b.clock.advance(time.Minute)
	for range 200 {
		b.act(id, "connect")
		b.clock.advance(time.Minute)
		b.act(id, "disconnect")
		b.clock.advance(time.Minute)
	}
	close(done)
	readers.Wait()
	if got := b.history(id).states(); len(got) != 2+400 { // PENDING, AVAILABLE
		t.Errorf("%d intervals", len(got))
	}
}

func writeState(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
