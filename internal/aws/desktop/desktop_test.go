package desktop

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/workspace"
)

func TestAWorkSpaceIsLookedForMadeAndAdopted(t *testing.T) {
	b := newBench(t)
	if found := b.find("alice"); len(found) != 0 {
		t.Fatalf("found %v before anything was made", found)
	}
	s := spec("alice")
	made := b.create(s)

	want := []workspace.Observation{shown(made, "alice", "PENDING")}
	want[0].Intent, want[0].Marked = s.Intent, true
	if diff := cmp.Diff(want, b.find("ALICE")); diff != "" {
		t.Error(diff)
	}
	b.pass(time.Hour / 2)
	described, err := b.Describe(t.Context(), home, []string{made, "ws-000000000"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]workspace.Observation{made: shown(made, "alice", "AVAILABLE")}, described); diff != "" {
		t.Error(diff)
	}
}

// sentWorkspace is what CreateWorkspaces is to say of a WorkSpace, and nothing else.
type sentWorkspace struct {
	BundleId, DirectoryId, UserName string
	WorkspaceProperties             struct {
		ComputeTypeName, RunningMode        string
		Protocols                           []string
		RunningModeAutoStopTimeoutInMinutes *int
	}
	Tags []struct{ Key, Value string }
}

func lastCreate(t *testing.T, b *bench) sentWorkspace {
	t.Helper()
	bodies := b.sent("CreateWorkspaces")
	in := json.NewDecoder(strings.NewReader(bodies[len(bodies)-1]))
	in.DisallowUnknownFields()
	var sent struct{ Workspaces []sentWorkspace }
	if err := in.Decode(&sent); err != nil {
		t.Fatal(err)
	}
	if len(sent.Workspaces) != 1 {
		t.Fatalf("%d WorkSpaces in one request", len(sent.Workspaces))
	}
	return sent.Workspaces[0]
}

func TestACreateCarriesTheIntentAndAsksForWSP(t *testing.T) {
	b := newBench(t)
	s := spec("alice")
	s.Attempt = 3
	s.Tags = map[string]string{"cost-centre": "4711", "forge:workspace-id": "ws_somebodyelses"}
	b.create(s)
	sent := lastCreate(t, b)

	tags := map[string]string{}
	for _, tag := range sent.Tags {
		tags[tag.Key] = tag.Value
	}
	want := map[string]string{
		"forge:workspace-id": string(s.Intent), "forge:origin": "test-forge", "forge:attempt": "3", "cost-centre": "4711",
	}
	if !maps.Equal(tags, want) {
		t.Errorf("tags %v, want %v", tags, want)
	}
	p := sent.WorkspaceProperties
	if p.ComputeTypeName != "STANDARD" || p.RunningMode != "AUTO_STOP" || *p.RunningModeAutoStopTimeoutInMinutes != 120 {
		t.Errorf("properties %+v", p)
	}
	for _, body := range b.sent("CreateWorkspaces") {
		if strings.Contains(strings.ToUpper(body), "PCOIP") || !strings.Contains(body, `"Protocols":["WSP"]`) {
			t.Errorf("asked for %s", body)
		}
	}

	always := spec("bob")
	always.RunningMode, always.OperatingSystem, always.ComputeType = "ALWAYS_ON", "UBUNTU", "POWER"
	b.create(always)
	sent = lastCreate(t, b)
	if sent.BundleId != "wsb-dsd797g59" {
		t.Errorf("bundle %s", sent.BundleId)
	}
	if sent.WorkspaceProperties.RunningModeAutoStopTimeoutInMinutes != nil {
		t.Error("a timeout for a WorkSpace that is always on")
	}
}

func TestBundlesAreReadOnceWithAllTheirPages(t *testing.T) {
	b := newBench(t)
	b.create(spec("alice"))
	b.create(spec("bob"))
	if asked := b.sent("DescribeWorkspaceBundles"); len(asked) != 2 { // 28 bundles, 25 to a page
		t.Errorf("asked %q", asked)
	}
	if got := lastCreate(t, b).BundleId; got != "wsb-v26vg2847" { // the newest Windows Server
		t.Errorf("bundle %s", got)
	}
}

func TestAResponseThatIsLostIsAmbiguousAndTheWorkSpaceIsFound(t *testing.T) {
	b := newBench(t)
	b.fail("CreateWorkspaces", "drop_response_after_apply", 1)
	s := spec("alice")
	_, err := b.Create(t.Context(), s)
	wantClass(t, err, workspace.Ambiguous)
	if got := b.outcomes("CreateWorkspaces"); !slices.Equal(got, []string{"drop_response_after_apply"}) {
		t.Errorf("sent %v", got)
	}
	_, err = b.Create(t.Context(), s)
	wantClass(t, err, workspace.Exists)
	b.pass(10 * time.Second)
	if found := b.find("alice"); len(found) != 1 || found[0].Intent != s.Intent {
		t.Errorf("found %v", found)
	}
}

