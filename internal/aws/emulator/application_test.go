package emulator_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

const (
	officeApp  = "wsa-0ff1ce0std"
	officePlus = "wsa-0ff1ce0pro"
	visio      = "wsa-0v1s1o0std"
)

func (b *bench) associate(id, app string) string {
	b.t.Helper()
	_, err := b.client().AssociateWorkspaceApplication(b.t.Context(), &workspaces.AssociateWorkspaceApplicationInput{WorkspaceId: &id, ApplicationId: &app})
	return codeOf(b.t, err)
}

func (b *bench) disassociate(id, app string) string {
	b.t.Helper()
	_, err := b.client().DisassociateWorkspaceApplication(b.t.Context(), &workspaces.DisassociateWorkspaceApplicationInput{WorkspaceId: &id, ApplicationId: &app})
	return codeOf(b.t, err)
}

// deploy gives how many applications are deployed.
func (b *bench) deploy(id string, force bool) (int, string) {
	b.t.Helper()
	out, err := b.client().DeployWorkspaceApplications(b.t.Context(), &workspaces.DeployWorkspaceApplicationsInput{WorkspaceId: &id, Force: &force})
	if code := codeOf(b.t, err); code != "" {
		return 0, code
	}
	return len(out.Deployment.Associations), ""
}

// association gives the state of an application on a WorkSpace, "" if it is not there, as both of the
// operations tell it.
func (b *bench) association(id, app string) types.AssociationState {
	b.t.Helper()
	here, err := b.client().DescribeWorkspaceAssociations(b.t.Context(), &workspaces.DescribeWorkspaceAssociationsInput{
		WorkspaceId: &id, AssociatedResourceTypes: []types.WorkSpaceAssociatedResourceType{types.WorkSpaceAssociatedResourceTypeApplication},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	there, err := b.client().DescribeApplicationAssociations(b.t.Context(), &workspaces.DescribeApplicationAssociationsInput{
		ApplicationId: &app, AssociatedResourceTypes: []types.ApplicationAssociatedResourceType{types.ApplicationAssociatedResourceTypeWorkspace},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	var of, at types.AssociationState
	for _, a := range here.Associations {
		if *a.AssociatedResourceId == app && *a.WorkspaceId == id {
			of = a.State
		}
	}
	for _, a := range there.Associations {
		if *a.AssociatedResourceId == id && *a.ApplicationId == app {
			at = a.State
		}
	}
	if of != at {
		b.t.Errorf("%s on %s is %s and %s", app, id, of, at)
	}
	return of
}

func TestAnApplicationIsInstalledAndRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	id := b.available(request("alice", alwaysOn))
	want := func(state types.AssociationState) {
		t.Helper()
		if got := b.association(id, officeApp); got != state {
			t.Errorf("state %q, want %q", got, state)
		}
	}
	deploy := func(force bool, count int) {
		t.Helper()
		if got, code := b.deploy(id, force); got != count || code != "" {
			t.Errorf("%d deployed, %q; want %d", got, code, count)
		}
	}
	want("")
	wantCode(t, "disassociate", b.disassociate(id, officeApp), "ResourceNotFoundException")
	wantCode(t, "associate", b.associate(id, officeApp), "")
	wantCode(t, "associate again", b.associate(id, officeApp), "ResourceAlreadyExistsException")
	b.clock.advance(24 * time.Hour)
	want(types.AssociationStatePendingInstall)
	deploy(false, 1)
	want(types.AssociationStatePendingInstallDeployment)
	_, code := b.deploy(id, false)
	wantCode(t, "deploy again", code, "ResourceInUseException")
	wantCode(t, "disassociate meanwhile", b.disassociate(id, officeApp), "ResourceInUseException")
	b.clock.advance(3 * time.Minute)
	want(types.AssociationStateInstalling)

	b.emu.Crash()
	clock := b.clock
	b = newBench(t, stateFile(path), func(c *emulator.Config) { c.Now = clock.Now })
	b.clock = clock
	want(types.AssociationStateInstalling)
	b.clock.advance(21 * time.Minute)
	want(types.AssociationStateCompleted)

	deploy(false, 0)
	deploy(true, 1)
	b.clock.advance(time.Hour)
	want(types.AssociationStateCompleted)
	wantCode(t, "disassociate", b.disassociate(id, officeApp), "")
	want(types.AssociationStatePendingUninstall)
	deploy(false, 1)
	want(types.AssociationStatePendingUninstallDeployment)
	wantCode(t, "associate meanwhile", b.associate(id, officeApp), "ResourceInUseException")
	b.clock.advance(3 * time.Minute)
	want(types.AssociationStateUninstalling)
	b.clock.advance(21 * time.Minute)
	want(types.AssociationStateRemoved)
	wantCode(t, "disassociate", b.disassociate(id, officeApp), "ResourceNotFoundException")
	wantCode(t, "another", b.associate(id, officePlus), "")
	want("")
}

func TestApplicationsThatCannotBeInstalled(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice", alwaysOn))
	linux := b.available(request("bob", of("wsb-fs04nc7zs")))
	small := b.available(request("carol", of("wsb-yz0nwrwj2")))
	wantCode(t, "officeApp", b.associate(id, officeApp), "")
	for name, c := range map[string]struct{ id, app, want string }{
		"no WorkSpace":      {"ws-000000000", officeApp, "ResourceNotFoundException"},
		"no application":    {id, "wsa-000000000", "ResourceNotFoundException"},
		"on Linux":          {linux, officeApp, "OperatingSystemNotCompatibleException"},
		"on a VALUE one":    {small, officeApp, "ComputeNotCompatibleException"},
		"beside another":    {id, officePlus, "IncompatibleApplicationsException"},
		"beside one unlike": {id, visio, ""},
	} {
		wantCode(t, name, b.associate(c.id, c.app), c.want)
	}
	b.reboot(id)
	_, code := b.deploy(id, false)
	wantCode(t, "deploy while rebooting", code, "OperationNotSupportedException")
	_, code = b.deploy("ws-000000000", false)
	wantCode(t, "deploy to none", code, "ResourceNotFoundException")
}

func TestTheCatalogueOfApplications(t *testing.T) {
	b := newBench(t)
	for name, c := range map[string]struct {
		in   workspaces.DescribeApplicationsInput
		want int
	}{
		"all":             {workspaces.DescribeApplicationsInput{}, 7},
		"Amazon's":        {workspaces.DescribeApplicationsInput{Owner: aws.String("AMAZON")}, 7},
		"our own":         {workspaces.DescribeApplicationsInput{Owner: aws.String("123456789012")}, 0},
		"ids":             {workspaces.DescribeApplicationsInput{ApplicationIds: []string{officeApp, visio, "wsa-000000000"}}, 2},
		"for Linux":       {workspaces.DescribeApplicationsInput{OperatingSystemNames: []types.OperatingSystemName{types.OperatingSystemNameUbuntu2204}}, 0},
		"for VALUE":       {workspaces.DescribeApplicationsInput{ComputeTypeNames: []types.Compute{types.ComputeValue}}, 0},
		"without licence": {workspaces.DescribeApplicationsInput{LicenseType: types.WorkSpaceApplicationLicenseTypeUnlicensed}, 0},
		"page by page":    {workspaces.DescribeApplicationsInput{MaxResults: aws.Int32(3)}, 7},
	} {
		count := 0
		for pages := workspaces.NewDescribeApplicationsPaginator(b.client(), &c.in); pages.HasMorePages(); {
			out, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			count += len(out.Applications)
		}
		if count != c.want {
			t.Errorf("%s: %d, want %d", name, count, c.want)
		}
	}
}
