package plans

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/postgres"
)

// Plan is how a statement was answered.
type Plan struct {
	// Indexes are those that it used, by name; an index of a partition goes by its parent's.
	Indexes []string
	// Scans are the large tables that it read from one end to the other.
	Scans []string
	// Rows are those that it looked at, wanted or not.
	Rows int64
	// Pages are those of tables and indexes that it touched.
	Pages int64
}

// large is from how many rows on a table must not be scanned.
const large = 5_000

// whole are tables that are read whole on purpose: at a change of month every budget is looked at, and there are as many as
// people, teams and projects.
var whole = []string{"user_budgets"}

// catalog is what plans do not say themselves.
type catalog struct {
	parent map[string]string  // of a partition's index
	rows   map[string]float64 // by table
}

func readCatalog(ctx context.Context, tx pgx.Tx) (*catalog, error) {
	c := &catalog{parent: map[string]string{}, rows: map[string]float64{}}
	all, err := postgres.Many[struct {
		Name, Parent string
		Index        bool
		Rows         float64
	}](ctx, tx, `
		SELECT c.relname AS name, c.relkind = 'i' AS index, c.reltuples AS rows, coalesce(p.relname, '') AS parent
		FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
		WHERE c.relkind IN ('i', 'r') AND c.relnamespace IN ('public'::regnamespace, 'audit_parts'::regnamespace)`)
	for _, r := range all {
		if r.Index {
			c.parent[r.Name] = r.Parent
		} else {
			c.rows[r.Name] = r.Rows
		}
	}
	return c, err
}

// node is a part of what EXPLAIN shows. Numbers of rows are per loop, rounded.
type node struct {
	Type      string  `json:"Node Type"`
	Index     string  `json:"Index Name"`
	Table     string  `json:"Relation Name"`
	Rows      float64 `json:"Actual Rows"`
	Filtered  float64 `json:"Rows Removed by Filter"`
	Rechecked float64 `json:"Rows Removed by Index Recheck"`
	Loops     float64 `json:"Actual Loops"`
	Parallel  bool    `json:"Parallel Aware"`
	Hit       int64   `json:"Shared Hit Blocks"`
	Read      int64   `json:"Shared Read Blocks"`
	Plans     []node  `json:"Plans"`
}

func (c *catalog) plan(root *node) Plan {
	p := Plan{Pages: root.Hit + root.Read}
	indexes, scans := map[string]bool{}, map[string]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		if n.Index != "" {
			name := n.Index
			if parent := c.parent[name]; parent != "" {
				name = parent
			}
			indexes[name] = true
		}
		if n.Table != "" && strings.HasSuffix(n.Type, "Scan") {
			p.Rows += int64((n.Rows + n.Filtered + n.Rechecked) * n.Loops)
			if n.Parallel { // each worker's share is the same number, rounded up
				p.Rows -= int64(n.Loops) - 1
			}
			if strings.HasSuffix(n.Type, "Seq Scan") && c.rows[n.Table] >= large && n.Loops > 0 && !slices.Contains(whole, n.Table) {
				scans[n.Table] = true
			}
		}
		for i := range n.Plans {
			walk(&n.Plans[i])
		}
	}
	walk(root)
	p.Indexes, p.Scans = slices.Sorted(maps.Keys(indexes)), slices.Sorted(maps.Keys(scans))
	return p
}

// Statement is a statement as the product sent it.
type Statement struct {
	SQL  string
	Args []any
	// Unprepared says that the plan is made anew for each execution, whatever the session's settings.
	Unprepared bool
}

const explain = `EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) `

// rolledBack runs fn in a transaction of which nothing remains.
func rolledBack(ctx context.Context, b interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}, fn func(pgx.Tx) error,
) error {
	tx, err := b.Begin(ctx)
	if err != nil {
		return err
	}
	return errors.Join(fn(tx), tx.Rollback(context.WithoutCancel(ctx)))
}

// Explain executes the statement, takes back what it did, and says how it was answered.
func (s Statement) Explain(ctx context.Context, tx pgx.Tx) (p Plan, err error) {
	err = rolledBack(ctx, tx, func(tx pgx.Tx) error {
		p, err = s.shown(ctx, tx, explain+s.SQL, append([]any{pgx.QueryExecModeCacheDescribe}, s.Args...)...)
		return err
	})
	return p, err
}

// ExplainGeneric is Explain under the plan that a prepared statement comes to when it is executed again and again: one
// that was made without knowing the arguments.
func (s Statement) ExplainGeneric(ctx context.Context, tx pgx.Tx) (p Plan, err error) {
	const name = "explained"
	err = rolledBack(ctx, tx, func(tx pgx.Tx) error {
		prepared, err := tx.Conn().Prepare(ctx, name, s.SQL)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, tx.Conn().Deallocate(ctx, name)) }()
		literals, err := literals(tx.Conn(), prepared.ParamOIDs, s.Args)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `SET LOCAL plan_cache_mode = force_generic_plan`); err != nil {
			return err
		}
		p, err = s.shown(ctx, tx, explain+`EXECUTE `+name+literals, pgx.QueryExecModeSimpleProtocol)
		return err
	})
	return p, err
}

// literals writes the arguments as EXECUTE takes them: it knows no parameters.
func literals(conn *pgx.Conn, oids []uint32, args []any) (string, error) {
	if len(args) == 0 {
		return "", nil
	}
	all := make([]string, len(args))
	for i, arg := range args {
		typ, ok := conn.TypeMap().TypeForOID(oids[i])
		if !ok {
			return "", fmt.Errorf("argument %d has the unknown type %d", i+1, oids[i])
		}
		b, err := conn.TypeMap().Encode(oids[i], pgx.TextFormatCode, arg, []byte{}) // nil is NULL
		if err != nil {
			return "", fmt.Errorf("argument %d: %w", i+1, err)
		}
		all[i] = "NULL"
		if b != nil {
			all[i] = "'" + strings.ReplaceAll(string(b), "'", "''") + "'::" + typ.Name
		}
	}
	return "(" + strings.Join(all, ", ") + ")", nil
}

func (s Statement) shown(ctx context.Context, tx pgx.Tx, sql string, args ...any) (Plan, error) {
	c, err := readCatalog(ctx, tx)
	if err != nil {
		return Plan{}, err
	}
	var out string
	if err := tx.QueryRow(ctx, sql, args...).Scan(&out); err != nil {
		return Plan{}, fmt.Errorf("%s: %w", sql, err)
	}
	var roots []struct{ Plan node }
	if err := json.Unmarshal([]byte(out), &roots); err != nil {
		return Plan{}, err
	}
	return c.plan(&roots[0].Plan), nil
}

// Time is the median of as many executions, every row fetched, after one to warm up. Nothing that they did remains.
func (s Statement) Time(ctx context.Context, tx pgx.Tx, times int) (time.Duration, error) {
	args := s.Args
	if s.Unprepared {
		args = append([]any{pgx.QueryExecModeCacheDescribe}, args...)
	}
	took := make([]time.Duration, 0, times)
	for i := range times + 1 {
		err := rolledBack(ctx, tx, func(tx pgx.Tx) error {
			begun := time.Now()
			rows, err := tx.Query(ctx, s.SQL, args...)
			if err != nil {
				return err
			}
			for rows.Next() {
				rows.RawValues()
			}
			rows.Close()
			if i > 0 {
				took = append(took, time.Since(begun))
			}
			return rows.Err()
		})
		if err != nil {
			return 0, fmt.Errorf("%s: %w", s.SQL, err)
		}
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