func TestWhatMayHaveHadAnEffectIsSentOnce(t *testing.T) {
	for _, kind := range []string{"http500", "drop_before_apply", "drop_response_after_apply"} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t)
			made := b.create(spec("alice"))
			b.pass(time.Hour / 2)
			ctx := t.Context()
			for _, c := range []struct {
				operation string
				call      func() error
			}{
				{"CreateWorkspaces", func() error { _, err := b.Create(ctx, spec("bob")); return err }},
				{"ModifyWorkspaceProperties", func() error { return b.Modify(ctx, home, made, workspace.Property{AutoStopMinutes: 240}) }},
				{"StopWorkspaces", func() error { return one(b.Stop(ctx, home, []string{made})) }},
				{"TerminateWorkspaces", func() error { return one(b.Terminate(ctx, home, []string{made})) }},
			} {
				before := len(b.outcomes(c.operation))
				b.fail(c.operation, kind, 1)
				wantClass(t, c.call(), workspace.Ambiguous)
				if got := b.outcomes(c.operation)[before:]; !slices.Equal(got, []string{kind}) {
					t.Errorf("%s: sent %v", c.operation, got)
				}
			}
		})
	}
}

func TestWhatIsThrottledIsSentAgainThreeTimesAtMost(t *testing.T) {
	b := newBench(t)
	b.fail("CreateWorkspaces", "throttle", 2)
	b.create(spec("alice"))
	if got := b.outcomes("CreateWorkspaces"); !slices.Equal(got, []string{"ThrottlingException", "ThrottlingException", "ok"}) &&
		!slices.Equal(got, []string{"throttle", "throttle", "ok"}) {
		t.Errorf("sent %v", got)
	}
	b.fail("StartWorkspaces", "throttle", 10)
	pe := wantClass(t, one(b.Start(t.Context(), home, []string{"ws-000000000"})), workspace.Throttled)
	if pe.Code != "ThrottlingException" {
		t.Errorf("code %s", pe.Code)
	}
	if got := b.outcomes("StartWorkspaces"); len(got) != 3 {
		t.Errorf("sent %v", got)
	}
}

func TestRefusalsOfACreateHaveTheirClasses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*workspace.CreateSpec)
		class  workspace.Class
		code   string
	}{
		"user unknown":      {func(s *workspace.CreateSpec) { s.DirectoryUser = "mallory" }, workspace.Rejected, "ResourceNotFound.User"},
		"directory unknown": {func(s *workspace.CreateSpec) { s.DirectoryID = "d-0000000000" }, workspace.Blocked, "ResourceNotFound.Directory"},
		"user has one":      {func(s *workspace.CreateSpec) { s.DirectoryUser = "BOB" }, workspace.Exists, "ResourceExists.WorkSpace"},
		"no such compute":   {func(s *workspace.CreateSpec) { s.ComputeType = "GRAPHICS" }, workspace.Rejected, "BUNDLE_NOT_FOUND"},
		"no such system":    {func(s *workspace.CreateSpec) { s.OperatingSystem = "ROCKY" }, workspace.Rejected, "BUNDLE_NOT_FOUND"},
		"system not a word": {func(s *workspace.CreateSpec) { s.OperatingSystem = "BEOS" }, workspace.Rejected, "BUNDLE_NOT_FOUND"},
		"timeout":           {func(s *workspace.CreateSpec) { s.AutoStopMinutes = 61 }, workspace.Rejected, "InvalidParameterValue.AutoStopTimeout"},
		"not valid":         {func(s *workspace.CreateSpec) { s.DirectoryUser = strings.Repeat("a", 64) }, workspace.Rejected, "ValidationException"},
		"quota":             {func(*workspace.CreateSpec) {}, workspace.Blocked, "ResourceLimitExceededException"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *emulator.Config) { c.Quota = 1 })
			b.create(spec("bob"))
			s := spec("alice")
			c.change(&s)
			_, err := b.Create(t.Context(), s)
			if pe := wantClass(t, err, c.class); pe.Code != c.code || pe.Message == "" {
				t.Errorf("code %q, message %q", pe.Code, pe.Message)
			}
		})
	}
}

