package cost_test

import (
	"os"
	"testing"

	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(replicaEnv) != "" {
		replica() // which TestNoCrashDoublesOrLosesAnything starts
		return
	}
	pgtest.Main(m)
}
