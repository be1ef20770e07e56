package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/cli"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
)

// archiving is what the subcommands of `forge audit archive` and `forge audit hold` share.
type archiving struct {
	partitions
	keysDir, origin, store, endpoint string
	witnesses                        []string
}

func (a *archiving) register(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&a.url, "database-url", "", "PostgreSQL of the owner; of the application's role for what only reads (also DATABASE_URL)")
	f.StringVarP(&a.output, "output", "o", "table", "table or json")
	f.StringVar(&a.keysDir, "keys-dir", "", "directory of the audit keys")
	f.StringVar(&a.origin, "audit-origin", "", "name of the log; the default is what the database says")
	f.StringVar(&a.store, "archive", "", "where archives are: a directory, or s3://BUCKET/PREFIX (also FORGE_AUDIT_ARCHIVE)")
	f.StringVar(&a.endpoint, "archive-endpoint", "", "address of an S3-compatible server, if it is not Amazon's (also FORGE_AUDIT_ARCHIVE_ENDPOINT)")
	f.StringArrayVar(&a.witnesses, "witness-key", nil, "public key of a witness (name+hash+base64); may be given several times")
}

var archiveEnvironment = map[string]string{"database-url": "DATABASE_URL", "archive": "FORGE_AUDIT_ARCHIVE", "archive-endpoint": "FORGE_AUDIT_ARCHIVE_ENDPOINT"}

// openArchive opens a directory or a bucket; nil for none.
func openArchive(ctx context.Context, where, endpoint string) (archive.Store, error) {
	if where == "" {
		return nil, nil
	}
	rest, ok := strings.CutPrefix(where, "s3://")
	if !ok {
		return archive.Dir(where), nil
	}
	bucket, prefix, _ := strings.Cut(rest, "/")
	if u, err := url.Parse(endpoint); err != nil || endpoint != "" && u.Host == "" {
		return nil, cli.UsageError{Err: fmt.Errorf("--archive-endpoint is an address like https://s3.example.com, not %q", endpoint)}
	}
	c, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("AWS configuration: %w", err)
	}
	return archive.OpenBucket(ctx, s3.NewFromConfig(c, func(o *s3.Options) {
		if endpoint != "" {
			o.BaseEndpoint, o.UsePathStyle = aws.String(endpoint), true
		}
	}), bucket, prefix)
}

// openPins opens where checkpoints are pinned: a directory or a bucket; nil for nowhere.
func openPins(ctx context.Context, where, endpoint string) (audit.Pins, error) {
	store, err := openArchive(ctx, where, endpoint)
	if bucket, ok := store.(*archive.Bucket); ok {
		return audit.NewPinBucket(bucket), nil
	}
	if err != nil || where == "" {
		return nil, err
	}
	return audit.PinDir(where), nil
}

// witnessKeys reads the public keys of witnesses.
func witnessKeys(texts []string) ([]note.Verifier, error) {
	var out []note.Verifier
	for _, text := range texts {
		v, err := verify.ParseWitness(text)
		if err != nil {
			return nil, cli.UsageError{Err: fmt.Errorf("--witness-key: %w", err)}
		}
		out = append(out, v)
	}
	return out, nil
}

// archivist connects, and calls work with one who may do everything that the database lets them.
func (a *archiving) archivist(cmd *cobra.Command, needsStore bool, work func(context.Context, *audit.Archivist) error) error {
	if err := fromEnvironment(cmd, archiveEnvironment); err != nil {
		return err
	}
	if a.keysDir == "" {
		return cli.UsageError{Err: errors.New("--keys-dir is required: what is done is recorded, and archives are signed")}
	}
	if needsStore && a.store == "" {
		return cli.UsageError{Err: errors.New("--archive is required: a directory, or s3://BUCKET/PREFIX")}
	}
	witnesses, err := witnessKeys(a.witnesses)
	if err != nil {
		return err
	}
	keys, err := audit.LoadKeys(a.keysDir)
	if err != nil {
		return err
	}
	return a.with(cmd, func(ctx context.Context, pool *pgxpool.Pool) (err error) {
		store, err := openArchive(ctx, a.store, a.endpoint)
		if err != nil {
			return err
		}
		logger := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
		return operated(ctx, pool, "archive", a.origin, keys, logger, func(ctx context.Context, log *audit.Log) error {
			return work(ctx, &audit.Archivist{Log: log, Keys: keys, Store: store, Hot: audit.HotMonths, Witnesses: witnesses, Logger: logger})
		})
	})
}

