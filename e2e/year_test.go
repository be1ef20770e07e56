package e2e

import (
	"testing"
	"time"
)

// TestAYearOfFewDays is the reduction of TestProveYear: forty WorkSpaces through eleven weeks with a change of the clocks.
func TestAYearOfFewDays(t *testing.T) {
	y := newYear(t, 40, 284, time.Date(2027, 2, 15, 0, 0, 0, 0, time.UTC), 75)
	y.run(t.Context())
	y.report(t.Context())
}
