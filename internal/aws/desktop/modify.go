package desktop

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/workspace"
)

const codeOneProperty = "ONE_PROPERTY"

// Modify changes one property of a WorkSpace, as Amazon takes them. The running mode and the idle timeout change at once,
// the others in the background. A timeout by itself does not touch the mode, which would change what it costs.
func (p *Provider) Modify(ctx context.Context, region, id string, what workspace.Property) error {
	properties := &types.WorkspaceProperties{}
	given := 0
	if what.RunningMode != "" {
		given++
		properties.RunningMode = types.RunningMode(what.RunningMode)
	}
	if what.AutoStopMinutes > 0 {
		properties.RunningModeAutoStopTimeoutInMinutes = aws.Int32(int32(what.AutoStopMinutes)) //nolint:gosec // minutes of two days at most
		if what.RunningMode == "" {
			given++
		}
	}
	if what.ComputeType != "" {
		given++
		properties.ComputeTypeName = types.Compute(what.ComputeType)
	}
	if what.RootGiB > 0 {
		given++
		properties.RootVolumeSizeGib = aws.Int32(int32(what.RootGiB)) //nolint:gosec // Amazon's largest has 2000
	}
	if what.UserGiB > 0 {
		given++
		properties.UserVolumeSizeGib = aws.Int32(int32(what.UserGiB)) //nolint:gosec // Amazon's largest has 2000
	}
	if given != 1 {
		return refused(workspace.Rejected, codeOneProperty, "one property can be changed at a time")
	}
	return p.call(ctx, p.region(region), "ModifyWorkspaceProperties", func(c *workspaces.Client) error {
		_, err := c.ModifyWorkspaceProperties(ctx, &workspaces.ModifyWorkspacePropertiesInput{WorkspaceId: &id, WorkspaceProperties: properties})
		return err
	})
}

// Capture makes an image of a running WorkSpace, which is SUSPENDED meanwhile. Names are unique in a Region, so that a
// second request for the same one answers Exists.
func (p *Provider) Capture(ctx context.Context, region, id, name, description string) (imageID string, err error) {
	err = p.call(ctx, p.region(region), "CreateWorkspaceImage", func(c *workspaces.Client) error {
		out, err := c.CreateWorkspaceImage(ctx, &workspaces.CreateWorkspaceImageInput{
			WorkspaceId: &id, Name: &name, Description: &description, Tags: []types.Tag{{Key: aws.String(tagOrigin), Value: &p.cfg.Origin}},
		})
		if err == nil {
			imageID = aws.ToString(out.ImageId)
		}
		return err
	})
	return imageID, err
}

// Snapshots tells what a rebuild and a restore would bring back; zero where there is none.
func (p *Provider) Snapshots(ctx context.Context, region, id string) (workspace.Snapshots, error) {
	var found workspace.Snapshots
	err := p.call(ctx, p.region(region), "DescribeWorkspaceSnapshots", func(c *workspaces.Client) error {
		out, err := c.DescribeWorkspaceSnapshots(ctx, &workspaces.DescribeWorkspaceSnapshotsInput{WorkspaceId: &id})
		if err != nil {
			return err
		}
		for _, s := range out.RebuildSnapshots {
			if at := aws.ToTime(s.SnapshotTime); at.After(found.RebuildAt) {
				found.RebuildAt = at
			}
		}
		for _, s := range out.RestoreSnapshots {
			if at := aws.ToTime(s.SnapshotTime); at.After(found.RestoreAt) {
				found.RestoreAt = at
			}
		}
		return nil
	})
	return found, err
}

// Connections tells of at most 25 WorkSpaces whether somebody is connected. Amazon looks every five minutes. What it says
// nothing about is absent, and what it says without a time is UNKNOWN.
func (p *Provider) Connections(ctx context.Context, region string, ids []string) (map[string]workspace.Connection, error) {
	if len(ids) > batchSize {
		return nil, refused(workspace.Rejected, codeTooMany, "connections of more than 25 WorkSpaces cannot be asked for at once")
	}
	found := map[string]workspace.Connection{}
	if len(ids) == 0 {
		return found, nil
	}
	in := &workspaces.DescribeWorkspacesConnectionStatusInput{WorkspaceIds: ids}
	err := pages(func(token *string) (next *string, err error) {
		in.NextToken = token
		err = p.call(ctx, p.region(region), "DescribeWorkspacesConnectionStatus", func(c *workspaces.Client) error {
			out, err := c.DescribeWorkspacesConnectionStatus(ctx, in)
			if err != nil {
				return err
			}
			next = out.NextToken
			for _, s := range out.WorkspacesConnectionStatus {
				found[aws.ToString(s.WorkspaceId)] = connection(s)
			}
			return nil
		})
		return next, err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

func connection(s types.WorkspaceConnectionStatus) workspace.Connection {
	c := workspace.Connection{State: "UNKNOWN", LastAt: s.LastKnownUserConnectionTimestamp}
	if s.ConnectionStateCheckTimestamp == nil {
		return c
	}
	c.CheckedAt = s.ConnectionStateCheckTimestamp.UTC()
	if s.ConnectionState == types.ConnectionStateConnected || s.ConnectionState == types.ConnectionStateDisconnected {
		c.State = string(s.ConnectionState)
	}
	return c
}
