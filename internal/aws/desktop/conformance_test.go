package desktop

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/workspace"
)

// conformanceCosts is said before anything is made at Amazon.
const conformanceCosts = `This is Amazon itself. One WorkSpace is made for %s in %s (%s): STANDARD, Windows, AUTO_STOP. It is
rebooted, stopped, started and terminated, which takes an hour or so; with FORGE_CONFORMANCE_LONG also rebuilt, restored,
captured and made PERFORMANCE, which takes a working day. Amazon charges its fee for the month, of which it may give nothing
back, and the hours: some ten dollars, or thirty. If the test is interrupted, terminate the WorkSpace by hand, and delete
its image: their tag forge:origin is %s.`

// subject is what a conformance run is about: a provider of some Amazon, and one user there who has no WorkSpace.
type subject struct {
	*Provider
	t                       *testing.T
	config                  Config
	region, directory, user string
	crowd                   []string // further users; nobody where a WorkSpace costs money
	long                    bool     // also what takes hours
	step                    time.Duration
	pass                    func(time.Duration) // lets time go by there
}

// newSubject takes the subject of the environment, and starts an emulator when that names none.
func newSubject(t *testing.T) *subject {
	t.Helper()
	s := &subject{
		t: t, region: os.Getenv("FORGE_CONFORMANCE_REGION"), directory: os.Getenv("FORGE_CONFORMANCE_DIRECTORY"),
		user: os.Getenv("FORGE_CONFORMANCE_USER"),
	}
	endpoint := os.Getenv("FORGE_CONFORMANCE_ENDPOINT")
	if endpoint == "" {
		for i := range batchSize + 1 {
			s.crowd = append(s.crowd, fmt.Sprintf("crowd%02d", i))
		}
		b := newBench(t, func(c *emulator.Config) { c.Directories[0].Users = append(c.Directories[0].Users, s.crowd...) })
		s.Provider, s.config, s.pass, s.step, s.long = b.Provider, b.config, b.pass, time.Minute, true
		s.region, s.directory, s.user = home, directory, "alice"
		return s
	}
	if s.region == "" || s.directory == "" || s.user == "" {
		t.Fatal("FORGE_CONFORMANCE_ENDPOINT needs FORGE_CONFORMANCE_REGION, _DIRECTORY and _USER: whose WorkSpace is to be made, and where")
	}
	s.long = os.Getenv("FORGE_CONFORMANCE_LONG") != ""
	s.config = Config{Endpoint: endpoint, Origin: "forge-conformance", Logger: slog.New(slog.DiscardHandler)}
	if endpoint == "aws" {
		s.config.Endpoint = ""
		t.Logf(conformanceCosts, s.user, s.directory, s.region, s.config.Origin)
	}
	var err error
	if s.config.AWS, err = LoadAWS(t.Context(), s.config.Endpoint); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	t.Cleanup(transport.CloseIdleConnections)
	s.config.AWS.HTTPClient = &http.Client{Transport: transport}
	s.Provider, s.step = New(s.config), 10*time.Second
	s.pass = func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-t.Context().Done():
		}
	}
	return s
}

// await asks until the answer is yes, and fails the test when it is not in time.
func (s *subject) await(within time.Duration, what string, yes func() bool) {
	s.t.Helper()
	for passed := time.Duration(0); !yes(); passed += s.step {
		if passed >= within {
			s.t.Fatalf("after %s it is not so that %s", passed, what)
		}
		s.pass(s.step)
	}
}

func (s *subject) state(providerID string) string {
	s.t.Helper()
	seen, err := s.Describe(s.t.Context(), s.region, []string{providerID})
	if err != nil {
		s.t.Fatal(err)
	}
	return seen[providerID].State
}

func (s *subject) awaitState(providerID, want string, within time.Duration) {
	s.t.Helper()
	last := ""
	s.await(within, "it is "+want, func() bool {
		last = s.state(providerID)
		if last == "ERROR" {
			s.t.Fatalf("it is ERROR, not %s", want)
		}
		return last == want
	})
}

