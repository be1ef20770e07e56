package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/workspace"
)

// crowd is many WorkSpaces, of which some have a notice due: their lifetime ends within a week.
type crowd struct {
	*rig
	t     testing.TB
	forge *app.Forge
	ear   *claimEar
	size  int
	grown int // how often
}

// claimEar keeps the statement by which the sweep takes what is due, as it is sent.
type claimEar struct {
	mu   sync.Mutex
	sql  string
	args []any
}

// TraceQueryStart keeps it.
func (e *claimEar) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if strings.Contains(q.SQL, "SET rule_lease_until = $1") {
		e.mu.Lock()
		e.sql, e.args = q.SQL, slices.Clone(q.Args)
		e.mu.Unlock()
	}
	return ctx
}

// TraceQueryEnd is of no interest.
func (*claimEar) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func newCrowd(t testing.TB) *crowd {
	t.Helper()
	c := &crowd{rig: newRig(t, 1), t: t, ear: &claimEar{}}
	cfg := c.server(rigConfig{DatabaseURL: c.pg.AppURL, AWS: c.aws, Speed: 1, Rate: 100})
	cfg.Tracer = c.ear
	var err error
	if c.forge, err = app.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.forge.Close)
	return c
}

func (c *crowd) sweeper() *workspace.Sweeper {
	return &workspace.Sweeper{Fleet: c.forge.Fleet, Log: c.forge.Log, Clock: c.forge.Log.Clock(), Slog: slog.New(slog.DiscardHandler)}
}

// grow makes it so many, of which due are due, spread among the new ones.
func (c *crowd) grow(size, due int) {
	c.t.Helper()
	more := size - c.size
	c.grown++
	if _, err := c.db.Exec(c.t.Context(), `
		INSERT INTO workspaces (id, name, user_id, team_id, cost_centre, blueprint_version_id, service_type, bundle_type, operating_system, license,
			running_mode, region, directory_id, directory_user, auto_stop_timeout_minutes, max_lifetime_days, tags, desired, state, state_reason,
			provider_id, version, created_at, updated_at, state_since, available_at, rule_due_at)
		SELECT 'ws_crowd' || $1::int || '_' || n, 'crowd' || $1::int || '-' || n, u.id, u.team_id, 'cc', v.id, 'WORKSPACES_PERSONAL', 'STANDARD', 'WINDOWS', 'INCLUDED',
			'ALWAYS_ON', 'us-east-1', 'd-9067000001', 'crowd' || $1::int || '-' || n, NULL, 60, '{}', 'AVAILABLE', 'AVAILABLE', 'user',
			'ws-crowd' || $1::int || 'x' || n, 1, born, born, born, born, born + interval '53 days'
		FROM generate_series(1, $2) n
		CROSS JOIN LATERAL (SELECT CASE WHEN n % ($2 / $3) = 0 THEN now() - interval '54 days' ELSE now() - interval '10 days' + n * interval '1 ms' END AS born) b
		CROSS JOIN LATERAL (SELECT id, team_id FROM users WHERE user_name = 'ada') u
		CROSS JOIN LATERAL (SELECT id FROM blueprint_versions ORDER BY id LIMIT 1) v`, c.grown, more, due); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.db.Exec(c.t.Context(), `VACUUM (ANALYZE) workspaces`); err != nil {
		c.t.Fatal(err)
	}
	c.size = size
}

// cost is what the claim of one batch comes to.
type claimCost struct {
	millis  []float64 // not money: milliseconds
	rows    int64
	buffers int64
	index   bool
}

