package emulator_test

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/aws/smithy-go"
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
			types.WorkspaceProperties{RootVolumeSizeGib: aws.Int32(175)},
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
	b.stop(id)
	b.pass(id, "STOPPED")
	wantCode(t, "modify", b.modify(id, types.WorkspaceProperties{UserVolumeSizeGib: aws.Int32(100)}), "")
	wantCode(t, "start", b.start(id), "OperationInProgress.WorkSpace")
	b.clock.set(b.admin(id).ChangedAt)
	wantCode(t, "start", b.start(id), "")
}

func TestModificationsThatAreRefused(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", alwaysOn))
	drawing := b.available(request("bob", alwaysOn, func(r *types.WorkspaceRequest) { r.BundleId = aws.String(graphics) }))
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
