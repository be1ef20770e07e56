package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"forge": func() { os.Exit(run()) }})
}

// TestScripts runs the program as people do, against a whole Forge.
func TestScripts(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	ready := make(chan app.DevInfo, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- app.Dev(ctx, app.DevOptions{
			Listen: "127.0.0.1:0", AWSListen: "127.0.0.1:0", Ephemeral: true, AWSSpeed: 900, Version: "test", Logger: slog.New(slog.DiscardHandler),
			Ready: func(i app.DevInfo) error { ready <- i; return nil },
		})
	}()
	var info app.DevInfo
	select {
	case info = <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	contexts := map[string]cli.Context{}
	for _, u := range info.Users {
		contexts[u.User] = cli.Context{API: info.API, Token: u.Token}
	}
	signed(t, info.API, contexts["auditor"].Token)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			path := filepath.Join(e.WorkDir, "config.yaml")
			e.Setenv("FORGE_CONFIG", path)
			e.Setenv("API", info.API)
			e.Setenv("MONTH", time.Now().UTC().Format("2006-01"))
			e.Setenv("AMAZON", info.AWS)
			e.Setenv("DATABASE", info.DatabaseURL)
			e.Setenv("KEYS", info.KeysDir)
			e.Setenv("AUDITOR", contexts["auditor"].Token)
			return cli.Config{Current: "ada", Contexts: contexts}.Save(path)
		},
	})
}

// signed waits until the audit log has a checkpoint: some scripts begin with it.
func signed(t *testing.T, api, token string) {
	t.Helper()
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, api+"/api/v1/audit/log/checkpoint", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			tick.Stop()
			return
		}
	}
}

// TestGoldenHelp keeps the list of commands as people know it.
func TestGoldenHelp(t *testing.T) {
	var b strings.Builder
	c := root()
	c.SetOut(&b)
	c.SetArgs([]string{"--help"})
	if err := c.Execute(); err != nil {
		t.Fatal(err)
	}
	const path = "testdata/help.txt"
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(have), b.String()); d != "" {
		t.Fatalf("the help has changed; look at it, then run make gen:\n%s", d)
	}
}