// explain runs the claim five times, and takes it back each time.
func (c *crowd) explain() (cost claimCost) {
	c.t.Helper()
	type node struct {
		NodeType string  `json:"Node Type"`
		Index    string  `json:"Index Name"`
		Rows     float64 `json:"Actual Rows"` // not money: a count
		Loops    int64   `json:"Actual Loops"`
		Hit      int64   `json:"Shared Hit Blocks"`
		Read     int64   `json:"Shared Read Blocks"`
		Plans    []node  `json:"Plans"`
	}
	for range 5 {
		var raw []byte
		err := pgx.BeginFunc(c.t.Context(), c.db, func(tx pgx.Tx) error {
			if err := tx.QueryRow(c.t.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+c.ear.sql, c.ear.args...).Scan(&raw); err != nil {
				return err
			}
			return errRehearsed
		})
		if err != nil && err != errRehearsed { //nolint:errorlint // it is ours
			c.t.Fatal(err)
		}
		var plans []struct {
			Plan node    `json:"Plan"`
			Took float64 `json:"Execution Time"` // not money: milliseconds
		}
		if err := json.Unmarshal(raw, &plans); err != nil {
			c.t.Fatal(err)
		}
		cost.millis = append(cost.millis, plans[0].Took)
		cost.buffers = plans[0].Plan.Hit + plans[0].Plan.Read
		var walk func(n node)
		walk = func(n node) {
			if n.Index == "workspaces_rule_due_idx" {
				cost.index = true
				cost.rows = int64(n.Rows) * n.Loops
			}
			if n.NodeType == "Seq Scan" {
				c.t.Errorf("the claim reads a whole table")
			}
			for _, p := range n.Plans {
				walk(p)
			}
		}
		walk(plans[0].Plan)
	}
	slices.Sort(cost.millis)
	return cost
}

var errRehearsed = fmt.Errorf("rehearsed")

// sweep has replicas do all that is due, and returns how many they took and how long that was.
func (c *crowd) sweep(replicas int) (took int, elapsed time.Duration) {
	c.t.Helper()
	ctx := actor.With(c.t.Context(), actor.System("rules"))
	began := time.Now()
	counts := make(chan int, replicas)
	var wg sync.WaitGroup
	for range replicas {
		wg.Go(func() {
			all, s := 0, c.sweeper()
			for {
				n, err := s.Round(ctx)
				if err != nil {
					c.t.Error(err)
				}
				if n == 0 || err != nil {
					break
				}
				all += n
			}
			counts <- all
		})
	}
	wg.Wait()
	for range replicas {
		took += <-counts
	}
	return took, time.Since(began)
}

// exactly checks that of those that came last so many have their notice, once, and nobody else has anything.
func (c *crowd) exactly(due int) {
	c.t.Helper()
	var noticed, twice, others, still, told int
	if err := c.db.QueryRow(c.t.Context(), `
		SELECT (SELECT count(DISTINCT workspace_id) FROM workspace_events WHERE kind = 'notice' AND workspace_id LIKE 'ws_crowd' || $1 || '\_%'),
		       (SELECT count(*) FROM (SELECT FROM workspace_events WHERE kind = 'notice' GROUP BY workspace_id HAVING count(*) > 1) t),
		       (SELECT count(*) FROM workspace_events e JOIN workspaces w ON w.id = e.workspace_id WHERE w.id LIKE 'ws_crowd%' AND (e.kind <> 'notice' OR w.created_at > now() - interval '50 days')),
		       (SELECT count(*) FROM workspaces WHERE rule_due_at <= now()),
		       (SELECT count(*) FROM notifications WHERE kind = 'workspace.notice' AND user_id IS NOT NULL AND payload->>'workspace_id' LIKE 'ws_crowd' || $1 || '\_%')`, fmt.Sprint(c.grown)).
		Scan(&noticed, &twice, &others, &still, &told); err != nil {
		c.t.Fatal(err)
	}
	if noticed != due || twice != 0 || others != 0 || still != 0 || told != due {
		c.t.Errorf("of %d due %d have their notice, %d of them twice, %d others have something, %d are due still, %d were told", due, noticed, twice, others, still, told)
	}
}

// TestASweepFindsWhatIsDueAndNothingElse has two replicas find 200 among 20,000, by the index.
func TestASweepFindsWhatIsDueAndNothingElse(t *testing.T) {
	c := newCrowd(t)
	c.grow(20_000, 200)
	if took, _ := c.sweep(2); took != 200 {
		t.Errorf("they took %d", took)
	}
	c.exactly(200)
	c.grow(20_500, 100)
	if cost := c.explain(); !cost.index || cost.rows > 100 {
		t.Errorf("the claim goes by the index %v and looks at %d rows", cost.index, cost.rows)
	}
}
