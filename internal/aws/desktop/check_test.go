package desktop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/workspace"
)

var (
	wanted = Wanted{OperatingSystems: []string{"WINDOWS"}, ComputeTypes: []string{"STANDARD", "PERFORMANCE", "POWER", "POWERPRO"}}
	// atHome is the directory of the bench, as it is configured.
	atHome = workspace.Directory{Region: home, ID: directory}
)

// amazon is Amazon's API as an operator has it, beside the provider.
func (b *bench) amazon(region string) *workspaces.Client {
	return workspaces.NewFromConfig(b.config.AWS, func(o *workspaces.Options) {
		o.Region, o.BaseEndpoint, o.Retryer, o.HTTPClient = region, &b.server.URL, aws.NopRetryer{}, sendOnce(b.config.AWS.HTTPClient)
	})
}

// acts are the findings that somebody should act upon.
func acts(t *testing.T, p *Provider, configured ...workspace.Directory) []Finding {
	t.Helper()
	found, err := p.Check(t.Context(), configured, wanted)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(found, func(f Finding) bool { return f.Severity == Info })
}

// shell runs a command of a finding as an operator does, with nothing of this machine's own configuration.
func shell(t *testing.T, command string) {
	t.Helper()
	if _, err := exec.LookPath("aws"); err != nil {
		t.Fatal("the aws program is not in PATH: apt-get install -y awscli")
	}
	run := exec.CommandContext(t.Context(), "sh", "-c", command)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") {
			run.Env = append(run.Env, v)
		}
	}
	run.Env = append(run.Env, "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

func TestADirectoryAsForgeNeedsItHasNothingToActUpon(t *testing.T) {
	b := newBench(t)
	b.create(spec("alice"))
	found, err := b.Check(t.Context(), []workspace.Directory{atHome, {Region: abroad, ID: elsewhere, Teams: []string{"data"}}}, wanted)
	if err != nil {
		t.Fatal(err)
	}
	var whats []string
	for _, f := range found {
		if f.Severity != Info || f.Why == "" || f.Command != "" {
			t.Errorf("%+v", f)
		}
		whats = append(whats, strings.TrimSpace(f.Region+" "+f.DirectoryID)+" "+f.What)
	}
	const settings = "new WorkSpaces: users are local administrators, no public address, organisational unit as by default, security group Amazon's only"
	want := []string{
		home + " WorkSpaces: 1, 1 of them in the configured directories",
		home + " " + directory + " " + settings,
		abroad + " WorkSpaces: 0, 0 of them in the configured directories",
		abroad + " " + elsewhere + " " + settings,
	}
	if d := cmp.Diff(want, whats); d != "" {
		t.Error(d)
	}
}

// A finding is made with the real SDK, found, put right with the finding's own command, and found no more.
func TestWhatIsFoundIsGoneAfterItsCommand(t *testing.T) {
	t.Parallel()
	id := aws.String(directory)
	for name, c := range map[string]struct {
		spoil    func(ctx context.Context, api *workspaces.Client) error
		severity Severity
		what     string
	}{
		"self-service that costs": {
			func(ctx context.Context, api *workspaces.Client) error {
				_, err := api.ModifySelfservicePermissions(ctx, &workspaces.ModifySelfservicePermissionsInput{
					ResourceId: id, SelfservicePermissions: &types.SelfservicePermissions{
						SwitchRunningMode: types.ReconnectEnumEnabled, RebuildWorkspace: types.ReconnectEnumEnabled, RestartWorkspace: types.ReconnectEnumDisabled,
					},
				})
				return err
			},
			Must, "self-service is on for SwitchRunningMode, RebuildWorkspace",
		},
		"self-service that loses data": {
			func(ctx context.Context, api *workspaces.Client) error {
				_, err := api.ModifySelfservicePermissions(ctx, &workspaces.ModifySelfservicePermissionsInput{
					ResourceId: id, SelfservicePermissions: &types.SelfservicePermissions{RebuildWorkspace: types.ReconnectEnumEnabled},
				})
				return err
			},
			Should, "self-service is on for RebuildWorkspace",
		},
		"no maintenance": {
			func(ctx context.Context, api *workspaces.Client) error {
				_, err := api.ModifyWorkspaceCreationProperties(ctx, &workspaces.ModifyWorkspaceCreationPropertiesInput{
					ResourceId: id, WorkspaceCreationProperties: &types.WorkspaceCreationProperties{
						EnableMaintenanceMode: aws.Bool(false), DefaultOu: aws.String("OU=Ada's,DC=corp"), EnableInternetAccess: aws.Bool(true),
						CustomSecurityGroupId: aws.String("sg-0a1b2c3d"),
					},
				})
				return err
			},
			Should, "maintenance mode is off",
		},
		"no client": {
			func(ctx context.Context, api *workspaces.Client) error {
				no := types.AccessPropertyValueDeny
				_, err := api.ModifyWorkspaceAccessProperties(ctx, &workspaces.ModifyWorkspaceAccessPropertiesInput{
					ResourceId: id, WorkspaceAccessProperties: &types.WorkspaceAccessProperties{
						DeviceTypeWindows: no, DeviceTypeOsx: no, DeviceTypeWeb: no, DeviceTypeIos: no, DeviceTypeAndroid: no, DeviceTypeChromeOs: no,
						DeviceTypeZeroClient: no, DeviceTypeLinux: no, DeviceTypeWorkSpacesThinClient: no,
					},
				})
				return err
			},
			Must, "no kind of client is allowed",
		},
		"IP groups without rules": {
			func(ctx context.Context, api *workspaces.Client) error {
				groups := make([]string, 3)
				for i := range groups {
					in := &workspaces.CreateIpGroupInput{GroupName: aws.String(fmt.Sprintf("group %d", i))}
					if i == 1 {
						in.UserRules = []types.IpRuleItem{{IpRule: aws.String("203.0.113.0/24")}}
					}
					made, err := api.CreateIpGroup(ctx, in)
					if err != nil {
						return err
					}
					groups[i] = *made.GroupId
				}
				_, err := api.AssociateIpGroups(ctx, &workspaces.AssociateIpGroupsInput{DirectoryId: id, GroupIds: groups})
				return err
			},
			Must, "there is no rule in the IP group wsipg-",
		},
		"not registered": {
			func(ctx context.Context, api *workspaces.Client) error {
				_, err := api.DeregisterWorkspaceDirectory(ctx, &workspaces.DeregisterWorkspaceDirectoryInput{DirectoryId: id})
				return err
			},
			Must, "the directory is not registered with WorkSpaces",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			configured := atHome
			configured.SubnetIDs = b.shownDirectory(directory).SubnetIds
			if left := acts(t, b.Provider, configured); len(left) != 0 {
				t.Fatalf("found %+v before anything was changed", left)
			}
			if err := c.spoil(t.Context(), b.amazon(home)); err != nil {
				t.Fatal(err)
			}
			b.pass(time.Hour)
			before := b.shownDirectory(directory)
			found := acts(t, b.Provider, configured)
			if len(found) != 1 {
				t.Fatalf("found %+v, want one", found)
			}
			f := found[0]
			if f.Severity != c.severity || !strings.HasPrefix(f.What, c.what) || f.Region != home || f.DirectoryID != directory || f.Why == "" {
				t.Errorf("found %+v", f)
			}
			shell(t, f.Command)
			b.pass(time.Hour)
			if left := acts(t, b.Provider, configured); len(left) != 0 {
				t.Errorf("after %s: %+v", f.Command, left)
			}
			if before != nil {
				wantOnlyPutRight(t, before, b.shownDirectory(directory))
			}
		})
	}
}

