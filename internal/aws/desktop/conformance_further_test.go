package desktop

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/workspace"
)

// observed is what there is to be seen of it.
func (s *subject) observed(providerID string) workspace.Observation {
	s.t.Helper()
	seen, err := s.Describe(s.t.Context(), s.region, []string{providerID})
	if err != nil {
		s.t.Fatal(err)
	}
	return seen[providerID]
}

// furtherBeforeItRuns asks for what cannot be had yet, and for what is not there.
func (s *subject) furtherBeforeItRuns(made string) {
	s.t.Helper()
	ctx := s.t.Context()
	if s.state(made) == "PENDING" {
		wantClass(s.t, s.Reboot(ctx, s.region, []string{made})[made], workspace.NotNow)
		wantClass(s.t, s.Rebuild(ctx, s.region, made), workspace.NotNow)
		wantClass(s.t, s.Restore(ctx, s.region, made), workspace.Rejected)
		_, err := s.Capture(ctx, s.region, made, "forge-conformance-early", "never made")
		wantClass(s.t, err, workspace.NotNow)
		if told, err := s.Connections(ctx, s.region, []string{made}); err != nil || len(told) != 0 && told[made].State != "UNKNOWN" {
			s.t.Errorf("connections %+v, %v", told, err)
		}
	}
	wantClass(s.t, s.Reboot(ctx, s.region, []string{noSuch})[noSuch], workspace.Gone)
	wantClass(s.t, s.Rebuild(ctx, s.region, noSuch), workspace.Gone)
	wantClass(s.t, s.Restore(ctx, s.region, noSuch), workspace.Gone)
	_, err := s.Capture(ctx, s.region, noSuch, "forge-conformance-none", "never made")
	wantClass(s.t, err, workspace.Gone)
	wantClass(s.t, s.Tag(ctx, s.region, noSuch, "ws_none", nil), workspace.Gone)
	_, err = s.Marks(ctx, s.region, noSuch)
	wantClass(s.t, err, workspace.Gone)
	_, err = s.Snapshots(ctx, s.region, noSuch)
	wantClass(s.t, err, workspace.Gone)
	if told, err := s.Connections(ctx, s.region, []string{noSuch}); err != nil || len(told) != 0 {
		s.t.Errorf("connections of none: %+v, %v", told, err)
	}
}

// tagged gives it other tags, takes one away, and puts back what was there.
func (s *subject) tagged(spec workspace.CreateSpec, made string) {
	s.t.Helper()
	ctx := s.t.Context()
	before := spec.Tags
	for _, users := range []map[string]string{{"purpose": "tags", "Empty": ""}, {}, before} {
		for range 2 { // the second finds nothing to do
			if err := s.Tag(ctx, s.region, made, spec.Intent, users); err != nil {
				s.t.Fatal(err)
			}
		}
		got, err := s.Marks(ctx, s.region, made)
		if err != nil {
			s.t.Fatal(err)
		}
		maps.DeleteFunc(got.Tags, func(key, _ string) bool { return strings.HasPrefix(key, "aws:") })
		want := workspace.Marks{Intent: spec.Intent, Marked: true, Tags: map[string]string{
			tagWorkSpace: string(spec.Intent), tagOrigin: s.config.Origin, tagAttempt: "2",
		}}
		maps.Copy(want.Tags, users)
		if d := cmp.Diff(want, got); d != "" {
			s.t.Error(d)
		}
	}
}

// sweptUp finds it, once, in its directory.
func (s *subject) sweptUp(made string) {
	s.t.Helper()
	times := 0
	err := s.Sweep(workspace.AsSweep(s.t.Context()), s.region, s.directory, func(page []workspace.Observation) error {
		for _, o := range page {
			if o.ProviderID == made {
				times++
			}
			if o.DirectoryID != s.directory {
				s.t.Errorf("%+v is not of the directory", o)
			}
		}
		return nil
	})
	if err != nil || times != 1 {
		s.t.Errorf("shown %d times, %v", times, err)
	}
	o := s.observed(made)
	if o.RunningMode != "AUTO_STOP" || o.ComputeType != "STANDARD" || o.RootGiB < 80 || o.UserGiB < 10 || !strings.EqualFold(o.User, s.user) || o.Changing != "" {
		s.t.Errorf("it is shown as %+v", o)
	}
}

// connected looks until Amazon has: nobody has ever been connected.
func (s *subject) connected(made string) {
	s.t.Helper()
	s.await(time.Hour, "it is known that nobody is connected", func() bool {
		told, err := s.Connections(s.t.Context(), s.region, []string{made, noSuch})
		if err != nil {
			s.t.Fatal(err)
		}
		c, ok := told[made]
		if len(told) > 1 || c.LastAt != nil || ok && c.State == "CONNECTED" {
			s.t.Fatalf("connections %+v", told)
		}
		return c.State == "DISCONNECTED" && !c.CheckedAt.IsZero()
	})
}

