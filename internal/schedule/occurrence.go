package schedule

import "time"

// MaxSimulated is how many occurrences Simulate returns at most.
const MaxSimulated = 1000

// horizon is how many days from today, by the zone's clock, decide what is next or was last: a week, one day more
// because a clock can be put back by a day, and one more whose entries may fall onto the same instant.
const horizon = 9

// Occurrence is one time that an entry comes due.
//
// The rule for clocks that are changed: an entry comes due at the first instant at which the wall clock shows its time
// of that date, or a later one. Hence
//
//   - a time that does not exist, such as 02:30 when the clock goes from 02:00 to 03:00, comes due when the clock is
//     put forward, at 03:00;
//   - a time that occurs twice comes due once, the first time;
//   - the entries of a date that does not exist come due at the first minute of the next date that does: those of
//     2011-12-30 in Pacific/Apia at 2011-12-31 00:00.
//
// Occurrences are in the order of their local time, and their instants never go backwards in that order. Where several
// fall onto one instant, only the last of them is an occurrence: it would undo the others anyway. So every occurrence has
// an instant of its own, and who steps from one to the next by instant loses nothing and stays nowhere.
type Occurrence struct {
	Action  Action
	At      time.Time // UTC
	Entry   int       // index into the schedule's Entries
	Local   string    // what the entry asks for, as in "Mon 2027-03-29 08:00 Europe/Berlin", whether or not it exists
	Shifted bool      // the clock never showed that time
}

// Next is the first occurrence strictly after the instant. There is none if Check refuses the schedule.
func (s Schedule) Next(after time.Time) (Occurrence, bool) {
	p, err := s.plan()
	if err != nil {
		return Occurrence{}, false
	}
	return p.next(after), true
}

// Last is the latest occurrence that is strictly after one instant and not after the other.
func (s Schedule) Last(upTo, after time.Time) (Occurrence, bool) {
	p, err := s.plan()
	if err != nil {
		return Occurrence{}, false
	}
	if o := p.last(upTo); o.At.After(after) {
		return o, true
	}
	return Occurrence{}, false
}

// Simulate lists, in order, the occurrences that are strictly after from and not after to: the first MaxSimulated of
// them, which is five weeks of the fullest schedule.
func (s Schedule) Simulate(from, to time.Time) []Occurrence {
	p, err := s.plan()
	if err != nil {
		return nil
	}
	var list []Occurrence
	for o := p.next(from); !o.At.After(to) && len(list) < MaxSimulated; o = p.next(o.At) {
		list = append(list, o)
	}
	return list
}

// next always finds something, since a plan has at least one slot in every week.
func (p plan) next(after time.Time) Occurrence {
	var found Occurrence
	today := p.date(after) // whatever is due earlier than today is due by now
	for day := range horizon + 1 {
		date := today.AddDate(0, 0, day)
		for _, sl := range p.on(date) {
			o := p.occurrence(date, sl)
			if !found.At.IsZero() && o.At.After(found.At) {
				return found
			}
			if o.At.After(after) {
				found = o
			}
		}
	}
	return found
}

// last walks the order backwards, so that the first it meets is the one that counts at its instant.
func (p plan) last(upTo time.Time) Occurrence {
	latest := p.date(upTo).AddDate(0, 0, 1) // the clock may have been put back by a day since
	for day := range horizon + 1 {
		date := latest.AddDate(0, 0, -day)
		slots := p.on(date)
		for i := len(slots) - 1; i >= 0; i-- {
			if o := p.occurrence(date, slots[i]); !o.At.After(upTo) {
				return o
			}
		}
	}
	return Occurrence{}
}

// date is what a calendar on the wall shows at the instant, as midnight UTC.
func (p plan) date(at time.Time) time.Time {
	year, month, day := at.In(p.zone).Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

func (p plan) on(date time.Time) []slot { return p.days[(date.Weekday()+6)%7] }

func (p plan) occurrence(date time.Time, sl slot) Occurrence {
	wall := date.Add(time.Duration(sl.minute) * time.Minute)
	at, shifted := p.instant(wall)
	return Occurrence{Action: sl.action, At: at, Entry: sl.entry, Local: wall.Format("Mon 2006-01-02 15:04 ") + p.name, Shifted: shifted}
}

// instant is the first at which the wall clock shows wall, which is written as if it were UTC, or later. It is shifted
// if the clock shows later. time.Date does not promise a direction for a time that does not exist.
func (p plan) instant(wall time.Time) (at time.Time, shifted bool) {
	// No clock was ever a whole day from UTC, so here it does not show wall yet.
	from := wall.Add(-24 * time.Hour).In(p.zone)
	for {
		_, offset := from.Zone()
		_, end := from.ZoneBounds()
		if !end.IsZero() && !end.After(from) {
			// Where a rule and not a table gives the changes, Go ends the year after 365 days: on the last of a leap
			// year the end is past.
			end = from.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour).In(p.zone)
		}
		at = wall.Add(-time.Duration(offset) * time.Second)
		if shifted = at.Before(from); shifted {
			at = from
		}
		if end.IsZero() || at.Before(end) {
			return at.UTC(), shifted
		}
		from = end
	}
}
