package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/witness"
	"github.com/robco-forge/forge/internal/aws/desktop"
	"github.com/robco-forge/forge/internal/cli"
	"github.com/robco-forge/forge/internal/httpapi"
	"github.com/robco-forge/forge/internal/notify"
)

func logger(w io.Writer, format string, level slog.Level) (*slog.Logger, error) {
	o := &slog.HandlerOptions{Level: level}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	}
	return nil, cli.UsageError{Err: fmt.Errorf("--log-format is json or text, not %q", format)}
}

func devCommand() *cobra.Command {
	var o app.DevOptions
	var credentials string
	var verbose bool
	c := &cobra.Command{
		Use: "dev", Short: "Run a whole Forge on this machine, with a demo organisation", Args: cobra.NoArgs,
		Long: `Runs a private PostgreSQL, an emulated Amazon, the API and the workers below one
directory, with a demo organisation in it. Ctrl-C ends everything; the next start goes on
where it was. It needs the PostgreSQL server's programs on this machine (15 or later).`,
		Example: `  forge dev
  forge dev --listen 127.0.0.1:0 --ephemeral --credentials users.json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd, nil); err != nil {
				return err
			}
			level := slog.LevelWarn
			if verbose {
				level = slog.LevelInfo
			}
			var err error
			if o.Logger, err = logger(cmd.ErrOrStderr(), "text", level); err != nil {
				return err
			}
			o.Version = version
			o.Ready = func(info app.DevInfo) error { return devReady(cmd, info, credentials) }
			return app.Dev(cmd.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Listen, "listen", "127.0.0.1:8080", "address of the API; port 0 takes a free one")
	f.StringVar(&o.AWSListen, "aws-listen", "127.0.0.1:0", "address of the emulated Amazon")
	f.StringVar(&o.DataDir, "data-dir", ".forge", "where everything is kept")
	f.BoolVar(&o.Ephemeral, "ephemeral", false, "keep nothing: use a temporary directory and remove it at the end")
	f.Float64Var(&o.AWSSpeed, "aws-speed", 100, "how many times faster than Amazon the emulator works; its timestamps stay true")
	f.StringVar(&credentials, "credentials", "", "write addresses and the demo users' tokens to this file, as JSON")
	f.BoolVarP(&verbose, "verbose", "v", false, "log every request")
	return c
}

// devReady tells people and scripts where everything is, and makes the client work in the next terminal.
func devReady(cmd *cobra.Command, info app.DevInfo, credentials string) error {
	if credentials != "" {
		if err := app.WriteSecret(credentials, info); err != nil {
			return fmt.Errorf("--credentials: %w", err)
		}
	}
	config, path, err := cli.LoadConfig()
	if err != nil {
		return err
	}
	if config.Contexts == nil {
		config.Contexts = map[string]cli.Context{}
	}
	for context, user := range map[string]string{"dev": "ada", "lead": "lead-backend", "contractor": "contractor", "finance": "finance", "auditor": "auditor", "admin": "admin"} {
		for _, u := range info.Users {
			if u.User == user {
				config.Contexts[context] = cli.Context{API: info.API, Token: u.Token}
			}
		}
	}
	config.Current = "dev"
	if err := config.Save(path); err != nil {
		return fmt.Errorf("writing the client's contexts: %w", err)
	}
	w := bufio.NewWriter(cmd.OutOrStdout())
	fmt.Fprintf(w, `
RobCo Forge is ready.

  API             %s   (docs at %s/docs)
  emulated AWS    %s
  signed in as    ada, an engineer   (other contexts: lead, contractor, finance, auditor, admin)

Try, in a second terminal:

  forge launch --blueprint go-dev --bundle PERFORMANCE --wait
  forge costs
  forge audit list --context auditor

Ctrl-C ends everything.
`, info.API, info.API, info.AWS)
	return w.Flush()
}

type serverFlags struct {
	cfg                         app.Config
	embedded                    bool
	dataDir, keysDir, logFormat string
	proxies, witnesses          []string
	archive, archiveEndpoint    string
	pins                        string
	aws                         awsFlags
}

func (s *serverFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.cfg.DatabaseURL, "database-url", "", "PostgreSQL of the application's role (also DATABASE_URL)")
	f.StringVar(&s.cfg.MigrateURL, "migrate-database-url", "", "PostgreSQL of the owner, for migrations; the same when left out")
	f.BoolVar(&s.cfg.AutoMigrate, "auto-migrate", false, "apply pending migrations at start")
	f.BoolVar(&s.embedded, "embedded", false, "run a private PostgreSQL below --data-dir instead")
	f.StringVar(&s.dataDir, "data-dir", "/var/lib/forge", "where --embedded keeps its database")
	f.Int32Var(&s.cfg.MaxConns, "max-connections", 20, "most connections to the database")
	f.StringVar(&s.keysDir, "keys-dir", "", "directory of the audit keys (forge audit key generate); required")
	f.StringVar(&s.cfg.AuditOrigin, "audit-origin", "", "name of this installation's audit log, such as forge.example.com/audit; required, never changed")
	f.StringVar(&s.archive, "audit-archive", "", "where months of the audit log are archived: a directory, or s3://BUCKET/PREFIX")
	f.StringVar(&s.archiveEndpoint, "audit-archive-endpoint", "", "address of an S3-compatible server for them, if it is not Amazon's")
	f.StringVar(&s.pins, "audit-pins", "", "where signed checkpoints of the audit log are kept, elsewhere than in the database: a directory, or s3://BUCKET/PREFIX; a log that was set back is then noticed")
	f.StringArrayVar(&s.witnesses, "audit-witness", nil, "URL=KEY of a witness that the audit log's checkpoints are shown to (forge audit witness); may be repeated")
	f.StringVar(&s.cfg.AWSEndpoint, "aws-endpoint", "", "another address than Amazon's, such as an emulator's")
	f.StringVar(&s.cfg.PricingEndpoint, "aws-pricing-endpoint", "", "another address of the Price List API; --aws-endpoint's, or Amazon's, when left out")
	f.Float64Var(&s.cfg.AWSRate, "aws-rate", desktop.AmazonRate, "calls a second to Amazon in each region, of all replicas together; Amazon's limit is 2")
	f.StringVar(&s.cfg.AWSAccount, "aws-account", "default", "name of the AWS account; servers with the same name share --aws-rate")
	f.IntVar(&s.cfg.AWSSpeed, "aws-speed", 1, "how many times faster than Amazon --aws-endpoint works: an emulator's --speed")
	s.aws.register(c)
	f.StringVar(&s.cfg.Listen, "listen", "127.0.0.1:8080", "address to serve on; port 0 takes a free one")
	f.BoolVar(&s.cfg.Workers, "workers", true, "run the background loops in this process")
	f.BoolVar(&s.cfg.API, "api", true, "serve the API from this process")
	f.StringSliceVar(&s.proxies, "trusted-proxies", nil, "networks whose X-Forwarded-For is believed, such as 10.0.0.0/8")
	f.Float64Var(&s.cfg.TokenRate, "token-rate", 50, "requests a second for each token")
	f.Float64Var(&s.cfg.AddressRate, "address-rate", 20, "requests a second for each address without a valid token")
	s.notify(f)
	f.StringVar(&s.logFormat, "log-format", "json", "json or text")
}

// notify registers the channels over which people are told of things. Most have secrets: the environment keeps them out of
// the list of processes.
func (s *serverFlags) notify(f *pflag.FlagSet) {
	n := &s.cfg.Notify
	f.StringVar(&n.SMTPURL, "smtp-url", "", "mail server, such as smtp://user:password@host:587 (STARTTLS) or smtps://…:465")
	f.StringVar(&n.SMTPFrom, "smtp-from", "", "sender of e-mail, such as 'RobCo Forge <forge@example.com>'")
	f.StringVar(&n.WebhookURL, "webhook-url", "", "address that every message is posted to, signed")
	f.StringSliceVar(&n.WebhookSecrets, "webhook-secret", nil, "whsec_… that signs them; two while one replaces the other")
	f.StringVar(&n.SlackURL, "slack-url", "", "incoming webhook of Slack's for every message")
	f.StringSliceVar(&n.TeamSlackURLs, "slack-team-url", nil, "TEAM=URL: one for the messages to a team")
	f.DurationVar(&n.GiveUpAfter, "notify-give-up-after", notify.GiveUpAfter, "how long a message is tried")
}

// resolve checks the configuration and completes it. Everything that is wrong is said with what to do.
func (s *serverFlags) resolve(cmd *cobra.Command) (err error) {
	if err := fromEnvironment(cmd, map[string]string{"database-url": "DATABASE_URL"}); err != nil {
		return err
	}
	if s.cfg.Logger, err = logger(cmd.ErrOrStderr(), s.logFormat, slog.LevelInfo); err != nil {
		return err
	}
	s.cfg.Version = version
	var wrong []error
	if s.cfg.DatabaseURL == "" && !s.embedded {
		wrong = append(wrong, errors.New("no database: set DATABASE_URL or --database-url, or give --embedded"))
	}
	if s.cfg.DatabaseURL != "" && s.embedded {
		wrong = append(wrong, errors.New("--embedded and a database address exclude each other"))
	}
	if s.cfg.AuditOrigin == "" {
		wrong = append(wrong, errors.New("--audit-origin is required: a name for this installation's audit log, such as forge.example.com/audit"))
	}
	if s.keysDir == "" {
		wrong = append(wrong, errors.New("--keys-dir is required; make one with: forge audit key generate --keys-dir DIR"))
	} else if s.cfg.Keys, err = audit.LoadKeys(s.keysDir); err != nil {
		wrong = append(wrong, err)
	}
	if s.cfg.Directories, err = s.aws.resolve(); err != nil {
		wrong = append(wrong, err)
	}
	for _, p := range s.proxies {
		prefix, err := netip.ParsePrefix(p)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--trusted-proxies: %w", err))
			continue
		}
		s.cfg.TrustedProxies = append(s.cfg.TrustedProxies, prefix)
	}
	for _, text := range s.witnesses {
		w, err := witness.ParsePeer(text, &http.Client{Timeout: 10 * time.Second})
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--audit-witness: %w", err))
			continue
		}
		s.cfg.AuditWitnesses = append(s.cfg.AuditWitnesses, w)
	}
	if _, err := s.cfg.Notify.Open(); err != nil {
		wrong = append(wrong, err)
	}
	if s.cfg.AWSRate <= 0 || s.cfg.TokenRate <= 0 || s.cfg.AddressRate <= 0 {
		wrong = append(wrong, errors.New("rates must be above zero"))
	}
	if s.cfg.AWSSpeed < 1 || s.cfg.AWSSpeed > 1 && s.cfg.AWSEndpoint == "" {
		wrong = append(wrong, errors.New("--aws-speed is 1 or more, and Amazon itself works at 1: it goes with --aws-endpoint"))
	}
	if len(wrong) > 0 {
		return cli.UsageError{Err: errors.Join(wrong...)}
	}
	return nil
}

// open builds the Forge of the flags; stop ends the embedded database, if there is one.
func (s *serverFlags) open(ctx context.Context) (f *app.Forge, stop func() error, err error) {
	stop = func() error { return nil }
	if s.embedded {
		pg, err := app.StartEmbedded(ctx, s.dataDir, false, version, s.cfg.Logger)
		if err != nil {
			return nil, nil, err
		}
		s.cfg.DatabaseURL, s.cfg.MigrateURL = pg.AppURL, pg.OwnerURL
		stop = func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
			defer cancel()
			return pg.Stop(ctx)
		}
	}
	if s.cfg.AuditArchive, err = openArchive(ctx, s.archive, s.archiveEndpoint); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	if s.cfg.AuditPins, err = openPins(ctx, s.pins, s.archiveEndpoint); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	if f, err = app.New(ctx, s.cfg); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return f, stop, nil
}

func serverCommand() *cobra.Command {
	var s serverFlags
	c := &cobra.Command{
		Use: "server", Short: "Run Forge for an organisation", Args: cobra.NoArgs,
		Long: `Serves the API and runs the workers. Every flag is also an environment variable:
--audit-origin is FORGE_AUDIT_ORIGIN; the database is also DATABASE_URL. Amazon is found by the
standard credential chain. Any number of processes may run on one database.`,
		Example: `  forge audit key generate --keys-dir /etc/forge/keys
  DATABASE_URL=postgres://forge_app@db/forge forge server \
    --keys-dir /etc/forge/keys --audit-origin forge.example.com/audit --aws-directory us-east-1=d-9067012345`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := s.resolve(cmd); err != nil {
				return err
			}
			if len(s.cfg.Directories) == 0 {
				return cli.UsageError{Err: errNoDirectory}
			}
			ctx := cmd.Context()
			f, stop, err := s.open(ctx)
			if err != nil {
				return err
			}
			defer func() { f.Close(); err = errors.Join(err, stop()) }()
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Listen)
			if err != nil {
				return err
			}
			s.cfg.Logger.Info("serving", "address", l.Addr().String(), "api", s.cfg.API, "workers", s.cfg.Workers, "version", version)
			return f.Serve(ctx, l)
		},
	}
	s.register(c)
	return c
}

func adminCommand() *cobra.Command {
	var s serverFlags
	var user, email string
	boot := &cobra.Command{
		Use: "bootstrap", Short: "Make the first admin and print a token, once", Args: cobra.NoArgs,
		Example: `  forge admin bootstrap --user root --email root@example.com --keys-dir /etc/forge/keys --audit-origin forge.example.com/audit`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := s.resolve(cmd); err != nil {
				return err
			}
			s.cfg.Workers, s.cfg.API = false, false
			f, stop, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { f.Close(); err = errors.Join(err, stop()) }()
			secret, err := f.Bootstrap(cmd.Context(), user, email)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), secret)
			return err
		},
	}
	s.register(boot)
	boot.Flags().StringVar(&user, "user", "admin", "the admin's directory user name")
	boot.Flags().StringVar(&email, "email", "admin@localhost.localdomain", "the admin's e-mail address")
	c := &cobra.Command{Use: "admin", Short: "Set up an installation"}
	c.AddCommand(boot)
	return c
}

func openapiCommand() *cobra.Command {
	return &cobra.Command{
		Use: "openapi", Short: "Print the API's description (OpenAPI 3.1, YAML)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := httpapi.New(httpapi.Config{Version: "1"}).OpenAPI()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(b)
			return err
		},
	}
}

func auditKeyCommand() *cobra.Command {
	var dir string
	generate := &cobra.Command{
		Use: "generate", Short: "Make the audit keys of an installation; keys that are there stay", Args: cobra.NoArgs,
		Example: `  forge audit key generate --keys-dir /etc/forge/keys`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd, nil); err != nil {
				return err
			}
			if dir == "" {
				return cli.UsageError{Err: errors.New("--keys-dir is required")}
			}
			if err := audit.GenerateKeys(dir); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "keys are in", dir)
			return err
		},
	}
	generate.Flags().StringVar(&dir, "keys-dir", "", "where to put them")
	c := &cobra.Command{Use: "key", Short: "Keys of the audit log"}
	c.AddCommand(generate, auditKeyRotateCommand(), auditKeyPublicCommand())
	return c
}