func (s *subject) find(p *Provider, user string) []workspace.Observation {
	s.t.Helper()
	found, err := p.Find(s.t.Context(), s.region, s.directory, user)
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

// refusesCreate fails the test unless a create is refused with the class and, if one is given, the code.
func (s *subject) refusesCreate(p *Provider, spec workspace.CreateSpec, class workspace.Class, code string) {
	s.t.Helper()
	made, err := p.Create(s.t.Context(), spec)
	if err == nil {
		s.t.Fatalf("%s was made, which somebody must terminate", made)
	}
	if pe := wantClass(s.t, err, class); code != "" && pe.Code != code {
		s.t.Errorf("code %q, want %q", pe.Code, code)
	}
}

func (s *subject) spec(user string) workspace.CreateSpec {
	return workspace.CreateSpec{
		Intent: id.New[id.WorkSpace](), Region: s.region, DirectoryID: s.directory, DirectoryUser: user, ComputeType: "STANDARD",
		OperatingSystem: "WINDOWS", RunningMode: "AUTO_STOP", AutoStopMinutes: 60, Attempt: 2, Tags: map[string]string{"purpose": "conformance"},
	}
}

// noSuch is an id that Amazon takes for one and does not have.
const noSuch = "ws-000000000"

// TestConformance takes one WorkSpace through its life, at the emulator or at whatever Amazon the environment names, and
// holds every answer against what the reconciler relies on: see docs/aws.md.
func TestConformance(t *testing.T) {
	s := newSubject(t)
	ctx := t.Context()
	if found := s.find(s.Provider, s.user); len(found) != 0 {
		t.Fatalf("%s has a WorkSpace in %s already: %+v; name a user without", s.user, s.directory, found)
	}
	s.pagesOfBundles()
	s.refusals()

	spec := s.spec(s.user)
	made, err := s.Create(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	gone := false
	t.Cleanup(func() {
		if gone {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := s.Terminate(ctx, s.region, []string{made})[made]; err != nil {
			t.Errorf("%s is still there, terminate it: %v", made, err)
		}
	})
	if !regexp.MustCompile(`^ws-[0-9a-z]{8,63}$`).MatchString(made) {
		t.Errorf("made %q", made)
	}
	s.refusesCreate(s.Provider, spec, workspace.Exists, "")
	s.lookedFor(spec, made)
	s.beforeItRuns(made)
	s.furtherBeforeItRuns(made)

	s.awaitState(made, "AVAILABLE", time.Hour)
	s.whileItRuns(made)
	s.connected(made)
	s.tagged(spec, made)
	s.sweptUp(made)
	s.rebooted(made)
	s.stoppedAndStarted(made)
	if s.long {
		s.broughtBack(made)
		s.captured(made)
		s.resized(made)
	}

	s.terminated(spec, made)
	gone = true
	s.crowded()
}

// pagesOfBundles reads a list that Amazon gives in several pages.
func (s *subject) pagesOfBundles() {
	s.t.Helper()
	all, err := s.publicBundles(s.t.Context(), s.Provider.region(s.region))
	if err != nil {
		s.t.Fatal(err)
	}
	seen := map[string]bool{}
	for i := range all {
		seen[aws.ToString(all[i].BundleId)] = true
	}
	if len(seen) != len(all) || len(all) <= batchSize {
		s.t.Errorf("%d bundles, %d of them different; want more than a page, each once", len(all), len(seen))
	}
}

// refusals are of creates that can never be.
func (s *subject) refusals() {
	s.t.Helper()
	s.refusesCreate(s.Provider, s.spec("nobody-has-this-name"), workspace.Rejected, "ResourceNotFound.User")

	elsewhere := s.spec(s.user)
	elsewhere.DirectoryID = "d-0000000000"
	s.refusesCreate(s.Provider, elsewhere, workspace.Blocked, "")

	compute := s.spec(s.user)
	compute.ComputeType = "ABACUS"
	s.refusesCreate(s.Provider, compute, workspace.Rejected, codeNoBundle)

	// A bundle that was withdrawn since the list was read is asked for with a new list; one that is not in a list just
	// read will never be.
	for age, class := range map[time.Duration]workspace.Class{0: workspace.Rejected, 2 * bundlesDoubted: workspace.NotNow} {
		stale := New(s.config)
		list := stale.region(s.region).bundles
		list.at = time.Now().Add(-age)
		list.all = []types.WorkspaceBundle{{
			BundleId: aws.String("wsb-000000000"), Name: aws.String("Standard with Windows"), ComputeType: &types.ComputeType{Name: types.ComputeStandard},
		}}
		s.refusesCreate(stale, s.spec(s.user), class, "ResourceNotFound.Bundle")
	}
	if found := s.find(s.Provider, s.user); len(found) != 0 {
		s.t.Errorf("found %+v after nothing but refusals", found)
	}
}

// lookedFor finds what was made: as ours, as a stranger to another installation, and not as another user's.
func (s *subject) lookedFor(spec workspace.CreateSpec, made string) {
	s.t.Helper()
	var found []workspace.Observation
	s.await(5*time.Minute, "what was made is found", func() bool { found = s.find(s.Provider, s.user); return len(found) > 0 })
	for _, seen := range [][]workspace.Observation{found, s.find(s.Provider, strings.ToUpper(s.user))} {
		if len(seen) != 1 || seen[0].ProviderID != made || seen[0].Intent != spec.Intent || seen[0].AutoStop != 60 || seen[0].Protocol == "PCOIP" {
			s.t.Errorf("found %+v, want %s of %s", seen, made, spec.Intent)
		}
	}
	if found := s.find(s.Provider, "nobody-has-this-name"); len(found) != 0 {
		s.t.Errorf("somebody else has %+v", found)
	}
	theirs := s.config
	theirs.Origin = "another-forge"
	if found := s.find(New(theirs), s.user); len(found) != 1 || found[0].ProviderID != made || found[0].Intent != "" {
		s.t.Errorf("another installation sees %+v", found)
	}

	tags, err := s.tags(s.t.Context(), s.Provider.region(s.region), made)
	if err != nil {
		s.t.Fatal(err)
	}
	want := map[string]string{tagWorkSpace: string(spec.Intent), tagOrigin: s.config.Origin, tagAttempt: "2", "purpose": "conformance"}
	maps.DeleteFunc(tags, func(key, _ string) bool { return strings.HasPrefix(key, "aws:") })
	if d := cmp.Diff(want, tags); d != "" {
		s.t.Errorf("tags: %s", d)
	}

	seen, err := s.Describe(s.t.Context(), s.region, []string{noSuch, made})
	if err != nil || len(seen) != 1 || seen[made].ProviderID != made || seen[made].AutoStop != 60 {
		s.t.Errorf("described %+v: %v", seen, err)
	}
}

// beforeItRuns asks for what cannot be had yet, and for what is not there.
func (s *subject) beforeItRuns(made string) {
	s.t.Helper()
	ctx := s.t.Context()
	if state := s.state(made); state == "PENDING" {
		wantClass(s.t, s.Start(ctx, s.region, []string{made})[made], workspace.NotNow)
		wantClass(s.t, s.Stop(ctx, s.region, []string{made})[made], workspace.NotNow)
		wantClass(s.t, s.Modify(ctx, s.region, made, workspace.Property{AutoStopMinutes: 120}), workspace.NotNow)
	}
	wantClass(s.t, s.Start(ctx, s.region, []string{noSuch})[noSuch], workspace.Gone)
	wantClass(s.t, s.Stop(ctx, s.region, []string{noSuch})[noSuch], workspace.Gone)
	wantClass(s.t, s.Modify(ctx, s.region, noSuch, workspace.Property{AutoStopMinutes: 120}), workspace.Gone)
	if failed := s.Terminate(ctx, s.region, []string{noSuch}); len(failed) != 0 {
		s.t.Errorf("terminate of what is not there: %v", failed)
	}
}

func (s *subject) whileItRuns(made string) {
	s.t.Helper()
	ctx := s.t.Context()
	wantClass(s.t, s.Start(ctx, s.region, []string{made})[made], workspace.NotNow)
	wantClass(s.t, s.Modify(ctx, s.region, made, workspace.Property{AutoStopMinutes: 90}), workspace.Rejected)
	if err := s.Modify(ctx, s.region, made, workspace.Property{AutoStopMinutes: 120}); err != nil {
		s.t.Fatal(err)
	}
	s.await(5*time.Minute, "it stops after 120 minutes", func() bool {
		seen, err := s.Describe(ctx, s.region, []string{made})
		return err == nil && seen[made].AutoStop == 120
	})
}

func (s *subject) stoppedAndStarted(made string) {
	s.t.Helper()
	ctx := s.t.Context()
	if failed := s.Stop(ctx, s.region, []string{made}); len(failed) != 0 {
		s.t.Fatal(failed)
	}
	s.await(5*time.Minute, "it is stopping", func() bool { return slices.Contains([]string{"STOPPING", "STOPPED"}, s.state(made)) })
	s.awaitState(made, "STOPPED", 30*time.Minute)
	wantClass(s.t, s.Stop(ctx, s.region, []string{made})[made], workspace.NotNow)
	wantClass(s.t, s.Reboot(ctx, s.region, []string{made})[made], workspace.NotNow)
	if failed := s.Start(ctx, s.region, []string{made}); len(failed) != 0 {
		s.t.Fatal(failed)
	}
	s.await(5*time.Minute, "it is starting", func() bool { return slices.Contains([]string{"STARTING", "AVAILABLE"}, s.state(made)) })
	s.awaitState(made, "AVAILABLE", 30*time.Minute)
}

// terminated ends it; until Amazon has cleared it away it is no stranger, and in the way of the next.
func (s *subject) terminated(spec workspace.CreateSpec, made string) {
	s.t.Helper()
	ctx := s.t.Context()
	for range 2 { // the second is no error either
		if failed := s.Terminate(ctx, s.region, []string{made}); len(failed) != 0 {
			s.t.Fatal(failed)
		}
	}
	if found := s.find(s.Provider, s.user); len(found) != 0 {
		s.t.Errorf("found %+v while it is terminated", found)
	}
	if s.state(made) == "TERMINATING" {
		wantClass(s.t, s.Start(ctx, s.region, []string{made})[made], workspace.NotNow)
		s.refusesCreate(s.Provider, spec, workspace.Exists, "")
	}
	s.await(30*time.Minute, "it is not shown any more", func() bool { return s.state(made) == "" })
}

// crowded makes more WorkSpaces than Amazon shows in a page, where that is free.
func (s *subject) crowded() {
	s.t.Helper()
	for _, user := range s.crowd {
		if _, err := s.Create(s.t.Context(), s.spec(user)); err != nil {
			s.t.Fatal(err)
		}
	}
	s.pass(s.step)
	seen, err := s.list(s.t.Context(), s.Provider.region(s.region), workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(s.directory)})
	if err != nil {
		s.t.Fatal(err)
	}
	users, swept := map[string]bool{}, map[string]int{}
	for i := range seen {
		users[aws.ToString(seen[i].UserName)] = true
	}
	err = s.Sweep(s.t.Context(), s.region, s.directory, func(page []workspace.Observation) error {
		for _, o := range page {
			swept[o.User]++
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, user := range s.crowd {
		if !users[user] || swept[user] != 1 {
			s.t.Errorf("%s is in the list of %d: %t, and swept up %d times", user, len(seen), users[user], swept[user])
		}
	}
}
