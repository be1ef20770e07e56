package emulator

import (
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
)

// directory is what is stored of a registered directory. Its users are records of their own, so that adding
// one to many writes one line.
type directory struct {
	Seq       int64    `json:"seq"`
	ID        string   `json:"id"`
	Region    string   `json:"region"`
	Name      string   `json:"name"`
	SubnetIDs []string `json:"subnet_ids"`
}

func (*directory) kind() string  { return "directory" }
func (d *directory) key() string { return d.ID }

// directoryUser is somebody in a directory who may be given a WorkSpace.
type directoryUser struct {
	DirectoryID string `json:"directory_id"`
	Name        string `json:"name"`
}

func (*directoryUser) kind() string  { return "user" }
func (u *directoryUser) key() string { return userKey(u.DirectoryID, u.Name) }

func newDirectory(d Directory, seq int64) *directory {
	if d.Name == "" {
		d.Name = d.ID + ".example.com"
	}
	if len(d.SubnetIDs) == 0 {
		h := hash(d.ID, "subnet")
		d.SubnetIDs = []string{fmt.Sprintf("subnet-0%016x", h), fmt.Sprintf("subnet-0%016x", h+1)}
	}
	return &directory{Seq: seq, ID: d.ID, Region: d.Region, Name: d.Name, SubnetIDs: d.SubnetIDs}
}

// newUsers makes records of the names the directory does not have. Amazon takes 1 to 63 characters.
func (w *world) newUsers(d *directory, names []string) ([]record, error) {
	records := make([]record, 0, len(names))
	for _, name := range names {
		if !model.shape("UserName").matches(name) {
			return nil, fmt.Errorf("directory %s: user name %q is not 1 to 63 characters long", d.ID, name)
		}
		if _, ok := w.users[userKey(d.ID, name)]; !ok {
			records = append(records, &directoryUser{DirectoryID: d.ID, Name: name})
		}
	}
	return records, nil
}

type wireDirectory struct {
	DirectoryId                 string
	Alias                       string
	DirectoryName               string
	RegistrationCode            string
	SubnetIds                   []string
	DnsIpAddresses              []string
	CustomerUserName            string
	IamRoleId                   string
	DirectoryType               string
	WorkspaceSecurityGroupId    string
	State                       string
	WorkspaceCreationProperties wireCreationProperties
	IpGroupIds                  []string `json:"ipGroupIds"`
	WorkspaceAccessProperties   map[string]string
	Tenancy                     string
	SelfservicePermissions      map[string]string
	UserIdentityType            string
	WorkspaceType               string
}

type wireCreationProperties struct {
	EnableInternetAccess            bool
	UserEnabledAsLocalAdministrator bool
	EnableMaintenanceMode           bool
}

const (
	identityType  = "AWS_DIRECTORY_SERVICE"
	workspaceType = "PERSONAL"
)

func (d *directory) wire() wireDirectory {
	alias := strings.TrimPrefix(strings.TrimPrefix(d.ID, "wsd-"), "d-")
	third := byte(hash(d.ID, "dns"))
	return wireDirectory{
		DirectoryId:              d.ID,
		Alias:                    alias,
		DirectoryName:            d.Name,
		RegistrationCode:         "WSpdx+" + shortCode(d.ID),
		SubnetIds:                d.SubnetIDs,
		DnsIpAddresses:           []string{fmt.Sprintf("10.0.%d.10", third), fmt.Sprintf("10.0.%d.11", third)},
		CustomerUserName:         "Administrator",
		IamRoleId:                "arn:aws:iam::" + account + ":role/workspaces_DefaultRole",
		DirectoryType:            "SIMPLE_AD",
		WorkspaceSecurityGroupId: fmt.Sprintf("sg-0%016x", hash(d.ID, "group")),
		State:                    "REGISTERED",
		WorkspaceCreationProperties: wireCreationProperties{
			UserEnabledAsLocalAdministrator: true,
			EnableMaintenanceMode:           true,
		},
		IpGroupIds: []string{},
		WorkspaceAccessProperties: map[string]string{
			"DeviceTypeWindows": "ALLOW", "DeviceTypeOsx": "ALLOW", "DeviceTypeWeb": "DENY",
			"DeviceTypeIos": "ALLOW", "DeviceTypeAndroid": "ALLOW", "DeviceTypeChromeOs": "ALLOW",
			"DeviceTypeZeroClient": "ALLOW", "DeviceTypeLinux": "DENY",
		},
		Tenancy: "SHARED",
		SelfservicePermissions: map[string]string{
			"RestartWorkspace": "ENABLED", "IncreaseVolumeSize": "DISABLED", "ChangeComputeType": "DISABLED",
			"SwitchRunningMode": "DISABLED", "RebuildWorkspace": "DISABLED",
		},
		UserIdentityType: identityType,
		WorkspaceType:    workspaceType,
	}
}

// shortCode is the second half of a registration code: six letters and digits.
func shortCode(id string) string {
	return base32.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, hash(id, "code")))[:6]
}

type describeDirectoriesInput struct {
	DirectoryIds            []string
	WorkspaceDirectoryNames []string
	Filters                 []directoryFilter
	Limit                   int
	NextToken               string
}

type directoryFilter struct {
	Name   string
	Values []string
}

func describeDirectories(e *Emulator, c *call, in describeDirectoriesInput) (any, error) {
	if len(in.DirectoryIds) > 0 && (len(in.WorkspaceDirectoryNames) > 0 || len(in.Filters) > 0) {
		return nil, invalidParameters("DirectoryIds cannot be combined with another filter.")
	}
	var found []*directory
	for _, d := range e.world.sortedDirectories() {
		if d.Region == c.region && in.wants(d) {
			found = append(found, d)
		}
	}
	found, next, err := page(c, found, func(d *directory) int64 { return d.Seq }, in.Limit, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := struct {
		Directories []wireDirectory
		NextToken   string `json:",omitempty"`
	}{make([]wireDirectory, 0, len(found)), next}
	for _, d := range found {
		out.Directories = append(out.Directories, d.wire())
	}
	return out, nil
}

func (in describeDirectoriesInput) wants(d *directory) bool {
	if !anyOrIn(in.DirectoryIds, d.ID) || !anyOrIn(in.WorkspaceDirectoryNames, d.Name) {
		return false
	}
	for _, f := range in.Filters {
		is := map[string]string{"USER_IDENTITY_TYPE": identityType, "WORKSPACE_TYPE": workspaceType}[f.Name]
		if !anyOrIn(f.Values, is) {
			return false
		}
	}
	return true
}
