package emulator_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/aws/smithy-go"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

// modify gives the type of the error, "" if there was none.
func (b *bench) modify(id string, p types.WorkspaceProperties) string {
	b.t.Helper()
	_, err := b.client().ModifyWorkspaceProperties(b.t.Context(), &workspaces.ModifyWorkspacePropertiesInput{WorkspaceId: &id, WorkspaceProperties: &p})
	if err == nil {
		return ""
	}
	if e := smithy.APIError(nil); errors.As(err, &e) {
		return e.ErrorCode()
	}
	b.t.Fatal(err)
	return ""
}

func TestTheRunningModeChangesAtOnce(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice"))
	wantCode(t, "to always on", b.modify(id, types.WorkspaceProperties{RunningMode: types.RunningModeAlwaysOn}), "")
	p := b.describe(id).WorkspaceProperties
	if p.RunningMode != types.RunningModeAlwaysOn || p.RunningModeAutoStopTimeoutInMinutes != nil {
		t.Errorf("%+v", p)
	}
	b.clock.advance(24 * time.Hour)
	b.wantState(id, "AVAILABLE")
	wantCode(t, "timeout alone", b.modify(id, types.WorkspaceProperties{RunningModeAutoStopTimeoutInMinutes: aws.Int32(60)}), "InvalidParameterValuesException")
	b.act(id, "connect")
	wantCode(t, "to auto-stop", b.modify(id, types.WorkspaceProperties{RunningMode: types.RunningModeAutoStop}), "")
	if p := b.describe(id).WorkspaceProperties; p.RunningMode != types.RunningModeAutoStop || aws.ToInt32(p.RunningModeAutoStopTimeoutInMinutes) != 60 {
		t.Errorf("%+v", p)
	}
	wantCode(t, "90 minutes", b.modify(id, types.WorkspaceProperties{RunningModeAutoStopTimeoutInMinutes: aws.Int32(90)}), "InvalidParameterValuesException")
	wantCode(t, "two hours", b.modify(id, types.WorkspaceProperties{RunningModeAutoStopTimeoutInMinutes: aws.Int32(120)}), "")
	b.act(id, "disconnect")
	left := b.clock.Now()
	b.pass(id, "STOPPING")
	if took := b.clock.Now().Sub(left); took != 2*time.Hour {
		t.Errorf("stopped after %v", took)
	}
}

func TestAShorterTimeoutDoesNotChangeThePast(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", func(r *types.WorkspaceRequest) {
		r.WorkspaceProperties.RunningModeAutoStopTimeoutInMinutes = aws.Int32(240)
	}))
	b.clock.advance(3 * time.Hour)
	wantCode(t, "modify", b.modify(id, types.WorkspaceProperties{RunningModeAutoStopTimeoutInMinutes: aws.Int32(60)}), "")
	w := b.admin(id)
	if w.State != "STOPPING" || !w.Since.Equal(b.clock.Now()) {
		t.Errorf("%s since %v", w.State, w.Since)
	}
}

func TestAStoppedWorkSpaceMadeAlwaysOnStarts(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice"))
	b.stop(id)
	b.pass(id, "STOPPED")
	wantCode(t, "modify", b.modify(id, types.WorkspaceProperties{RunningMode: types.RunningModeAlwaysOn}), "")
	b.pass(id, "AVAILABLE")
}

func TestSizesChangeInTheBackground(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", alwaysOn))
	b.clock.advance(6 * time.Hour)
	for _, c := range []struct {
		change   types.WorkspaceProperties
		resource types.ModificationResourceEnum
		takes    time.Duration
		done     func(*types.WorkspaceProperties) bool
	}{
		{
			types.WorkspaceProperties{ComputeTypeName: types.ComputePower},
			types.ModificationResourceEnumComputeType, 30 * time.Minute,
			func(p *types.WorkspaceProperties) bool { return p.ComputeTypeName == types.ComputePower },
		},
		{
			types.WorkspaceProperties{UserVolumeSizeGib: aws.Int32(100)},
			types.ModificationResourceEnumUserVolume, time.Hour,
			func(p *types.WorkspaceProperties) bool { return *p.UserVolumeSizeGib == 100 },
		},
		{
			types.WorkspaceProperties{RootVolumeSizeGib: aws.Int32(175)}, // beside a user volume of 100
			types.ModificationResourceEnumRootVolume, time.Hour,
			func(p *types.WorkspaceProperties) bool { return *p.RootVolumeSizeGib == 175 },
		},
	} {
		wantCode(t, string(c.resource), b.modify(id, c.change), "")
		asked := b.clock.Now()
		want := func(state types.ModificationStateEnum) {
			t.Helper()
			w := b.describe(id)
			if w.State != types.WorkspaceStateAvailable || len(w.ModificationStates) != 1 ||
				w.ModificationStates[0].Resource != c.resource || w.ModificationStates[0].State != state || c.done(w.WorkspaceProperties) {
				t.Errorf("%s: %s %+v %+v", c.resource, w.State, w.ModificationStates, w.WorkspaceProperties)
			}
		}
		want(types.ModificationStateEnumUpdateInitiated)
		wantCode(t, "another meanwhile", b.modify(id, types.WorkspaceProperties{RunningMode: types.RunningModeAutoStop}), "OperationInProgressException")
		done := b.admin(id).ChangedAt
		wantAbout(t, string(c.resource), done.Sub(asked), c.takes)
		b.clock.set(done.Add(-time.Nanosecond))
		want(types.ModificationStateEnumUpdateInProgress)
		b.clock.set(done)
		if w := b.describe(id); len(w.ModificationStates) != 0 || !c.done(w.WorkspaceProperties) {
			t.Errorf("%s: done, but %+v %+v", c.resource, w.ModificationStates, w.WorkspaceProperties)
		}
		if c.resource == types.ModificationResourceEnumComputeType {
			b.wantState(id, "REBOOTING")
			wantAbout(t, "reboot", b.pass(id, "AVAILABLE"), 4*time.Minute)
		}
		b.wantState(id, "AVAILABLE")
		b.clock.advance(6 * time.Hour)
	}
}

