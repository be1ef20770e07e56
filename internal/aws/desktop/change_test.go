package desktop

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/workspace"
)

// alwaysAbroad is a WorkSpace that anybody can have, and that is on all the time.
func alwaysAbroad(user string) workspace.CreateSpec {
	s := spec(user)
	s.Region, s.DirectoryID, s.RunningMode = abroad, elsewhere, "ALWAYS_ON"
	return s
}

func (b *bench) describe(region, providerID string) workspace.Observation {
	b.t.Helper()
	seen, err := b.Describe(b.t.Context(), region, []string{providerID})
	if err != nil {
		b.t.Fatal(err)
	}
	return seen[providerID]
}

// until lets time go by until it is in a state.
func (b *bench) until(region, providerID, state string) {
	b.t.Helper()
	for range 24 * 60 {
		if b.describe(region, providerID).State == state {
			return
		}
		b.pass(time.Minute)
	}
	b.t.Fatalf("it is %s a day later, not %s", b.describe(region, providerID).State, state)
}

// wantCode is wantClass with the code.
func wantCode(t *testing.T, err error, class workspace.Class, code string) {
	t.Helper()
	if pe := wantClass(t, err, class); pe.Code != code || pe.Message == "" {
		t.Errorf("code %q, message %q, want %s", pe.Code, pe.Message, code)
	}
}

func TestAWorkSpaceIsRebooted(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	made, other := b.create(spec("alice")), b.create(spec("bob"))
	wantCode(t, one(b.Reboot(ctx, home, []string{made})), workspace.NotNow, "InvalidResourceState.WorkSpace")
	b.pass(time.Hour / 2)

	// Each is settled by itself.
	b.admin("POST", "/_emu/faults", `{"kind": "fail_item", "op": "RebootWorkspaces", "user": "bob", "code": "ResourceUnavailable"}`, nil)
	failed := b.Reboot(ctx, home, []string{"ws-000000000", made, other})
	if len(failed) != 2 {
		t.Errorf("failed: %v", failed)
	}
	wantClass(t, failed["ws-000000000"], workspace.Gone)
	wantClass(t, failed[other], workspace.NotNow)
	if got := b.describe(home, other).State; got != "AVAILABLE" {
		t.Errorf("the one that was refused is %s", got)
	}
	if got := b.describe(home, made).State; got != "REBOOTING" {
		t.Errorf("the one that was accepted is %s", got)
	}
	wantCode(t, one(b.Reboot(ctx, home, []string{made})), workspace.NotNow, "InvalidResourceState.WorkSpace")
	b.until(home, made, "AVAILABLE")

	// One that does not come back may be rebooted again after 20 minutes.
	b.admin("POST", "/_emu/faults", `{"kind": "stuck_state", "state": "REBOOTING"}`, nil)
	if err := one(b.Reboot(ctx, home, []string{made})); err != nil {
		t.Fatal(err)
	}
	b.pass(19 * time.Minute)
	wantClass(t, one(b.Reboot(ctx, home, []string{made})), workspace.NotNow)
	b.pass(2 * time.Minute)
	if err := one(b.Reboot(ctx, home, []string{made})); err != nil {
		t.Fatal(err)
	}
	b.until(home, made, "AVAILABLE")
}

func TestManyAreRebootedInBatchesAndAMalformedIdSpoilsNoOther(t *testing.T) {
	b := newBench(t)
	var ids []string
	for i := range 26 {
		ids = append(ids, fmt.Sprintf("ws-0000000%02d", i))
	}
	if failed := b.Reboot(t.Context(), home, ids); len(failed) != 26 || len(b.sent("RebootWorkspaces")) != 2 {
		t.Errorf("%d failed, in %d requests", len(failed), len(b.sent("RebootWorkspaces")))
	}
	failed := b.Reboot(t.Context(), home, []string{"ws-000000001", "not an id", "ws-000000002"})
	classes := map[string]string{}
	for id, err := range failed {
		classes[id] = className(classIn(err))
	}
	if d := cmp.Diff(map[string]string{"ws-000000001": "gone", "not an id": "rejected", "ws-000000002": "gone"}, classes); d != "" {
		t.Error(d)
	}
}

