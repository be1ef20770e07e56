package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/app"
)

// crashes is how often the whole process is killed in `make test`; `make prove-foundation` does it twenty times.
const crashes = 3

func TestAKilledForgeGivesEveryRequestExactlyOneWorkSpace(t *testing.T) { crash(t, crashes, 1) }

// crash kills a whole Forge (API, workers, database and emulated Amazon in one process) at a random moment of a
// provisioning, round by round, and checks after each restart that the request has come to exactly one WorkSpace.
func crash(t *testing.T, rounds int, seed uint64) {
	t.Helper()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))     //nolint:gosec // repeatable on purpose
	dir, err := os.MkdirTemp("", "forge-crash-") //nolint:usetesting // the database's user cannot enter root's t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the database's user passes through
		t.Fatal(err)
	}
	p := startChild(t, dir)
	users := p.info.Users
	for round := range rounds {
		user := users[round]
		key := fmt.Sprintf("crash-%d", round)
		after := time.Duration(random.IntN(3500)) * time.Millisecond
		// The request is sent until it is answered, as a client with a key does; the process dies meanwhile or later.
		died := make(chan struct{})
		time.AfterFunc(after, func() { p.kill(); close(died) })
		id := p.request(t, user.Token, key)
		<-died
		began := time.Now()
		p = startChild(t, dir)
		if again := p.request(t, user.Token, key); id != "" && again != id {
			t.Fatalf("round %d: the repeated request answers %s, the first %s", round, again, id)
		} else {
			id = again
		}
		p.settles(t, user, id)
		t.Logf("round %d: killed after %s, exactly one and AVAILABLE %s after the restart began", round, after, time.Since(began).Round(time.Millisecond))
	}
	p.kill()
}

type process struct {
	cmd  *exec.Cmd
	info app.DevInfo
}

func startChild(t *testing.T, dir string) *process {
	t.Helper()
	ready := filepath.Join(dir, "ready.json")
	_ = os.Remove(ready)            // it may not be there
	cmd := exec.Command(os.Args[0]) //nolint:gosec,noctx // ourselves; ended by kill
	cmd.Env = append(os.Environ(), "FORGE_E2E_CHILD="+dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd}
	t.Cleanup(p.kill)
	eventually(t, "the Forge is up", func() bool {
		raw, err := os.ReadFile(ready) //nolint:gosec // our own
		return err == nil && json.Unmarshal(raw, &p.info) == nil
	})
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be dead already
	_ = p.cmd.Wait()
}

// request asks for a WorkSpace and returns its id; empty when the process died before it answered.
func (p *process) request(t *testing.T, token, key string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.info.API+"/api/v1/workspaces", bytes.NewReader([]byte(`{"blueprint":"go-dev"}`)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 500 {
		return ""
	}
	var a client.WorkspaceAdmitted
	if err := json.Unmarshal(body, &a); err != nil || resp.StatusCode != http.StatusAccepted {
		t.Fatalf("request: %s %s", resp.Status, body)
	}
	return a.Workspace.Id
}

// settles waits until the user's WorkSpace runs and checks that there is one of everything.
func (p *process) settles(t *testing.T, user app.Credential, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	db, err := pgx.Connect(ctx, p.info.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost with it
	var state, reason string
	eventually(t, id+" is AVAILABLE", func() bool {
		if err := db.QueryRow(ctx, `SELECT state, state_reason FROM workspaces WHERE id = $1`, id).Scan(&state, &reason); err != nil && !errors.Is(err, pgx.ErrNoRows) {
			t.Fatal(err)
		}
		return state == "AVAILABLE"
	})
	var rows, holds, meters, fees int
	if err := db.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM workspaces w JOIN users u ON u.id = w.user_id WHERE u.user_name = $1),
		       (SELECT count(*) FROM budget_holds WHERE workspace_id = $2),
		       (SELECT count(*) FROM usage WHERE workspace_id = $2 AND kind = 'running' AND closed_at IS NULL),
		       (SELECT count(*) FROM usage WHERE workspace_id = $2 AND kind = 'fixed_month')`, user.User, id).Scan(&rows, &holds, &meters, &fees); err != nil {
		t.Fatal(err)
	}
	if rows != 1 || holds != 1 || meters != 1 || fees != 1 {
		t.Fatalf("%s: %d rows, %d holds, %d open meters, %d fees; want one of each", id, rows, holds, meters, fees)
	}
	c := workspaces.New(workspaces.Options{Region: "us-east-1", BaseEndpoint: &p.info.AWS, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", "")})
	var directory string
	if err := db.QueryRow(ctx, `SELECT directory_id FROM workspaces WHERE id = $1`, id).Scan(&directory); err != nil {
		t.Fatal(err)
	}
	out, err := c.DescribeWorkspaces(ctx, &workspaces.DescribeWorkspacesInput{DirectoryId: &directory, UserName: aws.String(user.User)})
	if err != nil || len(out.Workspaces) != 1 {
		t.Fatalf("Amazon has %d WorkSpaces of %s, %v", len(out.Workspaces), user.User, err)
	}
	tags, err := c.DescribeTags(ctx, &workspaces.DescribeTagsInput{ResourceId: out.Workspaces[0].WorkspaceId})
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range tags.TagList {
		if *tag.Key == "forge:workspace-id" && *tag.Value == id {
			return
		}
	}
	t.Fatalf("Amazon's WorkSpace is not tagged with %s", id)
}
