// Command retention lets an audit log live through eighty-five months of archiving. The proof is a test behind the tag prove
// of internal/audit, whose reduction runs with the other tests.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "retention:", err)
		os.Exit(1)
	}
}

// run builds the test and runs it by itself, so that what it says is seen as it says it.
func run(ctx context.Context, args []string) (err error) {
	dir, err := os.MkdirTemp("", "forge-retention-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program := filepath.Join(dir, "retention.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "prove", "-o", program, "./internal/audit")
	prove := exec.CommandContext(ctx, program, append([]string{"-test.run", "^TestProveRetention$", "-test.v", "-test.timeout", "0"}, args...)...) //nolint:gosec // what was just built
	prove.Dir = filepath.Join("internal", "audit")
	for _, c := range []*exec.Cmd{build, prove} {
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
		if err := c.Run(); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(c.Path), err)
		}
	}
	return nil
}
