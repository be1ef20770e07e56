package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/cli"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres"
)

// errTampered makes the program end with 1.
var errTampered = errors.New("the audit log is not as it was signed and recorded; what to do is in docs/runbooks/audit.md")

func auditVerifyCommand() *cobra.Command {
	var url, output, keysDir, origin, pins, store, endpoint string
	var checkpoints, witnesses []string
	var maxAge time.Duration
	var record bool
	c := &cobra.Command{
		Use: "verify", Short: "Verify the whole audit log in the database", Args: cobra.NoArgs,
		Long: `Reads the whole log in the database of DATABASE_URL and checks that it is what was signed and
recorded: every entry against the tree and the signature, every column against its entry, the
writers' codes, what is known of persons, and what protects the tables. It changes nothing, but with
--record it writes an entry of what it found; servers tell in their metrics how long ago that was. It
needs no more memory for a long log than for a short one. docs/audit.md explains the checks.

It ends with 1 when anything was found, and says which check, which entry, and what that means.
Give it checkpoints that were kept elsewhere than in the database: without one, nobody who has the
database and the signing key would be found out.`,
		Example: `  forge audit verify --keys-dir /etc/forge/keys --pins /mnt/pins
  forge audit verify --keys-dir /etc/forge/keys --checkpoint last-year.checkpoint -o json
  forge audit verify --keys-dir /etc/forge/keys --pins s3://forge-pins/log --record    # every night`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd, map[string]string{"database-url": "DATABASE_URL", "pins": "FORGE_AUDIT_PINS", "archive": "FORGE_AUDIT_ARCHIVE", "archive-endpoint": "FORGE_AUDIT_ARCHIVE_ENDPOINT"}); err != nil {
				return err
			}
			switch {
			case output != "table" && output != "json":
				return cli.UsageError{Err: fmt.Errorf("--output is table or json, not %q", output)}
			case url == "":
				return cli.UsageError{Err: errors.New("no database: set DATABASE_URL, or give --database-url")}
			case keysDir == "":
				return cli.UsageError{Err: errors.New("--keys-dir is required: the log is verified with the keys of the installation")}
			}
			p := audit.Proving{Clock: clock.System, Origin: origin, MaxAge: maxAge, Progress: progress(cmd.ErrOrStderr(), clock.System)}
			var err error
			if p.Keys, err = audit.LoadKeys(keysDir); err != nil {
				return err
			}
			if p.Pinned, err = pinned(cmd.Context(), pins, endpoint, checkpoints); err != nil {
				return err
			}
			if p.Witnesses, err = witnessKeys(witnesses); err != nil {
				return err
			}
			if p.Archive, err = openArchive(cmd.Context(), store, endpoint); err != nil {
				return err
			}
			if p.Pool, err = postgres.Open(cmd.Context(), url, 2); err != nil {
				return err
			}
			defer p.Pool.Close()
			if p.Origin == "" {
				if p.Origin, err = audit.OriginOf(cmd.Context(), p.Pool); err != nil {
					return err
				}
			}
			verified := func(ctx context.Context, log *audit.Log) error {
				r, err := audit.Verify(ctx, p)
				if err != nil {
					return err
				}
				if log != nil {
					err = log.RecordVerification(ctx, r)
				}
				return errors.Join(printReport(cmd, output, r), err)
			}
			if !record {
				return verified(cmd.Context(), nil)
			}
			logger := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			return operated(cmd.Context(), p.Pool, "verify", p.Origin, p.Keys, logger, verified)
		},
	}
	f := c.Flags()
	f.StringVar(&url, "database-url", "", "PostgreSQL of the application's role or the owner (also DATABASE_URL)")
	f.StringVarP(&output, "output", "o", "table", "table or json")
	f.StringVar(&keysDir, "keys-dir", "", "directory of the audit keys; required")
	f.StringVar(&origin, "audit-origin", "", "name of the log; the default is what the database says")
	f.StringVar(&pins, "pins", "", "what the servers have as --audit-pins (also FORGE_AUDIT_PINS)")
	f.StringArrayVar(&checkpoints, "checkpoint", nil, "a file with a checkpoint that was kept; may be given several times")
	f.StringVar(&store, "archive", "", "where archived months are: a directory, or s3://BUCKET/PREFIX (also FORGE_AUDIT_ARCHIVE)")
	f.StringVar(&endpoint, "archive-endpoint", "", "address of an S3-compatible server, if it is not Amazon's (also FORGE_AUDIT_ARCHIVE_ENDPOINT)")
	f.StringArrayVar(&witnesses, "witness-key", nil, "public key of a witness; may be given several times")
	f.BoolVar(&record, "record", false, "write an entry of what was found, as an operator of this machine")
	f.DurationVar(&maxAge, "max-age", 0, "how old the newest entry may be, such as 15m; 0 is any age")
	return c
}

