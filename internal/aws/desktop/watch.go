package desktop

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/workspace"
)

// Connections tells of up to 25 WorkSpaces whether a user is connected, as Amazon saw it when it last looked, which it does
// every five minutes or so. CONNECTED is a client that has a connection, whether or not anybody sits at it.
func (p *Provider) Connections(ctx context.Context, region string, ids []string) (map[string]workspace.Connection, error) {
	if len(ids) > batchSize {
		return nil, refused(workspace.Rejected, codeTooMany, fmt.Sprintf("the connections of %d WorkSpaces cannot be described at once", len(ids)))
	}
	found := map[string]workspace.Connection{}
	if len(ids) == 0 {
		return found, nil // Amazon would show everything
	}
	r, in := p.region(region), workspaces.DescribeWorkspacesConnectionStatusInput{WorkspaceIds: ids}
	err := pages(func(token *string) (next *string, err error) {
		in.NextToken = token
		err = p.call(ctx, r, "DescribeWorkspacesConnectionStatus", func(c *workspaces.Client) error {
			out, err := c.DescribeWorkspacesConnectionStatus(ctx, &in)
			if err != nil {
				return err
			}
			for i := range out.WorkspacesConnectionStatus {
				s := &out.WorkspacesConnectionStatus[i]
				found[aws.ToString(s.WorkspaceId)] = connection(s)
			}
			next = out.NextToken
			return nil
		})
		return next, err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// connection is what Amazon says of a connection. What was not looked at, or is in no word that we know, is UNKNOWN.
func connection(s *types.WorkspaceConnectionStatus) workspace.Connection {
	c := workspace.Connection{
		State: string(types.ConnectionStateUnknown), CheckedAt: aws.ToTime(s.ConnectionStateCheckTimestamp), LastAt: s.LastKnownUserConnectionTimestamp,
	}
	known := s.ConnectionState == types.ConnectionStateConnected || s.ConnectionState == types.ConnectionStateDisconnected
	if known && !c.CheckedAt.IsZero() {
		c.State = string(s.ConnectionState)
	}
	return c
}

// Snapshots tells of the newest snapshots, which are those that Amazon would use.
func (p *Provider) Snapshots(ctx context.Context, region, id string) (workspace.Snapshots, error) {
	var of workspace.Snapshots
	err := p.call(ctx, p.region(region), "DescribeWorkspaceSnapshots", func(c *workspaces.Client) error {
		out, err := c.DescribeWorkspaceSnapshots(ctx, &workspaces.DescribeWorkspaceSnapshotsInput{WorkspaceId: aws.String(id)})
		if err != nil {
			return err
		}
		of = workspace.Snapshots{RebuildAt: newest(out.RebuildSnapshots), RestoreAt: newest(out.RestoreSnapshots)}
		return nil
	})
	return of, err
}

func newest(of []types.Snapshot) time.Time {
	var last time.Time
	for _, s := range of {
		if at := aws.ToTime(s.SnapshotTime); at.After(last) {
			last = at
		}
	}
	return last
}
