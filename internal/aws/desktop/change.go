package desktop

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/workspace"
)

// Rebuild asks for a WorkSpace's root volume to be made anew from its bundle's image of now, and for its user volume to be
// brought back from the last snapshot. Without one it is refused as NotNow.
func (p *Provider) Rebuild(ctx context.Context, region, id string) error {
	return p.each(ctx, region, "RebuildWorkspaces", []string{id}, func(c *workspaces.Client, ids []string) ([]types.FailedWorkspaceChangeRequest, error) {
		out, err := c.RebuildWorkspaces(ctx, &workspaces.RebuildWorkspacesInput{
			RebuildWorkspaceRequests: []types.RebuildRequest{{WorkspaceId: &ids[0]}}, // Amazon takes one, in the form of a batch
		})
		if err != nil {
			return nil, err
		}
		return out.FailedRequests, nil
	})[id]
}

// Restore asks for both volumes to be brought back from their last snapshots. Amazon has one code, OperationNotSupported, for
// a state that does not allow it, for a lack of snapshots and for what it never does, so that all of them are Rejected.
func (p *Provider) Restore(ctx context.Context, region, id string) error {
	return p.call(ctx, p.region(region), "RestoreWorkspace", func(c *workspaces.Client) error {
		_, err := c.RestoreWorkspace(ctx, &workspaces.RestoreWorkspaceInput{WorkspaceId: aws.String(id)})
		return err
	})
}

// Migrate asks for a WorkSpace of another bundle to take the place of one, and returns its id. Amazon has no token by which the
// request could be known again: an answer that is lost is Ambiguous. What is migrated already, and what is more than Amazon
// migrates at once, is NotNow; one that is too young, of another kind of system, or of that bundle already is Rejected; a bundle
// that Amazon does not know is Rejected, too, so that only the WorkSpace itself can be Gone.
func (p *Provider) Migrate(ctx context.Context, region, id, bundleID string) (string, error) {
	var target string
	err := p.call(ctx, p.region(region), "MigrateWorkspace", func(c *workspaces.Client) error {
		out, err := c.MigrateWorkspace(ctx, &workspaces.MigrateWorkspaceInput{SourceWorkspaceId: aws.String(id), BundleId: aws.String(bundleID)})
		if err != nil {
			return err
		}
		if target = aws.ToString(out.TargetWorkspaceId); target == "" {
			return refused(workspace.Ambiguous, codeUnclear, "Amazon's answer does not name the WorkSpace that it makes")
		}
		return nil
	})
	var missing *types.ResourceNotFoundException
	if is(err, workspace.Gone) && errors.As(err, &missing) && aws.ToString(missing.ResourceId) == bundleID {
		return "", refused(workspace.Rejected, codeNoBundle, "Amazon has no bundle "+bundleID+" in "+region)
	}
	return target, err
}

// PublicBundle is the id of Amazon's own bundle for a compute type and an operating system. Its failures are those of a question,
// after which nothing has happened.
func (p *Provider) PublicBundle(ctx context.Context, region, compute, system string) (string, error) {
	bundleID, _, err := p.bundle(ctx, p.region(region), compute, system)
	if is(err, workspace.Ambiguous) {
		err = &workspace.ProviderError{Class: workspace.NotNow, Code: codeUnclear, Message: "Amazon's bundles cannot be read", Err: err}
	}
	return bundleID, err
}

// Modify changes one property: Amazon takes no two in a request. The running mode changes at once, and all else in an hour or
// two, of which Observation.Changing tells. Amazon makes one wait between two changes of a size, 6 hours, and 30 days before
// a compute type can be made smaller again; before that it is NotNow.
//
// The timeout alone is taken only where the mode is AUTO_STOP. It is sent without the mode, which would change what a
// WorkSpace in another costs.
func (p *Provider) Modify(ctx context.Context, region, id string, to workspace.Property) error {
	properties, ok := propertiesOf(to)
	if !ok {
		return refused(workspace.Rejected, codeNotOne, "exactly one property can be changed at a time, and a timeout is one of AUTO_STOP only")
	}
	return p.call(ctx, p.region(region), "ModifyWorkspaceProperties", func(c *workspaces.Client) error {
		_, err := c.ModifyWorkspaceProperties(ctx, &workspaces.ModifyWorkspacePropertiesInput{
			WorkspaceId: aws.String(id), WorkspaceProperties: properties,
		})
		return err
	})
}

// propertiesOf is a property as Amazon takes it, unless it is none, or several.
func propertiesOf(to workspace.Property) (*types.WorkspaceProperties, bool) {
	mode := types.RunningMode(to.RunningMode)
	out := &types.WorkspaceProperties{RunningMode: mode, ComputeTypeName: types.Compute(to.ComputeType)}
	if to.AutoStopMinutes != 0 {
		if mode != "" && mode != types.RunningModeAutoStop {
			return nil, false
		}
		out.RunningModeAutoStopTimeoutInMinutes = aws.Int32(int32(to.AutoStopMinutes))
	}
	if to.RootGiB != 0 {
		out.RootVolumeSizeGib = aws.Int32(int32(to.RootGiB))
	}
	if to.UserGiB != 0 {
		out.UserVolumeSizeGib = aws.Int32(int32(to.UserGiB))
	}
	set := 0
	for _, given := range []bool{mode != "" || to.AutoStopMinutes != 0, to.ComputeType != "", to.RootGiB != 0, to.UserGiB != 0} {
		if given {
			set++
		}
	}
	return out, set == 1
}

// Capture asks for an image of a WorkSpace that is AVAILABLE, which takes up to 45 minutes. The name is what makes the request
// harmless to repeat: with one that the Region has already it is Exists.
func (p *Provider) Capture(ctx context.Context, region, id, name, description string) (string, error) {
	var imageID string
	err := p.call(ctx, p.region(region), "CreateWorkspaceImage", func(c *workspaces.Client) error {
		out, err := c.CreateWorkspaceImage(ctx, &workspaces.CreateWorkspaceImageInput{
			WorkspaceId: aws.String(id), Name: aws.String(name), Description: aws.String(description),
			Tags: wireTags(map[string]string{tagOrigin: p.cfg.Origin}),
		})
		if err != nil {
			return err
		}
		if imageID = aws.ToString(out.ImageId); imageID == "" {
			return refused(workspace.Ambiguous, codeUnclear, "Amazon's answer says nothing of the image that was asked for")
		}
		return nil
	})
	return imageID, err
}
