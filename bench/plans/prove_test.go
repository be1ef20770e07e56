//go:build prove

package plans_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/bench/plans"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/migrate"
	"github.com/robco-forge/forge/internal/postgres/pgembed"
)

const (
	database = "bench"
	runs     = 5
)

var (
	workspaces  = flag.Int("workspaces", 1_000_000, "how many WorkSpaces")
	costRecords = flag.Int("cost-records", 10_000_000, "how many cost records")
	auditLogs   = flag.Int("audit-logs", 10_000_000, "how many audit entries")
	dataDir     = flag.String("data-dir", "", "keep the database there, for the next run; empty: a temporary one")
)

// TestProvePlans fills a database as large as a large organisation's after two years and shows how its hot queries are
// answered: by which index, in what time, and what the indexes and texts of before would have taken. The tables go to
// standard output, progress to standard error.
func TestProvePlans(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt)
	defer stop()
	begun := time.Now()
	p := &prover{out: os.Stdout, progress: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%8s  %s\n", time.Since(begun).Round(time.Second), fmt.Sprintf(format, args...))
	}}
	if err := p.run(ctx, *dataDir, plans.Sizes{WorkSpaces: *workspaces, CostRecords: *costRecords, AuditLogs: *auditLogs}); err != nil {
		t.Fatal(err)
	}
}

type prover struct {
	bench    *plans.Bench
	queries  []plans.Query
	out      io.Writer
	progress func(format string, args ...any)
	// parts are what is to be shown; nil is everything but what has a proof of its own.
	parts []func(context.Context) error
	// otherwise is how often something was not answered as intended.
	otherwise int
}

func (p *prover) run(ctx context.Context, dir string, s plans.Sizes) (err error) {
	server, err := pgembed.Start(ctx, pgembed.Options{
		DataDir: dir, Ephemeral: dir == "", Logger: slog.New(slog.DiscardHandler),
		Settings: map[string]string{
			"shared_buffers": "2GB", "max_wal_size": "8GB", "maintenance_work_mem": "1GB", "checkpoint_timeout": "30min",
			"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off",
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop(context.WithoutCancel(ctx))) }()
	url := server.URL(database, "postgres")
	if err := p.fill(ctx, server.URL("postgres", "postgres"), url, s); err != nil {
		return err
	}
	if p.bench, err = plans.Open(ctx, url); err != nil {
		return err
	}
	defer p.bench.Pool.Close()
	p.progress("asking")
	if p.queries, err = p.bench.Queries(ctx); err != nil {
		return err
	}
	parts := p.parts
	if parts == nil {
		parts = []func(context.Context) error{p.sizes, p.table, p.changes, p.texts, p.covering, p.partitions}
	}
	for _, part := range parts {
		if err := part(ctx); err != nil {
			return err
		}
	}
	p.progress("done")
	if p.otherwise > 0 {
		return fmt.Errorf("%d plans are not as intended", p.otherwise)
	}
	return nil
}

// fill makes the database, or finds it made by a run with the same sizes.
func (p *prover) fill(ctx context.Context, server, url string, s plans.Sizes) error {
	c, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	defer c.Close(ctx) //nolint:errcheck // nothing is lost with it
	want := fmt.Sprintf("filled with %+v", s)
	var have *string
	err = c.QueryRow(ctx, `SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1`, database).Scan(&have)
	if err == nil && have != nil && *have == want {
		p.progress("the database is there: %s", want)
		return nil
	}
	for _, sql := range []string{`DROP DATABASE IF EXISTS ` + database + ` WITH (FORCE)`, `CREATE DATABASE ` + database} {
		if _, err := c.Exec(ctx, sql); err != nil {
			return err
		}
	}
	m, err := migrate.Open(ctx, url, migrate.Options{})
	if err != nil {
		return err
	}
	if _, err := m.Up(ctx, 0); err != nil {
		return err
	}
	if err := m.Close(); err != nil {
		return err
	}
	owner, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer owner.Close(ctx) //nolint:errcheck // as above
	if err := plans.Fill(ctx, owner, s, p.progress); err != nil {
		return err
	}
	_, err = c.Exec(ctx, `COMMENT ON DATABASE `+database+` IS '`+want+`'`)
	return err
}

func (p *prover) say(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

// lines writes a table.
func (p *prover) lines(rows [][]string) error {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, strings.TrimRight(strings.Join(r, "\t"), "\t"))
	}
	return w.Flush()
}

