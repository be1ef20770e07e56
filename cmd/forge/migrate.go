package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/robco-forge/forge/internal/cli"
	"github.com/robco-forge/forge/internal/postgres/migrate"
)

// migrations are what the subcommands of `forge migrate` share.
type migrations struct {
	url, dir, output string
}

func migrateCommand() *cobra.Command {
	var m migrations
	c := &cobra.Command{
		Use: "migrate", Short: "Change the database's schema, and prove that it is what it should be",
		Long: `Applies the migrations of this program to a database as its owner, and takes them back.
The database is that of FORGE_MIGRATE_DATABASE_URL, else of DATABASE_URL.

Who changes the schema edits internal/postgres/schema.sql, runs ` + "`forge migrate diff`" + ` for the
migration, and ` + "`forge migrate verify`" + ` to see that both agree.`,
		Example: `  forge migrate status
  forge migrate rehearse --data
  forge migrate up`,
	}
	f := c.PersistentFlags()
	f.StringVar(&m.url, "database-url", "", "PostgreSQL of the owner (also FORGE_MIGRATE_DATABASE_URL or DATABASE_URL)")
	f.StringVar(&m.dir, "dir", "", "read the migrations from this directory, not those in the program")
	f.StringVarP(&m.output, "output", "o", "text", "text or json")
	c.AddCommand(m.up(), m.down(), m.status(), m.version(), m.rehearse(), m.diff(), m.create(), m.verify())
	return c
}

// prepare fills flags from the environment and checks them.
func (m *migrations) prepare(cmd *cobra.Command) error {
	if !cmd.Flags().Lookup("database-url").Changed {
		m.url = os.Getenv("FORGE_MIGRATE_DATABASE_URL")
	}
	if err := fromEnvironment(cmd, nil); err != nil {
		return err
	}
	if m.url == "" {
		m.url = os.Getenv("DATABASE_URL")
	}
	if m.output != "text" && m.output != "json" {
		return cli.UsageError{Err: fmt.Errorf("--output is text or json, not %q", m.output)}
	}
	return nil
}

func (m *migrations) json() bool { return m.output == "json" }

// files are the migrations to work with.
func (m *migrations) files() ([]migrate.File, error) {
	if m.dir == "" {
		return nil, nil // the program's own
	}
	return migrate.Load(os.DirFS(m.dir))
}

// with connects as the owner, calls work and closes.
func (m *migrations) with(cmd *cobra.Command, work func(context.Context, *migrate.Migrator) error) error {
	if err := m.prepare(cmd); err != nil {
		return err
	}
	if m.url == "" {
		return cli.UsageError{Err: errors.New("no database: set FORGE_MIGRATE_DATABASE_URL (the owner's) or DATABASE_URL, or give --database-url")}
	}
	log, err := logger(cmd.ErrOrStderr(), "text", slog.LevelWarn)
	if err != nil {
		return err
	}
	files, err := m.files()
	if err != nil {
		return err
	}
	migrator, err := migrate.Open(cmd.Context(), m.url, migrate.Options{
		Files: files, Program: version, Logger: log,
		Progress: func(f migrate.File) {
			if !m.json() {
				fmt.Fprintf(cmd.ErrOrStderr(), "running  %s\n", f.Name)
			}
		},
	})
	if err != nil {
		return err
	}
	return errors.Join(work(cmd.Context(), migrator), migrator.Close())
}

// answer writes v as JSON, or what text writes.
func (m *migrations) answer(w io.Writer, v any, text func(io.Writer)) error {
	if m.json() {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	b := bufio.NewWriter(w)
	text(b)
	return b.Flush()
}

func (m *migrations) up() *cobra.Command {
	var to int64
	var dry bool
	c := &cobra.Command{
		Use: "up", Short: "Apply what is pending", Args: cobra.NoArgs,
		Long: `Applies what is pending, each migration in a transaction of its own. Processes that do so
at the same time queue; who comes later finds nothing to do. A statement waits two seconds
for a lock, then the migration is tried again, so that requests are not held up behind it.
What fails leaves nothing behind; run the command again to go on.`,
		Example: `  forge migrate up
  forge migrate up --to 3
  forge migrate up --dry-run`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return m.with(cmd, func(ctx context.Context, migrator *migrate.Migrator) error {
				if dry {
					return m.dryRun(ctx, cmd.OutOrStdout(), migrator, to)
				}
				done, err := migrator.Up(ctx, to)
				return errors.Join(err, m.answer(cmd.OutOrStdout(), struct {
					Applied []migrate.Applied `json:"applied"`
				}{append([]migrate.Applied{}, done...)}, func(w io.Writer) {
					for _, a := range done {
						fmt.Fprintf(w, "applied  %s  (%s)\n", a.Name, a.Took.Round(time.Millisecond))
					}
					if err == nil && len(done) == 0 {
						fmt.Fprintln(w, "nothing to apply")
					}
				}))
			})
		},
	}
	c.Flags().Int64Var(&to, "to", 0, "the last migration to apply; all when left out")
	c.Flags().BoolVar(&dry, "dry-run", false, "print the SQL that would run, and change nothing")
	return c
}

