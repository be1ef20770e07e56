package report_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/report"
	"github.com/robco-forge/forge/internal/spreadsheet"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

type room struct {
	*pgtest.DB
	org   *pgtest.Org
	clock *clock.Manual
	log   *audit.Log
	meter *cost.Meter
}

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	return t
}

func month(text string) time.Time { return at(text + "-01 00:00") }

func setUp(t *testing.T, now string) *room {
	t.Helper()
	r := &room{DB: pgtest.New(t), clock: clock.At(at(now)), meter: &cost.Meter{Budgets: &budget.Book{Spent: cost.Spent, PaidUntil: cost.PaidUntil, FeesDue: cost.FeesDue}}}
	r.org = r.Seed(t, at(now), "allow", price.SessionCeil)
	r.log = r.Log(t, r.clock.Now)
	return r
}

func (r *room) change(ctx context.Context, who actor.Actor, fn func(ctx context.Context, tx *audit.Tx) error) error {
	return r.log.Change(actor.With(ctx, who), audit.Intent{Action: "test.try", ResourceType: "cost"}, func(tx *audit.Tx) error {
		if who.Type == actor.TypeSystem {
			tx.Record(audit.Event{Action: "test.change", ResourceType: "cost"})
		}
		return fn(ctx, tx)
	})
}

func (r *room) do(t *testing.T, when string, fn func(ctx context.Context, tx *audit.Tx) error) {
	t.Helper()
	r.clock.Set(at(when))
	if err := r.change(t.Context(), actor.System("test"), fn); err != nil {
		t.Fatal(err)
	}
}

// desk is a WorkSpace with its meters.
type desk struct {
	*room
	cost.Subject
}

// add adds a WorkSpace of a team's engineer.
func (r *room) add(t *testing.T, team int, project id.Project, mode, name string) *desk {
	t.Helper()
	user := r.org.Users[team][actor.Engineer]
	s := cost.Subject{
		Workspace: r.WorkSpace(t, r.org, user, project, mode, r.clock.Now()), CostCentre: r.org.CostCentres[team], Spec: pgtest.Spec(mode),
		Payer: budget.Payer{User: user, Team: r.org.Teams[team], Project: project}, BlueprintVersion: r.org.Version, Tags: map[string]string{"env": "dev"},
	}
	r.Exec(t, `UPDATE workspaces SET name = $2, provider_id = 'ws-' || (SELECT count(*) FROM workspaces) WHERE id = $1`, s.Workspace, name)
	return &desk{r, s}
}

func (d *desk) begin(t *testing.T, when string) {
	t.Helper()
	d.do(t, when, func(ctx context.Context, tx *audit.Tx) error { return d.meter.Begin(ctx, tx, d.Subject) })
}

func (d *desk) pause(t *testing.T, when string) {
	t.Helper()
	d.do(t, when, func(ctx context.Context, tx *audit.Tx) error { return d.meter.Pause(ctx, tx, d.Workspace) })
}

func (d *desk) end(t *testing.T, when string) {
	t.Helper()
	d.do(t, when, func(ctx context.Context, tx *audit.Tx) error { return d.meter.End(ctx, tx, d.Workspace, tx.Now) })
}

func (d *desk) switchTo(t *testing.T, when string, runs bool) {
	t.Helper()
	d.do(t, when, func(ctx context.Context, tx *audit.Tx) error { return d.meter.Switch(ctx, tx, d.Subject, runs) })
}

func (r *room) settle(t *testing.T, when string) {
	t.Helper()
	for n := 1; n > 0; {
		r.do(t, when, func(ctx context.Context, tx *audit.Tx) (err error) { n, err = r.meter.Settle(ctx, tx, 100); return err })
	}
}

// close closes a month as the actor would; the actor's zero value is a finance person.
func (r *room) close(t *testing.T, who actor.Actor, m string) (report.Closing, error) {
	t.Helper()
	if who.Type == "" {
		who = r.org.Actor(0, actor.Finance)
	}
	var c report.Closing
	err := r.change(t.Context(), who, func(ctx context.Context, tx *audit.Tx) (err error) {
		c, err = report.Close(ctx, tx, month(m))
		return err
	})
	if errors.Is(err, audit.ErrNothing) {
		err = nil
	}
	return c, err
}

