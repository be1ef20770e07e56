// Package cli is the command line of engineers: it says to the server what they typed, and shows what it answered.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/robco-forge/forge/client"
)

// group is the heading of every command here in the list of the root, which must know it.
const group = "client"

// IO is where the commands read and write. What is a terminal is found out from the files themselves.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
}

// Commands are the client's commands, in the group "client". The version is what the server is told.
func Commands(streams IO, version string) []*cobra.Command {
	e := &env{
		IO: streams, version: version,
		inTTY: isTerminal(streams.In), outTTY: isTerminal(streams.Out), errTTY: isTerminal(streams.Err),
		pause: pause, now: time.Now,
	}
	return e.commands()
}

func (e *env) commands() []*cobra.Command {
	all := []*cobra.Command{
		e.loginCommand(), e.contextCommand(), e.whoamiCommand(),
		e.launchCommand(), e.listCommand(), e.describeCommand(), e.startCommand(), e.stopCommand(), e.rebootCommand(), e.rebuildCommand(), e.restoreCommand(), e.upgradeCommand(),
		e.updateCommand(), e.extendCommand(), e.imageCommand(), e.terminateCommand(), e.eventsCommand(), e.adoptCommand(), e.policyCommand(),
		e.blueprintCommand(), e.costsCommand(), e.budgetsCommand(), e.pricesCommand(), e.auditCommand(), e.driftCommand(), e.notificationsCommand(), e.tokenCommand(),
	}
	for _, c := range all {
		c.GroupID = group
	}
	return all
}

// env is what the commands have from the world; tests bring their own.
type env struct {
	IO
	version               string
	inTTY, outTTY, errTTY bool
	pause                 func(context.Context, time.Duration) error
	now                   func() time.Time
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// pause waits, unless the context ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// session is one run of a command.
type session struct {
	*env
	ctx    context.Context // it lives as long as the one call that it serves
	format string
	name   string // of the context, empty when the environment says it all
	target Context
	api    *client.ClientWithResponses
}

var formats = []string{"table", "json", "yaml", "csv"}

// local makes a command that needs no server; it gets only the streams and the format.
func (e *env) local(c *cobra.Command, run func(s *session, args []string) error) *cobra.Command {
	var format string
	c.Flags().StringVarP(&format, "output", "o", "table", "how to print: "+strings.Join(formats, ", "))
	usage(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(formats, format) {
			return usageError(cmd, fmt.Errorf("--output is one of %s, not %q", strings.Join(formats, ", "), format))
		}
		err := run(&session{env: e, ctx: cmd.Context(), format: format}, args)
		if u, ok := errors.AsType[UsageError](err); ok && u.Command == "" {
			return usageError(cmd, u.Err)
		}
		return err
	}
	return c
}

// remote makes a command that talks to the server of a context.
func (e *env) remote(c *cobra.Command, run func(s *session, args []string) error) *cobra.Command {
	var name string
	c.Flags().StringVar(&name, "context", "", "the context to use instead of the current one (FORGE_API and FORGE_TOKEN go before either)")
	return e.local(c, func(s *session, args []string) error {
		var err error
		if s.name, s.target, err = resolveContext(name); err != nil {
			return err
		}
		if s.api, err = e.dial(s.target); err != nil {
			return err
		}
		return run(s, args)
	})
}

// parent makes a command of which only the subcommands do something.
func parent(c *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	c.AddCommand(subs...)
	c.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0])
		}
		return nil
	}
	usage(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return c
}

// usage makes wrong arguments and flags of a command UsageErrors.
func usage(c *cobra.Command) {
	check := c.Args
	if check == nil {
		check = cobra.NoArgs
	}
	c.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError(cmd, err)
		}
		return nil
	}
	c.SetFlagErrorFunc(usageError)
}

// dial makes the API's client. It does not connect yet.
func (e *env) dial(to Context) (*client.ClientWithResponses, error) {
	if err := checkAPI(to.API); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = requestTimeout
	// A redirected token is a leaked token.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client.NewClientWithResponses(to.API, client.WithHTTPClient(&wire{
		http: &http.Client{Transport: transport, Timeout: requestTimeout, CheckRedirect: stay},
		long: &http.Client{Transport: transport, CheckRedirect: stay},
		api:  to.API, token: to.Token, agent: "forge-cli/" + e.version, pause: e.pause,
	}))
}

// decode reads an answer, which is kept as it came for those who want JSON.
func decode[T any](body []byte) (T, error) {
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		return v, hint{fmt.Errorf("the server's answer could not be read: %w", err), "check with `forge context list` that the address is that of a Forge"}
	}
	return v, nil
}

// note tells a person something that is not the command's output.
func (e *env) note(format string, args ...any) {
	_, _ = fmt.Fprintf(e.Err, format+"\n", args...) // nobody left to be told
}
