package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/internal/cli"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/migrate"
)

// source is the checkout that migrations are written in.
type source struct{ dir, schema string }

const (
	sourceDir    = "internal/postgres/migrations"
	sourceSchema = "internal/postgres/schema.sql"
)

// checkout finds the migrations and schema.sql: where the flags say, else in the checkout around the working directory.
func (m *migrations) checkout(schema string) (source, error) {
	s := source{m.dir, schema}
	here, err := os.Getwd()
	if err != nil {
		return s, err
	}
	for dir := here; s.dir == "" || s.schema == ""; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, sourceSchema)); err == nil {
			if s.dir == "" {
				s.dir = filepath.Join(dir, sourceDir)
			}
			if s.schema == "" {
				s.schema = filepath.Join(dir, sourceSchema)
			}
		} else if dir == filepath.Dir(dir) {
			return s, errNoCheckout
		}
	}
	return s, nil
}

var errNoCheckout = cli.UsageError{Err: errors.New("this works on Forge's source: run it in a checkout, or give --dir and --schema")}

func (s source) read() ([]migrate.File, string, error) {
	files, err := migrate.Load(os.DirFS(s.dir))
	if err != nil {
		return nil, "", err
	}
	text, err := os.ReadFile(s.schema)
	return files, string(text), err
}

// write adds a migration to the source; it never replaces one.
func (s source) write(d *migrate.Draft) (string, error) {
	path := filepath.Join(s.dir, d.Name)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // source code is for everybody
	if err != nil {
		return path, err
	}
	_, err = f.WriteString(d.Text)
	return path, errors.Join(err, f.Close())
}

// scratch is a server for databases that are thrown away.
type scratch struct{ url string }

func (s *scratch) register(c *cobra.Command) {
	c.Flags().StringVar(&s.url, "scratch-url", "", "make the scratch databases on this server; a private one when left out")
}

func (s *scratch) with(ctx context.Context, work func(*migrate.Scratch) error) error {
	server, err := migrate.OpenScratch(ctx, s.url)
	if err != nil {
		return err
	}
	return errors.Join(work(server), server.Close(ctx))
}

func (m *migrations) create() *cobra.Command {
	return &cobra.Command{
		Use: "new NAME", Short: "Write an empty migration for you to fill", Args: cobra.ExactArgs(1),
		Example: `  forge migrate new "move colours into tags"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := m.prepare(cmd); err != nil {
				return err
			}
			s, err := m.checkout("")
			if err != nil {
				return err
			}
			files, _, err := s.read()
			if err != nil {
				return err
			}
			d, err := migrate.Template(files, args[0])
			if err != nil {
				return cli.UsageError{Err: err}
			}
			return m.written(cmd.OutOrStdout(), s, d)
		},
	}
}

// written writes a migration and says what is left to do.
func (m *migrations) written(w io.Writer, s source, d *migrate.Draft) error {
	path, err := s.write(d)
	if err != nil {
		return err
	}
	return m.answer(w, struct {
		*migrate.Draft
		Path string `json:"path"`
	}{d, path}, func(w io.Writer) {
		fmt.Fprintln(w, "wrote", path)
		for _, x := range d.Warnings {
			fmt.Fprintln(w, "look  ", x)
		}
		for _, x := range d.Unfinished {
			fmt.Fprintln(w, "finish", x)
		}
		fmt.Fprintln(w, "then   forge migrate verify")
	})
}

func (m *migrations) diff() *cobra.Command {
	var server scratch
	var schema string
	c := &cobra.Command{
		Use: "diff DESCRIPTION", Short: "Write the migration that schema.sql needs", Args: cobra.ExactArgs(1),
		Long: `Compares what the migrations make with schema.sql, on two scratch databases, and writes the
next migration, up and down: tables, columns, constraints, indexes, and the rights on new
tables. It tries what it writes. What only a person can decide or write (renames, functions,
triggers, views, rights on what is there already) becomes a marked block in the file, which
` + "`forge migrate verify`" + ` refuses until it is finished. Without a difference it writes nothing.`,
		Example: `  forge migrate diff "colour of a WorkSpace"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := m.prepare(cmd); err != nil {
				return err
			}
			s, err := m.checkout(schema)
			if err != nil {
				return err
			}
			files, text, err := s.read()
			if err != nil {
				return err
			}
			if _, err := migrate.FileName(files, args[0]); err != nil {
				return cli.UsageError{Err: err}
			}
			return server.with(cmd.Context(), func(on *migrate.Scratch) error {
				d, err := migrate.Diff(cmd.Context(), on, files, text, args[0])
				if err != nil {
					return err
				}
				if d == nil {
					return m.answer(cmd.OutOrStdout(), struct{}{}, func(w io.Writer) { fmt.Fprintln(w, "the migrations reach schema.sql: nothing to write") })
				}
				return m.written(cmd.OutOrStdout(), s, d)
			})
		},
	}
	server.register(c)
	c.Flags().StringVar(&schema, "schema", "", "schema.sql to reach, when not that of the checkout")
	return c
}