func TestARebuildAndARestoreNeedSnapshots(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	s := spec("alice")
	s.RunningMode = "ALWAYS_ON"
	made := b.create(s)
	rebuild, restore := func() error { return b.Rebuild(ctx, home, made) }, func() error { return b.Restore(ctx, home, made) }
	wantSnapshots := func(rebuildAt, restoreAt time.Duration) {
		t.Helper()
		got, err := b.Snapshots(ctx, home, made)
		if err != nil {
			t.Fatal(err)
		}
		age := func(at time.Time) time.Duration {
			if at.IsZero() {
				return -1
			}
			return b.clock().Sub(at).Round(time.Minute)
		}
		if age(got.RebuildAt) != rebuildAt || age(got.RestoreAt) != restoreAt {
			t.Errorf("snapshots %s and %s old, want %s and %s", age(got.RebuildAt), age(got.RestoreAt), rebuildAt, restoreAt)
		}
	}

	wantCode(t, rebuild(), workspace.NotNow, "InvalidResourceState.WorkSpace")
	wantCode(t, restore(), workspace.Rejected, "OperationNotSupportedException")
	b.until(home, made, "AVAILABLE")
	wantSnapshots(-1, -1)
	wantCode(t, rebuild(), workspace.NotNow, "ResourceNotFound.Snapshot")
	wantCode(t, restore(), workspace.Rejected, "OperationNotSupportedException")

	b.pass(30*time.Minute - b.clock().Sub(time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC)))
	b.pass(10 * time.Minute)
	wantSnapshots(10*time.Minute, 10*time.Minute)
	if err := rebuild(); err != nil {
		t.Fatal(err)
	}
	if got := b.describe(home, made).State; got != "REBUILDING" {
		t.Errorf("it is %s", got)
	}
	wantCode(t, rebuild(), workspace.NotNow, "InvalidResourceState.WorkSpace")
	b.until(home, made, "AVAILABLE")
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	if got := b.describe(home, made).State; got != "RESTORING" {
		t.Errorf("it is %s", got)
	}
	b.until(home, made, "AVAILABLE")

	// Of one in ill health Amazon keeps the user volume only.
	b.admin("POST", "/_emu/workspaces/"+made+"/unhealthy", `{}`, nil)
	before, err := b.Snapshots(ctx, home, made)
	if err != nil {
		t.Fatal(err)
	}
	b.pass(12 * time.Hour)
	after, err := b.Snapshots(ctx, home, made)
	if err != nil || !after.RestoreAt.Equal(before.RestoreAt) || after.RebuildAt.Sub(before.RebuildAt) != 12*time.Hour {
		t.Errorf("snapshots %+v, then %+v: %v", before, after, err)
	}

	const nobodys = "ws-000000000"
	wantClass(t, b.Rebuild(ctx, home, nobodys), workspace.Gone)
	wantClass(t, b.Restore(ctx, home, nobodys), workspace.Gone)
	_, err = b.Snapshots(ctx, home, nobodys)
	wantClass(t, err, workspace.Gone)
	for _, body := range b.sent("RebuildWorkspaces") {
		if strings.Count(body, "WorkspaceId") != 1 {
			t.Errorf("asked for %s", body)
		}
	}
}

