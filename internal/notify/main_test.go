package notify_test

import (
	"testing"

	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
