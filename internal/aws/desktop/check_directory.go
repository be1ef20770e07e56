package desktop

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/workspace"
)

// directoryCheck looks at one directory.
type directoryCheck struct {
	*checker
	configured  workspace.Directory
	emptyGroups map[string]bool
}

func (d *directoryCheck) add(s Severity, what, why, command string) {
	d.found = append(d.found, Finding{
		Severity: s, Region: d.configured.Region, DirectoryID: d.configured.ID, What: what, Why: why, Command: command,
	})
}

// command is a command of Amazon's program for this directory, whose id goes with the flag.
func (d *directoryCheck) command(operation, idFlag, rest string) string {
	endpoint := ""
	if d.p.cfg.Endpoint != "" {
		endpoint = " --endpoint-url " + quoted(d.p.cfg.Endpoint)
	}
	return strings.TrimSpace(fmt.Sprintf("aws workspaces %s%s --region %s %s %s %s", operation, endpoint, d.configured.Region, idFlag, d.configured.ID, rest))
}

// quoted makes one word of a shell's of anything.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// properties is an option whose value is a structure. All members are in it, also those that stay as they are: Amazon does
// not say what becomes of one that is left out.
func properties(option string, members map[string]any) string {
	b, err := json.Marshal(members)
	if err != nil {
		panic("desktop: texts and truth values cannot be written as JSON: " + err.Error())
	}
	return "--" + option + " " + quoted(string(b))
}

// run looks at the directory as Amazon shows it, or does not.
func (d *directoryCheck) run(at *types.WorkspaceDirectory) {
	if at == nil {
		d.unregistered()
		return
	}
	if at.State != types.WorkspaceDirectoryStateRegistered {
		d.state(at)
		return
	}
	d.kind(at)
	d.subnets(at)
	d.selfService(at.SelfservicePermissions)
	d.creation(at.WorkspaceCreationProperties)
	d.access(at.WorkspaceAccessProperties)
	d.ipGroups(at.IpGroupIds)
}

func (d *directoryCheck) unregistered() {
	const what = "the directory is not registered with WorkSpaces"
	if !strings.HasPrefix(d.configured.ID, "d-") {
		d.add(Must, what, "Nothing can be made in it. Amazon gives such an id when it registers a directory, so this one is of another region or account, or is gone: correct the configuration.", "")
		return
	}
	options := []string{"--no-enable-self-service"}
	if len(d.configured.SubnetIDs) > 0 {
		options = append(options, "--subnet-ids "+strings.Join(d.configured.SubnetIDs, " "))
	}
	if d.configured.License == workspace.LicenseBYOL {
		options = append(options, "--tenancy DEDICATED")
	}
	d.add(Must, what, "Nothing can be made in it. See first whether its id and region are right.", d.command("register-workspace-directory", "--directory-id", strings.Join(options, " ")))
}

func (d *directoryCheck) state(at *types.WorkspaceDirectory) {
	why := "Nothing can be made in it, nor can its settings be looked at."
	if at.State == types.WorkspaceDirectoryStateRegistering {
		why += " Amazon takes some minutes to register one: check again then."
	}
	if message := aws.ToString(at.ErrorMessage); message != "" {
		why += fmt.Sprintf(" Amazon says: %q", message)
	}
	d.add(Must, fmt.Sprintf("the directory is %s, not REGISTERED", at.State), why, "")
}

// kind is about what was decided when the directory was registered, and cannot be changed.
func (d *directoryCheck) kind(at *types.WorkspaceDirectory) {
	if at.WorkspaceType != "" && at.WorkspaceType != types.WorkspaceTypePersonal {
		d.add(Must, fmt.Sprintf("the directory is for WorkSpaces %s, not PERSONAL", at.WorkspaceType),
			"Forge makes desktops of one person each, which Amazon refuses there. Configure another directory.", "")
	}
	license := cmp.Or(d.configured.License, workspace.LicenseIncluded)
	dedicated := at.Tenancy == types.TenancyDedicated
	if at.Tenancy != "" && dedicated != (license == workspace.LicenseBYOL) {
		d.add(Must, fmt.Sprintf("the tenancy is %s, and the licence is configured as %s", at.Tenancy, license),
			"Windows of your own runs on dedicated hardware only, and is all that runs there. The tenancy stays as it was registered: correct the configuration, or configure another directory.", "")
	}
	if license == workspace.LicenseBYOL {
		d.add(Info, "Forge makes WorkSpaces from Amazon's public bundles only", "Bundles of your own images, which Windows of your own needs, are not chosen yet.", "")
	}
}

func (d *directoryCheck) subnets(at *types.WorkspaceDirectory) {
	want, have := slices.Sorted(slices.Values(d.configured.SubnetIDs)), slices.Sorted(slices.Values(at.SubnetIds))
	if len(want) == 0 || slices.Equal(want, have) {
		return
	}
	d.add(Must, fmt.Sprintf("the subnets are %s, and configured are %s", strings.Join(have, ", "), strings.Join(want, ", ")),
		"WorkSpaces are made in a network that nobody means them to be in. Correct the configuration; or, while the directory has no WorkSpaces, deregister it and register it with those subnets: Amazon has no other way to change them.", "")
}

