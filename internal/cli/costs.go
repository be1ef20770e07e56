package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

// groupRule is what costs can be grouped by.
var groupRule = regexp.MustCompile(`^(total|user|team|project|cost_centre|workspace|blueprint|bundle|region|tag:.{1,127})$`)

// costFlags are whose costs, and when.
type costFlags struct {
	from, to, tz string
	only         map[string]*[]string
}

func (f *costFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.from, "from", "", "the first day")
	c.Flags().StringVar(&f.to, "to", "", "the day after the last")
	c.Flags().StringVar(&f.tz, "tz", "UTC", "the time zone that days are of, such as Europe/Berlin")
	f.only = map[string]*[]string{}
	for _, o := range []struct{ name, usage string }{
		{"user", "only these users, by id or name"},
		{"team", "only these teams, by id or name"},
		{"project", "only these projects, by id or name"},
		{"cost-centre", "only these cost centres"},
		{"workspace", "only these WorkSpaces, by id"},
		{"blueprint", "only these blueprints, by id"},
		{"bundle", "only these bundle types"},
		{"region", "only these regions"},
		{"tag", "only what has one of these tags, written KEY=VALUE"},
	} {
		f.only[o.name] = c.Flags().StringSlice(o.name, nil, o.usage)
	}
}

// given is a flag's values; nil if it was left out.
func (f *costFlags) given(name string) *[]string {
	if v := f.only[name]; len(*v) > 0 {
		return v
	}
	return nil
}

// period reads the flags --from, --to and --tz.
func (f *costFlags) period() (first, end *time.Time, err error) {
	zone, err := time.LoadLocation(f.tz)
	if err != nil || f.tz == "Local" {
		return nil, nil, UsageError{Err: fmt.Errorf("--tz is a name of the IANA database like Europe/Berlin, not %q", f.tz)}
	}
	for _, t := range *f.only["tag"] {
		if key, _, ok := strings.Cut(t, "="); !ok || key == "" {
			return nil, nil, UsageError{Err: fmt.Errorf("--tag is KEY=VALUE, not %q", t)}
		}
	}
	return periodIn(f.from, f.to, zone)
}

// period reads the flags --from and --to, whose days are UTC's.
func period(from, to string) (first, end *time.Time, err error) { return periodIn(from, to, time.UTC) }

func periodIn(from, to string, zone *time.Location) (first, end *time.Time, err error) {
	if first, err = day("--from", from, zone); err != nil {
		return nil, nil, err
	}
	if end, err = day("--to", to, zone); err != nil {
		return nil, nil, err
	}
	if first != nil && end != nil && !first.Before(*end) {
		return nil, nil, UsageError{Err: errors.New("--from must be before --to")}
	}
	return first, end, nil
}

func day(flag, value string, zone *time.Location) (*time.Time, error) {
	if value == "" {
		return nil, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339Nano} {
		if t, err := time.ParseInLocation(layout, value, zone); err == nil {
			t = t.UTC()
			return &t, nil
		}
	}
	return nil, UsageError{Err: fmt.Errorf("%s is a date like 2026-11-01 or an instant like 2026-11-01T12:00:00Z, not %q", flag, value)}
}