func (r *room) closed(t *testing.T, m string) report.Closing {
	t.Helper()
	c, err := r.close(t, actor.Actor{}, m)
	if err != nil {
		t.Fatalf("closing %s: %v", m, err)
	}
	return c
}

func (r *room) open(t *testing.T, m string, scope report.Scope) *report.Report {
	t.Helper()
	out, err := report.Open(t.Context(), r.Pool, month(m), scope, r.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Done)
	return out
}

func (r *room) written(t *testing.T, m string, scope report.Scope, f report.Format, by string) []byte {
	t.Helper()
	out := r.open(t, m, scope)
	defer out.Done()
	var b bytes.Buffer
	if err := out.Write(t.Context(), &b, f, by); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (r *room) document(t *testing.T, m string, scope report.Scope) api.CostReport {
	t.Helper()
	var doc api.CostReport
	d := json.NewDecoder(bytes.NewReader(r.written(t, m, scope, report.JSON, "")))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the document: %v", err)
	}
	return doc
}

// november is a month worked out by hand at the shipped prices of us-east-1 (STANDARD: ALWAYS_ON 35, AUTO_STOP 9.75 and 0.30
// an hour; PERFORMANCE AUTO_STOP 13). November has 30 days.
func november(t *testing.T) *room {
	r := setUp(t, "2026-11-01 00:00")
	// One: backend, its project; AUTO_STOP all month, 9.75; on the 10th 9:00 to 11:30, three hours, 0.90. On the 16th at 00:00
	// PERFORMANCE: half of 9.75 is given back, -4.875, and half of 13 is due, 6.50.
	one := r.add(t, 0, r.org.Projects[0], price.AutoStop, "one")
	one.begin(t, "2026-11-01 00:00")
	one.pause(t, "2026-11-01 00:00")
	one.begin(t, "2026-11-10 09:00")
	one.pause(t, "2026-11-10 11:30")
	one.Spec.ComputeType = "PERFORMANCE"
	one.switchTo(t, "2026-11-16 00:00", false)
	// Two: data, no project; ALWAYS_ON from the 16th: half of 35, 17.50. Ended on the 20th: nothing is given back.
	two := r.add(t, 1, "", price.AlwaysOn, "=2+2")
	two.begin(t, "2026-11-16 00:00")
	two.end(t, "2026-11-20 00:00")
	// Three: data, its project; AUTO_STOP from the 30th, 9.75 / 30 = 0.325; it runs from 23:30 over the end of the month until
	// 00:45: 0.30 in November, and one hour and a fee of 9.75 in December.
	three := r.add(t, 1, r.org.Projects[1], price.AutoStop, "three")
	three.begin(t, "2026-11-30 00:00")
	three.pause(t, "2026-11-30 00:00")
	three.begin(t, "2026-11-30 23:30")
	three.pause(t, "2026-12-01 00:45")
	return r
}

func usd(t *testing.T, m api.Money) money.USD {
	t.Helper()
	u, err := money.Parse(m.Amount)
	if err != nil || m.Currency != "USD" {
		t.Fatal(m, err)
	}
	return u
}

// lineOf is a cost as this test writes it: fee, hours, volumes, corrections, earlier months, total, seconds.
func lineOf(t *testing.T, p api.CostParts) string {
	t.Helper()
	if p.DataTransfer != nil {
		t.Errorf("data transfer is %v, which nothing meters", p.DataTransfer)
	}
	if sum := usd(t, p.MonthlyFee) + usd(t, p.Running) + usd(t, p.Storage) + usd(t, p.Corrections) + usd(t, p.EarlierMonths); sum != usd(t, p.Total) {
		t.Errorf("the parts come to %s, the total is %s", sum, p.Total.Amount)
	}
	var out []string
	for _, m := range []api.Money{p.MonthlyFee, p.Running, p.Storage, p.Corrections, p.EarlierMonths, p.Total} {
		out = append(out, strings.TrimSuffix(m.Amount, "000"))
	}
	return strings.Join(append(out, fmt.Sprint(p.RunningSeconds)), " ")
}