func TestStartStopAndTerminateAnswerForTheState(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	made := b.create(spec("alice"))
	wantClass(t, one(b.Stop(ctx, home, []string{made})), workspace.NotNow)
	wantClass(t, one(b.Start(ctx, home, []string{made})), workspace.NotNow)
	wantClass(t, b.Modify(ctx, home, made, workspace.Property{AutoStopMinutes: 60}), workspace.NotNow)
	wantClass(t, one(b.Stop(ctx, home, []string{"ws-000000000"})), workspace.Gone)
	wantClass(t, one(b.Start(ctx, home, []string{"ws-000000000"})), workspace.Gone)
	wantClass(t, b.Modify(ctx, home, "ws-000000000", workspace.Property{AutoStopMinutes: 60}), workspace.Gone)
	if err := one(b.Terminate(ctx, home, []string{"ws-000000000"})); err != nil {
		t.Errorf("terminate of what is not there: %v", err)
	}

	state := func(want string, autoStop int) {
		t.Helper()
		seen, err := b.Describe(ctx, home, []string{made})
		if err != nil {
			t.Fatal(err)
		}
		if got := seen[made]; got.State != want || got.AutoStop != autoStop {
			t.Fatalf("%+v, want %s, %d", got, want, autoStop)
		}
	}
	b.pass(time.Hour / 2)
	state("AVAILABLE", 120)
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return b.Modify(ctx, home, made, workspace.Property{AutoStopMinutes: 60}) }, "AVAILABLE"},
		{func() error { return one(b.Stop(ctx, home, []string{made})) }, "STOPPING"},
		{func() error { b.pass(5 * time.Minute); return nil }, "STOPPED"},
		{func() error { return one(b.Start(ctx, home, []string{made})) }, "STARTING"},
		{func() error { return one(b.Terminate(ctx, home, []string{made})) }, "TERMINATING"},
		{func() error { return one(b.Terminate(ctx, home, []string{made})) }, "TERMINATING"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		state(step.want, 60)
	}
	wantClass(t, b.Modify(ctx, home, made, workspace.Property{AutoStopMinutes: 60}), workspace.NotNow)

	always := spec("bob")
	always.RunningMode = "ALWAYS_ON"
	running := b.create(always)
	b.pass(time.Hour / 2)
	wantClass(t, one(b.Stop(ctx, home, []string{running})), workspace.Rejected)
	wantClass(t, b.Modify(ctx, home, running, workspace.Property{AutoStopMinutes: 60}), workspace.Rejected)
}

func TestOnlyWorkSpacesOfThisInstallationAreOurs(t *testing.T) {
	b := newBench(t)
	theirs := b.config
	theirs.Origin = "another-forge"
	s := spec("alice")
	made, err := New(theirs).Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	b.pass(10 * time.Second)
	want := []workspace.Observation{shown(made, "alice", "PENDING")}
	want[0].Marked = true
	if diff := cmp.Diff(want, b.find("alice")); diff != "" {
		t.Error(diff)
	}
	if err := one(b.Terminate(t.Context(), home, []string{made})); err != nil {
		t.Fatal(err)
	}
	want[0].State = "TERMINATING" // a stranger still
	if diff := cmp.Diff(want, b.find("alice")); diff != "" {
		t.Error(diff)
	}
}

func TestOneOfOursThatIsLeavingIsNoStranger(t *testing.T) {
	b := newBench(t)
	old := b.create(spec("alice"))
	if err := one(b.Terminate(t.Context(), home, []string{old})); err != nil {
		t.Fatal(err)
	}
	if found := b.find("alice"); len(found) != 0 {
		t.Errorf("found %v", found)
	}
	next := spec("alice")
	_, err := b.Create(t.Context(), next)
	wantClass(t, err, workspace.Exists)
	b.pass(10 * time.Minute)
	b.create(next)
	if found := b.find("alice"); len(found) != 1 || found[0].Intent != next.Intent {
		t.Errorf("found %v", found)
	}
}

func TestManyAreDescribedInOneCallAndTooManyInNone(t *testing.T) {
	b := newBench(t)
	var made []string
	for i := range 26 {
		s := spec(fmt.Sprintf("user%d", i))
		s.Region, s.DirectoryID = abroad, elsewhere
		made = append(made, b.create(s))
	}
	seen, err := b.Describe(t.Context(), abroad, made[:25])
	if err != nil || len(seen) != 25 {
		t.Errorf("described %d: %v", len(seen), err)
	}
	_, err = b.Describe(t.Context(), abroad, made)
	wantClass(t, err, workspace.Rejected)
	if seen, err = b.Describe(t.Context(), abroad, nil); err != nil || len(seen) != 0 {
		t.Errorf("described %v: %v", seen, err)
	}
	if asked := len(b.sent("DescribeWorkspaces")); asked != 1 {
		t.Errorf("%d calls", asked)
	}
	if seen, err = b.Describe(t.Context(), home, made[:25]); err != nil || len(seen) != 0 {
		t.Errorf("another Region described %v: %v", seen, err)
	}
}

