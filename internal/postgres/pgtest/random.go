package pgtest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// seedEnv repeats a run: the seed that its log names.
const seedEnv = "FORGE_TEST_SEED"

// Random is a source of random numbers whose seed is in the test's log.
func Random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64() //nolint:gosec // a test's choices need no secrecy
	if text := os.Getenv(seedEnv); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	t.Logf("repeat with %s=%d", seedEnv, seed)
	return rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // as above
}
