package price_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/price"
)

func shipped(t testing.TB) *price.Book {
	t.Helper()
	lines, err := price.Default()
	if err != nil {
		t.Fatal(err)
	}
	return price.NewBook(1, price.DefaultSource, price.SessionCeil, time.Time{}, lines)
}

func kind(region, compute string) price.Key {
	return price.Key{Region: region, ComputeType: compute, OperatingSystem: "WINDOWS", License: "INCLUDED"}
}

// By hand, from the shipped prices: (A - M) / h for a month, and A * r / h for what is left of it.
func TestBreakEvensByHand(t *testing.T) {
	const day = 24 * time.Hour
	nov21 := at(t, "2026-11-21T00:00:00Z") // 10 of 30 days are left
	for name, c := range map[string]struct {
		key         price.Key
		at          time.Time
		month, rest time.Duration
	}{
		// 25.25 / 0.30 = 84.1667 h; 35 * 10/30 / 0.30 = 38.8889 h, 140,000 s.
		"STANDARD, 10 of 30 days left": {kind("us-east-1", "STANDARD"), nov21, 303_000 * time.Second, 140_000 * time.Second},
		// 17.75 / 0.22 = 80.6818 h; 25 / 3 / 0.22 = 37.8788 h.
		"VALUE": {kind("us-east-1", "VALUE"), nov21, 290_455 * time.Second, 136_364 * time.Second},
		// 37 / 0.47 = 78.7234 h; 50 / 3 / 0.47 = 35.4610 h.
		"PERFORMANCE": {kind("us-east-1", "PERFORMANCE"), nov21, 283_404 * time.Second, 127_660 * time.Second},
		// 59 / 0.68 = 86.7647 h; 78 / 3 / 0.68 = 38.2353 h.
		"POWER": {kind("us-east-1", "POWER"), nov21, 312_353 * time.Second, 137_647 * time.Second},
		// 121 / 1.53 = 79.0850 h; 140 / 3 / 1.53 = 30.5011 h.
		"POWERPRO": {kind("us-east-1", "POWERPRO"), nov21, 284_706 * time.Second, 109_804 * time.Second},
		// 26 / 0.32 = 81.25 h; 37 / 3 / 0.32 = 38.5417 h.
		"Ireland": {kind("eu-west-1", "STANDARD"), nov21, 292_500 * time.Second, 138_750 * time.Second},
		// A whole month: 35 / 0.30 = 116.6667 h.
		"on the first": {kind("us-east-1", "STANDARD"), at(t, "2026-11-01T00:00:00Z"), 303_000 * time.Second, 420_000 * time.Second},
		// A leap February of 29 days, one left: 35 / 29 / 0.30 = 4.0230 h.
		"leap February": {kind("us-east-1", "STANDARD"), at(t, "2028-02-29T00:00:00Z"), 303_000 * time.Second, 14_483 * time.Second},
		// Ten of 31 days: 35 * 10/31 / 0.30 = 37.6344 h.
		"a month of 31 days": {kind("us-east-1", "STANDARD"), at(t, "2026-12-31T00:00:00Z").Add(-9 * day), 303_000 * time.Second, 135_484 * time.Second},
		"at the very end":    {kind("us-east-1", "STANDARD"), at(t, "2026-11-30T23:59:59.999999Z"), 303_000 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := shipped(t).BreakEven(c.key, c.at)
			if err != nil {
				t.Fatal(err)
			}
			if e.Month != c.month || e.Rest != c.rest || e.Key != c.key || len(e.Missing()) != 0 {
				t.Errorf("%s a month and %s of the rest, want %s and %s", e.Month, e.Rest, c.month, c.rest)
			}
		})
	}
}

// What the break-even says is what a month costs: a second less and AUTO_STOP is cheaper, a second more and ALWAYS_ON is.
func TestABreakEvenIsWhereTheModesCostTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hour := money.USD(rapid.Int64Range(10_000, 20_000_000).Draw(t, "hour"))
		auto := money.USD(rapid.Int64Range(1, 1e9).Draw(t, "auto"))
		always := auto + money.USD(rapid.Int64Range(0, 1e9).Draw(t, "more"))
		now := time.UnixMicro(rapid.Int64Range(1.6e15, 2e15).Draw(t, "now")).UTC()
		line := func(item price.Item, amount money.USD) price.Price {
			k := kind("us-east-1", "STANDARD")
			k.Item = item
			return price.Price{Key: k, Unit: item.Unit(), Amount: amount}
		}
		e, err := price.NewBook(1, "", price.Second, now, []price.Price{
			line(price.AlwaysOnMonth, always), line(price.AutoStopMonth, auto), line(price.AutoStopHour, hour),
		}).BreakEven(kind("us-east-1", "STANDARD"), now)
		if err != nil {
			t.Fatal(err)
		}
		cost := func(d time.Duration) money.USD { return hour.Share(int64(d/time.Second), 3600) }
		if cost(e.Month+time.Second) <= always-auto || e.Month > 0 && cost(e.Month-time.Second) >= always-auto {
			t.Fatalf("a month of %s at %s is not %s more", e.Month, hour, always-auto)
		}
		rest := price.MonthShare(always, now)
		if cost(e.Rest+time.Second) < rest || e.Rest > 0 && cost(e.Rest-time.Second) > rest {
			t.Fatalf("%s at %s is not %s", e.Rest, hour, rest)
		}
	})
}

