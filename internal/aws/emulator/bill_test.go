package emulator_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

type bill struct {
	Total    string
	Complete bool
	Errors   []string
	Accounts []struct {
		Account       string `json:"usage_account_id"`
		Region, Total string
	}
	Workspaces []struct {
		Resource string `json:"resource_id"`
		Total    string
	}
	Lines []billLine
}

type billLine struct {
	ID        string    `json:"line_item_id"`
	Resource  string    `json:"resource_id"`
	UsageType string    `json:"usage_type"`
	Start     time.Time `json:"usage_start"`
	End       time.Time `json:"usage_end"`
	Amount    string    `json:"usage_amount"`
	Unit      string
	Rate      *string           `json:"unblended_rate"`
	Cost      *string           `json:"unblended_cost"`
	Tags      map[string]string `json:"resource_tags"`
	Error     string
}

func (b *bench) bill(query string) bill {
	b.t.Helper()
	var out bill
	b.call(http.MethodGet, "/_emu/bill?"+query, nil, http.StatusOK, &out)
	return out
}

// lived is a WorkSpace's past as the journal has it. Times are in November 2026 unless the month is given:
// "23 14:30" or "2026-12-01 00:00".
type lived struct {
	id      string // default ws-000000001
	region  string // default us-east-1
	created string // default the first span's time
	spans   []string
}