func TestARefusedQuestionIsAnErrorAndNoEmptyAnswer(t *testing.T) {
	b := newBench(t)
	b.create(spec("alice"))
	for _, operation := range []string{"DescribeWorkspaces", "DescribeTags"} {
		b.fail(operation, "http500", 1)
		_, err := b.Find(t.Context(), home, directory, "alice")
		wantClass(t, err, workspace.Ambiguous)
	}
	fresh := New(b.config)
	b.fail("DescribeWorkspaceBundles", "http500", 1)
	_, err := fresh.Create(t.Context(), spec("bob"))
	wantClass(t, err, workspace.Ambiguous)
	if got := len(b.sent("CreateWorkspaces")); got != 1 {
		t.Errorf("sent %d creates", got)
	}
}

func TestAnOldListOfBundlesServesWhenNoneCanBeRead(t *testing.T) {
	b := newBench(t)
	b.create(spec("alice"))
	b.Provider.region(home).bundles.forget(t.Context())
	b.fail("DescribeWorkspaceBundles", "http500", 1)
	b.create(spec("bob"))
	b.create(workspace.CreateSpec{
		Intent: id.New[id.WorkSpace](), Region: abroad, DirectoryID: elsewhere, DirectoryUser: "carol", ComputeType: "VALUE",
		OperatingSystem: "WINDOWS", RunningMode: "AUTO_STOP",
	})
	if got := b.outcomes("DescribeWorkspaceBundles"); !slices.Equal(got, []string{"ok", "ok", "http500", "ok", "ok"}) {
		t.Errorf("asked %v", got)
	}
}

func TestACancelledCallIsAmbiguous(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantClass(t, one(b.Stop(ctx, home, []string{"ws-000000000"})), workspace.Ambiguous)
	_, err := b.Create(ctx, spec("alice"))
	wantClass(t, err, workspace.Ambiguous)
}

func TestACallWithoutATurnBeforeItsDeadlineIsNotSent(t *testing.T) {
	b := newBench(t)
	cfg := b.config
	cfg.Limiter = &Local{PerSecond: 0.001, Burst: 2}
	p := New(cfg)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 {
		wantClass(t, one(p.Stop(ctx, home, []string{"ws-000000000"})), workspace.Gone)
	}
	wantClass(t, one(p.Stop(ctx, home, []string{"ws-000000000"})), workspace.Throttled)
	if got := len(b.sent("StopWorkspaces")); got != 2 {
		t.Errorf("sent %d", got)
	}
	// Each Region has a pace of its own.
	wantClass(t, one(p.Stop(ctx, abroad, []string{"ws-000000000"})), workspace.Gone)
}

func TestEveryCallIsToldOf(t *testing.T) {
	b := newBench(t)
	b.create(spec("alice"))
	_, err := b.Create(t.Context(), spec("alice"))
	wantClass(t, err, workspace.Exists)
	var told []string
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.calls {
		if c.Took <= 0 || c.Region != home {
			t.Errorf("told of %+v", c)
		}
		told = append(told, c.Operation+" "+c.Outcome)
	}
	want := []string{"DescribeWorkspaceBundles ok", "DescribeWorkspaceBundles ok", "CreateWorkspaces ok", "CreateWorkspaces exists"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
}

func TestAProviderIsSharedByMany(t *testing.T) {
	b := newBench(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	classes := map[string]int{}
	for i := range 16 {
		all.Go(func() {
			s := spec("alice")
			if i%2 == 1 {
				s.Region, s.DirectoryID = abroad, elsewhere
			}
			_, err := b.Create(t.Context(), s)
			class := "ok"
			if err != nil {
				class = className(classIn(err))
			}
			mu.Lock()
			classes[class]++
			mu.Unlock()
		})
	}
	all.Wait()
	if want := map[string]int{"ok": 2, "exists": 14}; !maps.Equal(classes, want) {
		t.Errorf("%v, want %v", classes, want)
	}
	if got := len(b.sent("DescribeWorkspaceBundles")); got != 4 {
		t.Errorf("bundles were asked for %d times", got)
	}
}

func TestTheClientDoesNotFollowRedirectsNorWaitForEver(t *testing.T) {
	c, ok := sendOnce(nil).(*http.Client)
	if !ok || c.Timeout != httpTimeout || c.CheckRedirect(nil, nil) != http.ErrUseLastResponse {
		t.Errorf("%+v", c)
	}
}
