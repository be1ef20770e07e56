package schedule

import (
	"fmt"
	"slices"
	"strings"
)

// String is the schedule for people, as in "start 08:00 MON-FRI, stop 18:30 MON-FRI (Europe/Berlin)". Parse reads each
// of the entries.
func (s Schedule) String() string {
	parts := make([]string, len(s.Entries))
	for i, e := range s.Normal().Entries {
		parts[i] = fmt.Sprintf("%s %s %s", e.Action, e.At, daysText(e.Days))
	}
	if len(parts) == 0 {
		parts = []string{"nothing"}
	}
	return fmt.Sprintf("%s (%s)", strings.Join(parts, ", "), s.Zone)
}

// daysText writes three days and more in a row as a range, and all of them as DAILY.
func daysText(days []string) string {
	if slices.Equal(days, weekdays) {
		return "DAILY"
	}
	var parts []string
	for i := 0; i < len(days); {
		n := 1
		if first, ok := weekday(days[i]); ok {
			for i+n < len(days) && first+n < len(weekdays) && days[i+n] == weekdays[first+n] {
				n++
			}
		}
		if n >= 3 {
			parts = append(parts, days[i]+"-"+days[i+n-1])
		} else {
			parts = append(parts, days[i:i+n]...)
		}
		i += n
	}
	return strings.Join(parts, ",")
}

// Parse reads a schedule as a person writes it, one entry a part: "start 08:00 MON-FRI", "stop 18:30 mon,wed,fri". Days
// are names and ranges of them, which may go over the end of the week (FRI-MON), or DAILY, or WEEKDAYS for MON-FRI.
// Capitals do not matter. The schedule is in its canonical form and was checked.
func Parse(zone string, parts ...string) (Schedule, error) {
	s := Schedule{Zone: zone}
	for i, part := range parts {
		fields := strings.Fields(part)
		if len(fields) != 3 {
			return Schedule{}, fmt.Errorf("entry %d: %.60q: write an action, a time and days, as in \"start 08:00 MON-FRI\"", i+1, part)
		}
		days, err := parseDays(fields[2])
		if err != nil {
			return Schedule{}, fmt.Errorf("entry %d: %w", i+1, err)
		}
		s.Entries = append(s.Entries, Entry{Action: Action(strings.ToLower(fields[0])), At: fields[1], Days: days})
	}
	if err := s.Check(); err != nil {
		return Schedule{}, err
	}
	return s.Normal(), nil
}

func parseDays(text string) ([]string, error) {
	switch strings.ToUpper(text) {
	case "DAILY":
		return slices.Clone(weekdays), nil
	case "WEEKDAYS":
		return slices.Clone(weekdays[:5]), nil
	}
	var days []string
	for part := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		from, ok := weekday(first)
		to, alsoOK := weekday(last)
		if !ok || !alsoOK {
			return nil, fmt.Errorf("days %.20q: write days such as MON,WED, a range such as MON-FRI, DAILY or WEEKDAYS", part)
		}
		for n := from; ; n = (n + 1) % len(weekdays) {
			days = append(days, weekdays[n])
			if n == to {
				break
			}
		}
	}
	return days, nil
}
