package price_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/price"
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestHourRulesByHand(t *testing.T) {
	const hourly = 470_000 // PERFORMANCE
	for _, c := range []struct {
		rule       price.HourRule
		from, to   string
		wantMicros money.USD
	}{
		{price.SessionCeil, "2026-11-22T09:15:00Z", "2026-11-22T12:14:00Z", 3 * hourly}, // 2 h 59 m
		{price.ClockHour, "2026-11-22T09:15:00Z", "2026-11-22T12:14:00Z", 4 * hourly},   // 9, 10, 11, 12
		{price.ClockHour, "2026-11-22T09:00:00Z", "2026-11-22T12:00:00Z", 3 * hourly},   // the end instant is outside
		{price.SessionCeil, "2026-11-22T09:00:00Z", "2026-11-22T09:00:00.000001Z", hourly},
		{price.SessionCeil, "2026-11-22T09:00:00Z", "2026-11-22T09:00:00Z", 0},
		{price.Second, "2026-11-22T09:00:00Z", "2026-11-22T09:30:00Z", hourly / 2},
		{price.ClockHour, "2026-10-24T23:30:00Z", "2026-10-25T02:30:00Z", 4 * hourly}, // a daylight-saving night is as long as any in UTC
	} {
		if got := price.Running(c.rule, hourly, at(t, c.from), at(t, c.to)); got != c.wantMicros {
			t.Errorf("%s from %s to %s = %s, want %s", c.rule, c.from, c.to, got, c.wantMicros)
		}
	}
}

func TestAMonthsFeeIsProratedFromItsInstant(t *testing.T) {
	for _, c := range []struct {
		from string
		fee  money.USD
		want money.USD
	}{
		{"2026-11-01T00:00:00Z", 30_000_000, 30_000_000},
		{"2026-11-16T00:00:00Z", 30_000_000, 15_000_000},
		{"2028-02-29T00:00:00Z", 29_000_000, 1_000_000}, // leap February: one of 29 days
		{"2026-11-30T23:59:59.999999Z", 30_000_000, 0},
	} {
		if got := price.MonthShare(c.fee, at(t, c.from)); got != c.want {
			t.Errorf("%s of %s = %s, want %s", c.from, c.fee, got, c.want)
		}
	}
}

func TestAnySlicingAddsUpToTheSameMicroDollar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := rapid.SampledFrom([]price.HourRule{price.SessionCeil, price.ClockHour, price.Second}).Draw(t, "rule")
		hourly := money.USD(rapid.Int64Range(0, 20_000_000).Draw(t, "hourly"))
		opened := time.UnixMicro(rapid.Int64Range(1.6e15, 2e15).Draw(t, "opened")).UTC()
		end, sum, last := opened, money.USD(0), money.USD(0)
		for _, step := range rapid.SliceOfN(rapid.Int64Range(1, 9e9), 1, 30).Draw(t, "cuts") {
			end = end.Add(time.Duration(step) * time.Microsecond)
			total := price.Running(rule, hourly, opened, end)
			if total < last {
				t.Fatalf("the running total fell from %s to %s", last, total)
			}
			sum, last = sum+total-last, total
		}
		if whole := price.Running(rule, hourly, opened, end); sum != whole {
			t.Fatalf("slices add to %s, the whole is %s", sum, whole)
		}
	})
}

func TestTheLeaseCoversTheShortestVisitUnderEveryRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		timeout := 60 * rapid.IntRange(1, 8).Draw(t, "hours")
		opened := time.UnixMicro(rapid.Int64Range(1.6e15, 2e15).Draw(t, "opened")).UTC()
		end := opened.Add(time.Hour + time.Duration(timeout)*time.Minute)
		for _, rule := range []price.HourRule{price.SessionCeil, price.ClockHour, price.Second} {
			if cost := price.Running(rule, money.Dollar, opened, end); cost > money.Dollar.Times(price.LeaseHours(timeout)) {
				t.Fatalf("%s: an hour and the tail of %d minutes cost %s, beyond the lease", rule, timeout, cost)
			}
		}
	})
}

func book() *price.Book {
	key := func(i price.Item) price.Key { return price.Key{"us-east-1", "STANDARD", "WINDOWS", "INCLUDED", i} }
	return price.NewBook(1, "test", price.SessionCeil, time.Time{}, []price.Price{
		{ID: 1, Key: key(price.AlwaysOnMonth), Amount: 35_000_000},
		{ID: 2, Key: key(price.AutoStopMonth), Amount: 9_750_000},
		{ID: 3, Key: key(price.AutoStopHour), Amount: 300_000},
	})
}

func standard(mode string) price.Spec {
	s := price.Spec{Region: "us-east-1", ComputeType: "STANDARD", OperatingSystem: "WINDOWS", License: "INCLUDED", RunningMode: mode}
	if mode == price.AutoStop {
		s.AutoStopMinutes = 60
	}
	return s
}

func TestAnEstimateNamesWhatWillPostAndTheBreakEven(t *testing.T) {
	e, err := book().Estimate(standard(price.AutoStop), at(t, "2026-11-16T00:00:00Z"))
	if err != nil {
		t.Fatal(err)
	}
	if e.FirstFee != 4_875_000 || e.Lease != 900_000 || e.Hold() != 5_775_000 {
		t.Errorf("got %+v", e)
	}
	if e.BreakEvenMinutes != 5050 { // (35-9.75)/0.30 h = 84.1667 h
		t.Errorf("break-even after %d minutes", e.BreakEvenMinutes)
	}
}

func TestAnUnknownPriceIsRefusedAndNamed(t *testing.T) {
	graphics := standard(price.AlwaysOn)
	graphics.ComputeType = "GRAPHICS_G4DN"
	_, err := book().Estimate(graphics, time.Now())
	if !errors.Is(err, price.ErrUnknown) {
		t.Fatalf("got %v", err)
	}
}