func TestEachPropertyIsSentAlone(t *testing.T) {
	b := newBench(t)
	made := b.create(spec("alice"))
	b.pass(time.Hour / 2)
	b.admin("POST", "/_emu/workspaces/"+made+"/connect", "", nil) // lest it stops
	b.pass(6 * time.Hour)

	const day = 24 * time.Hour
	for _, c := range []struct {
		to    workspace.Property
		sent  string
		after time.Duration // it has come about
		want  func(*workspace.Observation)
	}{
		{workspace.Property{RunningMode: "AUTO_STOP", AutoStopMinutes: 180}, `{"RunningMode":"AUTO_STOP","RunningModeAutoStopTimeoutInMinutes":180}`, 0, func(o *workspace.Observation) {
			o.RunningMode, o.AutoStop = "AUTO_STOP", 180
		}},
		{workspace.Property{AutoStopMinutes: 240}, `{"RunningModeAutoStopTimeoutInMinutes":240}`, 0, func(o *workspace.Observation) { o.AutoStop = 240 }},
		{workspace.Property{RunningMode: "MANUAL"}, `{"RunningMode":"MANUAL"}`, 0, func(o *workspace.Observation) { o.RunningMode, o.AutoStop = "MANUAL", 0 }},
		{workspace.Property{RunningMode: "AUTO_STOP"}, `{"RunningMode":"AUTO_STOP"}`, 0, func(o *workspace.Observation) { o.RunningMode, o.AutoStop = "AUTO_STOP", 60 }},
		{workspace.Property{RunningMode: "ALWAYS_ON"}, `{"RunningMode":"ALWAYS_ON"}`, 0, func(o *workspace.Observation) { o.RunningMode, o.AutoStop = "ALWAYS_ON", 0 }},
		{workspace.Property{ComputeType: "PERFORMANCE"}, `{"ComputeTypeName":"PERFORMANCE"}`, day, func(o *workspace.Observation) { o.ComputeType = "PERFORMANCE" }},
		{workspace.Property{UserGiB: 100}, `{"UserVolumeSizeGib":100}`, day, func(o *workspace.Observation) { o.UserGiB = 100 }},
		{workspace.Property{RootGiB: 175}, `{"RootVolumeSizeGib":175}`, day, func(o *workspace.Observation) { o.RootGiB = 175 }},
	} {
		want := b.describe(home, made)
		if err := b.Modify(t.Context(), home, made, c.to); err != nil {
			t.Fatalf("%+v: %v", c.to, err)
		}
		bodies := b.sent("ModifyWorkspaceProperties")
		if got := bodies[len(bodies)-1]; got != fmt.Sprintf(`{"WorkspaceId":%q,"WorkspaceProperties":%s}`, made, c.sent) {
			t.Errorf("%+v: sent %s", c.to, got)
		}
		b.pass(c.after)
		c.want(&want)
		if d := cmp.Diff(want, b.describe(home, made)); d != "" {
			t.Errorf("%+v: %s", c.to, d)
		}
	}
}

func TestNoPropertyOrSeveralAreRefusedWithoutACall(t *testing.T) {
	b := newBench(t)
	for _, p := range []workspace.Property{
		{},
		{RunningMode: "AUTO_STOP", AutoStopMinutes: 60, ComputeType: "POWER"},
		{RunningMode: "ALWAYS_ON", AutoStopMinutes: 60},
		{AutoStopMinutes: 60, RootGiB: 175},
		{ComputeType: "POWER", UserGiB: 100},
		{RootGiB: 175, UserGiB: 100},
	} {
		wantCode(t, b.Modify(t.Context(), home, "ws-000000000", p), workspace.Rejected, codeNotOne)
	}
	if got := b.sent("ModifyWorkspaceProperties"); len(got) != 0 {
		t.Errorf("sent %v", got)
	}
}

