package emulator_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

const newDirectory = "d-90670a1b2c"

var subnets = []string{"subnet-0a1b2c3d", "subnet-1b2c3d4e"}

// wantError gives the SDK's own error, or ends the test.
func wantError[E error](t *testing.T, what string, err error) (e E) {
	t.Helper()
	if !errors.As(err, &e) {
		t.Fatalf("%s: got %v, want %T", what, err, e)
	}
	return e
}

// directory gives the directory as Amazon's API shows it, nil if it does not.
func (b *bench) directory(id string) *types.WorkspaceDirectory {
	b.t.Helper()
	out, err := b.client().DescribeWorkspaceDirectories(b.t.Context(), &workspaces.DescribeWorkspaceDirectoriesInput{DirectoryIds: []string{id}})
	if err != nil {
		b.t.Fatal(err)
	}
	if len(out.Directories) == 0 {
		return nil
	}
	return &out.Directories[0]
}

func (b *bench) wantDirectory(id string, want types.WorkspaceDirectoryState) {
	b.t.Helper()
	if got := b.directory(id); got == nil || got.State != want {
		b.t.Fatalf("directory %s: %+v, want it %s", id, got, want)
	}
}

func (b *bench) register(in workspaces.RegisterWorkspaceDirectoryInput) (*workspaces.RegisterWorkspaceDirectoryOutput, error) {
	return b.client().RegisterWorkspaceDirectory(b.t.Context(), &in)
}

func TestADirectoryIsRegisteredUsedAndDeregistered(t *testing.T) {
	b := newBench(t)
	out := must(b.register(workspaces.RegisterWorkspaceDirectoryInput{
		DirectoryId: aws.String(newDirectory), SubnetIds: subnets, Tenancy: types.TenancyShared, EnableSelfService: aws.Bool(true),
		Tags: []types.Tag{tag("team", "blue")},
	}))
	if *out.DirectoryId != newDirectory || out.State != types.WorkspaceDirectoryStateRegistering {
		t.Errorf("%+v", out)
	}
	b.wantDirectory(newDirectory, types.WorkspaceDirectoryStateRegistering)
	inNew := func(r *types.WorkspaceRequest) { r.DirectoryId = aws.String(newDirectory) }
	if got := b.create(request("zoe", inNew)); len(got.FailedRequests) != 1 || *got.FailedRequests[0].ErrorCode != "InvalidResourceState.Directory" {
		t.Errorf("create while registering: %+v", got)
	}
	_, err := b.client().ModifyClientProperties(t.Context(), &workspaces.ModifyClientPropertiesInput{
		ResourceId: aws.String(newDirectory), ClientProperties: &types.ClientProperties{ReconnectEnabled: types.ReconnectEnumDisabled},
	})
	wantError[*types.OperationNotSupportedException](t, "modify while registering", err)
	deregister := func() error {
		_, err := b.client().DeregisterWorkspaceDirectory(t.Context(), &workspaces.DeregisterWorkspaceDirectoryInput{DirectoryId: aws.String(newDirectory)})
		return err
	}
	wantError[*types.InvalidResourceStateException](t, "deregister while registering", deregister())

	b.clock.advance(4 * time.Minute)
	b.wantDirectory(newDirectory, types.WorkspaceDirectoryStateRegistered)
	if d := b.directory(newDirectory); d.SelfservicePermissions.RebuildWorkspace != types.ReconnectEnumEnabled || !cmp.Equal(d.SubnetIds, subnets) {
		t.Errorf("%+v", d)
	}
	id := b.available(request("zoe", inNew))
	e := wantError[*types.OperationNotSupportedException](t, "deregister while in use", deregister())
	if want := "There are WorkSpaces assigned to this directory. You must remove the WorkSpaces before you deregister the directory."; e.ErrorMessage() != want {
		t.Errorf("message %q", e.ErrorMessage())
	}
	b.terminate(id)
	wantError[*types.OperationNotSupportedException](t, "deregister while terminating", deregister())
	b.pass(id, "TERMINATED")
	b.pass(id, "ABSENT")
	if err := deregister(); err != nil {
		t.Fatal(err)
	}
	b.wantDirectory(newDirectory, types.WorkspaceDirectoryStateDeregistering)
	b.clock.advance(3 * time.Minute)
	if d := b.directory(newDirectory); d != nil {
		t.Errorf("it is still there: %+v", d)
	}
	wantError[*types.ResourceNotFoundException](t, "deregister again", deregister())

	// Registered anew it is as if it had never been, but for the people in it.
	must(b.register(workspaces.RegisterWorkspaceDirectoryInput{DirectoryId: aws.String(newDirectory), SubnetIds: subnets}))
	b.clock.advance(4 * time.Minute)
	if d := b.directory(newDirectory); d.SelfservicePermissions.RebuildWorkspace != types.ReconnectEnumDisabled {
		t.Errorf("%+v", d)
	}
	if got := b.tags(newDirectory); len(got) != 0 {
		t.Errorf("tags %v", got)
	}
	b.one(request("zoe", inNew))
}