// wantOnlyPutRight fails the test when a command has changed what was nobody's complaint.
func wantOnlyPutRight(t *testing.T, before, after *types.WorkspaceDirectory) {
	t.Helper()
	for _, d := range []*types.WorkspaceDirectory{before, after} {
		restart := d.SelfservicePermissions.RestartWorkspace
		d.SelfservicePermissions = &types.SelfservicePermissions{RestartWorkspace: restart}
		d.WorkspaceCreationProperties.EnableMaintenanceMode = nil
		d.WorkspaceAccessProperties.DeviceTypeWindows, d.WorkspaceAccessProperties.DeviceTypeOsx = "", ""
		d.IpGroupIds = nil
	}
	if d := cmp.Diff(fmt.Sprintf("%+v", *before.WorkspaceAccessProperties), fmt.Sprintf("%+v", *after.WorkspaceAccessProperties)); d != "" {
		t.Error(d)
	}
	if before.SelfservicePermissions.RestartWorkspace != after.SelfservicePermissions.RestartWorkspace {
		t.Errorf("restarting was %s and is %s", before.SelfservicePermissions.RestartWorkspace, after.SelfservicePermissions.RestartWorkspace)
	}
	was, is := before.WorkspaceCreationProperties, after.WorkspaceCreationProperties
	if aws.ToString(was.DefaultOu) != aws.ToString(is.DefaultOu) || aws.ToBool(was.EnableInternetAccess) != aws.ToBool(is.EnableInternetAccess) ||
		aws.ToBool(was.UserEnabledAsLocalAdministrator) != aws.ToBool(is.UserEnabledAsLocalAdministrator) ||
		aws.ToString(was.CustomSecurityGroupId) != aws.ToString(is.CustomSecurityGroupId) {
		t.Errorf("the settings of new WorkSpaces were %+v and are %+v", was, is)
	}
}

