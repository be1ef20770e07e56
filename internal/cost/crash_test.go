package cost_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/price"
)

// replicaEnv makes the test's program a replica that settles, with what it is told in the variable.
const replicaEnv = "FORGE_TEST_COST_REPLICA"

// replicaConfig is what a replica is told.
type replicaConfig struct {
	DatabaseURL string
	Keys        audit.Keys
	Now         time.Time
	Batch       int
}

// replica settles what is due until nothing is, like a server's loop, in a process of its own. It says on its standard
// output when it begins.
func replica() {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, "replica:", err)
		os.Exit(1)
	}
	var c replicaConfig
	if err := json.Unmarshal([]byte(os.Getenv(replicaEnv)), &c); err != nil {
		fail(err)
	}
	ctx := actor.With(context.Background(), actor.System("settle"))
	pool, err := postgres.Open(ctx, c.DatabaseURL, 2)
	if err != nil {
		fail(err)
	}
	log, err := audit.NewLog(audit.Config{
		Pool: pool, Clock: func() time.Time { return c.Now }, Origin: pgtest.Origin, Writer: "replica", Keys: c.Keys, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fail(err)
	}
	meter := &cost.Meter{Budgets: &budget.Book{Spent: cost.Spent, PaidUntil: cost.PaidUntil, FeesDue: cost.FeesDue}}
	fmt.Println("ready")
	for n := 1; n > 0; {
		err := log.Change(ctx, audit.Intent{Action: "cost.settle", ResourceType: "cost"}, func(tx *audit.Tx) (err error) {
			if n, err = meter.Settle(ctx, tx, c.Batch); err == nil && n == 0 {
				return audit.ErrNothing
			}
			return err
		})
		if err != nil && n > 0 {
			fail(err)
		}
	}
}

// Two replicas settle, and are killed again and again wherever they happen to be. In the end every hour is settled and
// charged once, and every sum is that of the records.
func TestNoCrashDoublesOrLosesAnything(t *testing.T) {
	random := pgtest.Random(t)
	for seed := range 20 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rule := []price.HourRule{price.SessionCeil, price.ClockHour, price.Second}[seed%3]
			r := setUp(t, at("2026-11-30 18:00"), rule)
			wants := map[id.WorkSpace]money.USD{}
			end := at("2026-12-01 09:00").Add(time.Duration(random.Int64N(3600e6)) * time.Microsecond)
			for team := range 2 {
				r.setTeamBudget(t, team, 100_000*money.Dollar)
			}
			for i := range 12 {
				r.clock.Advance(time.Duration(random.Int64N(900e6)) * time.Microsecond)
				s := r.workspace(t, i%2, "", price.AutoStop)
				r.do(t, func(ctx context.Context, tx *audit.Tx) error {
					_, err := r.meter.Budgets.Hold(ctx, tx, s.Workspace, s.Payer, price.MonthShare(9_750_000, tx.Now), 900_000)
					return err
				})
				r.begin(t, s)
				wants[s.Workspace] = price.MonthShare(9_750_000, r.clock.Now()) + 9_750_000 + price.Running(rule, 300_000, r.clock.Now(), end.Truncate(time.Hour))
			}
			r.clock.Set(end)
			told, err := json.Marshal(replicaConfig{r.AppURL, r.Keys, end, 1 + random.IntN(3)})
			if err != nil {
				t.Fatal(err)
			}
			kills, killed := 3, make(chan struct{}, 2)
			for i := range 2 {
				patience := make([]time.Duration, kills)
				for k := range patience {
					patience[k] = time.Duration(random.Int64N(int64(250 * time.Millisecond)))
				}
				go func() {
					defer func() { killed <- struct{}{} }()
					for _, p := range patience {
						if err := killedAfter(t.Context(), string(told), p); err != nil {
							t.Errorf("replica %d: %v", i, err)
						}
					}
				}()
			}
			<-killed
			<-killed
			t.Logf("%d usages of %d are settled by those who were killed", len(wants)*2-pgtest.Value[int](t, r.DB, `SELECT count(*) FROM usage WHERE due_at <= $1`, end), len(wants)*2)
			for n := 1; n > 0; { // who was killed holds its locks until the server has noticed
				r.do(t, func(ctx context.Context, tx *audit.Tx) (err error) { n, err = r.meter.Settle(ctx, tx, 100); return err })
				if n == 0 {
					n = pgtest.Value[int](t, r.DB, `SELECT count(*) FROM usage WHERE due_at <= $1`, end)
				}
			}
			for ws, amount := range wants {
				want(t, string(ws), r.settled(t, ws), amount)
			}
			if n := pgtest.Value[int](t, r.DB, `
				SELECT count(*)
				FROM budget_periods p JOIN user_budgets b ON b.id = p.budget_id
				WHERE p.settled_micros <> (SELECT coalesce(sum(total_cost_micros), 0) FROM cost_records c
				  WHERE c.team_id = b.scope_id AND c.period_start >= p.period_start AND c.period_start < p.period_end)
				   OR p.settled_micros <> (SELECT sum(settled_delta_micros) FROM budget_entries e WHERE e.budget_id = p.budget_id AND e.period_start = p.period_start)`); n != 0 {
				t.Errorf("%d budgets differ from the records", n)
			}
			if n := pgtest.Value[int](t, r.DB, `
				SELECT count(*)
				FROM (SELECT period_start, lag(period_end) OVER (PARTITION BY usage_id ORDER BY period_start) AS before FROM cost_records) x
				WHERE period_start <> before`); n != 0 {
				t.Errorf("%d slices leave a gap behind the one before, or overlap it", n)
			}
			wrong, err := cost.Misfits(t.Context(), r.Owner)
			if err != nil || len(wrong) > 0 {
				t.Errorf("sums that are not those of the records: %v, %v", wrong, err)
			}
		})
	}
}

// killedAfter starts a replica and kills it, without a word, when it has worked so long. One that has nothing left to do ends
// by itself.
func killedAfter(ctx context.Context, told string, patience time.Duration) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, program)
	c.Env = append(os.Environ(), replicaEnv+"="+told)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		return fmt.Errorf("it does not begin: %w, %w", err, c.Wait())
	}
	time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	if err := c.Wait(); err != nil && c.ProcessState.ExitCode() != -1 { // -1: by a signal
		return err
	}
	return nil
}
