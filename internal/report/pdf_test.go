package report_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/report"
)

// many is a month with more teams than a chart has bars, more WorkSpaces than are printed, and names of every kind.
func many(t *testing.T) *room {
	r := november(t)
	for i, name := range []string{
		"Грузовик — отдел разработки", "Ελληνικά", "Ångström & Söhne <b>", "桌面云 🚀", strings.Repeat("a-very-long-name-", 12), "العربية", "tab\tand\nline",
	} {
		d := r.add(t, i%2, r.org.Projects[i%2], price.AlwaysOn, name)
		d.CostCentre = name
		d.begin(t, "2026-12-01 00:45")
	}
	for i := range 40 {
		team := fmt.Sprintf("team-%02d", i)
		if i == 3 {
			team = "platform-engineering-and-developer-experience-worldwide-north"
		}
		key := fmt.Sprintf("team_x%02d", i)
		r.Exec(t, `INSERT INTO teams (id, name, cost_centre, created_at, updated_at) VALUES ($1, $2, 'cc', now(), now())`, key, team)
		for j := range 4 {
			r.Exec(t, `
				INSERT INTO cost_records (id, usage_id, workspace_id, user_id, team_id, project_id, cost_centre, price_id, attribution_id, compute_cost_micros,
				                          period_start, period_end, recorded_at)
				SELECT $1, c.usage_id, c.workspace_id, c.user_id, $2, c.project_id, 'cc-' || $2, c.price_id, c.attribution_id, $3::bigint,
				       c.period_start + $4::bigint * interval '1 hour', c.period_end, c.recorded_at
				FROM cost_records c JOIN usage u ON u.id = c.usage_id
				WHERE u.kind = 'fixed_month' AND c.corrects IS NULL AND c.period_start >= '2026-12-01Z'
				ORDER BY c.id LIMIT 1`, fmt.Sprintf("cost_x%02d_%d", i, j), key, 1_230_000*(i+1)*(j+1), 1+i+40*j)
		}
	}
	r.settle(t, "2026-12-03 00:00")
	return r
}

// The pages of a PDF are compressed; what they look like is for eyes. FORGE_REPORT_PDF=FILE keeps this one to look at.
func TestAPrintedReportIsAPDFOfSeveralPages(t *testing.T) {
	r := many(t)
	b := r.written(t, "2026-12", report.Scope{}, report.PDF, "")
	for range 5 {
		if again := r.written(t, "2026-12", report.Scope{}, report.PDF, ""); !bytes.Equal(again, b) {
			t.Fatal("printed again it is another")
		}
	}
	if !bytes.HasPrefix(b, []byte("%PDF-")) || !bytes.HasSuffix(bytes.TrimSpace(b), []byte("%%EOF")) {
		t.Errorf("it begins %q and ends %q", b[:8], b[len(b)-8:])
	}
	if n := bytes.Count(b, []byte("/Type /Page\n")); n < 3 {
		t.Errorf("it has %d pages", n)
	}
	for _, text := range []string{"/CreationDate (D:20261203000000", "/FontFile2"} {
		if !bytes.Contains(b, []byte(text)) {
			t.Errorf("it has no %s", text)
		}
	}
	if name := os.Getenv("FORGE_REPORT_PDF"); name != "" {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