func TestAChangeIsToldOfUntilItIsOver(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	made := b.create(alwaysAbroad("alice"))
	b.pass(7 * time.Hour)
	modify := func(p workspace.Property) error { return b.Modify(ctx, abroad, made, p) }
	wantChange := func(resource string, failed bool) {
		t.Helper()
		if o := b.describe(abroad, made); o.State != "AVAILABLE" || o.Changing != resource || o.ChangeFailed != failed {
			t.Errorf("it is %s, changing %q, failed %t; want %q, %t", o.State, o.Changing, o.ChangeFailed, resource, failed)
		}
	}
	wantChange("", false)
	if err := modify(workspace.Property{ComputeType: "POWER"}); err != nil {
		t.Fatal(err)
	}
	wantChange("COMPUTE_TYPE", false) // UPDATE_INITIATED
	wantCode(t, modify(workspace.Property{UserGiB: 100}), workspace.NotNow, "OperationInProgressException")
	wantCode(t, b.Rebuild(ctx, abroad, made), workspace.NotNow, "OperationInProgress.WorkSpace")
	b.pass(15 * time.Minute)
	wantChange("COMPUTE_TYPE", false) // UPDATE_IN_PROGRESS
	b.until(abroad, made, "REBOOTING")
	b.until(abroad, made, "AVAILABLE")
	wantChange("", false)
	if got := b.describe(abroad, made).ComputeType; got != "POWER" {
		t.Errorf("it is %s", got)
	}

	b.fail("ModifyWorkspaceProperties", "modify_update_failed", 1)
	if err := modify(workspace.Property{UserGiB: 100}); err != nil {
		t.Fatal(err)
	}
	wantChange("USER_VOLUME", false)
	b.pass(2 * time.Hour)
	wantChange("USER_VOLUME", true)
	b.pass(5 * time.Hour)
	wantChange("USER_VOLUME", true)
	if err := modify(workspace.Property{UserGiB: 100}); err != nil {
		t.Fatal(err)
	}
	wantChange("USER_VOLUME", false)
	b.pass(2 * time.Hour)
	wantChange("", false)
	if got := b.describe(abroad, made).UserGiB; got != 100 {
		t.Errorf("%d GiB", got)
	}
}

func TestOfSeveralChangesTheOneThatGoesOnIsTold(t *testing.T) {
	change := func(resource types.ModificationResourceEnum, state types.ModificationStateEnum) types.ModificationState {
		return types.ModificationState{Resource: resource, State: state}
	}
	compute, volume := types.ModificationResourceEnumComputeType, types.ModificationResourceEnumUserVolume
	going, failed := types.ModificationStateEnumUpdateInProgress, types.ModificationStateEnumUpdateFailed
	for _, c := range []struct {
		told     []types.ModificationState
		resource string
		failed   bool
	}{
		{nil, "", false},
		{[]types.ModificationState{change(compute, failed), change(volume, going)}, "USER_VOLUME", false},
		{[]types.ModificationState{change(volume, going), change(compute, failed)}, "USER_VOLUME", false},
		{[]types.ModificationState{change(compute, failed)}, "COMPUTE_TYPE", true},
		{[]types.ModificationState{change("HAT", "UPDATE_PONDERED")}, "HAT", false},
	} {
		o := observation(&types.Workspace{ModificationStates: c.told})
		if o.Changing != c.resource || o.ChangeFailed != c.failed {
			t.Errorf("%+v: changing %q, failed %t", c.told, o.Changing, o.ChangeFailed)
		}
	}
}

