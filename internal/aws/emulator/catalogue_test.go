package emulator_test

import (
	"errors"
	"regexp"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
)

func TestThePublicBundles(t *testing.T) {
	b := newBench(t)
	var all []types.WorkspaceBundle
	count := 0
	for pages := workspaces.NewDescribeWorkspaceBundlesPaginator(b.client(), &workspaces.DescribeWorkspaceBundlesInput{Owner: aws.String("AMAZON")}); pages.HasMorePages(); count++ {
		p, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p.Bundles...)
	}
	if count < 2 {
		t.Errorf("%d page: a client that does not page would not be found out", count)
	}
	ids, names := map[string]bool{}, map[string]types.WorkspaceBundle{}
	for _, bundle := range all {
		if !regexp.MustCompile(`^wsb-[0-9a-z]{9}$`).MatchString(*bundle.BundleId) || ids[*bundle.BundleId] {
			t.Errorf("id %s", *bundle.BundleId)
		}
		if !regexp.MustCompile(`^wsi-[0-9a-z]{9}$`).MatchString(*bundle.ImageId) {
			t.Errorf("image %s", *bundle.ImageId)
		}
		ids[*bundle.BundleId] = true
		names[*bundle.Name] = bundle
		if *bundle.Owner != "AMAZON" || bundle.State != types.WorkspaceBundleStateAvailable || bundle.CreationTime == nil {
			t.Errorf("%+v", bundle)
		}
	}
	for name, want := range map[string][3]string{
		"Value with Windows 10 (Server 2022 based) (WSP)":            {"VALUE", "80", "10"},
		"Standard with Windows 10 (Server 2022 based) (WSP)":         {"STANDARD", "80", "50"},
		"Performance with Windows 10 (Server 2022 based) (WSP)":      {"PERFORMANCE", "80", "100"},
		"Power with Windows 10 (Server 2022 based) (WSP)":            {"POWER", "175", "100"},
		"PowerPro with Windows 10 (Server 2022 based) (WSP)":         {"POWERPRO", "175", "100"},
		"Graphics.g4dn with Windows 10 (Server 2022 based) (WSP)":    {"GRAPHICS_G4DN", "100", "100"},
		"GraphicsPro.g4dn with Windows 10 (Server 2022 based) (WSP)": {"GRAPHICSPRO_G4DN", "100", "100"},
		"Standard with Amazon Linux 2 (WSP)":                         {"STANDARD", "80", "50"},
		"Power with Ubuntu 22.04 (WSP)":                              {"POWER", "175", "100"},
	} {
		got, ok := names[name]
		if !ok {
			t.Errorf("no %q", name)
			continue
		}
		if is := [3]string{string(got.ComputeType.Name), *got.RootStorage.Capacity, *got.UserStorage.Capacity}; is != want {
			t.Errorf("%s: %v, want %v", name, is, want)
		}
	}

	out, err := b.client(inRegion("eu-west-1")).DescribeWorkspaceBundles(t.Context(), &workspaces.DescribeWorkspaceBundlesInput{BundleIds: []string{graphics, "wsb-000000000", standard}})
	if err != nil || len(out.Bundles) != 2 || *out.Bundles[0].BundleId != standard {
		t.Errorf("by id: %v %+v", err, out)
	}
	out, err = b.client().DescribeWorkspaceBundles(t.Context(), &workspaces.DescribeWorkspaceBundlesInput{})
	if err != nil || len(out.Bundles) != 0 {
		t.Errorf("our own: %v %+v", err, out)
	}
	_, err = b.client().DescribeWorkspaceBundles(t.Context(), &workspaces.DescribeWorkspaceBundlesInput{BundleIds: []string{standard}, Owner: aws.String("AMAZON")})
	if e := (*types.InvalidParameterValuesException)(nil); !errors.As(err, &e) {
		t.Errorf("ids and owner: %v", err)
	}
}