func TestAComputeTypeOfAStoppedWorkSpaceChangesWithoutAReboot(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice"))
	b.clock.advance(6 * time.Hour) // it has stopped by then
	wantCode(t, "modify", b.modify(id, types.WorkspaceProperties{ComputeTypeName: types.ComputePower}), "")
	b.clock.set(b.admin(id).ChangedAt)
	b.wantState(id, "STOPPED")
	if got := b.describe(id).WorkspaceProperties.ComputeTypeName; got != types.ComputePower {
		t.Errorf("compute type %s", got)
	}
}

func TestSizesCanBeChangedOnlySoOften(t *testing.T) {
	const soon = "InvalidResourceStateException"
	compute := func(name types.Compute) types.WorkspaceProperties {
		return types.WorkspaceProperties{ComputeTypeName: name}
	}
	user := func(size int32) types.WorkspaceProperties {
		return types.WorkspaceProperties{UserVolumeSizeGib: &size}
	}
	root := func(size int32) types.WorkspaceProperties {
		return types.WorkspaceProperties{RootVolumeSizeGib: &size}
	}
	const day = 24 * time.Hour
	type step struct {
		after time.Duration // the creation
		p     types.WorkspaceProperties
		want  string
	}
	for name, steps := range map[string][]step{
		"volumes": {
			{6*time.Hour - time.Second, user(100), soon},
			{6 * time.Hour, user(100), ""},
			{12*time.Hour - time.Second, root(175), soon},
			{12 * time.Hour, root(175), ""},
		},
		"a volume and a compute type do not wait for each other": {
			{6 * time.Hour, user(100), ""},
			{8 * time.Hour, compute(types.ComputePower), ""},
		},
		"larger": {
			{6*time.Hour - time.Second, compute(types.ComputePerformance), soon},
			{6 * time.Hour, compute(types.ComputePerformance), ""},
			{12*time.Hour - time.Second, compute(types.ComputePower), soon},
			{12 * time.Hour, compute(types.ComputePower), ""},
		},
		"smaller": {
			{time.Hour, compute(types.ComputeValue), ""}, // needs no six hours
			{6 * time.Hour, compute(types.ComputePower), ""},
			{29 * day, compute(types.ComputeStandard), soon},
			{30*day + time.Hour - time.Second, compute(types.ComputeStandard), soon},
			{30*day + time.Hour, compute(types.ComputeStandard), ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, speed := range []float64{1, 600} {
				b := newBench(t, func(c *emulator.Config) { c.Speed = speed })
				id := b.one(request("alice", alwaysOn))
				created := b.admin(id).Created
				for _, s := range steps {
					b.clock.set(created.Add(time.Duration(float64(s.after) / speed)))
					wantCode(t, fmt.Sprintf("speed %v, after %v", speed, s.after), b.modify(id, s.p), s.want)
				}
			}
		})
	}
}

func TestGlobalAccelerator(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice"))
	if got := b.describe(id).WorkspaceProperties.GlobalAccelerator; got != nil {
		t.Errorf("nobody asked for %+v", got)
	}
	on := &types.GlobalAcceleratorForWorkSpace{Mode: types.AGAModeForWorkSpaceEnumEnabledAuto, PreferredProtocol: types.AGAPreferredProtocolForWorkSpaceTcp}
	wantCode(t, "on", b.modify(id, types.WorkspaceProperties{GlobalAccelerator: on}), "")
	got := b.describe(id).WorkspaceProperties.GlobalAccelerator
	if got == nil || got.Mode != on.Mode || got.PreferredProtocol != on.PreferredProtocol {
		t.Errorf("%+v", got)
	}
	old := b.available(request("bob", func(r *types.WorkspaceRequest) { r.BundleId = aws.String(pcoip) }))
	wantCode(t, "with PCoIP", b.modify(old, types.WorkspaceProperties{GlobalAccelerator: on}), "UnsupportedWorkspaceConfigurationException")
	out := b.create(
		request("carol", func(r *types.WorkspaceRequest) { r.WorkspaceProperties.GlobalAccelerator = on }),
		request("dave", func(r *types.WorkspaceRequest) {
			r.BundleId, r.WorkspaceProperties.GlobalAccelerator = aws.String(pcoip), on
		}),
	)
	if len(out.PendingRequests) != 1 || out.PendingRequests[0].WorkspaceProperties.GlobalAccelerator == nil ||
		len(out.FailedRequests) != 1 || *out.FailedRequests[0].ErrorCode != "InvalidParameterValue.GlobalAccelerator" {
		t.Errorf("%+v", out)
	}
}

