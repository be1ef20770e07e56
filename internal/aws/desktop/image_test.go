package desktop

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/workspace"
)

func wantImageClass(t *testing.T, what string, err error, want blueprint.ImageClass) {
	t.Helper()
	var e *blueprint.ImageError
	if !errors.As(err, &e) || e.Class != want || e.Code == "" {
		t.Errorf("%s: %#v (%v), want class %d", what, e, err, want)
	}
}

// TestImagesAndBundlesAreMadeAndRefused goes the way from a WorkSpace to one on a bundle in another Region, with every refusal that
// Amazon has on it.
func TestImagesAndBundlesAreMadeAndRefused(t *testing.T) {
	b := newBench(t)
	ctx, m := t.Context(), Images{b.Provider}
	golden := b.create(alwaysAbroad("golden"))
	_, err := m.Capture(ctx, abroad, golden, "g", "golden")
	wantImageClass(t, "capture of one that is PENDING", err, blueprint.ImageNotNow)
	_, err = m.Capture(ctx, abroad, "ws-0000000000", "g", "golden")
	wantImageClass(t, "capture of none", err, blueprint.ImageMissing)
	b.until(abroad, golden, "AVAILABLE")
	image, err := m.Capture(ctx, abroad, golden, "g", "golden")
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.CopyImage(ctx, "us-east-1", abroad, image, "c", "copy")
	wantImageClass(t, "copy of one that is not finished", err, blueprint.ImageNotNow)
	b.pass(time.Hour)
	_, err = m.Capture(ctx, abroad, golden, "g", "golden")
	wantImageClass(t, "capture under the same name", err, blueprint.ImageTaken)
	copied, err := m.CopyImage(ctx, "us-east-1", abroad, image, "c", "copy")
	if err != nil {
		t.Fatal(err)
	}
	spec := blueprint.BundleSpec{Name: "b", Description: "bundle", ImageID: copied, ComputeType: "STANDARD", RootGiB: 80, UserGiB: 50}
	_, err = m.CreateBundle(ctx, "us-east-1", spec)
	wantImageClass(t, "bundle of one that is not finished", err, blueprint.ImageNotNow)
	b.pass(time.Hour)
	seen, err := m.Images(ctx, "us-east-1")
	if err != nil || !slices.Equal(seen, []blueprint.ImageSeen{{ID: copied, Name: "c", State: "AVAILABLE"}}) {
		t.Errorf("%+v %v", seen, err)
	}
	bundle, err := m.CreateBundle(ctx, "us-east-1", spec)
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.CreateBundle(ctx, "us-east-1", spec)
	wantImageClass(t, "bundle under the same name", err, blueprint.ImageTaken)
	wantImageClass(t, "delete the image", m.DeleteImage(ctx, "us-east-1", copied), blueprint.ImageInUse)
	for n := 1; n < blueprint.BundleQuota; n++ {
		spec.Name = fmt.Sprintf("b%d", n)
		if _, err := m.CreateBundle(ctx, "us-east-1", spec); err != nil {
			t.Fatal(n, err)
		}
	}
	spec.Name = "one-too-many"
	_, err = m.CreateBundle(ctx, "us-east-1", spec)
	wantImageClass(t, "the 51st bundle", err, blueprint.ImageFull)
	b.pass(time.Minute)
	all, err := m.Bundles(ctx, "us-east-1")
	if err != nil || len(all) != blueprint.BundleQuota || all[0] != (blueprint.BundleSeen{ID: bundle, Name: "b", ImageID: copied, State: "AVAILABLE"}) {
		t.Errorf("%d bundles, the first %+v, %v", len(all), all[0], err)
	}
	made := b.create(workspace.CreateSpec{
		Intent: "ws_1", Region: "us-east-1", DirectoryID: directory, DirectoryUser: "alice", ComputeType: "STANDARD", OperatingSystem: "no public bundle has it",
		BundleID: bundle, RunningMode: "ALWAYS_ON",
	})
	if made == "" {
		t.Error("it was not made of the bundle")
	}
	wantImageClass(t, "delete a bundle that is used", m.DeleteBundle(ctx, "us-east-1", bundle), blueprint.ImageInUse)
	if err := m.DeleteBundle(ctx, "us-east-1", all[1].ID); err != nil {
		t.Error(err)
	}
	wantImageClass(t, "delete it again", m.DeleteBundle(ctx, "us-east-1", all[1].ID), blueprint.ImageMissing)
}

// TestNoImageIsAskedForAgainThatMayHaveBeenMade sends once what Amazon has not answered.
func TestNoImageIsAskedForAgainThatMayHaveBeenMade(t *testing.T) {
	b := newBench(t)
	ctx, m := t.Context(), Images{b.Provider}
	golden := b.runs("golden")
	image, err := m.Capture(ctx, abroad, golden, "g", "golden")
	if err != nil {
		t.Fatal(err)
	}
	b.pass(time.Hour)
	for operation, call := range map[string]func(name string) error{
		"CreateWorkspaceImage": func(name string) error { _, err := m.Capture(ctx, abroad, golden, name, "golden"); return err },
		"CopyWorkspaceImage": func(name string) error {
			_, err := m.CopyImage(ctx, "us-east-1", abroad, image, name, "copy")
			return err
		},
		"CreateWorkspaceBundle": func(name string) error {
			_, err := m.CreateBundle(ctx, abroad, blueprint.BundleSpec{Name: name, Description: "bundle", ImageID: image, ComputeType: "STANDARD", RootGiB: 80, UserGiB: 50})
			return err
		},
	} {
		for _, kind := range []string{"http500_after_apply", "drop_response_after_apply", "html_body"} {
			before := len(b.sent(operation))
			b.fail(operation, kind, 1)
			wantImageClass(t, operation+" "+kind, call(kind), blueprint.ImageUnclear)
			if n := len(b.sent(operation)) - before; n != 1 {
				t.Errorf("%s %s: sent %d times", operation, kind, n)
			}
			wantImageClass(t, operation+" asked again", call(kind), blueprint.ImageTaken)
			b.pass(time.Hour)
		}
	}
}