// shownDirectory is a directory as Amazon shows it, nil when it does not.
func (b *bench) shownDirectory(id string) *types.WorkspaceDirectory {
	b.t.Helper()
	out, err := b.amazon(home).DescribeWorkspaceDirectories(b.t.Context(), &workspaces.DescribeWorkspaceDirectoriesInput{DirectoryIds: []string{id}})
	if err != nil {
		b.t.Fatal(err)
	}
	if len(out.Directories) == 0 {
		return nil
	}
	return &out.Directories[0]
}

// What no command puts right is gone when the configuration says what is so, or in time.
func TestWhatIsConfiguredWronglyIsFound(t *testing.T) {
	b := newBench(t)
	shown := b.shownDirectory(directory)
	api := b.amazon(home)
	pool, err := api.RegisterWorkspaceDirectory(t.Context(), &workspaces.RegisterWorkspaceDirectoryInput{
		WorkspaceType: types.WorkspaceTypePools, UserIdentityType: types.UserIdentityTypeCustomerManaged, WorkspaceDirectoryName: aws.String("pool"),
		WorkspaceDirectoryDescription: aws.String("of sessions"), SubnetIds: []string{"subnet-0a1b2c3d", "subnet-1b2c3d4e"},
	})
	if err != nil {
		t.Fatal(err)
	}
	pools := workspace.Directory{Region: home, ID: *pool.DirectoryId}
	if found := acts(t, b.Provider, pools); len(found) != 1 || found[0].What != "the directory is REGISTERING, not REGISTERED" {
		t.Errorf("of a directory that is new, found %+v", found)
	}
	b.pass(time.Hour)

	with := func(change func(*workspace.Directory)) workspace.Directory {
		d := atHome
		change(&d)
		return d
	}
	for name, c := range map[string]struct {
		wrong, right workspace.Directory
		what         string
	}{
		"licence": {with(func(d *workspace.Directory) { d.License = workspace.LicenseBYOL }), with(func(d *workspace.Directory) { d.License = workspace.LicenseIncluded }), "the tenancy is SHARED, and the licence is configured as BYOL"},
		"subnets": {
			with(func(d *workspace.Directory) { d.SubnetIDs = []string{"subnet-0a1b2c3d"} }),
			with(func(d *workspace.Directory) { d.SubnetIDs = []string{shown.SubnetIds[1], shown.SubnetIds[0]} }), "the subnets are subnet-",
		},
		"region":      {with(func(d *workspace.Directory) { d.Region = abroad }), atHome, "the directory is not registered"},
		"for pools":   {pools, atHome, "the directory is for WorkSpaces POOLS, not PERSONAL"},
		"made-up wsd": {with(func(d *workspace.Directory) { d.ID = "wsd-abcdefgh1" }), atHome, "the directory is not registered"},
	} {
		t.Run(name, func(t *testing.T) {
			found := acts(t, b.Provider, c.wrong)
			if len(found) != 1 || found[0].Severity != Must || !strings.HasPrefix(found[0].What, c.what) || found[0].DirectoryID != c.wrong.ID {
				t.Errorf("found %+v", found)
			}
			if left := acts(t, b.Provider, c.right); len(left) != 0 {
				t.Errorf("found %+v after the configuration was corrected", left)
			}
		})
	}
}

