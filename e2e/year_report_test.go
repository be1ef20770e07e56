package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
)

// sweep is how much later than its time a rule may be followed: what the driver lets Forge see at the next full minute.
const sweep = time.Minute

// shown is how many of what is wrong are printed of each kind.
const shown = 8

// report prints the tables, and fails the test for whatever did not happen at its time, happened without a reason, or
// costs another amount than Amazon bills.
func (y *year) report(ctx context.Context) {
	if y.t.Failed() {
		return
	}
	histories := map[*inhabitant][]span{}
	for _, p := range y.people {
		if p.provider == "" {
			continue
		}
		var h struct {
			Intervals []span `json:"intervals"`
		}
		y.ask("/_emu/workspaces/"+p.provider+"/history", &h)
		histories[p] = h.Intervals
	}
	y.population()
	y.happenings(ctx, histories)
	y.costs(ctx)
}

// population prints who was there.
func (y *year) population() {
	count, used := map[string]int{}, map[string]int{}
	for _, p := range y.people {
		count[p.pattern]++
		for _, d := range p.plan {
			if d.do == "connect" {
				used[p.pattern]++
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d WorkSpaces from %s to %s; %d sessions took place; %d instants at which something happened\n", len(y.people), y.from.Format(time.DateOnly), y.to.Format(time.DateOnly), y.sessions, y.instants)
	fmt.Fprintf(&b, "  %-60s %6s %9s\n", "pattern", "people", "planned")
	for _, k := range patterns {
		fmt.Fprintf(&b, "  %-60s %6d %9d\n", k.name, count[k.name], used[k.name])
	}
	for _, what := range slices.Sorted(maps.Keys(y.refusals)) {
		fmt.Fprintf(&b, "  refused: %s, %d times\n", what, y.refusals[what])
	}
	y.t.Log(b.String())
}

// happened is what Forge has recorded, by WorkSpace.
func (y *year) happened(ctx context.Context) map[id.WorkSpace][]happening {
	events, err := postgres.Many[struct {
		WorkspaceID                      id.WorkSpace
		At                               time.Time
		Kind, Reason, FromState, ToState string
		Step                             string
		Resold                           bool
	}](ctx, y.forge.Pool, `
		SELECT workspace_id, at, kind, reason, from_state, to_state, coalesce(details->>'notice', details->>'code', '') AS step,
		       details ?| ARRAY['bundle_type', 'running_mode'] AS resold
		FROM workspace_events
		WHERE actor_id LIKE 'system:%' AND at <= $1
		ORDER BY at, version`, y.to)
	if err != nil {
		y.t.Fatal(err)
	}
	all := map[id.WorkSpace][]happening{}
	for _, e := range events {
		add := func(kind string) { all[e.WorkspaceID] = append(all[e.WorkspaceID], happening{kind, e.At.UTC()}) }
		if metered(e.ToState) && !metered(e.FromState) {
			add(kindRuns)
		}
		if !metered(e.ToState) && metered(e.FromState) {
			add(kindStops)
		}
		if e.ToState == "TERMINATED" && e.FromState != e.ToState {
			add(kindGone)
		}
		if e.Resold {
			add(kindResold)
		}
		switch e.Kind {
		case "observe", "changed", "change_begun", "create":
			continue
		}
		name := strings.TrimSpace(strings.Join([]string{e.Reason, e.Kind, e.Step}, " "))
		known := map[string]string{
			"lifetime notice 1": kindLife7, "lifetime notice 2": kindLife1, "lifetime notice 3": kindLifeHour, "lifetime terminate": kindLifeEnd,
			"stale flag": kindFlag, "stale used": kindUsed, "stale notice 1": kindStale1, "stale terminate": kindStaleEnd,
			"schedule start": kindStart, "schedule notice 1": kindStopsSoon, "schedule stop": kindScheduleEnd,
			"idle stop": kindIdle, "idle extension_over": kindRestored,
		}
		if known[name] != "" {
			name = known[name]
		}
		add(name)
	}
	return all
}

// tally is a row of the table.
type tally struct {
	expected, met, missed, unexpected int
	latest                            time.Duration
	wrong                             []wrong
}

// wrong is something that did not happen, or should not have.
type wrong struct {
	who  *inhabitant
	what string
	at   time.Time
}

// around tells what there was some time before and after an instant: at Amazon's, in Forge, and of what its user asked.
func (y *year) around(ctx context.Context, kind string, p *inhabitant, spans []span, at time.Time) string {
	near := 100 * time.Minute
	if strings.HasPrefix(kind, "stale") {
		near = 38 * day
	}
	var b strings.Builder
	for _, s := range spans {
		if to := s.To; (to.IsZero() || to.After(at.Add(-near))) && s.From.Before(at.Add(near)) {
			fmt.Fprintf(&b, "      Amazon %s %s connected %t waiting %t %s %s %d\n", s.From.Format(time.RFC3339Nano), s.State, s.Connected, s.Waiting, s.RunningMode, s.Compute, s.AutoStop)
		}
	}
	for _, a := range p.asked {
		if a.at.After(at.Add(-near)) && a.at.Before(at.Add(near)) {
			fmt.Fprintf(&b, "      asked  %s %s %s %d\n", a.at.Format(time.RFC3339Nano), a.do, a.to, a.n)
		}
	}
	events, err := postgres.Many[struct{ Said string }](ctx, y.forge.Pool, `
		SELECT format('%s %s %s %s to %s %s', at, actor_id, kind, from_state, to_state, reason) AS said
		FROM workspace_events
		WHERE workspace_id = $1 AND at BETWEEN $2 AND $3
		ORDER BY version`, p.ws, at.Add(-near), at.Add(near))
	if err != nil {
		y.t.Fatal(err)
	}
	for _, e := range events {
		b.WriteString("      Forge  " + e.Said + "\n")
	}
	return b.String()
}

// happenings compares what happened with what must have.
func (y *year) happenings(ctx context.Context, histories map[*inhabitant][]span) {
	happened := y.happened(ctx)
	rows := map[string]*tally{}
	row := func(kind string) *tally {
		if rows[kind] == nil {
			rows[kind] = &tally{}
		}
		return rows[kind]
	}
	for _, p := range y.people {
		want, got := expect(p, histories[p], y.to), happened[p.ws]
		for _, kind := range kindsOf(want, got) {
			row(kind).compare(p, timesOf(want, kind), timesOf(got, kind), y.to)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Forge looks at a WorkSpace when it has changed at Amazon's: at once where the bill depends on it, else at the next full minute;\nits rules are swept at full minutes. At its time is: not before it, and not later than %s.\n", sweep)
	fmt.Fprintf(&b, "  %-40s %9s %9s %7s %11s %12s\n", "", "expected", "happened", "missed", "unexpected", "latest by")
	for _, kind := range kinds {
		row(kind)
	}
	other := slices.DeleteFunc(slices.Collect(maps.Keys(rows)), func(kind string) bool { return slices.Contains(kinds, kind) })
	slices.Sort(other)
	for _, kind := range append(slices.Clone(kinds), other...) {
		r := rows[kind]
		fmt.Fprintf(&b, "  %-40s %9d %9d %7d %11d %12s\n", kind, r.expected, r.met, r.missed, r.unexpected, r.latest.Round(time.Millisecond))
	}
	y.t.Log(b.String())
	for kind, r := range rows {
		if r.expected == 0 && slices.Contains(kinds, kind) {
			y.t.Errorf("%s: nothing of the kind was to happen, so nothing is shown of it", kind)
		}
		if r.missed+r.unexpected > 0 {
			y.t.Errorf("%s: %d missed, %d unexpected:", kind, r.missed, r.unexpected)
			for _, w := range r.wrong {
				y.t.Logf("  %s %s (%s, %s, %s): %s %s\n%s", kind, w.who.name, w.who.ws, w.who.provider, w.who.pattern, w.what, w.at.Format(time.RFC3339Nano), y.around(ctx, kind, w.who, histories[w.who], w.at))
			}
		}
	}
	y.messages(ctx, rows)
}

func kindsOf(lists ...[]happening) []string {
	var all []string
	for _, list := range lists {
		for _, h := range list {
			if !slices.Contains(all, h.kind) {
				all = append(all, h.kind)
			}
		}
	}
	return all
}

func timesOf(list []happening, kind string) []time.Time {
	var at []time.Time
	for _, h := range list {
		if h.kind == kind {
			at = append(at, h.at)
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	return at
}

// compare pairs what was expected with what happened. What was due in the last minute may not have happened yet.
func (r *tally) compare(p *inhabitant, want, got []time.Time, end time.Time) {
	say := func(what string, at time.Time) {
		if len(r.wrong) < shown {
			r.wrong = append(r.wrong, wrong{p, what, at})
		}
	}
	for len(want) > 0 || len(got) > 0 {
		switch {
		case len(got) == 0 || len(want) > 0 && got[0].After(want[0].Add(sweep)):
			if want[0].Add(sweep).Before(end) {
				r.expected++
				r.missed++
				say("missed at", want[0])
			}
			want = want[1:]
		case len(want) == 0 || got[0].Before(want[0].Truncate(time.Microsecond)):
			r.unexpected++
			say("unexpected at", got[0])
			got = got[1:]
		default:
			r.expected++
			r.met++
			r.latest = max(r.latest, got[0].Sub(want[0]))
			want, got = want[1:], got[1:]
		}
	}
}

// messages checks that everything that people are to be told was put into their outbox.
func (y *year) messages(ctx context.Context, rows map[string]*tally) {
	found, err := postgres.Many[struct {
		Kind string
		N    int
	}](ctx, y.forge.Pool, `
		SELECT kind || CASE WHEN team_id IS NULL THEN ' to the owner' ELSE ' to the team' END AS kind, count(*) AS n
		FROM notifications
		WHERE kind IN ('workspace.notice', 'workspace.stale', 'workspace.terminating') AND created_at <= $1
		GROUP BY 1`, y.to)
	if err != nil {
		y.t.Fatal(err)
	}
	got := map[string]int{}
	for _, f := range found {
		got[f.Kind] = f.N
	}
	sum := func(kinds ...string) (n int) {
		for _, k := range kinds {
			n += rows[k].met + rows[k].unexpected
		}
		return n
	}
	ends := sum(kindLife7, kindLife1, kindLifeHour, kindStale1)
	want := map[string]int{
		"workspace.notice to the owner": ends + sum(kindStopsSoon), "workspace.notice to the team": ends,
		"workspace.stale to the owner": sum(kindFlag), "workspace.stale to the team": sum(kindFlag),
		"workspace.terminating to the owner": sum(kindLifeEnd, kindStaleEnd), "workspace.terminating to the team": sum(kindLifeEnd, kindStaleEnd),
	}
	for kind, n := range want {
		if got[kind] != n {
			y.t.Errorf("%s: %d messages for %d events", kind, got[kind], n)
		}
	}
	y.t.Logf("messages: %v", got)
}

// account is what one WorkSpace costs in a month: its fees or its running time.
type account struct {
	month, ws, item string
}

// charge is an amount with the number of lines that it is the sum of.
type charge struct {
	nanos int64 // billionths of a dollar, in which Amazon rounds
	lines int
	about []string
}

// costs compares our ledger of every month with Amazon's bill.
func (y *year) costs(ctx context.Context) {
	ours, theirs := map[account]*charge{}, map[account]*charge{}
	add := func(to map[account]*charge, a account, nanos int64, about string) {
		if to[a] == nil {
			to[a] = &charge{}
		}
		to[a].nanos += nanos
		to[a].lines++
		to[a].about = append(to[a].about, about)
	}
	names := map[id.WorkSpace]*inhabitant{}
	for _, p := range y.people {
		names[p.ws] = p
	}
	var months []string
	for m := clock.StartOfMonth(y.from); m.Before(y.to); m = clock.StartOfNextMonth(m) {
		month := m.Format("2006-01")
		months = append(months, month)
		var bill struct {
			Errors []string
			Lines  []struct {
				Resource    string    `json:"resource_id"`
				Start       time.Time `json:"usage_start"`
				End         time.Time `json:"usage_end"`
				Unit        string    `json:"unit"`
				Cost        string    `json:"unblended_cost"`
				Description string    `json:"description"`
			} `json:"lines"`
		}
		y.ask("/_emu/bill?month="+month, &bill)
		if len(bill.Errors) > 0 {
			y.t.Errorf("%s: %v", month, bill.Errors)
		}
		ids := y.ids()
		for _, l := range bill.Lines {
			a := account{month, string(ids[l.Resource[strings.LastIndex(l.Resource, "/")+1:]]), "fees"}
			if l.Unit == "Hour" {
				a.item = "running time"
			}
			add(theirs, a, nanos(l.Cost), fmt.Sprintf("%s to %s %s: %s", l.Start.Format("02T15:04:05.999999999"), l.End.Format("01-02T15:04:05.999999999"), l.Cost, l.Description))
		}
	}
	records, err := postgres.Many[struct {
		Month, WS, Kind string
		Amount, Rate    money.USD
		From, Until     time.Time
	}](ctx, y.forge.Pool, `
		SELECT to_char(c.period_start AT TIME ZONE 'UTC', 'YYYY-MM') AS month, c.workspace_id AS ws, u.kind, c.total_cost_micros AS amount,
		       u.rate_micros AS rate, c.period_start AS "from", c.period_end AS until
		FROM cost_records c JOIN usage u ON u.id = c.usage_id
		WHERE c.period_start < $1
		ORDER BY c.period_start, c.id`, y.to)
	if err != nil {
		y.t.Fatal(err)
	}
	for _, c := range records {
		a := account{c.Month, c.WS, "fees"}
		if c.Kind == "running" {
			a.item = "running time"
		}
		add(ours, a, int64(c.Amount)*1000, fmt.Sprintf("%s to %s %s: %s at %s", c.From.UTC().Format("02T15:04:05.999999"), c.Until.UTC().Format("01-02T15:04:05.999999"), c.Amount, c.Kind, c.Rate))
	}
	y.compareCosts(ours, theirs, months, names)
}

// compareCosts prints the months, and every WorkSpace and month in which the two differ by more than the rounding of their
// lines: half a millionth of a dollar for each.
func (y *year) compareCosts(ours, theirs map[account]*charge, months []string, names map[id.WorkSpace]*inhabitant) {
	var accounts []account
	for a := range theirs {
		accounts = append(accounts, a)
	}
	for a := range ours {
		if theirs[a] == nil {
			accounts = append(accounts, a)
		}
	}
	slices.SortFunc(accounts, func(a, b account) int {
		return strings.Compare(a.month+names[id.WorkSpace(a.ws)].name+a.item, b.month+names[id.WorkSpace(b.ws)].name+b.item)
	})
	type sum struct{ ours, theirs int64 }
	totals := map[string]*sum{}
	of := func(key string) *sum {
		if totals[key] == nil {
			totals[key] = &sum{}
		}
		return totals[key]
	}
	differ, classes := 0, map[string]int{}
	var said []string
	var every strings.Builder
	fmt.Fprintf(&every, "every account; Amazon rounds each line to a billionth of a dollar, Forge to a millionth\n  %-8s %-12s %-22s %-13s %5s %5s %16s %16s %16s\n",
		"month", "WorkSpace", "pattern", "", "ours", "lines", "Forge's ledger", "Amazon's bill", "difference")
	for _, a := range accounts {
		var o, t charge
		if ours[a] != nil {
			o = *ours[a]
		}
		if theirs[a] != nil {
			t = *theirs[a]
		}
		for _, key := range []string{a.month + a.item, a.item, a.month, ""} {
			of(key).ours += o.nanos
			of(key).theirs += t.nanos
		}
		difference := o.nanos - t.nanos
		fmt.Fprintf(&every, "  %-8s %-12s %-22s %-13s %5d %5d %16s %16s %16s\n", a.month, names[id.WorkSpace(a.ws)].name, names[id.WorkSpace(a.ws)].pattern, a.item, o.lines, t.lines,
			dollars(o.nanos), dollars(t.nanos), dollars(difference))
		if difference <= 501*int64(o.lines+t.lines) && -difference <= 501*int64(o.lines+t.lines) && (a.item == "fees" || difference == 0) {
			continue
		}
		differ++
		p := names[id.WorkSpace(a.ws)]
		class := fmt.Sprintf("%s of %q, ours %s", a.item, p.pattern, map[bool]string{true: "more", false: "less"}[difference > 0])
		classes[class]++
		if classes[class] <= 3 {
			said = append(said, fmt.Sprintf("%s %s (%s, %s) %s: ours %s, Amazon's %s, difference %s\n      ours: %s\n      Amazon: %s", a.month, p.name, a.ws, p.pattern, a.item,
				dollars(o.nanos), dollars(t.nanos), dollars(difference), strings.Join(o.about, "\n            "), strings.Join(t.about, "\n              ")))
		}
	}
	if y.lineByLine {
		y.t.Log(every.String())
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  %-8s %-13s %18s %18s %16s\n", "month", "", "Forge's ledger", "Amazon's bill", "difference")
	line := func(month, item, key string) {
		s := of(key)
		fmt.Fprintf(&b, "  %-8s %-13s %18s %18s %16s\n", month, item, dollars(s.ours), dollars(s.theirs), dollars(s.ours-s.theirs))
	}
	for _, m := range months {
		line(m, "fees", m+"fees")
		line(m, "running time", m+"running time")
	}
	line("all", "fees", "fees")
	line("all", "running time", "running time")
	line("all", "", "")
	fmt.Fprintf(&b, "  %d accounts (a WorkSpace, a month, fees or running time) compared, %d differ by more than the rounding of their lines\n", len(accounts), differ)
	y.t.Log(b.String())
	if differ > 0 {
		var by []string
		for class, n := range classes {
			by = append(by, fmt.Sprintf("%d times %s", n, class))
		}
		slices.Sort(by)
		y.t.Errorf("differences:\n  %s\n  %s", strings.Join(by, "\n  "), strings.Join(said, "\n  "))
	}
}

// nanos reads an amount of Amazon's bill.
func nanos(amount string) int64 {
	r, ok := new(big.Rat).SetString(amount)
	if !ok {
		return 0
	}
	return r.Mul(r, big.NewRat(1e9, 1)).Num().Int64()
}

// dollars writes billionths of a dollar.
func dollars(nanos int64) string {
	sign := ""
	if nanos < 0 {
		sign, nanos = "-", -nanos
	}
	return fmt.Sprintf("%s%d.%09d", sign, nanos/1e9, nanos%1e9)
}
