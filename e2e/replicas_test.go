package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/postgres/migrate"
	"github.com/robco-forge/forge/internal/workspace"
)

// replica runs a second server on the same database and the same Amazon, as production does, until stop is called.
func replica(t *testing.T) (url string, stop func()) {
	t.Helper()
	keys, err := audit.LoadKeys(forge.KeysDir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := app.New(t.Context(), app.Config{
		DatabaseURL: forge.DatabaseURL, Keys: keys, AuditOrigin: "forge.local/audit", AWSEndpoint: forge.AWS, AWSRate: 100, AWSSpeed: 600, MaxConns: 10,
		Directories: []workspace.Directory{{Region: "us-east-1", ID: "d-9067000001"}}, Workers: true, API: true, Logger: slog.New(slog.DiscardHandler),
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
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-served; err != nil {
				t.Errorf("the replica did not drain: %v", err)
			}
			f.Close()
		})
	}
	t.Cleanup(stop)
	return "http://" + l.Addr().String(), stop
}

func TestTwoServersShareTheWorkAndEndingOneLosesNothing(t *testing.T) {
	url, stop := replica(t)
	c, err := client.NewClientWithResponses(url, client.WithRequestEditorFn(bearer(token(t, "sophie"))))
	if err != nil {
		t.Fatal(err)
	}
	w := launch(t, c, client.WorkspaceCreate{Blueprint: "notebooks"})
	other := launch(t, as(t, "tim"), client.WorkspaceCreate{Blueprint: "notebooks"})
	stop() // in the middle of provisioning
	reaches(t, as(t, "sophie"), w.Id, "AVAILABLE")
	reaches(t, as(t, "tim"), other.Id, "AVAILABLE")
}

// A release that is to come changes the schema while this one serves, and this one is started again on it.
func TestAServerServesOnANewerSchemaThatDoesNotExcludeIt(t *testing.T) {
	next := migrate.Newest() + 1
	newer, err := migrate.Load(fstest.MapFS{fmt.Sprintf("%05d_next.sql", next): &fstest.MapFile{Data: []byte(`-- forge: oldest binary 1
-- +goose Up
ALTER TABLE workspaces ADD COLUMN colour text NOT NULL DEFAULT 'grey';
CREATE INDEX workspaces_colour_idx ON workspaces (colour);
CREATE TABLE colours (name text PRIMARY KEY);
-- +goose Down
DROP TABLE colours;
ALTER TABLE workspaces DROP COLUMN colour;
`)}})
	if err != nil {
		t.Fatal(err)
	}
	files, err := migrate.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	m, err := migrate.Open(t.Context(), strings.Replace(forge.DatabaseURL, "forge_app", "forge_owner", 1), migrate.Options{Files: append(files, newer...), Program: "next"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	if done, err := m.Up(t.Context(), 0); err != nil || len(done) != 1 {
		t.Fatalf("%+v %v", done, err)
	}
	url, stop := replica(t)
	c, err := client.NewClientWithResponses(url, client.WithRequestEditorFn(bearer(token(t, "tony"))))
	if err != nil {
		t.Fatal(err)
	}
	reaches(t, as(t, "tony"), launch(t, c, client.WorkspaceCreate{Blueprint: "notebooks"}).Id, "AVAILABLE")
	stop()
	if back, err := m.Down(t.Context(), true); err != nil || back.Version != next {
		t.Errorf("%+v %v", back, err)
	}
}

func TestAServerSaysWhetherItIsReady(t *testing.T) {
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": `"ready":true`, "/metrics": "forge_http_requests_total", "/docs": "swagger", "/docs/problems": "BUDGET_EXCEEDED"} {
		if r := ask(t, "GET", path, "", nil); r.status != 200 || !strings.Contains(r.body, want) {
			t.Errorf("%s: %d %.200s", path, r.status, r.body)
		}
	}
	if r := ask(t, "GET", "/metrics", "", nil); !strings.Contains(r.body, `forge_audit_partition_months_ahead{table="audit_logs"} 24`) {
		t.Errorf("the months ahead are not told: %s", r.body)
	}
}

// A row in an overflow partition warns, and keeps nobody from working.
func TestARowInTheOverflowWarnsAndNothingMore(t *testing.T) {
	c, err := pgx.Connect(t.Context(), strings.Replace(forge.DatabaseURL, "forge_app", "forge_owner", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context()) //nolint:errcheck // nothing is lost with it
	const where = ` audit_personal_data WHERE subject_id = 'overflow'`
	if _, err := c.Exec(t.Context(), `
		INSERT INTO audit_personal_data (entry_id, timestamp, subject_id, key_generation, sealed)
		VALUES (gen_random_uuid(), '1999-12-31', 'overflow', 1, '')`); err != nil {
		t.Fatal(err)
	}
	if r := ask(t, "GET", "/readyz", "", nil); r.status != 200 || !strings.Contains(r.body, "audit_personal_data_past has 1 rows") || !strings.Contains(r.body, `"ready":true`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if _, err := c.Exec(t.Context(), `DELETE FROM`+where); err != nil {
		t.Fatal(err)
	}
	if r := ask(t, "GET", "/readyz", "", nil); strings.Contains(r.body, "has 1 rows") {
		t.Errorf("the warning stays: %s", r.body)
	}
}