func (d *directoryCheck) selfService(at *types.SelfservicePermissions) {
	if at == nil {
		return
	}
	permissions := []struct {
		name  string
		value types.ReconnectEnum
	}{
		{"IncreaseVolumeSize", at.IncreaseVolumeSize},
		{"ChangeComputeType", at.ChangeComputeType},
		{"SwitchRunningMode", at.SwitchRunningMode},
		{"RebuildWorkspace", at.RebuildWorkspace},
	}
	members := map[string]any{"RestartWorkspace": cmp.Or(at.RestartWorkspace, types.ReconnectEnumEnabled)}
	var enabled []string
	severity := Should
	for _, p := range permissions {
		members[p.name] = types.ReconnectEnumDisabled
		if p.value != types.ReconnectEnumEnabled {
			continue
		}
		enabled = append(enabled, p.name)
		if p.name != "RebuildWorkspace" {
			severity = Must
		}
	}
	if len(enabled) == 0 {
		return
	}
	why := "Users can set their WorkSpace back to its image, and lose what is on it."
	if severity == Must {
		why = "Users can change what their WorkSpace costs behind Forge's back: no budget is asked, and the records are wrong."
	}
	d.add(severity, "self-service is on for "+strings.Join(enabled, ", "), why,
		d.command("modify-selfservice-permissions", "--resource-id", properties("selfservice-permissions", members)))
}

// creation is about what new WorkSpaces are like. Forge needs none of it; updates it should have.
func (d *directoryCheck) creation(at *types.DefaultWorkspaceCreationProperties) {
	if at == nil {
		return
	}
	says := func(p *bool, yes, no string) string {
		if aws.ToBool(p) {
			return yes
		}
		return no
	}
	d.add(Info, fmt.Sprintf("new WorkSpaces: %s, %s, organisational unit %s, security group %s",
		says(at.UserEnabledAsLocalAdministrator, "users are local administrators", "users are no local administrators"),
		says(at.EnableInternetAccess, "a public address each", "no public address"),
		cmp.Or(aws.ToString(at.DefaultOu), "as by default"), cmp.Or(aws.ToString(at.CustomSecurityGroupId), "Amazon's only")),
		"Forge works with all of these; they are yours to decide.", "")
	if at.EnableMaintenanceMode == nil || *at.EnableMaintenanceMode {
		return
	}
	members := map[string]any{"EnableMaintenanceMode": true}
	for name, flag := range map[string]*bool{"EnableInternetAccess": at.EnableInternetAccess, "UserEnabledAsLocalAdministrator": at.UserEnabledAsLocalAdministrator} {
		if flag != nil {
			members[name] = *flag
		}
	}
	for name, text := range map[string]*string{"CustomSecurityGroupId": at.CustomSecurityGroupId, "DefaultOu": at.DefaultOu, "InstanceIamRoleArn": at.InstanceIamRoleArn} {
		if text != nil {
			members[name] = *text
		}
	}
	d.add(Should, "maintenance mode is off", "A WorkSpace that stops by itself gets Amazon's updates only while somebody uses it.",
		d.command("modify-workspace-creation-properties", "--resource-id", properties("workspace-creation-properties", members)))
}

func (d *directoryCheck) access(at *types.WorkspaceAccessProperties) {
	if at == nil {
		return
	}
	members := map[string]any{}
	for name, value := range map[string]types.AccessPropertyValue{
		"DeviceTypeWindows": at.DeviceTypeWindows, "DeviceTypeOsx": at.DeviceTypeOsx, "DeviceTypeWeb": at.DeviceTypeWeb,
		"DeviceTypeIos": at.DeviceTypeIos, "DeviceTypeAndroid": at.DeviceTypeAndroid, "DeviceTypeChromeOs": at.DeviceTypeChromeOs,
		"DeviceTypeZeroClient": at.DeviceTypeZeroClient, "DeviceTypeLinux": at.DeviceTypeLinux,
		"DeviceTypeWorkSpacesThinClient": at.DeviceTypeWorkSpacesThinClient,
	} {
		switch value {
		case types.AccessPropertyValueAllow:
			return
		case types.AccessPropertyValueDeny:
			members[name] = value
		}
	}
	if len(members) == 0 {
		return
	}
	members["DeviceTypeWindows"], members["DeviceTypeOsx"] = types.AccessPropertyValueAllow, types.AccessPropertyValueAllow
	d.add(Must, "no kind of client is allowed", "Nobody can connect. The command allows the clients for Windows and macOS.",
		d.command("modify-workspace-access-properties", "--resource-id", properties("workspace-access-properties", members)))
}

func (d *directoryCheck) ipGroups(has []string) {
	var empty []string
	for _, id := range has {
		if d.emptyGroups[id] {
			empty = append(empty, id)
		}
	}
	if len(empty) == 0 {
		return
	}
	d.add(Must, "there is no rule in the IP group "+strings.Join(empty, ", "),
		"A group without rules keeps everybody out. The command takes it from the directory; or give it rules with `aws workspaces authorize-ip-rules`.",
		d.command("disassociate-ip-groups", "--directory-id", "--group-ids "+strings.Join(empty, " ")))
}
