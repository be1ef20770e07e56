//go:build prove

package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/money"
)

// sizesEnv says how many records there are to be, one number after the other; each run adds to those before.
const sizesEnv = "FORGE_PROVE_COST_RECORDS"

// provedTeams are those of the proof. Every one has records on every day, however few there are: more records are more
// WorkSpaces and more of their hours, and nothing else.
const provedTeams = 20

var (
	provedFrom = time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	provedNow  = time.Date(2026, 10, 31, 12, 20, 0, 0, time.UTC)
)

// TestProveCost says how long a month's summary by team takes beside a plain sum, the more records there are, and how fast
// records are settled beside COPY of the same rows.
func TestProveCost(t *testing.T) {
	sizes := []int{10_000, 1_000_000, 10_000_000}
	if text := os.Getenv(sizesEnv); text != "" {
		sizes = nil
		for _, n := range strings.Split(text, ",") {
			size, err := strconv.Atoi(n)
			if err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, size)
		}
	}
	var first, last time.Duration
	fmt.Printf("%-12s %-44s %12s %12s %10s\n", "RECORDS", "SUMMARY OF OCTOBER", "SUMMARY", "PLAIN SUM", "RATIO")
	for i, size := range sizes {
		p := newProof(t, size)
		last = p.summaries(size)
		if i == 0 {
			first = last
		}
		if i == len(sizes)-1 {
			p.settlement()
		}
		p.stop()
	}
	fmt.Printf("\nby team, with %d times the records: %.2f times the time\n", sizes[len(sizes)-1]/sizes[0], float64(last)/float64(first)) // not money: a ratio
	if last > 3*first+2*time.Millisecond {
		t.Errorf("the time has grown with the records: %s and %s", first, last)
	}
}

// proof is a database with so many records.
type proof struct {
	*rig
	ctx  context.Context
	stop func()
}

func (p *proof) exec(sql string, args ...any) {
	p.t.Helper()
	if _, err := p.db.Exec(p.ctx, sql, args...); err != nil {
		p.t.Fatalf("%s: %v", sql, err)
	}
}

func newProof(t *testing.T, records int) *proof {
	t.Helper()
	r := newRig(t, 1)
	p := &proof{rig: r, ctx: actor.With(t.Context(), actor.Operator("proof")), stop: func() {
		r.forge.Close()
		_ = r.db.Close(context.WithoutCancel(t.Context()))
	}}
	p.exec(`SET statement_timeout = 0`)
	p.exec(`SET maintenance_work_mem = '512MB'`)
	p.exec(`
		INSERT INTO teams (id, name, cost_centre, created_at, updated_at)
		SELECT 'team_' || n, 'proof-' || n, 'cc-' || n, now(), now() FROM generate_series(1, $1::int) n`, provedTeams)
	p.exec(`
		INSERT INTO users (id, user_name, display_name, email, team_id, role, created_at, updated_at)
		SELECT 'usr_' || n, 'proof-' || n, '', n || '@example.com', 'team_' || n, 'engineer', now(), now() FROM generate_series(1, $1::int) n`, provedTeams)
	// As many WorkSpaces as have run two months through, but one a team at the least, with its hours spread over the time.
	const hours = 61 * 24
	desks := (records/hours/provedTeams + 1) * provedTeams
	each := records / desks
	p.desks("old", desks)
	p.exec(`
		INSERT INTO usage (id, workspace_id, kind, opened_at, closed_at, price_id, rate_micros, hour_rule, user_id, team_id, cost_centre, settled_until, settled_micros, attribution_id)
		SELECT 'use_' || w.id, w.id, 'running', $1, $2, p.id, p.amount_micros, 'session_ceil', w.user_id, w.team_id, w.cost_centre, $2, $3::bigint * 300000, a.id
		FROM workspaces w JOIN cost_attributions a ON a.workspace_id = w.id, `+provedPrice, provedFrom, provedNow, each)
	restore := p.strip()
	p.exec(`
		INSERT INTO cost_records (id, usage_id, workspace_id, user_id, team_id, cost_centre, price_id, attribution_id, compute_cost_micros, period_start, period_end, recorded_at)
		SELECT u.id || ':' || n, u.id, u.workspace_id, u.user_id, u.team_id, u.cost_centre, u.price_id, u.attribution_id, 300000,
		       $1::timestamptz + make_interval(hours => (n * $2::int / $3::int)), $1::timestamptz + make_interval(hours => (n * $2::int / $3::int) + 1), $1
		FROM generate_series(0, $3::int - 1) n, usage u`, provedFrom, hours, each)
	for _, sql := range restore {
		p.exec(sql)
	}
	if err := pgx.BeginFunc(p.ctx, p.db, func(tx pgx.Tx) error { return cost.Rebuild(p.ctx, tx) }); err != nil {
		t.Fatal(err)
	}
	// What runs at the moment is the same whatever is past.
	p.desks("new", 10*provedTeams)
	p.running("new", provedNow.Truncate(time.Hour))
	p.exec(`VACUUM (ANALYZE)`)
	return p
}