// operated calls work as an operator whose doing is recorded in the installation's own log, and says at the end what was
// written.
func operated(ctx context.Context, pool *pgxpool.Pool, what, origin string, keys audit.Keys, logger *slog.Logger, work func(context.Context, *audit.Log) error) error {
	origin, err := audit.Installed(ctx, pool, origin, keys)
	if err != nil {
		return err
	}
	log, err := audit.NewLog(audit.Config{Pool: pool, Clock: clock.System, Origin: origin, Writer: fmt.Sprintf("%s-%d-%s", what, os.Getpid(), id.Unique()[20:]), Keys: keys, Logger: logger})
	if err != nil {
		return err
	}
	ctx = actor.With(ctx, actor.Operator(what))
	err = work(ctx, log)
	return errors.Join(err, log.Heartbeat(context.WithoutCancel(ctx), true))
}

func auditArchiveCommand() *cobra.Command {
	var a archiving
	c := &cobra.Command{
		Use: "archive", Short: "Months of the audit log that leave the database",
		Long: `A month of the log goes from open to sealed, exported, verified and detached, and after seven years
to droppable and dropped. Its archive is files of entries and a signed manifest in a directory or in
a bucket with object lock. Proofs of its entries stay valid. These commands speak to the database of
DATABASE_URL: as the owner, where a month is detached or brought back.`,
		Example: `  forge audit archive run --keys-dir /etc/forge/keys --archive s3://forge-audit/log
  forge audit archive list
  forge audit archive verify --keys-dir /etc/forge/keys --archive s3://forge-audit/log`,
	}
	a.register(c)
	c.AddCommand(a.run(), a.list(), a.verify(), a.restore(), a.drop())
	return c
}

func (a *archiving) run() *cobra.Command {
	var hot int
	var attached bool
	c := &cobra.Command{
		Use: "run", Short: "Bring every month as far as it is due", Args: cobra.NoArgs,
		Long: `Seals months a week after their end, exports them, reads them back and compares every entry with the
tree, and detaches those that are older than --hot months. Run it once a day. It goes on where it was
interrupted, and never drops anything.`,
		Example: `  forge audit archive run --keys-dir /etc/forge/keys --archive /mnt/worm/forge
  forge audit archive run --keys-dir /etc/forge/keys --archive s3://forge-audit/log --keep-attached`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.archivist(cmd, true, func(ctx context.Context, r *audit.Archivist) error {
				if hot < 1 {
					return cli.UsageError{Err: errors.New("--hot is at least 1")}
				}
				r.Hot = hot
				done, failed := r.Run(ctx, !attached)
				if done == nil {
					done = []audit.Step{}
				}
				err := a.answer(cmd, map[string]any{"done": done}, func(w io.Writer) {
					for _, s := range done {
						fmt.Fprintf(w, "%s\t%s\n", s.Month, s.State)
					}
					if len(done) == 0 && failed == nil {
						fmt.Fprintln(w, "nothing was due")
					}
				})
				return errors.Join(failed, err)
			})
		},
	}
	c.Flags().IntVar(&hot, "hot", audit.HotMonths, "how many whole months stay in the tables, where searches see them")
	c.Flags().BoolVar(&attached, "keep-attached", false, "detach nothing: the application's rights are enough then")
	return c
}

func (a *archiving) list() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the months that are over, and how far each is", Args: cobra.NoArgs,
		Example: `  forge audit archive list
  forge audit archive list -o json | jq -r '.months[] | select(.state == "droppable").month'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd, archiveEnvironment); err != nil {
				return err
			}
			return a.with(cmd, func(ctx context.Context, pool *pgxpool.Pool) error {
				months, err := audit.Months(ctx, pool, clock.System())
				if err != nil {
					return err
				}
				return a.answer(cmd, map[string]any{"months": months}, func(w io.Writer) {
					fmt.Fprintln(w, "MONTH\tSTATE\tENTRIES\tSEARCHED\tVERIFIED\tLOCKED UNTIL\tNOT DROPPED BECAUSE")
					for _, m := range months {
						entries, searched := "-", "no"
						if m.Entries != nil {
							entries = strconv.FormatInt(*m.Entries, 10)
						}
						if m.Attached {
							searched = "yes"
						}
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.Month, m.State, entries, searched, bound(m.VerifiedAt), bound(m.LockedUntil), m.Refusal)
					}
				})
			})
		},
	}
}

func (a *archiving) verify() *cobra.Command {
	return &cobra.Command{
		Use: "verify [MONTH...]", Short: "Read archives back and compare every entry with the tree",
		Long: `Reads the archives of the named months, or of all, from the store: their manifests, their files and
