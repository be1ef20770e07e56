package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/audit/witness"
	"github.com/robco-forge/forge/internal/cli"
)

func auditWitnessCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "witness", Short: "Watch the audit log of a Forge, on a machine of somebody else",
		Long: `A witness signs each checkpoint of a log that follows from the one that it signed before, with the
time, and never two that contradict each other (C2SP tlog-witness). As long as the witness is in
other hands than Forge, its database and its keys, the past of the log cannot be written anew
without that being seen. It needs the log's public key and a directory of its own; it never sees
an entry, only sizes and hashes. Servers are told of it with --audit-witness URL=KEY.`,
	}
	c.AddCommand(witnessKeyCommand(), witnessServeCommand())
	return c
}

func witnessKeyCommand() *cobra.Command {
	var dir, name string
	c := &cobra.Command{
		Use: "key", Short: "Make the witness's key, if it has none, and print its public key", Args: cobra.NoArgs,
		Example: `  forge audit witness key --dir /var/lib/forge-witness --name witness.example.com/audit`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd, nil); err != nil {
				return err
			}
			if dir == "" {
				return cli.UsageError{Err: errors.New("--dir is required: where the witness keeps its key and what it has signed")}
			}
			key, err := witness.MakeKey(dir, name)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), key)
			return err
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "where the witness keeps its key and what it has signed")
	c.Flags().StringVar(&name, "name", "", "the witness's name for ever, like a URL without its scheme")
	return c
}

func witnessServeCommand() *cobra.Command {
	var dir, listen string
	var logs []string
	c := &cobra.Command{
		Use: "serve", Short: "Answer logs that ask for a signature", Args: cobra.NoArgs,
		Example: `  forge audit witness serve --dir /var/lib/forge-witness --log-key forge.pub --listen 0.0.0.0:8090

  # Forge's public key for it, and the server that is told of it:
  forge audit key public --keys-dir /etc/forge/keys --audit-origin forge.example.com/audit > forge.pub
  forge server --audit-witness "https://witness.example.com=$(forge audit witness key --dir /var/lib/forge-witness)" ...`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := fromEnvironment(cmd, nil); err != nil {
				return err
			}
			if dir == "" || len(logs) == 0 {
				return cli.UsageError{Err: errors.New("--dir and --log-key are required")}
			}
			watched := make([]verify.Keys, len(logs))
			for i, path := range logs {
				text, err := os.ReadFile(path) //nolint:gosec // the operator's own setting
				if err != nil {
					return err
				}
				if watched[i], err = verify.ParseKeys(string(text)); err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
			}
			log, err := logger(cmd.ErrOrStderr(), "text", slog.LevelInfo)
			if err != nil {
				return err
			}
			w, err := witness.Open(dir, watched, log)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.Close()) }()
			l, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", listen)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "witness %s at http://%s\n", w.PublicKey(), l.Addr())
			return serveUntil(cmd.Context(), l, w.Handler())
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "where the witness keeps its key and what it has signed")
	c.Flags().StringSliceVar(&logs, "log-key", nil, "file with the public keys of a log to watch; may be repeated")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8090", "address; port 0 takes a free one")
	return c
}
