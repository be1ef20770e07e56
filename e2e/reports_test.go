package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/money"
)

// TestAMonthIsReportedAndClosed runs over the end of a month, with two replicas, and asks as everybody.
func TestAMonthIsReportedAndClosed(t *testing.T) {
	ctx := t.Context()
	virtual := clock.At(time.Date(2027, 3, 31, 22, 10, 0, 0, time.UTC))
	r := newRig(t, 1, func(c *emulator.Config) { c.Now = virtual.Now })
	r.clock = virtual.Now
	one, stop := r.serve(true)
	defer stop()
	two, stopTwo := r.serve(false)
	defer stopTwo()
	token := func(role, team string) string {
		t.Helper()
		i := slices.IndexFunc(r.people, func(p app.Credential) bool { return p.Role == role && (team == "" || p.Team == team) })
		if i < 0 {
			t.Fatalf("nobody is %s in %q", role, team)
		}
		return r.people[i].Token
	}
	// get asks with GET, or POST, and is what came.
	get := func(token, method, address string) (status int, head http.Header, body []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header, b
	}
	const march = "/api/v1/costs/reports/2027-03"
	const closing = "/api/v1/costs/months/2027-03/close"
	document := func(token, address string) client.CostReport {
		t.Helper()
		status, _, b := get(token, http.MethodGet, address)
		var doc client.CostReport
		if err := json.Unmarshal(b, &doc); err != nil || status != 200 {
			t.Fatalf("%v %d %s", err, status, b)
		}
		return doc
	}
	users := r.users("m", 2)
	owner, err := client.NewClientWithResponses(one, client.WithRequestEditorFn(bearer(users[0].Token)))
	if err != nil {
		t.Fatal(err)
	}
	finance := token("finance", "")
	w := launch(t, owner, client.WorkspaceCreate{Blueprint: "go-dev"})
	eventually(t, "it is AVAILABLE", func() bool {
		virtual.Advance(30 * time.Second)
		return show(t, owner, w.Id).State == "AVAILABLE"
	})
	settled := func() bool {
		var due int
		if err := r.db.QueryRow(ctx, `SELECT count(*) FROM usage WHERE due_at <= $1`, virtual.Now()).Scan(&due); err != nil {
			t.Fatal(err)
		}
		return due == 0
	}
	if status, _, b := get(finance, http.MethodPost, two+closing); status != 409 || !bytes.Contains(b, []byte("MONTH_NOT_OVER")) {
		t.Errorf("closed in March: %d %s", status, b)
	}
	virtual.Set(time.Date(2027, 4, 1, 0, 20, 0, 0, time.UTC))
	eventually(t, "all of March is settled", settled)

	// Who sees what, in every format, while it is provisional.
	whole := document(finance, one+march)
	if whole.Status != "provisional" || amount(t, whole.Total.Total) <= 0 || !slices.Contains(whole.NotMetered, "data_transfer") {
		t.Errorf("March is %+v", whole)
	}
	for _, c := range []struct {
		who, token string
		status     int
		sees       money.USD
	}{
		{"finance", finance, 200, amount(t, whole.Total.Total)},
		{"an admin", token("admin", ""), 200, amount(t, whole.Total.Total)},
		{"its team's lead", token("team_lead", "backend"), 200, amount(t, whole.Total.Total)},
		{"another team's lead", token("team_lead", "data"), 200, 0},
		{"its owner", users[0].Token, 200, amount(t, whole.Total.Total)},
		{"another engineer", users[1].Token, 200, 0},
		{"an auditor", token("auditor", ""), 403, 0},
		{"nobody", "forge_none", 401, 0},
	} {
		for _, format := range []string{"json", "csv", "focus", "pdf"} {
			status, head, b := get(c.token, http.MethodGet, two+march+"?format="+format)
			if status != c.status {
				t.Errorf("%s, %s: %d %s", c.who, format, status, b)
				continue
			}
			if c.status != 200 {
				continue
			}
			name := map[string]string{"focus": "focus.csv"}[format]
			if name == "" {
				name = format
			}
			if got := head.Get("Content-Disposition"); got != `attachment; filename="costs-2027-03.`+name+`"` || head.Get("Cost-Report-Hash")+head.Get("ETag") != "" {
				t.Errorf("%s: %v", format, head)
			}
			if format != "json" && format != "pdf" && strings.Contains(string(b), w.Id) != (c.sees > 0) {
				t.Errorf("%s sees in %s:\n%s", c.who, format, b)
			}
		}
		if c.status == 200 {
			if doc := document(c.token, one+march); amount(t, doc.Total.Total) != c.sees || c.sees > 0 && len(*doc.Workspaces) != 1 {
				t.Errorf("%s sees %+v", c.who, doc)
			}
		}
		if c.who == "finance" || c.who == "an admin" {
			continue
		}
		if status, _, b := get(c.token, http.MethodPost, one+closing); status != 403 && status != 401 {
			t.Errorf("%s closes a month: %d %s", c.who, status, b)
		}
	}
	for address, want := range map[string]int{
		march + "?format=xls": 422, march + "?group_by=mood": 422, march + "?format=focus&group_by=team": 422, "/api/v1/costs/reports/2027-13": 422,
		"/api/v1/costs/reports/2027-05": 422, "/api/v1/costs/reports/2027-02": 200, march + "?group_by=cost_centre": 200,
	} {
		if status, _, b := get(finance, http.MethodGet, one+address); status != want {
			t.Errorf("%s: %d %s", address, status, b)
		}
	}

	// Both replicas are asked to close it at once.
	months := make([]client.CostMonth, 6)
	var wg sync.WaitGroup
	for i := range months {
		wg.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, http.MethodPost, []string{one, two}[i%2]+closing, nil)
			req.Header.Set("Authorization", "Bearer "+finance)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if err := json.NewDecoder(resp.Body).Decode(&months[i]); err != nil || resp.StatusCode != 200 {
				t.Errorf("%s %v", resp.Status, err)
			}
		})
	}
	wg.Wait()
	for _, m := range months[1:] {
		if diff := cmp.Diff(months[0], m); diff != "" {
			t.Errorf("closed as two:\n%s", diff)
		}
	}
	if amount(t, months[0].Total) != amount(t, whole.Total.Total) {
		t.Errorf("closed with %s, it was %s", months[0].Total.Amount, whole.Total.Total.Amount)
	}
	for _, format := range []string{"json", "csv", "focus", "pdf"} {
		_, first, a := get(finance, http.MethodGet, one+march+"?format="+format)
		_, second, b := get(token("admin", ""), http.MethodGet, two+march+"?format="+format)
		if !bytes.Equal(a, b) || first.Get("ETag") == "" || first.Get("ETag") != second.Get("ETag") || first.Get("Cost-Report-Hash") != months[0].Hash {
			t.Errorf("%s is not the same: %v %v", format, first, second)
		}
		if format == "json" {
			if got := fmt.Sprintf("%x", sha256.Sum256(a)); got != months[0].Hash {
				t.Errorf("the report's SHA-256 is %s, it was closed with %s", got, months[0].Hash)
			}
		}
	}

	// The closing is on record once, with the hash; so is every reading but of one's own.
	var closings, hashed, reads, own int
	if err := r.db.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE l.action_type = 'cost.close' AND l.result = 'success'),
		       count(*) FILTER (WHERE l.action_type = 'cost.close' AND convert_from(l.leaf, 'UTF8') LIKE '%' || $1 || '%'),
		       count(*) FILTER (WHERE l.action_type = 'cost.read' AND convert_from(l.leaf, 'UTF8') LIKE '%2027-03%' AND u.role IN ('finance', 'admin', 'team_lead')),
		       count(*) FILTER (WHERE l.action_type = 'cost.read' AND u.role = 'engineer')
		FROM audit_logs l JOIN users u ON u.id = l.user_id`, months[0].Hash).Scan(&closings, &hashed, &reads, &own); err != nil {
		t.Fatal(err)
	}
	if closings != 1 || hashed != 1 || reads < 24 || own != 0 {
		t.Errorf("%d closings are on record, %d with the hash; %d readings of others, %d of one's own", closings, hashed, reads, own)
	}
}