func TestABreakEvenThatLacksAPriceIsNotGuessed(t *testing.T) {
	b := shipped(t)
	_, err := b.BreakEven(kind("us-east-1", "GRAPHICS_G4DN"), at(t, "2026-11-21T00:00:00Z"))
	if !errors.Is(err, price.ErrUnknown) || fault.From(err).Details["item"] != "auto_stop_hour" || !strings.Contains(fault.From(err).Suggestion, "forge prices import") {
		t.Errorf("got %v: %+v", err, fault.From(err))
	}
	all := b.BreakEvens(at(t, "2026-11-21T00:00:00Z"))
	if len(all) != 8 {
		t.Fatalf("%d kinds", len(all))
	}
	for _, e := range all {
		graphics := strings.HasPrefix(e.Key.ComputeType, "GRAPHICS")
		if e.Known() == graphics || graphics != slices.Equal(e.Missing(), []price.Item{price.AutoStopHour, price.AutoStopMonth}) || !e.Known() && e.Month+e.Rest != 0 {
			t.Errorf("%s: known %t, missing %v", e.Key.ComputeType, e.Known(), e.Missing())
		}
	}
}

func TestAPriceListOfForgesOwnIsCheckedLineByLine(t *testing.T) {
	const good = "us-east-1,STANDARD,WINDOWS,INCLUDED,auto_stop_hour,hour,0.30,A7CA9Z8E4QB96DZW"
	for name, c := range map[string]struct{ text, says string }{
		"empty":            {"", "empty"},
		"another header":   {"a,b,c\n", "the first line"},
		"no region":        {",STANDARD,WINDOWS,INCLUDED,auto_stop_hour,hour,0.30,", "line 2 of the price list: the region"},
		"a place":          {"N. Virginia,STANDARD,WINDOWS,INCLUDED,auto_stop_hour,hour,0.30,", "the region"},
		"lower case":       {"us-east-1,standard,WINDOWS,INCLUDED,auto_stop_hour,hour,0.30,", "words like"},
		"unknown item":     {"us-east-1,STANDARD,WINDOWS,INCLUDED,auto_stop_week,hour,0.30,", "the item is none of"},
		"another unit":     {"us-east-1,STANDARD,WINDOWS,INCLUDED,auto_stop_hour,month,0.30,", "the unit of auto_stop_hour is hour"},
		"nothing":          {"us-east-1,STANDARD,WINDOWS,INCLUDED,auto_stop_hour,hour,0,", "more than 0"},
		"less":             {"us-east-1,STANDARD,WINDOWS,INCLUDED,auto_stop_hour,hour,-1,", "more than 0"},
		"too fine":         {"us-east-1,STANDARD,WINDOWS,INCLUDED,auto_stop_hour,hour,0.0000001,", "the amount"},
		"too much":         {"us-east-1,STANDARD,WINDOWS,INCLUDED,auto_stop_hour,hour,1000001,", "at most"},
		"not a number":     {"us-east-1,STANDARD,WINDOWS,INCLUDED,auto_stop_hour,hour,1e3,", "the amount"},
		"a strange SKU":    {"us-east-1,STANDARD,WINDOWS,INCLUDED,auto_stop_hour,hour,1,a b", "an SKU"},
		"twice":            {good + "\n" + good, "line 3 of the price list: this price is given twice"},
		"a column short":   {"us-east-1,STANDARD,WINDOWS", "line 2"},
		"a quote too many": {`us-east-1,STA"NDARD,WINDOWS,INCLUDED,auto_stop_hour,hour,1,`, "line 2"},
	} {
		text := c.text
		if name != "empty" && name != "another header" {
			text = price.CSVHeader() + "\n" + text + "\n"
		}
		if _, err := price.ReadCSV(strings.NewReader(text)); !errors.Is(err, price.ErrList) || !strings.Contains(fault.From(err).Message, c.says) {
			t.Errorf("%s: got %v, which does not say %q", name, err, c.says)
		}
	}
}