func TestTheProtocolOfAPCoIPBundleCanChange(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", alwaysOn, func(r *types.WorkspaceRequest) { r.BundleId = aws.String(pcoip) }))
	wantCode(t, "to WSP", b.modify(id, types.WorkspaceProperties{Protocols: []types.Protocol{types.ProtocolWsp}}), "")
	b.clock.set(b.admin(id).ChangedAt)
	if p := b.describe(id).WorkspaceProperties.Protocols; len(p) != 1 || p[0] != types.ProtocolWsp {
		t.Errorf("%v", p)
	}
}

func TestAStoppedWorkSpaceCannotBeStartedWhileAVolumeGrows(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice"))
	b.act(id, "connect")
	b.clock.advance(6 * time.Hour)
	b.stop(id)
	b.pass(id, "STOPPED")
	wantCode(t, "modify", b.modify(id, types.WorkspaceProperties{UserVolumeSizeGib: aws.Int32(100)}), "")
	wantCode(t, "start", b.start(id), "OperationInProgress.WorkSpace")
	b.call(http.MethodPost, "/_emu/workspaces/"+id+"/connect", nil, http.StatusConflict, nil)
	b.clock.set(b.admin(id).ChangedAt)
	wantCode(t, "start", b.start(id), "")
}

func TestModificationsThatAreRefused(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", alwaysOn))
	drawing := b.available(request("bob", alwaysOn, func(r *types.WorkspaceRequest) { r.BundleId = aws.String(graphics) }))
	b.clock.advance(6 * time.Hour)
	const invalid, unsupported = "InvalidParameterValuesException", "UnsupportedWorkspaceConfigurationException"
	for name, c := range map[string]struct {
		id   string
		p    types.WorkspaceProperties
		want string
	}{
		"nothing":                {id, types.WorkspaceProperties{}, invalid},
		"two classes":            {id, types.WorkspaceProperties{RunningMode: types.RunningModeAutoStop, ComputeTypeName: types.ComputePower}, invalid},
		"both volumes":           {id, types.WorkspaceProperties{RootVolumeSizeGib: aws.Int32(175), UserVolumeSizeGib: aws.Int32(100)}, invalid},
		"smaller":                {id, types.WorkspaceProperties{UserVolumeSizeGib: aws.Int32(10)}, invalid},
		"root before user":       {id, types.WorkspaceProperties{RootVolumeSizeGib: aws.Int32(175)}, invalid},
		"odd size":               {id, types.WorkspaceProperties{UserVolumeSizeGib: aws.Int32(75)}, invalid},
		"same compute type":      {id, types.WorkspaceProperties{ComputeTypeName: types.ComputeStandard}, invalid},
		"general to graphics":    {id, types.WorkspaceProperties{ComputeTypeName: types.ComputeGraphicsG4dn}, unsupported},
		"graphics to general":    {drawing, types.WorkspaceProperties{ComputeTypeName: types.ComputePower}, unsupported},
		"protocol of the bundle": {id, types.WorkspaceProperties{Protocols: []types.Protocol{types.ProtocolPcoip}}, unsupported},
		"operating system":       {id, types.WorkspaceProperties{OperatingSystemName: types.OperatingSystemNameWindows11}, invalid},
		"absent":                 {"ws-000000000", types.WorkspaceProperties{RunningMode: types.RunningModeAlwaysOn}, "ResourceNotFoundException"},
	} {
		wantCode(t, name, b.modify(c.id, c.p), c.want)
	}
	wantCode(t, "graphics to larger graphics", b.modify(drawing, types.WorkspaceProperties{ComputeTypeName: types.ComputeGraphicsproG4dn}), "")
	if w := b.describe(id); len(w.ModificationStates) != 0 {
		t.Errorf("a refused modification runs: %+v", w.ModificationStates)
	}
	_, err := b.client().ModifyWorkspaceProperties(t.Context(), &workspaces.ModifyWorkspacePropertiesInput{WorkspaceId: &id})
	if e := (*types.InvalidParameterValuesException)(nil); !errors.As(err, &e) {
		t.Errorf("without properties: %v", err)
	}
	b.reboot(id)
	wantCode(t, "while rebooting", b.modify(id, types.WorkspaceProperties{ComputeTypeName: types.ComputePower}), "InvalidResourceStateException")
}