// pinned reads the checkpoints that were kept elsewhere.
func pinned(ctx context.Context, where, endpoint string, files []string) ([]string, error) {
	var out []string
	pins, err := openPins(ctx, where, endpoint)
	if err != nil {
		return nil, err
	}
	if pins != nil {
		text, err := pins.Latest(ctx)
		if err != nil {
			return nil, err
		}
		if text == "" {
			return nil, fmt.Errorf("%s holds no checkpoint", where)
		}
		out = append(out, text)
	}
	for _, path := range files {
		text, err := os.ReadFile(path) //nolint:gosec // the operator's own setting
		if err != nil {
			return nil, err
		}
		out = append(out, string(text))
	}
	return out, nil
}

// printReport writes what was found, and is an error when that is anything.
func printReport(cmd *cobra.Command, output string, r *verify.Report) error {
	var err error
	if output == "json" {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		err = e.Encode(r)
	} else {
		_, err = fmt.Fprint(cmd.OutOrStdout(), r.Text())
	}
	if err == nil && !r.OK() {
		err = errTampered
	}
	return err
}

// progress says every few seconds how far a long verification is.
func progress(w interface{ Write([]byte) (int, error) }, now clock.Clock) func(done, all int64) {
	const every = 5 * time.Second
	said := now()
	return func(done, all int64) {
		if now().Sub(said) < every || all == 0 {
			return
		}
		said = now()
		fmt.Fprintf(w, "%d of %d entries (%d %%)\n", done, all, done*100/all)
	}
}

func auditKeyRotateCommand() *cobra.Command {
	var dir string
	var retire bool
	c := &cobra.Command{
		Use: "rotate", Short: "Make a new key sign the audit log, or end the old ones", Args: cobra.NoArgs,
		Long: `Adds a new key that signs the log; the old ones go on signing beside it. Restart the servers,
give the new public key (forge audit key public) to whoever verifies the log, and when everybody
has it, run this with --retire: then only the newest key signs.`,
		Example: `  forge audit key rotate --keys-dir /etc/forge/keys
  forge audit key rotate --keys-dir /etc/forge/keys --retire`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd, nil); err != nil {
				return err
			}
			if dir == "" {
				return cli.UsageError{Err: errors.New("--keys-dir is required")}
			}
			if err := audit.RotateSigningKey(dir, retire); err != nil {
				return err
			}
			keys, err := audit.LoadKeys(dir)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d keys sign from now on, once every server was restarted with %s\n", len(keys.Signing), dir)
			return err
		},
	}
	c.Flags().StringVar(&dir, "keys-dir", "", "where the keys are")
	c.Flags().BoolVar(&retire, "retire", false, "end all keys but the newest")
	return c
}

func auditKeyPublicCommand() *cobra.Command {
	var dir, origin string
	c := &cobra.Command{
		Use: "public", Short: "Print the public keys that verify the audit log", Args: cobra.NoArgs,
		Long: `Prints the public keys, one on a line, the present one first. Give them to auditors by another
way than the exports that they verify with them.`,
		Example: `  forge audit key public --keys-dir /etc/forge/keys --audit-origin forge.example.com/audit > log.vkey`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd, nil); err != nil {
				return err
			}
			if dir == "" || origin == "" {
				return cli.UsageError{Err: errors.New("--keys-dir and --audit-origin are required")}
			}
			keys, err := audit.LoadKeys(dir)
			if err != nil {
				return err
			}
			text, err := keys.PublicKeys(origin)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
	c.Flags().StringVar(&dir, "keys-dir", "", "where the keys are")
	c.Flags().StringVar(&origin, "audit-origin", "", "name of the log")
	return c
}
