package emulator

import (
	"encoding/json"
	"fmt"
	"slices"
)

// operation is one thing Amazon's API does.
type operation struct {
	input  *shape
	writes bool // takes the lock for itself and may commit
	run    func(e *Emulator, c *call, input []byte) (any, error)
}

// reads makes an operation that changes nothing, of a function from the checked input to the answer.
func reads[In any](input *shape, f func(*Emulator, *call, In) (any, error)) operation {
	return operation{input: input, run: decoded(f)}
}

// writes makes one that changes something. When f answers without an error, what it changed is durable.
func writes[In any](input *shape, f func(*Emulator, *call, In) (any, error)) operation {
	return operation{input: input, writes: true, run: decoded(f)}
}

func decoded[In any](f func(*Emulator, *call, In) (any, error)) func(*Emulator, *call, []byte) (any, error) {
	return func(e *Emulator, c *call, input []byte) (any, error) {
		var in In
		if err := json.Unmarshal(input, &in); err != nil {
			// The shape let it through, so the structure and the shape disagree: a mistake of ours.
			return nil, fmt.Errorf("decode input of %s: %w", c.op, err)
		}
		return f(e, c, in)
	}
}

// nothing is the answer of an operation that has none to give: {}.
type nothing struct{}

// Shapes that more than one operation uses.
var (
	workspaceID = matching(`^ws-[0-9a-z]{8,63}$`, 0, unbounded)
	directoryID = matching(`^(d-[0-9a-f]{8,63}$)|(wsd-[0-9a-z]{8,63}$)`, 10, 65)
	bundleID    = matching(`^wsb-[0-9a-z]{8,63}$`, 0, unbounded)
	userName    = text(1, 63)
	wsName      = matching(`^[a-zA-Z0-9_()][a-zA-Z0-9_.()-]{1,63}$`, 0, unbounded)
	limit       = integer(1, 25)
	nextToken   = text(1, 2048)
	anyInteger  = integer(-unbounded-1, unbounded)
	anyText     = text(0, unbounded)
	nonEmpty    = text(1, unbounded)

	tagList = list(structure(
		need("Key", text(1, 127)),
		may("Value", text(0, 255)),
	), 0, unbounded)

	properties = structure(
		may("RunningMode", oneOf(autoStop, alwaysOn, manual)),
		may("RunningModeAutoStopTimeoutInMinutes", anyInteger),
		may("RootVolumeSizeGib", anyInteger),
		may("UserVolumeSizeGib", anyInteger),
		may("ComputeTypeName", oneOf("VALUE", "STANDARD", "PERFORMANCE", "POWER", "GRAPHICS", "POWERPRO",
			"GENERALPURPOSE_4XLARGE", "GENERALPURPOSE_8XLARGE", "GRAPHICSPRO", "GRAPHICS_G4DN", "GRAPHICSPRO_G4DN",
			"GRAPHICS_G6_XLARGE", "GRAPHICS_G6_2XLARGE", "GRAPHICS_G6_4XLARGE", "GRAPHICS_G6_8XLARGE",
			"GRAPHICS_G6_16XLARGE", "GRAPHICS_GR6_4XLARGE", "GRAPHICS_GR6_8XLARGE", "GRAPHICS_G6F_LARGE",
			"GRAPHICS_G6F_XLARGE", "GRAPHICS_G6F_2XLARGE", "GRAPHICS_G6F_4XLARGE", "GRAPHICS_GR6F_4XLARGE")),
		may("Protocols", list(oneOf("PCOIP", "WSP"), 0, unbounded)),
		may("OperatingSystemName", oneOf("AMAZON_LINUX_2", "UBUNTU_18_04", "UBUNTU_20_04", "UBUNTU_22_04", "UNKNOWN",
			"WINDOWS_10", "WINDOWS_11", "WINDOWS_7", "WINDOWS_SERVER_2016", "WINDOWS_SERVER_2019",
			"WINDOWS_SERVER_2022", "WINDOWS_SERVER_2025", "RHEL_8", "ROCKY_8")),
		may("GlobalAccelerator", structure(
			need("Mode", oneOf("ENABLED_AUTO", "DISABLED", "INHERITED")),
			may("PreferredProtocol", oneOf("TCP", "NONE", "INHERITED")),
		)),
	)
)

