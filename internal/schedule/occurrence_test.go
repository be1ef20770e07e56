package schedule_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/robco-forge/forge/internal/schedule"
)

func instant(t *testing.T, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// line is an occurrence on one line, the instant in UTC.
func line(o schedule.Occurrence) string {
	text := fmt.Sprintf("%s %s: %s", o.At.Format("2006-01-02T15:04:05Z07:00"), o.Action, o.Local)
	if o.Shifted {
		text += " (shifted)"
	}
	return text
}

func TestOccurrencesWhereTheClocksChange(t *testing.T) {
	for _, c := range []struct {
		name, zone string
		parts      []string
		from, to   string
		want       []string
	}{
		{
			"UTC never changes", "UTC",
			[]string{"start 08:00 WEEKDAYS", "stop 18:30 WEEKDAYS"},
			"2027-03-26T08:00:00Z", "2027-03-29T18:29:59Z",
			[]string{"2027-03-26T18:30:00Z stop: Fri 2027-03-26 18:30 UTC", "2027-03-29T08:00:00Z start: Mon 2027-03-29 08:00 UTC"},
		},
		{
			"an office in Berlin keeps its hours", "Europe/Berlin",
			[]string{"start 08:00 FRI,MON"},
			"2027-03-26T00:00:00Z", "2027-03-30T00:00:00Z",
			[]string{"2027-03-26T07:00:00Z start: Fri 2027-03-26 08:00 Europe/Berlin", "2027-03-29T06:00:00Z start: Mon 2027-03-29 08:00 Europe/Berlin"},
		},
		{
			"a time that Berlin leaves out is made up for at 03:00", "Europe/Berlin",
			[]string{"stop 02:30 SAT-MON"},
			"2027-03-27T00:00:00Z", "2027-03-30T00:00:00Z",
			[]string{
				"2027-03-27T01:30:00Z stop: Sat 2027-03-27 02:30 Europe/Berlin",
				"2027-03-28T01:00:00Z stop: Sun 2027-03-28 02:30 Europe/Berlin (shifted)",
				"2027-03-29T00:30:00Z stop: Mon 2027-03-29 02:30 Europe/Berlin",
			},
		},
		{
			"the edges of what Berlin leaves out", "Europe/Berlin",
			[]string{"start 01:59 SUN", "stop 03:01 SUN"},
			"2027-03-27T12:00:00Z", "2027-03-28T12:00:00Z",
			[]string{"2027-03-28T00:59:00Z start: Sun 2027-03-28 01:59 Europe/Berlin", "2027-03-28T01:01:00Z stop: Sun 2027-03-28 03:01 Europe/Berlin"},
		},
		{
			"of several that fall together the last counts", "Europe/Berlin",
			[]string{"stop 02:00 SUN", "start 02:30 SUN", "stop 02:59 SUN"},
			"2027-03-27T12:00:00Z", "2027-03-28T12:00:00Z",
			[]string{"2027-03-28T01:00:00Z stop: Sun 2027-03-28 02:59 Europe/Berlin (shifted)"},
		},
		{
			"and the one that is really at 03:00 is the last", "Europe/Berlin",
			[]string{"stop 02:30 SUN", "start 03:00 SUN", "stop 03:30 SUN"},
			"2027-03-27T12:00:00Z", "2027-03-28T12:00:00Z",
			[]string{"2027-03-28T01:00:00Z start: Sun 2027-03-28 03:00 Europe/Berlin", "2027-03-28T01:30:00Z stop: Sun 2027-03-28 03:30 Europe/Berlin"},
		},
		{
			"a time that Berlin has twice happens the first time", "Europe/Berlin",
			[]string{"stop 02:00 SUN", "start 02:30 SUN", "stop 03:00 SUN"},
			"2027-10-30T12:00:00Z", "2027-10-31T12:00:00Z",
			[]string{
				"2027-10-31T00:00:00Z stop: Sun 2027-10-31 02:00 Europe/Berlin",
				"2027-10-31T00:30:00Z start: Sun 2027-10-31 02:30 Europe/Berlin",
				"2027-10-31T02:00:00Z stop: Sun 2027-10-31 03:00 Europe/Berlin",
			},
		},
		{
			"New York, spring", "America/New_York",
			[]string{"start 02:30 DAILY"},
			"2026-03-07T12:00:00Z", "2026-03-09T12:00:00Z",
			[]string{
				"2026-03-08T07:00:00Z start: Sun 2026-03-08 02:30 America/New_York (shifted)",
				"2026-03-09T06:30:00Z start: Mon 2026-03-09 02:30 America/New_York",
			},
		},
		{
			"New York, autumn", "America/New_York",
			[]string{"start 01:30 DAILY"},
			"2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z",
			[]string{"2026-11-01T05:30:00Z start: Sun 2026-11-01 01:30 America/New_York", "2026-11-02T06:30:00Z start: Mon 2026-11-02 01:30 America/New_York"},
		},
		{
			"Lord Howe changes by half an hour: forward", "Australia/Lord_Howe",
			[]string{"start 02:10 SUN", "stop 02:30 SUN", "start 02:45 SUN"},
			"2026-10-03T00:00:00Z", "2026-10-04T12:00:00Z",
			[]string{"2026-10-03T15:30:00Z stop: Sun 2026-10-04 02:30 Australia/Lord_Howe", "2026-10-03T15:45:00Z start: Sun 2026-10-04 02:45 Australia/Lord_Howe"},
		},
		{
			"Lord Howe, forward, shifted", "Australia/Lord_Howe",
			[]string{"start 02:10 SUN"},
			"2026-10-03T00:00:00Z", "2026-10-04T12:00:00Z",
			[]string{"2026-10-03T15:30:00Z start: Sun 2026-10-04 02:10 Australia/Lord_Howe (shifted)"},
		},
		{
			"Lord Howe, back", "Australia/Lord_Howe",
			[]string{"start 01:45 SUN", "stop 02:00 SUN"},
			"2026-04-04T00:00:00Z", "2026-04-05T12:00:00Z",
			[]string{"2026-04-04T14:45:00Z start: Sun 2026-04-05 01:45 Australia/Lord_Howe", "2026-04-04T15:30:00Z stop: Sun 2026-04-05 02:00 Australia/Lord_Howe"},
		},
		{
			"Kathmandu is off by three quarters", "Asia/Kathmandu",
			[]string{"start 00:00 MON", "stop 05:45 MON"},
			"2027-01-01T00:00:00Z", "2027-01-07T00:00:00Z",
			[]string{"2027-01-03T18:15:00Z start: Mon 2027-01-04 00:00 Asia/Kathmandu", "2027-01-04T00:00:00Z stop: Mon 2027-01-04 05:45 Asia/Kathmandu"},
		},
		{
			"São Paulo left out midnight", "America/Sao_Paulo",
			[]string{"stop 23:30 SAT", "start 00:00 SUN", "stop 00:30 SUN"},
			"2018-11-03T12:00:00Z", "2018-11-04T12:00:00Z",
			[]string{"2018-11-04T02:30:00Z stop: Sat 2018-11-03 23:30 America/Sao_Paulo", "2018-11-04T03:00:00Z stop: Sun 2018-11-04 00:30 America/Sao_Paulo (shifted)"},
		},
		{
			"São Paulo had the last hour of a Saturday twice", "America/Sao_Paulo",
			[]string{"stop 23:30 SAT", "start 00:00 SUN"},
			"2018-02-17T12:00:00Z", "2018-02-18T12:00:00Z",
			[]string{"2018-02-18T01:30:00Z stop: Sat 2018-02-17 23:30 America/Sao_Paulo", "2018-02-18T03:00:00Z start: Sun 2018-02-18 00:00 America/Sao_Paulo"},
		},
		{
			"Apia had no Friday: its entries came due as the Saturday began", "Pacific/Apia",
			[]string{"start 08:00 THU-FRI", "stop 18:00 THU-FRI", "start 09:00 SAT"},
			"2011-12-29T12:00:00Z", "2012-01-01T12:00:00Z",
			[]string{
				"2011-12-29T18:00:00Z start: Thu 2011-12-29 08:00 Pacific/Apia",
				"2011-12-30T04:00:00Z stop: Thu 2011-12-29 18:00 Pacific/Apia",
				"2011-12-30T10:00:00Z stop: Fri 2011-12-30 18:00 Pacific/Apia (shifted)",
				"2011-12-30T19:00:00Z start: Sat 2011-12-31 09:00 Pacific/Apia",
			},
		},
		{
			"Apia: what is at midnight of that Saturday counts", "Pacific/Apia",
			[]string{"start 00:00 FRI", "stop 12:00 FRI", "start 00:00 SAT"},
			"2011-12-29T12:00:00Z", "2012-01-01T12:00:00Z",
			[]string{"2011-12-30T10:00:00Z start: Sat 2011-12-31 00:00 Pacific/Apia"},
		},
		{
			"Casablanca goes back for Ramadan and forward after it", "Africa/Casablanca",
			[]string{"start 02:30 SUN"},
			"2022-03-20T12:00:00Z", "2022-05-09T00:00:00Z",
			[]string{
				"2022-03-27T01:30:00Z start: Sun 2022-03-27 02:30 Africa/Casablanca",
				"2022-04-03T02:30:00Z start: Sun 2022-04-03 02:30 Africa/Casablanca",
				"2022-04-10T02:30:00Z start: Sun 2022-04-10 02:30 Africa/Casablanca",
				"2022-04-17T02:30:00Z start: Sun 2022-04-17 02:30 Africa/Casablanca",
				"2022-04-24T02:30:00Z start: Sun 2022-04-24 02:30 Africa/Casablanca",
				"2022-05-01T02:30:00Z start: Sun 2022-05-01 02:30 Africa/Casablanca",
				"2022-05-08T02:00:00Z start: Sun 2022-05-08 02:30 Africa/Casablanca (shifted)",
			},
		},
		{
			"the end of a leap year for which there is a rule and no table", "America/New_York",
			[]string{"start 08:00 MON", "stop 20:00 MON", "stop 20:00 TUE"},
			"2040-12-31T00:00:00Z", "2041-01-02T12:00:00Z",
			[]string{
				"2040-12-31T13:00:00Z start: Mon 2040-12-31 08:00 America/New_York",
				"2041-01-01T01:00:00Z stop: Mon 2040-12-31 20:00 America/New_York",
				"2041-01-02T01:00:00Z stop: Tue 2041-01-01 20:00 America/New_York",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := with(t, c.zone, c.parts...)
			from, to := instant(t, c.from), instant(t, c.to)
			var got []string
			for _, o := range s.Simulate(from, to) {
				got = append(got, line(o))
				if e := s.Entries[o.Entry]; e.Action != o.Action || o.At.Location() != time.UTC {
					t.Errorf("%+v is not of entry %+v in UTC", o, e)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheBoundsOfNextAndLast(t *testing.T) {
	s := with(t, "UTC", "start 08:00 MON")
	monday := instant(t, "2027-03-29T08:00:00Z")
	const week = 7 * 24 * time.Hour
	for _, c := range []struct {
		after, want time.Time
	}{
		{monday.Add(-time.Nanosecond), monday},
		{monday, monday.Add(week)},
		{monday.Add(-week), monday},
		{monday.In(time.FixedZone("", 3600)), monday.Add(week)},
	} {
		if o, ok := s.Next(c.after); !ok || !o.At.Equal(c.want) {
			t.Errorf("after %s comes %s, %v; want %s", c.after, line(o), ok, c.want)
		}
	}
	for _, c := range []struct {
		upTo, after, want time.Time // want is zero: there is none
	}{
		{monday, monday.Add(-1), monday},
		{monday, monday, time.Time{}},
		{monday, monday.Add(week), time.Time{}},
		{monday.Add(-1), monday.Add(-week), time.Time{}},
		{monday.Add(-1), monday.Add(-week - 1), monday.Add(-week)},
		{monday.Add(10 * week), time.Time{}, monday.Add(10 * week)},
	} {
		if o, ok := s.Last(c.upTo, c.after); ok == c.want.IsZero() || !o.At.Equal(c.want) {
			t.Errorf("up to %s, after %s: %s, %v; want %s", c.upTo, c.after, line(o), ok, c.want)
		}
	}
}

// Where a clock is put back over midnight, what is due already may be dated tomorrow.
func TestWhatWasDueTomorrow(t *testing.T) {
	for _, c := range []struct{ zone, part, due, change, again string }{
		{"America/St_Johns", "stop 00:00 SUN", "2010-11-07T02:30:00Z", "2010-11-07T02:31:00Z", "2010-11-07T03:30:00Z"}, // 00:01 became 23:01
		{"Pacific/Kwajalein", "stop 23:30 TUE", "1969-09-30T12:30:00Z", "1969-09-30T13:00:00Z", "1969-10-01T11:30:00Z"},
	} {
		s := with(t, c.zone, c.part)
		due, change, again := instant(t, c.due), instant(t, c.change), instant(t, c.again)
		for _, at := range []time.Time{due, change, change.Add(time.Minute), again, again.Add(time.Hour)} {
			if o, ok := s.Last(at, due.Add(-1)); !ok || !o.At.Equal(due) {
				t.Errorf("%s: last up to %s is %s, %v; want %s", c.zone, at, line(o), ok, due)
			}
			if o, ok := s.Next(at); !ok || o.At.Before(due.AddDate(0, 0, 6)) {
				t.Errorf("%s: after %s comes %s, %v", c.zone, at, line(o), ok)
			}
		}
	}
}

func TestSimulateIsBounded(t *testing.T) {
	s := with(t, "Europe/Berlin", "start 08:00 DAILY", "stop 18:00 DAILY")
	from := instant(t, "2027-01-01T00:00:00Z")
	if n := len(s.Simulate(from, from.AddDate(1000, 0, 0))); n != schedule.MaxSimulated {
		t.Errorf("a thousand years have %d occurrences, want %d", n, schedule.MaxSimulated)
	}
	if list := s.Simulate(from, from); len(list) != 0 {
		t.Errorf("no time at all has %v", list)
	}
}

// places are zones with instants near which something happens to their clocks.
var places = map[string][]string{
	"UTC":                  {"2027-01-01T00:00:00Z"},
	"Europe/Berlin":        {"2027-03-28T01:00:00Z", "2027-10-31T01:00:00Z", "2028-12-31T23:00:00Z", "2040-12-31T12:00:00Z"},
	"Europe/Dublin":        {"2027-03-28T01:00:00Z", "2027-10-31T01:00:00Z"},
	"America/New_York":     {"2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z", "2028-12-31T12:00:00Z", "2048-12-31T12:00:00Z"},
	"America/St_Johns":     {"2010-03-14T03:31:00Z", "2010-11-07T02:31:00Z", "1988-04-03T03:31:00Z"}, // a minute past midnight; two hours
	"America/Sao_Paulo":    {"2018-11-04T03:00:00Z", "2018-02-18T02:00:00Z"},
	"Australia/Lord_Howe":  {"2026-10-03T15:30:00Z", "2026-04-04T15:00:00Z", "1981-02-28T14:00:00Z"},
	"Asia/Kathmandu":       {"1985-12-31T18:30:00Z", "2027-01-01T00:00:00Z"}, // a quarter of an hour, once
	"Africa/Casablanca":    {"2022-03-27T02:00:00Z", "2022-05-08T02:00:00Z"},
	"Pacific/Apia":         {"2011-12-30T10:00:00Z", "2012-03-31T14:00:00Z"},
	"Pacific/Kwajalein":    {"1993-08-21T12:00:00Z", "1969-09-30T13:00:00Z"}, // a day left out; 23 hours twice
	"Antarctica/Troll":     {"2027-03-28T01:00:00Z", "2027-10-31T01:00:00Z"}, // two hours
	"Pacific/Chatham":      {"2026-09-26T14:00:00Z", "2026-04-04T14:00:00Z"},
	"Asia/Gaza":            {"2023-04-29T00:00:00Z", "2023-10-27T23:00:00Z"},
	"America/Juneau":       {"1983-10-30T10:00:00Z", "1980-04-27T10:00:00Z"}, // two hours back
	"Antarctica/Casey":     {"2010-03-04T15:00:00Z", "2009-10-17T18:00:00Z"}, // three hours
	"America/Godthab":      {"2023-03-26T01:00:00Z", "2024-10-27T01:00:00Z"},
	"Atlantic/Azores":      {"2027-03-28T01:00:00Z", "1983-09-25T02:00:00Z"},
	"Pacific/Kiritimati":   {"1994-12-31T10:40:00Z", "1979-10-01T10:40:00Z"},
	"Africa/Cairo":         {"2023-04-27T22:00:00Z", "2023-10-26T21:00:00Z"},
	"America/Asuncion":     {"2023-10-01T04:00:00Z", "2024-03-24T03:00:00Z"},
	"Africa/Juba":          {"2021-01-31T21:00:00Z"},
	"America/Scoresbysund": {"2024-03-31T00:00:00Z"},
}

// anyPlace draws a zone and an instant at most three days from a change of its clocks.
func anyPlace(t *rapid.T) (string, time.Time) {
	zones := make([]string, 0, len(places))
	for zone := range places {
		zones = append(zones, zone)
	}
	slices.Sort(zones)
	zone := rapid.SampledFrom(zones).Draw(t, "zone")
	change, err := time.Parse(time.RFC3339, rapid.SampledFrom(places[zone]).Draw(t, "change"))
	if err != nil {
		t.Fatal(err)
	}
	return zone, change.Add(time.Duration(rapid.Int64Range(-3*86400, 3*86400).Draw(t, "seconds")) * time.Second)
}

var days = []string{"MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"}

// anySchedule draws entries that often are where clocks are changed, in no particular order.
func anySchedule(t *rapid.T, zone string) schedule.Schedule {
	hour := rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, 23))
	minute := rapid.OneOf(rapid.SampledFrom([]int{0, 1, 15, 30, 45, 59}), rapid.IntRange(0, 59))
	taken := map[string]bool{}
	s := schedule.Schedule{Zone: zone}
	for range rapid.IntRange(1, 8).Draw(t, "entries") {
		e := schedule.Entry{
			Action: rapid.SampledFrom([]schedule.Action{schedule.Start, schedule.Stop}).Draw(t, "action"),
			At:     fmt.Sprintf("%02d:%02d", hour.Draw(t, "hour"), minute.Draw(t, "minute")),
		}
		for _, day := range rapid.SliceOfNDistinct(rapid.SampledFrom(days), 1, 7, rapid.ID).Draw(t, "days") {
			if !taken[day+e.At] {
				taken[day+e.At] = true
				e.Days = append(e.Days, day)
			}
		}
		if e.Days != nil {
			s.Entries = append(s.Entries, e)
		}
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	return s
}

// watch is the oracle. It stands before the wall clock for every minute from from to to, notes the latest time that the
// clock has shown, and whenever that moves on takes down the last of the entries that were passed.
func watch(s schedule.Schedule, zone *time.Location, from, to time.Time) []string {
	reading := func(at time.Time) time.Time {
		_, offset := at.In(zone).Zone()
		return at.Add(time.Duration(offset) * time.Second)
	}
	from = from.UTC().Truncate(time.Minute)
	var list []string
	latest := reading(from)
	for at := from.Add(time.Minute); !at.After(to); at = at.Add(time.Minute) {
		now := reading(at)
		last := ""
		for wall := latest.Add(time.Minute); !wall.After(now); wall = wall.Add(time.Minute) {
			for i, e := range s.Entries {
				if e.At != wall.Format("15:04") || !slices.Contains(e.Days, days[(wall.Weekday()+6)%7]) {
					continue
				}
				last = line(schedule.Occurrence{
					Action: e.Action, At: at, Entry: i, Local: wall.Format("Mon 2006-01-02 15:04 ") + s.Zone, Shifted: !wall.Equal(now),
				})
			}
		}
		if last != "" {
			list = append(list, last)
		}
		if now.After(latest) {
			latest = now
		}
	}
	return list
}

func TestOccurrencesAreWhatSomebodyBeforeTheClockSees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone, from := anyPlace(t)
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		s := anySchedule(t, zone)
		to := from.Add(time.Duration(rapid.IntRange(0, 9*24*60).Draw(t, "minutes")) * time.Minute)
		// It begins two days early, so that it knows what the clock had shown before.
		var want []string
		for _, seen := range watch(s, loc, from.AddDate(0, 0, -2), to) {
			if at, _, _ := cut(seen); at.After(from) {
				want = append(want, seen)
			}
		}
		var got []string
		for _, o := range s.Simulate(from, to) {
			got = append(got, line(o))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s, %s to %s:\n%s", s, from, to, diff)
		}
	})
}

// cut takes the instant off a line.
func cut(text string) (time.Time, string, error) {
	const stamp = len("2006-01-02T15:04:05Z")
	at, err := time.Parse(time.RFC3339, text[:stamp])
	return at, text[stamp:], err
}

func TestNextAndLastAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone, after := anyPlace(t)
		s := anySchedule(t, zone)
		for at := after; at.Before(after.AddDate(0, 0, 14)); {
			next, ok := s.Next(at)
			if !ok || !next.At.After(at) {
				t.Fatalf("%s: after %s comes %s, %v", s, at, line(next), ok)
			}
			between := at.Add(time.Duration(rapid.Int64Range(0, int64(next.At.Sub(at)-1)).Draw(t, "between")))
			if o, _ := s.Next(between); o != next {
				t.Fatalf("%s: after %s comes %s, but after %s %s", s, at, line(next), between, line(o))
			}
			if o, ok := s.Last(between, at); ok {
				t.Fatalf("%s: after %s comes %s, but up to %s there is %s", s, at, line(next), between, line(o))
			}
			if o, ok := s.Last(next.At, at); !ok || o != next {
				t.Fatalf("%s: next %s, last %s, %v", s, line(next), line(o), ok)
			}
			if o, ok := s.Last(next.At.Add(time.Nanosecond), time.Time{}); !ok || o != next {
				t.Fatalf("%s: next %s, last just after %s, %v", s, line(next), line(o), ok)
			}
			at = next.At
		}
	})
}

