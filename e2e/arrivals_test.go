//go:build prove

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/aws/emulator"
)

// TestProveArrivals has 50 people run `forge launch --wait` at the same moment while Amazon throttles at its real limits: two
// calls a second, a burst of five. Amazon's own work is 60 times faster than real, so that this takes minutes. Its limits,
// and everything that Forge does, are as they are in production.
func TestProveArrivals(t *testing.T) {
	const people, speed = 50, 60
	r := newRig(t, 1, func(c *emulator.Config) { c.Speed, c.APIRate, c.APIBurst = speed, 2, 5 })
	binary := filepath.Join(r.dir, "forge")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../cmd/forge").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	var servers [2]*serverProcess
	for i := range servers {
		servers[i] = r.spawn(rigConfig{Rate: 2})
		t.Cleanup(servers[i].kill)
	}
	type arrival struct {
		user string
		took time.Duration
		ws   client.Workspace
	}
	users := r.users("a", people)
	arrivals := make([]arrival, people)
	began := time.Now()
	var wg sync.WaitGroup
	for i, u := range users {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			c := exec.CommandContext(ctx, binary, "launch", "--blueprint", "go-dev", "--wait", "-o", "json") //nolint:gosec // our own program
			c.Env = append(os.Environ(), "FORGE_API="+servers[i%2].url, "FORGE_TOKEN="+u.Token, "FORGE_CONFIG="+filepath.Join(r.dir, u.User+".yaml"))
			c.Stderr = nil
			out, err := c.Output()
			arrivals[i] = arrival{user: u.User, took: time.Since(began)}
			if err != nil {
				t.Errorf("%s: %v %s", u.User, err, out)
				return
			}
			var a client.WorkspaceAdmitted
			if err := json.Unmarshal(out, &a); err != nil || a.Workspace.State != "AVAILABLE" {
				if err := json.Unmarshal(out, &a.Workspace); err != nil || a.Workspace.State != "AVAILABLE" {
					t.Errorf("%s: %v %s", u.User, err, out)
				}
			}
			arrivals[i].ws = a.Workspace
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	slices.SortFunc(arrivals, func(a, b arrival) int { return int(a.took - b.took) })
	steps := map[string][]int64{}
	for _, a := range arrivals {
		for _, s := range a.ws.Provisioning.Steps {
			steps[string(s.Name)] = append(steps[string(s.Name)], s.Seconds)
		}
	}
	t.Logf("%d people, `forge launch --wait`, two servers, Amazon at 2 calls/s and a burst of 5 (its own work %d times faster than real: 12 to 18 s to boot)", people, speed)
	t.Logf("arrived after: first %s, median %s, 95th %s, slowest %s", arrivals[0].took.Round(time.Second), arrivals[people/2].took.Round(time.Second), arrivals[people*95/100].took.Round(time.Second), arrivals[people-1].took.Round(time.Second))
	for _, name := range []string{"queue", "accept", "boot"} {
		slices.Sort(steps[name])
		t.Logf("  step %-6s median %3d s, slowest %3d s", name, steps[name][len(steps[name])/2], steps[name][len(steps[name])-1])
	}
	calls := map[string]map[string]int{}
	var seen struct {
		Requests []struct {
			Op, Outcome string
		} `json:"requests"`
	}
	r.admin("GET", "/_emu/requests?limit=10000", nil, &seen)
	for _, q := range seen.Requests {
		if calls[q.Op] == nil {
			calls[q.Op] = map[string]int{}
		}
		calls[q.Op][q.Outcome]++
	}
	t.Logf("calls: %s", fmt.Sprint(calls))
	slowest := arrivals[people-1]
	t.Logf("the slowest, %s: %+v", slowest.user, stepsOf(slowest.ws))
}

func stepsOf(w client.Workspace) []string {
	out := []string{}
	for _, s := range w.Provisioning.Steps {
		out = append(out, fmt.Sprintf("%s %d s", s.Name, s.Seconds))
	}
	return out
}
