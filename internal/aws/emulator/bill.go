package emulator

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// HourRule says what hour an AutoStop WorkSpace is charged for. Amazon does not publish it (rule 7).
type HourRule string

const (
	// ClockHour charges every hour of the UTC clock in which it ran at any time.
	ClockHour HourRule = "clock_hour"
	// SessionCeil charges each run for the hours since its beginning, the last one whole.
	SessionCeil HourRule = "session_ceil"
)

// The bill is what Amazon charges for what really ran, by these rules. The numbers are those that tests and
// comments go by; how certain each is stands behind it.
//
//	 1  AlwaysOn is a monthly fee, due at 00:00 UTC on the 1st, running or not. (high)
//	 2  AutoStop is a smaller monthly fee and one for each hour. (high)
//	 3  The hours are those in which it runs, whether or not somebody is connected. (high)
//	 4  They end when the auto-stop timeout does, though stopping takes minutes more. (high)
//	 5  Amazon's own maintenance counts. (medium)
//	 6  Hours are whole; each is a line of the bill. (medium)
//	 7  They are hours of the UTC clock, or those since the run began: see HourRule. (low)
//	 9  From AutoStop to AlwaysOn: at once; the rest of the month of AlwaysOn comes on top of what was due. (high)
//	10  From AlwaysOn to AutoStop: next month. Until then it is AlwaysOn, whatever it is switched to. (high)
//	11  Created in a month: the AlwaysOn fee is prorated. (high)
//	12  And so is AutoStop's. (medium)
//	13  Terminated in a month: nothing is given back, unless Config.RefundAtTermination. (unknown)
//	14  Migrated in a month: the source is prorated to its end, the target from its creation. (high)
//	15  A fee depends on the volumes, the hourly rate does not. (medium)
//	16  Beyond the pairs of sizes that are sold, volumes cost by the GiB. (medium)
//	17  A change of compute type or volumes changes the fee and the rate. When is not known: here at once, with
//	    the fees prorated before and after. What was due at the time of a switch (9) does not change. (low)
//	19  Windows Server includes its licence; other systems have their own prices, or none. (medium)
//
// Prorating is by time: the part of the month's time that is left, to the nanosecond. The documents say of a
// prorated month only that it is prorated. A WorkSpace is charged from its creation until it is told to
// terminate, once it has been available; one that never was costs nothing.
type bill struct {
	Month      string          `json:"month"`
	From       time.Time       `json:"from"`
	To         time.Time       `json:"to"` // what happened later is not in it
	Currency   string          `json:"currency"`
	HourRule   HourRule        `json:"hour_rule"`
	Refund     bool            `json:"refund_at_termination"`
	Rounding   string          `json:"rounding"`
	Total      dollars         `json:"total"` // of what has a price
	Complete   bool            `json:"complete"`
	Errors     []string        `json:"errors"` // why it is not
	Accounts   []accountTotal  `json:"accounts"`
	Workspaces []resourceTotal `json:"workspaces"`
	Lines      []billLine      `json:"lines"`
}

type accountTotal struct {
	Account string  `json:"usage_account_id"`
	Region  string  `json:"region"`
	Total   dollars `json:"total"`
}

type resourceTotal struct {
	Resource string  `json:"resource_id"`
	Total    dollars `json:"total"`
}

// billLine is one line, in the words of Amazon's Cost and Usage Report. Amounts are exact decimals.
type billLine struct {
	ID          string            `json:"line_item_id"` // the same however often the bill is made
	Account     string            `json:"usage_account_id"`
	Product     string            `json:"product_code"`
	Region      string            `json:"region"`
	Resource    string            `json:"resource_id"`
	UsageType   string            `json:"usage_type"`
	Operation   string            `json:"operation"`
	Start       time.Time         `json:"usage_start"`
	End         time.Time         `json:"usage_end"`
	Amount      string            `json:"usage_amount"` // to ten decimals; the cost is made of the exact one
	Unit        string            `json:"unit"`         // Month or Hour
	Rate        *dollars          `json:"unblended_rate"`
	Cost        *dollars          `json:"unblended_cost"`
	Description string            `json:"description"`
	Tags        map[string]string `json:"resource_tags"`
	Error       string            `json:"error,omitempty"` // noPrice, and then there is neither rate nor cost

	missing string // what has no price
}

const noPrice = "no price"