func TestWhatCannotBeRegistered(t *testing.T) {
	b := newBench(t)
	in := func(change func(*workspaces.RegisterWorkspaceDirectoryInput)) error {
		given := workspaces.RegisterWorkspaceDirectoryInput{DirectoryId: aws.String(newDirectory), SubnetIds: subnets}
		change(&given)
		_, err := b.register(given)
		return err
	}
	pool := func(change func(*workspaces.RegisterWorkspaceDirectoryInput)) error {
		return in(func(in *workspaces.RegisterWorkspaceDirectoryInput) {
			in.DirectoryId, in.WorkspaceType = nil, types.WorkspaceTypePools
			in.WorkspaceDirectoryName, in.UserIdentityType = aws.String("pools"), types.UserIdentityTypeCustomerManaged
			change(in)
		})
	}
	type input = workspaces.RegisterWorkspaceDirectoryInput
	before := string(b.emu.State())
	for name, err := range map[string]error{
		"no directory":           in(func(in *input) { in.DirectoryId = nil }),
		"one subnet":             in(func(in *input) { in.SubnetIds = subnets[:1] }),
		"dedicated":              in(func(in *input) { in.Tenancy = types.TenancyDedicated }),
		"a tag twice":            in(func(in *input) { in.Tags = []types.Tag{tag("a", "1"), tag("a", "2")} }),
		"pools without subnets":  pool(func(in *input) { in.SubnetIds = nil }),
		"pools with a directory": pool(func(in *input) { in.DirectoryId = aws.String(newDirectory) }),
		"pools without a name":   pool(func(in *input) { in.WorkspaceDirectoryName = nil }),
		"pools of the service":   pool(func(in *input) { in.UserIdentityType = types.UserIdentityTypeAwsDirectoryService }),
		"identity center of nobody": pool(func(in *input) {
			in.WorkspaceType, in.UserIdentityType = "", types.UserIdentityTypeAwsIamIdentityCenter
		}),
	} {
		wantError[*types.InvalidParameterValuesException](t, name, err)
	}
	wantError[*types.OperationNotSupportedException](t, "the same subnet", in(func(in *input) { in.SubnetIds = []string{subnets[0], subnets[0]} }))
	wantError[*types.ResourceAlreadyExistsException](t, "registered already", in(func(in *input) { in.DirectoryId = aws.String(directory) }))
	wantError[*types.ResourceNotFoundException](t, "registered elsewhere", in(func(in *input) { in.DirectoryId = aws.String(elsewhere) }))
	wantError[*types.ResourceNotFoundException](t, "not of the Directory Service", in(func(in *input) { in.DirectoryId = aws.String("wsd-123456789") }))
	if after := string(b.emu.State()); after != before {
		t.Errorf("refused registrations left\n%s", after)
	}
	for i := range 49 {
		if err := in(func(in *input) { in.DirectoryId = aws.String(fmt.Sprintf("d-%010x", i)) }); err != nil {
			t.Fatal(i, err)
		}
	}
	wantError[*types.ResourceLimitExceededException](t, "51 directories", in(func(*input) {}))
	wantError[*types.ResourceAlreadyExistsException](t, "one of 50", in(func(in *input) { in.DirectoryId = aws.String(directory) }))
}

