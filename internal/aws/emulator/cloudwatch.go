package emulator

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

const (
	namespace = "AWS/WorkSpaces"

	maxQueries    = 500     // of one GetMetricData
	maxDatapoints = 100_800 // of one page of GetMetricData
	maxStatistics = 1_440   // data points of one GetMetricStatistics
	maxListed     = 500     // metrics on one page of ListMetrics

	// listedFor is how long a metric without new data is listed.
	listedFor = 14 * 24 * time.Hour
	// recentlyActive is what PT3H asks for.
	recentlyActive = 3 * time.Hour

	workspaceDimension = "WorkspaceId"
	directoryDimension = "DirectoryId"
)

// retention is how long CloudWatch keeps data points of a period: the longer the period, the longer.
func retention(period time.Duration) time.Duration {
	const day = 24 * time.Hour
	switch {
	case period%time.Hour == 0:
		return 455 * day
	case period%(5*time.Minute) == 0:
		return 63 * day
	}
	return 15 * day
}

type dimension struct{ Name, Value string }

type metricName struct {
	Namespace  string
	MetricName string
	Dimensions []dimension
}

type metricStat struct {
	Metric *metricName
	Period *int32
	Stat   string
	Unit   string
}

type metricQuery struct {
	Id         string
	AccountId  string
	Expression string
	Label      string
	MetricStat *metricStat
	Period     *int32
	ReturnData *bool
}

type getMetricDataInput struct {
	MetricDataQueries []metricQuery
	StartTime         *cborSeconds
	EndTime           *cborSeconds
	NextToken         string
	ScanBy            string
	MaxDatapoints     *int32
}

// queryID is what a query may be called.
var queryID = regexp.MustCompile(`^[a-z][a-zA-Z0-9_]{0,254}$`)

// getMetricData gives each query's data points. Those that do not fit on a page follow on the next: queries
// in their order, each query's points in the order of the scan, so that one query may be spread over pages.
// A page names every query that is not finished, with the status PartialData.
func getMetricData(e *Emulator, c *call, in getMetricDataInput) (cbor.Map, error) {
	queries, err := in.check(c)
	if err != nil {
		return nil, err
	}
	room := maxDatapoints
	if in.MaxDatapoints != nil {
		room = int(*in.MaxDatapoints)
	}
	first, after := 0, int64(0)
	if in.NextToken != "" {
		position, ok := c.openToken(in.NextToken)
		if first, after = splitPosition(position); !ok || first < 0 || first >= len(queries) {
			return nil, &apiError{Type: "InvalidNextToken", Message: "The next token specified is not valid."}
		}
	}
	past, err := e.past(c, func(h *history) bool {
		return slices.ContainsFunc(queries, func(q checkedQuery) bool { return q.series.about(h) })
	})
	if err != nil {
		return nil, err
	}
	descending := in.ScanBy != "TimestampAscending"
	results := cbor.List{}
	token := ""
	for i := first; i < len(queries); i++ {
		q := queries[i]
		if !q.wanted {
			continue
		}
		var points []point
		if token == "" {
			points = q.series.points(past, c.at)
			if descending {
				slices.Reverse(points)
			}
			if i == first && after != 0 {
				points = slices.DeleteFunc(points, func(p point) bool {
					return (descending && p.at.Unix() >= after) || (!descending && p.at.Unix() <= after)
				})
			}
			if len(points) > room {
				points = points[:room]
				var last int64 // 0: nothing of the query fitted
				if room > 0 {
					last = points[room-1].at.Unix()
				}
				token = c.sealToken(joinPosition(i, last))
			}
			room -= len(points)
		}
		results = append(results, q.result(points, token == ""))
	}
	out := cbor.Map{"MetricDataResults": results, "Messages": cbor.List{}}
	if token != "" {
		out["NextToken"] = cbor.String(token)
	}
	return out, nil
}

// A page begins at a query, after a point of it. Points are dated in whole minutes since 1970, far below 2^40.
const positionShift = 40

func joinPosition(query int, after int64) int64 { return int64(query)<<positionShift | after }

func splitPosition(p int64) (query int, after int64) {
	return int(p >> positionShift), p & (1<<positionShift - 1)
}