// biller makes the lines of one month.
type biller struct {
	from, until time.Time // the month
	to          time.Time // how far the bill goes
	prices      *priceBook
	rule        HourRule
	refund      bool

	lines   []billLine
	unknown map[string]int // lines by what has no price
}

// metered are the states in which an AutoStop WorkSpace's hours count: those in which the machine is up
// (rules 3, 4 and 5). The meter runs from AVAILABLE to STOPPING; neither STARTING nor STOPPING is charged.
var metered = map[string]bool{
	stateAvailable: true, stateImpaired: true, stateUnhealthy: true, stateRebooting: true,
	stateRebuilding: true, stateRestoring: true, stateMaintenance: true, stateAdmin: true,
}

// life is a WorkSpace's as far as a bill goes.
type life struct {
	*timeline
	began, ended time.Time // ended is zero while it lasts
	migrated     bool
}

// lifeOf gives what there is to be charged for up to to; ok is false if that is nothing.
func lifeOf(l *timeline, to time.Time) (is life, ok bool) {
	is = life{timeline: l, began: l.Created}
	used := false
	for _, s := range l.spans {
		if !s.From.Before(to) {
			break
		}
		switch s.State {
		case stateTerminating, stateTerminated, stateAbsent:
			if is.ended.IsZero() {
				is.ended, is.migrated = s.From, s.Terms.MigratedTo != ""
			}
		case statePending, stateError:
		default:
			used = true
		}
	}
	return is, used && is.began.Before(to)
}

// piece is a time in which a WorkSpace was sold as one thing.
type piece struct {
	from, until time.Time
	terms       *terms // as they were last
}

// soldAlike reports whether the same fee is due for both.
func soldAlike(a, b *terms) bool {
	return a.Compute == b.Compute && a.System == b.System && a.RootGiB == b.RootGiB && a.UserGiB == b.UserGiB &&
		(a.RunningMode == manual) == (b.RunningMode == manual)
}

// pieces cuts the time from one instant until another where what is sold changes. What is known ends at known;
// what was sold last is sold until the end.
func (l *life) pieces(from, known, until time.Time) []piece {
	var found []piece
	for i, s := range l.spans {
		if !s.From.Before(known) || (!l.ended.IsZero() && !s.From.Before(l.ended)) {
			break
		}
		if !l.end(i).After(from) && i+1 < len(l.spans) {
			continue
		}
		n := len(found)
		switch {
		case n == 0:
			found = append(found, piece{from: from, until: until, terms: s.Terms})
		case soldAlike(found[n-1].terms, s.Terms):
			found[n-1].terms = s.Terms // other tags
		default:
			found[n-1].until = s.From
			found = append(found, piece{from: s.From, until: until, terms: s.Terms})
		}
	}
	return found
}

