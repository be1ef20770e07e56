package e2e

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/workspace"
)

// A server that is told where to archives the months that are over by itself, with no more than the application's rights.
func TestAServerArchivesMonthsThatAreOver(t *testing.T) {
	keys, err := audit.LoadKeys(forge.KeysDir)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), forge.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	eventually(t, "the log is signed", func() bool {
		_, err := audit.LatestCheckpoint(t.Context(), pool, false)
		return err == nil
	})
	f, err := app.New(t.Context(), app.Config{
		DatabaseURL: forge.DatabaseURL, Keys: keys, AuditOrigin: "forge.local/audit", AWSEndpoint: forge.AWS, AWSRate: 100, AWSSpeed: 600, MaxConns: 10,
		Directories: []workspace.Directory{{Region: "us-east-1", ID: "d-9067000001"}}, Workers: true, AuditArchive: archive.Dir(t.TempDir()), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- f.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		f.Close()
	})
	eventually(t, "January 2026 is archived", func() bool {
		months, err := audit.Months(t.Context(), pool, time.Now())
		return err == nil && len(months) > 0 && months[0].State == audit.MonthVerified
	})
}
