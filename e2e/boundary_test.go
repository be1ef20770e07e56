package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/app"
)

// TestKilledAtAnyBoundaryAroundCreateThereIsExactlyOneWorkSpace kills a server at a few of the boundaries in each run;
// `make prove-boundaries` takes them all.
func TestKilledAtAnyBoundaryAroundCreateThereIsExactlyOneWorkSpace(t *testing.T) {
	boundariesAroundCreate(t, 9)
}

// boundariesAroundCreate kills a server at every step-th boundary between the claim of a requested WorkSpace and its being
// AVAILABLE, lets another finish, and checks that there is exactly one of everything.
func boundariesAroundCreate(t *testing.T, step int64) {
	t.Helper()
	r := newRig(t, 3600)
	api, stop := r.serve(false)
	defer stop()
	crossed := map[string]int{}
	kills := 0
	for at := int64(1); ; at += step {
		user := r.users(fmt.Sprintf("b%03d-", at), 1)[0]
		id := (&process{info: app.DevInfo{API: api}}).request(t, user.Token, fmt.Sprintf("boundary-%d", at))
		if id == "" {
			t.Fatal("the request was not answered")
		}
		p := r.spawn(rigConfig{KillAt: at, Rate: 500})
		if arrived := r.diesOrArrives(p, id); arrived {
			p.kill()
			if kills < 5 {
				t.Fatalf("only %d boundaries were met before it arrived", kills)
			}
			t.Logf("arrived before boundary %d; %d kills, at %d different places", at, kills, len(crossed))
			return
		}
		where, err := os.ReadFile(p.killed)
		if err != nil {
			t.Fatalf("boundary %d: the process ended by itself: %v", at, err)
		}
		kills++
		crossed[string(where)]++
		// The lease of the dead runs out: time passes.
		if _, err := r.db.Exec(t.Context(), `UPDATE workspaces SET lease_until = now() WHERE lease_until > now()`); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, finish := r.serve(true)
		(&process{info: app.DevInfo{AWS: r.aws, DatabaseURL: r.pg.AppURL}}).settles(t, user, id)
		finish()
		t.Logf("boundary %3d, %-60s exactly one, AVAILABLE after another %s", at, string(where)+":", time.Since(began).Round(time.Millisecond))
	}
}

// diesOrArrives waits for either, and tells whether the WorkSpace arrived.
func (r *rig) diesOrArrives(p *serverProcess, id string) (arrived bool) {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for {
		select {
		case <-p.ended:
			return false
		case <-deadline.C:
			r.t.Fatalf("%s neither arrived nor did the server die", id)
		case <-tick.C:
			var state string
			var resting bool
			if err := r.db.QueryRow(r.t.Context(), `SELECT state, lease_token IS NULL FROM workspaces WHERE id = $1`, id).Scan(&state, &resting); err != nil {
				r.t.Fatal(err)
			}
			if state == "AVAILABLE" && resting {
				return true
			}
		}
	}
}
