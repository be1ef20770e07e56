package desktop

import (
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/workspace"
)

const (
	bundleOfPower = "wsb-kxnz6q681"
	bundleOfLinux = "wsb-fs04nc7zs"
)

// A migration, with Amazon's refusals before, in the midst of it and afterwards, and both WorkSpaces where they are looked for.
func TestAWorkSpaceIsMigrated(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	s := spec("alice")
	made := b.create(s)
	b.pass(time.Hour)
	migrate := func(id, bundle string) error {
		_, err := b.Migrate(ctx, home, id, bundle)
		return err
	}
	wantCode(t, migrate(made, bundleOfPower), workspace.Rejected, "OperationNotSupportedException") // too young
	b.pass(12 * time.Hour)
	wantCode(t, migrate(made, bundleOfLinux), workspace.Rejected, "OperationNotSupportedException")
	wantCode(t, migrate(made, "wsb-v26vg2847"), workspace.Rejected, "InvalidParameterValuesException")
	wantCode(t, migrate(made, "wsb-000000000"), workspace.Rejected, codeNoBundle)
	wantCode(t, migrate("ws-000000000", bundleOfPower), workspace.Gone, "ResourceNotFoundException")

	target, err := b.Migrate(ctx, home, made, bundleOfPower)
	if err != nil || target == "" || target == made {
		t.Fatalf("target %q %v", target, err)
	}
	wantCode(t, migrate(made, bundleOfPower), workspace.NotNow, "OperationInProgressException")
	b.pass(10 * time.Second)
	found := map[string]workspace.Observation{}
	for _, o := range b.find("alice") {
		found[o.ProviderID] = o
	}
	if len(found) != 2 || found[made].State != "SUSPENDED" || found[target].State != "PENDING" || found[target].Intent != s.Intent || found[target].BundleID != bundleOfPower {
		t.Fatalf("found %+v", found)
	}
	b.until(home, target, "AVAILABLE")
	if o := b.describe(home, target); o.ComputeType != "POWER" || o.UserGiB != 100 || o.RunningMode != s.RunningMode {
		t.Errorf("%+v", o)
	}
	if found := b.find("alice"); len(found) != 1 || found[0].ProviderID != target || found[0].Intent != s.Intent {
		t.Errorf("found %+v", found)
	}
}

func TestAMigrationWhoseAnswerIsLostIsSentOnce(t *testing.T) {
	b := newBench(t)
	made := b.create(spec("alice"))
	b.pass(13 * time.Hour)
	b.fail("MigrateWorkspace", "drop_response_after_apply", 1)
	_, err := b.Migrate(t.Context(), home, made, bundleOfPower)
	wantClass(t, err, workspace.Ambiguous)
	if n := len(b.sent("MigrateWorkspace")); n != 1 {
		t.Errorf("sent %d times", n)
	}
	b.pass(10 * time.Second)
	if found := b.find("alice"); len(found) != 2 {
		t.Errorf("found %+v", found)
	}
}

func TestAmazonsBundleIsChosenForAMigration(t *testing.T) {
	b := newBench(t)
	got, err := b.PublicBundle(t.Context(), home, "POWER", "WINDOWS")
	if err != nil || got != bundleOfPower {
		t.Errorf("%s %v", got, err)
	}
	_, err = b.PublicBundle(t.Context(), home, "POWER", "SOLARIS")
	wantCode(t, err, workspace.Rejected, codeNoBundle)
	b.fail("DescribeWorkspaceBundles", "drop_response_after_apply", 3)
	_, err = b.PublicBundle(t.Context(), abroad, "POWER", "WINDOWS")
	wantClass(t, err, workspace.NotNow) // nothing was asked for
}
