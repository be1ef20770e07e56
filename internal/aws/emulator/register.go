package emulator

import (
	"slices"
	"strings"
)

type registerInput struct {
	DirectoryId                   string
	SubnetIds                     []string
	EnableSelfService             bool
	Tenancy                       string
	Tags                          []wireTag
	WorkspaceDirectoryName        string
	WorkspaceDirectoryDescription string
	UserIdentityType              string
	IdcInstanceArn                string
	MicrosoftEntraConfig          settings
	WorkspaceType                 string
	ActiveDirectoryConfig         settings
}

// registerDirectory takes any id of the form of AWS Directory Service's (d-…): that service is not emulated,
// so every directory exists there that nobody else has registered. Who is in such a directory cannot be said
// through Amazon's API, so it has every user; one that was there before keeps the users it had.
// A directory without the Directory Service is given an id (wsd-…).
func registerDirectory(e *Emulator, c *call, in registerInput) (any, error) {
	d, err := in.directory()
	if err != nil {
		return nil, err
	}
	known := e.world.directories[d.ID]
	switch {
	case d.ID == "":
		d.ID = e.newID("wsd-")
	case known != nil && known.Region != c.region:
		return nil, notFound(d.ID)
	case known != nil && known.state(c.at) != directoryDeregistered:
		return nil, alreadyExists("The specified directory is already registered.")
	}
	if len(e.world.directoriesOf(c)) >= directoryQuota {
		return nil, limitExceeded()
	}
	d.Seq, d.Region = e.world.seq+1, c.region
	d.RegisteredAt = c.at.Add(registering.of(d.ID, e.speed))
	var records []record
	if known == nil { // before the directory: a crash in between leaves one that nobody has registered
		records = append(records, &directoryUser{DirectoryID: d.ID, Name: AnyUser})
	} else {
		d.Name = known.Name
		if len(d.SubnetIDs) == 0 {
			d.SubnetIDs = known.SubnetIDs
		}
	}
	d.fill()
	if err := e.commit(append(records, d)...); err != nil {
		return nil, err
	}
	return struct{ DirectoryId, State string }{d.ID, d.state(c.at)}, nil
}

// directory is what is asked for, without its place and times, and without an id if it is to be given one.
func (in registerInput) directory() (*directory, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if in.Tenancy == "DEDICATED" {
		return nil, invalidParameters("The account is not enabled for dedicated tenancy.")
	}
	d := &directory{
		ID: in.DirectoryId, SubnetIDs: in.SubnetIds, Type: in.WorkspaceType, Identity: in.UserIdentityType,
		Title: in.WorkspaceDirectoryName, Description: in.WorkspaceDirectoryDescription, Tags: tagMap(in.Tags),
		Settings: map[string]settings{},
	}
	if d.Type == pools && d.Identity == "" {
		d.Identity = customerManaged
	}
	if err := in.checkIdentity(d); err != nil {
		return nil, err
	}
	if err := in.checkSubnets(d); err != nil {
		return nil, err
	}
	if in.EnableSelfService {
		d.Settings["SelfservicePermissions"] = settings{}
		for permission := range directoryDefaults["SelfservicePermissions"] {
			d.Settings["SelfservicePermissions"][permission] = "ENABLED"
		}
	}
	for member, given := range map[string]settings{
		"MicrosoftEntraConfig": in.MicrosoftEntraConfig, "ActiveDirectoryConfig": in.ActiveDirectoryConfig,
	} {
		if given != nil {
			d.Settings[member] = given
		}
	}
	if in.IdcInstanceArn != "" {
		d.Settings["IDCConfig"] = settings{"InstanceArn": in.IdcInstanceArn}
	}
	return d, nil
}

// checkIdentity refuses what does not go with where the users are kept.
func (in registerInput) checkIdentity(d *directory) error {
	switch {
	case d.Type == pools && d.identity() != customerManaged:
		return invalidParameters("A directory for WorkSpaces Pools must have the user identity type CUSTOMER_MANAGED.")
	case d.identity() == directoryService && in.DirectoryId == "":
		return invalidParameters("DirectoryId is required for the user identity type AWS_DIRECTORY_SERVICE.")
	case d.identity() == directoryService && !strings.HasPrefix(in.DirectoryId, "d-"):
		return notFound(in.DirectoryId)
	case d.identity() == directoryService:
		return nil
	case in.DirectoryId != "":
		return invalidParameters("DirectoryId can be specified for the user identity type AWS_DIRECTORY_SERVICE only.")
	case in.WorkspaceDirectoryName == "":
		return invalidParameters("WorkspaceDirectoryName is required for the user identity type " + d.identity() + ".")
	case d.identity() == identityCenter && in.IdcInstanceArn == "":
		return invalidParameters("IdcInstanceArn is required for the user identity type AWS_IAM_IDENTITY_CENTER.")
	}
	return nil
}

// checkSubnets wants two subnets in different availability zones. The Directory Service knows those of its
// directories, so for these none need be named.
func (in registerInput) checkSubnets(d *directory) error {
	switch {
	case len(in.SubnetIds) == 0 && d.identity() == directoryService:
		return nil
	case len(in.SubnetIds) != 2:
		return invalidParameters("Two subnets must be specified.")
	case in.SubnetIds[0] == in.SubnetIds[1]:
		return notSupported("The specified subnets must be in different Availability Zones.")
	}
	return nil
}

type directoryIDInput struct{ DirectoryId string }

// deregisterDirectory lets a directory go that has no WorkSpaces. Its IP groups are free at once.
func deregisterDirectory(e *Emulator, c *call, in directoryIDInput) (any, error) {
	found, ok := e.world.directory(c, in.DirectoryId)
	if !ok {
		return nil, notFound(in.DirectoryId)
	}
	if state := found.state(c.at); state != directoryRegistered {
		return nil, invalidState("The specified directory cannot be deregistered in the state " + state + ".")
	}
	if slices.ContainsFunc(e.world.order, func(o *workspace) bool {
		v := o.at(c.at)
		return v.DirectoryID == found.ID && v.State != stateAbsent
	}) {
		return nil, notSupported("There are WorkSpaces assigned to this directory. " +
			"You must remove the WorkSpaces before you deregister the directory.")
	}
	d := *found
	d.DeregisteredAt, d.IPGroups = c.at.Add(deregistering.of(d.ID, e.speed)), nil
	return nothing{}, e.commit(&d)
}