func (e *env) costsCommand() *cobra.Command {
	var by, per string
	var f costFlags
	c := &cobra.Command{
		Use: "costs", Short: "What was spent, exact up to this second",
		Long: `Shows what WorkSpaces cost in a period, this month when none is given: settled amounts, which
do not change any more, and open ones, which still run. It shows what you may see: your own,
your team's, or everybody's.

Group by total, workspace, user, team, project, cost_centre, blueprint, bundle, region or
tag:KEY. Dates are days of the time zone or RFC 3339 instants; the period ends before --to.`,
		Example: `  forge costs
  forge costs --by team --from 2026-10-01 --to 2026-11-01
  forge costs --by tag:env --per week --tz Europe/Berlin
  forge costs --by user --team backend --bundle POWER
  forge costs --by cost_centre -o csv > costs.csv`,
	}
	c.Flags().StringVar(&by, "by", "workspace", "what to group by")
	c.Flags().StringVar(&per, "per", "", "day, week or month: each group's cost by that as well")
	f.add(c)
	e.remote(c, func(s *session, _ []string) error {
		group := by
		if !strings.HasPrefix(by, "tag:") {
			group = strings.ReplaceAll(by, "-", "_")
		}
		if !groupRule.MatchString(group) {
			return UsageError{Err: fmt.Errorf("--by is total, workspace, user, team, project, cost_centre, blueprint, bundle, region or tag:KEY, not %q", by)}
		}
		p := client.SummariseCostsParams{
			GroupBy: &group, Tz: &f.tz, User: f.given("user"), Team: f.given("team"), Project: f.given("project"), CostCentre: f.given("cost-centre"),
			Workspace: f.given("workspace"), Blueprint: f.given("blueprint"), Bundle: f.given("bundle"), Region: f.given("region"), Tag: f.given("tag"),
		}
		if per != "" {
			if !slices.Contains([]string{"day", "week", "month"}, per) {
				return UsageError{Err: fmt.Errorf("--per is day, week or month, not %q", per)}
			}
			granularity := client.SummariseCostsParamsGranularity(per)
			p.Granularity = &granularity
		}
		var err error
		if p.From, p.To, err = f.period(); err != nil {
			return err
		}
		r, err := s.api.SummariseCostsWithResponse(s.ctx, &p)
		if err != nil {
			return err
		}
		sum, err := decode[client.CostSummary](r.Body)
		if err != nil {
			return err
		}
		return s.emit(r.Body, costTable(s, sum))
	})
	c.AddCommand(e.costsExplainCommand(), e.costsRecordsCommand(), e.costsEstimateCommand(), e.costsReportCommand(), e.costsCloseCommand())
	return c
}

// costTable has a line for each group; where it is not for a terminal, with periods, one for each group and period.
func costTable(s *session, sum client.CostSummary) *table {
	what := strings.ToUpper(sum.GroupBy)
	t := &table{}
	name := func(g client.CostGroup) cell {
		if g.Untagged != nil && *g.Untagged {
			return words("(untagged)")
		}
		return wordsOf(g.Name)
	}
	if sum.Granularity != nil && !s.outTTY {
		t.head = []string{what, "NAME", "FROM", "TO", "OPEN USD", "TOTAL USD"}
		for _, g := range sum.Items {
			for _, p := range *g.Periods {
				t.row(words(g.Key), name(g), instant(p.From), instant(p.To), dollars(p.Open), dollars(p.Total))
			}
		}
	} else {
		t.head = []string{what, "NAME", "SETTLED USD", "OPEN USD", "TOTAL USD"}
		var widest int64
		for _, g := range sum.Items {
			widest = max(widest, micros(g.Total))
		}
		if s.outTTY {
			t.head = append(t.head, "")
			if sum.Granularity != nil {
				t.head = append(t.head, "BY "+strings.ToUpper(*sum.Granularity))
			}
		}
		for _, g := range sum.Items {
			cells := []cell{words(g.Key), name(g), dollars(g.Settled), dollars(g.Open), dollars(g.Total)}
			if s.outTTY {
				cells = append(cells, words(stroke(micros(g.Total), widest)))
				if g.Periods != nil {
					cells = append(cells, words(sparkline(*g.Periods)))
				}
			}
			t.row(cells...)
		}
	}
	t.foot = fmt.Sprintf("Total: %s USD, %s to %s, as of %s", dollars(sum.Total).display(), instant(sum.From).show, instant(sum.To).show, instant(sum.AsOf).show)
	return t
}