// operations is what the emulator can do, by the name in X-Amz-Target.
var operations = map[string]operation{
	"CreateWorkspaces": writes(structure(
		need("Workspaces", list(structure(
			need("DirectoryId", directoryID),
			need("UserName", userName),
			need("BundleId", bundleID),
			may("VolumeEncryptionKey", anyText),
			may("UserVolumeEncryptionEnabled", boolean()),
			may("RootVolumeEncryptionEnabled", boolean()),
			may("WorkspaceProperties", properties),
			may("Tags", tagList),
			may("WorkspaceName", wsName),
			may("Ipv6Address", matching(`^(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){0,6}::[0-9a-fA-F]{1,4}$`, 0, unbounded)),
		), 1, 25)),
	), createWorkspaces),

	"DescribeWorkspaces": reads(structure(
		may("WorkspaceIds", list(workspaceID, 1, 25)),
		may("DirectoryId", directoryID),
		may("UserName", userName),
		may("BundleId", bundleID),
		may("Limit", limit),
		may("NextToken", nextToken),
		may("WorkspaceName", wsName),
	), describeWorkspaces),

	"StartWorkspaces":     writes(batch("StartWorkspaceRequests", may), startWorkspaces),
	"StopWorkspaces":      writes(batch("StopWorkspaceRequests", may), stopWorkspaces),
	"RebootWorkspaces":    writes(batch("RebootWorkspaceRequests", need), rebootWorkspaces),
	"TerminateWorkspaces": writes(batch("TerminateWorkspaceRequests", need), terminateWorkspaces),

	"ModifyWorkspaceProperties": writes(structure(
		need("WorkspaceId", workspaceID),
		may("WorkspaceProperties", properties),
		may("DataReplication", oneOf("NO_REPLICATION", "PRIMARY_AS_SOURCE")),
	), modifyProperties),

	"DescribeWorkspacesConnectionStatus": reads(structure(
		may("WorkspaceIds", list(workspaceID, 1, 25)),
		may("NextToken", nextToken),
	), describeConnections),

	"DescribeWorkspaceBundles": reads(structure(
		may("BundleIds", list(bundleID, 1, 25)),
		may("Owner", anyText),
		may("NextToken", nextToken),
	), describeBundles),

	"DescribeWorkspaceDirectories": reads(structure(
		may("DirectoryIds", list(directoryID, 1, 25)),
		may("WorkspaceDirectoryNames", list(matching(`^[a-zA-Z0-9][a-zA-Z0-9_.\s-]{1,64}$`, 0, unbounded), 1, 25)),
		may("Limit", limit),
		may("NextToken", nextToken),
		may("Filters", list(structure(
			need("Name", oneOf("USER_IDENTITY_TYPE", "WORKSPACE_TYPE")),
			need("Values", list(matching(`^[0-9a-zA-Z\*\.\\/\?-_]{0,64}$`, 0, unbounded), 1, 25)),
		), 1, 25)),
	), describeDirectories),

	"CreateTags": writes(structure(
		need("ResourceId", nonEmpty),
		need("Tags", tagList),
	), createTags),

	"DescribeTags": reads(structure(
		need("ResourceId", nonEmpty),
	), describeTags),

	"DeleteTags": writes(structure(
		need("ResourceId", nonEmpty),
		need("TagKeys", list(nonEmpty, 0, unbounded)),
	), deleteTags),
}

// batch is the input of an operation on up to 25 WorkspaceIds. In the model two of the four require the id.
func batch(name string, id func(string, *shape) member) *shape {
	return structure(need(name, list(structure(id("WorkspaceId", workspaceID)), 1, 25)))
}

// anyOrIn reports whether a filter that was given, or was not, lets value pass.
func anyOrIn(filter []string, value string) bool {
	return len(filter) == 0 || slices.Contains(filter, value)
}
