// Package schedule says when something is to be started and stopped by the clock on the wall of a time zone.
package schedule

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Action is what is done at a time.
type Action string

// The actions.
const (
	Start Action = "start"
	Stop  Action = "stop"
)

// Schedule is what is done at which local times of which weekdays. Its JSON form is what is kept and sent.
type Schedule struct {
	Zone    string  `json:"timezone"` // an IANA name
	Entries []Entry `json:"entries"`
}

// Entry is one time of day on some weekdays.
type Entry struct {
	Action Action   `json:"action"`
	At     string   `json:"at"`   // HH:MM, 24 hours
	Days   []string `json:"days"` // MON to SUN
}

// Occurrence is an entry at an instant.
type Occurrence struct {
	Action  Action
	At      time.Time // UTC
	Entry   int
	Local   string // as it is written in the schedule: "Sun 2027-03-28 02:30 Europe/Berlin"
	Shifted bool   // that local time does not exist: it is the next minute that does

	wall time.Time // the local time, as if it were UTC
}

// Weekdays in their order, as they are written.
var Weekdays = []string{"MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"}

const maxEntries = 28

var timeRule = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]$`)

// Check says what is wrong with the schedule.
func (s Schedule) Check() error {
	if _, err := s.location(); err != nil {
		return err
	}
	if len(s.Entries) == 0 || len(s.Entries) > maxEntries {
		return fmt.Errorf("a schedule has 1 to %d entries, not %d", maxEntries, len(s.Entries))
	}
	taken := map[string]int{}
	for i, e := range s.Entries {
		if e.Action != Start && e.Action != Stop {
			return fmt.Errorf("entry %d: the action is start or stop, not %q", i+1, e.Action)
		}
		if !timeRule.MatchString(e.At) {
			return fmt.Errorf("entry %d: the time is 00:00 to 23:59, not %q", i+1, e.At)
		}
		if len(e.Days) == 0 {
			return fmt.Errorf("entry %d: it has no weekday", i+1)
		}
		for _, day := range e.Days {
			if !slices.Contains(Weekdays, strings.ToUpper(day)) {
				return fmt.Errorf("entry %d: a weekday is one of %s, not %q", i+1, strings.Join(Weekdays, ", "), day)
			}
			at := strings.ToUpper(day) + " " + e.At
			if first, twice := taken[at]; twice {
				return fmt.Errorf("entry %d: %s is taken by entry %d", i+1, at, first)
			}
			taken[at] = i + 1
		}
	}
	return nil
}

// location is the zone. The machine's own is not one: it would be another on another machine.
func (s Schedule) location() (*time.Location, error) {
	if s.Zone == "" || s.Zone == "Local" {
		return nil, errors.New(`a schedule has a time zone, such as "Europe/Berlin" or "UTC"`)
	}
	loc, err := time.LoadLocation(s.Zone)
	if err != nil {
		return nil, fmt.Errorf(`there is no time zone %q; use an IANA name such as "Europe/Berlin"`, s.Zone)
	}
	return loc, nil
}

// Normal is the schedule as it is kept: weekdays in capitals and in their order, entries by their first time.
func (s Schedule) Normal() Schedule {
	n := Schedule{Zone: s.Zone, Entries: make([]Entry, len(s.Entries))}
	for i, e := range s.Entries {
		days := make([]string, len(e.Days))
		for j, day := range e.Days {
			days[j] = strings.ToUpper(day)
		}
		slices.SortFunc(days, func(a, b string) int { return slices.Index(Weekdays, a) - slices.Index(Weekdays, b) })
		n.Entries[i] = Entry{Action: e.Action, At: e.At, Days: days}
	}
	slices.SortFunc(n.Entries, func(a, b Entry) int {
		if d := slices.Index(Weekdays, a.Days[0]) - slices.Index(Weekdays, b.Days[0]); d != 0 {
			return d
		}
		return strings.Compare(a.At, b.At)
	})
	return n
}

// span is how many days are looked at to find one occurrence: a week, and what zones may be apart or leave out.
const span = 10

// Next is the first occurrence after an instant; none when the schedule is not valid. Two local times that fall onto one
// instant, because neither or one of them exists, are one occurrence: the later of them.
func (s Schedule) Next(after time.Time) (Occurrence, bool) {
	for _, o := range s.around(after.AddDate(0, 0, -2), span+2) {
		if o.At.After(after) {
			return o, true
		}
	}
	return Occurrence{}, false
}

// Last is the latest occurrence after an instant and not after another.
func (s Schedule) Last(upTo, after time.Time) (Occurrence, bool) {
	var last Occurrence
	for _, o := range s.around(upTo.AddDate(0, 0, -span), span+2) {
		if o.At.After(after) && !o.At.After(upTo) {
			last = o
		}
	}
	return last, !last.At.IsZero()
}

// Between are the occurrences after an instant and not after another, most of them at the most.
func (s Schedule) Between(after, upTo time.Time, most int) (all []Occurrence) {
	for len(all) < most {
		o, ok := s.Next(after)
		if !ok || o.At.After(upTo) {
			break
		}
		all, after = append(all, o), o.At
	}
	return all
}

// around are the occurrences of some days, in their order.
func (s Schedule) around(from time.Time, days int) []Occurrence {
	loc, err := s.location()
	if err != nil {
		return nil
	}
	var all []Occurrence
	y, m, d := from.In(loc).Date()
	for n := range days + 1 {
		date := time.Date(y, m, d+n, 0, 0, 0, 0, time.UTC) // as if it were UTC: every day is there, whatever the zone leaves out
		weekday := Weekdays[(int(date.Weekday())+6)%7]
		for i, e := range s.Entries {
			if !slices.Contains(e.Days, weekday) {
				continue
			}
			minutes, ok := minutesOf(e.At)
			if !ok {
				return nil
			}
			wall := date.Add(time.Duration(minutes) * time.Minute)
			at, shifted := instant(wall, loc)
			all = append(all, Occurrence{
				Action: e.Action, At: at, Entry: i, Local: wall.Format("Mon 2006-01-02 15:04 ") + s.Zone, Shifted: shifted, wall: wall,
			})
		}
	}
	slices.SortFunc(all, func(a, b Occurrence) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return a.wall.Compare(b.wall)
	})
	// Of several at one instant the last one counts.
	kept := all[:0]
	for i, o := range all {
		if i+1 < len(all) && all[i+1].At.Equal(o.At) {
			continue
		}
		kept = append(kept, o)
	}
	return kept
}

func minutesOf(at string) (int, bool) {
	hour, minute, ok := strings.Cut(at, ":")
	h, err1 := strconv.Atoi(hour)
	m, err2 := strconv.Atoi(minute)
	return h*60 + m, ok && err1 == nil && err2 == nil
}

// instant is when the clock on the wall of a place first shows a local time, or, where it never does, when it first shows a
// later one. wall is the local time as if it were UTC.
func instant(wall time.Time, loc *time.Location) (at time.Time, shifted bool) {
	// The offset is one of those around: look at the stretches of equal offset from two days before to two days after.
	t := wall.AddDate(0, 0, -2).In(loc)
	for t.Before(wall.AddDate(0, 0, 2)) {
		_, offset := t.Zone()
		_, end := t.ZoneBounds()
		shown := wall.Add(-time.Duration(offset) * time.Second) // when it is shown, at this offset
		switch {
		case shown.Before(t):
			return t.UTC(), true // the clock was put forward over it, just here
		case end.IsZero() || shown.Before(end):
			return shown.UTC(), false
		}
		t = end
	}
	return wall, true // no zone is so far from UTC
}

// String is the schedule for people, in the form that Parse reads.
func (s Schedule) String() string {
	parts := make([]string, len(s.Entries))
	for i, e := range s.Entries {
		parts[i] = string(e.Action) + " " + e.At + " " + strings.Join(e.Days, ",")
	}
	return strings.Join(parts, "; ") + " (" + s.Zone + ")"
}

// Parse reads entries such as "start 08:00 MON-FRI", "stop 18:30 mon,wed" or "stop 22:00 DAILY", in a time zone.
func Parse(zone string, parts ...string) (Schedule, error) {
	s := Schedule{Zone: zone}
	for _, part := range parts {
		words := strings.Fields(part)
		if len(words) != 3 {
			return s, fmt.Errorf(`%q is not an entry such as "start 08:00 MON-FRI"`, part)
		}
		days, err := parseDays(words[2])
		if err != nil {
			return s, err
		}
		s.Entries = append(s.Entries, Entry{Action: Action(strings.ToLower(words[0])), At: words[1], Days: days})
	}
	if err := s.Check(); err != nil {
		return s, err
	}
	return s.Normal(), nil
}

func parseDays(text string) (days []string, err error) {
	switch strings.ToUpper(text) {
	case "DAILY":
		return slices.Clone(Weekdays), nil
	case "WEEKDAYS":
		return slices.Clone(Weekdays[:5]), nil
	}
	for _, part := range strings.Split(strings.ToUpper(text), ",") {
		from, to, ranged := strings.Cut(part, "-")
		first, last := slices.Index(Weekdays, from), slices.Index(Weekdays, to)
		if !ranged {
			last = first
		}
		if first < 0 || last < first {
			return nil, fmt.Errorf("%q is not a weekday, nor a range of them such as MON-FRI, DAILY or WEEKDAYS", part)
		}
		days = append(days, Weekdays[first:last+1]...)
	}
	return days, nil
}
