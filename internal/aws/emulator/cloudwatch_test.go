package emulator_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/encoding/cbor"
	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

// metrics is the real SDK for CloudWatch.
func (b *bench) metrics(region string) *cloudwatch.Client {
	given := b.server.Client().Transport
	return cloudwatch.New(cloudwatch.Options{
		Region: region, BaseEndpoint: aws.String(b.server.URL), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		HTTPClient: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			plain := *r // see plainBodies
			plain.Body = struct{ io.ReadCloser }{r.Body}
			return given.RoundTrip(&plain)
		})},
	})
}

func query(id, metric, stat string, period time.Duration, workspace string) types.MetricDataQuery {
	return types.MetricDataQuery{Id: &id, MetricStat: &types.MetricStat{
		Metric: &types.Metric{
			Namespace: aws.String("AWS/WorkSpaces"), MetricName: &metric,
			Dimensions: []types.Dimension{{Name: aws.String("WorkspaceId"), Value: &workspace}},
		},
		Period: aws.Int32(int32(period / time.Second)), Stat: &stat,
	}}
}

// data asks for one series and gives it as "15:04=1" per point, oldest first.
func (b *bench) data(q types.MetricDataQuery, from, until time.Time) []string {
	b.t.Helper()
	out, err := b.metrics("us-east-1").GetMetricData(b.t.Context(), &cloudwatch.GetMetricDataInput{
		StartTime: &from, EndTime: &until, MetricDataQueries: []types.MetricDataQuery{q}, ScanBy: types.ScanByTimestampAscending,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if len(out.MetricDataResults) != 1 || out.NextToken != nil || out.MetricDataResults[0].StatusCode != types.StatusCodeComplete {
		b.t.Fatalf("%+v", out)
	}
	r := out.MetricDataResults[0]
	var points []string
	for i, at := range r.Timestamps {
		points = append(points, fmt.Sprintf("%s=%v", at.UTC().Format("15:04"), math.Round(r.Values[i]*100)/100))
	}
	return points
}

// The day of one WorkSpace, the 10th of November 2026: stopped; asked for at 09:01, there at 09:03; the user leaves
// at 09:12 and comes back at 09:21 for two minutes; stops at 09:31, is stopped at 09:33. At 09:41 a user waits in vain.
var day = lived{spans: []string{
	"01 00:00 PENDING", "01 00:15 STOPPED", "10 09:01 STARTING waiting", "10 09:03 AVAILABLE connected", "10 09:12 AVAILABLE",
	"10 09:21 AVAILABLE connected", "10 09:23 AVAILABLE", "10 09:31 STOPPING", "10 09:33 STOPPED", "10 09:41 STARTING waiting",
	"10 09:42 TERMINATING", "10 09:47 TERMINATED", "10 09:48 ABSENT",
}}

func TestWhatAWorkSpaceMeasures(t *testing.T) {
	b := remembering(t, when(t, "10 10:30"), []lived{day})
	from, until := when(t, "10 08:55"), when(t, "10 10:00")
	five := 5 * time.Minute
	for _, c := range []struct {
		metric, stat string
		period       time.Duration
		want         []string
	}{
		// Running from 09:03 to 09:31: zeros while nobody is connected, gaps while it is not running.
		{"UserConnected", "Maximum", five, []string{"09:00=1", "09:05=1", "09:10=1", "09:15=0", "09:20=1", "09:25=0", "09:30=0"}},
		{"UserConnected", "Maximum", time.Hour, []string{"08:55=1"}},
		{"UserConnected", "Sum", time.Hour, []string{"08:55=4"}},
		{"UserConnected", "SampleCount", time.Hour, []string{"08:55=7"}},
		{"UserConnected", "Average", time.Hour, []string{"08:55=0.57"}},
		{"UserConnected", "Minimum", time.Hour, []string{"08:55=0"}},
		{"UserConnected", "Maximum", 10 * time.Minute, []string{"08:55=1", "09:05=1", "09:15=1", "09:25=0"}},
		// What it is every five minutes.
		{"Available", "Maximum", five, []string{
			"08:55=0", "09:00=0", "09:05=1", "09:10=1", "09:15=1", "09:20=1", "09:25=1", "09:30=1", "09:35=0", "09:40=0", "09:45=0",
		}},
		{"Stopped", "Sum", time.Hour, []string{"08:55=4"}}, // 08:55, 09:00, 09:35, 09:40
		{"Unhealthy", "Maximum", time.Hour, []string{"08:55=0"}},
		{"Maintenance", "Maximum", time.Hour, []string{"08:55=0"}},
		// Two log-ins that succeeded, the first of which waited for two minutes, and one that did not.
		{"ConnectionAttempt", "Sum", time.Hour, []string{"08:55=3"}},
		{"ConnectionSuccess", "Sum", time.Hour, []string{"08:55=2"}},
		{"ConnectionFailure", "Sum", time.Hour, []string{"08:55=1"}},
		{"SessionDisconnect", "Sum", time.Hour, []string{"08:55=2"}},
		{"SessionLaunchTime", "SampleCount", time.Hour, []string{"08:55=2"}},
		{"InSessionLatency", "SampleCount", time.Hour, []string{"08:55=4"}},
		{"CPUUsage", "SampleCount", time.Hour, []string{"08:55=7"}},
		{"UpTime", "Maximum", five, []string{"09:00=0", "09:05=120", "09:10=420", "09:15=720", "09:20=1020", "09:25=1320", "09:30=1620"}},
		{"RootVolumeDiskUsage", "SampleCount", time.Hour, []string{"08:55=7"}},
		{"UserVolumeDiskUsage", "SampleCount", time.Hour, []string{"08:55=7"}},
		{"NoSuchMetric", "Sum", time.Hour, nil},
	} {
		t.Run(c.metric+" "+c.stat+" "+c.period.String(), func(t *testing.T) {
			got := b.data(query("m", c.metric, c.stat, c.period, "ws-000000001"), from, until)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	waited := b.data(query("m", "SessionLaunchTime", "Maximum", time.Hour, "ws-000000001"), from, until)
	alone := b.data(query("m", "SessionLaunchTime", "Minimum", time.Hour, "ws-000000001"), from, until)
	var long, short float64
	if _, err := fmt.Sscanf(waited[0]+" "+alone[0], "08:55=%f 08:55=%f", &long, &short); err != nil || long < 125 || long > 135 || short < 5 || short > 15 {
		t.Errorf("%v: launched in %v and %v s", err, long, short)
	}

	q := query("m", "UserConnected", "Maximum", five, "ws-000000001")
	q.MetricStat.Unit = types.StandardUnitPercent
	if got := b.data(q, from, until); got != nil {
		t.Errorf("in another unit: %v", got)
	}
	q = query("m", "UserConnected", "Maximum", five, "ws-000000001")
	q.MetricStat.Metric.Namespace = aws.String("AWS/EC2")
	if got := b.data(q, from, until); got != nil {
		t.Errorf("in another namespace: %v", got)
	}
	if got := b.data(query("m", "UserConnected", "Maximum", five, "ws-000000009"), from, until); got != nil {
		t.Errorf("of another WorkSpace: %v", got)
	}
	out, err := b.metrics("eu-west-1").GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{
		StartTime: &from, EndTime: &until, MetricDataQueries: []types.MetricDataQuery{query("m", "UserConnected", "Maximum", five, "ws-000000001")},
	})
	if err != nil || len(out.MetricDataResults[0].Values) != 0 {
		t.Errorf("in another Region: %v %+v", err, out)
	}
}

func TestTheLoadIsTheUsers(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice"))
	load := func(body any, status int) {
		t.Helper()
		b.call(http.MethodPut, "/_emu/workspaces/"+id+"/load", body, status, nil)
	}
	average := func(metric string, from, until time.Time) float64 {
		t.Helper()
		got := b.data(query("m", metric, "Average", 24*time.Hour, id), from, until)
		var value float64
		if len(got) == 1 {
			_, err := fmt.Sscanf(got[0][strings.Index(got[0], "=")+1:], "%f", &value)
			if err != nil {
				t.Fatal(err)
			}
		}
		return value
	}
	b.act(id, "connect")
	first := b.clock.Now()
	b.clock.advance(6 * time.Hour)
	load(map[string]any{"cpu": map[string]float64{"idle": 5, "busy": 60}}, http.StatusOK)
	second := b.clock.Now()
	b.clock.advance(6 * time.Hour)
	load(map[string]any{"memory": map[string]float64{"idle": 10, "busy": 100}}, http.StatusOK)
	third := b.clock.Now()
	b.clock.advance(6 * time.Hour)
	b.act(id, "disconnect")
	idle := b.clock.Now()
	b.clock.advance(6 * time.Hour)
	for _, c := range []struct {
		metric      string
		from, until time.Time
		about       float64
	}{
		{"CPUUsage", first, second, 35}, // as nobody had said
		{"CPUUsage", second.Add(5 * time.Minute), third, 60},
		{"CPUUsage", third, idle, 60},
		{"CPUUsage", idle.Add(5 * time.Minute), b.clock.Now(), 5},
		{"MemoryUsage", second, third, 60},
		{"MemoryUsage", third.Add(5 * time.Minute), idle, 95}, // 100 less a fifth to 100
		{"MemoryUsage", idle.Add(5 * time.Minute), b.clock.Now(), 10},
	} {
		if got := average(c.metric, c.from, c.until); math.Abs(got-c.about) > c.about/10 {
			t.Errorf("%s after %v: %v, want about %v", c.metric, c.from.Sub(first), got, c.about)
		}
	}
	for _, bad := range []any{
		map[string]any{},
		map[string]any{"cpu": map[string]float64{"idle": -1}},
		map[string]any{"memory": map[string]float64{"busy": 101}},
		map[string]any{"gpu": map[string]float64{"idle": 1}},
		[]int{},
	} {
		load(bad, http.StatusBadRequest)
	}
	b.call(http.MethodPut, "/_emu/workspaces/ws-000000000/load", map[string]any{"cpu": map[string]float64{"idle": 1}}, http.StatusNotFound, nil)
}

func TestDataPointsAreTheSameWhenAskedAgain(t *testing.T) {
	b := remembering(t, when(t, "10 10:30"), []lived{day, {id: "ws-000000002", spans: day.spans}})
	ask := func(id string) []string {
		return b.data(query("m", "CPUUsage", "Average", 5*time.Minute, id), when(t, "10 08:00"), when(t, "10 10:00"))
	}
	first, again, other := ask("ws-000000001"), ask("ws-000000001"), ask("ws-000000002")
	if len(first) != 7 || !slices.Equal(first, again) || slices.Equal(first, other) {
		t.Errorf("%v, again %v, another's %v", first, again, other)
	}
}

func TestPercentiles(t *testing.T) {
	// Connected in four of ten samples from 09:00.
	b := remembering(t, when(t, "10 12:00"), []lived{{spans: []string{
		"01 00:00 AVAILABLE ALWAYS_ON", "10 09:00 AVAILABLE connected", "10 09:20 AVAILABLE", "10 09:50 STOPPED",
	}}})
	for stat, want := range map[string]string{
		"p0": "0", "p50": "0", "p60": "0", "p60.1": "1", "p95": "1", "p99.9": "1", "p100": "1", "p100.0": "1",
	} {
		got := b.data(query("m", "UserConnected", stat, time.Hour, "ws-000000001"), when(t, "10 09:00"), when(t, "10 10:00"))
		if diff := cmp.Diff([]string{"09:00=" + want}, got); diff != "" {
			t.Errorf("%s: %s", stat, diff)
		}
	}
}

// The finer the period, the sooner it is forgotten: 15, 63 and 455 days.
func TestOldDataPointsAreForgotten(t *testing.T) {
	now := when(t, "2027-11-30 00:00")
	b := remembering(t, now, []lived{{spans: []string{"2026-08-15 00:00 AVAILABLE ALWAYS_ON"}}})
	const days = 24 * time.Hour
	for _, c := range []struct {
		period time.Duration
		kept   int // days
	}{{time.Minute, 15}, {2 * time.Minute, 15}, {5 * time.Minute, 63}, {15 * time.Minute, 63}, {time.Hour, 455}, {24 * time.Hour, 455}} {
		s := query("m", "Available", "Maximum", c.period, "ws-000000001")
		out, err := b.metrics("us-east-1").GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{
			StartTime: aws.Time(now.Add(-600 * days)), EndTime: aws.Time(now.Add(time.Hour)), MetricDataQueries: []types.MetricDataQuery{s},
			ScanBy: types.ScanByTimestampAscending,
		})
		if err != nil {
			t.Fatal(err)
		}
		times := out.MetricDataResults[0].Timestamps
		if len(times) == 0 || !times[0].Equal(now.Add(-time.Duration(c.kept)*days)) || !times[len(times)-1].Before(now) {
			t.Errorf("period %v: %d points from %v", c.period, len(times), times[:min(1, len(times))])
		}
	}
}

func TestPeriodsBeginWithTheStartRoundedDown(t *testing.T) {
	now := when(t, "2027-11-30 00:00")
	b := remembering(t, now, []lived{{spans: []string{"2026-08-15 00:00 AVAILABLE ALWAYS_ON"}}})
	for _, c := range []struct {
		ago  time.Duration
		want string
	}{{26*time.Hour + 10*time.Second, "21:59"}, {20*24*time.Hour + 2*time.Minute, "23:55"}, {100*24*time.Hour + 2*time.Minute, "23:00"}} {
		got := b.data(query("m", "Available", "Maximum", time.Hour, "ws-000000001"), now.Add(-c.ago), now.Add(-c.ago+50*time.Minute))
		if len(got) == 0 || !strings.HasPrefix(got[0], c.want) {
			t.Errorf("%v ago: %v, want %s", c.ago, got, c.want)
		}
	}
}

func TestEveryPointIsOnOnePage(t *testing.T) {
	now := when(t, "20 00:00")
	lives := []lived{
		{id: "ws-000000001", spans: []string{"01 00:00 AVAILABLE ALWAYS_ON"}},
		{id: "ws-000000002", spans: []string{"19 20:00 AVAILABLE ALWAYS_ON"}},
		{id: "ws-000000003", spans: []string{"19 22:30 AVAILABLE ALWAYS_ON"}},
	}
	b := remembering(t, now, lives)
	queries := []types.MetricDataQuery{
		query("a", "CPUUsage", "Average", 5*time.Minute, "ws-000000001"),
		query("none", "CPUUsage", "Average", 5*time.Minute, "ws-000000009"),
		query("b", "CPUUsage", "Average", 5*time.Minute, "ws-000000002"),
		query("c", "CPUUsage", "Average", 5*time.Minute, "ws-000000003"),
	}
	queries = append(queries, query("hidden", "CPUUsage", "Average", 5*time.Minute, "ws-000000001"))
	queries[4].ReturnData = aws.Bool(false)
	type answer map[string][]string
	collect := func(order types.ScanBy, size int32) (answer, int) {
		t.Helper()
		in := &cloudwatch.GetMetricDataInput{
			StartTime: aws.Time(now.Add(-10 * time.Hour)), EndTime: &now, MetricDataQueries: queries, ScanBy: order, MaxDatapoints: &size,
		}
		got, status := answer{}, map[string]types.StatusCode{}
		for pages := 1; ; pages++ {
			out, err := b.metrics("us-east-1").GetMetricData(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, r := range out.MetricDataResults {
				n += len(r.Values)
				for i, at := range r.Timestamps {
					got[*r.Id] = append(got[*r.Id], fmt.Sprint(at.Unix(), r.Values[i]))
				}
				status[*r.Id] = r.StatusCode
			}
			if n > int(size) {
				t.Fatalf("%d points on a page of %d", n, size)
			}
			if out.NextToken == nil {
				for id, s := range status {
					if s != types.StatusCodeComplete {
						t.Errorf("%s ends with %s", id, s)
					}
				}
				if len(status) != 4 {
					t.Errorf("answers for %v", status)
				}
				return got, pages
			}
			if pages == 1 && status["c"] != types.StatusCodePartialData {
				t.Errorf("the first page says of c %s", status["c"])
			}
			in.NextToken = out.NextToken
		}
	}
	want, pages := collect(types.ScanByTimestampAscending, 100_800)
	if pages != 1 || len(want["a"]) != 120 || len(want["b"]) != 48 || len(want["c"]) != 18 {
		t.Fatalf("%d pages, %d %d %d", pages, len(want["a"]), len(want["b"]), len(want["c"]))
	}
	for _, size := range []int32{1, 7, 48, 60, 120, 168, 185} {
		got, _ := collect(types.ScanByTimestampAscending, size)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d: %s", size, diff)
		}
		got, _ = collect(types.ScanByTimestampDescending, size)
		for _, points := range got {
			slices.Reverse(points)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d, backwards: %s", size, diff)
		}
	}
}

func TestWhatCloudWatchRefuses(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice"))
	client := b.metrics("us-east-1")
	good := func() *cloudwatch.GetMetricDataInput {
		return &cloudwatch.GetMetricDataInput{
			StartTime: aws.Time(start.Add(-time.Hour)), EndTime: &start,
			MetricDataQueries: []types.MetricDataQuery{query("m", "CPUUsage", "Average", time.Minute, id)},
		}
	}
	if _, err := client.GetMetricData(t.Context(), good()); err != nil {
		t.Fatal(err)
	}
	const value, combination, required, token = "InvalidParameterValue", "InvalidParameterCombination", "MissingParameter", "InvalidNextToken"
	for name, c := range map[string]struct {
		change func(in *cloudwatch.GetMetricDataInput, q *types.MetricDataQuery)
		want   string
	}{
		"times in turn": {func(in *cloudwatch.GetMetricDataInput, _ *types.MetricDataQuery) { in.StartTime = in.EndTime }, value},
		"scan":          {func(in *cloudwatch.GetMetricDataInput, _ *types.MetricDataQuery) { in.ScanBy = "Sideways" }, value},
		"no points":     {func(in *cloudwatch.GetMetricDataInput, _ *types.MetricDataQuery) { in.MaxDatapoints = aws.Int32(0) }, value},
		"too many points": {func(in *cloudwatch.GetMetricDataInput, _ *types.MetricDataQuery) {
			in.MaxDatapoints = aws.Int32(100_801)
		}, value},
		"token":     {func(in *cloudwatch.GetMetricDataInput, _ *types.MetricDataQuery) { in.NextToken = aws.String("AAAA") }, token},
		"id":        {func(_ *cloudwatch.GetMetricDataInput, q *types.MetricDataQuery) { q.Id = aws.String("M1") }, value},
		"no id":     {func(_ *cloudwatch.GetMetricDataInput, q *types.MetricDataQuery) { q.Id = aws.String("") }, required},
		"period":    {func(_ *cloudwatch.GetMetricDataInput, q *types.MetricDataQuery) { q.MetricStat.Period = aws.Int32(90) }, value},
		"no period": {func(_ *cloudwatch.GetMetricDataInput, q *types.MetricDataQuery) { q.MetricStat.Period = aws.Int32(0) }, value},
		"statistic": {func(_ *cloudwatch.GetMetricDataInput, q *types.MetricDataQuery) {
			q.MetricStat.Stat = aws.String("Median")
		}, value},
		"percentile": {func(_ *cloudwatch.GetMetricDataInput, q *types.MetricDataQuery) {
			q.MetricStat.Stat = aws.String("p101")
		}, value},
		"no statistic": {func(_ *cloudwatch.GetMetricDataInput, q *types.MetricDataQuery) { q.MetricStat.Stat = aws.String("") }, required},
		"account":      {func(_ *cloudwatch.GetMetricDataInput, q *types.MetricDataQuery) { q.AccountId = aws.String("1") }, value},
		"math": {func(_ *cloudwatch.GetMetricDataInput, q *types.MetricDataQuery) {
			q.MetricStat, q.Expression = nil, aws.String("m1*2")
		}, value},
		"neither":              {func(_ *cloudwatch.GetMetricDataInput, q *types.MetricDataQuery) { q.MetricStat = nil }, required},
		"both":                 {func(_ *cloudwatch.GetMetricDataInput, q *types.MetricDataQuery) { q.Expression = aws.String("m1*2") }, combination},
		"a period of the math": {func(_ *cloudwatch.GetMetricDataInput, q *types.MetricDataQuery) { q.Period = aws.Int32(60) }, combination},
		"ids twice": {func(in *cloudwatch.GetMetricDataInput, q *types.MetricDataQuery) {
			in.MetricDataQueries = append(in.MetricDataQueries, *q)
		}, value},
		"501 queries": {func(in *cloudwatch.GetMetricDataInput, q *types.MetricDataQuery) {
			for i := range 500 {
				in.MetricDataQueries = append(in.MetricDataQueries, query(fmt.Sprintf("m%d", i), "CPUUsage", "Sum", time.Minute, id))
			}
		}, value},
	} {
		t.Run(name, func(t *testing.T) {
			in := good()
			c.change(in, &in.MetricDataQueries[0])
			_, err := client.GetMetricData(t.Context(), in)
			wantAPIError(t, err, c.want)
		})
	}
	// The types are what Go programs look for.
	in := good()
	in.MetricDataQueries[0].MetricStat, in.MetricDataQueries[0].Expression = nil, aws.String("m1*2")
	_, err := client.GetMetricData(t.Context(), in)
	if typed := (*types.InvalidParameterValueException)(nil); !errors.As(err, &typed) || !strings.Contains(typed.ErrorMessage(), "no metric math") {
		t.Errorf("math: %v", err)
	}
	in = good()
	in.NextToken = aws.String("AAAA")
	_, err = client.GetMetricData(t.Context(), in)
	if typed := (*types.InvalidNextToken)(nil); !errors.As(err, &typed) || typed.ErrorMessage() == "" {
		t.Errorf("token: %v", err)
	}
	_, err = client.ListDashboards(t.Context(), &cloudwatch.ListDashboardsInput{})
	wantAPIError(t, err, "UnknownOperationException")

	// A token is for the question it was given with.
	in = good()
	in.MaxDatapoints = aws.Int32(1)
	b.clock.advance(50 * time.Minute)
	in.EndTime = aws.Time(b.clock.Now())
	out, err := client.GetMetricData(t.Context(), in)
	if err != nil || out.NextToken == nil {
		t.Fatal(err, out)
	}
	in.NextToken, in.ScanBy = out.NextToken, types.ScanByTimestampAscending
	_, err = client.GetMetricData(t.Context(), in)
	wantAPIError(t, err, token)
}

func wantAPIError(t *testing.T, err error, want string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != want || api.ErrorMessage() == "" {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestGetMetricStatistics(t *testing.T) {
	b := remembering(t, when(t, "10 10:30"), []lived{day})
	client := b.metrics("us-east-1")
	good := func() *cloudwatch.GetMetricStatisticsInput {
		return &cloudwatch.GetMetricStatisticsInput{
			Namespace: aws.String("AWS/WorkSpaces"), MetricName: aws.String("UserConnected"), Period: aws.Int32(600),
			Dimensions: []types.Dimension{{Name: aws.String("WorkspaceId"), Value: aws.String("ws-000000001")}},
			StartTime:  aws.Time(when(t, "10 09:00")), EndTime: aws.Time(when(t, "10 10:00")),
			Statistics: []types.Statistic{"Average", "Maximum", "Minimum", "Sum", "SampleCount"},
		}
	}
	out, err := client.GetMetricStatistics(t.Context(), good())
	if err != nil || *out.Label != "UserConnected" {
		t.Fatal(err)
	}
	var got []string
	for _, p := range out.Datapoints {
		got = append(got, fmt.Sprintf("%s avg %v max %v min %v sum %v n %v %s", p.Timestamp.UTC().Format("15:04"), *p.Average, *p.Maximum, *p.Minimum, *p.Sum, *p.SampleCount, p.Unit))
	}
	want := []string{
		"09:00 avg 1 max 1 min 1 sum 2 n 2 Count", "09:10 avg 0.5 max 1 min 0 sum 1 n 2 Count",
		"09:20 avg 0.5 max 1 min 0 sum 1 n 2 Count", "09:30 avg 0 max 0 min 0 sum 0 n 1 Count",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	in := good()
	in.Statistics, in.ExtendedStatistics = nil, []string{"p10", "p90"}
	out, err = client.GetMetricStatistics(t.Context(), in)
	if err != nil || len(out.Datapoints) != 4 || out.Datapoints[1].ExtendedStatistics["p10"] != 0 || out.Datapoints[1].ExtendedStatistics["p90"] != 1 {
		t.Errorf("%v %+v", err, out)
	}
	for name, c := range map[string]struct {
		change func(in *cloudwatch.GetMetricStatisticsInput)
		want   string
	}{
		"both":      {func(in *cloudwatch.GetMetricStatisticsInput) { in.ExtendedStatistics = []string{"p1"} }, "InvalidParameterCombination"},
		"neither":   {func(in *cloudwatch.GetMetricStatisticsInput) { in.Statistics = nil }, "MissingParameter"},
		"statistic": {func(in *cloudwatch.GetMetricStatisticsInput) { in.Statistics = []types.Statistic{"Mode"} }, "InvalidParameterValue"},
		"period":    {func(in *cloudwatch.GetMetricStatisticsInput) { in.Period = aws.Int32(30) }, "InvalidParameterValue"},
		"metric":    {func(in *cloudwatch.GetMetricStatisticsInput) { in.MetricName = aws.String("") }, "MissingParameter"},
		"namespace": {func(in *cloudwatch.GetMetricStatisticsInput) { in.Namespace = aws.String("") }, "MissingParameter"},
		"too much": {func(in *cloudwatch.GetMetricStatisticsInput) {
			in.Period, in.StartTime = aws.Int32(60), aws.Time(when(t, "09 09:00"))
		}, "InvalidParameterCombination"},
		"percentile": {func(in *cloudwatch.GetMetricStatisticsInput) {
			in.Statistics, in.ExtendedStatistics = nil, []string{"Sum"}
		}, "InvalidParameterValue"},
	} {
		t.Run(name, func(t *testing.T) {
			in := good()
			c.change(in)
			_, err := client.GetMetricStatistics(t.Context(), in)
			wantAPIError(t, err, c.want)
		})
	}
}

func TestListMetricsAndDirectories(t *testing.T) {
	b := remembering(t, when(t, "10 10:30"), []lived{
		day,
		{id: "ws-000000002", spans: []string{"01 00:00 AVAILABLE ALWAYS_ON", "10 09:00 AVAILABLE connected"}},
		{id: "ws-000000003", spans: []string{"2026-03-01 00:00 AVAILABLE ALWAYS_ON", "2026-03-02 00:00 ABSENT"}},
		{id: "ws-000000004", region: "eu-west-1", spans: []string{"01 00:00 AVAILABLE ALWAYS_ON"}},
		{id: "ws-000000005", spans: []string{"10 10:29 PENDING ALWAYS_ON"}},
		{id: "ws-000000006", spans: []string{"01 00:00 AVAILABLE ALWAYS_ON", "10 05:00 ABSENT"}},
	})
	list := func(in *cloudwatch.ListMetricsInput) []string {
		t.Helper()
		out, err := b.metrics("us-east-1").ListMetrics(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range out.Metrics {
			if *m.Namespace != "AWS/WorkSpaces" || len(m.Dimensions) != 1 {
				t.Errorf("%+v", m)
			}
			names = append(names, *m.MetricName+" "+*m.Dimensions[0].Value)
		}
		return names
	}
	connected := []string{"UserConnected " + directory, "UserConnected ws-000000001", "UserConnected ws-000000002", "UserConnected ws-000000006"}
	if diff := cmp.Diff(connected, list(&cloudwatch.ListMetricsInput{MetricName: aws.String("UserConnected")})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(connected[:3], list(&cloudwatch.ListMetricsInput{MetricName: aws.String("UserConnected"), RecentlyActive: "PT3H"})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(connected[1:], list(&cloudwatch.ListMetricsInput{MetricName: aws.String("UserConnected"), Dimensions: []types.DimensionFilter{{Name: aws.String("WorkspaceId")}}})); diff != "" {
		t.Error(diff)
	}
	if got := list(&cloudwatch.ListMetricsInput{Dimensions: []types.DimensionFilter{{Name: aws.String("WorkspaceId"), Value: aws.String("ws-000000002")}}}); len(got) != 16 {
		t.Errorf("of one WorkSpace: %v", got)
	}
	if got := list(&cloudwatch.ListMetricsInput{Namespace: aws.String("AWS/EC2")}); got != nil {
		t.Errorf("of another namespace: %v", got)
	}
	_, err := b.metrics("us-east-1").ListMetrics(t.Context(), &cloudwatch.ListMetricsInput{NextToken: aws.String("x")})
	wantAPIError(t, err, "InvalidNextToken")

	// A directory sums its WorkSpaces up: two of them at 09:00, ws-000000006 being gone.
	q := query("m", "UserConnected", "Sum", 5*time.Minute, directory)
	q.MetricStat.Metric.Dimensions[0].Name = aws.String("DirectoryId")
	if diff := cmp.Diff([]string{"09:00=2", "09:05=2", "09:10=2", "09:15=1"}, b.data(q, when(t, "10 09:00"), when(t, "10 09:20"))); diff != "" {
		t.Error(diff)
	}
}

func TestListMetricsHasPages(t *testing.T) {
	var lives []lived
	for i := range 70 { // × 16 metrics, and the directory's
		lives = append(lives, lived{id: fmt.Sprintf("ws-%09d", i), spans: []string{"01 00:00 AVAILABLE ALWAYS_ON"}})
	}
	b := remembering(t, when(t, "10 10:30"), lives)
	seen := map[string]bool{}
	pages := cloudwatch.NewListMetricsPaginator(b.metrics("us-east-1"), &cloudwatch.ListMetricsInput{})
	n := 0
	for ; pages.HasMorePages(); n++ {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range out.Metrics {
			seen[*m.MetricName+*m.Dimensions[0].Value] = true
		}
	}
	if n != 3 || len(seen) != 71*16 {
		t.Errorf("%d pages with %d metrics", n, len(seen))
	}
}

func TestCloudWatchIsSubjectToFaultsAndLogged(t *testing.T) {
	b := newBench(t)
	b.fault(fault{Kind: "throttle"})
	_, err := b.metrics("us-east-1").ListMetrics(t.Context(), &cloudwatch.ListMetricsInput{})
	wantAPIError(t, err, "ThrottlingException")
	b.fault(fault{Kind: "drop_response_after_apply"})
	if _, err := b.metrics("us-east-1").ListMetrics(t.Context(), &cloudwatch.ListMetricsInput{}); err == nil || errors.As(err, new(smithy.APIError)) {
		t.Errorf("dropped: %v", err)
	}
	if _, err := b.metrics("us-east-1").ListMetrics(t.Context(), &cloudwatch.ListMetricsInput{}); err != nil {
		t.Error(err)
	}
	var outcomes []string
	for _, r := range b.requests() {
		outcomes = append(outcomes, r.Op+" "+r.Outcome)
	}
	want := []string{"ListMetrics throttle", "ListMetrics drop_response_after_apply", "ListMetrics ok"}
	if diff := cmp.Diff(want, outcomes); diff != "" {
		t.Error(diff)
	}
	if err := b.emu.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = b.metrics("us-east-1").ListMetrics(t.Context(), &cloudwatch.ListMetricsInput{})
	wantAPIError(t, err, "InternalServiceError")
}

// FuzzCloudWatch sends anything to every operation: it must not panic, and must answer in CBOR.
func FuzzCloudWatch(f *testing.F) {
	ops := []string{"GetMetricData", "GetMetricStatistics", "ListMetrics", "PutMetricData"}
	seed := cbor.Encode(cbor.Map{
		"StartTime": &cbor.Tag{ID: 1, Value: cbor.Float64(1.7e9)}, "EndTime": &cbor.Tag{ID: 1, Value: cbor.Float64(1e300)},
		"MetricDataQueries": cbor.List{cbor.Map{"Id": cbor.String("m"), "MetricStat": cbor.Map{
			"Stat": cbor.String("p99"), "Period": cbor.Uint(60), "Metric": cbor.Map{
				"Namespace": cbor.String("AWS/WorkSpaces"), "MetricName": cbor.String("CPUUsage"),
				"Dimensions": cbor.List{cbor.Map{"Name": cbor.String("DirectoryId"), "Value": cbor.String(directory)}},
			},
		}}},
		"Namespace": cbor.String("AWS/WorkSpaces"), "MetricName": cbor.String("CPUUsage"), "Statistics": cbor.List{cbor.String("Sum")},
	})
	for i := range ops {
		f.Add(i, seed)
		f.Add(i, []byte{0xa0})
		f.Add(i, []byte{})
		f.Add(i, []byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		f.Add(i, cbor.Encode(cbor.Map{"NextToken": cbor.String("AAAAAAAAAAAAAAAAAAAAAA"), "StartTime": cbor.NegInt(math.MaxInt64), "EndTime": cbor.Uint(math.MaxUint64)}))
	}
	emu, err := emulator.New(emulator.Config{Directories: []emulator.Directory{{ID: directory, Users: []string{emulator.AnyUser}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, op int, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/service/GraniteServiceVersion20100801/operation/"+ops[uint(op)%uint(len(ops))], bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/cbor")
		r.Header.Set("Smithy-Protocol", "rpc-v2-cbor")
		w := httptest.NewRecorder()
		emu.ServeHTTP(w, r)
		value, err := cbor.Decode(w.Body.Bytes())
		answer, ok := value.(cbor.Map)
		if err != nil || !ok || w.Code >= http.StatusInternalServerError {
			t.Fatalf("status %d with %x: %v", w.Code, w.Body, err)
		}
		if _, isError := answer["__type"]; isError != (w.Code != http.StatusOK) {
			t.Fatalf("status %d with %v", w.Code, answer)
		}
	})
}
