package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/cli"
)

// emulatorFlags are what the emulator can be told on the command line.
type emulatorFlags struct {
	listen      string
	directories []string
	users       []string
	cfg         emulator.Config
}

func emulatorCommand() *cobra.Command {
	var o emulatorFlags
	c := &cobra.Command{
		Use: "aws-emulator", Short: "Run only the emulated Amazon WorkSpaces", Args: cobra.NoArgs,
		Long: `Answers the Amazon WorkSpaces API, and CloudWatch's about it, so that the aws command line and the SDKs can be
pointed at it: give them its address as the endpoint and any credentials. What it does by itself, and how it is made
to fail, is under control of an admin API below /_emu/, which describes itself at /_emu/.

Nobody is asked who they are: keep it on this machine. The whole of it is in docs/emulator.md.`,
		Example: `  forge aws-emulator --speed 60 --state aws.jsonl
  forge aws-emulator --directory us-east-1=d-9067000001 --directory eu-west-1=d-93671a2b3c --users ada,grace
  forge aws-emulator --api-rate 0 --quota 1 --log-requests

  export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any AWS_REGION=us-east-1
  export AWS_ENDPOINT_URL_WORKSPACES=http://127.0.0.1:4566
  aws workspaces describe-workspace-directories
  curl -s http://127.0.0.1:4566/_emu/
  curl -s http://127.0.0.1:4566/_emu/faults -d '{"kind":"throttle","op":"CreateWorkspaces","count":2}'`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := c.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:4566", "address; port 0 takes a free one")
	f.StringVar(&o.cfg.StateFile, "state", "", "file that keeps the state; none: memory only")
	f.Float64Var(&o.cfg.Speed, "speed", 1, "how many times faster than Amazon")
	f.StringArrayVar(&o.directories, "directory", []string{"us-east-1=d-9067000001"}, "REGION=d-id of a directory; may be repeated")
	f.StringSliceVar(&o.users, "users", []string{emulator.AnyUser}, "who is in the directories, separated by commas; * is everybody")
	f.IntVar(&o.cfg.Quota, "quota", 1000, "WorkSpaces in a Region; Amazon's default is 1")
	f.Float64Var(&o.cfg.APIRate, "api-rate", 2, "calls per second that an access key may make in a Region; 0 is no limit")
	f.IntVar(&o.cfg.APIBurst, "api-burst", 5, "how many of them at once")
	f.BoolVar(&o.cfg.LogRequests, "log-requests", false, "log every request")
	return c
}

func (o *emulatorFlags) run(cmd *cobra.Command) error {
	if err := fromEnvironment(cmd, nil); err != nil {
		return err
	}
	if err := o.resolve(); err != nil {
		return cli.UsageError{Err: err}
	}
	var err error
	if o.cfg.Logger, err = logger(cmd.ErrOrStderr(), "text", slog.LevelInfo); err != nil {
		return err
	}
	emu, err := emulator.New(o.cfg)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", o.listen)
	if err != nil {
		return errors.Join(err, emu.Close())
	}
	fmt.Fprintf(cmd.OutOrStdout(), "emulated Amazon WorkSpaces at http://%s (%s)\n", l.Addr(), strings.Join(o.directories, ", "))
	return errors.Join(serveUntil(cmd.Context(), l, emu), emu.Close())
}

// resolve makes the configuration of the flags.
func (o *emulatorFlags) resolve() error {
	if o.cfg.Quota < 1 {
		return fmt.Errorf("--quota must be above zero, not %d", o.cfg.Quota)
	}
	if o.cfg.APIBurst < 1 {
		return fmt.Errorf("--api-burst must be above zero, not %d", o.cfg.APIBurst)
	}
	for _, given := range o.directories {
		region, id, ok := strings.Cut(given, "=")
		if !ok || region == "" || !strings.HasPrefix(id, "d-") {
			return fmt.Errorf("--directory is REGION=d-id, not %q", given)
		}
		o.cfg.Directories = append(o.cfg.Directories, emulator.Directory{Region: region, ID: id, Name: "corp.example.com", Users: o.users})
	}
	return nil
}

// serveUntil answers until ctx ends, and then for some seconds what was asked before.
func serveUntil(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		return server.Close() // what does not end in time is broken off
	}
	return nil
}
