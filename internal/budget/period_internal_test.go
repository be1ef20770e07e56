package budget

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func day(text string) time.Time {
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return at
}

func TestAPeriodIsTheCalendarsAsFarAsTheBudgetCounts(t *testing.T) {
	end := func(text string) *time.Time { at := day(text); return &at }
	for name, c := range map[string]struct {
		v                   validity
		month, start, until string
	}{
		"a month":                       {validity{Monthly, day("2026-01-01"), nil}, "2026-11-01", "2026-11-01", "2026-12-01"},
		"the last month of a year":      {validity{Monthly, day("2026-01-01"), nil}, "2026-12-01", "2026-12-01", "2027-01-01"},
		"a quarter":                     {validity{Quarterly, day("2026-01-01"), nil}, "2026-11-01", "2026-10-01", "2027-01-01"},
		"the first month of a quarter":  {validity{Quarterly, day("2026-01-01"), nil}, "2027-01-01", "2027-01-01", "2027-04-01"},
		"a quarter begun in its middle": {validity{Quarterly, day("2026-11-01"), nil}, "2026-11-01", "2026-11-01", "2027-01-01"},
		"a quarter after that":          {validity{Quarterly, day("2026-11-01"), nil}, "2027-02-01", "2027-01-01", "2027-04-01"},
		"a quarter ended in its middle": {validity{Quarterly, day("2026-01-01"), end("2026-11-01")}, "2026-10-01", "2026-10-01", "2026-11-01"},
		"a year":                        {validity{Yearly, day("2025-06-01"), nil}, "2026-11-01", "2026-01-01", "2027-01-01"},
		"a year begun in its middle":    {validity{Yearly, day("2026-06-01"), nil}, "2026-11-01", "2026-06-01", "2027-01-01"},
		"a span":                        {validity{Custom, day("2026-11-01"), end("2027-02-01")}, "2027-01-01", "2026-11-01", "2027-02-01"},
		"what never counts":             {validity{Monthly, day("2026-11-01"), end("2026-11-01")}, "2026-11-01", "2026-11-01", "2026-12-01"},
	} {
		if start, until := c.v.of(day(c.month)); !start.Equal(day(c.start)) || !until.Equal(day(c.until)) {
			t.Errorf("%s: %s to %s, want %s to %s", name, start, until, c.start, c.until)
		}
	}
	ended := validity{Quarterly, day("2026-05-01"), end("2026-11-01")}
	for at, want := range map[string]string{"2026-01-01": "2026-05-01", "2026-06-01": "2026-06-01", "2027-03-01": "2026-10-01"} {
		if got := ended.near(day(at)); !got.Equal(day(want)) {
			t.Errorf("near %s it is %s, want %s", at, got, want)
		}
	}
}

func TestThresholdsAreInOrderAndEachOnce(t *testing.T) {
	for _, c := range []struct{ given, want []int }{
		{nil, []int{80}},
		{[]int{95, 50, 80, 50}, []int{50, 80, 95}},
		{[]int{1, 99}, []int{1, 99}},
		{[]int{0, 50}, nil},
		{[]int{100}, nil},
		{[]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, nil},
	} {
		got, err := thresholds(c.given)
		if (c.want == nil) != errors.Is(err, ErrWarning) || !slices.Equal(got, c.want) {
			t.Errorf("%v: %v %v, want %v", c.given, got, err, c.want)
		}
	}
}
