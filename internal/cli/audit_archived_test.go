package cli

import (
	"net/http"
	"strings"
	"testing"
)

func TestWhoSearchesIsToldWhichMonthsAreNotSearched(t *testing.T) {
	b := against(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/export") {
			w.Header().Set("Audit-Archived-Months", "2024-02")
			w.Header().Set("Content-Type", "application/x-ndjson")
			return
		}
		answer(w, http.StatusOK, `{"items":[],"archived_months":["2024-01","2024-02","2024-03"]}`)
	}))
	for _, c := range []struct{ args, want string }{
		{"audit list", "3 months, 2024-01 to 2024-03, are archived and were not searched"},
		{"audit list -o json", "3 months, 2024-01 to 2024-03, are archived"},
		{"audit export --format csv", "2024-02 is archived and was not searched; to search it: forge audit archive restore 2024-02"},
	} {
		b.err.Reset()
		if err := b.run(strings.Fields(c.args)...); err != nil || !strings.Contains(b.err.String(), c.want) {
			t.Errorf("%s: %v %s", c.args, err, b.err.String())
		}
	}
}