locks, and every entry in them against the tree and the checkpoint in the manifest. It changes
nothing, and ends with 1 when anything is wrong. ` + "`forge audit verify --archive`" + ` does this and the rest.`,
		Example: `  forge audit archive verify --keys-dir /etc/forge/keys --archive s3://forge-audit/log
  forge audit archive verify 2026-01 --keys-dir /etc/forge/keys --archive /mnt/worm/forge -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var months []time.Time
			for _, arg := range args {
				m, err := audit.ParseMonth(arg)
				if err != nil {
					return cli.UsageError{Err: err}
				}
				months = append(months, m)
			}
			return a.archivist(cmd, true, func(ctx context.Context, r *audit.Archivist) error {
				report, err := r.Verify(ctx, months...)
				if err != nil {
					return err
				}
				return printReport(cmd, a.output, report)
			})
		},
	}
}

func (a *archiving) restore() *cobra.Command {
	var days int
	var drill bool
	c := &cobra.Command{
		Use: "restore MONTH", Short: "Bring a month back into the tables, where searches see it", Args: cobra.ExactArgs(1),
		Long: `Attaches the table of a detached month again, or loads a dropped one from its archive. Every entry is
compared with the tree first. After --days the next run detaches it again. With --drill the archive is
loaded and compared, and nothing is left behind: do that every quarter. It is recorded.`,
		Example: `  forge audit archive restore 2026-01 --keys-dir /etc/forge/keys --archive s3://forge-audit/log
  forge audit archive restore 2026-01 --drill --keys-dir /etc/forge/keys --archive s3://forge-audit/log`,
		RunE: func(cmd *cobra.Command, args []string) error {
			month, err := audit.ParseMonth(args[0])
			if err != nil {
				return cli.UsageError{Err: err}
			}
			if days < 1 {
				return cli.UsageError{Err: errors.New("--days is at least 1")}
			}
			return a.archivist(cmd, true, func(ctx context.Context, r *audit.Archivist) error {
				done, err := r.Restore(ctx, month, time.Duration(days)*24*time.Hour, drill)
				if err != nil {
					return err
				}
				return a.answer(cmd, done, func(w io.Writer) {
					from := "its own table"
					if done.FromArchive {
						from = "its archive"
					}
					fmt.Fprintf(w, "%d entries of %s from %s, each the one in the tree\n", done.Entries, done.Month, from)
					if done.Attached {
						fmt.Fprintf(w, "searches see them until %s\n", bound(done.KeepUntil))
					}
				})
			})
		},
	}
	c.Flags().IntVar(&days, "days", 30, "for how long")
	c.Flags().BoolVar(&drill, "drill", false, "only try it")
	return c
}

