package cli

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/client"
)

func usdJSON(amount string) string { return `{"amount":"` + amount + `","currency":"USD"}` }

func groupJSON(key, name, total string, periods ...string) string {
	text := `{"key":"` + key + `","name":"` + name + `","compute":` + usdJSON(total) + `,"storage":` + usdJSON("0.000000") + `,"transfer":` + usdJSON("0.000000") +
		`,"settled":` + usdJSON(total) + `,"open":` + usdJSON("0.000000") + `,"total":` + usdJSON(total)
	if len(periods) > 0 {
		var all []string
		for _, p := range periods {
			all = append(all, `{"from":"2026-11-01T00:00:00Z","to":"2026-11-02T00:00:00Z","open":`+usdJSON("0.000000")+`,"total":`+usdJSON(p)+`}`)
		}
		text += `,"periods":[` + strings.Join(all, ",") + `]`
	}
	return text + `}`
}

func summaryJSON(granularity string, groups ...string) string {
	return `{"from":"2026-11-01T00:00:00Z","to":"2026-12-01T00:00:00Z","as_of":"2026-11-05T00:00:00Z","group_by":"team","granularity":"` + granularity + `","time_zone":"UTC","total":` +
		usdJSON("12.500000") + `,"items":[` + strings.Join(groups, ",") + `]}`
}

// What people see of a cost: how much of the dearest it is, and how it goes by day.
func TestCostsAreDrawnForPeopleAndWrittenForPrograms(t *testing.T) {
	var asked url.Values
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query()
		answer(w, 200, summaryJSON("day", groupJSON("team_1", "backend", "10.000000", "1.000000", "0.000000", "8.000000", "1.000000"), groupJSON("team_2", "data", "2.500000", "2.500000", "0.000000", "0.000000", "0.000000")))
	}))
	t.Setenv("NO_COLOR", "1")
	b.outTTY = true
	if err := b.run("costs", "--by", "team", "--per", "day", "--from", "2026-11-01", "--tz", "Europe/Berlin", "--team", "backend,data", "--tag", "env=dev"); err != nil {
		t.Fatal(err)
	}
	want := url.Values{"group_by": {"team"}, "granularity": {"day"}, "from": {"2026-10-31T23:00:00Z"}, "tz": {"Europe/Berlin"}, "team": {"backend,data"}, "tag": {"env=dev"}}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	for _, text := range []string{"████████████████", "████ ", "▁·█▁", "█···", "Total: 12.50 USD"} {
		if !strings.Contains(b.out.String(), text) {
			t.Errorf("there is no %q in\n%s", text, b.out.String())
		}
	}
	b.outTTY = false
	if err := b.run("costs", "--by", "team", "--per", "day", "-o", "csv"); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(b.out.String()), "\n"); len(lines) != 9 || !strings.Contains(lines[3], "8.000000") || strings.ContainsAny(b.out.String(), "█▁") {
		t.Errorf("as CSV:\n%s", b.out.String())
	}
}

func TestWhyAWorkSpaceCostsWhatItDoesIsToldPageByPage(t *testing.T) {
	fact := func(item, total, why, more string) string {
		return `{"usage_id":"use_1","kind":"running","from":"2026-11-01T00:00:00Z","user_id":"usr_1","team_id":"team_1","cost_centre":"cc","bundle_type":"STANDARD","region":"us-east-1","tags":{},"rate":` +
			usdJSON("0.300000") + `,"unit":"hour","item":"` + item + `","price_book_id":3,"price_source":"default","hour_rule":"session_ceil","settled":` + usdJSON(total) + `,"open":` + usdJSON("0.000000") +
			`,"total":` + usdJSON(total) + `,"explanation":"` + why + `"` + more + `}`
	}
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/costs/workspaces/"+idA {
			t.Errorf("asked for %s", r.URL)
		}
		head := `{"workspace_id":"` + idA + `","as_of":"2026-11-05T00:00:00Z","total":` + usdJSON("10.650000") + `,"items":[`
		if r.URL.Query().Get("cursor") == "" {
			answer(w, 200, head+fact("auto_stop_month", "9.750000", "the fee", `,"postings":[{"record_id":"cost_1","from":"2026-11-01T00:00:00Z","to":"2026-12-01T00:00:00Z","amount":`+usdJSON("9.750000")+`,"explanation":"the whole of November"}]`)+`],"next_cursor":"more"}`)
			return
		}
		answer(w, 200, head+fact("auto_stop_hour", "0.900000", "3 × 0.30", "")+`]}`)
	}))
	if err := b.run("costs", "explain", idA); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"the fee", "cost_1", "the whole of November", "3 × 0.30", "session_ceil", "3 (default)"} {
		if !strings.Contains(b.out.String(), text) {
			t.Errorf("there is no %q in\n%s", text, b.out.String())
		}
	}
}

func TestBarsAreAsLongAsWhatTheyStandFor(t *testing.T) {
	for _, c := range []struct {
		n, longest int64
		want       string
	}{
		{0, 0, ""},
		{0, 100, ""},
		{-5, 100, ""},
		{1, 1_000_000, "▏"},
		{50, 100, "████████"},
		{100, 100, "████████████████"},
		{9_000_000_000_000_000_000, 9_000_000_000_000_000_000, "████████████████"},
	} {
		if got := stroke(c.n, c.longest); got != c.want {
			t.Errorf("%d of %d: %q, want %q", c.n, c.longest, got, c.want)
		}
	}
	if got := sparkline([]client.CostPeriod{{Total: client.Money{Amount: "-1.000000"}}, {Total: client.Money{Amount: "4.000000"}}, {Total: client.Money{Amount: "8.000000"}}}); got != "·▄█" {
		t.Errorf("the line is %q", got)
	}
}

func TestWrongQuestionsAboutCostsAreUsageErrorsAndSendNothing(t *testing.T) {
	b := against(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s was sent", r.Method, r.URL) }))
	for _, line := range []string{
		"costs --per year", "costs --by tag:", "costs --tz Mars/Olympus", "costs --tz Local", "costs --tag x", "costs --tag =x", "costs explain", "costs estimate", "costs estimate STANDARD --mode SOMETIMES",
		"costs records --from yesterday", "costs records --limit -1",
	} {
		if err := b.run(strings.Fields(line)...); ExitCode(err) != 2 {
			t.Errorf("forge %s: exit %d, %v", line, ExitCode(err), err)
		}
	}
}
