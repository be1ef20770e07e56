package clock_test

import (
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/clock"
)

func TestMonthsBeginAtMidnightUTC(t *testing.T) {
	zone := time.FixedZone("east", 14*3600)
	for _, c := range []struct{ at, start, next string }{
		{"2026-11-22T19:00:00Z", "2026-11-01", "2026-12-01"},
		{"2026-12-31T23:59:59.999999Z", "2026-12-01", "2027-01-01"},
		{"2028-02-29T00:00:00Z", "2028-02-01", "2028-03-01"},
	} {
		at, err := time.Parse(time.RFC3339Nano, c.at)
		if err != nil {
			t.Fatal(err)
		}
		at = at.In(zone)
		if got := clock.StartOfMonth(at).Format(time.DateOnly); got != c.start {
			t.Errorf("StartOfMonth(%s) = %s, want %s", c.at, got, c.start)
		}
		if got := clock.StartOfNextMonth(at).Format(time.DateOnly); got != c.next {
			t.Errorf("StartOfNextMonth(%s) = %s, want %s", c.at, got, c.next)
		}
	}
}

func TestAManualClockMovesOnlyWhenTold(t *testing.T) {
	m := clock.At(time.Date(2026, 1, 2, 3, 4, 5, 678_901, time.UTC))
	if got := m.Now().Nanosecond(); got != 678_000 {
		t.Fatalf("microseconds are the grain, got %d ns", got)
	}
	before := m.Now()
	m.Advance(time.Hour)
	if m.Now().Sub(before) != time.Hour {
		t.Fatal("Advance did not move the clock by an hour")
	}
	m.Set(before)
	if !m.Now().Equal(before) {
		t.Fatal("Set did not move the clock back")
	}
}
