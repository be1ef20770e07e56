// Command forge is RobCo Forge: the server, and the client of engineers, in one binary.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // schedules have time zones, wherever this runs

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/robco-forge/forge/internal/cli"
)

// version is set when the program is built.
var version = "dev"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		cli.PrintError(os.Stderr, err)
		return cli.ExitCode(err)
	}
	return 0
}

// root is the whole command tree.
func root() *cobra.Command {
	c := &cobra.Command{
		Use: "forge", Short: "Self-service cloud workstations, within what was decided, on record", Version: version,
		Long: `RobCo Forge gives engineers a cloud workstation in one call, from a team's blueprint,
within the budgets, with everything on record.

To try it on this machine:   forge dev
Then, in a second terminal:  forge launch --blueprint go-dev --bundle PERFORMANCE --wait`,
		SilenceErrors: true, SilenceUsage: true,
	}
	c.AddGroup(&cobra.Group{ID: "client", Title: "For engineers:"}, &cobra.Group{ID: "server", Title: "To run Forge:"}, &cobra.Group{ID: "offline", Title: "Without a server:"})
	c.AddCommand(cli.Commands(cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, version)...)
	for _, s := range []*cobra.Command{devCommand(), serverCommand(), migrateCommand(), adminCommand(), awsCommand(), emulatorCommand()} {
		s.GroupID = "server"
		c.AddCommand(s)
	}
	open := openapiCommand()
	open.GroupID = "offline"
	c.AddCommand(open)
	for _, sub := range c.Commands() {
		if sub.Name() == "audit" {
			sub.AddCommand(auditKeyCommand(), auditPartitionsCommand(), auditVerifyCommand(), auditWitnessCommand(), auditArchiveCommand(), auditHoldCommand())
		}
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return cli.UsageError{Err: err} })
	return c
}

// fromEnvironment fills every flag that was not given from its variable: --foo-bar from FORGE_FOO_BAR.
func fromEnvironment(cmd *cobra.Command, also map[string]string) error {
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		name := "FORGE_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if other := also[f.Name]; !ok && other != "" {
			name = other
			value, ok = os.LookupEnv(other)
		}
		if !ok || f.Changed || failed != nil {
			return
		}
		if err := cmd.Flags().Set(f.Name, value); err != nil {
			failed = cli.UsageError{Err: fmt.Errorf("%s: %w", name, err)}
		}
	})
	return failed
}