// Every entry comes due once on each of its days, whatever the clocks do. The only ones left out are those that share
// their instant with a later one, and that takes a shift.
func TestNoDayIsLostOrRepeated(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone, from := anyPlace(t)
		s := anySchedule(t, zone)
		list := s.Simulate(from.AddDate(0, 0, -15), from.AddDate(0, 0, 15))
		seen := map[string]int{}
		for _, o := range list {
			seen[fmt.Sprint(o.Entry, o.Local)]++
		}
		for day := -12; day <= 12; day++ {
			date := from.AddDate(0, 0, day)
			for i, e := range s.Entries {
				if !slices.Contains(e.Days, days[(date.Weekday()+6)%7]) {
					continue
				}
				local := date.Format("Mon 2006-01-02 ") + e.At + " " + zone
				alone := s
				alone.Entries = []schedule.Entry{{Action: e.Action, At: e.At, Days: []string{days[(date.Weekday()+6)%7]}}}
				var own []schedule.Occurrence
				for _, o := range alone.Simulate(from.AddDate(0, 0, -15), from.AddDate(0, 0, 15)) {
					if o.Local == local {
						own = append(own, o)
					}
				}
				if len(own) != 1 {
					t.Fatalf("%s comes due %d times", local, len(own))
				}
				switch seen[fmt.Sprint(i, local)] {
				case 1:
				case 0:
					winner, ok := s.Last(own[0].At, own[0].At.Add(-1))
					if !own[0].Shifted && !winner.Shifted || !ok {
						t.Fatalf("%s: %s is lost to %s, %v", s, line(own[0]), line(winner), ok)
					}
				default:
					t.Fatalf("%s: %s is repeated", s, local)
				}
			}
		}
	})
}