// checkedQuery is a query that can be answered.
type checkedQuery struct {
	id, label string
	wanted    bool
	series    series
}

func (q *checkedQuery) result(points []point, complete bool) cbor.Map {
	times, values := make(cbor.List, len(points)), make(cbor.List, len(points))
	for i, p := range points {
		times[i], values[i] = cborTime(p.at), cbor.Float64(p.value)
	}
	status := "Complete"
	if !complete {
		status = "PartialData"
	}
	return cbor.Map{
		"Id": cbor.String(q.id), "Label": cbor.String(q.label), "StatusCode": cbor.String(status),
		"Timestamps": times, "Values": values,
	}
}

func (in *getMetricDataInput) check(c *call) ([]checkedQuery, error) {
	from, until, err := checkRange(in.StartTime, in.EndTime)
	if err != nil {
		return nil, err
	}
	switch {
	case len(in.MetricDataQueries) == 0:
		return nil, missing("MetricDataQueries")
	case len(in.MetricDataQueries) > maxQueries:
		return nil, invalidValue("The collection MetricDataQueries must not have a size greater than %d.", maxQueries)
	case in.ScanBy != "" && in.ScanBy != "TimestampAscending" && in.ScanBy != "TimestampDescending":
		return nil, invalidValue("The value %s for parameter ScanBy is not supported.", in.ScanBy)
	case in.MaxDatapoints != nil && (*in.MaxDatapoints < 1 || *in.MaxDatapoints > maxDatapoints):
		return nil, invalidValue("The value %d for parameter MaxDatapoints is not supported: it is 1 to %d.", *in.MaxDatapoints, maxDatapoints)
	}
	queries := make([]checkedQuery, 0, len(in.MetricDataQueries))
	seen := map[string]bool{}
	for i, q := range in.MetricDataQueries {
		at := "MetricDataQueries.member." + strconv.Itoa(i+1)
		checked, err := q.check(c, at)
		if err != nil {
			return nil, err
		}
		if seen[q.Id] {
			return nil, invalidValue("The values for parameter id in MetricDataQueries are not unique: %s.", q.Id)
		}
		seen[q.Id] = true
		checked.series.from, checked.series.until = from, until
		queries = append(queries, checked)
	}
	return queries, nil
}

func (q *metricQuery) check(c *call, at string) (checkedQuery, error) {
	none := checkedQuery{}
	switch {
	case q.Id == "":
		return none, missing(at + ".Id")
	case !queryID.MatchString(q.Id):
		return none, invalidValue("The value %s for parameter %s.Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.", q.Id, at)
	case q.Expression != "" && q.MetricStat != nil:
		return none, invalidCombination("The parameters %s.Expression and %s.MetricStat cannot be used together.", at, at)
	case q.Expression != "":
		return none, invalidValue("The parameter %s.Expression is not supported: the emulator has no metric math and no Metrics Insights.", at)
	case q.AccountId != "" && q.AccountId != c.account():
		return none, invalidValue("The value %s for parameter %s.AccountId is not an account that can be read.", q.AccountId, at)
	case q.MetricStat == nil:
		return none, missing(at + ".MetricStat")
	case q.Period != nil:
		return none, invalidCombination("The parameter %s.Period is for expressions; that of MetricStat is inside it.", at)
	case q.MetricStat.Metric == nil:
		return none, missing(at + ".MetricStat.Metric")
	case q.MetricStat.Stat == "":
		return none, missing(at + ".MetricStat.Stat")
	}
	stat, ok := parseStatistic(q.MetricStat.Stat)
	if !ok {
		return none, invalidValue("The value %s for parameter %s.MetricStat.Stat is not supported.", q.MetricStat.Stat, at)
	}
	period, err := checkPeriod(q.MetricStat.Period, at+".MetricStat.Period")
	if err != nil {
		return none, err
	}
	label := q.Label
	if label == "" {
		label = q.MetricStat.Metric.MetricName
	}
	return checkedQuery{
		id: q.Id, label: label, wanted: q.ReturnData == nil || *q.ReturnData,
		series: series{metricName: *q.MetricStat.Metric, unit: q.MetricStat.Unit, period: period, stat: stat},
	}, nil
}

