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
func reads[In any](f func(*Emulator, *call, In) (any, error)) operation {
	return operation{run: decoded(f)}
}

// writes makes one that changes something. When f answers without an error, what it changed is durable.
func writes[In any](f func(*Emulator, *call, In) (any, error)) operation {
	return operation{writes: true, run: decoded(f)}
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

// operations is what the emulator can do, by the name in X-Amz-Target.
var operations = withInputs(map[string]operation{
	"CreateWorkspaces":                     writes(createWorkspaces),
	"DescribeWorkspaces":                   reads(describeWorkspaces),
	"StartWorkspaces":                      writes(startWorkspaces),
	"StopWorkspaces":                       writes(stopWorkspaces),
	"RebootWorkspaces":                     writes(rebootWorkspaces),
	"TerminateWorkspaces":                  writes(terminateWorkspaces),
	"ModifyWorkspaceProperties":            writes(modifyProperties),
	"DescribeWorkspacesConnectionStatus":   reads(describeConnections),
	"DescribeWorkspaceBundles":             reads(describeBundles),
	"RegisterWorkspaceDirectory":           writes(registerDirectory),
	"DeregisterWorkspaceDirectory":         writes(deregisterDirectory),
	"DescribeWorkspaceDirectories":         reads(describeDirectories),
	"ModifyWorkspaceAccessProperties":      writes(modifySettings("WorkspaceAccessProperties")),
	"ModifyWorkspaceCreationProperties":    writes(modifySettings("WorkspaceCreationProperties")),
	"ModifySelfservicePermissions":         writes(modifySettings("SelfservicePermissions")),
	"ModifyStreamingProperties":            writes(modifySettings("StreamingProperties")),
	"ModifySamlProperties":                 writes(modifySettings("SamlProperties")),
	"ModifyCertificateBasedAuthProperties": writes(modifySettings("CertificateBasedAuthProperties")),
	"ModifyClientProperties":               writes(modifySettings("ClientProperties")),
	"DescribeClientProperties":             reads(describeClientProperties),
	"ModifyEndpointEncryptionMode":         writes(modifyEncryptionMode),
	"CreateIpGroup":                        writes(createIPGroup),
	"DescribeIpGroups":                     reads(describeIPGroups),
	"AuthorizeIpRules":                     writes(authorizeIPRules),
	"RevokeIpRules":                        writes(revokeIPRules),
	"UpdateRulesOfIpGroup":                 writes(updateIPRules),
	"AssociateIpGroups":                    writes(associateIPGroups),
	"DisassociateIpGroups":                 writes(disassociateIPGroups),
	"DeleteIpGroup":                        writes(deleteIPGroup),
	"CreateConnectionAlias":                writes(createAlias),
	"DescribeConnectionAliases":            reads(describeAliases),
	"AssociateConnectionAlias":             writes(associateAlias),
	"DisassociateConnectionAlias":          writes(disassociateAlias),
	"UpdateConnectionAliasPermission":      writes(updateAliasPermission),
	"DescribeConnectionAliasPermissions":   reads(describeAliasPermissions),
	"DeleteConnectionAlias":                writes(deleteAlias),
	"DescribeAccount":                      reads(describeAccount),
	"DescribeAccountModifications":         reads(describeAccountModifications),
	"DescribeApplications":                 reads(describeApplications),
	"DescribeApplicationAssociations":      reads(describeApplicationAssociations),
	"DescribeWorkspaceAssociations":        reads(describeWorkspaceAssociations),
	"AssociateWorkspaceApplication":        writes(associateApplication),
	"DisassociateWorkspaceApplication":     writes(disassociateApplication),
	"DeployWorkspaceApplications":          writes(deployApplications),
	"CreateTags":                           writes(createTags),
	"DescribeTags":                         reads(describeTags),
	"DeleteTags":                           writes(deleteTags),
	"RebuildWorkspaces":                    writes(rebuildWorkspaces),
	"RestoreWorkspace":                     writes(restoreWorkspace),
	"DescribeWorkspaceSnapshots":           reads(describeSnapshots),
	"MigrateWorkspace":                     writes(migrateWorkspace),
	"ModifyWorkspaceState":                 writes(modifyState),
	"CreateWorkspaceBundle":                writes(createBundle),
	"UpdateWorkspaceBundle":                writes(updateBundle),
	"DeleteWorkspaceBundle":                writes(deleteBundle),
	"CreateWorkspaceImage":                 writes(createImage),
	"CopyWorkspaceImage":                   writes(copyImage),
	"CreateUpdatedWorkspaceImage":          writes(createUpdatedImage),
	"DescribeWorkspaceImages":              reads(describeImages),
	"DeleteWorkspaceImage":                 writes(deleteImage),
	"UpdateWorkspaceImagePermission":       writes(updateImagePermission),
	"DescribeWorkspaceImagePermissions":    reads(describeImagePermissions),
})

// withInputs gives every operation the shape of its input.
func withInputs(all map[string]operation) map[string]operation {
	for name, op := range all {
		op.input = model.input(name)
		all[name] = op
	}
	return all
}

// anyOrIn reports whether a filter that was given, or was not, lets value pass.
func anyOrIn(filter []string, value string) bool {
	return len(filter) == 0 || slices.Contains(filter, value)
}
