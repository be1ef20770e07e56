package cli

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const partsJSON = `"monthly_fee":{"amount":"9.750000","currency":"USD"},"running":{"amount":"0.900000","currency":"USD"},"storage":{"amount":"0.000000","currency":"USD"},` +
	`"corrections":{"amount":"-4.875000","currency":"USD"},"earlier_months":{"amount":"0.000000","currency":"USD"},"total":{"amount":"5.775000","currency":"USD"},"running_seconds":9000`

const reportJSON = `{"version":1,"month":"2026-11","from":"2026-11-01T00:00:00Z","to":"2026-12-01T00:00:00Z","status":"provisional","as_of":"2026-11-20T00:00:00Z","records":3,` +
	`"not_metered":["data_transfer"],"total":{` + partsJSON + `},"teams":[{"key":"team_1","name":"backend",` + partsJSON + `}]}`

func TestAMonthIsShownAndSaved(t *testing.T) {
	const hash = "ab12"
	var asked string
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.URL.String()
		switch {
		case r.Method == http.MethodPost:
			answer(w, 200, `{"month":"2026-11","closed_at":"2026-12-01T09:00:00Z","records":3,"total":{"amount":"5.775000","currency":"USD"},"hash":"`+hash+`"}`)
		case r.URL.Query().Get("format") == "":
			answer(w, 200, reportJSON)
		default:
			w.Header().Set("Cost-Report-Hash", hash)
			_, _ = w.Write([]byte("%PDF-\x00\xff\n"))
		}
	}))
	if err := b.run("costs", "report", "--month", "2026-11"); err != nil {
		t.Fatal(err)
	}
	if asked != "GET /api/v1/costs/reports/2026-11?group_by=team" {
		t.Error(asked)
	}
	for _, text := range []string{"backend", "-4.875", "Total: 5.775 USD, of 2026-11, provisional", "data transfer is not metered"} {
		if !strings.Contains(b.out.String(), text) {
			t.Errorf("there is no %q in\n%s", text, b.out.String())
		}
	}
	if err := b.run("costs", "report", "--month", "2026-11", "--format", "pdf", "--by", "cost-centre"); err != nil || b.out.String() != "%PDF-\x00\xff\n" {
		t.Errorf("%v, wrote %q", err, b.out.String())
	}
	if asked != "GET /api/v1/costs/reports/2026-11?format=pdf&group_by=cost_centre" {
		t.Error(asked)
	}
	b.outTTY = true
	if err := b.run("costs", "report", "--month", "2026-11", "--format", "pdf"); ExitCode(err) != 2 || b.out.Len() > 0 {
		t.Errorf("a PDF on a terminal: %v, %q", err, b.out.String())
	}
	name := filepath.Join(t.TempDir(), "november.pdf")
	if err := b.run("costs", "report", "--month", "2026-11", "--format", "pdf", "--out", name); err != nil || !strings.Contains(b.err.String(), hash) {
		t.Errorf("%v, said %q", err, b.err.String())
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != "%PDF-\x00\xff\n" {
		t.Errorf("%v, wrote %q", err, got)
	}
	b.outTTY = false
	if err := b.run("costs", "close", "--month", "2026-11"); err != nil || asked != "POST /api/v1/costs/months/2026-11/close" || !strings.Contains(b.out.String(), hash) {
		t.Errorf("%v, asked %s, printed\n%s", err, asked, b.out.String())
	}
}

// What breaks off is an error, and no file.
func TestHalfAReportIsNone(t *testing.T) {
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("month,status\r\n"))
	}))
	dir := t.TempDir()
	if err := b.run("costs", "report", "--month", "2026-11", "--format", "csv", "--out", filepath.Join(dir, "a.csv")); err == nil || !strings.Contains(err.Error(), "not complete") {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v: there is %v", err, left)
	}
}

func TestWrongQuestionsAboutReportsAreUsageErrorsAndSendNothing(t *testing.T) {
	b := against(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s was sent", r.Method, r.URL) }))
	for _, line := range []string{
		"costs report", "costs report --month 2026-13", "costs report --month november", "costs report --month 2026-11 --format xls", "costs report --month 2026-11 --by user",
		"costs report --month 2026-11 --out x", "costs report --month 2026-11 --format focus --by team", "costs close", "costs close --month 2026-1", "costs close 2026-11",
	} {
		if err := b.run(strings.Fields(line)...); ExitCode(err) != 2 {
			t.Errorf("forge %s: exit %d, %v", line, ExitCode(err), err)
		}
	}
}