func checkRange(start, end *cborSeconds) (from, until time.Time, err error) {
	switch {
	case start == nil:
		return from, until, missing("StartTime")
	case end == nil:
		return from, until, missing("EndTime")
	case *start >= *end:
		return from, until, invalidValue("The parameter StartTime must be less than the parameter EndTime.")
	}
	return start.time(), end.time(), nil
}

func checkPeriod(seconds *int32, at string) (time.Duration, error) {
	if seconds == nil {
		return 0, missing(at)
	}
	if *seconds <= 0 || *seconds%60 != 0 {
		return 0, invalidValue("The value %d for parameter %s must be a multiple of 60: no metric here has a finer resolution.", *seconds, at)
	}
	return time.Duration(*seconds) * time.Second, nil
}

// past gives the timelines of the call's account and Region that are wanted.
func (e *Emulator) past(c *call, wanted func(*history) bool) ([]*timeline, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return nil, &apiError{Type: "InternalServiceFault", Message: "The emulator is closed.", status: 503}
	}
	c.at = e.now()
	return e.world.timelines(c.at, func(h *history) bool { return h.Region == c.region && wanted(h) }), nil
}

// statistic makes one number of the values of a period.
type statistic func(*bucket) float64

// bucket is what a period has of values.
type bucket struct {
	values   []float64
	sum      float64
	min, max float64
}

func (b *bucket) add(value float64) {
	if len(b.values) == 0 {
		b.min, b.max = value, value
	}
	b.values = append(b.values, value)
	b.sum += value
	b.min, b.max = min(b.min, value), max(b.max, value)
}

var statistics = map[string]statistic{
	"Average":     func(b *bucket) float64 { return b.sum / float64(len(b.values)) },
	"Maximum":     func(b *bucket) float64 { return b.max },
	"Minimum":     func(b *bucket) float64 { return b.min },
	"Sum":         func(b *bucket) float64 { return b.sum },
	"SampleCount": func(b *bucket) float64 { return float64(len(b.values)) },
}

// percentile is p0 to p100, with at most ten decimals.
var percentile = regexp.MustCompile(`^p(\d{1,2}(?:\.\d{1,10})?|100(?:\.0{1,10})?)$`)

// parseStatistic knows the five simple statistics and percentiles. A percentile is the smallest value that at
// least so many percent of the values do not exceed; Amazon's are close to that.
func parseStatistic(name string) (statistic, bool) {
	if s, ok := statistics[name]; ok {
		return s, true
	}
	m := percentile.FindStringSubmatch(name)
	if m == nil {
		return nil, false
	}
	p, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return nil, false
	}
	return func(b *bucket) float64 {
		slices.Sort(b.values)
		rank := int(math.Ceil(p / 100 * float64(len(b.values))))
		return b.values[max(rank, 1)-1]
	}, true
}

// point is one data point: at is when its period begins.
type point struct {
	at    time.Time
	value float64
}

// series is one metric over a time, in periods.
type series struct {
	metricName
	unit        string
	period      time.Duration
	from, until time.Time
	stat        statistic
}

// points are the data points of the periods that have any, oldest first.
func (s *series) points(past []*timeline, now time.Time) []point {
	var points []point
	s.each(past, now, func(at time.Time, b *bucket) { points = append(points, point{at, s.stat(b)}) })
	return points
}

