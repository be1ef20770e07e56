// Command admission measures how many requests a second the budgets admit or refuse, beside as many bare commits of an
// UPDATE … RETURNING on the same database by pgbench with as many connections: on one budget that all want, on a thousand
// budgets, and on those that a thousand people in fifty teams of one organisation touch. The rounds of both alternate, so
// that what else the machine does is the same for both; what counts is the ratio.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
)

const people = 1000

var (
	requests    = flag.Int("requests", 4000, "how many requests a round")
	connections = flag.Int("connections", 16, "how many connections, of either side")
	rounds      = flag.Int("rounds", 7, "how many rounds")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "admission:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "forge-admission-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the database's user passes through
		return err
	}
	// A commit is on the disk when it is done, on both sides.
	pg, err := app.StartEmbedded(ctx, dir, false, "admission", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pg.Stop(context.WithoutCancel(ctx))) }()
	b := &bench{dir: dir, owner: pg.OwnerURL}
	if b.pool, err = postgres.OpenTraced(ctx, pg.AppURL, int32(*connections), &b.trips); err != nil { //nolint:gosec // a few
		return err
	}
	defer b.pool.Close()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	fmt.Printf("%d connections, %d requests a round, %d rounds of each in turn; fsync on\n\n", *connections, *requests, *rounds)
	fmt.Printf("%-50s %16s %16s %24s %10s\n", "", "ADMISSIONS/s", "BARE COMMITS/s", "RATIO (FROM - TO)", "STATEMENTS")
	for _, c := range b.cases {
		if err := b.compare(ctx, c); err != nil {
			return err
		}
	}
	fmt.Println("\nADMISSIONS/s and BARE COMMITS/s are the medians of the rounds, RATIO that of the rounds' ratios; STATEMENTS are round trips\nto the database for one admission, with BEGIN and COMMIT.")
	return b.audit(ctx)
}

// bench is the database and what is done to it.
type bench struct {
	dir, owner string
	pool       *pgxpool.Pool
	trips      trips
	log        *audit.Log
	book       *budget.Book
	cases      []comparison
	holds      atomic.Int64
}

// comparison is who asks, and of which rows the bare commits are.
type comparison struct {
	name  string
	payer func(n int) budget.Payer
	rows  int
}

// trips counts what is sent to the database and waited for.
type trips struct{ n atomic.Int64 }

// TraceQueryStart counts a statement.
func (t *trips) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	t.n.Add(1)
	return ctx
}

// TraceQueryEnd does nothing.
func (t *trips) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchStart counts statements that are sent as one.
func (t *trips) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	t.n.Add(1)
	return ctx
}