// terms are given as words: a running mode, a compute type, an operating system, volumes (80/50), >ws-… for
// a migration. They stay until others are given.
//
//	"16 00:00 AVAILABLE AUTO_STOP POWER"
func (l lived) line(t *testing.T, seq int) string {
	t.Helper()
	type terms struct {
		RunningMode string `json:"running_mode"`
		BundleID    string `json:"bundle_id"`
		Compute     string `json:"compute"`
		System      string `json:"system"`
		RootGiB     int    `json:"root_gib"`
		UserGiB     int    `json:"user_gib"`
		MigratedTo  string `json:"migrated_to,omitempty"`
	}
	type span struct {
		From      time.Time `json:"t"`
		State     string    `json:"s"`
		Connected bool      `json:"c,omitempty"`
		Waiting   bool      `json:"w,omitempty"`
		Terms     int       `json:"k"`
	}
	is := terms{RunningMode: "AUTO_STOP", Compute: "STANDARD", System: "WINDOWS_SERVER_2022", RootGiB: 80, UserGiB: 50}
	var all []terms
	var spans []span
	for _, text := range l.spans {
		words := strings.Fields(text)
		s := span{From: when(t, words[0]+" "+words[1]), State: words[2]}
		for _, word := range words[3:] {
			switch {
			case word == "connected":
				s.Connected = true
			case word == "waiting":
				s.Waiting = true
			case strings.HasPrefix(word, ">"):
				is.MigratedTo = word[1:]
			case strings.Contains(word, "/"):
				if _, err := fmt.Sscanf(word, "%d/%d", &is.RootGiB, &is.UserGiB); err != nil {
					t.Fatal(err)
				}
			case word == "AUTO_STOP", word == "ALWAYS_ON", word == "MANUAL":
				is.RunningMode = word
			case strings.Contains(word, "_LINUX_"), strings.HasPrefix(word, "WINDOWS_"):
				is.System = word
			default:
				is.Compute = word
			}
		}
		all = append(all, is)
		s.Terms = len(all) - 1
		spans = append(spans, s)
	}
	created := spans[0].From
	if l.created != "" {
		created = when(t, l.created)
	}
	value, err := json.Marshal(map[string]any{
		"seq": seq, "id": l.name(), "region": or(l.region, "us-east-1"), "directory_id": directory, "user": "alice", "computer": "C",
		"created": created, "terms": all, "spans": spans,
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"kind":"history","value":%s}`+"\n", value)
}

func (l lived) name() string { return or(l.id, "ws-000000001") }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func when(t *testing.T, text string) time.Time {
	t.Helper()
	if strings.Count(text, "-") == 0 {
		text = "2026-11-" + text
	}
	at, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// remembering is an emulator at a time that knows these pasts.
func remembering(t *testing.T, now time.Time, pasts []lived, settings ...func(*emulator.Config)) *bench {
	t.Helper()
	text := `{"emulator":"workspaces","version":1,"seq":100}` + "\n"
	for i, l := range pasts {
		text += l.line(t, i+1)
	}
	path := filepath.Join(t.TempDir(), "state")
	writeState(t, path, text)
	return newBench(t, append(settings, stateFile(path), func(c *emulator.Config) {
		c.Now = func() time.Time { return now }
	})...)
}

// summary is the lines of a bill as "amount unit at rate = cost", hours that follow one another as one.
func (l bill) summary() []string {
	type key struct{ unit, rate, usage string }
	var out []string
	hours := map[key]int{}
	var order []key
	for _, line := range l.Lines {
		rate, cost := "no price", "no price"
		if line.Error == "" {
			rate, cost = *line.Rate, *line.Cost
		}
		if line.Unit == "Hour" {
			k := key{line.Unit, rate, line.UsageType}
			if hours[k] == 0 {
				order = append(order, k)
			}
			hours[k]++
			continue
		}
		out = append(out, fmt.Sprintf("%s %s of %s at %s = %s", line.Amount, line.Unit, line.UsageType, rate, cost))
	}
	for _, k := range order {
		out = append(out, fmt.Sprintf("%d %s of %s at %s", hours[k], k.unit, k.usage, k.rate))
	}
	return out
}

const (
	base   = "Month of AW-HW-2-AutoStop-User at 9.75"
	hourly = "Hour of AW-HW-2-AutoStop-Usage at 0.3"
	always = "Month of AW-HW-2 at 35"
)

func ceil(c *emulator.Config)   { c.HourRule = emulator.SessionCeil }
func refund(c *emulator.Config) { c.RefundAtTermination = true }

// November 2026 has 720 hours, October and December 744, February 2027 672, February 2028 696.
func TestTheBillIsWhatIsWorkedOutByHand(t *testing.T) {
	// Runs of a WorkSpace that was made in October, each from one time to another.
	runs := func(times ...string) []string {
		spans := []string{"2026-10-01 00:00 PENDING", "2026-10-01 00:00 STOPPED"}
		for i := 0; i < len(times); i += 2 {
			spans = append(spans, times[i]+" AVAILABLE", times[i+1]+" STOPPING")
		}
		return spans
	}
	for name, c := range map[string]struct {
		lives    []lived
		settings []func(*emulator.Config)
		query    string // default the whole of November
		want     []string
		total    string
	}{
		// Rule 11. Left: 7 days and 9.5 hours = 177.5 h of 720; 35 × 177.5/720 = 8.6284722222…
		"created in the month, AlwaysOn": {
			lives: []lived{{spans: []string{"23 14:30 PENDING ALWAYS_ON", "23 14:45 AVAILABLE"}}},
			want:  []string{"0.2465277778 " + always + " = 8.628472222"}, total: "8.628472222",
		},
		// Rule 12. 9.75 × 360/720 = 4.875; it runs 00:15 to 01:15, two hours of the clock: 0.60.
		"created in the month, AutoStop": {
			lives: []lived{{spans: []string{"16 00:00 PENDING", "16 00:15 AVAILABLE", "16 01:15 STOPPING"}}},
			want:  []string{"0.5 " + base + " = 4.875", "2 " + hourly}, total: "5.475",
		},
		// Rules 1 and 2: a month in which nothing happens.
		"AlwaysOn for long": {
			lives: []lived{{spans: []string{"2026-03-01 00:00 AVAILABLE ALWAYS_ON"}}},
			want:  []string{"1 " + always + " = 35"}, total: "35",
		},
		"AutoStop, stopped for long": {
			lives: []lived{{spans: []string{"2026-03-01 00:00 STOPPED"}}},
			want:  []string{"1 " + base + " = 9.75"}, total: "9.75",
		},
		// Rule 9, on the 11th at 12:00. Before: the base 9.75 and the hours 09, 10 and 11 (0.90). After: 19.5 days = 468 h
		// of 720 = 0.65 of 35 = 22.75. It goes on running and costs no more hours.
		"to AlwaysOn in the month": {
			lives: []lived{{spans: append(runs(), "11 09:30 AVAILABLE", "11 12:00 AVAILABLE ALWAYS_ON", "20 12:00 AVAILABLE ALWAYS_ON")}},
			want:  []string{"1 " + base + " = 9.75", "0.65 " + always + " = 22.75", "3 " + hourly}, total: "33.4",
		},
		// Rule 10: no hours and no base until the month is over, whatever it is switched to meanwhile.
		"to AutoStop in the month": {
			lives: []lived{{spans: []string{
				"2026-03-01 00:00 AVAILABLE ALWAYS_ON", "05 12:00 AVAILABLE AUTO_STOP", "05 13:00 STOPPING", "06 09:00 AVAILABLE", "06 10:30 STOPPING",
				"07 00:00 AVAILABLE ALWAYS_ON", "08 00:00 AVAILABLE AUTO_STOP", "08 01:00 STOPPING",
			}}},
			want: []string{"1 " + always + " = 35"}, total: "35",
		},
		// … and then there are: 9.75, and from 09:00 to 10:30 two hours.
		"the month after": {
			lives: []lived{{spans: []string{
				"2026-03-01 00:00 AVAILABLE ALWAYS_ON", "2026-10-05 12:00 AVAILABLE AUTO_STOP", "2026-10-05 13:00 STOPPING", "06 09:00 AVAILABLE", "06 10:30 STOPPING",
			}}},
			want: []string{"1 " + base + " = 9.75", "2 " + hourly}, total: "10.35",
		},
		// A run that was begun while the month was AlwaysOn is charged from the 1st: 00:00 to 02:30, three hours of
		// either rule.
		"a run out of an AlwaysOn month": {
			lives: []lived{{spans: []string{
				"2026-03-01 00:00 AVAILABLE ALWAYS_ON", "2026-10-31 20:45 AVAILABLE AUTO_STOP connected", "01 02:30 STOPPING",
			}}},
			settings: []func(*emulator.Config){ceil},
			want:     []string{"1 " + base + " = 9.75", "3 " + hourly}, total: "10.65",
		},
		// Rule 7: 09:05–09:20 and 09:40–09:50 are in one hour of the clock, and two sessions.
		"stopped and started within the hour": {
			lives: []lived{{spans: runs("10 09:05", "10 09:20", "10 09:40", "10 09:50")}},
			want:  []string{"1 " + base + " = 9.75", "1 " + hourly}, total: "10.05",
		},
		"stopped and started within the hour, by session": {
			lives: []lived{{spans: runs("10 09:05", "10 09:20", "10 09:40", "10 09:50")}}, settings: []func(*emulator.Config){ceil},
			want: []string{"1 " + base + " = 9.75", "2 " + hourly}, total: "10.35",
		},
		// The end of an hour that is reached exactly begins no other.
		"from nine to ten": {
			lives: []lived{{spans: runs("10 09:00", "10 10:00")}},
			want:  []string{"1 " + base + " = 9.75", "1 " + hourly}, total: "10.05",
		},
		// 09:15–12:14 with an hour's timeout runs until 13:14: the hours 09 to 13, or ⌈3 h 59 min⌉.
		"three hours off the full hour": {
			lives: []lived{{spans: runs("10 09:15", "10 13:14")}},
			want:  []string{"1 " + base + " = 9.75", "5 " + hourly}, total: "11.25",
		},
		"three hours off the full hour, by session": {
			lives: []lived{{spans: runs("10 09:15", "10 13:14")}}, settings: []func(*emulator.Config){ceil},
			want: []string{"1 " + base + " = 9.75", "4 " + hourly}, total: "10.95",
		},
		// Six runs of 65 minutes, 90 apart: 9+10, 10+11, 12+13, 13+14, 15+16, 16+17 = nine hours of the clock, 6 × 2 by session.
		"six looks": {
			lives: []lived{{spans: runs("10 09:00", "10 10:05", "10 10:30", "10 11:35", "10 12:00", "10 13:05", "10 13:30", "10 14:35", "10 15:00", "10 16:05", "10 16:30", "10 17:35")}},
			want:  []string{"1 " + base + " = 9.75", "9 " + hourly}, total: "12.45",
		},
		"six looks, by session": {
			lives:    []lived{{spans: runs("10 09:00", "10 10:05", "10 10:30", "10 11:35", "10 12:00", "10 13:05", "10 13:30", "10 14:35", "10 15:00", "10 16:05", "10 16:30", "10 17:35")}},
			settings: []func(*emulator.Config){ceil},
			want:     []string{"1 " + base + " = 9.75", "12 " + hourly}, total: "13.35",
		},
		// Rule 5, and a reboot does not end a run: 09:30 to 11:30 is three hours of the clock, two by session.
		"maintenance and a reboot": {
			lives: []lived{{spans: append(runs(), "10 09:30 MAINTENANCE", "10 10:00 AVAILABLE", "10 10:59 REBOOTING", "10 11:03 AVAILABLE", "10 11:30 STOPPING", "10 11:33 STOPPED")}},
			want:  []string{"1 " + base + " = 9.75", "3 " + hourly}, total: "10.65",
		},
		"a reboot, by session": {
			lives:    []lived{{spans: append(runs(), "10 09:30 MAINTENANCE", "10 10:00 AVAILABLE", "10 10:59 REBOOTING", "10 11:03 AVAILABLE", "10 11:30 STOPPING", "10 11:33 STOPPED")}},
			settings: []func(*emulator.Config){ceil},
			want:     []string{"1 " + base + " = 9.75", "2 " + hourly}, total: "10.35",
		},
		// A run over the month's end, 22:10 to 01:05: October has 22 and 23, November 00 and 01.
		"over the month's end, before": {
			lives: []lived{{spans: runs("2026-10-31 22:10", "01 01:05")}}, query: "month=2026-10",
			want: []string{"1 " + base + " = 9.75", "2 " + hourly}, total: "10.35",
		},
		"over the month's end, after": {
			lives: []lived{{spans: runs("2026-10-31 22:10", "01 01:05")}},
			want:  []string{"1 " + base + " = 9.75", "2 " + hourly}, total: "10.35",
		},
		// By session its hours begin at 22:10, 23:10 and 00:10.
		"over the month's end, before, by session": {
			lives: []lived{{spans: runs("2026-10-31 22:10", "01 01:05")}}, query: "month=2026-10", settings: []func(*emulator.Config){ceil},
			want: []string{"1 " + base + " = 9.75", "2 " + hourly}, total: "10.35",
		},
		"over the month's end, after, by session": {
			lives: []lived{{spans: runs("2026-10-31 22:10", "01 01:05")}}, settings: []func(*emulator.Config){ceil},
			want: []string{"1 " + base + " = 9.75", "1 " + hourly}, total: "10.05",
		},
		// 15 of 29 days: 35 × 360/696 = 18.1034482758…; in a year without a 29th, 14 of 28: 17.5.
		"a leap February": {
			lives: []lived{{spans: []string{"2028-02-15 00:00 PENDING ALWAYS_ON", "2028-02-15 00:20 AVAILABLE"}}}, query: "month=2028-02",
			want: []string{"0.5172413793 " + always + " = 18.103448276"}, total: "18.103448276",
		},
		"another February": {
			lives: []lived{{spans: []string{"2027-02-15 00:00 PENDING ALWAYS_ON", "2027-02-15 00:20 AVAILABLE"}}}, query: "month=2027-02",
			want: []string{"0.5 " + always + " = 17.5"}, total: "17.5",
		},
		// Rule 13: on the 16th at 00:00 half of the month is left.
		"terminated in the month": {
			lives: []lived{{spans: []string{"2026-03-01 00:00 AVAILABLE ALWAYS_ON", "16 00:00 TERMINATING", "16 00:05 TERMINATED", "16 00:06 ABSENT"}}},
			want:  []string{"1 " + always + " = 35"}, total: "35",
		},
		"terminated in the month, given back": {
			lives:    []lived{{spans: []string{"2026-03-01 00:00 AVAILABLE ALWAYS_ON", "16 00:00 TERMINATING", "16 00:05 TERMINATED", "16 00:06 ABSENT"}}},
			settings: []func(*emulator.Config){refund},
			want:     []string{"0.5 " + always + " = 17.5"}, total: "17.5",
		},
		"terminated before the month": {
			lives: []lived{{spans: []string{"2026-03-01 00:00 AVAILABLE ALWAYS_ON", "2026-10-31 23:58 TERMINATING", "01 00:03 TERMINATED", "01 00:04 ABSENT"}}},
			total: "0",
		},
		// Created and terminated: 9.75 × 480/720 = 6.5 from the 11th on, no refund.
		"created and terminated in the month": {
			lives: []lived{{spans: []string{"11 00:00 PENDING", "11 00:15 AVAILABLE", "11 00:45 TERMINATING", "11 00:50 ABSENT"}}},
			want:  []string{"0.6666666667 " + base + " = 6.5", "1 " + hourly}, total: "6.8",
		},
		// Rule 14: both for their part, 35 × 1/3 = 11.6666666666… and 78 × 2/3 = 52.
		"migrated in the month": {
			lives: []lived{
				{spans: []string{"2026-03-01 00:00 AVAILABLE ALWAYS_ON", "11 00:00 TERMINATING >ws-000000002", "11 00:05 ABSENT"}},
				{id: "ws-000000002", spans: []string{"11 00:00 PENDING ALWAYS_ON POWER 175/100", "11 00:45 AVAILABLE"}},
			},
			want:  []string{"0.3333333333 " + always + " = 11.666666667", "0.6666666667 Month of AW-HW-4 at 78 = 52"},
			total: "63.666666667",
		},
		// Rule 17, on the 16th at 09:30: 369.5 h of STANDARD and 350.5 of PERFORMANCE, whose bundle has 100 GiB for the
		// user: 9.75 × 369.5/720 = 5.0036458333…, 13 × 350.5/720 = 6.3284722222… The hour 09 began as STANDARD.
		"another compute type in the month": {
			lives: []lived{{spans: append(runs(), "16 09:00 AVAILABLE", "16 09:30 AVAILABLE PERFORMANCE 80/100", "16 11:00 STOPPING")}},
			want: []string{
				"0.5131944444 " + base + " = 5.003645833", "0.4868055556 Month of AW-HW-3-AutoStop-User at 13 = 6.328472222",
				"1 " + hourly, "1 Hour of AW-HW-3-AutoStop-Usage at 0.47",
			},
			total: "12.102118055",
		},
		// Rule 15: for volumes that have no price there is no fee, but the hour costs what it always does.
		"volumes without a price": {
			lives: []lived{{spans: append(runs(), "2026-10-15 00:00 STOPPED 175/100", "10 09:00 AVAILABLE", "10 09:30 STOPPING")}},
			want:  []string{"1 Month of AW-HW-2-AutoStop-User at no price = no price", "1 " + hourly}, total: "0.3",
		},
		// Rule 19.
		"Linux has no price here": {
			lives: []lived{{spans: []string{"2026-03-01 00:00 AVAILABLE ALWAYS_ON AMAZON_LINUX_2"}}},
			want:  []string{"1 Month of AW-HW-2 at no price = no price"}, total: "0",
		},
		"nor has one's own licence": {
			lives: []lived{{spans: []string{"2026-03-01 00:00 AVAILABLE ALWAYS_ON WINDOWS_11"}}},
			want:  []string{"1 Month of AW-HWB-2 at no price = no price"}, total: "0",
		},
		"nor a manual one": {
			lives: []lived{{spans: []string{"2026-03-01 00:00 STOPPED MANUAL"}}},
			want:  []string{"1 Month of AW-HW-2-AutoStop-User at no price = no price"}, total: "0",
		},
		"another Region": {
			lives: []lived{{region: "eu-west-1", spans: []string{"2026-03-01 00:00 AVAILABLE ALWAYS_ON"}}},
			want:  []string{"1 Month of EU-AW-HW-2 at 37 = 37"}, total: "37",
		},
		"never available": {
			lives: []lived{{spans: []string{"10 00:00 PENDING ALWAYS_ON", "10 00:30 ERROR", "10 02:00 TERMINATING", "10 02:05 ABSENT"}}},
			total: "0",
		},
		// As it stood on the 10th at 10:30: the fee is due at once, the switch of the 11th is not known, and of the run
		// that goes on until 12:00 there are two hours.
		"as it stood": {
			lives: []lived{{spans: append(runs(), "10 09:00 AVAILABLE", "10 12:00 STOPPING", "11 00:00 STARTING ALWAYS_ON", "11 00:01 AVAILABLE")}},
			query: "month=2026-11&to=2026-11-10T10:30:00Z",
			want:  []string{"1 " + base + " = 9.75", "2 " + hourly}, total: "10.35",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := remembering(t, time.Date(2028, time.March, 1, 0, 0, 0, 0, time.UTC), c.lives, c.settings...)
			if !strings.Contains(c.query, "2028") && !strings.Contains(c.query, "2027") {
				b = remembering(t, time.Date(2026, time.December, 15, 0, 0, 0, 0, time.UTC), c.lives, c.settings...)
			}
			got := b.bill(or(c.query, "month=2026-11"))
			if diff := cmp.Diff(c.want, got.summary()); diff != "" {
				t.Error(diff)
			}
			if got.Total != c.total {
				t.Errorf("total %s, want %s", got.Total, c.total)
			}
			unpriced := strings.Contains(strings.Join(got.summary(), "\n"), "no price")
			if got.Complete == unpriced || unpriced != (len(got.Errors) > 0) {
				t.Errorf("complete is %v with the errors %q", got.Complete, got.Errors)
			}
		})
	}
}

// Rule 4, as it really comes about: connected from 09:00:00 for 2 h 59 min with a timeout of an hour, it stops at
// 12:59:00, though stopping takes minutes more; ⌈3 h 59 min⌉ = 4 hours, 09 to 12. Nobody asks until the next day.
func TestTheMeterStopsWhenTheTimeoutDoes(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice"))
	b.clock.set(time.Date(2026, time.March, 3, 9, 0, 0, 0, time.UTC).Add(-5 * time.Minute))
	b.wantState(id, "STOPPED")
	b.act(id, "start")
	b.clock.set(b.admin(id).NextAt)
	b.act(id, "connect")
	opened := b.clock.Now()
	b.clock.set(time.Date(2026, time.March, 3, 11, 59, 0, 0, time.UTC))
	b.act(id, "disconnect")
	b.clock.advance(20 * time.Hour)

	var hours []string
	for _, l := range b.bill("month=2026-03").Lines {
		if l.Unit == "Hour" && l.Start.Day() == 3 {
			hours = append(hours, l.Start.Format("15"))
		}
	}
	want := []string{opened.Format("15"), "09", "10", "11", "12"}
	if diff := cmp.Diff(want, hours); diff != "" {
		t.Errorf("available at %v: %s", opened, diff)
	}
	intervals := b.history(id).Intervals
	last := intervals[len(intervals)-1]
	stopping := intervals[len(intervals)-2]
	if stopping.State != "STOPPING" || stopping.From.Format("15:04:05") != "12:59:00" || last.State != "STOPPED" {
		t.Errorf("ends with %+v, %+v", stopping, last)
	}
}

func TestTheBillOutlivesTheWorkSpaceAndTheEmulator(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	id := b.available(request("alice", func(r *types.WorkspaceRequest) { r.Tags = []types.Tag{tag("team", "a")} }))
	if _, err := b.client().CreateTags(t.Context(), &workspaces.CreateTagsInput{ResourceId: &id, Tags: []types.Tag{tag("team", "b")}}); err != nil {
		t.Fatal(err)
	}
	b.act(id, "connect")
	b.clock.advance(90 * time.Minute)
	b.terminate(id)
	b.clock.advance(time.Hour)
	want := b.bill("month=2026-03")
	if len(want.Lines) < 2 || want.Lines[0].Tags["team"] != "b" || want.Lines[1].Tags["team"] != "b" || len(want.Accounts) != 1 {
		t.Fatalf("%+v", want)
	}
	history := b.history(id)
	b.emu.Crash()

	for range 2 { // from the journal, and from its short form
		again := newBench(t, stateFile(path))
		again.clock.set(b.clock.Now())
		again.one(request("alice")) // the old one is forgotten over this
		got := again.bill("month=2026-03")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(history, again.history(id)); diff != "" {
			t.Error(diff)
		}
		again.terminate(again.adminAll()[0].ID)
		again.emu.Crash()
		b.clock.advance(time.Hour)
	}
}

func TestPricesCanBeSetAndAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	text := `{"emulator":"workspaces","version":1,"seq":100}` + "\n" +
		lived{spans: []string{"16 00:00 PENDING AMAZON_LINUX_2 175/110", "16 00:00 STOPPED"}}.line(t, 1)
	writeState(t, path, text)
	at := func(c *emulator.Config) {
		c.Now = func() time.Time { return time.Date(2026, time.December, 2, 0, 0, 0, 0, time.UTC) }
	}
	b := newBench(t, stateFile(path), at)
	row := map[string]any{
		"region": "us-east-1", "compute_type": "STANDARD", "operating_system": "Amazon Linux", "license": "None",
		"root_gib": 80, "user_gib": 50, "auto_stop_month": "4.000000001", "root_gib_month": 0.1, "user_gib_month": "0.05",
	}
	b.call(http.MethodPut, "/_emu/prices", map[string]any{"prices": []any{row}}, http.StatusOK, nil)
	b.emu.Crash()
	b = newBench(t, stateFile(path), at)
	// Rule 16: 4.000000001 + 95 × 0.1 + 60 × 0.05 = 16.500000001; half of it is 8.2500000005, which goes up.
	got := b.bill("month=2026-11")
	want := []string{"0.5 Month of AW-HW-2-AutoStop-User at 16.500000001 = 8.250000001"}
	if diff := cmp.Diff(want, got.summary()); diff != "" || !got.Complete {
		t.Error(diff, got.Errors)
	}
	var book struct{ Prices []map[string]any }
	b.call(http.MethodGet, "/_emu/prices", nil, http.StatusOK, &book)
	if len(book.Prices) != 1 || book.Prices[0]["auto_stop_month"] != "4.000000001" {
		t.Errorf("%+v", book)
	}

	for name, change := range map[string]map[string]any{
		"negative":           {"auto_stop_month": "-1"},
		"too fine":           {"auto_stop_month": "0.0000000001"},
		"an exponent":        {"auto_stop_month": 1e-7},
		"no amount":          {"auto_stop_month": ""},
		"too much":           {"auto_stop_month": "10000.01"},
		"no region":          {"region": ""},
		"volumes":            {"root_gib": 0},
		"an unknown member":  {"always_on": "1"},
		"a GiB for a castle": {"root_gib_month": "11"},
	} {
		bad := map[string]any{}
		for k, v := range row {
			bad[k] = v
		}
		for k, v := range change {
			bad[k] = v
		}
		b.call(http.MethodPut, "/_emu/prices", map[string]any{"prices": []any{bad}}, http.StatusBadRequest, nil)
		if after := b.bill("month=2026-11"); after.Total != got.Total {
			t.Errorf("%s: refused, but the bill is now %s", name, after.Total)
		}
	}
	b.call(http.MethodPut, "/_emu/prices", map[string]any{"prices": []any{row, row}}, http.StatusBadRequest, nil)
	b.call(http.MethodPut, "/_emu/prices", map[string]any{}, http.StatusBadRequest, nil)
}

func TestABillThatCannotBeMadeIsRefused(t *testing.T) {
	b := newBench(t) // 2 March 2026, 09:00
	for _, query := range []string{
		"", "month=2026-13", "month=March", "month=2026-04", "month=2024-03", "month=2026-03&to=yesterday",
		"month=2026-03&to=2026-03-02T09:00:01Z", "month=2026-03&to=2026-03-01T00:00:00Z", "month=2026-02&to=2026-03-01T00:00:01Z",
		"month=2026-03&format=xml", "month=2026-03&form=csv",
	} {
		b.call(http.MethodGet, "/_emu/bill?"+query, nil, http.StatusBadRequest, nil)
	}
	if got := b.bill("month=2026-03&to=2026-03-02T09:00:00Z"); got.Total != "0" || !got.Complete {
		t.Errorf("%+v", got)
	}
	if _, err := emulator.New(emulator.Config{HourRule: "moon_phase"}); err == nil {
		t.Error("an unknown hour rule is taken")
	}
}

func TestTheBillAsACostAndUsageReport(t *testing.T) {
	b := remembering(t, time.Date(2026, time.December, 15, 0, 0, 0, 0, time.UTC), []lived{
		{spans: []string{"2026-03-01 00:00 STOPPED", "10 09:00 AVAILABLE", "10 10:00 STOPPING"}},
		{id: "ws-000000002", spans: []string{"2026-03-01 00:00 AVAILABLE ALWAYS_ON AMAZON_LINUX_2"}},
	})
	res, err := b.server.Client().Get(b.server.URL + "/_emu/bill?month=2026-11&format=csv")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, row := range rows[1:] {
		ids[row[0]] = true
		row[0] = "id"
	}
	if len(ids) != 3 || rows[0][0] != "line_item_id" {
		t.Errorf("%q: %v", rows[0], ids)
	}
	const arn = "arn:aws:workspaces:us-east-1:123456789012:workspace/ws-00000000"
	month := []string{"2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"}
	want := [][]string{
		{"id", "123456789012", "AmazonWorkSpaces", "us-east-1", arn + "1", "AW-HW-2-AutoStop-User", "AutoStop", month[0], month[1], "1", "Month", "9.75", "9.75", "$9.75/month-Hourly, STANDARD, Windows, license Included, Root:80 GB,User:50 GB", "{}", ""},
		{"id", "123456789012", "AmazonWorkSpaces", "us-east-1", arn + "1", "AW-HW-2-AutoStop-Usage", "AutoStop", "2026-11-10T09:00:00Z", "2026-11-10T10:00:00Z", "1", "Hour", "0.3", "0.3", "$0.3/hour-Hourly, STANDARD, Windows, license Included, Root:80 GB,User:50 GB", "{}", ""},
		{"id", "123456789012", "AmazonWorkSpaces", "us-east-1", arn + "2", "AW-HW-2", "AlwaysOn", month[0], month[1], "1", "Month", "no price", "no price", "no price/month-Monthly, STANDARD, Amazon Linux, license None, Root:80 GB,User:50 GB", "{}", "no price"},
	}
	if diff := cmp.Diff(want, rows[1:]); diff != "" {
		t.Error(diff)
	}
	// A bill that is made again names its lines alike, so that whoever reads it can put them over the old ones.
	early, late := b.bill("month=2026-11&to=2026-11-10T09:30:00Z"), b.bill("month=2026-11")
	for i, line := range early.Lines {
		if line.ID != late.Lines[i].ID {
			t.Errorf("line %d was %s and is %s", i, line.ID, late.Lines[i].ID)
		}
	}
}

// What is created and switched over Amazon's own API, on the real path: AutoStop from 2 March, AlwaysOn from
// the 16th at 00:00; half of March's 744 hours is left then, less half a day: 35 × 384/744 = 18.0645161290…
func TestASwitchOverTheAPIIsBilled(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice"))
	b.clock.set(time.Date(2026, time.March, 16, 0, 0, 0, 0, time.UTC))
	if _, err := b.client().ModifyWorkspaceProperties(t.Context(), &workspaces.ModifyWorkspacePropertiesInput{
		WorkspaceId:         aws.String(id),
		WorkspaceProperties: &types.WorkspaceProperties{RunningMode: types.RunningModeAlwaysOn},
	}); err != nil {
		t.Fatal(err)
	}
	b.clock.set(time.Date(2026, time.April, 1, 12, 0, 0, 0, time.UTC))
	// Base: from 2 March 09:00, 711 of 744 hours: 9.75 × 711/744 = 9.3175403225…; two hours, for it ran for one from
	// some minutes past nine.
	want := []string{"0.9556451613 " + base + " = 9.317540323", "0.5161290323 " + always + " = 18.064516129", "2 " + hourly}
	if diff := cmp.Diff(want, b.bill("month=2026-03").summary()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"1 " + always + " = 35"}, b.bill("month=2026-04").summary()); diff != "" {
		t.Error(diff)
	}
}

// Rule 5 on the real path: nobody touches it, and Amazon's monthly maintenance is on the bill all the same.
func TestMaintenanceIsBilled(t *testing.T) {
	b := newBench(t, maintained)
	id := b.available(request("alice"))
	b.clock.set(time.Date(2026, time.April, 2, 0, 0, 0, 0, time.UTC)) // March's is from the 16th to the 30th
	want := map[time.Time]bool{}
	for _, i := range b.history(id).Intervals {
		if i.State == "MAINTENANCE" {
			for hour := i.From.Truncate(time.Hour); hour.Before(i.To); hour = hour.Add(time.Hour) {
				want[hour] = true
			}
		}
	}
	got := map[time.Time]bool{}
	for _, l := range b.bill("month=2026-03").Lines {
		if l.Unit == "Hour" && l.Start.Day() > 2 { // on the day of its creation it ran by itself
			got[l.Start] = true
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
		t.Error(want, diff)
	}
}

// Rule 14 on the real path. March has 744 hours; what is not prorated to the source's end comes to more than 35.
func TestAMigrationIsBilledOnBothSides(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", alwaysOn))
	b.clock.set(time.Date(2026, time.March, 16, 0, 0, 0, 0, time.UTC))
	target, code := b.migrate(id, power)
	wantCode(t, "migrate", code, "")
	b.pass(target, "AVAILABLE")
	ended := b.clock.Now()
	b.clock.set(time.Date(2026, time.April, 2, 0, 0, 0, 0, time.UTC))
	got := b.bill("month=2026-03")
	if len(got.Lines) != 2 || !got.Lines[0].End.Equal(ended) || !strings.HasSuffix(got.Lines[0].Resource, id) {
		t.Fatalf("ended %v: %+v", ended, got.Lines)
	}
	// 78 × 384/744 = 40.2580645161…
	if l := got.Lines[1]; !strings.HasSuffix(l.Resource, target) || *l.Cost != "40.258064516" {
		t.Errorf("%+v %s", l, *l.Cost)
	}
	if diff := cmp.Diff([]string{"1 Month of AW-HW-4 at 78 = 78"}, b.bill("month=2026-04").summary()); diff != "" {
		t.Error(diff)
	}
}

func TestAccountsHaveTheirOwnBillAndMetrics(t *testing.T) {
	const theirs = "d-96670a1b2c"
	b := newBench(t, func(c *emulator.Config) {
		c.Directories = append(c.Directories, emulator.Directory{ID: theirs, Region: "eu-west-1", Account: otherAccount, Users: []string{"alice"}})
	})
	ours := b.available(request("alice", alwaysOn))
	if _, err := b.client(inRegion("eu-west-1"), withKey(otherAccount)).CreateWorkspaces(t.Context(), &workspaces.CreateWorkspacesInput{
		Workspaces: []types.WorkspaceRequest{request("alice", alwaysOn, func(r *types.WorkspaceRequest) { r.DirectoryId = aws.String(theirs) })},
	}); err != nil {
		t.Fatal(err)
	}
	b.clock.set(time.Date(2026, time.April, 2, 0, 0, 0, 0, time.UTC))
	got := b.bill("month=2026-04")
	if len(got.Lines) != 2 || len(got.Accounts) != 2 || got.Total != "72" {
		t.Fatalf("%+v", got)
	}
	// Sorted by place: the default account has none in its name, and a digit comes before a letter.
	if a := got.Accounts; a[0].Account != otherAccount || a[0].Region != "eu-west-1" || a[0].Total != "37" || a[1].Region != "us-east-1" || a[1].Total != "35" {
		t.Errorf("%+v", a)
	}
	for _, l := range got.Lines {
		if theirs := strings.HasPrefix(l.Resource, "arn:aws:workspaces:eu-west-1:"+otherAccount+":workspace/ws-"); theirs == strings.HasSuffix(l.Resource, ours) {
			t.Errorf("%+v", l)
		}
	}
	out, err := b.metrics("eu-west-1").ListMetrics(t.Context(), &cloudwatch.ListMetricsInput{})
	if err != nil || len(out.Metrics) != 0 {
		t.Errorf("%v: we see the metrics of others: %+v", err, out)
	}
}
