package cli

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func sweepJSON(begun, ended string, complete bool, more string) string {
	return fmt.Sprintf(`{"region":"us-east-1","directory_id":"d-1","due_at":"2026-11-23T10:00:00Z","running":false,"begun_at":%q,"ended_at":%q,"complete":%t,"pages":4,"seen":90,"completed_at":"2026-11-23T04:00:00Z"%s}`, begun, ended, complete, more)
}

func driftJSON(items, sweep string) string {
	return `{"items":[` + items + `],"monthly_cost":{"amount":"44.750000","currency":"USD"},"sweeps":[` + sweep + `]}`
}

const foreignJSON = `{"id":"drift_1","kind":"FOREIGN","region":"us-east-1","directory_id":"d-1","provider_id":"ws-9","user_name":"karen","first_seen_at":"2026-11-23T04:00:00Z","last_seen_at":"2026-11-23T04:00:00Z","monthly_cost":{"amount":"9.750000","currency":"USD"},"details":{"estimate":true},"advice":"find out whose it is"}`

func TestDriftIsAListWithWhatItCostsAndHowOldThatIs(t *testing.T) {
	var asked string
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RawQuery
		answer(w, 200, driftJSON(foreignJSON, sweepJSON("2026-11-23T10:00:00Z", "2026-11-23T10:01:00Z", false, `,"error":"access denied"`)))
	}))
	if err := b.run("drift", "--kind", "foreign", "--region", "us-east-1"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"FOREIGN", "ws-9", "karen", "~9.75", "find out whose it is", "44.75 USD a month",
		"us-east-1 d-1: seen as a whole at 2026-11-23 04:00:00Z; the last sweep was not complete: access denied",
	} {
		if !strings.Contains(b.out.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.out.String())
		}
	}
	if want := "limit=100&kind=FOREIGN&region=us-east-1"; asked != want {
		t.Errorf("asked %s, not %s", asked, want)
	}
	if err := b.run("drift", "-o", "csv"); err != nil {
		t.Fatal(err)
	}
	if want := "FOREIGN,,ws-9,karen,us-east-1,9.750000,2026-11-23T04:00:00Z,find out whose it is\n"; !strings.HasSuffix(b.out.String(), want) {
		t.Errorf("%s", b.out.String())
	}
	if err := b.run("drift", "--kind", "odd"); err == nil || !strings.Contains(err.Error(), "--kind is one of") {
		t.Errorf("a kind that there is not: %v", err)
	}
}

func TestASweepIsWaitedForUntilTheDirectoryWasSeenSinceItWasAskedFor(t *testing.T) {
	for _, c := range []struct {
		name string
		last string
		err  string
	}{
		{"complete", sweepJSON("2026-11-23T10:00:05Z", "2026-11-23T10:01:00Z", true, ""), ""},
		{"not complete", sweepJSON("2026-11-23T10:00:05Z", "2026-11-23T10:01:00Z", false, `,"error":"access denied"`), "us-east-1 d-1 was not seen as a whole, and nothing was concluded: access denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			polls := 0
			b := against(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				before := sweepJSON("2026-11-23T09:00:00Z", "2026-11-23T09:01:00Z", true, "")
				if r.Method == http.MethodPost {
					if body, err := io.ReadAll(r.Body); err != nil || string(body) != `{"region":"us-east-1"}` || r.Header.Get(keyHeader) == "" {
						t.Errorf("%v %s", err, body)
					}
					answer(w, 202, `{"items":[`+before+`]}`)
					return
				}
				if polls++; polls < 3 {
					answer(w, 200, driftJSON("", before))
					return
				}
				answer(w, 200, driftJSON("", c.last))
			}))
			err := b.run("drift", "sweep", "--region", "us-east-1", "--wait")
			if polls != 3 || !strings.Contains(b.out.String(), "2026-11-23 10:01:00Z") {
				t.Errorf("after %d polls: %s", polls, b.out.String())
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%v, want %q", err, c.err)
			}
		})
	}
}