func TestAMonthWorkedOutByHand(t *testing.T) {
	r := november(t)
	r.settle(t, "2026-12-01 00:50")
	doc := r.document(t, "2026-11", report.Scope{})
	got := map[string]string{"total": lineOf(t, doc.Total)}
	for kind, groups := range map[string][]api.CostReportGroup{"team": doc.Teams, "project": doc.Projects, "cost centre": doc.CostCentres, "bundle": doc.Bundles} {
		for _, g := range groups {
			name := g.Name
			if name == "" {
				name = g.Key
			}
			got[kind+" "+name] = lineOf(t, g.CostParts)
		}
	}
	for _, w := range doc.Workspaces {
		got[fmt.Sprintf("%s %s %s %s", w.Name, w.Team, w.Project, w.BundleType)] = lineOf(t, w.CostParts)
	}
	// A correction is counted under what it corrects: STANDARD. The seconds are those of 2.5 h and of half an hour.
	const want = `
=2+2 data  STANDARD: 17.500 0.000 0.000 0.000 0.000 17.500 0
bundle PERFORMANCE: 6.500 0.000 0.000 0.000 0.000 6.500 0
bundle STANDARD: 27.575 1.200 0.000 -4.875 0.000 23.900 10800
cost centre cc-1000: 16.250 0.900 0.000 -4.875 0.000 12.275 9000
cost centre cc-2000: 17.825 0.300 0.000 0.000 0.000 18.125 1800
one backend backend-project PERFORMANCE: 6.500 0.000 0.000 0.000 0.000 6.500 0
one backend backend-project STANDARD: 9.750 0.900 0.000 -4.875 0.000 5.775 9000
project : 17.500 0.000 0.000 0.000 0.000 17.500 0
project backend-project: 16.250 0.900 0.000 -4.875 0.000 12.275 9000
project data-project: 0.325 0.300 0.000 0.000 0.000 0.625 1800
team backend: 16.250 0.900 0.000 -4.875 0.000 12.275 9000
team data: 17.825 0.300 0.000 0.000 0.000 18.125 1800
three data data-project STANDARD: 0.325 0.300 0.000 0.000 0.000 0.625 1800
total: 34.075 1.200 0.000 -4.875 0.000 30.400 10800
`
	text := "\n"
	for _, name := range slices.Sorted(maps.Keys(got)) {
		text += name + ": " + got[name] + "\n"
	}
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if doc.Status != "provisional" || !slices.Equal(doc.NotMetered, []string{"data_transfer"}) {
		t.Errorf("%s, not metered %v", doc.Status, doc.NotMetered)
	}
}