func (p *prover) sizes(ctx context.Context) error {
	var version string
	if err := p.bench.Pool.QueryRow(ctx, `SELECT version()`).Scan(&version); err != nil {
		return err
	}
	p.say("%s\nfilled by COPY, with the further indexes and the foreign keys made afterwards; shared_buffers 2GB, jit off\n", version)
	all, err := postgres.Many[struct{ Name, Rows, Size, Indexes string }](ctx, p.bench.Pool, `
		SELECT c.relname AS name, to_char(sum(p.reltuples), 'FM999,999,999') AS rows, pg_size_pretty(sum(pg_table_size(p.oid))) AS size,
		       pg_size_pretty(sum(pg_indexes_size(p.oid))) AS indexes
		FROM pg_class c JOIN LATERAL (
			SELECT c.oid, c.reltuples WHERE c.relkind = 'r'
			UNION ALL
			SELECT l.oid, l.reltuples FROM pg_inherits i JOIN pg_class l ON l.oid = i.inhrelid WHERE i.inhparent = c.oid) p ON true
		WHERE c.relname IN ('workspaces', 'usage', 'cost_records', 'audit_logs', 'users', 'teams', 'user_budgets', 'budget_periods', 'budget_holds')
		GROUP BY 1
		ORDER BY sum(pg_table_size(p.oid)) DESC`)
	if err != nil {
		return err
	}
	table := [][]string{{"TABLE", "ROWS", "TABLE SIZE", "ITS INDEXES"}}
	for _, r := range all {
		table = append(table, []string{r.Name, r.Rows, r.Size, r.Indexes})
	}
	return p.lines(table)
}