func TestADirectoryWithoutTheDirectoryServiceIsGivenAnID(t *testing.T) {
	b := newBench(t)
	pool := must(b.register(workspaces.RegisterWorkspaceDirectoryInput{
		SubnetIds: subnets, WorkspaceType: types.WorkspaceTypePools, UserIdentityType: types.UserIdentityTypeCustomerManaged,
		WorkspaceDirectoryName: aws.String("pools"), WorkspaceDirectoryDescription: aws.String("for trainings"),
		ActiveDirectoryConfig: &types.ActiveDirectoryConfig{
			DomainName: aws.String("corp.example.com"), ServiceAccountSecretArn: aws.String("arn:aws:secretsmanager:us-east-1:123456789012:secret:joiner-AbCdEf"),
		},
	}))
	center := must(b.register(workspaces.RegisterWorkspaceDirectoryInput{
		SubnetIds: subnets, UserIdentityType: types.UserIdentityTypeAwsIamIdentityCenter, WorkspaceDirectoryName: aws.String("center"),
		IdcInstanceArn:       aws.String("arn:aws:sso:::instance/ssoins-7223abcd"),
		MicrosoftEntraConfig: &types.MicrosoftEntraConfig{TenantId: aws.String("tenant")},
	}))
	b.clock.advance(4 * time.Minute)
	d := b.directory(*pool.DirectoryId)
	if !strings.HasPrefix(*d.DirectoryId, "wsd-") || d.WorkspaceType != types.WorkspaceTypePools || d.UserIdentityType != types.UserIdentityTypeCustomerManaged ||
		d.DirectoryType != types.WorkspaceDirectoryTypeCustomerManaged || *d.WorkspaceDirectoryName != "pools" || *d.WorkspaceDirectoryDescription != "for trainings" ||
		*d.ActiveDirectoryConfig.DomainName != "corp.example.com" || d.DnsIpAddresses != nil || d.CustomerUserName != nil {
		t.Errorf("%+v", d)
	}
	d = b.directory(*center.DirectoryId)
	if d.DirectoryType != types.WorkspaceDirectoryTypeAwsIamIdentityCenter || *d.IDCConfig.InstanceArn == "" || *d.MicrosoftEntraConfig.TenantId != "tenant" {
		t.Errorf("%+v", d)
	}
	b.one(request("zoe", func(r *types.WorkspaceRequest) { r.DirectoryId = center.DirectoryId }))
	refused := b.create(request("zoe", func(r *types.WorkspaceRequest) { r.DirectoryId = pool.DirectoryId }))
	if len(refused.FailedRequests) != 1 || *refused.FailedRequests[0].ErrorCode != "OperationNotSupported.Directory" {
		t.Errorf("%+v", refused)
	}
	for name, c := range map[string]struct {
		filter types.DescribeWorkspaceDirectoriesFilter
		want   []string
	}{
		"pools":    {types.DescribeWorkspaceDirectoriesFilter{Name: "WORKSPACE_TYPE", Values: []string{"POOLS"}}, []string{*pool.DirectoryId}},
		"personal": {types.DescribeWorkspaceDirectoriesFilter{Name: "WORKSPACE_TYPE", Values: []string{"PERSONAL"}}, []string{directory, *center.DirectoryId}},
		"either of two": {
			types.DescribeWorkspaceDirectoriesFilter{Name: "USER_IDENTITY_TYPE", Values: []string{"CUSTOMER_MANAGED", "AWS_IAM_IDENTITY_CENTER"}},
			[]string{*pool.DirectoryId, *center.DirectoryId},
		},
	} {
		out := must(b.client().DescribeWorkspaceDirectories(t.Context(), &workspaces.DescribeWorkspaceDirectoriesInput{
			Filters: []types.DescribeWorkspaceDirectoriesFilter{c.filter},
		}))
		var got []string
		for _, d := range out.Directories {
			got = append(got, *d.DirectoryId)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// The settings of a directory: what Amazon's defaults are, what each operation makes of them, and that a
// restart keeps it.
func TestTheSettingsOfADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	want := types.WorkspaceDirectory{
		DirectoryId: aws.String(directory), Alias: aws.String("926722edaf"), DirectoryName: aws.String("corp.example.com"),
		CustomerUserName: aws.String("Administrator"), DirectoryType: types.WorkspaceDirectoryTypeSimpleAd,
		IamRoleId: aws.String("arn:aws:iam::123456789012:role/workspaces_DefaultRole"), IpGroupIds: []string{},
		State: types.WorkspaceDirectoryStateRegistered, Tenancy: types.TenancyShared, EndpointEncryptionMode: types.EndpointEncryptionModeStandardTls,
		UserIdentityType: types.UserIdentityTypeAwsDirectoryService, WorkspaceType: types.WorkspaceTypePersonal,
		WorkspaceCreationProperties: &types.DefaultWorkspaceCreationProperties{
			EnableInternetAccess: aws.Bool(false), UserEnabledAsLocalAdministrator: aws.Bool(true), EnableMaintenanceMode: aws.Bool(true),
		},
		WorkspaceAccessProperties: &types.WorkspaceAccessProperties{
			DeviceTypeWindows: "ALLOW", DeviceTypeOsx: "ALLOW", DeviceTypeWeb: "DENY", DeviceTypeIos: "ALLOW", DeviceTypeAndroid: "ALLOW",
			DeviceTypeChromeOs: "ALLOW", DeviceTypeZeroClient: "ALLOW", DeviceTypeLinux: "DENY", DeviceTypeWorkSpacesThinClient: "ALLOW",
		},
		SelfservicePermissions: &types.SelfservicePermissions{
			RestartWorkspace: "ENABLED", IncreaseVolumeSize: "DISABLED", ChangeComputeType: "DISABLED", SwitchRunningMode: "DISABLED", RebuildWorkspace: "DISABLED",
		},
		SamlProperties:                 &types.SamlProperties{Status: "DISABLED", RelayStateParameterName: aws.String("RelayState")},
		CertificateBasedAuthProperties: &types.CertificateBasedAuthProperties{Status: "DISABLED"},
	}
	compare := func(b *bench) {
		t.Helper()
		// What is made up is looked at elsewhere.
		made := cmpopts.IgnoreFields(types.WorkspaceDirectory{}, "RegistrationCode", "SubnetIds", "DnsIpAddresses", "WorkspaceSecurityGroupId")
		hidden := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".noSmithyDocumentSerde" }, cmp.Ignore())
		if diff := cmp.Diff(&want, b.directory(directory), made, hidden); diff != "" {
			t.Fatal(diff)
		}
	}
	compare(b)

	api, id := b.client(), aws.String(directory)
	must(api.ModifyWorkspaceCreationProperties(t.Context(), &workspaces.ModifyWorkspaceCreationPropertiesInput{
		ResourceId: id, WorkspaceCreationProperties: &types.WorkspaceCreationProperties{EnableInternetAccess: aws.Bool(true), DefaultOu: aws.String("OU=a"), CustomSecurityGroupId: aws.String("sg-12345678")},
	}))
	want.WorkspaceCreationProperties.EnableInternetAccess = aws.Bool(true)
	want.WorkspaceCreationProperties.DefaultOu, want.WorkspaceCreationProperties.CustomSecurityGroupId = aws.String("OU=a"), aws.String("sg-12345678")
	must(api.ModifyWorkspaceAccessProperties(t.Context(), &workspaces.ModifyWorkspaceAccessPropertiesInput{
		ResourceId: id, WorkspaceAccessProperties: &types.WorkspaceAccessProperties{DeviceTypeWeb: "ALLOW"},
	}))
	want.WorkspaceAccessProperties.DeviceTypeWeb = "ALLOW"
	must(api.ModifySelfservicePermissions(t.Context(), &workspaces.ModifySelfservicePermissionsInput{
		ResourceId: id, SelfservicePermissions: &types.SelfservicePermissions{RestartWorkspace: "DISABLED", SwitchRunningMode: "ENABLED"},
	}))
	want.SelfservicePermissions.RestartWorkspace, want.SelfservicePermissions.SwitchRunningMode = "DISABLED", "ENABLED"
	streaming := &types.StreamingProperties{
		StreamingExperiencePreferredProtocol: "UDP",
		UserSettings:                         []types.UserSetting{{Action: "CLIPBOARD_COPY_TO_LOCAL_DEVICE", Permission: "ENABLED", MaximumLength: aws.Int32(100)}},
		StorageConnectors:                    []types.StorageConnector{{ConnectorType: "HOME_FOLDER", Status: "ENABLED"}},
	}
	must(api.ModifyStreamingProperties(t.Context(), &workspaces.ModifyStreamingPropertiesInput{ResourceId: id, StreamingProperties: streaming}))
	want.StreamingProperties = streaming
	must(api.ModifyEndpointEncryptionMode(t.Context(), &workspaces.ModifyEndpointEncryptionModeInput{DirectoryId: id, EndpointEncryptionMode: "FIPS_VALIDATED"}))
	want.EndpointEncryptionMode = "FIPS_VALIDATED"

	saml := func(in workspaces.ModifySamlPropertiesInput) error {
		in.ResourceId = id
		_, err := api.ModifySamlProperties(t.Context(), &in)
		return err
	}
	wantError[*types.InvalidParameterValuesException](t, "SAML without an address", saml(workspaces.ModifySamlPropertiesInput{SamlProperties: &types.SamlProperties{Status: "ENABLED"}}))
	wantError[*types.InvalidParameterValuesException](t, "nothing", saml(workspaces.ModifySamlPropertiesInput{}))
	if err := saml(workspaces.ModifySamlPropertiesInput{SamlProperties: &types.SamlProperties{Status: "ENABLED", UserAccessUrl: aws.String("https://idp.example.com"), RelayStateParameterName: aws.String("Target")}}); err != nil {
		t.Fatal(err)
	}
	wantError[*types.InvalidParameterValuesException](t, "SAML that loses its address",
		saml(workspaces.ModifySamlPropertiesInput{PropertiesToDelete: []types.DeletableSamlProperty{"SAML_PROPERTIES_USER_ACCESS_URL"}}))
	if err := saml(workspaces.ModifySamlPropertiesInput{PropertiesToDelete: []types.DeletableSamlProperty{"SAML_PROPERTIES_RELAY_STATE_PARAMETER_NAME"}}); err != nil {
		t.Fatal(err)
	}
	want.SamlProperties = &types.SamlProperties{Status: "ENABLED", UserAccessUrl: aws.String("https://idp.example.com"), RelayStateParameterName: aws.String("RelayState")}

	authority := aws.String("arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/1")
	_, err := api.ModifyCertificateBasedAuthProperties(t.Context(), &workspaces.ModifyCertificateBasedAuthPropertiesInput{
		ResourceId: id, CertificateBasedAuthProperties: &types.CertificateBasedAuthProperties{Status: "ENABLED"},
	})
	wantError[*types.InvalidParameterValuesException](t, "certificates of nobody", err)
	must(api.ModifyCertificateBasedAuthProperties(t.Context(), &workspaces.ModifyCertificateBasedAuthPropertiesInput{
		ResourceId: id, CertificateBasedAuthProperties: &types.CertificateBasedAuthProperties{Status: "ENABLED", CertificateAuthorityArn: authority},
	}))
	want.CertificateBasedAuthProperties = &types.CertificateBasedAuthProperties{Status: "ENABLED", CertificateAuthorityArn: authority}

	must(api.ModifyClientProperties(t.Context(), &workspaces.ModifyClientPropertiesInput{ResourceId: id, ClientProperties: &types.ClientProperties{ReconnectEnabled: "DISABLED"}}))
	clients := must(api.DescribeClientProperties(t.Context(), &workspaces.DescribeClientPropertiesInput{ResourceIds: []string{directory}})).ClientPropertiesList
	if len(clients) != 1 || *clients[0].ResourceId != directory || clients[0].ClientProperties.ReconnectEnabled != "DISABLED" || clients[0].ClientProperties.LogUploadEnabled != "ENABLED" {
		t.Errorf("%+v", clients)
	}
	compare(b)
	b.emu.Crash()
	compare(newBench(t, stateFile(path)))
}