// alwaysOnSince is when, of the time from one instant until another, the WorkSpace was first AlwaysOn: since then
// it is so for the rest of the month (rules 9 and 10). Zero if never.
func (l *life) alwaysOnSince(from, until time.Time) time.Time {
	if !l.ended.IsZero() && l.ended.Before(until) {
		until = l.ended
	}
	for i, s := range l.spans {
		if !s.From.Before(until) {
			break
		}
		last := i+1 == len(l.spans)
		if s.Terms.RunningMode == alwaysOn && (last || l.end(i).After(from)) {
			return later(s.From, from)
		}
	}
	return time.Time{}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// charge adds the lines of one WorkSpace.
func (b *biller) charge(l *timeline) {
	is, ok := lifeOf(l, b.to)
	if !ok || (!is.ended.IsZero() && !is.ended.After(b.from)) {
		return
	}
	from := later(is.began, b.from) // rules 1, 11, 12
	until := b.until                // rule 13
	if !is.ended.IsZero() && (b.refund || is.migrated) {
		until = earlier(until, is.ended) // rules 13, 14
	}
	switched := is.alwaysOnSince(from, b.to)
	if switched.IsZero() {
		b.fees(&is, autoStop, is.pieces(from, b.to, until))
		b.hours(&is, from, b.to)
		return
	}
	if switched.After(from) { // rule 9: what was due of AutoStop stays due
		b.fees(&is, autoStop, is.pieces(from, switched, until))
		b.hours(&is, from, switched)
	}
	b.fees(&is, alwaysOn, is.pieces(switched, b.to, until))
}

// fees adds the monthly fees of one running mode.
func (b *biller) fees(l *life, mode string, pieces []piece) {
	month := int64(b.until.Sub(b.from))
	for _, p := range pieces {
		part := int64(p.until.Sub(p.from))
		rate := b.prices.fee(regionOf(l.Region), p.terms, func(p *price) *dollars {
			if mode == alwaysOn {
				return p.AlwaysOnMonth
			}
			return p.AutoStopMonth
		})
		line := b.line(l, p.terms, mode, "Month", rate)
		line.Amount = decimal(halfUp(1e10, part, month), 10)
		if rate != nil {
			cost := rate.share(part, month)
			line.Cost = &cost
		}
		b.add(line, p.from, p.until)
	}
}

// hours adds the hours that began from one instant until another, while its hours were charged.
func (b *biller) hours(l *life, from, until time.Time) {
	lines := map[*terms]billLine{} // but for their times, all are alike
	each := func(t time.Time, is *terms) {
		line, ok := lines[is]
		if !ok {
			rate := b.prices.hour(regionOf(l.Region), is)
			line = b.line(l, is, autoStop, "Hour", rate)
			line.Amount, line.Cost = "1", rate // rule 6
			lines[is] = line
		}
		b.add(line, t, t.Add(time.Hour))
	}
	if b.rule == SessionCeil {
		l.sessionHours(from, until, each)
	} else {
		l.clockHours(from, until, each)
	}
}

// clockHours gives each hour of the clock in which the WorkSpace ran, with its terms when it first did (rule 7).
func (l *life) clockHours(from, until time.Time, each func(time.Time, *terms)) {
	var last time.Time // the hour before this is charged
	for i, s := range l.spans {
		begin, end := later(s.From, from), earlier(l.end(i), until)
		if !metered[s.State] || !begin.Before(end) {
			continue
		}
		for hour := later(begin.Truncate(time.Hour), last); hour.Before(end); hour = hour.Add(time.Hour) {
			each(hour, s.Terms)
			last = hour.Add(time.Hour)
		}
	}
}

// sessionHours gives each hour that began in the time, counted from when the WorkSpace began to run, with its
// terms at the hour's beginning (rule 7).
func (l *life) sessionHours(from, until time.Time, each func(time.Time, *terms)) {
	for i := 0; i < len(l.spans); i++ {
		if !metered[l.spans[i].State] {
			continue
		}
		first := i
		for i+1 < len(l.spans) && metered[l.spans[i+1].State] {
			i++
		}
		begin, end := l.spans[first].From, earlier(l.end(i), until)
		if !begin.Before(end) || !end.After(from) {
			continue
		}
		if begin.Before(from) {
			begin = l.meteredSince(begin, from)
			behind := from.Sub(begin) + time.Hour - 1
			begin = begin.Add(behind.Truncate(time.Hour)) // the first that begins in the time
		}
		for hour := begin; hour.Before(end); hour = hour.Add(time.Hour) {
			each(hour, l.spans[covering(l.spans, hour)].Terms)
		}
	}
}

// meteredSince is when the hours of a run that began at begin, in an earlier month than the one that begins at
// month, began to be charged: not before the end of a month that was AlwaysOn (rule 10).
func (l *life) meteredSince(begin, month time.Time) time.Time {
	for from := startOfMonth(month.Add(-1)); ; from = startOfMonth(from.Add(-1)) {
		until := from.AddDate(0, 1, 0)
		if !l.alwaysOnSince(from, until).IsZero() {
			return until
		}
		if !begin.Before(from) {
			return begin
		}
	}
}

func startOfMonth(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
}

// line is what a line of a WorkSpace says, whenever it was. A rate of nil is one that has no price.
func (b *biller) line(l *life, is *terms, mode, unit string, rate *dollars) billLine {
	region := regionOf(l.Region)
	line := billLine{
		Account: accountOf(l.Region), Product: "AmazonWorkSpaces", Region: region,
		Resource:  "arn:aws:workspaces:" + region + ":" + accountOf(l.Region) + ":workspace/" + l.ID,
		UsageType: usageType(region, is, mode, unit), Operation: operationOf[mode], Unit: unit, Tags: is.Tags,
	}
	if line.Tags == nil {
		line.Tags = map[string]string{}
	}
	per := "/hour-Hourly"
	switch {
	case unit == "Month" && mode == alwaysOn:
		per = "/month-Monthly"
	case unit == "Month":
		per = "/month-Hourly"
	}
	what := productOf(region, is)
	volumes := fmt.Sprintf("Root:%d GB,User:%d GB", is.RootGiB, is.UserGiB)
	amount := noPrice
	if rate == nil {
		line.Error = noPrice
		line.missing = fmt.Sprintf("%s for %s, running mode %s, %s, per %s", noPrice, what, is.RunningMode, volumes, unit)
	} else {
		amount = "$" + rate.String()
		line.Rate = rate
	}
	line.Description = fmt.Sprintf("%s%s, %s, %s, license %s, %s", amount, per, what.compute, what.system, what.license, volumes)
	return line
}

// add adds a line for a time.
func (b *biller) add(line billLine, from, until time.Time) {
	start := uint64(from.UnixNano())
	line.ID = fmt.Sprintf("%016x%016x", scatter(hash(line.Resource, line.UsageType), start), scatter(hash(line.UsageType, line.Resource), start))
	line.Start, line.End = from, until
	if line.Error != "" {
		b.unknown[line.missing]++
	}
	b.lines = append(b.lines, line)
}

// operationOf is what the bill calls a running mode. How Amazon does is not known.
var operationOf = map[string]string{alwaysOn: "AlwaysOn", autoStop: "AutoStop"}

// usageNumbers are those in the usage types. Only that of POWER is known to be right.
var usageNumbers = map[string]int{
	"VALUE": 1, "STANDARD": 2, "PERFORMANCE": 3, "POWER": 4, "POWERPRO": 5, "GRAPHICS_G4DN": 6, "GRAPHICSPRO_G4DN": 7,
}

// billingRegions are the names of Regions in usage types; us-east-1, the first, has none.
var billingRegions = map[string]string{
	"us-east-1": "", "us-east-2": "USE2-", "us-west-1": "USW1-", "us-west-2": "USW2-", "ca-central-1": "CAN1-",
	"eu-west-1": "EU-", "eu-west-2": "EUW2-", "eu-central-1": "EUC1-", "ap-south-1": "APS3-", "ap-northeast-1": "APN1-",
	"ap-northeast-2": "APN2-", "ap-southeast-1": "APS1-", "ap-southeast-2": "APS2-", "sa-east-1": "SAE1-",
}

// usageType is such as AW-HW-2 (AlwaysOn), EU-AW-HW-2-AutoStop-User (a month) or EU-AW-HW-2-AutoStop-Usage (an hour).
func usageType(region string, is *terms, mode, unit string) string {
	prefix, ok := billingRegions[region]
	if !ok {
		prefix = strings.ToUpper(region) + "-"
	}
	hardware := "HW"
	if productOf(region, is).license == "Bring Your Own License" {
		hardware = "HWB"
	}
	number := is.Compute
	if n, ok := usageNumbers[is.Compute]; ok {
		number = strconv.Itoa(n)
	}
	name := prefix + "AW-" + hardware + "-" + number
	switch {
	case mode == alwaysOn:
		return name
	case unit == "Month":
		return name + "-AutoStop-User"
	}
	return name + "-AutoStop-Usage"
}

// bill sums up the lines.
func (b *biller) bill() *bill {
	out := &bill{
		Month: b.from.Format("2006-01"), From: b.from, To: b.to, Currency: "USD", HourRule: b.rule, Refund: b.refund,
		Rounding: "each line half up to 0.000000001 USD; totals are sums of lines",
		Errors:   []string{}, Accounts: []accountTotal{}, Workspaces: []resourceTotal{}, Lines: b.lines,
	}
	if out.Lines == nil {
		out.Lines = []billLine{}
	}
	places := map[string]dollars{}
	for _, line := range b.lines {
		if n := len(out.Workspaces); n == 0 || out.Workspaces[n-1].Resource != line.Resource {
			out.Workspaces = append(out.Workspaces, resourceTotal{Resource: line.Resource})
		}
		cost := dollars(0)
		if line.Cost != nil {
			cost = *line.Cost
		}
		out.Workspaces[len(out.Workspaces)-1].Total += cost
		places[placeOf(line.Account, line.Region)] += cost
		out.Total += cost
	}
	for _, place := range slices.Sorted(maps.Keys(places)) {
		out.Accounts = append(out.Accounts, accountTotal{accountOf(place), regionOf(place), places[place]})
	}
	for _, what := range slices.Sorted(maps.Keys(b.unknown)) {
		out.Errors = append(out.Errors, fmt.Sprintf("%s: %d lines", what, b.unknown[what]))
	}
	out.Complete = len(out.Errors) == 0
	return out
}

// adminBill answers with Amazon's bill of a month as it stands at to: now, or the end of the month.
func (e *Emulator) adminBill(w http.ResponseWriter, r *http.Request) {
	e.mu.RLock()
	now := e.now()
	b, err := e.newBiller(r.URL.Query(), now)
	var past []*timeline
	if err == nil {
		past = e.world.timelines(now, func(*history) bool { return true })
	}
	e.mu.RUnlock()
	if err != nil {
		adminWrite(w, http.StatusBadRequest, adminError{err.Error()})
		return
	}
	slices.SortStableFunc(past, func(x, y *timeline) int { return cmp.Compare(x.Region, y.Region) })
	for _, l := range past {
		b.charge(l)
	}
	out := b.bill()
	if r.URL.Query().Get("format") == "csv" {
		writeBillCSV(w, out)
		return
	}
	adminWrite(w, http.StatusOK, out)
}

// newBiller reads what bill is asked for. The caller holds e.mu.
func (e *Emulator) newBiller(q url.Values, now time.Time) (*biller, error) {
	for name := range q {
		if !slices.Contains([]string{"month", "to", "format"}, name) {
			return nil, fmt.Errorf("there is no parameter %q: give month, and perhaps to and format", name)
		}
	}
	from, err := time.Parse("2006-01", q.Get("month"))
	if err != nil {
		return nil, fmt.Errorf("month %q is not like 2026-11", q.Get("month"))
	}
	b := &biller{
		from: from, until: from.AddDate(0, 1, 0), prices: e.priceList(), rule: e.hourRule, refund: e.refund, unknown: map[string]int{},
	}
	b.to = earlier(now, b.until)
	if text := q.Get("to"); text != "" {
		if b.to, err = time.Parse(time.RFC3339, text); err != nil {
			return nil, fmt.Errorf("to %q is not like 2026-11-23T12:00:00Z", text)
		}
		b.to = b.to.UTC()
	}
	switch format := q.Get("format"); {
	case format != "" && format != "json" && format != "csv":
		return nil, fmt.Errorf("format %q is neither json nor csv", format)
	case b.to.After(now):
		return nil, fmt.Errorf("to %s has not come yet: it is %s", b.to.Format(time.RFC3339), now.Format(time.RFC3339))
	case !from.Before(now):
		return nil, fmt.Errorf("month %s has not come yet: it is %s", q.Get("month"), now.Format(time.RFC3339))
	case !b.to.After(from) || b.to.After(b.until):
		return nil, fmt.Errorf("to %s is not in %s", b.to.Format(time.RFC3339), q.Get("month"))
	case now.Sub(from) > historyKept:
		return nil, fmt.Errorf("month %s is too long ago: what was is kept for %d days", q.Get("month"), historyKept/(24*time.Hour))
	}
	return b, nil
}

// billColumns are the columns of the CSV.
var billColumns = []string{
	"line_item_id", "usage_account_id", "product_code", "region", "resource_id", "usage_type", "operation", "usage_start",
	"usage_end", "usage_amount", "unit", "unblended_rate", "unblended_cost", "description", "resource_tags", "error",
}

func writeBillCSV(w http.ResponseWriter, out *bill) {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	rows := csv.NewWriter(w)
	_ = rows.Write(billColumns) // like the rows: a client that has gone away has nothing more to be told
	for _, l := range out.Lines {
		tags, err := json.Marshal(l.Tags)
		if err != nil {
			panic("emulator: tags cannot be encoded: " + err.Error())
		}
		rate, cost := l.Error, l.Error // "no price" where others have an amount
		if l.Error == "" {
			rate, cost = l.Rate.String(), l.Cost.String()
		}
		_ = rows.Write([]string{
			l.ID, l.Account, l.Product, l.Region, l.Resource, l.UsageType, l.Operation, l.Start.Format(time.RFC3339Nano),
			l.End.Format(time.RFC3339Nano), l.Amount, l.Unit, rate, cost, l.Description, string(tags), l.Error,
		})
	}
	rows.Flush()
}