const provedPrice = `(SELECT id, amount_micros FROM prices WHERE compute_type = 'STANDARD' AND item = 'auto_stop_hour' AND region = 'us-east-1' AND operating_system = 'WINDOWS' ORDER BY id LIMIT 1) p`

// desks adds WorkSpaces, with what they are counted under.
func (p *proof) desks(name string, n int) {
	p.exec(`
		INSERT INTO workspaces (id, name, user_id, team_id, cost_centre, blueprint_version_id, service_type, bundle_type, operating_system, license, running_mode,
		  region, directory_id, directory_user, auto_stop_timeout_minutes, tags, desired, state, state_reason, version, created_at, updated_at)
		SELECT 'ws_' || $1 || n, $1 || n, 'usr_' || n % $3 + 1, 'team_' || n % $3 + 1, 'cc-' || n % $3 + 1, v.id, 'WORKSPACES_PERSONAL', 'STANDARD', 'WINDOWS', 'INCLUDED', 'AUTO_STOP',
		  'us-east-1', 'd-' || $1 || n, 'u', 60, '{}', 'AVAILABLE', 'AVAILABLE', 'proof', 1, now(), now()
		FROM generate_series(0, $2::int - 1) n, (SELECT id FROM blueprint_versions LIMIT 1) v`, name, n, provedTeams)
	p.exec(`
		INSERT INTO cost_attributions (digest, workspace_id, user_id, team_id, cost_centre, blueprint_id, blueprint_version_id, bundle_type, region, tags)
		SELECT sha256(convert_to(w.id, 'UTF8')), w.id, w.user_id, w.team_id, w.cost_centre, v.blueprint_id, v.id, w.bundle_type, w.region, w.tags
		FROM workspaces w JOIN blueprint_versions v ON v.id = w.blueprint_version_id
		WHERE w.id LIKE 'ws_' || $1 || '%'`, name)
}

// running has WorkSpaces run since an instant, with nothing settled.
func (p *proof) running(name string, since time.Time) {
	p.exec(`
		INSERT INTO usage (id, workspace_id, kind, opened_at, price_id, rate_micros, hour_rule, user_id, team_id, cost_centre, settled_until, due_at, attribution_id)
		SELECT 'use_' || w.id, w.id, 'running', $1, p.id, p.amount_micros, 'session_ceil', w.user_id, w.team_id, w.cost_centre, $1, $2, a.id
		FROM workspaces w JOIN cost_attributions a ON a.workspace_id = w.id, `+provedPrice+`
		WHERE w.id LIKE 'ws_' || $3 || '%'`, since, since.Truncate(time.Hour).Add(time.Hour), name)
}