func (a *archiving) drop() *cobra.Command {
	var yes, files bool
	c := &cobra.Command{
		Use: "drop MONTH", Short: "Drop a month whose seven years are over", Args: cobra.ExactArgs(1),
		Long: `Drops the tables of a detached month seven years after its end: by the clock of the database and by
the latest genuine signature of a witness, whose key must be given. Its archive must be as it was made
and no longer locked, and no legal hold may be on it. The database refuses every other drop, whoever
asks. It is recorded in the same transaction. Hashes stay, and with them every proof.`,
		Example: `  forge audit archive drop 2026-01 --yes --keys-dir /etc/forge/keys --archive s3://forge-audit/log --witness-key "$(cat witness.pub)"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			month, err := audit.ParseMonth(args[0])
			if err != nil {
				return cli.UsageError{Err: err}
			}
			if !yes {
				return cli.UsageError{Err: errors.New("it cannot be undone: say --yes")}
			}
			return a.archivist(cmd, true, func(ctx context.Context, r *audit.Archivist) error {
				if err := r.Drop(ctx, month, files); err != nil {
					return err
				}
				return a.answer(cmd, map[string]any{"month": args[0], "state": audit.MonthDropped}, func(w io.Writer) { fmt.Fprintf(w, "%s is dropped\n", args[0]) })
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "yes, drop it (required)")
	c.Flags().BoolVar(&files, "files", false, "remove its files from the archive as well")
	return c
}

func auditHoldCommand() *cobra.Command {
	var a archiving
	c := &cobra.Command{
		Use: "hold", Short: "Legal holds: months that nobody may drop",
		Long: `A legal hold keeps months of the log from being dropped whatever their age, until it is released, and
holds their files in a bucket with object lock. Holds are recorded and never removed.`,
		Example: `  forge audit hold add --from 2026-01 --to 2026-06 --reason "case 4711" --keys-dir /etc/forge/keys
  forge audit hold list`,
	}
	a.register(c)
	c.AddCommand(a.addHold(), a.listHolds(), a.releaseHold())
	return c
}

func (a *archiving) addHold() *cobra.Command {
	var from, to, reason string
	c := &cobra.Command{
		Use: "add", Short: "Put a legal hold on months", Args: cobra.NoArgs,
		Long:    `Keeps the months from --from up to and with --to. The reason stays for ever: it should not name a person.`,
		Example: `  forge audit hold add --from 2026-01 --to 2026-06 --reason "case 4711" --keys-dir /etc/forge/keys`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" {
				to = from
			}
			first, err := audit.ParseMonth(from)
			if err != nil {
				return cli.UsageError{Err: fmt.Errorf("--from: %w", err)}
			}
			last, err := audit.ParseMonth(to)
			if err != nil {
				return cli.UsageError{Err: fmt.Errorf("--to: %w", err)}
			}
			if reason == "" {
				return cli.UsageError{Err: errors.New("--reason is required")}
			}
			return a.archivist(cmd, false, func(ctx context.Context, r *audit.Archivist) error {
				hold, err := r.AddHold(ctx, first, last, reason)
				if err != nil {
					return err
				}
				return a.answer(cmd, map[string]any{"id": hold}, func(w io.Writer) { fmt.Fprintln(w, hold) })
			})
		},
	}
	c.Flags().StringVar(&from, "from", "", "the first month, like 2026-01 (required)")
	c.Flags().StringVar(&to, "to", "", "the last month; the first when left out")
	c.Flags().StringVar(&reason, "reason", "", "why, for those who come after (required)")
	return c
}

func (a *archiving) listHolds() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the legal holds, the released ones too", Args: cobra.NoArgs,
		Example: "  forge audit hold list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd, archiveEnvironment); err != nil {
				return err
			}
			return a.with(cmd, func(ctx context.Context, pool *pgxpool.Pool) error {
				holds, err := audit.Holds(ctx, pool)
				if err != nil {
					return err
				}
				return a.answer(cmd, map[string]any{"holds": holds}, func(w io.Writer) {
					fmt.Fprintln(w, "ID\tFROM\tTO\tREASON\tPLACED\tBY\tRELEASED")
					for _, h := range holds {
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", h.ID, h.From, h.To, h.Reason, bound(&h.PlacedAt), h.PlacedBy, bound(h.ReleasedAt))
					}
				})
			})
		},
	}
}

func (a *archiving) releaseHold() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "release ID", Short: "End a legal hold", Args: cobra.ExactArgs(1),
		Long:    `Ends a legal hold. Give --archive when months under it are in a bucket: their files are let go as well.`,
		Example: `  forge audit hold release hold_01jd8x5qf8e2x9v7m3k4n5p6q7 --reason "case closed" --keys-dir /etc/forge/keys`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return cli.UsageError{Err: errors.New("--reason is required")}
			}
			return a.archivist(cmd, false, func(ctx context.Context, r *audit.Archivist) error {
				if err := r.ReleaseHold(ctx, args[0], reason); err != nil {
					return err
				}
				return a.answer(cmd, map[string]any{"id": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "%s is released\n", args[0]) })
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why (required)")
	return c
}
