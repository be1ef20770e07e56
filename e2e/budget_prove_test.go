//go:build prove

package e2e

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// atMost is a size of a proof, which the environment may make smaller.
func atMost(name string, size int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return min(n, size)
	}
	return size
}

// TestProveBudgets is the whole evidence for budgets that cannot be overspent: a thousand people in fifty teams, again and
// again, each time with a seed of its own.
func TestProveBudgets(t *testing.T) {
	for seed := range uint64(atMost("BUDGETS_SEEDS", 5)) {
		t.Run(fmt.Sprintf("seed %d", seed+1), func(t *testing.T) {
			rushOn(t, rushConfig{users: atMost("BUDGETS_USERS", 1000), teams: 50, waves: 3, seed: seed + 1, speed: chaosSpeed})
		})
	}
}

// TestProveBudgetsOneAfterTheOther checks small rounds with porcupine.
func TestProveBudgetsOneAfterTheOther(t *testing.T) { linear(t, 100, 20261202) }

// TestProveQuarter lets five hundred WorkSpaces live through three months with budgets.
func TestProveQuarter(t *testing.T) {
	newQuarter(t, atMost("QUARTER_DESKS", 500), 20270101, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), 90).run()
}
