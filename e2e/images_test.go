package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/blueprint/spec"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/workspace"
)

const (
	abroad          = "eu-west-1"
	abroadDirectory = "d-9367000002"
)

// studio is a Forge in two regions whose clock is Amazon's, at Amazon's real speed, and a golden WorkSpace in the first. What the
// background loops do is done when the test says so, and they can die between any two instructions.
type studio struct {
	*rig
	clock      *clock.Manual
	url        string
	forge      *app.Forge
	reconciler *workspace.Reconciler
	images     *blueprint.Images
	fate       *fate
	golden     string
}

func newStudio(t *testing.T) *studio {
	t.Helper()
	virtual := clock.At(time.Now().Truncate(time.Hour))
	r := newRig(t, 1, func(c *emulator.Config) {
		c.Now = virtual.Now
		c.Directories = append(c.Directories, emulator.Directory{ID: abroadDirectory, Region: abroad, Name: "corp.example.com", Users: []string{emulator.AnyUser}})
	})
	r.clock = virtual.Now
	s := &studio{rig: r, clock: virtual, fate: &fate{}}
	cfg := r.server(rigConfig{DatabaseURL: r.pg.AppURL, AWS: r.aws, Speed: 1, Rate: 5000})
	cfg.Clock, cfg.Workers, cfg.Tracer = virtual.Now, false, s.fate
	cfg.AWSTransport = func(next http.RoundTripper) http.RoundTripper { return mortalTransport{s.fate, next} }
	cfg.Directories = append(cfg.Directories, workspace.Directory{Region: abroad, ID: abroadDirectory})
	var err error
	if s.forge, err = app.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.forge.Close)
	server := httptest.NewServer(s.forge.API)
	t.Cleanup(server.Close)
	s.url = server.URL
	log := slog.New(slog.DiscardHandler)
	s.reconciler = &workspace.Reconciler{Fleet: s.forge.Fleet, Log: s.forge.Log, Clock: virtual.Now, Slog: log}
	s.images = s.forge.Fleet.Images
	out, err := s.in(rigRegion).CreateWorkspaces(t.Context(), &workspaces.CreateWorkspacesInput{Workspaces: []types.WorkspaceRequest{{
		BundleId: aws.String("wsb-v26vg2847"), DirectoryId: aws.String(rigDirectory), UserName: aws.String("golden"),
		WorkspaceProperties: &types.WorkspaceProperties{RunningMode: types.RunningModeAlwaysOn},
	}}})
	if err != nil || len(out.PendingRequests) != 1 {
		t.Fatalf("%+v %v", out, err)
	}
	s.golden = *out.PendingRequests[0].WorkspaceId
	virtual.Advance(30 * time.Minute)
	return s
}