func TestSizesChangeByAmazonsRules(t *testing.T) {
	b := newBench(t)
	made := b.create(alwaysAbroad("alice"))
	b.pass(time.Hour)
	const hour = time.Hour
	for _, c := range []struct {
		after time.Duration
		to    workspace.Property
		class workspace.Class
		code  string // "" is that it is accepted
	}{
		{0, workspace.Property{ComputeType: "POWER"}, workspace.NotNow, "InvalidResourceStateException"}, // 6 hours from the launch
		{0, workspace.Property{UserGiB: 100}, workspace.NotNow, "InvalidResourceStateException"},
		{5 * hour, workspace.Property{ComputeType: "STANDARD"}, workspace.Rejected, "InvalidParameterValuesException"},
		{0, workspace.Property{ComputeType: "GRAPHICS_G4DN"}, workspace.Rejected, "UnsupportedWorkspaceConfigurationException"},
		{0, workspace.Property{ComputeType: "ABACUS"}, workspace.Rejected, "ValidationException"},
		{0, workspace.Property{UserGiB: 10}, workspace.Rejected, "InvalidParameterValuesException"},
		{0, workspace.Property{UserGiB: 75}, workspace.Rejected, "InvalidParameterValuesException"},
		{0, workspace.Property{RootGiB: 175}, workspace.Rejected, "InvalidParameterValuesException"}, // the user volume first
		{0, workspace.Property{AutoStopMinutes: 60}, workspace.Rejected, "InvalidParameterValuesException"},
		{0, workspace.Property{RunningMode: "SOMETIMES"}, workspace.Rejected, "ValidationException"},
		{0, workspace.Property{UserGiB: 100}, 0, ""},
		{2 * hour, workspace.Property{RootGiB: 175}, workspace.NotNow, "InvalidResourceStateException"}, // 6 hours from the last
		{4 * hour, workspace.Property{RootGiB: 175}, 0, ""},
		{2 * hour, workspace.Property{ComputeType: "POWER"}, 0, ""},
		{2 * hour, workspace.Property{ComputeType: "POWERPRO"}, workspace.NotNow, "InvalidResourceStateException"},
		{0, workspace.Property{ComputeType: "STANDARD"}, 0, ""},
		{29 * 24 * hour, workspace.Property{ComputeType: "VALUE"}, workspace.NotNow, "InvalidResourceStateException"},
		{25 * hour, workspace.Property{ComputeType: "VALUE"}, 0, ""},
	} {
		b.pass(c.after)
		err := b.Modify(t.Context(), abroad, made, c.to)
		if c.code == "" {
			if err != nil {
				t.Fatalf("%+v: %v", c.to, err)
			}
			continue
		}
		wantCode(t, err, c.class, c.code)
	}
	wantClass(t, b.Modify(t.Context(), abroad, "ws-000000000", workspace.Property{ComputeType: "POWER"}), workspace.Gone)
}

// image finds an image by its name.
func (b *bench) image(region, name string) (found types.WorkspaceImage) {
	b.t.Helper()
	out, err := b.amazon(region).DescribeWorkspaceImages(b.t.Context(), &workspaces.DescribeWorkspaceImagesInput{})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, i := range out.Images {
		if aws.ToString(i.Name) == name {
			found = i
		}
	}
	return found
}

func TestAnImageIsCaptured(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	made := b.create(alwaysAbroad("alice"))
	capture := func(name string) (string, error) { return b.Capture(ctx, abroad, made, name, "what it is") }
	_, err := capture("early")
	wantCode(t, err, workspace.NotNow, "InvalidResourceStateException")
	b.until(abroad, made, "AVAILABLE")

	imageID, err := capture("golden-1")
	if err != nil {
		t.Fatal(err)
	}
	if i := b.image(abroad, "golden-1"); aws.ToString(i.ImageId) != imageID || imageID == "" || aws.ToString(i.Description) != "what it is" {
		t.Errorf("captured %s, and there is %+v", imageID, i)
	}
	tags, err := b.tags(ctx, b.Provider.region(abroad), imageID)
	if want := (map[string]string{tagOrigin: "test-forge"}); err != nil || !maps.Equal(tags, want) {
		t.Errorf("tags %v, %v", tags, err)
	}

	// Meanwhile nothing can be had of it, not even its end.
	if got := b.describe(abroad, made).State; got != "SUSPENDED" {
		t.Errorf("it is %s", got)
	}
	_, err = capture("golden-1")
	wantCode(t, err, workspace.Exists, "ResourceAlreadyExistsException")
	_, err = capture("golden-2")
	wantCode(t, err, workspace.NotNow, "InvalidResourceStateException")
	wantClass(t, one(b.Reboot(ctx, abroad, []string{made})), workspace.NotNow)
	wantClass(t, one(b.Terminate(ctx, abroad, []string{made})), workspace.NotNow)
	wantClass(t, b.Rebuild(ctx, abroad, made), workspace.NotNow)
	wantClass(t, b.Modify(ctx, abroad, made, workspace.Property{RunningMode: "AUTO_STOP", AutoStopMinutes: 60}), workspace.NotNow)
	b.until(abroad, made, "AVAILABLE")

	// The name tells that one whose answer was lost was carried out.
	b.fail("CreateWorkspaceImage", "drop_response_after_apply", 1)
	_, err = capture("golden-2")
	wantClass(t, err, workspace.Ambiguous)
	_, err = capture("golden-2")
	wantClass(t, err, workspace.Exists)
	b.until(abroad, made, "AVAILABLE")
	if err := b.Modify(ctx, abroad, made, workspace.Property{ComputeType: "VALUE"}); err != nil {
		t.Fatal(err)
	}
	_, err = capture("golden-3")
	wantClass(t, err, workspace.NotNow)
}

