package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/cli"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres"
)

// partitions are what the subcommands of `forge audit partitions` share.
type partitions struct {
	url, output string
}

func auditPartitionsCommand() *cobra.Command {
	var p partitions
	c := &cobra.Command{
		Use: "partitions", Short: "The months of the audit log's tables, for those who run Forge",
		Long: `The audit log keeps a table for each month. Servers make them ahead by themselves, 24 of
them. A month that is missing fails no write: its entries go to an overflow partition until it
is made. These commands speak to the database of DATABASE_URL, as the application or the owner.`,
		Example: `  forge audit partitions check
  forge audit partitions list -o json
  forge audit partitions create --months 36`,
	}
	f := c.PersistentFlags()
	f.StringVar(&p.url, "database-url", "", "PostgreSQL of the application's role or the owner (also DATABASE_URL)")
	f.StringVarP(&p.output, "output", "o", "table", "table or json")
	c.AddCommand(p.create(), p.list(), p.check())
	return c
}

// with connects, calls work and closes.
func (p *partitions) with(cmd *cobra.Command, work func(context.Context, *pgxpool.Pool) error) error {
	if err := fromEnvironment(cmd, map[string]string{"database-url": "DATABASE_URL"}); err != nil {
		return err
	}
	if p.output != "table" && p.output != "json" {
		return cli.UsageError{Err: fmt.Errorf("--output is table or json, not %q", p.output)}
	}
	if p.url == "" {
		return cli.UsageError{Err: errors.New("no database: set DATABASE_URL, or give --database-url")}
	}
	pool, err := postgres.Open(cmd.Context(), p.url, 2)
	if err != nil {
		return err
	}
	defer pool.Close()
	return work(cmd.Context(), pool)
}

// answer writes v as JSON, or the columns that rows writes.
func (p *partitions) answer(cmd *cobra.Command, v any, rows func(io.Writer)) error {
	if p.output == "json" {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	rows(w)
	return w.Flush()
}

func (p *partitions) create() *cobra.Command {
	var months int
	c := &cobra.Command{
		Use: "create", Short: "Make the months that are missing, and those ahead", Args: cobra.NoArgs,
		Long: `Makes the months that are missing, up to so many after the present one, and moves what the
overflow partition has of them. Writers go on meanwhile. All of it is made or nothing; when
others kept on using the tables, run it again.`,
		Example: `  forge audit partitions create
  forge audit partitions create --months 36`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.with(cmd, func(ctx context.Context, pool *pgxpool.Pool) error {
				made, err := audit.MakePartitions(ctx, pool, clock.System(), months)
				if err != nil {
					return err
				}
				return p.answer(cmd, map[string]int{"made": made}, func(w io.Writer) {
					if made == 0 {
						fmt.Fprintln(w, "nothing was made")
						return
					}
					fmt.Fprintf(w, "made %d partitions\n", made)
				})
			})
		},
	}
	c.Flags().IntVar(&months, "months", audit.MonthsAhead, "how many months after the present one, at most 240")
	return c
}

func (p *partitions) list() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the partitions with their bounds and sizes", Args: cobra.NoArgs,
		Example: `  forge audit partitions list
  forge audit partitions list -o json | jq '[.partitions[].bytes] | add'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.with(cmd, func(ctx context.Context, pool *pgxpool.Pool) error {
				parts, err := audit.Partitions(ctx, pool)
				if err != nil {
					return err
				}
				return p.answer(cmd, map[string]any{"partitions": parts}, func(w io.Writer) {
					fmt.Fprintln(w, "TABLE\tPARTITION\tKIND\tFROM\tTO\tBYTES\tESTIMATED ROWS\tSTATE")
					for _, part := range parts {
						rows, state := "-", "attached"
						if part.EstimatedRows != nil {
							rows = strconv.FormatInt(*part.EstimatedRows, 10)
						}
						if part.Detaching {
							state = "half detached"
						}
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", part.Table, part.Name, part.Kind, bound(part.From), bound(part.To), part.Bytes, rows, state)
					}
				})
			})
		},
	}
}

func bound(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format("2006-01-02 15:04:05Z")
}

// errPartitions makes the program end with 1.
var errPartitions = errors.New("the audit log's partitions need somebody")

func (p *partitions) check() *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Say what is wrong with the partitions, and what to do about it", Args: cobra.NoArgs,
		Long: `Looks for months that are missing or about to be, for times that no partition takes, for
rows in an overflow partition, and for partitions that are not as Forge makes them. It ends
with 1 when something is critical, with 0 when there are warnings or nothing.`,
		Example: `  forge audit partitions check
  forge audit partitions check -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.with(cmd, func(ctx context.Context, pool *pgxpool.Pool) error {
				health, err := audit.CheckPartitions(ctx, pool, clock.System())
				if err != nil {
					return err
				}
				err = p.answer(cmd, health, func(w io.Writer) {
					for _, table := range audit.PartitionedTables() {
						fmt.Fprintf(w, "%s: %d months ahead\n", table, health.MonthsAhead[table])
					}
					for _, problem := range health.Problems {
						fmt.Fprintf(w, "\n%s  %s: %s\n  %s\n", problem.Severity, problem.Table, problem.What, problem.Do)
					}
				})
				if err == nil && health.Critical() {
					err = errPartitions
				}
				return err
			})
		},
	}
}