func (s *studio) in(region string) *workspaces.Client {
	return workspaces.New(workspaces.Options{Region: region, BaseEndpoint: &s.aws, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", "")})
}

// publish makes a public blueprint with one version.
func (s *studio) publish(name string, image *spec.Image, sizes ...string) id.BlueprintVersion {
	s.t.Helper()
	d := blueprint.Definition{
		OperatingSystem: "WINDOWS", License: "INCLUDED", BundleTypes: sizes, DefaultBundleType: sizes[0], RunningMode: "ALWAYS_ON", Image: image,
	}
	var version id.BlueprintVersion
	ctx := actor.With(s.t.Context(), actor.Operator("rig"))
	err := s.rig.forge.Log.Change(ctx, audit.Intent{Action: "blueprint.publish", ResourceType: "blueprint"}, func(tx *audit.Tx) error {
		b, err := blueprint.Create(ctx, tx, nil, name, blueprint.About{Description: "for tests"})
		if err != nil {
			return err
		}
		v, err := blueprint.AddVersion(ctx, tx, &b, d, blueprint.Source{})
		if err != nil {
			return err
		}
		version = v.ID
		_, _, err = blueprint.Promote(ctx, tx, &b, v.Number, "")
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return version
}

// work does what is due now, until nothing is or the process is dead.
func (s *studio) work() {
	s.t.Helper()
	for range 1000 {
		made, err := s.images.Round(actor.With(s.t.Context(), actor.System("images")))
		if err != nil && !s.fate.dead() {
			s.t.Fatal(err)
		}
		looked, err := s.reconciler.Round(actor.With(s.t.Context(), actor.System("reconcile")))
		if err != nil && !s.fate.dead() {
			s.t.Fatal(err)
		}
		if made+looked == 0 || s.fate.dead() {
			return
		}
	}
	s.t.Fatal("the loops do not come to rest")
}

// until lets time pass in steps until it is so, for six hours at most, and says how long that took.
func (s *studio) until(what string, step time.Duration, so func() bool) time.Duration {
	s.t.Helper()
	began := s.clock.Now()
	for s.work(); !so(); s.work() {
		if s.clock.Now().Sub(began) > 6*time.Hour {
			s.t.Fatalf("not in six hours: %s", what)
		}
		s.clock.Advance(step)
	}
	return s.clock.Now().Sub(began)
}

func (s *studio) launch(user app.Credential, r client.WorkspaceCreate) client.Workspace {
	s.t.Helper()
	return launch(s.t, s.as(user), r)
}

func (s *studio) as(user app.Credential) *client.ClientWithResponses {
	s.t.Helper()
	c, err := client.NewClientWithResponses(s.url, client.WithRequestEditorFn(bearer(user.Token)))
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *studio) state(ws string) string {
	s.t.Helper()
	var state string
	if err := s.db.QueryRow(s.t.Context(), `SELECT state FROM workspaces WHERE id = $1`, ws).Scan(&state); err != nil {
		s.t.Fatal(err)
	}
	return state
}

// own lists the images and the bundles that the account has in a region.
func (s *studio) own(region string) (images []types.WorkspaceImage, bundles []types.WorkspaceBundle) {
	s.t.Helper()
	c := s.in(region)
	for token := (*string)(nil); ; {
		out, err := c.DescribeWorkspaceImages(s.t.Context(), &workspaces.DescribeWorkspaceImagesInput{NextToken: token})
		if err != nil {
			s.t.Fatal(err)
		}
		images = append(images, out.Images...)
		if token = out.NextToken; token == nil {
			break
		}
	}
	for token := (*string)(nil); ; {
		out, err := c.DescribeWorkspaceBundles(s.t.Context(), &workspaces.DescribeWorkspaceBundlesInput{NextToken: token})
		if err != nil {
			s.t.Fatal(err)
		}
		bundles = append(bundles, out.Bundles...)
		if token = out.NextToken; token == nil {
			return images, bundles
		}
	}
}

func (s *studio) goldenImage() *spec.Image {
	return &spec.Image{Golden: &spec.Golden{Region: rigRegion, Workspace: s.golden}}
}

// fate counts what lies between two instructions of the loops that can be seen from outside, and at one of them the process is dead:
// nothing that it does from then on reaches the database or Amazon.
type fate struct {
	mu    sync.Mutex
	n, at int64
	gone  bool
	where string
}

var errDead = errors.New("the process is dead")

// dies has it die at a boundary, counted from now on; 0 is never.
func (f *fate) dies(at int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n, f.at, f.gone, f.where = 0, at, false, ""
}

func (f *fate) dead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gone
}

// pass passes a boundary and tells whether it was survived.
func (f *fate) pass(ctx context.Context, what string) bool {
	if actor.From(ctx).Type != actor.TypeSystem {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n++; f.n == f.at {
		f.gone, f.where = true, what
	}
	return !f.gone
}

type fateKey struct{}

func (f *fate) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	what := short(data.SQL)
	ctx = context.WithValue(ctx, fateKey{}, what)
	if !strings.Contains(data.SQL, "SKIP LOCKED") && !f.pass(ctx, "before "+what) || f.dead() && actor.From(ctx).Type == actor.TypeSystem {
		dead, cancel := context.WithCancelCause(ctx)
		cancel(errDead)
		return dead
	}
	return ctx
}

func (f *fate) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	what, _ := ctx.Value(fateKey{}).(string)
	if data.Err == nil && data.CommandTag.String() != "UPDATE 0" {
		f.pass(ctx, "after "+what)
	}
}

func (f *fate) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	if f.pass(ctx, "before a batch") {
		return ctx
	}
	dead, cancel := context.WithCancelCause(ctx)
	cancel(errDead)
	return dead
}

func (f *fate) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

func (f *fate) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchEndData) {
	f.pass(ctx, "after a batch")
}