func TestCapturesThatAreRefused(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	made := b.create(alwaysAbroad("alice"))
	b.until(abroad, made, "AVAILABLE")
	for name, message := range map[string]string{"": "description", "a b\tc": "description", strings.Repeat("n", 65): "description", "no-description": ""} {
		_, err := b.Capture(ctx, abroad, made, name, message)
		wantClass(t, err, workspace.Rejected)
	}
	_, err := b.Capture(ctx, abroad, "ws-000000000", "golden", "it")
	wantClass(t, err, workspace.Gone)

	b.admin("POST", "/_emu/faults", `{"kind": "fail_batch", "op": "CreateWorkspaceImage", "code": "ResourceLimitExceededException"}`, nil)
	_, err = b.Capture(ctx, abroad, made, "golden", "it")
	wantCode(t, err, workspace.Blocked, "ResourceLimitExceededException")
	b.fail("CreateWorkspaceImage", "access_denied", 1)
	_, err = b.Capture(ctx, abroad, made, "golden", "it")
	wantClass(t, err, workspace.Blocked)

	out, err := b.amazon(abroad).CreateWorkspaces(ctx, &workspaces.CreateWorkspacesInput{Workspaces: []types.WorkspaceRequest{{
		BundleId: aws.String("wsb-v26vg2847"), DirectoryId: aws.String(elsewhere), UserName: aws.String("bob"),
		VolumeEncryptionKey: aws.String("alias/aws/workspaces"), RootVolumeEncryptionEnabled: aws.Bool(true),
		WorkspaceProperties: &types.WorkspaceProperties{RunningMode: types.RunningModeAlwaysOn},
	}}})
	if err != nil || len(out.PendingRequests) != 1 {
		t.Fatal(out, err)
	}
	encrypted := *out.PendingRequests[0].WorkspaceId
	b.until(abroad, encrypted, "AVAILABLE")
	_, err = b.Capture(ctx, abroad, encrypted, "golden", "it")
	wantCode(t, err, workspace.Rejected, "OperationNotSupportedException")

	p, _ := answering(t, says(200, `{"State": "PENDING"}`))
	_, err = p.Capture(ctx, home, made, "golden", "it")
	wantClass(t, err, workspace.Ambiguous)
}

// furtherWrites are requests that change something, each of which Amazon accepts of a WorkSpace that runs.
func furtherWrites(b *bench) map[string]func(providerID string) error {
	ctx := b.t.Context()
	return map[string]func(string) error{
		"RebootWorkspaces":  func(made string) error { return one(b.Reboot(ctx, abroad, []string{made})) },
		"RebuildWorkspaces": func(made string) error { return b.Rebuild(ctx, abroad, made) },
		"RestoreWorkspace":  func(made string) error { return b.Restore(ctx, abroad, made) },
		"ModifyWorkspaceProperties": func(made string) error {
			return b.Modify(ctx, abroad, made, workspace.Property{RunningMode: "AUTO_STOP", AutoStopMinutes: 60})
		},
		"CreateWorkspaceImage": func(made string) error { _, err := b.Capture(ctx, abroad, made, "golden", "it"); return err },
		"CreateTags": func(made string) error {
			return b.Tag(ctx, abroad, made, "ws_other", map[string]string{"cost-centre": "1"})
		},
		"DeleteTags": func(made string) error { return b.Tag(ctx, abroad, made, "ws_other", nil) },
	}
}

