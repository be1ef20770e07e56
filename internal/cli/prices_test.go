package cli

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const bookJSON = `{"id":7,"source":"test","hour_rule":"session_ceil","effective_from":"2026-12-01T00:00:00Z","imported_at":"2026-11-01T00:00:00Z","lines":3,"in_force":false}`

func importJSON(more string) string {
	usd := func(s string) string { return `{"amount":"` + s + `","currency":"USD"}` }
	return `{"dry_run":false,"book":` + bookJSON + `,"products":50,"prices":22,"carried":3,"not_understood":1,"changed":1,"changes_truncated":false,
		"passed":[{"reason":"its bundle is no compute type that is known","understood":false,"count":1,"products":[{"sku":"SKU1","description":"Colossal\u001b[31m"}]},
		          {"reason":"another region","understood":true,"count":24,"products":[]}],
		"changes":[{"region":"us-east-1","bundle_type":"STANDARD","operating_system":"WINDOWS","license":"INCLUDED","item":"auto_stop_hour","before":` + usd("0.300000") + `,"after":` + usd("0.360000") + `}],
		"moves":{"assumption":"hours","workspaces":2,"lost":0,"gained":0,"unknown":0,"estimated_before":` + usd("44.750000") + `,"estimated_after":` + usd("46.000000") + `,"truncated":false,
			"teams":[{"team_id":"team_1","name":"backend","workspaces":2,"estimated_before":` + usd("44.750000") + `,"estimated_after":` + usd("46.000000") + `}],
			"items":[{"workspace_id":"ws_1","name":"spike","user_id":"usr_1","team_id":"team_1","estimated_before":` + usd("9.750000") + `,"estimated_after":` + usd("11.000000") + `}]}` + more + `}`
}

func TestAnImportSaysWhatChangesWhoseCostMovesAndWhatNobodyKnows(t *testing.T) {
	var query, sent, key string
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		query, sent, key = r.URL.RawQuery, r.URL.Path+" "+string(body), r.Header.Get(keyHeader)
		answer(w, 201, importJSON(""))
	}))
	name := filepath.Join(t.TempDir(), "offer.json")
	if err := os.WriteFile(name, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.run("prices", "import", name, "--region", "us-east-1", "--effective-from", "2026-12-01", "--hour-rule", "clock_hour"); err != nil {
		t.Fatal(err)
	}
	if sent != "/api/v1/prices/books {}" || key == "" || query != "dry_run=false&region=us-east-1&effective_from=2026-12-01T00%3A00%3A00Z&hour_rule=clock_hour&alone=false&accept_unpriced=false" {
		t.Errorf("asked %s %q with the key %q", query, sent, key)
	}
	for _, want := range []string{
		"auto_stop_hour", "0.30", "0.36", "1 NOT UNDERSTOOD: its bundle", "SKU1", "24 passed over: another region", "3 prices go on",
		"44.75 -> 46.00 USD (estimate: hours)", "team backend, 2 WorkSpaces: 44.75 -> 46.00", "ws_1 spike: 9.75 -> 11.00", "Price book 7 is in force from 2026-12-01 00:00:00Z",
	} {
		if !strings.Contains(b.out.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.out.String())
		}
	}
	if strings.ContainsRune(b.out.String(), '\x1b') {
		t.Error("what the list says reaches the terminal as it is")
	}
	b.In = strings.NewReader("from a pipe")
	if err := b.run("prices", "import", "-", "--dry-run"); err != nil || sent != "/api/v1/prices/books from a pipe" || !strings.Contains(query, "dry_run=true") {
		t.Errorf("from a pipe: %v, asked %s %q", err, query, sent)
	}
	if err := b.run("prices", "import", "--aws", "--region", "eu-west-1"); err != nil || !strings.HasPrefix(sent, "/api/v1/prices/books/aws ") || !strings.Contains(sent, `"region":"eu-west-1"`) {
		t.Errorf("from Amazon: %v, asked %q", err, sent)
	}
	if err := b.run("prices", "import", name, "-o", "csv"); err != nil || b.out.String() != "region,bundle,os,license,item,before_usd,after_usd\nus-east-1,STANDARD,WINDOWS,INCLUDED,auto_stop_hour,0.300000,0.360000\n" {
		t.Errorf("as CSV: %v\n%s", err, b.out.String())
	}
}

func TestADryRunThatWouldBeRefusedSaysSo(t *testing.T) {
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 201, strings.Replace(importJSON(`,"would_be_refused":"3 WorkSpaces that are live would be left without a price"`), `"lost":0`, `"lost":3`, 1))
	}))
	b.In = strings.NewReader("{}")
	if err := b.run("prices", "import", "-", "--dry-run"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"3 WorkSpaces would be left WITHOUT A PRICE", "it would be refused: 3 WorkSpaces that are live"} {
		if !strings.Contains(b.out.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.out.String())
		}
	}
}

func TestWrongUseOfPricesIsSaidBeforeTheServerIsAsked(t *testing.T) {
	b := against(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked %s", r.URL) }))
	for _, line := range []string{
		"prices import", "prices import a b", "prices import a --aws", "prices import --aws", "prices import /nowhere/at/all", "prices import - --hour-rule long",
		"prices import - --effective-from soon", "prices show", "prices diff", "prices diff 1 2 3", "prices break-even --days-left 0", "prices break-even --days-left 32", "prices list --limit -1", "prices nonsense",
	} {
		b.In = strings.NewReader("")
		if err := b.run(strings.Fields(line)...); ExitCode(err) != 2 {
			t.Errorf("forge %s: exit %d, %v", line, ExitCode(err), err)
		}
	}
}

func TestHoursAreShownToTheTenth(t *testing.T) {
	for seconds, want := range map[int64]string{140_000: "38.9", 303_000: "84.2", 0: "0.0", 179: "0.0", 180: "0.1", 3599: "1.0", 3600: "1.0"} {
		if got := tenths(seconds, 3600); got != want {
			t.Errorf("%d s are %s h, want %s", seconds, got, want)
		}
	}
}
