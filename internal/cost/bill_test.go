package cost_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/price"
)

// tariff is what the compute types of these tests cost.
var tariff = map[string]struct {
	root, user               int
	always, auto, hour       money.USD
	rootPerGiB, userPerGiB   money.USD
	alwaysT, autoT, hourT    string
	rootPerGiBT, userPerGiBT string
}{
	"VALUE":       {80, 10, 25_000_000, 7_250_000, 220_000, 100_000, 70_000, "25", "7.25", "0.22", "0.1", "0.07"},
	"STANDARD":    {80, 50, 35_000_000, 9_750_000, 300_000, 110_000, 90_000, "35", "9.75", "0.3", "0.11", "0.09"},
	"PERFORMANCE": {80, 100, 50_000_000, 13_000_000, 470_000, 130_000, 100_000, "50", "13", "0.47", "0.13", "0.1"},
}

// importTariff puts the tariff in force.
func (r *room) importTariff(t *testing.T, rule price.HourRule, from time.Time) {
	t.Helper()
	r.importTimes(t, rule, from, 100, "")
}

// importTimes is importTariff at so many hundredths of its prices, without one compute type.
func (r *room) importTimes(t *testing.T, rule price.HourRule, from time.Time, percent int64, without string) {
	t.Helper()
	var lines []price.Price
	for compute, p := range tariff {
		if compute == without {
			continue
		}
		for item, amount := range map[price.Item]money.USD{
			price.AlwaysOnMonth: p.always, price.AutoStopMonth: p.auto, price.AutoStopHour: p.hour, price.RootGBMonth: p.rootPerGiB, price.UserGBMonth: p.userPerGiB,
		} {
			unit := map[price.Item]string{price.AutoStopHour: "hour", price.RootGBMonth: "gb_month", price.UserGBMonth: "gb_month"}[item]
			if unit == "" {
				unit = "month"
			}
			key := price.Key{Region: pgtest.Region, ComputeType: compute, OperatingSystem: "WINDOWS", License: "INCLUDED", Item: item}
			lines = append(lines, price.Price{Key: key, Unit: unit, Amount: amount.Share(percent, 100)})
		}
	}
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		_, err := cost.ImportBook(ctx, tx, "test", rule, from, lines)
		return err
	})
}

// spell is a time in which nothing about a WorkSpace changed; it lasts until the next begins.
type spell struct {
	from    time.Time
	runs    bool
	spec    price.Spec
	project id.Project
}

// soldAs is what its monthly fee depends on, the running mode apart.
func (s spell) soldAs() string { return fmt.Sprint(s.spec.ComputeType, s.spec.RootGiB, s.spec.UserGiB) }

// life is all of a WorkSpace's spells.
type life []spell

// at is the spell of an instant.
func (l life) at(t time.Time) spell {
	i := len(l) - 1
	for i > 0 && l[i].from.After(t) {
		i--
	}
	return l[i]
}

// alwaysOnSince is when the WorkSpace first was ALWAYS_ON in the month of from, from that instant on; the month's end if
// never.
func (l life) alwaysOnSince(from, end time.Time) time.Time {
	for i, s := range l {
		if !s.from.Before(end) {
			break
		}
		if s.spec.RunningMode == price.AlwaysOn && (i+1 == len(l) || l[i+1].from.After(from)) {
			if s.from.Before(from) {
				return from
			}
			return s.from
		}
	}
	return end
}

// reckon is what Amazon charges for a life until now, by who pays: worked out from the rules that the emulator's bill
// numbers, without meters.
func (l life) reckon(rule price.HourRule, now time.Time) map[id.Project]money.USD {
	sums := map[id.Project]money.USD{}
	var paid [][2]time.Time // as ALWAYS_ON
	for month := clock.StartOfMonth(l[0].from); !month.After(now); month = clock.StartOfNextMonth(month) {
		from, end := month, clock.StartOfNextMonth(month)
		if l[0].from.After(from) {
			from = l[0].from
		}
		switched := l.alwaysOnSince(from, end)
		if switched.After(from) {
			l.fees(sums, price.AutoStop, from, switched, end)
		}
		if switched.Before(end) {
			l.fees(sums, price.AlwaysOn, switched, end, end)
			paid = append(paid, [2]time.Time{switched, end})
		}
	}
	hours := map[time.Time]bool{} // of the clock, that are charged
	for i := 0; i < len(l); i++ {
		if !l[i].runs {
			continue
		}
		begin := l[i].from
		for i < len(l) && l[i].runs {
			i++
		}
		end := now
		if i < len(l) {
			end = l[i].from
		}
		for _, p := range paid {
			if p[0].Before(end) && p[1].After(begin) {
				l.hours(sums, rule, hours, begin, p[0])
				begin = p[1]
			}
		}
		l.hours(sums, rule, hours, begin, end)
	}
	return sums
}