func furtherReads(b *bench) map[string]func(providerID string) error {
	ctx := b.t.Context()
	return map[string]func(string) error{
		"DescribeTags": func(made string) error { _, err := b.Marks(ctx, abroad, made); return err },
		"DescribeWorkspacesConnectionStatus": func(made string) error {
			_, err := b.Connections(ctx, abroad, []string{made})
			return err
		},
		"DescribeWorkspaceSnapshots": func(made string) error { _, err := b.Snapshots(ctx, abroad, made); return err },
		"DescribeWorkspaces": func(string) error {
			return b.Sweep(ctx, abroad, elsewhere, func([]workspace.Observation) error { return nil })
		},
	}
}

// runs makes one that has been running for an hour.
func (b *bench) runs(user string) string {
	made := b.create(alwaysAbroad(user))
	b.pass(time.Hour)
	return made
}

func TestNoFurtherRequestIsSentAgainThatMayHaveHadAnEffect(t *testing.T) {
	for _, kind := range []string{"http500", "http503", "drop_before_apply", "drop_response_after_apply", "http500_after_apply", "html_body"} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t)
			user := 0
			for operation, call := range furtherWrites(b) {
				user++
				made := b.runs(fmt.Sprintf("user%d", user))
				b.fail(operation, kind, 1)
				wantClass(t, call(made), workspace.Ambiguous)
				got := b.outcomes(operation)
				got = slices.DeleteFunc(got, func(outcome string) bool { return outcome == "ok" })
				if len(got) != 1 {
					t.Errorf("%s: sent %v", operation, got)
				}
			}
		})
	}
}

func TestFurtherRequestsThatAreThrottledAreSentThreeTimes(t *testing.T) {
	b := newBench(t)
	made := b.runs("alice")
	for _, calls := range []map[string]func(string) error{furtherWrites(b), furtherReads(b)} {
		before := map[string]int{}
		for operation := range calls {
			before[operation] = len(b.outcomes(operation))
			b.fail(operation, "throttle", maxAttempts)
		}
		var mu sync.Mutex
		var all sync.WaitGroup
		failed := map[string]error{}
		for operation, call := range calls {
			all.Go(func() { // they wait between attempts
				err := call(made)
				mu.Lock()
				defer mu.Unlock()
				failed[operation] = err
			})
		}
		all.Wait()
		for operation := range calls {
			wantClass(t, failed[operation], workspace.Throttled)
			if got := len(b.outcomes(operation)) - before[operation]; got != maxAttempts {
				t.Errorf("%s: sent %d times", operation, got)
			}
		}
	}
}

func TestFurtherQuestionsThatFailHaveTheirClasses(t *testing.T) {
	b := newBench(t)
	made := b.runs("alice")
	for operation, call := range furtherReads(b) {
		for _, c := range []struct {
			kind  string
			class workspace.Class
		}{{"http500", workspace.Ambiguous}, {"truncate_body", workspace.Ambiguous}, {"access_denied", workspace.Blocked}} {
			b.fail(operation, c.kind, 1)
			wantClass(t, call(made), c.class)
		}
		if err := call(made); err != nil {
			t.Errorf("%s: %v", operation, err)
		}
	}
}

func TestAnItemOfARebuildThatFailsHasItsClass(t *testing.T) {
	for code, class := range map[string]workspace.Class{
		"InvalidUserConfiguration.Workspace": workspace.Rejected,
		"OperationNotSupported":              workspace.Rejected,
		"ResourceUnavailable.Bundle":         workspace.NotNow,
		"OperationInProgress.WorkSpace":      workspace.NotNow,
		"ResourceAssociated":                 workspace.NotNow,
		"ResourceNotFound.WorkSpace":         workspace.Gone,
		"Throttling":                         workspace.Throttled,
		"PhaseOfTheMoon":                     workspace.Ambiguous,
	} {
		p, requests := answering(t, says(200, fmt.Sprintf(`{"FailedRequests":[{"ErrorCode":%q,"ErrorMessage":"because"}]}`, code)))
		wantCode(t, p.Rebuild(t.Context(), home, "ws-000000000"), class, code)
		if got := requests.Load(); got != 1 {
			t.Errorf("%s: %d requests", code, got)
		}
	}
}