// micros is an amount as a number, for drawing.
func micros(m client.Money) int64 {
	n, err := strconv.ParseInt(strings.Replace(m.Amount, ".", "", 1), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// steps is how many of so many steps n is of the whole; what is not nothing is at least one.
func steps(n, whole, most int64) int64 {
	if n <= 0 || whole <= 0 {
		return 0
	}
	for whole > 1<<40 { // so that nothing overflows
		n, whole = n/2, whole/2
	}
	return max(1, min(most, (n*most+whole/2)/whole))
}

// stroke is a bar as long as n is of the longest.
func stroke(n, longest int64) string {
	const width = 16
	eighths := steps(n, longest, width*8)
	text := strings.Repeat("█", int(eighths/8))
	if rest := eighths % 8; rest > 0 {
		text += string([]rune(" ▏▎▍▌▋▊▉")[rest])
	}
	return text
}

// sparkline is how a cost goes, by period: as high as each is of the highest.
func sparkline(periods []client.CostPeriod) string {
	var highest int64
	for _, p := range periods {
		highest = max(highest, micros(p.Total))
	}
	var b strings.Builder
	for _, p := range periods {
		b.WriteRune([]rune("·▁▂▃▄▅▆▇█")[steps(micros(p.Total), highest, 8)])
	}
	return b.String()
}

func (e *env) costsExplainCommand() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "explain ID|NAME", Short: "Why a WorkSpace costs what it does", Args: cobra.ExactArgs(1),
		Long: `Shows every fact behind a WorkSpace's cost, oldest first: what ran or was sold, from when to when,
at which price of which book, by which rule, and how the figure comes about.`,
		Example: "  forge costs explain spike\n  forge costs explain ws_01jd8x5qf8e2x9v7m3k4n5p6q7 -o json",
	}
	limitFlag(c, &limit)
	return e.remote(c, func(s *session, args []string) error {
		id, err := s.resolve(args[0])
		if err != nil {
			return err
		}
		var last client.CostTimeline
		found, err := fetch[client.CostFact](limit, func(cursor *string, size *int64) ([]byte, error) {
			r, err := s.api.ExplainWorkspaceCostWithResponse(s.ctx, id, &client.ExplainWorkspaceCostParams{Cursor: cursor, Limit: size})
			if err != nil {
				return nil, err
			}
			last, err = decode[client.CostTimeline](r.Body)
			return r.Body, err
		})
		if err != nil {
			return err
		}
		t := &table{head: []string{"FROM", "TO", "WHAT", "RATE USD", "BOOK", "RULE", "TOTAL USD", "WHY"}, none: "It has cost nothing."}
		for _, f := range found.items {
			t.row(instant(f.From), instantOf(f.To), words(f.Item), dollars(f.Rate), words(fmt.Sprintf("%d (%s)", f.PriceBookId, f.PriceSource)), words(f.HourRule), dollars(f.Total), words(f.Explanation))
			if f.Postings == nil {
				continue
			}
			for _, p := range *f.Postings {
				t.row(instant(p.From), instant(p.To), words("  "+p.RecordId), cell{}, cell{}, cell{}, dollars(p.Amount), words(p.Explanation))
			}
		}
		t.foot = fmt.Sprintf("Total: %s USD, as of %s", dollars(last.Total).display(), instant(last.AsOf).show)
		return emitList(s, found, t)
	})
}

func (e *env) costsRecordsCommand() *cobra.Command {
	var limit int
	var f costFlags
	c := &cobra.Command{
		Use: "records", Short: "Settled costs, record by record, newest first",
		Long: `Shows the records that settled costs are made of. They never change: a correction is a record
that names the one it corrects.`,
		Example: "  forge costs records --workspace ws_01jd8x5qf8e2x9v7m3k4n5p6q7\n  forge costs records --team backend --from 2026-10-01 --to 2026-11-01 -o csv > records.csv",
	}
	f.add(c)
	limitFlag(c, &limit)
	return e.remote(c, func(s *session, _ []string) error {
		from, to, err := f.period()
		if err != nil {
			return err
		}
		found, err := fetch[client.CostRecord](limit, func(cursor *string, size *int64) ([]byte, error) {
			r, err := s.api.ListCostRecordsWithResponse(s.ctx, &client.ListCostRecordsParams{
				Cursor: cursor, Limit: size, From: from, To: to, Tz: &f.tz, User: f.given("user"), Team: f.given("team"), Project: f.given("project"),
				CostCentre: f.given("cost-centre"), Workspace: f.given("workspace"), Blueprint: f.given("blueprint"), Bundle: f.given("bundle"), Region: f.given("region"), Tag: f.given("tag"),
			})
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		})
		if err != nil {
			return err
		}
		t := &table{head: []string{"ID", "FROM", "TO", "WORKSPACE", "USER", "TEAM", "PROJECT", "COST CENTRE", "ITEM", "RATE USD", "TOTAL USD", "CORRECTS"}, none: "No records."}
		for _, r := range found.items {
			t.row(words(r.Id), instant(r.PeriodStart), instant(r.PeriodEnd), words(r.WorkspaceId), words(r.UserId), words(r.TeamId), wordsOf(r.ProjectId), words(r.CostCentre),
				words(r.Item), dollars(r.Rate), dollars(r.TotalCost), wordsOf(r.Corrects))
		}
		return emitList(s, found, t)
	})
}

