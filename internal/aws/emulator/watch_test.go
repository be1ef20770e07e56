package emulator_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

// TestAWatchGoesFromOneChangeToTheNext follows a WorkSpace by what the watch says comes next.
func TestAWatchGoesFromOneChangeToTheNext(t *testing.T) {
	b := newBench(t)
	watch := b.emu.Watch()
	if changed, next := watch.Look(); len(changed) > 0 || !next.IsZero() {
		t.Fatalf("nothing is there, and %v changes, next at %s", changed, next)
	}
	id := b.one(request("alice"))
	look := func(before, state string, resold bool) time.Time {
		t.Helper()
		changed, next := watch.Look()
		if len(changed) != 1 || changed[0].ID != id || changed[0].User != "alice" || changed[0].Before != before || changed[0].State != state || changed[0].Resold != resold {
			t.Fatalf("%+v", changed)
		}
		if again, same := watch.Look(); len(again) > 0 || !same.Equal(next) {
			t.Fatalf("told twice: %+v", again)
		}
		return next
	}
	was := ""
	for _, state := range []string{"PENDING", "AVAILABLE", "STOPPING", "STOPPED"} {
		next := look(was, state, false)
		if was = state; state != "STOPPED" {
			b.clock.set(next)
		} else if !next.IsZero() {
			t.Errorf("a stopped one changes at %s", next)
		}
	}
	b.call(http.MethodPost, "/_emu/workspaces/"+id+"/modify", map[string]any{"compute": "PERFORMANCE"}, http.StatusConflict, nil) // too soon
	b.clock.advance(6 * time.Hour)
	b.call(http.MethodPost, "/_emu/workspaces/"+id+"/modify", map[string]any{"compute": "PERFORMANCE"}, http.StatusOK, nil)
	_, next := watch.Look()
	b.clock.set(next)
	look("STOPPED", "STOPPED", true)
	b.call(http.MethodPost, "/_emu/workspaces/"+id+"/terminate", nil, http.StatusOK, nil)
	for was := "STOPPED"; was != "ABSENT"; {
		state := map[string]string{"STOPPED": "TERMINATING", "TERMINATING": "TERMINATED", "TERMINATED": "ABSENT"}[was]
		b.clock.set(later(b.clock.Now(), look(was, state, false)))
		was = state
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// TestAHastyEmulatorAnswersAtOnce compares it with one that is not.
func TestAHastyEmulatorAnswersAtOnce(t *testing.T) {
	took := func(b *bench) time.Duration {
		began := time.Now()
		for range 50 {
			b.describe("ws-1a2b3c4d5")
		}
		return time.Since(began)
	}
	slow := took(newBench(t))
	if fast := took(newBench(t, func(c *emulator.Config) { c.Hasty = true })); slow < 100*time.Millisecond || fast >= slow {
		t.Errorf("50 calls take %s, and %s in haste", slow, fast)
	}
}
