package emulator_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	workspacetypes "github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

// workingMonth is an emulator at the end of October 2026: so many people, a multiple of 25, have come in the morning of every day, gone for
// lunch and come back, and left in the evening.
func workingMonth(tb testing.TB, people int) (*httptest.Server, []string) {
	tb.Helper()
	c := &clock{now: time.Date(2026, time.October, 1, 0, 0, 0, 0, time.UTC)}
	emu, err := emulator.New(emulator.Config{
		Now: c.Now, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Directories: []emulator.Directory{{ID: directory, Users: []string{emulator.AnyUser}}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	server := httptest.NewServer(emu)
	tb.Cleanup(server.Close)
	var ids []string
	client := sdk(server.URL, func(o *workspaces.Options) { o.HTTPClient = server.Client() })
	for first := 0; first < people; first += 25 {
		var requests []workspacetypes.WorkspaceRequest
		for i := range 25 {
			requests = append(requests, request(fmt.Sprintf("user-%d", first+i)))
		}
		out, err := client.CreateWorkspaces(tb.Context(), &workspaces.CreateWorkspacesInput{Workspaces: requests})
		if err != nil {
			tb.Fatal(err)
		}
		for _, w := range out.PendingRequests {
			ids = append(ids, *w.WorkspaceId)
		}
	}
	for day := range 31 {
		for _, at := range []struct {
			hour   int
			action string
		}{{8, "connect"}, {12, "disconnect"}, {14, "connect"}, {18, "disconnect"}} {
			c.set(time.Date(2026, time.October, 1+day, at.hour, 10, 0, 0, time.UTC))
			for _, id := range ids {
				w := httptest.NewRecorder()
				emu.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/_emu/workspaces/"+id+"/"+at.action, nil))
				if w.Code != http.StatusOK {
					tb.Fatal(w.Body)
				}
			}
		}
	}
	c.set(time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC))
	return server, ids
}

// twoWeeks asks for 14 days of 25 WorkSpaces in periods of five minutes: as many points as a page holds.
func twoWeeks(tb testing.TB, server *httptest.Server, ids []string) int {
	tb.Helper()
	b := &bench{server: server}
	end := time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)
	in := &cloudwatch.GetMetricDataInput{StartTime: aws.Time(end.Add(-14 * 24 * time.Hour)), EndTime: &end}
	for i, id := range ids[:25] {
		in.MetricDataQueries = append(in.MetricDataQueries, query(fmt.Sprintf("m%d", i), "Available", "Maximum", 5*time.Minute, id))
	}
	out, err := b.metrics("us-east-1").GetMetricData(tb.Context(), in)
	if err != nil {
		tb.Fatal(err)
	}
	if out.NextToken != nil {
		tb.Fatal("it does not fit on a page")
	}
	n := 0
	for _, r := range out.MetricDataResults {
		if r.StatusCode != types.StatusCodeComplete {
			tb.Fatal(r.StatusCode)
		}
		n += len(r.Values)
	}
	return n
}

func octobersBill(tb testing.TB, server *httptest.Server) int64 {
	tb.Helper()
	res, err := server.Client().Get(server.URL + "/_emu/bill?month=2026-10")
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		tb.Fatal(res.StatusCode, err)
	}
	return n
}

func BenchmarkTwoWeeksOfMetrics(b *testing.B) {
	server, ids := workingMonth(b, 200)
	for b.Loop() {
		if n := twoWeeks(b, server, ids); n != 14*24*12*25 {
			b.Fatal(n)
		}
	}
}

func BenchmarkBillOfAMonth(b *testing.B) {
	server, _ := workingMonth(b, 200)
	for b.Loop() {
		octobersBill(b, server)
	}
}

func TestAMonthOfAnOffice(t *testing.T) {
	server, ids := workingMonth(t, 25)
	if n := twoWeeks(t, server, ids); n != 14*24*12*25 {
		t.Errorf("%d points", n)
	}
	b := &bench{t: t, server: server}
	got := b.bill("month=2026-10")
	if len(got.Workspaces) != len(ids) || !got.Complete {
		t.Errorf("%d WorkSpaces, errors %v", len(got.Workspaces), got.Errors)
	}
	hours := map[string]int{}
	for _, l := range got.Lines {
		if l.Unit == "Hour" {
			hours[l.Resource]++
		}
	}
	for id, n := range hours {
		// On each of 31 days from 08:10 to 12:10 and from 14:10 to 18:10, and for an hour after each: 08 to 13 and 14 to
		// 19, twelve hours of the clock. In the first night, from the end of its creation at about 00:15 for an hour: two.
		if n != 31*12+2 {
			t.Errorf("%s ran for %d hours", id, n)
		}
	}
}
