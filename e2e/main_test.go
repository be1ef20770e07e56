// Package e2e walks the journeys of a user through the real thing: HTTP, PostgreSQL, and Amazon's wire protocol.
package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/app"
)

var forge app.DevInfo

func TestMain(m *testing.M) { os.Exit(run(m)) }

// child runs a Forge in a process of its own, for tests that kill it.
func child(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := app.Dev(ctx, app.DevOptions{
		Listen: "127.0.0.1:0", AWSListen: "127.0.0.1:0", DataDir: dir, AWSSpeed: 300, Version: "e2e", Logger: slog.New(slog.DiscardHandler),
		Ready: func(i app.DevInfo) error { return app.WriteSecret(filepath.Join(dir, "ready.json"), i) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "forge:", err)
		return 1
	}
	return 0
}

// run starts one Forge for all journeys; each uses people of its own.
func run(m *testing.M) int {
	if dir := os.Getenv("FORGE_E2E_CHILD"); dir != "" {
		return child(dir)
	}
	if config := os.Getenv("FORGE_E2E_SERVER"); config != "" {
		return serverChild(config)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready := make(chan struct{})
	ended := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	go func() {
		ended <- app.Dev(ctx, app.DevOptions{
			Listen: "127.0.0.1:0", AWSListen: "127.0.0.1:0", Ephemeral: true, AWSSpeed: 600, Version: "e2e", Logger: log,
			Ready: func(i app.DevInfo) error { forge = i; close(ready); return nil },
		})
	}()
	var code int
	select {
	case <-ready:
		code = m.Run()
	case err := <-ended:
		fmt.Fprintln(os.Stderr, "forge did not start:", err)
		stop()
		return 1
	}
	stop()
	if err := <-ended; err != nil {
		fmt.Fprintln(os.Stderr, "forge did not end cleanly:", err)
		return 1
	}
	return code
}

func token(t testing.TB, user string) string {
	t.Helper()
	for _, u := range forge.Users {
		if u.User == user {
			return u.Token
		}
	}
	t.Fatalf("no demo user %q", user)
	return ""
}

// as is a client signed in as a demo user.
func as(t testing.TB, user string) *client.ClientWithResponses {
	t.Helper()
	return with(t, token(t, user))
}

func with(t testing.TB, secret string) *client.ClientWithResponses {
	t.Helper()
	c, err := client.NewClientWithResponses(forge.API, client.WithRequestEditorFn(bearer(secret)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func bearer(secret string) client.RequestEditorFn {
	return func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+secret)
		return nil
	}
}

// eventually calls check until it says true, at most for a minute.
func eventually(t testing.TB, what string, check func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-deadline.C:
			t.Fatalf("not within a minute: %s", what)
		case <-tick.C:
		}
	}
}

func ptr[T any](v T) *T { return &v }
