package schedule_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"pgregory.net/rapid"

	"github.com/robco-forge/forge/internal/schedule"
)

func utc(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func daily(zone, at string) schedule.Schedule {
	return schedule.Schedule{Zone: zone, Entries: []schedule.Entry{{Action: schedule.Stop, At: at, Days: schedule.Weekdays}}}
}

// TestNextAcrossTheChangesOfClocks walks real zones: what does not exist comes at the next minute that does, what is there
// twice comes once.
func TestNextAcrossTheChangesOfClocks(t *testing.T) {
	for _, c := range []struct {
		name, zone, at, after string
		want                  string // UTC
		shifted               bool
	}{
		{"an ordinary day", "Europe/Berlin", "08:00", "2026-11-23 00:00", "2026-11-23 07:00", false},
		{"strictly after", "Europe/Berlin", "08:00", "2026-11-23 07:00", "2026-11-24 07:00", false},
		{"Berlin, forward: 02:30 is not there", "Europe/Berlin", "02:30", "2027-03-27 12:00", "2027-03-28 01:00", true},
		{"Berlin, forward: 02:00 is not there either", "Europe/Berlin", "02:00", "2027-03-27 12:00", "2027-03-28 01:00", true},
		{"Berlin, forward: 03:00 is there", "Europe/Berlin", "03:00", "2027-03-27 12:00", "2027-03-28 01:00", false},
		{"Berlin, back: 02:30 is there twice, the first", "Europe/Berlin", "02:30", "2026-10-24 12:00", "2026-10-25 00:30", false},
		{"Berlin, back: not the second", "Europe/Berlin", "02:30", "2026-10-25 00:30", "2026-10-26 01:30", false},
		{"New York, forward", "America/New_York", "02:15", "2027-03-13 12:00", "2027-03-14 07:00", true},
		{"New York, back", "America/New_York", "01:30", "2026-10-31 12:00", "2026-11-01 05:30", false},
		{"Lord Howe, forward by half an hour", "Australia/Lord_Howe", "02:10", "2026-10-03 00:00", "2026-10-03 15:30", true},
		{"Lord Howe, back by half an hour", "Australia/Lord_Howe", "01:45", "2027-04-02 20:00", "2027-04-03 14:45", false},
		{"Kathmandu, a quarter of an hour off", "Asia/Kathmandu", "09:00", "2026-11-23 00:00", "2026-11-23 03:15", false},
		{"São Paulo, when midnight was not there", "America/Sao_Paulo", "00:00", "2018-11-03 12:00", "2018-11-04 03:00", true},
		{"Apia, the day that was left out", "Pacific/Apia", "12:00", "2011-12-30 00:00", "2011-12-30 10:00", true},
		{"UTC", "UTC", "23:59", "2026-12-31 23:58", "2026-12-31 23:59", false},
		{"leap day", "UTC", "00:00", "2028-02-28 12:00", "2028-02-29 00:00", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := daily(c.zone, c.at).Next(utc(t, c.after))
			if want := utc(t, c.want); !ok || !got.At.Equal(want) || got.Shifted != c.shifted {
				t.Errorf("got %v %v shifted %v (%s), want %v", ok, got.At, got.Shifted, got.Local, want)
			}
		})
	}
}

var zones = []string{
	"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo", "Pacific/Apia", "Africa/Casablanca",
	"UTC", "Asia/Tehran", "Antarctica/Troll", "America/St_Johns", "Pacific/Chatham",
}

func someSchedule(t *rapid.T) schedule.Schedule {
	s := schedule.Schedule{Zone: rapid.SampledFrom(zones).Draw(t, "zone")}
	times := rapid.SliceOfNDistinct(rapid.IntRange(0, 1439), 1, 5, rapid.ID).Draw(t, "times")
	for i, minutes := range times {
		days := rapid.SliceOfNDistinct(rapid.SampledFrom(schedule.Weekdays), 1, 7, rapid.ID).Draw(t, "days")
		action := schedule.Start
		if i%2 == 1 {
			action = schedule.Stop
		}
		s.Entries = append(s.Entries, schedule.Entry{Action: action, At: time.Unix(int64(minutes)*60, 0).UTC().Format("15:04"), Days: days})
	}
	return s
}

