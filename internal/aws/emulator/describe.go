package emulator

import (
	"strings"
	"time"
)

type wireWorkspace struct {
	WorkspaceId                 string
	DirectoryId                 string
	UserName                    string
	IpAddress                   string `json:",omitempty"`
	State                       string
	BundleId                    string
	SubnetId                    string `json:",omitempty"`
	ComputerName                string `json:",omitempty"`
	VolumeEncryptionKey         string `json:",omitempty"`
	UserVolumeEncryptionEnabled bool   `json:",omitempty"`
	RootVolumeEncryptionEnabled bool   `json:",omitempty"`
	WorkspaceName               string `json:",omitempty"`
	ErrorCode                   string `json:",omitempty"`
	ErrorMessage                string `json:",omitempty"`
	WorkspaceProperties         wireProperties
	ModificationStates          []wireModification
}

type wireProperties struct {
	RunningMode                         string
	RunningModeAutoStopTimeoutInMinutes int `json:",omitempty"`
	RootVolumeSizeGib                   int
	UserVolumeSizeGib                   int
	ComputeTypeName                     string
	Protocols                           []string
	OperatingSystemName                 string
	GlobalAccelerator                   *accelerator `json:",omitempty"`
}

type wireModification struct{ Resource, State string }

// wire is the WorkSpace in Amazon's form as it is when it was asked for (see workspace.at).
func (w *workspace) wire() wireWorkspace {
	out := wireWorkspace{
		WorkspaceId: w.ID, DirectoryId: w.DirectoryID, UserName: w.User, State: w.State, BundleId: w.BundleID,
		VolumeEncryptionKey: w.EncryptionKey, UserVolumeEncryptionEnabled: w.EncryptUser, RootVolumeEncryptionEnabled: w.EncryptRoot,
		WorkspaceName: w.Name, ErrorCode: w.ErrorCode, ErrorMessage: w.ErrorText,
		WorkspaceProperties: wireProperties{
			RunningMode: w.RunningMode, RunningModeAutoStopTimeoutInMinutes: w.AutoStop,
			RootVolumeSizeGib: w.RootGiB, UserVolumeSizeGib: w.UserGiB, ComputeTypeName: w.Compute,
			Protocols: []string{w.Protocol}, OperatingSystemName: w.System,
			GlobalAccelerator: w.Accelerator,
		},
		ModificationStates: []wireModification{},
	}
	// Amazon's stopped WorkSpaces come with or without an address; a client must bear both.
	hidden := w.State == stateStopped && hash(w.ID, "address")%2 == 0
	if w.State != statePending && !hidden {
		out.IpAddress, out.SubnetId, out.ComputerName = w.IP, w.SubnetID, w.Computer
	}
	return out
}

// describe is wire for an operation that shows modifications, too.
func (w *workspace) describe(now time.Time) wireWorkspace {
	out := w.wire()
	if w.Change != nil {
		state := "UPDATE_IN_PROGRESS"
		if now.Before(w.Change.Begins) {
			state = "UPDATE_INITIATED"
		}
		out.ModificationStates = append(out.ModificationStates, wireModification{w.Change.Resource, state})
	}
	if w.FailedChange != "" {
		out.ModificationStates = append(out.ModificationStates, wireModification{w.FailedChange, "UPDATE_FAILED"})
	}
	return out
}

type describeInput struct {
	WorkspaceIds  []string
	DirectoryId   string
	UserName      string
	BundleId      string
	WorkspaceName string
	Limit         int
	NextToken     string
}

// describeWorkspaces returns what matches, oldest first. Ids it does not know are not an error, only missing.
func describeWorkspaces(e *Emulator, c *call, in describeInput) (any, error) {
	filters := 0
	for _, given := range []bool{len(in.WorkspaceIds) > 0, in.DirectoryId != "", in.BundleId != "", in.WorkspaceName != ""} {
		if given {
			filters++
		}
	}
	if filters > 1 {
		return nil, invalidParameters("Only one of WorkspaceIds, DirectoryId, BundleId and WorkspaceName can be specified.")
	}
	if in.UserName != "" && in.DirectoryId == "" {
		return nil, invalidParameters("UserName can be specified together with DirectoryId only.")
	}
	found := e.visible(c, func(w *workspace) bool {
		return anyOrIn(in.WorkspaceIds, w.ID) &&
			(in.DirectoryId == "" || in.DirectoryId == w.DirectoryID) &&
			(in.UserName == "" || strings.EqualFold(in.UserName, w.User)) &&
			(in.BundleId == "" || in.BundleId == w.BundleID) &&
			(in.WorkspaceName == "" || in.WorkspaceName == w.Name)
	})
	found, next, err := page(c, found, func(w workspace) int64 { return w.Seq }, in.Limit, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := struct {
		Workspaces []wireWorkspace
		NextToken  string `json:",omitempty"`
	}{make([]wireWorkspace, 0, len(found)), next}
	for i := range found {
		out.Workspaces = append(out.Workspaces, found[i].describe(c.at))
	}
	return out, nil
}

// visible gives the WorkSpaces of the call's Region that Describe operations know, as they are, oldest first.
func (e *Emulator) visible(c *call, wanted func(*workspace) bool) []workspace {
	var found []workspace
	for _, o := range e.world.order {
		if o.Region != c.region || !wanted(o) {
			continue
		}
		if v := o.at(c.at); v.visible(c.at) {
			found = append(found, v)
		}
	}
	return found
}