func TestSettingsOfADirectoryThatIsNotThere(t *testing.T) {
	b := newBench(t)
	api, id := b.client(), aws.String(elsewhere) // which is in another Region
	_, err := api.ModifySelfservicePermissions(t.Context(), &workspaces.ModifySelfservicePermissionsInput{ResourceId: id, SelfservicePermissions: &types.SelfservicePermissions{RebuildWorkspace: "ENABLED"}})
	wantError[*types.ResourceNotFoundException](t, "self-service", err)
	_, err = api.ModifyEndpointEncryptionMode(t.Context(), &workspaces.ModifyEndpointEncryptionModeInput{DirectoryId: id, EndpointEncryptionMode: "FIPS_VALIDATED"})
	wantError[*types.ResourceNotFoundException](t, "encryption", err)
	_, err = api.DescribeClientProperties(t.Context(), &workspaces.DescribeClientPropertiesInput{ResourceIds: []string{directory, elsewhere}})
	if e := wantError[*types.ResourceNotFoundException](t, "client", err); aws.ToString(e.ResourceId) != elsewhere {
		t.Errorf("%+v", e)
	}
	if b.directory(elsewhere) != nil {
		t.Error("a directory of another Region is shown")
	}
}

// A state file from before there were accounts and settings.
func TestAnOldStateIsTheDefaultAccounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	old := `{"emulator":"workspaces","version":1,"seq":7}
{"kind":"directory","value":{"seq":1,"id":"d-926722edaf","region":"us-east-1","name":"old.example.com","subnet_ids":["subnet-0a1b2c3d","subnet-1b2c3d4e"]}}
{"kind":"user","value":{"directory_id":"d-926722edaf","name":"alice"}}
{"kind":"workspace","value":{"seq":7,"id":"ws-bcdfghjkl","region":"us-east-1","directory_id":"d-926722edaf","user":"alice","bundle_id":"wsb-v26vg2847","subnet_id":"subnet-0a1b2c3d","ip":"10.1.2.3","computer":"WSAMZN-0","running_mode":"ALWAYS_ON","compute":"STANDARD","root_gib":80,"user_gib":50,"protocol":"WSP","system":"WINDOWS_SERVER_2022","tags":{"a":"1"},"created":"2026-03-01T09:00:00Z","visible":"2026-03-01T09:00:00Z","state":"AVAILABLE","since":"2026-03-01T09:15:00Z","speed":1,"available_at":"2026-03-01T09:15:00Z","mode_at":"2026-03-01T09:00:00Z"}}
`
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, stateFile(path), func(c *emulator.Config) { c.Directories = nil })
	b.wantDirectory(directory, types.WorkspaceDirectoryStateRegistered)
	if d := b.directory(directory); *d.DirectoryName != "old.example.com" || d.SelfservicePermissions.RestartWorkspace != "ENABLED" || d.WorkspaceType != types.WorkspaceTypePersonal {
		t.Errorf("%+v", d)
	}
	if w := b.describe("ws-bcdfghjkl"); w == nil || *w.UserName != "alice" || w.State != types.WorkspaceStateAvailable {
		t.Errorf("%+v", w)
	}
	if got := b.tags("ws-bcdfghjkl")["a"]; got != "1" {
		t.Errorf("tag %q", got)
	}
	if got := b.create(request("alice")).FailedRequests; len(got) != 1 || *got[0].ErrorCode != "ResourceExists.WorkSpace" {
		t.Errorf("%+v", got)
	}
}

// must is for answers to what cannot fail; it panics, as it has no test to fail.
func must[T any](answer T, err error) T {
	if err != nil {
		panic(err)
	}
	return answer
}
