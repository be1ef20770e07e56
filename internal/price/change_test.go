package price_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/price"
)

// wide is a book of STANDARD (80 and 50 GiB), whose volumes have prices, and POWER (175 and 100), whose have none.
func wide() *price.Book {
	var lines []price.Price
	for compute, items := range map[string]map[price.Item]money.USD{
		"STANDARD": {
			price.AlwaysOnMonth: 35_000_000, price.AutoStopMonth: 9_750_000, price.AutoStopHour: 300_000,
			price.RootGBMonth: 110_000, price.UserGBMonth: 90_000,
		},
		"POWER":  {price.AlwaysOnMonth: 78_000_000, price.AutoStopMonth: 19_000_000, price.AutoStopHour: 680_000},
		"SECRET": {price.AlwaysOnMonth: 1},
	} {
		for item, amount := range items {
			lines = append(lines, price.Price{ID: int64(len(lines) + 1), Key: price.Key{"us-east-1", compute, "WINDOWS", "INCLUDED", item}, Amount: amount})
		}
	}
	return price.NewBook(1, "test", price.SessionCeil, time.Time{}, lines)
}

func sized(compute, mode string, root, user int) price.Spec {
	s := standard(mode)
	s.ComputeType, s.RootGiB, s.UserGiB = compute, root, user
	return s
}

// On the 16th of November half of the month is left, on the 21st a third.
func TestWhatAChangeCosts(t *testing.T) {
	const sixteenth, twentyFirst, first = "2026-11-16T00:00:00Z", "2026-11-21T00:00:00Z", "2026-12-01T00:00:00Z"
	auto, always := standard(price.AutoStop), standard(price.AlwaysOn)
	power := sized("POWER", price.AutoStop, 0, 0)
	idle := auto
	idle.AutoStopMinutes = 240
	for name, c := range map[string]struct {
		from, to     price.Spec
		at           string
		want         price.Change
		fixed, lease money.USD
	}{
		// (19 − 9.75) / 2
		"larger": {
			auto, power, sixteenth,
			price.Change{MonthlyBefore: 9_750_000, MonthlyAfter: 19_000_000, HourlyBefore: 300_000, HourlyAfter: 680_000, Posts: 4_625_000, LeaseBefore: 900_000, LeaseAfter: 2_040_000},
			4_625_000, 2_040_000,
		},
		"smaller": {
			power, auto, sixteenth,
			price.Change{MonthlyBefore: 19_000_000, MonthlyAfter: 9_750_000, HourlyBefore: 680_000, HourlyAfter: 300_000, Posts: -4_625_000, LeaseBefore: 2_040_000, LeaseAfter: 900_000},
			0, 900_000,
		},
		// 35 / 2, on top.
		"to ALWAYS_ON": {
			auto, always, sixteenth,
			price.Change{MonthlyBefore: 9_750_000, MonthlyAfter: 35_000_000, HourlyBefore: 300_000, Posts: 17_500_000, LeaseBefore: 900_000},
			17_500_000, 0,
		},
		// 78 / 3, on top.
		"to ALWAYS_ON and larger": {
			auto, sized("POWER", price.AlwaysOn, 0, 0), twentyFirst,
			price.Change{MonthlyBefore: 9_750_000, MonthlyAfter: 78_000_000, HourlyBefore: 300_000, Posts: 26_000_000, LeaseBefore: 900_000},
			26_000_000, 0,
		},
		"to AUTO_STOP": {
			always, auto, sixteenth,
			price.Change{MonthlyBefore: 35_000_000, MonthlyAfter: 9_750_000, HourlyAfter: 300_000, LeaseAfter: 900_000, Effective: at(t, first)},
			0, 900_000,
		},
		// It is ALWAYS_ON as POWER for the rest of the month: (78 − 35) / 2.
		"to AUTO_STOP and larger": {
			always, power, sixteenth,
			price.Change{MonthlyBefore: 35_000_000, MonthlyAfter: 19_000_000, HourlyAfter: 680_000, Posts: 21_500_000, LeaseAfter: 2_040_000, Effective: at(t, first)},
			21_500_000, 2_040_000,
		},
		// 20 GiB of root and 50 of the user's are 2.20 + 4.50 a month.
		"larger volumes": {
			sized("STANDARD", price.AutoStop, 80, 50), sized("STANDARD", price.AutoStop, 100, 100), twentyFirst,
			price.Change{MonthlyBefore: 9_750_000, MonthlyAfter: 16_450_000, HourlyBefore: 300_000, HourlyAfter: 300_000, Posts: 2_233_333, LeaseBefore: 900_000, LeaseAfter: 900_000},
			2_233_333, 900_000,
		},
		"a longer idle timeout": {
			auto, idle, sixteenth,
			price.Change{MonthlyBefore: 9_750_000, MonthlyAfter: 9_750_000, HourlyBefore: 300_000, HourlyAfter: 300_000, LeaseBefore: 900_000, LeaseAfter: 1_800_000},
			0, 1_800_000,
		},
		"nothing": {
			always, always, sixteenth, price.Change{MonthlyBefore: 35_000_000, MonthlyAfter: 35_000_000}, 0, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want.Effective.IsZero() {
				c.want.Effective = at(t, c.at)
			}
			got, err := wide().ChangeCost(c.from, c.to, at(t, c.at))
			if err != nil || got != c.want {
				t.Errorf("got  %+v (%v)\nwant %+v", got, err, c.want)
			}
			if fixed, lease := got.Hold(); fixed != c.fixed || lease != c.lease {
				t.Errorf("it needs %s and a lease of %s held, want %s and %s", fixed, lease, c.fixed, c.lease)
			}
		})
	}
}

func TestVolumesThatHaveNoPriceAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		to      price.Spec
		missing any // the item without a price
		none    bool
	}{
		"as included":                        {sized("POWER", price.AutoStop, 175, 100), nil, false},
		"smaller":                            {sized("POWER", price.AutoStop, 80, 50), nil, false},
		"not known":                          {sized("SECRET", price.AlwaysOn, 0, 0), nil, false},
		"a larger root":                      {sized("POWER", price.AutoStop, 200, 100), "root_gb_month", true},
		"more for the user":                  {sized("POWER", price.AutoStop, 175, 101), "user_gb_month", true},
		"of what includes nobody knows what": {sized("SECRET", price.AlwaysOn, 80, 50), nil, true},
	} {
		_, err := wide().RatesOf(c.to)
		if errors.Is(err, price.ErrUnknown) != c.none || !c.none && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.none && fault.From(err).Details["item"] != c.missing {
			t.Errorf("%s: %v is missing, want %v", name, fault.From(err).Details["item"], c.missing)
		}
		for _, pair := range [][2]price.Spec{{standard(price.AutoStop), c.to}, {c.to, standard(price.AutoStop)}} {
			if _, err := wide().ChangeCost(pair[0], pair[1], time.Now()); errors.Is(err, price.ErrUnknown) != c.none {
				t.Errorf("a change, %s: %v", name, err)
			}
		}
	}
}

// Amazon's bill has one line for a fee and its volumes, so both together are rounded once.
func TestAFeeAndItsVolumesAreRoundedAsOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := time.UnixMicro(rapid.Int64Range(1.6e15, 2e15).Draw(t, "from")).UTC()
		end := time.Date(from.Year(), from.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		until := from.Add(time.Duration(rapid.Int64Range(0, end.Sub(from).Microseconds()).Draw(t, "until")) * time.Microsecond)
		fee := money.USD(rapid.Int64Range(0, 1e9).Draw(t, "fee"))
		volumes := money.USD(rapid.Int64Range(0, 1e9).Draw(t, "volumes"))
		a, b := price.FeeParts(fee, volumes, from, until)
		if a != price.MonthPart(fee, from, until) || a+b != price.MonthPart(fee+volumes, from, until) {
			t.Fatalf("%s and %s are %s and %s", fee, volumes, a, b)
		}
	})
}

func TestALeaseIsNeverTooLongForTheCalendar(t *testing.T) {
	for _, rule := range []price.HourRule{price.SessionCeil, price.ClockHour, price.Second} {
		if until := price.PaidUntil(rule, 1, at(t, "2026-11-01T00:00:00Z"), money.Max); until.Year() != 2126 {
			t.Errorf("%s: paid until %s", rule, until)
		}
	}
}

func TestThePaidHourEndsWhereTheNextBeginsToCost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := rapid.SampledFrom([]price.HourRule{price.SessionCeil, price.ClockHour, price.Second}).Draw(t, "rule")
		hourly := money.USD(rapid.Int64Range(1, 20_000_000).Draw(t, "hourly"))
		opened := time.UnixMicro(rapid.Int64Range(1.6e15, 2e15).Draw(t, "opened")).UTC()
		now := opened.Add(time.Duration(rapid.Int64Range(-1e9, 9e10).Draw(t, "for")) * time.Microsecond)
		next := price.NextHour(rule, opened, now)
		if next.Before(now) || next.Before(opened) {
			t.Fatalf("the next hour begins at %s", next)
		}
		paid := price.Running(rule, hourly, opened, now)
		if price.Running(rule, hourly, opened, next) != paid || rule != price.Second && price.Running(rule, hourly, opened, next.Add(time.Microsecond)) != paid+hourly {
			t.Fatalf("until %s %s is paid", next, paid)
		}
		lease := money.USD(rapid.Int64Range(0, 1000*int64(hourly)).Draw(t, "lease"))
		until := price.PaidUntil(rule, hourly, opened, lease)
		if cost := price.Running(rule, hourly, opened, until); cost > lease {
			t.Fatalf("until %s it costs %s", until, cost)
		}
		if cost := price.Running(rule, hourly, opened, until.Add(time.Second)); rule != price.Second && cost <= lease {
			t.Fatalf("beyond %s it costs no more than %s", until, cost)
		}
	})
}