func (m *migrations) dryRun(ctx context.Context, w io.Writer, migrator *migrate.Migrator, to int64) error {
	pending, err := migrator.Pending(ctx, to)
	if err != nil {
		return err
	}
	type step struct {
		Version int64    `json:"version"`
		Name    string   `json:"name"`
		SQL     []string `json:"sql"`
	}
	steps := make([]step, len(pending))
	for i := range pending {
		steps[i] = step{pending[i].Version, pending[i].Name, migrator.SQL(pending[i].Up)}
	}
	return m.answer(w, struct {
		Pending []step `json:"pending"`
	}{steps}, func(w io.Writer) {
		for _, s := range steps {
			fmt.Fprintf(w, "-- %s\n%s\n\n", s.Name, strings.Join(s.SQL, "\n"))
		}
		if len(steps) == 0 {
			fmt.Fprintln(w, "-- nothing to apply")
		}
	})
}

func (m *migrations) down() *cobra.Command {
	var yes, loss bool
	c := &cobra.Command{
		Use: "down", Short: "Take back the newest migration", Args: cobra.NoArgs,
		Long: `Takes back the newest migration, one at a time. It refuses when tables or columns with data
in them would go, unless --allow-data-loss is given.`,
		Example: `  forge migrate down
  forge migrate down --yes`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, ok := cmd.InOrStdin().(*os.File)
			if !yes && (!ok || !term.IsTerminal(int(in.Fd()))) {
				return cli.UsageError{Err: errors.New("this asks before it does anything; without a terminal, say --yes")}
			}
			return m.with(cmd, func(ctx context.Context, migrator *migrate.Migrator) error {
				last, err := migrator.Last(ctx)
				if errors.Is(err, migrate.ErrNothing) {
					return m.answer(cmd.OutOrStdout(), struct{}{}, func(w io.Writer) { fmt.Fprintln(w, "nothing to take back") })
				}
				if err != nil {
					return err
				}
				if !yes {
					if err := confirm(cmd, fmt.Sprintf("Take back %s?", last.Name)); err != nil {
						return err
					}
				}
				back, err := migrator.Down(ctx, loss)
				if _, refused := errors.AsType[*migrate.LossError](err); refused {
					return fmt.Errorf("%w (--allow-data-loss)", err)
				}
				if err != nil {
					return err
				}
				return m.answer(cmd.OutOrStdout(), back, func(w io.Writer) {
					fmt.Fprintf(w, "took back  %s  (%s)\n", back.Name, back.Took.Round(time.Millisecond))
				})
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&loss, "allow-data-loss", false, "also when data goes with it")
	return c
}

// confirm asks a person.
func confirm(cmd *cobra.Command, question string) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

func (m *migrations) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "List the migrations and what became of each", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return m.with(cmd, func(ctx context.Context, migrator *migrate.Migrator) error {
				steps, err := migrator.Status(ctx)
				if err != nil {
					return err
				}
				return m.answer(cmd.OutOrStdout(), struct {
					Migrations []migrate.Step `json:"migrations"`
				}{steps}, func(w io.Writer) {
					for _, s := range steps {
						at, by := "", ""
						if s.AppliedAt != nil {
							at = s.AppliedAt.Format(time.RFC3339)
						}
						if s.Program != "" {
							by = "by " + s.Program
						}
						fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-8s %-40s %-20s %s", s.State, s.Name, at, by), " "))
					}
				})
			})
		},
	}
}

func (m *migrations) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the newest migration in the database, and in this program", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return m.with(cmd, func(ctx context.Context, migrator *migrate.Migrator) error {
				database, program, err := migrator.Version(ctx)
				if err != nil {
					return err
				}
				return m.answer(cmd.OutOrStdout(), map[string]int64{"database": database, "program": program}, func(w io.Writer) {
					fmt.Fprintf(w, "database  %d\nprogram   %d\n", database, program)
				})
			})
		},
	}
}