func (m *migrations) verify() *cobra.Command {
	var server scratch
	var schema string
	c := &cobra.Command{
		Use: "verify", Short: "Prove that migrations and schema.sql agree, up and down", Args: cobra.NoArgs,
		Long: `On a scratch server: the migrations reach schema.sql exactly, taking each back restores what
was before it, down to nothing, and applying them again makes the same. It compares the
database's catalogue: tables, columns, constraints, indexes, functions, triggers and whether
they fire, views, privileges. In a checkout it reads the source, else what is in the program.`,
		Example: `  forge migrate verify
  FORGE_PG_BIN=/opt/postgresql-18/bin forge migrate verify`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := m.prepare(cmd); err != nil {
				return err
			}
			var files []migrate.File
			var text string
			s, err := m.checkout(schema)
			switch {
			case errors.Is(err, errNoCheckout) && m.dir == "" && schema == "":
				text = postgres.Schema()
				files, err = migrate.Embedded()
			case err == nil:
				files, text, err = s.read()
			}
			if err != nil {
				return err
			}
			return server.with(cmd.Context(), func(on *migrate.Scratch) error {
				r, err := migrate.Verify(cmd.Context(), on, files, text, func(step string) {
					if !m.json() {
						fmt.Fprintln(cmd.ErrOrStderr(), step)
					}
				})
				if err != nil {
					return err
				}
				if err := m.answer(cmd.OutOrStdout(), r, func(w io.Writer) { writeReport(w, r) }); err != nil {
					return err
				}
				if len(r.Problems) > 0 {
					return migrate.ErrDrift
				}
				return nil
			})
		},
	}
	server.register(c)
	c.Flags().StringVar(&schema, "schema", "", "schema.sql to compare with, when not that of the checkout")
	return c
}

func writeReport(w io.Writer, r *migrate.Report) {
	fmt.Fprintf(w, "PostgreSQL   %s\nmigrations   %d\n", r.Server, r.Migrations)
	for _, line := range [][2]string{{"up", r.Up}, {"up again", r.Again}, {"compared", r.Compared}, {"schema.sql", r.Schema}} {
		if line[1] != "" {
			fmt.Fprintf(w, "%-12s %s\n", line[0], line[1])
		}
	}
	for _, p := range r.Problems {
		fmt.Fprintln(w, "problem     ", strings.ReplaceAll(p, "\n", "\n             "))
	}
	if len(r.Problems) == 0 {
		fmt.Fprintln(w, "the migrations reach schema.sql, go back to nothing step by step, and come to the same again")
	}
}

func (m *migrations) rehearse() *cobra.Command {
	var data bool
	c := &cobra.Command{
		Use: "rehearse", Short: "Run what is pending on a copy, and say what it would hold up", Args: cobra.NoArgs,
		Long: `Copies the database's schema, and with --data its rows, to a private server on this machine
with pg_dump, applies the pending migrations there, and says for each statement how long it
took, which tables it rewrote or read through, and the strongest lock it took on each. It warns
about what would keep others waiting. The database itself is only read.`,
		Example: `  forge migrate rehearse
  forge migrate rehearse --data -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := m.prepare(cmd); err != nil {
				return err
			}
			if m.url == "" {
				return cli.UsageError{Err: errors.New("no database: set FORGE_MIGRATE_DATABASE_URL (the owner's) or DATABASE_URL, or give --database-url")}
			}
			files, err := m.files()
			if err != nil {
				return err
			}
			if files == nil {
				if files, err = migrate.Embedded(); err != nil {
					return err
				}
			}
			return (&scratch{}).with(cmd.Context(), func(on *migrate.Scratch) error {
				r, err := migrate.Rehearse(cmd.Context(), on, files, m.url, data, func(step string) {
					if !m.json() {
						fmt.Fprintln(cmd.ErrOrStderr(), step)
					}
				})
				if err != nil {
					return err
				}
				if err := m.answer(cmd.OutOrStdout(), r, func(w io.Writer) { writeRehearsal(w, r) }); err != nil {
					return err
				}
				for _, x := range r.Migrations {
					if x.Failed != "" {
						return fmt.Errorf("%s does not run: %s", x.Name, x.Failed)
					}
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&data, "data", false, "copy the rows as well: times are then true for this machine")
	return c
}

func writeRehearsal(w io.Writer, r *migrate.Rehearsal) {
	if len(r.Migrations) == 0 {
		fmt.Fprintln(w, "nothing is pending")
	}
	for _, x := range r.Migrations {
		fmt.Fprintf(w, "%s  %s\n", x.Name, x.Took.Round(time.Millisecond))
		for _, s := range x.Statements {
			fmt.Fprintf(w, "  line %-4d %8s  %s\n", s.Line, s.Took.Round(100*time.Microsecond), short(s.SQL))
			for _, l := range s.Locks {
				did := ""
				if l.Rewritten {
					did += ", rewritten"
				}
				if l.Read {
					did += ", read through"
				}
				fmt.Fprintf(w, "      %s on %s (about %d rows%s), held %s\n", l.Mode, l.Table, l.Rows, did, l.Held.Round(100*time.Microsecond))
			}
			for _, warning := range s.Warnings {
				fmt.Fprintf(w, "      WARNING %s\n", warning)
			}
		}
		if x.Failed != "" {
			fmt.Fprintf(w, "  FAILED %s\n", x.Failed)
		}
	}
	if len(r.Migrations) > 0 && !r.WithData {
		fmt.Fprintln(w, "The copy has no rows, so times say little; --data copies them.")
	}
}

// short is the beginning of a statement.
func short(sql string) string {
	const most = 100
	if r := []rune(sql); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return sql
}