// fees adds the monthly fees of one mode from an instant until the month's end, as they change until known.
func (l life) fees(sums map[id.Project]money.USD, mode string, from, known, end time.Time) {
	month := clock.StartOfMonth(from)
	cuts := []time.Time{from}
	for i := range l {
		if i > 0 && l[i].from.After(from) && l[i].from.Before(known) && l[i].soldAs() != l[i-1].soldAs() {
			cuts = append(cuts, l[i].from)
		}
	}
	for i, cut := range cuts {
		until := end
		if i+1 < len(cuts) {
			until = cuts[i+1]
		}
		is := l.at(cut)
		p := tariff[is.spec.ComputeType]
		fee := p.auto
		if mode == price.AlwaysOn {
			fee = p.always
		}
		fee += p.rootPerGiB.Times(int64(is.spec.RootGiB-p.root)) + p.userPerGiB.Times(int64(is.spec.UserGiB-p.user))
		// A fee that goes on is charged as the month begins, to whom the WorkSpace was then.
		if before := l.at(cut.Add(-time.Microsecond)); cut.Equal(month) && l[0].from.Before(cut) && before.soldAs() == is.soldAs() && before.spec.RunningMode == is.spec.RunningMode {
			is = before
		}
		sums[is.project] += fee.Share(int64(until.Sub(cut)), int64(end.Sub(month)))
	}
}

// hours adds the running time of a run, or of what of it is charged.
func (l life) hours(sums map[id.Project]money.USD, rule price.HourRule, charged map[time.Time]bool, begin, end time.Time) {
	switch rule {
	case price.SessionCeil:
		for t := begin; t.Before(end); t = t.Add(time.Hour) {
			sums[l.at(t).project] += tariff[l.at(t).spec.ComputeType].hour
		}
	case price.ClockHour:
		for t := begin; t.Before(end); t = t.Truncate(time.Hour).Add(time.Hour) {
			if hour := t.Truncate(time.Hour); !charged[hour] {
				charged[hour] = true
				sums[l.at(t).project] += tariff[l.at(t).spec.ComputeType].hour
			}
		}
	case price.Second:
		for t := begin; t.Before(end); {
			is, until := l.at(t), end
			for _, s := range l {
				if s.from.After(t) && s.from.Before(until) && (s.project != is.project || s.spec.ComputeType != is.spec.ComputeType) {
					until = s.from
				}
			}
			sums[is.project] += tariff[is.spec.ComputeType].hour.Share(int64(until.Sub(t)), int64(time.Hour))
			t = until
		}
	}
}

func (l life) total(rule price.HourRule, now time.Time) (sum money.USD) {
	for _, part := range l.reckon(rule, now) {
		sum += part
	}
	return sum
}