type mortalTransport struct {
	f    *fate
	next http.RoundTripper
}

func (m mortalTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "WorkspacesService.")
	if !m.f.pass(r.Context(), "before the call "+op) {
		return nil, errDead
	}
	resp, err := m.next.RoundTrip(r)
	if err == nil && !m.f.pass(r.Context(), "after the call "+op) {
		_ = resp.Body.Close()
		return nil, errDead
	}
	return resp, err
}

// TestFromAGoldenWorkSpaceToOneInTwoRegions launches a version before anything of it exists at Amazon.
func TestFromAGoldenWorkSpaceToOneInTwoRegions(t *testing.T) {
	s := newStudio(t)
	s.publish("studio", s.goldenImage(), "STANDARD", "PERFORMANCE")
	users := s.users("img", 3)
	home := s.launch(users[0], client.WorkspaceCreate{Blueprint: "studio", Region: ptr(rigRegion)})
	away := s.launch(users[1], client.WorkspaceCreate{Blueprint: "studio", Region: ptr(abroad)})
	s.work()
	for user, ws := range map[int]string{0: home.Id, 1: away.Id} {
		w := show(t, s.as(users[user]), ws)
		steps := w.Provisioning.Steps
		if w.State != "PENDING" || w.StateReason != "waits for its image" || w.ErrorCode != nil || len(steps) != 2 || steps[1].Name != "image" {
			t.Fatalf("%s: %s %s %v %+v", ws, w.State, w.StateReason, w.ErrorCode, steps)
		}
		if waiting := w.Provisioning.Waiting; waiting == nil || !strings.Contains(*waiting, "waiting for image") || !strings.Contains(*waiting, "minutes") || !strings.Contains(*waiting, s.golden) {
			t.Errorf("%s: waiting %v", ws, waiting)
		}
		if e := w.Provisioning.Expected; e == nil || e.TypicalSeconds < 45*60 {
			t.Errorf("%s: expected %+v; the capture alone takes 45 minutes, says Amazon", ws, e)
		}
	}
	took := s.until("both run", 15*time.Second, func() bool { return s.state(home.Id) == "AVAILABLE" && s.state(away.Id) == "AVAILABLE" })
	t.Logf("a capture, a copy, two bundles and two WorkSpaces took %s", took)
	for user, ws := range map[int]client.Workspace{0: home, 1: away} {
		w := show(t, s.as(users[user]), ws.Id)
		var names []string
		for _, step := range w.Provisioning.Steps {
			names = append(names, string(step.Name))
		}
		if !slices.Equal(names, []string{"queue", "image", "accept", "boot"}) || w.Flag != nil {
			t.Errorf("%s: steps %v, flag %v", ws.Id, names, w.Flag)
		}
		seen, err := s.in(w.Region).DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{WorkspaceIds: []string{*w.ProviderId}})
		if err != nil || len(seen.Workspaces) != 1 {
			t.Fatal(seen, err)
		}
		images, bundles := s.own(w.Region)
		if len(images) != 1 || len(bundles) != 1 || *bundles[0].ImageId != *images[0].ImageId || *seen.Workspaces[0].BundleId != *bundles[0].BundleId {
			t.Errorf("%s: %d images, %d bundles, and it is on %s", w.Region, len(images), len(bundles), *seen.Workspaces[0].BundleId)
		}
	}
	// The next of the size waits for nothing, and one of another size for a bundle alone.
	again := s.launch(users[2], client.WorkspaceCreate{Blueprint: "studio", Region: ptr(rigRegion), BundleType: ptr(client.WorkspaceCreateBundleType("PERFORMANCE"))})
	if took := s.until("the third runs", 15*time.Second, func() bool { return s.state(again.Id) == "AVAILABLE" }); took > 25*time.Minute {
		t.Errorf("it took %s, though its image was there", took)
	}
	var ready struct{ Details json.RawMessage }
	if err := s.db.QueryRow(t.Context(), `SELECT details FROM workspace_events WHERE workspace_id = $1 AND kind = 'bundle'`, again.Id).Scan(&ready.Details); err != nil || !strings.Contains(string(ready.Details), "wsb-") {
		t.Errorf("its history does not tell its bundle: %s %v", ready.Details, err)
	}
}