func FuzzReadCSV(f *testing.F) {
	f.Add(price.CSVHeader() + "\nus-east-1,STANDARD,WINDOWS,INCLUDED,auto_stop_hour,hour,0.30,A7CA9Z8E4QB96DZW\n")
	f.Add(price.CSVHeader() + "\n\"us-east-1\",STANDARD,WINDOWS,BYOL,user_gb_month,gb_month,0.000001,\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := price.ReadCSV(strings.NewReader(text))
		if err != nil {
			if !errors.Is(err, price.ErrList) {
				t.Fatalf("the error is no answer: %v", err)
			}
			return
		}
		for _, p := range lines {
			if why := p.Objection(); why != "" {
				t.Fatalf("took %+v: %s", p, why)
			}
		}
	})
}

func line(region, compute string, item price.Item, amount money.USD) price.Price {
	k := kind(region, compute)
	k.Item = item
	return price.Price{Key: k, Unit: item.Unit(), Amount: amount}
}

func TestWhatAnOfferDoesNotSpeakOfGoesOn(t *testing.T) {
	base := price.NewBook(1, "", price.SessionCeil, time.Time{}, []price.Price{
		line("us-east-1", "STANDARD", price.AlwaysOnMonth, 35_000_000), line("us-east-1", "VALUE", price.AlwaysOnMonth, 25_000_000),
		line("us-east-1", "STANDARD", price.UserGBMonth, 100_000), line("eu-west-1", "STANDARD", price.AlwaysOnMonth, 37_000_000),
	})
	now := price.Offer{Lines: []price.Price{line("us-east-1", "STANDARD", price.AlwaysOnMonth, 36_000_000)}}
	for name, c := range map[string]struct {
		whole   bool
		base    *price.Book
		carried int
		want    []string
	}{
		"a whole list drops what it does not name": {true, base, 2, []string{"eu-west-1 STANDARD 37", "us-east-1 STANDARD 36", "us-east-1 STANDARD 0.1"}},
		"another one only changes and adds":        {false, base, 3, []string{"eu-west-1 STANDARD 37", "us-east-1 STANDARD 36", "us-east-1 STANDARD 0.1", "us-east-1 VALUE 25"}},
		"the first book":                           {true, nil, 0, []string{"us-east-1 STANDARD 36"}},
	} {
		now.Whole = c.whole
		lines, carried := now.Over(c.base)
		var got []string
		for _, p := range price.NewBook(2, "", price.SessionCeil, time.Time{}, lines).Lines() {
			got = append(got, p.Key.Region+" "+p.Key.ComputeType+" "+strings.TrimSuffix(strings.TrimRight(p.Amount.String(), "0"), "."))
		}
		if carried != c.carried || !slices.Equal(got, c.want) {
			t.Errorf("%s: %d carried, got %v", name, carried, got)
		}
	}
}

func TestADifferenceIsOneOfAmounts(t *testing.T) {
	a := []price.Price{line("us-east-1", "STANDARD", price.AlwaysOnMonth, 35), line("us-east-1", "VALUE", price.AlwaysOnMonth, 25), line("us-east-1", "POWER", price.AlwaysOnMonth, 78)}
	b := []price.Price{line("us-east-1", "STANDARD", price.AlwaysOnMonth, 36), line("us-east-1", "POWER", price.AlwaysOnMonth, 78), line("eu-west-1", "POWER", price.AlwaysOnMonth, 80)}
	b[1].SKU = "ANOTHER"
	book := func(lines []price.Price) *price.Book {
		return price.NewBook(0, "", price.SessionCeil, time.Time{}, lines)
	}
	all := price.Diff(book(a), book(b))
	if len(all) != 3 {
		t.Fatalf("got %+v", all)
	}
	if d := all[0]; d.Key.Region != "eu-west-1" || d.Before != nil || d.After.Amount != 80 {
		t.Errorf("new: %+v", d)
	}
	if d := all[1]; d.Key.ComputeType != "STANDARD" || d.Before.Amount != 35 || d.After.Amount != 36 {
		t.Errorf("changed: %+v", d)
	}
	if d := all[2]; d.Key.ComputeType != "VALUE" || d.Before.Amount != 25 || d.After != nil {
		t.Errorf("gone: %+v", d)
	}
	if same := price.Diff(book(a), book(a)); len(same) != 0 {
		t.Errorf("a book differs from itself: %+v", same)
	}
}