// bookWithVolumes is a price book with the prices of volumes, by the second.
func bookWithVolumes(ctx context.Context, tx *audit.Tx) error {
	lines, err := price.Default()
	if err != nil {
		return err
	}
	for item, amount := range map[price.Item]money.USD{price.RootGBMonth: 110_000, price.UserGBMonth: 90_000} {
		key := price.Key{Region: pgtest.Region, ComputeType: "STANDARD", OperatingSystem: "WINDOWS", License: "INCLUDED", Item: item}
		lines = append(lines, price.Price{Key: key, Unit: "gb_month", Amount: amount})
	}
	_, err = cost.ImportBook(ctx, tx, "volumes", price.Second, tx.Now, lines)
	return err
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, got, 0o644); err != nil { //nolint:gosec // a golden file
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// named has the ids of a run replaced by what they are of, so that it can be compared with another run.
func (r *room) named(t *testing.T, b []byte) []byte {
	t.Helper()
	rows, err := r.Pool.Query(t.Context(), `
		SELECT id FROM workspaces UNION ALL SELECT id FROM teams UNION ALL SELECT id FROM projects UNION ALL SELECT id FROM users UNION ALL SELECT id FROM blueprints
		UNION ALL SELECT id FROM usage UNION ALL SELECT id FROM cost_records ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := map[string]int{}
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(key, "_")
		n[kind]++
		b = bytes.ReplaceAll(b, []byte(key), fmt.Appendf(nil, "%s_%d", kind, n[kind]))
	}
	return b
}

// The form of a closed month's document is what its hash is of: it may not change.
func TestGoldenReports(t *testing.T) {
	r := november(t)
	r.settle(t, "2026-12-01 00:50")
	r.clock.Set(at("2026-12-02 09:00"))
	r.closed(t, "2026-11")
	for _, f := range []report.Format{report.JSON, report.CSV, report.FOCUS} {
		golden(t, "november."+f.Extension(), r.named(t, r.written(t, "2026-11", report.Scope{}, f, "")))
	}
}

var formats = []report.Format{report.JSON, report.CSV, report.FOCUS, report.PDF}

// all is a month's report in every format, for everybody who may see it and by all that it is narrowed to.
func (r *room) all(t *testing.T, m string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, f := range formats {
		for name, scope := range map[string]report.Scope{"all": {}, "team": {Team: r.org.Teams[1]}, "user": {User: r.org.Users[1][actor.Engineer]}} {
			out[name+" "+string(f)] = r.written(t, m, scope, f, "")
		}
		if f != report.FOCUS {
			out["bundles "+string(f)] = r.written(t, m, report.Scope{}, f, "bundle")
		}
	}
	return out
}

// What is written for a month that is closed, by a replica whose clock is behind or as a correction, is in the report of the
// next one; the closed one's stays what it is in every format, whatever else is renamed.
func TestAClosedMonthIsTheSameForeverInEveryFormat(t *testing.T) {
	r := november(t)
	r.settle(t, "2026-12-01 00:50")
	r.clock.Set(at("2026-12-02 09:00"))
	c := r.closed(t, "2026-11")
	before := r.all(t, "2026-11")
	if sum := sha256.Sum256(before["all json"]); !bytes.Equal(sum[:], c.ContentHash) || c.TotalMicros != 30_400_000 {
		t.Errorf("the month was closed with %s of %s; its JSON has %x", c.Hex(), c.TotalMicros, sum)
	}
	if got := r.open(t, "2026-11", report.Scope{Team: r.org.Teams[0]}); !bytes.Equal(got.Hash, c.ContentHash) || !got.Closed() || got.Last != "" && got.Last > c.LastRecord {
		t.Errorf("a part of it is %+v", got)
	}
	// A correction of the ALWAYS_ON fee, -2.50, and running time that was not known, 0.60.
	r.late(t, "fixed_month", -2_500_000)
	r.late(t, "running", 600_000)
	r.Exec(t, `UPDATE teams SET name = 'renamed-' || name`)
	r.Exec(t, `UPDATE projects SET name = 'renamed-' || name`)
	r.Exec(t, `UPDATE workspaces SET name = 'renamed ' || name, provider_id = provider_id || '-anew'`)
	r.settle(t, "2026-12-20 00:00")
	if diff := cmp.Diff(before, r.all(t, "2026-11")); diff != "" {
		t.Errorf("the closed report has changed (-before +after):\n%.2000s", diff)
	}
	if got := r.closed(t, "2026-11"); !bytes.Equal(got.ContentHash, c.ContentHash) || !got.ClosedAt.Equal(c.ClosedAt) {
		t.Errorf("closed again it is %+v, was %+v", got, c)
	}
	// December has both: 9.75 and 13 of fees, one hour of 0.30, and 2.50 and 0.60 of November's.
	for range 2 {
		doc := r.document(t, "2026-12", report.Scope{})
		if got := lineOf(t, doc.Total); got != "22.750 0.300 0.000 0.000 -1.900 21.150 2700" {
			t.Errorf("December is %s", got)
		}
		if doc.Status == "closed" {
			break
		}
		r.settle(t, "2027-01-01 00:00")
		r.closed(t, "2026-12")
	}
	// Every record is in one report.
	rest := r.document(t, "2027-01", report.Scope{})
	total := pgtest.Value[money.USD](t, r.DB, `SELECT sum(total_cost_micros)::bigint FROM cost_records`)
	if sum := c.TotalMicros + usd(t, r.document(t, "2026-12", report.Scope{}).Total.Total) + usd(t, rest.Total.Total); sum != total {
		t.Errorf("the reports come to %s, the records to %s", sum, total)
	}
}

// late writes a record for November behind the back of the meters: a correction of the usage of that kind that cost most.
func (r *room) late(t *testing.T, kind string, amount money.USD) {
	t.Helper()
	if _, err := r.Pool.Exec(t.Context(), lateRecord, id.New[id.CostRecord](), kind, amount, r.clock.Now()); err != nil {
		t.Fatal(err)
	}
}

const lateRecord = `
	INSERT INTO cost_records (id, usage_id, workspace_id, user_id, team_id, project_id, cost_centre, price_id, attribution_id, compute_cost_micros, period_start,
	                          period_end, recorded_at, corrects)
	SELECT $1, c.usage_id, c.workspace_id, c.user_id, c.team_id, c.project_id, c.cost_centre, c.price_id, c.attribution_id, $3, c.period_start, c.period_end, $4, c.id
	FROM cost_records c JOIN usage u ON u.id = c.usage_id
	WHERE u.kind = $2 AND c.corrects IS NULL
	ORDER BY c.total_cost_micros DESC, c.id LIMIT 1`

func TestWhatRefusesToCloseAMonthSaysWhy(t *testing.T) {
	r := november(t)
	refused := func(who actor.Actor, m string, want *fault.Fault) fault.Fault {
		t.Helper()
		_, err := r.close(t, who, m)
		if !errors.Is(err, want) {
			t.Errorf("closing %s: %v, want %s", m, err, want.Code)
			return fault.Fault{}
		}
		return *fault.From(err)
	}
	r.clock.Set(at("2026-11-30 23:59"))
	refused(actor.Actor{}, "2026-11", report.ErrNotOver)
	r.clock.Set(at("2026-12-01 00:40"))
	for _, role := range []actor.Role{actor.Engineer, actor.Contractor, actor.TeamLead, actor.Auditor} {
		if _, err := r.close(t, r.org.Actor(0, role), "2026-11"); fault.From(err).Kind != fault.Forbidden {
			t.Errorf("%s may close a month: %v", role, err)
		}
	}
	// December's fees are due at the same instant at which November ends, and are not November's.
	four := r.add(t, 0, "", price.AutoStop, "four")
	four.begin(t, "2026-12-01 00:46")
	r.Exec(t, `UPDATE usage SET opened_at = '2026-11-30 23:50Z', settled_until = '2026-11-30 23:50Z', due_at = '2026-12-01Z' WHERE workspace_id = $1 AND kind = 'running'`, four.Workspace)
	f := refused(actor.Actor{}, "2026-11", report.ErrNotSettled)
	want := map[string]any{"usages": int64(1), "settled_until": "2026-11-30T23:50:00Z", "workspaces": []string{string(four.Workspace)}}
	if diff := cmp.Diff(want, f.Details); diff != "" {
		t.Errorf("what is not settled (-want +got):\n%s", diff)
	}
	r.settle(t, "2027-01-01 02:00")
	if f := refused(actor.Actor{}, "2026-12", report.ErrOrder); f.Details["next"] != "2026-11" {
		t.Errorf("the next is %v", f.Details["next"])
	}
	refused(actor.Actor{}, "2026-10", report.ErrOrder)
	r.closed(t, "2026-11")
	refused(actor.Actor{}, "2026-10", report.ErrOrder)
	r.closed(t, "2026-12")
}

// Two who close a month at once come to one closing, while somebody writes records for it: each is in one report.
func TestTwoClosingsAtOnceAndSettlementBesideThem(t *testing.T) {
	r := november(t)
	r.settle(t, "2026-12-01 00:50")
	r.clock.Set(at("2026-12-02 09:00"))
	var wg sync.WaitGroup
	closings, errs := make([]report.Closing, 4), make([]error, 12)
	for i := range closings {
		wg.Go(func() { closings[i], errs[i] = r.close(t, actor.Actor{}, "2026-11") })
	}
	for i := range 8 {
		wg.Go(func() {
			_, errs[4+i] = r.Pool.Exec(t.Context(), lateRecord, id.New[id.CostRecord](), "running", money.USD(1+i), r.clock.Now())
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, c := range closings[1:] {
		if c.Hex() != closings[0].Hex() || c.Records != closings[0].Records || !c.ClosedAt.Equal(closings[0].ClosedAt) {
			t.Errorf("closed as %+v and as %+v", c, closings[0])
		}
	}
	if n := pgtest.Value[int64](t, r.DB, `SELECT count(*) FROM audit_logs WHERE action_type = 'cost.close' AND result = 'success'`); n != 1 {
		t.Errorf("%d closings are on record", n)
	}
	sum := sha256.Sum256(r.written(t, "2026-11", report.Scope{}, report.JSON, ""))
	if !bytes.Equal(sum[:], closings[0].ContentHash) {
		t.Error("the report is not what was closed")
	}
	next := r.document(t, "2026-12", report.Scope{})
	all := pgtest.Value[money.USD](t, r.DB, `SELECT sum(total_cost_micros)::bigint FROM cost_records`)
	if got := closings[0].TotalMicros + usd(t, next.Total.Total); got != all {
		t.Errorf("the reports come to %s, the records to %s", got, all)
	}
}

// The application cannot close a month without an entry in the audit log.
func TestAMonthIsNotClosedUnrecorded(t *testing.T) {
	r := november(t)
	_, err := r.Pool.Exec(t.Context(), `
		INSERT INTO cost_months (month, closed_at, closed_by, records, last_record, total_micros, content_hash)
		VALUES ('2026-11-01Z', now(), 'nobody', 0, '', 0, sha256(''))`)
	if !postgres.Violates(err, "cost_months_recorded") {
		t.Errorf("closed unrecorded: %v", err)
	}
}

// What is history cannot be changed, not even by the owner of the tables.
func TestClosedMonthsAreHistory(t *testing.T) {
	r := november(t)
	r.settle(t, "2026-12-01 00:50")
	r.clock.Set(at("2026-12-02 09:00"))
	r.closed(t, "2026-11")
	r.late(t, "running", 1)
	for _, sql := range []string{
		`UPDATE cost_months SET records = 0`, `DELETE FROM cost_months`, `UPDATE cost_month_names SET name = ''`, `DELETE FROM cost_late_records`, `TRUNCATE cost_month_names`,
	} {
		if _, err := r.Owner.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "history") {
			t.Errorf("%s as the owner: %v", sql, err)
		}
		if _, err := r.Pool.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s as the application: %v", sql, err)
		}
	}
}

func TestNoCellIsAFormula(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "backend": "backend", "=1+1": "'=1+1", "+49 30": "'+49 30", "-rm": "'-rm", "@SUM(A1)": "'@SUM(A1)", "\tx": "'\tx", "\rx": "'\rx", "\nx": "'\nx",
		"＝1": "'＝1", "-12.500000": "-12.500000", "-5": "-5", "-5+1": "'-5+1", "-": "'-", "a=b": "a=b", "+5": "'+5", "'=1": "'=1",
	} {
		if got := spreadsheet.Cell(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	r := november(t)
	r.Exec(t, `UPDATE workspaces SET name = E'=HYPERLINK("http://x","a, b")\r\n' WHERE name = 'one'`)
	r.settle(t, "2026-12-01 00:50")
	for _, f := range []report.Format{report.CSV, report.FOCUS} {
		text := r.written(t, "2026-11", report.Scope{}, f, "")
		if bytes.Contains(bytes.ReplaceAll(text, []byte("\r\n"), nil), []byte("\n")) {
			t.Errorf("%s has lines that do not end in CRLF", f)
		}
		rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, row := range rows {
			for i, cell := range row {
				if got := spreadsheet.Cell(cell); got != cell {
					t.Errorf("%s, %s is %q", f, rows[0][i], cell)
				}
				found = found || strings.HasPrefix(cell, "'=HYPERLINK(\"http://x\",\"a, b\")")
			}
		}
		if !found {
			t.Errorf("%s does not have the name that looks like a formula", f)
		}
	}
}

// The rows of each kind come to the total, and a reader's report is what the whole one has of theirs.
func TestRowsOfEachKindComeToTheTotal(t *testing.T) {
	r := november(t)
	r.settle(t, "2026-12-01 00:50")
	for _, scope := range []report.Scope{{}, {Team: r.org.Teams[1]}, {User: r.org.Users[0][actor.Engineer]}, {User: "usr_nobody"}} {
		for _, by := range append([]string{""}, append(slices.Clone(report.Dimensions), report.Workspaces)...) {
			rows, err := csv.NewReader(bytes.NewReader(r.written(t, "2026-11", scope, report.CSV, by))).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			sums := map[string]money.USD{}
			for _, row := range rows[1:] {
				u, err := money.Parse(row[slices.Index(rows[0], "total_usd")])
				if err != nil {
					t.Fatal(err)
				}
				sums[row[2]] += u
			}
			kinds := 1 + len(report.Dimensions) + 1
			switch {
			case scope.User == "usr_nobody":
				kinds = 1
			case by != "":
				kinds = 2
			}
			if len(sums) != kinds {
				t.Errorf("%+v by %q has rows of %v", scope, by, sums)
			}
			want := map[report.Scope]money.USD{{}: 30_400_000, {Team: r.org.Teams[1]}: 18_125_000, {User: r.org.Users[0][actor.Engineer]}: 12_275_000, {User: "usr_nobody"}: 0}[scope]
			for kind, sum := range sums {
				if sum != want {
					t.Errorf("%+v by %q: the rows of %s come to %s, want %s", scope, by, kind, sum, want)
				}
			}
		}
	}
}