func TestBundlesThatRequestsWillMissAreFound(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		system, computes string
		severity         Severity
		missing          string
	}{
		{"WINDOWS", "STANDARD POWER", "", ""},
		{"WINDOWS", "STANDARD GRAPHICS", Should, "GRAPHICS"},
		{"ROCKY", "STANDARD POWER", Must, "STANDARD, POWER"},
	} {
		want := Wanted{OperatingSystems: []string{c.system}, ComputeTypes: strings.Fields(c.computes)}
		found, err := b.Check(t.Context(), []workspace.Directory{atHome}, want)
		if err != nil {
			t.Fatal(err)
		}
		says := "Amazon has no public bundle with " + c.system + " for DCV of " + c.missing
		switch f := found[0]; {
		case c.missing == "" && f.Severity != Info, c.missing != "" && (f.Severity != c.severity || f.What != says || f.DirectoryID != ""):
			t.Errorf("%+v: found %+v", c, f)
		}
	}
}

// behind puts something between the provider and the emulator: it answers itself, or says what the emulator is to write to.
func (b *bench) behind(between func(operation string, w http.ResponseWriter) (emulators http.ResponseWriter)) *Provider {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if w = between(operation, w); w != nil {
			b.server.Config.Handler.ServeHTTP(w, r)
		}
	}))
	b.t.Cleanup(server.Close)
	cfg := b.config
	cfg.Endpoint, cfg.AWS.HTTPClient = server.URL, server.Client()
	return New(cfg)
}

func refuses(w http.ResponseWriter, code string) http.ResponseWriter {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = fmt.Fprintf(w, `{"__type":%q,"message":"User: forge is not authorized"}`, code)
	return nil
}

// dated gives answers a date.
type dated struct {
	http.ResponseWriter
	at time.Time
}

func (d dated) WriteHeader(status int) {
	d.Header().Set("Date", d.at.UTC().Format(http.TimeFormat))
	d.ResponseWriter.WriteHeader(status)
}

