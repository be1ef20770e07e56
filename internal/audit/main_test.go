package audit_test

import (
	"os"
	"testing"

	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(leaderEnv); url != "" {
		leadUntilKilled(url)
	}
	pgtest.Main(m)
}
