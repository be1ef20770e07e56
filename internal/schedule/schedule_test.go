package schedule_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/robco-forge/forge/internal/schedule"
)

// with is a schedule of one zone with the entries as Parse reads them.
func with(t *testing.T, zone string, parts ...string) schedule.Schedule {
	t.Helper()
	s, err := schedule.Parse(zone, parts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	ok := schedule.Entry{Action: schedule.Start, At: "08:00", Days: []string{"MON"}}
	full := make([]schedule.Entry, schedule.MaxEntries)
	for i := range full {
		full[i] = schedule.Entry{Action: schedule.Stop, At: time.Unix(int64(i)*60, 0).UTC().Format("15:04"), Days: []string{"SUN"}}
	}
	for _, c := range []struct {
		name, zone string
		entries    []schedule.Entry
		want       string // a part of the error; none: it is fine
	}{
		{"plain", "Europe/Berlin", []schedule.Entry{ok}, ""},
		{"UTC", "UTC", []schedule.Entry{ok}, ""},
		{"a zone without changes", "Etc/GMT+5", []schedule.Entry{ok}, ""},
		{"three levels", "America/Argentina/Buenos_Aires", []schedule.Entry{ok}, ""},
		{"as many entries as there may be", "UTC", full, ""},
		{"small letters", "UTC", []schedule.Entry{{Action: "start", At: "00:00", Days: []string{"mon", "Sun"}}}, ""},
		{"the last minute", "UTC", []schedule.Entry{{Action: "stop", At: "23:59", Days: []string{"MON"}}}, ""},
		{"same time, other day", "UTC", []schedule.Entry{ok, {Action: "stop", At: "08:00", Days: []string{"TUE"}}}, ""},

		{"no zone", "", []schedule.Entry{ok}, "timezone: write a name"},
		{"the server's zone", "Local", []schedule.Entry{ok}, "timezone: write a name"},
		{"an offset", "+02:00", []schedule.Entry{ok}, "timezone: write a name"},
		{"an offset from UTC", "UTC+2", []schedule.Entry{ok}, `timezone "UTC+2" is not known`},
		{"an abbreviation", "EST", []schedule.Entry{ok}, "timezone: write a name"},
		{"no such city", "Europe/Atlantis", []schedule.Entry{ok}, `timezone "Europe/Atlantis" is not known`},
		{"half a name", "Europe", []schedule.Entry{ok}, `timezone "Europe" is not known`},
		{"a path", "../../etc/passwd", []schedule.Entry{ok}, "timezone: write a name"},
		{"a path of the machine", "/etc/localtime", []schedule.Entry{ok}, "timezone: write a name"},
		{"leap seconds", "right/Europe/Berlin", []schedule.Entry{ok}, "timezone: write a name"},
		{"an endless name", "Europe/" + strings.Repeat("x", 1<<20), []schedule.Entry{ok}, "timezone: write a name"},

		{"no entries", "UTC", nil, "entries: there are 0; a schedule has 1 to 28"},
		{"too many entries", "UTC", slices.Concat(full, []schedule.Entry{ok}), "entries: there are 29; a schedule has 1 to 28"},
		{"unknown action", "UTC", []schedule.Entry{ok, {Action: "reboot", At: "09:00", Days: []string{"MON"}}}, `entry 2: action "reboot": write start or stop`},
		{"midnight at the end", "UTC", []schedule.Entry{{Action: "stop", At: "24:00", Days: []string{"MON"}}}, `entry 1: time "24:00": write HH:MM from 00:00 to 23:59`},
		{"one digit", "UTC", []schedule.Entry{{Action: "stop", At: "8:00", Days: []string{"MON"}}}, `entry 1: time "8:00"`},
		{"one digit and a space", "UTC", []schedule.Entry{{Action: "stop", At: "8:00 ", Days: []string{"MON"}}}, `entry 1: time "8:00 "`},
		{"minute sixty", "UTC", []schedule.Entry{{Action: "stop", At: "08:60", Days: []string{"MON"}}}, `entry 1: time "08:60"`},
		{"no time", "UTC", []schedule.Entry{{Action: "stop", Days: []string{"MON"}}}, `entry 1: time ""`},
		{"no days", "UTC", []schedule.Entry{{Action: "stop", At: "08:00"}}, "entry 1: no days: name at least one of MON, TUE"},
		{"no such day", "UTC", []schedule.Entry{{Action: "stop", At: "08:00", Days: []string{"MONDAY"}}}, `entry 1: day "MONDAY": write one of MON`},
		{"a letter that folds into another", "UTC", []schedule.Entry{{Action: "stop", At: "08:00", Days: []string{"ſun"}}}, `entry 1: day "ſun"`},
		{"a day twice", "UTC", []schedule.Entry{{Action: "stop", At: "08:00", Days: []string{"MON", "mon"}}}, "entry 1: day MON is there twice"},
		{"two at once", "UTC", []schedule.Entry{ok, {Action: "stop", At: "08:00", Days: []string{"TUE", "mon"}}}, "entry 2: entry 1 is at 08:00 on MON, too"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := schedule.Schedule{Zone: c.zone, Entries: c.entries}
			err := s.Check()
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 200 {
				t.Errorf("Check() = %.300v, want %q", err, c.want)
			}
			if o, found := s.Next(time.Unix(0, 0)); found {
				t.Errorf("Next() = %+v for a schedule that is refused", o)
			}
			if o, found := s.Last(time.Unix(1e9, 0), time.Unix(0, 0)); found {
				t.Errorf("Last() = %+v for a schedule that is refused", o)
			}
			if list := s.Simulate(time.Unix(0, 0), time.Unix(1e9, 0)); list != nil {
				t.Errorf("Simulate() = %+v for a schedule that is refused", list)
			}
		})
	}
}