// TestOccurrencesAreWhatAWallClockShows walks every minute of some days and reads the clock on the wall: an entry occurs when
// its time is first shown on its day, or, when it is never shown, at the first minute behind it.
func TestOccurrencesAreWhatAWallClockShows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := someSchedule(t)
		loc, err := time.LoadLocation(s.Zone)
		if err != nil {
			t.Fatal(err)
		}
		from := time.Date(rapid.SampledFrom([]int{2011, 2018, 2026, 2027}).Draw(t, "year"), time.January, 1, 0, 0, 0, 0, time.UTC).
			AddDate(0, 0, rapid.IntRange(0, 364).Draw(t, "day"))
		until := from.AddDate(0, 0, 5)
		due := map[string]int{} // wall times still to be shown, by entry
		var want []time.Time
		latest := ""
		for at := from.AddDate(0, 0, -3); !at.After(until); at = at.Add(time.Minute) {
			wall := at.In(loc).Format("2006-01-02 15:04")
			if wall <= latest {
				continue // shown before
			}
			// Every wall minute between the latest and this one has come.
			first, _ := time.Parse("2006-01-02 15:04", wall)
			if latest != "" {
				first, _ = time.Parse("2006-01-02 15:04", latest)
				first = first.Add(time.Minute)
			}
			last, _ := time.Parse("2006-01-02 15:04", wall)
			latest = wall
			for m := first; !m.After(last); m = m.Add(time.Minute) {
				for i, e := range s.Entries {
					if e.At == m.Format("15:04") && slices.Contains(e.Days, strings.ToUpper(m.Format("Mon"))) {
						due[m.Format("2006-01-02 15:04")] = i
						if at.After(from) && (len(want) == 0 || !want[len(want)-1].Equal(at)) {
							want = append(want, at)
						}
					}
				}
			}
		}
		var got []time.Time
		for _, o := range s.Between(from, until, 1000) {
			got = append(got, o.At)
			if i, ok := due[o.Local[4:20]]; !ok || i != o.Entry || s.Entries[i].Action != o.Action {
				t.Fatalf("%s: entry %d occurs as %q", s, o.Entry, o.Local)
			}
			if last, ok := s.Last(o.At, o.At.Add(-time.Second)); !ok || last.Local != o.Local {
				t.Fatalf("%s: the last up to %v is %+v", s, o.At, last)
			}
		}
		if !slices.EqualFunc(got, want, time.Time.Equal) {
			t.Fatalf("%s from %v:\ngot  %v\nwant %v", s, from, got, want)
		}
	})
}

func TestWhatIsSaidIsReadAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := someSchedule(t)
		if s.Check() != nil {
			return // two entries at one time
		}
		n := s.Normal()
		text := strings.TrimSuffix(n.String(), " ("+n.Zone+")")
		again, err := schedule.Parse(n.Zone, strings.Split(text, "; ")...)
		if err != nil || again.String() != n.String() {
			t.Fatalf("%q is read as %q: %v", n, again, err)
		}
	})
}

func TestParse(t *testing.T) {
	s, err := schedule.Parse("Europe/Berlin", "stop 18:30 WEEKDAYS", "start 08:00 mon-fri")
	if err != nil || s.String() != "start 08:00 MON,TUE,WED,THU,FRI; stop 18:30 MON,TUE,WED,THU,FRI (Europe/Berlin)" {
		t.Errorf("%v, %v", s, err)
	}
	for _, bad := range [][]string{
		{"Europe/Berlin"}, {"Mars/Olympus", "start 08:00 MON"}, {"Local", "start 08:00 MON"}, {"", "start 08:00 MON"}, {"UTC", "start 8:00 MON"},
		{"UTC", "start 24:00 MON"}, {"UTC", "begin 08:00 MON"}, {"UTC", "start 08:00"}, {"UTC", "start 08:00 FRI-MON"}, {"UTC", "start 08:00 DOOMSDAY"},
		{"UTC", "start 08:00 MON", "stop 08:00 MON-TUE"}, {"UTC", "start 08:00 MON,MON"}, {"../etc/passwd", "start 08:00 MON"},
	} {
		if s, err := schedule.Parse(bad[0], bad[1:]...); err == nil {
			t.Errorf("%q is read as %v", bad, s)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(`{"timezone":"Europe/Berlin","entries":[{"action":"start","at":"08:00","days":["MON"]}]}`)
	f.Add(`{"timezone":"Local","entries":[{"action":"stop","at":"99:99","days":[]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var s schedule.Schedule
		if json.Unmarshal([]byte(text), &s) != nil {
			return
		}
		s.Next(time.Unix(0, 0)) // of any
		if s.Check() != nil {
			return
		}
		n := s.Normal()
		if n.Check() != nil || n.Normal().String() != n.String() {
			t.Errorf("%v is not normal", n)
		}
		if o, ok := n.Next(time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)); !ok || o.At.IsZero() {
			t.Errorf("%v never occurs", n)
		}
	})
}