// each gives the periods that have values, oldest first. Periods are counted from the start, which is rounded
// down: to the minute, and to five or sixty when what is asked for is so old that nothing finer is kept.
// What is older than its period is kept for is not there.
func (s *series) each(past []*timeline, now time.Time, yield func(at time.Time, b *bucket)) {
	m, known := findMetric(s.MetricName)
	if !known || s.Namespace != namespace || (s.unit != "" && s.unit != m.unit) {
		return
	}
	from := s.from
	switch age := now.Sub(from); {
	case age > retention(5*time.Minute):
		from = from.Truncate(time.Hour)
	case age > retention(time.Minute):
		from = from.Truncate(5 * time.Minute)
	default:
		from = from.Truncate(time.Minute)
	}
	if old := now.Add(-retention(s.period)).Unix() - from.Unix(); old > 0 {
		// The first period that lies wholly within what is kept. In seconds: a Duration does not hold all years.
		period := int64(s.period / time.Second)
		from = time.Unix(from.Unix()+(old+period-1)/period*period, 0).UTC()
	}
	until := s.until
	if until.After(now) {
		until = now
	}
	if !from.Before(until) {
		return
	}
	buckets := map[int64]*bucket{}
	for _, l := range past {
		if !s.about(l.history) {
			continue
		}
		l.samples(m, from, until, func(t time.Time, value float64) {
			n := int64(t.Sub(from) / s.period)
			b, ok := buckets[n]
			if !ok {
				b = &bucket{}
				buckets[n] = b
			}
			b.add(value)
		})
	}
	for n := range int64((until.Sub(from) + s.period - 1) / s.period) {
		if b, ok := buckets[n]; ok {
			yield(from.Add(time.Duration(n)*s.period), b)
		}
	}
}

// about reports whether the metric is the WorkSpace's, or one its directory sums up. Amazon publishes under
// more dimensions, each by itself; these two are emulated.
func (s *series) about(h *history) bool {
	if len(s.Dimensions) != 1 {
		return false
	}
	switch d := s.Dimensions[0]; d.Name {
	case workspaceDimension:
		return d.Value == h.ID
	case directoryDimension:
		return d.Value == h.DirectoryID
	}
	return false
}

type getMetricStatisticsInput struct {
	metricName
	StartTime          *cborSeconds
	EndTime            *cborSeconds
	Period             *int32
	Statistics         []string
	ExtendedStatistics []string
	Unit               string
}

// getMetricStatistics gives one metric's data points in no order that a client may rely on; here oldest first.
func getMetricStatistics(e *Emulator, c *call, in getMetricStatisticsInput) (cbor.Map, error) {
	from, until, err := checkRange(in.StartTime, in.EndTime)
	if err != nil {
		return nil, err
	}
	period, err := checkPeriod(in.Period, "Period")
	if err != nil {
		return nil, err
	}
	simple, extended, err := in.check()
	if err != nil {
		return nil, err
	}
	if n := (until.Unix() - from.Unix()) / int64(period/time.Second); n > maxStatistics {
		return nil, invalidCombination("You have requested up to %d datapoints, which exceeds the limit of %d. "+
			"You may reduce the datapoints requested by increasing Period, or decreasing the time range.", n, maxStatistics)
	}
	s := series{metricName: in.metricName, unit: in.Unit, period: period, from: from, until: until}
	past, err := e.past(c, s.about)
	if err != nil {
		return nil, err
	}
	m, _ := findMetric(in.MetricName)
	points := cbor.List{}
	s.each(past, c.at, func(at time.Time, b *bucket) {
		p := cbor.Map{"Timestamp": cborTime(at), "Unit": cbor.String(m.unit)}
		for name, stat := range simple {
			p[name] = cbor.Float64(stat(b))
		}
		if len(extended) > 0 {
			more := cbor.Map{}
			for name, stat := range extended {
				more[name] = cbor.Float64(stat(b))
			}
			p["ExtendedStatistics"] = more
		}
		points = append(points, p)
	})
	return cbor.Map{"Label": cbor.String(in.MetricName), "Datapoints": points}, nil
}

func (in *getMetricStatisticsInput) check() (simple, extended map[string]statistic, err error) {
	switch {
	case in.Namespace == "":
		return nil, nil, missing("Namespace")
	case in.MetricName == "":
		return nil, nil, missing("MetricName")
	case len(in.Statistics) == 0 && len(in.ExtendedStatistics) == 0:
		return nil, nil, missing("Statistics")
	case len(in.Statistics) > 0 && len(in.ExtendedStatistics) > 0:
		return nil, nil, invalidCombination("The parameters Statistics and ExtendedStatistics cannot be used together.")
	case len(in.ExtendedStatistics) > 10:
		return nil, nil, invalidValue("The collection ExtendedStatistics must not have a size greater than 10.")
	}
	simple, extended = map[string]statistic{}, map[string]statistic{}
	for _, name := range in.Statistics {
		stat, ok := statistics[name]
		if !ok {
			return nil, nil, invalidValue("The value %s for parameter Statistics is not supported.", name)
		}
		simple[name] = stat
	}
	for _, name := range in.ExtendedStatistics {
		stat, ok := parseStatistic(name)
		if !ok || !strings.HasPrefix(name, "p") {
			return nil, nil, invalidValue("The value %s for parameter ExtendedStatistics is not supported.", name)
		}
		extended[name] = stat
	}
	return simple, extended, nil
}

