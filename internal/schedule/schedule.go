// Package schedule says when a WorkSpace is to be started and stopped by the clock on the wall. It is pure: a schedule
// and an instant in, an instant out. What the clocks of a zone show comes from the tz database of the machine, or of the
// program where the machine has none.
package schedule

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// MaxEntries is how many entries a schedule may have: four for each day of the week.
const MaxEntries = 28

// Action is what happens to the WorkSpace.
type Action string

// The actions.
const (
	Start Action = "start"
	Stop  Action = "stop"
)

// Schedule is what happens by the clock of one zone, week after week. Its JSON is what the API and the database keep.
type Schedule struct {
	Zone    string  `json:"timezone"` // IANA name, such as Europe/Berlin
	Entries []Entry `json:"entries"`
}

// Entry is one action at one time of day, on some days of the week.
type Entry struct {
	Action Action   `json:"action"`
	At     string   `json:"at"`   // HH:MM, 24 hours, by the clock of the zone
	Days   []string `json:"days"` // MON to SUN, each at most once
}

// weekdays are the days as an Entry names them, in the order of ISO 8601.
var weekdays = []string{"MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"}

// zoneName is the shape of a name in the tz database. The files that lie beside the zones on some machines (posix/…,
// right/…, localtime) begin with a small letter.
var zoneName = regexp.MustCompile(`^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$`)

// notZones load and are no place's clock. The abbreviations do not change to summer time, whatever their users expect.
var notZones = []string{"Local", "Factory", "EST", "MST", "HST"}

var errZone = errors.New("timezone: write a name of the IANA time zone database, such as Europe/Berlin, or UTC")

// Check says what is wrong with the schedule. Entries are counted from 1.
func (s Schedule) Check() error {
	_, err := s.plan()
	return err
}

// Normal is the schedule in its one canonical form: days in capitals from MON to SUN, entries by their time of day and
// then their first day. What Check refuses is put in order as far as it is understood.
func (s Schedule) Normal() Schedule {
	entries := make([]Entry, len(s.Entries))
	for i, e := range s.Entries {
		days := make([]string, len(e.Days))
		for j, d := range e.Days {
			days[j] = d
			if n, ok := weekday(d); ok {
				days[j] = weekdays[n]
			}
		}
		slices.SortFunc(days, compareDays)
		entries[i] = Entry{Action: e.Action, At: e.At, Days: days}
	}
	slices.SortStableFunc(entries, func(a, b Entry) int {
		return cmp.Or(strings.Compare(a.At, b.At), slices.CompareFunc(a.Days, b.Days, compareDays), cmp.Compare(a.Action, b.Action))
	})
	return Schedule{Zone: s.Zone, Entries: entries}
}

// compareDays puts what is no day of the week behind the days.
func compareDays(a, b string) int {
	m, _ := weekday(a)
	n, _ := weekday(b)
	return cmp.Or(cmp.Compare(m, n), strings.Compare(a, b))
}

// weekday is the number of a day, Monday being 0, and len(weekdays) for what is none.
func weekday(day string) (int, bool) {
	if len(day) == 3 { // so that no letter from beyond ASCII folds into one of ours
		if n := slices.Index(weekdays, strings.ToUpper(day)); n >= 0 {
			return n, true
		}
	}
	return len(weekdays), false
}

// plan is a schedule that was checked, ready to be asked.
type plan struct {
	name string
	zone *time.Location
	days [7][]slot // from Monday, each in the order of the clock
}

// slot is one entry on one day of the week.
type slot struct {
	minute int // of the day
	entry  int
	action Action
}

func (s Schedule) plan() (plan, error) {
	p := plan{name: s.Zone}
	var err error
	if p.zone, err = location(s.Zone); err != nil {
		return plan{}, err
	}
	if n := len(s.Entries); n < 1 || n > MaxEntries {
		return plan{}, fmt.Errorf("entries: there are %d; a schedule has 1 to %d", n, MaxEntries)
	}
	for i, e := range s.Entries {
		if e.Action != Start && e.Action != Stop {
			return plan{}, fmt.Errorf("entry %d: action %.20q: write start or stop", i+1, e.Action)
		}
		minute, ok := minuteOfDay(e.At)
		if !ok {
			return plan{}, fmt.Errorf("entry %d: time %.20q: write HH:MM from 00:00 to 23:59", i+1, e.At)
		}
		if len(e.Days) == 0 {
			return plan{}, fmt.Errorf("entry %d: no days: name at least one of %s", i+1, strings.Join(weekdays, ", "))
		}
		for _, d := range e.Days {
			n, ok := weekday(d)
			if !ok {
				return plan{}, fmt.Errorf("entry %d: day %.20q: write one of %s", i+1, d, strings.Join(weekdays, ", "))
			}
			for _, other := range p.days[n] {
				switch {
				case other.entry == i:
					return plan{}, fmt.Errorf("entry %d: day %s is there twice: name each day once", i+1, weekdays[n])
				case other.minute == minute:
					return plan{}, fmt.Errorf("entry %d: entry %d is at %s on %s, too: only one thing may happen in a minute", i+1, other.entry+1, e.At, weekdays[n])
				}
			}
			p.days[n] = append(p.days[n], slot{minute: minute, entry: i, action: e.Action})
		}
	}
	for _, day := range p.days {
		slices.SortFunc(day, func(a, b slot) int { return cmp.Compare(a.minute, b.minute) })
	}
	return p, nil
}

func location(name string) (*time.Location, error) {
	if len(name) > 64 || !zoneName.MatchString(name) || slices.Contains(notZones, name) {
		return nil, errZone
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		// The cause names files of this machine.
		return nil, fmt.Errorf("timezone %q is not known: write a name of the IANA time zone database, such as Europe/Berlin, or UTC", name)
	}
	return loc, nil
}

func minuteOfDay(at string) (int, bool) {
	if len(at) != len("15:04") { // time.Parse would take 8:00
		return 0, false
	}
	t, err := time.Parse("15:04", at)
	return t.Hour()*60 + t.Minute(), err == nil
}