// strip takes the records' further indexes and foreign keys away while they are filled, and says how they are made again.
func (p *proof) strip() (restore []string) {
	rows, err := p.db.Query(p.ctx, `
		SELECT format('ALTER TABLE cost_records DROP CONSTRAINT %I', conname), format('ALTER TABLE cost_records ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid))
		FROM pg_constraint
		WHERE contype = 'f' AND conrelid = 'cost_records'::regclass
		UNION ALL
		SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid)
		FROM pg_index
		WHERE indrelid = 'cost_records'::regclass AND NOT indisprimary`)
	if err != nil {
		p.t.Fatal(err)
	}
	type pair struct{ Drop, Make string }
	pairs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pair])
	if err != nil {
		p.t.Fatal(err)
	}
	for _, s := range pairs {
		if !strings.Contains(s.Drop, "corrects_fk") { // it refers to the table itself
			p.exec(s.Drop)
			restore = append(restore, s.Make)
		}
	}
	return restore
}

// median is how long fn takes, of so many times after one.
func median(t testing.TB, times int, fn func() error) time.Duration {
	t.Helper()
	var took []time.Duration
	for i := range times + 1 {
		begun := time.Now()
		if err := fn(); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			took = append(took, time.Since(begun))
		}
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// summaries times October, in several ways, and returns how long it takes by team.
func (p *proof) summaries(size int) time.Duration {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		p.t.Fatal(err)
	}
	india, err := time.LoadLocation("Asia/Kolkata")
	if err != nil {
		p.t.Fatal(err)
	}
	in := func(zone *time.Location) cost.Query {
		return cost.Query{From: time.Date(2026, 10, 1, 0, 0, 0, 0, zone), To: time.Date(2026, 11, 1, 0, 0, 0, 0, zone), Zone: zone, GroupBy: "team"}
	}
	daily, one := in(time.UTC), in(time.UTC)
	daily.Granularity, one.GroupBy, one.Team = "day", "total", "team_1"
	var byTeam time.Duration
	for i, q := range []struct {
		name string
		cost.Query
		plain string
		args  []any
	}{
		{"by team", in(time.UTC), `SELECT team_id, sum(total_cost_micros) FROM cost_records WHERE team_id = ANY($3) AND period_start >= $1 AND period_start < $2 GROUP BY 1`, []any{teams()}},
		{"of one team", one, `SELECT team_id, sum(total_cost_micros) FROM cost_records WHERE team_id = $3 AND period_start >= $1 AND period_start < $2 GROUP BY 1`, []any{"team_1"}},
		{"by team and day", daily, `SELECT team_id, date_trunc('day', period_start), sum(total_cost_micros) FROM cost_records WHERE team_id = ANY($3) AND period_start >= $1 AND period_start < $2 GROUP BY 1, 2`, []any{teams()}},
		{"by team, New York's month", in(newYork), `SELECT team_id, sum(total_cost_micros) FROM cost_records WHERE team_id = ANY($3) AND period_start >= $1 AND period_start < $2 GROUP BY 1`, []any{teams()}},
		{"by team, India's month", in(india), `SELECT team_id, sum(total_cost_micros) FROM cost_records WHERE team_id = ANY($3) AND period_start >= $1 AND period_start < $2 GROUP BY 1`, []any{teams()}},
	} {
		var sums []cost.Sum
		took := median(p.t, 101, func() (err error) {
			sums, err = cost.Summarise(p.ctx, p.forge.Pool, q.Query, provedNow)
			return err
		})
		var read int64
		plain := median(p.t, 15, func() error {
			rows, err := p.forge.Pool.Query(p.ctx, q.plain, append([]any{pgx.QueryExecModeCacheDescribe, q.From, q.To}, q.args...)...)
			if err != nil {
				return err
			}
			read = 0
			for rows.Next() {
				if err := rows.Scan(scanned(&read, len(rows.FieldDescriptions()))...); err != nil {
					return err
				}
			}
			return rows.Err()
		})
		var settled, open money.USD
		for _, s := range sums {
			settled, open = settled+s.Settled(), open+s.Open
		}
		if int64(settled) != read || settled == 0 || open == 0 {
			p.t.Errorf("%s: the summary has %s settled and %s open, the records come to %d", q.name, settled, open, read)
		}
		fmt.Printf("%-12d %-44s %12s %12s %10.2f\n", size, q.name, took.Round(time.Microsecond), plain.Round(time.Microsecond), float64(plain)/float64(took)) // not money: a ratio
		if i == 0 {
			byTeam = took
		}
	}
	return byTeam
}

