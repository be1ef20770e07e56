package e2e

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/robco-forge/forge/internal/audit/verify"
)

// What people and programs send stands in the log, whatever it is: the action has its answer, the entry is written and
// verifies, and no spreadsheet runs it.
func TestHostileTextInEveryFieldOfARequestIsRecordedAndVerifies(t *testing.T) {
	longLog(t)
	hostile := map[string]struct{ raw, json string }{
		"NUL":              {"a\x00b", `a\u0000b`},
		"invalid UTF-8":    {"a\xff\xfe\xc0\xafb", "a\xff\xfe\xc0\xafb"},
		"a lone surrogate": {"a\xed\xa0\x80b", `a\ud800b`},
		"a formula":        {`=cmd|'/C calc'!A0`, `=cmd|'/C calc'!A0`},
		"a sum":            {"@SUM(1+1)*cmd", "@SUM(1+1)*cmd"},
		"plus":             {"+1+cmd|'x'!A", "+1+cmd|'x'!A"},
		"a wide formula":   {"＝1+1", "＝1+1"},
		"a tab":            {"\t=1+1", `\t=1+1`},
		"quotes":           {`"=1+1","=2+2"`, `\"=1+1\",\"=2+2\"`},
		"lines":            {"a\r\n=1+1", `a\r\n=1+1`},
		"escapes":          {"\x1b[31m\u202eabc\u2028", `\u001b[31m\u202eabc\u2028`},
		"long":             {strings.Repeat("é", 300), strings.Repeat("é", 300)},
		"a MiB":            {strings.Repeat("=", 1<<20), strings.Repeat("=", 1<<20)},
		"nothing":          {"", ""},
	}
	of := map[string]string{}
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			send := func(method, path, body string) (status int, requestID string) {
				t.Helper()
				return rawly(t, method, path, body, text.raw)
			}
			// An action that is done, one that is refused, and a read that is recorded: each with the text wherever it can be.
			status, done := send("POST", "/api/v1/tokens", `{"name":"hostile","lifetime_hours":1}`)
			clean := status == http.StatusCreated
			if !clean && (status < 400 || status >= 500) {
				t.Fatalf("a token: %d", status)
			}
			if !clean && !slices.Contains([]string{"NUL", "escapes", "lines", "a MiB"}, name) {
				t.Errorf("a header of %s: %d", name, status)
			}
			if clean {
				of[done] = "token.create"
			}
			if status, _ := rawly(t, "POST", "/api/v1/tokens", `{"name":"`+text.json+`","lifetime_hours":1}`, "e2e"); status != http.StatusCreated && (status < 400 || status >= 500) {
				t.Errorf("its name: %d", status)
			}
			if len(text.raw) < 50 {
				status, id := rawly(t, "POST", "/api/v1/workspaces/"+url.PathEscape("x"+text.raw)+"/start", "", "e2e")
				if status < 400 || status >= 500 {
					t.Errorf("in a path: %d", status)
				}
				if status == http.StatusNotFound {
					of[id] = "workspace.start"
				}
			}
			status, id := rawly(t, "GET", "/api/v1/audit/entries?limit=1&action="+url.QueryEscape(text.raw)+"&resource_id="+url.QueryEscape(text.raw), "", "e2e")
			if status != http.StatusOK && (status < 400 || status >= 500) {
				t.Errorf("in a search: %d", status)
			}
			if status == http.StatusOK {
				of[id] = "audit.read"
			}
		})
	}
	if len(of) < len(hostile) {
		t.Errorf("only %d actions had an answer of their own", len(of))
	}

	// Every one is in the log, in a bundle that verifies.
	missing := map[string]string{}
	for id, action := range of {
		missing[id] = action
	}
	var size int64
	eventually(t, "all of it is signed", func() bool {
		_, c := longLog(t)
		defer func() { size = c.Size }()
		return size > 0 && c.Size > size
	})
	_, path := bundled(t, "--from", "2020-01-01", "--with-personal-data")
	passed, report, err := verified(t, path)
	if err != nil || !slices.Contains(passed, verify.Content) || !slices.Contains(passed, verify.Erasures) {
		t.Fatalf("%v\n%s", err, report)
	}
	out := filepath.Join(t.TempDir(), "all.csv")
	if _, notes, err := forgeCLI(t, forge.API, token(t, "auditor"), "audit", "export", "--format", "csv", "--out", out); err != nil {
		t.Fatal(err, notes)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := func(row []string, name string) string { return row[slices.Index(rows[0], name)] }
	formulas := 0
	for _, row := range rows {
		if id := column(row, "request_id"); missing[id] == column(row, "action") {
			delete(missing, id)
		}
		if agent := column(row, "user_agent"); !utf8.ValidString(agent) || len(agent) > 1001 {
			t.Errorf("%q", agent)
		}
		for _, cell := range row {
			if strings.HasPrefix(cell, "'") {
				formulas++
			}
			if _, err := strconv.ParseFloat(cell, 64); err != nil && cell != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(cell)[0]) {
				t.Errorf("a spreadsheet runs %.80q", cell)
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("not in the log: %v", missing)
	}
	if formulas < 4 {
		t.Errorf("%d cells were kept from being formulas, of the five that were sent", formulas)
	}
}

// rawly sends a request as no well-behaved client does, with a text in headers, and returns the answer's status and request.
func rawly(t *testing.T, method, path, body, text string) (status int, requestID string) {
	t.Helper()
	u, err := url.Parse(forge.API)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	header := ""
	for _, name := range []string{"User-Agent", "X-Request-Id", "X-Forwarded-For", "Forwarded", "Referer", "Accept-Language"} {
		header += name + ": " + text + "\r\n"
	}
	sent := make(chan struct{})
	go func() { // the server may answer before it has read all
		defer close(sent)
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			method, path, u.Host, token(t, "auditor"), header, len(body), body)
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%s %.60s: %v", method, path, err)
	}
	_ = resp.Body.Close()
	_ = conn.Close()
	<-sent
	return resp.StatusCode, resp.Header.Get("X-Request-Id")
}