func (e *env) costsEstimateCommand() *cobra.Command {
	var region, system, license, mode string
	var hours, root, user int64
	c := &cobra.Command{
		Use: "estimate BUNDLE", Short: "What a WorkSpace would cost", Args: cobra.ExactArgs(1),
		Long: `Prices a WorkSpace by the price book in force: its monthly fee, what of it this month would cost, the
hour while it runs, a month with so many hours, and from how many hours on ALWAYS_ON is cheaper.`,
		Example: "  forge costs estimate STANDARD\n  forge costs estimate POWER --mode ALWAYS_ON --region eu-west-1\n  forge costs estimate PERFORMANCE --hours 60 --user-gib 200",
	}
	c.Flags().StringVar(&region, "region", "us-east-1", "where it would be")
	c.Flags().StringVar(&system, "operating-system", "WINDOWS", "its operating system")
	c.Flags().StringVar(&license, "license", "INCLUDED", "its licence")
	c.Flags().StringVar(&mode, "mode", "AUTO_STOP", "AUTO_STOP or ALWAYS_ON")
	c.Flags().Int64Var(&hours, "hours", 160, "running time a month, in hours")
	c.Flags().Int64Var(&root, "root-gib", 0, "size of the root volume (what the bundle includes)")
	c.Flags().Int64Var(&user, "user-gib", 0, "size of the user volume (what the bundle includes)")
	return e.remote(c, func(s *session, args []string) error {
		running := client.EstimateCostParamsRunningMode(strings.ToUpper(mode))
		if running != "AUTO_STOP" && running != "ALWAYS_ON" {
			return UsageError{Err: fmt.Errorf("--mode is AUTO_STOP or ALWAYS_ON, not %q", mode)}
		}
		r, err := s.api.EstimateCostWithResponse(s.ctx, &client.EstimateCostParams{
			Region: region, BundleType: strings.ToUpper(args[0]), OperatingSystem: &system, License: &license, RunningMode: &running, Hours: &hours, RootGib: &root, UserGib: &user,
		})
		if err != nil {
			return err
		}
		v, err := decode[client.CostEstimate](r.Body)
		if err != nil {
			return err
		}
		t := pairs()
		t.pair("Monthly fee USD", dollars(v.MonthlyFee))
		t.pair("Rest of this month USD", dollars(v.FirstFee))
		t.pair("An hour USD", dollars(v.Hourly))
		t.pair(fmt.Sprintf("A month with %d hours USD", v.Hours), dollars(v.Month))
		if v.BreakEvenMinutes != nil {
			t.pair("ALWAYS_ON is cheaper from", words(fmt.Sprintf("%d h %d min a month", *v.BreakEvenMinutes/60, *v.BreakEvenMinutes%60)))
		}
		t.pair("Reserved to start it USD", dollars(v.Reserved))
		t.pair("Price book", words(strconv.FormatInt(v.PriceBookId, 10)))
		t.pair("An hour is", words(v.HourRule))
		return s.emit(json.RawMessage(r.Body), t)
	})
}