func TestNormalIsOneForm(t *testing.T) {
	const given = `{"timezone":"Europe/Berlin","entries":[
		{"action":"stop","at":"18:30","days":["fri","Mon"]},
		{"action":"start","at":"08:00","days":["TUE"]},
		{"action":"start","at":"08:00","days":["SUN","MON"]}]}`
	const want = `{"timezone":"Europe/Berlin","entries":[` +
		`{"action":"start","at":"08:00","days":["MON","SUN"]},` +
		`{"action":"start","at":"08:00","days":["TUE"]},` +
		`{"action":"stop","at":"18:30","days":["MON","FRI"]}]}`
	var s schedule.Schedule
	if err := json.Unmarshal([]byte(given), &s); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(s.Normal())
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if s.Entries[0].Days[0] != "fri" {
		t.Error("Normal changed the schedule it was asked of")
	}
}

func TestParseReadsWhatAPersonWrites(t *testing.T) {
	for _, c := range []struct {
		parts []string
		want  string // String of it, or a part of the error
		ok    bool
	}{
		{[]string{"stop 18:30 MON-FRI", "start 08:00 MON-FRI"}, "start 08:00 MON-FRI, stop 18:30 MON-FRI (Europe/Berlin)", true},
		{[]string{"stop 18:30 mon,wed,fri"}, "stop 18:30 MON,WED,FRI (Europe/Berlin)", true},
		{[]string{"  STOP  18:30\tweekdays "}, "stop 18:30 MON-FRI (Europe/Berlin)", true},
		{[]string{"stop 18:30 daily"}, "stop 18:30 DAILY (Europe/Berlin)", true},
		{[]string{"stop 18:30 MON-SUN"}, "stop 18:30 DAILY (Europe/Berlin)", true},
		{[]string{"stop 18:30 FRI-MON"}, "stop 18:30 MON,FRI-SUN (Europe/Berlin)", true},
		{[]string{"stop 18:30 tue-tue"}, "stop 18:30 TUE (Europe/Berlin)", true},
		{[]string{"stop 18:30 SAT-SUN"}, "stop 18:30 SAT,SUN (Europe/Berlin)", true},
		{[]string{"stop 18:30 MON-WED,SAT"}, "stop 18:30 MON-WED,SAT (Europe/Berlin)", true},
		{[]string{"start 08:00 SAT", "start 08:00 MON"}, "start 08:00 MON, start 08:00 SAT (Europe/Berlin)", true},

		{nil, "entries: there are 0", false},
		{[]string{""}, `entry 1: "": write an action, a time and days, as in "start 08:00 MON-FRI"`, false},
		{[]string{"start 08:00 MON", "stop 18:30 MON, TUE"}, "entry 2: \"stop 18:30 MON, TUE\": write an action", false},
		{[]string{"stop 18:30 MON,"}, `entry 1: days "": write days such as`, false},
		{[]string{"stop 18:30 MON-"}, `entry 1: days "MON-"`, false},
		{[]string{"stop 18:30 MON-TUE-WED"}, `entry 1: days "MON-TUE-WED"`, false},
		{[]string{"stop 18:30 DAILY,MON"}, `entry 1: days "DAILY"`, false},
		{[]string{"stop 18:30 MON-WED,TUE"}, "entry 1: day TUE is there twice", false},
		{[]string{"halt 18:30 MON"}, `entry 1: action "halt"`, false},
		{[]string{"stop 6pm MON"}, `entry 1: time "6pm"`, false},
	} {
		s, err := schedule.Parse("Europe/Berlin", c.parts...)
		if c.ok {
			if err != nil || s.String() != c.want {
				t.Errorf("%q = %s, %v; want %s", c.parts, s, err, c.want)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %s", c.parts, err, c.want)
		}
	}
	if got := (schedule.Schedule{Zone: "UTC"}).String(); got != "nothing (UTC)" {
		t.Errorf("a schedule without entries is %q", got)
	}
}

// parsed reads what String wrote.
func parsed(s schedule.Schedule) (schedule.Schedule, error) {
	text := strings.TrimSuffix(s.String(), " ("+s.Zone+")")
	return schedule.Parse(s.Zone, strings.Split(text, ", ")...)
}

func TestParseReadsWhatStringWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySchedule(t, "Europe/Berlin")
		back, err := parsed(s)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if diff := cmp.Diff(s.Normal(), back); diff != "" {
			t.Fatal(diff)
		}
	})
}

