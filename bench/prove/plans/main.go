// Command plans runs the full proof of bench/plans at its full sizes. The proof is a test behind the tag prove: the programs
// of bench do not import one another, and their tests may.
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
		fmt.Fprintln(os.Stderr, "plans:", err)
		os.Exit(1)
	}
}

// run builds the test and runs it by itself, so that what it says is seen as it says it.
func run(ctx context.Context, args []string) (err error) {
	dir, err := os.MkdirTemp("", "forge-plans-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program := filepath.Join(dir, "plans.test")
	for _, c := range []*exec.Cmd{
		exec.CommandContext(ctx, "go", "test", "-c", "-tags", "prove", "-o", program, "./bench/plans"),
		exec.CommandContext(ctx, program, append([]string{"-test.run", "^TestProvePlans$", "-test.timeout", "0"}, args...)...),
	} {
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
		if err := c.Run(); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(c.Path), err)
		}
	}
	return nil
}
