package emulator

import (
	"cmp"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The states of a directory. Amazon has ERROR, too, with an ErrorMessage; nothing here leads there.
const (
	directoryRegistering   = "REGISTERING"
	directoryRegistered    = "REGISTERED"
	directoryDeregistering = "DEREGISTERING"
	directoryDeregistered  = "DEREGISTERED" // no longer returned by anything
)

const (
	directoryService = "AWS_DIRECTORY_SERVICE"
	customerManaged  = "CUSTOMER_MANAGED"
	identityCenter   = "AWS_IAM_IDENTITY_CENTER"
	personal         = "PERSONAL"
	pools            = "POOLS"
)

// directoryQuota is how many directories an account may have in a Region. Amazon does not raise it.
const directoryQuota = 50

// directory is what is stored of a directory. Its users are records of their own, so that adding one to many
// writes one line. What was configured is registered from the start: it has no times.
type directory struct {
	Seq       int64    `json:"seq"`
	ID        string   `json:"id"`
	Region    string   `json:"region"` // with the account, see placeOf
	Name      string   `json:"name"`   // fully qualified
	SubnetIDs []string `json:"subnet_ids"`

	Type        string `json:"type,omitempty"`     // WorkspaceType; "" is PERSONAL
	Identity    string `json:"identity,omitempty"` // UserIdentityType; "" is AWS_DIRECTORY_SERVICE
	Title       string `json:"title,omitempty"`    // WorkspaceDirectoryName
	Description string `json:"description,omitempty"`

	RegisteredAt   time.Time `json:"registered_at,omitzero"`   // REGISTERING before
	DeregisteredAt time.Time `json:"deregistered_at,omitzero"` // DEREGISTERING before, gone after; zero: not asked for

	Settings map[string]settings `json:"settings,omitempty"` // by the member of Amazon's that shows them: what is not as by default
	IPGroups []string            `json:"ip_groups,omitempty"`
	Tags     map[string]string   `json:"tags,omitempty"`

	EncryptionMode string `json:"encryption_mode,omitempty"` // "" is STANDARD_TLS
}

// settings are members of one of Amazon's structures, as they go over the wire.
type settings map[string]any

// directoryDefaults are the settings of a new directory, as its owner sees them at Amazon. The thin client's
// is taken to be as that of the others made for WorkSpaces.
var directoryDefaults = map[string]settings{
	"WorkspaceCreationProperties": {
		"EnableInternetAccess": false, "UserEnabledAsLocalAdministrator": true, "EnableMaintenanceMode": true,
	},
	"WorkspaceAccessProperties": {
		"DeviceTypeWindows": "ALLOW", "DeviceTypeOsx": "ALLOW", "DeviceTypeWeb": "DENY",
		"DeviceTypeIos": "ALLOW", "DeviceTypeAndroid": "ALLOW", "DeviceTypeChromeOs": "ALLOW",
		"DeviceTypeZeroClient": "ALLOW", "DeviceTypeLinux": "DENY", "DeviceTypeWorkSpacesThinClient": "ALLOW",
	},
	"SelfservicePermissions": {
		"RestartWorkspace": "ENABLED", "IncreaseVolumeSize": "DISABLED", "ChangeComputeType": "DISABLED",
		"SwitchRunningMode": "DISABLED", "RebuildWorkspace": "DISABLED",
	},
	"SamlProperties":                 {"Status": "DISABLED", "RelayStateParameterName": "RelayState"},
	"CertificateBasedAuthProperties": {"Status": "DISABLED"},
	"ClientProperties":               {"ReconnectEnabled": "ENABLED", "LogUploadEnabled": "ENABLED"},
}

func (*directory) kind() string  { return "directory" }
func (d *directory) key() string { return d.ID }

// directoryUser is somebody in a directory who may be given a WorkSpace.
type directoryUser struct {
	DirectoryID string `json:"directory_id"`
	Name        string `json:"name"`
	Removed     bool   `json:"removed,omitempty"` // kept, or a directory that accepts everybody would have them
}

func (*directoryUser) kind() string  { return "user" }
func (u *directoryUser) key() string { return userKey(u.DirectoryID, u.Name) }

func newDirectory(d Directory, place string, seq int64) *directory {
	made := &directory{Seq: seq, ID: d.ID, Region: place, Name: d.Name, SubnetIDs: d.SubnetIDs}
	made.fill()
	return made
}

// fill makes up what nobody said of a directory.
func (d *directory) fill() {
	if d.Name == "" {
		d.Name = d.ID + ".example.com"
	}
	if len(d.SubnetIDs) == 0 {
		h := hash(d.ID, "subnet")
		d.SubnetIDs = []string{fmt.Sprintf("subnet-0%016x", h), fmt.Sprintf("subnet-0%016x", h+1)}
	}
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

func (d *directory) state(now time.Time) string {
	switch {
	case !d.DeregisteredAt.IsZero() && !now.Before(d.DeregisteredAt):
		return directoryDeregistered
	case !d.DeregisteredAt.IsZero():
		return directoryDeregistering
	case now.Before(d.RegisteredAt):
		return directoryRegistering
	}
	return directoryRegistered
}

// setting is a group of settings as it is: the defaults and what was made of them; nil if there is neither.
func (d *directory) setting(member string) settings {
	changed, ok := d.Settings[member]
	if !ok {
		return directoryDefaults[member]
	}
	all := settings{}
	maps.Copy(all, directoryDefaults[member])
	maps.Copy(all, changed)
	return all
}

// withSetting gives a copy of d in which a group of settings has other values.
func (d *directory) withSetting(member string, values settings) *directory {
	changed := *d
	changed.Settings = maps.Clone(d.Settings)
	if changed.Settings == nil {
		changed.Settings = map[string]settings{}
	}
	changed.Settings[member] = values
	return &changed
}

func taggedDirectory(w *world, c *call, id string) (tagged, bool) {
	found, ok := w.directory(c, id)
	if !ok {
		return tagged{}, false
	}
	d := *found
	return tagged{d.Tags, func(tags map[string]string) record { d.Tags = tags; return &d }}, true
}

// directory finds a directory in the call's place that is not gone.
func (w *world) directory(c *call, id string) (*directory, bool) {
	d, ok := w.directories[id]
	if !ok || d.Region != c.region || d.state(c.at) == directoryDeregistered {
		return nil, false
	}
	return d, true
}

// directoriesOf are those of the call's place, oldest first.
func (w *world) directoriesOf(c *call) []*directory {
	return slices.DeleteFunc(w.sortedDirectories(), func(d *directory) bool {
		return d.Region != c.region || d.state(c.at) == directoryDeregistered
	})
}

// Why a WorkSpace cannot be created in a directory, beside codeNoDirectory.
const (
	codeDirectoryState = "InvalidResourceState.Directory"
	codeDirectoryType  = "OperationNotSupported.Directory"
)

// openDirectory finds a directory in which WorkSpaces can be created, or says why none can.
func (w *world) openDirectory(c *call, id string) (*directory, *refusal) {
	d, ok := w.directory(c, id)
	switch {
	case !ok:
		return nil, &refusal{codeNoDirectory, "The specified directory could not be found in the specified region."}
	case d.state(c.at) != directoryRegistered:
		return nil, &refusal{codeDirectoryState, "The specified directory is in the state " + d.state(c.at) + "."}
	case d.Type == pools:
		return nil, &refusal{codeDirectoryType, "The specified directory is for WorkSpaces Pools."}
	}
	return d, nil
}

type wireDirectory struct {
	DirectoryId                    string
	Alias                          string
	DirectoryName                  string
	RegistrationCode               string
	SubnetIds                      []string
	DnsIpAddresses                 []string `json:",omitempty"`
	CustomerUserName               string   `json:",omitempty"`
	IamRoleId                      string
	DirectoryType                  string
	WorkspaceSecurityGroupId       string
	State                          string
	WorkspaceCreationProperties    settings
	IpGroupIds                     []string `json:"ipGroupIds"`
	WorkspaceAccessProperties      settings
	Tenancy                        string
	SelfservicePermissions         settings
	SamlProperties                 settings
	CertificateBasedAuthProperties settings
	EndpointEncryptionMode         string
	MicrosoftEntraConfig           settings `json:",omitempty"`
	WorkspaceDirectoryName         string   `json:",omitempty"`
	WorkspaceDirectoryDescription  string   `json:",omitempty"`
	UserIdentityType               string
	WorkspaceType                  string
	IDCConfig                      settings `json:",omitempty"`
	ActiveDirectoryConfig          settings `json:",omitempty"`
	StreamingProperties            settings `json:",omitempty"`
}

func (d *directory) wire(now time.Time) wireDirectory {
	out := wireDirectory{
		DirectoryId:                    d.ID,
		Alias:                          strings.TrimPrefix(strings.TrimPrefix(d.ID, "wsd-"), "d-"),
		DirectoryName:                  d.Name,
		RegistrationCode:               "WSpdx+" + shortCode(d.ID),
		SubnetIds:                      d.SubnetIDs,
		IamRoleId:                      "arn:aws:iam::" + accountOf(d.Region) + ":role/workspaces_DefaultRole",
		DirectoryType:                  d.Identity,
		WorkspaceSecurityGroupId:       fmt.Sprintf("sg-0%016x", hash(d.ID, "group")),
		State:                          d.state(now),
		WorkspaceCreationProperties:    d.setting("WorkspaceCreationProperties"),
		IpGroupIds:                     append([]string{}, d.IPGroups...),
		WorkspaceAccessProperties:      d.setting("WorkspaceAccessProperties"),
		Tenancy:                        "SHARED",
		SelfservicePermissions:         d.setting("SelfservicePermissions"),
		SamlProperties:                 d.setting("SamlProperties"),
		CertificateBasedAuthProperties: d.setting("CertificateBasedAuthProperties"),
		EndpointEncryptionMode:         cmp.Or(d.EncryptionMode, "STANDARD_TLS"),
		MicrosoftEntraConfig:           d.setting("MicrosoftEntraConfig"),
		WorkspaceDirectoryName:         d.Title,
		WorkspaceDirectoryDescription:  d.Description,
		UserIdentityType:               d.identity(),
		WorkspaceType:                  d.workspaceType(),
		IDCConfig:                      d.setting("IDCConfig"),
		ActiveDirectoryConfig:          d.setting("ActiveDirectoryConfig"),
		StreamingProperties:            d.setting("StreamingProperties"),
	}
	if d.identity() == directoryService {
		third := byte(hash(d.ID, "dns"))
		out.DirectoryType, out.CustomerUserName = "SIMPLE_AD", "Administrator"
		out.DnsIpAddresses = []string{fmt.Sprintf("10.0.%d.10", third), fmt.Sprintf("10.0.%d.11", third)}
	}
	return out
}

func (d *directory) identity() string      { return cmp.Or(d.Identity, directoryService) }
func (d *directory) workspaceType() string { return cmp.Or(d.Type, personal) }

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
	found := slices.DeleteFunc(e.world.directoriesOf(c), func(d *directory) bool { return !in.wants(d) })
	found, next, err := page(c, found, func(d *directory) int64 { return d.Seq }, in.Limit, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := struct {
		Directories []wireDirectory
		NextToken   string `json:",omitempty"`
	}{make([]wireDirectory, 0, len(found)), next}
	for _, d := range found {
		out.Directories = append(out.Directories, d.wire(c.at))
	}
	return out, nil
}

func (in describeDirectoriesInput) wants(d *directory) bool {
	if !anyOrIn(in.DirectoryIds, d.ID) {
		return false
	}
	if !anyOrIn(in.WorkspaceDirectoryNames, d.Name) && !anyOrIn(in.WorkspaceDirectoryNames, d.Title) {
		return false
	}
	for _, f := range in.Filters {
		is := map[string]string{"USER_IDENTITY_TYPE": d.identity(), "WORKSPACE_TYPE": d.workspaceType()}[f.Name]
		if !anyOrIn(f.Values, is) {
			return false
		}
	}
	return true
}
