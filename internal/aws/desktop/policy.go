package desktop

import (
	"encoding/json"
	"fmt"
	"slices"
)

// What Forge calls, by what it is for. A test holds it against the calls in this package.
var (
	serverCalls = []string{
		"CopyWorkspaceImage",
		"CreateTags", // also to tag what is created and copied; Amazon asks for it by itself
		"CreateWorkspaceBundle",
		"CreateWorkspaceImage",
		"CreateWorkspaces",
		"DeleteTags",
		"DeleteWorkspaceBundle",
		"DeleteWorkspaceImage",
		"DescribeTags",
		"DescribeWorkspaceBundles",
		"DescribeWorkspaceImages",
		"DescribeWorkspaceSnapshots",
		"DescribeWorkspaces",
		"DescribeWorkspacesConnectionStatus",
		"MigrateWorkspace",
		"ModifyWorkspaceProperties",
		"RebootWorkspaces",
		"RebuildWorkspaces",
		"RestoreWorkspace",
		"StartWorkspaces",
		"StopWorkspaces",
		"TerminateWorkspaces",
	}
	checkCalls = []string{
		"DescribeIpGroups",
		"DescribeWorkspaceDirectories",
	}
)

type statement struct {
	Sid      string
	Effect   string
	Action   []string
	Resource string
}

// Policy is the least IAM policy with which the server and Check work, as Amazon takes it. It names no resources: most of
// these actions know none until the call is over, and the WorkSpaces that Forge is to make have no names yet.
func Policy() ([]byte, error) {
	allow := func(sid string, operations []string) statement {
		s := statement{Sid: sid, Effect: "Allow", Resource: "*"}
		for _, o := range slices.Sorted(slices.Values(operations)) {
			s.Action = append(s.Action, "workspaces:"+o)
		}
		return s
	}
	b, err := json.MarshalIndent(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", []statement{allow("ForgeServer", serverCalls), allow("ForgeCheck", checkCalls)}}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the policy: %w", err)
	}
	return append(b, '\n'), nil
}