type listMetricsInput struct {
	Namespace      string
	MetricName     string
	Dimensions     []struct{ Name, Value string } // Value may be left out
	RecentlyActive string
	NextToken      string
}

// listMetrics gives the metrics that had data in the last two weeks: each WorkSpace's, and each directory's.
func listMetrics(e *Emulator, c *call, in listMetricsInput) (cbor.Map, error) {
	within := listedFor
	switch {
	case in.RecentlyActive == "PT3H":
		within = recentlyActive
	case in.RecentlyActive != "":
		return nil, invalidValue("The value %s for parameter RecentlyActive is not supported: it can be PT3H only.", in.RecentlyActive)
	case len(in.Dimensions) > 10:
		return nil, invalidValue("The collection Dimensions must not have a size greater than 10.")
	}
	for _, d := range in.Dimensions {
		if d.Name == "" {
			return nil, missing("Dimensions.member.Name")
		}
	}
	past, err := e.past(c, func(*history) bool { return true })
	if err != nil {
		return nil, err
	}
	found := in.matching(past, c.at.Add(-within))
	positions := make([]int64, len(found))
	for i := range found {
		positions[i] = int64(i) + 1
	}
	positions, next, err := page(c, positions, func(i int64) int64 { return i }, maxListed, in.NextToken)
	if err != nil {
		return nil, &apiError{Type: "InvalidNextToken", Message: "The next token specified is not valid."}
	}
	listed := make(cbor.List, 0, len(positions))
	for _, i := range positions {
		listed = append(listed, found[i-1].wire())
	}
	out := cbor.Map{"Metrics": listed}
	if next != "" {
		out["NextToken"] = cbor.String(next)
	}
	return out, nil
}

// matching are the metrics that the filters let pass and that had data after since.
func (in *listMetricsInput) matching(past []*timeline, since time.Time) []metricName {
	if in.Namespace != "" && in.Namespace != namespace {
		return nil
	}
	var all []dimension
	seen := map[dimension]bool{}
	for _, l := range past {
		if !l.publishedAfter(since) {
			continue
		}
		for _, d := range []dimension{{directoryDimension, l.DirectoryID}, {workspaceDimension, l.ID}} {
			if !seen[d] && in.wants(d) {
				all = append(all, d)
			}
			seen[d] = true
		}
	}
	var found []metricName
	for _, d := range all {
		for _, m := range metrics {
			if in.MetricName == "" || in.MetricName == m.name {
				found = append(found, metricName{namespace, m.name, []dimension{d}})
			}
		}
	}
	return found
}

func (in *listMetricsInput) wants(d dimension) bool {
	for _, f := range in.Dimensions {
		if f.Name != d.Name || (f.Value != "" && f.Value != d.Value) {
			return false
		}
	}
	return true
}

// publishedAfter reports whether the WorkSpace was there, and past its creation, at some time after t.
func (l *timeline) publishedAfter(t time.Time) bool {
	for i, s := range l.spans {
		if s.State != statePending && s.State != stateAbsent && l.end(i).After(t) {
			return true
		}
	}
	return false
}

func (m metricName) wire() cbor.Map {
	dimensions := cbor.List{}
	for _, d := range m.Dimensions {
		dimensions = append(dimensions, cbor.Map{"Name": cbor.String(d.Name), "Value": cbor.String(d.Value)})
	}
	return cbor.Map{"Namespace": cbor.String(m.Namespace), "MetricName": cbor.String(m.MetricName), "Dimensions": dimensions}
}