func TestAReadThatIsDeniedIsFoundWithItsAction(t *testing.T) {
	b := newBench(t)
	api := b.amazon(home)
	group, err := api.CreateIpGroup(t.Context(), &workspaces.CreateIpGroupInput{GroupName: aws.String("office"), UserRules: []types.IpRuleItem{{IpRule: aws.String("203.0.113.7/32")}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.AssociateIpGroups(t.Context(), &workspaces.AssociateIpGroupsInput{DirectoryId: aws.String(directory), GroupIds: []string{*group.GroupId}}); err != nil {
		t.Fatal(err)
	}
	for operation, severity := range map[string]Severity{
		"DescribeWorkspaceDirectories": Must, "DescribeWorkspaces": Must, "DescribeTags": Must, "DescribeWorkspaceBundles": Must,
		"DescribeWorkspacesConnectionStatus": Must, "DescribeWorkspaceSnapshots": Must, "DescribeIpGroups": Should,
	} {
		p := b.behind(func(asked string, w http.ResponseWriter) http.ResponseWriter {
			if asked != operation {
				return w
			}
			return refuses(w, "AccessDeniedException")
		})
		found := acts(t, p, atHome)
		if len(found) != 1 || found[0].Severity != severity || found[0].What != "access is denied to "+operation ||
			!strings.Contains(found[0].Why, "IAM action workspaces:"+operation+".") || found[0].Region != home {
			t.Errorf("%s: found %+v", operation, found)
		}
	}
	p := b.behind(func(_ string, w http.ResponseWriter) http.ResponseWriter {
		return refuses(w, "UnrecognizedClientException")
	})
	if found := acts(t, p, atHome); len(found) != 1 || found[0].What != "Amazon refuses the credentials: UnrecognizedClientException" {
		t.Errorf("found %+v", found)
	}
}

func TestARegionThatDoesNotAnswerIsFound(t *testing.T) {
	b := newBench(t)
	b.fail("DescribeWorkspaceDirectories", "drop_before_apply", 1)
	found := acts(t, b.Provider, workspace.Directory{Region: abroad, ID: elsewhere}, atHome)
	if len(found) != 1 || found[0].Severity != Must || found[0].Region != abroad || found[0].What != "DescribeWorkspaceDirectories failed: "+codeNoAnswer {
		t.Errorf("found %+v", found)
	}
}

func TestAClockThatIsOffIsFound(t *testing.T) {
	for _, c := range []struct {
		off   time.Duration
		found bool
	}{{0, false}, {4 * time.Minute, false}, {-6 * time.Minute, true}, {time.Hour, true}} {
		b := newBench(t)
		p := b.behind(func(_ string, w http.ResponseWriter) http.ResponseWriter {
			return dated{w, time.Now().Add(c.off)}
		})
		found := acts(t, p, atHome)
		if got := len(found) == 1 && found[0].Severity == Must && strings.HasPrefix(found[0].What, "this machine's clock is off by "); got != c.found || len(found) > 1 {
			t.Errorf("off by %s: found %+v", c.off, found)
		}
	}
	// Beyond its tolerance, Amazon says no, and with that what time it is.
	b := newBench(t)
	p := b.behind(func(_ string, w http.ResponseWriter) http.ResponseWriter {
		return refuses(dated{w, time.Now().Add(time.Hour)}, "InvalidSignatureException")
	})
	if found := acts(t, p, atHome); len(found) != 2 || !strings.Contains(found[0].What, "clock") || !strings.Contains(found[1].What, "InvalidSignature") {
		t.Errorf("found %+v", found)
	}
}

func TestWithoutCredentialsNothingIsAsked(t *testing.T) {
	b := newBench(t)
	for _, provider := range []aws.CredentialsProvider{nil, aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("there is no instance")
	})} {
		cfg := b.config
		cfg.AWS.Credentials = provider
		found := acts(t, New(cfg), atHome)
		if len(found) != 1 || found[0].Severity != Must || found[0].What != "there are no credentials for Amazon" {
			t.Errorf("found %+v", found)
		}
	}
	if asked := len(b.sent("DescribeWorkspaceDirectories")); asked != 0 {
		t.Errorf("%d calls", asked)
	}
}

func TestACheckEndsWithItsContext(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if found, err := b.Check(ctx, []workspace.Directory{atHome}, wanted); !errors.Is(err, context.Canceled) {
		t.Errorf("found %+v: %v", found, err)
	}
}

func TestManyWorkSpacesAreCountedToABound(t *testing.T) {
	b := newBench(t, func(c *emulator.Config) { c.Quota = 2000 })
	api := b.amazon(abroad)
	const all = countPages*batchSize + 1
	for from := 0; from < all; from += batchSize {
		in := &workspaces.CreateWorkspacesInput{}
		for i := from; i < min(from+batchSize, all); i++ {
			in.Workspaces = append(in.Workspaces, types.WorkspaceRequest{
				DirectoryId: aws.String(elsewhere), UserName: aws.String(fmt.Sprintf("user%d", i)), BundleId: aws.String("wsb-8k5xwlxqc"),
				WorkspaceProperties: &types.WorkspaceProperties{RunningMode: types.RunningModeAutoStop},
			})
		}
		if out, err := api.CreateWorkspaces(t.Context(), in); err != nil || len(out.FailedRequests) > 0 {
			t.Fatalf("%v, %+v", err, out)
		}
	}
	b.pass(time.Minute)
	found, err := b.Check(t.Context(), []workspace.Directory{{Region: abroad, ID: elsewhere}}, wanted)
	if err != nil {
		t.Fatal(err)
	}
	if got := found[0].What; got != fmt.Sprintf("WorkSpaces: at least %[1]d, %[1]d of them in the configured directories", countPages*batchSize) {
		t.Error(got)
	}
}
