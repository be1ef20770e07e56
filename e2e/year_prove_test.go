//go:build prove

package e2e

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// TestProveYear lets a thousand WorkSpaces live through 365 days.
func TestProveYear(t *testing.T) {
	people, days := 1000, 365
	if n, err := strconv.Atoi(os.Getenv("YEAR_PEOPLE")); err == nil {
		people = n
	}
	if n, err := strconv.Atoi(os.Getenv("YEAR_DAYS")); err == nil {
		days = n
	}
	y := newYear(t, people, 2027, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), days)
	y.run(t.Context())
	y.report(t.Context())
}