// adder adds what is scanned into it.
type adder struct{ sum *int64 }

// Scan takes a sum, which PostgreSQL makes a numeric of.
func (a adder) Scan(v any) error {
	n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
	*a.sum += n
	return err
}

// scanned are where the columns of a row go: the last is added up.
func scanned(sum *int64, n int) []any {
	out := make([]any, n)
	out[n-1] = adder{sum}
	return out
}

func teams() []string {
	var all []string
	for n := range provedTeams {
		all = append(all, fmt.Sprintf("team_%d", n+1))
	}
	return all
}

// settlement times how fast what runs becomes records: an hour of each, a day of each, and by two at once.
func (p *proof) settlement() {
	fmt.Printf("\n%-44s %10s %12s %12s %10s\n", "SETTLEMENT, EVERY RECORD CHARGED", "RECORDS", "SETTLED/S", "COPIED/S", "RATIO")
	for i, c := range []struct {
		name     string
		hours    int
		replicas int
	}{
		{"an hour of each", 1, 1},
		{"a day of each", 24, 1},
		{"a day of each, two at once", 24, 2},
	} {
		name := fmt.Sprintf("run%d-", i)
		p.desks(name, 1000)
		p.running(name, provedNow.Truncate(time.Hour).Add(-time.Duration(c.hours)*time.Hour))
		p.exec(`ANALYZE usage`)
		log, err := audit.NewLog(audit.Config{Pool: p.forge.Pool, Clock: clock.At(provedNow).Now, Origin: rigOrigin, Writer: "proof", Keys: p.keys, Logger: serverOf(rigConfig{}, p.keys).Logger})
		if err != nil {
			p.t.Fatal(err)
		}
		meter := &cost.Meter{Budgets: p.forge.Budgets}
		begun := time.Now()
		var wg sync.WaitGroup
		for range c.replicas {
			wg.Go(func() {
				for n := 1; n > 0; {
					if err := log.Change(p.ctx, audit.Intent{Action: "cost.settle", ResourceType: "cost"}, func(tx *audit.Tx) (err error) {
						tx.Record(audit.Event{Action: "cost.settle", ResourceType: "cost"})
						n, err = meter.Settle(p.ctx, tx, 100)
						return err
					}); err != nil {
						p.t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		settling := time.Since(begun)
		rows, err := p.db.Query(p.ctx, `
			SELECT id, usage_id, workspace_id, user_id, team_id, cost_centre, price_id, attribution_id, compute_cost_micros, period_start, period_end, recorded_at
			FROM cost_records
			WHERE workspace_id LIKE 'ws_' || $1 || '%'`, name)
		if err != nil {
			p.t.Fatal(err)
		}
		records, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
		if err != nil || len(records) != 1000*c.hours {
			p.t.Fatalf("%d records of %d: %v", len(records), 1000*c.hours, err)
		}
		p.exec(`CREATE TABLE copied (LIKE cost_records INCLUDING ALL)`)
		begun = time.Now()
		if _, err := p.db.CopyFrom(p.ctx, pgx.Identifier{"copied"}, []string{
			"id", "usage_id", "workspace_id", "user_id", "team_id", "cost_centre", "price_id", "attribution_id", "compute_cost_micros", "period_start", "period_end", "recorded_at",
		}, pgx.CopyFromRows(records)); err != nil {
			p.t.Fatal(err)
		}
		copying := time.Since(begun)
		p.exec(`DROP TABLE copied`)
		rate := func(d time.Duration) float64 { return float64(len(records)) / d.Seconds() }                                               // not money: a count
		fmt.Printf("%-44s %10d %12.0f %12.0f %10.3f\n", c.name, len(records), rate(settling), rate(copying), rate(settling)/rate(copying)) // not money: a ratio
	}
	wrong, err := cost.Misfits(p.ctx, p.db)
	if err != nil || len(wrong) > 0 {
		p.t.Errorf("sums that are not those of the records: %v, %v", wrong, err)
	}
}
