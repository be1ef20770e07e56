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

// TestProveMonth lets 200 WorkSpaces live from where they are made, some time in October, through the whole of November, and
// prints each one's cost beside Amazon's bill.
func TestProveMonth(t *testing.T) {
	y := newYear(t, 200, 202611, time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), 61)
	y.lineByLine = true
	y.run(t.Context())
	y.population()
	y.costs(t.Context())
}