func (s *subject) rebooted(made string) {
	s.t.Helper()
	ctx := s.t.Context()
	if failed := s.Reboot(ctx, s.region, []string{made}); len(failed) != 0 {
		s.t.Fatal(failed)
	}
	s.await(5*time.Minute, "it is rebooting", func() bool { return s.state(made) == "REBOOTING" })
	wantClass(s.t, s.Start(ctx, s.region, []string{made})[made], workspace.NotNow)
	s.awaitState(made, "AVAILABLE", 30*time.Minute)
}

// running starts it if it has stopped by itself.
func (s *subject) running(made string) {
	s.t.Helper()
	if s.state(made) == "AVAILABLE" {
		return
	}
	s.awaitState(made, "STOPPED", 30*time.Minute)
	if failed := s.Start(s.t.Context(), s.region, []string{made}); len(failed) != 0 {
		s.t.Fatal(failed)
	}
	s.awaitState(made, "AVAILABLE", 30*time.Minute)
}

// broughtBack rebuilds and restores it, once there are snapshots.
func (s *subject) broughtBack(made string) {
	s.t.Helper()
	ctx := s.t.Context()
	s.await(6*time.Hour, "there are snapshots of both volumes", func() bool {
		of, err := s.Snapshots(ctx, s.region, made)
		if err != nil {
			s.t.Fatal(err)
		}
		return !of.RebuildAt.IsZero() && !of.RestoreAt.IsZero()
	})
	for _, way := range []struct {
		state string
		ask   func(context.Context, string, string) error
	}{{"REBUILDING", s.Rebuild}, {"RESTORING", s.Restore}} {
		s.running(made)
		if err := way.ask(ctx, s.region, made); err != nil {
			s.t.Fatal(err)
		}
		s.await(5*time.Minute, "it is "+way.state, func() bool { return s.state(made) == way.state })
		wantClass(s.t, s.Rebuild(ctx, s.region, made), workspace.NotNow)
		wantClass(s.t, s.Restore(ctx, s.region, made), workspace.Rejected)
		s.awaitState(made, "AVAILABLE", 3*time.Hour)
	}
}

// captured makes an image of it, and deletes that.
func (s *subject) captured(made string) {
	s.t.Helper()
	ctx := s.t.Context()
	s.running(made)
	name := "forge-conformance-" + made
	imageID, err := s.Capture(ctx, s.region, made, name, "made by a test")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if _, err := s.Provider.region(s.region).client.DeleteWorkspaceImage(ctx, &workspaces.DeleteWorkspaceImageInput{ImageId: aws.String(imageID)}); err != nil {
			s.t.Errorf("the image %s is still there, delete it: %v", imageID, err)
		}
	})
	s.await(5*time.Minute, "it is SUSPENDED", func() bool { return s.state(made) == "SUSPENDED" })
	_, err = s.Capture(ctx, s.region, made, name, "never made")
	wantClass(s.t, err, workspace.Exists)
	wantClass(s.t, s.Reboot(ctx, s.region, []string{made})[made], workspace.NotNow)
	wantClass(s.t, s.Terminate(ctx, s.region, []string{made})[made], workspace.NotNow)
	s.awaitState(made, "AVAILABLE", 2*time.Hour)
}

// resized gives it another compute type, which Amazon allows six hours after the launch, and tells of until it is so.
func (s *subject) resized(made string) {
	s.t.Helper()
	ctx := s.t.Context()
	s.await(7*time.Hour, "its compute type may be changed", func() bool {
		err := s.Modify(ctx, s.region, made, workspace.Property{ComputeType: "PERFORMANCE"})
		if err != nil {
			wantClass(s.t, err, workspace.NotNow)
		}
		return err == nil
	})
	s.await(5*time.Minute, "its change is told of", func() bool { return s.observed(made).Changing == "COMPUTE_TYPE" })
	wantClass(s.t, s.Modify(ctx, s.region, made, workspace.Property{UserGiB: 100}), workspace.NotNow)
	s.await(2*time.Hour, "it is changed", func() bool {
		o := s.observed(made)
		if o.ChangeFailed {
			s.t.Fatalf("it failed: %+v", o)
		}
		return o.Changing == "" && o.ComputeType == "PERFORMANCE" && slices.Contains([]string{"AVAILABLE", "STOPPED"}, o.State)
	})
}