// TestKilledAtAnyBoundaryAnImageIsMadeOnce takes some of the boundaries in each run; `make prove-images` takes them all.
func TestKilledAtAnyBoundaryAnImageIsMadeOnce(t *testing.T) { boundariesAroundImages(t, 5) }

// boundariesAroundImages kills the loops at every step-th boundary between the first need of a version and its bundles in two
// regions, and lets another go on: there is one image and one bundle in each.
func boundariesAroundImages(t *testing.T, step int64) {
	t.Helper()
	s := newStudio(t)
	crossed := map[string]int{}
	kills := 0
	for at := int64(1); ; at += step {
		version := s.publish(fmt.Sprintf("mortal-%d", at), s.goldenImage(), "STANDARD")
		needs := []blueprint.Need{
			{Version: version, Region: rigRegion, ComputeType: "STANDARD", WorkSpace: id.New[id.WorkSpace]()},
			{Version: version, Region: abroad, ComputeType: "STANDARD", WorkSpace: id.New[id.WorkSpace]()},
		}
		supplied := func() bool {
			all := true
			for _, n := range needs {
				got, err := s.images.Bundle(t.Context(), s.forge.Pool, n)
				if err != nil {
					t.Fatalf("boundary %d (%s): %v", at, s.fate.where, err)
				}
				all = all && got.BundleID != ""
			}
			return all
		}
		supplied()
		s.fate.dies(at)
		finished := false
		for range 2000 {
			if s.work(); s.fate.dead() {
				break
			}
			if finished = supplied(); finished {
				break
			}
			s.clock.Advance(15 * time.Minute)
		}
		where := s.fate.where
		s.fate.dies(0)
		if finished {
			if kills < 10 {
				t.Fatalf("only %d boundaries were met", kills)
			}
			t.Logf("done before boundary %d; %d kills, at %d different places", at, kills, len(crossed))
			return
		}
		kills++
		crossed[where]++
		s.until("another has made both bundles", 5*time.Minute, supplied)
		for _, region := range []string{rigRegion, abroad} {
			images, bundles := s.own(region)
			if len(images) != 1 || len(bundles) != 1 || images[0].State != types.WorkspaceImageStateAvailable {
				t.Fatalf("boundary %d (%s): %d images and %d bundles in %s", at, where, len(images), len(bundles), region)
			}
			s.discard(region, images, bundles)
		}
		for _, n := range needs {
			if err := s.images.Release(t.Context(), s.forge.Pool, n.WorkSpace); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// discard deletes what is at Amazon, so that the quotas are not what the next round meets.
func (s *studio) discard(region string, images []types.WorkspaceImage, bundles []types.WorkspaceBundle) {
	s.t.Helper()
	c := s.in(region)
	for _, b := range bundles {
		if _, err := c.DeleteWorkspaceBundle(s.t.Context(), &workspaces.DeleteWorkspaceBundleInput{BundleId: b.BundleId}); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, i := range images {
		if _, err := c.DeleteWorkspaceImage(s.t.Context(), &workspaces.DeleteWorkspaceImageInput{ImageId: i.ImageId}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestAnImageThatFailsForGoodFailsItsLaunchWithTheReason lets a capture end in ERROR, and the next launch try again later.
func TestAnImageThatFailsForGoodFailsItsLaunchWithTheReason(t *testing.T) {
	s := newStudio(t)
	s.publish("spoilt", s.goldenImage(), "STANDARD")
	users := s.users("spoilt", 3)
	s.admin(http.MethodPost, "/_emu/faults", map[string]any{"kind": "image_fails", "workspace": s.golden, "code": "DomainJoined", "message": "The WorkSpace is joined to a domain."}, nil)
	first := s.launch(users[0], client.WorkspaceCreate{Blueprint: "spoilt", Region: ptr(abroad)})
	s.until("it has failed", time.Minute, func() bool { return s.state(first.Id) == "FAILED" })
	w := show(t, s.as(users[0]), first.Id)
	if w.ErrorCode == nil || *w.ErrorCode != "IMAGE_FAILED" || !strings.Contains(*w.ErrorMessage, "DomainJoined") || !strings.Contains(*w.ErrorMessage, s.golden) {
		t.Errorf("%v %v", w.ErrorCode, w.ErrorMessage)
	}
	if images, _ := s.own(rigRegion); len(images) != 0 {
		t.Errorf("the image that failed still counts against the quota: %+v", images)
	}
	at := s.imagesOf(users[0], "spoilt", 1)
	if len(at) != 1 || at[0].Kind != "capture" || at[0].State != "FAILED" || *at[0].ErrorCode != "DomainJoined" || at[0].EndedAt == nil {
		t.Errorf("%+v", at)
	}
	var holds int
	if err := s.db.QueryRow(t.Context(), `SELECT count(*) FROM budget_holds WHERE workspace_id = $1`, first.Id).Scan(&holds); err != nil || holds != 0 {
		t.Errorf("%d holds are left, %v", holds, err)
	}
	s.clock.Advance(time.Hour)
	again := s.launch(users[1], client.WorkspaceCreate{Blueprint: "spoilt", Region: ptr(rigRegion)})
	s.work()
	at = s.imagesOf(users[1], "spoilt", 1)
	if len(at) != 1 || at[0].State != "MAKING" || at[0].ReadyAt == nil || !at[0].ReadyAt.After(s.clock.Now()) {
		t.Errorf("%+v", at)
	}
	s.until("the next runs", time.Minute, func() bool { return s.state(again.Id) == "AVAILABLE" })
	at = s.imagesOf(users[1], "spoilt", 1)
	if len(at) != 2 || at[0].State != "AVAILABLE" || at[1].Kind != "bundle" || at[1].State != "AVAILABLE" || at[1].Uses != 1 || !strings.HasPrefix(*at[1].Id, "wsb-") {
		t.Errorf("%+v", at)
	}
}

// imagesOf are the images and bundles of a version, by the API.
func (s *studio) imagesOf(user app.Credential, name string, number int64) []client.BlueprintImage {
	s.t.Helper()
	out, err := s.as(user).ListBlueprintImagesWithResponse(s.t.Context(), name, number)
	if err != nil || out.JSON200 == nil {
		s.t.Fatalf("%v %s", err, out.Body)
	}
	return out.JSON200.Items
}

// TestABundleThatNobodyNeedsIsCollectedOnceItsVersionIsArchived keeps a bundle for as long as its version can be launched, and a
// while longer.
func TestABundleThatNobodyNeedsIsCollectedOnceItsVersionIsArchived(t *testing.T) {
	s := newStudio(t)
	version := s.publish("collected", s.goldenImage(), "STANDARD")
	user := s.users("collected", 1)[0]
	ws := s.launch(user, client.WorkspaceCreate{Blueprint: "collected", Region: ptr(rigRegion)})
	s.until("it runs", time.Minute, func() bool { return s.state(ws.Id) == "AVAILABLE" })
	have := func(after time.Duration) int {
		s.clock.Advance(after)
		s.work()
		s.clock.Advance(time.Minute)
		s.work()
		return len(s.bundleIDs(rigRegion))
	}
	const week = 8 * 24 * time.Hour
	archive := func() {
		t.Helper()
		if _, err := s.db.Exec(t.Context(), `
			INSERT INTO blueprint_statuses (version_id, ordinal, status, set_by, set_at)
			VALUES ($1, 3, 'archived', 'test', now())`, version); err != nil {
			t.Fatal(err)
		}
	}
	if n := have(week); n != 1 {
		t.Fatalf("%d bundles while a WorkSpace is on it", n)
	}
	end(t, s.as(user), ws.Id)
	s.until("it is gone", time.Minute, func() bool { return s.state(ws.Id) == "TERMINATED" })
	if n := have(week); n != 1 {
		t.Fatalf("%d bundles while its version can be launched", n)
	}
	archive()
	if n := have(time.Hour); n != 1 {
		t.Fatalf("%d bundles before its time of grace has passed", n)
	}
	if n := have(week); n != 0 {
		t.Fatalf("%d bundles of a version that cannot be launched", n)
	}
}

// TestKilledAtAnyBoundaryALaunchWaitsForItsImageAndRuns kills the loops at some of the boundaries between a launch that has to wait for
// its image and its WorkSpace being AVAILABLE: there is one image, one bundle and one WorkSpace, on that bundle.
func TestKilledAtAnyBoundaryALaunchWaitsForItsImageAndRuns(t *testing.T) {
	s := newStudio(t)
	users := s.users("killed", 30)
	kills := 0
	for at := int64(3); ; at += 37 {
		name := fmt.Sprintf("killed-%d", at)
		s.publish(name, s.goldenImage(), "STANDARD")
		ws := s.launch(users[kills], client.WorkspaceCreate{Blueprint: name, Region: ptr(rigRegion)}).Id
		s.fate.dies(at)
		for s.work(); !s.fate.dead() && s.state(ws) != "AVAILABLE"; s.work() {
			s.clock.Advance(5 * time.Minute)
		}
		where := s.fate.where
		s.fate.dies(0)
		s.until("another has it running", 5*time.Minute, func() bool { return s.state(ws) == "AVAILABLE" })
		var bundle, provider string
		var uses int
		if err := s.db.QueryRow(t.Context(), `
			SELECT bundle_id, provider_id, (SELECT count(*) FROM aws_bundle_uses WHERE workspace_id = w.id)
			FROM workspaces w
			WHERE id = $1`, ws).Scan(&bundle, &provider, &uses); err != nil || uses != 1 {
			t.Fatalf("boundary %d (%s): it keeps %d bundles, %v", at, where, uses, err)
		}
		seen, err := s.in(rigRegion).DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(rigDirectory), UserName: &users[kills].User})
		if err != nil || len(seen.Workspaces) != 1 || *seen.Workspaces[0].BundleId != bundle || *seen.Workspaces[0].WorkspaceId != provider {
			t.Fatalf("boundary %d (%s): Amazon has %+v, %v", at, where, seen, err)
		}
		if images, bundles := s.own(rigRegion); len(images) != kills+1 || len(bundles) != kills+1 {
			t.Fatalf("boundary %d (%s): %d images and %d bundles of %d versions", at, where, len(images), len(bundles), kills+1)
		}
		if where == "" {
			if kills < 3 {
				t.Fatalf("only %d boundaries were met", kills)
			}
			t.Logf("done before boundary %d; %d kills", at, kills)
			return
		}
		kills++
	}
}
