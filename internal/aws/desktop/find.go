package desktop

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/workspace"
)

// Find lists the WorkSpaces of a user in a directory. Those of this installation have their intent; all others have
// none and are strangers.
//
// WorkSpaces of this installation that are TERMINATING or TERMINATED are left out: one that was is not a stranger to the
// one that is to take its place. Until Amazon has cleared it away, Create answers Exists. Left out as well are those
// whose tags cannot be found, for Amazon is about to show them or about to forget them.
func (p *Provider) Find(ctx context.Context, region, directory, user string) ([]workspace.Observation, error) {
	r := p.region(region)
	shown, err := p.list(ctx, r, workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(directory), UserName: aws.String(user)})
	if err != nil {
		return nil, err
	}
	var found []workspace.Observation
	for i := range shown {
		tags, err := p.tags(ctx, r, aws.ToString(shown[i].WorkspaceId))
		if is(err, workspace.Gone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		o, says := observation(&shown[i]), p.marks(tags)
		o.Intent, o.Marked = says.Intent, says.Marked
		leaving := shown[i].State == types.WorkspaceStateTerminating || shown[i].State == types.WorkspaceStateTerminated
		if leaving && o.Intent != "" {
			continue
		}
		found = append(found, o)
	}
	return found, nil
}

// Describe observes WorkSpaces by id, at most 25. Intents are not read, which would take a call for each: who has an id
// has had the intent.
func (p *Provider) Describe(ctx context.Context, region string, ids []string) (map[string]workspace.Observation, error) {
	if len(ids) > batchSize {
		return nil, refused(workspace.Rejected, codeTooMany, fmt.Sprintf("%d WorkSpaces cannot be described at once", len(ids)))
	}
	found := map[string]workspace.Observation{}
	if len(ids) == 0 {
		return found, nil // Amazon would show everything
	}
	shown, err := p.list(ctx, p.region(region), workspaces.DescribeWorkspacesInput{WorkspaceIds: ids})
	if err != nil {
		return nil, err
	}
	for i := range shown {
		o := observation(&shown[i])
		found[o.ProviderID] = o
	}
	return found, nil
}

// list reads all pages of a question. A page that cannot be had fails it, so that nothing is taken for absent that was
// only not shown.
func (p *Provider) list(ctx context.Context, r *region, in workspaces.DescribeWorkspacesInput) ([]types.Workspace, error) {
	var shown []types.Workspace
	err := pages(func(token *string) (*string, error) {
		in.NextToken = token
		some, next, err := p.page(ctx, r, in)
		shown = append(shown, some...)
		return next, err
	})
	return shown, err
}

// page reads one page of a question, and says how to ask for the next.
func (p *Provider) page(ctx context.Context, r *region, in workspaces.DescribeWorkspacesInput) (shown []types.Workspace, next *string, err error) {
	err = p.call(ctx, r, "DescribeWorkspaces", func(c *workspaces.Client) error {
		out, err := c.DescribeWorkspaces(ctx, &in)
		if err == nil {
			shown, next = out.Workspaces, out.NextToken
		}
		return err
	})
	return shown, next, err
}

// Sweep shows the WorkSpaces of a directory, page by page, in Amazon's order; a page may be empty. What Amazon shows twice,
// as it may when something changes between two pages, is passed on once. Tags are not read, so that neither Intent nor
// Marked is told. An error, of page or of Amazon, ends it: then nothing may be concluded from what was not shown.
func (p *Provider) Sweep(ctx context.Context, region, directory string, page func([]workspace.Observation) error) error {
	r, in := p.region(region), workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(directory)}
	seen := map[string]bool{}
	return pages(func(token *string) (*string, error) {
		in.NextToken = token
		shown, next, err := p.page(ctx, r, in)
		if err != nil {
			return nil, err
		}
		var fresh []workspace.Observation
		for i := range shown {
			if o := observation(&shown[i]); !seen[o.ProviderID] {
				seen[o.ProviderID] = true
				fresh = append(fresh, o)
			}
		}
		return next, page(fresh)
	})
}

func observation(w *types.Workspace) workspace.Observation {
	o := workspace.Observation{
		ProviderID:   aws.ToString(w.WorkspaceId),
		State:        string(w.State),
		ErrorCode:    aws.ToString(w.ErrorCode),
		ErrorMessage: aws.ToString(w.ErrorMessage),
		DirectoryID:  aws.ToString(w.DirectoryId),
		User:         aws.ToString(w.UserName),
		BundleID:     aws.ToString(w.BundleId),
	}
	o.Changing, o.ChangeFailed = changing(w.ModificationStates)
	has := w.WorkspaceProperties
	if has == nil {
		return o
	}
	o.RunningMode, o.ComputeType = string(has.RunningMode), string(has.ComputeTypeName)
	o.RootGiB, o.UserGiB = int(aws.ToInt32(has.RootVolumeSizeGib)), int(aws.ToInt32(has.UserVolumeSizeGib))
	if has.RunningMode == types.RunningModeAutoStop {
		o.AutoStop = int(aws.ToInt32(has.RunningModeAutoStopTimeoutInMinutes))
	}
	if len(has.Protocols) > 0 {
		o.Protocol = string(has.Protocols[0])
	}
	return o
}

// changing tells what is being changed, or else what failed to be. Amazon keeps telling of a failure until the next change.
func changing(states []types.ModificationState) (resource string, failed bool) {
	for _, m := range states {
		if m.State != types.ModificationStateEnumUpdateFailed {
			return string(m.Resource), false
		}
		resource, failed = string(m.Resource), true
	}
	return resource, failed
}
