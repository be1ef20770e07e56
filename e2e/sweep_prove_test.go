//go:build prove

package e2e

import (
	"testing"
	"time"
)

// TestProveSweep measures the sweep among ever more WorkSpaces.
func TestProveSweep(t *testing.T) {
	c := newCrowd(t)
	c.sweep(1) // so that the statement is known
	t.Logf("what is due has the notice that its lifetime ends in a week; a batch is 100; the claim is the median of five, each taken back")
	t.Logf("%10s %6s %9s | %26s | %s", "WorkSpaces", "due", "replicas", "claim of a batch", "all that was due, with notices, messages and audit entries")
	for _, r := range []struct{ size, due, replicas int }{{1_000, 100, 1}, {10_000, 1_000, 1}, {100_000, 1_000, 1}, {110_000, 1_000, 2}, {1_000_000, 1_000, 1}, {1_010_000, 1_000, 2}} {
		c.grow(r.size, r.due)
		cost := c.explain()
		took, elapsed := c.sweep(r.replicas)
		c.exactly(r.due)
		if took != r.due || !cost.index {
			t.Errorf("%d were taken; by the index: %v", took, cost.index)
		}
		t.Logf("%10d %6d %9d | %6.2f ms %4d rows %5d buffers | %8s, %s each",
			r.size, r.due, r.replicas, cost.millis[2], cost.rows, cost.buffers, elapsed.Round(time.Millisecond), (elapsed / time.Duration(r.due)).Round(10*time.Microsecond))
	}
}