// table shows every hot query.
func (p *prover) table(ctx context.Context) error {
	p.progress("explaining and timing %d queries", len(p.queries))
	p.say("\nHot queries: the product's own statements, their plans for the arguments and for any arguments taken together; the\nmost that one statement looks at; the median of %d warm runs, all statements of the query together", runs)
	rows := [][]string{{"QUERY", "ROWS", "PAGES", "TIME", "INDEXES"}}
	var complaints []string
	for _, q := range p.queries {
		err := p.inTx(ctx, func(tx pgx.Tx) error {
			v, err := q.Check(ctx, tx)
			if err != nil {
				return err
			}
			for _, c := range v.Complaints {
				complaints = append(complaints, q.Name+": "+c)
			}
			took, err := timeOf(ctx, tx, q)
			rows = append(rows, []string{q.Name, fmt.Sprint(v.Rows), fmt.Sprint(v.Pages), short(took), strings.Join(v.Indexes, " ")})
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", q.Name, err)
		}
	}
	if err := p.lines(rows); err != nil {
		return err
	}
	p.otherwise += len(complaints)
	p.say("\nNot as intended: %d", len(complaints))
	for _, c := range complaints {
		p.say("- %s", strings.Join(strings.Fields(c), " "))
	}
	return nil
}

// inTx runs fn in a transaction of which nothing remains.
func (p *prover) inTx(ctx context.Context, fn func(pgx.Tx) error) error {
	tx, err := p.bench.Pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	return fn(tx)
}

func timeOf(ctx context.Context, tx pgx.Tx, q plans.Query) (sum time.Duration, err error) {
	for _, s := range q.Statements {
		took, err := s.Time(ctx, tx, runs)
		if err != nil {
			return 0, err
		}
		sum += took
	}
	return sum, nil
}

func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// change is an index that is not as the first migration had it, what makes it so again, and the queries that it is for.
type change struct {
	index   string
	undo    []string
	queries []string
}

var changed = []change{
	{"workspaces_live_idx", nil, []string{"WorkSpaces: everyone's", "WorkSpaces: everyone's, a later page"}},
	{"workspaces_team_live_idx", nil, []string{"WorkSpaces: a team's", "WorkSpaces: a team's that are stopped"}},
	{"workspaces_state_idx", nil, []string{"WorkSpaces: everyone's that are available", "WorkSpaces: everyone's that have failed"}},
	{"workspaces_blueprint_version_idx", nil, []string{"sweep: who is on a blueprint's version"}},
	{"workspaces_rule_due_idx", nil, []string{"sweep: rules that are due, claimed"}},
	{"budget_holds_stop_idx", nil, []string{"sweep: what a budget stops"}},
	{"usage_open_user_idx", nil, []string{"cost: a user's month, by WorkSpace"}},
	{"usage_open_team_idx", nil, []string{"cost: a team's month, by user"}},
	{"cost_records_project_idx", nil, []string{"cost: a project's month, by user"}},
	{
		"user_budgets_scope_idx",
		[]string{`CREATE INDEX user_budgets_scope_idx ON user_budgets (scope, scope_id)`},
		[]string{"budgets: locked for a request", "budgets: one"},
	},
	{
		"audit_logs_resource_type_idx",
		[]string{`CREATE INDEX audit_logs_resource_type_idx ON audit_logs (resource_type, timestamp DESC, id DESC)`},
		[]string{"audit: about a resource of a kind", "audit: about a common kind", "audit: about a kind that one in a thousand is of", "audit: about a rare kind"},
	},
	{"audit_logs_result_idx", nil, []string{"audit: refusals", "audit: failures", "audit: a user's refusals"}},
}

// changes shows, for each index that was added or changed, its queries as the first migration had answered them.
func (p *prover) changes(ctx context.Context) error {
	p.say("\nIndexes added or changed since 00001: their queries without them, and with")
	rows := [][]string{{"INDEX", "SIZE", "QUERY", "BEFORE", "AFTER", "PAGES BEFORE", "AFTER"}}
	for _, c := range changed {
		p.progress("without %s", c.index)
		var size string
		if err := p.bench.Pool.QueryRow(ctx, `
			SELECT pg_size_pretty(sum(pg_relation_size(oid)))
			FROM pg_class
			WHERE oid = $1::text::regclass OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = $1::text::regclass)`, c.index).Scan(&size); err != nil {
			return err
		}
		before, err := p.measured(ctx, c.queries, append([]string{`DROP INDEX ` + c.index}, c.undo...)...)
		if err != nil {
			return fmt.Errorf("%s: %w", c.index, err)
		}
		after, err := p.measured(ctx, c.queries)
		if err != nil {
			return err
		}
		for i, q := range c.queries {
			rows = append(rows, []string{c.index, size, q, short(before[i].took), short(after[i].took), fmt.Sprint(before[i].pages), fmt.Sprint(after[i].pages)})
			c.index, size = "", ""
		}
	}
	return p.lines(rows)
}

type measure struct {
	took  time.Duration
	pages int64
}

// measured measures the named queries after the statements, of which nothing remains.
func (p *prover) measured(ctx context.Context, names []string, before ...string) (all []measure, err error) {
	err = p.inTx(ctx, func(tx pgx.Tx) error {
		for _, sql := range before {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		for _, name := range names {
			i := slices.IndexFunc(p.queries, func(q plans.Query) bool { return q.Name == name })
			if i < 0 {
				return fmt.Errorf("there is no query %q", name)
			}
			m, err := measureOf(ctx, tx, p.queries[i])
			if err != nil {
				return err
			}
			all = append(all, m)
		}
		return nil
	})
	return all, err
}

func measureOf(ctx context.Context, tx pgx.Tx, q plans.Query) (m measure, err error) {
	for _, s := range q.Statements {
		plan, err := s.Explain(ctx, tx)
		if err != nil {
			return m, err
		}
		m.pages += plan.Pages
	}
	m.took, err = timeOf(ctx, tx, q)
	return m, err
}

// rewrite is a text that kept an index from being used, for the arguments that the product sends today.
type rewrite struct {
	query, before string
	more          []any // arguments behind those of today
}

var rewritten = []rewrite{
	{"cost: a user's month, by WorkSpace", `
		SELECT width_bucket(period_start, $1::timestamptz[]) AS period, workspace_id AS key, sum(total_cost_micros)::bigint AS total
		FROM cost_records
		WHERE period_start >= $2 AND period_start < $3 AND ($4::text[] IS NULL OR user_id = ANY($4))
		GROUP BY 1, 2`, nil},
	{"sweep: WorkSpaces due that Amazon knows, claimed", `
		UPDATE workspaces
		SET lease_token = $1, lease_until = $2
		WHERE id IN (
			SELECT id
			FROM workspaces
			WHERE next_due_at <= $3 AND (lease_until IS NULL OR lease_until <= $3)
			ORDER BY next_due_at
			LIMIT $4
			FOR UPDATE SKIP LOCKED)
		RETURNING id`, nil},
	{"WorkSpaces: a team's", `
		SELECT *
		FROM workspaces
		WHERE id > $1 AND team_id = $3 AND terminated_at IS NULL
		ORDER BY id
		LIMIT $2`, nil},
}

// texts shows statements as they were before and as they are, as prepared statements come to be planned.
func (p *prover) texts(ctx context.Context) error {
	p.say("\nTexts changed: pages touched by the first statement of the query, planned for its arguments and for any arguments")
	rows := [][]string{{"QUERY", "TEXT", "PAGES", "ANY ARGUMENTS"}} // what is never prepared has none
	for _, r := range rewritten {
		p.progress("as it was: %s", r.query)
		i := slices.IndexFunc(p.queries, func(q plans.Query) bool { return q.Name == r.query })
		if i < 0 {
			return fmt.Errorf("there is no query %q", r.query)
		}
		now := p.queries[i].Statements[0]
		for _, text := range []struct {
			name, sql string
			args      []any
		}{{"before", r.before, append(slices.Clone(now.Args), r.more...)}, {"now", now.SQL, now.Args}} {
			err := p.inTx(ctx, func(tx pgx.Tx) error {
				s := plans.Statement{SQL: text.sql, Args: text.args}
				custom, err := s.Explain(ctx, tx)
				if err != nil {
					return err
				}
				generic, err := s.ExplainGeneric(ctx, tx)
				pages := fmt.Sprint(generic.Pages)
				if text.name == "now" && now.Unprepared {
					pages = "never prepared"
				}
				rows = append(rows, []string{r.query, text.name, fmt.Sprint(custom.Pages), pages})
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return p.lines(rows)
}

var sums = []string{
	"cost: a user's month, by WorkSpace", "cost: a team's month, by user", "cost: a project's month, by user",
}

// covering measures what indexes that hold the amounts themselves would give.
func (p *prover) covering(ctx context.Context) error {
	p.say("\nCovering indexes for sums, measured and not taken unless the decision says so")
	plain, err := p.measured(ctx, sums)
	if err != nil {
		return err
	}
	p.progress("with covering indexes")
	indexes := []string{
		`CREATE INDEX covering_user ON cost_records (user_id, period_start) INCLUDE (workspace_id, total_cost_micros)`,
		`CREATE INDEX covering_team ON cost_records (team_id, period_start) INCLUDE (user_id, total_cost_micros)`,
		`CREATE INDEX covering_period ON cost_records (period_start) INCLUDE (team_id, total_cost_micros)`,
	}
	covered, err := p.measured(ctx, sums, append(indexes, `DROP INDEX cost_records_user_idx, cost_records_team_idx, cost_records_period_start_idx`)...)
	if err != nil {
		return err
	}
	rows := [][]string{{"QUERY", "PLAIN", "COVERING", "PAGES PLAIN", "COVERING"}}
	for i, q := range sums {
		rows = append(rows, []string{q, short(plain[i].took), short(covered[i].took), fmt.Sprint(plain[i].pages), fmt.Sprint(covered[i].pages)})
	}
	if err := p.lines(rows); err != nil {
		return err
	}
	rows = [][]string{{"INDEXES", "SIZE", "10,000 INSERTS"}}
	for _, with := range []struct {
		name string
		sql  []string
	}{
		{"plain", nil},
		{"covering, by period only", []string{indexes[2], `DROP INDEX cost_records_period_start_idx`}},
		{"covering", append(indexes, `DROP INDEX cost_records_user_idx, cost_records_team_idx, cost_records_period_start_idx`)},
	} {
		err := p.inTx(ctx, func(tx pgx.Tx) error {
			for _, sql := range with.sql {
				if _, err := tx.Exec(ctx, sql); err != nil {
					return err
				}
			}
			var size string
			if err := tx.QueryRow(ctx, `SELECT pg_size_pretty(pg_indexes_size('cost_records'))`).Scan(&size); err != nil {
				return err
			}
			took, err := inserts(ctx, tx, "cost_records")
			rows = append(rows, []string{with.name, size, short(took)})
			return err
		})
		if err != nil {
			return err
		}
	}
	return p.lines(rows)
}

// inserts is how long ten thousand records take, a statement each, as settling writes them: copies of some that are
// there, with ids and usages of their own, a month after the last. Their foreign keys are not looked at.
func inserts(ctx context.Context, tx pgx.Tx, table string) (time.Duration, error) {
	type record struct {
		Workspace, User, Team string
		Project               *string
		Centre                string
		Price                 int64
	}
	rows, err := tx.Query(ctx, `
		SELECT workspace_id, user_id, team_id, project_id, cost_centre, price_id
		FROM cost_records
		ORDER BY recorded_at DESC
		LIMIT 10000`)
	if err != nil {
		return 0, err
	}
	records, err := pgx.CollectRows(rows, pgx.RowToStructByPos[record])
	if err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, `SET LOCAL session_replication_role = replica`); err != nil {
		return 0, err
	}
	begun := time.Now()
	for i, r := range records {
		if _, err := tx.Exec(ctx, `
			INSERT INTO `+table+` (id, usage_id, workspace_id, user_id, team_id, project_id, cost_centre, price_id, compute_cost_micros, period_start, period_end, recorded_at)
			VALUES ($1, $1, $2, $3, $4, $5, $6, $7, 100, $8, $9, $9)`,
			fmt.Sprintf("cost_zz%024d", i), r.Workspace, r.User, r.Team, r.Project, r.Centre, r.Price, plans.Now, plans.Now.Add(time.Hour)); err != nil {
			return 0, err
		}
	}
	return time.Since(begun), nil
}

// partitions compares the one table with a copy that has a partition for each month.
func (p *prover) partitions(ctx context.Context) error {
	p.say("\ncost_records as one table, and as a copy partitioned by the month of period_start, with the same indexes")
	var one []measure
	var took [2]time.Duration
	var sizes [2]string
	one, err := p.measured(ctx, sums)
	if err != nil {
		return err
	}
	later := p.sumsOf("a user's two years, by WorkSpace", "cost: a user's month, by WorkSpace")
	var all [2]measure
	if err := p.inTx(ctx, func(tx pgx.Tx) (err error) {
		if all[0], err = measureOf(ctx, tx, later); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT pg_size_pretty(pg_total_relation_size('cost_records'))`).Scan(&sizes[0]); err != nil {
			return err
		}
		took[0], err = inserts(ctx, tx, "cost_records")
		return err
	}); err != nil {
		return err
	}
	var parted []measure
	err = p.inTx(ctx, func(tx pgx.Tx) error {
		p.progress("copying cost_records into months")
		if err := makeMonths(ctx, tx); err != nil {
			return err
		}
		for _, name := range sums {
			i := slices.IndexFunc(p.queries, func(q plans.Query) bool { return q.Name == name })
			m, err := measureOf(ctx, tx, byMonth(p.queries[i]))
			if err != nil {
				return err
			}
			parted = append(parted, m)
		}
		var err error
		if all[1], err = measureOf(ctx, tx, byMonth(later)); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT pg_size_pretty(sum(pg_total_relation_size(relid))) FROM pg_partition_tree('cost_records_by_month') WHERE isleaf`).Scan(&sizes[1]); err != nil {
			return err
		}
		took[1], err = inserts(ctx, tx, "cost_records_by_month")
		return err
	})
	if err != nil {
		return err
	}
	rows := [][]string{{"", "ONE TABLE", "BY MONTH", "PAGES ONE", "BY MONTH"}}
	for i, q := range append(slices.Clone(sums), later.Name) {
		a, b := all[0], all[1]
		if i < len(sums) {
			a, b = one[i], parted[i]
		}
		rows = append(rows, []string{q, short(a.took), short(b.took), fmt.Sprint(a.pages), fmt.Sprint(b.pages)})
	}
	rows = append(rows, []string{"10,000 inserts, one by one", short(took[0]), short(took[1])}, []string{"size with indexes", sizes[0], sizes[1]})
	return p.lines(rows)
}

// sumsOf is the named query over the whole time instead of its month.
func (p *prover) sumsOf(name, of string) plans.Query {
	i := slices.IndexFunc(p.queries, func(q plans.Query) bool { return q.Name == of })
	s := p.queries[i].Statements[0]
	s.Args = append([]any{plans.Begin, plans.Now}, s.Args[2:]...)
	return plans.Query{Name: "cost: " + name, Statements: []plans.Statement{s}}
}

func byMonth(q plans.Query) plans.Query {
	q.Statements = slices.Clone(q.Statements)
	for i, s := range q.Statements {
		q.Statements[i].SQL = strings.ReplaceAll(s.SQL, "FROM cost_records", "FROM cost_records_by_month")
	}
	return q
}

func makeMonths(ctx context.Context, tx pgx.Tx) error {
	statements := []string{`
		CREATE TABLE cost_records_by_month (LIKE cost_records INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS,
			PRIMARY KEY (id, period_start)) PARTITION BY RANGE (period_start)`}
	for m := plans.Begin; m.Before(plans.Now.AddDate(0, 1, 0)); m = m.AddDate(0, 1, 0) {
		statements = append(statements, fmt.Sprintf(`CREATE TABLE cost_records_%s PARTITION OF cost_records_by_month FOR VALUES FROM ('%s') TO ('%s')`,
			m.Format("2006_01"), m.Format(time.RFC3339), m.AddDate(0, 1, 0).Format(time.RFC3339)))
	}
	statements = append(statements, `
		INSERT INTO cost_records_by_month (id, usage_id, workspace_id, user_id, team_id, project_id, cost_centre, price_id, attribution_id, compute_cost_micros,
		                                   period_start, period_end, recorded_at)
		SELECT id, usage_id, workspace_id, user_id, team_id, project_id, cost_centre, price_id, attribution_id, compute_cost_micros, period_start, period_end, recorded_at
		FROM cost_records
		ORDER BY recorded_at`)
	for _, columns := range []string{"workspace_id, period_start", "user_id, period_start", "team_id, period_start", "period_start", "period_end", "recorded_at"} {
		statements = append(statements, `CREATE INDEX ON cost_records_by_month (`+columns+`)`)
	}
	statements = append(statements,
		`CREATE UNIQUE INDEX ON cost_records_by_month (usage_id, period_start) WHERE corrects IS NULL`,
		`CREATE INDEX ON cost_records_by_month (project_id, period_start) WHERE project_id IS NOT NULL`,
		`ANALYZE cost_records_by_month`)
	for _, sql := range statements {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}