// Every public bundle can be had as it is offered.
func TestEveryPublicBundleCanBeCreated(t *testing.T) {
	b := newBench(t)
	for pages := workspaces.NewDescribeWorkspaceBundlesPaginator(b.client(), &workspaces.DescribeWorkspaceBundlesInput{Owner: aws.String("AMAZON")}); pages.HasMorePages(); {
		p, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, bundle := range p.Bundles {
			if err := b.emu.AddUsers(directory, *bundle.BundleId); err != nil {
				t.Fatal(err)
			}
			w := b.create(request(*bundle.BundleId, func(r *types.WorkspaceRequest) {
				r.BundleId = bundle.BundleId
				r.WorkspaceProperties = &types.WorkspaceProperties{ComputeTypeName: bundle.ComputeType.Name}
			})).PendingRequests
			if len(w) != 1 || w[0].WorkspaceProperties.ComputeTypeName != bundle.ComputeType.Name {
				t.Errorf("%s: %+v", *bundle.Name, w)
			}
		}
	}
}

func TestDirectories(t *testing.T) {
	b := newBench(t)
	out, err := b.client().DescribeWorkspaceDirectories(t.Context(), &workspaces.DescribeWorkspaceDirectoriesInput{})
	if err != nil || len(out.Directories) != 1 {
		t.Fatalf("%v %+v", err, out)
	}
	d := out.Directories[0]
	if *d.DirectoryId != directory || *d.DirectoryName != "corp.example.com" || d.State != types.WorkspaceDirectoryStateRegistered ||
		len(d.SubnetIds) != 2 || d.WorkspaceCreationProperties == nil || d.Tenancy != types.TenancyShared || d.IpGroupIds == nil {
		t.Errorf("%+v", d)
	}
	for _, subnet := range d.SubnetIds {
		if !regexp.MustCompile(`^(subnet-([0-9a-f]{8}|[0-9a-f]{17}))$`).MatchString(subnet) {
			t.Errorf("subnet %s", subnet)
		}
	}
	self := d.SelfservicePermissions
	if self.RestartWorkspace != types.ReconnectEnumEnabled || self.RebuildWorkspace != types.ReconnectEnumDisabled ||
		self.SwitchRunningMode != types.ReconnectEnumDisabled || self.ChangeComputeType != types.ReconnectEnumDisabled || self.IncreaseVolumeSize != types.ReconnectEnumDisabled {
		t.Errorf("self-service %+v", self)
	}
	if w := b.describe(b.available(request("alice"))); !slices.Contains(d.SubnetIds, *w.SubnetId) {
		t.Errorf("subnet %s is not the directory's", *w.SubnetId)
	}
	for name, c := range map[string]struct {
		in   workspaces.DescribeWorkspaceDirectoriesInput
		want int
	}{
		"id":           {workspaces.DescribeWorkspaceDirectoriesInput{DirectoryIds: []string{directory}}, 1},
		"id elsewhere": {workspaces.DescribeWorkspaceDirectoriesInput{DirectoryIds: []string{elsewhere}}, 0},
		"personal":     {workspaces.DescribeWorkspaceDirectoriesInput{Filters: []types.DescribeWorkspaceDirectoriesFilter{{Name: "WORKSPACE_TYPE", Values: []string{"PERSONAL"}}}}, 1},
		"pools":        {workspaces.DescribeWorkspaceDirectoriesInput{Filters: []types.DescribeWorkspaceDirectoriesFilter{{Name: "WORKSPACE_TYPE", Values: []string{"POOLS"}}}}, 0},
		"name":         {workspaces.DescribeWorkspaceDirectoriesInput{WorkspaceDirectoryNames: []string{"corp.example.com"}}, 1},
		"other name":   {workspaces.DescribeWorkspaceDirectoriesInput{WorkspaceDirectoryNames: []string{"nowhere"}}, 0},
	} {
		out, err := b.client().DescribeWorkspaceDirectories(t.Context(), &c.in)
		if err != nil || len(out.Directories) != c.want {
			t.Errorf("%s: %v, %d found, want %d", name, err, len(out.Directories), c.want)
		}
	}
}