// bills are the emulator's own of a life, by month, each of its lines rounded to the micro-dollar. Its lines are rounded to
// the billionth already: one that comes to half a micro-dollar may have been a little less, which is how much is unsure.
func (l life) bills(t *testing.T, dir string, rule price.HourRule, now time.Time) (sums, unsure map[string]money.USD) {
	t.Helper()
	type terms struct {
		RunningMode string `json:"running_mode"`
		Compute     string `json:"compute"`
		System      string `json:"system"`
		RootGiB     int    `json:"root_gib"`
		UserGiB     int    `json:"user_gib"`
	}
	type span struct {
		From  time.Time `json:"t"`
		State string    `json:"s"`
		Terms int       `json:"k"`
	}
	var was []terms
	var spans []span
	for i, s := range l {
		state := map[bool]string{true: "AVAILABLE", false: "STOPPED"}[s.runs]
		was = append(was, terms{s.spec.RunningMode, s.spec.ComputeType, "WINDOWS_SERVER_2022", s.spec.RootGiB, s.spec.UserGiB})
		spans = append(spans, span{s.from, state, i})
	}
	var prices []map[string]any
	for compute, p := range tariff {
		prices = append(prices, map[string]any{
			"region": pgtest.Region, "compute_type": compute, "operating_system": "Windows", "license": "Included", "root_gib": p.root, "user_gib": p.user,
			"always_on_month": p.alwaysT, "auto_stop_month": p.autoT, "auto_stop_hour": p.hourT, "root_gib_month": p.rootPerGiBT, "user_gib_month": p.userPerGiBT,
		})
	}
	var state strings.Builder
	for _, line := range []any{
		map[string]any{"emulator": "workspaces", "version": 1, "seq": 100},
		map[string]any{"kind": "prices", "value": map[string]any{"prices": prices}},
		map[string]any{"kind": "history", "value": map[string]any{
			"seq": 1, "id": "ws-000000001", "region": pgtest.Region, "directory_id": "d-0000000001", "user": "u", "computer": "C",
			"created": l[0].from, "terms": was, "spans": spans,
		}},
	} {
		text, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		state.Write(append(text, '\n'))
	}
	path := filepath.Join(dir, "state")
	if err := os.WriteFile(path, []byte(state.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := emulator.New(emulator.Config{
		StateFile: path, Now: func() time.Time { return now }, HourRule: emulator.HourRule(rule), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	sums, unsure = map[string]money.USD{}, map[string]money.USD{}
	for month := clock.StartOfMonth(l[0].from); month.Before(now); month = clock.StartOfNextMonth(month) {
		name := month.Format("2006-01")
		w := httptest.NewRecorder()
		e.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/_emu/bill?month="+name, nil))
		var bill struct {
			Complete bool
			Lines    []struct {
				Cost string `json:"unblended_cost"`
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &bill); err != nil || !bill.Complete {
			t.Fatalf("the bill of %s: %s (%v)", name, w.Body, err)
		}
		for _, line := range bill.Lines {
			whole, fraction, _ := strings.Cut(line.Cost, ".")
			digits := fraction + strings.Repeat("0", 9-len(fraction))
			sum, err := money.Parse(whole + "." + digits[:6])
			if err != nil {
				t.Fatal(err)
			}
			if digits[6] >= '5' {
				sum++
			}
			if digits[6:] == "500" {
				unsure[name]++
			}
			sums[name] += sum
		}
	}
	return sums, unsure
}

// Whatever becomes of a WorkSpace, and however its settlement is sliced, the ledger says at every moment what Amazon's
// rules make of its life, and in the end each month's records are the emulator's bill of the month.
func TestTheLedgerIsTheBill(t *testing.T) {
	rooms := map[price.HourRule]*room{}
	for _, rule := range []price.HourRule{price.SessionCeil, price.ClockHour, price.Second} {
		rooms[rule] = setUp(t, at("2026-01-01 00:00"), rule)
		rooms[rule].importTariff(t, rule, at("2025-06-01 00:00"))
	}
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		rule := rapid.SampledFrom([]price.HourRule{price.SessionCeil, price.ClockHour, price.Second}).Draw(rt, "rule")
		r := rooms[rule]
		projects := []id.Project{"", r.org.Projects[0], r.org.Projects[1]}
		modes := rapid.SampledFrom([]string{price.AutoStop, price.AutoStop, price.AlwaysOn})
		computes := rapid.SampledFrom([]string{"VALUE", "STANDARD", "PERFORMANCE"})
		do := func(fn func(ctx context.Context, tx *audit.Tx) error) {
			if err := r.try(t.Context(), fn); err != nil {
				rt.Fatal(err)
			}
		}
		now := at("2026-01-28 00:00").AddDate(0, rapid.IntRange(0, 12).Draw(rt, "month"), 0).
			Add(time.Duration(rapid.Int64Range(0, 4*86400e6).Draw(rt, "begin")) * time.Microsecond)
		r.clock.Set(now)
		is := spell{now, true, pgtest.Spec(modes.Draw(rt, "mode")), ""}
		is.spec.ComputeType, is.spec.RootGiB, is.spec.UserGiB = computes.Draw(rt, "compute"), 80, 100
		user := r.org.Users[0][actor.Engineer]
		s := cost.Subject{
			Workspace: r.WorkSpace(t, r.org, user, "", price.AutoStop, now), CostCentre: r.org.CostCentres[0],
			Payer: budget.Payer{User: user, Team: r.org.Teams[0]}, Spec: is.spec,
		}
		do(func(ctx context.Context, tx *audit.Tx) error { return r.meter.Begin(ctx, tx, s) })
		l := life{is}
		for range rapid.IntRange(1, 16).Draw(rt, "steps") {
			hourly := is.runs && is.spec.RunningMode == price.AutoStop // each hour is a transaction's work
			switch far := rapid.IntRange(0, 5).Draw(rt, "how far"); {
			case far == 0:
				now = now.Truncate(time.Hour).Add(time.Hour)
			case far == 1 && (!hourly || now.Day() > 25):
				now = clock.StartOfNextMonth(now)
			case far == 2 && !hourly:
				now = now.Add(time.Duration(rapid.Int64Range(1, 20*86400e6).Draw(rt, "by")) * time.Microsecond)
			case far == 3:
				now = now.Add(time.Duration(rapid.IntRange(1, 30).Draw(rt, "hours")) * time.Hour)
			default:
				now = now.Add(time.Duration(rapid.Int64Range(1, 3*3600e6).Draw(rt, "by")) * time.Microsecond)
			}
			r.clock.Set(now)
			is.from = now
			if rapid.IntRange(0, 2).Draw(rt, "settle") == 0 {
				do(func(ctx context.Context, tx *audit.Tx) error { _, err := r.meter.Settle(ctx, tx, 100); return err })
				if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM usage WHERE workspace_id = $1 AND due_at <= $2`, s.Workspace, now); n != 0 {
					rt.Fatalf("%d usages are still due", n)
				}
			}
			switch rapid.IntRange(0, 4).Draw(rt, "what") {
			case 0, 1:
				if is.runs = !is.runs; is.runs {
					do(func(ctx context.Context, tx *audit.Tx) error { return r.meter.Begin(ctx, tx, s) })
				} else {
					do(func(ctx context.Context, tx *audit.Tx) error { return r.meter.Pause(ctx, tx, s.Workspace) })
				}
				l = append(l, is)
			default:
				what := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"compute", "mode", "root", "user", "project", "idle"}), 1, 3, rapid.ID[string]).Draw(rt, "change")
				for _, field := range what {
					switch field {
					case "compute":
						is.spec.ComputeType = computes.Draw(rt, "compute")
					case "mode":
						is.spec.RunningMode = modes.Draw(rt, "mode")
					case "root":
						is.spec.RootGiB = rapid.SampledFrom([]int{80, 175, 313}).Draw(rt, "root")
					case "user":
						is.spec.UserGiB = rapid.SampledFrom([]int{100, 137}).Draw(rt, "user")
					case "project":
						is.project = rapid.SampledFrom(projects).Draw(rt, "project")
					case "idle":
						is.spec.AutoStopMinutes = 180
					}
				}
				s.Spec, s.Payer.Project = is.spec, is.project
				do(func(ctx context.Context, tx *audit.Tx) error { return r.meter.Switch(ctx, tx, s, is.runs) })
				l = append(l, is)
			}
			if got, want := r.toDate(t, s.Workspace), l.total(rule, now); got != want {
				rt.Fatalf("%s at %s: %s to date, want %s of\n%v", rule, now, got, want, l)
			}
		}
		do(func(ctx context.Context, tx *audit.Tx) error { return r.meter.Pause(ctx, tx, s.Workspace) })
		do(func(ctx context.Context, tx *audit.Tx) error { return r.meter.End(ctx, tx, s.Workspace, tx.Now) })
		if is.runs {
			is.from, is.runs = now, false
			l = append(l, is)
		}
		byProject := l.reckon(rule, now)
		for _, p := range projects {
			got := pgtest.Value[money.USD](t, r.DB, `
				SELECT coalesce(sum(total_cost_micros), 0)::bigint FROM cost_records WHERE workspace_id = $1 AND project_id IS NOT DISTINCT FROM nullif($2, '')`, s.Workspace, p)
			if got != byProject[p] {
				rt.Fatalf("%s at %s: the project %q is charged %s, want %s of\n%v", rule, now, p, got, byProject[p], l)
			}
		}
		if n := pgtest.Value[int](t, r.DB, `
			SELECT count(*) FROM usage u
			WHERE u.workspace_id = $1 AND u.settled_micros <> (SELECT coalesce(sum(total_cost_micros), 0) FROM cost_records c WHERE c.usage_id = u.id)`, s.Workspace); n != 0 {
			rt.Fatalf("%d usages differ from their records", n)
		}
		if rule == price.Second {
			return
		}
		sums, unsure := l.bills(t, dir, rule, now.Add(time.Microsecond)) // what is due at this instant is in it
		for month, sum := range sums {
			got := pgtest.Value[money.USD](t, r.DB, `
				SELECT coalesce(sum(total_cost_micros), 0)::bigint FROM cost_records WHERE workspace_id = $1 AND to_char(period_start AT TIME ZONE 'UTC', 'YYYY-MM') = $2`, s.Workspace, month)
			if got > sum || got < sum-unsure[month] {
				rt.Fatalf("%s: the ledger of %s is %s, the bill %s of\n%v", rule, month, got, sum, l)
			}
		}
	})
}