// TraceBatchQuery does nothing.
func (t *trips) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd does nothing.
func (t *trips) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// prepare makes the budgets, each with room for all, and the rows of the bare commits.
func (b *bench) prepare(ctx context.Context) error {
	if err := audit.GenerateKeys(filepath.Join(b.dir, "keys")); err != nil {
		return err
	}
	keys, err := audit.LoadKeys(filepath.Join(b.dir, "keys"))
	if err != nil {
		return err
	}
	now := func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
	if b.log, err = audit.NewLog(audit.Config{Pool: b.pool, Clock: now, Origin: "forge.bench/audit", Writer: "bench", Keys: keys, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		return err
	}
	b.book = &budget.Book{Spent: cost.Spent, PaidUntil: cost.PaidUntil, FeesDue: cost.FeesDue}
	db, err := pgx.Connect(ctx, b.owner)
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost with it
	for _, sql := range []string{
		`CREATE TABLE bare (id integer PRIMARY KEY, held bigint NOT NULL)`,
		fmt.Sprintf(`INSERT INTO bare SELECT n, 0 FROM generate_series(1, %d) n`, people),
	} {
		if _, err := db.Exec(ctx, sql); err != nil {
			return err
		}
	}
	users, teams, projects := names[id.User](2*people), names[id.Team](52), names[id.Project](50)
	var settings []budget.Setting
	want := func(s budget.Scope, scopeID string) {
		settings = append(settings, budget.Setting{Scope: s, ScopeID: scopeID, Amount: 100_000_000 * money.Dollar})
	}
	for _, u := range users {
		want(budget.User, string(u))
	}
	for _, t := range teams[1:] {
		want(budget.Team, string(t))
	}
	for _, p := range projects {
		want(budget.Project, string(p))
	}
	if err := b.set(ctx, settings); err != nil {
		return err
	}
	const nobody = id.Team("team_without_budget")
	b.cases = []comparison{
		{"one budget that all want", func(int) budget.Payer { return budget.Payer{User: "usr_without_budget", Team: teams[1]} }, 1},
		{"1,000 budgets", func(n int) budget.Payer { return budget.Payer{User: users[n%people], Team: nobody} }, people},
		{"4 each, of an organisation with 50 teams", func(n int) budget.Payer {
			return budget.Payer{User: users[people+n%people], Team: teams[2+n%50], Project: projects[n%50]}
		}, 1},
	}
	return nil
}

func names[K id.Kind](n int) []K {
	all := make([]K, n)
	for i := range all {
		all[i] = id.New[K]()
	}
	return all
}

func (b *bench) set(ctx context.Context, settings []budget.Setting) error {
	return b.change(ctx, func(ctx context.Context, tx *audit.Tx) error {
		for _, s := range settings {
			if _, err := b.book.Set(ctx, tx, s); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *bench) change(ctx context.Context, fn func(ctx context.Context, tx *audit.Tx) error) error {
	ctx = actor.With(ctx, actor.Operator("bench"))
	return b.log.Change(ctx, audit.Intent{Action: "bench.admit", ResourceType: "budget"}, func(tx *audit.Tx) error { return fn(ctx, tx) })
}

// compare lets both sides have their rounds and prints the line.
func (b *bench) compare(ctx context.Context, c comparison) error {
	if c.rows == 1 && len(b.cases) > 2 && c.name == b.cases[2].name {
		if err := b.set(ctx, []budget.Setting{{Scope: budget.Organisation, ScopeID: budget.OrganisationID, Amount: 100_000_000 * money.Dollar}}); err != nil {
			return err
		}
	}
	var ours, theirs, ratios []float64 // not money: admissions a second
	before := b.trips.n.Load()
	for range *rounds {
		admitted, err := b.admit(ctx, c)
		if err != nil {
			return err
		}
		bare, err := b.bare(ctx, c)
		if err != nil {
			return err
		}
		ours, theirs, ratios = append(ours, admitted), append(theirs, bare), append(ratios, admitted/bare)
	}
	trips := (b.trips.n.Load() - before) / int64(*rounds**requests)
	slices.Sort(ratios)
	fmt.Printf("%-50s %16.0f %16.0f %8.3f (%.3f - %.3f) %10d\n", c.name, median(ours), median(theirs), median(ratios), ratios[0], ratios[len(ratios)-1], trips)
	return nil
}

func median(of []float64) float64 { // not money: admissions a second
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

// admit makes the requests, as many at once as there are connections, and returns how many a second it were.
func (b *bench) admit(ctx context.Context, c comparison) (float64, error) { // not money: admissions a second
	var next atomic.Int64
	errs := make([]error, *connections)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range errs {
		wg.Go(func() {
			for n := int(next.Add(1)); n <= *requests && errs[i] == nil; n = int(next.Add(1)) {
				ws := id.New[id.WorkSpace]()
				errs[i] = b.change(ctx, func(ctx context.Context, tx *audit.Tx) error {
					tx.Record(audit.Event{Action: "bench.admit", ResourceType: "workspace", ResourceID: string(ws)})
					_, err := b.book.Hold(ctx, tx, ws, c.payer(n), 3*money.Dollar, money.Dollar)
					return err
				})
				b.holds.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(*requests) / time.Since(began).Seconds(), errors.Join(errs...)
}

var tps = regexp.MustCompile(`tps = ([0-9.]+) \(without initial connection time\)`)

// bare has pgbench make as many commits, and returns how many a second it were.
func (b *bench) bare(ctx context.Context, c comparison) (float64, error) { // not money: commits a second
	script := filepath.Join(b.dir, "bare.sql")
	text := fmt.Sprintf("\\set id random(1, %d)\nUPDATE bare SET held = held + 1 WHERE id = :id RETURNING held;\n", c.rows)
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		return 0, err
	}
	each := strconv.Itoa(*requests / *connections)
	cmd := exec.CommandContext(ctx, "pgbench", "-n", "-M", "prepared", "-c", strconv.Itoa(*connections), "-j", "2", "-t", each, "-f", script, b.owner) //nolint:gosec // our own flags
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("pgbench (of PostgreSQL's contributed programs): %w\n%s", err, said.Bytes())
	}
	m := tps.FindSubmatch(said.Bytes())
	if m == nil {
		return 0, fmt.Errorf("pgbench does not say how fast it was: %s", said.Bytes())
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// audit checks that the budgets hold what was admitted.
func (b *bench) audit(ctx context.Context) error {
	var holds, wrong int64
	if err := b.pool.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM budget_holds), (SELECT count(*) FROM budget_periods p WHERE ROW (held_micros, version) IS DISTINCT FROM (
			SELECT ROW (sum(held_delta_micros)::bigint, count(*)) FROM budget_entries e WHERE (e.budget_id, e.period_start) = (p.budget_id, p.period_start)))`).Scan(&holds, &wrong); err != nil {
		return err
	}
	if holds != b.holds.Load() || wrong != 0 {
		return fmt.Errorf("%d were admitted and %d are held; %d balances differ from their entries", b.holds.Load(), holds, wrong)
	}
	fmt.Printf("%d admitted in all, each of them held; every balance is the sum of its entries\n", holds)
	return nil
}