// FuzzCheck feeds a schedule as it comes over the wire to everything that may be asked of it.
func FuzzCheck(f *testing.F) {
	f.Add([]byte(`{"timezone":"Europe/Berlin","entries":[{"action":"start","at":"08:00","days":["MON","fri"]}]}`), int64(0))
	f.Add([]byte(`{"timezone":"Pacific/Apia","entries":[{"action":"stop","at":"23:59","days":["SUN"]},{"action":"stop","at":"","days":null}]}`), int64(1325203200))
	f.Add([]byte(`{"entries":[{"days":["ſun","MON","MON"]}]}`), int64(-1))
	f.Fuzz(func(t *testing.T, wire []byte, unix int64) {
		var s schedule.Schedule
		if json.Unmarshal(wire, &s) != nil {
			return
		}
		err := s.Check()
		normal := s.Normal()
		if again := normal.Normal(); !reflect.DeepEqual(normal, again) {
			t.Fatalf("%+v becomes %+v", normal, again)
		}
		if also := normal.Check(); (err == nil) != (also == nil) {
			t.Fatalf("%+v: %v; in its canonical form: %v", s, err, also)
		}
		if err != nil {
			if s.String() == "" || len(err.Error()) > 400 {
				t.Fatalf("%q: %.500v", s.String(), err)
			}
			return
		}
		if back, err := parsed(s); err != nil || !reflect.DeepEqual(back, normal) {
			t.Fatalf("%s is read as %s, %v", s, back, err)
		}
		at := time.Unix(unix%(1<<34), 0) // within 500 years of 1970
		next, ok := s.Next(at)
		if !ok || !next.At.After(at) || next.At.After(at.Add(10*24*time.Hour)) {
			t.Fatalf("%s: after %s comes %+v, %v", s, at, next, ok)
		}
		if last, ok := s.Last(next.At, at); !ok || last != next {
			t.Fatalf("%s: last %+v, next %+v", s, last, next)
		}
	})
}
